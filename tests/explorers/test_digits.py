"""The digits explorer in a static page from disk: alive, honest about trouble, the same as Python's pictures.

How a page behaves is asked of small networks, ``small``; what the shipped ones draw, of those.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfgtoy import artifacts
from cfgtoy.explorers import DigitsExplorer, _weights
from tests.serving import served
from tests.waiting import settle

browsing = pytest.mark.browser
Open = Callable[..., Any]

PIXELS = """widget => [...widget.querySelectorAll('.cx-sheet:not([hidden]) canvas')].map((c) => {
  const copy = new OffscreenCanvas(8, 8).getContext("2d", { willReadFrequently: true });
  copy.drawImage(c, 0, 0);
  return [...copy.getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0);
})"""
DONE = ".cx-stage[aria-busy=false]"
W = "guidance weight w, exact value"


def pictures(page: Any) -> np.ndarray:
    """The grey values on screen, (n, 8, 8) in 0 … 255, once all is drawn."""
    page.locator(DONE).wait_for()
    return np.array(page.locator(".cfgtoy-widget").evaluate(PIXELS), float).reshape(-1, 8, 8)


def status(page: Any) -> str:
    return page.locator("[role=status]").inner_text()


def row(page: Any, name: str) -> str:
    return page.locator("tr", has_text=name).locator("td").inner_text()


def fill(page: Any, label: str, text: str) -> None:
    page.get_by_label(label).fill(text)
    page.keyboard.press("Enter")


@pytest.fixture
def explorer(small: None) -> DigitsExplorer:
    """With small networks."""
    return DigitsExplorer()


@pytest.fixture(scope="module")
def shipped() -> DigitsExplorer:
    return DigitsExplorer()


def truth(explorer: DigitsExplorer, **settings: Any) -> np.ndarray:
    how = {"w": 1.0, "steps": 20, "sampler": "dpm++2m", "seed": 0, "rule": "classifier-free"} | settings
    *_, (_, x, _) = explorer.path(**how)  # type: ignore[arg-type]
    return ((x[:, 0] + 1) * 127.5).clamp(0, 255).numpy()


# -- what it shows -----------------------------------------------------------------------------------------


@browsing
def test_pictures_are_those_of_python(open_page: Open, shipped: DigitsExplorer) -> None:
    """At the start, and after each control was moved: within 2 of 255 on average, in truth within rounding."""
    page = open_page(shipped)
    want: dict[str, Any] = {}

    def same() -> None:
        assert np.abs(pictures(page) - truth(shipped, **want)).mean() < 1

    same()
    assert row(page, "by") == "WebAssembly, in this page"
    for label, key, value in ((W, "w", 3.5), ("levels T, exact value", "steps", 4), (W, "w", -1.0)):
        fill(page, label, str(value))
        want[key] = value
        same()
    page.get_by_label("sampler").select_option(label="DDIM")
    want["sampler"] = "ddim"
    same()
    page.get_by_role("button", name="New noise").click()
    want["seed"] = 1
    same()
    page.get_by_label("guidance", exact=True).select_option(label="the noisy classifier’s")
    want["rule"] = "classifier"
    same()
    page.get_by_label("guidance", exact=True).select_option(label="both")
    both = pictures(page)
    rules = ("classifier-free", "classifier")
    assert (
        np.abs(both - np.concatenate([truth(shipped, **want | {"rule": rule}) for rule in rules])).mean() < 1
    )


@browsing
def test_plain_javascript_where_there_is_no_webassembly(
    browser: Any, explorer: DigitsExplorer, site: Any
) -> None:
    with site(explorer, worker="delete globalThis.WebAssembly;") as page:
        assert np.abs(pictures(page) - truth(explorer)).mean() < 1
        assert row(page, "by") == "JavaScript, in this page"


@browsing
def test_path_of_a_digit(open_page: Open, explorer: DigitsExplorer) -> None:
    page = open_page(DigitsExplorer(w=2.0))
    page.locator(DONE).wait_for()
    assert page.locator(".cx-path").is_hidden()
    three = page.get_by_role("button", name="3: show its path").first
    three.focus()
    page.keyboard.press("Enter")
    assert three.get_attribute("aria-pressed") == "true"
    strip = page.get_by_role("img", name="Estimates of the digit 3")
    shown = strip.evaluate(PIXELS.replace(".cx-sheet:not([hidden]) canvas", "canvas"))
    path = list(explorer.path(w=2.0, steps=20, sampler="dpm++2m", seed=0, rule="classifier-free"))
    at = [round(i * 19 / 9) for i in range(10)]
    estimates = np.stack([((path[step][1][3, 0] + 1) * 127.5).clamp(0, 255).numpy() for step in at])
    assert np.abs(np.array(shown, float).reshape(10, 8, 8) - estimates).mean() < 1
    words = page.locator(".cx-path .cx-plot canvas").get_attribute("aria-label")
    most = max(push[3].item() for _, _, push in path)
    assert float(re.search(r"at most ([\d.]+\d)", words)[1]) == pytest.approx(most, abs=0.01)  # type: ignore[index]
    three.click()
    assert page.locator(".cx-path").is_hidden()


@browsing
def test_student_alone_and_beside_its_teacher(open_page: Open, shipped: DigitsExplorer) -> None:
    page = open_page(DigitsExplorer(w=2.0, network="both"))
    student = functools.partial(truth, shipped, rule="student")
    both = np.concatenate([truth(shipped, w=2.0), student(w=2.0)])
    assert np.abs(pictures(page) - both).mean() < 1
    page.get_by_label("network").select_option(label="student, 4 levels")
    assert np.abs(pictures(page) - student(w=2.0)).mean() < 1
    assert row(page, "looks") == "4"
    assert page.get_by_label("sampler").is_hidden()
    page.get_by_label("network").select_option(label="side by side")
    assert np.abs(pictures(page) - both).mean() < 1
    page.get_by_role("button", name="6: show its path").last.click()
    page.locator(DONE).wait_for()
    strips = page.locator(".cx-strip")
    assert [strip.locator("canvas").count() for strip in strips.all()] == [10, 4]
    words = page.locator(".cx-path .cx-plot canvas").get_attribute("aria-label")
    most = max(
        push[6].item() for _, _, push in shipped.path(w=2.0, steps=20, sampler="ddim", seed=0, rule="student")
    )
    assert float(re.search(r"the student, at most ([\d.]+\d)", words)[1]) == pytest.approx(most, abs=0.01)  # type: ignore[index]
    fill(page, W, "6")
    both = np.concatenate([truth(shipped, w=6.0), student(w=4.0)])
    assert np.abs(pictures(page) - both).mean() < 1
    assert "learned w from 0 to 4" in status(page)


@browsing
def test_link_carries_the_setting(open_page: Open, explorer: DigitsExplorer) -> None:
    page = open_page(DigitsExplorer())
    fill(page, W, "2.5")
    page.get_by_role("button", name="New noise").click()
    page.get_by_role("button", name="7: show its path").first.click()
    link = page.evaluate("location.hash")
    assert link == "#digits?w=2.5&seed=1&pick=7"
    again = open_page(DigitsExplorer(), hash=link)
    assert np.abs(pictures(again) - truth(explorer, w=2.5, seed=1)).mean() < 1
    assert again.locator(".cx-path").is_visible()


@browsing
def test_absurd_weights(open_page: Open) -> None:
    page = open_page(DigitsExplorer(pick=2))
    page.locator(DONE).wait_for()
    for w in ("1e6", "-1e6", "1e300"):
        fill(page, W, w)
        settle(page)
        page.locator(DONE).wait_for()
        assert not re.search(r"NaN|Infinity|undefined", page.locator(".cfgtoy-widget").inner_text())


@browsing
@pytest.mark.usefixtures("small")
def test_saved_picture(open_page: Open) -> None:
    page = open_page(DigitsExplorer())
    page.locator(DONE).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    assert download.value.suggested_filename == "digits.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


# -- how it behaves ----------------------------------------------------------------------------------------


@browsing
@pytest.mark.usefixtures("small")
def test_every_control_is_labelled_and_axe_finds_nothing(open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(DigitsExplorer(rule="both", pick=4, w=2.0))
    page.locator(DONE).wait_for()
    for control in page.locator(".cx input, .cx select").all():
        assert control.evaluate("c => c.labels?.[0]?.textContent || c.getAttribute('aria-label') || ''")
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        settle(page)
        found = axe.run(page).response["violations"]
        assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


@browsing
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("width", [320, 390, 760])
def test_narrow_windows(open_page: Open, width: int) -> None:
    page = open_page(DigitsExplorer(rule="both", pick=4), width=width, has_touch=True)
    page.locator(DONE).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".cx-picture").nth(2).tap()
    assert page.locator(".cx-picture").nth(2).get_attribute("aria-pressed") == "true"


@browsing
@pytest.mark.usefixtures("small")
def test_pictures_keep_their_greys_in_the_dark(open_page: Open) -> None:
    page = open_page(DigitsExplorer())
    light = pictures(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert (pictures(page) == light).all()


@browsing
def test_moving_w_cancels_what_runs(site: Any, shipped: DigitsExplorer) -> None:
    """w moves on as soon as a whole run has begun: that run is given up, and the last one's pictures stay."""
    note = """
    globalThis.sent = [];
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {
      sent.push({ ...message, T: message.grid?.length });
      if (message.grid?.length === 20) setTimeout(() => globalThis.moveOn?.(message));
      return post.call(this, message, ...rest);
    };
    """
    with site(shipped, page_script=note) as page:
        page.locator("td", has_text="in this page").wait_for()
        page.locator(DONE).wait_for()
        page.evaluate(
            """() => {
              const slider = document.querySelector("input[type=range][id$='-w']");
              globalThis.moveOn = ({ w }) => {
                if (w >= 3) return;
                slider.value = w + 0.5;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
              };
              moveOn({ w: 1 });
            }"""
        )
        page.wait_for_function("() => sent.some(({ w, T }) => w === 3 && T === 20)")
        assert np.abs(pictures(page) - truth(shipped, w=3.0)).mean() < 1
        sent = page.evaluate("sent.map(({ run, cancel, w, T }) => ({ run, cancel, w, T }))")
    cancelled = {message["cancel"] for message in sent if message.get("cancel")}
    whole = [message for message in sent if message.get("T") == 20]
    assert [message["w"] for message in whole] == [1, 1.5, 2, 2.5, 3]
    assert [message["run"] in cancelled for message in whole] == [False, True, True, True, False]


