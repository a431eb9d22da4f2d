"""The same explorer in JupyterLab: what the reader sets reaches Python, and what Python sets reaches the reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import waiting
from tests.explorers import small
from tests.lab import jupyterlab, open_notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def cell(number: int, source: str) -> dict[str, Any]:
    blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    return {**blank, "id": f"cell-{number}", "source": source}


NOTEBOOK = {
    "cells": [
        cell(1, "import torch\nfrom cfgtoy import GaussianMixture\nfrom cfgtoy.explorers import *"),
        cell(2, "ex = SamplingExplorer(w=1.0, n=600)\nex"),
        cell(3, "field = FieldExplorer()\nfield"),
        cell(4, "digits = DigitsExplorer()\ndigits"),
        cell(5, "photos = PhotosExplorer()\nphotos"),
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, small_folder: Path) -> Iterator[str]:
    """Its kernels have small networks."""
    pytest.importorskip("jupyterlab")
    folder: Path = tmp_path_factory.mktemp("lab")
    (folder / "explorers.ipynb").write_text(json.dumps(NOTEBOOK))
    with small.used(small_folder), jupyterlab(folder) as address:
        yield address


def test_traits_go_both_ways(browser: Any, lab: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    open_notebook(page, lab, "explorers.ipynb")

    def run(code: str) -> str:
        """Run code in the notebook's kernel and return what it prints."""
        return page.evaluate(
            """async (code) => {
              const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const future = kernel.requestExecute({ code });
              let text = "";
              future.onIOPub = (message) => { text += message.content.text ?? message.content.evalue ?? ""; };
              await future.done;
              return text;
            }""",
            code,
        )

    def eventually(code: str, wanted: str) -> None:
        waiting.eventually(page, lambda: run(f"print({code})").strip() == wanted, f"{code}: never {wanted!r}")

    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".cx canvas").nth(1).wait_for()
    sampling, field = page.locator(".cx").nth(0), page.locator(".cx").nth(1)
    sampling.scroll_into_view_if_needed()
    picture = "e => e.querySelector('canvas').toDataURL()"

    # From the reader to Python: w, and the samples that this w gives.
    eventually(
        "tuple(ex.samples.shape), ex.samples.dtype, ex.classes.bincount().tolist()",
        "(600, 2) torch.float32 [200, 200, 200]",
    )
    first = run("print(ex.samples.norm(dim=1).mean().item())")
    before = sampling.evaluate(picture)
    slider = sampling.get_by_label("guidance weight w", exact=True)
    slider.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert sampling.evaluate(picture) != before
    eventually("ex.w", "3.0")
    eventually(f"ex.samples.norm(dim=1).mean().item() > {float(first)} + 0.1", "True")

    # From Python to the reader: w, and a mixture of its own.
    run("ex.w = 0.5; ex.mixture = GaussianMixture(torch.tensor([[-2., 0.], [2., 0.]]), 0.1)")
    page.wait_for_function(
        "() => document.querySelectorAll('.cx')[0].querySelectorAll('tbody')[0].children.length === 2"
    )
    assert sampling.get_by_label("guidance weight w, exact value").input_value() == "0.5"
    eventually("ex.classes.bincount().tolist()", "[300, 300]")

    # After all this scrolling and switching, no picture is stretched: its pixels fit its place on the page.
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
    for explorer in (field, sampling):
        explorer.scroll_into_view_if_needed()
        page.wait_for_function(
            "(e) => e.width === Math.round(e.clientWidth * devicePixelRatio) && e.width > 200",
            arg=explorer.locator("canvas").element_handle(),
        )

    # The mixture as the reader drags it comes back, and the package takes it.
    field.scroll_into_view_if_needed()
    handle = field.get_by_label("Mean of class A")
    handle.focus()
    page.keyboard.press("ArrowUp")
    eventually("[round(x, 3) for x in field.mixture.means[0].tolist()]", "[0.0, 1.1]")
    assert run("print(type(field.mixture(torch.zeros(1, 2), 0.0, 0)).__name__)").strip() == "Prediction"
    assert "takes a finite number" in run("field.w = float('nan')")

    # A network: its weights come from the kernel, its pictures go back; drawn by the kernel they are the same.
    network = page.locator(".cx[data-network=digits]")
    network.scroll_into_view_if_needed()
    slider = network.get_by_label("guidance weight w", exact=True)
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    run("""def off():
        *_, (_, x, _) = digits.path(w=2.0, steps=20, sampler="dpm++2m", seed=0, rule=digits.rule)
        return (digits.images - x).abs().mean().item()""")
    network.locator("td", has_text="in this page").wait_for()
    eventually("digits.w == 2.0 and digits.images is not None and off() < 1e-3", "True")
    run("digits.images = None; digits.rule = 'classifier'; digits.backend = 'kernel'")
    network.locator("td", has_text="PyTorch, in the kernel").wait_for()
    eventually("digits.images is not None and off() < 1e-6", "True")

    # The photographs' student in the same two ways.
    photos = page.locator(".cx[data-network=cifar10-student]")
    photos.scroll_into_view_if_needed()
    slider = photos.get_by_label("guidance weight w", exact=True)
    slider.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    photos.locator("td", has_text="in this page").wait_for()
    run("""def away():
        from cfgtoy.explorers import _networks
        *_, (_, _, x) = _networks.student_path("cifar10-student", **photos.wish())
        return (photos.images - x).abs().mean().item()""")
    eventually("photos.w == 3.0 and photos.images is not None and away() < 1e-3", "True")
    run("photos.images = None; photos.y = 8; photos.backend = 'kernel'")
    photos.locator("td", has_text="PyTorch, in the kernel").wait_for()
    eventually("photos.images is not None and away() < 1e-6", "True")
    page.close()
