"""Every chapter as a notebook that runs alone: ``_downloads/notebooks/<chapter>.ipynb``, and all in one zip file.

The cells and outputs are those of the chapter. Its text is turned from MyST, which plain JupyterLab shows raw,
into Markdown: numbers of equations and exercises, titles of chapters, names of authors stand where the page has
them; the book's macros are written out. A first cell says what to install.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from ledger_table import chapters
from pybtex.plugin import find_plugin
from pybtex.richtext import Text
from sphinx.application import Sphinx

import cfgtoy

FOLDER = "_downloads/notebooks"
ARCHIVE = "_downloads/notebooks.zip"

_OPEN = re.compile(r"^(?P<fence>`{3,}|:{3,})(?:\{(?P<kind>[\w:-]+)\})?[ \t]*(?P<argument>.*)$")
_ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<text>[^`]+)`")
_TITLED = re.compile(r"^(?P<shown>.*?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
_LINK = re.compile(r"\[(?P<shown>[^\]]*)\]\((?P<address>[^)\s]+)\)")
_NUMBERED = re.compile(r"^(?P<indent>[ \t]*)\$\$[ \t]*\((?P<label>[\w:-]+)\)[ \t]*$", re.MULTILINE)
_TARGET = re.compile(r"^\([\w:-]+\)=[ \t]*\n?", re.MULTILINE)
_OPTION = re.compile(r"^:[\w-]+:.*$")
_HEADING = re.compile(r"#{1,3} ")


@dataclass(frozen=True)
class Names:
    """What a chapter's text refers to.

    Attributes:
        numbers: Label to number: of equations ``"6.2"``, of others ``"Exercise 6.1"``.
        places: Label to the page that holds it and its title.
        titles: Page to title.
        files: Page to the notebook's file name, for pages that are notebooks.
        entries: Key to a reference's authors as a sentence names them, and to its full text.
        macros: Formulas' macros, none of which takes an argument: name to definition.
    """

    numbers: dict[str, str] = field(default_factory=dict)
    places: dict[str, tuple[str, str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)
    macros: dict[str, str] = field(default_factory=dict)

    def chapter(self, page: str, shown: str = "") -> str:
        """A link to a chapter's notebook, or the title of a page that is none."""
        shown = shown or self.titles.get(page, page)
        return f"[{shown}]({self.files[page]})" if page in self.files else shown


class Plain:
    """Turns the text of one notebook into Markdown; it remembers the references in the order of their citing."""

    def __init__(self, names: Names, page: str = "") -> None:
        self.names = names
        self.page = page
        self.cited: list[str] = []

    def text(self, source: str) -> str:
        """A cell's text."""
        done: list[str] = []
        waiting: list[str] = []
        lines = iter(source.split("\n"))
        for line in lines:
            opened = _OPEN.match(line)
            if opened is None:
                waiting.append(line)
                continue
            body = []
            for inner in lines:
                if inner.rstrip() == opened["fence"]:
                    break
                body.append(inner)
            done.append(self._prose("\n".join(waiting)))
            waiting = []
            if opened["kind"] is None:  # code, as it stands
                done.append("\n".join([line, *body, opened["fence"]]))
            else:
                done.append(self._block(opened["kind"], opened["argument"].strip(), body))
        done.append(self._prose("\n".join(waiting)))
        return "\n\n".join(part.strip("\n") for part in done if part.strip())

    def _block(self, kind: str, argument: str, body: list[str]) -> str:
        """A directive."""
        options: dict[str, str] = {}
        while body and _OPTION.match(body[0]):
            key, _, value = body.pop(0)[1:].partition(":")
            options[key] = value.strip()
        inner = self.text("\n".join(body))
        number = self.names.numbers.get(options.get("label", ""), "")
        kind = kind.removeprefix("prf:").removesuffix("-start")
        title = self._prose(argument)
        if kind in ("exercise-end", "solution-end"):
            return ""
        if kind == "footbibliography":
            return "\n".join(
                f"{n}. {self.names.entries.get(key, ('', key))[1]}"
                for n, key in enumerate(self.cited, start=1)
            )
        if kind == "exercise":
            head = f"### {number or 'Exercise'}" + (f": {title}" if title else "")
            return f"{head}\n\n{inner}".rstrip()
        if kind == "solution":
            of = self.names.numbers.get(argument, "")
            return f"### Solution{' of ' + of[0].lower() + of[1:] if of else ''}\n\n{inner}".rstrip()
        if kind == "math":
            return "\n".join(["$$", *body, "$$" if not number else f"\\tag{{{number}}} $$"])
        name = {"admonition": ""}.get(kind, number or kind.capitalize())
        head = f"**{name}{' (' if name and title else ''}{title}{')' if name and title else ''}**"
        return "\n".join(f"> {row}".rstrip() for row in [head, "", *inner.split("\n")])

    def _prose(self, text: str) -> str:
        """Text with no directive in it."""
        text = _TARGET.sub("", text)
        text = _NUMBERED.sub(self._tag, text)
        text = _LINK.sub(self._link, text)
        text = _ROLE.sub(self._role, text)
        return re.sub(r"\\\\|\\([A-Za-z]+)", lambda m: self.names.macros.get(m[1], m[0]), text)

    def _tag(self, match: re.Match[str]) -> str:
        number = self.names.numbers.get(match["label"])
        return f"{match['indent']}\\tag{{{number}}} $$" if number else f"{match['indent']}$$"

    def _role(self, match: re.Match[str]) -> str:
        role, text = match["role"], match["text"]
        titled = _TITLED.match(text)
        shown, target = (titled["shown"], titled["target"]) if titled else ("", text)
        if role.startswith("py:"):
            short = target.rpartition(".")[2] if target.startswith("~") else target
            return f"`{shown or short}`"
        if role.startswith("footcite"):
            return self._cite(role, [key.strip() for key in target.split(",")])
        if role == "eq":
            return f"({self.names.numbers.get(target, target)})"
        if role in ("prf:ref", "numref"):
            return self.names.numbers.get(target, shown or target)
        if role == "doc":
            return self.names.chapter(self._page(target), shown)
        if role == "ref":
            page, title = self.names.places.get(target, ("", target))
            if title and page in self.names.files:
                return self.names.chapter(page, shown or self.names.numbers.get(target, title))
            return shown or self.names.numbers.get(target, title)
        return shown or target

    def _cite(self, role: str, keys: list[str]) -> str:
        for key in keys:
            if key not in self.cited:
                self.cited.append(key)
        marks = [f"[{self.cited.index(key) + 1}]" for key in keys]
        if role != "footcite:t":
            return "".join(marks)
        authors = [self.names.entries.get(key, (key, ""))[0] for key in keys]
        return ", ".join(f"{name} {mark}" for name, mark in zip(authors, marks, strict=True))

    def _page(self, address: str) -> str:
        """The page that an address in this chapter's text means."""
        path = address.partition("#")[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(self.page), path))
        return re.sub(r"\.(ipynb|md)$", "", path)

    def _link(self, match: re.Match[str]) -> str:
        address = match["address"]
        if address.startswith("#"):
            return match["shown"]
        if not re.search(r"\.(ipynb|md)(#|$)", address) or re.match(r"[a-z]+:", address):
            return match[0]  # of the web, or a formula
        return self.names.chapter(self._page(address), match["shown"])


