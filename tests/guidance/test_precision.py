"""No rule leaves the estimate that is well-conditioned: float32 against float64 on the same numbers."""

from __future__ import annotations

import pytest
import torch

from cfgtoy import NULL, Prediction, guidance, logsnr

RULES = [
    ("classifier-free", {}),
    ("apg", {"eta": 0.2}),
    ("apg", {"threshold": 0.05}),
    ("rescale", {"phi": 1.0}),
    ("rescale", {"phi": 1.0, "on": "x"}),
    ("power-law", {"power": 0.5}),
    ("cfg-zero-star", {}),
    ("weight-schedule", {}),
    ("mambo-g", {}),
    ("tcfg", {}),
    ("adaptive", {}),
    ("frequency-decoupled", {}),
    ("dynamic-threshold", {"floor": 1e6}),
    ("dynamic-threshold", {"floor": 0.5}),
    ("dynamic-threshold", {"floor": 3.0}),
]


@pytest.mark.parametrize("lam", [-20.0, -14.0, 0.0, 14.0, 20.0])
@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["v", "flow"])
def test_float32_keeps_the_estimate(random_mixture, name, options, lam, kind):
    m = random_mixture(dim=4)
    y = torch.arange(400) % 3
    level = torch.tensor(lam, dtype=torch.float64)
    alpha, sigma = logsnr.alpha_sigma(level)
    z = (alpha * m.sample(400, y) + sigma * torch.randn(400, 4, dtype=torch.float64)).float()
    # The same float32 numbers for both: one row a class, ∅ last.
    branches = torch.stack([m(z.double(), level, c).as_kind(kind) for c in (0, 1, 2, NULL)]).float()

    def denoiser(z, lam, y=None):
        return Prediction(z, lam, branches[y, torch.arange(len(z)) % 400].to(z), kind)

    rule = guidance.rule(name, **options)(denoiser, w=3.0)
    got, want = rule(z, level.float(), y), rule(z.double(), level, y)
    assert got.kind == want.kind == kind
    size = want.estimate.norm(dim=1) + branches.double().norm(dim=2).amax(0)
    error = (got.estimate.double() - want.estimate).norm(dim=1)
    assert (error / size).max().item() < 1e-6
    # The score is −z − (α/σ) v: the same error times α/σ, beside its own rounding.
    lost = (got.score.double() - want.score).norm(dim=1)
    assert (lost / (want.score.norm(dim=1) + size * alpha / sigma)).max().item() < 1e-6
