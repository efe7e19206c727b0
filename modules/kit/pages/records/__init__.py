"""The pages of a service, made from what it says of itself: lists, records, moves, approvals."""

from __future__ import annotations

from importlib.resources import files

from clawpurse.modules.kit.pages.site import Site


def record_pages() -> Site:
    """Return the pages, which are the same for every service."""
    folder = files("clawpurse.modules.kit.pages.records").joinpath("static")
    return Site({"records": folder}, "records/index.html")
