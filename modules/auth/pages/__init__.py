"""The pages of sign-in: who one is, by which factors, where; and for administrators, who else."""

from __future__ import annotations

from importlib.resources import files

from clawpurse.modules.kit.pages.site import Site


def auth_pages() -> Site:
    """Return the pages. Raises `OperatorError` where the package is incomplete."""
    return Site(
        {"auth": files("clawpurse.modules.auth.pages").joinpath("static")}, "auth/index.html"
    )
