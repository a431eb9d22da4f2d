"""Images: draw them from any denoiser by any rule, lay them out in sheets, and measure them against real ones."""

from .evaluation import EvalConfig, evaluate
from .sampling import Sampling, Settings, draws, level_grid, sample
from .sheets import sheet, sweep_sheet

__all__ = [
    "EvalConfig",
    "Sampling",
    "Settings",
    "draws",
    "evaluate",
    "level_grid",
    "sample",
    "sheet",
    "sweep_sheet",
]
