"""The headless Chromium that the tools and the tests of the pages drive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Those of the browser's own features that a page in no window has no use for. Chromium heeds the last such list alone,
# so it has Playwright's too. With the suggestions under its bar of addresses every new window is a process of 0.7 s.
WITHOUT = [
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay"),
    *("MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch"),
    *("TcpPortRandomizationWin", "ThirdPartyStoragePartitioning"),
]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(WITHOUT)}",
]

SETTLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  while (document.querySelector('.cfgtoy-widget:not([data-ready=true])')) await frame();
  await frame();
  await frame();
  await Promise.all([...document.querySelectorAll('.cfgtoy-widget img')].map((image) => image.decode().catch(() => 0)));
  const ends = (animation) => animation.effect?.getComputedTiming().endTime < Infinity;
  document.getAnimations().filter(ends).forEach((animation) => animation.finish());
}"""
"""Resolves when formulas are set, letters and widgets are there, and what was asked for is drawn."""


def settle(page: Page) -> None:
    """Wait until a built page, or one of widgets, stands still."""
    page.evaluate(SETTLED)


def chromium() -> str | None:
    """Where it is; None where there is none on the path."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def launched(*more: str) -> Iterator[Browser]:
    """It runs inside the block, with ``more`` arguments.

    Raises:
        FileNotFoundError: if there is none on the path.
    """
    from playwright.sync_api import sync_playwright

    if (path := chromium()) is None:
        raise FileNotFoundError("no Chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *more])
        yield browser
        browser.close()
