"""A model of diffusers and its scheduler, read as a denoiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ... import _checks
from ...logsnr import to_flow
from ...prediction import NULL, NetDenoiser
from .levels import Levels

__all__ = ["from_diffusers"]

Conditions = Tensor | Mapping[str, Any]


def from_diffusers(
    model: Any,
    scheduler: Any,
    *,
    conditions: Conditions | None = None,
    null: Conditions | int | None = None,
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

    Raises:
        ValueError: a scheduler or prediction type that is not known; conditions that the model does not take or lacks,
            or of unequal numbers of rows; a ``null`` that does not fit them; on a call, ∅ asked of a model without
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
        labels = _labels(model) if conditions is None and "class_labels" in names else None
        if labels is not None:
            self._table, self.num_classes = _label_table(*labels, null)
        elif conditions is not None:
            given = conditions if isinstance(conditions, Mapping) else {"encoder_hidden_states": conditions}
            if not isinstance(conditions, Mapping | Tensor):
                raise ValueError(
                    f"conditions: got {type(conditions).__name__}, takes one tensor (C, L, D), embeddings of equal "
                    "shape stacked, or a dictionary of tensors"
                )
            _fits_model(given, names, model)
            self._table, self.num_classes = _table(given, null)
        else:
            _fits_model({}, names, model)
            self._table, self.num_classes = {}, 0
        self._has_null = null is not None or self.num_classes == 0

    def __call__(self, z: Tensor, logsnr: Tensor, y: Tensor) -> Tensor:
        if not self._has_null and bool((y == NULL).any()):
            raise ValueError(
                "null: got None, takes what stands for no class (a label, or an embedding like those in conditions): "
                "∅ was asked for, as guidance does"
            )
        dtype = getattr(self.model, "dtype", z.dtype)
        model_z = (to_flow(z, logsnr) if self.levels.flow else z).to(dtype)
        t = self.levels.timestep(logsnr)
        t = t.round().long() if self._learned_steps else t
        rows = torch.where(y < 0, self.num_classes, y)  # ∅ is the last row
        arguments = _map(lambda leaf: _pick(leaf, rows, dtype), self._table)
        if self._packed:
            return _unpack(self._packed_call(_pack(model_z), model_z, t, arguments), z)
        out = self.model(**{self._input: model_z}, timestep=t, return_dict=False, **arguments)[0]
        # A learned variance, where there is one, comes after the estimate.
        return out[:, : z.shape[1]].to(z.dtype)

    def _packed_call(self, patches: Tensor, z: Tensor, t: Tensor, arguments: dict[str, Any]) -> Tensor:
        """FLUX's call: patches with their places, t in [0, 1]."""
        h, w = z.shape[-2] // 2, z.shape[-1] // 2
        places = torch.zeros(h, w, 3, device=z.device, dtype=z.dtype)
        places[..., 1] = torch.arange(h, device=z.device)[:, None]
        places[..., 2] = torch.arange(w, device=z.device)
        text = arguments["encoder_hidden_states"]
        return self.model(
            hidden_states=patches,
            timestep=t / 1000,
            img_ids=places.reshape(h * w, 3),
            txt_ids=torch.zeros(text.shape[1], 3, device=z.device, dtype=z.dtype),
            return_dict=False,
            **arguments,
        )[0]


# -- the table that y indexes ----------------------------------------------------------------------------------------


def _labels(model: Any) -> tuple[int, int] | None:
    """How many classes a model's own embedding has, and how many rows; None if it has no labels."""
    config = model.config
    if config.get("num_class_embeds") is not None and config.get("class_embed_type") is None:
        return config["num_class_embeds"], config["num_class_embeds"]
    if config.get("num_embeds_ada_norm") is not None:  # DiT, with a row for ∅ on top
        return config["num_embeds_ada_norm"], config["num_embeds_ada_norm"] + 1
    return None


def _label_table(labels: int, rows: int, null: object) -> tuple[dict[str, Any], int]:
    table = torch.arange(labels)
    if null is None:
        return {"class_labels": table}, labels
    if isinstance(null, bool) or not isinstance(null, int) or not 0 <= null < rows:
        raise ValueError(f"null: got {null!r}, takes the class label that stands for ∅, 0 … {rows - 1}")
    return {"class_labels": torch.cat([table, torch.tensor([null])])}, labels


