"""Guidance by the gradient of a classifier, and the classifier that hides in a conditional model."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr, per_sample
from ..prediction import NULL, Denoiser, Prediction
from ._branches import Weight, both, classes, over, weight
from ._branches import unconditional as without_class

Classifier = Callable[[Tensor, Tensor], Tensor]
"""``(z, logsnr) -> log p(c | z_λ)``, (b, C)."""


def classifier(
    denoiser: Denoiser, classifier: Classifier, *, w: Weight, unconditional: bool = False
) -> Denoiser:
    """Classifier guidance. At w = 0 it asks neither for a class's probability nor for its gradient.

    Args:
        classifier: log p(c | z_λ), (b, C); must know noisy samples. See :func:`classifier_grad`.
        unconditional: guide the model without its class, with the weight w + 1: in theory the same, and in practice
            the classifier then has to supply the class alone.

    Raises ``ValueError``: ``classifier`` is not a function; on a call, labels that do not fit.
    Source: Dhariwal & Nichol 2021, §4; Ho & Salimans 2022, §3.1: ε̃ = ε(z,c) − w σ ∇_z log p(c|z).
    """
    w, classifier = weight("w", w), _checks.function("classifier", classifier)
    if unconditional:
        denoiser, w = without_class(denoiser), w + 1
    if not isinstance(w, Tensor) and w == 0:
        return denoiser

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        push = over(w, z) * classifier_grad(classifier, z, logsnr, y)
        return denoiser(z, logsnr, y).plus(push, "score")

    return guided


def classifier_grad(classifier: Classifier, z: Tensor, lam: Tensor | float, y: Tensor | int | None) -> Tensor:
    r"""∇_z log p(y | z_λ), (b, \*d): by the classifier's own ``grad`` where it has one, else by autograd.

    Args:
        classifier: ``(z, logsnr) -> log p(c | z)`` (b, C); an unnormalised logit will not do. If it has a method
            ``grad(z, logsnr, y)``, that is used.
        z, lam: (b, \\*d), and log-SNR, () or (b,).
        y: classes (b,); where it is NULL the gradient is zero.

    Raises ``ValueError``: a class the classifier does not know, or shapes that do not fit.
    """
    logsnr = as_logsnr("lam", lam, _checks.tensor("z", z), check=False)
    rows = classes(y, z)
    if callable(own := getattr(classifier, "grad", None)):
        grad = own(z, logsnr, rows.clamp(min=0))
    else:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            log_probs = classifier(leaf, logsnr)
            fits = log_probs.ndim == 2 and len(log_probs) == len(z)
            _checks.require(fits, "classifier", log_probs, f"log-probabilities ({len(z)}, C)")
            _checks.labels("y", rows, log_probs.shape[1], null=NULL)
            picked = log_probs.gather(1, rows.clamp(min=0)[:, None])
            (grad,) = torch.autograd.grad(picked.sum(), leaf)
    return torch.where(per_sample(rows == NULL, z), torch.zeros_like(grad), grad)


def implicit_classifier_grad(denoiser: Denoiser, z: Tensor, lam: Tensor | float, y: Tensor | int) -> Tensor:
    r"""∇_z log p^i(c | z) = −(1/σ) [ε(z, c) − ε(z)], (b, \*d): the classifier hidden in a conditional model.

    Exact scores make it the true classifier's gradient; a learned one need be no gradient at all.

    Args:
        z, lam, y: (b, \\*d); log-SNR, () or (b,); classes, (b,) or one int.

    Raises ``ValueError``: labels or log-SNRs that do not fit.
    Source: Ho & Salimans 2022, §3.2.
    """
    cond, uncond = both(denoiser, z, as_logsnr("lam", lam, _checks.tensor("z", z)), y)
    return cond.score - uncond.score
