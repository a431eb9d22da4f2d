"""The training objective of classifier-free guidance (Ho & Salimans 2022, Algorithm 1), and the weights' average."""

import copy
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from .. import _checks
from ..logsnr import as_logsnr, log_alpha_sigma, per_sample
from ..prediction import NULL, Denoiser, Kind, Prediction
from ..schedules import Schedule


def drop_labels(y: Tensor, p_uncond: float, generator: Generator | None = None) -> Tensor:
    """Replace each class by NULL with probability ``p_uncond`` (Ho & Salimans 2022, Algorithm 1, line 3), (b,).

    A ``p_uncond`` outside [0, 1], or a ``y`` that is no integer tensor (b,), is a ``ValueError``.
    """
    p_uncond = _checks.unit_interval("p_uncond", p_uncond)
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool or y.ndim != 1:
        got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"y: got {got}, takes an integer tensor of shape (b,)")
    drop = torch.rand(y.shape, generator=generator, device=y.device) < p_uncond
    return torch.where(drop, NULL, y)


def diffusion_loss(
    denoiser: Denoiser,
    x: Tensor,
    y: Tensor | None = None,
    *,
    schedule: Schedule,
    p_uncond: float = 0.1,
    target: Kind = "eps",
    weighting: Callable[[Tensor], Tensor] | None = None,
    logsnr: Tensor | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """One Monte-Carlo draw of the denoising loss for each sample, (b,): its mean over the batch is the objective.

    It is the squared error of the prediction at z = αx + σε, averaged over the sample's entries and weighted.

    Args:
        denoiser: what is trained; see :class:`cfgtoy.NetDenoiser` for a network.
        x, y: clean samples, (b, \\*d), and their classes, (b,), or None for a model without classes.
        schedule, p_uncond: law of λ, and probability of dropping a label, in [0, 1].
        target: the quantity whose error counts; ``"eps"`` is the paper's loss, ``"v"`` weights it by 1/α².
        weighting: further weight as a function of λ, (b,) -> (b,).
        logsnr, generator: levels to use instead of drawing them, (b,), and source of randomness, on x's device.

    Raises:
        ValueError: ``p_uncond`` outside [0, 1], or shapes that do not fit.

    Source: Ho & Salimans 2022, eq. 5 and Algorithm 1; Salimans & Ho 2022 (v).
    """
    p_uncond = _checks.unit_interval("p_uncond", p_uncond)
    if _checks.tensor("x", x).ndim == 0:
        raise ValueError("x: got shape (), takes (b, *d)")
    if isinstance(y, Tensor) and y.shape != x.shape[:1]:
        raise ValueError(f"y: got shape {tuple(y.shape)}, takes one class a sample, ({len(x)},)")
    if logsnr is None:
        logsnr = schedule.sample(len(x), generator, stratified=True, device=x.device, dtype=x.dtype)
    lam = as_logsnr("logsnr", logsnr, x, check=False).expand(len(x))
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    alpha, sigma = (per_sample(log.exp(), x) for log in log_alpha_sigma(lam))
    z = alpha * x + sigma * noise
    if y is not None:
        y = drop_labels(y, p_uncond, generator)
    # the regression target, formed from x and ε themselves rather than from one of them and z
    match target:
        case "x":
            true = x
        case "flow":
            true = noise - x
        case "v":
            true = alpha * noise - sigma * x
        case _:
            true = Prediction.from_eps(z, lam, noise).as_kind(target)
    error = denoiser(z, lam, y).as_kind(target) - true
    loss = error.float().square().flatten(1).mean(1)
    return loss if weighting is None else weighting(lam) * loss


class EMA:
    """An exponential moving average of a network's weights: ``net``, which one samples from, after ``step`` updates.

    The decay warms up, min(decay, (1 + t)/(10 + t)) at step t, so that early weights are forgotten. One outside [0, 1)
    is a ``ValueError``.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999) -> None:
        if _checks.unit_interval("decay", decay) == 1:
            raise ValueError("decay: got 1, takes a number in [0, 1)")
        self.decay, self.step = decay, 0
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._mine: list[Tensor] = list(self.net.parameters())
        self._theirs: list[Tensor] = list(net.parameters())
        self._buffers = list(zip(self.net.buffers(), net.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average one step towards the network's present weights; buffers are copied."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
