"""The comparison against closed forms, quadrature and counting by hand."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cfgtoy import GaussianMixture, cli, compare, datasets, guidance, metrics, samplers, schedules
from cfgtoy.compare import board
from cfgtoy.compare.imperfect import blurred, too_few_modes, too_narrow
from cfgtoy.compare.measures import Counted, measure
from cfgtoy.compare.problems import Embedded, plane
from cfgtoy.compare.truth import Truth

ROOT = Path(__file__).resolve().parents[2]
PAIR, RING, TREE = (compare.problem(name) for name in ("gaussian-pair", "ring", "tree"))


def of(mean: dict[str, float | None], **others: object) -> compare.Row:
    fields = {"rule": "a", "problem": "p", "w": 0.0, "sampler": "ddim", "spread": dict.fromkeys(mean, 0.0)}
    return compare.Row(**{**fields, "mean": mean, "seeds": 3, **others})  # type: ignore[arg-type]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- truth and measures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", [1.0, 3.0])
def test_the_pair_under_the_ode(w: float) -> None:
    """The variance is 2^(1−γ) with γ = 1 + w, and both divergences are those of zero-mean Gaussians."""
    (record,) = compare.run(
        ["classifier-free"], ["gaussian-pair"], [w], samplers=["heun"], seeds=[0], n=8000, steps=96
    )
    found, variance = record["measures"], 2.0**-w

    def kl(a: float, b: float) -> float:
        return 0.5 * (a / b - 1 - math.log(a / b))

    assert found["covariance_ratio"] == pytest.approx(variance, rel=0.05)
    assert found["kl_class"] == pytest.approx(kl(variance, 1.0), abs=0.05)
    assert found["kl_tilted"] == pytest.approx(kl(variance, 2 / (w + 2)), abs=0.05)
    assert found["class_probability"] is None
    assert found["curl"] == 0.0


def test_the_pair_under_the_sde() -> None:
    """The variance is (2 − 2^(2−2γ))/(2γ − 1)."""
    (record,) = compare.run(
        ["classifier-free"], ["gaussian-pair"], [1.0], samplers=["ancestral"], seeds=[0], n=8000, steps=400
    )
    assert record["measures"]["covariance_ratio"] == pytest.approx((2 - 2.0**-2) / 3, rel=0.06)


@pytest.mark.parametrize("name", ["three-gaussians", "overlapping"])
def test_the_tilted_density_is_normalised(name: str) -> None:
    truth = compare.problem(name).truth
    assert isinstance(truth, Truth)
    for w in (0.0, 2.0):
        total = metrics.log_normalizer(lambda at, w=w: truth.tilted_log_prob(at, 0, w), metrics.grid_2d())
        assert total == pytest.approx(0.0, abs=0.01)


def test_exact_samples_are_found_exact() -> None:
    for problem in (PAIR, RING, TREE, compare.problem("ring-64d")):
        truth = problem.truth
        assert isinstance(truth, Truth)
        found = measure(problem, truth.sample(2000, 0, seeded()), torch.zeros(2000, dtype=torch.int64), 0.0)
        assert abs(found["kl_class"] or 0) < 0.15, problem.name
        assert found["outside"] == pytest.approx(0.01, abs=0.008), problem.name
        assert found["covariance_ratio"] == pytest.approx(1.0, abs=0.1), problem.name
        assert found["modes"] == 1.0


def test_the_region_of_a_gaussian() -> None:
    """99 % of the pair's class lie within 2.5758 standard deviations."""
    truth = PAIR.truth
    assert isinstance(truth, Truth)
    x = torch.tensor([[2.5], [-2.5], [2.65], [-2.65]])
    assert truth.outside(x, 0).tolist() == [False, False, True, True]


def test_modes_that_are_missing_are_missed() -> None:
    heavy = too_few_modes(datasets.overlapping())
    truth = compare.problem("overlapping").truth
    assert isinstance(truth, Truth)
    problem = compare.problem("overlapping-too-few-modes")
    x = heavy.sample(2000, 0, seeded())
    # Weights 0.3, 0.3, 0.25, 0.15: three hold 70 %.
    assert heavy.labels.bincount().tolist() == [3, 3]
    assert measure(problem, x, torch.zeros(2000, dtype=torch.int64), 0.0)["modes"] == 0.75


