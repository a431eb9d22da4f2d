"""The book's one figure style.

Colours are told apart by colour-blind readers, each class also has a marker of its own, the background is transparent,
and the ink is a grey that reads on white and on black.
"""

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import _checks
from ._extras import needs

with needs("explorers"):
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler
    from matplotlib.ticker import MaxNLocator
    from PIL import Image

INK = "#707070"
"""Axes, ticks and text: 4.9:1 on white, 3.8:1 on #121212 (the book's pages lighten figures in dark mode)."""

# blue, vermilion, green, purple, orange, sky, grey for the palette's black, its yellow darkened to show on white
class_colors = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c", "#b3a100")
"""Okabe and Ito's palette [Okabe & Ito 2008], in the order in which classes take them."""

_MARKERS = "o^sDvPX*"
_PIXELS_PER_INCH = 100  # of the page; the image has twice as many
_Extent = float | tuple[float, float, float, float]


def use_style() -> None:
    """Set matplotlib's defaults to the book's style. Call once, at the top of a chapter."""
    mpl.rc("axes", edgecolor=INK, facecolor="none", prop_cycle=cycler(color=class_colors))
    mpl.rc("axes", labelcolor=INK, labelsize=11, titlecolor=INK, titlesize=11)
    mpl.rc("axes.spines", right=False, top=False)
    mpl.rc("xtick", color=INK, labelsize=10)
    mpl.rc("ytick", color=INK, labelsize=10)
    mpl.rc("figure", dpi=_PIXELS_PER_INCH, facecolor="none", figsize=(4.8, 3.2))
    mpl.rc("figure.constrained_layout", use=True)
    mpl.rc("font", size=11)
    mpl.rc("grid", alpha=0.25, color=INK)
    mpl.rc("image", cmap="viridis")
    mpl.rc("legend", fontsize=10, frameon=False, labelcolor=INK)
    mpl.rc("lines", linewidth=2.0)
    mpl.rc("savefig", dpi=2 * _PIXELS_PER_INCH, facecolor="none")
    mpl.rc("text", color=INK)


def subplots(columns: int = 1, rows: int = 1, *, size: tuple[float, float] | None = None, **more: Any) -> Any:
    """Figure and axes by `matplotlib.pyplot.subplots`, which gets ``more``, in sizes whose text reads on a phone.

    Args:
        columns, rows: Panels side by side, 1 to 3 or a ``ValueError``, and above each other.
        size: Width and height of the whole figure in inches, 100 page pixels each. By default 4.8 × 3.2 for
            one panel, and panels of about 2.1 × 2.4 or 2.9 × 2.9 otherwise.
    """
    sizes = {1: (4.8, 3.2), 2: (5.8, 2.9), 3: (6.4, 2.45)}
    width, height = sizes[_checks.one_of("columns", columns, sizes)]
    return plt.subplots(rows, columns, figsize=size or (width, height * rows), layout="constrained", **more)


def grid_points(extent: _Extent, n: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """A grid of ``n`` points a side: points (n², 2), float32, rows of constant y one after the other; its n x; its n y.

    ``extent`` is half the side of a square about the origin, or ``(x0, x1, y0, y1)``.
    """
    x0, x1, y0, y1 = (-extent, extent, -extent, extent) if isinstance(extent, int | float) else extent
    xs, ys = torch.linspace(x0, x1, n), torch.linspace(y0, y1, n)
    return torch.cartesian_prod(ys, xs).flip(1), xs.numpy(), ys.numpy()


@torch.no_grad()
def density(
    ax: Axes,
    log_density: Callable[[Tensor], Tensor],
    *,
    extent: _Extent = 4.0,
    n: int = 160,
    color: str = class_colors[0],
    mass: Sequence[float] = (0.95, 0.8, 0.6, 0.4, 0.2),
    fill: bool = True,
) -> None:
    """Draw a 2-D density by the regions of highest density that hold given shares of its mass, counted on a grid.

    Args:
        log_density: Points ``(m, 2)`` to log density ``(m,)``, up to a constant.
        extent, n: The grid, as for `grid_points`.
        color, fill: One hue; regions, the denser the more opaque, or outlines.
        mass: Shares of the mass in (0, 1), the largest region first.

    Raises:
        ValueError: if ``log_density`` gives a shape other than ``(m,)``, or NaN.
    """
    points, xs, ys = grid_points(extent, n)
    values = log_density(points)  # (n*n,)
    _checks.require(values.shape == (n * n,), "log_density", values, f"a function that gives ({n * n},)")
    _checks.require(not values.isnan().any(), "log_density", "NaN", "numbers, −inf for a density of zero")
    p = torch.exp(values.double() - values.double().max()).reshape(n, n).numpy()  # highest is 1
    ranked = np.sort(p, axis=None)[::-1]
    held = np.cumsum(ranked) / ranked.sum()
    levels = sorted({float(ranked[min(int(np.searchsorted(held, m)), ranked.size - 1)]) for m in mass})
    if fill:
        for level in levels:  # one on another: no seams between them
            ax.contourf(xs, ys, p, levels=[level, 1.0 + 1e-9], colors=[(*to_rgb(color), 0.28)])
    else:
        ax.contour(xs, ys, p, levels=levels, colors=[color], linewidths=1.2)
    _square(ax, xs, ys)


def field(
    ax: Axes,
    vectors: Callable[[Tensor], Tensor],
    *,
    extent: _Extent = 4.0,
    n: int = 15,
    color: str = INK,
    longest: float | None = None,
) -> float:
    """Draw a 2-D vector field as arrows; returns the value of ``longest`` that was used.

    Args:
        vectors: Points ``(m, 2)`` to vectors ``(m, 2)``; a ``ValueError`` where it gives another shape.
        extent, n: The grid of arrows, as for `grid_points`.
        longest: The length that fills one grid step; longer arrows are cut to it. By default the 95th
            percentile of the lengths. Give one panel's value to the next for arrows that compare.
    """
    points, xs, ys = grid_points(extent, n)
    arrows = vectors(points).detach()  # (n*n, 2)
    _checks.require(arrows.shape == points.shape, "vectors", arrows, f"a function that gives ({n * n}, 2)")
    u = arrows.double().numpy()
    length = np.linalg.norm(u, axis=1)
    if longest is None:
        longest = max(float(np.quantile(length, 0.95)), 1e-12)
    step = 0.95 * float(xs[1] - xs[0])
    u = u * (step / np.maximum(length, longest))[:, None]
    units: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0}
    ax.quiver(*points.T.numpy(), *u.T, color=color, width=0.006, pivot="mid", **units)
    _square(ax, xs, ys)
    return longest


