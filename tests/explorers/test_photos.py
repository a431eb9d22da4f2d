"""The photographs' explorer in a static page from disk: what the student draws there is what Python draws.

How a page behaves is asked of small networks, ``small``; what the shipped ones draw, and what they cost, of those.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfgtoy import artifacts, guidance, samplers
from cfgtoy.explorers import PhotosExplorer, _networks, _noise, _weights
from cfgtoy.explorers.photos import STUDENT, TEACHER
from tests.explorers import small as networks
from tests.serving import served
from tests.waiting import eventually, resize, settle

browsing = pytest.mark.browser
Open = Callable[..., Any]

PIXELS = """widget => [...widget.querySelectorAll('.cx-pictures canvas')].map((c) => {
  const copy = new OffscreenCanvas(32, 32).getContext("2d", { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  return btoa(String.fromCharCode(...copy.getImageData(0, 0, 32, 32).data));
})"""
DONE = ".cx-stage[aria-busy=false]"
HERE = "in this page"
W = "guidance weight w, exact value"


def colours(texts: list[str]) -> np.ndarray:
    """What PIXELS found, (n, 32, 32, 3) in 0 … 255."""
    pixels = np.frombuffer(b"".join(map(base64.b64decode, texts)), np.uint8)
    return pixels.reshape(-1, 32, 32, 4)[..., :3].astype(float)


def pictures(page: Any, here: bool = True) -> np.ndarray:
    """The colours on screen, (20, 32, 32, 3) in 0 … 255, once all is drawn, `here` by the student."""
    if here:
        page.locator("td", has_text=HERE).wait_for()
    page.locator(DONE).wait_for()
    return colours(page.locator(".cfgtoy-widget").evaluate(PIXELS))


def truth(**settings: Any) -> np.ndarray:
    """What Python draws, in the same colours; several tests ask for the same sheet of the same networks."""
    return _truth(artifacts.data_folder(), **settings)


@functools.cache
def _truth(_: Path, **settings: Any) -> np.ndarray:
    *_, (_, _, x) = _networks.student_path(STUDENT, **wish(**settings))
    return ((x.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).numpy()


def wish(w: float = 1.0, y: int | None = None, seed: int = 0) -> dict[str, Any]:
    """The sheet, written down once more: five columns; each row of classes from one noise, then from the other."""
    rows = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]
    classes = [k for row in rows for k in row] if y is None else [y] * 20
    noises = [n for n in (0, 1, 0, 1) for _ in range(5)] if y is None else range(20)
    return {"w": w, "y": classes, "seeds": [20 * seed + n for n in noises]}


def off(ours: np.ndarray, **settings: Any) -> float:
    return float(np.abs(ours - truth(**settings)).mean())


def status(page: Any) -> str:
    return page.locator("[role=status]").inner_text()


def fill(page: Any, label: str, text: str) -> None:
    page.get_by_label(label).fill(text)
    page.keyboard.press("Enter")


def draw(page: Any) -> None:
    page.get_by_role("button", name="Draw these here").click()


@pytest.fixture(scope="module")
def small_explorer(small_folder: Path) -> PhotosExplorer:
    with networks.used(small_folder):
        return PhotosExplorer()


@pytest.fixture
def explorer(small: None, small_explorer: PhotosExplorer) -> PhotosExplorer:
    """With small networks."""
    return small_explorer


@pytest.fixture(scope="module")
def shipped() -> PhotosExplorer:
    return PhotosExplorer()


# -- what it shows -----------------------------------------------------------------------------------------


def first_three(page: Any) -> None:
    """Beforehand, here, and at another w."""
    assert off(pictures(page, here=False)) < 1
    draw(page)
    assert off(pictures(page)) < 1
    fill(page, W, "3.5")
    assert off(pictures(page), w=3.5) < 1


@browsing
def test_pictures_are_those_of_python(open_page: Open, explorer: PhotosExplorer) -> None:
    """Beforehand, here, and after each control was moved: within 2 of 255 on average, in truth within rounding."""
    page = open_page(explorer)
    first_three(page)
    page.get_by_role("button", name="New noise").click()
    assert off(pictures(page), w=3.5, seed=1) < 1
    page.get_by_label("class", exact=True).select_option(label="horse, twenty noises")
    ours = pictures(page)
    assert off(ours, w=3.5, seed=1, y=7) < 1
    assert page.get_by_role("button", name="horse, noise 20: show its path").count() == 1
    before = truth(w=3.5, seed=1)
    assert np.abs(ours[:2] - before[10:12]).mean() > 1
    fill(page, W, "9")
    assert off(pictures(page), w=4.0, seed=1, y=7) < 1
    assert "learned w from 0 to 4" in status(page)


@browsing
def test_pictures_of_the_shipped_student(open_page: Open, shipped: PhotosExplorer) -> None:
    first_three(open_page(shipped))


@browsing
def test_sketch_first_then_sharper(site: Any, explorer: PhotosExplorer) -> None:
    """Every picture is sketched before any is sharpened by a worker; each goes through its four levels in order."""
    note = """
    globalThis.heard = [];
    const Plain2 = Worker;
    globalThis.Worker = class extends Plain2 {
      constructor(...args) {
        super(...args);
        this.addEventListener("message", ({ data }) => {
          if ("step" in data) heard.push([this.k, data.step, data.picture]);
        });
        this.k = globalThis.workers = (globalThis.workers ?? 0) + 1;
      }
    };"""
    with site(explorer, page_script=note) as page:
        draw(page)
        pictures(page)
        heard = page.evaluate("heard")
    assert len(heard) == 80
    for worker in {worker for worker, _, _ in heard}:
        steps = [(step, picture) for one, step, picture in heard if one == worker]
        assert steps == sorted(steps)
        assert {step for step, _ in steps} == {0, 1, 2, 3}


@browsing
@pytest.mark.usefixtures("small")
def test_path_of_a_picture_by_keyboard(open_page: Open, explorer: PhotosExplorer) -> None:
    page = open_page(PhotosExplorer(w=2.0))
    ship = page.get_by_role("button", name="ship, noise 1: show its path")
    ship.focus()
    page.keyboard.press("Enter")
    assert ship.get_attribute("aria-pressed") == "true"
    strip = page.get_by_role("img", name="Estimates of the picture of class ship")
    strip.wait_for()
    shown = colours(strip.evaluate(PIXELS.replace(".cx-pictures canvas", "canvas")))
    how = {"w": 2.0, "y": [8], "seeds": [0]}
    for ours, (_, _, x) in zip(shown, _networks.student_path(STUDENT, **how), strict=True):
        assert np.abs(ours - ((x[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()).mean() < 1
    curve = page.locator(".cx-path .cx-plot canvas[aria-label*=ship]:not([aria-label*='—'])")
    curve.wait_for()
    words = curve.get_attribute("aria-label").partition(": ")[2]
    texts = re.findall(r"([\d.]+(?:e−\d+)?) at λ", words)
    pushes = [float(text.replace("−", "-")) for text in texts]
    levels = _networks.student_about(STUDENT)["grid"]  # the curve is in x̂: a change of ε̂ there, times σ/α
    want = [
        push.item() * math.exp(-lam / 2)
        for lam, push in zip(levels, _networks.student_push(STUDENT, **how), strict=True)
    ]
    assert pushes == pytest.approx(want, abs=0.006, rel=0.02)
    ship.click()
    assert page.locator(".cx-path").is_hidden()


@browsing
@pytest.mark.usefixtures("small")
def test_link_carries_the_setting(open_page: Open) -> None:
    page = open_page(PhotosExplorer())
    fill(page, W, "2.5")
    page.get_by_role("button", name="New noise").click()
    page.get_by_label("class", exact=True).select_option(label="dog, twenty noises")
    page.get_by_role("button", name="dog, noise 8: show its path").click()
    link = page.evaluate("location.hash")
    assert link == "#photos?w=2.5&seed=1&y=5&pick=7"
    again = open_page(PhotosExplorer(), hash=link)
    assert off(pictures(again), w=2.5, seed=1, y=5) < 1
    assert again.locator(".cx-path").is_visible()


@browsing
def test_saved_picture(open_page: Open, explorer: PhotosExplorer) -> None:
    page = open_page(explorer)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    assert download.value.suggested_filename == "photos.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


# -- how it behaves ----------------------------------------------------------------------------------------


@browsing
@pytest.mark.usefixtures("small")
def test_every_control_is_labelled_and_axe_finds_nothing(open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(PhotosExplorer(pick=4))
    pictures(page)
    for control in page.locator(".cx input, .cx select").all():
        assert control.evaluate("c => c.labels?.[0]?.textContent || c.getAttribute('aria-label') || ''")
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        settle(page)
        found = axe.run(page).response["violations"]
        assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


@browsing
@pytest.mark.parametrize("width", [320, 390])
def test_narrow_windows(open_page: Open, explorer: PhotosExplorer, width: int) -> None:
    page = open_page(explorer, width=width, has_touch=True)
    page.locator(".cx-picture").nth(12).tap()
    pictures(page)
    assert page.locator(".cx-path").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@browsing
def test_pictures_keep_their_colours_in_the_dark(open_page: Open, explorer: PhotosExplorer) -> None:
    page = open_page(explorer)
    light = pictures(page, here=False)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    settle(page)
    assert (pictures(page, here=False) == light).all()
    for node in page.locator(".cx-picture").first.locator("xpath=ancestor-or-self::*").all():
        assert node.evaluate("n => getComputedStyle(n).filter") == "none"


@browsing
def test_weights_come_when_they_are_asked_for(site: Any, explorer: PhotosExplorer) -> None:
    asked: list[str] = []
    with site(explorer, asked=asked) as page:
        settle(page)
        assert "Drawn beforehand" in status(page)
        assert off(pictures(page, here=False)) < 1
        assert not [url for url in asked if "networks/" in url]
        fill(page, W, "2")
        assert off(pictures(page), w=2.0) < 1
        assert len([url for url in asked if "networks/" in url]) == 1
        assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


# In a worker, before its code: a run waits after its first sharpened picture until it is given up, or all are let go.
HELD = """{
  const pictures = new Map(), told = new Map(), gone = new Set(), held = [], { postMessage } = MessagePort.prototype;
  let running = null;
  addEventListener("message", ({ data: { run, cancel, y } }) => {
    if (run) pictures.set(run, y.length);
    if (cancel === undefined) return;
    gone.add(cancel);
    held.splice(0).forEach((go) => go());
  });
  const tell = self.postMessage;
  self.postMessage = (message) => {
    if ("step" in message) told.set(running = message.id, (told.get(message.id) ?? 0) + 1);
    tell.call(self, message);
  };
  MessagePort.prototype.postMessage = function (message) { // to itself, before it asks the network
    const go = () => postMessage.call(this, message), first = !(told.get(running) > pictures.get(running));
    first || gone.has(running) || gone.has(0) ? go() : held.push(go);
  };
}"""
LET_GO = """
const Held = Worker, all = [];
globalThis.letGo = () => all.forEach((worker) => worker.postMessage({ cancel: 0 }));
globalThis.Worker = class extends Held { constructor(...args) { super(...args); all.push(this); } };
"""


@browsing
def test_moving_w_cancels_what_runs(site: Any, explorer: PhotosExplorer) -> None:
    """w moves on when a first picture has been sharpened: what runs is given up, and the last one's pictures stay."""
    note = f"""{LET_GO}
    globalThis.sent = [];
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {{
      if (message.run) sent.push({{ run: message.run, w: message.w }});
      if (message.cancel) sent.push({{ cancel: message.cancel }});
      return post.call(this, message, ...rest);
    }};
    const Plain2 = Worker;
    globalThis.Worker = class extends Plain2 {{
      constructor(...args) {{
        super(...args);
        this.addEventListener("message", ({{ data }}) => {{ if (data.step === 1) globalThis.moveOn?.(); }});
      }}
    }};"""
    with site(explorer, page_script=note, worker=HELD) as page:
        page.evaluate(
            """() => {
              const slider = document.querySelector("input[type=range][id$='-w']");
              globalThis.moveOn = () => {
                const { w } = sent.findLast((message) => message.run), next = w + 0.5;
                if (next > 3) return letGo();
                if (Number(slider.value) !== w) return;
                slider.value = next;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
              };
            }"""
        )
        draw(page)
        page.wait_for_function("() => sent.some(({ w }) => w === 3)")
        assert off(pictures(page), w=3.0) < 1
        sent = page.evaluate("sent")
    runs = {message["run"]: message["w"] for message in sent if "run" in message}
    cancelled = {message["cancel"] for message in sent if "cancel" in message}
    assert set(runs.values()) == {1, 1.5, 2, 2.5, 3}
    for w in (1, 1.5, 2, 2.5):
        assert cancelled & {run for run, at in runs.items() if at == w}, f"w = {w} ran to its end"
    assert not cancelled & {run for run, at in runs.items() if at == 3}


@browsing
def test_reduced_motion_shows_whole_sheets_only(site: Any, explorer: PhotosExplorer) -> None:
    """Sketches, where motion is welcome, are seen while what follows them is held."""
    watch = """
    globalThis.looks = new Set();
    const put = CanvasRenderingContext2D.prototype.putImageData;
    CanvasRenderingContext2D.prototype.putImageData = function (image, ...args) {
      const name = this.canvas.closest(".cx-picture")?.getAttribute("aria-label");
      if (name?.startsWith("truck, noise 2")) looks.add(image.data.join());
      return put.call(this, image, ...args);
    };
    globalThis.sketches = 0;
    const Heard = Worker;
    globalThis.Worker = class extends Heard {
      constructor(...args) {
        super(...args);
        this.addEventListener("message", ({ data }) => { sketches += data.step === 0; });
      }
    };
    """
    counts = {}
    for motion in ("reduce", "no-preference"):
        with site(explorer, page_script=LET_GO + watch, worker=HELD, reduced_motion=motion) as page:
            fill(page, W, "3")
            page.wait_for_function("sketches === 20")
            settle(page)
            page.evaluate("letGo()")
            pictures(page)
            counts[motion] = page.evaluate("looks.size")
    assert counts["reduce"] == 2  # as drawn beforehand, and at w = 3
    assert counts["no-preference"] > 2


@browsing
def test_the_page_answers_while_it_draws(browser: Any, site: Any, shipped: PhotosExplorer) -> None:
    """No task of the main thread computes for 50 ms, from loading to the last picture, on a busy machine either."""
    with site(shipped) as page:
        settle(page)
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline", "__metadata"])
        draw(page)
        page.locator("td", has_text=HERE).wait_for()
        fill(page, W, "3")
        page.locator(DONE).wait_for()
        tasks = main_thread(browser.stop_tracing())
    assert len(tasks) > 100
    assert max(tasks) < 50


@browsing
def test_a_drag_over_http_and_again_offline(browser: Any, tmp_path: Path, explorer: PhotosExplorer) -> None:
    body = _weights.place(explorer.static_html(), tmp_path / "networks", "networks/")
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{body}')

    context = browser.new_context(viewport={"width": 390, "height": 1100})
    asked: list[str] = []
    with served(tmp_path) as address:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/page.html")
        draw(page)
        seen = [pictures(page)]
    context.set_offline(True)
    slider = page.get_by_label("guidance weight w", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    for share in (0.95, 0.05):
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=6)
        page.mouse.up()
        seen.append(pictures(page))
        assert np.abs(seen[-1] - seen[-2]).mean() > 1
        assert off(seen[-1], w=float(slider.input_value())) < 1
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    context.close()


# -- trouble -----------------------------------------------------------------------------------------------


def damage(folder: Path) -> None:
    """One letter of the base64 text."""
    file = folder / _weights.entry(STUDENT)["files"][0]
    text = file.read_text()
    at = len(text) // 2
    file.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])


