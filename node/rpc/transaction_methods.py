"""tx_*: submitting, waiting, asking what became of a payment. "Pending" is an answer here.

A caller can always find out by tx id, or by sender and idempotency key, what became of it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import trio
from pydantic import Field, model_validator

from clawpurse.ledger import crypto
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.errors import CallerError, Code, Malformed, Refused
from clawpurse.ledger.kernel.context import BlockEnv
from clawpurse.ledger.kernel.records import Account as AccountRecord
from clawpurse.ledger.kernel.records import account_key
from clawpurse.ledger.module_api import KERNEL, Words
from clawpurse.ledger.store.index import locate_transaction
from clawpurse.ledger.transactions import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    Role,
    Transaction,
    WitnessEntry,
    decode_body,
    decode_transaction,
    encode_transaction,
)
from clawpurse.ledger.transition import Execution, Prepared, find_idempotency, prepare
from clawpurse.modules.kit.web.errors import (
    NOT_FOUND,
    PRUNED,
    RpcError,
    as_rpc_error,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.pool_fates import Fate
from clawpurse.node.rpc.account_methods import final_transaction, receipt_json
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    Account,
    Hash,
    HexBytes,
    SignedTx,
    body_json,
    code_label,
    event_json,
    hex_of,
    reason_of,
    transaction_json,
)
from clawpurse.wallet.describe import describe_body, words_for
from clawpurse.wallet.proofs import build_payment_proof

# How long `wait: final` waits before it answers "pending", and the most `tx_wait` may ask.
SUBMIT_WAIT_MS: Final = 30_000
WAIT_MS_MAX: Final = 60_000
DEADLINE_MS: Final = 90_000
BATCH_MAX: Final = 1_000
Json = dict[str, Any]

SUBMIT_ERRORS: Final = tuple(
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
        Code.WRONG_CHAIN,
        Code.QUOTA_EXCEEDED,
    )
)


class SubmitParams(Params):
    """Parameters of tx_submit."""

    tx: SignedTx = Field(description="The signed transaction's bytes")
    wait: Literal["none", "accepted", "final"] = Field("accepted", description="Answer when?")


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


class BytesParams(Params):
    """Parameters that carry a transaction."""

    tx: SignedTx = Field(description="Signed bytes, or the bytes of an unsigned body")


class TransactionMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        missing = (NOT_FOUND, PRUNED)
        return [
            Method(
                "tx_submit",
                "Submit a signed transaction; accepted means journalled",
                self.submit,
                SubmitParams,
                errors=SUBMIT_ERRORS,
                cost=5,
                deadline_ms=DEADLINE_MS,
                takes_transaction=True,
                waits=True,
                result=dict[str, Any],
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
                cost=200,
                deadline_ms=DEADLINE_MS,
                waits=True,
                result=dict[str, Any],
                result_description=(
                    "results[]: one entry per transaction, {txId status duplicate} or {error}"
                ),
            ),
            Method(
                "tx_wait",
                "Wait until a transaction is final, expired or replaced",
                self.wait,
                WaitParams,
                cost=2,
                deadline_ms=DEADLINE_MS,
                waits=True,
                result=dict[str, Any],
                result_description=(
                    "txId status (pending, final, expired, replaced or unknown), then height "
                    "index receipt"
                ),
            ),
            Method(
                "tx_simulate",
                "The receipt that a transaction or unsigned body would get now",
                self.simulate,
                BytesParams,
                errors=SUBMIT_ERRORS,
                cost=50,
                takes_transaction=True,
                result=dict[str, Any],
                result_description="txId code reason rule fee feeMin cost events trace",
            ),
            Method(
                "tx_getReceipt",
                "A final transaction's receipt, on request with a proof",
                self.receipt,
                ReceiptParams,
                errors=missing,
                cost=5,
                result=dict[str, Any],
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
                result=dict[str, Any],
                result_description=(
                    "the transaction with status; final ones with height index receipt"
                ),
            ),
            Method(
                "tx_decode",
                "What the bytes of a transaction or body say, in words too",
                self.decode,
                BytesParams,
                errors=SUBMIT_ERRORS,
                cost=5,
                takes_transaction=True,
                result=dict[str, Any],
                result_description="the transaction or body, signed, and words[{label text}]",
            ),
        ]

    # -- submitting

    async def submit(self, params: SubmitParams, _context: Context) -> Json:
        """tx_submit."""
        outcome = await self._services.intake.submit(params.tx)
        answer: Json = {
            "txId": hex_of(outcome.tx_id),
            "status": "accepted",
            "duplicate": outcome.duplicate,
        }
        if params.wait == "final":
            answer.update(await self._await_final(outcome.tx_id, SUBMIT_WAIT_MS))
        return answer

    async def submit_batch(self, params: SubmitBatchParams, _context: Context) -> Json:
        """tx_submitBatch."""
        entries: list[Json] = []
        for outcome in await self._services.intake.submit_many(params.txs):
            if isinstance(outcome, CallerError):
                error = as_rpc_error(outcome, malformed_code=Code.MALFORMED.rpc_code)
                entries.append({"error": None if error is None else error.as_object()})
            else:
                entries.append(
                    {
                        "txId": hex_of(outcome.tx_id),
                        "status": "accepted",
                        "duplicate": outcome.duplicate,
                    }
                )
        return {"results": entries}

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
        for prepared, _ in self._services.pool.by_sender(sender):
            if prepared.transaction.body.idempotency_key == key:
                return prepared.transaction.tx_id
        return None

    async def _await_final(self, tx_id: bytes, timeout_ms: int) -> Json:
        with trio.move_on_after(timeout_ms / 1000):
            while True:
                status = self._status(tx_id)
                if status["status"] not in ("pending", "unknown"):
                    return status
                await self._services.finality.wait_transaction(tx_id)
        return self._status(tx_id)

    def _status(self, tx_id: bytes) -> Json:
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

    def receipt(self, params: ReceiptParams, _context: Context) -> Json:
        """tx_getReceipt."""
        place = self._place(params.tx_id)
        shown = receipt_json(self._services, *place)
        if params.prove:
            shown["proof"] = self._proof(*place)
        return shown

    def _place(self, tx_id: bytes) -> tuple[int, int]:
        status = self._status(tx_id)
        if status["status"] != "final":
            raise RpcError(
                NOT_FOUND,
                f"there is no receipt yet: the transaction is {status['status']}",
                hint="clawpurse tx wait " + hex_of(tx_id),
                facts=status,
            )
        return status["height"], status["index"]

    def _proof(self, height: int, index: int) -> Json:
        chain = self._services.chain
        view = chain.view(height)
        return build_payment_proof(
            genesis=chain.genesis.packed,
            changes=(),
            header=view.block.header.pack(),
            certificate=view.certificate,
            receipts=view.receipts,
            events=view.events,
            index=index,
            transaction=view.block.transactions[index],
        )

    def get(self, params: TxParams, _context: Context) -> Json:
        """tx_get."""
        prepared = self._services.pool.get(params.tx_id)
        if prepared is not None:
            shown = transaction_json(prepared.transaction, self._services.chain.registry)
            return {**shown, "status": "pending"}
        return final_transaction(self._services, self._place(params.tx_id))

    # -- asking before sending

    def decode(self, params: BytesParams, _context: Context) -> Json:
        """tx_decode."""
        registry = self._services.chain.registry
        transaction = _maybe_signed(params.tx)
        body = decode_body(params.tx) if transaction is None else transaction.body
        lines = describe_body(body, registry, self._words())
        shown = body_json(body, registry)
        if transaction is not None:
            shown = transaction_json(transaction, registry)
        tx_id = crypto.tx_id_of(body.pack())
        words = [{"label": line.label, "text": line.text} for line in lines]
        return {**shown, "txId": hex_of(tx_id), "signed": transaction is not None, "words": words}

    def _words(self) -> Words:
        return words_for(self._services.chain.genesis.decimals)

    def simulate(self, params: BytesParams, _context: Context) -> Json:
        """tx_simulate."""
        prepared = self._prepare_any(params.tx)
        services, chain = self._services, self._services.chain
        now_ms = max(services.clock.now_ms(), chain.tip.time_ms + 1)
        execution = Execution(
            chain.reader, chain.registry, BlockEnv(chain.height + 1, now_ms, chain.params)
        )
        execution.begin()
        receipt = execution.apply(prepared)
        result = execution.finish()
        last = receipt.first_event + receipt.event_count
        events = result.events[receipt.first_event : last]
        return {
            "txId": hex_of(receipt.tx_id),
            "code": code_label(receipt.code),
            "reason": reason_of(receipt, chain.registry, services.decimals_of),
            "rule": receipt.rule or None,
            "fee": str(receipt.fee),
            "feeMin": str(chain.params.fee_min),
            "cost": receipt.cost,
            "events": [event_json(event, chain.registry) for event in events],
            "trace": [list(entry) for entry in receipt.trace],
        }

    def _prepare_any(self, data: bytes) -> Prepared:
        """Prepare signed bytes, or an unsigned body as if its sender's own key had signed it."""
        registry = self._services.chain.registry
        if _maybe_signed(data) is not None:
            prepared = prepare(data, registry)
            for key, message, signature in prepared.transaction.signatures:
                if not crypto.verify(key, message, signature):
                    raise Refused(Code.BAD_SIGNATURE, "a signature does not verify")
            return prepared
        body = decode_body(data)
        entries = [self._as_if_signed(Role.SENDER, body.sender)]
        if body.payer is not None:
            entries.append(self._as_if_signed(Role.PAYER, body.payer))
        approvals: list[tuple[bytes, bytes]] = []
        for raw in body.actions:
            action, values = registry.read_action(raw)
            if action.approvers is not None:
                approvals.extend(action.approvers(values, body))
        entries.extend(
            WitnessEntry(Role.APPROVER, account, key, bytes(SIGNATURE_BYTES))
            for account, key in sorted(set(approvals))
        )
        return prepare(encode_transaction(data, entries), registry)

    def _as_if_signed(self, role: Role, account: bytes) -> WitnessEntry:
        data = self._services.chain.reader.get(KERNEL, account_key(account))
        key = None if data is None else AccountRecord.unpack(data).key
        return WitnessEntry(role, account, key or account, bytes(SIGNATURE_BYTES))


def _maybe_signed(data: bytes) -> Transaction | None:
    """Return the transaction if the bytes are a signed form, None if they may be a body."""
    if data[:1] == b"\x92":
        return decode_transaction(data)
    if data[:1] == b"\x9e":
        return None
    raise Malformed("tx", "is neither a signed transaction nor a body")
