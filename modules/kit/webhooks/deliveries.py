"""Deliveries on disk: made as the cursor moves, tried, taken or given up, replayed, pruned."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Code, NotFound, Refused
from clawpurse.modules.kit.webhooks.database import Database
from clawpurse.modules.kit.webhooks.endpoints import disable
from clawpurse.modules.kit.webhooks.events import Message
from clawpurse.modules.kit.webhooks.schedule import ATTEMPTS_MAX
from clawpurse.modules.kit.webhooks.tables import (
    DEAD,
    DELIVERED,
    EXHAUSTED,
    FAILED,
    GONE,
    PENDING,
    Attempt,
    Delivery,
    attempt_of,
    delivery_of,
)

PENDING_MAX: Final = 1_000
"""Deliveries of one endpoint that wait. Beyond it the cursor stands still: the log is the queue."""

ATTEMPTS_KEPT: Final = 2 * ATTEMPTS_MAX
"""Of one delivery: this round's and the last one's."""

REPLAY_MAX: Final = 1_000
"""Dead letters that one call sends again."""

ID_MAX: Final = 2**63 - 1
_DAY_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Kept:
    """How long and how many ended deliveries are kept, of each endpoint."""

    delivered_ms: int = 7 * _DAY_MS
    dead_ms: int = 90 * _DAY_MS
    delivered_max: int = 10_000
    dead_max: int = 10_000
    rows_per_sweep: int = 2_000


class Outcome(NamedTuple):
    """What one attempt came to, and what follows from it.

    `due_ms`: when it is tried again, None for never. `rest_until_ms`: until when the endpoint is
    left alone. `gone`: the receiver wants nothing any more.
    """

    attempt: Attempt
    due_ms: int | None
    rest_until_ms: int = 0
    gone: bool = False


class Pace(NamedTuple):
    """What an endpoint's sender should do next: rows to send, and when to look again."""

    ready: Sequence[Delivery]
    next_due_ms: int | None
    pending: int


