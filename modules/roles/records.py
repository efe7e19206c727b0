"""The records of the tree `roles`, and what can be read from them.

h‖account‖role‖0‖n (4) → entry n of a history · s‖account‖role → standing ·
m‖role‖0‖place (4) → holder · k‖role → how many hold it · r‖account‖place (4) → role ·
c‖account → how many it holds · n‖index (4) → role names in order of first use · x → how many

Entries are numbered and never change, so that "who held what at a height" is a binary search and
each entry is provable; lists have no holes (the last takes a freed place), so they are read by
place, never scanned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug

TREE: Final = "roles"
RECORD_VERSION: Final = 1
NAME_COUNT_KEY: Final = b"x"
Get = Callable[[bytes], bytes | None]


class Entry(NamedTuple):
    """One change of a history: from a height on the role is held, or is not."""

    height: int
    held: int
    by: bytes
    reason: str


class Standing(NamedTuple):
    """How an account stands to a role: the length of its history, and while it holds the role,
    its place among the holders and the role's place among its roles.
    """

    entries: int
    holder_place: int | None
    role_place: int | None

    @property
    def held(self) -> bool:
        """Whether it holds the role now."""
        return self.holder_place is not None


NO_STANDING: Final = Standing(0, None, None)


def entry_key(account: bytes, role: str, number: int) -> bytes:
    """Return the key of a history's entry `number`, from 0."""
    return b"h" + account + role.encode("ascii") + b"\0" + number.to_bytes(4, "big")


def standing_key(account: bytes, role: str) -> bytes:
    """Return the key of a standing."""
    return b"s" + account + role.encode("ascii")


def holder_key(role: str, place: int) -> bytes:
    """Return the key of a holder in a role's list."""
    return b"m" + role.encode("ascii") + b"\0" + place.to_bytes(4, "big")


def holder_count_key(role: str) -> bytes:
    """Return the key of how many hold a role; it stays, as 0, once the role was used."""
    return b"k" + role.encode("ascii")


def held_key(account: bytes, place: int) -> bytes:
    """Return the key of a role in an account's list."""
    return b"r" + account + place.to_bytes(4, "big")


def held_count_key(account: bytes) -> bytes:
    """Return the key of how many roles an account holds; absent when none."""
    return b"c" + account


def name_key(index: int) -> bytes:
    """Return the key of the name of a role that was used."""
    return b"n" + index.to_bytes(4, "big")


def pack(*values: Wire) -> bytes:
    """Return a record's bytes."""
    return codec.pack([RECORD_VERSION, *values])


def unpack(data: bytes, length: int) -> list[Any]:
    """Return the values of a record that we wrote."""
    wire = codec.unpack_own(data)
    if len(wire) != length + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of roles has another format than this software writes")
    return wire[1:]


def count_at(get: Get, key: bytes) -> int:
    """Return a count; 0 when it was never written."""
    data = get(key)
    return 0 if data is None else codec.integer(unpack(data, 1)[0], "roles.count")


def standing_of(get: Get, account: bytes, role: str) -> Standing:
    """Return how an account stands to a role."""
    data = get(standing_key(account, role))
    return NO_STANDING if data is None else Standing(*unpack(data, 3))


def entry_at(get: Get, account: bytes, role: str, number: int) -> Entry:
    """Return entry `number` of a history that has it. Raises `Bug` if it is missing."""
    data = get(entry_key(account, role, number))
    if data is None:
        raise Bug(f"the history of {role} has a hole at {number}")
    return Entry(*unpack(data, 4))


def item_at(get: Get, key: bytes) -> Any:
    """Return the item at a place of a list. Raises `Bug` if it is missing."""
    data = get(key)
    if data is None:
        raise Bug("a list of roles has a hole")
    return unpack(data, 1)[0]


def newest_up_to(get: Get, account: bytes, role: str, height: int) -> Entry | None:
    """Return the newest entry of a history at or below a height, by binary search."""
    low, high = 0, standing_of(get, account, role).entries
    found = None
    while low < high:
        middle = (low + high) // 2
        entry = entry_at(get, account, role, middle)
        if entry.height <= height:
            found, low = entry, middle + 1
        else:
            high = middle
    return found
