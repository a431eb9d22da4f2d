"""A U-Net for images in the DDPM/ADM line, and half of it as a classifier of noisy images.

Ho et al. 2020 (arXiv 2006.11239), with the scale-shift conditioning and the attention heads of Dhariwal & Nichol 2021
(arXiv 2105.05233). Cheap on tensor cores: the norm, a root mean square over a pixel's channels, is one pass over memory
in NHWC, a group norm two; a skip is added through a 1×1 convolution, so that none reads doubled channels.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks
from ._sized import Sized


def rms_norm(x: Tensor) -> Tensor:
    """Divide each pixel of x (b, c, h, w) by the root mean square of its channels, computed in float32."""
    return x * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-6)


def conv(c_in: int, c_out: int, kernel: int = 3, *, bias: bool = False, zero: bool = False) -> nn.Conv2d:
    """A convolution that keeps the resolution; weights of variance 1/fan_in, or all zero.

    Without a bias as a rule: its gradient is one more pass over memory, and the conditioning shifts as well.
    """
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=bias)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=(c_in * kernel**2) ** -0.5)
    return layer


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by two, (b, c, h, w) -> (b, c, 2h, 2w), NHWC in memory.

    Written as a broadcast, whose gradient is a sum; that of an index would be scattered atomically.
    """
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(b, h, 2, w, 2, c)
    return x.reshape(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


class Conditioning(nn.Module):
    """The log-SNR, the class where there is one (∅ is the last row), and w where a student takes it, (b, width)."""

    frequencies: Tensor

    def __init__(self, width: int, num_classes: int | None, strength: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        # periods from about 1.5 to 250 in λ: finer than any grid, wider than [−20, 20]
        frequencies = torch.logspace(math.log10(0.025), math.log10(4.0), 64)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        if num_classes is not None:
            self.classes = nn.Embedding(num_classes + 1, width)
        if strength:  # starts as a network that does not heed w
            self.strength = nn.Linear(128, width, bias=False)
            nn.init.zeros_(self.strength.weight)

    def waves(self, number: Tensor) -> Tensor:
        """Cosines and sines of one number a sample, (b,) -> (b, 128)."""
        angle = number.to(self.frequencies)[:, None] * self.frequencies  # (b, 64)
        return torch.cat([angle.cos(), angle.sin()], dim=1)

    def forward(self, logsnr: Tensor, y: Tensor | None, w: Tensor | None = None) -> Tensor:
        with torch.autocast(logsnr.device.type, enabled=False):  # a bfloat16 λ has steps of 1/16 at 10
            c = self.mlp(self.waves(logsnr))  # (b, width)
            if hasattr(self, "strength"):
                if w is None:
                    raise ValueError("w: got None, takes one guidance weight per sample")
                c = c + self.strength(self.waves(w))
            if self.num_classes is not None:
                if y is None:
                    raise ValueError("y: got None, takes one class per sample, with -1 for none")
                c = c + self.classes(torch.where(y < 0, self.num_classes, y))
            return F.silu(c)


class Block(nn.Module):
    """Norm, SiLU, 3×3 convolution, twice; scale and shift from the conditioning in between; a residual around all."""

    def __init__(self, c_in: int, c_out: int, cond: int, dropout: float, attention: bool, head: int) -> None:
        super().__init__()
        self.conv1 = conv(c_in, c_out)
        self.modulation = nn.Linear(cond, 2 * c_out)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.dropout = dropout
        self.conv2 = conv(c_out, c_out, zero=True)
        self.skip = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.attention = Attention(c_out, head) if attention else nn.Identity()

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.conv1(F.silu(rms_norm(x)))  # (b, c_out, h, w)
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)  # (b, c_out, 1, 1) each
        h = F.silu(rms_norm(h) * (1 + scale) + shift)
        h = self.conv2(F.dropout(h, self.dropout, self.training))
        return self.attention(self.skip(x) + h)


class Attention(nn.Module):
    """Self-attention over the pixels, with a residual around it; queries and keys of length √d keep logits in ±√d."""

    def __init__(self, channels: int, head: int) -> None:
        super().__init__()
        _checks.require(channels % head == 0, "head", f"{head}", f"a divisor of the {channels} channels")
        self.head = head
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = rms_norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(tokens).view(b, h * w, 3, c // self.head, self.head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (b, heads, h w, d) each
        q, k = (t * torch.rsqrt(t.float().square().mean(-1, keepdim=True) + 1e-6) for t in (q, k))
        a = self.attend(q, k, v, (h, w))
        out = self.out(a.transpose(1, 2).reshape(b, h * w, c))
        return x + out.view(b, h, w, c).permute(0, 3, 1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, _size: tuple[int, int]) -> Tensor:
        """What each pixel takes from all, (b, heads, h w, d)."""
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)


class Encoder(nn.Module):
    """The way down: at each level a number of blocks, then average pooling by two; the middle at the end."""

    def __init__(
        self, in_channels: int, image_size: int, channels: Sequence[int], blocks: Sequence[int],
        attention: Sequence[int], cond: int, head: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(channels) != len(blocks) or image_size % 2 ** (len(channels) - 1):
            got = f"{tuple(channels)} for blocks {tuple(blocks)} and image size {image_size}"
            takes = "one width and one number of blocks a level, and a size that halves between levels"
            raise ValueError(f"channels: got {got}, takes {takes}")
        self.stem = conv(in_channels, channels[0], bias=True)
        self.levels = nn.ModuleList()
        c, size = channels[0], image_size
        for width, count in zip(channels, blocks, strict=True):
            level = nn.ModuleList()
            for i in range(count):
                # attention in the last block of a level that has it: one pass over the image, not one a block
                level.append(Block(c, width, cond, dropout, size in attention and i == count - 1, head))
                c = width
            self.levels.append(level)
            size //= 2
        self.middle = Block(c, c, cond, dropout, bool(attention), head)

    def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, list[Tensor]]:
        h = self.stem(z.contiguous(memory_format=torch.channels_last))
        skips = []
        for i, level in enumerate(self.levels):
            if i > 0:
                h = F.avg_pool2d(h, 2)
            for block in level:  # type: ignore[attr-defined]
                h = block(h, c)
                skips.append(h)
        return self.middle(h, c), skips


_CIFAR: dict[str, Any] = {
    "in_channels": 3, "image_size": 32, "num_classes": 10, "channels": (128, 256, 256), "blocks": (1, 2, 3),
    "attention": (16,), "cond": 256, "head": 64, "dropout": 0.0,
}  # fmt: skip
_DIGITS: dict[str, Any] = {
    "in_channels": 1, "image_size": 8, "channels": (32, 64), "blocks": (1, 1), "attention": (4,), "cond": 128,
    "head": 32,
}  # fmt: skip


class _Down(Sized):
    """What both networks begin with: the conditioning, on classes too where ``labels``, and the way down."""

    def __init__(self, labels: bool, **size: Any) -> None:
        super().__init__()
        size = self.presets["cifar"] | size
        strength = size.pop("strength", False)
        size |= {name: tuple(size[name]) for name in ("channels", "blocks", "attention")}
        self.args = size | ({"strength": True} if strength else {})
        self.conditioning = Conditioning(size["cond"], size["num_classes"] if labels else None, strength)
        self.encoder = Encoder(**{name: value for name, value in size.items() if name != "num_classes"})


class UNet(_Down):
    """The U-Net: (z, λ, y) -> a tensor of the shape of z. What is not given is that of the size ``cifar``.

    Args:
        in_channels, image_size: channels of an image, and its height and width.
        num_classes: classes; ∅ comes on top.
        channels: width of each level, from full resolution down; each level halves the resolution.
        blocks: residual blocks on the way down at each level; as many on the way up.
        attention: resolutions at which a level ends in self-attention. With any, the middle has it too.
        cond, head, dropout: width of the conditioning vector, and of an attention head; rate in a block, in training.
        strength: whether it takes a guidance weight as one more input, as a student does.

    Raises:
        ValueError: levels that do not fit the image size or each other, heads that do not divide the channels.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "digits": _DIGITS,
        "cifar": _CIFAR,
        "student": _CIFAR | {"channels": (64, 128, 128), "cond": 160},  # small enough for a web page
        "wide": _CIFAR | {"channels": (256, 512, 512), "blocks": (1, 2, 2), "cond": 512, "head": 128},
    }

    def __init__(self, **size: Any) -> None:
        super().__init__(True, **size)
        channels, blocks, attention, cond, head, dropout = (
            self.args[name] for name in ("channels", "blocks", "attention", "cond", "head", "dropout")
        )
        self.merges, self.ups, self.levels = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        c, side = channels[-1], self.args["image_size"] >> (len(channels) - 1)
        for width, count in reversed(list(zip(channels, blocks, strict=True))):
            self.ups.append(conv(c, width, 1) if c != width else nn.Identity())
            c = width
            self.merges.append(nn.ModuleList(conv(c, c, 1) for _ in range(count)))
            level = [Block(c, c, cond, dropout, side in attention and i == 0, head) for i in range(count)]
            self.levels.append(nn.ModuleList(level))
            side *= 2
        self.last = conv(c, self.args["in_channels"], bias=True, zero=True)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, logsnr: Tensor, y: Tensor, w: Tensor | None = None) -> Tensor:
        """z (b, c, h, w) · logsnr (b,) · y (b,) int64 with −1 for ∅ · w (b,) -> (b, c, h, w) in float32."""
        c = self.conditioning(logsnr, y, w)
        h, skips = self.encoder(z, c)
        for i, (up, merges, level) in enumerate(zip(self.ups, self.merges, self.levels, strict=True)):
            h = double(up(h)) if i > 0 else up(h)
            for merge, block in zip(merges, level, strict=True):  # type: ignore[call-overload]
                h = block(h + merge(skips.pop()), c)
        return self.last(F.silu(rms_norm(h))).float()


class NoisyClassifier(_Down):
    """The way down of the U-Net and average pooling: (z, λ) -> logits of p(c | z_λ).

    Arguments and errors as those of :class:`UNet`. Source: Dhariwal & Nichol 2021, §4.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "digits": _DIGITS | {"cond": 64},
        "cifar": _CIFAR | {"channels": (64, 128, 256), "blocks": (2, 2, 1), "cond": 128},
    }

    def __init__(self, **size: Any) -> None:
        super().__init__(False, **size)
        self.head = nn.Linear(self.args["channels"][-1], self.args["num_classes"])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """z (b, c, h, w) · logsnr (b,) -> logits (b, num_classes) in float32."""
        h, _ = self.encoder(z, self.conditioning(logsnr, None))
        return self.head(F.silu(rms_norm(h)).mean((2, 3))).float()
