"""The chapters are compared with what the build put out as strictly as with a kernel's answers."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.book.support import BOOK, ROOT
from tests.forked import module

CHAPTER = BOOK / "explorers" / "gallery.ipynb"


def pytest_of(*arguments: object) -> str:
    """What nbval says of notebooks."""
    options = "--nbval", "-q", "-rfE", "-p", "no:cacheprovider"
    return module("pytest", *options, *map(str, arguments), cwd=ROOT).stdout


@pytest.fixture
def folder(html: Path, tmp_path: Path) -> Path:
    """Notebooks: a chapter as it is, with one more word in an output, and with one more line of code."""
    for change in ("none", "output", "code"):
        book = nbformat.read(CHAPTER, as_version=4)
        shown = [cell for cell in book.cells if "data" in next(iter(cell.get("outputs", [])), {})]
        if change == "output":
            shown[-1].outputs[0].data["text/plain"] += " wrong"
        if change == "code":
            shown[-1].source += "\n"
        nbformat.write(book, tmp_path / f"{change}.ipynb")
    return tmp_path


def test_an_altered_output_fails_and_altered_code_was_not_run(folder: Path) -> None:
    said = pytest_of("--built", "-c", ROOT / "pyproject.toml", f"--rootdir={ROOT}", "-p", "conftest", folder)
    lines = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert not [line for line in lines if "none.ipynb" in line], said
    assert [line for line in lines if "output.ipynb" in line and line.startswith("FAILED")], said
    assert "output.ipynb::Cell" in said
    assert "disagrees" in said or "mismatch" in said
    assert "code.ipynb: the last build did not run this" in said


def test_without_the_option_a_chapter_is_run(tmp_path: Path) -> None:
    """Its kernel is another process than the one that the output was written by."""
    code = nbformat.v4.new_code_cell("import os\nprint(os.getppid() > 0)\nprint(6 * 7)", execution_count=1)
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text="True\n42\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "right.ipynb")
    code.outputs[0].text = "True\n41\n"
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "wrong.ipynb")
    said = pytest_of("-c", ROOT / "pyproject.toml", f"--rootdir={ROOT}", "-p", "conftest", tmp_path)
    assert "1 failed, 1 passed" in said
