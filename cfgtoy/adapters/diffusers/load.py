"""A model of diffusers and its scheduler, read as a denoiser."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import _checks
from ...logsnr import to_flow
from ...prediction import NULL, NetDenoiser
from .levels import Levels

Conditions = Tensor | Mapping[str, Any]
_TEXT = "encoder_hidden_states"


def from_diffusers(
    model: Any, scheduler: Any, *, conditions: Conditions | None = None, null: Conditions | int | None = None
) -> NetDenoiser:
    """A diffusers model as a denoiser: every rule, sampler and measure of this package then works on it.

    ::

        denoiser = from_diffusers(pipe.unet, pipe.scheduler, conditions=embeddings, null=empty)  # (C, L, D), (L, D)
        guided = guidance.apg(denoiser, w=6.5)  # diffusers' guidance_scale 7.5: s = 1 + w
        pipe.scheduler.set_timesteps(30)
        z = samplers.sample(guided, y, shape=(4, 4, 64, 64), grid=grid_from(pipe.scheduler), method="ddim")

    The classes y = 0 … C − 1 are the model's own labels, or the rows of ``conditions``. z is what the model takes at
    that level times α + σ for a flow model, and just what it takes for the others; a FLUX-like transformer's patches
    are packed here, so its z is (b, C, h, w) too.

    Args:
        model: ``UNet2DModel``, ``UNet2DConditionModel``, ``DiTTransformer2DModel``, ``SD3Transformer2DModel``,
            ``FluxTransformer2DModel``, or one that is called like these.
        scheduler: the scheduler it was trained for; it says what the model estimates (ε, v, x or the flow's velocity)
            and by which number it knows a level.
        conditions: what ``y`` indexes. Text embeddings (C, L, D), for ``encoder_hidden_states``; or a dictionary of
            keyword arguments of the model, each a tensor with C rows, a dictionary of those
            (``{"added_cond_kwargs": {"text_embeds": …, "time_ids": …}}`` for SDXL), or a number that is the same for
            all, as a distilled model's ``"guidance"`` (a scale s, not w). None for a model with class labels, or none.
        null: what stands for ∅: a class label or the number of a row of ``conditions``, an embedding (L, D), or a
            dictionary like ``conditions`` without its first axis. None if the model has no ∅: it then answers for
            classes alone and cannot be guided.

    Raises ``ValueError``: a scheduler or prediction type that is not known; conditions that the model does not take or
    lacks, or of unequal numbers of rows; a ``null`` that does not fit them; on a call, ∅ asked of a model without
    ``null``, or a class that does not exist.
    Source: diffusers' pipelines, each model's call.
    """
    levels = Levels(scheduler)
    if not callable(getattr(model, "forward", None)) or not hasattr(model, "config"):
        raise ValueError(f"model: got {type(model).__name__}, takes one of diffusers' models")
    return NetDenoiser(_Net(model, levels, conditions, null), levels.kind)


class _Net:
    """A diffusers model called as ``net(z, logsnr, y)``."""

    def __init__(
        self, model: Any, levels: Levels, conditions: Conditions | None, null: Conditions | int | None
    ) -> None:
        self.model, self.levels = model, levels
        names = tuple(inspect.signature(model.forward).parameters)
        self._input = names[0]  # "sample" in the UNets, "hidden_states" in the transformers
        self._packed = "img_ids" in names
        self._learned_steps = model.config.get("time_embedding_type") == "learned"
        labels = _labels(model, null) if conditions is None and "class_labels" in names else None
        given: Mapping[str, Any] = {}
        if labels is not None:
            given, null = labels
        else:
            takes = "one tensor (C, L, D), embeddings of equal shape stacked, or a dictionary of tensors"
            fits = isinstance(conditions, Mapping | Tensor | None)
            _checks.require(fits, "conditions", type(conditions).__name__, takes)
            if conditions is not None:
                given = conditions if isinstance(conditions, Mapping) else {_TEXT: conditions}
            _fits_model(given, names, model)
        self._table, self.num_classes = _table(given, null) if given or conditions is not None else ({}, 0)
        self._has_null = null is not None or self.num_classes == 0

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor) -> Tensor:
        if not self._has_null and bool((y == NULL).any()):
            takes = "what stands for no class (a label, or an embedding like those in conditions)"
            raise ValueError(f"null: got None, takes {takes}: ∅ was asked for, as guidance does")
        dtype = getattr(self.model, "dtype", z.dtype)
        model_z = (to_flow(z, logsnr) if self.levels.flow else z).to(dtype)
        t = self.levels.timestep(logsnr)
        t = t.round().long() if self._learned_steps else t
        rows = torch.where(y < 0, self.num_classes, y)  # ∅ is the last row
        arguments = _map(lambda _, leaf: _pick(leaf, rows, dtype), self._table)
        if self._packed:
            patches = self._packed_call(model_z, t, arguments).to(z.dtype).mT
            return F.pixel_shuffle(patches.unflatten(2, (z.shape[2] // 2, -1)), 2)
        out = self.model(**{self._input: model_z}, timestep=t, return_dict=False, **arguments)[0]
        # A learned variance, where there is one, comes after the estimate.
        return out[:, : z.shape[1]].to(z.dtype)

    def _packed_call(self, z: Tensor, t: Tensor, arguments: dict[str, Any]) -> Tensor:
        """FLUX's call: squares of two by two pixels with their places, (b, h w/4, 4 c), t in [0, 1]."""
        even = z.ndim == 4 and z.shape[-2] % 2 == z.shape[-1] % 2 == 0
        _checks.require(even, "z", z, "(b, c, h, w) with even h and w")
        places = torch.cartesian_prod(*(torch.arange(n // 2, device=z.device) for n in z.shape[2:]))
        return self.model(
            hidden_states=F.pixel_unshuffle(z, 2).flatten(2).mT,
            timestep=t / 1000,
            img_ids=F.pad(places, (1, 0)).to(z.dtype),
            txt_ids=z.new_zeros(arguments[_TEXT].shape[1], 3),
            return_dict=False,
            **arguments,
        )[0]


def _labels(model: Any, null: object) -> tuple[dict[str, Tensor], dict[str, Tensor] | None] | None:
    """A model's own labels as conditions, and ∅ as one of its embedding's rows; None if it has no labels."""
    config = model.config
    if (labels := config.get("num_class_embeds")) is not None and config.get("class_embed_type") is None:
        rows = labels
    elif (labels := config.get("num_embeds_ada_norm")) is not None:
        rows = labels + 1  # DiT's, with one for ∅ on top
    else:
        return None
    given = {"class_labels": torch.arange(labels)}
    if null is None:
        return given, None
    if isinstance(null, bool) or not isinstance(null, int) or not 0 <= null < rows:
        raise ValueError(f"null: got {null!r}, takes the class label that stands for ∅, 0 … {rows - 1}")
    return given, {"class_labels": torch.tensor(null)}


def _fits_model(given: Mapping[str, Any], names: tuple[str, ...], model: Any) -> None:
    """Raise unless the model takes each of the arguments and is given those it cannot do without."""
    kind, config = type(model).__name__, model.config
    takes = ", ".join(n for n in names if n not in ("return_dict", "timestep", names[0]))
    for name in given:
        _checks.require(name in names, "conditions", repr(name), f"arguments of {kind}: {takes}")
    needs = {_TEXT: "text embeddings (C, L, D)", "pooled_projections": "pooled text embeddings (C, P)"}
    if config.get("class_embed_type") is not None:
        needs["class_labels"] = "what its class embedding takes, C rows"
    if config.get("addition_embed_type") == "text_time":
        needs["added_cond_kwargs"] = '{"text_embeds": (C, P), "time_ids": (C, 6)}'
    if config.get("guidance_embeds"):
        needs["guidance"] = "the scale that the distilled model takes as an input, such as 3.5"
    for name, what in needs.items():
        has = name in given or name not in names
        _checks.require(has, "conditions", ", ".join(given) or "None", f"{name!r} too for a {kind}: {what}")


def _table(given: Mapping[str, Any], null: Conditions | int | None) -> tuple[dict[str, Any], int]:
    """The rows of each argument, ∅ after them, and their number."""
    leaves: dict[str, Any] = {}
    _map(leaves.__setitem__, given)
    rows = {path: len(leaf) for path, leaf in leaves.items() if _is_table(leaf)}
    for path in leaves.keys() - rows.keys():
        _checks.number(f"conditions[{path!r}]", leaves[path])
    got = ", ".join(f"{n} rows of {path!r}" for path, n in rows.items()) or "no tensor"
    alike = len(set(rows.values())) == 1
    _checks.require(alike, "conditions", got, "tensors with one row a condition, equally many")
    count = next(iter(rows.values()))
    if null is None:
        return dict(given), count
    empty: dict[str, Any] = {}
    if not isinstance(null, int):
        _map(empty.__setitem__, null if isinstance(null, Mapping) else {_TEXT: null})
    elif isinstance(null, bool) or not 0 <= null < count:
        raise ValueError(f"null: got {null}, takes a row of conditions, 0 … {count - 1}, or an embedding")
    else:
        empty = {path: leaves[path][null] for path in rows}

    def with_null(path: str, leaf: Any) -> Any:
        if not _is_table(leaf):
            return leaf
        own, shape = empty.get(path), tuple(leaf.shape[1:])
        if not isinstance(own, Tensor) or own.shape not in (shape, (1, *shape)):
            got = f"shape {tuple(own.shape)}" if isinstance(own, Tensor) else repr(own)
            takes = f"a tensor of shape {shape} like those in conditions"
            raise ValueError(f"null: got {got} for {path}, takes {takes}")
        return torch.cat([leaf, own.reshape(1, *shape).to(leaf)])

    return _map(with_null, given), count


def _is_table(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def _map(fn: Callable[[str, Any], Any], tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The tree of ``fn(path, leaf)``, the path to a leaf joined by dots."""
    return {
        name: _map(fn, leaf, f"{path}{name}.") if isinstance(leaf, Mapping) else fn(f"{path}{name}", leaf)
        for name, leaf in tree.items()
    }


def _pick(leaf: Any, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """One row a sample, or one number for all, on the samples' device and, if it is no label, in the model's dtype."""
    if not _is_table(leaf):
        return torch.full(rows.shape, float(leaf), device=rows.device, dtype=dtype)
    return leaf.to(rows.device, dtype if leaf.is_floating_point() else leaf.dtype)[rows]
