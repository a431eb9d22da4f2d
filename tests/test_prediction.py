"""One estimate, five faces: every conversion against its definition."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cfgtoy import NULL, NetDenoiser, Prediction, logsnr

KINDS = ("x", "eps", "v", "flow", "score")


def faces(shape: tuple[int, ...], lam: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """z and the five quantities, from x and ε by their definitions."""
    x = torch.randn(shape, dtype=torch.float64)
    eps = torch.randn(shape, dtype=torch.float64)
    alpha = torch.sigmoid(lam).sqrt().reshape(-1, *[1] * (len(shape) - 1))
    sigma = torch.sigmoid(-lam).sqrt().reshape(-1, *[1] * (len(shape) - 1))
    v, score = alpha * eps - sigma * x, -eps / sigma
    return alpha * x + sigma * eps, {"x": x, "eps": eps, "v": v, "flow": eps - x, "score": score}


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


@pytest.mark.parametrize("held_as", ["v", "flow"])
def test_velocities_are_well_conditioned_at_both_ends_in_float32(held_as):
    lam = torch.tensor([-40.0, -20.0, 20.0, 40.0], dtype=torch.float64)
    z, truth = faces((4, 2), lam)
    held = Prediction(z.float(), lam.float(), truth[held_as].float(), held_as)
    for kind in ("x", "eps", "v", "flow"):
        torch.testing.assert_close(held.as_kind(kind).double(), truth[kind], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("have", "want"), list(itertools.product(KINDS, KINDS)))
@pytest.mark.parametrize("per_sample", [True, False])
def test_pure_noise(have, want, per_sample):
    """At λ = −∞ z is ε: x, v and flow say what x is, ε and the score cannot."""
    lam = torch.tensor([-math.inf, 0.0, -math.inf] if per_sample else -math.inf, dtype=torch.float64)
    z, truth = faces((3, 2), lam)
    assert torch.equal(z[0], truth["eps"][0])
    prediction = Prediction(z, lam, truth[have], have)
    if have in ("eps", "score") and want in ("x", "v", "flow"):
        with pytest.raises(ValueError, match=r"^logsnr: got −inf for an estimate of .+, takes .+"):
            prediction.as_kind(want)
    else:
        torch.testing.assert_close(prediction.as_kind(want), truth[want])


@pytest.mark.parametrize(("kind", "shifted"), list(itertools.product(KINDS, KINDS)))
def test_a_shift_in_any_face_shifts_all(kind, shifted):
    lam = torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64)
    z, truth = faces((3, 2), lam)
    prediction, shift = Prediction(z, lam, truth[kind], kind), torch.randn(3, 2, dtype=torch.float64)
    moved = prediction.plus(shift, shifted)
    assert moved.kind == kind
    torch.testing.assert_close(moved.as_kind(shifted), truth[shifted] + shift)
    difference = prediction.slope(shifted) * (moved.estimate - prediction.estimate)
    torch.testing.assert_close(difference, shift)


@pytest.mark.parametrize("lam", [-math.inf, -20.0, 0.0, 3.0, 20.0])
def test_flow_is_the_velocity_of_the_straight_path(lam):
    lam = torch.tensor(lam, dtype=torch.float64)
    z, truth = faces((7, 2), lam)
    t = logsnr.flow_time(lam)
    straight = (1 - t) * truth["x"] + t * truth["eps"]
    torch.testing.assert_close(logsnr.to_flow(z, lam), straight)
    torch.testing.assert_close(logsnr.from_flow(straight, lam), z)
    torch.testing.assert_close(logsnr.from_flow_time(t), lam)
    # A network of z_t and t, told what it wants to know: one Euler step to t = 0 is exact for a straight path.
    net = NetDenoiser(lambda z, lam, y: (logsnr.to_flow(z, lam) - truth["x"]) / t, "flow")
    torch.testing.assert_close(net(z, lam).x, truth["x"])
    torch.testing.assert_close(net(z, lam).flow, truth["flow"])


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
