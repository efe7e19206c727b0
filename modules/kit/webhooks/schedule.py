"""When a delivery is tried again: the specification's table, with jitter, and `retry-after`."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS
_HOUR_MS: Final = 60 * _MINUTE_MS

DELAYS_MS: Final = (
    0,
    5 * _SECOND_MS,
    5 * _MINUTE_MS,
    30 * _MINUTE_MS,
    2 * _HOUR_MS,
    5 * _HOUR_MS,
    10 * _HOUR_MS,
    14 * _HOUR_MS,
    20 * _HOUR_MS,
    24 * _HOUR_MS,
)
"""Before each attempt, from the one before it: Standard Webhooks, "Deliverability"; 75 h 35 min."""

ATTEMPTS_MAX: Final = len(DELAYS_MS)

JITTER: Final = 0.1
"""Up to a tenth is added, never taken away: receivers that failed together recover apart."""

RETRY_AFTER_MS_MAX: Final = 24 * _HOUR_MS
"""A receiver may ask for more time, but not for so much that nobody ever notices."""

THROTTLE_STATUSES: Final = frozenset((429, 502, 503, 504))
THROTTLE_MS: Final = 5 * _SECOND_MS
"""How long an endpoint rests that says it has too much to do, and not for how long."""


def next_delay_ms(
    attempts: int, retry_after_ms: int | None, random: Callable[[], float]
) -> int | None:
    """Return how long to wait after that many attempts, or None when they were the last.

    `random` gives a number in [0, 1). What the receiver asked for counts where it is longer.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    delay_ms = DELAYS_MS[attempts]
    delay_ms += int(delay_ms * JITTER * random())
    return max(delay_ms, min(retry_after_ms or 0, RETRY_AFTER_MS_MAX))


def rest_ms(status: int | None, retry_after_ms: int | None) -> int:
    """Return how long the whole endpoint is left alone after an answer of this status."""
    if retry_after_ms is not None:
        return min(retry_after_ms, RETRY_AFTER_MS_MAX)
    return THROTTLE_MS if status in THROTTLE_STATUSES else 0


def read_retry_after(text: str | None, now_ms: int) -> int | None:
    """Read `Retry-After` (RFC 9110 §10.2.3), seconds or a date; None where it is neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text) * 1000
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        return None
    return max(0, int(when.timestamp() * 1000) - now_ms)
