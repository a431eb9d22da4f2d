"""Export the book's figures for slides: each as SVG and PNG, for a light and for a dark background.

    python tools/figures.py [book/guidance/06-three-gaussians.ipynb …] [--to _build/figures] [--frames] [--text 1.2]

Without paths: every chapter that the table of contents names. Runs the chapters and draws anew each figure that
they show (`cfgtoy.plotting.show`) and the first picture of each slider (`cfgtoy.explorers.frames`), so lines and
letters stay sharp at any size. Backgrounds are transparent. ``index.html`` lists the files with what each shows
and where it stands in the book. The notebooks are left as they are.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parents[1]
INKS = {"": "#333333", "-dark": "#d0d0d0"}
"""A file name's ending to the colour of its axes and letters, which in the pages is one grey for both."""

WIDTH = 2400  # pixels of a PNG
LIST = "figures.json"  # what the index page is made from: chapter to its figures
LINES = "figures.jsonl"  # the same of one chapter, while it runs

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Figures of {title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }}
main {{ display: grid; gap: 2rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }}
h2 {{ grid-column: 1 / -1; margin: 1rem 0 0; }}
figure {{ margin: 0; }}
img {{ height: 14rem; max-width: 100%; object-fit: contain; }}
</style></head><body>
<h1>Figures of {title}</h1>
<p>Each as SVG and as PNG, {width} pixels wide, with a transparent background: dark letters for light slides, and
light letters (<code>-dark</code>) for dark ones. Written for cfgtoy {version} by <code>make figures</code>.</p>
<main>
{figures}
</main></body></html>
"""


@dataclass(frozen=True)
class Exported:
    """One figure: the name of its files without ending, what it shows, where it stands, and its files."""

    name: str
    alt: str
    caption: str
    files: list[str] = field(default_factory=list)


def slug(text: str) -> str:
    """A heading as part of a file name: at most five words of plain letters and digits."""
    text = re.sub(r"\$[^$]*\$", " ", text)
    words = re.findall(r"[a-z0-9]+", text.lower().replace("'", "").replace("’", ""))
    return "-".join(words[:5]) or "figure"


class Recorder:
    """Runs in a chapter's kernel: keeps every figure that the chapter shows as files."""

    def __init__(self, folder: Path, chapter: str, *, frames: bool = False, text: float = 1.0) -> None:
        self.folder = folder
        self.chapter = chapter
        self.frames = frames
        self.text = text
        self.heading = chapter
        self.count = 0

    def install(self) -> None:
        """Put this between the package and the chapter, which imports the two names after."""
        from cfgtoy import explorers, plotting

        show, frames = plotting.show, explorers.frames

        def recorded_show(fig: Any, *, alt: str, colors: int = 256) -> None:
            show(fig, alt=alt, colors=colors)  # first: it says what is wrong with the call
            self.count += 1
            self.keep(fig, alt, "")

        def recorded_frames(fn: Callable[..., Any], values: Any, **options: Any) -> Any:
            drawn: list[Any] = []

            def kept(*args: Any) -> Any:
                drawn.append(fn(*args))
                return drawn[-1]

            widget = frames(kept, values, **options)
            self.count += 1
            places = [tuple(map(int, key.split(","))) for key in widget.frames]  # in the order of drawing
            for (choice, position), figure in zip(places, drawn, strict=True):
                first = (choice, position) == (widget.choice, widget.position)
                if first or self.frames:
                    says = f"{widget.label}: {widget.labels[position]}"
                    if widget.choices:
                        says += f"; {widget.choice_label}: {widget.choices[choice]}"
                    self.keep(
                        figure, widget.alts[choice][position], says, "" if first else f"-{choice}-{position}"
                    )
            return widget

        plotting.show, explorers.frames = recorded_show, recorded_frames

    def keep(self, figure: Any, alt: str, caption: str, ending: str = "") -> None:
        """Write one figure's files, and its line of the list."""
        name = f"{self.chapter}-{self.count}-{slug(self.heading)}{ending}"
        self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(figure, bytes):  # a picture made without matplotlib
            (self.folder / f"{name}.png").write_bytes(figure)
            files = [f"{name}.png"]
        else:
            files = list(write(figure, self.folder / name, alt, self.text))
        with (self.folder / LINES).open("a", encoding="utf-8") as lines:
            about = " · ".join(part for part in (self.heading, caption) if part)
            lines.write(json.dumps(asdict(Exported(name, alt, about, files))) + "\n")


