"""Waiting for states in a browser, never for times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tools.browser import settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["PATIENCE", "eventually", "resize", "settle"]

PATIENCE = 120  # seconds after which what has not come will not come, on a busy machine too


def eventually(page: Page, condition: Callable[[], bool], what: str) -> None:
    """Look at a condition frame by frame until it holds.

    Raises:
        AssertionError: saying ``what``, if it does not come to hold.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        settle(page)


def resize(page: Page, width: int, height: int) -> None:
    """Give the page another size, and wait until it has taken it."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("width => innerWidth === width", arg=width)
    settle(page)
