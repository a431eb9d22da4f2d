"""Worse copies of a U-Net: what is left of attention, and of the network."""

from __future__ import annotations

import pytest
import torch

from cfgtoy import artifacts, guidance, nets
from cfgtoy.nets.degraded import degraded
from cfgtoy.nets.unet import Attention, rms_norm


@pytest.fixture(scope="module")
def digits():
    return artifacts.load_denoiser("digits")


Z, Y, LAM = torch.randn(4, 1, 8, 8), torch.arange(4), torch.tensor(0.0)


def attention(how: str, **options: float) -> tuple[Attention, Attention]:
    torch.manual_seed(0)
    net = nets.unet.UNet(**nets.unet.UNet.presets["digits"])
    for layer in net.modules():
        if isinstance(layer, Attention):
            torch.nn.init.normal_(layer.out.weight, std=0.1)
    worse = degraded(type("Denoiser", (), {"net": net})(), how, **options).net  # type: ignore[arg-type]
    return net.encoder.middle.attention, worse.encoder.middle.attention


def test_identity_gives_each_pixel_its_own_value():
    plain, worse = attention("identity")
    x = torch.randn(2, 64, 4, 4)
    value = plain.qkv.weight[128:] @ rms_norm(x).flatten(2)  # (b, c, h w)
    want = x + (plain.out.weight @ value).view_as(x)
    torch.testing.assert_close(worse(x), want)
    assert (worse(x) - plain(x)).abs().max() > 1e-2


def test_no_blur_is_the_network_and_all_blur_gives_every_pixel_one_answer():
    x = torch.randn(2, 64, 4, 4)
    plain, worse = attention("blurred", std=0.0)
    torch.testing.assert_close(worse(x), plain(x))
    _, worse = attention("blurred", std=1e4)
    added = worse(x) - x
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added), rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("how", ["identity", "blurred", "skip"])
def test_a_copy_is_worse_and_the_network_as_it_was(digits, how):
    before = digits(Z, LAM, Y).estimate
    worse = degraded(digits, how)
    assert (worse(Z, LAM, Y).estimate - before).abs().max() > 1e-3
    assert torch.equal(digits(Z, LAM, Y).estimate, before)
    guided = guidance.total(digits, worse, w=2.0)(Z, LAM, Y)
    assert bool(guided.estimate.isfinite().all())


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("denoiser", lambda d: degraded(guidance.unconditional(d), "skip")),
        ("how", lambda d: degraded(d, "cut")),
        ("std", lambda d: degraded(d, "blurred", std=-1.0)),
    ],
)
def test_bad_copies(digits, argument, call):
    with pytest.raises(ValueError, match=rf"^{argument}: got .+, takes .+"):
        call(digits)
