"""Is a guided field the gradient of anything? Its Jacobian's antisymmetric part says."""

import torch
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import _checks
from ..logsnr import as_logsnr
from ..prediction import Denoiser


def curl(denoiser: Denoiser, z: Tensor, lam: Tensor | float, y: Tensor | None = None) -> Tensor:
    r"""The antisymmetric part of the Jacobian of ε̃ at ``z``, ½(J − Jᵀ), (b, d, d): zero where ε̃ has a potential.

    In the plane its entry [1, 0] is half the usual curl ∂₁ε̃₂ − ∂₂ε̃₁. One backward pass a dimension; for images use
    :func:`curl_norm`. Raises ``ValueError`` for NaN, or shapes that do not fit.

    Args:
        denoiser, z: any denoiser that autograd can pass through, and (b, \*d), flattened to d entries a sample.
        lam, y: log-SNR, () or (b,), and classes (b,) or None.
    """
    _checks.finite("z", z)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        eps = denoiser(leaf, as_logsnr("lam", lam, z, check=False), y).eps.flatten(1)  # (b, d)
        rows = [torch.autograd.grad(e.sum(), leaf, retain_graph=True)[0].flatten(1) for e in eps.unbind(1)]
    jacobian = torch.stack(rows, 1)  # (b, d out, d in)
    return 0.5 * (jacobian - jacobian.mT)


def curl_norm(
    denoiser: Denoiser,
    z: Tensor,
    lam: Tensor | float,
    y: Tensor | None = None,
    *,
    probes: int = 8,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Frobenius norms of the antisymmetric part and of the whole Jacobian of ε̃, two (b,), from random probes.

    Both come from products with ±1 vectors u, E‖Mu‖² = ‖M‖²; the antisymmetric part from ½(J − Jᵀ)u, so it needs no
    Jacobian and works on images. Arguments and errors as in :func:`curl`, and ``probes`` ≥ 1 vectors to
    average over, drawn by ``generator``.
    """
    _checks.finite("z", z)
    _checks.positive_int("probes", probes)
    anti, whole = z.new_zeros(2, len(z))
    for _ in range(probes):
        u = 2.0 * torch.randint(0, 2, z.shape, generator=generator, device=z.device).to(z) - 1
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the attention that has second derivatives
            leaf = z.detach().requires_grad_()
            eps = denoiser(leaf, as_logsnr("lam", lam, z, check=False), y).eps
            dummy = torch.ones_like(eps, requires_grad=True)
            (pulled,) = torch.autograd.grad(eps, leaf, dummy, create_graph=True)
            # J u by two backward passes, Jᵀ u by one.
            (forward,) = torch.autograd.grad(pulled, dummy, u, retain_graph=True)
            (backward,) = torch.autograd.grad(eps, leaf, u)
        anti += (0.5 * (forward - backward)).flatten(1).square().sum(1)
        whole += forward.flatten(1).square().sum(1)
    return (anti / probes).sqrt(), (whole / probes).sqrt()
