"""The gallery: classes, scale, and the promises its docstrings make."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from cfgtoy import GaussianMixture, datasets
from tests.forked import python


@pytest.mark.parametrize("name", list(datasets.GALLERY))
def test_every_mixture_is_planar_labelled_and_of_unit_scale(name):
    m = datasets.GALLERY[name]()
    assert isinstance(m, GaussianMixture)
    assert m.dim == 2
    assert sorted(set(m.labels.tolist())) == list(range(m.num_classes))
    assert m.weights.sum().item() == pytest.approx(1, abs=1e-5)
    mean, cov = m.mean_cov()
    assert 0.3 < cov.diagonal().mean().sqrt().item() < 1.6
    assert mean.norm().item() < 1.0
    x, y = m.sample_labeled(500, Generator().manual_seed(0))
    assert x.shape == (500, 2)
    assert set(y.tolist()) == set(range(m.num_classes))


def test_classes_and_components():
    counts = {name: (make().num_classes, make().num_components) for name, make in datasets.GALLERY.items()}
    assert counts["three Gaussians"] == (3, 3)
    assert counts["ring of eight"] == (8, 8)
    assert counts["two overlapping classes"] == (2, 8)
    assert counts["tree"] == (2, 2 * (2**5 - 1))


def test_means_of_circles():
    m = datasets.three_gaussians(radius=2.0, std=0.3, dtype=torch.float64)
    torch.testing.assert_close(m.means.norm(dim=1), torch.full((3,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(m.means.sum(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
    assert m.covs[0, 0, 0].item() == pytest.approx(0.09, abs=1e-15)
    ring = datasets.ring(5, radius=1.0, dtype=torch.float64)
    gaps = torch.cdist(ring.means, ring.means)
    torch.testing.assert_close(gaps.sort(1).values[:, 1], gaps.sort(1).values[0, 1].expand(5))


def test_overlapping_overlaps_and_the_ring_does_not():
    for make, low, high in ((datasets.overlapping, 0.05, 0.45), (datasets.ring, 0.0, 0.01)):
        m = make()
        x, y = m.sample_labeled(4000, Generator().manual_seed(0))
        wrong = (m.class_log_prob(x, 30.0).argmax(1) != y).double().mean().item()
        assert low <= wrong <= high


def test_a_tree_grows_by_depth():
    for depth in (1, 3):
        m = datasets.tree(depth)
        assert m.num_components == 2 * (2**depth - 1)
        weights = m.weights / m.weights.max()
        assert weights.min().item() == pytest.approx(0.5 ** (depth - 1))


def test_gallery_in_both_precisions():
    for make in (datasets.three_gaussians, datasets.ring, datasets.overlapping, datasets.tree):
        double = make(dtype=torch.float64)
        torch.testing.assert_close(double.to(dtype=torch.float32).means, make().means)
        z = torch.randn(5, 2, dtype=torch.float64)
        assert double.score(z, 0.0).dtype == torch.float64


def test_import_is_light():
    """No plotting, notebook or image library comes in with ``import cfgtoy``, nor does an image set."""
    heavy = "matplotlib", "anywidget", "ipywidgets", "PIL", "sklearn", "scipy", "pandas", "diffusers", "pooch"
    code = (
        "import sys, time\n"
        "import torch\n"
        "start = time.perf_counter()\n"
        "import cfgtoy\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
        "print(time.perf_counter() - start)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    loaded, seconds = done.stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 2  # on top of torch, which benchmarks/import_time.py counts too
