"""The chapters as they are committed: their form, their parts, their outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.book.support import BOOK, ROOT, chapter_paths, tool


def test_chapter_is_as_it_should_be(chapter: Path) -> None:
    """Committed form, short cells, no error, alt texts, goals, equations, exercises, 'in short', references."""
    assert tool("notebooks").check(chapter) == []


def test_every_notebook_is_in_the_contents() -> None:
    there = {
        path
        for path in BOOK.rglob("*.ipynb")
        if "_build" not in path.parts and ".ipynb_checkpoints" not in path.parts
    }
    assert there == set(chapter_paths())


def notebook(**cell: object) -> nbformat.NotebookNode:
    """A notebook of one code cell."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1", execution_count=1)])
    made.cells[0].update(nbformat.from_dict(cell))
    return made


def problems(made: nbformat.NotebookNode, folder: Path) -> str:
    """What the check says of a notebook."""
    notebooks = tool("notebooks")
    path = folder / "x.ipynb"
    notebooks.write(path, made)
    return "\n".join(notebooks.check(path))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"source": "x = 1\n" * 16}, "16 lines"),
        ({"source": "x = '" + "a" * 100 + "'"}, "characters"),
        ({"outputs": [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]}, "without alt text"),
        ({"outputs": [nbformat.v4.new_output("stream", name="stderr", text="oh")]}, "stderr"),
        ({"outputs": [nbformat.v4.new_output("error", ename="ValueError", evalue="x")]}, "raised ValueError"),
        ({"metadata": {"cfgtoy": {"claims": ["A1"]}}}, "no measurement"),
        ({"metadata": {"cfgtoy": {"claims": ["A99"]}}}, "do not exist"),
        ({"execution_count": 7}, "top to bottom"),
        ({}, "no slider"),
    ],
)
def test_check_finds(cell: dict, said: str, tmp_path: Path) -> None:
    assert said in problems(notebook(**cell), tmp_path)


def test_cleaning_drops_widgets_and_keeps_text(tmp_path: Path) -> None:
    data = {
        "text/plain": "kept",
        "text/html": "<b>",
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
    }
    made = notebook(outputs=[nbformat.v4.new_output("execute_result", data, execution_count=1)])
    made.metadata.widgets = {"state": 1}
    cleaned = tool("notebooks").cleaned(made)
    assert dict(cleaned.cells[0].outputs[0].data) == {"text/plain": "kept"}
    assert "widgets" not in cleaned.metadata


def test_ids_depend_on_the_text_alone() -> None:
    notebooks = tool("notebooks")
    first, second = (notebooks.cleaned(notebook()).cells[0].id for _ in range(2))
    assert first == second
    assert notebooks.cleaned(notebook(source="y = 2")).cells[0].id != first


def test_package_version_is_told_once() -> None:
    import tomllib

    import cfgtoy

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cfgtoy.__version__ == project["version"]


def test_requirements_pin_what_the_package_takes() -> None:
    """Every dependency of pyproject.toml is pinned in requirements.txt, inside its bounds."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.version import Version

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["book"], *extras["test"], *extras["dev"]]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.name in pinned
        assert requirement.specifier.contains(Version(pinned[requirement.name])), text
    assert lines[-1] == "-e ."
