"""The tables behind webhooks, and their rows: endpoints, secrets, deliveries, attempts.

An endpoint's cursor moves in the same transaction that makes the deliveries which it passed, so
that no event is lost or forgotten between the two, whenever the process ends.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Final

from clawpurse.modules.kit.webhooks.signing import Scheme, Secret

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    topic TEXT NOT NULL,
    filter TEXT NOT NULL,
    types TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    reason TEXT,
    why TEXT,
    disabled_ms INTEGER,
    cursor TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    rest_until_ms INTEGER NOT NULL DEFAULT 0,
    last_success_ms INTEGER,
    last_failure_ms INTEGER,
    next_turn INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
    scheme TEXT NOT NULL,
    key BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER
);
CREATE INDEX secrets_of ON secrets (endpoint);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL REFERENCES endpoints(id) ON DELETE CASCADE,
    message TEXT NOT NULL,
    kind TEXT NOT NULL,
    cursor TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'failed')),
    turn INTEGER NOT NULL,
    test INTEGER NOT NULL DEFAULT 0,
    round INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    replays INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    round_ms INTEGER,
    due_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    status INTEGER,
    problem TEXT,
    UNIQUE (endpoint, message)
);
CREATE INDEX deliveries_of ON deliveries (endpoint);
CREATE INDEX deliveries_by_state ON deliveries (endpoint, state);
CREATE INDEX deliveries_in_turn ON deliveries (endpoint, state, turn);
CREATE INDEX deliveries_due ON deliveries (endpoint, state, due_ms);
CREATE INDEX deliveries_ended ON deliveries (endpoint, state, ended_ms);
CREATE TABLE attempts (
    delivery INTEGER NOT NULL REFERENCES deliveries(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,
    status INTEGER,
    problem TEXT,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
"""

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"
FAILED: Final = "failed"
"""A test post that was not taken: it is never tried again."""

STATES: Final = (PENDING, DELIVERED, DEAD, FAILED)

# Why an endpoint is disabled; what is kept beside it is a sentence.
BY_OPERATOR: Final = "operator"
GONE: Final = "gone"
EXHAUSTED: Final = "exhausted"
PRUNED: Final = "pruned"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver: where it is, what of which topic it gets, and how far it got.

    `types` are kinds of event, a final `*` standing for any rest; empty means all.
    `concurrency` 1 means strictly in the log's order, more means that many posts at once and no
    order. `reason` is empty while enabled. Times in ms UTC. `epoch` grows when the cursor is set
    by hand.
    """

    id: str
    url: str
    description: str
    topic: str
    filter: dict[str, Any]
    types: tuple[str, ...]
    concurrency: int
    created_ms: int
    enabled: bool
    reason: str | None
    why: str | None
    disabled_ms: int | None
    cursor: str
    epoch: int
    rest_until_ms: int
    last_success_ms: int | None
    last_failure_ms: int | None
    secrets: tuple[Secret, ...] = field(default=(), repr=False)

    @property
    def current(self) -> Secret:
        """The newest key."""
        return self.secrets[-1]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint, and what became of it. Times in ms UTC.

    `round` counts attempts since it was made, replayed, or its endpoint enabled again: it says
    where in the table of delays it stands. `attempts` counts all. `status` and `problem` are
    the last attempt's.
    """

    id: int
    endpoint: str
    message: str
    kind: str
    cursor: str
    body: bytes = field(repr=False)
    state: str
    test: bool
    round: int
    attempts: int
    replays: int
    created_ms: int
    round_ms: int | None
    due_ms: int
    ended_ms: int | None
    status: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One post. `problem` is None when it was taken; `status` None when no answer came."""

    number: int
    at_ms: int
    took_ms: int
    status: int | None
    problem: str | None


def endpoint_of(row: sqlite3.Row, secrets: list[sqlite3.Row]) -> Endpoint:
    """Read a row of `endpoints` with those of its secrets, oldest first."""
    return Endpoint(
        row["id"],
        row["url"],
        row["description"],
        row["topic"],
        json.loads(row["filter"]),
        tuple(json.loads(row["types"])),
        row["concurrency"],
        row["created_ms"],
        bool(row["enabled"]),
        row["reason"],
        row["why"],
        row["disabled_ms"],
        row["cursor"],
        row["epoch"],
        row["rest_until_ms"],
        row["last_success_ms"],
        row["last_failure_ms"],
        tuple(
            Secret(Scheme(one["scheme"]), one["key"], one["created_ms"], one["expires_ms"])
            for one in secrets
        ),
    )


def delivery_of(row: sqlite3.Row) -> Delivery:
    """Read a row of `deliveries`."""
    return Delivery(
        row["id"],
        row["endpoint"],
        row["message"],
        row["kind"],
        row["cursor"],
        row["body"],
        row["state"],
        bool(row["test"]),
        row["round"],
        row["attempts"],
        row["replays"],
        row["created_ms"],
        row["round_ms"],
        row["due_ms"],
        row["ended_ms"],
        row["status"],
        row["problem"],
    )


def attempt_of(row: sqlite3.Row) -> Attempt:
    """Read a row of `attempts`."""
    return Attempt(row["number"], row["at_ms"], row["took_ms"], row["status"], row["problem"])
