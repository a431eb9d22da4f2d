"""A mixture in a plane of a space of many dimensions, as an exact denoiser that costs what the plane costs."""

import torch
from torch import Tensor

from ..logsnr import alpha_sigma, as_logsnr, per_sample
from ..mixture import GaussianMixture
from ..prediction import Prediction


def plane(dim: int, inside: int = 2, seed: int = 0) -> Tensor:
    """``inside`` orthonormal directions of a space of ``dim`` dimensions, (dim, inside), of no particular slant."""
    noise = torch.randn(dim, inside, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(noise)[0].float()


class Embedded:
    r"""The exact denoiser of x = Q u + r with u from a mixture and r ~ N(0, s² I) across the plane of Q.

    In the plane it is the mixture's; across it the data are one Gaussian, so
    :math:`v_\perp = \alpha\sigma(1 - s^2)/(\alpha^2 s^2 + \sigma^2)\, z_\perp`.
    ``mixture`` is that of u, in k dimensions; ``directions`` are Q, (d, k), orthonormal; ``std`` is s.
    """

    def __init__(self, mixture: GaussianMixture, directions: Tensor, std: float) -> None:
        self.mixture, self.directions, self.variance = mixture, directions, std**2

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor | int | None = None) -> Prediction:
        lam = as_logsnr("logsnr", logsnr, z, check=False)
        alpha, sigma = (per_sample(part, z) for part in alpha_sigma(lam))
        inside = z @ self.directions  # (b, k)
        v = self.mixture(inside, lam, y).v
        slope = alpha * sigma * (1 - self.variance) / (alpha.square() * self.variance + sigma.square())
        across = z - inside @ self.directions.mT  # (b, d)
        return Prediction(z, lam, slope * across + v @ self.directions.mT, "v")
