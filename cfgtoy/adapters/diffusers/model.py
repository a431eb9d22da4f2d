"""A denoiser of this package as a model of diffusers, for its unconditional pipelines."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import diffusers
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from ... import _checks, nets
from ...logsnr import from_flow
from ...prediction import Denoiser, NetDenoiser
from .levels import Levels


class DenoiserModel(ModelMixin, ConfigMixin):
    """What :func:`to_diffusers` returns: a denoiser with its class, called as ``model(sample, timestep)``.

    The arguments are what ``config.json`` holds; ``DenoiserModel.from_pretrained(folder)`` and, once this module is
    imported, ``DDPMPipeline.from_pretrained(folder)`` read them back.

    Args:
        net, size, kind: the network's module and class in :mod:`cfgtoy.nets`, ``"unet.UNet"``, its arguments and what
            it estimates; ``net`` is None for a denoiser that is none, which cannot be saved.
        y: the class asked for, one or one a sample; None for ∅.
        scheduler: the configuration of the scheduler whose timesteps the model is called with.
        in_channels, sample_size: of a sample, (in_channels, \\*sample_size).
    """

    @register_to_config
    def __init__(
        self,
        net: str | None = None,
        size: Mapping[str, Any] | None = None,
        kind: str = "eps",
        y: int | Sequence[int] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        in_channels: int | None = None,
        sample_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if scheduler is None:
            raise ValueError("scheduler: got None, takes the configuration of a scheduler")
        self._levels = Levels(getattr(diffusers, scheduler["_class_name"]).from_config(scheduler))
        self._y, self._rebuildable = y, net is not None
        self._points = sample_size is not None and list(sample_size) == [1, 1]
        # Pipelines ask for the model's dtype, which it has without a network too.
        self.register_buffer("_dtype", torch.zeros(()), persistent=False)
        if net is not None:
            module, name = net.split(".")
            built = getattr(import_module(f"{nets.__name__}.{module}"), name)(**(size or {}))
            self.networks = nn.ModuleList([built])
            self._denoiser: Denoiser = NetDenoiser(built, kind)  # type: ignore[arg-type]

    def forward(self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True) -> Any:
        """What the scheduler's prediction type asks for at ``sample`` (b, c, h, w), of its shape.

        A sample of points (b, d) in d channels of one pixel is fine too.
        """
        lam = self._levels.logsnr(torch.as_tensor(timestep, device=sample.device)).to(sample)
        z = sample.flatten(1) if self._points else sample
        if self._levels.flow:
            z = from_flow(z, lam)
        y = None if self._y is None else torch.as_tensor(self._y, device=z.device).expand(len(z))
        with torch.no_grad():
            out = self._denoiser(z, lam, y).as_kind(self._levels.kind).to(sample.dtype).reshape(sample.shape)
        return UNet2DOutput(sample=out) if return_dict else (out,)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write ``config.json`` and the weights. ``ValueError``: the denoiser is not one of this package's networks."""
        if not self._rebuildable:
            got = f"{type(self._denoiser).__name__}, which has no file to go to"
            takes = "a NetDenoiser around a network of cfgtoy.nets"
            raise ValueError(f"denoiser: got {got}; save_pretrained takes {takes}")
        super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]


def to_diffusers(
    denoiser: Denoiser,
    scheduler: Any,
    y: Tensor | Sequence[int] | int | None = None,
    *,
    shape: Sequence[int] | None = None,
) -> DenoiserModel:
    """A denoiser, guided or not, as a model for diffusers' unconditional pipelines and for its schedulers' loops.

    ::

        model = to_diffusers(guidance.classifier_free(denoiser, w=2.0), scheduler, y=3)  # diffusers' scale 3: s = 1 + w
        images = DDPMPipeline(unet=model, scheduler=scheduler)(batch_size=4, num_inference_steps=50).images

    The model answers what ``scheduler.config.prediction_type`` asks for, at the timesteps of that scheduler's training.
    It has no gradients. diffusers clips images to [−1, 1] at the end, and some schedulers in each step
    (``clip_sample``).

    Args:
        denoiser: any denoiser. A :class:`~cfgtoy.NetDenoiser` around one of :mod:`cfgtoy.nets` can be saved.
        scheduler: one of diffusers' schedulers with ``alphas_cumprod``, or a flow-matching one.
        y: the class asked for: one for all, or one a sample, (b,); None for ∅.
        shape: of one sample, which pipelines start from: (c, h, w), or (d,) for points, which diffusers sees as d
            channels of one pixel. That of the network or mixture inside ``denoiser`` when absent.

    Raises ``ValueError``: a scheduler or prediction type that is not known, or a shape or class that does not fit.
    Source: diffusers, ``pipelines/ddpm``.
    """
    Levels(scheduler)
    _checks.require(callable(denoiser), "denoiser", type(denoiser).__name__, "a denoiser")
    classes = y.tolist() if isinstance(y, Tensor) else y
    each = classes if isinstance(classes, list | tuple) else [] if classes is None else [classes]
    whole = all(isinstance(c, int) for c in each)
    _checks.require(whole, "y", f"{y!r}", "one integer class, or one a sample, (b,)")
    found = _inside(denoiser)
    own: dict[str, Any] = {}
    if isinstance(denoiser, NetDenoiser) and (args := _args(denoiser)):
        net = type(denoiser.net)
        name = f"{net.__module__.rpartition('.')[2]}.{net.__name__}"
        own = {"net": name, "size": args, "kind": denoiser.kind}
    channels, size = _shape(found, shape)
    read = {**scheduler.config, "_class_name": type(scheduler).__name__}
    model = DenoiserModel(y=classes, scheduler=read, in_channels=channels, sample_size=size, **own)
    # the networks themselves, not copies, so that moving the model moves them
    model.networks = nn.ModuleList(d.net for d in found if isinstance(getattr(d, "net", None), nn.Module))
    model._denoiser = denoiser
    return model.eval()


def _inside(denoiser: Any) -> list[Any]:
    """The denoisers that a guided one is made of, itself if it is made of none: rules are functions around them."""
    if not inspect.isfunction(denoiser):
        return [denoiser]
    held = inspect.getclosurevars(denoiser).nonlocals.values()
    return [found for inner in held if callable(inner) for found in _inside(inner)]


def _args(denoiser: Any) -> Mapping[str, Any] | None:
    """The arguments that rebuild the network of a denoiser, if it is one of this package's."""
    net = getattr(denoiser, "net", None)
    return getattr(net, "args", None) if type(net).__module__.startswith(f"{nets.__name__}.") else None


def _shape(found: Sequence[Any], shape: Sequence[int] | None) -> tuple[int | None, list[int] | None]:
    """Channels and pixels of a sample, as diffusers' configurations name them."""
    takes = "that of one sample, (c, h, w) or (d,)"
    if shape is None:
        for denoiser in found:
            args = _args(denoiser) or {}
            if "image_size" in args:
                return args["in_channels"], [args["image_size"]] * 2
            dim = args.get("dim", getattr(denoiser, "dim", None))
            if dim is not None:
                return int(dim), [1, 1]
        raise ValueError(f"shape: got None, takes {takes}: the denoiser does not tell")
    if len(shape) not in (1, 3) or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"shape: got {shape!r}, takes {takes}")
    return shape[0], list(shape[1:]) or [1, 1]
