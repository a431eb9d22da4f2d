"""The notebooks that a reader downloads: those of the chapters, in plain Markdown, and they run alone."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from cfgtoy.ledger import MIME
from tests.book.support import BOOK, ROOT, chapter_paths, parsed, tool

downloads, plain = tool("downloads"), tool("plain")
NAMES = plain.Names(
    numbers={"eq-a": "6.2", "ex-a": "Exercise 6.1", "alg-a": "Algorithm 6.1"},
    places={
        "ch-b": ("guidance/07-b", "7. B"),
        "sec": ("guidance/06-a", "A section"),
        "faq": ("back/faq", "FAQ"),
    },
    titles={"guidance/07-b": "7. B", "back/faq": "Questions"},
    files={"guidance/06-a": "06-a.ipynb", "guidance/07-b": "07-b.ipynb"},
    entries={
        "ho": ("Ho and Salimans", "J. Ho and T. Salimans. 2022."),
        "ka": ("Karras et al.", "Karras. 2024."),
    },
    macros={"eps": r"\boldsymbol{\epsilon}"},
)


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("(ch-a)=\n# A", "# A"),
        ("See {eq}`eq-a`, {prf:ref}`alg-a`.", "See (6.2), Algorithm 6.1."),
        ("$$\nx = 1\n$$ (eq-a)", "$$\nx = 1\n\\tag{6.2} $$"),
        ("{term}`scores <score>` of {term}`log-SNR`", "scores of log-SNR"),
        ("{py:func}`~cfgtoy.a.b` {py:func}`cfgtoy.a.b`", "`b` `cfgtoy.a.b`"),
        ("{ref}`ch-b` {ref}`here <ch-b>` {ref}`faq`", "[7. B](07-b.ipynb) [here](07-b.ipynb) FAQ"),
        ("It is. ({measured}`measured <gap at w = 1>`)", "It is. (measured: gap at w = 1)"),
        ("[](07-b.ipynb) [it](../guidance/07-b.ipynb#x)", "[7. B](07-b.ipynb) [it](07-b.ipynb)"),
        ("[q](../back/faq.md) [w](https://a.org)", "q [w](https://a.org)"),
        ("$f[a](b)$ stays", "$f[a](b)$ stays"),
        (
            r"$\eps_0 \epsilon \\ \eps \\eps$",
            r"$\boldsymbol{\epsilon}_0 \epsilon \\ \boldsymbol{\epsilon} \\eps$",
        ),
        ("{footcite:t}`ho` and{footcite:p}`ka,ho`", "Ho and Salimans [1] and[2][1]"),
        (":::{admonition} In short\n:class: tip\n- {eq}`eq-a`\n:::", "> **In short**\n>\n> - (6.2)"),
        ("::::{note}\n:::{tip}\nx\n:::\n::::", "> **Note**\n>\n> > **Tip**\n> >\n> > x"),
        ("```{prf:algorithm} Train\n:label: alg-a\n\n1. x\n```", "> **Algorithm 6.1 (Train)**\n>\n> 1. x"),
        (":::{exercise} Why\n:label: ex-a\nSay.\n:::", "### Exercise 6.1: Why\n\nSay."),
        ("```{solution-start} ex-a\n:class: dropdown\n```", "### Solution of exercise 6.1"),
        ("```{solution-end}\n```", ""),
        ("```python\n{eq}`eq-a` [](x.md)\n```", "```python\n{eq}`eq-a` [](x.md)\n```"),
    ],
)
def test_text_becomes_markdown(source: str, markdown: str) -> None:
    assert plain.Plain(NAMES, "guidance/06-a").text(source) == markdown


def test_references_come_in_the_order_of_citing() -> None:
    text = plain.Plain(NAMES)
    text.text("{footcite:p}`ka` {footcite:p}`ho` {footcite:p}`ka`")
    assert text.text("```{footbibliography}\n```") == "1. Karras. 2024.\n2. J. Ho and T. Salimans. 2022."


def test_solutions_fold_only_where_nothing_else_would() -> None:
    def folded(after: str) -> bool:
        cells = [
            nbformat.v4.new_markdown_cell("```{solution-start} ex-a\n```"),
            nbformat.v4.new_markdown_cell("Because."),
            nbformat.v4.new_markdown_cell("```{solution-end}\n```"),
            nbformat.v4.new_markdown_cell(after),
        ]
        made = downloads.convert(nbformat.v4.new_notebook(cells=cells), NAMES, "guidance/06-a")
        (solution,) = (cell for cell in made.cells if cell.source.startswith("### Solution"))
        return bool(solution.metadata.get("jp-MarkdownHeadingCollapsed", False))

    assert folded("## In short")
    assert not folded("More of the exercise.")


def linked(html: Path, chapter: Path) -> Path:
    """The notebook that a chapter's page offers."""
    page = html / chapter.relative_to(BOOK).with_suffix(".html")
    soup = parsed(page)
    (button,) = soup.select("a.btn-download-notebook-button")
    return (page.parent / str(button["href"])).resolve()