@browsing
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"spoil": damage}, "its weights are damaged, their SHA-256 is not the one that was noted"),
        ({"spoil": lambda folder: [file.unlink() for file in folder.glob("*.js")]}, "not where this page looks"),
        ({"spoil": lambda folder: [file.write_text("half a lin") for file in folder.glob("*.js")]}, "damaged"),
        ({"worker": "WebAssembly.Memory = function () { throw new RangeError('out'); };"}, "not enough memory"),
        ({"worker": "throw new Error('no');"}, "the browser stopped the network’s worker"),
        ({"page_script": "globalThis.Worker = undefined;"}, "Worker"),
    ],
)  # fmt: skip
def test_one_clear_sentence_and_the_prepared_pictures(
    site: Any, explorer: PhotosExplorer, how: dict[str, Any], words: str
) -> None:
    with site(explorer, **how) as page:
        draw(page)
        page.get_by_role("status").filter(has_text="did not answer").wait_for()
        assert words in status(page)
        assert "drawn beforehand" in status(page)
        assert off(pictures(page, here=False)) < 1


@browsing
def test_one_sentence_where_there_is_no_webassembly(site: Any, explorer: PhotosExplorer) -> None:
    with site(explorer, worker="delete globalThis.WebAssembly;") as page:
        draw(page)
        page.get_by_role("status").filter(has_text="has no WebAssembly").wait_for()
        assert page.locator("td", has_text="JavaScript, in this page").is_visible()


