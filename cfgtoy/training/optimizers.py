"""The optimizers of a run, their learning rate, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .muon import Muon
from .options import TrainConfig

__all__ = ["load_state", "make_optimizers", "rate", "state"]

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
