"""payment_*: what is agreed before it is paid: batches, invoices, channels and their vouchers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.witness import subject_of
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.payments import vouchers
from clawpurse.modules.payments.batches import Batch, approved_by, get_batch, get_legs
from clawpurse.modules.payments.channels import Channel, get_channel, left_in
from clawpurse.modules.payments.invoices import Invoice, State, get_invoice
from clawpurse.modules.payments.records import Listed, list_objects
from clawpurse.node.rpc.payment_methods import text_or_none
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Hash, HexBytes, Limit, hex_of

Json = dict[str, Any]
BATCH: Final = (
    "batchId salt asset amount payer legCount needed approvals executable "
    "approvers[{account approved until|null rejected}] expires reference referenceText travelHash"
)
# Why a voucher is worth nothing, in words.
NO_SIGNATURE: Final = "the channel's voucher key did not sign it"
PAID: Final = "as much was paid already"
EMPTY: Final = "nothing is left in the channel"


def _amount(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        amount = int(value)
        if 1 <= amount <= U64_MAX:
            return amount
    raise ValueError("is not a number of minor units, from 1, as a string")


Minor = Annotated[
    int, BeforeValidator(_amount), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,20}$"})
]


class BatchParams(Params):
    """Parameters of payment_getBatch."""

    batch: Hash = Field(description="batchId")


class BatchesParams(Params):
    """Parameters of payment_listBatches."""

    account: Account = Field(description="Its payer, or who may approve it")
    limit: Limit = Field(50, description="At most so many")
    cursor: Hash | None = Field(None, description="nextCursor of the page before")


class InvoiceParams(Params):
    """Parameters of payment_getInvoice."""

    invoice: Hash = Field(description="invoiceId")


class ChannelParams(Params):
    """Parameters of payment_getChannel."""

    channel: Hash = Field(description="channelId")


class VoucherParams(Params):
    """Parameters of payment_verifyVoucher."""

    channel: Hash = Field(description="channelId")
    amount: Minor = Field(description="What the voucher promises in all, minor units")
    signature: HexBytes = Field(
        min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES, description="By its voucher key"
    )


class ContractMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "payment_getBatch",
                "A batch that is open: all that its id stands for, and who approves it now",
                self.batch,
                BatchParams,
                errors=(NOT_FOUND,),
                # Up to 200 payments, and a look at each of 16 approvers.
                cost=20,
                result=dict[str, Any],
                result_description=f"{BATCH} legs[{{recipient amount reference referenceText}}]",
            ),
            Method(
                "payment_listBatches",
                "Open batches of an account: those that it pays, and those that it may approve",
                self.batches,
                BatchesParams,
                cost=100,
                result=dict[str, Any],
                result_description=f"batches[{{{BATCH}}}] nextCursor|null",
            ),
            Method(
                "payment_getInvoice",
                "An invoice: its terms, which are its id, and what became of it",
                self.invoice,
                InvoiceParams,
                errors=(NOT_FOUND,),
                result=dict[str, Any],
                result_description=(
                    "invoiceId state: open|held|paid|expired|cancelled, salt payee asset amount "
                    "payer|null preimageHash|null purpose purposeText expires expiresMs keptUntil "
                    "redeemedBy: preimage|signature, paidBy|null ended|null holdId|null"
                ),
            ),
            Method(
                "payment_getChannel",
                "A payment channel that is not over, and what is left in it",
                self.channel,
                ChannelParams,
                errors=(NOT_FOUND,),
                result=dict[str, Any],
                result_description=(
                    "channelId genesisHash asset payer payee voucherKey left paid owed challengeMs "
                    "challengeBlocks expires closing{finalTime finalHeight}|null reference "
                    "referenceText"
                ),
            ),
            Method(
                "payment_verifyVoucher",
                "Whether a voucher of a channel verifies, and what a claim with it would pay now",
                self.voucher,
                VoucherParams,
                errors=(NOT_FOUND,),
                cost=5,
                result=dict[str, Any],
                result_description="channelId valid reason|null pays paid left asset payee",
            ),
        ]

    def batch(self, params: BatchParams, _context: Context) -> Json:
        """payment_getBatch."""
        found = get_batch(self._state, params.batch)
        if found is None:
            raise NotFound(f"open batch {hex_of(params.batch)}")
        legs = [
            {
                "recipient": account_text(leg.recipient),
                "amount": str(leg.amount),
                "reference": hex_of(leg.reference),
                "referenceText": text_or_none(leg.reference),
            }
            for leg in get_legs(self._state, params.batch)
        ]
        return {**self._batch_json(params.batch, found), "legs": legs}

    def batches(self, params: BatchesParams, _context: Context) -> Json:
        """payment_listBatches."""
        state = self._state
        after = None if params.cursor is None else Listed("batch", params.cursor)
        found = list_objects(state, params.account, after, params.limit + 1, "batch")
        shown = found[: params.limit]
        batches = [(one.id, get_batch(state, one.id)) for one in shown]
        return {
            "batches": [self._batch_json(i, batch) for i, batch in batches if batch is not None],
            "nextCursor": hex_of(shown[-1].id) if len(found) > params.limit else None,
        }

    def _batch_json(self, batch_id: bytes, batch: Batch) -> Json:
        now_ms = self._services.chain.tip.time_ms
        books = Books(Overlay(self._state))
        people = approved_by(batch, lambda account: subject_of(books, account), now_ms)
        until = {one.account: one.until_ms for one in batch.approvals}
        return {
            "batchId": hex_of(batch_id),
            "salt": hex_of(batch.salt),
            "asset": batch.asset,
            "amount": str(batch.total),
            "payer": account_text(batch.payer),
            "legCount": batch.leg_count,
            "needed": batch.needed,
            "approvals": people,
            "executable": people >= batch.needed and now_ms < batch.expires_ms,
            "approvers": [
                {
                    "account": account_text(account),
                    "approved": until.get(account, 0) > now_ms,
                    "until": time_text(until[account]) if account in until else None,
                    "rejected": account in batch.rejections,
                }
                for account in batch.approvers
            ],
            "expires": time_text(batch.expires_ms),
            **_reference_json(batch.reference),
            "travelHash": None if batch.travel_hash is None else hex_of(batch.travel_hash),
        }

    def invoice(self, params: InvoiceParams, _context: Context) -> Json:
        """payment_getInvoice."""
        found = get_invoice(self._state, params.invoice)
        if found is None:
            raise NotFound(f"invoice {hex_of(params.invoice)}")
        return invoice_json(params.invoice, found, self._services.chain.tip.time_ms)

    def channel(self, params: ChannelParams, _context: Context) -> Json:
        """payment_getChannel."""
        channel = self._channel(params.channel)
        closing = {
            "finalTime": time_text(channel.final_ms),
            "finalHeight": channel.final_height,
        }
        return {
            "channelId": hex_of(params.channel),
            "genesisHash": hex_of(self._services.chain.genesis.hash),
            "asset": channel.asset,
            "payer": account_text(channel.payer),
            "payee": account_text(channel.payee),
            "voucherKey": hex_of(channel.key),
            "left": str(left_in(self._state, channel)),
            "paid": str(channel.paid),
            "owed": str(channel.owed),
            "challengeMs": channel.challenge_ms,
            "challengeBlocks": channel.challenge_blocks,
            "expires": time_text(channel.expires_ms),
            "closing": closing if channel.closing else None,
            **_reference_json(channel.reference),
        }

    def voucher(self, params: VoucherParams, _context: Context) -> Json:
        """payment_verifyVoucher."""
        channel = self._channel(params.channel)
        terms = channel.terms(self._services.chain.genesis.hash, params.channel)
        left, pays, reason = left_in(self._state, channel), 0, None
        valid = vouchers.verify(channel.key, terms, params.amount, params.signature)
        if not valid:
            reason = NO_SIGNATURE
        elif params.amount <= channel.paid:
            reason = PAID
        elif not left:
            reason = EMPTY
        else:
            pays = min(max(params.amount, channel.owed) - channel.paid, left)
        return {
            "channelId": hex_of(params.channel),
            "valid": valid,
            "reason": reason,
            "pays": str(pays),
            "paid": str(channel.paid),
            "left": str(left),
            "asset": channel.asset,
            "payee": account_text(channel.payee),
        }

    def _channel(self, channel_id: bytes) -> Channel:
        found = get_channel(self._state, channel_id)
        if found is None:
            raise NotFound(f"channel {hex_of(channel_id)}")
        return found

    @property
    def _state(self) -> StateReader:
        return self._services.chain.reader


def invoice_json(invoice_id: bytes, invoice: Invoice, now_ms: int) -> Json:
    """Return an invoice; one whose time is over is expired, however late the queue is."""
    terms = invoice.terms
    state = State(invoice.state)
    if state is State.OPEN and now_ms >= terms.expires_ms:
        state = State.EXPIRED
    return {
        "invoiceId": hex_of(invoice_id),
        "state": state.label,
        "salt": hex_of(terms.salt),
        "payee": account_text(terms.payee),
        "asset": terms.asset,
        "amount": str(terms.amount),
        "payer": None if terms.payer is None else account_text(terms.payer),
        "preimageHash": None if terms.preimage_hash is None else hex_of(terms.preimage_hash),
        "purpose": hex_of(terms.purpose),
        "purposeText": text_or_none(terms.purpose),
        "expires": time_text(terms.expires_ms),
        "expiresMs": terms.expires_ms,
        "keptUntil": time_text(invoice.kept_until_ms),
        "redeemedBy": "signature" if terms.preimage_hash is None else "preimage",
        "paidBy": None if invoice.paid_by is None else account_text(invoice.paid_by),
        "ended": time_text(invoice.ended_ms) if invoice.ended_ms else None,
        "holdId": hex_of(invoice.hold_id) if invoice.hold_id else None,
    }


def _reference_json(reference: bytes) -> Json:
    return {"reference": hex_of(reference), "referenceText": text_or_none(reference)}