def test_ways_to_be_wrong() -> None:
    ring = datasets.ring()
    assert torch.allclose(blurred(ring, 0.2).covs, ring.covs + 0.04 * torch.eye(2))
    assert torch.allclose(too_narrow(ring, 0.5).covs, ring.covs / 4)


def test_a_long_mixture_is_the_mixture_in_a_plane() -> None:
    """Against the same mixture written out in six dimensions."""
    ring, q = datasets.ring(), plane(6)
    assert torch.allclose(q.mT @ q, torch.eye(2), atol=1e-6)
    whole = GaussianMixture(ring.means @ q.mT, 0.15**2)
    z, lam, y = torch.randn(50, 6, generator=seeded()), torch.linspace(-6, 8, 50), torch.arange(50) % 8
    embedded = Embedded(ring, q, 0.15)
    assert torch.allclose(embedded(z, lam, y).v, whole(z, lam, y).v, atol=2e-5)
    assert torch.allclose(embedded(z, lam).v, whole(z, lam).v, atol=2e-5)
    truth = Truth(ring, plane=q, std=0.15)
    mean, cov = metrics.moments(truth.sample(20_000, 3, seeded()))
    exact = whole.mean_cov(3)
    assert torch.allclose(mean.float(), exact[0], atol=0.01)
    assert torch.allclose(cov.float(), exact[1], atol=0.002)
    assert truth.variance(3) == pytest.approx(exact[1].trace().item() / 6, rel=1e-5)


def test_evaluations_are_counted() -> None:
    counted = Counted(RING.denoiser)
    for denoiser, each in ((counted, 1), (guidance.classifier_free(counted, w=1.0), 2)):
        counted.count = 0
        grid = schedules.Cosine().grid(5)
        samplers.sample(denoiser, 0, shape=(7, 2), grid=grid, method="heun", generator=seeded())
        assert counted.count == 7 * each * (2 * 5 - 1)
    # The worse model of autoguidance costs as much as the good one; a classifier is no model.
    for rule, w, evaluations in (
        ("classifier-free", 0.0, 8),
        ("classifier-free", 1.0, 16),
        ("auto", 1.0, 16),
        ("classifier", 1.0, 8),
    ):
        (record,) = compare.run([rule], ["ring"], [w], seeds=[0], n=50, steps=8)
        assert record["measures"]["evaluations"] == evaluations


# -- the board ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of somebody's own rules, on the path."""
    name = f"rules_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "from cfgtoy.guidance import classifier_free\n"
        "def same(denoiser, *, w):\n    return classifier_free(denoiser, w=w)\n"
        "def parted(denoiser, *, w, grid):\n    assert len(grid) == 8\n    return denoiser\n"
        "def broken(denoiser, *, w):\n    raise KeyError('no such thing')\n"
        "def hole(denoiser, *, w):\n    return classifier_free(denoiser, w=w * float('nan'))\n"
        "class Rest:\n    def __init__(self, p): self.p = p\n"
        "def nan(denoiser, *, w):\n"
        "    def f(z, logsnr, y=None):\n"
        "        p = denoiser(z, logsnr, y)\n        return p.plus(0 * p.x + float('nan'), 'x')\n"
        "    return f\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_rule_of_ones_own(mine: str) -> None:
    own, ours, parted = compare.run(
        [f"{mine}:same", "classifier_free", f"{mine}:parted"], ["ring"], [1.0], seeds=[0], n=60, steps=8
    )
    assert own["measures"] == ours["measures"]
    assert parted["measures"]["evaluations"] == 8
    assert own["rule"]["name"] == f"{mine}:same"
    assert len(own["rule"]["sha256"]) == 64