def test_page_offers_its_notebook(html: Path, chapter: Path) -> None:
    """The page links to a valid notebook with the committed code and outputs, and no MyST in its text."""
    path = linked(html, chapter)
    assert path.suffix == ".ipynb"
    made, committed = nbformat.read(path, as_version=4), nbformat.read(chapter, as_version=4)
    nbformat.validate(made)
    code = [[cell for cell in book.cells if cell.cell_type == "code"] for book in (made, committed)]
    assert [(c.id, c.source, c.outputs) for c in code[0]] == [(c.id, c.source, c.outputs) for c in code[1]]
    prose = "\n\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert "pip install" in prose
    left = re.findall(
        r"\{[\w:-]+\}`[^`]*`|^:{3,}.*|^`{3,}\{.*|^\([\w-]+\)=|\]\([^)]*\.md[)#]", prose, re.MULTILINE
    )
    assert left == []
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    macros = settings["mathjax3_config"]["tex"]["macros"]
    assert not set(re.findall(r"\\([A-Za-z]+)", prose)) & set(macros)  # plain JupyterLab has none of them
    for name in re.findall(r"\]\(([\w.-]+\.ipynb)\)", prose):
        assert (path.parent / name).is_file()


def test_numbers_are_those_of_the_page(html: Path, chapter: Path) -> None:
    soup = parsed(html / chapter.relative_to(BOOK).with_suffix(".html"))
    shown = [str(number.contents[0]).strip("()") for number in soup.select("article span.eqno")]
    prose = "\n".join(c.source for c in nbformat.read(linked(html, chapter), as_version=4).cells)
    assert re.findall(r"\\tag\{([\d.]+)\}", prose) == shown
    exercises = [str(box.contents[0]).strip() for box in soup.select("div.exercise span.caption-number")]
    assert re.findall(r"(?m)^### (Exercise [\d.]+)", prose) == exercises


def test_zip_holds_them_all(html: Path) -> None:
    with zipfile.ZipFile(html / downloads.ARCHIVE) as archive:
        found = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert found == {
        path.with_suffix(".ipynb").name: (html / downloads.FOLDER / path.name).read_bytes()
        for path in chapter_paths()
    }


def test_teachers_copy_asks_and_does_not_answer(chapter: Path) -> None:
    """Each exercise and its open answer stay; no solution, no check, and no other cell is lost."""
    committed = nbformat.read(chapter, as_version=4)
    made = downloads.unsolved(committed)
    sources = ["\n".join(cell.source for cell in book.cells) for book in (committed, made)]
    for pattern in (r"\{exercise", r"= \.\.\.", r"return \.\.\."):
        assert len(re.findall(pattern, sources[0])) == len(re.findall(pattern, sources[1])), pattern
    assert "{solution" not in sources[1]
    assert not re.search(r"\bCheck\(|^check_\w+\(", sources[1], re.MULTILINE)
    lost = [cell.source for cell in committed.cells if cell.id not in {kept.id for kept in made.cells}]
    inside = False
    for source in lost:
        inside = (inside or "{solution-start}" in source) and "{solution-end}" not in source
        assert inside or "{solution-end}" in source or re.search(r"Check\(|check", source), source
    assert len(committed.cells) - len(made.cells) == len(lost)


def test_a_solution_without_an_end_is_refused() -> None:
    cells = [nbformat.v4.new_markdown_cell("```{solution-start} ex-a\n```"), nbformat.v4.new_code_cell("1")]
    with pytest.raises(ValueError, match="without an end"):
        downloads.unsolved(nbformat.v4.new_notebook(cells=cells))


def test_teachers_zip_has_every_chapter(html: Path) -> None:
    with zipfile.ZipFile(html / downloads.UNSOLVED) as archive:
        names = [Path(name).name for name in archive.namelist()]
        texts = [archive.read(name).decode() for name in archive.namelist()]
    assert names == [path.name for path in chapter_paths()]
    assert not [name for name, text in zip(names, texts, strict=True) if "### Solution" in text]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gallery.ipynb", "05-measuring.ipynb"])
def test_it_runs_alone(html: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In an empty folder, with the package and its data laid out as the wheel does, and no checkout on the path."""
    site, here = tmp_path / "site", tmp_path / "here"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cfgtoy", site / "cfgtoy", ignore=without)
    shutil.copytree(ROOT / "data", site / "cfgtoy" / "data")
    here.mkdir()
    shutil.copy2(html / downloads.FOLDER / name, here)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delenv("CFGTOY_DATA", raising=False)
    book = nbformat.read(here / name, as_version=4)
    before = [texts(cell) for cell in book.cells if cell.cell_type == "code"]
    check = nbformat.v4.new_code_cell("import cfgtoy, os; print(cfgtoy.__file__, os.getcwd())")
    book.cells.append(check)
    client = NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(here)}}
    )
    client.execute(env=os.environ.copy())
    where, folder = check.outputs[0].text.split()
    assert Path(where).is_relative_to(site)
    assert Path(folder) == here
    assert [texts(cell) for cell in book.cells if cell.cell_type == "code"][:-1] == before
    kinds = {kind for cell in book.cells for out in cell.get("outputs", []) for kind in out.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
    assert sorted(path.name for path in here.iterdir()) == [name]


def texts(cell: nbformat.NotebookNode) -> list[object]:
    """What a cell printed, showed as text and measured."""
    found: list[object] = []
    for output in cell.outputs:
        data = output.get("data", {})
        found.append((output.get("text"), data.get("text/plain"), data.get(MIME)))
    return found
