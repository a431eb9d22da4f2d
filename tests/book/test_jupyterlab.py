"""Chapters in JupyterLab, up to their first slider: run all cells, drag it, see another picture.

One with an explorer and one with frames that Python drew; the static pages' sliders are driven on every page, and all
cells of every chapter are run where the book is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page

from tests.book.support import chapter_paths
from tests.lab import jupyterlab, open_notebook
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHAPTERS = [path for path in chapter_paths() if path.stem[:2] in ("02", "05")]
SLIDER = r"^(frames|\w+Explorer)\("


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of these chapters, each as far as its first slider."""
    folder = tmp_path_factory.mktemp("lab")
    for chapter in CHAPTERS:
        book = nbformat.read(chapter, as_version=4)
        sliders = [i for i, cell in enumerate(book.cells) if re.search(SLIDER, cell.source, re.MULTILINE)]
        book.cells = book.cells[: sliders[0] + 1]
        nbformat.write(book, folder / chapter.name)
    with jupyterlab(folder) as address:
        yield address


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_slider_moves_the_picture(page: Page, lab: str, chapter: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 1400})
    open_notebook(page, lab, chapter.name)
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
    slider.wait_for(state="visible")
    slider.scroll_into_view_if_needed()
    widget = slider.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' cfgtoy ')][last()]")
    controls = [widget.locator(kind) for kind in ("input", "output", "label", "legend")]
    before = widget.screenshot(mask=controls)
    box = slider.bounding_box()
    assert box is not None
    value = slider.input_value()
    share = 0.85 if float(value) < float(slider.get_attribute("max") or 100) / 2 else 0.15
    slider.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    page.mouse.down()
    slider.hover(position={"x": share * box["width"], "y": box["height"] / 2})
    page.mouse.up()
    assert slider.input_value() != value
    eventually(
        page, lambda: widget.screenshot(mask=controls) != before, "the slider moved and the picture did not"
    )
    slider.focus()
    value = slider.input_value()
    page.keyboard.press("ArrowLeft")  # JupyterLab would take it for its own, were the slider not to say no
    assert slider.input_value() != value
