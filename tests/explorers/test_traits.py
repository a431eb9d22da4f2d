"""The Python side of the explorers: checked values, a faithful mixture, a state that a page can hold."""

from __future__ import annotations

import inspect
import json
import re

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances

from cfgtoy import GaussianMixture, datasets
from cfgtoy.explorers import (
    FieldExplorer,
    ForwardExplorer,
    ParticleExplorer,
    SamplingExplorer,
    TemperatureExplorer,
    TradeoffExplorer,
    WeightExplorer,
)
from tests.explorers.kinds import EXACT

BAD: list[tuple[type, str, object]] = [
    (ForwardExplorer, "lam", 21.0),
    (ForwardExplorer, "schedule", "sigmoid"),
    (ForwardExplorer, "shift", float("nan")),
    (FieldExplorer, "w", float("inf")),
    (FieldExplorer, "w", "two"),
    (FieldExplorer, "y", 3),
    (FieldExplorer, "y", "0"),
    (FieldExplorer, "layers", [None]),
    (FieldExplorer, "alt", 3),
    (FieldExplorer, "y", -1),
    (FieldExplorer, "layers", ["all"]),
    (FieldExplorer, "layers", "guided"),
    (FieldExplorer, "density", "p"),
    (ParticleExplorer, "lam", 8.5),
    (ParticleExplorer, "twins", 1),
    (SamplingExplorer, "v", 1.5),
    (SamplingExplorer, "steps", 1),
    (SamplingExplorer, "steps", 2.5),
    (SamplingExplorer, "n", 10**6),
    (SamplingExplorer, "sampler", "euler"),
    (SamplingExplorer, "interval", (3.0, 1.0)),
    (SamplingExplorer, "interval", 3.0),
    (SamplingExplorer, "seed", -1),
    (SamplingExplorer, "y", 7),
    (TemperatureExplorer, "temperature", 0.0),
    (TemperatureExplorer, "route", "both"),
    (WeightExplorer, "controls", "w"),
    (WeightExplorer, "controls", [1]),
    (TradeoffExplorer, "blur", -1.0),
    (TradeoffExplorer, "distance", "all"),
    (TradeoffExplorer, "mixture", 3),
    (TradeoffExplorer, "mixture", GaussianMixture(torch.zeros(2, 3), 1.0)),
]


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_bad_values_are_named(kind: type, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*, takes "):
        kind(**{name: value})
    explorer = kind()
    before = getattr(explorer, name)
    with pytest.raises(ValueError, match=rf"^{name}: got .*, takes "):
        setattr(explorer, name, value)
    assert getattr(explorer, name) is before


@pytest.mark.parametrize("kind", EXACT)
def test_none_is_refused_where_it_means_nothing(kind: type) -> None:
    for name in inspect.signature(kind).parameters:
        if kind is SamplingExplorer and name in ("y", "interval"):
            setattr(kind(), name, None)
            continue
        with pytest.raises(ValueError, match=rf"^{name}: got None, takes "):
            setattr(kind(), name, None)
        if name != "mixture":  # whose default it is
            with pytest.raises(ValueError, match=rf"^{name}: got None, takes "):
                kind(**{name: None})


@pytest.mark.parametrize("kind", [FieldExplorer, SamplingExplorer])
def test_a_class_and_its_mixture_fit_at_all_times(kind: type) -> None:
    ring = datasets.ring(8)
    explorer = kind(mixture=ring, y=7)
    with pytest.raises(ValueError, match=r"^y: got class 8, takes 0 … 7$"):
        explorer.y = 8
    with pytest.raises(ValueError, match=r"^mixture: got 3 classes with y = 7, takes more than y$"):
        explorer.mixture = datasets.three_gaussians()
    assert explorer.mixture is ring
    explorer.y = 2
    explorer.mixture = datasets.three_gaussians()
    assert explorer.still()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", EXACT)
def test_help_tells_every_argument(kind: type) -> None:
    _, _, listed = inspect.getdoc(kind).partition("Args:\n")
    names = re.findall(r"^    (\w+): .{10,}", listed.partition("\n\n")[0], re.MULTILINE)
    assert names == list(inspect.signature(kind).parameters)
    with pytest.raises(TypeError, match="colour"):
        kind(colour="red")


@pytest.mark.parametrize("kind", EXACT)
def test_a_display_draws_once_and_leaves_no_widget(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer, drawn = kind(), []
    still = kind.still
    monkeypatch.setattr(kind, "still", lambda self: drawn.append(1) or still(self))
    widgets = len(_instances)
    data, _ = explorer._repr_mimebundle_()
    assert len(drawn) == 1
    assert data["image/png"] in data["text/html"]
    explorer.w = 1.5
    explorer._repr_mimebundle_()
    explorer.static_html()
    assert len(_instances) == widgets


@pytest.mark.parametrize("kind", EXACT)
def test_every_argument_is_a_synced_trait_with_its_default(kind: type) -> None:
    explorer = kind()
    for name, parameter in inspect.signature(kind).parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert explorer.trait_metadata(name, "sync") is True
        if name != "mixture":
            value = getattr(explorer, name)
            assert value == (
                list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            )


@pytest.mark.parametrize(
    "mixture", [datasets.three_gaussians(), datasets.overlapping(), datasets.ring(8), datasets.tree()]
)
def test_mixture_goes_to_json_and_back(mixture: GaussianMixture) -> None:
    explorer = FieldExplorer(mixture=mixture)
    assert explorer.mixture is mixture
    sent = json.loads(json.dumps(explorer.get_state(["mixture"])["mixture"]))
    explorer.set_state({"mixture": sent})
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        explorer.mixture.log_prob(z, 1.0), mixture.log_prob(z, 1.0), rtol=1e-4, atol=1e-4
    )
    assert explorer.mixture.labels.tolist() == mixture.labels.tolist()


@pytest.mark.parametrize("kind", [SamplingExplorer, TradeoffExplorer])
def test_particles_become_samples_that_can_be_observed(kind: type) -> None:
    explorer, seen = kind(), []
    assert explorer.samples is None
    explorer.observe(lambda change: seen.append(explorer.classes.tolist()), "samples")
    rows = np.array([[0.5, -1.0, 0], [2.0, 3.0, 1]], dtype=np.float32)
    explorer.set_state({"_particles": memoryview(rows.tobytes())})
    assert explorer.samples.tolist() == [[0.5, -1.0], [2.0, 3.0]]
    assert explorer.classes.dtype == torch.int64
    assert seen == [[0, 1]]
    assert "_particles" not in explorer.static_state()


@pytest.mark.parametrize("kind", EXACT)
def test_output_holds_a_fragment_and_no_address(kind: type) -> None:
    data, metadata = kind()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"]
    assert metadata["image/png"]["alt"]
    fragment = re.sub(r'src="data:[^"]*"|"sheet":"[^"]*"', "", data["text/html"])  # less its pictures
    assert "http" not in fragment.replace("http://www.w3.org", "")
    assert len(fragment) < (
        195_000 if "data-weights" in fragment else 130_000
    )  # with a network's code, or without


@pytest.mark.parametrize("explorer", EXACT)
def test_still_image_does_not_depend_on_the_default_dtype(explorer: type) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        png, width = explorer().still()
    finally:
        torch.set_default_dtype(torch.float32)
    assert png.startswith(b"\x89PNG")
    assert width > 0
