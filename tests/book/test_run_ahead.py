"""Chapters are run several at once before the pages are read, and what fails is left to be reported as always."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from jupyter_cache import get_cache

from tests.book.support import tool

MEET = """
from pathlib import Path
import time
Path("{mine}").touch()
until = time.monotonic() + 60
while not Path("{other}").exists() and time.monotonic() < until:
    time.sleep(0.01)
print(Path("{other}").exists())
"""
"""Each of two waits for the other: they end well only if they run at once."""


def book(folder: Path, sources: dict[str, str]) -> SimpleNamespace:
    """What the extension asks of Sphinx, for a book of one-cell chapters."""
    for name, source in sources.items():
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, folder / f"{name}.ipynb")
    listed = "".join(f"  - file: {name}\n" for name in sources)
    (folder / "_toc.yml").write_text(f"root: intro\nchapters:\n{listed}")
    config = SimpleNamespace(nb_execution_cache_path=str(folder / "cache"), nb_execution_timeout=100)
    return SimpleNamespace(srcdir=folder, config=config)


def outputs(app: SimpleNamespace, name: str) -> str:
    """What the cache holds of a chapter.

    Raises:
        KeyError: if it holds nothing.
    """
    notebook = nbformat.read(app.srcdir / f"{name}.ipynb", as_version=4)
    _, merged = get_cache(app.config.nb_execution_cache_path).merge_match_into_notebook(notebook)
    return merged.cells[0].outputs[0].text


@pytest.mark.slow
def test_two_run_at_once_and_a_failure_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = tool("run_ahead")
    monkeypatch.setattr(ahead, "KERNELS", 2)
    meet = {name: MEET.format(mine=name, other=other) for name, other in (("a", "b"), ("b", "a"))}
    app = book(tmp_path, meet | {"bad": "1 / 0", "unread": "print(1)"})
    env = SimpleNamespace(doc2path=lambda page: str(tmp_path / f"{page}.ipynb"))
    ahead.run(app, env, ["a", "b", "bad", "intro"])
    assert outputs(app, "a") == outputs(app, "b") == "True\n"
    for name in ("bad", "unread"):
        with pytest.raises(KeyError):
            outputs(app, name)
    monkeypatch.setattr(
        ahead, "single_nb_execution", lambda *_, **__: pytest.fail("what is there was run again")
    )
    ahead.run(app, env, ["a", "b"])
