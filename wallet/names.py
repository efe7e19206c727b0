"""Names that people give to keys and contacts: short, typeable, safe as a file name."""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.address import ACCOUNT_PREFIX, AUTHORITY_PREFIX
from clawpurse.ledger.errors import Malformed

NAME_CHARS_MAX: Final = 32
_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_REST: Final = _FIRST | frozenset("._-")


def check_name(name: str, field: str = "name") -> str:
    """Return `name` if it may name a key or a contact, else raise `Malformed`.

    Lower-case letters, digits, `.`, `_`, `-`, the first a letter or digit, at most 32. Nothing
    that starts like an address: `ACCOUNT` on the command line would have two meanings.
    """
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        raise Malformed(field, f"is {len(name)} characters, 1…{NAME_CHARS_MAX} are allowed")
    if name[0] not in _FIRST or not _REST.issuperset(name):
        raise Malformed(field, f"{name!r} has characters other than a-z 0-9 . _ - (first: a-z 0-9)")
    if name.startswith((f"{ACCOUNT_PREFIX}1", f"{AUTHORITY_PREFIX}1")):
        raise Malformed(field, f"{name!r} starts like an address")
    return name
