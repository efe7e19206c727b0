"""Changes on top of committed state, with marks to roll back to. The only mutable view.

Reads fall through to a `StateReader`; nothing reaches storage before a block is final.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, Protocol

StateKey = tuple[str, bytes]
_MISSING: Final = object()
# First bytes of keys of ordered indexes, in any tree (`kernel/records.py` and the schema say
# which); a key of another kind that begins so is listed here for nothing.
_LISTED_FIRST: Final = frozenset(b"defkx")


class StateReader(Protocol):
    """Committed state at one height, as the transition reads it."""

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return the value under a raw key of a module's tree, or None."""

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` (key, value) of an ordered index, ascending by key.

        Only those above the key `after`, if one is given.
        """


class EmptyState:
    """The state before genesis."""

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return None: there is nothing."""
        return None

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return nothing."""
        return []


class Overlay:
    """A dictionary of changes over a reader, with a journal for rollback."""

    __slots__ = ("_journal", "_listed", "base", "changes")

    def __init__(self, base: StateReader) -> None:
        self.base = base
        self.changes: dict[StateKey, bytes | None] = {}
        self._journal: list[tuple[dict[object, object], object, object]] = []
        # (tree, first byte) → keys of ordered indexes that were ever written here, ascending. A
        # block may write thousands, and each may ask for the list of another account.
        self._listed: dict[tuple[str, int], list[bytes]] = {}

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return the value as of all changes so far."""
        changes = self.changes
        place = (tree, key)
        if place in changes:
            return changes[place]
        return self.base.get(tree, key)

    def put(self, tree: str, key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes."""
        if key[0] in _LISTED_FIRST:
            listed = self._listed.setdefault((tree, key[0]), [])
            place = bisect_left(listed, key)
            if place == len(listed) or listed[place] != key:
                listed.insert(place, key)
        self.record(self.changes, (tree, key), value)

    def record(self, table: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
        """Set `table[key]` so that a rollback undoes it; for caches that belong to the view."""
        self._journal.append((table, key, table.get(key, _MISSING)))
        table[key] = value

    def mark(self) -> int:
        """Return a place to roll back to."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo everything since `mark`."""
        journal = self._journal
        while len(journal) > mark:
            table, key, old = journal.pop()
            if old is _MISSING:
                del table[key]
            else:
                table[key] = old

    def forget_marks(self) -> None:
        """Give up rolling back (a transaction is done), so that the journal stays short."""
        self._journal.clear()

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` entries of an ordered index, changes included."""
        changes = self.changes
        changed: dict[bytes, bytes | None] = {}
        listed = self._listed.get((tree, prefix[0]), ())
        for place in range(bisect_left(listed, max(prefix, after)), len(listed)):
            key = listed[place]
            if not key.startswith(prefix):
                break
            # What was rolled back is still listed, and is no change.
            if key > after and (tree, key) in changes:
                changed[key] = changes[tree, key]
        found = dict(self.base.ordered(tree, prefix, limit + len(changed), after))
        found.update((key, value) for key, value in changed.items() if value is not None)
        live = (key for key in sorted(found) if changed.get(key, b"") is not None)
        return [(key, found[key]) for key, _ in zip(live, range(limit), strict=False)]


def tree_changes(
    changes: dict[StateKey, bytes | None],
) -> Iterator[tuple[str, bytes, bytes | None]]:
    """Yield changes as (tree, key, value) in a fixed order."""
    for tree, key in sorted(changes):
        yield tree, key, changes[tree, key]
