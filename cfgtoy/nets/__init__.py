"""Networks: plain torch modules ``net(z, logsnr, y) -> tensor``, with neither sampling nor loss inside."""

from .mlp import MLP, MLPClassifier

__all__ = ["MLP", "MLPClassifier"]
