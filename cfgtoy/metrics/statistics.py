"""The former home of ``distances`` and ``moments``; their names stay importable from here."""

from .distances import *  # noqa: F403
from .moments import *  # noqa: F403