def scatter(
    ax: Axes,
    x: Tensor,
    y: Tensor | None = None,
    *,
    size: float = 6.0,
    alpha: float = 0.6,
    color: str | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Draw points; each class has its colour and its marker.

    Args:
        x: Points ``(n, 2)``.
        y: Classes ``(n,)``, int64; without them all points look alike.
        size, alpha: Area of a marker, in square points, and its opacity, 0 to 1.
        color, names: One colour for all, instead of the classes'; a legend entry for each class.

    Raises:
        ValueError: if ``x`` is not ``(n, 2)`` or ``y`` does not have n entries.
    """
    _checks.require(x.ndim == 2 and x.shape[1] == 2, "x", x, "(n, 2)")
    if y is not None:
        _checks.require(y.shape == x.shape[:1], "y", y, f"({len(x)},), one class a point")
    points = x.detach().cpu().numpy()
    classes = np.zeros(len(points), dtype=int) if y is None else y.detach().cpu().numpy()
    for c in np.unique(classes):
        mine = points[classes == c]
        ax.scatter(
            mine[:, 0], mine[:, 1], s=size, alpha=alpha, linewidths=0, zorder=2,
            color=color or class_colors[c % len(class_colors)], marker=_MARKERS[c % len(_MARKERS)],
            label=names[c] if names is not None else None,
        )  # fmt: skip
    if names is not None:
        ax.legend(markerscale=math.sqrt(36.0 / size), handletextpad=0.2)
    ax.set_aspect("equal")


def label(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes, with units, and the panel. What is left empty stays as it is."""
    texts = {"xlabel": x, "ylabel": y, "title": title}
    ax.set(**{name: text for name, text in texts.items() if text})


def show(fig: Figure, *, alt: str, colors: int = 256) -> None:
    """Show a figure in a notebook, with the text that stands for it where it cannot be seen, and close it.

    Args:
        fig, colors: As for `to_png`; 2 to 256 colours.
        alt: What a reader should take from it, in a sentence or two: the message, not "a plot of". A
            ``ValueError`` for fewer than four words.
    """
    with needs("explorers"):
        from IPython.display import display
    _checks.require(len(alt.split()) > 3, "alt", repr(alt), "a sentence that says what the figure shows")
    width = round(fig.get_size_inches()[0] * _PIXELS_PER_INCH)
    png = base64.b64encode(to_png(fig, colors=colors)).decode()
    about = {"image/png": {"alt": alt, "width": width}}
    display({"image/png": png, "text/plain": f"Figure: {alt}"}, metadata=about, raw=True)


def to_png(fig: Figure, *, colors: int = 256, dpi: float = 2 * _PIXELS_PER_INCH) -> bytes:
    """A figure as a small PNG, ``dpi`` pixels an inch, transparent, with a palette of ``colors``; the figure is closed.

    ``colors`` lies in [2, 256]; else a ``ValueError``.
    """
    _checks.require(2 <= colors <= 256, "colors", f"{colors}", "an integer from 2 to 256")
    raw, small = io.BytesIO(), io.BytesIO()
    size = int(fig.get_figwidth() * dpi), int(fig.get_figheight() * dpi)
    fig.savefig(raw, format="rgba", dpi=dpi, transparent=True)
    plt.close(fig)
    image = Image.frombuffer("RGBA", size, raw.getvalue(), "raw", "RGBA", 0, 1)
    few = image.quantize(colors, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(small, format="png", optimize=True)
    return small.getvalue()


def _square(ax: Axes, xs: np.ndarray, ys: np.ndarray) -> None:
    """Equal units on both axes, cut to the grid."""
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10]))
    ax.set(aspect="equal", xlim=xs[[0, -1]].tolist(), ylim=ys[[0, -1]].tolist())
