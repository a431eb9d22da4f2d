"""What the image networks have in common: sizes with names, and the arguments that rebuild them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from torch import nn

__all__ = ["Sized"]


class Sized(nn.Module):
    """A network that comes in named sizes: ``presets`` has the arguments of each, ``args`` those of this network."""

    presets: ClassVar[dict[str, dict[str, Any]]]
    args: dict[str, Any]

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """The network of a named size, with some arguments replaced; a ``ValueError`` for an unknown name."""
        if name not in cls.presets:
            raise ValueError(f"name: got {name!r}, takes one of {', '.join(cls.presets)}")
        return cls(**{**cls.presets[name], **overrides})
