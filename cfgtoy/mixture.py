r"""Gaussian mixtures under diffusion: every density, score and posterior exact.

A component N(μ, Σ) diffused to log-SNR λ is N(αμ, α²Σ + σ²I), and a mixture stays a mixture. So log p(z_λ),
log p(z_λ | c), their scores, E[x | z_λ] and log p(c | z_λ) all have closed forms at every noise level. That makes the
mixture a perfect denoiser: the truth that a trained network is held against.

Two choices keep the numbers good. Each covariance is diagonalised once, so all noise levels share the eigenbasis;
differences are formed before anything is squared, and densities are only ever added inside ``logsumexp``. And the
estimate is held as the velocity v = αε − σx, which is well-conditioned at both ends of the noise scale.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from . import _checks
from .logsnr import as_logsnr, log_alpha_sigma
from .prediction import NULL, Prediction

__all__ = ["GaussianMixture"]

_LOG_2PI = math.log(2 * math.pi)
_UNROLL = 4  # up to this dimension rotations are written out, which beats a batched matrix product


class GaussianMixture:
    """A labelled Gaussian mixture, and the exact denoiser of its diffusion.

    Args:
        means: (k, d).
        covs: covariances: a number or (k,) isotropic variances, (k, d) diagonal ones, or (k, d, d) full.
        weights: (k,) positive, normalised here; equal when absent.
        labels: (k,) integer class of each component, 0 … C − 1; each component its own class when absent.

    Attributes:
        means, covs, weights, labels: as tensors, ``covs`` as (k, d, d).
        dim: d.
        num_classes: C.

    Raises:
        ValueError: shapes that do not fit, NaN, a covariance that is not symmetric positive definite, a weight that is
            not positive, or labels that leave a class empty.
    """

    def __init__(
        self,
        means: Tensor,
        covs: Tensor | float,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        means = _checks.finite("means", means)
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(f"means: got shape {tuple(means.shape)}, takes (k, d)")
        self.means = means
        k = len(means)
        self._variances, self._basis = _diagonalise(covs, means)  # (k, d), (k, d, d) or None
        if weights is None:
            weights = torch.ones(k, dtype=means.dtype, device=means.device)
        weights = _checks.finite("weights", weights).to(means)
        if weights.shape != (k,) or not bool((weights > 0).all()):
            raise ValueError(
                f"weights: got shape {tuple(weights.shape)}, takes (k,) = ({k},) positive numbers"
            )
        self.weights = weights / weights.sum()
        if labels is None:
            labels = torch.arange(k)
        labels = _checks.labels("labels", labels, k, null=None).to(means.device, torch.int64)
        self.num_classes = int(labels.max()) + 1 if labels.numel() else 0
        if labels.shape != (k,) or len(labels.unique()) != self.num_classes:
            raise ValueError(
                f"labels: got {labels.tolist()}, takes one class a component, none of 0 … C−1 empty"
            )
        self.labels = labels
        # Row c holds log p(component | c), and the last row, which y = NULL = −1 picks, log p(component).
        log_w = self.weights.log()
        own = labels == torch.arange(self.num_classes, device=labels.device)[:, None]  # (C, k)
        by_class = log_w.expand(self.num_classes, k).masked_fill(~own, -math.inf)
        self._log_prior = by_class.logsumexp(1)  # (C,) log p(c)
        self._log_weights = torch.cat([by_class - self._log_prior[:, None], log_w[None]])  # (C + 1, k)

    # -- shape and place -------------------------------------------------------------------------------------------

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
        row = self._class("y", y, 1)[0]
        w = self._log_weights[row].exp()
        mean = w @ self.means
        gap = self.means - mean
        return mean, torch.einsum("k,kij->ij", w, self.covs) + torch.einsum("k,ki,kj->ij", w, gap, gap)

    def __repr__(self) -> str:
        return (
            f"GaussianMixture({self.num_components} components in {self.dim}-D, "
            f"{self.num_classes} classes, {self.means.dtype})"
        )

    # -- densities -------------------------------------------------------------------------------------------------

    def log_prob(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """log p(z_λ | y), (b,); log p(z_λ) where ``y`` is None or NULL.

        Args:
            z: (b, d).
            lam: log-SNR, () or (b,).
            y: classes, (b,) int64, one int for all, or None.

        Raises:
            ValueError: NaN, a class that does not exist, or shapes that do not fit.
        """
        joint, *_ = self._evaluate(z, lam, y)
        return joint.logsumexp(1)

    def score(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """∇_z log p(z_λ | y), (b, d). Arguments and errors as in :meth:`log_prob`."""
        joint, pull, _, _ = self._evaluate(z, lam, y)
        return -self._average(joint, self._rotate(pull, forward=False))

    def class_log_prob(self, z: Tensor, lam: Tensor | float) -> Tensor:
        """log p(c | z_λ) for every class, (b, C): the Bayes classifier of noisy samples.

        Raises:
            ValueError: NaN, or shapes that do not fit.
        """
        joint, *_ = self._evaluate(z, lam, None)
        logits = [joint[:, self.labels == c].logsumexp(1) for c in range(self.num_classes)]
        return torch.stack(logits, 1).log_softmax(1)

    def tilted_log_prob(self, z: Tensor, lam: Tensor | float, y: Tensor | int, w: Tensor | float) -> Tensor:
        """log p(z_λ | y) + w log p(y | z_λ), (b,): the target that guidance is often said to sample. Unnormalised.

        Args:
            z, lam: as in :meth:`log_prob`.
            y: classes, (b,) or one int; NULL is not a class here.
            w: guidance weight, 0 for the plain conditional.

        Raises:
            ValueError: ``w`` is not finite, ``y`` holds NULL, or as in :meth:`log_prob`.

        Source: Ho & Salimans 2022, §3.1.
        """
        w = _checks.finite("w", w) if isinstance(w, Tensor) else _checks.number("w", w)
        rows = self._class("y", y, len(_checks.tensor("z", z)))
        if bool((rows == NULL).any()):
            raise ValueError(f"y: got {NULL} (no class), takes a class in 0 … {self.num_classes - 1}")
        posterior = self.class_log_prob(z, lam).gather(1, rows[:, None])[:, 0]
        return self.log_prob(z, lam, rows) + w * posterior

    # -- the denoiser ----------------------------------------------------------------------------------------------

    def __call__(self, z: Tensor, logsnr: Tensor | float, y: Tensor | int | None = None) -> Prediction:
        """The exact prediction at ``z``: its ``x`` is E[x | z_λ, y] and its ``score`` is ∇ log p(z_λ | y).

        Arguments and errors as in :meth:`log_prob`.
        """
        joint, pull, alpha, sigma = self._evaluate(z, logsnr, y)
        # v = αε − σx with ε = σC⁻¹δ and x = μ + αΣC⁻¹δ, a component at a time: no small difference of large numbers.
        spread = alpha * sigma * (1 - self._variances.mT[:, None])  # (d, b or 1, k)
        v_component = self._rotate(spread * pull, forward=False) - sigma * self.means.mT[:, None]
        v = self._average(joint, v_component)
        return Prediction(z, as_logsnr("logsnr", logsnr, z), v, "v")

    def posterior_mean(self, z: Tensor, lam: Tensor | float, y: Tensor | int | None = None) -> Tensor:
        """E[x | z_λ, y], (b, d). Arguments and errors as in :meth:`log_prob`."""
        return self(z, lam, y).x

    # -- samples ---------------------------------------------------------------------------------------------------

    def sample(self, n: int, y: Tensor | int | None = None, generator: Generator | None = None) -> Tensor:
        """Draw ``n`` clean samples x ~ p(x | y), (n, d).

        Args:
            n: how many.
            y: classes, (n,), one int for all, or None for p(x).
            generator: source of randomness, on the mixture's device.

        Raises:
            ValueError: ``n`` is not a positive integer, or a class does not exist.
        """
        return self._draw(_checks.positive_int("n", n), y, generator)[0]

    def sample_labeled(self, n: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw ``n`` pairs: x ~ p(x), (n, d), and the class of the component it came from, (n,) int64."""
        x, component = self._draw(_checks.positive_int("n", n), None, generator)
        return x, self.labels[component]

    def _draw(self, n: int, y: Tensor | int | None, generator: Generator | None) -> tuple[Tensor, Tensor]:
        rows = self._class("y", y, n)
        # Inverse of the cumulative weights: one uniform number a sample, the same on every device.
        cumulative = self._log_weights.exp().cumsum(1)[rows]  # (n, k)
        u = torch.rand(n, 1, generator=generator, dtype=self.means.dtype, device=self.means.device)
        component = (u * cumulative[:, -1:] >= cumulative).sum(1).clamp(max=self.num_components - 1)
        noise = torch.randn(
            n, self.dim, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        noise = noise * self._variances[component].sqrt()
        if self._basis is not None:
            noise = torch.einsum("nij,nj->ni", self._basis[component], noise)
        return self.means[component] + noise, component

    # -- inside ----------------------------------------------------------------------------------------------------

    def _class(self, name: str, y: Tensor | int | None, n: int) -> Tensor:
        """``y`` as rows (n,) of ``_log_weights``; NULL = −1 is its last row."""
        if y is None:
            return torch.full((n,), NULL, device=self.means.device)
        if not isinstance(y, Tensor):
            y = torch.tensor(y)
        y = _checks.labels(name, y, self.num_classes, null=NULL).to(self.means.device)
        if y.ndim == 1 and len(y) not in (1, n):
            raise ValueError(f"{name}: got shape {tuple(y.shape)}, takes ({n},), one class a sample")
        return y.expand(n)

    def _evaluate(
        self, z: Tensor, lam: Tensor | float, y: Tensor | int | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log p(z, component | y) (b, k); C⁻¹δ in each eigenbasis (d, b, k); α and σ as (b or 1, 1)."""
        _checks.finite("z", z)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise ValueError(f"z: got shape {tuple(z.shape)}, takes (b, {self.dim})")
        lam = as_logsnr("lam", lam, z).reshape(-1, 1)  # (b or 1, 1)
        log_alpha, log_sigma = log_alpha_sigma(lam)
        alpha, sigma = log_alpha.exp(), log_sigma.exp()
        delta = z.mT[:, :, None] - alpha * self.means.mT[:, None]  # (d, b, k)
        delta = self._rotate(delta, forward=True)
        var = alpha**2 * self._variances.mT[:, None] + sigma**2  # (d, b or 1, k)
        pull = delta / var
        log_normal = -0.5 * ((pull * delta).sum(0) + (var.log().sum(0) + self.dim * _LOG_2PI))  # (b, k)
        weights = self._log_weights[NULL] if y is None else self._log_weights[self._class("y", y, len(z))]
        return log_normal + weights, pull, alpha, sigma

    def _rotate(self, columns: Tensor, *, forward: bool) -> Tensor:
        """Turn vectors (d, b, k) into each component's eigenbasis, or back."""
        if self._basis is None:
            return columns
        basis = self._basis if forward else self._basis.mT  # (k, from, to)
        if self.dim > _UNROLL:
            return torch.einsum("ibk,kij->jbk", columns, basis)
        return torch.stack(
            [sum(columns[i] * basis[:, i, j] for i in range(self.dim)) for j in range(self.dim)]  # type: ignore[misc]
        )

    @staticmethod
    def _average(joint: Tensor, columns: Tensor) -> Tensor:
        """The mean of vectors (d, b, k) over p(component | z, y), (b, d). No matrix product: rows stay independent."""
        return (columns * joint.softmax(1)).sum(2).mT.contiguous()


def _diagonalise(covs: Tensor | float, means: Tensor) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues (k, d) and eigenvectors (k, d, d) of the covariances; no eigenvectors for diagonal ones."""
    k, d = means.shape
    if not isinstance(covs, Tensor):
        covs = torch.tensor(_checks.number("covs", covs))
    covs = _checks.finite("covs", covs.to(means.dtype) if not covs.is_floating_point() else covs).to(means)
    if covs.ndim == 3:
        if covs.shape != (k, d, d):
            raise ValueError(f"covs: got shape {tuple(covs.shape)}, takes (k, d, d) = ({k}, {d}, {d})")
        if not torch.allclose(covs, covs.mT, rtol=1e-4, atol=1e-6 * covs.abs().max().item()):
            raise ValueError("covs: got a matrix that is not symmetric, takes covariances")
        values, basis = torch.linalg.eigh(covs.double())
        smallest = torch.finfo(covs.dtype).eps * values.amax(1)
        if not bool((values.amin(1) > smallest).all()):
            raise ValueError("covs: got a matrix that is not positive definite, takes covariances")
        return values.to(means), basis.to(means)
    shapes = {(): (1, 1), (k,): (k, 1), (k, d): (k, d)}
    if tuple(covs.shape) not in shapes:
        raise ValueError(
            f"covs: got shape {tuple(covs.shape)}, takes a number, ({k},), ({k}, {d}) or ({k}, {d}, {d})"
        )
    if not bool((covs > 0).all()):
        raise ValueError("covs: got a variance that is not positive, takes positive definite covariances")
    return covs.reshape(shapes[tuple(covs.shape)]).expand(k, d).contiguous(), None
