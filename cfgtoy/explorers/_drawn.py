"""What the explorers share whose pictures a network draws.

In a page the weights of ``data/`` lie beside it, come when the reader asks for what was not drawn beforehand, and run
in the browser; in JupyterLab the browser gets them from the kernel, or the kernel draws with PyTorch.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
import traitlets
from torch import Tensor

from .. import _checks
from ..datasets.images import to_uint8
from ..images.sheets import sheet
from . import _weights
from ._traits import Explorer, one_of


class Drawn(Explorer):
    """Pictures on screen, ``images``, and whoever draws them: the page's networks, or the kernel.

    A subclass names its ``networks``, the weights that the browser may ask for, the first of which names the explorer;
    gives ``tiles``, the still picture's columns, pixels a pixel and width on a page, ``_numbers``, and ``_start``, the
    pictures (n, c, h, w) that a page shows at first; and sets ``about``, whose ``shape`` is that of a picture.
    """

    networks: ClassVar[tuple[str, ...]]
    tiles: ClassVar[tuple[int, int, int]]
    _start: Any
    backend = one_of(["page", "kernel"], "who draws in JupyterLab, the browser or PyTorch.")
    about = traitlets.Dict().tag(sync=True)
    images = traitlets.Instance(Tensor, allow_none=True)
    _images = traitlets.Any(None, allow_none=True).tag(sync=True)  # as the browser sends them, float32

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._answer)

    def _numbers(self, question: dict[str, Any]) -> Iterable[Sequence[float | Tensor]]:
        """The numbers that answer a question of the browser, which gets them in one row."""
        raise NotImplementedError

    def _prepared(self) -> str:
        return base64.b64encode(to_uint8(self._start).numpy().tobytes()).decode()

    def attributes(self) -> dict[str, str]:
        return {"data-network": self.networks[0], "data-weights": " ".join(self.networks)}

    def still(self) -> tuple[bytes, int]:
        """The pictures as the widget starts, for viewers that run no script."""
        buffer, (columns, scale, width) = io.BytesIO(), self.tiles
        sheet(to_uint8(self._start), columns=columns, scale=scale).save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), width

    def _answer(self, _: Any, question: dict[str, Any], __: Any) -> None:
        """Answer the browser: with the weights or the code that it asks for, or with what it wants drawn."""
        answer: dict[str, Any] = {"id": question.get("id")}
        try:
            if "webgpu" in question:
                buffer = _weights.webgpu()[1].encode()
            elif "weights" in question:
                buffer = _weights.read(_checks.one_of("weights", question["weights"], self.networks))
            else:
                parts = [torch.as_tensor(part).flatten() for row in self._numbers(question) for part in row]
                buffer = torch.cat(parts).numpy().tobytes()
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            self.send(answer | {"message": str(error)}, [b""])
        else:
            self.send(answer, [buffer])

    @traitlets.observe("_images")
    def _receive(self, change: Any) -> None:
        if change["new"]:
            values = torch.frombuffer(bytearray(change["new"]), dtype=torch.float32)
            self.images = values.reshape(-1, *self.about["shape"]).clone()
