"""Training: Algorithm 1's objective, an average of the weights, a loop that yields; ``trainer`` is that for images."""

from .loop import Record, Step, fit
from .objective import EMA, diffusion_loss, drop_labels

__all__ = ["EMA", "Record", "Step", "diffusion_loss", "drop_labels", "fit"]
