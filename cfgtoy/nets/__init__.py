"""Networks: plain torch modules ``net(z, logsnr, y) -> tensor``, with neither sampling nor loss inside.

:class:`MLP` and :class:`MLPClassifier` work on points; ``cfgtoy.nets.unet`` and ``.evaluator`` hold those for images.
"""

from .mlp import MLP, MLPClassifier

__all__ = ["MLP", "MLPClassifier"]
