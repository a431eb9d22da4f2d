"""The figures for slides: every figure of a chapter, sharp, in both inks, and with what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from PIL import Image

from tests.book.support import ROOT, tool
from tests.forked import python

pytestmark = pytest.mark.slow
figures = tool("figures")
SVG = "{http://www.w3.org/2000/svg}"
CHAPTER = [
    ("markdown", "# A small chapter"),
    (
        "code",
        "from cfgtoy.explorers import frames\nfrom cfgtoy.plotting import show, subplots, use_style\nuse_style()",
    ),
    ("markdown", "## What it's about: $w$ & more, at length, in many words"),
    (
        "code",
        "fig, ax = subplots()\nax.plot([0, 1])\nax.set_xlabel('weight')\nshow(fig, alt='A line that <rises> to one.')",
    ),
    (
        "code",
        "def draw(w):\n    fig, ax = subplots()\n    ax.plot([0, w])\n    return fig\n"
        "frames(draw, [1, 2, 3], start=2, label='w', alt='A line that rises to {value}.')",
    ),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chapter of two figures."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    path = tmp_path_factory.mktemp("book") / "01-small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[make[kind](source) for kind, source in CHAPTER]), path)
    return path


@pytest.fixture(scope="module")
def folder(small: Path) -> Path:
    """The figures of that chapter, exported by the command."""
    target = small.parent / "figures"
    before = small.read_bytes()
    program = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('figures', run_name='__main__')"
    done = python(program, str(ROOT / "tools"), str(small), "--to", str(target))
    assert done.returncode == 0, done.stderr[-2000:]
    assert small.read_bytes() == before
    return target


def test_every_figure_is_there_in_every_form(folder: Path) -> None:
    names = ["01-small-1-what-its-about-more-at", "01-small-2-what-its-about-more-at"]
    wanted = {f"{name}{ink}{kind}" for name in names for ink in ("", "-dark") for kind in (".svg", ".png")}
    assert {path.name for path in folder.iterdir()} == wanted | {"index.html", "figures.json"}
    assert Image.open(folder / f"{names[0]}.png").width == pytest.approx(figures.WIDTH, abs=2)


def test_svg_is_drawn_and_described(folder: Path) -> None:
    path = folder / "01-small-1-what-its-about-more-at.svg"
    tree = ElementTree.parse(path)
    assert len(list(tree.iter(f"{SVG}path"))) > 5
    assert not list(tree.iter(f"{SVG}image"))
    assert "A line that <rises> to one." in " ".join(tree.getroot().itertext())


def test_each_ink_has_its_own_letters_and_the_same_lines(folder: Path) -> None:
    from cfgtoy.plotting import INK, class_colors

    light = (folder / "01-small-1-what-its-about-more-at.svg").read_text(encoding="utf-8")
    dark = (folder / "01-small-1-what-its-about-more-at-dark.svg").read_text(encoding="utf-8")
    assert figures.INKS[""] in light
    assert figures.INKS["-dark"] in dark
    for text, other in ((light, figures.INKS["-dark"]), (dark, figures.INKS[""])):
        assert class_colors[0] in text
        assert INK not in text
        assert other not in text


def test_slider_gives_the_picture_it_starts_with(folder: Path) -> None:
    found = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["01-small"]
    assert found["title"] == "A small chapter"
    assert found["figures"][1]["alt"] == "A line that rises to 2."
    assert found["figures"][1]["caption"].endswith("w: 2")


def test_list_names_what_each_shows(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == 2
    assert 'alt="A line that &lt;rises&gt; to one."' in page
    for path in folder.glob("*.svg"):
        assert f'href="{path.name}"' in page


def test_all_pictures_of_a_slider_and_larger_letters(small: Path, tmp_path: Path) -> None:
    found = figures.export(small, tmp_path, frames=True, text=1.5)
    assert [figure.alt for figure in found[1:]] == [f"A line that rises to {w}." for w in (1, 2, 3)]
    assert len({figure.name for figure in found}) == 4


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Why does it narrow?", "why-does-it-narrow"),
        ("λ in place of `t`", "in-place-of-t"),
        ("$w$", "figure"),
    ],
)
def test_slug(heading: str, name: str) -> None:
    assert figures.slug(heading) == name
