"""Takes what a service sends to the ledger to its end: signed, on disk, submitted, final, told.

One transaction at a time, in the order in which they were written. The bytes are on disk before
a node gets them, and every attempt carries the row's idempotency key, which the ledger takes
once: whenever the process dies, the next one asks what became of it and goes on. What the ledger
refuses for good is told to the service as that; what it may take later waits, and is a problem
that people are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import sqlalchemy as sa
import trio

from clawpurse.ledger.errors import Code, PeerError, Refused
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.records.actions import unpack_actions
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import TO_CHAIN, WAITING, Work
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.service.declaration import Manifest, Sent
from clawpurse.modules.kit.web.errors import RpcError, Unreachable

LOG: Final = logging.getLogger("clawpurse.modules")
SIGNED: Final = "signed"
DONE, FAILED = "done", "failed"
WAIT_MS: Final = 20_000
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
LATER: Final = frozenset(
    code.rpc_code for code in (Code.INSUFFICIENT_FUNDS, Code.POOL_FULL, Code.QUOTA_EXCEEDED)
)
"""Refusals that an operator or time can end; everything else stays refused."""

ANEW: Final = frozenset(
    code.rpc_code for code in (Code.SEQUENCE_LOW, Code.SEQUENCE_GAP, Code.EXPIRED)
)
"""Refusals of a place or a time: the same actions are signed anew."""


class Signed(NamedTuple):
    """A transaction: its bytes, its id, and until when a block may have it (UTC ms)."""

    raw: bytes
    tx_id: bytes
    valid_until_ms: int


class Account(Protocol):
    """The account of a service, and its key."""

    @property
    def address(self) -> str:
        """Whose it is: claw1…."""

    @property
    def lane(self) -> int:
        """The lane that nobody else uses."""

    def sign(self, actions: Sequence[RawAction], sequence: int, fee: int, key: bytes) -> Signed:
        """Sign. Raises `Refused` or `Malformed` for what no node would take."""


class _Row(NamedTuple):
    number: int
    key: bytes
    payload: bytes
    status: str
    tx_id: bytes | None
    raw: bytes | None


class Sender:
    """The one sender of a service. Without an account everything waits, and that is a problem."""

    def __init__(
        self,
        manifest: Manifest,
        records: Transactions,
        node: Node,
        account: Account | None,
    ) -> None:
        self._manifest = manifest
        self._records = records
        self._node = node
        self._account = account
        self._news = trio.Event()
        #: What keeps it from sending now, for people; empty when nothing does.
        self.problem = ""

    def wake(self) -> None:
        """Look now: something was written."""
        self._news.set()

    async def run(self, pause: Callable[[float], Any] = trio.sleep) -> None:
        """Send until cancelled."""
        wait_s = PAUSE_S_MIN
        while True:
            self._news = trio.Event()
            try:
                while await self.step():
                    wait_s = PAUSE_S_MIN
                self.problem = ""
            except (RpcError, Unreachable, PeerError, Refused) as error:
                if self.problem != str(error):
                    LOG.warning(
                        "a transaction waits",
                        extra={"service": self._manifest.name, "problem": str(error)},
                    )
                self.problem = str(error)
                await pause(wait_s)
                wait_s = min(2 * wait_s, PAUSE_S_MAX)
                continue
            await self._news.wait()

    async def step(self) -> bool:
        """Take the oldest that waits to its end; False when nothing waits.

        Raises `Unreachable`, `RpcError`, `PeerError`, `Refused` when it cannot now: it waits on.
        """
        row = await self._records.read(self._oldest)
        if row is None:
            return False
        if self._account is None:
            raise PeerError(
                f"{self._manifest.name} has no account to send with: clawpurse module key"
            )
        if row.status == SIGNED:
            sent = await self._outcome(row)
            if sent is not None:
                await self._settle(row, sent)
                return True
        else:
            row = await self._sign(row, self._account)
        await self._submit(row)
        return True

    def _oldest(self, work: Work) -> _Row | None:
        table = self._records.tables.outbox
        waiting = (table.c.target == TO_CHAIN) & table.c.status.in_((WAITING, SIGNED))
        row = work.connection.execute(
            table.select().where(waiting).order_by(table.c.number).limit(1)
        ).one_or_none()
        if row is None:
            return None
        return _Row(row.number, row.idempotency_key, row.payload, row.status, row.tx_id, row.raw)

    async def _sign(self, row: _Row, account: Account) -> _Row:
        actions = unpack_actions(row.payload)
        allowed = frozenset(self._manifest.service.permissions)
        strange = [one.name for one in actions if one.name not in allowed]
        if strange:
            reason = f"{self._manifest.name} does not declare that it sends {strange[0]}"
            await self._settle(row, self._sent(row, Code.NOT_AUTHORISED.label, reason))
            raise PeerError(reason)
        place = await self._node.call(
            "account_getSequence", {"account": account.address, "lane": account.lane}
        )
        parameters = await self._node.call("chain_getParameters", {})
        try:
            sequence, fee = int(place["sequence"]), int(parameters["parameters"]["fee_min"])
        except (KeyError, TypeError, ValueError):
            raise PeerError("the node does not tell the account's next sequence") from None
        signed = account.sign(actions, sequence, fee, row.key)
        values = {"status": SIGNED, "raw": signed.raw, "tx_id": signed.tx_id}
        await self._change(row, values)
        return row._replace(status=SIGNED, raw=signed.raw, tx_id=signed.tx_id)

    async def _submit(self, row: _Row) -> None:
        assert row.raw is not None and row.tx_id is not None
        try:
            await self._node.call("tx_submit", {"tx": "0x" + row.raw.hex(), "wait": "accepted"})
        except RpcError as error:
            if error.code in ANEW:
                # Whether an earlier attempt was taken is told by the key, before it is signed anew.
                sent = await self._by_key(row)
                if sent is None:
                    await self._change(row, {"status": WAITING})
                    return
                await self._settle(row, sent)
                return
            if error.code in LATER or error.retryable:
                await self._change(row, {"status": WAITING})
                raise
            if error.code != Code.DUPLICATE.rpc_code:
                await self._settle(row, self._sent(row, _name_of(error), error.reason))
                return
        while (sent := await self._outcome(row, WAIT_MS)) is None:
            pass
        await self._settle(row, sent)

    async def _outcome(self, row: _Row, wait_ms: int = 0) -> Sent | None:
        """Return how it ended; None while it has not. What expired is signed anew."""
        assert row.tx_id is not None
        asked = {"txId": "0x" + row.tx_id.hex(), "timeoutMs": wait_ms}
        answer = await self._node.call("tx_wait", asked)
        status = _status_of(answer)
        if status == "final":
            return self._final(row, answer)
        if status in ("expired", "replaced"):
            sent = await self._by_key(row)
            if sent is None:
                await self._change(row, {"status": WAITING})
                raise PeerError(f"transaction {asked['txId']} is {status}; it is signed anew")
            return sent
        if status == "unknown" and wait_ms:
            raise PeerError(f"the node does not know transaction {asked['txId']}")
        return None

    async def _by_key(self, row: _Row) -> Sent | None:
        """Return how the key's transaction ended, whichever attempt it was."""
        assert self._account is not None
        asked = {
            "sender": self._account.address,
            "idempotencyKey": "0x" + row.key.hex(),
            "timeoutMs": 0,
        }
        answer = await self._node.call("tx_wait", asked)
        return self._final(row, answer) if _status_of(answer) == "final" else None

    def _final(self, row: _Row, answer: Any) -> Sent:
        try:
            receipt, height = answer["receipt"], int(answer["height"])
            code, reason = str(receipt["code"]), str(receipt.get("reason") or "")
            tx_id = str(receipt.get("txId") or "0x" + (row.tx_id or b"").hex())
        except (KeyError, TypeError, ValueError):
            raise PeerError("the node's receipt is none") from None
        return Sent(row.number, row.key, code, reason, tx_id, height)

    @staticmethod
    def _sent(row: _Row, code: str, reason: str) -> Sent:
        return Sent(row.number, row.key, code, reason, None, None)

    async def _change(self, row: _Row, values: dict[str, Any]) -> None:
        table = self._records.tables.outbox

        def run(work: Work) -> None:
            work.connection.execute(
                table.update().where(table.c.number == row.number).values(values)
            )

        await self._records.write(CHAIN, run)

    async def _settle(self, row: _Row, sent: Sent) -> None:
        """Note the end and tell the service, in one transaction."""
        table = self._records.tables.outbox
        outcome = sent.code if sent.done else f"{sent.code}: {sent.reason}"

        def run(work: Work) -> None:
            values: dict[str, Any] = {
                "status": DONE if sent.done else FAILED,
                "attempts": table.c.attempts + 1,
                "outcome": outcome,
                "settled_ms": work.now_ms,
                "raw": None,
            }
            if sent.tx_id is not None:
                values["tx_id"] = bytes.fromhex(sent.tx_id[2:])
            same = (table.c.number == row.number) & table.c.status.in_((WAITING, SIGNED))
            if work.connection.execute(table.update().where(same).values(values)).rowcount:
                self._manifest.service.settled(work, sent)

        await self._records.write(CHAIN, run)


def count_waiting(work: Work) -> int:
    """Return how many transactions have no end yet."""
    table = work.tables.outbox
    waiting = (table.c.target == TO_CHAIN) & table.c.status.in_((WAITING, SIGNED))
    return int(
        work.connection.execute(
            sa.select(sa.func.count()).select_from(table).where(waiting)
        ).scalar_one()
    )


def _status_of(answer: Any) -> str:
    try:
        return str(answer["status"])
    except (KeyError, TypeError):
        raise PeerError("the node does not tell what became of a transaction") from None


def _name_of(error: RpcError) -> str:
    return next((one.label for one in Code if one.rpc_code == error.code), "rejected")