def test_options_in_a_name() -> None:
    rules = ["apg(eta=0.2)", guidance.rule("apg", eta=0.2), "negative(y_negative=3)", "rescale(of=apg)"]
    records = compare.run(rules, ["ring"], [1.0], seeds=[0], n=60, steps=8)
    # One rule, asked for twice, is measured once.
    assert [r["rule"]["name"] for r in records] == ["apg", "negative", "rescale"]
    assert records[0]["rule"]["options"] == {"eta": 0.2}
    assert all("measures" in r for r in records)
    with pytest.raises(ValueError, match=r"^etta: got an option"):
        compare.run(["apg(etta=1)"], ["ring"], [1.0])


def test_a_rule_that_fails_has_a_row_that_says_so(mine: str) -> None:
    rules = [f"{mine}:broken", f"{mine}:nan", f"{mine}:hole", "classifier-free"]
    records = compare.run(rules, ["ring"], [1.0], seeds=[0], n=60, steps=8)
    assert records[0]["error"] == "KeyError: 'no such thing'"
    assert "nan" in records[1]["error"].lower()
    assert records[2]["error"].startswith("ValueError: w: ")
    assert "measures" in records[3]
    text = compare.table(records)
    assert "no such thing" in text
    json.dumps(records, allow_nan=False)


def test_a_part_that_a_problem_lacks_is_named() -> None:
    (record,) = compare.run(["classifier"], ["gaussian-pair"], [1.0], seeds=[0], n=60, steps=8)
    assert record["error"].startswith("ValueError: classifier: ")


def test_resumed_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "board.json"
    made: list[tuple[float, int]] = []
    real = board._figures

    def noted(task: board._Run, curl: list[float | None]) -> dict[str, object]:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((task.w, task.seed))
        return real(task, curl)

    monkeypatch.setattr(board, "_figures", noted)
    asked = {"seeds": [0, 1], "n": 60, "steps": 8, "out": out}
    with pytest.raises(KeyboardInterrupt):
        compare.run(["apg"], ["ring"], [0.0, 1.0, 3.0], **asked)  # type: ignore[arg-type]
    assert [(r["w"], r["seed"]) for r in compare.read(out)] == made == [(0.0, 0), (0.0, 1), (1.0, 0)]
    before = compare.read(out)
    monkeypatch.setattr(board, "_figures", real)
    records = compare.run(["apg"], ["ring"], [0.0, 1.0, 3.0], **asked)  # type: ignore[arg-type]
    assert records[:3] == before
    assert compare.read(out) == records
    assert [r["made_by"] for r in records] == [0, 0, 0, 1, 1, 1]
    whole = compare.run(["apg"], ["ring"], [0.0, 1.0, 3.0], **(asked | {"out": None}))  # type: ignore[arg-type]
    assert [r["measures"] for r in whole] == [r["measures"] for r in records]
    held = out.read_bytes()
    compare.run(["apg"], ["ring"], [0.0, 1.0, 3.0], **asked)  # type: ignore[arg-type]
    assert out.read_bytes() == held


