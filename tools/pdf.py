"""Print the built pages as one PDF: contents, chapters, solutions unfolded, a slider as the picture it starts with.

    python tools/pdf.py [--html _build/html] [--to _build/pdf/guidance-measured.pdf]

`make pdf` builds the pages first. This reads them and changes nothing in them: it joins their articles into one
document, whose links stay inside it, and has Chromium set the formulas and print. Nothing is executed again.
Needs Chromium on the path.
"""

from __future__ import annotations

import argparse
import html
import json
import posixpath
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from browser import chromium, launched
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
sys.path.append(str(BOOK / "_ext"))

from contents import Part, parts  # noqa: E402

PAPER = {"a4": "210mm 297mm", "letter": "8.5in 11in"}
REFERENCES = {"aria-labelledby", "aria-describedby", "for"}
FOLDING = ("toggle", "dropdown", "toggle-hidden")
HEADINGS = ("h1", "h2", "h3", "h4", "h5")  # each goes one down, below the parts' headings

STYLE = """
@page { size: %(size)s; margin: 20mm 19mm 21mm;
  @bottom-center { content: counter(page); font: 9pt system-ui, sans-serif; color: #555; } }
@page front { @bottom-center { content: none; } }
%(pages)s
html { font-size: 10pt; scroll-padding: 0; }
html, body { background: #fff; height: auto; overflow: visible; }
body { margin: 0; display: block; }
main { max-width: none; }
section.page { break-before: page; }
section.part > h1 { font-size: 2.6rem; margin: 0 0 2rem; }
h1, h2, h3, h4, h5, h6 { break-after: avoid; }
article h2:first-of-type { margin-top: 0; }
p, li { orphans: 3; widows: 3; }
img { max-width: 100%%; height: auto; break-inside: avoid; }
figure.still { margin: 1rem 0; break-inside: avoid; }
figure.still figcaption { color: #444; font-size: 0.9rem; margin-top: 0.3rem; }
.bd-content pre, article pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.78rem; overflow: visible; }
p.admonition-title, dt { break-after: avoid; }
div.cell_input, div.highlight, div.math, div.measured, p.admonition-title, tr, .paths, .chapter-map {
    break-inside: avoid; }
div.math { overflow: visible; }
a.headerlink, button, .toggle-button { display: none; }
a, a:visited { color: #1257b5; text-decoration: none; }
.cover { break-after: page; padding-top: 60mm; text-align: center; }
.cover, nav.listing { page: front; }
.cover p.title { font-size: 3.4rem; font-weight: 600; margin-bottom: 1rem; }
.cover .what { margin: 2.5rem auto 0; max-width: 34rem; }
nav.listing { break-after: page; }
nav.listing ol { list-style: none; padding: 0; }
nav.listing li { display: flex; gap: 0.6rem; margin: 0.25rem 0; }
nav.listing li a { color: inherit; flex: 1; }
nav.listing li.of-part { font-weight: 600; margin-top: 1.1rem; }
"""
"""What the theme's style sheets leave to say for paper. ``%(pages)s`` names each chapter at the top of its pages."""


def ident(page: str, name: str = "") -> str:
    """The id in the one document of what has the id ``name`` on ``page``; of the page itself without a name."""
    return re.sub(r"[^\w-]", "-", page) + (f"--{name}" if name else "")


def linked(page: str, address: str, known: set[str]) -> str | None:
    """Where a link on ``page`` leads in the one document; None for a page that is not in it."""
    if urlsplit(address).scheme:
        return address
    path, name = urldefrag(address)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(path))) if path else page
    target = target.removesuffix(".html")
    return f"#{ident(target, unquote(name))}" if target in known else None


