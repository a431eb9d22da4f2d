"""The command line: help, samples, figures, and what it says to bad input."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from cfgtoy import artifacts, cli, guidance
from cfgtoy.nets.evaluator import Evaluator
from cfgtoy.nets.unet import NoisyClassifier, UNet
from tests.forked import module

ARGS = {
    "in_channels": 1, "image_size": 8, "channels": (8, 8), "blocks": (1, 1), "attention": (4,), "cond": 8, "head": 4
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    nets = {
        "digits": ("denoiser", UNet(**ARGS)),
        "digits-weak": ("denoiser", UNet(**ARGS)),
        "digits-noisy-classifier": ("noisy_classifier", NoisyClassifier(**ARGS)),
        "digits-evaluator": ("evaluator", Evaluator(in_channels=1, channels=(4, 6), residuals=(1,))),
    }
    for name, (role, net) in nets.items():
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
        meta = {
            "role": role, "net": {"class": type(net).__name__, "args": net.args}, "kind": "v", "dataset": "digits",
            "schedule": {"class": "Cosine", "args": {"lo": -8.0, "hi": 8.0}},
            "image": [1, 8, 8], "classes": list("abcdefghij"),
        }  # fmt: skip
        artifacts.save(folder / f"{name}.safetensors", net.state_dict(), meta)
        artifacts.manifest_add(name, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _here(weights, monkeypatch, tmp_path):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(weights))
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> int:
    """The exit code of a command line, as a shell would see it."""
    try:
        return cli.main(list(args))
    except SystemExit as exit:  # tyro's way to end on bad options
        return int(exit.code or 0)


# ---- help ----


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_names_every_command(args, capsys):
    assert run(*args) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("train", "sample", "evaluate", "weights", "torchrun", *cli.MIXTURES))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ["sample"],
            (
                "--w",
                "--rule",
                "apg",
                "--guidance",
                "--sampler",
                "--classes",
                "--interval",
                "--steps",
                "MODEL",
            ),
        ),
        (["evaluate"], ("--reference", "--extractor", "--noise-floor", "--n", "--seed", "--out")),
        (["train", "digits"], ("--images", "--p-uncond", "--schedule", "--resume")),
        (["weights"], ("SHA-256",)),
    ],
)
def test_every_option_is_explained(command, words, capsys):
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_recipes_and_version(capsys):
    assert run("train", "--help") == 0
    assert "cifar10-noisy-classifier" in capsys.readouterr().out
    assert run("--version") == 0
    assert torch.__version__ in capsys.readouterr().out


def test_help_is_quick_and_loads_neither_plots_nor_learners():
    program = (
        "import sys; from cfgtoy.cli import main\n"
        "try: main(['sample', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('matplotlib', 'sklearn', 'pooch', 'torchmetrics', 'scipy') if m in sys.modules])\n"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    seconds = time.perf_counter() - start
    assert done.stdout.splitlines()[-1] == "[]"
    if seconds >= 3:  # a busy machine slows torch as well
        plain = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], timeout=60, check=True)
        assert seconds < 2.5 * (time.perf_counter() - plain)


def test_it_runs_as_a_module_from_anywhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cfgtoy", "sample", "ring", "--w", "0", "--per-class", "5", "--steps", "4"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.strip().startswith("0 ")]) == 8
    done = module("cfgtoy", "sample", "nothing")
    assert done.returncode == 2
    assert "no such weights" in done.stderr
    assert "Traceback" not in done.stderr


# ---- sample ----


def test_a_sweep_makes_one_block_a_weight_and_the_seed_decides(tmp_path):
    def pixels(*args):
        options = ["--per-class", "2", "--steps", "2", "--scale", "1", "--classes", "c", "7"]
        assert run("sample", "digits", *options, *args, "--out", "x.png") == 0
        return np.asarray(Image.open(tmp_path / "x.png"))

    one, three = pixels("--w", "1"), pixels("--w", "-1", "0", "1")
    block = 2 * 8 + 2
    assert one.shape[0] == 20 + block
    assert three.shape[1] - one.shape[1] == 2 * (block + 12)
    assert np.array_equal(three[20:, -block:], one[20:, -block:])  # the same noise beside other weights
    assert not np.array_equal(pixels("--w", "1", "--seed", "1"), one)
    assert np.array_equal(pixels("--w", "1"), one)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "heun", "dpm++2m"])
@pytest.mark.parametrize("guidance", ["cfg", "classifier", "classifier-unconditional"])
def test_every_guidance_goes_with_every_sampler(sampler, guidance, tmp_path, capsys):
    args = ["--sampler", sampler, "--guidance", guidance, "--steps", "3", "--per-class", "1", "--w", "0.5"]
    assert run("sample", "digits", *args, "--interval", "-4", "6") == 0
    assert Image.open(tmp_path / "samples.png").size[0] > 64
    assert sampler in capsys.readouterr().out
    assert run("sample", "three-gaussians", *args[:-4], "--per-class", "20") == 0


@pytest.mark.parametrize("rule", guidance.RULES)
def test_every_rule_draws_digits_and_points(rule, tmp_path, capsys):
    args = ["--rule", rule, "--w", "4", "--steps", "3", "--per-class", "1"]
    assert run("sample", "digits", *args, "--out", "a.png") == 0, capsys.readouterr().err
    assert Image.open(tmp_path / "a.png").size[0] > 64
    assert run("sample", "three-gaussians", *args, "--per-class", "20") == 0, capsys.readouterr().err


def test_a_rules_options_come_from_its_signature(tmp_path, capsys):
    def pixels(*args):
        assert (
            run("sample", "digits", "--w", "4", "--steps", "3", "--per-class", "1", *args, "--out", "x.png")
            == 0
        )
        return np.asarray(Image.open(tmp_path / "x.png"))

    plain = pixels()
    assert not np.array_equal(pixels("--rule", "apg"), plain)
    # With all of the part along x̂, APG is plain guidance, up to rounding.
    assert np.abs(pixels("--rule=apg", "--eta", "1").astype(int) - plain).max() <= 2
    assert np.array_equal(pixels("--rule", "rescale", "--phi", "0", "--of", "apg"), pixels("--rule", "apg"))
    assert run("sample", "--rule", "apg", "--help") == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--eta FLOAT share of the part along x_c that is kept" in out
    assert "--phi" not in out
    negative = pixels("--rule", "negative", "--y-negative", "2")
    assert not np.array_equal(negative, plain)
    assert np.array_equal(pixels("--rule", "negative"), plain)
    narrow = pixels("--rule", "interval", "--interval-lo", "-2", "--interval-hi", "2")
    assert np.array_equal(pixels("--interval", "-2", "2"), narrow)
    assert not np.array_equal(narrow, plain)
    assert run("sample", "--rule", "auto", "--help") == 0
    assert "--bad" in capsys.readouterr().out


def test_an_evaluation_takes_a_rule_too(tmp_path):
    few = ["--n", "20", "--steps", "2", "--batch", "10", "--device", "cpu", "--out", "r.json"]
    assert run("evaluate", "digits", *few, "--rule", "apg", "--eta", "0.2", "--interval", "-3", "3") == 0
    record = json.loads((tmp_path / "r.json").read_text())
    apg = {"name": "apg", "options": {"eta": 0.2, "threshold": "inf", "momentum": 0.0}}
    assert record["rule"] == {"name": "interval", "options": {"lo": -3.0, "hi": 3.0, "of": apg}}


def test_no_class_is_a_row_too(tmp_path):
    assert run("sample", "digits", "--classes", "none", "--per-class", "2", "--steps", "2") == 0
    assert run("sample", "ring", "--classes", "none", "3", "--per-class", "9", "--steps", "2") == 0


def test_an_exact_mixture_is_sampled_rightly(capsys):
    args = ["--w", "0", "2", "--classes", "1", "--per-class", "4000", "--steps", "60", "--out", "points.png"]
    assert run("sample", "three-gaussians", *args) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "(" in line and line.split()[1] == "1"]
    conditional, guided = (
        [float(x) for x in row.replace("(", " ").replace(")", " ").replace(",", " ").split()] for row in rows
    )
    _, _, x, y, sx, sy, own, distance = conditional
    assert (x, y) == pytest.approx((-(3**0.5) / 2, -0.5), abs=0.04)
    assert (sx, sy) == pytest.approx((0.5, 0.5), abs=0.03)
    assert distance < 0.01
    assert guided[2] < x - 0.3  # pushed away from the other classes,
    assert guided[4] < sx  # narrower,
    assert guided[6] > own  # and surer
    assert Image.open("points.png").size[0] > 100


# ---- train ----


def test_what_is_trained_can_be_sampled_and_measured(tmp_path, capsys):
    """The three commands in a row, on digits, at a size that takes seconds."""
    tiny = [
        "--batch",
        "32",
        "--images",
        "128",
        "--checkpoint-every",
        "64",
        "--no-progress",
        "--device",
        "cpu",
    ]
    for recipe in ("digits", "digits-noisy-classifier", "digits-evaluator"):
        assert run("train", recipe, *tiny, "--out", recipe) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith("weights.safetensors")
    model, classifier = "digits/weights.safetensors", "digits-noisy-classifier/weights.safetensors"
    few = ["--steps", "2", "--device", "cpu", "--guidance", "classifier", "--classifier", classifier]
    assert run("sample", model, *few, "--per-class", "1") == 0
    options = ["--n", "20", "--extractor", "digits-evaluator/weights.safetensors", "--out", "r.json"]
    assert run("evaluate", model, *few, *options) == 0
    assert json.loads((tmp_path / "r.json").read_text())["extractor"] == "digits_classifier"
    assert run("train", "digits", *tiny, "--out", "digits") == 2  # there is a run already
    assert "resume" in capsys.readouterr().err


def test_a_folder_of_images_is_trained_on(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(
                tmp_path / "mine" / name / f"{i}.png"
            )
    tiny = [
        "--batch",
        "2",
        "--images",
        "4",
        "--no-progress",
        "--device",
        "cpu",
        "--out",
        "run",
        "--grid-every",
        "0",
    ]
    assert run("train", "folder", "mine", *tiny, "--size", "digits") == 0
    out = ["--per-class", "1", "--steps", "1", "--device", "cpu", "--classes", "dogs"]
    assert run("sample", "run/weights.safetensors", *out) == 0
    assert run("train", "folder", *tiny) == 2
    assert "dataset: got ''" in capsys.readouterr().err


# ---- evaluate, weights ----


def test_figures_go_to_a_file_or_to_standard_output(tmp_path, capsys):
    args = [
        "evaluate",
        "digits",
        "--n",
        "20",
        "--w",
        "0",
        "1",
        "--steps",
        "2",
        "--batch",
        "10",
        "--device",
        "cpu",
    ]
    assert run(*args, "--out", "r.json") == 0
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["command"] == "cfgtoy " + " ".join([*args, "--out", "r.json"])
    assert "frechet_digits_classifier" in capsys.readouterr().out
    assert run(*args, "--no-precision-recall") == 0
    printed = json.loads(capsys.readouterr().out)
    a, b = printed["results"][1], written["results"][1]
    assert a["frechet_digits_classifier"] == b["frechet_digits_classifier"]
    assert "recall_digits_classifier" not in a


def test_weights_are_listed_and_checked(weights, tmp_path, monkeypatch, capsys):
    assert run("weights") == 0
    assert capsys.readouterr().out.count(" ok ") == 4
    for path in weights.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(tmp_path))
    (tmp_path / "digits.safetensors").write_bytes(b"other")
    (tmp_path / "digits-evaluator.safetensors").unlink()
    assert run("weights") == 2
    captured = capsys.readouterr()
    assert "ALTERED" in captured.out
    assert "missing" in captured.out
    assert (
        "damaged: digits, digits-evaluator" in captured.err
        or "damaged: digits-evaluator, digits" in captured.err
    )
    assert run("sample", "digits") == 2
    assert "SHA-256" in capsys.readouterr().err


# ---- bad input ----


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["simple"], "no command 'simple'"),
        (["sample"], "MODEL"),
        (["sample", "nothing"], "no such weights, takes"),
        (["sample", "no/such.safetensors"], "no such weight file"),
        (["sample", "digits", "--w", "x"], "--w"),
        (["sample", "digits", "--w", "nan"], "w: got nan"),
        (["sample", "digits", "--w", "inf"], "w: got inf"),
        (["sample", "digits", "--steps", "0"], "steps"),
        (["sample", "digits", "--v", "2"], "v: got 2"),
        (["sample", "digits", "--sampler", "euler"], "--sampler"),
        (["sample", "digits", "--classes", "k"], "classes: got 'k', takes a, b"),
        (["sample", "digits", "--classes", "10"], "classes: got '10'"),
        (["sample", "digits", "--per-class", "0"], "per_class"),
        (["sample", "digits", "--interval", "3", "1"], "interval"),
        (["sample", "digits", "--lo", "5", "--hi", "4"], "lo"),
        (["sample", "digits", "--device", "abacus"], "device"),
        (["sample", "digits", "--scale", "0"], "scale"),
        (
            ["sample", "digits", "--guidance", "classifier", "--classifier", "digits"],
            "takes a 'noisy_classifier'",
        ),
        (["sample", "digits", "--rule", "apgg"], "--rule"),
        (["sample", "digits", "--rule", "apg", "--phi", "1"], "--phi"),
        (["sample", "digits", "--rule", "apg", "--threshold", "-1"], "threshold: got -1"),
        (["sample", "digits", "--rule", "apg", "--guidance", "cfg"], "guidance: got 'cfg' beside --rule apg"),
        (["evaluate", "digits", "--rule", "auto", "--bad", "nothing"], "no such weights"),
        (["sample", "digits", "--rule", "auto", "--bad", "nothing"], "no such weights"),
        (["sample", "ring", "--dtype", "bfloat16"], "dtype"),
        (["sample", "ring", "--w", "nan"], "w"),
        (["sample", "ring", "--seed", "-1"], "seed"),
        (["evaluate", "digits", "--n", "1"], "n: got 1"),
        (["evaluate", "digits", "--reference", "valid"], "no such weights"),
        (["evaluate", "digits", "--no-such-option"], "no-such-option"),
        (["train", "mnist"], "recipe: got 'mnist'"),
        (["train", "digits", "--p-uncond", "1.5"], "p_uncond|p-uncond"),
        (["train", "folder", "no/such"], "dataset: got 'no/such'"),
    ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(args, says, capsys):
    import re

    assert run(*args) == 2
    captured = capsys.readouterr()
    assert re.search(says, captured.err.replace("\n", " ")), captured.err
    assert "Traceback" not in captured.err


def test_an_unwritable_place_is_known_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("cfgtoy.images.sample", lambda *_, **__: pytest.fail("the work began"))
    assert run("sample", "digits", "--out", "file/x.png") == 2
    assert "file" in capsys.readouterr().err


def test_without_weights_it_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(artifacts.ENVIRONMENT, str(tmp_path / "nowhere"))
    assert run("sample", "cifar10") == 2
    assert artifacts.ENVIRONMENT in capsys.readouterr().err
    assert run("sample", "tree", "--per-class", "5", "--steps", "2") == 0  # needs none
    assert os.listdir(tmp_path) == []


def test_without_tyro_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert run("sample", "ring") == 2
    assert "pip install tyro" in capsys.readouterr().err


def test_without_pillow_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr("cfgtoy.samplers.sample", lambda *_, **__: pytest.fail("the work began"))
    assert run("sample", "digits", "--per-class", "1", "--steps", "1") == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("pillow is not installed: pip install 'cfgtoy[images]', or pip install pillow alone")
    )
