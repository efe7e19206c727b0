"""The version of the installed software."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version of this distribution."""
    try:
        return metadata.version("clawpurse")
    except metadata.PackageNotFoundError:
        # A bare checkout, imported without being installed.
        return "0+unknown"
