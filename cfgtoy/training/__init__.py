"""Training: Algorithm 1's objective, an average of the weights, a loop that yields; ``trainer`` is that for images."""

import sys

from . import loop, optimizers
from .loop import Record, Step, fit
from .objective import EMA, diffusion_loss, drop_labels

__all__ = ["EMA", "Record", "Step", "diffusion_loss", "drop_labels", "fit"]

# where ``descend`` and ``Muon`` were
sys.modules |= {f"{__name__}.descent": loop, f"{__name__}.muon": optimizers}
