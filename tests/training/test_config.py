"""The options of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cfgtoy import schedules
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
        ("decay", 2.0), ("lr", 0.0), ("keep", 0), ("label_smoothing", float("nan")),
    ],
)  # fmt: skip
def test_values_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        replace(TrainConfig(), **{name: value})


@pytest.mark.parametrize("name", ["cosine", "uniform", "lognormal"])
def test_schedule_ends(name: str) -> None:
    schedule = TrainConfig(schedule=name, logsnr_min=-9.0, logsnr_max=11.0).noise_schedule()  # type: ignore[arg-type]
    assert (schedule.lo, schedule.hi) == (-9.0, 11.0)
