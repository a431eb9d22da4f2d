"""The former home of ``distances`` and ``moments``; their names stay importable from here."""

from . import *  # noqa: F403
