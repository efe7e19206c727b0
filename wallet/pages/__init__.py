"""The wallet service's page: where a person reads what a program asks, and says yes or no."""

from __future__ import annotations

from importlib.resources import files

from clawpurse.modules.kit.pages.site import Site


def signing_page() -> Site:
    """Return the page's files. Raises `OperatorError` where the package is incomplete."""
    return Site({"wallet": files("clawpurse.wallet.pages").joinpath("static")}, "wallet/index.html")
