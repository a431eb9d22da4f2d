"""Chapters in JupyterLab: run all cells, drag the slider, see another picture.

One with frames that Python drew and two with explorers; the static pages' sliders are driven on every page.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.book.support import chapter_paths

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "chapters"
CHAPTERS = [path for path in chapter_paths() if path.stem[:2] in ("01", "06", "09")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and folder of a JupyterLab that knows nothing of its user's settings."""
    folder = tmp_path_factory.mktemp("lab")
    for chapter in CHAPTERS:
        shutil.copy2(chapter, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = {
        f"JUPYTER_{kind}": str(folder / kind.lower()) for kind in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    }
    homes |= {f"JUPYTERLAB_{kind}": str(folder / kind.lower()) for kind in ("SETTINGS_DIR", "WORKSPACES_DIR")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--allow-root", f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **homes}, stdout=log, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert server.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.5)
        yield address, folder
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_slider_moves_the_picture(page: Page, lab: tuple[str, Path], chapter: Path) -> None:
    address, _ = lab
    page.set_viewport_size({"width": 1280, "height": 1400})
    page.goto(f"{address}/lab/tree/{chapter.name}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function(
        """() => { const p = window.jupyterapp?.shell.currentWidget;
        return p?.sessionContext?.session?.kernel?.connectionStatus === 'connected'; }""",
        timeout=60_000,
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        """() => { const cells = window.jupyterapp.shell.currentWidget.content.widgets;
        const code = cells.filter((c) => c.model.type === 'code' && c.model.sharedModel.getSource().trim());
        return code.every((c) => c.model.executionCount !== null) &&
            window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'; }""",
        timeout=300_000,
    )
    failed = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
        .filter((c) => c.model.type === 'code')
        .flatMap((c) => c.model.outputs.toJSON()).filter((o) => o.output_type === 'error').map((o) => o.evalue)"""
    )
    assert not failed
    index = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets.findIndex((c) => c.model.type === 'code' &&
        c.model.outputs.toJSON().some((o) => 'application/vnd.jupyter.widget-view+json' in (o.data ?? {})))"""
    )
    assert index >= 0, "no cell shows a live widget"
    page.evaluate("(i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start')", index)
    slider = page.locator(".jp-OutputArea .cfgtoy input[type=range]").first
    slider.wait_for(state="visible", timeout=60_000)
    slider.scroll_into_view_if_needed()
    widget = slider.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' cfgtoy ')][last()]")
    controls = [widget.locator(kind) for kind in ("input", "output", "label", "legend")]
    before = widget.screenshot(mask=controls)
    box = slider.bounding_box()
    assert box is not None
    value = slider.input_value()
    share = 0.85 if float(value) < float(slider.get_attribute("max") or 100) / 2 else 0.15
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    assert slider.input_value() != value
    for _ in range(40):  # a heavy picture takes a moment on a busy machine
        page.wait_for_timeout(250)
        if widget.screenshot(mask=controls) != before:
            break
    else:
        pytest.fail("the slider moved and the picture did not change")
    slider.focus()
    value = slider.input_value()
    page.keyboard.press("ArrowLeft")  # JupyterLab would take it for its own, were the slider not to say no
    assert slider.input_value() != value
