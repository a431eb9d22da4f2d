"""Every chapter as a notebook that runs alone: ``_downloads/notebooks/<chapter>.ipynb``, and all in one zip file.

The cells and outputs are those of the chapter, its text is plain Markdown, and a first cell says what to install.
Another zip file, for teachers, has them without solutions and without the cells that check an answer and so know it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from contents import notebooks
from plain import Names, Plain
from pybtex import plugin
from pybtex.richtext import Text
from sphinx.application import Sphinx

import cfgtoy

FOLDER = "_downloads/notebooks"
ARCHIVE = "_downloads/notebooks.zip"
UNSOLVED = "_downloads/notebooks-without-solutions.zip"
_CHECK = re.compile(r"(?m)^(?P<name>\w+) *= *Check\(|^Check\(")


def convert(notebook: nbformat.NotebookNode, names: Names, page: str) -> nbformat.NotebookNode:
    """The notebook that a reader downloads; its code and outputs are those of ``notebook``.

    Args:
        notebook: The committed chapter; it is left as it is.
        names: What its text refers to.
        page: The chapter's page, without suffix.
    """
    plain = Plain(names, page)
    made = []
    for cell in notebook.cells:
        made.append(nbformat.from_dict(cell))
        made[-1].metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k != "mystnb"})
        if cell.cell_type == "markdown":
            made[-1].source = plain.text(cell.source)
        elif "hide-input" in cell.metadata.get("tags", []):
            made[-1].metadata["jupyter"] = {"source_hidden": True}
    if page in names.titles:
        made[0].source = re.sub(r"\A# .*", lambda _: f"# {names.titles[page]}", made[0].source)
    for at, cell in enumerate(notebook.cells):
        if "{solution-start}" in cell.source and _ends_at_heading(notebook.cells, made, at):
            made[at].metadata["jp-MarkdownHeadingCollapsed"] = True
    cells = [first_cell(), *(cell for cell in made if cell.cell_type == "code" or cell.source)]
    result = nbformat.v4.new_notebook(cells=cells, metadata=dict(notebook.metadata))
    result.metadata["cfgtoy"] = {"version": cfgtoy.__version__, "page": page}
    result.nbformat_minor = 5
    return result


def unsolved(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of a committed chapter without its solutions and the cells of its checks.

    Raises:
        ValueError: if a solution that starts in a cell of its own does not end.
    """
    copy, kept, inside, checks = nbformat.from_dict(notebook), [], False, set[str]()
    for cell in copy.cells:
        if "{solution-start}" in cell.source:
            inside = True
        elif "{solution-end}" in cell.source:
            inside = False
        elif not inside and cell.cell_type == "markdown":
            cell.source = re.sub(r"(?ms)^(`{3,}|:{3,})\{solution\}.*?^\1\n?", "", cell.source).rstrip()
            kept.append(cell)
        elif not inside:
            found = list(_CHECK.finditer(cell.source))
            checks |= {match["name"] for match in found if match["name"]}
            if not found and not any(re.search(rf"\b{name}\(", cell.source) for name in checks):
                kept.append(cell)
    if inside:
        raise ValueError("notebook: got a solution without an end; each solution-start takes a solution-end")
    copy.cells = kept
    return copy


def _ends_at_heading(cells: list[Any], made: list[Any], at: int) -> bool:
    """Whether a heading follows the solution that starts at ``at``: JupyterLab folds all up to the next heading."""
    end = next((k for k in range(at, len(cells)) if "{solution-end}" in cells[k].source), len(cells))
    after = next((cell for cell in made[end + 1 :] if cell.source), None)
    return after is None or (after.cell_type == "markdown" and bool(re.match("#{1,3} ", after.source)))


def first_cell() -> nbformat.NotebookNode:
    """What to install."""
    version = cfgtoy.__version__
    lines = [
        f"> From the book *Guidance, measured*, written for `cfgtoy` {version}. To run this notebook, install the",
        '> package together with JupyterLab: `pip install "cfgtoy[lab] @ ADDRESS"`. The address is that of the wheel,',
        f"> `file:///…/cfgtoy-{version}-py3-none-any.whl`, or of the repository, `git+https://…`. Nothing else of the",
        "> book is needed.",
    ]
    cell = nbformat.v4.new_markdown_cell("\n".join(lines))
    cell.id = "install"
    return cell


