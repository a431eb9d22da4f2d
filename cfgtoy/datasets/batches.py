"""Images that stay on the device, as bytes: no worker processes and no Python per image."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .. import _checks
from .images import ImageData, to_float


class ResidentBatches:
    """An endless stream of batches (x, y) from images that live on ``device``.

    Order and flips of an epoch depend on ``(seed, epoch)`` alone. Rank r of ``world`` takes the r-th slice of each
    global batch of ``batch * world`` images, which is the same for any number of ranks.

    Args:
        data, device: the images, and where their bytes stay and the batches appear.
        batch: images a batch on this rank (may exceed ``len(data)``).
        flip: mirror each image left-right with probability 1/2.
        seed, rank, world: of the permutations and flips; this process and their number, ``0 <= rank < world``.
        dtype, channels_last: floating type of x, and whether it is NHWC in memory.

    Yields:
        x (b, c, h, w) in [-1, 1] and y (b,) int64, both on ``device``.

    Raises:
        ValueError: for an empty set, ``batch < 1`` or a rank outside ``0..world-1``.
    """

    def __init__(
        self,
        data: ImageData,
        batch: int,
        *,
        device: torch.device | str = "cpu",
        flip: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        _checks.require(len(data), "data", "no images", "at least one")
        _checks.positive_int("batch", batch)
        _checks.require(0 <= rank < world, "rank", f"{rank}", f"0..{world - 1}")
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.images = data.images.to(device).contiguous(memory_format=layout)
        self.labels = data.labels.to(device)
        self.batch, self.flip, self.seed = batch, flip, seed
        self.rank, self.world, self.dtype = rank, world, dtype
        self.position = 0  # images that all ranks together have seen

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        index, mirrored = self._draw(self.position + self.rank * self.batch, self.batch)
        self.position += self.batch * self.world
        u8 = self.images[index]  # (b, c, h, w)
        if self.flip:
            u8 = torch.where(mirrored[:, None, None, None], u8.flip(-1), u8)
        return to_float(u8, self.dtype), self.labels[index]

    @property
    def epoch(self) -> int:
        """Whole passes over the data so far."""
        return self.position // len(self.images)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: ``{"position": images seen by all ranks, "seed": seed}``."""
        return {"position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place; the next batch is the one that would have come there."""
        self.position = _checks.positive_int("position", state["position"], least=0)
        self.seed = int(state["seed"])

    def _draw(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Indices (count,) and flips (count,) of the stream's images ``start .. start+count-1``."""
        n, stop, parts = len(self.images), start + count, []
        while start < stop:
            epoch, offset = divmod(start, n)
            length = min(stop - start, n - offset)
            shuffled = _shuffled(n, self.seed, epoch, self.images.device)
            parts.append([drawn[offset : offset + length] for drawn in shuffled])
            start += length
        order, mirrored = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        return order, mirrored


@lru_cache(maxsize=4)
def _shuffled(n: int, seed: int, epoch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The order and the flips of one epoch, (n,) each."""
    # a CPU generator: the same order on every device; odd multipliers keep (seed, epoch) pairs apart
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**63
    generator = torch.Generator().manual_seed(mixed)
    order = torch.randperm(n, generator=generator)
    return order.to(device), (torch.rand(n, generator=generator) < 0.5).to(device)
