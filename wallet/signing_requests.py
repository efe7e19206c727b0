"""What waits for a person: signing requests of one home, kept until somebody decides or time does.

    service/requests.db     SQLite, 0600

A request holds payments that are wanted, or a body that was built elsewhere, and why a person is
asked. It is kept once for each account and idempotency key, so that a program that asks again
finds the same one. Their number and age are bounded: a program cannot fill the disk, nor the page
that a person reads, nor have something approved that was wanted last week. Nothing secret is in
them. Calls block for disk: asynchronous callers use a worker thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug, Code, Malformed, NotFound, Refused, StorageFault
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import IDEMPOTENCY_KEY_BYTES_MAX, MEMO_BYTES_MAX, TX_BYTES_MAX
from clawpurse.wallet.guardrail_json import canonical, members, parsed
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.names import check_name
from clawpurse.wallet.private_database import Layout, PrivateDatabase

ID_BYTES: Final = 16
# Long enough for somebody who is asked on Friday, as a co-signer's word.
OPEN_MS: Final = 3 * DAY_MS
# More than a person reads; one program cannot take the places of all others.
OPEN_MAX: Final = 256
OPEN_OF_ONE_MAX: Final = 64
# Decided ones are kept for whoever asks later what became of them.
KEPT_MS: Final = 90 * DAY_MS
KEPT_MAX: Final = 2_048
ORIGIN_CHARS_MAX: Final = 128
TEXT_CHARS_MAX: Final = 200
ASKED_MAX: Final = 256
INTENTS_MAX: Final = 100
VERSION: Final = 1
_DOCUMENT_BYTES_MAX: Final = 4 * TX_BYTES_MAX
_MEMBERS: Final = ("intents", "body", "submit", "role", "reason", "asked", "note")

_CREATE: Final = (
    "CREATE TABLE requests (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, origin TEXT NOT NULL,"
    " key_name TEXT NOT NULL, account BLOB NOT NULL, once BLOB NOT NULL, state TEXT NOT NULL,"
    " settled_ms INTEGER, tx_id BLOB, document BLOB NOT NULL) STRICT",
    "CREATE INDEX by_once ON requests (account, once)",
    "CREATE INDEX by_state ON requests (state, expires_ms)",
)
_LAYOUT: Final = Layout(
    "The file of signing requests",
    VERSION,
    _CREATE,
    "free or repair the disk; a damaged file can be moved away: it holds no money",
)
_COLUMNS: Final = (
    "id, created_ms, expires_ms, origin, key_name, account, once, state, settled_ms, tx_id,"
    " document"
)


class State(StrEnum):
    """Where a request stands. Only `open` can change."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Asked:
    """What somebody wants signed: `intents`, or a packed transaction `body`, never both.

    `origin` says who asks (a token's name, a page's origin), `account` whose money it is and
    `idempotency_key` under what it is paid; `asked` are the sentences why a person decides,
    `reason` what the asker says it is for. `submit`: signed bytes go to the network, else back to
    the asker; `role` is in which a body is signed. `expires_ms` (ms UTC) ends it sooner than three
    days do.
    """

    origin: str
    key_name: str
    account: bytes
    idempotency_key: bytes
    intents: tuple[Intent, ...] = ()
    body: bytes | None = None
    asked: tuple[str, ...] = ()
    reason: str = ""
    submit: bool = True
    expires_ms: int | None = None
    role: str = "sender"


@dataclass(frozen=True)
class SigningRequest:
    """One request. Times in ms UTC; the members that `Asked` has too mean the same.

    `tx_id` is the transaction that an approval became; `note` is why it was rejected.
    """

    id: bytes
    created_ms: int
    expires_ms: int
    origin: str
    key_name: str
    account: bytes
    idempotency_key: bytes
    intents: tuple[Intent, ...]
    body: bytes | None
    asked: tuple[str, ...]
    reason: str
    submit: bool
    role: str
    state: State
    settled_ms: int | None
    tx_id: bytes | None
    note: str

    @property
    def is_open(self) -> bool:
        """Whether somebody can still decide."""
        return self.state is State.OPEN


