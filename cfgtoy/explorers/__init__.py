"""What a reader plays with: widgets that are alive in JupyterLab and in the book's static pages."""

import sys

from .._extras import needs

with needs("explorers"):
    from . import _exact
    from ._exact import (
        FieldExplorer,
        ForwardExplorer,
        ParticleExplorer,
        SamplingExplorer,
        TemperatureExplorer,
        TradeoffExplorer,
    )
    from ._frames import Frames, frames
    from ._static import StaticWidget
    from .digits import DigitsExplorer
    from .photos import PhotosExplorer
    from .weight import WeightExplorer

__all__ = [
    "DigitsExplorer",
    "FieldExplorer",
    "ForwardExplorer",
    "Frames",
    "ParticleExplorer",
    "PhotosExplorer",
    "SamplingExplorer",
    "StaticWidget",
    "TemperatureExplorer",
    "TradeoffExplorer",
    "WeightExplorer",
    "frames",
]

# they had a file each, and can be imported from there
for _file in ("field", "forward", "particle", "sampling", "temperature", "tradeoff"):
    sys.modules[f"{__name__}.{_file}"] = _exact
