"""The optimizers of a run, Muon among them, their learning rate, and their state as named tensors."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .options import TrainConfig

_NOT_HIDDEN = {"stem", "conditioning", "modulation", "last", "head", "classifier"}


def make_optimizers(net: nn.Module, config: TrainConfig, device: torch.device) -> list[Optimizer]:
    """What ``config.optimizer`` names: SGD with momentum, AdamW, or Muon for the hidden matrices beside AdamW."""
    params = list(net.named_parameters())
    how: dict[str, Any] = {"weight_decay": config.weight_decay, "fused": device.type == "cuda"}
    if config.optimizer == "sgd":
        decayed, rest = [p for _, p in params if p.ndim > 1], [p for _, p in params if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        return [torch.optim.SGD(groups, config.lr, momentum=0.9, nesterov=True, **how)]
    hidden: dict[str, nn.Parameter] = {}
    if config.optimizer == "muon":
        hidden = {
            name: p for name, p in params
            if (p.ndim == 2 or (p.ndim == 4 and p.shape[-1] > 1)) and not _NOT_HIDDEN & set(name.split("."))
        }  # fmt: skip
    rest = [p for name, p in params if name not in hidden]
    adam = torch.optim.AdamW(rest, config.lr_adam if hidden else config.lr, betas=(0.9, 0.99), **how)
    return [adam, Muon(hidden.values(), config.lr, weight_decay=config.weight_decay)] if hidden else [adam]


def rate(images: int, config: TrainConfig) -> float:
    """The learning rate's factor after ``images``: up over the warm-up, down to zero over the last part."""
    up = min(1.0, (images + config.batch) / max(config.warmup, 1))
    down = min(1.0, (config.images - images) / max(config.decay * config.images, 1.0))
    return max(0.0, min(up, down))


def state(optimizers: Iterable[Optimizer]) -> dict[str, Tensor]:
    """What the optimizers remember, as ``{"optimizer0/parameter/slot": tensor}``."""
    return {
        f"optimizer{i}/{j}/{slot}": value
        for i, optimizer in enumerate(optimizers)
        for j, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def load_state(optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
    """Fill an optimizer's state from ``{"parameter/slot": tensor}``, in the memory format of the parameters."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in slots.items():
        index, _, slot = name.partition("/")
        found.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})
    for p, values in optimizer.state.items():
        for slot, value in values.items():
            if isinstance(value, Tensor) and value.shape == p.shape:
                values[slot] = torch.empty_like(p, requires_grad=False).copy_(value)


def orthogonalize(m: Tensor, steps: int = 5) -> Tensor:
    """Move the singular values of each matrix m (n, rows, columns) near 1 by Newton–Schulz iterations.

    The quintic's coefficients bring every singular value of the normalised matrix into about [0.7, 1.2] in five
    steps: closer is not needed. Works in bfloat16 on CUDA, in float32 elsewhere.
    """
    x = m.to(torch.bfloat16 if m.is_cuda else torch.float32)
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT  # (n, r, c) with r ≤ c: the smaller Gram matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT  # (n, r, r)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x if wide else x.mT


class Muon(Optimizer):
    """Muon for weights of two or more dimensions, else a ``ValueError``: momentum, made orthogonal before each update.

    So no direction of a layer learns much slower than another. A convolution (out, in, k, k) counts as a matrix
    (out, in·k·k). ``momentum`` is Nesterov's, ``weight_decay`` decoupled.

    Sources: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; Liu et al. 2025 (arXiv 2502.16982) for the
    scale 0.2 √max(m, n), which gives updates the size of Adam's, so that both share a learning rate.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.ndim < 2:
                raise ValueError(f"params: got one of shape {tuple(p.shape)}, takes two or more dimensions")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all weights that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                    by_shape[p.shape].append(p)
            for params in by_shape.values():
                grads: list[Any] = [p.grad for p in params]
                momenta = [self.state[p]["momentum"] for p in params]
                torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(grads, momenta, group["momentum"])
                # any fixed order of a convolution's columns will do: NHWC order makes the flattening a view
                last = torch.stack([g.movedim(1, -1) for g in nesterov])  # (n, out, k, k, in)
                matrices = last.flatten(2)  # (n, out, k·k·in)
                scale = 0.2 * max(matrices.shape[-2:]) ** 0.5
                updates = list(orthogonalize(matrices).view(last.shape).movedim(-1, 2).to(params[0].dtype))
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, updates, alpha=-group["lr"] * scale)
        return loss
