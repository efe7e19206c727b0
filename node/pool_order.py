"""What waits for a block: entries of the mempool, and the order in which a proposer meets them.

Fee per cost comes first, then arrival; within one (sender, lane) only the sequence counts. The
order is kept sorted in short pieces, so that adding, removing and finding a place cost a few
microseconds whatever the size, and nothing is ever sorted anew.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.transition import Prepared

# Where an entry stands: (−fee per cost, arrival number); smaller is sooner.
Place = tuple[int, int]
# Long enough that there are few pieces, short enough that copying one costs a microsecond.
PIECE_MAX: Final = 512
# Fee per cost is compared as an integer with so many binary places.
RATE_SHIFT: Final = 32


class Lane:
    """The pooled transactions of one (sender, lane).

    `next` is the sequence that the committed state wants, `ready_end` the first one from there
    that is not pooled: entries below it are ready, those above wait for the gap to fill.
    """

    __slots__ = ("entries", "next", "number", "ready_end", "sender")

    def __init__(self, sender: bytes, number: int, next_sequence: int) -> None:
        self.sender = sender
        self.number = number
        self.next = next_sequence
        self.ready_end = next_sequence
        self.entries: dict[int, Entry] = {}


class Entry:
    """One pooled transaction. `size_bytes` is that of its signed form; `refusals` counts how
    often a proposer did not include it, `strikes` how often that was its own fault. `limited`:
    somebody's limits apply to its fee, a session key's or a sponsor's.
    """

    __slots__ = (
        "accepted_ms",
        "lane",
        "limited",
        "place",
        "prepared",
        "ready",
        "refusals",
        "sequence",
        "size_bytes",
        "strikes",
        "tx_id",
        "wtx_id",
    )

    def __init__(
        self,
        prepared: Prepared,
        lane: Lane,
        arrival: int,
        accepted_ms: int,
        limited: bool = False,
    ) -> None:
        transaction = prepared.transaction
        self.prepared = prepared
        self.lane = lane
        self.sequence = transaction.body.sequence
        self.place: Place = (rate(prepared), arrival)
        self.limited = limited
        self.ready = False
        self.refusals = 0
        self.strikes = 0
        self.size_bytes = len(transaction.raw)
        self.tx_id = transaction.tx_id
        self.wtx_id = transaction.wtx_id
        self.accepted_ms = accepted_ms


def rate(prepared: Prepared) -> int:
    """Return the fee per cost, negated, so that who pays more sorts first."""
    fee = prepared.transaction.body.fee
    return -((fee << RATE_SHIFT) // prepared.cost) if fee else 0


class ProposalOrder:
    """Ready entries, sorted by their place."""

    def __init__(self) -> None:
        self._pieces: list[list[tuple[int, int, Entry]]] = []
        # The place of each piece's last entry: where to look for a place.
        self._ends: list[Place] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: Entry) -> None:
        """Add an entry that is not in it."""
        place = entry.place
        item = (place[0], place[1], entry)
        self._count += 1
        if not self._ends:
            self._pieces.append([item])
            self._ends.append(place)
            return
        if place > self._ends[-1]:
            # The commonest case: equal fees, so the newest stands last.
            index = len(self._ends) - 1
            piece = self._pieces[index]
            piece.append(item)
            self._ends[index] = place
        else:
            index = bisect_left(self._ends, place)
            piece = self._pieces[index]
            piece.insert(bisect_left(piece, item[:2]), item)
        if len(piece) > PIECE_MAX:
            self._split(index)

    def _split(self, index: int) -> None:
        piece = self._pieces[index]
        # A piece that grew at the end is left nearly full, because the next ones come there too.
        cut = PIECE_MAX if index == len(self._pieces) - 1 else PIECE_MAX // 2
        self._pieces[index : index + 1] = [piece[:cut], piece[cut:]]
        self._ends.insert(index, piece[cut - 1][:2])

    def remove(self, entry: Entry) -> None:
        """Remove an entry. Raises `Bug` when it is not in it."""
        index = bisect_left(self._ends, entry.place)
        piece = self._pieces[index] if index < len(self._pieces) else []
        at = bisect_left(piece, entry.place)
        if at >= len(piece) or piece[at][2] is not entry:
            raise Bug("an entry of the mempool is not where its place says")
        del piece[at]
        self._count -= 1
        if not piece:
            del self._pieces[index], self._ends[index]
            return
        self._ends[index] = piece[-1][:2]
        if index + 1 < len(self._pieces):
            following = self._pieces[index + 1]
            if len(piece) + len(following) <= PIECE_MAX // 2:
                piece.extend(following)
                self._ends[index] = self._ends[index + 1]
                del self._pieces[index + 1], self._ends[index + 1]

    def after(self, place: Place | None) -> list[Entry]:
        """Return some entries that follow `place` (None: the first ones); empty at the end.

        The list is a copy and stays valid whatever happens to the order.
        """
        if not self._pieces:
            return []
        if place is None:
            return [item[2] for item in self._pieces[0]]
        index = bisect_right(self._ends, place)
        if index == len(self._pieces):
            return []
        piece = self._pieces[index]
        # (place) + infinity: no arrival number is larger.
        start = bisect_left(piece, (place[0], place[1] + 1))
        return [item[2] for item in piece[start:]]

    def backwards(self) -> Iterator[Entry]:
        """Yield entries from the last; the order must not change meanwhile."""
        for piece in reversed(self._pieces):
            for item in reversed(piece):
                yield item[2]
