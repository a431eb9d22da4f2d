"""Streaming statistics, extractors and the evaluation from end to end, at tiny size."""

import hashlib
import json
import math
import socket
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfgtoy import artifacts, guidance, metrics
from cfgtoy.datasets import digits, three_gaussians
from cfgtoy.evaluation import sample_images
from cfgtoy.images import EvalConfig, Sampling, Settings, evaluate
from cfgtoy.metrics import extractors, streaming
from cfgtoy.nets.evaluator import Evaluator
from tests.forked import python

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


def test_an_extractor_for_other_images_or_classes_is_not_misused(tmp_path, meta):
    net = Evaluator(in_channels=1, channels=(4, 6), residuals=(1,))
    path = tmp_path / "e.safetensors"
    artifacts.save(path, net.state_dict(), meta("evaluator", net) | {"classes": list("abcdefghij")})
    found = evaluate(EvalConfig(**(TINY | {"extractor": str(path)})))["results"][0]
    assert "frechet_digits_classifier" in found
    assert not any(key.startswith("accuracy") for key in found)
    artifacts.save(path, net.state_dict(), meta("evaluator", net) | {"image": [1, 16, 16]})
    with pytest.raises(ValueError, match=r"extractor: .* is for images"):
        evaluate(EvalConfig(**(TINY | {"extractor": str(path)})))


@pytest.mark.parametrize("name", ["apg", "interval", "classifier"])
def test_any_rule_is_measured_and_the_record_holds_it(name, weights):
    made = guidance.rule(name, **{"interval": {"lo": -2.0, "hi": math.inf, "of": "apg"}}.get(name, {}))
    found = evaluate("digits", rule=made, w=2.0, n=40, batch=16, steps=2, device="cpu")
    record = json.loads(json.dumps(found, allow_nan=False))
    assert guidance.rule(record["rule"]) == made
    assert "rule" not in record["sampling"]
    classifier = hashlib.sha256((weights / "digits-noisy-classifier.safetensors").read_bytes()).hexdigest()
    assert record["parts_sha256"] == ({"classifier": classifier} if name == "classifier" else {})
    # The same by hand, from a guided denoiser that says nothing of itself.
    ready = Settings.load("digits", Sampling(rule=made, steps=2))
    by_hand = evaluate(
        ready.guided(2.0), dataset="digits", n=40, batch=16, device="cpu",
        sampling=Sampling(steps=2, lo=-8.0, hi=8.0),
    )  # fmt: skip
    assert by_hand["model"] == "function"
    a, b = found["results"][0], by_hand["results"][0]
    for key in a.keys() - {"w", "seconds_sampling", "seconds_measuring"}:
        assert a[key] == pytest.approx(b[key], rel=1e-6), key


def test_what_cannot_be_measured_is_said(weights):
    model = artifacts.load_denoiser("digits")
    for call, says in (
        (
            lambda: evaluate(lambda z, lam, y=None: model(z, lam, y)),
            "extractor: there is none of its own for ''",
        ),
        (lambda: evaluate(three_gaussians(), dataset="digits"), "takes one of images"),
        (lambda: evaluate("digits", n=40, stepz=3), "stepz: got an option that does not exist"),
        (lambda: evaluate("digits", rule="apgg"), "rule: got 'apgg'"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


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
    monkeypatch.setattr("cfgtoy.images.evaluation._reference", lambda *_: pytest.fail("the work began"))
    with pytest.raises(OSError, match="file"):
        evaluate(EvalConfig(**TINY, out=tmp_path / "file" / "r.json"))


def test_two_processes_find_what_one_finds_though_one_is_killed(tmp_path):
    """What torchrun does with two processes on gloo, restarted once: same samples, same figures."""
    program = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from torch.distributed import run\n"
        "from torch.distributed.launcher.api import elastic_launch\n"
        "from cfgtoy.datasets import digits\n"
        "from cfgtoy.images import Sampling, evaluation\n"
        "def rank():\n"
        "    torch.set_num_threads(1)\n"
        "    first = os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'\n"
        "    if first and os.environ['RANK'] == '1':\n"
        "        evaluation._generated = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    evaluation.evaluate(evaluation.EvalConfig(\n"
        "        model='digits', n=50, batch=8, w=(1.0,), sampling=Sampling(steps=2), device='cpu',\n"
        "        out=Path(sys.argv[-1])))\n"
        "    assert not first\n"
        "digits.load('train')  # and the ranks need not import all of this again\n"
        "config, *_ = run.config_from_args(run.parse_args(sys.argv[1:]))\n"
        "config.start_method = 'fork'\n"
        "elastic_launch(config, rank)()\n"
    )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    done = python(
        program, "--nproc-per-node=2", "--max-restarts=1", "--master-addr=127.0.0.1",
        f"--master-port={port}", "--monitor-interval=0.1", str(tmp_path / "2.json"),
        env={"OMP_NUM_THREADS": "1"},
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
