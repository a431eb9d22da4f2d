"""What the image networks have in common: sizes with names, and the arguments that rebuild them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from torch import nn

__all__ = ["Sized"]


class Sized(nn.Module):
    """A network that comes in named sizes.

    Attributes:
        presets: the arguments of each size.
        args: the arguments that make another network like this one.
    """

    presets: ClassVar[dict[str, dict[str, Any]]]
    args: dict[str, Any]

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """The network of a named size, one of ``presets``, with some arguments replaced.

        Raises:
            ValueError: an unknown name.
        """
        if name not in cls.presets:
            raise ValueError(f"name: got {name!r}, takes one of {', '.join(cls.presets)}")
        return cls(**{**cls.presets[name], **overrides})