class SigningRequests:
    """The requests of one home. Safe for threads and processes.

    `now_ms` is the wall clock, ms UTC; `random_bytes` gives n unguessable bytes. Every method
    raises `StorageFault` when the disk fails or the file is damaged.
    """

    def __init__(
        self,
        directory: Path,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.file = directory / "requests.db"
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._database = PrivateDatabase(self.file, _LAYOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, asked: Asked) -> SigningRequest:
        """Keep a request, durably, and return it; one that stands under its key comes back instead.

        What stands is open or rejected: after a no the same key asks nobody again. Raises
        `Malformed` for what is too large, `Refused` (duplicate) when the key stands for something
        else, `Refused` (pool full) when too many wait.
        """
        _check(asked)
        now_ms = self._now_ms()
        with self._database.writing() as db:
            self._age(db, now_ms)
            for known in self._found(
                db,
                "account = ? AND once = ? AND key_name = ? AND state IN ('open', 'rejected')",
                (asked.account, asked.idempotency_key, asked.key_name),
            ):
                if known.role != asked.role:
                    # One key may sign one body as several: that is asked about each time.
                    continue
                if _wanted(known) != _wanted(asked):
                    raise Refused(
                        Code.DUPLICATE,
                        "This idempotency key stands for another request.",
                        rule="requests",
                    )
                return known
            waiting = [origin for (origin,) in db.execute(_WAITING)]
            if len(waiting) >= OPEN_MAX or waiting.count(asked.origin) >= OPEN_OF_ONE_MAX:
                raise Refused(
                    Code.POOL_FULL,
                    f"{waiting.count(asked.origin)} requests of {asked.origin or 'this program'} "
                    f"and {len(waiting)} in all wait for a person already.",
                    rule="requests",
                )
            made = self._random_bytes(ID_BYTES)
            expires_ms = min(now_ms + OPEN_MS, asked.expires_ms or now_ms + OPEN_MS)
            db.execute(
                f"INSERT INTO requests ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,NULL,NULL,?)",  # noqa: S608
                (
                    made,
                    now_ms,
                    expires_ms,
                    asked.origin,
                    asked.key_name,
                    asked.account,
                    asked.idempotency_key,
                    State.OPEN.value,
                    _document(asked),
                ),
            )
            return self._one(db, made)

    def get(self, request_id: bytes) -> SigningRequest | None:
        """Return a request, None for one that is not here (any more)."""
        found = self._read("id = ?", (request_id,))
        return found[0] if found else None

    def has_approved(
        self, key_name: str, account: bytes, idempotency_key: bytes, body: bytes, role: str
    ) -> bool:
        """Tell whether somebody said yes to this key signing exactly this body in this role."""
        found = self._read(
            "account = ? AND once = ? AND key_name = ? AND state = 'approved'",
            (account, idempotency_key, key_name),
        )
        return any((one.body, one.role) == (body, role) for one in found)

    def list(
        self, states: Collection[State] = tuple(State), limit: int = 100
    ) -> tuple[SigningRequest, ...]:
        """Return the newest requests in these states, the newest first."""
        everything = self._read("1 = 1", ())
        return tuple(one for one in everything if one.state in states)[:limit]

    def settle(
        self, request_id: bytes, state: State, *, tx_id: bytes | None = None, note: str = ""
    ) -> SigningRequest:
        """Decide an open request, durably; the same decision again changes nothing.

        Raises `NotFound`, and `Refused` when it ended otherwise.
        """
        if state is State.OPEN:
            raise Bug("a request is not opened again")
        if len(note) > TEXT_CHARS_MAX:
            raise Malformed("reason", f"is longer than {TEXT_CHARS_MAX} characters")
        now_ms = self._now_ms()
        with self._database.writing() as db:
            self._age(db, now_ms)
            known = self._one(db, request_id)
            if known.state is state and known.tx_id == tx_id:
                return known
            # Signed is signed: what was signed in the moment of its end is told as that.
            if not known.is_open and not (known.state is State.EXPIRED and tx_id is not None):
                raise Refused(
                    Code.DUPLICATE, f"The request is {known.state.value} already.", rule="requests"
                )
            document = _document(replace(known, note=note))
            db.execute(
                "UPDATE requests SET state = ?, settled_ms = ?, tx_id = ?, document = ?"
                " WHERE id = ?",
                (state.value, now_ms, tx_id, document, request_id),
            )
            return self._one(db, request_id)

    # -- inside

    def _age(self, db: sqlite3.Connection, now_ms: int) -> None:
        """End what waited too long, and forget what ended long ago or is one too many."""
        db.execute(
            "UPDATE requests SET state = 'expired', settled_ms = expires_ms"
            " WHERE state = 'open' AND expires_ms <= ?",
            (now_ms,),
        )
        db.execute(
            "DELETE FROM requests WHERE state != 'open' AND (settled_ms < ? OR number NOT IN"
            " (SELECT number FROM requests ORDER BY number DESC LIMIT ?))",
            (now_ms - KEPT_MS, KEPT_MAX),
        )

    def _one(self, db: sqlite3.Connection, request_id: bytes) -> SigningRequest:
        found = self._found(db, "id = ?", (request_id,))
        if not found:
            raise NotFound("the request")
        return found[0]

    def _read(self, where: str, values: tuple[Any, ...]) -> tuple[SigningRequest, ...]:
        if not self._database.exists:
            return ()
        with self._database.reading() as db:
            return self._found(db, where, values)

    def _found(
        self, db: sqlite3.Connection, where: str, values: tuple[Any, ...]
    ) -> tuple[SigningRequest, ...]:
        """Return what a fixed condition finds, the newest first."""
        select = f"SELECT {_COLUMNS} FROM requests WHERE {where} ORDER BY number DESC"  # noqa: S608
        now_ms = self._now_ms()
        return tuple(_request(line, now_ms) for line in db.execute(select, values).fetchall())


_WAITING: Final = "SELECT origin FROM requests WHERE state = 'open'"


def _check(asked: Asked) -> None:
    """Raise `Malformed` for a request that is larger than any that somebody would read."""
    check_name(asked.key_name)
    if len(asked.origin) > ORIGIN_CHARS_MAX or not asked.origin.isprintable():
        raise Malformed("origin", f"is not at most {ORIGIN_CHARS_MAX} printable characters")
    if len(asked.reason) > TEXT_CHARS_MAX or not asked.reason.isprintable():
        raise Malformed("reason", f"is not at most {TEXT_CHARS_MAX} printable characters")
    if bool(asked.intents) == (asked.body is not None):
        raise Malformed("request", "is of payments, or of a body")
    if len(asked.intents) > INTENTS_MAX or len(asked.body or b"") > TX_BYTES_MAX:
        raise Malformed("request", "is larger than a transaction")
    if len(asked.asked) > ASKED_MAX:
        raise Malformed("asked", f"has more than {ASKED_MAX} sentences")
    if not 0 < len(asked.idempotency_key) <= IDEMPOTENCY_KEY_BYTES_MAX:
        raise Malformed("idempotencyKey", f"is not 1…{IDEMPOTENCY_KEY_BYTES_MAX} bytes")


def _wanted(one: Asked | SigningRequest) -> object:
    """Return what is wanted, to compare: the least fee may have changed since."""
    payments = [(each.recipient, each.asset, each.amount, each.memo) for each in one.intents]
    return payments, one.body, one.submit


def _document(one: Asked | SigningRequest) -> bytes:
    """Return what of a request nobody searches for."""
    values = (
        [
            [
                f"0x{each.account.hex()}",
                f"0x{each.recipient.hex()}",
                each.asset,
                str(each.amount),
                each.memo,
                str(each.fee),
            ]
            for each in one.intents
        ],
        None if one.body is None else f"0x{one.body.hex()}",
        one.submit,
        one.role,
        one.reason,
        list(one.asked),
        one.note if isinstance(one, SigningRequest) else "",
    )
    return canonical(dict(zip(_MEMBERS, values, strict=True)))


def _request(line: tuple[Any, ...], now_ms: int) -> SigningRequest:
    """Return a request from its row, expired where its time is over. Raises `StorageFault`."""
    ident, created_ms, expires_ms, origin, name, account, once, state, settled, tx_id, data = line
    try:
        if len(data) > _DOCUMENT_BYTES_MAX:
            raise Malformed("request", "is too large")
        top = members(parsed(data, "request"), "request", _MEMBERS)
        here = State(state)
        if here is State.OPEN and expires_ms <= now_ms:
            here, settled = State.EXPIRED, expires_ms
        return SigningRequest(
            ident,
            created_ms,
            expires_ms,
            origin,
            name,
            account,
            once,
            tuple(_intent(one) for one in top["intents"]),
            None if top["body"] is None else _hex(top["body"]),
            tuple(str(one) for one in top["asked"]),
            str(top["reason"]),
            bool(top["submit"]),
            str(top["role"]),
            here,
            settled,
            tx_id,
            str(top["note"]),
        )
    except (Malformed, ValueError, TypeError) as err:
        raise StorageFault(
            "A signing request of this home is damaged.",
            "It was not shown.",
            "move service/requests.db away",
        ) from err


def _intent(value: Any) -> Intent:
    account, recipient, asset, amount, memo, fee = value
    text = codec.ascii_text(asset, "asset", 32)
    if type(memo) is not str or len(memo.encode()) > MEMO_BYTES_MAX:
        raise Malformed("memo", "is too long")
    return Intent(_hex(account), _hex(recipient), text, int(amount), memo, int(fee))


def _hex(value: Any) -> bytes:
    return bytes.fromhex(codec.ascii_text(value, "bytes", 2 * TX_BYTES_MAX + 2)[2:])
