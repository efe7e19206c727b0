"""Names that people give to roles and amendments: short, plain, the same on every keyboard."""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.errors import Malformed

NAME_CHARS_MAX: Final = 32
# Who holds it grants and revokes roles, and says which actions ask for one.
ADMIN_ROLE: Final = "admin"
_NAME_CHARS: Final = "abcdefghijklmnopqrstuvwxyz0123456789.-"


def plain_name(value: object, field: str) -> str:
    """Return `value` if it is 1–32 of a–z, 0–9, dot and hyphen. Raises `Malformed`."""
    if type(value) is not str:
        raise Malformed(field, "is not a string")
    if not 1 <= len(value) <= NAME_CHARS_MAX:
        raise Malformed(field, f"is {len(value)} characters, 1…{NAME_CHARS_MAX} are allowed")
    if value.strip(_NAME_CHARS):
        raise Malformed(field, "has a character other than a–z, 0–9, dot and hyphen")
    return value