@browsing
def test_reduced_motion_shows_whole_runs_only(site: Any, shipped: DigitsExplorer) -> None:
    watch = """
    globalThis.paints = 0;
    const put = CanvasRenderingContext2D.prototype.putImageData;
    CanvasRenderingContext2D.prototype.putImageData = function (...args) { paints++; return put.apply(this, args); };
    """
    counts = {}
    for motion in ("reduce", "no-preference"):
        with site(shipped, page_script=watch, reduced_motion=motion) as page:
            page.locator(DONE).wait_for()
            counts[motion] = page.evaluate("paints")
    assert counts["reduce"] < counts["no-preference"]


@browsing
def test_weights_come_when_the_explorer_is_seen(site: Any, explorer: DigitsExplorer) -> None:
    asked: list[str] = []
    with site(explorer, above='<div style="height: 3000px"></div>', asked=asked) as page:
        settle(page)
        assert not [url for url in asked if "networks/" in url]
        before = np.array(page.locator(".cfgtoy-widget").evaluate(PIXELS)).reshape(-1, 8, 8)
        assert np.abs(before - truth(explorer)).mean() < 1  # drawn beforehand
        page.locator(".cx").scroll_into_view_if_needed()
        page.locator("td", has_text="in this page").wait_for()
        assert len([url for url in asked if "networks/digits-" in url]) == 1
        page.get_by_label("guidance", exact=True).select_option(label="the noisy classifier’s")
        page.locator(DONE).wait_for()
        assert len([url for url in asked if "networks/digits-" in url]) == 2


