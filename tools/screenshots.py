"""Screenshots of built pages: light and dark, on a wide screen and on a phone.

    python tools/screenshots.py _build/html --to shots [--pages guidance/09-classifier-free …]

Needs Chromium on the path.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZES = {"wide": (1280, 900), "phone": (375, 740)}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("html", type=Path, help="folder of the built pages")
    parser.add_argument("--to", type=Path, default=Path("_build/screenshots"))
    parser.add_argument("--pages", nargs="*", help="names without .html; by default all")
    parser.add_argument("--modes", nargs="*", default=["light", "dark"])
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--first-screen", action="store_true", help="what shows without scrolling only")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium on the path", file=sys.stderr)
        return 1
    html = arguments.html.resolve()
    skipped = {"search", "genindex", "py-modindex", "index"}
    names = arguments.pages or sorted(
        path.relative_to(html).with_suffix("").as_posix()
        for path in html.rglob("*.html")
        if path.stem not in skipped and "_static" not in path.parts
    )
    arguments.to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for size in arguments.sizes:
            for mode in arguments.modes:
                width, height = SIZES[size]
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=mode, has_touch=size == "phone"
                )
                page = context.new_page()
                for name in names:
                    page.goto((html / f"{name}.html").as_uri(), wait_until="load")
                    page.wait_for_timeout(600)  # MathJax and the widgets
                    target = arguments.to / f"{name.replace('/', '-')}-{size}-{mode}.png"
                    page.screenshot(path=target, full_page=not arguments.first_screen)
                    print(target)
                context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
