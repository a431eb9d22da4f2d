"""A slider over figures that Python draws: a trained net's samples, a table's curve, anything."""

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from .. import _checks, plotting
from ._static import StaticWidget


class Frames(StaticWidget):
    """The widget that `frames` makes.

    Its picture follows ``position`` and ``choice``, the indices of the slider's value and of the second control's.
    """

    module = Path(__file__).with_name("_frames.mjs")

    label, choice_label, caption = (traitlets.Unicode().tag(sync=True) for _ in range(3))
    labels, choices = (traitlets.List(traitlets.Unicode()).tag(sync=True) for _ in range(2))
    alts: Any = traitlets.List().tag(sync=True)
    width, position, choice = (traitlets.Int(0).tag(sync=True) for _ in range(3))
    stride = traitlets.Int(1).tag(sync=True)
    frames, received = (traitlets.Dict().tag(sync=True) for _ in range(2))

    def __init__(self, draw: Callable[[int, int], bytes], values: Sequence[Any], **traits: Any) -> None:
        super().__init__(**traits)
        self._draw, self._values = draw, list(values)
        self.observe(self._answer, ["position", "choice"])

    @property
    def value(self) -> Any:
        """The slider's value, as it was given."""
        return self._values[self.position]

    @property
    def _key(self) -> str:
        return f"{self.choice},{self.position}"

    def still(self) -> tuple[bytes, int]:
        """The frame on show, and its width."""
        return base64.b64decode(self._frame()), self.width

    def _picture(self) -> tuple[str, int]:
        return self._frame(), self.width

    def static_state(self) -> dict[str, Any]:
        """The traits; the frame that the still image shows is not carried twice."""
        return super().static_state() | {"frames": self.frames | {self._key: None}, "received": {}}

    def _frame(self) -> str:
        """The frame on show as base64, drawn if it is not among those drawn before."""
        return self.frames.get(self._key) or base64.b64encode(self._draw(self.choice, self.position)).decode()

    def _answer(self, change: Any) -> None:
        """Draw what the front end has not got."""
        if self._key not in self.frames:
            self.received = {self._key: self._frame()}


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
        fn: Draws one figure, of `cfgtoy.plotting.subplots` or as the bytes of a PNG, for a value, and a choice if any.
        values: What the slider runs over, in order; at least two. About a dozen keeps a page light.
        label, caption: Name of the slider, ``"guidance weight w"``, and a line below the picture.
        alt: What the picture shows, for readers who do not see it: text, in which ``{value}`` and
            ``{choice}`` are replaced by what the controls say, or a function of the arguments of ``fn``.
        fmt, start: How a value is written, a format string or a function; the value to start at, by default the first.
        choices, choice_label: A second control, names, or names with the values to pass to ``fn``; and its own name.
        fine: In JupyterLab, steps from one of the ``values`` (numbers, then) to the next; the kernel draws at a stop.
        colors, dpi: Colours of a frame's palette, 2 to 256; pixels an inch, of which a page shows 100.

    A ``ValueError`` for fewer than two values, a ``start`` not among them, ``choices`` without ``choice_label``, or
    ``fine`` below 1.
    """
    _checks.require(len(values) > 1, "values", f"{len(values)}", "at least two for a slider")
    _checks.require(start is None or start in values, "start", repr(start), "one of values")
    _checks.require(choices is None or choice_label, "choice_label", "nothing", "a name for the control")
    _checks.positive_int("fine", fine)
    named = choices if isinstance(choices, Mapping) else {name: name for name in choices or ()}
    options: list[tuple[str, tuple[Any, ...]]] = [(n, (v,)) for n, v in named.items()] or [("", ())]
    everywhere = list(values)
    if fine > 1:
        steps = itertools.product(itertools.pairwise(values), range(fine))
        everywhere = [*(a + (b - a) * k / fine for (a, b), k in steps), values[-1]]
    labels = [fmt(value) if callable(fmt) else fmt.format(value) for value in everywhere]
    widths: list[int] = []

    def draw(choice: int, position: int) -> bytes:
        drawn = fn(everywhere[position], *options[choice][1])
        if not isinstance(drawn, bytes):
            widths.append(round(drawn.get_size_inches()[0] * 100))
            return plotting.to_png(drawn, colors=colors, dpi=dpi)
        if drawn[:8] != b"\x89PNG\r\n\x1a\n":
            raise ValueError("fn: gave bytes that are not a PNG, takes a figure or a PNG's bytes")
        widths.append(int.from_bytes(drawn[16:20], "big"))
        return drawn

    def describe(position: int, name: str, extra: tuple[Any, ...]) -> str:
        if callable(alt):
            return alt(everywhere[position], *extra)
        return alt.replace("{value}", labels[position]).replace("{choice}", name)

    places = itertools.product(range(len(options)), range(0, len(everywhere), fine))
    ready = {f"{c},{i}": base64.b64encode(draw(c, i)).decode() for c, i in places}
    alts = [[describe(position, *option) for position in range(len(everywhere))] for option in options]
    first = 0 if start is None else list(values).index(start) * fine
    told = {"label": label, "choice_label": choice_label, "caption": caption, "alt": alts[0][first]}
    lists = {"labels": labels, "choices": list(named), "alts": alts, "frames": ready}
    return Frames(draw, everywhere, width=max(widths), stride=fine, position=first, **told, **lists)
