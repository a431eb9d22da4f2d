"""What a reader plays with: widgets that are alive in JupyterLab and in the book's static pages."""

from ._frames import Frames, frames
from ._static import StaticWidget

__all__ = ["Frames", "StaticWidget", "frames"]
