r"""Samplers: from noise to data along a rising grid of log-SNRs, with any denoiser.

Each sampler is a generator of :class:`State`, so whoever iterates owns the plotting and the logging, and
:func:`sample` runs one to its end. All start from z ~ N(0, I) at λ_1, take one step for each pair of neighbours in the
grid, and end with the clean estimate x̂ at λ_T, as Algorithm 2 of Ho & Salimans 2022 does. λ_1 may be −∞, where z is
noise and nothing else, for denoisers that estimate x, v or the flow there. :data:`SAMPLERS` has an entry for each:

==============  ============================================================  =====  =================
``ancestral``   the reverse process itself, a random step at each level       1      T evaluations
``ddim``        the probability-flow ODE, Euler in σ/α                        1      T
``heun``        the same ODE, trapezoidal                                     2      2T − 1
``dpm++2m``     the same ODE, exponential two-step multistep                  2      T
``langevin``    DDIM, and Langevin steps at each level                        ½      5T − 4
==============  ============================================================  =====  =================

:func:`feynman_kac` stands apart: its samples carry weights, and reach the tilted density that guidance aims at. So does
:func:`gibbs_like`, which runs a sampler more than once: its samples are noised again and denoised with guidance.
"""

from .gibbs import gibbs_like
from .ode import ddim, dpmpp_2m, heun
from .particles import feynman_kac
from .sde import ancestral, langevin
from .state import Noise, State, initial_noise
from .table import SAMPLERS, Method, Sampler, sample, trajectory

__all__ = [
    "SAMPLERS",
    "Method",
    "Noise",
    "Sampler",
    "State",
    "ancestral",
    "ddim",
    "dpmpp_2m",
    "feynman_kac",
    "gibbs_like",
    "heun",
    "initial_noise",
    "langevin",
    "sample",
    "trajectory",
]
