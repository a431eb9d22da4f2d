"""What the chapters measured, claim by claim: collected from the committed notebooks, never typed.

A cell that carries claim ids in its metadata (``{"cfgtoy": {"claims": ["A5"]}}``) and a measurement in its output
(`cfgtoy.ledger.measured`) gives the rows of those claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contents import cells, loaded, notebooks, title

from cfgtoy.ledger import MIME

KINDS = {"holds": "holds", "holds with a caveat": "caveat", "fails as stated": "fails"}
"""A verdict, the mildest first, to its name in the style sheet."""

IMAGES = ("digits", "CIFAR-10", "digits and CIFAR-10")
"""What the part on images measures on."""


@dataclass(frozen=True)
class Row:
    """One measurement of one claim.

    Attributes:
        claim: Its id.
        page: The chapter's name without its suffix.
        title: The chapter's title.
        on: What it was measured on: ``"mixtures"``, one of `IMAGES`, or ``"the paper's tables"``.
        what: The quantity, in words; then the figure, the verdict and its caveat.
    """

    claim: str
    page: str
    title: str
    on: str
    what: str
    figure: str
    verdict: str
    caveat: str


@dataclass(frozen=True)
class Group:
    """A letter's claims: id to text, and id to who said it."""

    letter: str
    title: str
    claims: dict[str, str]
    said: dict[str, str]


def groups(book: Path) -> list[Group]:
    """The claims of ``claims.yml``."""
    found = []
    for letter, group in loaded(book / "claims.yml").items():
        claims, by = group["claims"], group.get("by", {})
        if unknown := set(by) - set(claims):
            raise ValueError(
                f"claims.yml: {letter} says by whom {', '.join(sorted(unknown))} is, and has no such claim"
            )
        said = {claim: by.get(claim, group.get("who", "")) for claim in claims}
        found.append(Group(letter, group["title"], claims, said))
    return found


def rows(book: Path) -> list[Row]:
    """Every measurement of a claim, in the order of the book.

    Raises:
        ValueError: if a cell names a claim that ``claims.yml`` does not have, or claims without measuring.
    """
    known = {claim for group in groups(book) for claim in group.claims}
    found = []
    for path in notebooks(book):
        page = path.relative_to(book).with_suffix("").as_posix()
        for cell in cells(path):
            about = cell["metadata"].get("cfgtoy", {})
            claims = about.get("claims", [])
            if unknown := set(claims) - known:
                raise ValueError(f"{page}, cell {cell['id']}: no claim {', '.join(sorted(unknown))}")
            measured = [o["data"][MIME] for o in cell.get("outputs", []) if MIME in o.get("data", {})]
            if claims and not measured:
                raise ValueError(f"{page}, cell {cell['id']}: names claims but has no measured output")
            found += [
                Row(claim, page, title(path), about.get("on") or measured_on(page, m["what"]), **m)
                for claim in claims
                for m in measured
            ]
    return found


def quantities(book: Path) -> list[tuple[str, str]]:
    """Every measurement of the book, of a claim or not: its page, and the quantity in words."""
    return [
        (path.relative_to(book).with_suffix("").as_posix(), output["data"][MIME]["what"])
        for path in notebooks(book)
        for cell in cells(path)
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]


def measured_on(page: str, what: str) -> str:
    """What a measurement is about, where its cell does not say so in ``{"cfgtoy": {"on": "digits"}}``.

    The words decide; where they name no data, the chapter does: mixtures outside of the part on images.
    """
    if "the paper" in what:
        return "the paper's tables"
    if not page.startswith("images/"):
        return "mixtures"
    for text in (what.lower(), Path(page).name):
        found = [on for word, on in (("digit", "digits"), ("cifar", "CIFAR-10")) if word in text]
        if found:
            return " and ".join(found)
    return "CIFAR-10"


def hardest(found: Sequence[Row]) -> dict[str, str]:
    """The hardest verdict of some rows, for each thing that they were measured on."""
    order = list(KINDS)
    verdicts: dict[str, str] = {}
    for row in found:
        verdicts[row.on] = max(verdicts.get(row.on, order[0]), row.verdict, key=order.index)
    return verdicts


def differing(found: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each claim whose verdict on some images is not the one on mixtures."""
    out = {}
    for claim in sorted({row.claim for row in found}, key=lambda claim: (claim[0], int(claim[1:]))):
        mine = [row for row in found if row.claim == claim]
        verdicts = hardest(mine)
        on_images = {verdict for on, verdict in verdicts.items() if on in IMAGES}
        if "mixtures" in verdicts and on_images - {verdicts["mixtures"]}:
            out[claim] = mine
    return out
