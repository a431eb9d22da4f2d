"""One estimate, four faces: every conversion against its definition."""

from __future__ import annotations

import itertools

import pytest
import torch

from cfgtoy import NULL, NetDenoiser, Prediction, logsnr

KINDS = ("x", "eps", "v", "score")


def faces(shape: tuple[int, ...], lam: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """z and the four quantities, from x and ε by their definitions."""
    x = torch.randn(shape, dtype=torch.float64)
    eps = torch.randn(shape, dtype=torch.float64)
    alpha = torch.sigmoid(lam).sqrt().reshape(-1, *[1] * (len(shape) - 1))
    sigma = torch.sigmoid(-lam).sqrt().reshape(-1, *[1] * (len(shape) - 1))
    return alpha * x + sigma * eps, {"x": x, "eps": eps, "v": alpha * eps - sigma * x, "score": -eps / sigma}


@pytest.mark.parametrize(("have", "want"), list(itertools.product(KINDS, KINDS)))
@pytest.mark.parametrize("shape", [(5, 1), (5, 2), (5, 3, 4, 4)])
@pytest.mark.parametrize("per_sample", [True, False])
def test_every_face_from_every_face(have, want, shape, per_sample):
    lam = (
        torch.linspace(-6, 6, 5, dtype=torch.float64)
        if per_sample
        else torch.tensor(1.3, dtype=torch.float64)
    )
    z, truth = faces(shape, lam)
    prediction = getattr(Prediction, f"from_{have}")(z, lam, truth[have])
    assert prediction.kind == have
    torch.testing.assert_close(getattr(prediction, want), truth[want], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(prediction.as_kind(want), truth[want], rtol=1e-11, atol=1e-11)
    # float32: each conversion is a sum with weights of at most 1/α or 1/σ (or α/σ², for a score).
    single = Prediction(z.float(), lam.float(), truth[have].float(), have).as_kind(want)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), truth[want], rtol=1e-4, atol=4e-4)


def test_velocity_is_well_conditioned_at_both_ends_in_float32():
    lam = torch.tensor([-40.0, -20.0, 20.0, 40.0], dtype=torch.float64)
    z, truth = faces((4, 2), lam)
    held = Prediction.from_v(z.float(), lam.float(), truth["v"].float())
    for kind in ("x", "eps"):
        torch.testing.assert_close(held.as_kind(kind).double(), truth[kind], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mixing_any_face_mixes_all(kind):
    lam = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)
    z, first = faces((3, 2), lam)
    eps_other = torch.randn(3, 2, dtype=torch.float64)
    other = Prediction.from_eps(z, lam, eps_other)
    mixed = Prediction(z, lam, first[kind], kind).mix(other, -1.7)
    assert mixed.kind == kind
    torch.testing.assert_close(mixed.eps, 2.7 * first["eps"] - 1.7 * eps_other, rtol=1e-9, atol=1e-9)
    weights = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    each = Prediction.from_eps(z, lam, first["eps"]).mix(other, weights)
    torch.testing.assert_close(each.eps, first["eps"] + weights * (eps_other - first["eps"]))


def test_mix_with_weight_zero_and_one_is_bitwise():
    z, a, b = (torch.randn(50, 3) for _ in range(3))
    first, second = Prediction.from_v(z, torch.tensor(1.0), a), Prediction.from_v(z, torch.tensor(1.0), b)
    assert torch.equal(first.mix(second, 0.0).v, a)
    assert torch.equal(first.mix(second, 1.0).v, b)


def test_net_denoiser_hands_over_levels_and_null():
    seen = {}

    def net(z, lam, y):
        seen.update(lam=lam, y=y)
        return 2 * z

    denoise = NetDenoiser(net, "v")
    z = torch.randn(4, 2)
    assert torch.equal(denoise(z, torch.tensor(0.5)).v, 2 * z)
    assert seen["lam"].tolist() == [0.5] * 4
    assert seen["y"].tolist() == [NULL] * 4
    denoise(z, torch.tensor(0.5), torch.tensor([0, 2, NULL, 1]))
    assert seen["y"].tolist() == [0, 2, NULL, 1]
    assert seen["y"].dtype == torch.int64


def test_score_of_a_prediction_is_minus_eps_over_sigma():
    z = torch.randn(3, 2, dtype=torch.float64)
    lam = torch.tensor([-2.0, 0.0, 5.0], dtype=torch.float64)
    prediction = Prediction.from_eps(z, lam, torch.randn_like(z))
    sigma = logsnr.alpha_sigma(lam)[1][:, None]
    torch.testing.assert_close(prediction.score * -sigma, prediction.eps)
