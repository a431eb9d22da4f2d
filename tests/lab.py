"""A JupyterLab for the tests, which knows nothing of its user's settings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cfgtoy
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "tests"
KINDS = "CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """A server of the notebooks in ``folder``; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = {f"JUPYTER_{kind}": str(folder / kind.lower()) for kind in KINDS}
    homes |= {f"JUPYTERLAB_{kind}": str(folder / kind.lower()) for kind in ("SETTINGS_DIR", "WORKSPACES_DIR")}
    homes |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": str(Path(cfgtoy.__file__).parents[1])}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
        f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log, address = folder / "lab.log", f"http://127.0.0.1:{port}"
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **homes}, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + PATIENCE
            while not _answers(f"{address}/api?token={TOKEN}"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
            yield address
        finally:
            server.terminate()
            server.wait(PATIENCE)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        time.sleep(0.1)  # between two looks
        return False


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook of the server, and wait until its kernel is there."""
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_function(
        "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
