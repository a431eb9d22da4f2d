"""Settings for every test, the chapters' included."""

from __future__ import annotations

import pytest

from cfgtoy.ledger import MIME


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare the chapters' text, and leave out what is drawn or made for a page."""
    if hasattr(collector, "skip_compare"):  # nbval's notebook
        collector.skip_compare += "text/html", "image/svg+xml", MIME