def write(figure: Any, path: Path, alt: str, text: float) -> Iterator[str]:
    """Write a matplotlib figure in both inks, as SVG and PNG; give the files' names.

    Args:
        figure: It is left in its last colours.
        path: Without ending.
        alt: What the figure shows; SVG carries it as its description.
        text: Factor of the letters' size.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    from cfgtoy.plotting import INK

    figure.draw_without_rendering()  # makes the ticks
    if text != 1.0:
        for item in figure.findobj(Text):
            item.set_fontsize(item.get_fontsize() * text)
    ink = INK
    with mpl.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "path"}):
        for ending, color in INKS.items():
            recolor(figure, ink, color)
            ink = color
            dpi = WIDTH / figure.get_size_inches()[0]
            figure.savefig(f"{path}{ending}.png", dpi=dpi, transparent=True, metadata={"Description": alt})
            about = {"Date": None, "Title": path.name, "Description": alt}
            figure.savefig(f"{path}{ending}.svg", transparent=True, metadata=about)
            yield from (f"{path.name}{ending}.svg", f"{path.name}{ending}.png")


def recolor(figure: Any, old: str, new: str) -> None:
    """Give every part of a figure that has the colour ``old`` the colour ``new``; opacities stay."""
    import numpy as np
    from matplotlib.colors import to_rgb, to_rgba

    wanted, given = np.array(to_rgb(old)), np.array(to_rgb(new))

    def changed(value: Any) -> Any:
        """The colour or colours in ``value`` after the change, or None where it changes nothing."""
        try:
            colors = np.atleast_2d(
                [to_rgba(value)] if isinstance(value, str | tuple) else np.asarray(value, float)
            )
        except (ValueError, TypeError):
            return None
        if colors.ndim != 2 or colors.shape[-1] != 4:
            return None
        hit = np.abs(colors[:, :3] - wanted).max(axis=1) < 1e-3
        if not hit.any():
            return None
        colors = colors.copy()
        colors[hit, :3] = given
        return tuple(colors[0]) if len(colors) == 1 else colors

    kinds = ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor")
    for item in figure.findobj():
        before = {kind: getattr(item, f"get_{kind}")() for kind in kinds if hasattr(item, f"get_{kind}")}
        for kind, value in before.items():
            if getattr(item, f"set_{kind}", None) and (after := changed(value)) is not None:
                getattr(item, f"set_{kind}")(after)


def export(path: Path, folder: Path, *, frames: bool = False, text: float = 1.0) -> list[Exported]:
    """Run one chapter in a kernel of its own and write its figures.

    Raises:
        CellExecutionError: if a cell fails.
        CellTimeoutError: if a cell takes more than ten minutes.
    """
    notebook = nbformat.read(path, as_version=4)
    start = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
        f"import figures as _figures\n"
        f"_figures = _figures.Recorder(Path({str(folder)!r}), {path.stem!r}, frames={frames}, text={text})\n"
        f"_figures.install()"
    )
    cells = [nbformat.v4.new_code_cell(start)]
    for cell in notebook.cells:
        headings = re.findall(r"(?m)^#{1,3} (.+)$", cell.source) if cell.cell_type == "markdown" else []
        if headings:
            cells.append(nbformat.v4.new_code_cell(f"_figures.heading = {headings[-1]!r}"))
        if cell.cell_type == "code":
            cells.append(cell)
    notebook.cells = cells
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{path.stem}-[0-9]*"):
        old.unlink()
    listed = folder / LINES
    listed.unlink(missing_ok=True)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    if not listed.is_file():
        return []
    found = [Exported(**json.loads(line)) for line in listed.read_text(encoding="utf-8").splitlines()]
    listed.unlink()
    return found


def index(chapters: dict[str, dict[str, Any]], version: str, title: str) -> str:
    """The page that lists the figures.

    Args:
        chapters: A chapter's file name to its ``title``, the ``address`` of its page and its ``figures``.
        version: Of the package.
        title: Of the book.
    """
    parts = []
    for chapter in chapters.values():
        heading = html.escape(chapter["title"])
        link = f'<a href="{html.escape(chapter["address"])}">{heading}</a>' if chapter["address"] else heading
        parts.append(f"<h2>{link}</h2>")
        for figure in chapter["figures"]:
            name, files = figure["name"], figure["files"]
            links = " · ".join(
                f'<a href="{file}">{file.removeprefix(name).lstrip("-.").replace(".", " ")}</a>'
                for file in files
            )
            parts.append(
                f'<figure id="{name}"><img src="{files[0]}" alt="{html.escape(figure["alt"])}" loading="lazy">'
                f"<figcaption><strong>{html.escape(figure['caption'])}</strong><br>{html.escape(figure['alt'])}<br>"
                f"<code>{name}</code>: {links}</figcaption></figure>"
            )
    return PAGE.format(figures="\n".join(parts), version=html.escape(version), title=title, width=WIDTH)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "figures")
    parser.add_argument(
        "--frames", action="store_true", help="every picture of a slider, not its first alone"
    )
    parser.add_argument(
        "--text", type=float, default=1.0, help="factor of the letters' size; 1.2 for a large room"
    )
    arguments = parser.parse_args()
    sys.path.append(str(ROOT / "book" / "_ext"))
    from contents import notebooks, title

    import cfgtoy

    folder, bad = arguments.to.resolve(), 0
    folder.mkdir(parents=True, exist_ok=True)
    everything = notebooks(ROOT / "book")
    known = {}
    if (folder / LIST).is_file():
        known = json.loads((folder / LIST).read_text(encoding="utf-8"))
    for path in [path.resolve() for path in arguments.paths] or everything:
        started = time.perf_counter()
        try:
            found = export(path, folder, frames=arguments.frames, text=arguments.text)
        except (CellExecutionError, CellTimeoutError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            bad = 1
            continue
        known[path.stem] = {
            "title": title(path),
            "address": page(path),
            "figures": [asdict(figure) for figure in found],
        }
        print(f"{path.name}: {len(found)} figures in {time.perf_counter() - started:.0f} s")
    order = {path.stem: position for position, path in enumerate(everything)}
    known = dict(sorted(known.items(), key=lambda item: order.get(item[0], len(order))))
    (folder / LIST).write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(
        index(known, cfgtoy.__version__, "Guidance, measured"), encoding="utf-8"
    )
    print(folder / "index.html")
    return bad


def page(path: Path) -> str:
    """The address of a chapter's page from the default folder of the figures; empty for other notebooks."""
    book = ROOT / "book"
    return (
        f"../html/{path.relative_to(book).with_suffix('.html').as_posix()}"
        if path.is_relative_to(book)
        else ""
    )


if __name__ == "__main__":
    sys.exit(main())
