"""Noise schedules: how log-SNR λ is spread over (0, 1).

A schedule is a falling map from u (0 clean … 1 noise) to λ ∈ [lo, hi]. Read as a law for u ~ U(0, 1) it says how often
training visits each noise level; read at evenly spaced u it gives the levels a sampler walks through. All are cut to
[lo, hi], have their exact density, and compute in float64 inside.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from . import _checks
from .logsnr import log1mexp

__all__ = [
    "Cosine",
    "LinearBeta",
    "LogNormal",
    "LogitNormal",
    "RectifiedFlow",
    "Schedule",
    "Shifted",
    "Uniform",
    "from_json",
]


class Schedule(ABC):
    """What every schedule can do. Subclasses give λ(u), its inverse and the log density, all in float64."""

    lo: float
    hi: float

    @abstractmethod
    def _logsnr(self, u: Tensor) -> Tensor: ...

    @abstractmethod
    def _u(self, lam: Tensor) -> Tensor: ...

    @abstractmethod
    def _log_density(self, lam: Tensor) -> Tensor: ...

    def __post_init__(self) -> None:
        lo, hi = _checks.number("lo", self.lo), _checks.number("hi", self.hi)
        _checks.require(lo < hi, "lo", f"{lo:g} with hi = {hi:g}", "less than hi")

    def logsnr(self, u: Tensor) -> Tensor:
        """λ at ``u`` ∈ [0, 1] (else ``ValueError``), any shape; u = 0 is the clean end, hi, and u = 1 the noisy one."""
        _within("u", _checks.finite("u", u), 0.0, 1.0)
        return self._logsnr(u.double()).clamp(self.lo, self.hi).to(u.dtype)

    def u(self, logsnr: Tensor) -> Tensor:
        """The inverse of :meth:`logsnr`: u ∈ [0, 1] at λ ∈ [lo, hi] (else ``ValueError``), any shape."""
        _checks.finite("logsnr", logsnr)
        # One float32 rounding of an end point is let pass.
        _within("logsnr", logsnr, self.lo, self.hi, 1e-6 * max(1.0, abs(self.lo), abs(self.hi)))
        return self._u(logsnr.double().clamp(self.lo, self.hi)).clamp(0, 1).to(logsnr.dtype)

    def log_density(self, logsnr: Tensor) -> Tensor:
        """Log density of λ(u), u ~ U(0, 1), at finite ``logsnr`` (else ``ValueError``), any shape; −∞ off [lo, hi]."""
        _checks.finite("logsnr", logsnr)
        # The ends as the caller's dtype holds them.
        lo, hi = torch.tensor([self.lo, self.hi], dtype=torch.float64).to(logsnr)
        inside = (logsnr >= lo) & (logsnr <= hi)
        value = self._log_density(logsnr.double().clamp(self.lo, self.hi)).to(logsnr.dtype)
        return value.masked_fill(~inside, -math.inf)

    def sample(
        self,
        n: int,
        generator: Generator | None = None,
        *,
        stratified: bool = False,
        antithetic: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw ``n`` log-SNRs with the schedule's density, (n,), on ``device``, by default the generator's.

        Args:
            n, generator: how many, at least one, and the source of randomness.
            stratified: one draw from each of n equal slices of (0, 1), shuffled: less noise in a batch's loss, and no
                tie between a sample's place in the batch and its noise level. Source: Kingma et al. 2021, app. I.1.
            antithetic: the second half mirrors the first, u ↦ 1 − u; ``ValueError`` with ``stratified``.
        """
        _checks.positive_int("n", n)
        one = not (stratified and antithetic)
        _checks.require(one, "antithetic", "True with stratified=True", "one of the two")
        if device is None and generator is not None:
            device = generator.device
        draws = (n + 1) // 2 if antithetic else n
        u = torch.rand(draws, generator=generator, device=device, dtype=torch.float64)
        if stratified:
            u = (torch.rand(n, generator=generator, device=device).argsort() + u) / n
        if antithetic:
            u = torch.cat([u, 1 - u])[:n]
        return self._logsnr(u).clamp(self.lo, self.hi).to(dtype)

    def grid(
        self, steps: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The rising levels λ_1 = lo < … < λ_T = hi of a sampler with T = ``steps``, (T,): evenly spaced in u.

        Raises ``ValueError`` unless ``steps`` is a positive integer, and so small that neighbours do not round to one
        number. Source: Ho & Salimans 2022, Algorithm 2.
        """
        _checks.positive_int("steps", steps)
        grid = self._logsnr(torch.linspace(1, 0, steps, dtype=torch.float64)).clamp(self.lo, self.hi)
        grid[0] = self.lo
        if steps > 1:
            grid[-1] = self.hi
        return _checks.rising("steps", grid.to(dtype=dtype)).to(device)

    def to_json(self) -> dict[str, Any]:
        """``{"class": …, "args": {…}}``, JSON types all through, of which :func:`from_json` makes the same schedule."""
        args = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        args = {name: arg.to_json() if isinstance(arg, Schedule) else arg for name, arg in args.items()}
        return {"class": type(self).__name__, "args": args}


def _within(name: str, value: Tensor, lo: float, hi: float, slack: float = 0.0) -> None:
    if not bool(((value >= lo - slack) & (value <= hi + slack)).all()):
        got = f"values in [{value.min():g}, {value.max():g}]"
        raise ValueError(f"{name}: got {got}, takes values in [{lo:g}, {hi:g}]")


def from_json(meta: Mapping[str, Any]) -> Schedule:
    """The schedule that :meth:`Schedule.to_json` described; also :func:`cfgtoy.artifacts.schedule_from_meta`.

    Raises ``ValueError`` for no such mapping, a class that is none of this module's, or arguments it does not take.
    """
    if not isinstance(meta, Mapping) or not isinstance(meta.get("args", {}), Mapping):
        raise ValueError(f'schedule: got {meta!r}, takes {{"class": …, "args": {{…}}}}')
    kinds = [name for name in __all__ if name not in ("Schedule", "from_json")]
    name = str(meta.get("class"))
    _checks.require(name in kinds, "schedule", f"class {name!r}", f"one of {', '.join(kinds)}")
    kind = globals()[name]
    args = {k: from_json(v) if isinstance(v, Mapping) else v for k, v in meta.get("args", {}).items()}
    try:
        return kind(**args)
    except TypeError:
        takes = ", ".join(f.name for f in dataclasses.fields(kind))
        raise ValueError(f"schedule: got {name} with {', '.join(map(str, args))}, takes {takes}") from None


@dataclass(frozen=True)
class Uniform(Schedule):
    """λ uniform on [lo, hi]: λ = hi − (hi − lo) u. Source: Ho & Salimans 2022, §2 (with λ ∈ [−20, 20])."""

    lo: float = -20.0
    hi: float = 20.0

    def _logsnr(self, u: Tensor) -> Tensor:
        return self.hi - (self.hi - self.lo) * u

    def _u(self, lam: Tensor) -> Tensor:
        return (self.hi - lam) / (self.hi - self.lo)

    def _log_density(self, lam: Tensor) -> Tensor:
        return torch.full_like(lam, -math.log(self.hi - self.lo))


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""The continuous cosine schedule λ = −2 log tan(au + b): a hyperbolic secant law cut to [lo, hi].

    b = arctan(e^{−hi/2}) and a = arctan(e^{−lo/2}) − b. The density is 1 / (4a cosh(λ/2)).

    Source: Ho & Salimans 2022, §2; Nichol & Dhariwal 2021, eq. 17 (without its offset s).
    """

    lo: float = -20.0
    hi: float = 20.0

    @property
    def b(self) -> float:
        """The angle at u = 0, in radians."""
        return math.atan(math.exp(-self.hi / 2))

    @property
    def a(self) -> float:
        """The angle between u = 0 and u = 1, in radians."""
        return math.pi / 2 - math.atan(math.exp(self.lo / 2)) - self.b

    def _logsnr(self, u: Tensor) -> Tensor:
        # Past the middle, measure the angle from π/2: there tan loses what cot keeps.
        from_clean = self.a * u + self.b
        from_noise = self.a * (1 - u) + math.atan(math.exp(self.lo / 2))
        first = u <= 0.5
        return torch.where(first, -2 * from_clean.tan().log(), 2 * from_noise.tan().log())

    def _u(self, lam: Tensor) -> Tensor:
        from_clean = (torch.exp(-lam / 2).atan() - self.b) / self.a
        from_noise = 1 - (torch.exp(lam / 2).atan() - math.atan(math.exp(self.lo / 2))) / self.a
        return torch.where(lam >= 0, from_clean, from_noise)

    def _log_density(self, lam: Tensor) -> Tensor:
        log_cosh = lam.abs() / 2 + F.softplus(-lam.abs()) - math.log(2)
        return -math.log(4 * self.a) - log_cosh


@dataclass(frozen=True)
class LinearBeta(Schedule):
    r"""DDPM's linear β in continuous time: α² = exp(−B(t)), B(t) = β_min t + ½ (β_max − β_min) t², t ∈ (0, 1].

    The defaults are DDPM's β_1 = 1e−4, β_T = 0.02 times its T = 1000 steps. u runs evenly in t between the two ends.

    Args:
        beta_min, beta_max: rates at t = 0 and t = 1, 0 ≤ beta_min ≤ beta_max.
        lo, hi: noisy end, by default where t = 1, about −10.05; clean end (t = 0 itself would be λ = ∞).

    Source: Ho et al. 2020, §4; Song et al. 2021, app. C.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    lo: float = math.nan  # filled in below from the rates
    hi: float = 20.0

    def __post_init__(self) -> None:
        _checks.number("beta_min", self.beta_min, lo=0.0)
        _checks.number("beta_max", self.beta_max, lo=max(self.beta_min, 1e-12))
        if math.isnan(self.lo):
            total = (self.beta_min + self.beta_max) / 2
            object.__setattr__(self, "lo", -math.log(math.expm1(total)))
        super().__post_init__()

    def _t(self, lam: Tensor) -> Tensor:
        total = F.softplus(-lam)  # B, from α² = e^{−B}
        slope = self.beta_max - self.beta_min
        return 2 * total / (self.beta_min + (self.beta_min**2 + 2 * slope * total).sqrt())

    def _ends(self) -> list[float]:
        return self._t(torch.tensor([self.hi, self.lo], dtype=torch.float64)).tolist()

    def _logsnr(self, u: Tensor) -> Tensor:
        clean, noisy = self._ends()
        t = clean + (noisy - clean) * u
        total = self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2
        return -(total + log1mexp(-total))  # −log(e^B − 1)

    def _u(self, lam: Tensor) -> Tensor:
        clean, noisy = self._ends()
        return (self._t(lam) - clean) / (noisy - clean)

    def _log_density(self, lam: Tensor) -> Tensor:
        clean, noisy = self._ends()
        t = self._t(lam)
        rate = self.beta_min + (self.beta_max - self.beta_min) * t
        return -math.log(noisy - clean) - rate.log() + log1mexp(-F.softplus(-lam))


@dataclass(frozen=True)
class LogNormal(Schedule):
    r"""EDM's training law: log(σ/α) ~ N(mean, std²), so λ = −2 log(σ/α) ~ N(−2 mean, 4 std²), cut to [lo, hi].

    Source: Karras et al. 2022, table 1 (P_mean = −1.2, P_std = 1.2).
    """

    mean: float = -1.2
    std: float = 1.2
    lo: float = -20.0
    hi: float = 20.0

    def __post_init__(self) -> None:
        _checks.number("mean", self.mean)
        _checks.number("std", self.std, lo=0.0, open=True)
        super().__post_init__()
        below, above = self._tails()
        _checks.require(above > below, "mean", f"{self.mean!r}", "one that leaves some mass in [lo, hi]")

    def _standard(self, lam: Tensor) -> Tensor:
        return (lam + 2 * self.mean) / (2 * self.std)

    def _tail(self, lam: Tensor) -> Tensor:
        """P(λ' > λ) of the uncut law: an upper tail, accurate at the clean end."""
        return torch.special.ndtr(-self._standard(lam))

    def _tails(self) -> list[float]:
        return self._tail(torch.tensor([self.hi, self.lo], dtype=torch.float64)).tolist()

    def _logsnr(self, u: Tensor) -> Tensor:
        below, above = self._tails()
        return -2 * self.mean - 2 * self.std * torch.special.ndtri(below + (above - below) * u)

    def _u(self, lam: Tensor) -> Tensor:
        below, above = self._tails()
        return (self._tail(lam) - below) / (above - below)

    def _log_density(self, lam: Tensor) -> Tensor:
        below, above = self._tails()
        scale = 2 * self.std * math.sqrt(2 * math.pi) * (above - below)
        return -0.5 * self._standard(lam) ** 2 - math.log(scale)


@dataclass(frozen=True)
class LogitNormal(LogNormal):
    r"""Stable Diffusion 3's training law on the straight path: log(t/(1−t)) ~ N(mean, std²), λ = 2 log((1−t)/t).

    On that path t/(1−t) is σ/α, so this is :class:`LogNormal` with the defaults that suit it. Cut to [lo, hi].

    Source: Esser et al. 2024, eq. 19 (rf/lognorm(0.00, 1.00)).
    """

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    r"""The straight path z_t = (1−t) x + t ε with t uniform: λ = 2 log((1−t)/t), a logistic law cut to [lo, hi].

    σ/α is t/(1−t), whatever z is divided by to give it unit variance. The density is t(1−t)/2 over the length of the
    range of t, which is all of (0, 1) but for the ends: 9e−5 of it at ±20.

    Source: Liu et al. 2022, eq. 1; Lipman et al. 2023 (conditional optimal transport).
    """

    lo: float = -20.0
    hi: float = 20.0

    def _t_above(self, lam: Tensor, base: float) -> Tensor:
        """t(λ) − t(base) with no cancellation: sigmoid(a) − sigmoid(b) = sigmoid(a) sigmoid(−b) (1 − e^{b−a})."""
        a, b = -lam / 2, torch.tensor(-base / 2, dtype=lam.dtype)
        return torch.sigmoid(a) * torch.sigmoid(-b) * -torch.expm1(b - a)

    @property
    def _mass(self) -> float:
        """The length of the range of t."""
        return self._t_above(torch.tensor(self.lo, dtype=torch.float64), self.hi).item()

    def _logsnr(self, u: Tensor) -> Tensor:
        # t and 1 − t each measured from its own end: neither is small by cancellation.
        t = 1 / (1 + math.exp(self.hi / 2)) + self._mass * u
        rest = 1 / (1 + math.exp(-self.lo / 2)) + self._mass * (1 - u)
        return 2 * (rest.log() - t.log())

    def _u(self, lam: Tensor) -> Tensor:
        return self._t_above(lam, self.hi) / self._mass

    def _log_density(self, lam: Tensor) -> Tensor:
        return F.logsigmoid(lam / 2) + F.logsigmoid(-lam / 2) - math.log(2 * self._mass)


@dataclass(frozen=True)
class Shifted(Schedule):
    """``base`` with ``shift`` added to every λ, its ends included: the same schedule for another resolution.

    A flow's shift of time, t' = s t/(1 + (s−1) t) (Esser et al. 2024, eq. 23), is this one by −2 log s.

    Source: Hoogeboom, Heek & Salimans 2023, eq. 4.
    """

    base: Schedule
    shift: float

    def __post_init__(self) -> None:
        if not isinstance(self.base, Schedule):
            raise ValueError(f"base: got {type(self.base).__name__}, takes a Schedule")
        _checks.number("shift", self.shift)

    @classmethod
    def for_resolution(cls, base: Schedule, size: int, reference: int = 64) -> Shifted:
        """``base``, made for images of ``reference`` pixels a side, for ``size``: shift 2 log(reference/size)."""
        _checks.positive_int("size", size)
        _checks.positive_int("reference", reference)
        return cls(base, 2 * math.log(reference / size))

    @property
    def lo(self) -> float:  # type: ignore[override]
        """λ_min."""
        return self.base.lo + self.shift

    @property
    def hi(self) -> float:  # type: ignore[override]
        """λ_max."""
        return self.base.hi + self.shift

    def _logsnr(self, u: Tensor) -> Tensor:
        return self.base._logsnr(u) + self.shift

    def _u(self, lam: Tensor) -> Tensor:
        return self.base._u(lam - self.shift)

    def _log_density(self, lam: Tensor) -> Tensor:
        return self.base._log_density(lam - self.shift)
