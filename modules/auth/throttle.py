"""How often something may be tried: each failure in a row doubles the wait, known or unknown.

A try is counted before it is judged, so that many at once are many; success gives it back. What
is counted is a mark, so the table holds no names and no addresses, and it is bounded: what was
tried longest ago goes first. After a hundred failures in a row nothing is tried for a day at a
time (SP 800-63B-4 §3.2.2), until somebody unlocks the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from clawpurse.modules.auth.book import Book

ROWS_MAX: Final = 50_000
"""Marks at once; 200 bytes each. To push one out takes as many tries from as many addresses."""

SWEEP_ROWS: Final = 500
FORGOTTEN_MS: Final = 30 * 86_400_000
FAILURES_MAX: Final = 100
LOCKED_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Pace:
    """`free` failures cost nothing, the next one `first_ms`, each further one twice as much."""

    free: int
    first_ms: int
    most_ms: int
    rests_ms: int
    """After so long without a try everything begins anew; 0: never."""

    def wait_ms(self, failures: int) -> int:
        """Return how long to wait after so many failures in a row."""
        if failures <= self.free:
            return 0
        if failures >= FAILURES_MAX and not self.rests_ms:
            return LOCKED_MS
        return min(self.most_ms, self.first_ms << min(failures - self.free - 1, 40))


USER_PACE: Final = Pace(free=5, first_ms=1_000, most_ms=900_000, rests_ms=0)
ADDRESS_PACE: Final = Pace(free=30, first_ms=1_000, most_ms=300_000, rests_ms=3_600_000)


def charge(book: Book, mark: bytes, pace: Pace) -> int:
    """Count a try, and return 0; or how many ms it comes too early, counting nothing."""
    table = book.t.throttles
    row = book.db.execute(table.select().where(table.c.mark == mark)).one_or_none()
    failures = 0 if row is None else row.failures
    if row is not None:
        if row.until_ms > book.now_ms:
            return int(row.until_ms - book.now_ms)
        if pace.rests_ms and book.now_ms - row.seen_ms >= pace.rests_ms:
            failures = 0
    said = {
        "failures": failures + 1,
        "until_ms": book.now_ms + pace.wait_ms(failures + 1),
        "seen_ms": book.now_ms,
    }
    if row is None:
        _make_room(book)
        book.db.execute(table.insert(), {"mark": mark, **said})
    else:
        book.db.execute(table.update().where(table.c.mark == mark).values(said))
    return 0


def forgive(book: Book, mark: bytes) -> None:
    """Begin anew: it was the right one."""
    table = book.t.throttles
    book.db.execute(table.delete().where(table.c.mark == mark))


def give_back(book: Book, mark: bytes) -> None:
    """Take back one counted try: it was a good one, of an address that may have bad ones too."""
    table = book.t.throttles
    less = {"failures": table.c.failures - 1, "until_ms": book.now_ms}
    book.db.execute(
        table.update().where((table.c.mark == mark) & (table.c.failures > 0)).values(less)
    )


def _make_room(book: Book) -> None:
    table = book.t.throttles
    book.db.execute(table.delete().where(table.c.seen_ms < book.now_ms - FORGOTTEN_MS))
    count = book.db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    if count >= ROWS_MAX:
        oldest = sa.select(table.c.mark).order_by(table.c.seen_ms).limit(SWEEP_ROWS)
        book.db.execute(table.delete().where(table.c.mark.in_(oldest)))
