"""Diffusion guidance, exactly: on Gaussian mixtures every score, posterior and guided density has a closed form.

One idea carries the package. A **denoiser** is a function of a noisy sample, its log-SNR and a class. **Guidance** maps
denoisers to a denoiser. A **sampler** integrates any denoiser. The exact Gaussian mixture, a small MLP and a CIFAR
U-Net are all denoisers, so every chapter, slider, metric and command works on all three.
"""

from . import classifiers, datasets, guidance, logsnr, metrics, nets, process, samplers, schedules, training
from .mixture import GaussianMixture
from .prediction import NULL, Denoiser, NetDenoiser, Prediction

__version__ = "0.1.0"

__all__ = [
    "NULL",
    "Denoiser",
    "GaussianMixture",
    "NetDenoiser",
    "Prediction",
    "classifiers",
    "datasets",
    "guidance",
    "logsnr",
    "metrics",
    "nets",
    "process",
    "samplers",
    "schedules",
    "training",
]
