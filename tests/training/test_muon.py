"""Muon against the singular value decomposition, and its bookkeeping."""

from __future__ import annotations

import pytest
import torch

from cfgtoy.training.optimizers import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 16, 16)])
def test_orthogonalize_keeps_directions_and_levels_sizes(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    m = torch.randn(shape, generator=generator)
    found = orthogonalize(m)
    u, _, vh = torch.linalg.svd(m, full_matrices=False)
    core = u.mT @ found @ vh.mT  # diagonal, with entries near 1, if the singular directions were kept
    diagonal = core.diagonal(dim1=-2, dim2=-1)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3
    assert (core - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_first_step_by_hand() -> None:
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.zeros(4, 6))
    g = torch.randn(4, 6)
    w.grad = g.clone()
    Muon([w], lr=0.1, momentum=0.9).step()
    # momentum 0.1 g, then Nesterov (1 − 0.9) g + 0.9 · 0.1 g: a multiple of g, which orthogonalisation forgets
    torch.testing.assert_close(w.data, -0.1 * 0.2 * 6**0.5 * orthogonalize(g[None])[0])


def test_a_convolution_counts_as_a_matrix() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 5, 3, bias=False).to(memory_format=torch.channels_last)
    before = conv.weight.detach().clone()
    conv.weight.grad = torch.randn_like(conv.weight)
    Muon([conv.weight], lr=1.0).step()
    update = (before - conv.weight.detach()).flatten(1) / (0.2 * 27**0.5)
    values = torch.linalg.svdvals(update)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_weights_of_one_shape_together_or_alone() -> None:
    torch.manual_seed(0)
    grads = [torch.randn(4, 6) for _ in range(3)]
    together = [torch.nn.Parameter(torch.ones(4, 6)) for _ in range(3)]
    alone = [torch.nn.Parameter(torch.ones(4, 6)) for _ in range(3)]
    for p, q, g in zip(together, alone, grads, strict=True):
        p.grad, q.grad = g.clone(), g.clone()
    Muon(together, lr=0.1, weight_decay=0.1).step()
    for q in alone:
        Muon([q], lr=0.1, weight_decay=0.1).step()
    for p, q in zip(together, alone, strict=True):
        torch.testing.assert_close(p, q)


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="two or more dimensions"):
        Muon([torch.nn.Parameter(torch.zeros(3))])


def test_it_minimises() -> None:
    torch.manual_seed(0)
    target = torch.randn(8, 8)
    w = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([w], lr=0.05)
    for _ in range(200):
        loss = (w - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02 * target.square().mean()
