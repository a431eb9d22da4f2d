"""Join ES modules into text that runs anywhere: as one module for JupyterLab, as classic scripts for a page.

The modules stay plain ``.mjs`` files with relative imports, so that Node can test them as they are. Only the
forms of ``import`` and ``export`` listed at `Module` are understood; anything else is an error here, not a
surprise in a browser.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BundleError", "Module", "as_es_module", "as_worker", "modules"]

_REGISTRY = "globalThis.__cfgtoy"

_IMPORT = re.compile(
    r"""^import\s+(?:(?P<names>\{[^}]*\})|\*\s+as\s+(?P<star>[\w$]+)|(?P<default>[\w$]+))\s+from\s+"""
    r"""(?P<quote>["'])(?P<path>\.[^"']+)(?P=quote);?[ \t]*$""",
    re.MULTILINE,
)
_EXPORT_DECLARATION = re.compile(
    r"^export\s+(?P<kind>(?:async\s+)?function\s*\*?|class|const)\s+(?P<name>[\w$]+)", re.MULTILINE
)
_EXPORT_LIST = re.compile(r"^export\s*\{(?P<names>[^}]*)\};?[ \t]*$", re.MULTILINE)
_EXPORT_DEFAULT = re.compile(r"^export\s+default\s+", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b[^\n]*", re.MULTILINE)
_DYNAMIC = re.compile(r"\bimport\s*(?:\(|\.\s*meta\b)")


class BundleError(ValueError):
    """A module uses a form of ``import`` or ``export`` that is not understood, or imports in a circle."""


@dataclass(frozen=True)
class Module:
    """One ES module, rewritten as an entry of a registry on the page.

    Understood, each at the start of a line: ``import { a, b as c } from "./x.mjs"``, ``import * as x from``
    and ``import x from``; ``export function``, ``export async function``, ``export class``,
    ``export const name``, ``export { a, b as c }`` and ``export default``.

    ``import text from "./x.mjs?worker"`` gives a script as text: it runs ``x.mjs`` and all that it imports in a worker
    of its own, and calls its default export with the worker's ``self``.

    Attributes:
        key: Name and hash of the rewritten text, and so of all that it imports.
        script: A classic script that fills the entry, once however often it runs.
    """

    key: str
    script: str


def modules(entry: Path) -> list[Module]:
    """The module ``entry`` and all that it imports, each after what it needs.

    Raises:
        BundleError: if a module is missing, imports in a circle, or uses a form that is not understood.
    """
    done: dict[Path, Module] = {}

    def visit(path: Path, chain: tuple[Path, ...]) -> Module:
        path = path.resolve()
        if path in chain:
            raise BundleError(f"{path.name}: imports itself through {' → '.join(p.name for p in chain)}")
        if path not in done:
            if not path.is_file():
                raise BundleError(
                    f"{path.name}: imported by {chain[-1].name if chain else 'nothing'}, not found"
                )
            source = path.read_text(encoding="utf-8")
            entries = {}
            for match in _IMPORT.finditer(source):
                name, _, worker = match["path"].partition("?")
                if worker and (worker != "worker" or not match["default"]):
                    raise BundleError(
                        f"{path.name}: {match.group()!r} is not a form of import understood here"
                    )
                imported = path.parent / name
                entries[match["path"]] = (
                    _text(as_worker(modules(imported)))
                    if worker
                    else _entry(visit(imported, (*chain, path)).key)
                )
            done[path] = _rewrite(path.name, source, entries)  # after its imports: a dict keeps this order
        return done[path]

    visit(entry, ())
    return list(done.values())


def as_es_module(parts: list[Module]) -> str:
    """One ES module with the default export of the last of ``parts``."""
    scripts = "\n".join(part.script for part in parts)
    return f"{scripts}\nexport default {_entry(parts[-1].key)}.default;\n"


def _entry(key: str) -> str:
    """The expression for a module that has run."""
    return f"{_REGISTRY}[{json.dumps(key)}]"


def as_worker(parts: list[Module]) -> str:
    """A classic script for a worker: it runs ``parts`` and calls the default export of the last with ``self``."""
    return "\n".join([*(part.script for part in parts), f"{_entry(parts[-1].key)}.default(self);"])


def _text(script: str) -> str:
    """The expression for a module whose default export is a text."""
    return f"{{ default: {json.dumps(script, ensure_ascii=False)} }}"


def _rewrite(name: str, source: str, entries: dict[str, str]) -> Module:
    """The registry entry of one module; ``entries`` are the expressions for its imports, by path."""
    exported: dict[str, str] = {}  # exported name: local name

    def imported(match: re.Match[str]) -> str:
        entry = entries[match["path"]]
        if match["star"]:
            return f"const {match['star']} = {entry};"
        if match["default"]:
            return f"const {match['default']} = ({entry}).default;"
        names = re.sub(r"([\w$]+)\s+as\s+([\w$]+)", r"\1: \2", match["names"])
        return f"const {names} = {entry};"

    def declared(match: re.Match[str]) -> str:
        exported[match["name"]] = match["name"]
        return f"{match['kind']} {match['name']}"

    def listed(match: re.Match[str]) -> str:
        for item in filter(None, (part.strip() for part in match["names"].split(","))):
            local, _, outer = item.partition(" as ")
            exported[outer.strip() or local.strip()] = local.strip()
        return ""

    def default(match: re.Match[str]) -> str:
        exported["default"] = "__default"
        return "const __default = "

    text = _IMPORT.sub(imported, source)
    text = _EXPORT_LIST.sub(listed, text)
    text = _EXPORT_DECLARATION.sub(declared, text)
    text = _EXPORT_DEFAULT.sub(default, text)
    for pattern in (_LEFT_OVER, _DYNAMIC):
        if stray := pattern.search(text):
            raise BundleError(f"{name}: {stray.group()!r} is not a form of import or export understood here")
    fields = ", ".join(f"{json.dumps(outer)}: {local}" for outer, local in exported.items())
    body = f'(() => {{\n"use strict";\n{text.strip()}\nreturn Object.freeze({{ {fields} }});\n}})()'
    key = f"{name.removesuffix('.mjs')}-{hashlib.sha256(body.encode()).hexdigest()[:10]}"
    body = body.replace("</script", r"<\/script")
    return Module(key, f"({_REGISTRY} ??= {{}})[{json.dumps(key)}] ??= {body};")
