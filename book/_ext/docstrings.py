"""Make the API reference read docstrings as they were meant.

Bars are absolute values, not substitutions. A name may be written as users import it, ``cfgtoy.GaussianMixture``,
wherever it is documented.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment

_LITERAL_OR_BAR = re.compile(r"(``.*?``)|(?<!\\)\|")


def escape_bars(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    lines[:] = [_LITERAL_OR_BAR.sub(lambda m: m[1] or r"\|", line) for line in lines]


def by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """The one documented object of the package with the name's last part."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("cfgtoy"):
        return None
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    last = target.rpartition(".")[2]
    found = [name for name in domain.objects if name.rpartition(".")[2] == last]
    if len(found) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found[0], node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("missing-reference", by_last_name)
    return {"parallel_read_safe": True}
