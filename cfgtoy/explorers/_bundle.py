"""Join ES modules into text that runs anywhere: as one module for JupyterLab, as classic scripts for a page.

The modules stay plain ``.mjs`` files with relative imports, so that Node can test them as they are.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

_REGISTRY = "globalThis.__cfgtoy"

_IMPORT = re.compile(
    r"""^import\s+(?:(?P<names>\{[^}]*\})|\*\s+as\s+(?P<star>[\w$]+)|(?P<default>[\w$]+))\s+from\s+"""
    r"""(?P<quote>["'])(?P<path>\.[^"']+)(?P=quote);?[ \t]*$""",
    re.MULTILINE,
)
_EXPORT_DECLARATION = re.compile(
    r"^export\s+(?=(?:(?:async\s+)?function\s*\*?|class|const)\s+(?P<name>[\w$]+))", re.MULTILINE
)
_EXPORT_LIST = re.compile(r"^export\s*\{(?P<names>[^}]*)\};?[ \t]*$", re.MULTILINE)
_EXPORT_DEFAULT = re.compile(r"^export\s+default\s+", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b[^\n]*", re.MULTILINE)
_DYNAMIC = re.compile(r"\bimport\s*(?:\(|\.\s*meta\b)")


class BundleError(ValueError):
    """A module is missing, imports in a circle, or uses a form of ``import`` or ``export`` that is not understood."""


@dataclass(frozen=True)
class Module:
    """One ES module, rewritten as an entry of a registry on the page.

    Understood, at the start of a line: ``import { a, b as c } from "./x.mjs"``, ``import * as x from`` and ``import x
    from``; ``export`` before ``function``, ``async function``, ``class``, ``const``, ``{ a, b as c }`` and ``default``.
    ``import text from "./x.mjs?worker"`` is the text of a script for a worker: the default export gets its ``self``.

    ``key`` is the module's name and a hash of its rewritten text, and so of all that it imports; ``script``, a classic
    script, fills the entry, once however often it runs.
    """

    key: str
    script: str


def modules(entry: Path) -> list[Module]:
    """The module ``entry`` and all that it imports, each after what it needs."""
    done: dict[Path, Module] = {}

    def visit(path: Path, chain: tuple[Path, ...]) -> Module:
        path = path.resolve()
        if path in chain:
            raise BundleError(f"{path.name}: imports itself through {' → '.join(p.name for p in chain)}")
        if path in done:
            return done[path]
        if not path.is_file():
            raise BundleError(f"{path.name}: imported by {chain[-1].name if chain else 'nothing'}, not found")

        def imported(match: re.Match[str]) -> str:
            name, _, worker = match["path"].partition("?")
            if worker and (worker != "worker" or not match["default"]):
                raise BundleError(f"{path.name}: {match.group()!r} is not a form of import understood here")
            if worker:
                text = json.dumps(as_worker(modules(path.parent / name)), ensure_ascii=False)
                return f"const {match['default']} = ({{ default: {text} }}).default;"
            entry = _entry(visit(path.parent / name, (*chain, path)))
            if match["default"]:
                return f"const {match['default']} = ({entry}).default;"
            names = match["star"] or re.sub(r"([\w$]+)\s+as\s+([\w$]+)", r"\1: \2", match["names"])
            return f"const {names} = {entry};"

        text = _IMPORT.sub(imported, path.read_text(encoding="utf-8"))
        done[path] = _rewrite(path.name, text)  # after its imports: a dict keeps this order
        return done[path]

    visit(entry, ())
    return list(done.values())


def as_es_module(parts: list[Module]) -> str:
    """One ES module with the default export of the last of ``parts``."""
    return "\n".join([*(part.script for part in parts), f"export default {_entry(parts[-1])}.default;\n"])


def as_worker(parts: list[Module]) -> str:
    """A classic script for a worker: it runs ``parts`` and calls the default export of the last with ``self``."""
    return "\n".join([*(part.script for part in parts), f"{_entry(parts[-1])}.default(self);"])


def _entry(module: Module) -> str:
    """The expression for a module that has run."""
    return f"{_REGISTRY}[{json.dumps(module.key)}]"


def _rewrite(name: str, text: str) -> Module:
    """The registry entry of one module, whose imports are rewritten already."""
    exported: dict[str, str] = {}  # exported name: local name
    for match in _EXPORT_LIST.finditer(text):
        for local, outer in re.findall(r"([\w$]+)(?:\s+as\s+([\w$]+))?", match["names"]):
            exported[outer or local] = local
    exported |= {match["name"]: match["name"] for match in _EXPORT_DECLARATION.finditer(text)}
    if _EXPORT_DEFAULT.search(text):
        exported["default"] = "__default"
    text = _EXPORT_DECLARATION.sub("", _EXPORT_LIST.sub("", text))
    text = _EXPORT_DEFAULT.sub("const __default = ", text)
    for pattern in (_LEFT_OVER, _DYNAMIC):
        if stray := pattern.search(text):
            raise BundleError(f"{name}: {stray.group()!r} is not a form of import or export understood here")
    fields = ", ".join(f"{json.dumps(outer)}: {local}" for outer, local in exported.items())
    body = f'(() => {{\n"use strict";\n{text.strip()}\nreturn Object.freeze({{ {fields} }});\n}})()'
    key = f"{name.removesuffix('.mjs')}-{hashlib.sha256(body.encode()).hexdigest()[:10]}"
    body = body.replace("</script", r"<\/script")
    return Module(key, f"({_REGISTRY} ??= {{}})[{json.dumps(key)}] ??= {body};")
