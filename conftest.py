"""Settings for every test, the chapters' included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cfgtoy.ledger import MIME

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "with --nbval: compare the outputs of the book's last build, and run no chapter again"
    parser.addoption("--built", action="store_true", help=help)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist's own order: the file with most tests first
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that two workers end together: slow ones and chapters, then browsers."""
    weight: dict[Path, int] = {}
    for item in items:
        run = item.path.suffix == ".ipynb" and not item.config.option.built
        slow = item.get_closest_marker("slow") or run
        own = 2 if slow else 1 if item.get_closest_marker("browser") else 0
        weight[item.path] = max(own, weight.get(item.path, 0))
    items.sort(key=lambda item: -weight[item.path])


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare the chapters' text, and leave out what is drawn or made for a page."""
    if not hasattr(collector, "skip_compare"):  # nbval's notebook
        return
    collector.skip_compare += "text/html", "image/svg+xml", MIME
    if collector.config.option.built:

        def setup() -> None:
            from tests.book.built import replay

            collector.kernel = replay(collector.path)
            collector.setup_sanitize_files()

        collector.setup = setup


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; where there is none, the test is skipped.

    One a module, closed after it: Playwright keeps an event loop, and the notebooks' tests bring their own.
    """
    from tools.browser import chromium, launched

    if chromium() is None:
        pytest.skip("no Chromium on the path")
    with launched() as running:
        yield running
