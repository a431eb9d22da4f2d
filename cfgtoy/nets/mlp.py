"""Small networks for points: a denoiser and a classifier, both told the noise level."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """A residual layer whose hidden units are scaled and shifted by the condition (FiLM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.condition = nn.Linear(width, 2 * width)
        self.up = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.condition(condition).chunk(2, 1)  # (b, width) each
        return h + F.silu(self.up(self.norm(h) * (1 + scale) + shift))


class _Trunk(nn.Module):
    frequencies: Tensor

    def __init__(self, dim: int, width: int, depth: int, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi / 40 * 2.0 ** torch.linspace(0, 5, frequencies))
        self.level = nn.Linear(2 * frequencies + 1, width)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))

    def forward(self, z: Tensor, logsnr: Tensor, extra: Tensor | None) -> Tensor:
        lam = logsnr[:, None]  # (b, 1); sines and cosines of λ, and λ itself squashed: (b, 2f + 1)
        phase = lam * self.frequencies  # (b, f)
        condition = self.level(torch.cat([phase.sin(), phase.cos(), (lam / 8).tanh()], 1))
        condition = F.silu(condition if extra is None else condition + extra)
        h = self.enter(z)
        for block in self.blocks:
            h = block(h, condition)
        return h  # (b, width)


class MLP(nn.Module):
    """A class-conditional denoiser for points: (z (b, dim), logsnr (b,), y (b,)) -> (b, dim).

    Class −1 is ∅: it has an embedding of its own, the last row of the table. What the output means (ε, v or x) is the
    caller's choice; see :class:`cfgtoy.NetDenoiser`.

    Args:
        dim, num_classes: dimension of a point, and number of classes without ∅.
        width, depth, frequencies: hidden units, residual layers, and sines of λ.

    Attributes:
        args: the arguments that make another network like this one.
    """

    def __init__(
        self, dim: int = 2, num_classes: int = 3, width: int = 96, depth: int = 3, frequencies: int = 8
    ) -> None:
        super().__init__()
        self.args = {
            "dim": dim, "num_classes": num_classes, "width": width, "depth": depth, "frequencies": frequencies
        }  # fmt: skip
        self.num_classes = num_classes
        self.trunk = _Trunk(dim, width, depth, frequencies)
        self.classes = nn.Embedding(num_classes + 1, width)
        self.leave = nn.Linear(width, dim)
        nn.init.zeros_(self.leave.weight)

    def forward(self, z: Tensor, logsnr: Tensor, y: Tensor) -> Tensor:
        row = torch.where(y < 0, self.num_classes, y)
        return self.leave(self.trunk(z, logsnr, self.classes(row)))


class MLPClassifier(nn.Module):
    """A classifier of noisy points: (z (b, dim), logsnr (b,)) -> log p(c | z_λ), (b, C).

    The arguments are those of :class:`MLP`, with C = ``num_classes``.
    """

    def __init__(
        self, dim: int = 2, num_classes: int = 3, width: int = 64, depth: int = 2, frequencies: int = 8
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trunk = _Trunk(dim, width, depth, frequencies)
        self.leave = nn.Linear(width, num_classes)

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        return self.leave(self.trunk(z, logsnr.to(z).expand(len(z)), None)).log_softmax(1)
