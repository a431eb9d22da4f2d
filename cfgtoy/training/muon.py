"""Muon: momentum whose update is made orthogonal, for the matrices and convolutions of a network.

Adam scales each weight alone; Muon takes the whole matrix of a layer and replaces its momentum by the nearest
semi-orthogonal matrix, so that no direction of the layer learns much slower than another. Everything that is not a
hidden matrix (embeddings, gains, biases, the first and the last layer) stays with Adam.

Sources: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; Liu et al. 2025 (arXiv 2502.16982) for the scale
0.2 √max(m, n), which gives updates the size of Adam's, so that both share a learning rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalize"]


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


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for weights of two or more dimensions.

    A convolution (out, in, k, k) counts as a matrix (out, in·k·k). Weights of one shape are worked on together.

    Args:
        params: the weights.
        lr: learning rate, in Adam's size.
        momentum: decay of the running gradient.
        weight_decay: decoupled weight decay.

    Raises:
        ValueError: a parameter with fewer than two dimensions.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(
                        f"params: got one of shape {tuple(p.shape)}, takes two or more dimensions"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all weights that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                    by_shape[tuple(p.shape)].append(p)
            for shape, params in by_shape.items():
                grads = [p.grad for p in params if p.grad is not None]
                momenta = [self.state[p]["momentum"] for p in params]
                torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(grads, momenta, group["momentum"])
                # any fixed order of a convolution's columns will do: NHWC order makes the flattening a view
                matrices = torch.stack([_matrix(g) for g in nesterov])  # (n, out, in·k·k)
                scale = 0.2 * max(matrices.shape[-2:]) ** 0.5
                updates = [_unmatrix(u, shape).to(params[0].dtype) for u in orthogonalize(matrices)]
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(params, updates, alpha=-group["lr"] * scale)
        return loss


def _matrix(w: Tensor) -> Tensor:
    return w.permute(0, 2, 3, 1).flatten(1) if w.ndim == 4 else w.flatten(1)


def _unmatrix(m: Tensor, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 4:
        return m.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    return m.view(shape)
