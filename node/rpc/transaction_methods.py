"""tx_*: submitting, waiting, asking what became of a payment. "Pending" is an answer here.

A caller can always find out by tx id, or by sender and idempotency key, what became of it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import trio
from pydantic import Field, model_validator

from clawpurse.ledger.errors import CallerError, Code
from clawpurse.ledger.store.index import locate_transaction
from clawpurse.ledger.transactions import IDEMPOTENCY_KEY_BYTES_MAX
from clawpurse.ledger.transition import find_idempotency
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED, SYNCING, RpcError, as_rpc_error
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.pool_fates import Fate
from clawpurse.node.rpc import shapes
from clawpurse.node.rpc.finals import final_transaction, receipt_json
from clawpurse.node.rpc.proving import authority_changes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    Account,
    Hash,
    HexBytes,
    SignedTx,
    hex_of,
    refusal_words,
    transaction_json,
)
from clawpurse.wallet.proofs import HashedList, build_payment_proof

# How long `wait: final` waits before it answers "pending", and the most `tx_wait` may ask.
SUBMIT_WAIT_MS: Final = 30_000
WAIT_MS_MAX: Final = 60_000
DEADLINE_MS: Final = 90_000
BATCH_MAX: Final = 1_000
# A full block's hashes take about half a megabyte.
HASHED_BLOCKS_MAX: Final = 8
Json = dict[str, Any]

REFUSALS: Final = (
    NOT_FOUND,
    *(
        code.rpc_code
        for code in (
            Code.LIMIT_EXCEEDED,
            Code.MALFORMED,
            Code.BAD_SIGNATURE,
            Code.SEQUENCE_LOW,
            Code.SEQUENCE_GAP,
            Code.EXPIRED,
            Code.INSUFFICIENT_FUNDS,
            Code.DUPLICATE,
            Code.POOL_FULL,
            Code.NOT_AUTHORISED,
            Code.POLICY_REJECTED,
            Code.WRONG_CHAIN,
            Code.QUOTA_EXCEEDED,
        )
    ),
)
# Refusals that a block which this node has not seen yet may lift.
LIFTED_BY_BLOCKS: Final = (
    Code.NOT_FOUND,
    Code.NOT_AUTHORISED,
    Code.INSUFFICIENT_FUNDS,
    Code.SEQUENCE_GAP,
)


class SubmitParams(Params):
    """Parameters of tx_submit."""

    tx: SignedTx = Field(description="The signed transaction's bytes")
    wait: Literal["none", "accepted", "final"] = Field(
        "accepted",
        description="When to answer: checked and pooled (none), journalled too, or final (30 s)",
    )


class SubmitBatchParams(Params):
    """Parameters of tx_submitBatch."""

    txs: list[SignedTx] = Field(max_length=BATCH_MAX, description="Signed transactions' bytes")


class WaitParams(Params):
    """Parameters of tx_wait: a tx id, or sender and idempotency key."""

    tx_id: Hash | None = Field(None, description="The transaction's id")
    sender: Account | None = Field(None, description="Who sent it")
    idempotency_key: HexBytes | None = Field(None, description="The key it was sent with")
    timeout_ms: int = Field(
        SUBMIT_WAIT_MS, ge=0, le=WAIT_MS_MAX, description="How long to wait for a final answer"
    )

    @model_validator(mode="after")
    def _one(self) -> WaitParams:
        by_key = self.sender is not None and self.idempotency_key is not None
        if (self.tx_id is None) != by_key:
            raise ValueError("name txId, or sender and idempotencyKey")
        key = self.idempotency_key
        if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_BYTES_MAX:
            raise ValueError("idempotencyKey is 1…64 bytes")
        return self


class TxParams(Params):
    """Parameters that name a transaction."""

    tx_id: Hash = Field(description="The transaction's id")


class ReceiptParams(Params):
    """Parameters of tx_getReceipt."""

    tx_id: Hash = Field(description="The transaction's id")
    prove: bool = Field(False, description="Add a proof that verifies offline")


class TransactionMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # By height: receipts and events of blocks that proofs were asked of, hashed.
        self._hashed: dict[int, tuple[HashedList, HashedList]] = {}

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [*self._sending(), *self._asking()]

    def _sending(self) -> list[Method]:
        return [
            Method(
                "tx_submit",
                "Submit a signed transaction; accepted means journalled",
                self.submit,
                SubmitParams,
                errors=(SYNCING, *REFUSALS),
                cost=5,
                deadline_ms=DEADLINE_MS,
                takes_transaction=True,
                waits=True,
                result=shapes.Submitted,
                result_description=(
                    "txId status (accepted, final, pending, expired or replaced) duplicate; "
                    "with wait: final also height index receipt"
                ),
            ),
            Method(
                "tx_submitBatch",
                "Submit up to 1,000 signed transactions; one answer each",
                self.submit_batch,
                SubmitBatchParams,
                errors=(SYNCING,),
                cost=200,
                deadline_ms=DEADLINE_MS,
                waits=True,
                result=shapes.SubmittedBatch,
                result_description=(
                    "results[]: one entry per transaction, {txId status duplicate} or {error}"
                ),
            ),
        ]

    def _asking(self) -> list[Method]:
        missing = (NOT_FOUND, PRUNED)
        return [
            Method(
                "tx_wait",
                "Wait until a transaction is final, expired or replaced",
                self.wait,
                WaitParams,
                cost=2,
                deadline_ms=DEADLINE_MS,
                waits=True,
                result=shapes.Fate,
                result_description=(
                    "txId status (pending, final, expired, replaced or unknown), then height "
                    "index receipt"
                ),
            ),
            Method(
                "tx_getReceipt",
                "A final transaction's receipt, on request with a proof",
                self.receipt,
                ReceiptParams,
                errors=missing,
                cost=20,
                result=shapes.ProvenReceipt,
                result_description=(
                    "txId height index code reason rule fee cost events trace time, with prove "
                    "also proof"
                ),
            ),
            Method(
                "tx_get",
                "A transaction, final or pending",
                self.get,
                TxParams,
                errors=missing,
                cost=5,
                result=shapes.FinalTransaction,
                result_description=(
                    "the transaction with status; final ones with height index receipt"
                ),
            ),
        ]

    # -- submitting

    async def submit(self, params: SubmitParams, _context: Context) -> Json:
        """tx_submit."""
        self._services.require_recent()
        is_durable = params.wait != "none"
        try:
            outcome = await self._services.intake.submit(params.tx, durable=is_durable)
        except CallerError as err:
            raise self._answer_to(err) from err
        answer: Json = {
            "txId": hex_of(outcome.tx_id),
            "status": "accepted" if is_durable else "pending",
            "duplicate": outcome.duplicate,
        }
        if params.wait == "final":
            answer.update(await self._await_final(outcome.tx_id, SUBMIT_WAIT_MS))
        return answer

    async def submit_batch(self, params: SubmitBatchParams, _context: Context) -> Json:
        """tx_submitBatch."""
        self._services.require_recent()
        entries: list[Json] = []
        for outcome in await self._services.intake.submit_many(params.txs):
            if isinstance(outcome, CallerError):
                entries.append({"error": self._answer_to(outcome).as_object()})
            else:
                entries.append(
                    {
                        "txId": hex_of(outcome.tx_id),
                        "status": "accepted",
                        "duplicate": outcome.duplicate,
                    }
                )
        return {"results": entries}

    def _answer_to(self, error: CallerError) -> RpcError:
        """Return what a caller is told; not as final what a missing block may change."""
        services = self._services
        answer = as_rpc_error(
            error,
            malformed_code=Code.MALFORMED.rpc_code,
            wording=lambda one: refusal_words(one, services.chain.registry, services.decimals_of),
        )
        assert answer is not None
        if getattr(error, "code", None) in LIFTED_BY_BLOCKS:
            syncing = self._services.syncing_error()
            if syncing is not None:
                syncing.facts["refusal"] = answer.as_object()
                return syncing
        return answer

    # -- what became of it

    async def wait(self, params: WaitParams, _context: Context) -> Json:
        """tx_wait."""
        deadline = trio.current_time() + params.timeout_ms / 1000
        tx_id = params.tx_id
        while tx_id is None:
            assert params.sender is not None
            assert params.idempotency_key is not None
            tx_id = self._by_key(params.sender, params.idempotency_key)
            if tx_id is None:
                height = self._services.finality.height
                with trio.move_on_at(deadline) as scope:
                    await self._services.finality.wait_block(height + 1)
                if scope.cancelled_caught:
                    return {"txId": None, "status": "unknown"}
        left_ms = max(0, int((deadline - trio.current_time()) * 1000))
        return {"txId": hex_of(tx_id), **await self._await_final(tx_id, left_ms)}

    def _by_key(self, sender: bytes, key: bytes) -> bytes | None:
        record = find_idempotency(self._services.chain.reader, sender, key)
        if record is not None:
            return record.tx_id
        pooled = self._services.pool.by_key(sender, key)
        return None if pooled is None else pooled.transaction.tx_id

    async def _await_final(self, tx_id: bytes, timeout_ms: int) -> Json:
        with trio.move_on_after(timeout_ms / 1000):
            while True:
                status = self.status_of(tx_id)
                if status["status"] not in ("pending", "unknown"):
                    return status
                if not await self._services.finality.wait_transaction(tx_id):
                    break
        return self.status_of(tx_id)

    def status_of(self, tx_id: bytes) -> Json:
        """Return what became of a transaction, as far as this node knows."""
        services = self._services
        place = locate_transaction(services.chain.store, tx_id)
        if place is not None and place[0] <= services.chain.height:
            height, index = place
            return {
                "status": "final",
                "height": height,
                "index": index,
                "receipt": receipt_json(services, height, index),
            }
        settled = services.pool.fates.settlement(tx_id)
        if settled is not None and settled.fate is Fate.EXPIRED:
            return {"status": "expired", "height": settled.height}
        if settled is not None and settled.fate is Fate.REPLACED:
            by = None if settled.by is None else hex_of(settled.by)
            return {"status": "replaced", "height": settled.height, "replacedBy": by}
        return {"status": "pending" if services.pool.is_pending(tx_id) else "unknown"}

    async def receipt(self, params: ReceiptParams, _context: Context) -> Json:
        """tx_getReceipt."""
        place = self._place(params.tx_id)
        shown = receipt_json(self._services, *place)
        if params.prove:
            shown["proof"] = await self._proof(*place)
        return shown

    def _place(self, tx_id: bytes) -> tuple[int, int]:
        status = self.status_of(tx_id)
        if status["status"] != "final":
            raise RpcError(
                NOT_FOUND,
                f"there is no receipt yet: the transaction is {status['status']}",
                hint="clawpurse tx wait " + hex_of(tx_id),
                facts=status,
            )
        return status["height"], status["index"]

    async def _proof(self, height: int, index: int) -> Json:
        chain = self._services.chain
        view = chain.view(height)
        receipts, events = await self._hashed_lists(height)
        return build_payment_proof(
            genesis=chain.genesis.packed,
            changes=await authority_changes(self._services, height),
            header=view.block.header.pack(),
            certificate=view.certificate,
            receipts=receipts,
            events=events,
            index=index,
            transaction=view.block.transactions[index],
        )

    async def _hashed_lists(self, height: int) -> tuple[HashedList, HashedList]:
        """Return a block's receipts and events, hashed once for all who ask for proofs of it."""
        found = self._hashed.pop(height, None)
        if found is None:
            view = self._services.chain.view(height)
            found = HashedList(view.receipts), HashedList(view.events)
            for part in found:
                for _ in part.steps():
                    await next_turn()
        self._hashed[height] = found
        while len(self._hashed) > HASHED_BLOCKS_MAX:
            del self._hashed[next(iter(self._hashed))]
        return found

    def get(self, params: TxParams, _context: Context) -> Json:
        """tx_get."""
        prepared = self._services.pool.get(params.tx_id)
        if prepared is not None:
            shown = transaction_json(prepared.transaction, self._services.chain.registry)
            return {**shown, "status": "pending"}
        return final_transaction(self._services, self._place(params.tx_id))