def article(html_folder: Path, page: str, known: set[str], base: str) -> Tag:
    """The article of a built page, made ready for paper.

    Args:
        html_folder: Of the built pages.
        page: The page's name, without its suffix.
        known: Names of all pages of the document.
        base: The address of ``html_folder`` as the document writes it.

    Raises:
        FileNotFoundError: if the page was not built.
    """
    soup = BeautifulSoup((html_folder / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    found = soup.select_one("article.bd-article")
    if found is None:
        raise ValueError(f"{page}.html has no article")
    for widget in found.select("div.cfgtoy-widget"):
        still(widget, found)
    for folded in found.select("div.cell details.hide"):  # code that the page hides too
        folded.decompose()
    for cell in found.select("div.cell"):
        if not cell.select("img, pre, .measured, table, figure, .output"):
            cell.decompose()
    for node in found.select("script, style, link, button, a.headerlink, .answer, form.guess"):
        node.decompose()
    nodes = found.find_all(True)
    names = {str(node["id"]) for node in nodes if "id" in node.attrs}
    for node in nodes:
        if "id" in node.attrs:
            node["id"] = ident(page, str(node["id"]))
        if "class" in node.attrs:
            node["class"] = [name for name in node["class"] if name not in FOLDING]
        for attribute in REFERENCES & node.attrs.keys():
            values = node[attribute] if isinstance(node[attribute], list) else str(node[attribute]).split()
            node[attribute] = " ".join(ident(page, v) if v in names else v for v in values)
        if node.name == "details":
            node["open"] = ""
        elif node.name == "a" and "href" in node.attrs:
            address = linked(page, str(node["href"]), known)
            if address is None:
                node.name = "span"
                del node["href"]
            else:
                node["href"] = address
        elif node.name == "img":
            source = str(node["src"])
            if not urlsplit(source).scheme:
                node["src"] = f"{base}/{posixpath.normpath(posixpath.join(posixpath.dirname(page), source))}"
        elif node.name in HEADINGS:
            node.name = f"h{int(node.name[1]) + 1}"
    return found


def still(widget: Tag, found: Tag) -> None:
    """Put the picture that a slider or explorer starts with in its place, and say how it stands."""
    holder = found.find("script", id=f"{widget['id']}-state")
    state = json.loads(holder.string or "{}") if isinstance(holder, Tag) else {}
    image = widget.find("img")
    words = []
    if "labels" in state:
        name = str(state["label"])
        words.append(f"{name}: {state['labels'][state['position']]}.")
        if state.get("choices"):
            words.append(f"{state['choice_label']}: {state['choices'][state['choice']]}.")
        first, last = state["labels"][0], state["labels"][-1]
        words.append(f"In the page you can drag this from {first} to {last}.")
    else:
        words.append("In the page you can drag this.")
    if state.get("caption"):
        words.insert(0, str(state["caption"]))
    figure = Tag(name="figure", attrs={"class": ["still"]})
    if isinstance(image, Tag):
        figure.append(image.extract())
    else:
        figure.append(f"[{state.get('alt', 'An interactive figure')}]")
    caption = Tag(name="figcaption")
    caption.string = " ".join(words)
    figure.append(caption)
    widget.replace_with(figure)


def title(found: Tag) -> str:
    """The text of an article's first heading."""
    heading = found.find(re.compile(r"^h[1-6]$"))
    if not isinstance(heading, Tag):
        return "untitled"
    return "".join(text for text in heading.strings if text.parent.get("class") != ["headerlink"]).strip()


def document(html_folder: Path, book: Sequence[Part], *, base: str, size: str, version: str) -> str:
    """The one page that is printed."""
    known = {page for part in book for page in part.pages}
    body, listed, pages = [], [], []
    for part in book:
        for position, page in enumerate(part.pages):
            found = article(html_folder, page, known, base)
            name, heading = ident(page), title(found)
            part_heading = ""
            if part.caption and position == 0:
                part_heading = f'<h1 id="part-{ident(part.caption)}">{html.escape(part.caption)}</h1>'
                listed.append((f"part-{ident(part.caption)}", part.caption, "of-part"))
            if not part.caption:
                heading = "About this book"
            listed.append((name, heading, ""))
            quoted = heading.replace("\\", "").replace('"', "")
            pages.append(
                f'@page {name} {{ @top-right {{ content: "{quoted}"; font: 8.5pt system-ui, sans-serif; '
                f"color: #555; }} }}\nsection#{name} {{ page: {name}; }}"
            )
            kind = "page part" if part_heading else "page"
            body.append(f'<section class="{kind}" id="{name}">{part_heading}{found}</section>')
    front = BeautifulSoup(
        (html_folder / f"{book[0].pages[0]}.html").read_text(encoding="utf-8"), "html.parser"
    )
    sheets = [str(link["href"]) for link in front.select('link[rel="stylesheet"]')]
    settings = next(s.string for s in front.select("script") if s.string and "window.MathJax" in s.string)
    startup = next(str(s["src"]) for s in front.select("script[src]") if "mathjax/startup" in str(s["src"]))
    book_title = title(front.select_one("article.bd-article") or front)
    entries = "\n".join(
        f'<li class="{kind}"><a href="#{name}">{html.escape(text)}</a><span data-of="{name}"></span></li>'
        for name, text, kind in listed
    )
    return f"""<!doctype html>
<html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>{html.escape(book_title)}</title>
{"".join(f'<link rel="stylesheet" href="{base}/{sheet}">' for sheet in sheets)}
<style>{STYLE % {"size": size, "pages": chr(10).join(pages)}}</style>
<script>{settings}
window.MathJax.options.enableAssistiveMml = false;</script>
<script defer src="{base}/{startup}"></script></head>
<body>
<div class="cover"><p class="title">{html.escape(book_title)}</p><p>cfgtoy {html.escape(version)}</p>
<p class="what">The book as its pages were built. Solutions are unfolded, sliders show the picture they start
with, and code that the pages fold away, which draws figures, is left out: it is in the notebooks.</p></div>
<nav class="listing"><p class="h1">Contents</p><ol>{entries}</ol></nav>
<main class="bd-content">{"".join(body)}</main>
</body></html>
"""


def page_numbers(pdf: bytes) -> dict[str, int]:
    """The page on which each named place of a PDF of Chromium's stands; the first page is 1.

    CSS has ``target-counter`` for this, which Chromium does not know. It writes the objects that say where a
    link leads as plain text, which is all that is read here.

    Raises:
        ValueError: if the file does not say where its pages and places are.
    """
    text = pdf.decode("latin-1")
    pages = re.findall(r"(?m)^(\d+) 0 obj\n<</Type /Page\n", text)
    number = {name: position for position, name in enumerate(pages, start=1)}
    places = re.findall(r"/([\w-]+) \[(\d+) 0 R /XYZ", text)
    if not pages or not places:
        raise ValueError(
            "the PDF does not name its places as Chromium's do; its contents would have no numbers"
        )
    return {place: number[page] for place, page in places if page in number}


def print_pdf(source: Path, target: Path) -> list[str]:
    """Print the document at ``source``; give what went wrong, a line each."""
    trouble: list[str] = []
    if chromium() is None:
        return ["no Chromium on the path"]
    with launched() as browser:
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(300_000)
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("requestfailed", lambda request: trouble.append(f"not found: {request.url}"))
        page.goto(source.as_uri(), wait_until="load")
        page.evaluate("MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)")
        bad = page.locator("mjx-merror, [data-mjx-error]").all_inner_texts()
        trouble += [f"formula: {text}" for text in bad]
        settings = {"prefer_css_page_size": True, "print_background": True}
        numbers = page_numbers(page.pdf(**settings))  # the contents' numbers take no room: nothing moves
        page.evaluate(
            """numbers => document.querySelectorAll('[data-of]').forEach(
                (cell) => { cell.textContent = numbers[cell.dataset.of]; })""",
            numbers,
        )
        page.pdf(path=target, tagged=True, outline=True, **settings)
    return trouble


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--html", type=Path, default=ROOT / "_build" / "html", help="folder of the built pages"
    )
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "pdf" / "guidance-measured.pdf")
    parser.add_argument("--paper", choices=sorted(PAPER), default="a4")
    arguments = parser.parse_args()
    import cfgtoy

    started = time.perf_counter()
    folder = arguments.html.resolve()
    book = parts(BOOK)
    missing = [page for part in book for page in part.pages if not (folder / f"{page}.html").is_file()]
    if missing:
        print(f"{folder} lacks {', '.join(missing)}: run make book", file=sys.stderr)
        return 1
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    source = arguments.to.with_suffix(".html")
    size = PAPER[arguments.paper]
    text = document(folder, book, base=folder.as_uri(), size=size, version=cfgtoy.__version__)
    source.write_text(text, encoding="utf-8")
    trouble = print_pdf(source, arguments.to.resolve())
    for line in trouble:
        print(line, file=sys.stderr)
    source.unlink()
    if not trouble:
        weight = arguments.to.stat().st_size / 1e6
        print(f"{arguments.to}: {weight:.1f} MB, {time.perf_counter() - started:.0f} s")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
