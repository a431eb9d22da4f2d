"""diffusers, both ways: its models as denoisers, ours as its models, every rule as one of its guiders.

========================  ==========================================================================
:func:`from_diffusers`    a model and its scheduler → a denoiser; UNets, SD3- and FLUX-like transformers
:func:`grid_from`         a scheduler's steps → the rising log-SNRs that our samplers walk
:func:`to_diffusers`      a denoiser → a model for the DDPM, DDIM and DPM-Solver pipelines
:class:`Guider`           a rule of ``guidance.RULES`` → a guider for Modular pipelines
========================  ==========================================================================

Weights here are the paper's w. diffusers counts in the guidance scale s = 1 + w: its 7.5 is w = 6.5, and its 1, "no
guidance", is w = 0.
"""

from typing import Any

from ..._extras import needs

with needs("diffusers"):
    import diffusers as _diffusers  # noqa: F401

from .levels import grid_from
from .load import from_diffusers
from .model import DenoiserModel, to_diffusers

__all__ = ["DenoiserModel", "Guider", "from_diffusers", "grid_from", "to_diffusers"]


def __getattr__(name: str) -> Any:
    # Guiders are young: a diffusers that lacks them can still do the rest.
    if name == "Guider":
        from .guider import Guider

        return Guider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
