"""Amounts as people write them and as the ledger counts them. Integers only, nothing rounded.

An asset states its decimals: 12.5 of a two-decimal asset is 1250 minor units, 12.345 an error.
What we print can be typed back. A comma is only taken as a thousands mark where it cannot be
somebody's decimal comma: `1,500` of a two-decimal asset might mean one and a half.
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.counting import counted

# 20 digits of a 64-bit integer with marks between them, and 18 decimals.
TEXT_MAX: Final = 48
_DIGITS: Final = frozenset("0123456789")


def parse_amount(text: str, decimals: int, asset: str, *, low: int = 1) -> int:
    """Return the minor units that `text` (such as `12.5` or `1,000.00`) means.

    At least `low` minor units. Raises `Malformed` (field `amount`) on anything else than plain
    digits with at most one point, on more decimals than the asset has, and above 64 bits.
    """
    if len(text) > TEXT_MAX:
        raise Malformed("amount", f"has {len(text)} characters, at most {TEXT_MAX} are allowed")
    whole, point, fraction = text.partition(".")
    if "," in whole:
        whole = _without_marks(text, whole, clear=bool(point) or decimals == 0)
    if not whole or not _DIGITS.issuperset(whole) or not _DIGITS.issuperset(fraction):
        raise Malformed("amount", f"{text!r} is not a number such as {_example(decimals)}")
    if point and not fraction:
        raise Malformed("amount", f"{text!r} ends with its point; write {_example(decimals)}")
    if len(fraction) > decimals:
        problem = (
            f"{text} has {counted(len(fraction), 'decimal')}, {asset} has {decimals or 'none'}"
        )
        raise Malformed("amount", problem)
    minor = int(whole + fraction.ljust(decimals, "0"))
    if minor > U64_MAX:
        raise Malformed("amount", f"{text} {asset} is more than there can be")
    if minor < low:
        raise Malformed("amount", f"{text} is below {amount_text(low, decimals, asset)}")
    return minor


def nearby_amounts(text: str, decimals: int) -> tuple[str, ...]:
    """Return the amounts on either side of one that has too many decimals, for a hint.

    `12.345` with two decimals gives (`12.34`, `12.35`); `12.500` only `12.50`. Empty when `text`
    is no number at all.
    """
    whole, _, fraction = text.replace(",", "").partition(".")
    if not whole or len(text) > TEXT_MAX or not _DIGITS.issuperset(whole + fraction):
        return ()
    below = int(whole + fraction[:decimals].ljust(decimals, "0"))
    exact = not fraction[decimals:].strip("0")
    found = (below,) if exact else (below, below + 1)
    return tuple(number_text(minor, decimals, marks=False) for minor in found)


def number_text(minor: int, decimals: int, *, marks: bool = True) -> str:
    """Return minor units as people read them: `1,000.00`, or `1000.00` without marks."""
    sign = "-" if minor < 0 else ""
    whole, rest = divmod(abs(minor), 10**decimals)
    head = f"{sign}{whole:,}" if marks else f"{sign}{whole}"
    return f"{head}.{rest:0{decimals}d}" if decimals else head


def amount_text(minor: int, decimals: int, asset: str) -> str:
    """Return an amount with its asset: `12.50 CLAW`."""
    return f"{number_text(minor, decimals)} {asset}"


def _without_marks(text: str, whole: str, *, clear: bool) -> str:
    first, *groups = whole.split(",")
    if not 1 <= len(first) <= 3 or any(len(group) != 3 for group in groups):
        raise Malformed("amount", f"{text!r} has a comma; decimals are written with a point")
    if not clear:
        raise Malformed("amount", f"{text!r} can mean two things; write it without the comma")
    return first + "".join(groups)


def _example(decimals: int) -> str:
    return "12.5" if decimals else "12"
