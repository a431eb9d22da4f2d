"""The stored board: a part of it drawn again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfgtoy import compare

FILE = Path(__file__).resolve().parents[2] / "data" / "compare.json"
RECORDS = compare.read(FILE)


@pytest.mark.parametrize("rule", ["classifier-free", "apg", "recfg", "adaptive"])
@pytest.mark.parametrize("problem", ["overlapping", "gaussian-pair"])
def test_a_part_drawn_again(rule, problem):
    compared(*compare.run([rule], [problem], [2.0], seeds=[1], n=1000))


def test_a_part_in_64_dimensions():
    compared(*compare.run(["mambo-g"], ["ring-64d"], [1.0], seeds=[1], n=1000))


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