class Deliveries:
    """What is kept of deliveries. Every change is on disk when its method returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(
        self, endpoint: str, epoch: int, messages: Sequence[Message], reached: str, now_ms: int
    ) -> bool:
        """Move the cursor and make the deliveries that it passed, in one transaction.

        False, and nothing changed, when the endpoint is gone, off, or was set to another cursor
        meanwhile. A message that has a row already (a replay) is sent again under its id.
        """

        def job(db: sqlite3.Connection) -> bool:
            moved = db.execute(
                "UPDATE endpoints SET cursor = ?, next_turn = next_turn + ?"
                " WHERE id = ? AND epoch = ? AND enabled = 1 RETURNING next_turn",
                (reached, len(messages), endpoint, epoch),
            ).fetchone()
            if moved is None:
                return False
            first = moved[0] - len(messages)
            for turn, message in enumerate(messages, first):
                db.execute(
                    "INSERT INTO deliveries (endpoint, message, kind, cursor, body, state, turn,"
                    " created_ms, due_ms) VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?)"
                    " ON CONFLICT (endpoint, message) DO UPDATE SET state = 'pending',"
                    " turn = excluded.turn, round = 0, round_ms = NULL, due_ms = excluded.due_ms,"
                    " ended_ms = NULL, replays = replays + (state != 'pending')",
                    (
                        endpoint,
                        message.ident,
                        message.kind,
                        message.cursor,
                        message.body,
                        turn,
                        now_ms,
                        now_ms,
                    ),
                )
            return True

        return await self._database.write(job)

    async def pace(
        self, endpoint: str, now_ms: int, room: int, *, in_order: bool, under_way: Sequence[int]
    ) -> Pace:
        """Return up to `room` deliveries that are due and not under way, the oldest turn first.

        In order: only the first that waits, and only when it is due.
        """

        def job(db: sqlite3.Connection) -> Pace:
            pending = db.execute(
                "SELECT count(*) FROM deliveries WHERE endpoint = ? AND state = 'pending'",
                (endpoint,),
            ).fetchone()[0]
            if in_order:
                rows = db.execute(
                    "SELECT * FROM deliveries WHERE endpoint = ? AND state = 'pending'"
                    " ORDER BY turn LIMIT 1",
                    (endpoint,),
                ).fetchall()
            else:
                rows = db.execute(
                    "SELECT * FROM deliveries WHERE endpoint = ? AND state = 'pending'"
                    " ORDER BY due_ms, turn LIMIT ?",
                    (endpoint, room + len(under_way) + 1),
                ).fetchall()
            waiting = [delivery_of(row) for row in rows if row["id"] not in under_way]
            ready = [one for one in waiting if one.due_ms <= now_ms][:room]
            later = [one.due_ms for one in waiting if one.due_ms > now_ms]
            if in_order and under_way:
                ready = []
            return Pace(ready, min(later, default=None), pending)

        return await self._database.read(job)

    async def settle(self, delivery: Delivery, outcome: Outcome) -> str | None:
        """Note an attempt. Returns why the endpoint was disabled by it, or None.

        A row that was deleted meanwhile stays deleted.
        """

        def job(db: sqlite3.Connection) -> str | None:
            attempt = outcome.attempt
            row = db.execute(
                "SELECT round_ms, replays FROM deliveries WHERE id = ? AND state = 'pending'",
                (delivery.id,),
            ).fetchone()
            if row is None:
                return None
            _add_attempt(db, delivery.id, attempt)
            ended_ms = attempt.at_ms + attempt.took_ms
            if attempt.problem is None:
                _end(db, delivery.id, DELIVERED, attempt, ended_ms)
                db.execute(
                    "UPDATE endpoints SET last_success_ms = ?, rest_until_ms = 0 WHERE id = ?",
                    (ended_ms, delivery.endpoint),
                )
                return None
            db.execute(
                "UPDATE endpoints SET last_failure_ms = ?, rest_until_ms = max(rest_until_ms, ?)"
                " WHERE id = ?",
                (ended_ms, outcome.rest_until_ms, delivery.endpoint),
            )
            began_ms = attempt.at_ms if row["round_ms"] is None else row["round_ms"]
            if outcome.gone:
                _retry(db, delivery.id, attempt, began_ms, ended_ms)
                why = "the receiver answered 410 Gone: it wants nothing any more"
                return _switch_off(db, delivery.endpoint, GONE, why, ended_ms)
            if outcome.due_ms is not None:
                _retry(db, delivery.id, attempt, began_ms, outcome.due_ms)
                return None
            _end(db, delivery.id, DEAD, attempt, ended_ms)
            return _give_up(db, delivery, attempt, began_ms, ended_ms)

        return await self._database.write(job)

    async def note_test(
        self, endpoint: str, message: Message, attempt: Attempt, now_ms: int
    ) -> Delivery:
        """Keep what a test post came to."""

        def job(db: sqlite3.Connection) -> Delivery:
            state = DELIVERED if attempt.problem is None else FAILED
            ident = db.execute(
                "INSERT INTO deliveries (endpoint, message, kind, cursor, body, state, turn, test,"
                " created_ms, due_ms) VALUES (?, ?, ?, ?, ?, ?, 0, 1, ?, ?)",
                (
                    endpoint,
                    message.ident,
                    message.kind,
                    message.cursor,
                    message.body,
                    state,
                    now_ms,
                    now_ms,
                ),
            ).lastrowid
            assert ident is not None
            _add_attempt(db, ident, attempt)
            _end(db, ident, state, attempt, attempt.at_ms + attempt.took_ms)
            return _get(db, endpoint, ident)

        return await self._database.write(job)

    async def page(
        self, endpoint: str, state: str | None, before: int | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries of an endpoint, the newest first, below an id."""

        def job(db: sqlite3.Connection) -> list[Delivery]:
            below = before or ID_MAX
            if state is None:
                rows = db.execute(
                    "SELECT * FROM deliveries WHERE endpoint = ? AND id < ?"
                    " ORDER BY id DESC LIMIT ?",
                    (endpoint, below, limit),
                ).fetchall()
            else:
                rows = db.execute(
                    "SELECT * FROM deliveries WHERE endpoint = ? AND state = ? AND id < ?"
                    " ORDER BY id DESC LIMIT ?",
                    (endpoint, state, below, limit),
                ).fetchall()
            return [delivery_of(row) for row in rows]

        return await self._database.read(job)

    async def get(self, endpoint: str, ident: int) -> tuple[Delivery, list[Attempt]]:
        """Return a delivery with its last attempts, oldest first. Raises `NotFound`."""

        def job(db: sqlite3.Connection) -> tuple[Delivery, list[Attempt]]:
            found = _get(db, endpoint, ident)
            rows = db.execute(
                "SELECT * FROM attempts WHERE delivery = ? ORDER BY number", (ident,)
            ).fetchall()
            return found, [attempt_of(row) for row in rows]

        return await self._database.read(job)

    async def counts(self, endpoint: str) -> dict[str, int]:
        """Return how many deliveries of an endpoint are in each state."""

        def job(db: sqlite3.Connection) -> dict[str, int]:
            rows = db.execute(
                "SELECT state, count(*) FROM deliveries WHERE endpoint = ? GROUP BY state",
                (endpoint,),
            ).fetchall()
            return {row[0]: row[1] for row in rows}

        return await self._database.read(job)

    async def replay_one(self, endpoint: str, ident: int, now_ms: int) -> Delivery:
        """Send a delivery again, as the last in turn. Raises `NotFound`, `Refused` for a test."""

        def job(db: sqlite3.Connection) -> Delivery:
            found = _get(db, endpoint, ident)
            if found.test:
                raise Refused(Code.NOT_FOUND, f"delivery {ident} was a test; send another")
            if found.state != PENDING:
                _again(db, endpoint, [ident], now_ms)
            else:
                db.execute("UPDATE deliveries SET due_ms = ? WHERE id = ?", (now_ms, ident))
            return _get(db, endpoint, ident)

        return await self._database.write(job)

    async def replay_dead(self, endpoint: str, now_ms: int) -> int:
        """Send dead letters again, in their old order; returns how many (at most REPLAY_MAX)."""

        def job(db: sqlite3.Connection) -> int:
            rows = db.execute(
                "SELECT id FROM deliveries WHERE endpoint = ? AND state = 'dead'"
                " ORDER BY turn LIMIT ?",
                (endpoint, REPLAY_MAX),
            ).fetchall()
            return _again(db, endpoint, [row[0] for row in rows], now_ms)

        return await self._database.write(job)

    async def prune(self, endpoint: str, now_ms: int, kept: Kept) -> int:
        """Delete ended deliveries that are too old or too many; returns how many.

        Bounded a call; call it again while it deletes something.
        """

        def job(db: sqlite3.Connection) -> int:
            gone = 0
            for states, age_ms, most in (
                ((DELIVERED, FAILED), kept.delivered_ms, kept.delivered_max),
                ((DEAD,), kept.dead_ms, kept.dead_max),
            ):
                for state in states:
                    last = db.execute(
                        "SELECT ended_ms FROM deliveries WHERE endpoint = ? AND state = ?"
                        " ORDER BY ended_ms DESC LIMIT 1 OFFSET ?",
                        (endpoint, state, most),
                    ).fetchone()
                    oldest_ms = max(now_ms - age_ms, last[0] + 1 if last else 0)
                    gone += db.execute(
                        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE"
                        " endpoint = ? AND state = ? AND ended_ms < ? ORDER BY ended_ms LIMIT ?)",
                        (endpoint, state, oldest_ms, kept.rows_per_sweep),
                    ).rowcount
            return gone

        return await self._database.write(job)


