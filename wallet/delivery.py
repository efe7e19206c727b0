"""From a reserved row to its certain end: sign, write down, submit, wait, prove, keep the receipt.

The order is what makes it safe to be killed anywhere: bytes are on disk before a node gets them,
the receipt is on disk before the row is settled. Going on after a kill submits the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from clawpurse.ledger.errors import Code, OperatorError, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transactions import Transaction, decode_transaction
from clawpurse.modules.kit.web.errors import SYNCING, RpcError, Unreachable
from clawpurse.wallet.builder import Slot
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Attempt, Row, Status
from clawpurse.wallet.receipts import ReceiptStore

# Another wallet of the same account may take a sequence in between; then the next one is asked.
TRIES_MAX: Final = 3
# Beyond a transaction's last moment, before a node's "expired" is believed: their clocks differ.
EXPIRY_MARGIN_MS: Final = 30_000

T = TypeVar("T")
Sign = Callable[[Slot], Transaction]


class AlreadyUsed(Refused):
    """The idempotency key has paid already. Attributes: `tx_id`, of the first payment."""

    def __init__(self, tx_id: bytes) -> None:
        super().__init__(
            Code.DUPLICATE, f"This idempotency key has paid already, as 0x{tx_id.hex()}."
        )
        self.tx_id = tx_id


@dataclass(frozen=True)
class Payment:
    """What became of a row. `status` as `Status.label`, or `pending`: it may still happen.

    `document` (of a final transaction, its proof checked) is what `receipts.verify_payment`
    reads; `receipt_file` is where it lies, `receipt_problem` why it does not. `reason` says why
    nothing was paid. `hold_id` names what a rule holds.
    """

    number: int
    tx_id: bytes
    status: str
    height: int | None = None
    document: Mapping[str, Any] | None = None
    receipt_file: Path | None = None
    receipt_problem: str = ""
    reason: str = ""
    hold_id: str | None = None


class Delivery:
    """Takes rows of the outbox to their end. `now_ms` is the wall clock, ms UTC.

    Raises what `NodeClient` raises. Cancellation leaves the row for whoever goes on with it.
    """

    def __init__(
        self,
        node: NodeClient,
        outbox: Outbox,
        receipts: ReceiptStore,
        registry: Registry,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._node = node
        self._outbox = outbox
        self._receipts = receipts
        self._registry = registry
        self._now_ms = now_ms

    async def deliver(self, row: Row, sign: Sign, timeout_ms: int) -> Payment:
        """Sign for the row's lane, submit, and wait at most `timeout_ms` for the end.

        Raises `Refused` when it was refused before any node took it (nothing was paid),
        `AlreadyUsed` for a spent idempotency key.
        """
        try:
            row = await self._submit(row, sign)
            payment = await self.conclude(row, timeout_ms)
        except BaseException:
            # Also when cancelled or interrupted: no await, a few milliseconds of disk.
            self._outbox.release(row.number)
            self._outbox.leave(row.number)
            raise
        return payment

    async def send(self, row: Row, transaction: Transaction, timeout_ms: int) -> Payment:
        """Take bytes that were signed elsewhere to their end: they cannot be signed anew.

        Raises `RpcError` and `Unreachable` when no node took them (nothing was paid). What was
        handed out before stays so then: others have it, and may send it later.
        """
        kept = row.status is Status.HANDED_OUT
        try:
            row = await self.record(row, transaction)
            try:
                await self._node.submit(transaction.raw)
            except RpcError as err:
                ended = await self.ended(row)
                if ended is not None:
                    return ended
                if err.code != Code.DUPLICATE.rpc_code or not await self._is_mine(row):
                    if not kept:
                        await in_thread(self._outbox.settle, row.number, Status.REFUSED)
                    raise
            except Unreachable as err:
                if not err.sent:
                    if not kept:
                        await in_thread(self._outbox.settle, row.number, Status.REFUSED)
                    raise
            await in_thread(self._outbox.submitted, row.number)
            return await self.conclude(row, timeout_ms)
        except BaseException:
            # As in `deliver`: what was recorded is left for whoever goes on with it.
            self._outbox.release(row.number)
            self._outbox.leave(row.number)
            raise

    async def go_on(self, row: Row, timeout_ms: int) -> Payment | None:
        """Take a row that was left to its end, with the bytes that it has; None: it had none."""
        if not row.attempts:
            await in_thread(self._outbox.release, row.number)
            await in_thread(self._outbox.settle, row.number, Status.REFUSED)
            return None
        try:
            if row.status is Status.HANDED_OUT:
                return await self._look_after(row)
            ended = await self.ended(row)
            if ended is None and (await self._node.wait(row.newest.tx_id, 0)).status == "unknown":
                ended = await self._again(row)
            return ended or await self.conclude(row, timeout_ms)
        except BaseException:
            self._outbox.leave(row.number)
            raise

    async def _look_after(self, row: Row) -> Payment:
        """See how bytes ended that others were given: final, or too late by the ledger's clock."""
        ended = await self.ended(row)
        if ended is not None:
            return ended
        body = decode_transaction(row.newest.raw).body
        latest_ms = min(self._now_ms(), (await self._node.status()).time_ms)
        if latest_ms > body.valid_until_ms + EXPIRY_MARGIN_MS:
            return await self._settle(row, row.newest, Status.EXPIRED)
        await in_thread(self._outbox.leave, row.number)
        return Payment(row.number, row.newest.tx_id, "pending")

    async def _submit(self, row: Row, sign: Sign) -> Row:
        for attempt in range(1, TRIES_MAX + 1):
            following = await self._node.next_sequence(row.account, row.lane)
            mine = await in_thread(self._outbox.following, row)
            transaction = sign(Slot(row.lane, max(following.sequence, mine)))
            row = await self.record(row, transaction)
            try:
                await self._node.submit(transaction.raw)
            except RpcError as err:
                if await self._may_retry(row, err) and attempt < TRIES_MAX:
                    continue
                if err.code == Code.DUPLICATE.rpc_code and await self._is_mine(row):
                    break
                await in_thread(self._outbox.settle, row.number, Status.REFUSED)
                raise
            except Unreachable as err:
                if not err.sent:
                    await in_thread(self._outbox.settle, row.number, Status.REFUSED)
                    raise
            break
        await in_thread(self._outbox.submitted, row.number)
        return row

    async def record(self, row: Row, transaction: Transaction, *, cancels: bool = False) -> Row:
        """Write signed bytes down before anybody gets them."""
        body = transaction.body
        return await in_thread(
            self._outbox.record,
            row.number,
            transaction.raw,
            transaction.tx_id,
            body.sequence,
            body.fee,
            cancels,
        )

    async def _may_retry(self, row: Row, err: RpcError) -> bool:
        """Tell whether another wallet took the place, so that the next one will do.

        Raises `AlreadyUsed` when somebody else used the idempotency key.
        """
        if err.code == Code.SEQUENCE_LOW.rpc_code:
            return True
        if err.code != Code.DUPLICATE.rpc_code:
            return False
        first = await self._node.wait_by_key(row.account, row.key, 0)
        if first.tx_id and not _has(row, first.tx_id):
            await in_thread(self._outbox.settle, row.number, Status.REFUSED)
            raise AlreadyUsed(first.tx_id)
        return not first.tx_id

    async def _is_mine(self, row: Row) -> bool:
        first = await self._node.wait_by_key(row.account, row.key, 0)
        return _has(row, first.tx_id)

    async def _again(self, row: Row) -> Payment | None:
        """Submit the newest bytes again; None: they are on their way, or may be."""
        newest = row.newest
        body = decode_transaction(newest.raw).body
        try:
            await self._node.submit(newest.raw)
        except Unreachable as err:
            if not err.sent:
                raise
        except RpcError as err:
            if err.code == SYNCING:
                raise
            ended = await self.ended(row)
            if ended is not None:
                return ended
            late = self._now_ms() > body.valid_until_ms + EXPIRY_MARGIN_MS
            if err.code == Code.EXPIRED.rpc_code and late:
                return await self._settle(row, newest, Status.EXPIRED)
            if err.code == Code.SEQUENCE_LOW.rpc_code:
                return await self._settle(row, newest, Status.REPLACED)
            return None
        await in_thread(self._outbox.submitted, row.number)
        return None

    async def ended(self, row: Row) -> Payment | None:
        """Return how it ended if any of its bytes are final already."""
        for attempt in reversed(row.attempts):
            fate = await self._node.wait(attempt.tx_id, 0)
            if fate.status == "final":
                return await self._finish(row, attempt)
        return None

    async def conclude(self, row: Row, timeout_ms: int) -> Payment:
        """Wait for the end; status `pending` when the time is over or no node answers any more."""
        newest = row.newest
        try:
            fate = await self._node.wait(newest.tx_id, timeout_ms)
            if fate.status == "final":
                return await self._finish(row, newest)
            if fate.status in ("expired", "replaced"):
                ended = await self.ended(row)
                status = Status.EXPIRED if fate.status == "expired" else Status.REPLACED
                return ended or await self._settle(row, newest, status)
        except Unreachable:
            pass  # It was submitted: what is not known is not failed.
        await in_thread(self._outbox.leave, row.number)
        return Payment(row.number, newest.tx_id, "pending")

    async def _settle(self, row: Row, attempt: Attempt, status: Status) -> Payment:
        await in_thread(self._outbox.settle, row.number, status)
        return Payment(row.number, attempt.tx_id, status.label)

    async def _finish(self, row: Row, attempt: Attempt) -> Payment:
        """Fetch the proof, keep the receipt, settle. Raises `BadAnswer` for a false proof."""
        document = await self._node.proven_payment(attempt.tx_id, row.genesis_hash, self._registry)
        receipt = document["receipt"]
        held = next((one for one in receipt["events"] or () if one["kind"] == "kernel.held"), None)
        status = Status.PAID if held is None else Status.HELD
        if receipt["code"] != "ok":
            status = Status.FAILED
        if attempt.cancels:
            status = Status.CANCELLED
        place, problem = None, ""
        try:
            place = await in_thread(self._receipts.save, document)
        except OperatorError as err:
            problem = str(err)
        await in_thread(self._outbox.settle, row.number, status)
        return Payment(
            row.number,
            attempt.tx_id,
            status.label,
            document["height"],
            document,
            place,
            problem,
            receipt["reason"] or "",
            None if held is None else held["data"]["holdId"],
        )


def _has(row: Row, tx_id: bytes) -> bool:
    return any(attempt.tx_id == tx_id for attempt in row.attempts)


async def in_thread(call: Callable[..., T], *values: Any) -> T:
    """Do what blocks for disk in a thread, to its end: half of it cannot be abandoned."""
    return await trio.to_thread.run_sync(call, *values, abandon_on_cancel=False)
