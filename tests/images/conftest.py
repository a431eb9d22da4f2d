"""A folder of small random weights of every role, in place of the shipped ones."""

import pytest
import torch

from cfgtoy import artifacts
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.nets.unet import NoisyClassifier, UNet

SMALL = {
    "in_channels": 1, "image_size": 8, "channels": (8, 8), "blocks": (1, 1), "attention": (4,), "cond": 8, "head": 4
}  # fmt: skip


def describe(role, net, dataset="digits"):
    return {
        "role": role,
        "net": {"class": type(net).__name__, "args": net.args},
        "kind": "v",
        "schedule": {"class": "Cosine", "args": {"lo": -8.0, "hi": 8.0}},
        "image": [1, 8, 8],
        "classes": [str(i) for i in range(10)],
        "dataset": dataset,
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of random weights of every role, all of whose outputs differ from zero."""
    folder = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    nets = {
        "digits": ("denoiser", UNet(**SMALL)),
        "digits-noisy-classifier": ("noisy_classifier", NoisyClassifier(**SMALL)),
        "digits-evaluator": ("evaluator", Evaluator(in_channels=1, channels=(4, 6), residuals=(1,))),
    }
    for name, (role, net) in nets.items():
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
        artifacts.save(folder / f"{name}.safetensors", net.state_dict(), describe(role, net))
        artifacts.manifest_add(name, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _shipped(weights, monkeypatch):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(weights))


@pytest.fixture(scope="session")
def meta():
    """``meta(role, net)``: the JSON of a weight file for images of digits."""
    return describe
