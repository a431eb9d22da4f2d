"""Networks in the page, in headless Chromium: how long pictures take, on the CPU and by WebGPU.

Run: ``python benchmarks/networks.py``. WebGPU is played by SwiftShader, on the CPU too; ``--adapter default`` takes the
machine's own graphics card.

One line a figure. ``seconds``: medians over several noises, from a setting to the last picture, as the page itself
shows them. A worker is one thread; the photographs' student runs in one a core, up to four, its teacher in up to
two. ``longest task``: of the page's main thread, from loading to the end, in milliseconds as the browser reports
them (nothing below 50).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from cfgtoy.explorers import DigitsExplorer, PhotosExplorer, _networks, _weights
from cfgtoy.explorers._bundle import modules
from cfgtoy.explorers._exact import JS
from cfgtoy.explorers.photos import TEACHER

FLAGS = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-webgpu"]
WATCH = """
globalThis.tasks = [0];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
"""
PLAIN = """
const Whole = Blob;
globalThis.Blob = function (parts, how) { return new Whole(["delete globalThis.WebAssembly;", ...parts], how); };
"""

WEBGPU = "globalThis.__cfgtoyWebGPU = true;"  # also where software plays it

# One picture at a time, from a wish to its first sketch and to the last; the first one waits for the weights too.
ONE = """async ([key, about, rounds, by]) => {
  const { Student } = globalThis.__cfgtoy[key], out = [];
  const model = { get: (name) => ({ live: false, folder: "n/" })[name] };
  let done;
  const student = new Student(model, about, () => student.shown?.whole && !student.busy && done());
  for (let i = 0; i <= rounds; i++) {
    await new Promise((go) => {
      done = go;
      student.want({ w: 1, y: [i % 10], seeds: [i] });
    });
    out.push([student.shown.first, student.shown.seconds]);
  }
  if (student.trouble) throw new Error(student.trouble);
  if (student.shown.by !== by) throw new Error(`drawn by ${student.shown.by}`);
  return out;
}"""

# The same for the teacher, one worker and then all pictures of its sheet.
TAUGHT = """async ([key, about, counts]) => {
  const { Teacher } = globalThis.__cfgtoy[key], out = [];
  const model = { get: (name) => ({ live: false, folder: "n/" })[name] };
  let done;
  const over = () => teacher.trouble || (teacher.shown?.whole && !teacher.busy);
  const teacher = new Teacher(model, about, () => over() && done());
  for (const [i, count] of counts.entries()) {
    await new Promise((go) => {
      done = go;
      const y = Array.from({ length: count }, (_, k) => (i + k) % 10);
      teacher.want({ w: 1, y, seeds: y.map(() => i), sampler: "dpm++2m" });
    });
    if (teacher.trouble) throw new Error(teacher.trouble);
    out.push([teacher.shown.first, teacher.shown.seconds]);
  }
  return out;
}"""

# From a product of matrices to a guided step of the CIFAR-10 U-Net, called on the page's own thread.
PRODUCT = """([keys, fast]) => {
  const { Memory } = globalThis.__cfgtoy[keys.memory], memory = new Memory({ fast }), [m, n, k] = [256, 256, 768];
  const [a, b, c] = [m * k, n * k, m * n].map((size) => memory.take(size)), times = [];
  for (let i = 0; i < 20; i++) {
    memory.f.fill(1, a, b + n * k);
    const from = performance.now();
    for (let j = 0; j < 5; j++) memory.gemm(a, k, m, 0, b, c, n, m, n, k);
    times.push((performance.now() - from) / 5);
  }
  return (2 * m * n * k) / 1e6 / Math.min(...times);
}"""
STEP = """async ([keys, by, rounds]) => {
  const text = Object.values(__cfgtoyWeights).join(""), { network } = globalThis.__cfgtoy[keys.guided];
  const { Memory } = globalThis.__cfgtoy[keys.webgpu], adapter = await navigator.gpu?.requestAdapter();
  const memory = by === "WebGPU" ? new Memory(await adapter.requestDevice()) : null;
  const how = { fast: by === "WebAssembly", memory };
  const { net } = network(globalThis.__cfgtoy[keys.weights].fromBase64(text), how);
  const z = new Float32Array(2 * 3 * 32 * 32).map((_, i) => Math.sin(i)), times = [];
  for (let i = 0; i < rounds + 1; i++) {
    const from = performance.now();
    await net.run(z, 1, [3, -1]);
    times.push((performance.now() - from) / 1000);
  }
  return times.slice(1);
}"""


def tell(what: str, limit: float | None = None, **figures: Any) -> None:
    print(json.dumps({"what": what, **figures, "limit": limit}, ensure_ascii=False), flush=True)


def digits(
    browser: Any, rule: str, rounds: int, script: str = "", network: str = "teacher", limit: float = 6.0
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = browser.new_page(viewport={"width": 1150, "height": 900})
        body = _weights.place(
            DigitsExplorer(rule=rule, network=network).static_html(), Path(folder) / "n", "n/"
        )
        (Path(folder) / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', "utf-8")
        page.add_init_script(WATCH + script)
        page.goto((Path(folder) / "page.html").as_uri())
        seconds, by = [], page.locator("tr", has_text="by").locator("td")
        by.wait_for()
        for _ in range(rounds):
            page.get_by_role("button", name="New noise").click()
            page.locator(".cx-stage[aria-busy=false]").wait_for()
            seconds.append(float(page.locator("tr", has_text="seconds").locator("td").inner_text()))
        tell(
            f"ten digits, {'4 levels, student' if network == 'student' else f'20 levels, {rule}'}, "
            f"by {by.inner_text().partition(',')[0]}",
            limit=limit,
            seconds=round(statistics.median(seconds), 2),
            **{"longest task": max(page.evaluate("tasks"))},
        )
        page.close()


def photos(browser: Any, key: str, rounds: int, script: str = "") -> None:
    """One picture, and a sheet of twenty, with the CIFAR-10 student."""
    by, limits = ("WebGPU", (None, None)) if script else ("WebAssembly", (0.6, 2.0))
    with tempfile.TemporaryDirectory() as folder:
        page = browser.new_page(viewport={"width": 1150, "height": 900})
        explorer = PhotosExplorer()
        body = _weights.place(explorer.static_html(), Path(folder) / "n", "n/")
        (Path(folder) / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', "utf-8")
        page.set_default_timeout(300_000)
        page.add_init_script(WATCH + script)
        page.goto((Path(folder) / "page.html").as_uri())
        about = _networks.student_about(explorer.about["network"])
        (loaded, _), *times = page.evaluate(ONE, [key, about, rounds, f"{by}, in this page"])
        sketch, whole = (statistics.median(column) for column in zip(*times, strict=True))
        tell(
            f"one CIFAR-10 image, student, its first sketch, by {by}",
            limit=limits[0],
            seconds=round(sketch, 3),
        )
        tell("the same, with loading and checking the weights", seconds=round(loaded, 2))
        tell("one CIFAR-10 image, student, all four looks", limit=limits[1], seconds=round(whole, 2))
        seconds, workers = [], 1 if script else page.evaluate("Math.min(navigator.hardwareConcurrency, 4)")
        for _ in range(rounds + 1):
            page.get_by_role("button", name="New noise").click()
            page.locator("td", has_text="in this page").wait_for()
            page.locator(".cx-stage[aria-busy=false]").wait_for()
            seconds.append(float(page.locator("tr", has_text="all twenty").locator("td").inner_text()))
        tell(
            f"twenty CIFAR-10 images, student, {workers} workers, by {by}",
            seconds=round(statistics.median(seconds[1:]), 2),
            **{"longest task": max(page.evaluate("tasks"))},
        )
        page.close()


def taught(browser: Any, key: str, rounds: int) -> None:
    """One picture, and a sheet of ten, with the CIFAR-10 teacher."""
    with tempfile.TemporaryDirectory() as folder:
        page = browser.new_page()
        body = _weights.place(PhotosExplorer().static_html(), Path(folder) / "n", "n/")
        (Path(folder) / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', "utf-8")
        page.add_init_script(WATCH)
        page.goto((Path(folder) / "page.html").as_uri())
        about = _networks.teacher_about(TEACHER)
        (loaded, _), *times = page.evaluate(TAUGHT, [key, about, [1] * (rounds + 1)])
        sketch, whole = (statistics.median(column) for column in zip(*times, strict=True))
        levels = len(about["grid"])
        tell("one CIFAR-10 image, teacher, its first sketch", seconds=round(sketch, 2))
        tell("the same, with loading and checking the weights", seconds=round(loaded, 2))
        tell(f"one CIFAR-10 image, teacher, {levels} levels of two looks", seconds=round(whole, 2))
        _, (sketch, whole) = page.evaluate(TAUGHT, [key, about, [10, 10]])
        tell(
            f"ten CIFAR-10 images, teacher, {min(page.evaluate('navigator.hardwareConcurrency'), 2)} workers",
            sketch=round(sketch, 2),
            seconds=round(whole, 1),
            **{"longest task": max(page.evaluate("tasks"))},
        )
        page.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="noises a figure")
    parser.add_argument(
        "--adapter", default="swiftshader", help="for WebGPU, as Chromium's --use-webgpu-adapter takes it"
    )
    rounds, adapter = (options := parser.parse_args()).rounds, options.adapter
    flags = [*FLAGS, f"--use-webgpu-adapter={adapter}"] + ["--disable-gpu"] * (adapter == "swiftshader")
    scripts = {part.key: part.script for path in sorted(JS.rglob("*.mjs")) for part in modules(path)}
    keys = {key.rpartition("-")[0]: key for key in scripts}
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        digits(browser, "classifier-free", rounds)
        digits(browser, "classifier", rounds)
        digits(browser, "classifier-free", rounds, PLAIN)
        digits(browser, "classifier-free", rounds, WEBGPU)
        digits(browser, "classifier-free", rounds, network="student", limit=0.5)
        photos(browser, keys["student"], rounds)
        photos(browser, keys["student"], 1, WEBGPU)
        taught(browser, keys["teacher"], rounds)
        parts = _weights.scripts("cifar10")
        for file, text in parts.items():
            (Path(folder) / file).write_text(text)
        tags = [
            *(f"<script>{text}</script>" for text in scripts.values()),
            *(f'<script src="{file}"></script>' for file in parts),
        ]
        (Path(folder) / "page.html").write_text("\n".join(tags), "utf-8")
        page = browser.new_page()
        page.goto((Path(folder) / "page.html").as_uri())
        for name in ("WebAssembly", "JavaScript"):
            rate = page.evaluate(PRODUCT, [keys, name == "WebAssembly"])
            tell(f"a product of matrices, 256 × 256 × 768, by {name}", **{"GFLOP/s": round(rate, 1)})
        for name in ("WebAssembly", "JavaScript", "WebGPU"):
            seconds = statistics.median(
                page.evaluate(STEP, [keys, name, 1 if name == "JavaScript" else rounds])
            )
            rate = 2 * 5.18 / seconds  # GFLOP of a look, counted by nets/unet.py's products
            tell(
                f"a guided step of one CIFAR-10 image, the teacher, by {name}",
                seconds=round(seconds, 2),
                **{"GFLOP/s": round(rate, 1)},
            )
        browser.close()


if __name__ == "__main__":
    main()
