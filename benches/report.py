"""The last line of every bench: one JSON object that says what was measured against which bar."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

_GIT_SECONDS_MAX = 10


def print_report(
    bench: str,
    config: Mapping[str, object],
    figures: Mapping[str, object],
    bar: str,
    met: bool | None,
) -> None:
    """Print the report; `met` is None when this size is not the one that the bar speaks of."""
    report = {
        "bench": bench,
        "config": config,
        "figures": figures,
        "bar": bar,
        "met": met,
        "commit": commit(),
    }
    print(json.dumps(report), flush=True)


def commit() -> str:
    """Return the commit that was measured, with `+` if the checkout differs from it."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS_MAX,
        check=True,
    )
    return done.stdout.strip()
