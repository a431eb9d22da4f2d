r"""The diffusion process as pure functions of log-SNR (Ho & Salimans 2022, §2): three Gaussians say everything.

Each function but the first returns ``(mean, var)``, the mean (b, \*d) and a variance that broadcasts with it; whoever
samples adds the noise. All of them take λ as a number, a 0-d tensor, or one value a sample.
"""

import torch
from torch import Generator, Tensor

from . import _checks
from .logsnr import alpha_sigma, as_logsnr, log1mexp, log_alpha_sigma, per_sample

__all__ = ["diffuse", "posterior", "reverse", "transition"]


def diffuse(
    x: Tensor, lam: Tensor | float, noise: Tensor | None = None, generator: Generator | None = None
) -> Tensor:
    """Draw z_λ ~ q(z_λ | x) = N(α x, σ² I): z = α x + σ ε, (b, \\*d). ``ValueError`` for NaN, or shapes that differ.

    Args:
        x, lam: clean samples, (b, \\*d), and log-SNR, () or (b,).
        noise: ε of the shape of ``x``; drawn from N(0, I) by ``generator`` when absent.

    Source: Ho & Salimans 2022, §2, first display.
    """
    _checks.finite("x", x)
    lam = as_logsnr("lam", lam, x)
    if noise is None:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    elif _checks.finite("noise", noise).shape != x.shape:
        raise ValueError(f"noise: got shape {tuple(noise.shape)}, takes that of x, {tuple(x.shape)}")
    alpha, sigma = alpha_sigma(lam)
    return per_sample(alpha, x) * x + per_sample(sigma, x) * noise


def _log_transition_var(lam: Tensor, lam_from: Tensor) -> Tensor:
    """log σ²_{λ|λ'} = log(1 − e^{λ−λ'}) + log σ_λ² for λ = ``lam`` < λ' = ``lam_from``."""
    return log1mexp(lam - lam_from) + 2 * log_alpha_sigma(lam)[1]


def transition(z: Tensor, lam_from: Tensor | float, lam_to: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return mean and variance of q(z_λ | z_λ') for λ = ``lam_to`` < λ' = ``lam_from``: more noise.

    The mean is (α_λ/α_λ') z and the variance (1 − e^{λ−λ'}) σ_λ². ``ValueError`` for ``lam_to`` ≥ ``lam_from``, NaN, or
    shapes that do not fit.

    Args:
        z: samples at ``lam_from``, (b, \\*d).
        lam_from, lam_to: the cleaner log-SNR λ' and the noisier λ, () or (b,).

    Source: Ho & Salimans 2022, §2, second display.
    """
    _checks.finite("z", z)
    lam_from, lam_to = as_logsnr("lam_from", lam_from, z), as_logsnr("lam_to", lam_to, z)
    if not bool((lam_to < lam_from).all()):
        raise ValueError(f"lam_to: got {_say(lam_to)}, takes less than lam_from, {_say(lam_from)}")
    ratio = (log_alpha_sigma(lam_to)[0] - log_alpha_sigma(lam_from)[0]).exp()
    return per_sample(ratio, z) * z, per_sample(_log_transition_var(lam_to, lam_from).exp(), z)


def _posterior(z: Tensor, x: Tensor, lam: Tensor, lam_next: Tensor) -> tuple[Tensor, Tensor]:
    """Unchecked :func:`posterior`, with the *logarithm* of the variance."""
    keep_log = lam - lam_next  # log of e^{λ−λ'} ≤ 0
    log_alpha, log_sigma = log_alpha_sigma(lam)
    log_alpha_next, log_sigma_next = log_alpha_sigma(lam_next)
    # e^{λ−λ'} α'/α = (α/α')(σ'/σ)², which is 0 and not 0/0 at λ = −∞.
    from_z = (log_alpha - log_alpha_next + 2 * (log_sigma_next - log_sigma)).exp()
    from_x = -torch.expm1(keep_log) * log_alpha_next.exp()
    return per_sample(from_z, z) * z + per_sample(from_x, z) * x, log1mexp(keep_log) + 2 * log_sigma_next


def posterior(z: Tensor, x: Tensor, lam: Tensor | float, lam_next: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return mean μ̃ and variance σ̃² of q(z_λ' | z_λ, x) for λ' = ``lam_next`` > λ = ``lam``: less noise.

    μ̃ = e^{λ−λ'}(α_λ'/α_λ) z + (1 − e^{λ−λ'}) α_λ' x and σ̃² = (1 − e^{λ−λ'}) σ_λ'². ``ValueError`` for
    ``lam_next`` ≤ ``lam``, NaN, or shapes that do not fit.

    Args:
        z, x: samples at ``lam``, (b, \\*d), and clean samples, of a shape that broadcasts with ``z``.
        lam, lam_next: log-SNR λ, and the cleaner λ', () or (b,).

    Source: Ho & Salimans 2022, eq. 3.
    """
    lam, lam_next = _check_reverse(z, "x", x, lam, lam_next)
    mean, log_var = _posterior(z, x, lam, lam_next)
    return mean, per_sample(log_var.exp(), z)


def _reverse(z: Tensor, x_hat: Tensor, lam: Tensor, lam_next: Tensor, v: float) -> tuple[Tensor, Tensor]:
    """Unchecked :func:`reverse`, with the *logarithm* of the variance."""
    mean, log_var_lo = _posterior(z, x_hat, lam, lam_next)
    return mean, (1 - v) * log_var_lo + v * _log_transition_var(lam, lam_next)


def reverse(
    z: Tensor, x_hat: Tensor, lam: Tensor | float, lam_next: Tensor | float, v: float
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the reverse step p(z_λ' | z_λ) for λ' = ``lam_next`` > λ = ``lam``.

    The mean is the posterior's at the estimate ``x_hat``; the variance is (σ̃²)^{1−v} (σ²_{λ|λ'})^v, a straight line
    between its lower and upper bound in log space. Errors as in :func:`posterior`, and for ``v`` outside [0, 1].

    Args:
        z, x_hat: samples at ``lam``, and the estimate x_θ(z_λ) of the clean ones, (b, \\*d).
        lam, lam_next: log-SNR λ, and the cleaner λ', () or (b,).
        v: 0 for the lower bound (the posterior's variance), 1 for the upper (the transition's).

    Source: Ho & Salimans 2022, eq. 4; Nichol & Dhariwal 2021, eq. 15.
    """
    v = _checks.unit_interval("v", v)
    lam, lam_next = _check_reverse(z, "x_hat", x_hat, lam, lam_next)
    mean, log_var = _reverse(z, x_hat, lam, lam_next, v)
    return mean, per_sample(log_var.exp(), z)


def _check_reverse(
    z: Tensor, name: str, x: Tensor, lam: Tensor | float, lam_next: Tensor | float
) -> tuple[Tensor, Tensor]:
    _checks.finite("z", z)
    _checks.finite(name, x)
    _checks.broadcastable("z", z.shape, name, x.shape)
    lam, lam_next = as_logsnr("lam", lam, z), as_logsnr("lam_next", lam_next, z)
    if not bool((lam_next > lam).all()):
        raise ValueError(f"lam_next: got {_say(lam_next)}, takes more than lam, {_say(lam)}")
    return lam, lam_next


def _say(lam: Tensor) -> str:
    return f"{lam.item():g}" if lam.ndim == 0 else f"a tensor in [{lam.min().item():g}, {lam.max().item():g}]"
