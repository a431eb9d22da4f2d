"""The explorers' modules and pages in a headless Chromium."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfgtoy.explorers import StaticWidget, _weights
from cfgtoy.explorers._bundle import modules
from cfgtoy.explorers._exact import JS
from tests.explorers import small as networks
from tests.waiting import PATIENCE, settle

# The book's colours, as its theme names them, and JupyterLab's absence.
THEME = """
html[data-theme=light] { --pst-color-text-base: #222832; --pst-color-background: #ffffff; --pst-color-surface: #f3f4f5;
  --pst-color-border: #c9ccd1; --pst-color-primary: #0a7d91; }
html[data-theme=dark] { --pst-color-text-base: #ced6dd; --pst-color-background: #14181e; --pst-color-surface: #222832;
  --pst-color-border: #48566b; --pst-color-primary: #3fb1c5; }
body { background: var(--pst-color-background); color: var(--pst-color-text-base); margin: 8px; }
"""


# Numbers cross to a page and back as the text of their bytes: Playwright wraps each number of a list by itself.
CROSS = """
const opened = (value) => {
  if (Array.isArray(value)) return value.map(opened);
  if (!(value instanceof Object)) return value;
  if (!("base64" in value)) return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, opened(v)]));
  const text = atob(value.base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new globalThis[value.kind](bytes.buffer);
};
const packed = (value) => {
  if (Array.isArray(value)) return value.map(packed);
  if (value instanceof Float32Array || value instanceof Float64Array) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength), texts = [];
    for (let i = 0; i < bytes.length; i += 8192) texts.push(String.fromCharCode(...bytes.subarray(i, i + 8192)));
    return { kind: value.constructor.name, base64: btoa(texts.join("")) };
  }
  if (value?.constructor !== Object) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, packed(v)]));
};
"""
KINDS = {"Float32Array": np.float32, "Float64Array": np.float64}


def packed(value: Any) -> Any:
    """Every tensor of a nest of lists and dictionaries as what ``opened`` makes a typed array of."""
    if isinstance(value, torch.Tensor):
        array = value.detach().contiguous().numpy()
        kind = next(kind for kind, dtype in KINDS.items() if array.dtype == dtype)
        return {"kind": kind, "base64": base64.b64encode(array.tobytes()).decode()}
    if isinstance(value, dict):
        return {name: packed(part) for name, part in value.items()}
    return [packed(part) for part in value] if isinstance(value, list | tuple) else value


def opened(value: Any) -> Any:
    """Every typed array that ``packed`` has made a text of as an array."""
    if isinstance(value, list):
        return [opened(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"kind", "base64"}:
        return np.frombuffer(bytearray(base64.b64decode(value["base64"])), KINDS[value["kind"]])
    return {name: opened(part) for name, part in value.items()}


class Core:
    """The JavaScript modules in a browser: ``core("name of a module", "export", …)`` through ``run``."""

    def __init__(self, page: Any, scripts: dict[str, str]) -> None:
        self.page, self.scripts = page, list(scripts.values())
        self.keys = {key.rpartition("-")[0]: key for key in scripts}
        for script in self.scripts:
            page.add_script_tag(content=script)

    def run(self, script: str, **data: Any) -> Any:
        """Run the body of a function of ``m`` (the modules by name) and ``d`` (the data, tensors as typed arrays)."""
        with tempfile.NamedTemporaryFile("w", suffix=".js") as file:  # Playwright is slow with large texts
            file.write(f"globalThis.given = {json.dumps(packed(data))};")
            file.flush()
            self.page.add_script_tag(url=Path(file.name).as_uri())
        found = self.page.evaluate(
            f"async (keys) => {{ {CROSS} const m = Object.fromEntries(Object.entries(keys).map("
            f"([name, key]) => [name, globalThis.__cfgtoy[key]]));"
            f" return packed(await ((d) => {{ {script} }})(opened(given))); }}",
            self.keys,
        )
        return opened(found)


@pytest.fixture(scope="module")
def core(browser: Any) -> Core:
    """The modules that every explorer is made of, as the page runs them."""
    page = browser.new_page()
    page.goto(Path(__file__).as_uri())  # of a file, since a blank page loads none
    return Core(
        page,
        {part.key: part.script for path in sorted(JS.rglob("*.mjs")) for part in modules(path)},
    )


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``data/`` whose networks are small."""
    folder = tmp_path_factory.mktemp("data")
    networks.write(folder)
    return folder


@pytest.fixture
def small(small_folder: Path) -> Iterator[None]:
    """Small networks in the place of the shipped ones, in the page and in Python."""
    with networks.used(small_folder):
        yield


_STILLS: dict[Any, tuple[str, int]] = {}


