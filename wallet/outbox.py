"""The outbox: what this home signed, written down before anybody else sees it.

    outbox/outbox.db     SQLite, 0600       outbox/holder-HEX.lock   one a running process

A payment is reserved here (a lane of its own, its part of the day's limits), its signed bytes are
recorded before a node gets them, and it is settled when its end is certain. Whatever is killed in
between leaves a row from which the next process goes on with the same bytes: never a second
payment. A lane has one unsettled transaction, more only where the caller insists on one lane; so
nothing waits behind a gap when a sender dies.

Two processes judge their guardrails in turns: `reserve` judges and writes in one transaction of
the database. Every call blocks for disk: asynchronous callers use a worker thread.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from clawpurse.ledger.errors import Bug, Code, Refused
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.wallet.guardrails import GuardrailRefused, Journal, Verdict
from clawpurse.wallet.holders import Holders
from clawpurse.wallet.outbox_rows import (
    CREATE,
    LANES,
    UNSETTLED,
    VERSION,
    Claim,
    Row,
    Status,
    attempt_of,
    row_of,
)
from clawpurse.wallet.private_database import Layout, PrivateDatabase

# Settled rows are kept as long as a person looks back; receipts stay for ever.
KEPT_MS: Final = 400 * DAY_MS
_PRUNED: Final = 100
# Above every number that a row can have.
_LAST: Final = 2**63 - 1
_LAYOUT: Final = Layout(
    "The outbox",
    VERSION,
    CREATE,
    "free or repair the disk; a damaged file can be moved away when nothing is pending",
)

Judge = Callable[[Journal], Verdict]


class LanesTaken(Refused):
    """Every lane that may be used has a payment of another sender on its way; try again soon."""

    def __init__(self) -> None:
        super().__init__(
            Code.POOL_FULL, "Every lane of this account has a payment on its way.", rule="outbox"
        )


class Outbox:
    """The journal of one home, for all its networks. Safe for threads and processes.

    `now_ms` is the wall clock, ms UTC. Every method raises `StorageFault` when the disk fails or
    the file is damaged; then nothing may be signed.
    """

    def __init__(self, directory: Path, *, now_ms: Callable[[], int]) -> None:
        self.file = directory / "outbox.db"
        self._now_ms = now_ms
        self._database = PrivateDatabase(self.file, _LAYOUT)
        self._holders = Holders(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what this process still held is free for others."""
        self._database.close()
        self._holders.close()

    @property
    def exists(self) -> bool:
        """Whether anything was ever sent from here."""
        return self._database.exists

    # -- before a payment

    def reserve(self, claim: Claim, judge: Judge | None = None) -> Row:
        """Take a lane and, if `judge` allows it, the money; return the row, nothing signed yet.

        A row that stands under the same idempotency key comes back instead, judged no more.
        Raises `GuardrailRefused`, `LanesTaken`, and `Refused` (duplicate) for a key that was used
        for something else.
        """
        now_ms = self._now_ms()
        with self._database.writing() as db:
            known = self._by_key(db, claim)
            if known is not None:
                return known
            if judge is not None:
                verdict = judge(_Journal(db, claim.genesis_hash, claim.signer))
                if not verdict.allowed:
                    raise GuardrailRefused(verdict.refusals)
            lane = self._lane(db, claim)
            self._prune(db, now_ms)
            made = db.execute(
                "INSERT INTO wishes (genesis, account, signer, sponsor, key, lane, fee, memo, what,"
                " status, created_ms, override, holder) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    claim.genesis_hash,
                    claim.account,
                    claim.signer,
                    claim.sponsor,
                    claim.key,
                    lane,
                    claim.fee,
                    claim.memo,
                    claim.what,
                    Status.RESERVED,
                    now_ms,
                    claim.override,
                    self._holders.own(),
                ),
            )
            number = made.lastrowid
            if number is None:
                raise Bug("SQLite gave a new row no number")
            db.executemany(
                "INSERT INTO payments VALUES (?,?,?,?)",
                [(number, one.recipient, one.asset, str(one.amount)) for one in claim.intents],
            )
            return self._row(db, number)

    def record(
        self, number: int, raw: bytes, tx_id: bytes, sequence: int, fee: int, cancels: bool = False
    ) -> Row:
        """Write signed bytes down, durably, before any node gets them; `fee` in minor units."""
        with self._database.writing() as db:
            db.execute(
                # The same bytes again, after a refusal in the same millisecond: now this row's.
                "INSERT INTO attempts VALUES (?,?,?,?,?,?)"
                " ON CONFLICT (tx_id) DO UPDATE SET wish = excluded.wish, raw = excluded.raw",
                (number, tx_id, raw, sequence, fee, cancels),
            )
            db.execute(
                "UPDATE wishes SET status = max(status, ?), fee = max(fee, ?) WHERE number = ?",
                (Status.SIGNED, fee, number),
            )
            return self._row(db, number)

    def submitted(self, number: int) -> None:
        """Note that a node may have it: from now on only the ledger says how it ends."""
        self._set(number, Status.SUBMITTED)

    def hand_out(self, number: int) -> None:
        """Note, before it is signed, that its bytes are for who asked: they are not sent from here.

        They count as spent until they are final or can never be.
        """
        self._set(number, Status.HANDED_OUT)

    def settle(self, number: int, status: Status) -> None:
        """Note how it ended; its lane is free. A row that is settled stays as it is."""
        self._set(number, status)

    def release(self, number: int) -> None:
        """Forget a reservation under which nothing was signed."""
        with self._database.writing() as db:
            gone = db.execute(
                "DELETE FROM wishes WHERE number = ? AND status = ?", (number, Status.RESERVED)
            )
            if gone.rowcount:
                db.execute("DELETE FROM payments WHERE wish = ?", (number,))

    def leave(self, number: int) -> None:
        """Let go of a row whose end is not known yet: anybody may go on with it."""
        with self._database.writing() as db:
            db.execute("UPDATE wishes SET holder = '' WHERE number = ?", (number,))

    def following(self, row: Row) -> int:
        """Return the sequence after what this home has on its way in the row's lane, or 0."""
        with self._database.reading() as db:
            found = db.execute(
                "SELECT max(a.sequence) FROM attempts a JOIN wishes w ON a.wish = w.number"
                " WHERE w.genesis = ? AND w.account = ? AND w.lane = ? AND w.number != ?"
                " AND w.status < 4",
                (row.genesis_hash, row.account, row.lane, row.number),
            ).fetchone()
        return 0 if found[0] is None else int(found[0]) + 1

    # -- afterwards

    def left(self, genesis_hash: bytes | None = None) -> list[Row]:
        """Return what is neither settled nor in anybody's hands, the oldest first."""
        if not self.exists:
            return []
        with self._database.reading() as db:
            return [
                row
                for row in self._rows(db, "SELECT * FROM wishes WHERE status < 10", ())
                if (genesis_hash is None or row.genesis_hash == genesis_hash)
                and self._is_free(row.holder)
            ]

    def adopt(self, number: int) -> Row | None:
        """Take a row whose process died; None when it was settled, or another was faster."""
        with self._database.writing() as db:
            rows = self._rows(
                db, "SELECT * FROM wishes WHERE number = ? AND status < 10", (number,)
            )
            if not rows or not self._is_free(rows[0].holder):
                return None
            own = self._holders.own()
            db.execute("UPDATE wishes SET holder = ? WHERE number = ?", (own, number))
            return self._row(db, number)

    def find(self, tx_id: bytes) -> Row | None:
        """Return the row that a transaction belongs to, None when this home did not sign it."""
        if not self.exists:
            return None
        with self._database.reading() as db:
            rows = self._rows(
                db,
                "SELECT * FROM wishes WHERE number = (SELECT wish FROM attempts WHERE tx_id = ?)",
                (tx_id,),
            )
        return rows[0] if rows else None

    def rows(self, limit: int = 100) -> list[Row]:
        """Return the newest rows."""
        if not self.exists:
            return []
        with self._database.reading() as db:
            return self._rows(db, "SELECT * FROM wishes ORDER BY number DESC LIMIT ?", (limit,))

    def page(
        self, limit: int, before: int | None = None, signers: Sequence[bytes] | None = None
    ) -> list[Row]:
        """Return the newest rows below the number `before`, of these signing keys if given."""
        if not self.exists:
            return []
        named = json.dumps([one.hex().upper() for one in signers or ()])
        with self._database.reading() as db:
            found = self._rows(
                db,
                "SELECT * FROM wishes WHERE number < ?"
                " AND (? OR hex(signer) IN (SELECT value FROM json_each(?)))"
                " ORDER BY number DESC LIMIT ?",
                (_LAST if before is None else before, signers is None, named, limit),
            )
        return found[::-1]

    def under(self, account: bytes, key: bytes) -> list[Row]:
        """Return what stands under an idempotency key of an account, the newest last."""
        if not self.exists:
            return []
        with self._database.reading() as db:
            return self._rows(
                db, "SELECT * FROM wishes WHERE account = ? AND key = ?", (account, key)
            )

    def free_lane(self, claim: Claim) -> int:
        """Return the lane that `reserve` would take now. Raises `LanesTaken`."""
        if not self.exists:
            return (claim.lanes or (0,))[0]
        with self._database.reading() as db:
            return self._lane(db, claim)

    def judged(self, genesis_hash: bytes, signer: bytes, judge: Judge) -> Verdict:
        """Judge without reserving, for a quote."""
        if not self.exists:
            return judge(_Nothing())
        with self._database.reading() as db:
            return judge(_Journal(db, genesis_hash, signer))

    # -- inside

    def _by_key(self, db: sqlite3.Connection, claim: Claim) -> Row | None:
        """Return what stands under the claim's key and was not without effect."""
        found = [
            row
            for row in self._rows(
                db,
                "SELECT * FROM wishes WHERE genesis = ? AND account = ? AND key = ?",
                (claim.genesis_hash, claim.account, claim.key),
            )
            if not row.is_void
        ]
        if not found:
            return None
        row = found[-1]
        if (row.payments, row.memo, row.what) != (claim.payments, claim.memo, claim.what):
            raise Refused(
                Code.DUPLICATE, "This idempotency key stands for another payment.", rule="outbox"
            )
        if row.status < UNSETTLED and self._is_free(row.holder):
            own = self._holders.own()
            db.execute("UPDATE wishes SET holder = ? WHERE number = ?", (own, row.number))
        return row

    def _lane(self, db: sqlite3.Connection, claim: Claim) -> int:
        """Return the first free lane; else, where only few may be used, the shortest queue."""
        waiting: dict[int, list[int]] = {}
        for lane, status, holder in db.execute(
            "SELECT lane, status, holder FROM wishes WHERE genesis = ? AND account = ?"
            " AND status < 10",
            (claim.genesis_hash, claim.account),
        ):
            # Who died before anything was signed has left nothing that could still come.
            if status != Status.RESERVED or not self._is_free(holder):
                waiting.setdefault(lane, []).append(status)
        usable = range(LANES) if claim.lanes is None else claim.lanes
        for lane in usable:
            # What was handed out may never be sent: who needs this lane does not wait for it.
            spoken_for = [one for one in waiting.get(lane, ()) if one != Status.HANDED_OUT]
            if lane not in waiting or (claim.lanes is not None and not spoken_for):
                return lane
        # Behind what a node has: what is only reserved may never come, and would leave a gap.
        queues = [
            (len(waiting[lane]), lane)
            for lane in usable
            if all(status >= Status.SUBMITTED for status in waiting[lane])
        ]
        if claim.lanes is None or not queues:
            raise LanesTaken
        return min(queues)[1]

    def _prune(self, db: sqlite3.Connection, now_ms: int) -> None:
        old = db.execute(
            "SELECT number FROM wishes WHERE status > 10 AND created_ms < ? ORDER BY number"
            " LIMIT ?",
            (now_ms - KEPT_MS, _PRUNED),
        ).fetchall()
        db.executemany("DELETE FROM payments WHERE wish = ?", old)
        db.executemany("DELETE FROM attempts WHERE wish = ?", old)
        db.executemany("DELETE FROM wishes WHERE number = ?", old)

    def _set(self, number: int, status: Status) -> None:
        with self._database.writing() as db:
            done = status > UNSETTLED
            db.execute(
                "UPDATE wishes SET status = ?, settled_ms = ? WHERE number = ? AND status < 10",
                (status, self._now_ms() if done else None, number),
            )

    def _is_free(self, holder: str) -> bool:
        return not holder or self._holders.is_dead(holder)

    def _row(self, db: sqlite3.Connection, number: int) -> Row:
        rows = self._rows(db, "SELECT * FROM wishes WHERE number = ?", (number,))
        if not rows:
            raise Bug(f"the outbox has no row {number}")
        return rows[0]

    def _rows(self, db: sqlite3.Connection, select: str, values: Sequence[Any]) -> list[Row]:
        found = db.execute(select, tuple(values)).fetchall()
        rows = []
        for line in found:
            number = (line[0],)
            paid = db.execute(
                "SELECT recipient, asset, amount FROM payments WHERE wish = ? ORDER BY rowid",
                number,
            ).fetchall()
            tried = db.execute(
                "SELECT tx_id, raw, sequence, fee, cancels FROM attempts WHERE wish = ?"
                " ORDER BY rowid",
                number,
            )
            rows.append(row_of(line, paid, tuple(map(attempt_of, tried))))
        return sorted(rows, key=lambda row: row.number)


