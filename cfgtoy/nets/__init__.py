"""Networks: plain torch modules ``net(z, logsnr, y) -> tensor``, with neither sampling nor loss inside.

:class:`MLP` and :class:`MLPClassifier` work on points. The image networks live in ``cfgtoy.nets.unet``,
``cfgtoy.nets.image_classifier`` and ``cfgtoy.nets.evaluator``.
"""

from .mlp import MLP, MLPClassifier

__all__ = ["MLP", "MLPClassifier"]
