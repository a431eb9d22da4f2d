r"""Signal and noise as functions of the log signal-to-noise ratio λ.

Everything in this package is written in λ = log(α²/σ²) with α² + σ² = 1 (Ho & Salimans 2022, §2), so

.. math:: \alpha_\lambda^2 = \frac{1}{1 + e^{-\lambda}}, \qquad \sigma_\lambda^2 = \frac{1}{1 + e^{\lambda}}.

λ → +∞ is clean data, λ → −∞ is pure noise. The functions never form α² or 1 − α² on the way to a logarithm,
so they keep their relative precision in float32 at |λ| = 40, where α² itself rounds to one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _checks

__all__ = [
    "alpha_sigma",
    "as_logsnr",
    "flow_time",
    "from_alpha_bar",
    "from_flow",
    "from_flow_time",
    "log1mexp",
    "log_alpha_sigma",
    "per_sample",
    "to_flow",
]


def log_alpha_sigma(lam: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(log α, log σ)`` at log-SNR ``lam``, any shape. Unchecked: inner loops and compiled code use it."""
    return 0.5 * F.logsigmoid(lam), 0.5 * F.logsigmoid(-lam)


def alpha_sigma(lam: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signal and noise amplitudes ``(α, σ)`` at log-SNR ``lam``, of its shape, any; α² + σ² = 1.

    ``ValueError`` unless ``lam`` is a floating-point tensor without NaN. Source: Ho & Salimans 2022, §2.
    """
    _checks.tensor("lam", lam)
    _checks.require(not bool(lam.isnan().any()), "lam", "NaN", "log-SNRs")
    log_alpha, log_sigma = log_alpha_sigma(lam)
    return log_alpha.exp(), log_sigma.exp()


def from_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """Return λ for DDPM's ᾱ = α² in (0, 1), else ``ValueError``: λ = log ᾱ − log(1 − ᾱ).

    Source: Ho et al. 2020 (notation); Kingma et al. 2021 (log-SNR).
    """
    _checks.tensor("alpha_bar", alpha_bar)
    inside = bool(((alpha_bar > 0) & (alpha_bar < 1)).all())
    _checks.require(inside, "alpha_bar", "entries outside (0, 1)", "squared signal amplitudes")
    return torch.logit(alpha_bar)


def flow_time(lam: Tensor) -> Tensor:
    """The time t in [0, 1] at which z_t = (1−t) x + t ε has log-SNR ``lam``: t = σ/(α+σ) = sigmoid(−λ/2).

    Source: Lipman et al. 2023; Liu et al. 2022, with t counted from data to noise.
    """
    return torch.sigmoid(-lam / 2)


def from_flow_time(t: Tensor) -> Tensor:
    """The log-SNR of z_t = (1−t) x + t ε: λ = 2 log((1−t)/t); −∞ at t = 1."""
    return -2 * torch.logit(t)


def _flow_length(lam: Tensor, like: Tensor) -> Tensor:
    """α + σ = 1/√((1−t)² + t²)."""
    log_alpha, log_sigma = log_alpha_sigma(lam)
    return per_sample(log_alpha.exp() + log_sigma.exp(), like)


def to_flow(z: Tensor, lam: Tensor) -> Tensor:
    """z_t = (1−t) x + t ε of the sample z_λ = α x + σ ε, (b, \\*d): the same sample divided by α + σ."""
    return z / _flow_length(lam, z)


def from_flow(z: Tensor, lam: Tensor) -> Tensor:
    """z_λ = α x + σ ε of the sample z_t = (1−t) x + t ε, (b, \\*d): see :func:`to_flow`."""
    return z * _flow_length(lam, z)


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 − e^x) for x ≤ 0 without cancellation at either end.

    Source: Mächler 2012, "Accurately computing log(1 − exp(−|a|))".
    """
    near_zero = x > -0.6931471805599453
    # Keeps the unused branch finite, gradients too.
    safe = torch.where(near_zero, torch.full_like(x, -1.0), x)
    return torch.where(near_zero, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(safe)))


def as_logsnr(
    name: str, lam: Tensor | float, like: Tensor, *, check: bool = True, noise: bool = False
) -> Tensor:
    """Return ``lam``, () or (b,) and finite (else ``ValueError``), as a tensor of the dtype and device of ``like``.

    Args:
        name, lam: its name for the error message, and a number, a 0-d tensor, or one of shape (b,) or (1,).
        like: the samples, (b, \\*d).
        check: look for NaN too; off in network calls, where reading the values would stall a GPU.
        noise: let a tensor hold −∞, pure noise.
    """
    if not isinstance(lam, Tensor):
        lam = torch.tensor(_checks.number(name, lam), dtype=torch.float64)
    lam = lam.to(like)
    if check and not (noise and bool((lam < torch.inf).all())):
        _checks.finite(name, lam)
    if lam.shape == (1,):
        lam = lam[0]
    if lam.ndim and lam.shape != like.shape[:1]:
        takes = f"one log-SNR or one per sample of shape {tuple(like.shape)}"
        raise ValueError(f"{name}: got shape {tuple(lam.shape)}, takes {takes}")
    return lam


def per_sample(coefficient: Tensor, like: Tensor) -> Tensor:
    """Append axes to a () or (b,) ``coefficient`` until it multiplies ``like`` (b, \\*d) sample by sample."""
    return coefficient if coefficient.ndim == 0 else coefficient.reshape(-1, *[1] * (like.ndim - 1))
