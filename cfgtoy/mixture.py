r"""Gaussian mixtures under diffusion: every density, score and posterior exact.

A component N(μ, Σ) diffused to log-SNR λ is N(αμ, α²Σ + σ²I), and a mixture stays a mixture. That makes it a perfect
denoiser: the truth that a trained network is held against. Two choices keep the numbers good. Each covariance is
diagonalised once, differences are formed before anything is squared, and densities are only added inside
``logsumexp``. And the estimate is the velocity v = αε − σx, which is well-conditioned at both ends of the noise scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Generator, Tensor

from . import _checks
from .logsnr import as_logsnr, log_alpha_sigma
from .prediction import NULL, Prediction

__all__ = ["GaussianMixture"]

_LOG_2PI = math.log(2 * math.pi)
_UNROLL = 4  # up to this dimension rotations are written out: quicker than a matrix product, and the same in any batch
_PAIRS = 2**19  # samples times components worked on at once, so that a CPU keeps them in its cache


class GaussianMixture:
    """A labelled Gaussian mixture, and the exact denoiser of its diffusion.

    Args:
        means: (k, d).
        covs: covariances: a number or (k,) isotropic variances, (k, d) diagonal ones, or (k, d, d) full.
        weights: (k,) positive, normalised here; equal when absent.
        labels: (k,) integer class of each component, 0 … C − 1; each component its own class when absent.

    Attributes:
        means, covs, weights, labels, num_classes: as tensors, ``covs`` as (k, d, d); and C.

    Raises:
        ValueError: shapes that do not fit, NaN, a covariance that is not symmetric positive definite, a weight that is
            not positive, or labels that leave a class empty.
    """

    def __init__(
        self, means: Tensor, covs: Tensor | float, weights: Tensor | None = None, labels: Tensor | None = None
    ) -> None:
        self.means = means = _checks.finite("means", means)
        _checks.require(means.ndim == 2 and means.numel(), "means", means, "(k, d)")
        k = len(means)
        self._variances, self._basis = _diagonalise(covs, means)  # (k, d), (k, d, d) or None
        # The same with the components last, which is how batches are worked on.
        self._means_t = means.mT.contiguous()[:, None]  # (d, 1, k)
        self._variances_t = self._variances.mT.contiguous()[:, None]  # (d, 1, k)
        self._rest_t = 1 - self._variances_t  # I − Σ along the eigenvectors
        self._basis_t = None  # (d, d, 1, k): only where products are written out
        if self._basis is not None and self.dim <= _UNROLL:
            self._basis_t = self._basis.permute(1, 2, 0).contiguous()[:, :, None]
            self._rest_t = ((self._basis_t * self._rest_t)[:, None] * self._basis_t).sum(2)  # (d, d, 1, k)
        weights = means.new_ones(k) if weights is None else _checks.finite("weights", weights).to(means)
        positive = weights.shape == (k,) and bool((weights > 0).all())
        _checks.require(positive, "weights", weights, f"(k,) = ({k},) positive numbers")
        self.weights = weights / weights.sum()
        labels = torch.arange(k) if labels is None else _checks.labels("labels", labels, k, null=None)
        self.labels = labels = labels.to(means.device, torch.int64)
        self.num_classes = int(labels.max()) + 1 if labels.numel() else 0
        full = labels.shape == (k,) and len(labels.unique()) == self.num_classes
        _checks.require(full, "labels", f"{labels.tolist()}", "one class a component, none of 0 … C−1 empty")
        # Row c holds log p(component | c), and the last row, which y = NULL = −1 picks, log p(component).
        log_w = self.weights.log()
        own = labels == torch.arange(self.num_classes, device=labels.device)[:, None]  # (C, k)
        by_class = log_w.expand(self.num_classes, k).masked_fill(~own, -math.inf)
        self._log_prior = by_class.logsumexp(1)  # (C,) log p(c)
        self._log_weights = torch.cat([by_class - self._log_prior[:, None], log_w[None]])  # (C + 1, k)

    @property
    def dim(self) -> int:
        """d, the dimension of a sample."""
        return self.means.shape[1]

    @property
    def num_components(self) -> int:
        """k."""
        return self.means.shape[0]

    @property
    def class_weights(self) -> Tensor:
        """p(c), (C,)."""
        return self._log_prior.exp()

    @property
    def covs(self) -> Tensor:
        """Covariances as full matrices, (k, d, d)."""
        if self._basis is None:
            return torch.diag_embed(self._variances)
        return self._basis * self._variances[:, None] @ self._basis.mT

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GaussianMixture:
        """The same mixture on another device or in another floating-point type."""
        means = self.means.to(device=device, dtype=dtype)
        covs = self._variances if self._basis is None else self.covs
        return GaussianMixture(means, covs.to(means), self.weights.to(means), self.labels.to(means.device))

    def mean_cov(self, y: int | None = None) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of p(x | y), or of p(x) when ``y`` is None. Exact."""
        row = self._class(y, 1)[0]
        w = self._log_weights[row].exp()
        mean = w @ self.means
        gap = self.means - mean
        return mean, torch.einsum("k,kij->ij", w, self.covs) + torch.einsum("k,ki,kj->ij", w, gap, gap)

    def __repr__(self) -> str:
        inside = f"{self.num_components} components in {self.dim}-D, {self.num_classes} classes"
        return f"GaussianMixture({inside}, {self.means.dtype})"

    def log_prob(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """log p(z_λ | y), (b,), of z (b, d) at log-SNR () or (b,); log p(z_λ) where ``y`` is None or NULL.

        ``y`` holds classes, (b,) int64, or one int for all. Raises ``ValueError`` for NaN, a class that does not exist,
        or shapes that do not fit.
        """
        return self._in_slices(lambda *at: self._joint(*at)[0].logsumexp(1), "lam", z, lam, y)

    def score(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """∇_z log p(z_λ | y), (b, d). Arguments and errors as in :meth:`log_prob`."""

        def minus_pull(z: Tensor, level: _Level, prior: Tensor) -> Tensor:
            joint, half = self._joint(z, level, prior)  # −C⁻¹δ is the score of one component
            return -_mean(joint, self._pull(half, level))

        return self._in_slices(minus_pull, "lam", z, lam, y)

    def class_log_prob(self, z: Tensor, lam: Tensor | float) -> Tensor:
        """log p(c | z_λ) for every class, (b, C): the Bayes classifier of noisy samples. As in :meth:`log_prob`."""

        def by_class(z: Tensor, level: _Level, prior: Tensor) -> Tensor:
            joint, _ = self._joint(z, level, prior)
            logits = [joint[:, self.labels == c].logsumexp(1) for c in range(self.num_classes)]
            return torch.stack(logits, 1).log_softmax(1)

        return self._in_slices(by_class, "lam", z, lam, None)

    def tilted_log_prob(self, z: Tensor, lam: Tensor | float, y: Tensor | int, w: Tensor | float) -> Tensor:
        """log p(z_λ | y) + w log p(y | z_λ), (b,): the target that guidance is often said to sample. Unnormalised.

        ``w`` is () or (b,). Arguments and errors as in :meth:`log_prob`, but NULL is not a class here, and ``w`` is
        finite. Source: Ho & Salimans 2022, §3.1.
        """
        w = _checks.finite("w", w) if isinstance(w, Tensor) else _checks.number("w", w)
        _checks.require(_checks.tensor("z", z).ndim == 2, "z", z, f"(b, {self.dim})")
        if isinstance(w, Tensor) and tuple(w.shape) not in ((), (1,), (len(z),)):
            raise ValueError(f"w: got shape {tuple(w.shape)}, takes one number or one a sample, ({len(z)},)")
        rows = self._class(y, len(z))
        if bool((rows == NULL).any()):
            raise ValueError(f"y: got {NULL} (no class), takes a class in 0 … {self.num_classes - 1}")
        posterior = self.class_log_prob(z, lam).gather(1, rows[:, None])[:, 0]
        return self.log_prob(z, lam, rows) + w * posterior

    def __call__(self, z: Tensor, logsnr: Tensor | float, y: Tensor | int | None = None) -> Prediction:
        """The exact prediction at ``z``: its ``x`` is E[x | z_λ, y] and its ``score`` is ∇ log p(z_λ | y).

        Arguments and errors as in :meth:`log_prob`; a tensor of log-SNRs may hold −∞, pure noise.
        """

        def velocity(z: Tensor, level: _Level, prior: Tensor) -> Tensor:
            joint, half = self._joint(z, level, prior)
            # v = αε − σx with ε = σC⁻¹δ and x = μ + αΣC⁻¹δ, a component at a time: no small difference of large ones.
            rest = self._rest_of_pull(half, level)  # (I − Σ)C⁻¹δ
            sigma, scale = level.sigma, level.alpha * level.sigma  # (b or 1, 1)
            if isinstance(rest, Tensor):
                return _mean(joint, scale * rest - sigma * self._means_t)
            return _mean(joint, [scale * r - sigma * m for r, m in zip(rest, self._means_t, strict=True)])

        v = self._in_slices(velocity, "logsnr", z, logsnr, y)
        return Prediction(z, as_logsnr("logsnr", logsnr, z, check=False), v, "v")

    def posterior_mean(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """E[x | z_λ, y], (b, d). Arguments and errors as in :meth:`log_prob`."""
        return self(z, lam, y).x

    def sample(self, n: int, y: Tensor | int | None = None, generator: Generator | None = None) -> Tensor:
        """Draw ``n`` clean samples x ~ p(x | y), (n, d), by a ``generator`` on the mixture's device.

        ``y`` holds classes, (n,), or one for all; None is p(x). Raises ``ValueError`` unless ``n`` is a positive
        integer and the classes exist.
        """
        return self._draw(_checks.positive_int("n", n), y, generator)[0]

    def sample_labeled(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw ``n`` pairs: x ~ p(x), (n, d), and the class of the component it came from, (n,) int64."""
        x, component = self._draw(_checks.positive_int("n", n), None, generator)
        return x, self.labels[component]

    def _draw(self, n: int, y: Tensor | int | None, generator: Generator | None) -> tuple[Tensor, Tensor]:
        rows = self._class(y, n)
        # Inverse of the cumulative weights: one uniform number a sample, the same on every device.
        cumulative = self._log_weights.exp().cumsum(1)[rows]  # (n, k)
        u = torch.rand(n, 1, generator=generator, dtype=self.means.dtype, device=self.means.device)
        component = (u * cumulative[:, -1:] >= cumulative).sum(1).clamp(max=self.num_components - 1)
        noise = torch.randn(n, self.dim, generator=generator, dtype=u.dtype, device=u.device)
        noise = noise * self._variances[component].sqrt()
        if self._basis is not None:
            noise = torch.einsum("nij,nj->ni", self._basis[component], noise)
        return self.means[component] + noise, component

    def _class(self, y: Tensor | int | None, n: int) -> Tensor:
        """``y`` as rows (n,) of ``_log_weights``; NULL = −1 is its last row."""
        if not isinstance(y, Tensor):
            y = torch.tensor(NULL if y is None else y)
        y = _checks.labels("y", y, self.num_classes, null=NULL).to(self.means.device)
        _checks.require(y.ndim == 0 or len(y) in (1, n), "y", y, f"({n},), one class a sample")
        return y.expand(n)

    def _in_slices(
        self,
        evaluate: Callable[[Tensor, _Level, Tensor], Tensor],
        name: str,
        z: Tensor,
        lam: Tensor | float,
        y: Tensor | int | None,
    ) -> Tensor:
        """``evaluate(z (n, d), level, log p(component | y) (n or 1, k))`` on slices of the checked batch."""
        fits = _checks.finite("z", z).ndim == 2 and z.shape[1] == self.dim
        _checks.require(fits, "z", z, f"(b, {self.dim})")
        # The denoiser's velocity is defined at −∞ too, as −E[x | y].
        lam = as_logsnr(name, lam, z, noise=name == "logsnr").reshape(-1, 1)  # (b or 1, 1)
        rows = slice(NULL, None) if y is None else self._class(y, len(z))
        prior = self._log_weights[rows]  # (1 or b, k)
        per_sample = self.num_components * max(1, self.dim // _UNROLL)
        size = max(1, _PAIRS // per_sample) if z.device.type == "cpu" else len(z)
        if len(z) <= size:
            return evaluate(z, self._level(lam), prior)
        levels: Iterable[_Level]
        levels = repeat(self._level(lam)) if len(lam) == 1 else map(self._level, lam.split(size))
        priors = repeat(prior) if len(prior) == 1 else prior.split(size)
        return torch.cat([evaluate(*part) for part in zip(z.split(size), levels, priors, strict=False)])

    def _level(self, lam: Tensor) -> _Level:
        """What does not depend on z, at λ (n or 1, 1)."""
        log_alpha, log_sigma = log_alpha_sigma(lam)
        alpha, sigma = log_alpha.exp(), log_sigma.exp()
        inv_std = ((2 * log_alpha).exp() * self._variances_t + (2 * log_sigma).exp()).rsqrt()  # (d, n, k)
        log_peak = inv_std.log().sum(0) - 0.5 * self.dim * _LOG_2PI  # (n, k)
        if self._basis_t is None:
            return _Level(alpha, sigma, alpha * self._means_t, log_peak, inv_std.square(), None)
        precision, shear = _sheared(self._basis_t * inv_std)
        return _Level(alpha, sigma, alpha * self._means_t, log_peak, precision, shear)

    def _joint(self, z: Tensor, level: _Level, prior: Tensor) -> tuple[Tensor, Columns]:
        """log p(z, component | y), (b, k), and DMδ for δ = z − αμ, d times (b, k): half of the way to C⁻¹δ."""
        if self.dim > _UNROLL:
            turned = z.t()[:, :, None] - level.means
            if self._basis is not None:
                turned = torch.einsum("ibk,kij->jbk", turned, self._basis)
            half = level.precision * turned
            return prior + level.log_peak - 0.5 * (turned * half).sum(0), half
        delta = [z[:, i : i + 1] - mean for i, mean in enumerate(level.means)]
        for i, row in enumerate(level.shear or ()):
            delta[i] = _plus_dot(delta[i], delta[i + 1 :], row)  # Mδ
        columns = [p * column for p, column in zip(level.precision, delta, strict=True)]  # DMδ
        joint = torch.addcmul(prior + level.log_peak, delta[0], columns[0], value=-0.5)  # (b, k)
        for column, pulled in zip(delta[1:], columns[1:], strict=True):
            joint.addcmul_(column, pulled, value=-0.5)
        return joint, columns

    def _pull(self, half: Columns, level: _Level) -> Columns:
        """C⁻¹δ = MᵀDMδ, d times (b, k)."""
        if level.shear is not None:
            rows = [[level.shear[i][j - i - 1] for i in range(j)] for j in range(self.dim)]
            return [_plus_dot(half[j], half[:j], row) for j, row in enumerate(rows)]
        return half if self._basis is None else torch.einsum("jbk,kij->ibk", half, self._basis)

    def _rest_of_pull(self, half: Columns, level: _Level) -> Columns:
        """(I − Σ)C⁻¹δ, d times (b, k)."""
        if self._basis_t is None:
            if isinstance(half, Tensor):
                return self._pull(self._rest_t * half, level)
            return [r * column for r, column in zip(self._rest_t, half, strict=True)]
        pull = self._pull(half, level)
        return [_plus_dot(row[0] * pull[0], pull[1:], row[1:]) for row in self._rest_t]


Columns = Sequence[Tensor] | Tensor
"""The d coordinates of one vector for each sample and component, each (b, k): written out up to _UNROLL of them."""


@dataclass(frozen=True)
class _Level:
    """One noise level for all samples (n = 1), or one for each of n.

    The precision C⁻¹ is MᵀDM with D diagonal: a sum of squares in any dimension. M is the identity for diagonal
    covariances, a shear in few dimensions, where it takes the fewest products, and the eigenbasis elsewhere.
    """

    alpha: Tensor  # (n, 1)
    sigma: Tensor  # (n, 1)
    means: Tensor  # αμ, (d, n, k)
    log_peak: Tensor  # log density of each component at its mean, (n, k)
    precision: Tensor  # the diagonal of D, (d, n, k)
    shear: list[list[Tensor]] | None  # a unit triangular M above its diagonal, by rows, each (n, k)


def _sheared(white: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """Precision and shear of C⁻¹ = WᵀW, with W given by its columns, (d, d, n, k).

    Gram–Schmidt on the columns: the precision itself is never formed, so nothing cancels in it.
    """
    columns, precision, shear = list(white), [], []
    for i, first in enumerate(columns):
        precision.append(first.square().sum(0))  # (n, k)
        shear.append([(first * other).sum(0) / precision[i] for other in columns[i + 1 :]])
        columns[i + 1 :] = [c - s * first for c, s in zip(columns[i + 1 :], shear[i], strict=True)]
    return torch.stack(precision), shear


def _plus_dot(start: Tensor, columns: Columns, weights: Sequence[Tensor] | Tensor) -> Tensor:
    """start + Σ_i columns_i weights_i, written out: the same for a row in any batch."""
    for column, weight in zip(columns, weights, strict=True):
        start = torch.addcmul(start, column, weight)
    return start


def _mean(joint: Tensor, columns: Columns) -> Tensor:
    """The mean of d coordinates (b, k) over p(component | z, y), (b, d).

    No matrix product, and the contiguous factor first so that it sets the layout: each row is summed in one order,
    whatever batch it stands in. Torch's softmax takes short rows one by one: written out, it is four times as fast.
    """
    short = joint.shape[1] < 16
    raised = (joint - joint.amax(1, keepdim=True)).exp_() if short else joint
    share = raised / raised.sum(1, keepdim=True) if short else joint.softmax(1)
    if isinstance(columns, Tensor):
        return (share * columns).sum(2).t()
    return torch.stack([(share * column).sum(1) for column in columns], 1)


def _diagonalise(covs: Tensor | float, means: Tensor) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (k, d) and eigenvectors (k, d, d) of the covariances; no eigenvectors for diagonal ones."""
    k, d = means.shape
    if not isinstance(covs, Tensor):
        covs = torch.tensor(_checks.number("covs", covs), dtype=torch.float64)
    covs = _checks.finite("covs", covs.to(means.dtype) if not covs.is_floating_point() else covs).to(means)
    if covs.ndim == 3:
        _checks.require(covs.shape == (k, d, d), "covs", covs, f"(k, d, d) = ({k}, {d}, {d})")
        symmetric = torch.allclose(covs, covs.mT, rtol=1e-4, atol=1e-6 * covs.abs().max().item())
        _checks.require(symmetric, "covs", "a matrix that is not symmetric", "covariances")
        values, basis = torch.linalg.eigh(covs.double())
        smallest = torch.finfo(covs.dtype).eps * values.amax(1)
        definite = bool((values.amin(1) > smallest).all())
        _checks.require(definite, "covs", "a matrix that is not positive definite", "covariances")
        return values.to(means), basis.to(means)
    shapes = {(): (1, 1), (k,): (k, 1), (k, d): (k, d)}
    shape = tuple(covs.shape)
    _checks.require(shape in shapes, "covs", covs, f"a number, ({k},), ({k}, {d}) or ({k}, {d}, {d})")
    positive = bool((covs > 0).all())
    _checks.require(positive, "covs", "a variance that is not positive", "positive definite covariances")
    return covs.reshape(shapes[shape]).expand(k, d).contiguous(), None
