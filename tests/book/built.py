"""For ``pytest --nbval --built``: what the book's last build put out, in the place of a kernel.

nbval asks its kernel to run each cell and compares the messages that come back with the committed outputs. Here the
messages are the outputs that the build left in its execution cache, which is keyed on the code, the package, the data
and the installed versions, so the comparison is nbval's own and as strict, and no chapter is run twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache

from cfgtoy.exercises import MIME
from tests.book.support import ROOT, tool


class Replay:
    """The part of nbval's kernel that it asks for."""

    def __init__(self, executed: nbformat.NotebookNode) -> None:
        self.cells = (cell for cell in executed.cells if cell.cell_type == "code")
        self.messages: Iterator[dict[str, Any]] = iter(())

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Get the outputs of the next cell with this source ready."""
        cell = next(cell for cell in self.cells if cell.source == source)
        # What a build's check puts out for the page alone is in no committed notebook.
        outputs = [output for output in cell.outputs if MIME not in output.get("data", {})]
        kinds = [(output.output_type, output) for output in outputs]
        kinds.append(("status", {"execution_state": "idle"}))
        self.messages = (
            {"msg_type": k, "content": c, "parent_header": {"msg_id": cell.id}} for k, c in kinds
        )
        return cell.id

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """It is there."""

    await_idle = await_reply

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next output, and at the end that there is no more."""
        return next(self.messages)

    def is_alive(self) -> bool:
        """Always."""
        return True

    def stop(self) -> None:
        """Nothing runs."""


@cache
def last_build() -> Path:
    """Where a build of the package and the data as they are keeps its outputs."""
    return ROOT / "_build" / ".jupyter_cache" / tool("execution_cache").fingerprint(ROOT)


def replay(path: Path) -> Replay:
    """The last build's outputs of a notebook.

    Raises:
        LookupError: if the last build did not run this code with this package, these data and these versions.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        if not last_build().is_dir():
            raise KeyError(last_build())
        return Replay(get_cache(last_build()).merge_match_into_notebook(notebook)[1])
    except KeyError:
        raise LookupError(
            f"{path.name}: the last build did not run this, as it is now: run make book"
        ) from None