def _get(db: sqlite3.Connection, endpoint: str, ident: int) -> Delivery:
    row = db.execute(
        "SELECT * FROM deliveries WHERE endpoint = ? AND id = ?", (endpoint, ident)
    ).fetchone()
    if row is None:
        raise NotFound(f"delivery {ident} of webhook {endpoint}")
    return delivery_of(row)


def _add_attempt(db: sqlite3.Connection, ident: int, attempt: Attempt) -> None:
    number = db.execute(
        "UPDATE deliveries SET attempts = attempts + 1 WHERE id = ? RETURNING attempts", (ident,)
    ).fetchone()[0]
    db.execute(
        "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
        (ident, number, attempt.at_ms, attempt.took_ms, attempt.status, attempt.problem),
    )
    db.execute(
        "DELETE FROM attempts WHERE delivery = ? AND number <= ?", (ident, number - ATTEMPTS_KEPT)
    )


def _end(db: sqlite3.Connection, ident: int, state: str, attempt: Attempt, ended_ms: int) -> None:
    db.execute(
        "UPDATE deliveries SET state = ?, round = round + 1, ended_ms = ?, status = ?,"
        " problem = ? WHERE id = ?",
        (state, ended_ms, attempt.status, attempt.problem, ident),
    )


def _retry(
    db: sqlite3.Connection, ident: int, attempt: Attempt, began_ms: int, due_ms: int
) -> None:
    db.execute(
        "UPDATE deliveries SET round = round + 1, round_ms = ?, due_ms = ?, status = ?,"
        " problem = ? WHERE id = ?",
        (began_ms, due_ms, attempt.status, attempt.problem, ident),
    )


def _give_up(
    db: sqlite3.Connection, delivery: Delivery, attempt: Attempt, began_ms: int, now_ms: int
) -> str | None:
    """Disable the endpoint of a dead letter, unless it took something else meanwhile."""
    last = db.execute(
        "SELECT last_success_ms FROM endpoints WHERE id = ?", (delivery.endpoint,)
    ).fetchone()[0]
    if last is not None and last >= began_ms:
        return None
    why = (
        f"{delivery.message} was not taken in {ATTEMPTS_MAX} attempts, nor anything else"
        f" meanwhile; the last problem: {attempt.problem}"
    )
    return _switch_off(db, delivery.endpoint, EXHAUSTED, why, now_ms)


def _switch_off(db: sqlite3.Connection, endpoint: str, reason: str, why: str, now_ms: int) -> str:
    disable(db, endpoint, reason, why, now_ms)
    return why


def _again(db: sqlite3.Connection, endpoint: str, idents: Sequence[int], now_ms: int) -> int:
    """Let ended deliveries wait again, in this order, after all that waits."""
    after = db.execute(
        "UPDATE endpoints SET next_turn = next_turn + ? WHERE id = ? RETURNING next_turn",
        (len(idents), endpoint),
    ).fetchone()
    if after is None:
        raise NotFound(f"webhook {endpoint}")
    for turn, ident in enumerate(idents, after[0] - len(idents)):
        db.execute(
            "UPDATE deliveries SET state = 'pending', turn = ?, round = 0, round_ms = NULL,"
            " due_ms = ?, ended_ms = NULL, replays = replays + 1 WHERE id = ?",
            (turn, now_ms, ident),
        )
    return len(idents)
