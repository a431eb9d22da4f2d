"""Frequency-decoupled guidance: one weight for what is coarse in an image, another for what is fine."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import Weight, pushed


def frequency_decoupled(denoiser: Denoiser, *, w: Weight, low: float = 0.5) -> Denoiser:
    """CFG of images with the weight w on high frequencies and low · w on low ones.

    The two bands are those of a Laplacian pyramid of two levels: low is an image halved and doubled again, high is the
    rest. The pyramid is linear, so it is taken of the difference alone. What has no two pixels to halve, points among
    them, is low throughout.

    Args:
        denoiser: of images (b, c, h, w).
        low: share of w that low frequencies get; 1 is plain CFG, up to rounding.

    Raises ``ValueError``: ``w`` or ``low`` is not finite.
    Source: Sadat et al. 2025 (FDG), its pyramid with two levels: ε̃ = ε_c + w_low Δ_low + w_high Δ_high.
    """
    low = _checks.number("low", low)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        coarse = _coarse(delta)
        return w * ((delta - coarse) + low * coarse)

    return pushed(denoiser, w, push)


def _coarse(image: Tensor) -> Tensor:
    """An image halved and doubled again, (b, c, h, w); anything else as it is."""
    if image.ndim != 4 or min(image.shape[2:]) < 6:
        return image
    h, w = image.shape[2:]
    small = F.interpolate(_blur(image), size=(h // 2, w // 2), mode="bilinear", align_corners=False)
    return _blur(F.interpolate(small, size=(h, w), mode="bilinear", align_corners=False))


def _blur(image: Tensor) -> Tensor:
    """Binomial weights 1 4 6 4 1 over 16 along both axes, mirrored at the border."""
    c = image.shape[1]
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]).to(image) / 16
    kernel = (taps[:, None] * taps).expand(c, 1, 5, 5)
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, groups=c)
