"""Weight files: round trips, the manifest, and what damaged or foreign files say."""

import json
import os
import resource
import stat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfgtoy import _files, artifacts, schedules
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.nets.unet import NoisyClassifier, UNet
from cfgtoy.prediction import NULL
from tests.forked import python

ARGS = {
    "in_channels": 1, "image_size": 8, "channels": (8, 8), "blocks": (1, 1), "attention": (4,), "cond": 8, "head": 4
}  # fmt: skip


def describe(role, net, **changes):
    return {
        "role": role,
        "net": {"class": type(net).__name__, "args": net.args},
        "kind": "v",
        "schedule": artifacts.schedule_to_meta(schedules.Cosine(-9, 9)),
        "image": [1, 8, 8],
        "classes": ["a"] * 10,
        "dataset": "digits",
        "made_by": {"command": "by hand"},
    } | changes


@pytest.fixture
def unet():
    torch.manual_seed(1)
    net = UNet(**ARGS)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return net


@pytest.fixture
def data(tmp_path, monkeypatch, unet):
    folder = tmp_path / "data"
    artifacts.save(folder / "net.safetensors", unet.state_dict(), describe("denoiser", unet))
    artifacts.manifest_add("mine", folder / "net.safetensors", note="small")
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(folder))
    return folder


@settings(max_examples=25, deadline=None)
@given(
    tensors=st.dictionaries(
        st.text("abc.01", min_size=1, max_size=8),
        st.tuples(
            st.lists(st.integers(0, 3), max_size=3),
            st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64]),
        ),
        max_size=4,
    ),
    meta=st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9), st.booleans())),
)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, tensors, meta):
    path = tmp_path_factory.mktemp("a") / "x.safetensors"
    made = {name: torch.randint(0, 99, shape).to(dtype) for name, (shape, dtype) in tensors.items()}
    digest = artifacts.save(path, made, meta)
    found = artifacts.load(path)
    assert found.sha256 == digest
    assert found.meta == meta
    assert found.tensors.keys() == made.keys()
    for name, tensor in made.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_a_denoiser_comes_back_as_it_was(data, unet):
    model = artifacts.load_denoiser("mine")
    z, lam, y = torch.randn(3, 1, 8, 8), torch.tensor([-2.0, 0.0, 5.0]), torch.tensor([0, 9, NULL])
    torch.testing.assert_close(model(z, lam, y).v, unet(z, lam, y), rtol=0, atol=0)
    torch.testing.assert_close(model(z, lam).v, unet(z, lam, torch.full((3,), NULL)), rtol=0, atol=0)
    assert model.shape == (1, 8, 8)
    assert model.schedule == schedules.Cosine(-9, 9)
    assert not any(p.requires_grad for p in model.net.parameters())
    with pytest.raises(ValueError, match="y: got class 10"):
        model(z, lam, torch.tensor([0, 10, 1]))
    with pytest.raises(ValueError, match="z: got shape"):
        model(torch.randn(3, 1, 9, 9), lam, y)


def test_half_precision_files_make_full_precision_networks(tmp_path, unet):
    half = {name: tensor.bfloat16() for name, tensor in unet.state_dict().items()}
    artifacts.save(tmp_path / "h.safetensors", half, describe("denoiser", unet))
    model = artifacts.load_denoiser(tmp_path / "h.safetensors")
    for name, tensor in model.net.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())


def test_classifiers_come_back_as_they_were(tmp_path):
    noisy, clean = NoisyClassifier(**ARGS), Evaluator(in_channels=1, channels=(4, 6), residuals=(1,)).eval()
    artifacts.save(tmp_path / "n.safetensors", noisy.state_dict(), describe("noisy_classifier", noisy))
    artifacts.save(tmp_path / "e.safetensors", clean.state_dict(), describe("evaluator", clean))
    z = torch.randn(4, 1, 8, 8)
    log_probs = artifacts.load_noisy_classifier(tmp_path / "n.safetensors")(z, torch.tensor(0.5))
    torch.testing.assert_close(log_probs, noisy(z, torch.full((4,), 0.5)).log_softmax(1))
    extractor = artifacts.load_evaluator(tmp_path / "e.safetensors")
    features, probs = extractor(z)
    assert extractor.name == "digits_classifier"
    torch.testing.assert_close(features, clean.features(z))
    torch.testing.assert_close(probs, clean(z).softmax(1))


def test_the_manifest_says_who_made_it(data):
    entry = artifacts.manifest()["mine"]
    assert entry["made_by"] == {"command": "by hand"}
    assert entry["note"] == "small"
    assert entry["bytes"] == (data / "net.safetensors").stat().st_size
    (data / "results.json").write_text("{}")
    artifacts.manifest_add("results", data / "results.json")
    assert set(artifacts.manifest()) == {"mine", "results"}


