"""How late a node's event loop woke up, read out of its metrics before and after a load."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from typing import Final, NamedTuple

_BUCKET: Final = 'clawpurse_loop_lag_seconds_bucket{le="'
_WORST: Final = "clawpurse_loop_lag_max_seconds "
_TIMEOUT_S: Final = 30


class Look(NamedTuple):
    """Cumulative counts by upper bound in seconds, and the worst lag since the last look."""

    buckets: tuple[tuple[float, float], ...]
    worst_s: float


def look(port: int) -> Look:
    """Scrape a node's metrics port; the next look's `worst_s` counts from here."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    buckets = []
    worst_s = 0.0
    for line in lines:
        if line.startswith(_BUCKET):
            bound, _, count = line[len(_BUCKET) :].partition('"} ')
            buckets.append((float(bound), float(count)))
        elif line.startswith(_WORST):
            worst_s = float(line[len(_WORST) :])
    return Look(tuple(buckets), worst_s)


def lag_ms(before: Sequence[Look], after: Sequence[Look], share: float) -> float:
    """Return the lag that a share of all wake-ups of all nodes stayed below, in milliseconds.

    Read out of the histogram as Prometheus does: linearly within a bucket.
    """
    bounds = [bound for bound, _ in before[0].buckets]
    counts = [
        sum(
            new.buckets[place][1] - old.buckets[place][1]
            for old, new in zip(before, after, strict=True)
        )
        for place in range(len(bounds))
    ]
    wanted = counts[-1] * share
    low_s = low_count = 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= wanted and bound != float("inf"):
            inside = (wanted - low_count) / (count - low_count) if count > low_count else 1.0
            return (low_s + (bound - low_s) * inside) * 1000
        low_s, low_count = bound, count
    return low_s * 1000