def fragment(widget: StaticWidget) -> str:
    """``widget.static_html()``, the still image, which is soon replaced, drawn once for each state of a widget."""
    key = type(widget), json.dumps(widget.static_state(), sort_keys=True)
    if key not in _STILLS:
        _STILLS[key] = widget._picture()
    return widget._fragment(*_STILLS[key])


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open widgets as a static page from disk; at the end, no request went out and nothing was logged."""
    contexts, complaints = [], []

    def open_page(*widgets: StaticWidget, width: int = 1100, hash: str = "", **options: Any) -> Any:
        file = tmp_path / "page.html"
        body = "\n".join(map(fragment, widgets))
        body = _weights.place(body, tmp_path / "networks", "networks/")
        file.write_text(
            f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>Explorers</title>'
            f"<style>{THEME}</style></head><body><main><h1>Explorers</h1>{body}</main></body></html>",
            encoding="utf-8",
        )
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                complaints.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        page.goto(f"{file.as_uri()}{hash}")
        for n in range(len(widgets)):
            page.locator(".cfgtoy-widget[data-ready=true] canvas").nth(n).wait_for()
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, json.dumps(complaints, indent=1)


@pytest.fixture
def site(browser: Any, tmp_path: Path) -> Any:
    """``with site(widget, …) as page``: a page from disk, with scripts that make trouble in it or in its workers."""

    @contextmanager
    def site(
        widget: StaticWidget,
        *,
        above: str = "",
        page_script: str = "",
        worker: str = "",
        spoil: Callable[[Path], None] = lambda folder: None,
        asked: list[str] | None = None,
        said: list[str] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        folder = tmp_path / "networks"
        body = _weights.place(fragment(widget), folder, "networks/")
        spoil(folder)
        (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{above}{body}')
        context = browser.new_context(viewport={"width": 1100, "height": 1000}, **options)
        page = context.new_page()
        if asked is not None:
            page.on("request", lambda request: asked.append(request.url))
        if said is not None:
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
        page.add_init_script(
            f"const Plain = Blob; globalThis.Blob = function (parts, options) {{"
            f" return new Plain([{json.dumps(worker)}, ...parts], options); }}; {page_script}"
        )
        page.goto((tmp_path / "page.html").as_uri())
        page.locator(".cfgtoy-widget[data-ready=true]").wait_for()
        yield page
        context.close()

    return site


# A widget's model at the page's end, without JupyterLab.
MODEL = """([key, state]) => {
  const values = { ...state, live: true }, heard = {}, dirty = new Set();
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const text = (view) => btoa(Array.from(new Uint8Array(view.buffer), (b) => String.fromCharCode(b)).join(""));
  const fire = (event, ...what) => (heard[event] ?? []).forEach((listener) => listener(...what));
  const model = {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      dirty.add(name);
      fire(`change:${name}`);
    },
    on(event, listener) { (heard[event] ??= []).push(listener); },
    off() {},
    save_changes() {
      const sent = {};
      for (const name of dirty) sent[name] = values[name] instanceof DataView ? text(values[name]) : values[name];
      dirty.clear();
      toPython(sent);
    },
    async send(question) {
      const [message, buffers] = await askPython(question);
      fire("msg:custom", message, buffers.map(bytes));
    },
  };
  globalThis.__cfgtoy[key].default.render({ model, el: document.querySelector("main") });
}"""


@pytest.fixture
def open_live(browser: Any) -> Any:
    """Open a widget, its kernel this process: what the reader sets goes to it, and it answers the page's questions."""
    pages = []

    def open_live(widget: Any, *, address: str = "about:blank", script: str = "") -> Any:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        pages.append(page)

        def take(sent: dict[str, Any]) -> None:
            if "_images" in sent:
                sent["_images"] = memoryview(base64.b64decode(sent["_images"]))
            widget.set_state(sent)

        def answer(question: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
            answers: list[tuple[dict[str, Any], list[bytes]]] = []
            widget.send = lambda content, buffers: answers.append((content, buffers))
            widget._handle_custom_msg(question, [])
            ((content, buffers),) = answers
            return content, [base64.b64encode(buffer).decode() for buffer in buffers]

        page.expose_function("toPython", take)
        page.expose_function("askPython", answer)
        page.add_init_script(script)
        page.goto(address)
        page.set_content(f"<!doctype html><style>{widget._css}</style><main></main>")
        for part in widget._modules:
            page.add_script_tag(content=part.script)
        state = json.loads(json.dumps(widget.static_state()))
        page.evaluate(MODEL, [widget._modules[-1].key, state])
        page.locator(".cx canvas").first.wait_for()
        return page

    yield open_live
    for page in pages:
        page.close()
