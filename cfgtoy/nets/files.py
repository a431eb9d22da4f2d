"""Networks from files: the one place that rebuilds a network from its weights."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn

from .._files import Artifact, load
from .evaluator import Evaluator
from .unet import NoisyClassifier, UNet

Role = Literal["denoiser", "student", "noisy_classifier", "evaluator"]
_NETS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (UNet, NoisyClassifier, Evaluator)}


def load_net(
    name: str | Path, role: Role | tuple[Role, ...], device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.Module, Artifact]:  # fmt: skip
    """The network of a weight file, in evaluation mode and without gradients, and what else was in the file.

    Args:
        name, device: as :func:`cfgtoy.artifacts.load`; so is a ``FileNotFoundError``.
        role: what the file must say it is, or one of several.
        dtype: of the parameters, whatever type the file holds.

    Raises:
        ValueError: when the file is damaged, has another role, or its tensors do not fit the network it names.
    """
    artifact = load(name)
    meta, where = artifact.meta, artifact.path
    roles = (role,) if isinstance(role, str) else role
    if meta.get("role") not in roles:
        takes = " or ".join(map(repr, roles))
        raise ValueError(f"{where}: holds a {meta.get('role', 'file of no known role')!r}, takes a {takes}")
    spec = meta.get("net", {})
    if spec.get("class") not in _NETS:
        raise ValueError(f"{where}: names the network {spec.get('class')!r}, takes one of {', '.join(_NETS)}")
    try:
        net = _NETS[spec["class"]](**spec.get("args", {}))
        net.load_state_dict(artifact.tensors)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{where}: its tensors do not fit the network it names ({error})") from error
    return net.to(device=device, dtype=dtype).eval().requires_grad_(False), artifact
