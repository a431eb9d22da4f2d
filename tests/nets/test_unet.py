"""The image networks: shapes, conditioning, sizes that ship, and what makes them the networks they claim to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cfgtoy import NetDenoiser, metrics
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.nets.unet import Attention, NoisyClassifier, UNet, double, rms_norm


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Fill the zero-initialised layers, so that every path counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            if p.abs().max() == 0:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.05)
    return net.eval()


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(0)
    return randomise(UNet.preset("digits"))  # type: ignore[return-value]


def inputs(n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, 1, 8, 8, generator=generator)
    return z, torch.linspace(-8, 8, n), torch.arange(n) - 1


def test_a_new_unet_outputs_zero() -> None:
    assert UNet.preset("digits")(*inputs()).abs().max() == 0


def test_shape_and_dtype(unet: UNet) -> None:
    out = unet(*inputs())
    assert out.shape == (4, 1, 8, 8)
    assert out.dtype == torch.float32


def test_output_depends_on_every_input(unet: UNet) -> None:
    z, lam, y = inputs()
    out = unet(z, lam, y)
    for other in (unet(z.flip(0), lam, y), unet(z, lam + 0.5, y), unet(z, lam, (y + 2) % 10)):
        assert (out - other).flatten(1).abs().amax(1).min() > 1e-4


def test_null_has_a_row_of_its_own(unet: UNet) -> None:
    z, lam, _ = inputs(1)
    null = unet(z, lam, torch.tensor([-1]))
    for c in range(10):
        assert (unet(z, lam, torch.tensor([c])) - null).abs().max() > 1e-4


def test_curl_norm_passes_through_attention(unet: UNet) -> None:
    z, lam, y = inputs(2)
    denoiser = NetDenoiser(unet, kind="v")
    rows = metrics.curl(denoiser, z, lam, y)  # from the whole Jacobian, a row at a time
    generator = torch.Generator().manual_seed(3)
    anti, _ = metrics.curl_norm(denoiser, z, lam, y, probes=64, generator=generator)
    torch.testing.assert_close(anti, rows.flatten(1).norm(dim=1), rtol=0.15, atol=0)


def test_samples_do_not_see_each_other(unet: UNet) -> None:
    z, lam, y = inputs()
    alone = torch.cat([unet(z[i : i + 1], lam[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(unet(z, lam, y), alone, atol=1e-5, rtol=1e-4)


def test_every_parameter_gets_a_gradient(unet: UNet) -> None:
    net = UNet(**unet.args)
    randomise(net).train()
    net(*inputs()).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert dead == []


def test_args_rebuild_the_network(unet: UNet) -> None:
    twin = UNet(**unet.args)
    twin.load_state_dict(unet.state_dict())
    assert torch.equal(twin.eval()(*inputs()), unet(*inputs()))


def test_the_shipped_size() -> None:
    net = UNet.preset("cifar")
    assert sum(p.numel() for p in net.parameters()) <= 17_000_000
    assert any(isinstance(m, Attention) for m in net.encoder.levels[1].modules())  # 16 × 16


def test_the_wide_size() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in UNet.preset("wide").parameters())
    assert 25_000_000 <= count <= 60_000_000


def test_a_batch_of_one_as_in_a_notebook() -> None:
    net = randomise(UNet.preset("cifar"))
    with torch.no_grad():
        assert net(torch.randn(1, 3, 32, 32), torch.zeros(1), torch.tensor([3])).isfinite().all()


@pytest.mark.parametrize(
    "bad",
    [
        {"channels": (32,), "blocks": (1, 1)},
        {"channels": (32, 64), "blocks": (1, 1), "image_size": 9},
        {"channels": (32, 48), "blocks": (1, 1), "attention": (4,), "head": 32},
    ],
)
def test_sizes_that_do_not_fit(bad: dict) -> None:
    with pytest.raises(ValueError, match="takes"):
        UNet(**{"image_size": 8, "in_channels": 1, "cond": 32, "head": 32, **bad})


@pytest.mark.parametrize("kind", [UNet, NoisyClassifier, Evaluator])
def test_unknown_preset(kind: type) -> None:
    with pytest.raises(ValueError, match="huge"):
        kind.preset("huge")


def test_labels_are_needed(unet: UNet) -> None:
    z, lam, _ = inputs()
    with pytest.raises(ValueError, match="y: got None"):
        unet(z, lam, None)  # type: ignore[arg-type]


def test_rms_norm_against_torch() -> None:
    x = torch.randn(2, 16, 3, 5)
    expected = nn.functional.rms_norm(x.movedim(1, -1), (16,), eps=1e-6).movedim(-1, 1)
    torch.testing.assert_close(rms_norm(x), expected)


def test_double_against_interpolate() -> None:
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(double(x), nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def test_attention_mixes_all_pixels_and_starts_as_identity() -> None:
    layer = Attention(32, 16)
    x = torch.randn(1, 32, 4, 4)
    assert torch.equal(layer(x), x)
    randomise(layer)
    y = x.clone()
    y[0, :, 3, 3] += 1.0
    moved = (layer(y) - y - (layer(x) - x)).abs().amax(1)[0]
    assert moved.min() > 1e-6


def test_noisy_classifier_has_a_gradient_in_z() -> None:
    net = NoisyClassifier.preset("digits").eval()
    z = torch.randn(3, 1, 8, 8, requires_grad=True)
    logits = net(z, torch.zeros(3))
    assert logits.shape == (3, 10)
    (grad,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), z)
    assert grad.abs().amax((1, 2, 3)).min() > 0


def test_evaluator_features_and_head() -> None:
    net = Evaluator.preset("cifar").eval()
    x = torch.randn(2, 3, 32, 32)
    features = net.features(x)
    assert features.shape == (2, 512)
    assert torch.equal(net.head(features), net(x))
    assert sum(p.numel() for p in net.parameters()) * 2 <= 14_000_000  # bytes in float16


def test_evaluator_wants_one_count_a_level() -> None:
    with pytest.raises(ValueError, match="residuals"):
        Evaluator(channels=(8, 16), residuals=(1, 1))
