"""Reading the token that a command shows a node: from a file, never from an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from clawpurse.cli.failures import UsageFault
from clawpurse.wallet.durable import read_private

_TOKEN_BYTES_MAX: Final = 4096


def token_in(path: Path) -> str:
    """Return the token that a file holds. Raises `UsageFault` when there is none."""
    try:
        return read_private(path, _TOKEN_BYTES_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise UsageFault(f"{path} is not there.", "", "check --token-file") from None
