"""tx_decode, tx_simulate, tx_cancel: what can be asked about a transaction before it is sent."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import trio
from pydantic import Field

from clawpurse.ledger import crypto
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.kernel.witness import keys_up_to
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import (
    ATTEMPT_MAX,
    Body,
    RawAction,
    Role,
    Transaction,
    WitnessEntry,
    decode_body,
    decode_transaction,
    encode_transaction,
)
from clawpurse.ledger.transition import Execution, Prepared, prepare
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.transaction_methods import REFUSALS, TransactionMethods
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

# Scheduled work, and pooled transactions of the sender, that a simulation performs before the one
# that it is about: each some microseconds; what waits beyond it changes the answer rarely.
DUE_BEFORE_MAX: Final = 64
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
                result=dict[str, Any],
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
                result=dict[str, Any],
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
                result=dict[str, Any],
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
        now_ms = max(services.clock.now_ms(), chain.tip.time_ms + 1)
        env = BlockEnv(chain.height + 1, now_ms, chain.params)
        execution = Execution(chain.reader, chain.registry, env)
        for _ in islice(execution.begin_in_steps(), DUE_BEFORE_MAX):
            pass
        receipt = execution.apply(self._after_pooled(prepared, execution))
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
                await trio.lowlevel.checkpoint()
            return prepared
        body = decode_body(data)
        entries = self._as_if_signed(Role.SENDER, body.sender, params.signer)
        if body.payer is not None and not params.sponsored:
            entries += self._as_if_signed(Role.PAYER, body.payer)
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

    def _as_if_signed(
        self, role: Role, account: bytes, session: bytes | None = None
    ) -> list[WitnessEntry]:
        """Return entries by a session key, else by the account's key or enough of its signers."""
        books = Books(Overlay(self._services.chain.reader))
        record, signers = books.account(account), books.entitlements.signers(account)
        if session is not None:
            keys = [session]
        elif signers is not None:
            keys = keys_up_to(books, signers)
        else:
            keys = [account if record is None or record.key is None else record.key]
        return [WitnessEntry(role, account, key, bytes(SIGNATURE_BYTES)) for key in sorted(keys)]


def _maybe_signed(data: bytes) -> Transaction | None:
    """Return the transaction if the bytes are a signed form, None if they may be a body."""
    if data[:1] == SIGNED_FORM:
        return decode_transaction(data)
    if data[:1] == BODY_FORM:
        return None
    raise Malformed("tx", "is neither a signed transaction nor a body")
