"""ReCFG: the unconditional estimate's coefficient from what the data say, not from a sum of one."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from .. import _checks
from ..logsnr import as_logsnr
from ..prediction import Denoiser, Prediction
from ..process import diffuse
from ._branches import Weight, both, classes, over, weight


class Ratios:
    """The ratio r = E[ε_c ε_∅] / E[ε_∅²], entry by entry, for each class and level, over noised data.

    r is the least-squares fit of ε_c by ε_∅. Each class and level is measured when first asked for, with noise of its
    own, and kept. Called, it gives (1 − r)/k, with k the slope of ε in the denoiser's own estimate: that is
    E[(e_∅ − e_c) ε_∅]/E[ε_∅²] of the estimates e, and nothing cancels. Where y is NULL it is zero.

    Args:
        x, y: clean samples, (n, \\*d), and their classes, (n,).
        n: how many of a class are used at most.

    Raises ``ValueError``: on a call, a class of which ``x`` has no sample.
    Source: Xia et al. 2024 (ReCFG), as in the authors' code.
    """

    def __init__(self, denoiser: Denoiser, x: Tensor, y: Tensor, n: int = 1000) -> None:
        self.denoiser, self.x, self.y, self.n = denoiser, x, y, _checks.positive_int("n", n)
        self.kept: dict[tuple[float, int], Tensor] = {}

    def __call__(self, logsnr: Tensor, y: Tensor) -> Tensor:
        lam = logsnr.expand(len(y))
        found = torch.zeros(len(y), *self.x.shape[1:], dtype=self.x.dtype, device=y.device)
        for level in lam.unique():
            for c in y[(lam == level) & (y >= 0)].unique():
                found[(lam == level) & (y == c)] = self._one(level, int(c)).to(found)
        return found

    @torch.no_grad()
    def _one(self, level: Tensor, c: int) -> Tensor:
        key = (level.item(), c)
        if key not in self.kept:
            x = self.x[self.y == c][: self.n]
            _checks.require(len(x), "y", f"class {c}", "a class of which the data have samples")
            noise = torch.randn(x.shape, generator=Generator().manual_seed(c), dtype=x.dtype).to(x)
            cond, uncond = both(self.denoiser, diffuse(x, level.to(x), noise=noise), level.to(x), c)
            gap, eps = uncond.estimate - cond.estimate, uncond.eps
            self.kept[key] = (gap * eps).mean(0) / eps.square().mean(0).clamp(min=torch.finfo(x.dtype).tiny)
        return self.kept[key]


def recfg(denoiser: Denoiser, *, w: Weight, ratios: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """ReCFG: ε_∅ scaled to fit ε_c over the data, before extrapolating away from it.

    On two centred Gaussians the fit is perfect, ε_c = r ε_∅, and nothing is left to guide by at any weight.
    ``ratios(logsnr, y)``, (b, \\*d), is as in :class:`Ratios`; all zeros are plain CFG.

    Source: Xia et al. 2024 (ReCFG), as in the authors' code: ε̃ = (1+w) ε_c − w r ε_∅.
    """
    w, ratios = weight("w", w), _checks.function("ratios", ratios)

    def guided(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
        cond, uncond = both(denoiser, z, logsnr, y)
        rest = ratios(as_logsnr("logsnr", logsnr, z, noise=True), classes(y, z)).to(z)
        push = over(w, z) * (cond.estimate - uncond.estimate + rest * uncond.eps)
        return Prediction(z, cond.logsnr, cond.estimate + push, cond.kind)

    return guided
