"""Classifiers of noisy samples, log p(c | z_λ): the exact one of a mixture, and trained ones."""

from torch import Tensor

from .mixture import GaussianMixture
from .training.loop import Step as Record
from .training.loop import fit_classifier as fit

__all__ = ["ExactClassifier", "Record", "fit"]


class ExactClassifier:
    """The Bayes classifier of a diffused mixture, with its gradient in closed form."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture

    def __call__(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """log p(c | z_λ), (b, C)."""
        return self.mixture.class_log_prob(z, logsnr)

    def grad(self, z: Tensor, logsnr: Tensor, y: Tensor) -> Tensor:
        """∇_z log p(y | z_λ) = ∇ log p(z_λ | y) − ∇ log p(z_λ), (b, d)."""
        return self.mixture.score(z, logsnr, y) - self.mixture.score(z, logsnr)
