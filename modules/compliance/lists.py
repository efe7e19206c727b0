"""Lists that policies look into: named, versioned, changed by officers, never forgotten.

Each change is a version and stays readable: who, when, what, why. Entries are 32 bytes: an
account, or a subject, which then stands for all accounts of that person.

xl‖name → list · xm‖name‖/‖entry → since which version it is in · l‖name‖/‖version (4) → change
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.module_api import Context
from clawpurse.modules.compliance.records import Get, count_at, own, pack

LIST_PREFIX: Final = b"xl"
LIST_COUNT_KEY: Final = b"cl"
# Lists of one network; policies name them, and people read all their names.
LISTS_MAX: Final = 256
# The sanctions lists in force have tens of thousands of names.
ENTRIES_MAX: Final = 100_000
# Entries in one action: each is a record written.
CHANGED_MAX: Final = 100
TITLE_CHARS_MAX: Final = 128
REASON_CHARS_MAX: Final = 128
ADDED: Final = 1
REMOVED: Final = 0


class NamedList(NamedTuple):
    """A list. `officers` is how many must agree to each change of its entries."""

    title: str
    officers: int
    version: int
    entries: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> NamedList:
        """Read a record that we wrote."""
        return cls(*own(data, 4))


class Change(NamedTuple):
    """What a version did: `added` 1 or 0 for these entries, by whom, when and why."""

    added: int
    entries: tuple[bytes, ...]
    by: bytes
    height: int
    time_ms: int
    reason: str

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Change:
        """Read a record that we wrote."""
        added, entries, *rest = own(data, 6)
        return cls(added, tuple(entries), *rest)


def list_key(name: str) -> bytes:
    """Return the key of a list; in the index, so that lists can be listed."""
    return LIST_PREFIX + name.encode("ascii")


def entries_prefix(name: str) -> bytes:
    """Return how the keys of a list's entries begin; in the index, so that they can be listed."""
    return b"xm" + name.encode("ascii") + b"/"


def entry_key(name: str, entry: bytes) -> bytes:
    """Return the key that is there while an entry is in a list."""
    return entries_prefix(name) + entry


def change_key(name: str, version: int) -> bytes:
    """Return the key of what a version of a list did."""
    return b"l" + name.encode("ascii") + b"/" + version.to_bytes(4, "big")


def list_at(get: Get, name: str) -> NamedList | None:
    """Return a list, None if there is none of that name."""
    data = get(list_key(name))
    return None if data is None else NamedList.unpack(data)


def listed(get: Get, name: str, account: bytes, subject: bytes) -> bool:
    """Tell whether an account, or the person behind it, is in a list."""
    if get(entry_key(name, account)) is not None:
        return True
    return subject != account and get(entry_key(name, subject)) is not None


def change_at(get: Get, name: str, version: int) -> Change | None:
    """Return what a version of a list did."""
    data = get(change_key(name, version))
    return None if data is None else Change.unpack(data)


def check_entries(context: Context, name: str, entries: Sequence[bytes], added: int) -> NamedList:
    """Return the list; refused when an entry is in already, is not in, or stands twice."""
    found = list_at(context.get, name)
    if found is None:
        raise context.refuse("compliance.unknownList", name)
    if any(before >= after for before, after in pairwise(entries)):
        raise context.refuse("compliance.entriesOrder")
    for entry in entries:
        if (context.get(entry_key(name, entry)) is not None) == bool(added):
            rule = "compliance.inList" if added else "compliance.notInList"
            raise context.refuse(rule, entry, name)
    if added and found.entries + len(entries) > ENTRIES_MAX:
        raise context.refuse("compliance.listFull", name, ENTRIES_MAX)
    return found


def change_entries(
    context: Context, name: str, entries: Sequence[bytes], added: int, reason: str
) -> int:
    """Put entries in or take them out, as one more version, which is returned.

    They were checked, and officers counted, before.
    """
    found = check_entries(context, name, entries, added)
    version = found.version + 1
    for entry in entries:
        key = entry_key(name, entry)
        if added:
            context.put(key, pack(version))
        else:
            context.delete(key)
    count = found.entries + (len(entries) if added else -len(entries))
    change = Change(added, tuple(entries), context.sender, context.height, context.time_ms, reason)
    context.put(change_key(name, version), change.pack())
    context.put(list_key(name), found._replace(version=version, entries=count).pack())
    return version


def set_list(context: Context, name: str, title: str, officers: int) -> None:
    """Make a list, or change what it is for and who changes it; officers were counted before."""
    found = list_at(context.get, name)
    if found is None:
        context.put(LIST_COUNT_KEY, pack(count_at(context.get, LIST_COUNT_KEY) + 1))
        found = NamedList(title, officers, 0, 0)
    after = found._replace(title=title, officers=officers)
    context.put(list_key(name), after.pack())


def since_version(data: bytes) -> int:
    """Return since which version of its list an entry's record says that it is in."""
    return codec.integer(own(data, 1)[0], "compliance.since")