@browsing
def test_a_drag_over_http_and_again_offline(browser: Any, tmp_path: Path, explorer: DigitsExplorer) -> None:
    body = _weights.place(explorer.static_html(), tmp_path / "networks", "networks/")
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{body}')

    context = browser.new_context(viewport={"width": 390, "height": 840})
    with served(tmp_path) as address:
        page = context.new_page()
        page.goto(f"{address}/page.html")
        page.locator("td", has_text="in this page").wait_for()
        seen = [pictures(page)]
    context.set_offline(True)
    slider = page.get_by_label("guidance weight w", exact=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    for share in (0.95, 0.2):
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=6)
        page.mouse.up()
        seen.append(pictures(page))
        assert np.abs(seen[-1] - seen[-2]).mean() > 2
        assert np.abs(seen[-1] - truth(explorer, w=float(slider.input_value()))).mean() < 1
    context.close()


# -- trouble -----------------------------------------------------------------------------------------------


def damage(folder: Path) -> None:
    """One letter of the base64 text."""
    file = folder / _weights.entry("digits")["files"][0]
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
    site: Any, explorer: DigitsExplorer, how: dict[str, Any], words: str
) -> None:
    with site(explorer, **how) as page:
        page.get_by_role("status").filter(has_text="did not answer").wait_for()
        assert words in status(page)
        assert "drawn beforehand" in status(page)
        assert status(page).count(".") <= 3
        assert np.abs(pictures(page) - truth(explorer)).mean() < 1


@browsing
@pytest.mark.usefixtures("small")
def test_a_fragment_with_no_weights_beside_it(browser: Any, tmp_path: Path) -> None:
    """As a notebook saved elsewhere shows it."""
    (tmp_path / "page.html").write_text(
        f'<!doctype html><meta charset="utf-8">{DigitsExplorer().static_html()}'
    )
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_role("status").filter(has_text="did not answer").wait_for()
    assert "not with this page" in status(page)
    page.close()