@browsing
def test_some_workers_are_enough(site: Any, explorer: PhotosExplorer) -> None:
    """Where only one of several gets memory, that one draws all."""
    note = """
    Object.defineProperty(navigator, "hardwareConcurrency", { value: 3 });
    const Whole = Blob, trouble = "WebAssembly.Memory = function () { throw new RangeError('out'); };";
    globalThis.made = 0;
    globalThis.Blob = function (parts, how) { return new Whole(made++ ? [trouble, ...parts] : parts, how); };
    """
    with site(explorer, page_script=note) as page:
        draw(page)
        assert off(pictures(page)) < 1
        assert page.evaluate("made") == 3


# -- the teacher -------------------------------------------------------------------------------------------


SENT = """
globalThis.sent = [];
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  const { run, cancel, rule, w, y } = message;
  if (run ?? cancel) sent.push({ run, cancel, rule, w, y });
  return post.call(this, message, ...rest);
};"""
TAUGHT = "tr:has-text('seconds to its first sketch')"


def bring(page: Any) -> None:
    page.get_by_role("button", name="Bring the teacher").click()


def main_thread(trace: bytes) -> list[float]:
    """CPU time of the tasks of the page's main thread, in milliseconds."""
    events = json.loads(trace)["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return [
        e["tdur"] / 1000
        for e in events
        if e["name"] == "RunTask" and "tdur" in e and names.get((e["pid"], e["tid"])) == "CrRendererMain"
    ]


