"""Chapters are run several at once before the pages are read, and what fails is left to be reported as always."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from jupyter_cache import get_cache
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

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
    """Sphinx reads first what is not run, and waits for a chapter before it reads it."""
    module = tool("run_ahead")
    monkeypatch.setattr(module, "KERNELS", 2)
    meet = {name: MEET.format(mine=name, other=other) for name, other in (("a", "b"), ("b", "a"))}
    app = book(tmp_path, meet | {"bad": "1 / 0", "unread": "print(1)"})
    app.env = SimpleNamespace(doc2path=lambda page: str(tmp_path / f"{page}.ipynb"))
    ahead, pages = module.Ahead(), ["a", "b", "bad", "intro"]
    ahead.start(app, app.env, pages)
    assert pages == ["intro", "bad", "b", "a"]
    for page in pages:
        ahead.wait(app, page, [""])
    assert outputs(app, "a") == outputs(app, "b") == "True\n"
    for name in ("bad", "unread"):
        with pytest.raises(KeyError):
            outputs(app, name)
    ahead.stop(app, None)
    monkeypatch.setattr(
        module, "single_nb_execution", lambda *_, **__: pytest.fail("what is there was run again")
    )
    module.Ahead().start(app, app.env, ["a", "b"])


def test_a_build_that_stops_begins_no_further_chapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, begun, leave = tool("run_ahead"), threading.Event(), threading.Event()

    def run(*_: Any, **__: Any) -> None:
        assert not begun.is_set(), "begun after the end"
        begun.set()
        leave.wait()

    monkeypatch.setattr(module, "KERNELS", 1)
    monkeypatch.setattr(module, "single_nb_execution", run)
    app = book(tmp_path, {"a": "", "b": ""})
    ahead, env = module.Ahead(), SimpleNamespace(doc2path=lambda page: str(tmp_path / f"{page}.ipynb"))
    ahead.start(app, env, ["a", "b"])
    begun.wait()
    first, second = ahead.running.values()
    stopping = threading.Thread(target=ahead.stop, args=(app, RuntimeError()))
    stopping.start()
    with pytest.raises(CancelledError):
        second.result()
    leave.set()
    stopping.join()
    assert first.done()


def test_a_kernel_is_forked_with_what_chapters_import_and_ends_when_it_is_told(tmp_path: Path) -> None:
    """In its own folder and with figures in the page; what one leaves behind, the next does not see."""
    source = """
import os, sys
held = "torch" in sys.modules, "{said}" in globals(), os.getcwd()
from cfgtoy import plotting
print(*held, plotting.plt.get_backend(), os.getpid())
left = 1
"""
    manager, pids = tool("forked_kernels").Manager, []
    for _ in range(2):
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.format(said="left"))])
        NotebookClient(
            made, kernel_manager_class=manager, resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
        *held, backend, pid = made.cells[0].outputs[0].text.split()
        assert held == ["True", "False", str(tmp_path)]
        assert backend.endswith("inline")
        pids.append(int(pid))
    assert pids[0] != pids[1]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_kernel_that_dies_is_an_error(tmp_path: Path) -> None:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os\nos._exit(1)")])
    with pytest.raises(DeadKernelError):
        NotebookClient(made, kernel_manager_class=tool("forked_kernels").Manager).execute()


def test_a_kernel_that_has_ended_takes_a_signal_in_silence(tmp_path: Path) -> None:
    """As a process does: on a busy machine one ends between the question whether it runs and the signal."""
    argv = ["kernel", "-f", str(tmp_path / "connection.json")]
    kernel = tool("forked_kernels").Kernel(argv, str(tmp_path), {})
    assert kernel.poll() is None
    for _ in range(2):
        kernel.send_signal(signal.SIGKILL)
        while kernel.poll() is None:
            time.sleep(0.01)
