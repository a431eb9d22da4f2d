"""Exercises judged in the page, with no kernel, as `Check` judges them; and guesses before a picture."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page, expect

from cfgtoy.exercises import Check
from tests.book.support import BOOK, ROOT, parsed
from tests.forked import module

CHECKS = {
    "number": Check(36.5, rtol=0.02, hints=[(73, "half of it.")], hint="Count.", right="Well done."),
    "pair": Check(np.array([1.0, -2.0]), hints=[((-2.0, 1.0), "swapped")], hint="Two of them."),
    "word": Check("negative", hint="Which side?"),
    "truth": Check(False, hint="Look again."),
    "line": Check(4, hints=[(2, "that one is right.")], hint="From 1."),
    "counterexample": Check(-0.5, rtol=0, atol=0.49, hints=[(0.0, "at 0 they agree.")], hint="Below 0?"),
}
NUMBERS = {"number", "pair", "line", "counterexample"}
ANSWERS = {
    "number": ["36.5", "37.2", "37.3", "73", "-36.5", "12"],
    "pair": ["1, -2", "-2, 1", "-1, 2", "3, -6", "1, 5", "1"],
    "word": ["negative", "positive"],
    "truth": ["False", "True"],
    "line": ["4", "4.0", "2", "3", "-4"],
    "counterexample": ["-0.5", "-0.02", "-0.98", "-0.995", "0.3", "0.5", "2"],
}
CONF = f"""
import sys
sys.path.insert(0, {str(BOOK / "_ext")!r})
extensions = ["myst_nb", "sphinx_exercise", "answers", "folds", "guesses"]
html_static_path = [{str(BOOK / "_assets")!r}]
html_css_files = ["book.css"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
nb_mime_priority_overrides = [("html", "text/html", 5)]
"""
WIDGET = (
    '<div class="cfgtoy-widget" id="a-widget"><div><label for="a-range">weight w</label>'
    '<input type="range" id="a-range" min="0" max="3" style="width: 216px"></div></div>'
    '<script type="application/json" id="a-widget-state">{"labels": ["-1", "0", "2", "8"]}</script>'
)
SOURCES = {
    "number": 'Check(73 / 2, rtol=0.02, hints=[(73, "half of it.")], hint="Count.", right="Well done.")',
    "pair": 'Check(numpy.array([1.0, -2.0]), hints=[((-2.0, 1.0), "swapped")], hint="Two of them.")',
    "word": 'Check("negative", hint="Which side?")',
    "truth": 'Check(2 < 1, hint="Look again.")',
    "line": 'Check(2 + 2, hints=[(2, "that one is right.")], hint="From 1.")',
    "counterexample": (
        'Check(-1 / 2, rtol=0, atol=0.49, hints=[(0.0, "at 0 they agree.")], hint="Below 0?")'
    ),
    "code": "Check(lambda a: 2 * a, on=[(3,)])",
}


def notebook() -> nbformat.NotebookNode:
    """A chapter of exercises after a question with a picture to play with."""
    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# Small\n\nFirst. **Where does it turn?**"),
        new.new_code_cell(f"from IPython.display import HTML\nHTML('''{WIDGET}''')"),
        new.new_markdown_cell("(at-six)=\n\nAt six.\n\nAnd on."),
    ]
    for name, source in SOURCES.items():
        cells += [
            new.new_markdown_cell(f":::{{exercise}} A {name}\n:label: ex-{name}\n\nSet `the_{name}`.\n:::"),
            new.new_code_cell(f"the_{name} = ...  # your answer"),
            new.new_code_cell(
                f"import numpy\nfrom cfgtoy.exercises import Check\ncheck = {source}\ncheck(the_{name})"
            ),
        ]
    made = new.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small book, built with the book's extensions."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    nbformat.write(notebook(), folder / "index.ipynb")
    done = module("sphinx", "-W", "-q", str(folder), str(folder / "html"), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html" / "index.html"


@pytest.fixture
def soup(small: Path) -> BeautifulSoup:
    return BeautifulSoup(small.read_text(encoding="utf-8"), "html.parser")


def test_each_box_has_the_field_of_its_exercise(soup: BeautifulSoup) -> None:
    boxes = {box["id"]: box for box in soup.select("div.exercise")}
    for name in CHECKS:
        form = boxes[f"ex-{name}"].find("form", attrs={"data-exercise": f"ex-{name}"})
        control = form.find(["input", "select"])
        assert f"the_{name}" in form.find("label", attrs={"for": control["id"]}).get_text()
        assert form.find(id=control["aria-describedby"])["aria-live"] == "polite"
    assert not boxes["ex-code"].find("form")
    assert "JupyterLab" in boxes["ex-code"].get_text()


def test_no_check_is_open_to_the_eye(soup: BeautifulSoup) -> None:
    for cell in soup.select("div.cell"):
        if "Check(" in cell.get_text():
            assert cell.select_one("details pre")
            assert "Check(" not in "".join(pre.get_text() for pre in cell.select(":scope > .cell_input pre"))
    for fold in soup.select("details"):
        fold.decompose()
    assert "36.5" not in soup.get_text()
    assert soup.get_text().count("Not answered yet") == 1  # the one that takes a function


def test_ids_are_once_on_a_page(soup: BeautifulSoup) -> None:
    ids = Counter(node["id"] for node in soup.select("form [id], form[id], .guess-answer[id]"))
    assert ids
    assert max(ids.values()) == 1


def test_outside_of_a_build_a_check_only_prints(capsys: pytest.CaptureFixture[str]) -> None:
    CHECKS["number"](...)
    assert capsys.readouterr().out.startswith("Not answered yet")


def test_what_only_python_can_judge_is_told_so() -> None:
    assert Check(lambda a: a, on=[(1,)]).data() == {"kind": "code"}
    assert Check(np.eye(2)).data() == {"kind": "code"}
    assert Check(float("inf")).data() == {"kind": "code"}
    hinted = Check(1.0, hints=[(lambda: 1, "a function"), ((1.0, 2.0), "two"), (2.0, "twice")])
    assert hinted.data()["hints"] == [[[2.0], "twice"]]


@pytest.mark.browser
@pytest.mark.parametrize("name", list(CHECKS))
def test_a_page_judges_as_python_does(page: Page, small: Path, name: str) -> None:
    """Right and wrong answers, hints and differences: word by word what the check says, by keyboard alone."""
    page.goto(small.as_uri())
    form = page.locator(f"form[data-exercise=ex-{name}]")
    for text in ANSWERS[name]:
        values = [float(word) for word in text.split(",")] if name in NUMBERS else []
        answer = {"word": text, "truth": text == "True", "pair": values}.get(name, values and values[0])
        said = CHECKS[name].verdict(answer)
        if name == "pair" and len(values) == 1:
            said = "Not yet: got 1 number, expected 2."
        if name == "truth":
            form.locator("select").select_option(text)
            form.locator("button").press("Enter")
        else:
            form.locator("input").fill(text)
            form.locator("input").press("Enter")
        expect(form.locator(".verdict")).to_have_text(said.replace("'", ""))
        expect(form).to_have_attribute("data-verdict", "right" if said.startswith("Right") else "wrong")


@pytest.mark.browser
def test_numbers_as_people_write_them(page: Page, small: Path) -> None:
    page.goto(small.as_uri())
    form = page.locator("form[data-exercise=ex-number]")
    for text, start in {
        "73/2": "Right",
        "−36.5": "Not yet: the size",
        "3.65e1": "Right",
        "36,5": "Not yet: got 2",
        "many": "Not yet: write numbers",
        " ": "Not answered yet",
    }.items():
        form.locator("input").fill(text)
        form.locator("button").click()
        assert form.locator(".verdict").inner_text().startswith(start), text


@pytest.mark.browser
def test_a_guess_unfolds_the_answer(page: Page, small: Path) -> None:
    page.goto(small.as_uri())
    answer, form = page.get_by_text("At six."), page.locator("form[data-guess]")
    expect(page.get_by_text("And on.")).to_be_visible()
    expect(answer).to_be_hidden()
    form.get_by_label("Your guess").press("Enter")
    expect(answer).to_be_hidden()
    form.get_by_label("Your guess").fill("five")
    form.get_by_label("Your guess").press("Enter")
    expect(answer).to_be_visible()
    expect(form.get_by_role("status")).to_contain_text("five")
    page.reload()
    expect(answer).to_be_hidden()
    page.get_by_role("button", name="Show me").press("Enter")
    expect(answer).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("guess", "share"),
    [
        ("5", 2.5 / 3),
        ("at about 1", 1.5 / 3),
        ("−0.5", 0.5 / 3),
        ("½", 1.25 / 3),
        ("100", 1),
        ("no idea", None),
    ],
)
def test_a_guess_is_marked_on_the_slider(page: Page, small: Path, guess: str, share: float | None) -> None:
    """Between the values that the slider runs over; beyond them at its end; words leave no mark."""
    page.goto(small.as_uri())
    form = page.locator("form[data-guess]")
    form.get_by_label("Your guess").fill(guess)
    form.get_by_label("Your guess").press("Enter")
    mark = page.locator(".guess-mark")
    assert mark.count() == (share is not None)
    if share is not None:
        at = mark.evaluate("m => parseFloat(m.style.left) - document.getElementById('a-range').offsetLeft")
        assert at == pytest.approx(8 + share * 200, abs=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_a_field_fits_a_phone(page: Page, small: Path) -> None:
    page.goto(small.as_uri())
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => innerWidth === 390")
    for box in [control.bounding_box() for control in page.locator("form :is(input, select, button)").all()]:
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 24


@pytest.mark.browser
def test_without_scripts_nothing_is_folded(browser, small: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small.as_uri())
    expect(page.get_by_text("At six.")).to_be_visible()
    context.close()


def test_a_chapters_numbers_are_judged_in_its_page(html: Path, chapter: Path) -> None:
    """Every exercise of the book has its field, or says that it takes code."""
    name = chapter.relative_to(BOOK).with_suffix(".html")
    found = parsed(html / name)
    for box in found.select("div.exercise"):
        assert box.select_one("form[data-exercise], div.answer"), box["id"]
    for form in found.select("form[data-exercise]"):
        data = json.loads(base64.b64decode(form["data-check"]))
        assert data["kind"] in ("numbers", "text", "truth")
        right = Check(data["expected"], rtol=data["rtol"], atol=data["atol"])
        for wrong, text in data["hints"]:
            assert not right.verdict(wrong).startswith("Right"), text
