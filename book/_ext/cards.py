"""Statement cards: a cell that measures becomes what was told and by whom, figure, verdict, and the test, folded.

All of it is there already: the statement and who made it in ``claims.yml``, the figure and the verdict in the cell's
output, and what the verdict asks for in the cell's code, as the third argument of ``measured``.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from docutils import nodes
from folds import fold, parts
from measurements import groups
from sphinx.application import Sphinx

TRUTHS = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Call)


def asked(source: str) -> list[list[tuple[str, str]]]:
    """What each ``measured(...)`` of a cell asks for: ("", the condition), then (name, its meaning) of what it names.

    Only names that the cell gives a truth value are spelled out, each once, and what they name in turn.
    """
    tree = ast.parse(source)
    given: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            given[node.targets[0].id] = node.value
    found = []
    for call in sorted(calls(tree), key=lambda call: call.lineno):
        condition = condition_of(call)
        if condition is None or isinstance(condition, ast.Constant):
            found.append([])
            continue
        lines, open_names, seen = [("", brief(condition))], names(condition), set[str]()
        while open_names:
            name = open_names.pop(0)
            if name in seen or not isinstance(given.get(name), TRUTHS) or not decides(given[name]):
                continue
            seen.add(name)
            lines.append((name, brief(given[name])))
            open_names += names(given[name])
        found.append(lines)
    return found


def calls(tree: ast.AST) -> list[ast.Call]:
    """The calls of ``measured`` or ``something.measured``."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == "measured"
    ]


def condition_of(call: ast.Call) -> ast.expr | None:
    """The argument ``holds``: the third, or after two words of its own (chapter 14's) the fifth."""
    for keyword in call.keywords:
        if keyword.arg == "holds":
            return keyword.value
    place = 2
    if (
        len(call.args) > 4
        and isinstance(call.args[1], ast.Constant)
        and isinstance(call.args[0], ast.Constant)
    ):
        place = 4
    return call.args[place] if len(call.args) > place else None


def decides(value: ast.expr) -> bool:
    """Whether an expression is a truth value by its look: a comparison, and, or, not, or all, any, bool of it."""
    if isinstance(value, ast.Call):
        name = getattr(value.func, "id", None) or getattr(value.func, "attr", None)
        return name in {"all", "any", "bool", "allclose", "equal"}
    return not isinstance(value, ast.UnaryOp) or isinstance(value.op, ast.Not)


def names(value: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]


def brief(value: ast.expr) -> str:
    """The expression on one line, without a ``bool`` around it."""
    if isinstance(value, ast.Call) and getattr(value.func, "id", None) == "bool" and len(value.args) == 1:
        value = value.args[0]
    return ast.unparse(value)


def spoken(text: str) -> list[nodes.Node]:
    """A statement of ``claims.yml`` as nodes: words, and formulas between dollars."""
    out: list[nodes.Node] = []
    for number, piece in enumerate(text.split("$")):
        if piece:
            out.append(nodes.math(piece, piece) if number % 2 else nodes.Text(piece))
    return out


def deal(app: Sphinx, doctree: nodes.document) -> None:
    """Give every measurement of a page its card, and fold the cell's code into it."""
    told: dict[str, tuple[str, str]] | None = None
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code":
            continue
        boxes = [box for box in cell.findall(nodes.container) if "measured" in box["classes"]]
        if not boxes:
            continue
        if told is None:
            book = Path(app.srcdir)
            app.env.note_dependency(str(book / "claims.yml"))
            told = {
                claim: (text, group.said[claim])
                for group in groups(book)
                for claim, text in group.claims.items()
            }
        source, _ = parts(cell)
        claims = cell["cell_metadata"].get("cfgtoy", {}).get("claims", [])
        conditions = asked(source.astext()) if source else []
        conditions += [[]] * (len(boxes) - len(conditions))
        for number, (box, lines) in enumerate(zip(boxes, conditions, strict=False)):
            box["classes"].append("statement")
            if number == 0:
                for claim in reversed(claims):
                    text, who = told[claim]
                    line = nodes.paragraph("", "", *spoken(text), classes=["card-told"])
                    line += nodes.inline(text=who, classes=["card-who"])
                    box.insert(0, line)
            if lines:
                box += test(lines)
        if source and cell.get("hide_mode") is None:
            cell.remove(source)
            boxes[-1] += fold([source], "Show the test", "Hide the test")


def test(lines: list[tuple[str, str]]) -> nodes.paragraph:
    """What the verdict asks for, in a line."""
    out = nodes.paragraph(classes=["card-asked"])
    for number, (name, text) in enumerate(lines):
        out += nodes.Text(("It holds if ", ", where ")[number] if number < 2 else ", ")
        if name:
            out += nodes.literal(text=name)
            out += nodes.Text(" is ")
        out += nodes.literal(text=text)
    out += nodes.Text(".")
    return out


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", deal, priority=300)
    return {"parallel_read_safe": True}
