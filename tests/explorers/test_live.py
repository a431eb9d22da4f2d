"""The explorers with a kernel, their widget at the other end, in a page without JupyterLab."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from cfgtoy.explorers import ParticleExplorer, PhotosExplorer, SamplingExplorer
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.browser

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
    """Open a widget: what the reader sets goes to it, and it answers the page's questions."""
    pages = []

    def open_live(widget: Any) -> Any:
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


def made_of(widget: Any) -> dict[str, Any]:
    """A widget's settings, but for its words."""
    names = set(type(widget).__signature__.parameters) - {"controls", "question", "alt"}
    return {name: value for name, value in widget.static_state().items() if name in names}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SamplingExplorer, {"interval": [-1.0, 5.0], "y": 1}),
        (ParticleExplorer, {"z1": 1.5}),
        (ParticleExplorer, {"z1": 1.5, "twins": True}),
        (PhotosExplorer, {"network": "both"}),
    ],
)
def test_copied_python_makes_the_same_explorer(
    open_live: Callable[..., Any], kind: type, settings: dict[str, Any]
) -> None:
    widget = kind(**settings)
    page = open_live(widget)
    page.evaluate("navigator.clipboard = undefined")
    page.get_by_label("guidance weight w, exact value").fill("3.5")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy as Python").click()
    again = eval(page.get_by_label("Copy this text").input_value(), {kind.__name__: kind})
    eventually(page, lambda: widget.w == 3.5, "w did not reach Python")
    assert made_of(again) == made_of(widget)
