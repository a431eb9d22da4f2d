"""What the image networks have in common: sizes with names, and the arguments that rebuild them."""

from typing import Any, ClassVar, Self

from torch import nn

from .. import _checks


class Sized(nn.Module):
    """A network that comes in named sizes: ``presets`` has the arguments of each, ``args`` those of this network."""

    presets: ClassVar[dict[str, dict[str, Any]]]
    args: dict[str, Any]

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """The network of a named size, with some arguments replaced; a ``ValueError`` for an unknown name."""
        return cls(**cls.presets[_checks.one_of("name", name, cls.presets)] | overrides)