def _fits_model(given: Mapping[str, Any], names: tuple[str, ...], model: Any) -> None:
    """Raise unless the model takes each of the arguments and is given those it cannot do without."""
    unknown = [name for name in given if name not in names]
    if unknown:
        takes = ", ".join(n for n in names if n not in ("return_dict", "timestep", names[0]))
        raise ValueError(
            f"conditions: got {unknown[0]!r}, takes arguments of {type(model).__name__}: {takes}"
        )
    needs = {
        "encoder_hidden_states": "text embeddings (C, L, D)",
        "pooled_projections": "pooled text embeddings (C, P)",
    }
    if model.config.get("class_embed_type") is not None:
        needs["class_labels"] = "what its class embedding takes, C rows"
    if model.config.get("addition_embed_type") == "text_time":
        needs["added_cond_kwargs"] = '{"text_embeds": (C, P), "time_ids": (C, 6)}'
    if model.config.get("guidance_embeds"):
        needs["guidance"] = "the scale that the distilled model takes as an input, such as 3.5"
    missing = [name for name in needs if name in names and name not in given]
    if missing:
        raise ValueError(
            f"conditions: got {', '.join(given) or None}, takes {missing[0]!r} too for a {type(model).__name__}: "
            f"{needs[missing[0]]}"
        )


def _table(given: Mapping[str, Any], null: Conditions | int | None) -> tuple[dict[str, Any], int]:
    """The rows of each argument, ∅ after them, and their number."""
    rows = {path: len(leaf) for path, leaf in _leaves(given) if isinstance(leaf, Tensor)}
    if len(set(rows.values())) != 1:
        got = ", ".join(f"{n} rows of {path!r}" for path, n in rows.items()) or "no tensor"
        raise ValueError(f"conditions: got {got}, takes tensors with one row a condition, equally many")
    count = next(iter(rows.values()))
    if null is None:
        return dict(given), count
    if isinstance(null, int):
        if isinstance(null, bool) or not 0 <= null < count:
            raise ValueError(f"null: got {null}, takes a row of conditions, 0 … {count - 1}, or an embedding")
        row = null
        return _map(
            lambda leaf: torch.cat([leaf, leaf[row : row + 1]]) if _is_table(leaf) else leaf, given
        ), count
    empty = null if isinstance(null, Mapping) else {"encoder_hidden_states": null}
    return _with_null(given, empty), count


def _with_null(given: Mapping[str, Any], null: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, leaf in given.items():
        own = null.get(name)
        if isinstance(leaf, Mapping):
            table[name] = _with_null(leaf, own if isinstance(own, Mapping) else {}, f"{path}{name}.")
        elif not _is_table(leaf):
            table[name] = leaf
        elif not isinstance(own, Tensor) or own.shape not in (leaf.shape[1:], (1, *leaf.shape[1:])):
            got = f"shape {tuple(own.shape)}" if isinstance(own, Tensor) else repr(own)
            raise ValueError(
                f"null: got {got} for {path}{name}, takes a tensor of shape {tuple(leaf.shape[1:])} like those in "
                "conditions"
            )
        else:
            table[name] = torch.cat([leaf, own.reshape(1, *leaf.shape[1:]).to(leaf)])
    return table


def _is_table(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def _leaves(tree: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """The entries of nested dictionaries, each with its name; tensors and numbers only."""
    found: list[tuple[str, Any]] = []
    for name, leaf in tree.items():
        if isinstance(leaf, Mapping):
            found += _leaves(leaf, f"{path}{name}.")
        elif _is_table(leaf):
            found.append((f"{path}{name}", leaf))
        else:
            _checks.number(f"conditions[{path}{name!r}]", leaf)
            found.append((f"{path}{name}", leaf))
    return found


def _map(fn: Callable[[Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _map(fn, leaf) if isinstance(leaf, Mapping) else fn(leaf) for name, leaf in tree.items()}


def _pick(leaf: Any, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """One row a sample, or one number for all, on the samples' device and, if it is no label, in the model's dtype."""
    if not _is_table(leaf):
        return torch.full(rows.shape, float(leaf), device=rows.device, dtype=dtype)
    return leaf.to(rows.device, dtype if leaf.is_floating_point() else leaf.dtype)[rows]


# -- FLUX's patches ---------------------------------------------------------------------------------------------------


def _pack(z: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h w/4, 4 c): squares of two by two pixels."""
    if z.ndim != 4 or z.shape[-2] % 2 or z.shape[-1] % 2:
        raise ValueError(f"z: got shape {tuple(z.shape)}, takes (b, c, h, w) with even h and w")
    return z.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _unpack(patches: Tensor, like: Tensor) -> Tensor:
    b, c, h, w = like.shape
    squares = patches.to(like.dtype).reshape(b, h // 2, w // 2, c, 2, 2)
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