# -- Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("w", float("nan")), ("steps", 1), ("steps", 65), ("sampler", "ancestral"), ("seed", -1),
        ("rule", "apg"), ("network", "pupil"), ("pick", -1), ("pick", 10), ("backend", "gpu"),
    ],
)  # fmt: skip
def test_bad_values_are_named(shipped: DigitsExplorer, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, takes "):
        DigitsExplorer(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"^{name}: got .*, takes "):
        setattr(shipped, name, value)


def test_every_argument_is_a_synced_trait_with_its_default(shipped: DigitsExplorer) -> None:
    for name, parameter in inspect.signature(DigitsExplorer).parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert shipped.trait_metadata(name, "sync") is True
        assert getattr(shipped, name) == parameter.default


def test_output_holds_no_weights_and_no_address(shipped: DigitsExplorer) -> None:
    data, metadata = shipped._repr_mimebundle_()
    assert metadata["image/png"]["alt"]
    fragment = re.sub(r'src="data:[^"]*"', "", data["text/html"])
    assert 'data-network="digits"' in fragment
    assert "http" not in fragment
    assert len(fragment) < 170_000
    assert len(json.dumps(shipped.static_state())) < 4000


def test_scripts_are_the_shipped_files(tmp_path: Path) -> None:
    """What a page loads decodes to the file in data/, bit by bit; a manifest says so; the page learns the address."""
    page = _weights.place(
        '<div data-weights="digits digits-noisy-classifier digits-student"></div>', tmp_path / "n", "../n/"
    )
    assert page == '<div data-weights="../n/"></div>'
    shipped = artifacts.manifest()
    listed = json.loads((tmp_path / "n" / "manifest.json").read_text())
    assert set(listed) == {"digits", "digits-noisy-classifier", "digits-student"}
    (card,) = (tmp_path / "n").glob("webgpu-*.js")
    assert {about["webgpu"] for about in listed.values()} == {card.name}
    for name, about in listed.items():
        text = (tmp_path / "n" / about["files"][0]).read_text()
        raw = base64.b64decode(text.split('"')[-2])
        assert raw == (artifacts.data_folder() / shipped[name]["file"]).read_bytes()
        assert about["sha256"] == shipped[name]["sha256"] == hashlib.sha256(raw).hexdigest()
        assert about["bytes"] == len(raw)
        assert len(text) <= 1_200_000
    assert _weights.place("<p>", tmp_path / "none", "n/") == "<p>"
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("small")
def test_images_from_the_browser_can_be_observed() -> None:
    made, seen = DigitsExplorer(), []
    assert made.images is None
    made.observe(lambda change: seen.append(change["new"].shape), "images")
    x = torch.randn(10, 1, 8, 8)
    made.set_state({"_images": memoryview(x.numpy().tobytes())})
    assert torch.equal(made.images, x)
    assert seen == [(10, 1, 8, 8)]


@pytest.mark.usefixtures("small")
def test_the_kernel_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sent = DigitsExplorer(), []
    monkeypatch.setattr(made, "send", lambda content, buffers=None: sent.append((content, buffers)))
    made._handle_custom_msg({"id": 7, "weights": "digits"}, [])
    assert sent[0][0] == {"id": 7}
    assert hashlib.sha256(sent[0][1][0]).hexdigest() == artifacts.manifest()["digits"]["sha256"]
    how = {"w": 2.0, "steps": 3, "sampler": "ddim", "seed": 4, "rule": "classifier"}
    made._handle_custom_msg({"id": 8, "draw": how}, [])
    levels = torch.frombuffer(bytearray(sent[1][1][0]), dtype=torch.float32).reshape(3, 1 + 640 + 10)
    assert levels[:, 0].tolist() == [-9.0, 0.5, 10.0]
    *_, (_, x, push) = made.path(**how)  # type: ignore[arg-type]
    torch.testing.assert_close(levels[-1, 1:641], x.flatten())
    torch.testing.assert_close(levels[-1, 641:], push)
    made._handle_custom_msg({"id": 9, "weights": "../../etc/passwd"}, [])
    made._handle_custom_msg({"id": 10, "draw": how | {"steps": 0}}, [])
    assert "takes" in sent[2][0]["message"]
    assert "steps: got 0" in sent[3][0]["message"]


def test_the_seed_makes_the_noise(shipped: DigitsExplorer) -> None:
    a, b = (truth(shipped, steps=2, seed=seed) for seed in (0, 1))
    assert np.abs(a - b).mean() > 5
