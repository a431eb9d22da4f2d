"""The former home of ``images``; its names stay importable from here."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ._files import try_writing
from ._provenance import provenance
from ._ranks import pick_device
from .datasets.images import to_uint8
from .guidance import Classifier
from .guidance import rule as make_rule
from .images import *  # noqa: F403
from .images import Sampling, Settings, draws
from .images import __all__ as _names
from .prediction import Denoiser

__all__ = ["guide", "pick_device", "provenance", "sample_images", "try_writing", *_names]


def guide(model: Denoiser, w: float, how: Sampling, classifier: Classifier | None = None) -> Denoiser:
    """The guided denoiser that ``how`` asks for: ``how.rule`` on the model, with a classifier where it takes one."""
    return make_rule(how.rule)(model, w=w, classifier=classifier)


def sample_images(settings: Settings, w: float, y: Tensor, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """:func:`cfgtoy.images.draws`, in uint8."""
    return ((to_uint8(x), part) for x, part in draws(settings, y, w, **options))
