"""Training: the objective of Algorithm 1, an average of the weights, and a loop that yields.

This package front holds what points and images share. The trainer for images (checkpoints, several GPUs, typed
configs) is ``cfgtoy.training.trainer``.
"""

from .loop import Record, Step, fit
from .objective import EMA, diffusion_loss, drop_labels

__all__ = ["EMA", "Record", "Step", "diffusion_loss", "drop_labels", "fit"]