def names_of(app: Sphinx) -> Names:
    """What the built book knows."""
    env = app.env
    numbers: dict[str, str] = {}
    for kinds in env.toc_fignumbers.values():
        for kind, found in kinds.items():
            for label, number in found.items():
                dotted = ".".join(map(str, number))
                if kind == "displaymath":
                    numbers[label.removeprefix("equation-")] = dotted
                else:
                    numbers[label] = f"{kind.capitalize()} {dotted}"
    titles = {}
    for page, node in env.titles.items():
        number = env.toc_secnumbers.get(page, {}).get("")
        titles[page] = (".".join(map(str, number)) + ". " if number else "") + node.astext()
    book = Path(app.srcdir)
    pages = [path.relative_to(book).with_suffix("").as_posix() for path in notebooks(book)]
    places = {label: (place[0], place[2]) for label, place in env.domaindata["std"]["labels"].items()}
    places = {
        label: (page, titles[page] if title == env.titles[page].astext() else title)
        for label, (page, title) in places.items()
        if page in titles
    }
    return Names(
        numbers=numbers,
        places=places,
        titles=titles,
        files={page: f"{Path(page).name}.ipynb" for page in pages if page in env.titles},
        entries=references(env.get_domain("cite").bibdata.data),  # type: ignore[attr-defined]
        macros=dict(app.config.mathjax3_config["tex"]["macros"]),
    )


def references(data: Any) -> dict[str, tuple[str, str]]:
    """Key to authors and full text of every entry of a bibliography."""
    style = plugin.find_plugin("pybtex.style.formatting", "plain")()
    backend = plugin.find_plugin("pybtex.backends", "markdown")()
    found = {}
    for entry in style.format_entries(data.entries.values()):
        people = data.entries[entry.key].persons.get("author", [])
        last = [Text.from_latex(" ".join(person.last_names)).render_as("text") for person in people]
        authors = f"{last[0]} et al." if len(last) > 2 else " and ".join(last)
        found[entry.key] = (
            authors or entry.key,
            re.sub(r"\\([.-])", r"\1", " ".join(entry.text.render(backend).split())),
        )
    return found


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the notebooks and the zip file of them, the same bytes from the same book."""
    if exception is not None or app.builder.format != "html":
        return
    names = names_of(app)
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        if old.name not in names.files.values():
            old.unlink()
    with (
        zipfile.ZipFile(Path(app.outdir) / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive,
        zipfile.ZipFile(Path(app.outdir) / UNSOLVED, "w", zipfile.ZIP_DEFLATED) as teachers,
    ):
        for page, name in names.files.items():
            notebook = nbformat.read(Path(app.srcdir) / f"{page}.ipynb", as_version=4)
            text = nbformat.writes(convert(notebook, names, page)) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
            add(archive, name, text)
            add(teachers, name, nbformat.writes(convert(unsolved(notebook), names, page)) + "\n")


def add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """One notebook, with no date, so that the archive is the same each time."""
    entry = zipfile.ZipInfo(f"guidance-measured/{name}")
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, text, zipfile.ZIP_DEFLATED)


def button(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the page's download button give the notebook that runs alone."""
    if not (Path(app.srcdir) / f"{page}.ipynb").is_file():
        return
    pathto: Callable[..., str] = context["pathto"]
    for group in context.get("header_buttons", []):
        for entry in group.get("buttons", []) if isinstance(group.get("buttons"), list) else []:
            if entry.get("type") == "link" and entry.get("text") == ".ipynb":
                entry["url"] = pathto(f"{FOLDER}/{Path(page).name}.ipynb", resource=True)
                entry["tooltip"] = "Download this notebook: it runs alone"
                entry["label"] = "download-notebook-button"


def setup(app: Sphinx) -> dict[str, Any]:
    # pybtex looks for its plug-ins in all that is installed, some times for each reference: once is enough
    plugin.entry_points = cache(plugin.entry_points)  # type: ignore[attr-defined]
    app.connect("html-page-context", button, priority=900)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
