"""Run the chapters that are not in the execution cache, several at once, before any is read.

Sphinx reads the pages one by one, and myst-nb would run each then. It finds here what it needs in the cache. A chapter
that fails is left to it: it runs it again and reports it as always.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
from contents import notebooks
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.display import status_iterator

KERNELS = min(4, os.cpu_count() or 1)


def run(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Fill the cache for the pages that Sphinx is about to read."""
    cache = get_cache(app.config.nb_execution_cache_path)
    read = {Path(env.doc2path(page)) for page in pages}
    waiting = {}
    for path in reversed(notebooks(Path(app.srcdir))):  # the later, the longer, and the longest first
        notebook = nbformat.read(path, as_version=4)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            if path in read:
                waiting[path] = notebook
    with ThreadPoolExecutor(KERNELS) as pool:
        limit = app.config.nb_execution_timeout
        running = {
            pool.submit(single_nb_execution, notebook, str(path.parent), limit, allow_errors=False): path
            for path, notebook in waiting.items()
        }
        name = lambda done: running[done].stem  # noqa: E731
        for done in status_iterator(
            as_completed(running), "running chapters... ", "purple", len(running), 0, name
        ):
            if (result := done.result()).err is None:
                bundle = CacheBundleIn(result.nb, str(running[done]), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def setup(app: Sphinx) -> dict[str, Any]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the kernels, which share the cores as they are
    app.connect("env-before-read-docs", run)
    return {"parallel_read_safe": True}
