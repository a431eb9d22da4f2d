"""Keep the chapters in the form in which they are committed.

    python tools/notebooks.py run book/guidance/09-classifier-free.ipynb     execute in place, then clean
    python tools/notebooks.py clean …                                        clean only
    python tools/notebooks.py check …                                        say what is not as it should be

Without paths: every chapter that the table of contents names. A cleaned notebook has text, PNG and measured
outputs, execution counts, ids made from the cells' text, and nothing of widgets, timing or the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "_ext"))

import contents  # noqa: E402
from measurements import groups  # noqa: E402

from cfgtoy.ledger import MIME  # noqa: E402

KEPT_TYPES = {"text/plain", "text/latex", "text/markdown", "image/png", MIME}
KEPT_METADATA = {"tags", "cfgtoy", "mystnb"}
MAX_LINES = 15
MAX_WIDTH = 88  # what a page shows without scrolling


def run(path: Path) -> None:
    """Execute every cell, in the notebook's folder, and stop at the first error."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    started = time.perf_counter()
    client.execute()
    write(path, notebook)
    print(f"{path.name}: ran in {time.perf_counter() - started:.1f} s")


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write the committed form."""
    path.write_text(nbformat.writes(cleaned(notebook)) + "\n", encoding="utf-8")


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The committed form of ``notebook``, which is changed in place."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        cell.source = cell.source.rstrip()
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        seen[name] += 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT_METADATA})
        if cell.cell_type == "code":
            cell.outputs = _merged([_kept(output) for output in cell.outputs])
        cell.pop("attachments", None)
    return notebook


def _kept(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """One output, less the media types that are not committed."""
    if "data" in output:
        output.data = nbformat.from_dict({k: v for k, v in output.data.items() if k in KEPT_TYPES})
        output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if k in KEPT_TYPES})
        if "image/png" in output.data:
            output.data["image/png"] = output.data["image/png"].replace("\n", "")
    return output


def _merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Neighbouring pieces of one stream joined."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == "stream" == last.output_type
            and output.name == last.name
        ):
            last.text += output.text
        elif output.output_type == "stream" or output.output_type == "error" or output.data:
            merged.append(output)
    return merged


def check(path: Path) -> list[str]:
    """What is not as it should be, a line each."""
    raw = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(raw, as_version=4)
    problems = []
    if nbformat.writes(cleaned(nbformat.reads(raw, as_version=4))) + "\n" != raw:
        problems.append("is not in the committed form: run tools/notebooks.py clean")
    known = {claim for group in groups(BOOK) for claim in group.claims}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        where = f"code cell {number} ({cell.source.splitlines()[0][:40] if cell.source else 'empty'})"
        problems += [f"{where}: {text}" for text in _check_cell(cell, known)]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        problems.append("was not run from top to bottom: run tools/notebooks.py run")
    if path.parent.name == "explorers":  # a gallery teaches by its figures alone
        return problems
    return problems + _check_parts(notebook)


def _check_cell(cell: nbformat.NotebookNode, known: set[str]) -> list[str]:
    """What is not as it should be in one code cell."""
    problems = []
    if (lines := len(cell.source.splitlines())) > MAX_LINES:
        problems.append(f"{lines} lines, more than {MAX_LINES}")
    if longest := [line for line in cell.source.splitlines() if len(line) > MAX_WIDTH]:
        problems.append(f"a line of {len(longest[0])} characters, more than {MAX_WIDTH}")
    claims = cell.metadata.get("cfgtoy", {}).get("claims", [])
    if unknown := [claim for claim in claims if claim not in known]:
        problems.append(f"names claims that do not exist: {', '.join(unknown)}")
    if claims and not any(MIME in output.get("data", {}) for output in cell.outputs):
        problems.append("names claims but its output has no measurement")
    for output in cell.outputs:
        if output.output_type == "error":
            problems.append(f"raised {output.ename}")
        if output.output_type == "stream" and output.name == "stderr":
            problems.append(f"wrote to stderr: {output.text.strip()[:80]}")
        if "image/png" in output.get("data", {}) and not output.metadata.get("image/png", {}).get("alt"):
            problems.append("shows a figure without alt text: use plotting.show(fig, alt=…)")
    return problems


def _check_parts(notebook: nbformat.NotebookNode) -> list[str]:
    """What a chapter lacks of the parts that every chapter has."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    needs = {
        "a title": r"\A(?:\([\w-]+\)=\n)?# \S",
        "goals": r"(?m)^:::\{admonition\} (?:In this chapter|Goals)",
        "a labelled equation": r"\$\$ ?\(eq-[\w-]+\)|:label: eq-",
        "exercises": r"\{exercise(?:-start)?\}",
        "folded solutions": r"\{solution(?:-start)?\}",
        "'In short'": r"(?m)^## In short",
        "references": r"(?m)^## References",
    }
    problems = [
        f"has no {what}" if what[0] != "a" else f"has not {what}"
        for what, p in needs.items()
        if not re.search(p, prose)
    ]
    exercises, solutions = (
        len(re.findall(rf"\{{{kind}(?:-start)?\}}", prose)) for kind in ("exercise", "solution")
    )
    if not 2 <= exercises <= 4:
        problems.append(f"has {exercises} exercises; a chapter has two to four")
    if exercises != solutions:
        problems.append(f"has {exercises} exercises and {solutions} solutions")
    plain = [
        output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    if not any(text.startswith("Interactive figure") for text in plain):
        problems.append("has no slider")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "clean", "check"])
    parser.add_argument("paths", nargs="*", type=Path)
    arguments = parser.parse_args()
    bad = 0
    for path in [p.resolve() for p in arguments.paths] or contents.notebooks(BOOK):
        if arguments.command == "check":
            for problem in check(path):
                print(f"{path.name}: {problem}")
                bad = 1
        elif arguments.command == "clean":
            write(path, nbformat.read(path, as_version=4))
        else:
            try:
                run(path)
            except CellExecutionError as error:
                print(f"{path.name}: {error}", file=sys.stderr)
                bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