def test_killed_it_leaves_whole_records(tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    command = [
        sys.executable, "-m", "cfgtoy", "compare", "apg", "--on", "ring", "--w", "0", "1", "--seeds",
        *map(str, range(400)), "--n", "60", "--steps", "8", "--out", str(out),
    ]  # fmt: skip
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not (out.exists() and len(compare.read(out)) >= 2):
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    kept = compare.read(out)
    assert 2 <= len(kept) < 800
    seeds = range(len(kept) + 2)
    records = compare.run(["apg"], ["ring"], [0.0], seeds=seeds, n=60, steps=8, out=out)
    assert records[: len(kept)] == kept
    assert len(compare.read(out)) == len(kept) + 2


def test_what_raised_is_tried_again_and_an_altered_rule_is_another(mine: str, tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    asked = {"seeds": [0], "n": 60, "steps": 8, "out": out}
    rules = [f"{mine}:broken", f"{mine}:same"]
    first = compare.run(rules, ["ring"], [1.0], **asked)  # type: ignore[arg-type]
    again = compare.run(rules, ["ring"], [1.0], **asked)  # type: ignore[arg-type]
    assert [r["made_by"] for r in again] == [1, 0]
    assert len(compare.read(out)) == 2
    file = tmp_path / f"{mine}.py"
    file.write_text(file.read_text() + "# altered\n")
    last = compare.run(rules, ["ring"], [1.0], **asked)  # type: ignore[arg-type]
    assert [r["made_by"] for r in last] == [2, 2]
    assert last[1]["rule"]["sha256"] != first[1]["rule"]["sha256"]
    assert len(compare.read(out)) == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rules": []}, "rules"),
        ({"rules": ["apq"]}, "rule"),
        ({"rules": ["json:dumps"]}, "rules"),
        ({"rules": ["no_such_module:f"]}, "rules"),
        ({"problems": ["trees"]}, "problems"),
        ({"weights": [math.nan]}, "weights"),
        ({"weights": []}, "weights"),
        ({"samplers": ["euler"]}, "samplers"),
        ({"seeds": [-1]}, "seeds"),
        ({"n": 5}, "n"),
        ({"steps": 0}, "steps"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], named: str) -> None:
    asked = {"rules": ["apg"], "problems": ["ring"], "weights": [0.0], "seeds": [0], "n": 60} | change
    with pytest.raises(ValueError, match=rf"^{named}: got .*takes "):
        compare.run(**asked)  # type: ignore[arg-type]


def test_a_file_that_is_no_board(tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    out.write_text("[1, 2")
    with pytest.raises(ValueError, match="no board"):
        compare.run(["apg"], ["ring"], [0.0], seeds=[0], n=60, out=out)
    assert out.read_text() == "[1, 2"


# -- side by side ------------------------------------------------------------------------------------------------


def test_matched_class_probability_is_interpolated_in_w() -> None:
    rows = [
        of({"class_probability": p, "kl_class": k, "frechet": None}, w=w)
        for w, p, k in ((3.0, 0.95, 2.0), (0.0, 0.6, 0.0), (1.0, 0.8, 0.5))
    ]
    row = compare.at_class_probability(rows, 0.7)
    assert row is not None
    assert row.w == pytest.approx(0.5)
    assert row.mean["kl_class"] == pytest.approx(0.25)
    assert row.mean["frechet"] is None
    row = compare.at_class_probability(rows, 0.9)
    assert row is not None
    assert row.w == pytest.approx(1 + 2 * 2 / 3)
    assert compare.at_class_probability(rows, 0.95) == rows[0]
    assert compare.at_class_probability(rows, 0.99) is None
    with pytest.raises(ValueError, match=r"^rows: got several"):
        compare.at_class_probability([*rows, of({"class_probability": 0.5}, rule="b")], 0.7)


def test_frontier_and_hypervolume() -> None:
    points = [(0.9, 0.2), (0.5, 0.6), (0.4, 0.5), (0.9, 0.1), (0.1, 0.8)]
    rows = [of({"precision": q, "recall": d}) for q, d in points]
    best = compare.frontier(rows)
    assert [(row.mean["precision"], row.mean["recall"]) for row in best] == [
        (0.9, 0.2),
        (0.5, 0.6),
        (0.1, 0.8),
    ]
    # By Monte Carlo: a point is dominated when some row is at least as good in both.
    u = torch.rand(200_000, 2, generator=seeded())
    at = torch.tensor(points)
    inside = ((u[:, None] <= at).all(2)).any(1).double().mean().item()
    assert compare.hypervolume(rows) == pytest.approx(inside, abs=0.005)
    assert compare.hypervolume([*rows, rows[0]]) == compare.hypervolume(rows)
    assert compare.hypervolume([]) == 0.0


def test_the_spread_is_over_seeds() -> None:
    records = compare.run(["apg"], ["ring"], [1.0], seeds=[0, 1, 2], n=60, steps=8)
    (row,) = compare.summary(records)
    values = torch.tensor([r["measures"]["kl_class"] for r in records], dtype=torch.float64)
    assert row.mean["kl_class"] == pytest.approx(values.mean().item())
    assert row.spread["kl_class"] == pytest.approx(values.std().item())
    assert row.spread["evaluations"] == 0.0


def test_an_mlp_is_seeded() -> None:
    from cfgtoy.compare.imperfect import mlp

    z = torch.randn(9, 2, generator=seeded())

    def said() -> Tensor:
        good, early = mlp(datasets.ring(), steps=10)
        return torch.stack([d(z, torch.tensor(1.0), torch.tensor(2)).x for d in (good, early)])

    first = said()
    assert torch.equal(first, said())
    assert not torch.equal(first[0], first[1])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "board.json", tmp_path / "board.png"
    few = [
        "--w",
        "0",
        "1",
        "--seeds",
        "0",
        "--n",
        "60",
        "--steps",
        "8",
        "--out",
        str(out),
        "--plot",
        str(picture),
    ]
    assert cli.main(["compare", "apg", "classifier-free", "--on", "ring", "gaussian-pair", *few]) == 0
    text = capsys.readouterr().out
    assert "KL tilted" in text
    assert "hypervolume" in text
    assert picture.read_bytes()[:4] == b"\x89PNG"
    held = json.loads(out.read_text())
    assert held["made_by"][0]["command"].startswith("cfgtoy compare apg classifier-free --on ring")
    assert len(held["records"]) == 8
    assert cli.main(["compare", "apg", "--on", "nowhere"]) == 2
    assert "problems: got 'nowhere'" in capsys.readouterr().err


def test_other_seeds_agree_within_the_spread_that_is_shown() -> None:
    """Two machines round differently and, at worst, draw other noise: three seeds beside three others."""
    asked = (
        ["classifier-free", "rescale(on=x)", "interval(lo=-3, hi=3)"],
        ["three-gaussians", "overlapping"],
        [0.0, 1.0],
    )
    first, other = (
        compare.summary(compare.run(*asked, seeds=seeds, n=500, steps=16)) for seeds in ((0, 1, 2), (3, 4, 5))
    )
    names = ("kl_class", "outside", "class_probability", "covariance_ratio", "precision", "recall")
    apart = []
    for a, b in zip(first, other, strict=True):
        assert (a.rule, a.problem, a.w) == (b.rule, b.problem, b.w)
        for name in names:
            spread = math.hypot(a.spread[name], b.spread[name])
            apart.append(abs(a.mean[name] - b.mean[name]) / max(spread, 1e-3))
    assert max(apart) > 0  # other seeds are other figures
    # Three seeds know their spread to a factor of two or so: most agree within it, all within some of it.
    assert sum(gap <= 1 for gap in apart) >= 0.75 * len(apart)
    assert max(apart) < 10


def test_cifar10_asks_for_a_gpu_and_is_measured_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny, on the CPU, beside images of noise in place of the downloaded ones."""
    from cfgtoy.compare import problems
    from cfgtoy.datasets.images import ImageData

    monkeypatch.setattr(problems, "pick_device", lambda _: torch.device("cpu"))
    with pytest.raises(ValueError, match=r"^problems: got 'cifar10' without a GPU"):
        compare.problem("cifar10")
    images = torch.randint(0, 256, (60, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    made = ImageData(images, torch.arange(60) % 10, tuple(map(str, range(10))))
    monkeypatch.setattr(problems, "load_images", lambda *_: made)
    whole = problems._images("cifar10", bad=None, device="cpu", n=20, steps=2)
    tiny = replace(whole, classes=(3, 8))  # ten images a class are the least
    (record,) = compare.run(["frequency-decoupled"], [tiny], [1.0], seeds=[0])
    found = record["measures"]
    assert found["evaluations"] == 4
    assert 0 <= found["class_probability"] <= 1
    assert found["frechet"] > 0
    assert "kl_class" not in found


@pytest.mark.slow
def test_digits() -> None:
    (record,) = compare.run(["classifier-free"], ["digits"], [1.0], seeds=[0], n=100, steps=8)
    assert 0.5 < record["measures"]["class_probability"] <= 1.0
    assert record["measures"]["evaluations"] == 16
