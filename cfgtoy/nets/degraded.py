"""Worse copies of a U-Net, made without training, for guidance to push away from."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from .. import _checks
from ..prediction import NetDenoiser
from .unet import Attention, UNet


def degraded(
    denoiser: NetDenoiser, how: Literal["identity", "blurred", "skip"], *, std: float = 2.0
) -> NetDenoiser:
    """A copy of a trained ``UNet``'s denoiser with its attention or its middle block degraded.

    Args:
        how: ``"identity"``, every pixel attends to itself alone; ``"blurred"``, the queries are blurred over the image;
            ``"skip"``, the middle block is left out.
        std: of that blur, in pixels of the attention's resolution; 0 changes nothing.

    A ``ValueError`` for no U-Net, no attention in it, an unknown ``how``, or a negative ``std``.

    Source: Ahn et al. 2024 (PAG, identity); Hong 2024 (SEG, blurred); Hyung et al. 2024 (skip-layer).
    """
    net = getattr(denoiser, "net", None)
    if not isinstance(net, UNet):
        raise ValueError(f"denoiser: got {type(net).__name__}, takes a denoiser with a UNet")
    _checks.one_of("how", how, ("identity", "blurred", "skip"))
    _checks.number("std", std, lo=0.0)
    worse = copy.deepcopy(net)
    if how == "skip":
        worse.encoder.middle = _Skipped()  # type: ignore[assignment]
    else:
        layers = [layer for layer in worse.modules() if isinstance(layer, Attention)]
        _checks.require(layers, "denoiser", "a UNet without attention", "one with")
        for layer in layers:
            layer.__class__ = _Identity if how == "identity" else _Blurred
            layer.std = std  # type: ignore[assignment]
    made = copy.copy(denoiser)
    made.net = worse
    return made


class _Skipped(nn.Module):
    def forward(self, x: Tensor, _c: Tensor) -> Tensor:
        return x


class _Identity(Attention):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, _size: tuple[int, int]) -> Tensor:
        return v


class _Blurred(Attention):
    std: float

    def attend(self, q: Tensor, k: Tensor, v: Tensor, _size: tuple[int, int]) -> Tensor:
        if self.std > 0:
            down, across = (_smoothing(n, self.std).to(q) for n in _size)
            image = q.unflatten(2, _size)  # (b, heads, h, w, d)
            q = torch.einsum("ij,kl,bhjld->bhikd", down, across, image).flatten(2, 3)
        return super().attend(q, k, v, _size)


def _smoothing(n: int, std: float) -> Tensor:
    """Gaussian weights between n pixels in a row, each row summing to one, (n, n)."""
    at = torch.arange(n, dtype=torch.float64)
    return (-0.5 * ((at[:, None] - at) / std) ** 2).softmax(1)
