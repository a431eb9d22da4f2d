"""A guidance rule of this package as a guider of diffusers, which its Modular pipelines take as a component."""

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from ... import _checks, guidance
from ...logsnr import from_flow
from ...prediction import Kind, Prediction
from .levels import Levels, grid_from

try:
    from diffusers.guiders import BaseGuidance
    from diffusers.guiders.guider_utils import GuiderOutput
except ImportError:
    raise ImportError(
        f"Guider needs the guiders of diffusers 0.36 or newer, and this is {diffusers.__version__}: "
        "pip install --upgrade 'cfgtoy[diffusers]'"
    ) from None

# Stands for the prompt where rules speak of classes; whatever else they ask for is the negative one.
_ASKED = 2**62
_BY_LEVEL = {"interval", "cfg-plus-plus", "weight-schedule"}


class Guider(BaseGuidance):
    """A rule of ``guidance.RULES`` with its weight, as a component ``guider`` of a Modular pipeline.

    ::

        pipe.update_components(guider=Guider(rule("apg", eta=0.2), w=6.5, scheduler=pipe.scheduler))

    The weight is the paper's: diffusers' ``guidance_scale`` is s = 1 + w, so its 7.5 is w = 6.5 here. The negative
    prompt, where there is one, takes the place of ∅ in every rule.

    Args:
        rule: a name, a :class:`~cfgtoy.guidance.Rule`, or one as JSON. Not ``auto``, ``total`` and
            ``classifier``, which ask another model, nor ``recfg``, which asks data, nor
            ``adaptive`` and momentum in ``apg``, which would have to remember.
        w: guidance weight; 0 no guidance, −1 the negative prompt alone.
        scheduler: the pipeline's. With it the rule sees x̂, ε̂ and λ, as everywhere in this package. Without, it works
            on the numbers that the model puts out, as diffusers' own guiders do: for ``classifier-free`` and
            ``negative`` the same thing, as they take a mean; for the others not.
        start, stop, enabled: the fractions of the steps to guide between, if at all; elsewhere the conditional
            prediction.

    Raises ``ValueError``: a rule that is not known or asks another model, one that needs λ without a scheduler, ``w``
    not finite, or fractions out of order.
    Source: diffusers, ``guiders``; the rule's own.
    """

    _input_predictions = ["pred_cond", "pred_uncond"]  # type: ignore[assignment]  # noqa: RUF012

    def __init__(
        self,
        rule: str | guidance.Rule | Mapping[str, Any] = "classifier-free",
        w: float = 0.0,
        scheduler: Any = None,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ) -> None:
        super().__init__(start, stop, enabled)
        self.rule = guidance.rule(rule)
        self.w = _checks.number("w", w)
        if isinstance(scheduler, Mapping):  # from a saved configuration
            scheduler = getattr(diffusers, scheduler["_class_name"]).from_config(scheduler)
        inner: guidance.Rule | None = self.rule
        while inner:
            asks_two = not {"bad", "classifier", "ratios"} & set(inner.parts(inner.name))
            takes = "a rule of the two answers a guider has; this one asks a model"
            _checks.require(asks_two, "rule", repr(inner.name), takes)
            forgets = inner.name != "adaptive" and not inner.options.get("momentum")
            takes = "one without: a guider makes it anew at every step"
            _checks.require(forgets, "rule", f"{self.rule.name!r} with a memory", takes)
            told = scheduler is not None or inner.name not in _BY_LEVEL
            takes = f"the pipeline's scheduler: {self.rule.name!r} needs λ"
            _checks.require(told, "scheduler", "None", takes)
            inner = inner.of
        self._levels = None if scheduler is None else Levels(scheduler)
        self._model_input: Tensor | None = None
        self._hook: Any = None
        kept = None if scheduler is None else {**scheduler.config, "_class_name": type(scheduler).__name__}
        self.register_to_config(
            rule=self.rule.to_json(), w=self.w, scheduler=kept, start=start, stop=stop, enabled=enabled
        )

    @property
    def num_conditions(self) -> int:
        """How many answers of the model a step needs: 2, or 1 where guidance is off."""
        return 2 if self._guides() else 1

    @property
    def is_conditional(self) -> bool:
        """Whether the model is being asked for the prompt, not for the negative one."""
        return self._count_prepared == 1

    def prepare_inputs(self, data: Any) -> list[Any]:
        """One batch of model inputs a condition; an entry of ``data`` is (conditional, unconditional), or for both."""
        names = self._input_predictions[: self.num_conditions]
        return [self._prepare_batch(data, i, name) for i, name in enumerate(names)]

    def prepare_inputs_from_block_state(self, data: Any, input_fields: dict[str, Any]) -> list[Any]:
        """The same, from fields of a block state."""
        which = enumerate(self._input_predictions[: self.num_conditions])
        return [self._prepare_batch_from_block_state(input_fields, data, i, name) for i, name in which]

    def prepare_models(self, denoiser: nn.Module) -> None:
        """Before each call of the model: look at what it is called with, for the rule needs z."""
        super().prepare_models(denoiser)
        if self._levels is not None:
            self._hook = denoiser.register_forward_pre_hook(self._look, with_kwargs=True)

    def cleanup_models(self, denoiser: nn.Module) -> None:
        """After each call of the model."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def forward(self, pred_cond: Tensor, pred_uncond: Tensor | None = None) -> GuiderOutput:
        """The guided prediction in ``pred``, of the shape and meaning of the model's own."""
        pred = pred_cond
        if self._guides() and pred_uncond is not None:
            pred = self._guided(pred_cond, pred_uncond)
        return GuiderOutput(pred=pred, pred_cond=pred_cond, pred_uncond=pred_uncond)

    def _guides(self) -> bool:
        steps = self._num_inference_steps
        first, last = (int(share * steps) if steps else share for share in (self._start, self._stop))
        in_range = not steps or first <= self._step < last
        return self._enabled and in_range and not (self.w == 0 and self.rule.unguided_at_zero)

    def _look(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._model_input = args[0] if args else kwargs.get("hidden_states", kwargs.get("sample"))

    def _guided(self, cond: Tensor, uncond: Tensor) -> Tensor:
        dtype = torch.float64 if cond.dtype == torch.float64 else torch.float32
        answers = torch.stack([uncond, cond]).to(dtype)  # (2, b, *d)
        # At z = 0 and λ = 0 all faces of an estimate are one up to a factor: what the model puts out, as it is.
        z, lam = torch.zeros_like(answers[0]), answers.new_zeros(())
        kind: Kind = "x"
        parts = {}
        if self._levels is not None:
            if self._model_input is None:
                raise ValueError("scheduler: got one, but prepare_models(model) was not called first")
            z, kind = self._model_input.to(dtype), self._levels.kind
            lam = self._levels.logsnr(torch.as_tensor(self._timestep)).to(answers)
            if self._levels.flow:
                z = from_flow(z, lam)
            parts["grid"] = grid_from(self._levels.scheduler, dtype=dtype).to(z.device)

        def answered(z: Tensor, logsnr: Tensor, y: Tensor | None = None) -> Prediction:
            # Rules may ask for both in one batch.
            sample = torch.arange(len(z), device=z.device) % answers.shape[1]
            asked = torch.zeros_like(sample) if y is None else (y == _ASKED).long()
            return Prediction(z, logsnr, answers[asked, sample], kind)

        y = torch.full((len(z),), _ASKED, device=z.device)
        return self.rule(answered, w=self.w, **parts)(z, lam, y).as_kind(kind).to(cond.dtype)
