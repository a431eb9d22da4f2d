"""The options of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cfgtoy import artifacts, schedules
from cfgtoy.training.config import PRESETS, TrainConfig, preset
from cfgtoy.training.tasks import Evaluator


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_json_and_have_a_schedule_where_there_is_noise(name: str) -> None:
    config = preset(name)
    json.dumps(config.to_json(), allow_nan=False)
    if isinstance(config, Evaluator):  # sees no noise
        assert not hasattr(config, "noise_schedule")
    else:
        assert isinstance(config.noise_schedule(), schedules.Schedule)


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="imagenet"):
        preset("imagenet")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p_uncond", 1.5), ("p_uncond", -0.1), ("images", 0), ("batch", 0), ("accumulate", 0), ("dropout", 1.0),
        ("decay", 2.0), ("lr", 0.0), ("keep", 0), ("label_smoothing", float("nan")), ("warmup", -1), ("clip", -1.0),
        ("ema_halflife", -1), ("grid_every", -1), ("batch", 2.5), ("lr", "fast"), ("weight_decay", float("inf")),
    ],
)  # fmt: skip
def test_values_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        replace(TrainConfig(), **{name: value})


@pytest.mark.parametrize("name", ["shift", "cutout", "label_smoothing"])
def test_values_out_of_range_of_a_classifier(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got -3, takes"):
        TrainConfig(model="evaluator", **{name: -3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schedule", "cosin"), ("kind", "w"), ("optimizer", "adamw"), ("precision", "fp8"), ("weights", "int8"),
        ("weighting", "snr"), ("model", "gan"), ("size", "huge"),
    ],
)  # fmt: skip
def test_names_that_are_not_known(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got '{value}', takes"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    "ends",
    [{"logsnr_min": 30.0}, {"logsnr_max": float("nan")}, {"lognormal_std": -1.0}, {"lognormal_mean": 1e9}],
)
def test_a_law_that_there_is_not_is_refused_at_once(ends: dict[str, float]) -> None:
    (name,) = ends
    with pytest.raises(ValueError, match=f"{name}: got .*takes"):
        TrainConfig(schedule="lognormal", **ends)


def test_each_kind_of_run_has_options_of_its_own() -> None:
    assert isinstance(TrainConfig(model="evaluator"), Evaluator)
    assert not hasattr(preset("digits-evaluator"), "p_uncond")
    for config, name in ((preset("digits"), "shift"), (preset("digits-evaluator"), "p_uncond")):
        with pytest.raises(
            ValueError, match=f"{name}: got 0, takes nothing in a run of model='{config.model}'"
        ):
            replace(config, **{name: 0})


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_json_and_back(name: str) -> None:
    config = replace(preset(name), init=Path("some.safetensors"))
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


SHIPPED = sorted(name for name, entry in artifacts.manifest().items() if "config" in entry.get("made_by", {}))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_say_which_run_made_them(name: str) -> None:
    meta = artifacts.load(name).meta
    said = meta["made_by"]["config"]
    config = TrainConfig.from_json(said)
    assert {said[key] for key in ("model", "images", "lr")} == {config.model, config.images, config.lr}
    assert (
        config.about().items() <= meta.items()
    )  # role, noise law, kind: as the file has them beside the config


@pytest.mark.parametrize("name", ["cosine", "uniform", "lognormal", "linear-beta", "rectified-flow"])
def test_schedule_ends(name: str) -> None:
    schedule = TrainConfig(schedule=name, logsnr_min=-9.0, logsnr_max=11.0).noise_schedule()  # type: ignore[arg-type]
    assert (schedule.lo, schedule.hi) == (-9.0, 11.0)
