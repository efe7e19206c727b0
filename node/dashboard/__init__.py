"""The node's pages: static files that run in the browser and ask this node by public JSON-RPC."""

from __future__ import annotations

from importlib.resources import files

from clawpurse.modules.kit.pages.site import Site


def dashboard() -> Site:
    """Return the pages of a node. Raises `OperatorError` where the package is incomplete."""
    return Site({"node": files("clawpurse.node.dashboard").joinpath("static")}, "node/index.html")
