"""The built pages, a server for them, and a tab. The pages are built once, if ``make book`` has not built them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from tests.book.support import HTML, ROOT, chapter_paths, page_names
from tests.serving import served
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", page_names())
    marked = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "chapter" in metafunc.fixturenames and "chapter" not in marked:
        metafunc.parametrize("chapter", chapter_paths(), ids=lambda path: path.stem)


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages."""
    (ROOT / "_build").mkdir(exist_ok=True)
    with FileLock(ROOT / "_build" / ".building"):
        if not (HTML / "searchindex.js").is_file():
            builder = shutil.which("jupyter-book", path=str(Path(sys.executable).parent))
            assert builder, "jupyter-book is not installed: pip install -r requirements.txt"
            command = [builder, "build", "book/", "-W", "-n", "--keep-going"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    missing = [name for name in page_names() if not (HTML / f"{name}.html").is_file()]
    assert not missing, f"_build/html is out of date, it lacks {', '.join(missing)}: run make book"
    return HTML


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    """The address of a local server of the pages."""
    with served(html) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh tab on a wide screen, in light mode."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.set_default_timeout(1000 * PATIENCE)
    yield context.new_page()
    context.close()