@browsing
@pytest.mark.slow
def test_the_teacher_on_demand(browser: Any, site: Any) -> None:
    """Nothing of it before the click; a sketch beside the student's; cancelled by a new w; one picture as in Python."""
    asked: list[str] = []
    parts = _weights.entry(TEACHER)["files"]
    with site(PhotosExplorer(), asked=asked, page_script=SENT) as page:
        page.set_default_timeout(120_000)
        button = page.get_by_role("button", name="Bring the teacher")
        assert "32.3 MB" in button.inner_text()
        assert re.search(r"about \d+ s an image", button.inner_text())
        draw(page)
        pictures(page)
        page.get_by_label("network").select_option(label="side by side")
        assert "not in the page yet" in status(page)
        assert off(pictures(page)) < 1
        assert not [url for url in asked if url.rpartition("/")[2] in parts]
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline", "__metadata"])
        bring(page)
        page.locator(TAUGHT).wait_for()
        tasks = main_thread(browser.stop_tracing())
        assert len(tasks) > 50
        assert max(tasks) < 50
        assert [url.rpartition("/")[2] for url in asked if "networks/cifar10-fd" in url] == parts
        assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)
        assert button.is_hidden()
        assert page.locator(".cx-picture:visible").count() == 20
        page.get_by_label("network").select_option(label="teacher, 18 levels")
        eventually(
            page, lambda: page.locator(".cx-picture:visible").count() == 10, "the student’s are still there"
        )
        fill(page, W, "2")
        page.wait_for_function("sent.some(({ rule, w }) => rule && w === 2)")
        page.get_by_label("network").select_option(label="student, 4 levels")
        page.get_by_role("button", name="frog, noise 1: show its path").click()
        page.get_by_role("img", name="The same by the teacher: class frog").wait_for()
        page.locator(DONE).wait_for()
        strip = page.get_by_role("img", name="The same by the teacher: class frog")
        shown = colours(strip.evaluate(PIXELS.replace(".cx-pictures canvas", "canvas")))
        words = page.locator(".cx-path .cx-plot canvas").get_attribute("aria-label")
        sent = page.evaluate("sent")
        resize(page, 320, 900)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    told = list(_networks.teacher_path(TEACHER, w=2.0, y=[6], seeds=[0], sampler="dpm++2m"))
    for ours, at in ((shown[0], 0), (shown[-1], -1)):
        x = ((told[at][1][0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
        assert np.abs(ours - x).mean() <= 2
    most = max(push.item() * math.exp(-lam / 2) for lam, _, push in told)
    assert float(re.search(r"at most (\d+\.\d+)", words).group(1)) == pytest.approx(most, abs=0.006)  # type: ignore[union-attr]
    runs = {message["run"]: message for message in sent if message.get("rule")}
    cancelled = {message["cancel"] for message in sent if message.get("cancel")}
    tens = {run for run, message in runs.items() if len(message["y"]) > 1}
    assert {runs[run]["w"] for run in tens} == {1, 2}
    assert tens <= cancelled
    assert [message["y"] for run, message in runs.items() if run not in cancelled] == [[6]]


def harm(folder: Path) -> None:
    """One letter in the third part of the teacher."""
    file = folder / _weights.entry(TEACHER)["files"][2]
    text = file.read_text()
    at = len(text) // 2
    file.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])


FULL = "WebAssembly.Memory.prototype.grow = () => { throw new RangeError('out'); };"  # the student has room enough


@browsing
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"spoil": harm}, "its weights are damaged, their SHA-256 is not the one that was noted"),
        ({"spoil": lambda to: (to / _weights.entry(TEACHER)["files"][1]).unlink()}, "not where this page looks"),
        ({"worker": FULL}, "this device has not enough memory for the network"),
    ],
    ids=["damaged", "missing", "memory"],
)  # fmt: skip
def test_the_student_stays_where_the_teacher_does_not_come(
    site: Any, explorer: PhotosExplorer, how: dict[str, Any], words: str
) -> None:
    with site(explorer, **how) as page:
        bring(page)
        page.get_by_role("status").filter(has_text="The teacher did not come").wait_for()
        assert words in status(page)
        assert "The student stays" in status(page)
        assert off(pictures(page)) < 1
        fill(page, W, "3")
        assert off(pictures(page), w=3.0) < 1
        assert page.get_by_role("button", name="Bring the teacher").is_visible()


