"""Time from a slider's input to the drawn frame, in headless Chromium. Run: ``python benchmarks/explorers.py``.

``first_frame``: from asking for the page, a file of this explorer alone, to its drawn picture. Then two figures an
explorer, medians over many inputs. ``work``: an input event is dispatched at the start of a frame, as
the browser does for a drag, and the clock stops once every canvas has executed what was drawn on it (one pixel is read
back). ``presented``: real key presses, from the event's time stamp to the frame on the screen, as the browser itself
reports it (Event Timing, which rounds to 8 ms and includes the wait for the display's own 16.7 ms beat).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from cfgtoy import datasets
from cfgtoy.explorers import (
    FieldExplorer,
    ForwardExplorer,
    SamplingExplorer,
    StaticWidget,
    TemperatureExplorer,
    TradeoffExplorer,
    WeightExplorer,
)

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))

from browser import launched

LAYERS = ["conditional", "unconditional", "difference", "guided"]

WORK = """async ([key, count]) => {
  const range = document.querySelector(`input[type=range][id$="-${key}"]`), times = [];
  const canvases = [...document.querySelectorAll("canvas")].map((canvas) => canvas.getContext("2d"));
  const [lo, hi] = [Number(range.min), Number(range.max)];
  for (let i = 0; i < count + 5; i++) {
    await new Promise(requestAnimationFrame);
    await new Promise((next) => setTimeout(next, 4));  // let the frame's own callbacks run: the explorer is ready again
    const share = (i * 0.618034) % 1, from = performance.now();
    range.value = lo + (hi - lo) * share;
    range.dispatchEvent(new Event("input", { bubbles: true }));
    for (const context of canvases) context.getImageData(0, 0, 1, 1);
    if (i >= 5) times.push(performance.now() - from);
  }
  return times;
}"""

FIRST = """() => {
  document.querySelectorAll("canvas").forEach((canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1));
  return performance.now();  // since the page was asked for
}"""

OBSERVE = """() => {
  globalThis.seen = [];
  const note = (list) => seen.push(...list.getEntries().filter((e) => e.name === "keydown").map((e) => e.duration));
  new PerformanceObserver(note).observe({ type: "event", durationThreshold: 16, buffered: false });
}"""


def measure(browser: Any, widget: StaticWidget, key: str, count: int, scale: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(
            f'<!doctype html><meta charset="utf-8"><body>{widget.static_html()}', encoding="utf-8"
        )
        page = browser.new_page(
            viewport={"width": 1150, "height": 900}, device_scale_factor=scale, reduced_motion="reduce"
        )
        page.goto(file.as_uri())
        page.locator(".cfgtoy-widget[data-ready=true] canvas").first.wait_for()
        first = page.evaluate(FIRST)
        page.wait_for_timeout(800)
        work = page.evaluate(WORK, [key, count])
        page.evaluate(OBSERVE)
        page.locator(f'input[type=range][id$="-{key}"]').focus()
        for i in range(count):
            page.keyboard.press("ArrowRight" if i % 40 < 20 else "ArrowLeft")
        page.wait_for_timeout(200)
        seen = page.evaluate("seen")
        page.close()
    # Event Timing reports only what took 16 ms or more; the rest took less.
    presented = sorted([*seen, *[8.0] * max(0, count - len(seen))])
    return {
        "first_frame_ms": round(first),
        "work_median_ms": round(statistics.median(work), 2),
        "work_p95_ms": round(sorted(work)[int(0.95 * len(work))], 2),
        "presented_median_ms": statistics.median(presented),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="inputs a figure")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels per page pixel")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    cases: list[tuple[str, StaticWidget, str, float | None]] = [
        ("field, w", FieldExplorer(), "w", 16.0),
        ("field, λ, all layers", FieldExplorer(layers=LAYERS, density="tilted"), "lam", 16.0),
        ("sampling 4,000 × 64, ancestral, w", SamplingExplorer(), "w", 33.0),
        ("sampling 4,000 × 64, DDIM, w", SamplingExplorer(sampler="ddim"), "w", 33.0),
        ("sampling 4,000 × 64, Heun (two evaluations a step), w", SamplingExplorer(sampler="heun"), "w", None),
        ("sampling, ring of eight classes, w", SamplingExplorer(mixture=datasets.ring()), "w", None),
        ("forward, λ", ForwardExplorer(), "lam", None),
        ("temperature, T", TemperatureExplorer(), "temperature", None),
        ("trade-off, w", TradeoffExplorer(), "w", None),
        ("weight (front page), w", WeightExplorer(), "w", 16.0),
    ]  # fmt: skip
    with launched() as browser:
        for name, widget, key, limit in cases:
            if options.only not in name:
                continue
            figures = measure(browser, widget, key, options.count, options.scale)
            print(json.dumps({"what": name, **figures, "limit_ms": limit}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
