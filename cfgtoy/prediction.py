r"""What a denoiser returns, and the five faces of one estimate.

A noisy sample is z = α x + σ ε. Whoever knows z and one of the clean sample ``x``, the noise ``eps``, the velocity
``v`` = α ε − σ x (Salimans & Ho 2022), the velocity ``flow`` = ε − x of z_t = (1−t) x + t ε (Lipman et al. 2023; Liu et
al. 2022) and the ``score`` ∇_z log p(z) = −ε/σ knows the others. The conversions live here and nowhere else. Each is
affine in the estimate: a weighted mean of two predictions at one z is the same whichever face one averages.
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

Kind = Literal["x", "eps", "v", "flow", "score"]
_KINDS = get_args(Kind)


@runtime_checkable
class Denoiser(Protocol):
    """A function of a noisy sample, its log-SNR and a class: the one interface of the package.

    ``z`` (b, \\*d); ``logsnr`` (b,) or scalar; ``y`` (b,) int64, where :data:`NULL` is ∅ for that sample and ``None``
    is ∅ for all.
    """

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction: ...


Number = Tensor | float


def _face(kind: Kind, alpha: Tensor, sigma: Tensor) -> tuple[Number, Number, Number]:
    """a, b and D = α b − σ a of the kind a x + b ε; for v, D = α² + σ² is one exactly."""
    match kind:
        case "x":
            return 1.0, 0.0, -sigma
        case "eps":
            return 0.0, 1.0, alpha
        case "v":
            return -sigma, alpha, 1.0
        case "flow":
            return -1.0, 1.0, alpha + sigma
        case "score":
            return 0.0, -1 / sigma, -alpha / sigma


def _times(p: Number, q: Number) -> Number:
    """p q, without touching a tensor for 0, 1 or −1: a denoiser converts at every step, often few numbers."""
    if isinstance(p, float):
        p, q = q, p
    if isinstance(q, Tensor) or not isinstance(p, Tensor):
        return p * q
    return p if q == 1 else -p if q == -1 else 0.0 if q == 0 else p * q


@dataclass(frozen=True, eq=False)
class Prediction:
    """One estimate at ``z``, read as clean sample, noise, velocity, flow velocity or score.

    Args:
        z, logsnr: noisy samples, (b, \\*d), and log-SNR λ, () or (b,); −∞, pure noise, for an estimate of x, v or flow.
        estimate, kind: the estimate itself, of the shape of ``z``, and which of the five it is.

    Raises:
        ValueError: the shapes differ, ``logsnr`` is not one value or one a sample, or ``kind`` is unknown.

    Source: Salimans & Ho 2022 (v); Lipman et al. 2023 (flow); Ho & Salimans 2022, §2 (the rest).
    """

    z: Tensor
    logsnr: Tensor
    estimate: Tensor
    kind: Kind

    def __post_init__(self) -> None:
        _checks.one_of("kind", self.kind, _KINDS)
        shape = tuple(self.z.shape)
        if self.estimate.shape != shape:
            raise ValueError(f"estimate: got shape {tuple(self.estimate.shape)}, takes that of z, {shape}")
        levels = tuple(self.logsnr.shape) if isinstance(self.logsnr, Tensor) else ()
        if levels not in ((), (1,), shape[:1]):
            takes = f"one log-SNR or one per sample of shape {shape}"
            raise ValueError(f"logsnr: got shape {levels}, takes {takes}")

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
    def from_flow(cls, z: Tensor, logsnr: Tensor, flow: Tensor) -> Prediction:
        """The prediction whose flow velocity is ``flow``; ``z`` is z_λ, see :func:`cfgtoy.logsnr.from_flow`."""
        return cls(z, logsnr, flow, "flow")

    @classmethod
    def from_score(cls, z: Tensor, logsnr: Tensor, score: Tensor) -> Prediction:
        """The prediction whose score is ``score``."""
        return cls(z, logsnr, score, "score")

    @property
    def x(self) -> Tensor:
        """The clean sample x̂, (b, \\*d)."""
        return self.as_kind("x")

    @property
    def eps(self) -> Tensor:
        """The noise ε̂, (b, \\*d)."""
        return self.as_kind("eps")

    @property
    def v(self) -> Tensor:
        """The velocity v̂ = α ε̂ − σ x̂, (b, \\*d)."""
        return self.as_kind("v")

    @property
    def flow(self) -> Tensor:
        """The flow velocity û = ε̂ − x̂, (b, \\*d)."""
        return self.as_kind("flow")

    @property
    def score(self) -> Tensor:
        """The score ∇_z log p(z) = −ε̂/σ, (b, \\*d)."""
        return self.as_kind("score")

    def as_kind(self, kind: Kind) -> Tensor:
        """The estimate read as ``kind``.

        Raises ``ValueError`` for an unknown ``kind``, and at λ = −∞, where ε and the score say nothing of x, v and flow
        (looked at on the CPU only: a GPU would have to stop and answer).
        """
        offset, slope = self._line(self.kind, kind)
        if kind == self.kind:
            return self.estimate
        read = slope * self.estimate
        return read if offset is None else offset * self.z + read

    def slope(self, kind: Kind) -> Number:
        """By how much the reading as ``kind`` changes with the estimate: a number, or (b, 1, …).

        So the difference of two predictions of one kind, read as ``kind``, is ``slope`` times that of their estimates:
        nothing cancels that did not cancel before. Errors as in :meth:`as_kind`.
        """
        return self._line(self.kind, kind)[1]

    def plus(self, shift: Tensor, kind: Kind) -> Prediction:
        """This prediction with ``shift`` added to its reading as ``kind``; it keeps its own kind, and so its precision.

        Errors as in :meth:`as_kind`, with the two kinds exchanged.
        """
        moved = self.estimate + self._line(kind, self.kind)[1] * shift
        return Prediction(self.z, self.logsnr, moved, self.kind)

    def _line(self, have: Kind, want: Kind) -> tuple[Number | None, Number]:
        """``want`` = offset · z + slope · ``have``, an offset of None being zero: of z = α x + σ ε,
        ``have`` = a x + b ε and ``want`` = c x + d ε come (b c − a d) / D and (α d − σ c) / D, D = α b − σ a.
        """
        for kind in (have, want):
            _checks.one_of("kind", kind, _KINDS)
        if have == want:
            return None, 1.0
        lam = torch.as_tensor(self.logsnr, dtype=self.z.dtype, device=self.z.device)
        alpha, sigma = (per_sample(log.exp(), self.z) for log in log_alpha_sigma(lam))
        noise = ("eps", "score")
        if have in noise and want in noise:
            return None, -sigma if have == "score" else -1 / sigma
        if have in noise and lam.device.type == "cpu" and lam.numel() and lam.amin().item() == -torch.inf:
            takes = f"an estimate of x, v or flow: pure noise does not say what {want} is"
            raise ValueError(f"logsnr: got −inf for an estimate of {have}, takes finite levels, or {takes}")
        a, b, det = _face(have, alpha, sigma)
        c, d, numerator = _face(want, alpha, sigma)
        offset = _times(b, c) - _times(a, d)
        return (offset, numerator) if have == "v" else (offset / det, numerator / det)

    def mix(self, other: Prediction, weight: Tensor | float) -> Prediction:
        """Return ``(1 − weight)·self + weight·other``: the affine combination that guidance is made of.

        Weight 0 gives this prediction back and 1 the other, bit for bit. ``weight`` is a number, or broadcasts with
        ``z``. Both predictions must stand at the same ``z`` and λ; that is the caller's care.
        """
        theirs = other.as_kind(self.kind)
        return Prediction(self.z, self.logsnr, (1 - weight) * self.estimate + weight * theirs, self.kind)


class NetDenoiser:
    """A torch module ``net(z, logsnr, y) -> tensor`` read as a denoiser.

    Args:
        net: called with z (b, \\*d), logsnr (b,) and y (b,) int64 with :data:`NULL` for ∅; returns the shape of z.
        kind: what the network's output means, ``"eps"``, ``"v"``, ``"x"`` or ``"flow"``. Whichever it is, the network
            is called with z_λ = α x + σ ε; one that wants z_t takes :func:`cfgtoy.logsnr.to_flow` of it.

    Raises:
        ValueError: unknown ``kind``; on a call, shapes or log-SNRs that do not fit, or a class that a network with an
            attribute ``num_classes`` does not have (looked at on the CPU only: a GPU would have to stop and answer).
    """

    def __init__(self, net: Callable[[Tensor, Tensor, Tensor], Tensor], kind: Kind = "eps") -> None:
        self.net = net
        self.kind: Kind = _checks.one_of("kind", kind, _KINDS)

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        _checks.require(_checks.tensor("z", z).ndim, "z", z, "(b, *d)")
        lam = as_logsnr("logsnr", logsnr, z, check=False).expand(len(z))
        y = torch.as_tensor(NULL if y is None else y, device=z.device)
        classes = getattr(self.net, "num_classes", None)
        if isinstance(classes, int) and y.device.type == "cpu":
            _checks.labels("y", y, classes, null=NULL)
        fits = y.ndim == 0 or tuple(y.shape) in ((1,), (len(z),))
        _checks.require(fits, "y", y, f"one class a sample, ({len(z)},)")
        return Prediction(z, lam, self.net(z, lam, y.expand(len(z))), self.kind)