# -- Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("w", -0.1),
        ("w", float("nan")),
        ("seed", -1),
        ("y", 10),
        ("y", -1),
        ("pick", 20),
        ("backend", "gpu"),
        ("network", "weak"),
        ("sampler", "heun"),
    ],
)
def test_bad_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, takes "):
        PhotosExplorer(**{name: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("y", [None, 6])
def test_what_python_wants_drawn(y: int | None) -> None:
    assert PhotosExplorer(w=2.0, y=y, seed=3).wish() == wish(w=2.0, y=y, seed=3) | {"w": 2.0}


def test_output_holds_no_weights_and_no_address(shipped: PhotosExplorer) -> None:
    data, metadata = shipped._repr_mimebundle_()
    assert metadata["image/png"]["alt"]
    fragment = re.sub(r'src="data:[^"]*"', "", data["text/html"])
    assert f'data-weights="{STUDENT} {TEACHER}"' in fragment
    assert "http" not in fragment
    assert len(fragment) < 265_000


def test_script_fits_and_is_the_shipped_file(tmp_path: Path) -> None:
    """The student in one script; the teacher in several, joined the same bytes."""
    _weights.place(f'<div data-weights="{TEACHER}"></div>', tmp_path / "teacher", "n/")
    entry, joined = _weights.entry(TEACHER), b""
    for name in entry["files"]:
        assert (tmp_path / "teacher" / name).stat().st_size <= 12_000_000
        joined += base64.b64decode((tmp_path / "teacher" / name).read_text().split('"')[-2])
    assert hashlib.sha256(joined).hexdigest() == entry["sha256"] == artifacts.manifest()[TEACHER]["sha256"]
    assert len(joined) == entry["bytes"]
    _weights.place(f'<div data-weights="{STUDENT}"></div>', tmp_path, "n/")
    (file,) = tmp_path.glob("cifar10-*.js")
    assert file.stat().st_size <= 12_000_000
    about, shipped = (
        json.loads((tmp_path / "manifest.json").read_text())[STUDENT],
        artifacts.manifest()[STUDENT],
    )
    assert about["sha256"] == shipped["sha256"]
    tensors = artifacts.load(STUDENT).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


@pytest.mark.usefixtures("small")
def test_images_from_the_browser_can_be_observed() -> None:
    made, seen = PhotosExplorer(), []
    assert made.images is None
    made.observe(lambda change: seen.append(change["new"].shape), "images")
    x = torch.randn(20, 3, 32, 32)
    made.set_state({"_images": memoryview(x.numpy().tobytes())})
    assert torch.equal(made.images, x)
    assert seen == [(20, 3, 32, 32)]


@pytest.mark.usefixtures("small")
def test_the_kernel_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sent = PhotosExplorer(), []
    monkeypatch.setattr(made, "send", lambda content, buffers=None: sent.append((content, buffers)))
    made._handle_custom_msg({"id": 7, "weights": STUDENT}, [])
    assert sent[0][0] == {"id": 7}
    assert hashlib.sha256(sent[0][1][0]).hexdigest() == artifacts.manifest()[STUDENT]["sha256"]
    how = {"w": 2.0, "y": [3, 5], "seeds": [1, 1]}
    made._handle_custom_msg({"id": 8, "draw": how}, [])
    levels = torch.frombuffer(bytearray(sent[1][1][0]), dtype=torch.float32).reshape(4, 1 + 2 * 3072)
    for level, (lam, _, x) in zip(levels, _networks.student_path(STUDENT, **how), strict=True):
        assert level[0].item() == pytest.approx(lam)
        torch.testing.assert_close(level[1:], x.flatten())
    made._handle_custom_msg({"id": 9, "push": {"w": 2.0, "y": [3], "seeds": [1]}}, [])
    pushes = torch.frombuffer(bytearray(sent[2][1][0]), dtype=torch.float32)
    torch.testing.assert_close(pushes, torch.cat(_networks.student_push(STUDENT, w=2.0, y=[3], seeds=[1])))
    made._handle_custom_msg({"id": 10, "weights": "../../etc/passwd"}, [])
    assert "takes" in sent[3][0]["message"]
    how = {"w": 2.0, "y": [3], "seeds": [1], "sampler": "ddim"}
    made._handle_custom_msg({"id": 11, "teach": how}, [])
    levels = torch.frombuffer(bytearray(sent[4][1][0]), dtype=torch.float32).reshape(18, 1 + 3072 + 1)
    model, grid = artifacts.load_denoiser(TEACHER), torch.tensor(_networks.teacher_about(TEACHER)["grid"])
    z, y = _noise.normal(3072, 1).reshape(1, 3, 32, 32), torch.tensor([3])
    torch.testing.assert_close(levels[:, 0], grid)
    with torch.no_grad():
        first = 2.0 * (model(z, grid[0], y).eps - model(z, grid[0], None).eps)
        x = samplers.sample(
            guidance.classifier_free(model, w=2.0), y, shape=(1, 3, 32, 32), z=z, grid=grid, method="ddim"
        )
    assert levels[0, -1].item() == pytest.approx(first.square().mean().sqrt().item(), rel=1e-3)
    torch.testing.assert_close(levels[-1, 1:-1], x.flatten(), rtol=1e-3, atol=1e-3)


def test_push_is_the_difference_of_two_answers() -> None:
    student = artifacts.load_student(STUDENT)
    for (lam, z, _), push in zip(
        _networks.student_path(STUDENT, w=3.0, y=[2], seeds=[9]),
        _networks.student_push(STUDENT, w=3.0, y=[2], seeds=[9]),
        strict=True,
    ):
        with torch.no_grad():
            gap = (
                student(z, torch.tensor(lam), torch.tensor([2]), w=3.0).eps
                - student(z, torch.tensor(lam), torch.tensor([2])).eps
            )
        torch.testing.assert_close(push, gap.square().mean((1, 2, 3)).sqrt(), rtol=1e-3, atol=1e-5)
