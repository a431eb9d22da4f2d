r"""What a denoiser returns, and the four faces of one estimate.

A noisy sample is :math:`z = \alpha x + \sigma \varepsilon`. Whoever knows ``z`` and one of

* ``x``: the clean sample,
* ``eps``: the noise ε,
* ``v``: the velocity α ε − σ x (Salimans & Ho 2022),
* ``score``: :math:`\nabla_z \log p(z) = -\varepsilon / \sigma`,

knows the other three. The conversions live here and nowhere else. Each is affine in the estimate, so a weighted
mean of two predictions at the same ``z`` is the same prediction whichever face one averages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from . import _checks
from .logsnr import as_logsnr, log_alpha_sigma, per_sample

__all__ = ["NULL", "Denoiser", "Kind", "NetDenoiser", "Prediction"]

NULL = -1
"""The class index that stands for ∅: no class, the unconditional model."""

Kind = Literal["x", "eps", "v", "score"]


@runtime_checkable
class Denoiser(Protocol):
    """A function of a noisy sample, its log-SNR and a class: the one interface of the package.

    ``z`` (b, \\*d); ``logsnr`` (b,) or scalar; ``y`` (b,) int64, where :data:`NULL` is ∅ for that sample and ``None``
    is ∅ for all.
    """

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction: ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """One estimate at ``z``, read as clean sample, noise, velocity or score.

    Args:
        z: noisy samples, (b, \\*d).
        logsnr: log-SNR λ, () or (b,).
        estimate: the estimate itself, of the shape of ``z``.
        kind: which of the four the estimate is.

    Raises:
        ValueError: the shapes differ, ``logsnr`` is not one value or one a sample, or ``kind`` is unknown.

    Source: Salimans & Ho 2022 (v); Ho & Salimans 2022, §2 (the rest).
    """

    z: Tensor
    logsnr: Tensor
    estimate: Tensor
    kind: Kind

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: got {self.kind!r}, takes one of {', '.join(get_args(Kind))}")
        if self.estimate.shape != self.z.shape:
            raise ValueError(
                f"estimate: got shape {tuple(self.estimate.shape)}, takes that of z, {tuple(self.z.shape)}"
            )
        levels = tuple(self.logsnr.shape) if isinstance(self.logsnr, Tensor) else ()
        if levels not in ((), (1,), tuple(self.z.shape[:1])):
            raise ValueError(
                f"logsnr: got shape {levels}, takes one log-SNR or one per sample of shape {tuple(self.z.shape)}"
            )

    @classmethod
    def from_x(cls, z: Tensor, logsnr: Tensor, x: Tensor) -> Prediction:
        """The prediction whose clean sample is ``x``."""
        return cls(z, logsnr, x, "x")

    @classmethod
    def from_eps(cls, z: Tensor, logsnr: Tensor, eps: Tensor) -> Prediction:
        """The prediction whose noise is ``eps``."""
        return cls(z, logsnr, eps, "eps")

    @classmethod
    def from_v(cls, z: Tensor, logsnr: Tensor, v: Tensor) -> Prediction:
        """The prediction whose velocity is ``v``."""
        return cls(z, logsnr, v, "v")

    @classmethod
    def from_score(cls, z: Tensor, logsnr: Tensor, score: Tensor) -> Prediction:
        """The prediction whose score is ``score``."""
        return cls(z, logsnr, score, "score")

    @property
    def _alpha_sigma(self) -> tuple[Tensor, Tensor]:
        lam = torch.as_tensor(self.logsnr, dtype=self.z.dtype, device=self.z.device)
        log_alpha, log_sigma = log_alpha_sigma(lam)
        return per_sample(log_alpha.exp(), self.z), per_sample(log_sigma.exp(), self.z)

    @property
    def x(self) -> Tensor:
        """The clean sample x̂, (b, \\*d): (z − σ ε)/α."""
        alpha, sigma = self._alpha_sigma
        match self.kind:
            case "x":
                return self.estimate
            case "eps":
                return (self.z - sigma * self.estimate) / alpha
            case "v":
                return alpha * self.z - sigma * self.estimate
            case "score":
                return (self.z + sigma**2 * self.estimate) / alpha

    @property
    def eps(self) -> Tensor:
        """The noise ε̂, (b, \\*d): (z − α x)/σ."""
        alpha, sigma = self._alpha_sigma
        match self.kind:
            case "x":
                return (self.z - alpha * self.estimate) / sigma
            case "eps":
                return self.estimate
            case "v":
                return sigma * self.z + alpha * self.estimate
            case "score":
                return -sigma * self.estimate

    @property
    def v(self) -> Tensor:
        """The velocity v̂ = α ε̂ − σ x̂, (b, \\*d)."""
        alpha, sigma = self._alpha_sigma
        match self.kind:
            case "x":
                return (alpha * self.z - self.estimate) / sigma
            case "eps":
                return (self.estimate - sigma * self.z) / alpha
            case "v":
                return self.estimate
            case "score":
                return -sigma * (self.z + self.estimate) / alpha

    @property
    def score(self) -> Tensor:
        """The score ∇_z log p(z), (b, \\*d): −ε̂/σ."""
        return self.estimate if self.kind == "score" else -self.eps / self._alpha_sigma[1]

    def as_kind(self, kind: Kind) -> Tensor:
        """The estimate read as ``kind``."""
        if kind not in get_args(Kind):
            raise ValueError(f"kind: got {kind!r}, takes one of {', '.join(get_args(Kind))}")
        return self.estimate if kind == self.kind else getattr(self, kind)

    def mix(self, other: Prediction, weight: Tensor | float) -> Prediction:
        """Return ``(1 − weight)·self + weight·other``: the affine combination that guidance is made of.

        Weight 0 gives this prediction back and weight 1 the other, bit for bit. ``weight`` is a number, or a tensor
        that broadcasts with ``z``. Both predictions must stand at the same ``z`` and λ; that is the caller's care.
        """
        theirs = other.as_kind(self.kind)
        return Prediction(self.z, self.logsnr, (1 - weight) * self.estimate + weight * theirs, self.kind)


class NetDenoiser:
    """A torch module ``net(z, logsnr, y) -> tensor`` read as a denoiser.

    Args:
        net: called with z (b, \\*d), logsnr (b,) and y (b,) int64 with :data:`NULL` for ∅; returns the shape of z.
        kind: what the network's output means, ``"eps"``, ``"v"`` or ``"x"``.

    Raises:
        ValueError: unknown ``kind``; on a call, shapes or log-SNRs that do not fit, or a class that a network with an
            attribute ``num_classes`` does not have (looked at on the CPU only: a GPU would have to stop and answer).
    """

    def __init__(self, net: Callable[[Tensor, Tensor, Tensor], Tensor], kind: Kind = "eps") -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind: got {kind!r}, takes one of {', '.join(get_args(Kind))}")
        self.net = net
        self.kind: Kind = kind

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        if _checks.tensor("z", z).ndim == 0:
            raise ValueError("z: got shape (), takes (b, *d)")
        lam = as_logsnr("logsnr", logsnr, z, check=False).expand(len(z))
        y = torch.as_tensor(NULL if y is None else y, device=z.device)
        classes = getattr(self.net, "num_classes", None)
        if isinstance(classes, int) and y.device.type == "cpu":
            _checks.labels("y", y, classes, null=NULL)
        if y.ndim > 1 or (y.ndim == 1 and len(y) not in (1, len(z))):
            raise ValueError(f"y: got shape {tuple(y.shape)}, takes one class a sample, ({len(z)},)")
        return Prediction(z, lam, self.net(z, lam, y.expand(len(z))), self.kind)
