"""Settings for every test, the chapters' included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cfgtoy.ledger import MIME

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist's own order: the file with most tests first
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that two workers end together: slow ones and chapters, then browsers."""
    weight: dict[Path, int] = {}
    for item in items:
        slow = item.get_closest_marker("slow") or item.path.suffix == ".ipynb"
        own = 2 if slow else 1 if item.get_closest_marker("browser") else 0
        weight[item.path] = max(own, weight.get(item.path, 0))
    items.sort(key=lambda item: -weight[item.path])


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare the chapters' text, and leave out what is drawn or made for a page."""
    if hasattr(collector, "skip_compare"):  # nbval's notebook
        collector.skip_compare += "text/html", "image/svg+xml", MIME


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; where there is none, the test is skipped.

    One a module, closed after it: Playwright keeps an event loop, and the notebooks' tests bring their own.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()
