"""How batches, invoices and channels look in JSON; as read from state, with their ids."""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.witness import subject_of
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.payments.batches import Batch, approved_by, get_batch, get_legs
from clawpurse.modules.payments.channels import Channel, get_channel, left_in
from clawpurse.modules.payments.invoices import State, get_invoice
from clawpurse.node.rpc.values import hex_of, text_or_none

Json = dict[str, Any]


def batch_view(state: StateReader, batch_id: bytes) -> Json:
    """Return what a list shows of a batch, but for who approves it now. Raises `NotFound`."""
    return _batch_json(batch_id, require_batch(state, batch_id))


def batch_json(state: StateReader, batch_id: bytes, now_ms: int, *, legs: bool = False) -> Json:
    """Return a batch and who approves it at `now_ms`; its payments too. Raises `NotFound`."""
    batch, books = require_batch(state, batch_id), Books(Overlay(state))
    people = approved_by(batch, lambda account: subject_of(books, account), now_ms)
    until = {one.account: one.until_ms for one in batch.approvals}
    shown: Json = {
        **_batch_json(batch_id, batch),
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
    }
    if legs:
        shown["legs"] = [
            {
                "recipient": account_text(leg.recipient),
                "amount": str(leg.amount),
                **_reference_json(leg.reference),
            }
            for leg in get_legs(state, batch_id)
        ]
    return shown


def require_batch(state: StateReader, batch_id: bytes) -> Batch:
    """Return a batch that is open. Raises `NotFound`."""
    found = get_batch(state, batch_id)
    if found is None:
        raise NotFound(f"open batch {hex_of(batch_id)}")
    return found


def _batch_json(batch_id: bytes, batch: Batch) -> Json:
    return {
        "batchId": hex_of(batch_id),
        "salt": hex_of(batch.salt),
        "asset": batch.asset,
        "amount": str(batch.total),
        "payer": account_text(batch.payer),
        "legCount": batch.leg_count,
        "needed": batch.needed,
        "expires": time_text(batch.expires_ms),
        **_reference_json(batch.reference),
        "travelHash": None if batch.travel_hash is None else hex_of(batch.travel_hash),
    }


def invoice_view(state: StateReader, invoice_id: bytes) -> Json:
    """Return an invoice in the state that it is recorded in. Raises `NotFound`."""
    return invoice_json(state, invoice_id, 0)


def invoice_json(reader: StateReader, invoice_id: bytes, now_ms: int) -> Json:
    """Return an invoice; one whose time is over is expired, however late the queue is.

    Raises `NotFound`.
    """
    invoice = get_invoice(reader, invoice_id)
    if invoice is None:
        raise NotFound(f"invoice {hex_of(invoice_id)}")
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


def require_channel(state: StateReader, channel_id: bytes) -> Channel:
    """Return a channel that is not over. Raises `NotFound`."""
    found = get_channel(state, channel_id)
    if found is None:
        raise NotFound(f"channel {hex_of(channel_id)}")
    return found


def channel_view(state: StateReader, channel_id: bytes) -> Json:
    """Return a channel and what is left in it. Raises `NotFound`."""
    channel = require_channel(state, channel_id)
    closing = {"finalTime": time_text(channel.final_ms), "finalHeight": channel.final_height}
    return {
        "channelId": hex_of(channel_id),
        "asset": channel.asset,
        "payer": account_text(channel.payer),
        "payee": account_text(channel.payee),
        "voucherKey": hex_of(channel.key),
        "left": str(left_in(state, channel)),
        "paid": str(channel.paid),
        "owed": str(channel.owed),
        "challengeMs": channel.challenge_ms,
        "challengeBlocks": channel.challenge_blocks,
        "expires": time_text(channel.expires_ms),
        "closing": closing if channel.closing else None,
        **_reference_json(channel.reference),
    }


def _reference_json(reference: bytes) -> Json:
    return {"reference": hex_of(reference), "referenceText": text_or_none(reference)}
