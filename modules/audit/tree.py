"""The tree of RFC 6962 in a database: appended to in O(log n), proofs without a scan.

Every complete subtree of two leaves or more has one row, written when its last leaf comes and
never again; leaves are the entries' own hashes. A row's number is the subtree's in-order number
(RFC 7574 §4.2), so that what a proof reads lies close together. Whatever is not complete (the
right edge of a size) is worked out from at most 62 rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import StorageFault
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    Range,
    consistency_ranges,
    inclusion_ranges,
    node_hash,
)
from clawpurse.modules.audit.tables import AuditTables

SIZE_MAX: Final = 2**61
"""In-order numbers of larger trees do not fit the databases' 64 bits; no log gets there."""

_ROWS_AT_ONCE: Final = 500
"""Names in one statement: both databases take many more, and plan these quickly."""

Subtree = tuple[int, int]
"""Level (0: a leaf) and place among the subtrees of that level, from the left."""


def bin_of(subtree: Subtree) -> int:
    """Return the in-order number of a subtree: of leaf i it is 2i, of their parents odd."""
    level, place = subtree
    return (place << level + 1) + (1 << level) - 1


def subtrees(start: int, stop: int) -> Iterator[Subtree]:
    """Yield the complete subtrees that leaves [start, stop) consist of, from the left.

    Each is the largest that fits, so for ranges of proofs their levels fall.
    """
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


class Tree:
    """The tree within a transaction."""

    def __init__(self, connection: Connection, tables: AuditTables) -> None:
        self._connection = connection
        self._entries = tables.entries
        self._nodes = tables.nodes

    def size(self) -> int:
        """Return how many entries there are, by the last place: one seek."""
        last = self._connection.execute(sa.select(sa.func.max(self._entries.c.place))).scalar()
        return 0 if last is None else int(last) + 1

    def extend(self, size: int, leaves: Sequence[bytes]) -> None:
        """Write the subtrees that these leaves complete, after the first `size` ones."""
        # What ends at the right edge now, lowest last: a new leaf completes some of it.
        edge = self._edge(size)
        rows: list[dict[str, object]] = []
        for place, leaf in enumerate(leaves, size):
            level, digest = 0, leaf
            while place >> level & 1:
                _, left = edge.pop()
                level, digest = level + 1, node_hash(left, digest)
                rows.append({"bin": bin_of((level, place >> level)), "hash": digest})
            edge.append((level, digest))
        if rows:
            self._connection.execute(self._nodes.insert(), rows)

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` entries."""
        return self.roots([(0, size)])[0] if size else EMPTY_ROOT

    def roots(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return the roots of ranges of leaves as proofs name them; none of them is empty.

        Raises `StorageFault` when a row is missing.
        """
        parts = [list(subtrees(start, stop)) for start, stop in ranges]
        found = self._read(one for part in parts for one in part)
        return [_folded([found[one] for one in part]) for part in parts]

    def inclusion(self, places: Sequence[int], size: int) -> list[list[bytes]]:
        """Return for each place the proof that its entry is among the first `size`."""
        asked = [inclusion_ranges(place, size) for place in places]
        roots = iter(self.roots([one for ranges in asked for one in ranges]))
        return [list(islice(roots, len(ranges))) for ranges in asked]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Return the proof that the first `first` entries are the beginning of `second`."""
        return self.roots(consistency_ranges(first, second))

    def _edge(self, size: int) -> list[tuple[int, bytes]]:
        peaks = list(subtrees(0, size))
        found = self._read(peaks)
        return [(level, found[level, place]) for level, place in peaks]

    def _read(self, wanted: Iterable[Subtree]) -> dict[Subtree, bytes]:
        """Read hashes of subtrees, each once."""
        found: dict[Subtree, bytes] = {}
        places = {bin_of(one): one for one in wanted}
        leaves = {place: one for one in places.values() for level, place in [one] if not level}
        nodes = {number: one for number, one in places.items() if one[0]}
        for key, value, names in (
            (self._entries.c.place, self._entries.c.leaf, leaves),
            (self._nodes.c.bin, self._nodes.c.hash, nodes),
        ):
            numbers = sorted(names)
            for start in range(0, len(numbers), _ROWS_AT_ONCE):
                some = numbers[start : start + _ROWS_AT_ONCE]
                for number, digest in self._connection.execute(
                    sa.select(key, value).where(key.in_(some))
                ):
                    found[names[number]] = digest
        lost = [one for one in places.values() if one not in found]
        if lost:
            level, place = min(lost, key=lambda one: one[1] << one[0])
            raise StorageFault(
                f"The tree of the audit log has a hole at entry {place << level}.",
                "Rows were taken out of the database.",
                "clawpurse audit verify, with a bundle that was exported before",
            )
        return found


def _folded(hashes: list[bytes]) -> bytes:
    """Return the root over complete subtrees of falling levels."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root
