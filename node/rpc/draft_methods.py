"""tx_decode, tx_simulate, tx_cancel: what can be asked about a transaction before it is sent."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import (
    ATTEMPT_MAX,
    Body,
    RawAction,
    Transaction,
    decode_body,
    decode_transaction,
)
from clawpurse.ledger.transition import Execution, Prepared, prepare
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc import ledger_shapes, shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.transaction_methods import REFUSALS, TransactionMethods
from clawpurse.node.rpc.trial import as_if_signed, begin_trial, conclude, next_block
from clawpurse.node.rpc.values import (
    Hash,
    SignedTx,
    body_json,
    code_label,
    hex_of,
    reason_of,
    trace_json,
    transaction_json,
)
from clawpurse.wallet.describe import describe_body, words_for
from clawpurse.wallet.receipts import event_json

# Pooled transactions of the sender that a simulation performs before the one that it is about:
# each some microseconds; what waits beyond it changes the answer rarely.
POOLED_BEFORE_MAX: Final = 32
# The first byte of a signed form (an array of two) and of a body (an array of fourteen).
SIGNED_FORM: Final = b"\x92"
BODY_FORM: Final = b"\x9e"
Json = dict[str, Any]


class BytesParams(Params):
    """Parameters that carry a transaction."""

    tx: SignedTx = Field(description="Signed bytes, or the bytes of an unsigned body")


class SimulateParams(BytesParams):
    """Parameters of tx_simulate."""

    signer: Hash | None = Field(
        None, description="Unsigned body: the session key that would sign for its sender"
    )
    sponsored: bool = Field(
        False, description="Unsigned body: its payer would not sign, but sponsors the sender"
    )


class CancelParams(Params):
    """Parameters of tx_cancel."""

    tx_id: Hash = Field(description="The pending transaction's id")


class DraftMethods:
    """See the module."""

    def __init__(self, services: Services, transactions: TransactionMethods) -> None:
        self._services = services
        self._transactions = transactions

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "tx_simulate",
                "The receipt that a transaction or unsigned body would get now",
                self.simulate,
                SimulateParams,
                errors=REFUSALS,
                cost=50,
                takes_transaction=True,
                description=(
                    "After what waits in the pool before it. An unsigned body is judged as if "
                    "everybody whose signature it needs had signed it: the sender's own key, or "
                    "the session key signer; the payer, unless it is sponsored."
                ),
                result=shapes.SimulatedReceipt,
                result_description=(
                    "txId code reason rule fee feeMin cost events trace[{rule version verdict}]"
                ),
            ),
            Method(
                "tx_decode",
                "What the bytes of a transaction or body say, in words too",
                self.decode,
                BytesParams,
                errors=(Code.MALFORMED.rpc_code, Code.BAD_SIGNATURE.rpc_code),
                cost=5,
                takes_transaction=True,
                result=shapes.DecodedTransaction,
                result_description="the transaction or body, signed, and words[{label text}]",
            ),
            Method(
                "tx_cancel",
                "The body that takes a pending transaction's place and does nothing",
                self.cancel,
                CancelParams,
                errors=(NOT_FOUND, PRUNED),
                cost=5,
                description=(
                    "No node can take a payment back: sign the body as the sender and submit it. "
                    "Which of the two became final tells tx_wait. When nothing can be cancelled "
                    "any more, the answer is as that of tx_wait, without body."
                ),
                result=ledger_shapes.Cancelling,
                result_description="txId status, while pending also body fee attempt words",
            ),
        ]

    def decode(self, params: BytesParams, _context: Context) -> Json:
        """tx_decode."""
        registry = self._services.chain.registry
        transaction = _maybe_signed(params.tx)
        body = decode_body(params.tx) if transaction is None else transaction.body
        shown = body_json(body, registry)
        if transaction is not None:
            shown = transaction_json(transaction, registry)
        tx_id = crypto.tx_id_of(body.pack())
        return {
            **shown,
            "txId": hex_of(tx_id),
            "signed": transaction is not None,
            "words": self._words(body),
        }

    def _words(self, body: Body) -> list[Json]:
        words: Words = words_for(self._services.chain.genesis.decimals)
        lines = describe_body(body, self._services.chain.registry, words)
        return [{"label": line.label, "text": line.text} for line in lines]

    def cancel(self, params: CancelParams, _context: Context) -> Json:
        """tx_cancel."""
        prepared = self._services.pool.get(params.tx_id)
        if prepared is None:
            fate = self._transactions.status_of(params.tx_id)
            if fate["status"] == "unknown":
                raise RpcError(NOT_FOUND, f"{hex_of(params.tx_id)} is not known here", facts=fate)
            return {"txId": hex_of(params.tx_id), **fate}
        body = prepared.transaction.body
        # The attempt outbids at the same fee, as long as there is another one.
        more = body.attempt < ATTEMPT_MAX
        cancelling = body._replace(
            attempt=body.attempt + more,
            fee=body.fee + (not more),
            # The least that a body may do: a minor unit from the sender to itself.
            actions=(RawAction("assets.transfer", [NATIVE_ASSET, body.sender, 1]),),
            memo=b"",
            payer=None,
        )
        return {
            "txId": hex_of(params.tx_id),
            "status": "pending",
            "body": hex_of(cancelling.pack()),
            "fee": str(cancelling.fee),
            "attempt": cancelling.attempt,
            "words": self._words(cancelling),
        }

    # -- simulating

    async def simulate(self, params: SimulateParams, _context: Context) -> Json:
        """tx_simulate."""
        prepared = await self._prepared(params)
        services, chain = self._services, self._services.chain
        # From here to the result nothing waits: the state must not move meanwhile.
        execution = begin_trial(services, next_block(services))
        receipt, events = conclude(execution, self._after_pooled(prepared, execution))
        return {
            "txId": hex_of(receipt.tx_id),
            "code": code_label(receipt.code),
            "reason": reason_of(receipt, chain.registry, services.decimals_of),
            "rule": receipt.rule or None,
            "fee": str(receipt.fee),
            "feeMin": str(chain.params.fee_min),
            "cost": receipt.cost,
            "events": [event_json(event, chain.registry) for event in events],
            "trace": trace_json(receipt),
        }

    def _after_pooled(self, prepared: Prepared, execution: Execution) -> Prepared:
        """Apply what waits before a transaction in its lane; returns it ready to follow that.

        When more waits than is applied here, its sequence is taken down to the next one, so
        that a long queue is no reason to say that a payment could not be made.
        """
        body = prepared.transaction.body
        record = self._services.chain.account(body.sender)
        pool = self._services.pool
        following = 0 if record is None else record.sequence(body.lane)
        ahead = pool.next_sequence(body.sender, body.lane)
        if ahead is None or not following < body.sequence <= ahead:
            return prepared
        for earlier in pool.lane(body.sender, body.lane, following, POOLED_BEFORE_MAX):
            if earlier.transaction.body.sequence >= body.sequence:
                break
            try:
                execution.apply(earlier)
            except Refused:
                break  # It will not be included either; what follows it may still replace it.
            following += 1
        transaction = prepared.transaction
        followed = transaction._replace(body=body._replace(sequence=following))
        return prepared._replace(transaction=followed)

    async def _prepared(self, params: SimulateParams) -> Prepared:
        """Prepare signed bytes, or an unsigned body as if all had signed whom it needs."""
        registry, data = self._services.chain.registry, params.tx
        if _maybe_signed(data) is not None:
            if params.signer is not None or params.sponsored:
                raise Malformed("signer", "or sponsored stands beside what is signed already")
            prepared = prepare(data, registry)
            for key, message, signature in prepared.transaction.signatures:
                if not crypto.verify(key, message, signature):
                    raise Refused(Code.BAD_SIGNATURE, "a signature does not verify")
                await next_turn()
            return prepared
        return as_if_signed(
            self._services.chain.reader,
            registry,
            decode_body(data),
            session=params.signer,
            sponsored=params.sponsored,
        )


def _maybe_signed(data: bytes) -> Transaction | None:
    """Return the transaction if the bytes are a signed form, None if they may be a body."""
    if data[:1] == SIGNED_FORM:
        return decode_transaction(data)
    if data[:1] == BODY_FORM:
        return None
    raise Malformed("tx", "is neither a signed transaction nor a body")
