r"""Guidance: pure functions from denoisers to a denoiser.

``denoiser`` answers for a class, and for NULL where a rule asks without one. ``w`` is the paper's weight, one number or
(b,), so w = 0 is the plain conditional model and w = −1 the unconditional one; :func:`w_from_scale` turns the scale
s = 1 + w of most image tools into it. Nothing here switches guidance off behind your back: every formula holds at
every w. A ``w`` that is not finite or an option out of its range is a ``ValueError``, as are, on a call, weights or
classes that do not fit.

===========================  ====================================================================================
:func:`classifier_free`      ε̃ = (1+w) ε(z,c) − w ε(z)                       Ho & Salimans 2022, eq. 6
:func:`classifier`           ε̃ = ε(z,c) − w σ ∇ log p(c|z)                   Dhariwal & Nichol 2021; ibid. §3.1
:func:`negative`             ε̃ = (1+w) ε(z,c) − w ε(z,c')                    the "negative prompt"
:func:`auto`                 ε̃ = (1+w) ε_good − w ε_bad                      Karras et al. 2024
:func:`interval`             guided in [lo, hi] of λ, unguided elsewhere      Kynkäänniemi et al. 2024
:func:`rescale`              the guided ẽ back at the conditional's size      Lin et al. 2023
:func:`apg`                  guide across x̂ more than along it                Sadat et al. 2024
:func:`power_law`            weight grows with the size of the difference     Pavasovic et al. 2025
:func:`cfg_plus_plus`        guide the estimate, renoise without guidance     Chung et al. 2024
:func:`cfg_zero_star`        scale u(z) to fit u(z,c) before extrapolating    Fan et al. 2025
:func:`dynamic_threshold`    clip and rescale x̂ by its own quantile           Saharia et al. 2022
:func:`tcfg`                 drop of ε(z) what lies across both branches      Kwon et al. 2025
:func:`mambo_g`              weight shrinks with ‖Δu‖/‖u(z)‖                  Zhu et al. 2025
:func:`weight_schedule`      weight w · shape(λ), of mean w                   Wang et al. 2024; Malarz et al. 2025
:func:`adaptive`             w until the two answers agree, then one answer   Castillo et al. 2023
:func:`frequency_decoupled`  w on what is fine, low · w on what is coarse     Sadat et al. 2025
:func:`total`                away from ∅ and from a degraded copy             Ahn et al. 2024; Hong 2024
:func:`recfg`                scale ε(z) to fit ε(z,c) over the data           Xia et al. 2024
:func:`zero_init`            no motion, u = 0, at the noisiest levels         Fan et al. 2025
===========================  ====================================================================================

:data:`RULES` names all that have a weight, and :func:`rule` makes a rule with its options that can be written down:

>>> guided = rule("apg", eta=0.2)(denoiser, w=2.0)  # doctest: +SKIP
"""

from ._branches import pair, scale_from_w, unconditional, w_from_scale
from .affine import auto, classifier_free, negative, several, total
from .gradient import Classifier, classifier, classifier_grad, implicit_classifier_grad
from .magnitude import frequency_decoupled, mambo_g, power_law
from .projected import apg, cfg_zero_star, tcfg
from .rectified import Ratios, recfg
from .rescaling import dynamic_threshold, rescale
from .scheduled import adaptive, cfg_plus_plus, interval, weight_schedule, zero_init
from .table import PARTS, RULES, UNGUIDED_AT_ZERO, Rule, rule
from .units import convert_interval

RULES |= {
    "classifier-free": classifier_free,
    "classifier": classifier,
    "negative": negative,
    "auto": auto,
    "interval": interval,
    "rescale": rescale,
    "apg": apg,
    "power-law": power_law,
    "cfg-plus-plus": cfg_plus_plus,
    "cfg-zero-star": cfg_zero_star,
    "dynamic-threshold": dynamic_threshold,
    "tcfg": tcfg,
    "mambo-g": mambo_g,
    "weight-schedule": weight_schedule,
    "adaptive": adaptive,
    "frequency-decoupled": frequency_decoupled,
    "total": total,
    "recfg": recfg,
}
# CFG++ renoises by ∅ at every weight, and a threshold clips at every weight.
UNGUIDED_AT_ZERO |= RULES.keys() - {"cfg-plus-plus", "dynamic-threshold"}

__all__ = [
    "PARTS",
    "RULES",
    "Classifier",
    "Ratios",
    "Rule",
    "classifier_grad",
    "convert_interval",
    "implicit_classifier_grad",
    "pair",
    "rule",
    "scale_from_w",
    "several",
    "unconditional",
    "w_from_scale",
    "zero_init",
    *(made.__name__ for made in RULES.values()),
]
