"""What only parts of the package use, and so comes with an extra: one line says what to install when it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGES = {"IPython": "ipython", "PIL": "pillow", "sklearn": "scikit-learn"}


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """For the imports below it: where one is missing, the ModuleNotFoundError says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        package = _PACKAGES.get(module, module)
        line = f"{package} is not installed: pip install 'cfgtoy[{extra}]', or pip install {package} alone"
        raise ModuleNotFoundError(line, name=error.name) from None
