"""The wheel: it holds all that it needs, and works in an empty folder with no checkout around."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.forked import python

pytest.importorskip("hatchling")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = {"PIP_NO_INDEX": "1"}


def run(*command: str, cwd: Path, **env: str) -> str:
    return said(
        subprocess.run(
            command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
        )
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(
        *PIP,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
        cwd=folder,
        **OFFLINE,
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it, to be put before all others."""
    folder = tmp_path_factory.mktemp("site")
    run(
        *PIP,
        "install",
        "--no-deps",
        "--no-compile",
        "--target",
        str(folder),
        str(wheel),
        cwd=folder,
        **OFFLINE,
    )
    return folder


def test_it_holds_the_package_and_the_data_and_nothing_else(wheel: Path) -> None:
    def below(folder: str) -> set[str]:
        files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
        return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}

    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == below("cfgtoy") | {f"cfgtoy/{name}" for name in below("data")}
    assert {Path(name).suffix for name in names} >= {".py", ".mjs", ".css", ".csv", ".safetensors", ".json"}
    assert "cfgtoy/py.typed" in names


def test_it_names_the_command_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        entries = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert "cfgtoy = cfgtoy.cli:main" in entries
    for name in ("torch", "numpy", "anywidget", "matplotlib", "scikit-learn", "safetensors", "tyro"):
        assert f"\nRequires-Dist: {name}" in text
    always = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", text, re.MULTILINE)
    assert set(always) == {"torch", "numpy", "safetensors", "tqdm"}


def test_the_commands_work_with_no_checkout_around(site: Path, tmp_path: Path) -> None:
    """Help, the list of weights, samples of shipped weights, and a training whose weights are sampled."""
    env = {"PYTHONPATH": str(site), "CFGTOY_DATA": ""}

    def cfgtoy(*args: str) -> str:
        program = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
        return said(python(program, str(site / "bin" / "cfgtoy"), *args, cwd=tmp_path, env=env))

    help = run(sys.executable, str(site / "bin" / "cfgtoy"), "sample", "--help", cwd=tmp_path, **env)
    assert "--guidance" in help
    listed = cfgtoy("weights")
    entries = json.loads((ROOT / "data" / "manifest.json").read_text())
    assert listed.count(" ok ") == len(entries)
    assert listed.count(str(site / "cfgtoy" / "data")) == len(entries)
    few = ["--per-class", "1", "--steps", "2", "--device", "cpu"]
    cfgtoy("sample", "digits", *few, "--out", "shipped.png")
    cfgtoy(
        "train",
        "digits",
        "--images",
        "64",
        "--batch",
        "32",
        "--no-progress",
        "--out",
        "mine",
        "--device",
        "cpu",
    )
    cfgtoy("sample", "mine/weights.safetensors", *few, "--out", "mine.png")
    assert (tmp_path / "shipped.png").read_bytes() != (tmp_path / "mine.png").read_bytes()


def test_an_explorer_runs_in_a_page(site: Path, tmp_path: Path) -> None:
    program = (
        "from cfgtoy.explorers import SamplingExplorer\n"
        "print(SamplingExplorer()._repr_mimebundle_()[0]['text/html'])"
    )
    page = said(python(program, cwd=tmp_path, env={"PYTHONPATH": str(site)}))
    assert page.count("<script data-cfgtoy=") > 5
    assert "cfgtoy-widget" in page
    assert str(ROOT) not in page


def test_every_import_of_the_chapters_is_there(site: Path, tmp_path: Path) -> None:
    lines = set()
    for path in (ROOT / "book").rglob("*.ipynb"):
        if ".ipynb_checkpoints" in path.parts:
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                nodes = ast.walk(ast.parse("".join(cell["source"])))
                lines |= {
                    ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
                }
    assert len(lines) > 20
    program = "\n".join(sorted(lines)) + "\nimport cfgtoy; print(cfgtoy.__file__)"
    where = said(python(program, cwd=tmp_path, env={"PYTHONPATH": str(site)}))
    assert Path(where.strip()).is_relative_to(site)
