"""The house: imports point one way, and the walk that CONTRIBUTING describes is the one that the program takes."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import cfgtoy
from cfgtoy import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(cfgtoy.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(module: str, files: dict[str, Path]) -> set[str]:
    """The files that ``module`` imports, anywhere in it: in functions and for type checkers too."""
    package = module if files[module].name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(files[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # A name is a file of its own, or something that the folder's __init__ holds.
            found |= {
                inner if (inner := f"{source}.{alias.name}") in files else source for alias in node.names
            }
    return found & files.keys() - {module}


def rooms(after: dict[str, set[str]]) -> dict[str, set[str]]:
    """What each file or folder right below the package imports from the others."""
    found: dict[str, set[str]] = {}
    for module, others in after.items():
        if "." in module:
            room = module.split(".")[1]
            below = {other.split(".")[1] for other in others if "." in other}
            found[room] = found.get(room, set()) | below - {room}
    return found


def circles(after: dict[str, set[str]]) -> list[list[str]]:
    """The groups of which each leads back to itself: strongly connected components of more than one."""
    reached: dict[str, set[str]] = {}
    for module in after:
        seen, to_do = set(), [module]
        while to_do:
            new = after[to_do.pop()] - seen
            seen |= new
            to_do += new
        reached[module] = seen
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in after
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def test_no_files_import_each_other() -> None:
    assert circles({module: imports(module, FILES) for module in FILES}) == []


def test_no_rooms_do_either() -> None:
    """A folder may import from another one, or be imported from it, not both; shims of former homes count too."""
    assert circles(rooms({module: imports(module, FILES) for module in FILES})) == []


def test_a_circle_would_be_seen(tmp_path: Path) -> None:
    """Two files of a folder, one of which imports the other in a function only."""
    texts = {
        "top": "from . import one\n",
        "top.one": "from .two import x\n",
        "top.two": "def f():\n    from top import one\n",
        "top.alone": "import json, top.one\n",
    }
    files = {}
    for module, text in texts.items():
        files[module] = tmp_path / ("__init__.py" if module == "top" else f"{module.split('.')[1]}.py")
        files[module].write_text(text)
    assert imports("top.alone", files) == {"top.one"}
    after = {module: imports(module, files) for module in files}
    assert circles(after) == [["top.one", "top.two"]]
    assert rooms(after) == {"one": {"two"}, "two": {"one"}, "alone": {"one"}}


def walk() -> list[str]:
    """The files of the walk in CONTRIBUTING, in order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## A walk")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `cfgtoy/([\w/]+\.py)`", section, re.M)


def test_the_walk_is_the_one_that_the_program_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are entered in that order, and none of them imports one before it."""
    entered: list[str] = []

    def note(frame: object, event: str, _: object) -> None:
        if event == "call":
            file = Path(frame.f_code.co_filename)  # type: ignore[attr-defined]
            if file.is_relative_to(PACKAGE) and frame.f_code.co_name != "<module>":  # type: ignore[attr-defined]
                entered.append(file.relative_to(PACKAGE).as_posix())

    few = ["--n", "4", "--k", "1", "--steps", "2", "--device", "cpu", "--out", str(tmp_path / "x.json")]
    monkeypatch.setenv("CFGTOY_DATA", str(ROOT / "data"))
    sys.setprofile(note)
    try:
        assert cli.main(["evaluate", "digits", "--w", "2", *few]) == 0
    finally:
        sys.setprofile(None)
    files = walk()
    assert len(files) == 8
    at = 0
    for file in files:
        assert file in entered[at:], f"{file} is not entered after those before it"
        at = entered.index(file, at)
    modules = ["cfgtoy." + file.removesuffix(".py").replace("/", ".") for file in files]
    for i, module in enumerate(modules):
        assert not imports(module, FILES) & set(modules[:i]), f"{module} climbs"
