"""What a service does by itself as time passes, in bounded batches.

Each is a plain function of a transaction's work and a limit, and returns how much it did: less
than the limit means that nothing is left for now. Whatever one batch did is committed with its
entries in the history; the next batch may run after any kill, and does what is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import sqlalchemy as sa

from clawpurse.modules.kit.records.deadlines import PROMISE, RETENTION
from clawpurse.modules.kit.records.model import TIME
from clawpurse.modules.kit.records.persons import (
    TO_HOLDERS,
    archive,
    compacted,
    erase_record,
    erasure_of,
    forget_person,
    wants_compacting,
)
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work

BATCH: Final = 100
"""Records of one transaction: some 50 ms of the writer, which others wait for."""

COMPACT_EVERY_MS: Final = 600_000
"""Compacting writes a database anew. What people ask to be erased is compacted at once; what is
erased by its age waits for others of its kind."""

KEPT_LONG_ENOUGH: Final = "kept as long as it was declared"


def find_breaches(work: Work, limit: int = BATCH) -> int:
    """Write `<clock>.breached` into the history of each record that broke a promise by now.

    Each breach is found once: here, or by the step of somebody who came first. Returns how many
    records were looked at.
    """
    found = work.deadlines.due(PROMISE, limit)
    for kind, number in found:
        work.settle(work.kinds[kind], number)
    return len(found)


def rebuild_deadlines(work: Work, limit: int = BATCH) -> int:
    """Go on with what `Deadlines.declare` left to do, record by record; returns how many."""
    place = work.deadlines.rebuild_place()
    done = 0
    while place is not None and done < limit:
        after, number = place
        names = sorted(name for name in work.kinds if name >= after)
        if not names:
            place = None
            break
        kind = work.kinds[names[0]]
        if kind.name != after:
            number = 0
        found = []
        if kind.clocks or kind.retain is not None:
            found = work.page(kind, after=number, limit=limit - done, archived=True)
        for record in found:
            work.deadlines.renew(record)
        done += len(found)
        # A blank sorts behind this kind's name and before any that begins with it.
        place = (kind.name, found[-1].number) if found else (kind.name + " ", 0)
    if done or place is None:
        work.deadlines.rebuilt(place)
    return done


def carry_out_retention(work: Work, limit: int = BATCH) -> int:
    """Erase or archive records that were kept as long as they are declared to be; returns how many.

    An erased one is archived, too: it leaves lists, keeps its open values and proves its history.
    """
    found = work.deadlines.due(RETENTION, limit)
    for name, number in found:
        kind = work.kinds[name]
        record, retain = work.get(kind, number), kind.retain
        if retain is None or record.archived_ms is not None or record.state not in kind.flow.ends:
            work.deadlines.renew(record)
            continue
        if retain.then == "erase":
            erase_record(work, kind, number, KEPT_LONG_ENOUGH)
        archive(work, work.get(kind, number))
    return len(found)


async def compact(records: Transactions) -> bool:
    """Give back every byte of what was erased; False when a reader of old data is in the way.

    Then it stays noted, also over a kill, and is done by `Chores`.
    """

    def run() -> bool:
        done = records.database.compact()
        if done:
            records.database.write_now(
                lambda db: compacted(records.work(db, TIME, records.now_ms()))
            )
        return done

    return await records.database.alone(run)


async def spread(source: Transactions, others: Sequence[Transactions]) -> int:
    """Let other services of the installation erase whom `source` erased; returns how many messages.

    They name its persons `service.kind/ID`. A message is settled when all have done it; after a
    kill in between it is done again, which changes nothing.
    """
    table = source.tables.outbox
    waiting = (table.c.target == TO_HOLDERS) & (table.c.status == "waiting")

    def look(work: Work) -> list[tuple[int, bytes]]:
        chosen = sa.select(table.c.number, table.c.payload).where(waiting)
        rows = work.connection.execute(chosen.order_by(table.c.number).limit(BATCH)).all()
        return [(row.number, row.payload) for row in rows]

    found = await source.read(look)
    for number, payload in found:
        said = erasure_of(payload)
        told: dict[str, int] = {}
        if said["type"] == "subject.erased" and "." not in said["subject"].partition("/")[0]:
            subject, reason = f"{source.service}.{said['subject']}", f"erased by {source.service}"
            for other in others:
                if _speaks_of(other, subject):
                    done = await other.write(
                        TIME, partial(forget_person, subject=subject, reason=reason)
                    )
                    told[other.service] = done.records
        await source.write(TIME, partial(_settle, number=number, told=told))
    return len(found)


def _waiting(work: Work) -> list[Callable[[Work], int]]:
    """Return which chores have something to do."""
    found: list[Callable[[Work], int]] = []
    if work.deadlines.rebuild_place() is not None:
        found.append(rebuild_deadlines)
    if work.deadlines.due(PROMISE, 1):
        found.append(find_breaches)
    if work.deadlines.due(RETENTION, 1):
        found.append(carry_out_retention)
    return found


def _speaks_of(records: Transactions, subject: str) -> bool:
    named = subject.partition("/")[0]
    return any(
        spec.ref is not None and spec.ref.kind == named
        for kind in records.kinds.values()
        for spec in kind.fields.values()
    )


def _settle(work: Work, number: int, told: Mapping[str, int]) -> None:
    table = work.tables.outbox
    done = {
        "status": "done",
        "attempts": table.c.attempts + 1,
        "outcome": json.dumps({"told": dict(told)}, sort_keys=True),
        "settled_ms": work.now_ms,
    }
    work.connection.execute(table.update().where(table.c.number == number).values(done))


class Chores:
    """Everything that a service does by itself as time passes.

    `others`: the services of the same installation, which erase whom this one erased.
    """

    def __init__(self, records: Transactions, others: Callable[[], Sequence[Transactions]]) -> None:
        self._records = records
        self._others = others
        self._compacted_ms = 0

    async def step(self) -> bool:
        """Do one batch of each kind of work; True when there is more to do at once.

        Called each second or so, and again at once while it returns True. Cancelled between
        batches, nothing is half done. Raises as `Transactions.write` does.
        """
        more = False
        # Most of the time nothing is due: then nobody waits for the writer.
        for chore in await self._records.read(_waiting):
            more = await self._records.write(TIME, chore) >= BATCH or more
        more = await spread(self._records, self._others()) >= BATCH or more
        now_ms = self._records.now_ms()
        wanted = not more and now_ms - self._compacted_ms >= COMPACT_EVERY_MS
        if wanted and await self._records.read(wants_compacting):
            self._compacted_ms = now_ms
            await compact(self._records)
        return more