class _Journal:
    """What one key of a network spent, as the guardrails ask for it."""

    def __init__(self, db: sqlite3.Connection, genesis_hash: bytes, signer: bytes) -> None:
        self._db = db
        self._whose = (genesis_hash, signer)

    def latest_ms(self) -> int:
        """Return when the newest payment was signed, ms UTC; 0 for none."""
        found = self._db.execute(
            "SELECT max(created_ms) FROM wishes WHERE genesis = ? AND signer = ?", self._whose
        ).fetchone()
        return int(found[0] or 0)

    def spent(self, account: bytes, asset: str, day_start_ms: int) -> int:
        """Return what left `account` since then, fees included; what may still leave counts."""
        total = self._sum(
            "SELECT p.amount FROM wishes w JOIN payments p ON p.wish = w.number"
            " WHERE w.genesis = ? AND w.signer = ? AND w.created_ms >= ? AND w.account = ?"
            " AND p.asset = ? AND w.status IN (1, 2, 3, 4, 11, 12)",
            (*self._whose, day_start_ms, account, asset),
        )
        if asset != NATIVE_ASSET:
            return total
        # What failed or was cancelled in a block has paid its fee.
        return total + self._sum(
            "SELECT fee FROM wishes WHERE genesis = ? AND signer = ? AND created_ms >= ?"
            " AND account = ? AND sponsor = x'' AND status IN (1, 2, 3, 4, 11, 12, 13, 16)",
            (*self._whose, day_start_ms, account),
        )

    def spent_to(self, account: bytes, recipient: bytes, asset: str, day_start_ms: int) -> int:
        """Return what of it went to one recipient, without fees."""
        return self._sum(
            "SELECT p.amount FROM wishes w JOIN payments p ON p.wish = w.number"
            " WHERE w.genesis = ? AND w.signer = ? AND w.created_ms >= ? AND w.account = ?"
            " AND p.recipient = ? AND p.asset = ? AND w.status IN (1, 2, 3, 4, 11, 12)",
            (*self._whose, day_start_ms, account, recipient, asset),
        )

    def _sum(self, select: str, values: tuple[object, ...]) -> int:
        # Summed here: amounts go up to 2^64 − 1, SQLite's integers only to half of that.
        return sum(int(amount) for (amount,) in self._db.execute(select, values))


class _Nothing:
    """The journal of a home that never sent anything."""

    def latest_ms(self) -> int:
        return 0

    def spent(self, account: bytes, asset: str, day_start_ms: int) -> int:
        return 0

    def spent_to(self, account: bytes, recipient: bytes, asset: str, day_start_ms: int) -> int:
        return 0
