"""Adaptive guidance: the unconditional answer is asked for until it agrees with the conditional one."""

from typing import Literal

import torch
from torch import Tensor

from .. import _checks
from ..logsnr import as_logsnr
from ..prediction import NULL, Denoiser, Prediction
from ._branches import Weight, classes, inner, norm, over, weight


def adaptive(
    denoiser: Denoiser, *, w: Weight, threshold: float = 0.991, on: Literal["x", "eps"] = "x"
) -> Denoiser:
    """CFG until the two answers for a sample agree; from the next level on, the conditional model alone.

    The second evaluation is then not made. So this denoiser remembers, for one batch that is drawn from noise to data:
    at a level that is not above the last one, or with a batch of another size, it starts afresh.

    The source compares what the network puts out, ε. Where all is noise both ε are z, so they agree before guidance has
    begun, on any grid that starts deep enough; so x̂ is compared here unless ``on`` says otherwise. In one dimension a
    cosine is 1 or −1.

    Args:
        threshold: the cosine between the two answers from which they agree, in [−1, 1]; 1 is plain CFG, up to rounding.
        on: ``"x"``, x̂, or ``"eps"``, ε̂.

    Source: Castillo et al. 2023 (Adaptive Guidance): from cos(ε(z,c), ε(z)) > threshold on, ε(z,c) alone. That their
    threshold is 0.991 is second-hand: another implementation calls it the paper's, for its own models, where guidance
    ends after about half of 20 steps. Of the paper only the abstract could be looked up. Try your own for your model.
    """
    w, threshold = weight("w", w), _checks.number("threshold", threshold, lo=-1.0, hi=1.0)
    _checks.one_of("on", on, ("x", "eps"))
    # The last level, and the samples (b,) that had agreed before it.
    seen: dict[str, Tensor] = {}

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        lam, y = as_logsnr("logsnr", logsnr, z, noise=True), classes(y, z)
        done = seen.get("done")
        if done is None or len(done) != len(z) or bool(lam.amin() <= seen["level"]):
            done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        # One call: those that agreed once, the others twice.
        rows = (~done).nonzero()[:, 0]
        lams = lam if lam.ndim == 0 else torch.cat([lam, lam[rows]])
        asked = denoiser(torch.cat([z, z[rows]]), lams, torch.cat([y, torch.full_like(y[rows], NULL)]))
        cond = Prediction(z, lam, asked.estimate[: len(z)], asked.kind)
        estimate = cond.estimate.index_copy(0, rows, asked.estimate[len(z) :])
        a, b = cond.as_kind(on), Prediction(z, lam, estimate, asked.kind).as_kind(on)
        cosine = (inner(a, b) / (norm(a) * norm(b))).flatten(1)[:, 0]
        seen["level"], seen["done"] = lam.amax().detach(), done | (cosine > threshold)
        return Prediction(z, lam, cond.estimate + over(w, z) * (cond.estimate - estimate), cond.kind)

    return guided
