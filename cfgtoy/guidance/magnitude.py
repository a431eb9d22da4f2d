"""Weights that follow the difference of the two answers: its size (power law, MAMBO-G), or what is fine in it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _checks
from ..prediction import Denoiser, Prediction
from ._branches import Weight, norm, pushed


def power_law(denoiser: Denoiser, *, w: Weight, power: float = 0.9) -> Denoiser:
    """Power-law guidance, with Δ the difference of the scores, s(z,c) − s(z). ``power`` = 0 is plain CFG.

    The length of Δ depends on the dimension and on the scale of the data, so w does not compare with that of CFG.

    Args:
        power: the exponent, above −1; by default 0.9, as in most of the source.

    Source: Pavasovic et al. 2025, §5: s̃ = s(z,c) + w ‖Δ‖^power Δ.
    """
    power = _checks.number("power", power, lo=-1.0, open=True)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        length = norm(cond.slope("score") * delta)
        # Where the branches agree there is no push, at a negative power too.
        return w * length.clamp(min=torch.finfo(delta.dtype).tiny) ** power * delta

    return pushed(denoiser, w, push)


def mambo_g(denoiser: Denoiser, *, w: Weight, alpha: float = 8.0) -> Denoiser:
    """Magnitude-aware guidance, on the flow velocity u = ε − x as in the source, whatever the denoiser estimates.

    Args:
        alpha: how fast the weight falls with r = ‖u_c − u_∅‖/‖u_∅‖, at least 0; 0 is plain CFG.

    Source: Zhu et al. 2025 (MAMBO-G): ũ = u_c + w exp(−alpha r) (u_c − u_∅).
    """
    alpha = _checks.number("alpha", alpha, lo=0.0)

    def push(w: Weight, delta: Tensor, cond: Prediction, uncond: Prediction) -> Tensor:
        ratio = norm(cond.slope("flow") * delta) / norm(uncond.flow)
        return w * (-alpha * ratio).exp() * delta

    return pushed(denoiser, w, push)


def frequency_decoupled(denoiser: Denoiser, *, w: Weight, low: float = 0.5) -> Denoiser:
    """CFG of images with the weight w on high frequencies and low · w on low ones.

    The two bands are those of a Laplacian pyramid of two levels: low is an image halved and doubled again, high is the
    rest. The pyramid is linear, so it is taken of the difference alone. What has no two pixels to halve, points among
    them, is low throughout.

    Args:
        denoiser: of images (b, c, h, w).
        low: share of w that low frequencies get; 1 is plain CFG, up to rounding.

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
