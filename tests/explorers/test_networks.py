"""The networks in the page against PyTorch: every layer, the whole, their gradients and their samples."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from cfgtoy import artifacts, guidance, samplers, schedules
from cfgtoy.explorers import _networks, _noise, _weights
from cfgtoy.nets.unet import Attention, Block, Conditioning, NoisyClassifier, UNet, double, rms_norm

pytestmark = pytest.mark.browser
LIMIT = 1e-4  # relative; issue and page promise 1e-3
TEACHER = "cifar10"
STUDENT = pytest.param("cifar10-student", marks=pytest.mark.slow)
FAST = pytest.mark.parametrize("fast", [True, False], ids=["wasm", "js"])

# What the scripts below share: a tensor from (b, c, h, w) numbers and back, and a layer's weights.
TOOLS = """
const enter = (memory, { shape: [b, c, h, w], data }, border = 0) => {
  const x = new m.memory.Tensor(memory, b, h, w, 8 * Math.ceil(c / 8), border);
  for (let n = 0; n < b; n++) for (let k = 0; k < c; k++) for (let p = 0; p < h * w; p++)
    memory.f[x.pixel(n * h * w + p) + k] = data[(n * c + k) * h * w + p];
  return x;
};
const leave = (x, c) => {
  const each = x.h * x.w, out = new Float32Array(x.b * c * each);
  for (let n = 0; n < x.b; n++) for (let k = 0; k < c; k++) for (let p = 0; p < each; p++)
    out[(n * c + k) * each + p] = x.memory.f[x.pixel(n * each + p) + k];
  return out;
};
const named = (weights) => new Map(Object.entries(weights));
const memory = new m.memory.Memory({ fast: d.fast ?? true, backwards: d.backwards ?? false });
const kit = m.layers;
if (d.fast !== undefined && memory.kind !== (d.fast ? "wasm" : "js")) throw new Error(`runs by ${memory.kind}`);
"""


def plain(x: Tensor) -> dict[str, Any]:
    return {"shape": list(x.shape), "data": x.detach().flatten()}


def weights(module: nn.Module) -> dict[str, Any]:
    return {name: plain(value) for name, value in module.state_dict().items()}


def close(js: Any, py: Tensor, limit: float = LIMIT) -> None:
    """The error's norm is a small part of the truth's."""
    ours = torch.tensor(js, dtype=torch.float64).reshape(py.shape)
    error = (ours - py).norm() / py.norm()
    assert error <= limit, f"off by {error:.1e}"


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@cache
def denoiser(name: str) -> artifacts.ImageDenoiser:
    return artifacts.load_denoiser(name)


# -- the product ---------------------------------------------------------------------------------------------


@FAST
@pytest.mark.parametrize(("m", "n", "k"), [(4, 8, 1), (12, 24, 7), (64, 32, 96)])
def test_product_of_matrices(core: Any, fast: bool, m: int, n: int, k: int) -> None:
    a, b, c = randn(m, k, seed=1), randn(k, n, seed=2), randn(m, n, seed=3)
    js = core.run(
        TOOLS
        + """const { f } = memory, [a, b, c] = [d.a, d.b, d.c].map((x) => {
            const at = memory.take(x.length); memory.f.set(x, at); return at; });
          memory.gemm(a, d.k, d.m, 0, b, c, d.n, d.m, d.n, d.k);
          return memory.f.slice(c, c + d.m * d.n);""",
        fast=fast, m=m, n=n, k=k, a=a.flatten(), c=c.flatten(),
        b=b.reshape(k, n // 8, 8).transpose(0, 1).flatten(),
    )  # fmt: skip
    close(js, c.double() + a.double() @ b.double(), 1e-6)


def test_assembler_names_what_it_does_not_know(core: Any) -> None:
    for text, word in (
        ("(func $f (i64.add (i32.const 1) (i32.const 2)))", "i64.add"),
        ("(func $f (local.set $x (i32.const 1)))", r"\$x"),
        ("(func $f", "bracket"),
    ):
        with pytest.raises(Exception, match=word):
            core.run("m.wat.assemble(d.text);", text=text)


# -- layers with weights of their own ------------------------------------------------------------------------


@FAST
@pytest.mark.parametrize(("out", "into"), [(16, 8), (3, 16), (8, 3)])
def test_convolution_and_its_gradient(core: Any, fast: bool, out: int, into: int) -> None:
    conv = nn.Conv2d(into, out, 3, padding=1)
    x, g = randn(2, into, 6, 4).requires_grad_(), randn(2, out, 6, 4, seed=1)
    y = conv(x)
    y.backward(g)
    js = core.run(
        TOOLS
        + """const layer = new m.layers.Conv(memory, d.weights.weight, d.weights.bias), x = enter(memory, d.x, 1);
          const y = layer.run(x), g = enter(memory, d.g);
          memory.f.copyWithin(y.grad.at, g.at, g.at + g.size);
          memory.goBack();
          return [leave(y, d.out), leave(x.grad, d.into)];""",
        fast=fast, backwards=True, weights=weights(conv), x=plain(x), g=plain(g), out=out, into=into,
    )  # fmt: skip
    close(js[0], y)
    close(js[1], x.grad)  # type: ignore[arg-type]


@FAST
def test_linear_layer_on_top_of_another_tensor(core: Any, fast: bool) -> None:
    """Three rows, which no block of four holds evenly; `onto` gets its share of the gradient."""
    linear = nn.Linear(16, 24)
    x, onto, g = randn(3, 16).requires_grad_(), randn(3, 24, seed=1).requires_grad_(), randn(3, 24, seed=2)
    y = onto + linear(x)
    y.backward(g)
    js = core.run(
        TOOLS
        + """const layer = new m.layers.Linear(memory, d.weights.weight, d.weights.bias);
          const [x, onto, g] = [d.x, d.onto, d.g].map((numbers) => enter(memory, numbers)), y = layer.run(x, { onto });
          memory.f.copyWithin(y.grad.at, g.at, g.at + g.size);
          memory.goBack();
          return [leave(y, 24), leave(x.grad, 16), leave(onto.grad, 24)];""",
        fast=fast, backwards=True, weights=weights(linear),
        x=plain(x[..., None, None]), onto=plain(onto[..., None, None]), g=plain(g[..., None, None]),
    )  # fmt: skip
    for ours, truth in zip(js, (y, x.grad, onto.grad), strict=True):
        close(ours, truth)  # type: ignore[arg-type]


@pytest.mark.parametrize("modulated", [False, True])
def test_activation_and_its_gradient(core: Any, modulated: bool) -> None:
    x, g, mod = randn(2, 16, 4, 4).requires_grad_(), randn(2, 16, 4, 4, seed=1), randn(2, 32, seed=2)
    scale, shift = mod[:, :, None, None].chunk(2, dim=1)
    y = nn.functional.silu(rms_norm(x) * (1 + scale) + shift if modulated else rms_norm(x))
    y.backward(g)
    js = core.run(
        TOOLS
        + """const x = enter(memory, d.x), g = enter(memory, d.g);
          const y = m.layers.activate(x, { modulation: d.mod && enter(memory, d.mod), border: 1 });
          memory.f.copyWithin(y.grad.at, g.at, g.at + g.size);
          memory.goBack();
          return [leave(y, 16), leave(x.grad, 16)];""",
        backwards=True, x=plain(x), g=plain(g), mod=plain(mod[..., None, None]) if modulated else None,
    )  # fmt: skip
    close(js[0], y)
    close(js[1], x.grad)  # type: ignore[arg-type]


def test_halving_and_doubling(core: Any) -> None:
    x, g = randn(2, 8, 4, 8).requires_grad_(), randn(2, 8, 2, 4, seed=1)
    y = nn.functional.avg_pool2d(x, 2)
    y.backward(g)
    js = core.run(
        TOOLS
        + """const x = enter(memory, d.x), y = m.layers.pool(x), g = enter(memory, d.g);
          memory.f.copyWithin(y.grad.at, g.at, g.at + g.size);
          memory.goBack();
          return [leave(y, 8), leave(x.grad, 8), leave(m.layers.double(x), 8)];""",
        backwards=True, x=plain(x), g=plain(g),
    )  # fmt: skip
    close(js[0], y)
    close(js[1], x.grad)  # type: ignore[arg-type]
    close(js[2], double(x), 0)


@FAST
@pytest.mark.parametrize(("head", "side"), [(8, 4), (16, 8)])
def test_attention_and_its_gradient(core: Any, fast: bool, head: int, side: int) -> None:
    attention = Attention(32, head)
    nn.init.normal_(attention.out.weight, std=0.3)
    x, g = randn(2, 32, side, side).requires_grad_(), randn(2, 32, side, side, seed=1)
    y = attention(x)
    y.backward(g)
    js = core.run(
        TOOLS
        + """const weight = (name) => d.weights[`${name}.weight`];
          const qkv = new m.layers.Linear(memory, weight("qkv")), out = new m.layers.Linear(memory, weight("out"));
          const x = enter(memory, d.x), g = enter(memory, d.g);
          const y = out.run(m.layers.attend(qkv.run(m.layers.norm(x)), d.head), { onto: x });
          memory.f.copyWithin(y.grad.at, g.at, g.at + g.size);
          memory.goBack();
          return [leave(y, 32), leave(x.grad, 32)];""",
        fast=fast, backwards=True, weights=weights(attention), x=plain(x), g=plain(g), head=head,
    )  # fmt: skip
    close(js[0], y)
    close(js[1], x.grad)  # type: ignore[arg-type]


# -- layers of the shipped networks --------------------------------------------------------------------------


def calls(net: nn.Module, *inputs: Tensor) -> Iterator[tuple[str, nn.Module, tuple[Any, ...], Any]]:
    """Every call of a module inside a network: its name, itself, what it got and what it gave."""
    seen: list[tuple[str, nn.Module, tuple[Any, ...], Any]] = []
    hooks = [
        module.register_forward_hook(lambda mod, args, out, name=name: seen.append((name, mod, args, out)))
        for name, module in net.named_modules()
    ]
    with torch.no_grad():
        net(*inputs)
    for hook in hooks:
        hook.remove()
    yield from seen


LAYER = {
    nn.Conv2d: """
        const { weight, bias } = own, small = weight.shape.at(-1) === 1, Kind = small ? kit.Linear : kit.Conv;
        return leave(new Kind(memory, weight, bias).run(enter(memory, d.x, small ? 0 : 1)), d.out);""",
    nn.Linear: "return leave(new kit.Linear(memory, own.weight, own.bias).run(enter(memory, d.x)), d.out);",
    Attention: "return leave(new m.unet.Attention(memory, weights, d.head).run(enter(memory, d.x)), d.out);",
    Block: """
        const block = new m.unet.Block(memory, weights, d.head);
        return leave(block.run(enter(memory, d.x), enter(memory, d.c)), d.out);""",
    Conditioning: "return leave(new m.unet.Conditioning(memory, weights, 10).run(d.y.length, d.lam, d.y, d.w), d.out);",
}


def as_image(x: Tensor) -> Tensor:
    """Vectors as images of one pixel, rows of tokens as images of one row."""
    if x.ndim == 3:
        return x.transpose(1, 2)[:, :, None]
    return x.reshape(*x.shape, *[1] * (4 - x.ndim))


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "digits-noisy-classifier",
        "digits-student",
        STUDENT,
        pytest.param(TEACHER, marks=pytest.mark.slow),
    ],
)
def test_every_layer_of_the_shipped_networks(core: Any, name: str) -> None:
    every_layer(core, lambda script, **data: core.run(TOOLS + script, **data), name)


def every_layer(core: Any, run: Callable[..., Any], name: str) -> None:
    """``run(script, **data)`` has ``enter``, ``leave``, ``memory`` and its layers, ``kit``, ready for the script."""
    net, artifact = artifacts.load_net(name, ("denoiser", "noisy_classifier", "student"))
    b = 4 if artifact.meta["image"] == [1, 8, 8] else 1
    y = torch.tensor([3, -1, 9, 0])[:b]
    inputs = (randn(b, *artifact.meta["image"]), torch.full((b,), 0.7), y, torch.full((b,), 1.5))
    takes = {"denoiser": 3, "noisy_classifier": 2, "student": 4}[artifact.meta["role"]]
    core.run(
        "globalThis.shipped = m.weights.readSafetensors(m.weights.fromBase64(d.file)).tensors;",
        file=_file(name),
    )
    seen = set()
    for layer, module, args, out in calls(net, *inputs[:takes]):
        if type(module) not in LAYER:
            continue
        seen.add(layer)
        truth = as_image(out).contiguous()
        data: dict[str, Any] = {"prefix": f"{layer}.", "head": net.args["head"], "out": truth.shape[1]}  # type: ignore[index]
        if isinstance(module, Conditioning):
            data |= {"lam": 0.7, "y": y.tolist(), "w": 1.5}
        else:
            data["x"] = plain(as_image(args[0]))
            if isinstance(module, Block):
                data["c"] = plain(as_image(args[1]))
        script = f"""const weights = m.unet.scope(shipped, d.prefix);
            const own = {{ weight: weights("weight"), bias: weights("bias") }}; {LAYER[type(module)]}"""
        try:
            close(run(script, **data), truth)
        except AssertionError as error:
            raise AssertionError(f"{layer}: {error}") from error
    parameters = {parameter.rpartition(".")[0] for parameter in net.state_dict()}
    assert parameters - {"conditioning.classes"} <= seen


# -- whole networks ------------------------------------------------------------------------------------------

NET = """
const bytes = m.weights.fromBase64(d.file), { net, kind, student } = m.guided.network(bytes, { fast: d.fast ?? true });
"""


def test_weight_files_as_the_page_reads_them(core: Any) -> None:
    """Half precision, single precision, the hash of any length, and base64 without the browser's own decoder."""
    halves = np.arange(65536, dtype=np.uint16)
    js = core.run("return [...m.weights.halves(Uint16Array.from(d.bits))].map(String);", bits=halves.tolist())
    ours = np.array([float(x) for x in js], np.float32)
    np.testing.assert_array_equal(ours, halves.view(np.float16).astype(np.float32))
    for size in (0, 1, 55, 56, 63, 64, 65, 1000):
        data = bytes(i * 7 % 256 for i in range(size))
        js = core.run("return m.weights.sha256(Uint8Array.from(d.data));", data=list(data))
        assert js == hashlib.sha256(data).hexdigest()
    tensors = {"a": randn(2, 3), "b": randn(5, seed=1).half()}
    file = save(tensors, metadata={"cfgtoy": '{"role": "none"}'})
    js = core.run(
        """delete Uint8Array.fromBase64;
           const { tensors, meta } = m.weights.readSafetensors(m.weights.fromBase64(d.file));
           return { meta, tensors: [...tensors].map(([name, { shape, data }]) => [name, shape, [...data]]) };""",
        file=base64.b64encode(file).decode(),
    )
    assert js["meta"] == {"role": "none"}
    for name, shape, data in js["tensors"]:
        assert shape == list(tensors[name].shape)
        close(data, tensors[name].float(), 0)


