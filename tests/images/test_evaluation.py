"""Sampling options, pictures, streaming statistics, extractors and the evaluation from end to end, at tiny size."""

import itertools
import json
import math
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfgtoy import _provenance, artifacts, evaluation, metrics, samplers, schedules
from cfgtoy.datasets import digits
from cfgtoy.evaluation import (
    EvalConfig,
    Sampling,
    Settings,
    evaluate,
    guide,
    level_grid,
    sample_images,
    sheet,
    sweep_sheet,
)
from cfgtoy.metrics import extractors, streaming
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.nets.unet import NoisyClassifier, UNet

SMALL = {
    "in_channels": 1, "image_size": 8, "channels": (8, 8), "blocks": (1, 1), "attention": (4,), "cond": 8, "head": 4
}  # fmt: skip


def _meta(role, net, dataset="digits"):
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
        artifacts.save(folder / f"{name}.safetensors", net.state_dict(), _meta(role, net))
        artifacts.manifest_add(name, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _shipped(weights, monkeypatch):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(weights))


# ---- statistics ----


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 10**6), st.sampled_from([0.0, 1e4])
)
def test_moments_of_batches_are_the_moments_of_all(sizes, seed, offset):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n + (i == 0) * 2, 3, generator=generator) + offset for i, n in enumerate(sizes)]
    one, halves = streaming.Moments(3), [streaming.Moments(3), streaming.Moments(3)]
    for i, part in enumerate(parts):
        one.update(part)
        halves[i % 2].update(part)
    whole = torch.cat(parts).double()
    merged = halves[0].merge(halves[1])
    for found in (one, merged):
        assert found.n == len(whole)
        torch.testing.assert_close(found.mean, whole.mean(0))
        torch.testing.assert_close(found.cov, whole.T.cov(), rtol=1e-9, atol=1e-9)


def test_frechet_is_that_of_the_metrics():
    a, b = torch.randn(200, 5), 1.5 * torch.randn(300, 5) + 1
    found = streaming.frechet(streaming.Moments.of(a), streaming.Moments.of(b))
    assert found == pytest.approx(metrics.frechet_distance(a, b), rel=1e-9)
    same = streaming.Moments.of(a)
    assert streaming.frechet(same, same) == pytest.approx(0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 60), st.integers(5, 60), st.integers(1, 4), st.integers(0, 10**6))
def test_precision_and_recall_in_slabs_are_those_of_the_metrics(n, m, k, seed):
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(n, 4, generator=generator).double()
    fake = 0.7 * torch.randn(m, 4, generator=generator).double() + 0.5
    expected = metrics.precision_recall(real, fake, k)
    for chunk in (7, 4096):
        found = streaming.precision_recall(streaming.Manifold(real, k, chunk=chunk), fake, k=k)
        assert found == pytest.approx(expected, abs=1e-12)


def test_slabs_keep_far_off_clusters_apart():
    """Expanded squares would lose distances of 1 at an origin 1,000 away; with the origin at the mean they do not."""
    real = torch.randn(400, 8) + 1000
    inside, outside = torch.randn(100, 8) + 1000, torch.randn(100, 8) * 0.1 + 1006
    manifold = streaming.Manifold(real, 3)
    assert manifold.covers(inside).float().mean() > 0.6
    assert not manifold.covers(outside).any()


def test_bad_features_are_refused():
    with pytest.raises(ValueError, match="features"):
        streaming.Moments(3).update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="features"):
        streaming.Moments(2).update(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="at least 2"):
        _ = streaming.Moments(2).update(torch.zeros(1, 2)).cov
    with pytest.raises(ValueError, match="n > k"):
        streaming.Manifold(torch.zeros(3, 2), 3)
    with pytest.raises(ValueError, match="others"):
        streaming.Manifold(torch.randn(5, 2), 1).covers(torch.zeros(3, 3))


# ---- extractors ----


