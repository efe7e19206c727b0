"""Numbers with what they count, as people say them: one is no plural."""

from __future__ import annotations

from typing import Final

_VOWELS: Final = "aeiou"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 payment`, `2 payments`, `4 authorities`; `plural` where English has no rule."""
    if number == 1:
        return f"1 {noun}"
    ends_in_y = noun.endswith("y") and noun[-2] not in _VOWELS
    return f"{number:,} {plural or (f'{noun[:-1]}ies' if ends_in_y else f'{noun}s')}"
