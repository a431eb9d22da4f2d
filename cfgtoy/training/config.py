"""The recipes: runs with a name, from which the command line and ``dataclasses.replace`` start."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _checks
from .distill import Student
from .options import TrainConfig
from .tasks import Denoiser, Evaluator, NoisyClassifier

_CIFAR: dict[str, Any] = {"checkpoint_every": 4_000_000, "grid_every": 8_000_000, "keep": 5}
_CIFAR_LAW: dict[str, Any] = {
    "schedule": "lognormal", "logsnr_min": -10.0, "logsnr_max": 14.0, "lognormal_mean": -1.0, "lognormal_std": 1.3,
}  # fmt: skip
_DIGITS: dict[str, Any] = {
    "dataset": "digits", "size": "digits", "images": 200_000, "batch": 256, "lr": 2e-3, "lr_adam": 1e-3,
    "warmup": 10_000, "ema_halflife": 20_000, "flip": False, "precision": "float32", "compile": False,
    "checkpoint_every": 100_000, "grid_every": 0, "keep": 2,
}  # fmt: skip
_DIGITS_LAW: dict[str, Any] = {
    "schedule": "lognormal", "logsnr_min": -10.0, "logsnr_max": 10.0, "lognormal_mean": -0.5, "lognormal_std": 1.2,
}  # fmt: skip
_NOISY: dict[str, Any] = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.05}
_CLEAN: dict[str, Any] = {
    "optimizer": "sgd", "lr": 0.4, "weight_decay": 5e-4, "warmup": 500_000, "decay": 0.9, "batch": 512,
    "label_smoothing": 0.1, "clip": 0.0, "shift": 4, "grid_every": 0,
}  # fmt: skip
_CIFAR10 = Denoiser(**_CIFAR, **_CIFAR_LAW, dropout=0.05)
_CIFAR10_STUDENT = Student(
    **_CIFAR, **_CIFAR_LAW, images=2_000_000, images_halving=2_500_000, halve_from=128, batch=1024, lr=1e-3,
    lr_adam=5e-4, warmup=100_000, ema_halflife=150_000,
)  # fmt: skip
_EVALUATOR = Evaluator(**_CIFAR | _CLEAN, images=5_000_000, cutout=8, ema_halflife=100_000)
_RECIPES: dict[str, TrainConfig] = {
    "cifar10": _CIFAR10,
    # for --init: weights that have seen 15 M images come to 40 M
    "cifar10-more": replace(_CIFAR10, images=25_000_000, seed=1, lr=2e-3, lr_adam=1e-3),
    "cifar10-short": replace(  # about 300 s on one H200
        _CIFAR10, images=6_300_000, batch=1024, decay=0.5, dropout=0.0, warmup=200_000, ema_halflife=250_000
    ),
    "cifar10-wide": replace(_CIFAR10, size="wide"),
    "cifar10-noisy-classifier": NoisyClassifier(
        **_CIFAR, **_CIFAR_LAW, **_NOISY, images=6_000_000, batch=512, decay=0.9, dropout=0.1,
        ema_halflife=200_000, shift=2,
    ),
    "cifar10-evaluator": _EVALUATOR,
    # probabilities that an Inception Score can be read from
    "cifar10-evaluator-sharp": replace(_EVALUATOR, label_smoothing=0.0),
    "digits": Denoiser(**_DIGITS, **_DIGITS_LAW),
    "digits-noisy-classifier": NoisyClassifier(**_DIGITS | _NOISY, **_DIGITS_LAW),
    "digits-evaluator": replace(
        Evaluator(**_DIGITS | _CLEAN), images=150_000, ema_halflife=5_000, batch=128, warmup=10_000, lr=0.1, shift=1
    ),
    "digits-student": Student(
        **_DIGITS | {"images": 64_000, "batch": 128, "lr": 1e-3, "warmup": 4_000, "ema_halflife": 4_000},
        **_DIGITS_LAW, teacher="digits", images_halving=32_000,
    ),
    "cifar10-student": replace(  # from nothing, as it is smaller than its teacher
        _CIFAR10_STUDENT, size="student", images=8_000_000, images_halving=6_000_000, halve_from=64, stride=4,
        lr=2e-3, lr_adam=1e-3, ema_halflife=250_000,
    ),
    "cifar10-student-full": _CIFAR10_STUDENT,  # of the teacher's size, and begins as it
    "folder": replace(_CIFAR10, dataset=""),
}  # fmt: skip
#: Named starting points: ``replace(preset(name), …)`` or the command line change what differs.
PRESETS = {name: replace(recipe, out=Path("runs") / name) for name, recipe in _RECIPES.items()}


def preset(name: str) -> TrainConfig:
    """The options of a named run; a ``ValueError`` for an unknown name."""
    return PRESETS[_checks.one_of("name", name, PRESETS)]