@FAST
@pytest.mark.parametrize("lam", [-9.0, 0.3, 10.0])
def test_digits_unet(core: Any, fast: bool, lam: float) -> None:
    z, y = randn(10, 1, 8, 8), torch.tensor([-1, *range(1, 10)])
    js = core.run(
        NET + "return net.run(d.z, d.lam, d.y);",
        file=_file("digits"), fast=fast, z=z.flatten(), lam=lam, y=y.tolist(),
    )  # fmt: skip
    with torch.no_grad():
        close(js, denoiser("digits").net(z, torch.full((10,), lam), y))


@FAST
@pytest.mark.parametrize("lam", [-4.0, 3.0])
def test_gradient_of_the_digits_classifier(core: Any, fast: bool, lam: float) -> None:
    classifier = artifacts.load_noisy_classifier("digits-noisy-classifier")
    z, y = randn(10, 1, 8, 8), torch.arange(10)
    js = core.run(
        NET
        + """const { logProbs, gradient } = net.run(d.z, d.lam, d.y);
             return [logProbs, gradient];""",
        file=_file("digits-noisy-classifier"), fast=fast, z=z.flatten(), lam=lam, y=y.tolist(),
    )  # fmt: skip
    close(js[0], classifier(z, torch.tensor(lam)).gather(1, y[:, None]).detach())
    close(js[1], guidance.classifier_grad(classifier, z, lam, y))