@pytest.mark.parametrize("place", [20, 4000, -1])
def test_an_altered_byte_is_noticed(data, place):
    path = data / "net.safetensors"
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"net\.safetensors: truncated or altered \(SHA-256"):
        artifacts.load_denoiser("mine")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_noticed_by_name_and_by_path(data, keep):
    path = data / "net.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="truncated or altered"):
        artifacts.load("mine")
    with pytest.raises(ValueError, match="truncated, altered or not a safetensors"):
        artifacts.load(path)


def test_missing_things_are_named(data, monkeypatch):
    with pytest.raises(FileNotFoundError, match="'other': no such weights, takes mine"):
        artifacts.load("other")
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        artifacts.load(data / "other.safetensors")
    (data / "net.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="file is missing"):
        artifacts.load("mine")
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(data / "nowhere"))
    with pytest.raises(FileNotFoundError, match=artifacts.ENVIRONMENT):
        artifacts.load("mine")


def test_the_data_lie_in_the_checkout_or_in_the_package(data, tmp_path, monkeypatch):
    monkeypatch.delenv(artifacts.ENVIRONMENT)
    package = tmp_path / "site-packages" / "cfgtoy"
    (package / "data").mkdir(parents=True)
    (package.parent / "data").mkdir()  # somebody else's
    monkeypatch.setattr(_files, "__file__", str(package / "_files.py"))
    with pytest.raises(FileNotFoundError, match="no shipped weights"):
        artifacts.load("mine")
    (package / "data" / artifacts.MANIFEST).write_text("{}")
    assert artifacts.data_folder() == package / "data"
    (package.parent / "data" / artifacts.MANIFEST).write_text("{}")  # a checkout: its own come first
    assert artifacts.data_folder() == package.parent / "data"
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(data))
    assert artifacts.data_folder() == data


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"role": "evaluator"}, "holds a 'evaluator', takes a 'denoiser'"),
        ({"role": None}, "takes a 'denoiser'"),
        ({"net": {"class": "Popen", "args": {}}}, "names the network 'Popen'"),
        ({"net": {}}, "names the network None"),
        ({"net": {"class": "UNet", "args": {"colour": 1}}}, "do not fit"),
        ({"net": {"class": "UNet", "args": {}}}, "do not fit"),
        ({"kind": "w"}, "kind"),
        ({"schedule": {"class": "Schedule"}}, "schedule"),
        ({"schedule": {"class": "Cosine", "args": {"low": 1}}}, "schedule"),
        ({"image": [1, 8]}, "image|unpack"),
        ({"classes": None}, "lacks or garbles"),
    ],
)
def test_foreign_files_are_refused(tmp_path, unet, changes, says):
    path = tmp_path / "x.safetensors"
    artifacts.save(path, unet.state_dict(), describe("denoiser", unet) | changes)
    with pytest.raises(ValueError, match=says):
        artifacts.load_denoiser(path)


def test_a_manifest_that_leads_elsewhere_is_refused(data):
    path = data / artifacts.MANIFEST
    for text in (
        "{",
        "[1]",
        '{"x": {"file": "y"}}',
        json.dumps({"x": {"file": "../../etc/passwd", "sha256": "0" * 64}}),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json: damaged"):
            artifacts.load("x")


def test_every_schedule_survives_json():
    shifted = schedules.Shifted(schedules.LogNormal(-1.0, 1.1, -15, 15), 1.5)
    for schedule in (schedules.Uniform(-3, 4), schedules.Cosine(), schedules.LinearBeta(), shifted):
        text = json.dumps(artifacts.schedule_to_meta(schedule))
        assert artifacts.schedule_from_meta(json.loads(text)) == schedule


def test_meta_that_is_no_json_is_refused(tmp_path):
    for meta in ({"a": torch.zeros(1)}, {"a": float("nan")}):
        with pytest.raises(ValueError, match="meta"):
            artifacts.save(tmp_path / "x.safetensors", {}, meta)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.bin"
    artifacts.write_atomically(path, b"good")
    program = (
        "import resource, signal, sys; from cfgtoy.artifacts import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(sys.argv[1], bytes(5000))\n"
    )
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = python(program, str(path))
    assert done.returncode != 0
    assert "OSError" in done.stderr
    assert path.read_bytes() == b"good"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_written_files_can_be_read_by_others(tmp_path):
    artifacts.write_atomically(tmp_path / "deep" / "x.bin", b"1")
    assert stat.S_IMODE(os.stat(tmp_path / "deep" / "x.bin").st_mode) == 0o644
