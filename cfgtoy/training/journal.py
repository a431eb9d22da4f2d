"""The log of a run: JSON lines, a progress bar, and TensorBoard where asked for."""

import contextlib
import json
import logging
import time
from typing import Any

from .options import TrainConfig

log = logging.getLogger(__name__)


class Journal(contextlib.ExitStack):
    """Where a run of ``config``, at ``step``, writes down how it goes; one that is not ``enabled`` writes nothing."""

    def __init__(self, config: TrainConfig, step: int, images: int, *, enabled: bool) -> None:
        super().__init__()
        self.enabled, self.images = enabled, images
        self._events: Any = None
        if not enabled:
            return
        from tqdm.auto import tqdm

        self._path = config.out / "log.jsonl"
        self._bar = self.enter_context(tqdm(
            total=config.images, initial=images, unit="img", unit_scale=True, desc=config.model,
            disable=not config.progress,
        ))  # fmt: skip
        if config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = self.enter_context(SummaryWriter(str(config.out)))
        self.event(started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), step=step, images=images)

    def event(self, **fields: Any) -> None:
        """Append one line to the log."""
        if not self.enabled:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(fields) + "\n")
        except OSError as error:  # a log line is not worth a run
            log.error("no log line: %s", error)

    def write(self, *, step: int, images: int, **figures: float) -> None:
        """Log the figures of a step, on all channels."""
        if not self.enabled:
            return
        self.event(step=step, images=images, **figures)
        self._bar.update(images - self.images)
        self._bar.set_postfix(loss=f"{figures['loss']:.4f}")
        self.images = images
        for name, figure in figures.items() if self._events else ():
            self._events.add_scalar(name, figure, images)
