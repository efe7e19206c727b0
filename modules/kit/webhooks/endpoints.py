"""Endpoints and their keys on disk: made, shown, rotated, switched off and on, deleted."""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from clawpurse.ledger.errors import Code, NotFound, Refused
from clawpurse.modules.kit.webhooks.database import Database
from clawpurse.modules.kit.webhooks.signing import Secret
from clawpurse.modules.kit.webhooks.tables import PENDING, Endpoint, endpoint_of

ENDPOINTS_MAX: Final = 64
"""Each may hold a few sockets and 1,000 rows that wait; an operator has a handful."""

SECRETS_MAX: Final = 3
"""Keys in force at once: the newest, and those of two rotations whose overlap still runs."""


class Endpoints:
    """What is kept of endpoints. Every change is on disk when its method returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, endpoint: Endpoint) -> Endpoint:
        """Keep a new endpoint with its secrets. Raises `Refused` when there are too many."""

        def job(db: sqlite3.Connection) -> Endpoint:
            if db.execute("SELECT count(*) FROM endpoints").fetchone()[0] >= ENDPOINTS_MAX:
                raise Refused(Code.LIMIT_EXCEEDED, f"there are {ENDPOINTS_MAX} webhooks already")
            db.execute(
                "INSERT INTO endpoints (id, url, description, topic, filter, types, concurrency,"
                " created_ms, enabled, cursor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
                (
                    endpoint.id,
                    endpoint.url,
                    endpoint.description,
                    endpoint.topic,
                    json.dumps(endpoint.filter),
                    json.dumps(endpoint.types),
                    endpoint.concurrency,
                    endpoint.created_ms,
                    endpoint.cursor,
                ),
            )
            for secret in endpoint.secrets:
                _add_secret(db, endpoint.id, secret)
            return _get(db, endpoint.id)

        return await self._database.write(job)

    async def get(self, ident: str) -> Endpoint:
        """Return an endpoint. Raises `NotFound`."""
        return await self._database.read(lambda db: _get(db, ident))

    async def all(self) -> list[Endpoint]:
        """Return every endpoint, oldest first: there are at most `ENDPOINTS_MAX`."""

        def job(db: sqlite3.Connection) -> list[Endpoint]:
            rows = db.execute("SELECT * FROM endpoints ORDER BY created_ms, id").fetchall()
            return [endpoint_of(row, _secrets(db, row["id"])) for row in rows]

        return await self._database.read(job)

    async def delete(self, ident: str) -> None:
        """Forget an endpoint, its keys and its deliveries. Raises `NotFound`."""

        def job(db: sqlite3.Connection) -> None:
            if not db.execute("DELETE FROM endpoints WHERE id = ?", (ident,)).rowcount:
                raise NotFound(f"webhook {ident}")

        await self._database.write(job)

    async def rotate(self, ident: str, secret: Secret, overlap_ms: int) -> Endpoint:
        """Sign with a new key from now on, with the former ones too until the overlap ends."""

        def job(db: sqlite3.Connection) -> Endpoint:
            _get(db, ident)
            ends_ms = secret.created_ms + overlap_ms
            db.execute(
                "UPDATE secrets SET expires_ms = ? WHERE endpoint = ?"
                " AND (expires_ms IS NULL OR expires_ms > ?)",
                (ends_ms, ident, ends_ms),
            )
            db.execute(
                "DELETE FROM secrets WHERE endpoint = ? AND expires_ms <= ?",
                (ident, secret.created_ms),
            )
            _add_secret(db, ident, secret)
            db.execute(
                "DELETE FROM secrets WHERE endpoint = ? AND id NOT IN"
                " (SELECT id FROM secrets WHERE endpoint = ? ORDER BY id DESC LIMIT ?)",
                (ident, ident, SECRETS_MAX),
            )
            return _get(db, ident)

        return await self._database.write(job)

    async def forget_expired(self, now_ms: int) -> None:
        """Delete keys whose overlap is over."""
        await self._database.write(
            lambda db: db.execute("DELETE FROM secrets WHERE expires_ms <= ?", (now_ms,)).rowcount
        )

    async def disable(self, ident: str, reason: str, why: str, now_ms: int) -> Endpoint:
        """Stop sending to an endpoint; what waits stays. Raises `NotFound`."""

        def job(db: sqlite3.Connection) -> Endpoint:
            _get(db, ident)
            disable(db, ident, reason, why, now_ms)
            return _get(db, ident)

        return await self._database.write(job)

    async def enable(self, ident: str, from_cursor: str | None, now_ms: int) -> Endpoint:
        """Send again, from where it stopped or from a cursor; what waits begins its table anew.

        Raises `NotFound`.
        """

        def job(db: sqlite3.Connection) -> Endpoint:
            before = _get(db, ident)
            db.execute(
                "UPDATE endpoints SET enabled = 1, reason = NULL, why = NULL, disabled_ms = NULL,"
                " rest_until_ms = 0, cursor = ?, epoch = epoch + 1 WHERE id = ?",
                (from_cursor or before.cursor, ident),
            )
            if not before.enabled:
                db.execute(
                    "UPDATE deliveries SET round = 0, round_ms = NULL, due_ms = ?"
                    " WHERE endpoint = ? AND state = ?",
                    (now_ms, ident, PENDING),
                )
            return _get(db, ident)

        return await self._database.write(job)

    async def rewind(self, ident: str, cursor: str) -> Endpoint:
        """Go on from another place in the log. Raises `NotFound`."""

        def job(db: sqlite3.Connection) -> Endpoint:
            db.execute(
                "UPDATE endpoints SET cursor = ?, epoch = epoch + 1 WHERE id = ?", (cursor, ident)
            )
            return _get(db, ident)

        return await self._database.write(job)


def disable(db: sqlite3.Connection, ident: str, reason: str, why: str, now_ms: int) -> None:
    """Switch an endpoint off within a transaction; the first reason stays."""
    db.execute(
        "UPDATE endpoints SET enabled = 0, reason = ?, why = ?, disabled_ms = ?"
        " WHERE id = ? AND enabled = 1",
        (reason, why, now_ms, ident),
    )


def _get(db: sqlite3.Connection, ident: str) -> Endpoint:
    row = db.execute("SELECT * FROM endpoints WHERE id = ?", (ident,)).fetchone()
    if row is None:
        raise NotFound(f"webhook {ident}")
    return endpoint_of(row, _secrets(db, ident))


def _secrets(db: sqlite3.Connection, ident: str) -> list[sqlite3.Row]:
    return db.execute("SELECT * FROM secrets WHERE endpoint = ? ORDER BY id", (ident,)).fetchall()


def _add_secret(db: sqlite3.Connection, ident: str, secret: Secret) -> None:
    db.execute(
        "INSERT INTO secrets (endpoint, scheme, key, created_ms, expires_ms) VALUES (?,?,?,?,?)",
        (ident, str(secret.scheme), secret.key, secret.created_ms, secret.expires_ms),
    )
