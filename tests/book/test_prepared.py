"""Images that chapters show but do not draw: they are there, and were drawn with the weights that are shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
import torch

from cfgtoy import artifacts
from tests.book.support import ROOT, chapter_paths, tool

prepared = tool("prepared")
SHA = "0" * 64
FOUND = [(path, about) for path in chapter_paths() for about in prepared.prepared(path)]


@pytest.mark.parametrize(("path", "about"), FOUND, ids=[about["name"] for _, about in FOUND])
def test_it_was_drawn_with_the_shipped_weights(path: Path, about: dict) -> None:
    """If not: python tools/prepared.py, then make notebooks NB=…"""
    entries = artifacts.manifest(ROOT / "data")
    made = artifacts.load(ROOT / "data" / entries[about["name"]]["file"])
    assert made.meta["from"] == {name: entries[name]["sha256"] for name in about["from"]}
    told = re.fullmatch(r"python tools/prepared\.py book/(\S+)\.ipynb", made.meta["made_by"]["command"])
    assert told
    page, _ = tool("moved").MOVED.get(told[1], (told[1], ""))  # the chapter, by its name at that commit
    assert path == ROOT / "book" / f"{page}.ipynb"
    assert all(torch.isfinite(tensor.float()).all() for tensor in made.tensors.values())
    code = "".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
    assert f'artifacts.load("{about["name"]}")' in code
    for name in about["from"]:  # all that the chapter loads above its function
        assert name in entries


def test_the_tool_runs_a_chapter_down_to_its_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"")
    (tmp_path / "manifest.json").write_text(json.dumps({"net": {"file": "net.safetensors", "sha256": SHA}}))
    cells = [
        nbformat.v4.new_code_cell("import torch\nn = 3"),
        nbformat.v4.new_code_cell("n += 1\n\ndef prepare_all():\n    return {'n': torch.full((2,), n)}"),
        nbformat.v4.new_code_cell("raise RuntimeError('the rest is not run')"),
    ]
    cells[1].metadata["cfgtoy"] = {"prepares": {"name": "small", "from": ["net"]}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01-a.ipynb")
    monkeypatch.setattr(prepared, "BOOK", tmp_path)
    monkeypatch.chdir(tmp_path)
    prepared.prepare(tmp_path / "01-a.ipynb", tmp_path)
    made = artifacts.load(tmp_path / "small.safetensors")
    assert made.tensors["n"].tolist() == [4, 4]
    assert made.meta["from"] == {"net": SHA}
    assert made.meta["made_by"]["command"] == "python tools/prepared.py book/01-a.ipynb"
    assert artifacts.manifest(tmp_path)["small"]["role"] == "prepared"
