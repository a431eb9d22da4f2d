"""The script that measures the digits' students, at tiny size."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from cfgtoy import artifacts

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("benchmarks_students", ROOT / "benchmarks" / "students.py")
assert _spec is not None
assert _spec.loader is not None
students = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(students)


def test_each_part_is_measured_beside_the_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = artifacts.data_folder() / "digits-student.safetensors"
    for part in ("guided", "steps-16", "steps-8", "steps-4", "steps-2", "."):
        (tmp_path / part).mkdir(exist_ok=True)
        shutil.copy(shipped, tmp_path / part / "weights.safetensors")
    monkeypatch.setattr(students, "WEIGHTS", (0.0, 1.0))
    monkeypatch.setattr(students, "ON_TOP", ((1.0, 1.0),))
    monkeypatch.setattr(students, "MANY", 32)
    monkeypatch.setattr(students, "FINE", 12)
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["students.py", str(tmp_path), "--to", str(out), "--n", "20"])
    students.main()

    record = json.loads(out.read_text())
    rows = {(row["who"], row["steps"], row["w"]): row for row in record["rows"]}
    assert len(rows) == len(record["rows"]) == 2 * (1 + 6 + 6)
    assert rows["teacher", 32, 1.0]["off"] == 0  # it is what the others are held against
    assert (rows["teacher", 4, 0.0]["evaluations"], rows["teacher", 4, 1.0]["evaluations"]) == (4, 8)
    assert rows["student", 4, 1.0]["evaluations"] == 4
    assert rows["student", 4, 1.0]["off"] < rows["teacher", 2, 1.0]["off"]  # at the same price
    assert [row["total"] for row in record["twice"]] == [3.0, 3.0]
    shas = record["weights"]
    assert shas["student_4"] == artifacts.manifest()["digits-student"]["sha256"]
