"""payment_*: what is set apart, for whom, until when; who decides, and who has decided how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.kernel.records import (
    INDEX_PREFIX,
    Hold,
    hold_index_key,
    hold_key,
    officers_account,
    role_key,
)
from clawpurse.ledger.module_api import KERNEL, OFFICER_ROLE
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.payments.escrows import get_escrow
from clawpurse.modules.payments.pay import Refund, get_payment
from clawpurse.modules.payments.placed import PlacedHold, get_placed
from clawpurse.modules.payments.records import OBJECT_NAMES, TREE, Listed, list_objects
from clawpurse.modules.payments.schedules import get_scheduled
from clawpurse.modules.payments.votes import Vote, get_votes
from clawpurse.node.rpc import payment_shapes
from clawpurse.node.rpc.contract_views import batch_view, channel_view, invoice_view
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Hash, Limit, hex_of, text_or_none

Json = dict[str, Any]
KINDS: Final = tuple(sorted(OBJECT_NAMES.values()))
# What a hold of this module is for, by its rule; a rule's own is a `rule`.
_PURPOSES: Final = {
    "payments.channel": "channel",
    "payments.channelRefill": "channel",
    "payments.escrow": "escrow",
    "payments.hold": "placed",
    "payments.scheduled": "scheduled",
}


def _role(value: Any) -> str:
    try:
        return plain_name(value, "role")
    except Malformed as err:
        raise ValueError(err.problem) from None


def _kind(value: Any) -> str:
    if value not in KINDS:
        raise ValueError(f"is none of {', '.join(KINDS)}")
    return str(value)


RoleName = Annotated[
    str,
    BeforeValidator(_role),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9.-]{1,32}$"}),
]
KindName = Annotated[
    str, BeforeValidator(_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]


class HoldParams(Params):
    """Parameters of payment_getHold."""

    hold: Hash = Field(description="holdId")


class EscrowParams(Params):
    """Parameters of payment_getEscrow."""

    escrow: Hash = Field(description="escrowId")


class ScheduledParams(Params):
    """Parameters of payment_getScheduled."""

    scheduled: Hash = Field(description="scheduledId")


class PaymentParams(Params):
    """Parameters of payment_getRefunds."""

    payment: Hash = Field(description="paymentId")


class HoldsParams(Params):
    """Parameters of payment_listHolds."""

    officers: RoleName = Field(OFFICER_ROLE, description="The role that decides on them")
    account: Account | None = Field(
        None, description="Instead: all value set apart by or for this account"
    )
    limit: Limit = Field(50, description="At most so many")
    cursor: Hash | None = Field(None, description="nextCursor of the page before")


class ObjectsParams(Params):
    """Parameters of payment_listObjects."""

    account: Account = Field(description="Whose")
    kind: KindName | None = Field(None, description="Only these; all kinds if left out")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=80, description="nextCursor of the page before")


class PaymentMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [*self._of_holds(), *self._of_promises()]

    def _of_holds(self) -> list[Method]:
        return [
            Method(
                "payment_getHold",
                "What is held under an id, by a rule or by its payer, and the votes on it",
                self.hold,
                HoldParams,
                errors=(NOT_FOUND,),
                # A role and a subject for each of up to 32 votes.
                cost=10,
                result=payment_shapes.Hold,
                result_description=(
                    "holdId purpose: rule|placed|escrow|scheduled|channel, asset amount payer "
                    "payee rule ruleVersion since expires|null atExpiry: release|return|null "
                    "officers|null needed initiator|null placed{reason capture releasers[] "
                    "reference referenceText travelHash}|null votes[{voter release reason time}]"
                ),
            ),
            Method(
                "payment_listHolds",
                "What waits for those who hold a role to decide, or is set apart by or for one",
                self.holds,
                HoldsParams,
                cost=50,
                result=payment_shapes.Holds,
                result_description="holds[] (as payment_getHold) nextCursor|null",
            ),
        ]

    def _of_promises(self) -> list[Method]:
        return [
            Method(
                "payment_getEscrow",
                "An escrow that is not over",
                self.escrow,
                EscrowParams,
                errors=(NOT_FOUND,),
                result=payment_shapes.Escrow,
                result_description=(
                    "escrowId asset amount payer payee since finishAfter|null cancelAfter "
                    "condition|null arbiter|null paidByItself reference referenceText travelHash"
                ),
            ),
            Method(
                "payment_getScheduled",
                "A scheduled payment that is not paid yet",
                self.scheduled,
                ScheduledParams,
                errors=(NOT_FOUND,),
                result=payment_shapes.Scheduled,
                result_description=(
                    "scheduledId asset amount payer payee since time reference referenceText "
                    "travelHash"
                ),
            ),
            Method(
                "payment_getRefunds",
                "A payment that can be refunded, and what was refunded of it",
                self.refunds,
                PaymentParams,
                errors=(NOT_FOUND,),
                result=payment_shapes.RefundablePayment,
                result_description=(
                    "paymentId asset amount payer payee time until held refunded left reference "
                    "referenceText travelHash refunds[{time amount reference referenceText "
                    "holdId|null}]"
                ),
            ),
            Method(
                "payment_listObjects",
                "What an account has to do with: escrows, holds, batches, invoices, channels, …",
                self.objects,
                ObjectsParams,
                cost=50,
                result=payment_shapes.PaymentObjects,
                result_description=(
                    "objects[{kind id} with what the kind's own method shows] nextCursor|null"
                ),
            ),
        ]

    def hold(self, params: HoldParams, _context: Context) -> Json:
        """payment_getHold."""
        return hold_json(self._state, params.hold)

    def holds(self, params: HoldsParams, _context: Context) -> Json:
        """payment_listHolds."""
        state = self._state
        whose = params.account or officers_account(params.officers)
        after = b"" if params.cursor is None else hold_index_key(whose, params.cursor)
        prefix = INDEX_PREFIX + whose + b"h"
        rows = state.ordered(KERNEL, prefix, params.limit + 1, after=after)
        ids = [key[len(prefix) :] for key, _ in rows]
        shown = ids[: params.limit]
        return {
            "holds": [hold_json(state, hold_id) for hold_id in shown],
            "nextCursor": hex_of(shown[-1]) if len(ids) > params.limit else None,
        }

    def escrow(self, params: EscrowParams, _context: Context) -> Json:
        """payment_getEscrow."""
        return escrow_json(self._state, params.escrow)

    def scheduled(self, params: ScheduledParams, _context: Context) -> Json:
        """payment_getScheduled."""
        return scheduled_json(self._state, params.scheduled)

    def refunds(self, params: PaymentParams, _context: Context) -> Json:
        """payment_getRefunds."""
        return payment_json(self._state, params.payment)

    def objects(self, params: ObjectsParams, _context: Context) -> Json:
        """payment_listObjects."""
        state = self._state
        after = None if params.cursor is None else parse_object(params.cursor)
        found = list_objects(state, params.account, after, params.limit + 1, params.kind or "")
        shown = found[: params.limit]
        return {
            "objects": [object_json(state, one) for one in shown],
            "nextCursor": object_text(shown[-1]) if len(found) > params.limit else None,
        }

    @property
    def _state(self) -> StateReader:
        return self._services.chain.reader


def parse_object(cursor: str) -> Listed:
    """Read a cursor `kind.0xid`. Raises `Malformed`."""
    kind, _, text = cursor.partition(".0x")
    if kind in KINDS and len(text) == 64:
        try:
            return Listed(kind, bytes.fromhex(text))
        except ValueError:
            # Falls through: it is none of ours.
            pass
    raise Malformed("cursor", "is not one that this API gave")


def object_text(listed: Listed) -> str:
    """Return the cursor of an object."""
    return f"{listed.kind}.{hex_of(listed.id)}"


def object_json(state: StateReader, listed: Listed) -> Json:
    """Return an object with what is known of it."""
    view = _VIEWS.get(listed.kind)
    details = {} if view is None else view(state, listed.id)
    return {"kind": listed.kind, "id": hex_of(listed.id), **details}


def hold_json(state: StateReader, hold_id: bytes) -> Json:
    """Return what is held under an id. Raises `NotFound`."""
    hold = _hold_of(state, hold_id, "hold")
    placed = get_placed(state, hold_id) if hold.module == TREE else None
    if placed is not None:
        expires_ms, release, needed = placed.expires_ms, placed.release_at_expiry, placed.needed
    else:
        expires_ms, release, needed = hold.expires_ms, hold.release_at_expiry, hold.needed
    return {
        "holdId": hex_of(hold_id),
        "purpose": "rule" if hold.module == KERNEL else _PURPOSES.get(hold.rule, hold.rule),
        **_value_json(hold),
        "rule": hold.rule,
        "ruleVersion": hold.rule_version,
        "expires": time_text(expires_ms) if expires_ms else None,
        "atExpiry": ("return", "release")[release] if expires_ms else None,
        "officers": hold.officers or None,
        "needed": needed,
        "initiator": account_text(hold.initiator) if hold.initiator else None,
        "placed": None if placed is None else _placed_json(placed),
        "votes": [_vote_json(state, hold, placed, vote) for vote in get_votes(state, hold_id)],
    }


def _placed_json(placed: PlacedHold) -> Json:
    return {
        "reason": placed.reason,
        "capture": bool(placed.capture),
        "releasers": [account_text(account) for account in placed.releasers],
        **_particulars(placed.reference, placed.travel_hash),
    }


def _vote_json(state: StateReader, hold: Hold, placed: PlacedHold | None, vote: Vote) -> Json:
    entitled = (
        state.get(KERNEL, role_key(vote.voter, hold.officers)) is not None
        if placed is None
        else vote.voter in placed.releasers
    )
    return {
        "voter": account_text(vote.voter),
        "release": bool(vote.release),
        "reason": vote.reason,
        "time": time_text(vote.time_ms),
        "entitled": entitled,
    }


def escrow_json(state: StateReader, escrow_id: bytes) -> Json:
    """Return an escrow. Raises `NotFound`."""
    escrow = get_escrow(state, escrow_id)
    if escrow is None:
        raise NotFound(f"escrow {hex_of(escrow_id)}")
    return {
        "escrowId": hex_of(escrow_id),
        **_value_json(_hold_of(state, escrow_id, "escrow")),
        "finishAfter": time_text(escrow.finish_ms) if escrow.finish_ms else None,
        "cancelAfter": time_text(escrow.cancel_ms),
        "condition": None if escrow.condition is None else hex_of(escrow.condition),
        "arbiter": None if escrow.arbiter is None else account_text(escrow.arbiter),
        "paidByItself": escrow.by_itself,
        **_particulars(escrow.reference, escrow.travel_hash),
    }


def scheduled_json(state: StateReader, scheduled_id: bytes) -> Json:
    """Return a scheduled payment. Raises `NotFound`."""
    scheduled = get_scheduled(state, scheduled_id)
    if scheduled is None:
        raise NotFound(f"scheduled payment {hex_of(scheduled_id)}")
    return {
        "scheduledId": hex_of(scheduled_id),
        **_value_json(_hold_of(state, scheduled_id, "scheduled payment")),
        "time": time_text(scheduled.time_ms),
        **_particulars(scheduled.reference, scheduled.travel_hash),
    }


def payment_json(state: StateReader, payment_id: bytes) -> Json:
    """Return a payment that can be refunded. Raises `NotFound`."""
    payment = get_payment(state, payment_id)
    if payment is None:
        raise NotFound(f"payment {hex_of(payment_id)}")
    return {
        "paymentId": hex_of(payment_id),
        "asset": payment.asset,
        "amount": str(payment.amount),
        "payer": account_text(payment.payer),
        "payee": account_text(payment.payee),
        "time": time_text(payment.time_ms),
        "until": time_text(payment.until_ms),
        "held": bool(payment.hold_id),
        "refunded": str(payment.refunded),
        "left": str(payment.amount - payment.refunded),
        **_particulars(payment.reference, payment.travel_hash),
        "refunds": [_refund_json(refund) for refund in payment.refunds],
    }


def _refund_json(refund: Refund) -> Json:
    return {
        "time": time_text(refund.time_ms),
        "amount": str(refund.amount),
        "reference": hex_of(refund.reference),
        "referenceText": text_or_none(refund.reference),
        "holdId": hex_of(refund.hold_id) if refund.hold_id else None,
    }


def _hold_of(state: StateReader, hold_id: bytes, what: str) -> Hold:
    data = state.get(KERNEL, hold_key(hold_id))
    if data is None:
        raise NotFound(f"{what} {hex_of(hold_id)}")
    return Hold.unpack(data)


def _value_json(hold: Hold) -> Json:
    return {
        "asset": hold.asset,
        "amount": str(hold.amount),
        "payer": account_text(hold.source),
        "payee": account_text(hold.target),
        "since": time_text(hold.made_ms),
    }


def _particulars(reference: bytes, travel_hash: bytes | None) -> Json:
    return {
        "reference": hex_of(reference),
        "referenceText": text_or_none(reference),
        "travelHash": None if travel_hash is None else hex_of(travel_hash),
    }


_VIEWS: Final[Mapping[str, Callable[[StateReader, bytes], Json]]] = {
    "batch": batch_view,
    "channel": channel_view,
    "escrow": escrow_json,
    "hold": hold_json,
    "invoice": invoice_view,
    "payment": payment_json,
    "scheduled": scheduled_json,
}