def convert(notebook: nbformat.NotebookNode, names: Names, page: str) -> nbformat.NotebookNode:
    """The notebook that a reader downloads; its code and outputs are those of ``notebook``.

    Args:
        notebook: The committed chapter; it is left as it is.
        names: What its text refers to.
        page: The chapter's page, without suffix.
    """
    plain = Plain(names, page)
    cells = [first_cell()]
    for cell in notebook.cells:
        made = nbformat.from_dict(cell)
        made.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k != "mystnb"})
        if cell.cell_type == "markdown":
            made.source = plain.text(cell.source)
            if len(cells) == 1 and page in names.titles:
                made.source = re.sub(r"\A# .*", lambda _: f"# {names.titles[page]}", made.source)
            if not made.source:
                continue
        elif "hide-input" in cell.metadata.get("tags", []):
            made.metadata["jupyter"] = {"source_hidden": True}
        cells.append(made)
    for at, cell in enumerate(
        cells
    ):  # fold solutions: JupyterLab hides what stands below a collapsed heading
        if (
            cell.cell_type == "markdown"
            and cell.source.startswith("### Solution")
            and _ends(cells, notebook, at)
        ):
            cell.metadata["jp-MarkdownHeadingCollapsed"] = True
    result = nbformat.v4.new_notebook(cells=cells, metadata=dict(notebook.metadata))
    result.metadata["cfgtoy"] = {"version": cfgtoy.__version__, "page": page}
    result.nbformat_minor = 5
    return result


def _ends(cells: list[Any], notebook: nbformat.NotebookNode, at: int) -> bool:
    """Whether the solution at ``at`` ends where the next heading stands, so that folding hides nothing else."""
    kept = {cell.id: position for position, cell in enumerate(notebook.cells)}
    inside = kept.get(cells[at].id, len(notebook.cells))
    ends = (k for k in range(inside, len(notebook.cells)) if "{solution-end}" in notebook.cells[k].source)
    end = next(ends, None)
    if end is None or end + 1 >= len(notebook.cells):
        return end is not None
    following = next((cell for cell in cells if kept.get(cell.id, -1) > end), None)
    return following is None or (following.cell_type == "markdown" and bool(_HEADING.match(following.source)))


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
    pages = [path.relative_to(book).with_suffix("").as_posix() for path in chapters(book)]
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
    style = find_plugin("pybtex.style.formatting", "plain")()
    backend = find_plugin("pybtex.backends", "markdown")()
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
    with zipfile.ZipFile(Path(app.outdir) / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for page, name in names.files.items():
            notebook = nbformat.read(Path(app.srcdir) / f"{page}.ipynb", as_version=4)
            text = nbformat.writes(convert(notebook, names, page)) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
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
    app.connect("html-page-context", button, priority=900)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
