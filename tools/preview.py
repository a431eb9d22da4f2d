"""Build one chapter as a page of its own, with the back matter: quicker than the book while you write.

    python tools/preview.py book/guidance/09-classifier-free.ipynb [--to folder]

Prints the page's path and weight. Links to other chapters are reported as missing; the book's build finds them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "book" / "_ext"))

from contents import Part, parts  # noqa: E402


def copy_book(chapter: Path, folder: Path) -> None:
    """A book of one chapter and the back matter in ``folder``, beside links to the rest."""
    for name in ("cfgtoy", "data", "requirements.txt", "_config.yml"):
        if (ROOT / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    book = folder / "book"
    shutil.rmtree(book, ignore_errors=True)
    book.mkdir()
    (book / "intro.md").write_text("# Preview\n", encoding="utf-8")  # the front page needs all chapters
    for name in ("_ext", "_assets", "back", "claims.yml", "references.bib"):
        source = ROOT / "book" / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, book / name)
    page = chapter.relative_to(ROOT / "book") if chapter.is_relative_to(ROOT / "book") else Path(chapter.name)
    (book / page).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(chapter, book / page)
    shown = [Part("Preview", (page.with_suffix("").as_posix(),)), parts(ROOT / "book")[-1]]
    listed = [
        {"caption": part.caption, "chapters": [{"file": file} for file in part.pages]} for part in shown
    ]
    toc = {"format": "jb-book", "root": "intro", "parts": listed}
    (book / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapter", type=Path)
    parser.add_argument("--to", type=Path, help="a folder to build in; by default a temporary one")
    arguments = parser.parse_args()
    chapter = arguments.chapter.resolve()
    folder = arguments.to or Path(tempfile.gettempdir()) / f"preview-{chapter.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    copy_book(chapter, folder)
    command = [
        str(Path(sys.executable).parent / "jupyter-book"),
        "build",
        "book/",
        "-n",
        "--keep-going",
        "-q",
    ]
    code = subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
    html = folder / "_build" / "html"
    for page in html.rglob(f"{chapter.stem}.html"):
        print(f"{page}: {page.stat().st_size / 1e3:.0f} kB of HTML")
    return code


if __name__ == "__main__":
    sys.exit(main())
