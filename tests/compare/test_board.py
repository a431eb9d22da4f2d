"""The stored board: a part of it drawn again, and what its chapter reads from the images."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from cfgtoy import compare

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
CHAPTER = ROOT / "book" / "beyond" / "20-which-rule.ipynb"
RECORDS = compare.read(DATA / "compare.json")


@pytest.mark.parametrize("rule", ["classifier-free", "apg", "recfg", "adaptive"])
@pytest.mark.parametrize("problem", ["overlapping", "gaussian-pair"])
def test_a_part_drawn_again(rule, problem):
    compared(*compare.run([rule], [problem], [2.0], seeds=[1], n=1000))


def test_a_part_in_64_dimensions():
    compared(*compare.run(["mambo-g"], ["ring-64d"], [1.0], seeds=[1], n=1000))


def test_boards_are_held_against_each_other():
    """What lies farther apart than the spread is named; what has none is compared by its digits."""
    spec = importlib.util.spec_from_file_location("benchmarks_board", ROOT / "benchmarks" / "board.py")
    board = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(board)
    here = [r for r in RECORDS if r["problem"] == "ring" and r["w"] == 1.0 and r["rule"]["name"] == "apg"]
    there = json.loads(json.dumps(here))
    same = board.held(here, there)
    assert same["figures"] == same["the same to four digits"] == len(here[0]["measures"])
    assert same["apart by more than the spread"] == []
    spread = np.std([r["measures"]["kl_class"] for r in here], ddof=1)
    for record in there:
        record["measures"]["kl_class"] += 0.9 * spread
        record["measures"]["evaluations"] += 1
    other = board.held(here, there)
    assert other["the same to four digits"] == same["figures"] - 2
    assert other["apart by more than the spread"] == ["apg on ring, w = 1: evaluations"]


@pytest.mark.slow
def test_a_part_on_digits():
    compared(*compare.run(["frequency-decoupled"], ["digits"], [0.5], seeds=[1]))


def compared(new):
    """A record beside the stored one of its kind."""
    keys = ("rule", "problem", "w", "seed", "n", "steps", "sampler")
    old = next(r for r in RECORDS if all(r[key] == new[key] for key in keys))
    for name, value in old["measures"].items():
        assert new["measures"][name] == (value if value is None else pytest.approx(value, rel=0.02, abs=0.01))


def test_only_a_problem_without_classes_has_rows_that_say_why():
    failed = {(r["rule"]["name"], r["problem"]) for r in RECORDS if "error" in r}
    assert failed == {("classifier", "gaussian-pair")}


@pytest.fixture(scope="module")
def on_cifar10():
    """What each rule's row should say with little and with much guidance, from the files alone."""
    curves = {}
    runs = {
        run["rule"]: run["rows"] for run in json.loads((DATA / "cifar10-rules.json").read_text())["results"]
    }
    runs["again"] = json.loads((DATA / "cifar10-sweep-cfg.json").read_text())["results"]
    for rule, rows in runs.items():
        names = ("inception_score", "frechet", "precision", "recall")
        table = np.array([[row[f"{name}_cifar10_classifier"] for name in names] for row in rows])
        curves[rule] = table[: table[:, 0].argmax() + 1].T, table[0, 0]  # as far as the score rises
    again, _ = curves.pop("again")
    assert [row["w"] for row in runs["classifier-free"]] == [0.5, 1, 2, 4]
    texts = {rule: [] for rule in curves}
    for k in (0, 2):
        score, plain = curves["classifier-free"][0][:2, k]
        noise = abs(np.interp(score, *again[:2]) - plain)
        for rule, ((scores, *figures), first) in curves.items():
            if first > score or scores.max() < score:
                texts[rule].append(("passed" if first > score else "not reached",))
                continue
            value, *pair = (np.interp(score, scores, figure) for figure in figures)
            word = (
                "lower" if value < plain - noise else "higher" if value > plain + noise else "no difference"
            )
            texts[rule].append((word, f"{value:.2f}", ", ".join(f"{each:.2f}" for each in pair)))
    return texts


def test_the_chapters_figures_on_cifar10_are_those_of_the_file(on_cifar10):
    cells = nbformat.read(CHAPTER, as_version=4).cells
    (printed,) = (cell for cell in cells if cell.cell_type == "code" and 'print("\\ndistance ' in cell.source)
    lines = [
        re.split(r"\s{2,}|(?<=\w) (?=\d+\.\d+, )", line) for line in printed.outputs[0].text.splitlines()[4:]
    ]
    expected = []
    for rule, pair in on_cifar10.items():
        last = pair[1][2] if len(pair[1]) > 1 else "–"
        expected.append([rule, *(", ".join(one[1::-1]) for one in pair), last])
    assert lines == expected
    assert len(lines) == 16


def test_the_boards_column_on_cifar10_is_that_of_the_file(on_cifar10):
    cells = [cell.source for cell in nbformat.read(CHAPTER, as_version=4).cells if cell.cell_type == "code"]
    last = next(i for i, source in enumerate(cells) if 'class="board' in source)
    space = {}
    for source in cells[: last + 1]:
        if not source.startswith("frames("):  # figures, which the board does without
            exec(source, space)
    column = space["heads"].index("CIFAR-10")
    found = {}
    for row in re.findall(r"<tr>(.*?)</tr>", space["body"]):
        texts = re.findall(r"<td>(.*?)</td>", row)
        found[texts[0].split("(")[0]] = texts[column]
    assert found.pop("auto") == "not measured"
    assert len(found) == 14
    assert found == {rule: "; ".join(one[0] for one in on_cifar10[rule]) for rule in found}