def _file(name: str) -> str:
    return base64.b64encode(_weights.read(name)).decode()


@FAST
def test_other_sizes_and_a_student(core: Any, fast: bool) -> None:
    """Three levels, three colours, no attention or attention everywhere, and w as one more input."""
    deep = {"channels": (16, 24, 32), "blocks": (1, 2, 1), "attention": (8, 4), "image_size": 16}
    flat = {"channels": (16, 16), "blocks": (2, 1), "attention": (), "image_size": 8, "strength": True}
    for size in (deep | {"cond": 32, "head": 8}, flat | {"cond": 16, "head": 8}):
        torch.manual_seed(0)
        net = UNet(**size).eval()  # type: ignore[arg-type]
        for parameter in net.parameters():
            if parameter.abs().max() == 0:
                nn.init.normal_(parameter, std=0.1)
        n = int(size["image_size"])  # type: ignore[call-overload]
        z, y, w = randn(3, 3, n, n), torch.tensor([0, -1, 5]), torch.full((3,), 1.5)
        js = core.run(
            TOOLS
            + """const net = new m.unet.UNet(memory, named(d.weights), d.args);
                 net.run(Float32Array.from(d.z).fill(1), -3, d.y, 0); // what it leaves behind must not show in the next
                 return net.run(d.z, 0.4, d.y, 1.5);""",
            fast=fast, weights=weights(net), args=net.args, z=z.flatten(), y=y.tolist(),
        )  # fmt: skip
        with torch.no_grad():
            close(js, net(z, torch.full((3,), 0.4), y, w))


