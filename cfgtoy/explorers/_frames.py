"""A slider over figures that Python draws: a trained net's samples, a table's curve, anything."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from ._static import StaticWidget

__all__ = ["Frames", "frames"]


class Frames(StaticWidget):
    """The widget that `frames` makes. Its picture follows ``position`` and ``choice``, from either side.

    Attributes:
        position: Index of the slider's value.
        choice: Index of the second control's choice; 0 where there is none.
    """

    module = Path(__file__).with_name("_frames.mjs")

    label = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    alts: Any = traitlets.List().tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    choice_label = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    stride = traitlets.Int(1).tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)
    choice = traitlets.Int(0).tag(sync=True)
    frames = traitlets.Dict().tag(sync=True)
    received = traitlets.Dict().tag(sync=True)

    def __init__(self, draw: Callable[[int, int], bytes], values: Sequence[Any], **traits: Any) -> None:
        super().__init__(**traits)
        self._draw = draw
        self._values = list(values)
        self.observe(self._answer, ["position", "choice"])

    @property
    def value(self) -> Any:
        """The slider's value, as it was given."""
        return self._values[self.position]

    def still(self) -> tuple[bytes, int]:
        """The frame where the slider starts, and its width."""
        text, width = self._picture()
        return base64.b64decode(text), width

    def _picture(self) -> tuple[str, int]:
        return self._frame(self.choice, self.position), self.width

    def static_state(self) -> dict[str, Any]:
        """The traits; the frame that the still image shows is not carried twice."""
        state = super().static_state()
        state["frames"] = {**self.frames, f"{self.choice},{self.position}": None}
        return {**state, "received": {}}

    def _frame(self, choice: int, position: int) -> str:
        """A frame as base64, drawn if it is not among those drawn before."""
        known = self.frames.get(f"{choice},{position}")
        return known or base64.b64encode(self._draw(choice, position)).decode()

    def _answer(self, change: Any) -> None:
        """Draw what the front end has not got."""
        key = f"{self.choice},{self.position}"
        if key not in self.frames:
            self.received = {key: self._frame(self.choice, self.position)}


def frames(
    fn: Callable[..., Any],
    values: Sequence[Any],
    *,
    label: str,
    alt: str | Callable[..., str],
    fmt: str | Callable[[Any], str] = "{:g}",
    start: Any = None,
    choices: Mapping[str, Any] | Sequence[str] | None = None,
    choice_label: str = "",
    caption: str = "",
    fine: int = 1,
    colors: int = 64,
    dpi: float = 160,
) -> Frames:
    """A slider over the figures ``fn(value)``: drawn beforehand, so that it also runs with no kernel.

    Args:
        fn: Draws one figure: ``fn(value)``, or ``fn(value, choice)`` where ``choices`` are given. Returns a
            matplotlib figure, made with `cfgtoy.plotting.subplots`, or the bytes of a PNG.
        values: What the slider runs over, in order; at least two. About a dozen keeps a page light.
        label: Name of the slider: ``"guidance weight w"``.
        alt: What the picture shows, for readers who do not see it: text, in which ``{value}`` and
            ``{choice}`` are replaced by what the controls say, or a function of the arguments of ``fn``.
        fmt: How a value is written beside the slider: a format string or a function.
        start: The value to start at; by default the first.
        choices: A second control: names, or names with the values to pass to ``fn``.
        choice_label: Name of the second control.
        caption: A line below the picture.
        fine: In JupyterLab, the number of steps between two neighbouring ``values``, which must then be
            numbers: those in between are drawn by the kernel when the slider stops there.
        colors: Colours of a frame's palette, 2 to 256.
        dpi: Pixels an inch of the figure; a page shows 100 of them an inch.

    Returns:
        The widget; as the last expression of a cell it is shown.

    Raises:
        ValueError: if there are fewer than two values, ``start`` is not among them, ``choices`` come without
            ``choice_label``, or ``fine`` is below 1.
    """
    if len(values) < 2:
        raise ValueError(f"values: got {len(values)}; a slider takes at least two")
    if start is not None and start not in values:
        raise ValueError(f"start: got {start!r}; it takes one of values")
    if choices is not None and not choice_label:
        raise ValueError("choice_label: got nothing; choices need a name for the control")
    if fine < 1:
        raise ValueError(f"fine: got {fine}; it takes an integer of at least 1")
    named = choices if isinstance(choices, Mapping) else {name: name for name in choices or ()}
    everywhere = _refine(list(values), fine)
    labels = [fmt(value) if callable(fmt) else fmt.format(value) for value in everywhere]
    options: list[tuple[str, tuple[Any, ...]]] = [(n, (v,)) for n, v in named.items()] or [("", ())]
    widths: list[int] = []

    def draw(choice: int, position: int) -> bytes:
        drawn = fn(everywhere[position], *options[choice][1])
        if isinstance(drawn, bytes):
            widths.append(_png_width(drawn))
            return drawn
        from ..plotting import to_png

        widths.append(round(drawn.get_size_inches()[0] * 100))
        return to_png(drawn, colors=colors, dpi=dpi)

    def describe(choice: int, position: int) -> str:
        name, extra = options[choice]
        if callable(alt):
            return alt(everywhere[position], *extra)
        return alt.replace("{value}", labels[position]).replace("{choice}", name)

    ready = {
        f"{choice},{position}": base64.b64encode(draw(choice, position)).decode()
        for choice in range(len(options))
        for position in range(0, len(everywhere), fine)
    }
    alts = [[describe(c, p) for p in range(len(everywhere))] for c in range(len(options))]
    first = 0 if start is None else list(values).index(start) * fine
    return Frames(
        draw,
        everywhere,
        label=label,
        labels=labels,
        alts=alts,
        alt=alts[0][first],
        choices=list(named),
        choice_label=choice_label,
        caption=caption,
        width=max(widths),
        stride=fine,
        position=first,
        frames=ready,
    )


def _refine(values: list[Any], fine: int) -> list[Any]:
    """``values`` with ``fine`` equal steps between neighbours."""
    if fine == 1:
        return values
    between = [a + (b - a) * k / fine for a, b in itertools.pairwise(values) for k in range(fine)]
    return [*between, values[-1]]


def _png_width(png: bytes) -> int:
    """The width in pixels, from the header of a PNG."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("fn: gave bytes that are not a PNG; it takes a figure or a PNG's bytes")
    return int.from_bytes(png[16:20], "big")
