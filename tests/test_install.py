"""A lean install: what the core needs is little, what is imported is declared, what is missing is named in one line."""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.forked import Forks

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = {"torch", "numpy", "safetensors", "tqdm"}
FOLDERS = ("benchmarks", "book", "tests", "tools")
OURS = {
    "cfgtoy",
    "tests",
    "tools",
    *(path.stem for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")),
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The packages that an install with these extras asks for."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    found = [Requirement(text) for part in lists for text in part]
    inner = {extra for one in found if one.name == "cfgtoy" for extra in one.extras}
    return {plain(one.name) for one in found if one.name != "cfgtoy"} | (declared(*inner) if inner else set())


def imported(paths: Iterable[Path]) -> dict[str, str]:
    """The packages that files import, anywhere in them, with one file each."""
    known, found = packages_distributions(), {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for top in {name.partition(".")[0] for name in names} - OURS - sys.stdlib_module_names:
                found[plain(known.get(top, [top])[0])] = path.relative_to(ROOT).as_posix()
    return found


def test_the_core_is_four_packages() -> None:
    assert declared() == CORE


def test_what_is_imported_is_declared() -> None:
    extras = set(PROJECT["optional-dependencies"])
    package = imported((ROOT / "cfgtoy").rglob("*.py"))
    users = extras - {"book", "test", "dev"}
    assert set(package) <= declared(*users), package
    others = [
        path for folder in ("book", "tools", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    beside = imported([ROOT / "conftest.py", *others])
    assert set(beside) <= declared(*extras), beside
    # and nothing else is asked of a user: JupyterLab runs the widgets by ipywidgets, which anywidget stands on
    assert declared(*users - {"lab", "adapters"}) - set(package) == {"ipywidgets"}


def test_every_package_that_is_declared_is_pinned() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {plain(line.partition("==")[0]) for line in lines if "==" in line}
    extras = set(PROJECT["optional-dependencies"]) - {
        "inception"
    }  # whose weights are a download: not in the book
    assert declared(*extras) <= pinned


BLOCK = """
class Block:
    blocked = {blocked!r}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they themselves require, as names to import."""
    todo, done = list(names), set()
    while todo:
        name = plain(todo.pop())
        if name in done:
            continue
        done.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        wanted = [Requirement(line) for line in lines]
        todo += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {top for top, dists in packages_distributions().items() if any(plain(d) in done for d in dists)}


def missing(*extras: str) -> set[str]:
    """What an install with these extras does not bring, as names to import."""
    return set(packages_distributions()) - closure(declared(*extras)) - {"cfgtoy"}


@functools.cache
def core() -> Forks:
    """A Python that finds nothing but what the core brings, torch included, which it has imported."""
    return Forks(BLOCK.format(blocked=missing()))


def lean(program: str, *extras: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds nothing but an install with these extras brings."""
    allow = f"import sys; sys.meta_path[0].blocked = {missing(*extras)!r}\n"
    return core().run(allow + program, cwd=ROOT)


WORK = """
import torch, cfgtoy, cfgtoy.artifacts
from cfgtoy import datasets, guidance, metrics, nets, process, samplers, schedules, training, NetDenoiser
mixture, y = datasets.three_gaussians(), torch.arange(60) % 3
g = torch.Generator().manual_seed(0)
guided = guidance.classifier_free(mixture, w=1.0)
x = samplers.sample(guided, y, shape=(60, 2), grid=schedules.Cosine().grid(8), generator=g, progress=True)
real = mixture.sample(60, generator=g)
metrics.frechet_distance(real, x), metrics.precision_recall(real, x), metrics.energy_distance(real, x)
metrics.kl_to_density(x, lambda z: mixture.log_prob(z, 20.0)), metrics.curl(guided, x, 0.0, y)
print(NetDenoiser(nets.MLP(2, 3))(x, torch.tensor(0.0), y).x.shape, cfgtoy.artifacts.load_denoiser("digits").shape)
"""


def test_the_core_works_alone() -> None:
    done = lean(WORK)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([60, 2]) (1, 8, 8)\n"


@pytest.mark.parametrize(
    ("program", "package", "extra"),
    [
        ("import cfgtoy.explorers", "anywidget|traitlets", "explorers"),
        ("from cfgtoy import plotting", "matplotlib", "explorers"),
        ("from cfgtoy import datasets; datasets.digits.load()", "scikit-learn", "images"),
        ("from cfgtoy import datasets; datasets.cifar10._cached(True, False)", "pooch", "images"),
        ("from cfgtoy import cli; raise SystemExit(cli.main(['weights']))", "tyro", "cli"),
        ("import cfgtoy.adapters.diffusers", "diffusers", "diffusers"),
    ],
)
def test_a_missing_extra_says_in_one_line_what_to_install(program: str, package: str, extra: str) -> None:
    done = lean(program)
    assert done.returncode in (1, 2)
    last = done.stderr.strip().splitlines()[-1]
    line = (
        rf"([\w ]+: )?({package}) is not installed: pip install 'cfgtoy\[{extra}\]', or pip install \2 alone"
    )
    assert re.fullmatch(line, last), done.stderr


@pytest.mark.parametrize(
    ("program", "extras"),
    [
        ("from cfgtoy import explorers; explorers.FieldExplorer().static_html()", ["explorers"]),
        ("from cfgtoy import datasets; datasets.digits.load()", ["images"]),
        ("from cfgtoy import cli; cli.main(['sample', 'ring', '--per-class', '5', '--steps', '2'])", ["cli"]),
    ],
)
def test_an_extra_is_enough(program: str, extras: list[str]) -> None:
    done = lean(program, *extras)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_cleaning_leaves_an_environment_whole(tmp_path: Path) -> None:
    """Without its bytecode every program there would compile the text of all its libraries."""
    ours = [tmp_path / folder / "__pycache__" for folder in (*FOLDERS, "cfgtoy", "examples")]
    environments = [tmp_path / name / "lib/__pycache__" for name in (".venv", "other")]
    for folder in (*ours, *environments):
        folder.mkdir(parents=True)
    subprocess.run(["make", f"--makefile={ROOT / 'Makefile'}", "clean"], cwd=tmp_path, check=True)
    assert not any(folder.exists() for folder in ours)
    assert all(folder.exists() for folder in environments)