def test_classifier_of_another_size(core: Any) -> None:
    torch.manual_seed(0)
    size = {"channels": (16, 24, 32), "blocks": (1, 1, 1), "attention": (8, 4), "cond": 16, "head": 8}
    net = NoisyClassifier(**size, image_size=16).eval()  # type: ignore[arg-type]
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    z, y = randn(2, 3, 16, 16), torch.tensor([4, 7])
    js = core.run(
        TOOLS
        + """const net = new m.unet.NoisyClassifier(memory, named(d.weights), d.args);
             return net.run(d.z, 0.4, d.y).gradient;""",
        backwards=True, weights=weights(net), args=net.args, z=z.flatten(), y=y.tolist(),
    )  # fmt: skip
    close(js, guidance.classifier_grad(lambda z, lam: net(z, lam.expand(2)).log_softmax(1), z, 0.4, y))


# -- samples -------------------------------------------------------------------------------------------------


def test_noise_is_the_same_in_python(core: Any) -> None:
    for n, seed in ((64, 0), (7, 12345), (3072, 2**31 - 1)):
        js = core.run("return m.random.fillNormal(new Float32Array(d.n), d.seed);", n=n, seed=seed)
        torch.testing.assert_close(torch.tensor(js), _noise.normal(n, seed), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m"])
@pytest.mark.parametrize(
    ("rule", "w"), [("classifier-free", 0.0), ("classifier-free", 2.0), ("classifier", 2.0)]
)
@pytest.mark.parametrize(
    "grid",
    [schedules.Uniform(-9, 10).grid(4), schedules.Uniform(-9, 10).grid(20), schedules.Cosine(-9, 10).grid(8)],
    ids=["4", "20", "8 uneven"],
)
def test_samples_from_the_same_noise(core: Any, sampler: str, rule: str, w: float, grid: Tensor) -> None:
    """Mean absolute difference below 2/255 on the scale from black to white; ours are far closer."""
    y, z = torch.arange(10), _noise.normal(64, 5).reshape(1, 1, 8, 8).expand(10, -1, -1, -1)
    model = denoiser("digits")
    js = core.run(
        """const [denoiser, classifier] = d.files.map((file) => m.guided.network(m.weights.fromBase64(file)));
           const predict = m.guided.guided({ denoiser, classifier, rule: d.rule, w: d.w, y: d.y });
           return (async () => {
             const out = [];
             for await (const { x, push } of m.samplers.states(predict, d.z, d.grid, d.sampler))
               out.push([x.slice(), [...push]]);
             return out;
           })();""",
        files=[_file("digits"), _file("digits-noisy-classifier")], rule=rule, w=w, y=y.tolist(),
        z=z.flatten(), grid=grid.tolist(), sampler=sampler,
    )  # fmt: skip
    guided = guidance.classifier_free(model, w=w)
    if rule == "classifier":
        guided = guidance.classifier(model, artifacts.load_noisy_classifier("digits-noisy-classifier"), w=w)
    with torch.no_grad():
        states = list(samplers.trajectory(guided, z, grid, y, method=sampler))  # type: ignore[arg-type]
        pushes = [s.prediction.eps - model(s.z, s.logsnr, y).eps for s in states[:-1]]
    assert len(js) == len(grid) + 1
    error = (torch.tensor(js[-1][0]).reshape(10, 1, 8, 8) - states[-1].z).abs().mean() / 2
    assert error <= 2 / 255 / 20
    for (_, ours), truth in zip(js, pushes, strict=False):
        size = truth.square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(torch.tensor(ours, dtype=torch.float32), size, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["digits-student", STUDENT])
@pytest.mark.parametrize("w", [0.0, 3.0])
def test_samples_of_a_student(core: Any, name: str, w: float) -> None:
    """Four steps, each picture by itself and all at once: a mean absolute difference far below 2/255; and its push."""
    about, y, seeds = _networks.student_about(name), [1, 8, 3], [4, 5, 4]
    js = core.run(
        """const denoiser = m.guided.network(m.weights.fromBase64(d.file)), size = d.shape.reduce((a, b) => a * b);
           const begin = (y, seeds) => {
             const z = new Float32Array(y.length * size);
             seeds.forEach((seed, i) => m.random.fillNormal(z.subarray(i * size, (i + 1) * size), seed));
             const predict = m.guided.guided({ denoiser, w: d.w, y, compare: true });
             return m.samplers.states(predict, z, d.grid, "ddim");
           };
           return (async () => {
             const all = [], apart = [];
             for await (const { x, push } of begin(d.y, d.seeds)) all.push([x.slice(), [...push]]);
             for await (const { x } of begin([d.y[1]], [d.seeds[1]])) apart.push(x.slice());
             return [all, apart];
           })();""",
        file=_file(name), shape=about["shape"], grid=about["grid"], w=w, y=y, seeds=seeds,
    )  # fmt: skip
    path = list(_networks.student_path(name, w=w, y=y, seeds=seeds))
    pushes = _networks.student_push(name, w=w, y=y, seeds=seeds)
    assert len(path) == 4
    for step, (_, _, x) in enumerate(path):
        ours, alone = (
            torch.tensor(numbers).reshape(-1, *x.shape[1:]) for numbers in (js[0][step][0], js[1][step])
        )
        assert (ours - x).abs().mean() / 2 <= 2 / 255 / 20
        assert (alone[0] - x[1]).abs().mean() / 2 <= 2 / 255 / 20
        torch.testing.assert_close(
            torch.tensor(js[0][step][1], dtype=torch.float32), pushes[step], rtol=1e-2, atol=1e-3
        )
    assert all((push > 0).all() == (w > 0) for push in pushes)


# -- last, as it leaves the page -----------------------------------------------------------------------------


@pytest.mark.slow
def test_cifar10_unet(core: Any, tmp_path: Path) -> None:
    """The same code, forty times the size, from the scripts that a page loads; and guided samples in a few steps."""
    z, y = randn(2, 3, 32, 32), torch.tensor([3, -1])
    files = _weights.scripts(TEACHER)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    tags = [f"<script>{part}</script>" for part in core.scripts]
    tags += [f'<script src="{file}"></script>' for file in files]
    (tmp_path / "page.html").write_text("\n".join(tags))
    core.page.goto((tmp_path / "page.html").as_uri())
    js = core.run(
        """const text = Object.values(__cfgtoyWeights).join(""), { net } = m.guided.network(m.weights.fromBase64(text));
           return net.run(d.z, 1.3, d.y);""",
        z=z.flatten(), y=y.tolist(),
    )  # fmt: skip
    with torch.no_grad():
        close(js, denoiser("cifar10").net(z, torch.full((2,), 1.3), y))
    about, how = _networks.teacher_about(TEACHER), {"w": 2.0, "y": [8], "seeds": [3]}
    grid = about["grid"][::5]
    for sampler in ("dpm++2m", "ddim"):
        js = core.run(
            """const text = Object.values(__cfgtoyWeights).join(""), y = d.y;
               globalThis.denoiser ??= m.guided.network(m.weights.fromBase64(text));
               const predict = m.guided.guided({ denoiser, rule: "classifier-free", w: d.w, y }), out = [];
               const z = m.random.fillNormal(new Float32Array(3072), d.seeds[0]);
               return (async () => {
                 for await (const { x } of m.samplers.states(predict, z, d.grid, d.sampler)) out.push(x.slice());
                 return out.at(-1);
               })();""",
            grid=grid, sampler=sampler, **how,
        )  # fmt: skip
        start = _noise.normal(3072, 3).reshape(1, 3, 32, 32)
        guided = guidance.classifier_free(denoiser(TEACHER), w=2.0)
        with torch.no_grad():
            x = samplers.sample(
                guided,
                torch.tensor([8]),
                shape=(1, 3, 32, 32),
                z=start,
                grid=torch.tensor(grid),
                method=sampler,
            )
        assert (torch.tensor(js).reshape(x.shape) - x).abs().mean() / 2 <= 2 / 255 / 20
