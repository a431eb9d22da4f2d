"""The networks by WebGPU, where software plays the graphics card: against PyTorch, and what happens if it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cfgtoy import artifacts, guidance, samplers, schedules
from cfgtoy.explorers import DigitsExplorer, _networks, _noise, _weights
from cfgtoy.explorers._bundle import modules
from cfgtoy.explorers._exact import JS
from cfgtoy.nets.unet import Attention, UNet, double, rms_norm
from tests.explorers.conftest import Core
from tests.explorers.test_digits import fill, pictures, row, truth
from tests.explorers.test_networks import STUDENT, TEACHER, _file, close, every_layer, plain, randn, weights
from tests.serving import served
from tests.waiting import PATIENCE, eventually
from tools.browser import chromium, launched

pytestmark = pytest.mark.browser
W = "guidance weight w, exact value"
SHARE = 2 / 255 / 20  # of the scale from black to white, a tenth of one of its 255 steps

# The body of a function of `memory`, on the card, with what a test needs to go in and out of it.
CARD = """
globalThis.card ??= navigator.gpu.requestAdapter().then((adapter) => adapter.requestDevice())
  .then((device) => new m.webgpu.Memory(device));
return card.then(async (memory) => {
  const kit = memory.layers;
  const enter = (memory, { shape: [b, c, h, w], data }) => {
    const full = 8 * Math.ceil(c / 8), numbers = new Float32Array(b * h * w * full);
    for (let n = 0; n < b; n++) for (let k = 0; k < c; k++) for (let p = 0; p < h * w; p++)
      numbers[(n * h * w + p) * full + k] = data[(n * c + k) * h * w + p];
    return kit.enter(memory, numbers, [b, h, w, full]);
  };
  const leave = async (x, c) => {
    const numbers = await kit.leave(x), each = x.h * x.w, out = new Float32Array(x.b * c * each);
    for (let n = 0; n < x.b; n++) for (let k = 0; k < c; k++) for (let p = 0; p < each; p++)
      out[(n * c + k) * each + p] = numbers[(n * each + p) * x.c + k];
    return out;
  };
  const named = (weights) => new Map(Object.entries(weights));
  memory.release(0); // what the test before left there is still in the buffers
  %s
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium with a graphics card made of software; where that is not to be had, the tests are skipped."""
    if chromium() is None:
        pytest.skip("no Chromium on the path")
    with launched("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader") as running:
        page = running.new_page()
        page.goto(Path(__file__).as_uri())  # of a file, since a blank page has no WebGPU
        if not page.evaluate("(async () => Boolean(await navigator.gpu?.requestAdapter()))()"):
            pytest.skip("this Chromium has no WebGPU adapter, not even SwiftShader's")
        page.close()
        yield running


@pytest.fixture(scope="module")
def core(browser: Any) -> Core:
    page = browser.new_page()
    page.goto(Path(__file__).as_uri())
    return Core(page, {part.key: part.script for path in sorted(JS.rglob("*.mjs")) for part in modules(path)})


@pytest.fixture(scope="module")
def card(core: Core) -> Callable[..., Any]:
    """``card(script, **data)`` runs a script on the card."""
    return lambda script, **data: core.run(CARD % script, **data)


# -- layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("out", "into", "side"), [(16, 8, 3), (3, 16, 3), (8, 3, 3), (24, 16, 1)])
def test_convolution_on_top_of_another_tensor(card: Any, out: int, into: int, side: int) -> None:
    """Two images of 5 × 3 pixels: 30, which no block of four holds evenly."""
    conv = nn.Conv2d(into, out, side, padding=side // 2)
    x, onto = randn(2, into, 5, 3), randn(2, out, 5, 3, seed=1)
    js = card(
        """const { weight, bias } = d.weights, Kind = d.side === 1 ? kit.Linear : kit.Conv;
           const layer = new Kind(memory, weight, bias), x = enter(memory, d.x), onto = enter(memory, d.onto);
           return [await leave(layer.run(x), d.out), await leave(layer.run(x, { onto }), d.out)];""",
        weights=weights(conv), x=plain(x), onto=plain(onto), out=out, side=side,
    )  # fmt: skip
    close(js[0], conv(x))
    close(js[1], onto + conv(x))


@pytest.mark.parametrize("modulated", [False, True])
def test_norm_and_activations(card: Any, modulated: bool) -> None:
    x, mod = 3 * randn(2, 16, 4, 4), randn(2, 32, seed=2)
    scale, shift = mod[:, :, None, None].chunk(2, dim=1)
    js = card(
        """const x = enter(memory, d.x), modulation = d.mod && enter(memory, d.mod);
           const y = kit.activate(x, { modulation, border: 1 });
           return [await leave(kit.norm(x), 16), await leave(kit.silu(x), 16), await leave(y, 16)];""",
        x=plain(x), mod=plain(mod[..., None, None]) if modulated else None,
    )  # fmt: skip
    close(js[0], rms_norm(x))
    close(js[1], nn.functional.silu(x))
    close(js[2], nn.functional.silu(rms_norm(x) * (1 + scale) + shift if modulated else rms_norm(x)))


def test_activations_far_out(card: Any) -> None:
    """Where e to the power of x is beyond single precision."""
    x = torch.tensor([-1e4, -100.0, -90.0, -80.0, 80.0, 90.0, 100.0, 1e4])[None, :, None, None]
    js = card("return leave(kit.silu(enter(memory, d.x)), 8);", x=plain(x))
    np.testing.assert_allclose(js, nn.functional.silu(x).flatten(), rtol=1e-5, atol=1e-30)


def test_halving_and_doubling(card: Any) -> None:
    x = randn(2, 8, 4, 8)
    js = card(
        """const x = enter(memory, d.x);
           return [await leave(kit.pool(x), 8), await leave(kit.pool(x, 4), 8), await leave(kit.double(x), 8)];""",
        x=plain(x),
    )
    close(js[0], nn.functional.avg_pool2d(x, 2))
    close(js[1], nn.functional.avg_pool2d(x, 4))
    close(js[2], double(x), 0)


@pytest.mark.parametrize(("head", "side"), [(8, 4), (16, 8)])
def test_attention(card: Any, head: int, side: int) -> None:
    attention = Attention(32, head)
    nn.init.normal_(attention.out.weight, std=0.3)
    x = randn(2, 32, side, side)
    js = card(
        """const layer = new m.unet.Attention(memory, m.unet.scope(named(d.weights)), d.head);
           return leave(layer.run(enter(memory, d.x)), 32);""",
        weights=weights(attention), x=plain(x), head=head,
    )  # fmt: skip
    close(js, attention(x))


@pytest.mark.parametrize(
    "name", ["digits", "digits-student", STUDENT, pytest.param(TEACHER, marks=pytest.mark.slow)]
)
def test_every_layer_of_the_shipped_networks(core: Core, card: Any, name: str) -> None:
    every_layer(core, card, name)


# -- whole networks and samples ------------------------------------------------------------------------------

NET = "const { net } = m.guided.network(m.weights.fromBase64(d.file), { memory });"


@pytest.mark.parametrize(
    ("name", "lam"),
    [
        *[("digits", lam) for lam in (-9.0, 0.3, 10.0)],
        ("digits-student", 0.3),
        pytest.param("cifar10-student", 0.3, marks=pytest.mark.slow),
        pytest.param(TEACHER, 0.3, marks=pytest.mark.slow),
    ],
)
def test_whole_network(card: Any, name: str, lam: float) -> None:
    net, artifact = artifacts.load_net(name, ("denoiser", "student"))
    y = torch.tensor([3] if name == TEACHER else [3, -1, 9])  # on a processor it takes long over a picture
    z, lams, w = (
        randn(len(y), *artifact.meta["image"]),
        torch.full((len(y),), lam),
        torch.full((len(y),), 1.5),
    )
    more = (w,) if artifact.meta["role"] == "student" else ()
    js = card(
        NET + "return net.run(d.z, d.lam, d.y, 1.5);",
        file=_file(name), z=z.flatten(), lam=lam, y=y.tolist(),
    )  # fmt: skip
    with torch.no_grad():
        close(js, net(z, lams, y, *more))


def test_other_sizes(card: Any) -> None:
    """Three levels, three colours, attention in two; two questions at once, the second answered as if it were alone."""
    torch.manual_seed(0)
    net = UNet(channels=(16, 24, 32), blocks=(1, 2, 1), attention=(8, 4), image_size=16, cond=32, head=8)
    for parameter in net.eval().parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    z, y = randn(3, 3, 16, 16), torch.tensor([0, -1, 5])
    js = card(
        """const net = new m.unet.UNet(memory, named(d.weights), d.args);
           const first = net.run(Float32Array.from(d.z).fill(1), -3, d.y), second = net.run(d.z, 0.4, d.y);
           await first;
           return second;""",
        weights=weights(net), args=net.args, z=z.flatten(), y=y.tolist(),
    )  # fmt: skip
    with torch.no_grad():
        close(js, net(z, torch.full((3,), 0.4), y))


DRAW = """
const denoiser = m.guided.network(m.weights.fromBase64(d.file), { memory });
const predict = m.guided.guided({ denoiser, rule: "classifier-free", w: d.w, y: d.y }), out = [];
for await (const { x } of m.samplers.states(predict, d.z, d.grid, d.sampler)) out.push(x.slice());
return out.at(-1);
"""


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m"])
def test_samples_after_four_steps(card: Any, sampler: Any) -> None:
    """Guided by w = 2: within 2/255 on average."""
    model, y, grid = artifacts.load_denoiser("digits"), torch.tensor([8]), schedules.Uniform(-9, 10).grid(4)
    z = _noise.pictures(model.shape, [5])
    js = card(
        DRAW, file=_file("digits"), w=2.0, y=y.tolist(), z=z.flatten(), grid=grid.tolist(), sampler=sampler
    )
    guided = guidance.classifier_free(model, w=2.0)
    with torch.no_grad():
        x = samplers.sample(guided, y, shape=tuple(z.shape), z=z, grid=grid, method=sampler)
    assert (torch.tensor(js).reshape(x.shape) - x).abs().mean() / 2 <= SHARE


@pytest.mark.parametrize("name", ["digits-student", STUDENT])
def test_samples_of_a_student(card: Any, name: str) -> None:
    about, y, seeds = _networks.student_about(name), [1, 8], [4, 5]
    z = _noise.pictures(about["shape"], seeds)
    js = card(DRAW, file=_file(name), w=3.0, y=y, z=z.flatten(), grid=about["grid"], sampler="ddim")
    *_, (_, _, x) = _networks.student_path(name, w=3.0, y=y, seeds=seeds)
    assert (torch.tensor(js).reshape(x.shape) - x).abs().mean() / 2 <= SHARE


# -- in a page ---------------------------------------------------------------------------------------------

FORCED = "globalThis.__cfgtoyWebGPU = true;"
HARDWARE = "Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false });"
COUNT = """
globalThis.made = 0;
const Begun = Worker;
globalThis.Worker = function (...how) { made++; return new Begun(...how); };
"""
# In the worker, before its code: the card goes while it works at its n-th answer.
GOING = """
const request = GPUAdapter.prototype.requestDevice, map = GPUBuffer.prototype.mapAsync;
let card, answers = 0;
GPUAdapter.prototype.requestDevice = async function () { return (card = await request.call(this)); };
GPUBuffer.prototype.mapAsync = function (...how) {
  if (++answers === %d) card.destroy();
  return map.apply(this, how);
};
"""


@pytest.fixture
def explorer(small: None) -> DigitsExplorer:
    """With small networks: what they draw on the card is asked above."""
    return DigitsExplorer(steps=6)


def by(page: Any) -> str:
    page.set_default_timeout(1000 * PATIENCE)
    page.locator("td", has_text="in this page").wait_for()
    return row(page, "by").partition(",")[0]


def off(page: Any, explorer: DigitsExplorer, **settings: Any) -> float:
    return float(np.abs(pictures(page) - truth(explorer, **({"steps": 6} | settings))).mean())


def test_pictures_by_the_card(site: Any, explorer: DigitsExplorer) -> None:
    """From disk, nothing in the console; its code comes once; the classifier's gradient is the processor's."""
    asked: list[str] = []
    said: list[str] = []
    with site(explorer, page_script=FORCED, asked=asked, said=said) as page:
        assert by(page) == "WebGPU"
        assert off(page, explorer) < 1
        fill(page, W, "3")
        assert off(page, explorer, w=3.0) < 1
        page.get_by_label("network", exact=True).select_option(label="student, 4 levels")
        assert off(page, explorer, w=3.0, rule="student") < 1
        page.get_by_label("network", exact=True).select_option(label="teacher")
        page.get_by_label("guidance", exact=True).select_option(label="the noisy classifier’s")
        assert off(page, explorer, w=3.0, rule="classifier") < 1
        assert by(page) == "WebGPU"
    assert not said
    assert len([url for url in asked if "/webgpu-" in url]) == 1
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def test_pictures_by_the_card_over_http(browser: Any, tmp_path: Path, explorer: DigitsExplorer) -> None:
    body = _weights.place(explorer.static_html(), tmp_path / "networks", "networks/")
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8">{body}')

    with served(tmp_path) as address:
        page = browser.new_page()
        page.add_init_script(FORCED)
        page.goto(f"{address}/page.html")
        assert by(page) == "WebGPU"
        assert off(page, explorer) < 1
        page.close()


@pytest.mark.parametrize(
    "script", ["", "globalThis.__cfgtoyWebGPU = false;"], ids=["software", "switched off"]
)
def test_no_code_where_there_is_no_card(site: Any, explorer: DigitsExplorer, script: str) -> None:
    """Software that plays a card is none, unless it is asked for."""
    asked: list[str] = []
    with site(explorer, page_script=script, asked=asked) as page:
        assert by(page) == "WebAssembly"
        assert off(page, explorer) < 1
    assert not [url for url in asked if "/webgpu-" in url]


def test_a_card_slower_than_the_processor(site: Any, explorer: DigitsExplorer) -> None:
    asked: list[str] = []
    with site(explorer, worker=HARDWARE, asked=asked) as page:
        assert by(page) == "WebAssembly"
        assert off(page, explorer) < 1
    assert [url for url in asked if "/webgpu-" in url]


def spoilt(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (file,) = folder.glob("webgpu-*.js")
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        spoilt("exp(min(-u", "exp(min(0.99 * -u"),
        spoilt("@workgroup_size(", "@workgroup_size(64, "),
        spoilt("let reach = s.side / 2;", "let reach = ;"),
        lambda folder: [file.unlink() for file in folder.glob("webgpu-*.js")],
        lambda folder: [file.write_text("half a lin") for file in folder.glob("webgpu-*.js")],
    ],
    ids=["wrong by one in a hundred", "too many threads", "not understood", "missing", "damaged"],
)
def test_a_card_that_errs_is_not_used(site: Any, explorer: DigitsExplorer, spoil: Any) -> None:
    with site(explorer, page_script=FORCED, spoil=spoil) as page:
        assert by(page) == "WebAssembly"
        assert off(page, explorer) < 1


@pytest.mark.parametrize("answer", [1, 6, 12])
def test_a_card_that_goes(site: Any, explorer: DigitsExplorer, answer: int) -> None:
    """While it is tried (three questions), in the first run (six levels) or in the next: no picture is lost."""
    with site(explorer, page_script=FORCED, worker=GOING % answer) as page:
        by(page)
        assert off(page, explorer) < 1
        fill(page, W, "3")
        assert off(page, explorer, w=3.0) < 1
        assert by(page) == "WebAssembly"
        assert page.locator("[role=status]").inner_text() == ""


SHARED = """async ([key, about]) => {
  const { Student } = globalThis.__cfgtoy[key], seen = [];
  const model = { get: (name) => ({ live: false, folder: "networks/" })[name] };
  let done;
  const student = new Student(model, about, () => student.shown?.whole && !student.busy && done());
  for (const seed of [0, 1]) {
    await new Promise((go) => {
      done = go;
      student.want({ w: 1, y: [3, 4, 5], seeds: [seed, seed, seed] });
    });
    seen.push([made, student.shown.by, student.shown.paths.map((path) => [...path.at(-1).x])]);
  }
  return seen;
}"""


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("answer", [0, 6], ids=["stays", "goes"])
def test_one_worker_has_the_card_and_all_share_what_it_leaves(
    browser: Any, tmp_path: Path, core: Core, answer: int
) -> None:
    """Three pictures by a student: in one worker on the card; once that is gone, in as many as there are."""
    name = "digits-student"
    _weights.place(f'<p data-weights="{name}">', tmp_path / "networks", "networks/")
    (tmp_path / "page.html").write_text("".join(f"<script>{script}</script>" for script in core.scripts))
    page = browser.new_page()
    page.add_init_script(
        f"{FORCED} {COUNT} Object.defineProperty(navigator, 'hardwareConcurrency', {{ value: 3 }});"
        f"const Plain = Blob, going = `{GOING % answer}`;"
        "globalThis.Blob = function (parts, how) { return new Plain([going, ...parts], how); };"
    )
    page.goto((tmp_path / "page.html").as_uri())
    about = _networks.student_about(name)
    first, second = page.evaluate(SHARED, [core.keys["student"], about])
    page.close()
    assert first[0] == 1
    assert second[0] == (3 if answer else 1)
    assert second[1] == ("WebAssembly, in this page" if answer else "WebGPU, in this page")
    for seed, (_, _, ours) in enumerate((first, second)):
        *_, (_, _, x) = _networks.student_path(name, w=1.0, y=[3, 4, 5], seeds=[seed] * 3)
        assert (torch.tensor(ours).reshape(x.shape) - x).abs().mean() / 2 <= SHARE


@pytest.mark.usefixtures("small")
def test_a_kernel_brings_the_code(open_live: Callable[..., Any]) -> None:
    """In JupyterLab no file lies beside the page."""
    made = DigitsExplorer(steps=6)
    page = open_live(made, address=Path(__file__).as_uri(), script=FORCED)
    assert by(page) == "WebGPU"
    eventually(page, lambda: made.images is not None, "no picture came back")
    *_, (_, x, _) = made.path(w=1.0, steps=6, sampler="dpm++2m", seed=0, rule="classifier-free")
    assert (made.images - x).abs().mean() / 2 <= SHARE


def test_who_looks_for_a_card_has_not_got_its_code() -> None:
    """In an explorer's fragment are no shaders, and in the code that comes for a card there is no search for one."""
    fragment, (_, code) = DigitsExplorer().static_html(), _weights.webgpu()
    for word, where in (("requestAdapter", fragment), ("@compute", code)):
        assert [word in text for text in (fragment, code)] == [text is where for text in (fragment, code)]
