"""Run the chapters that are not in the execution cache, several at once, while Sphinx reads the other pages.

Sphinx reads the pages one by one, and myst-nb would run each then. It finds here what it needs in the cache. A chapter
that fails is left to it: it runs it again and reports it as always.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from contents import notebooks
from forked_kernels import Manager
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

KERNELS = min(4, os.cpu_count() or 1)


class Ahead:
    """The chapters that run, by the names of their pages."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(KERNELS)
        self.running: dict[str, Future[ExecutionResult]] = {}

    def start(self, app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
        """Begin with the pages that Sphinx is about to read, and have it read these last."""
        cache, limit = get_cache(app.config.nb_execution_cache_path), app.config.nb_execution_timeout
        names = {Path(env.doc2path(page)): page for page in pages}
        for path in reversed(notebooks(Path(app.srcdir))):  # the later, the longer, and the longest first
            notebook = nbformat.read(path, as_version=4)
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                if path in names:
                    self.running[names[path]] = self.pool.submit(
                        single_nb_execution, notebook, str(path.parent), limit, allow_errors=False,
                        kernel_manager_class=Manager,
                    )  # fmt: skip
        pages[:] = [page for page in pages if page not in self.running] + list(self.running)

    def wait(self, app: Sphinx, page: str, source: list[str]) -> None:
        """Put a page that is about to be read into the cache."""
        if (running := self.running.pop(page, None)) and (result := running.result()).err is None:
            bundle = CacheBundleIn(result.nb, app.env.doc2path(page), data={"execution_seconds": result.time})
            cache = get_cache(app.config.nb_execution_cache_path)
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    def stop(self, app: Sphinx, exception: Exception | None) -> None:
        """Begin with none that nobody waits for."""
        self.pool.shutdown(cancel_futures=True)


def setup(app: Sphinx) -> dict[str, Any]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the kernels, which share the cores as they are
    ahead = Ahead()
    app.connect("env-before-read-docs", ahead.start)
    app.connect("source-read", ahead.wait)
    app.connect("build-finished", ahead.stop)
    return {"parallel_read_safe": True}
