"""Every command line in the book, the README and their neighbours is one that the program takes."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfgtoy import artifacts, cli
from cfgtoy.training import config as configs

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^ *(`{3,}|:{3,}) *\{?(console|bash|sh|shell)\b.*?\n(.*?)^ *\1", re.M | re.S)
INLINE = re.compile(r"`((?:torchrun|cfgtoy|python -m cfgtoy) [^`]+)`")
LAUNCHER = re.compile(r"torchrun( --?[\w-]+=\S+)* -m cfgtoy ")
PLACEHOLDER = re.compile(r"…|\.\.\.|\b[A-Z]{2,}\b|=N\b")  # cfgtoy COMMAND --help


def commands(text: str) -> Iterator[str]:
    """The command lines in Markdown: shell blocks, with or without a prompt, and inline code."""
    for match in FENCE.finditer(text):
        for line in match[3].replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+", " ", line.strip().removeprefix("$ ").split("  #")[0]).strip()
            if re.match(r"(torchrun|cfgtoy|python -m cfgtoy)\b", line):
                yield line.split(" # ")[0].strip()
    for match in INLINE.finditer(text):
        yield re.sub(r"\s+", " ", match[1]).strip()


def texts() -> Iterator[tuple[str, str]]:
    """Every page that a reader may copy from: its path and its Markdown; of code, the strings."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "book").rglob("*.md"), *(ROOT / "data").glob("*.md")]:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in (ROOT / "book").rglob("*.ipynb"):
        if ".ipynb_checkpoints" in path.parts:
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                yield path.relative_to(ROOT).as_posix(), source
                continue
            for node in ast.walk(ast.parse(source)):
                value = node.value if isinstance(node, ast.Constant) else None
                if isinstance(value, str) and value.startswith(("cfgtoy ", "torchrun ")):
                    yield path.relative_to(ROOT).as_posix(), f"`{value}`"
    for name, entry in artifacts.manifest(ROOT / "data").items():
        command = entry.get("made_by", {}).get("command", "")
        if command.startswith(("cfgtoy ", "torchrun ")):
            yield f"data/manifest.json: {name}", f"`{command}`"


FOUND = sorted(
    {(where, line) for where, text in texts() for line in commands(text) if not PLACEHOLDER.search(line)}
)


def parse(line: str) -> object:
    """What the program reads from a command line: the options object that it would act on.

    Raises:
        ValueError: for an unknown command, recipe or launcher option; SystemExit for a bad option, from the parser.
    """
    if line.startswith("torchrun"):
        if not LAUNCHER.match(line):
            raise ValueError(f"torchrun: got {line!r}, takes --name=value … -m cfgtoy …")
        line = "cfgtoy " + LAUNCHER.sub("", line, count=1)
    _, *words = shlex.split(line.removeprefix("python -m "))
    kinds = {"sample": cli.Sample, "evaluate": cli.Evaluate, "compare": cli.Compare, "weights": cli.Weights}
    if words == ["train"] or words[0] in ("--help", "--version"):
        return words
    if words[0] == "train":
        recipe, rest = words[1], words[2:]
        default = configs.preset(recipe)
        if recipe == "folder" and rest and not rest[0].startswith("-"):
            rest.insert(0, "--dataset")
        return cli._parse(type(default), rest, f"cfgtoy train {recipe}", default)
    return cli._parse(kinds[words[0]], words[1:], f"cfgtoy {words[0]}")


@pytest.mark.parametrize(("where", "line"), FOUND, ids=lambda value: value if " " in value else "")
def test_the_program_takes_it(where: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "--help" in line:
        with pytest.raises(SystemExit) as ended:
            parse(line)
        assert ended.value.code == 0, f"{where}: {line}"
        return
    try:
        parse(line)
    except (SystemExit, ValueError, KeyError) as error:
        pytest.fail(f"{where}: {line}\n{error}\n{capsys.readouterr().err}")


def test_the_commands_are_found() -> None:
    lines = {line for _, line in FOUND}
    assert "cfgtoy train digits" in lines
    assert any(line.startswith("torchrun ") for line in lines)
    assert {line.split("cfgtoy ")[1].split()[0] for line in lines} >= {
        "train",
        "sample",
        "evaluate",
        "weights",
    }
    assert list(
        commands("```console\n$ cfgtoy sample x \\\n    --w 1   # why\n$ ls\n```\nand `cfgtoy weights`")
    ) == [
        "cfgtoy sample x --w 1",
        "cfgtoy weights",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "cfgtoy sample digits --weight 2",
        "cfgtoy train mnist",
        "cfgtoy evaluate digits --n many",
        "cfgtoy sing digits",
        "torchrun 4 -m cfgtoy train cifar10",
    ],
)
def test_a_wrong_one_would_be_noticed(line: str) -> None:
    with pytest.raises((SystemExit, ValueError, KeyError)) as ended:
        parse(line)
    assert getattr(ended.value, "code", 2) != 0