def test_the_digits_classifier_trains_in_seconds_and_is_right(monkeypatch, tmp_path):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(tmp_path))  # nothing shipped: it trains
    state = torch.random.get_rng_state()
    extractor = extractors.load("digits-evaluator")
    assert torch.equal(state, torch.random.get_rng_state())
    assert extractor.name == "digits_classifier"
    assert extractor.accuracy(digits.load("test")) >= 0.97
    features, probs = extractor(torch.zeros(3, 1, 8, 8))
    assert features.shape[0] == 3
    torch.testing.assert_close(probs.sum(1), torch.ones(3))


def test_a_listed_but_missing_evaluator_is_an_error_not_a_training(monkeypatch, tmp_path, weights):
    (tmp_path / "manifest.json").write_text((weights / "manifest.json").read_text())
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="file is missing"):
        extractors.load("digits-evaluator")


def test_inception_says_what_it_needs_and_gives_2048_features(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity"):
        extractors.load("inception")

    class Fake(torch.nn.Module):  # the interface of torch-fidelity's extractor, without its weights
        def __init__(self, name, features_list):
            super().__init__()
            assert features_list == ["2048", "logits_unbiased"]

        def forward(self, x):
            assert x.dtype == torch.uint8
            assert x.shape[1] == 3
            return torch.zeros(len(x), 2048), torch.zeros(len(x), 1008)

    class Broken(Fake):
        def __init__(self, *args):
            raise OSError("no network")

    module = type(sys)("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    module.FeatureExtractorInceptionV3 = Fake
    features, probs = extractors.load("inception")(torch.zeros(2, 1, 8, 8))
    assert features.shape == (2, 2048)
    torch.testing.assert_close(probs, torch.full((2, 1008), 1 / 1008))
    module.FeatureExtractorInceptionV3 = Broken
    with pytest.raises(OSError, match="could not download"):
        extractors.load("inception")


# ---- levels and guidance ----


@pytest.mark.parametrize("levels", ["model", "cosine", "uniform", "linear-beta", "karras"])
def test_every_spread_of_levels_rises_between_its_ends(levels):
    grid = level_grid(Sampling(levels=levels, steps=9, lo=-6, hi=7), schedules.Cosine(-8, 8))
    assert len(grid) == 9
    assert (grid.diff() > 0).all()
    assert grid[[0, -1]].tolist() == pytest.approx([-6, 7], abs=1e-4)


def test_levels_as_the_model_trained_and_as_karras_wrote():
    schedule = schedules.Cosine(-8, 8)
    torch.testing.assert_close(level_grid(Sampling(steps=7, levels="model"), schedule), schedule.grid(7))
    sigma = (-level_grid(Sampling(levels="karras", steps=5), schedule) / 2).exp()
    expected = torch.linspace(math.exp(4) ** (1 / 7), math.exp(-4) ** (1 / 7), 5) ** 7
    torch.testing.assert_close(sigma, expected, rtol=1e-4, atol=0)
    assert level_grid(Sampling(), schedules.Cosine(-20, 20))[[0, -1]].tolist() == [-9, 12]
    assert level_grid(Sampling(), schedule)[[0, -1]].tolist() == [-8, 8]
    for bad in ({"lo": 3.0, "hi": 1.0}, {"lo": -9.0, "levels": "model"}):
        with pytest.raises(ValueError, match="lo"):
            level_grid(Sampling(**bad), schedule)
    for bad in ({"steps": 0}, {"v": 1.5}, {"interval": (2.0, 1.0)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Sampling(**bad)


def test_w_0_and_minus_1_cost_and_say_what_the_plain_models_say():
    ready = Settings.load("digits", Sampling(guidance="classifier"))
    z, lam, y = torch.randn(4, 1, 8, 8), torch.tensor(0.3), torch.arange(4)
    conditional = ready.model(z, lam, y).eps
    for kind in ("cfg", "classifier"):
        assert guide(ready.model, 0.0, Sampling(guidance=kind), ready.classifier) is ready.model
    unconditional = guide(ready.model, -1.0, Sampling(guidance="classifier-unconditional"), ready.classifier)
    torch.testing.assert_close(unconditional(z, lam, y).eps, ready.model(z, lam).eps)
    outside = guide(ready.model, 2.0, Sampling(interval=(1.0, 2.0)))
    torch.testing.assert_close(outside(z, lam, y).eps, conditional)
    inside = guide(ready.model, 2.0, Sampling(interval=(0.0, 2.0)))
    torch.testing.assert_close(
        inside(z, lam, y).eps, 3 * conditional - 2 * ready.model(z, lam).eps, atol=2e-4, rtol=0
    )
    by_classifier = guide(ready.model, 2.0, ready.sampling, ready.classifier)(z, lam, y).eps
    assert (by_classifier - conditional).abs().max() > 1e-5
    with pytest.raises(ValueError, match="w"):
        guide(ready.model, math.inf, Sampling())
    with pytest.raises(ValueError, match="classifier"):
        guide(ready.model, 1.0, Sampling(guidance="classifier"))


# ---- samples ----


def test_samples_do_not_depend_on_ranks_and_batches_are_filled_up():
    ready = Settings.load("digits", Sampling(steps=3, sampler="ancestral"))
    y = torch.arange(11) % 10
    whole = [images for images, _ in sample_images(ready, 1.0, y, seed=5, batch=4)]
    assert [len(part) for part in whole] == [4, 4, 3]
    ranks = [list(sample_images(ready, 1.0, y, seed=5, batch=4, rank=r, world=2)) for r in range(2)]
    assert torch.equal(ranks[0][0][0], whole[0])
    assert torch.equal(ranks[1][0][0], whole[1])
    assert torch.equal(ranks[0][1][0], whole[2])
    assert ranks[0][1][1].tolist() == [8, 9, 0]
    other = next(sample_images(ready, 1.0, y, seed=6, batch=4))[0]
    assert not torch.equal(other, whole[0])
    with pytest.raises(ValueError, match="y"):
        next(sample_images(ready, 1.0, torch.tensor([10])))
    with pytest.raises(ValueError, match="batch"):
        next(sample_images(ready, 1.0, y, batch=0))


def test_the_first_batch_is_what_the_sampler_gives():
    ready = Settings.load("digits", Sampling(steps=4, sampler="ddim"))
    images, y = next(sample_images(ready, 0.0, torch.arange(5), seed=2, batch=5))
    generator = torch.Generator().manual_seed(2 * 1_000_003)
    x = samplers.sample(
        artifacts.load_denoiser("digits"),
        y,
        shape=(5, 1, 8, 8),
        grid=ready.grid,
        method="ddim",
        generator=generator,
    )
    assert torch.equal(images, ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))


def test_bfloat16_is_close_and_stays_inside_the_network():
    z, lam, y = torch.randn(4, 1, 8, 8), torch.tensor(0.3), torch.arange(4)
    full = Settings.load("digits", Sampling()).model(z, lam, y).estimate
    half = Settings.load("digits", Sampling(dtype="bfloat16")).model(z, lam, y).estimate
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0, atol=0.1 * full.std().item())


# ---- pictures ----


def test_a_sheet_puts_images_row_by_row():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 3)
    pixels = np.asarray(sheet(images, 3, scale=2, gap=1))
    assert pixels.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
    for i, (row, column) in enumerate(itertools.islice(itertools.product(range(2), range(3)), 5)):
        block = pixels[row * 5 : row * 5 + 4, column * 7 : column * 7 + 6]
        assert (block == i).all()
    assert (pixels[5:, 14:] == 255).all()
    picture = sweep_sheet([images[:4]] * 3, ["w = 0", "w = 1", "w = 2"], ["cat", "dog"], scale=2)
    assert picture.width > 3 * sheet(images[:4], 2, scale=2).width
    for bad in (images.float(), images[:0], torch.zeros(2, 2, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="images"):
            sheet(bad, 2)


# ---- the whole ----

TINY = {"model": "digits", "n": 40, "batch": 16, "sampling": Sampling(steps=2), "device": "cpu"}


def test_an_evaluation_writes_figures_with_names_and_all_that_repeats_them(tmp_path, weights):
    config = EvalConfig(
        **TINY, w=(0.0, 2.0), noise_floor=True, out=tmp_path / "new" / "r.json", picture=tmp_path / "p.png"
    )
    found = evaluate(config, command="cfgtoy evaluate digits …")
    written = json.loads((tmp_path / "new" / "r.json").read_text())
    assert written == json.loads(json.dumps(found, default=str))
    keys = ("model_sha256", "n", "reference", "extractor", "command", "commit", "seed", "device", "minutes")
    assert all(written[key] not in (None, "") for key in keys)
    assert written["command"] == "cfgtoy evaluate digits …"
    assert written["reference_n"] == 1498
    assert written["noise_floor"]["n"] == 299
    assert [r["w"] for r in written["results"]] == [0.0, 2.0]
    figures = {"frechet", "inception_score", "class_entropy", "accuracy", "precision", "recall"}
    for entry in (*written["results"], written["noise_floor"]):
        assert {f"{figure}_digits_classifier" for figure in figures} <= set(entry)
        assert 1 <= entry["inception_score_digits_classifier"] <= 10
        assert 0 <= entry["precision_digits_classifier"] <= 1
    assert "fid" not in json.dumps(written).lower()
    assert (tmp_path / "p.png").stat().st_size > 500
    # the same figures by the plain road
    ready, extractor = Settings.load("digits", config.sampling), extractors.load("digits-evaluator")
    images = torch.cat([i for i, _ in sample_images(ready, 2.0, torch.arange(40) % 10, batch=16)])
    fake, probs = extractor(images.float() / 127.5 - 1)
    real, _ = extractor(digits.load("train").images.float() / 127.5 - 1)
    entry = written["results"][1]
    assert entry["frechet_digits_classifier"] == pytest.approx(metrics.frechet_distance(fake, real), rel=1e-3)
    assert entry["inception_score_digits_classifier"] == pytest.approx(
        metrics.inception_score(probs), rel=1e-4
    )
    assert entry["accuracy_digits_classifier"] == pytest.approx(
        (probs.argmax(1) == torch.arange(40) % 10).float().mean().item()
    )
    precision, recall = metrics.precision_recall(real, fake, 3)
    assert entry["precision_digits_classifier"] == pytest.approx(precision, abs=0.03)
    assert entry["recall_digits_classifier"] == pytest.approx(recall, abs=0.003)


def test_kept_moments_stand_in_for_the_reference(tmp_path):
    reference = tmp_path / "reference.safetensors"
    first = evaluate(EvalConfig(**TINY, save_reference=reference))
    second = evaluate(EvalConfig(**TINY, reference=str(reference)))
    a, b = first["results"][0], second["results"][0]
    assert a["frechet_digits_classifier"] == b["frechet_digits_classifier"]
    assert second["reference_n"] == 1498
    assert "precision_digits_classifier" not in b
    with pytest.raises(ValueError, match="holds 'denoiser'"):
        evaluate(EvalConfig(**TINY, reference=str(artifacts.data_folder() / "digits.safetensors")))


def test_an_extractor_for_other_images_or_classes_is_not_misused(tmp_path):
    net = Evaluator(in_channels=1, channels=(4, 6), residuals=(1,))
    path = tmp_path / "e.safetensors"
    artifacts.save(path, net.state_dict(), _meta("evaluator", net) | {"classes": list("abcdefghij")})
    found = evaluate(EvalConfig(**(TINY | {"extractor": str(path)})))["results"][0]
    assert "frechet_digits_classifier" in found
    assert not any(key.startswith("accuracy") for key in found)
    artifacts.save(path, net.state_dict(), _meta("evaluator", net) | {"image": [1, 16, 16]})
    with pytest.raises(ValueError, match=r"extractor: .* is for images"):
        evaluate(EvalConfig(**(TINY | {"extractor": str(path)})))


def test_real_digits_score_far_better_than_noise():
    found = evaluate(EvalConfig(**TINY, noise_floor=True))
    key = "frechet_digits_classifier"
    assert found["noise_floor"][key] < 0.1 * found["results"][0][key]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"n": 1}, "n: got 1"),
        ({"n": 3}, "more than k"),
        ({"w": ()}, "w: got no"),
        ({"w": (math.nan,)}, "w"),
        ({"batch": 0}, "batch"),
        ({"seed": -1}, "seed"),
        ({"k": 0}, "k"),
        ({"device": "abacus"}, "device"),
        ({"extractor": "nothing"}, "no such weights"),
        ({"model": "nothing"}, "no such weights"),
        ({"reference": "valid"}, "no such weights"),
        ({"sampling": Sampling(guidance="classifier", classifier="digits")}, "takes a 'noisy_classifier'"),
    ],
)
def test_bad_configurations_say_what_is_wrong(bad, says):
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        evaluate(EvalConfig(**(TINY | bad)))


