"""Screenshots of built pages: light and dark, on a wide screen and on a phone.

    python tools/screenshots.py _build/html --to shots [--pages guidance/09-classifier-free …]

Needs Chromium on the path.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from browser import launched, settle

SIZES = {"wide": (1280, 900), "phone": (375, 740)}


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
    html = arguments.html.resolve()
    skipped = {"search", "genindex", "py-modindex", "index"}
    names = arguments.pages or sorted(
        path.relative_to(html).with_suffix("").as_posix()
        for path in html.rglob("*.html")
        if path.stem not in skipped and "_static" not in path.parts
    )
    arguments.to.mkdir(parents=True, exist_ok=True)
    with launched() as browser:
        for size, mode in itertools.product(arguments.sizes, arguments.modes):
            width, height = SIZES[size]
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=mode, has_touch=size == "phone"
            )
            page = context.new_page()
            for name in names:
                page.goto((html / f"{name}.html").as_uri(), wait_until="load")
                settle(page)
                target = arguments.to / f"{name.replace('/', '-')}-{size}-{mode}.png"
                page.screenshot(path=target, full_page=not arguments.first_screen)
                print(target)
            context.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
