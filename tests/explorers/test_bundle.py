"""Modules joined by text behave as the modules they were; what is not understood is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfgtoy.explorers._bundle import BundleError, as_es_module, modules

FILES = {
    "leaf.mjs": "export const two = 2;\nexport function twice(x) {\n  return two * x;\n}\nexport default 'leaf';\n",
    "deep/side.mjs": "import name, { } from '../leaf.mjs';\n".replace(", { }", "")
    + 'import * as leaf from "../leaf.mjs";\nexport class Side {\n  get() { return [name, leaf.twice(3)]; }\n}\n',
    "entry.mjs": 'import {\n  two as deux,\n  twice,\n} from "./leaf.mjs";\nimport { Side } from "./deep/side.mjs";\n'
    "const hidden = () => twice(deux);\nexport { hidden as shown, deux };\nexport async function later() {}\n"
    'export default { answer: hidden(), side: new Side().get(), closing: "</script>" };\n',
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "entry.mjs"


@pytest.mark.browser
def test_bundle_runs_as_the_modules_would(browser: Any, tmp_path: Path) -> None:
    parts = modules(write(tmp_path, FILES))
    page = browser.new_page()
    for part in parts:
        page.add_script_tag(content=part.script)
    entry = page.evaluate("key => globalThis.__cfgtoy[key]", parts[-1].key)
    assert entry["default"] == {"answer": 4, "side": ["leaf", 6], "closing": "</script>"}
    assert sorted(entry) == ["default", "deux", "later", "shown"]
    module = page.evaluate(
        """async (text) => {
            const address = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
            return (await import(address)).default;
        }""",
        as_es_module(parts),
    )
    assert module == entry["default"]
    page.close()


@pytest.mark.browser
def test_a_worker_runs_from_its_text(browser: Any, tmp_path: Path) -> None:
    """A module imported as `?worker` is text; in a worker it runs with all its imports, and is handed `self`."""
    worker = (
        'import { twice } from "./leaf.mjs";\n'
        "export default (self) => { self.onmessage = ({ data }) => self.postMessage(twice(data)); };\n"
    )
    entry = 'import text from "./ask.mjs?worker";\nexport default text;\n'
    parts = modules(write(tmp_path, {**FILES, "ask.mjs": worker, "entry.mjs": entry}))
    assert [part.key.rpartition("-")[0] for part in parts] == ["entry"]
    page = browser.new_page()
    page.add_script_tag(content=parts[-1].script)
    answer = page.evaluate(
        """key => new Promise((resolve) => {
            const blob = new Blob([globalThis.__cfgtoy[key].default], { type: "text/javascript" });
            const worker = new Worker(URL.createObjectURL(blob));
            worker.onmessage = ({ data }) => resolve(data);
            worker.postMessage(21);
        })""",
        parts[-1].key,
    )
    assert answer == 42
    page.close()
    write(tmp_path, {"leaf.mjs": FILES["leaf.mjs"].replace("= 2", "= 3")})
    assert modules(tmp_path / "entry.mjs")[-1].key != parts[-1].key


def test_each_module_comes_once_and_after_its_imports(tmp_path: Path) -> None:
    names = [part.key.rpartition("-")[0] for part in modules(write(tmp_path, FILES))]
    assert names == ["leaf", "side", "entry"]


def test_scripts_do_not_end_the_page(tmp_path: Path) -> None:
    assert all("</script" not in part.script for part in modules(write(tmp_path, FILES)))


def test_key_changes_with_what_is_imported(tmp_path: Path) -> None:
    before = modules(write(tmp_path, FILES))[-1].key
    (tmp_path / "leaf.mjs").write_text(FILES["leaf.mjs"].replace("= 2", "= 3"))
    after = modules(tmp_path / "entry.mjs")[-1].key
    assert before != after


@pytest.mark.parametrize(
    "line",
    [
        "export let x = 1;",
        "export const { a } = {};",
        'export * from "./leaf.mjs";',
        'import x from "package";',
        'const later = import("./leaf.mjs");',
        "const here = import.meta.url;",
        'import text from "./leaf.mjs?raw";',
        'import { two } from "./leaf.mjs?worker";',
    ],
)
def test_other_forms_are_refused(line: str, tmp_path: Path) -> None:
    entry = write(tmp_path, {**FILES, "entry.mjs": f"{line}\n"})
    with pytest.raises(BundleError, match=r"entry\.mjs"):
        modules(entry)


def test_circles_and_missing_files_are_refused(tmp_path: Path) -> None:
    entry = write(
        tmp_path,
        {"entry.mjs": 'import { a } from "./a.mjs";\n', "a.mjs": 'import { b } from "./entry.mjs";\n'},
    )
    with pytest.raises(BundleError, match=r"entry.mjs → a.mjs"):
        modules(entry)
    with pytest.raises(BundleError, match=r"gone.mjs: imported by entry.mjs"):
        modules(write(tmp_path, {"entry.mjs": 'import { a } from "./gone.mjs";\n'}))