def test_an_unwritable_place_is_known_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("cfgtoy.evaluation._reference", lambda *_: pytest.fail("the work began"))
    with pytest.raises(OSError, match="file"):
        evaluate(EvalConfig(**TINY, out=tmp_path / "file" / "r.json"))


def test_two_processes_find_what_one_finds_though_one_is_killed(tmp_path):
    """torchrun with two processes on gloo, restarted once: same samples, same figures."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from cfgtoy import evaluation\n"
        "first = os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'\n"
        "if first and os.environ['RANK'] == '1':\n"
        "    evaluation._generated = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "evaluation.evaluate(evaluation.EvalConfig(\n"
        "    model='digits', n=50, batch=8, w=(1.0,), sampling=evaluation.Sampling(steps=2), device='cpu',\n"
        "    out=Path(sys.argv[1])))\n"
        "assert not first\n"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1",
        "--master-addr=127.0.0.1", f"--master-port={port}", "--monitor-interval=0.1",
    ]  # fmt: skip
    done = subprocess.run(
        [*torchrun, script, tmp_path / "2.json"], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr or "Signal 9" in done.stderr
    two = json.loads((tmp_path / "2.json").read_text())
    one = evaluate(
        EvalConfig(model="digits", n=50, batch=8, w=(1.0,), sampling=Sampling(steps=2), device="cpu")
    )
    assert two["gpus"] == one["gpus"] == 0
    for key, figure in one["results"][0].items():
        if not key.startswith("seconds"):
            assert figure == pytest.approx(two["results"][0][key], rel=1e-5), key


def test_the_record_names_its_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("CFGTOY_COMMIT", "abc")
    found = evaluation.provenance(torch.device("cpu"), "cfgtoy …")
    assert found["commit"] == "abc"
    assert found["device"].startswith("cpu")
    monkeypatch.delenv("CFGTOY_COMMIT")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert evaluation.provenance(torch.device("cpu"), "")["commit"] == "unknown"


def test_the_commit_is_of_our_own_repository(monkeypatch, tmp_path):
    monkeypatch.delenv("CFGTOY_COMMIT", raising=False)

    def git(*args):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ["git", *who, *args], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    for folder in ("cfgtoy", "venv/lib/cfgtoy"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "_provenance.py").touch()
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "cfgtoy" / "_provenance.py"))
    assert evaluation.provenance(torch.device("cpu"), "a command")["commit"] == git("rev-parse", "HEAD")
    monkeypatch.setattr(_provenance, "__file__", str(tmp_path / "venv/lib/cfgtoy/_provenance.py"))
    assert evaluation.provenance(torch.device("cpu"), "a command")["commit"] == "unknown"
