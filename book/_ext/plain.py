"""A chapter's text, MyST, which plain JupyterLab shows raw, turned into Markdown.

Numbers of equations and exercises, titles of chapters, names of authors stand where the page has them; the book's
macros are written out.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

_OPEN = re.compile(r"^(?P<fence>`{3,}|:{3,})(?:\{(?P<kind>[\w:-]+)\})?[ \t]*(?P<argument>.*)$")
_ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<text>[^`]+)`")
_TITLED = re.compile(r"^(?P<shown>.*?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)
_LINK = re.compile(r"\[(?P<shown>[^\]]*)\]\((?P<address>[^)\s]+)\)")
_NUMBERED = re.compile(r"^(?P<indent>[ \t]*)\$\$[ \t]*\((?P<label>[\w:-]+)\)[ \t]*$", re.MULTILINE)
_TARGET = re.compile(r"^\([\w:-]+\)=[ \t]*\n?", re.MULTILINE)
_OPTION = re.compile(r"^:[\w-]+:.*$")


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
        if role == "measured":  # what one can search for in the chapters
            return f"{shown}: {target}"
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
