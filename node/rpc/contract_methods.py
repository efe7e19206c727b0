"""payment_*: what is agreed before it is paid: batches, invoices, channels and their vouchers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger import vouchers
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.payments.channels import left_in
from clawpurse.modules.payments.records import Listed, list_objects
from clawpurse.node.rpc import payment_shapes
from clawpurse.node.rpc.contract_views import (
    batch_json,
    channel_view,
    invoice_json,
    require_channel,
)
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
                result=payment_shapes.BatchWithLegs,
                result_description=f"{BATCH} legs[{{recipient amount reference referenceText}}]",
            ),
            Method(
                "payment_listBatches",
                "Open batches of an account: those that it pays, and those that it may approve",
                self.batches,
                BatchesParams,
                cost=100,
                result=payment_shapes.Batches,
                result_description=f"batches[{{{BATCH}}}] nextCursor|null",
            ),
            Method(
                "payment_getInvoice",
                "An invoice: its terms, which are its id, and what became of it",
                self.invoice,
                InvoiceParams,
                errors=(NOT_FOUND,),
                result=payment_shapes.Invoice,
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
                result=payment_shapes.Channel,
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
                result=payment_shapes.VoucherVerdict,
                result_description="channelId valid reason|null pays paid left asset payee",
            ),
        ]

    def batch(self, params: BatchParams, _context: Context) -> Json:
        """payment_getBatch."""
        now_ms = self._services.chain.tip.time_ms
        return batch_json(self._state, params.batch, now_ms, legs=True)

    def batches(self, params: BatchesParams, _context: Context) -> Json:
        """payment_listBatches."""
        state = self._state
        after = None if params.cursor is None else Listed("batch", params.cursor)
        found = list_objects(state, params.account, after, params.limit + 1, "batch")
        shown = found[: params.limit]
        now_ms = self._services.chain.tip.time_ms
        return {
            "batches": [batch_json(state, one.id, now_ms) for one in shown],
            "nextCursor": hex_of(shown[-1].id) if len(found) > params.limit else None,
        }

    def invoice(self, params: InvoiceParams, _context: Context) -> Json:
        """payment_getInvoice."""
        now_ms = self._services.chain.tip.time_ms
        return invoice_json(self._state, params.invoice, now_ms)

    def channel(self, params: ChannelParams, _context: Context) -> Json:
        """payment_getChannel."""
        genesis = hex_of(self._services.chain.genesis.hash)
        return {"genesisHash": genesis, **channel_view(self._state, params.channel)}

    def voucher(self, params: VoucherParams, _context: Context) -> Json:
        """payment_verifyVoucher."""
        channel = require_channel(self._state, params.channel)
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

    @property
    def _state(self) -> StateReader:
        return self._services.chain.reader
