"""One step of the SDE with any share of fresh noise: what the samplers that draw noise have in common."""

import torch
from torch import Tensor

from ..logsnr import log_alpha_sigma


def moves(lam: Tensor, ahead: Tensor, forget: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """keep, fill and spread of z' = keep·z + fill·x̂ + spread·ξ from λ to λ', all of one shape.

    It is z' = α' x̂ + σ' (e^{−τ/2} ε̂ + √(1 − e^{−τ}) ξ) with τ = ``forget`` ≥ 0: DDIM for τ = 0, the posterior for
    τ = λ' − λ, a Langevin step where λ' = λ. Exact where x̂ does not depend on z.

    Source: Song, Meng & Ermon 2021, eq. 12; the standard deviation σ_t of theirs is σ' √(1 − e^{−τ}).
    """
    log_alpha_next, log_sigma_next = log_alpha_sigma(ahead)
    keep = (log_sigma_next - log_alpha_sigma(lam)[1] - forget / 2).exp()
    fill = log_alpha_next.exp() * -torch.expm1(-(forget + ahead - lam) / 2)
    return keep, fill, log_sigma_next.exp() * (-torch.expm1(-forget)).sqrt()
