"""A plain classifier of clean images, whose features and probabilities measure generated ones.

In the line of Page 2018 ("How to train your ResNet") and Jordan 2024 (arXiv 2404.00498): 95 % on CIFAR-10 in minutes.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import _checks
from ._sized import Sized


def _conv_norm(c_in: int, c_out: int, *, pool: bool = False) -> nn.Sequential:
    """3×3 convolution, max pooling by two where asked, batch norm, GELU."""
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.MaxPool2d(2) if pool else nn.Identity(), nn.BatchNorm2d(c_out), nn.GELU())


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Evaluator(Sized):
    """Clean images x in [−1, 1], (b, c, h, w) -> logits (b, num_classes).

    Args:
        in_channels, num_classes: channels of an image, and classes.
        channels: width of the first convolution and then of each level; each level halves the resolution.
        residuals: convolutions in the residual branch of each level.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "digits": {"in_channels": 1, "channels": (32, 64, 64), "residuals": (1, 1)},
        "cifar": {"channels": (64, 128, 256, 512), "residuals": (2, 2, 1)},
    }

    def __init__(
        self, *, in_channels: int = 3, num_classes: int = 10, channels: Sequence[int] = (64, 128, 256, 512),
        residuals: Sequence[int] = (2, 2, 1),
    ) -> None:  # fmt: skip
        super().__init__()
        channels, residuals = tuple(channels), tuple(residuals)
        fits, got = len(channels) == len(residuals) + 1, f"{residuals} for channels {channels}"
        _checks.require(fits, "residuals", got, "one number a level")
        self.args = {
            "in_channels": in_channels, "num_classes": num_classes, "channels": channels, "residuals": residuals,
        }  # fmt: skip
        self.stem = _conv_norm(in_channels, channels[0])
        self.levels = nn.Sequential()
        for c_in, c_out, count in zip(channels, channels[1:], residuals, strict=False):
            self.levels.append(_conv_norm(c_in, c_out, pool=True))
            self.levels.append(_Residual(*(_conv_norm(c_out, c_out) for _ in range(count))))
        self.classifier = nn.Linear(channels[-1], num_classes, bias=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, x: Tensor) -> Tensor:
        """The last level, averaged over the image: (b, channels[-1]) in float32."""
        h = self.levels(self.stem(x.contiguous(memory_format=torch.channels_last)))
        return h.float().mean((2, 3))

    def head(self, features: Tensor) -> Tensor:
        """Logits (b, num_classes) from :meth:`features`."""
        return self.classifier(features).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
