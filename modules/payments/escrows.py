"""Escrow: value that a payer promises, paid or given back by time, by a secret, by an arbiter.

Tree `payments`: e‖id → escrow; its id is that of the hold, which says who pays whom how much.

| until      | what can happen                                                                  |
|------------|----------------------------------------------------------------------------------|
| always     | the payee gives it up; the arbiter returns it                                    |
| finish     | nobody is paid before this time, not even by the arbiter                         |
| finish on  | with the secret anybody has it paid; the payer and the arbiter without it; when  |
|            | it has neither secret nor arbiter, it is paid by itself, and anybody may do it   |
| cancel on  | it goes back to the payer by itself, and anybody may do it; nobody is paid       |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.records import Hold, hold_key
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    Field,
    FieldType,
    HoldEnd,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.payments.common import (
    AMOUNT_FIELD,
    ASSET_FIELD,
    REASON_FIELD,
    RECIPIENT_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    YEAR_MS,
    end_promise,
    flag_field,
    hold_of,
    paid_words,
    read_fields,
    reference_words,
    refused_missing,
    require_other,
    require_span,
    seized_entirely,
    when_words,
)
from clawpurse.modules.payments.records import (
    ESCROW,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# Two years: a building's warranty, a vesting cliff. What is promised for longer is renewed.
ESCROW_SPAN_MAX_MS: Final = 2 * YEAR_MS
# More than any secret needs; it stays in the ledger for ever.
PREIMAGE_BYTES_MAX: Final = 256
RULE: Final = "payments.escrow"
DUE_END: Final = "escrow"


class Escrow(NamedTuple):
    """What an escrow's hold does not say. Times are ms of block time, `finish_ms` 0 for none.

    `condition` is the SHA-256 of the secret; `due` is the due work that ends it at `due_ms`.
    """

    finish_ms: int
    cancel_ms: int
    condition: bytes | None
    arbiter: bytes | None
    reference: bytes
    travel_hash: bytes | None
    due_ms: int
    due: bytes

    @property
    def by_itself(self) -> bool:
        """Whether it is paid when its time comes, without secret or arbiter."""
        return self.condition is None and self.arbiter is None

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Escrow:
        """Read a record that we wrote."""
        return cls(*unpack(data, len(cls._fields)))


def escrow_key(escrow_id: bytes) -> bytes:
    """Return the key of an escrow."""
    return ESCROW + escrow_id


# -- actions


_CREATE_FIELDS: Final = (
    ASSET_FIELD,
    RECIPIENT_FIELD,
    AMOUNT_FIELD,
    Field("finishAfter", FieldType.TIME, "nobody is paid before; nil: at once", optional=True),
    Field("cancelAfter", FieldType.TIME, "when it goes back to the payer if nobody was paid"),
    Field(
        "condition",
        FieldType.HASH,
        "SHA-256 of a secret; whoever knows it has the payee paid; nil: none",
        optional=True,
    ),
    Field(
        "arbiter",
        FieldType.ACCOUNT,
        "who decides between payer and payee; nil: nobody",
        optional=True,
    ),
    REFERENCE_FIELD,
    TRAVEL_FIELD,
)
_ESCROW: Final = Field("escrow", FieldType.HASH, "id of the escrow")


def _read_create(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    """Read the fields, and refuse an escrow that could never pay."""
    values = read_fields(_CREATE_FIELDS, wire, where)
    finish_ms, cancel_ms, condition, arbiter = values[3:7]
    if finish_ms is not None and finish_ms >= cancel_ms:
        raise Malformed(f"{where}.cancelAfter", "is not after finishAfter")
    if finish_ms is None and condition is None and arbiter is None:
        raise Malformed(where, "has neither finishAfter nor condition nor arbiter")
    return values


def _create_words(fields: Mapping[str, Any], words: Words) -> str:
    parts = [f"Set {paid_words(fields, words)} apart."]
    if fields["finishAfter"] is not None:
        parts.append(f"Nobody is paid before {when_words(fields['finishAfter'])}.")
    if fields["condition"] is not None:
        parts.append(f"Whoever knows the secret of 0x{fields['condition'].hex()} has it paid.")
    if fields["arbiter"] is not None:
        parts.append(f"{words.account(fields['arbiter'])} may decide.")
    if fields["condition"] is None and fields["arbiter"] is None:
        parts.append("Then it is paid by itself.")
    else:
        parts.append(f"At {when_words(fields['cancelAfter'])} it comes back.")
    return " ".join(parts) + reference_words(fields)


def _finish_words(fields: Mapping[str, Any], _words: Words) -> str:
    how = " with its secret" if fields["preimage"] is not None else ""
    return f"Have the escrow 0x{fields['escrow'].hex()} paid{how}."


def _cancel_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Give the escrow 0x{fields['escrow'].hex()} back to its payer."


def _decide_words(fields: Mapping[str, Any], _words: Words) -> str:
    outcome = "paid" if fields["release"] else "given back"
    escrow = fields["escrow"].hex()
    return f"Decide that the escrow 0x{escrow} is {outcome}. Reason: {fields['reason']}."


CREATE: Final = ActionType(
    name="payments.createEscrow",
    fields=_CREATE_FIELDS,
    # Hold, escrow, four rows of lists, the queue, two accounts.
    cost=450,
    words=_create_words,
    parse=_read_create,
    session=True,
)
FINISH: Final = ActionType(
    name="payments.finishEscrow",
    fields=(
        _ESCROW,
        Field(
            "preimage",
            FieldType.BYTES,
            "the secret; nil: the sender may without it",
            PREIMAGE_BYTES_MAX,
            optional=True,
        ),
    ),
    cost=450,
    words=_finish_words,
)
CANCEL: Final = ActionType(
    name="payments.cancelEscrow", fields=(_ESCROW,), cost=400, words=_cancel_words
)
DECIDE: Final = ActionType(
    name="payments.decideEscrow",
    fields=(_ESCROW, flag_field("release", "1: the payee is paid; 0: the payer"), REASON_FIELD),
    cost=450,
    words=_decide_words,
)
ACTIONS: Final = (CREATE, FINISH, CANCEL, DECIDE)


# -- handlers


def _create(context: Context, values: Sequence[Any]) -> None:
    asset, recipient, amount, finish_ms, cancel_ms, condition, arbiter, reference, travel = values
    payer = context.sender
    require_other(context, payer, recipient)
    require_span(context, cancel_ms, ESCROW_SPAN_MAX_MS)
    if finish_ms is not None:
        require_span(context, finish_ms, ESCROW_SPAN_MAX_MS)
    if arbiter is not None:
        _require_neutral(context, arbiter, (payer, recipient))
    escrow_id = context.set_apart(asset, payer, recipient, amount, rule=RULE, travel_hash=travel)
    escrow = Escrow(
        finish_ms or 0, cancel_ms, condition, arbiter, reference, travel, cancel_ms, b""
    )
    if escrow.by_itself:
        escrow = escrow._replace(due_ms=escrow.finish_ms)
    due = context.schedule(escrow.due_ms, payer, [DUE_END, escrow_id])
    context.put(escrow_key(escrow_id), escrow._replace(due=due).pack())
    parties = _parties(payer, recipient, arbiter)
    enlist(context, ESCROW, escrow_id, *parties)
    data = (asset, amount, escrow_id, finish_ms, cancel_ms, condition, arbiter, reference, travel)
    context.emit("payments.escrowCreated", parties, *data)


def _require_neutral(context: Context, arbiter: bytes, parties: Sequence[bytes]) -> None:
    """Refuse an arbiter who is a party, or one person with a party; or is no account yet."""
    context.key_of(arbiter)
    person = context.subject_of(arbiter)
    for party in parties:
        if person == context.subject_of(party):
            raise context.refuse("payments.arbiterParty", arbiter, party)


def _finish(context: Context, values: Sequence[Any]) -> None:
    escrow_id, preimage = values
    escrow, hold = _escrow_of(context, escrow_id)
    _require_payable(context, escrow)
    if preimage is not None:
        if escrow.condition is None or hashlib.sha256(preimage).digest() != escrow.condition:
            raise context.refuse("payments.secret", escrow_id)
    elif not escrow.by_itself and context.sender != hold.source:
        raise context.refuse("payments.party", context.sender, escrow_id)
    _end(context, escrow_id, escrow, hold, pay=True)


def _decide(context: Context, values: Sequence[Any]) -> None:
    escrow_id, release, reason = values
    escrow, hold = _escrow_of(context, escrow_id)
    if context.sender != escrow.arbiter:
        raise context.refuse("payments.party", context.sender, escrow_id)
    # Who they are may have become known only since it was created.
    _require_neutral(context, context.sender, (hold.source, hold.target))
    if release:
        _require_payable(context, escrow)
    parties = _parties(hold.source, hold.target, escrow.arbiter)
    context.emit("payments.escrowDecided", parties, escrow_id, release, reason)
    _end(context, escrow_id, escrow, hold, pay=bool(release))


def _cancel(context: Context, values: Sequence[Any]) -> None:
    escrow_id = values[0]
    escrow, hold = _escrow_of(context, escrow_id)
    if context.sender != hold.target:
        if escrow.by_itself:
            # It is the payee's from its time on, however late the queue is.
            raise context.refuse("payments.party", context.sender, escrow_id)
        if context.time_ms < escrow.cancel_ms:
            raise context.refuse("payments.early", escrow.cancel_ms, context.time_ms)
    _end(context, escrow_id, escrow, hold, pay=False)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """End an escrow at its time: paid, if it needs nobody's word, else given back."""
    escrow_id = payload[0]
    escrow, hold = _escrow_of(context, escrow_id)
    forget = partial(_forget, context, escrow_id, escrow, hold, False)
    end_promise(context, escrow_id, pay=escrow.by_itself, forget=forget)


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    data = seized_entirely(context, end, escrow_key(end.hold_id))
    if data is not None:
        _forget(context, end.hold_id, Escrow.unpack(data), end.hold, True, "seized")


def _escrow_of(context: Context, escrow_id: bytes) -> tuple[Escrow, Hold]:
    data = context.get(escrow_key(escrow_id))
    if data is None:
        raise refused_missing(context, escrow_id)
    return Escrow.unpack(data), hold_of(context, escrow_id)


def _require_payable(context: Context, escrow: Escrow) -> None:
    """Refuse a payout before its time, or when it is on its way back."""
    now_ms = context.time_ms
    if now_ms < escrow.finish_ms:
        raise context.refuse("payments.early", escrow.finish_ms, now_ms)
    if now_ms >= escrow.cancel_ms and not escrow.by_itself:
        # The queue that returns it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", escrow.cancel_ms, now_ms)


def _end(context: Context, escrow_id: bytes, escrow: Escrow, hold: Hold, *, pay: bool) -> None:
    """Pay what is left of it, or give it back; the record goes first (`seized_entirely`)."""
    _forget(context, escrow_id, escrow, hold, True, "paid" if pay else "returned")
    if pay:
        context.pay_apart(escrow_id, hold.amount)
    else:
        context.give_back(escrow_id, hold.amount)


def _forget(
    context: Context, escrow_id: bytes, escrow: Escrow, hold: Hold, queued: bool, outcome: str
) -> None:
    """Remove an escrow's record; `queued` tells whether its due work is still to come."""
    if queued:
        context.cancel_due(escrow.due_ms, escrow.due)
    parties = _parties(hold.source, hold.target, escrow.arbiter)
    context.delete(escrow_key(escrow_id))
    strike(context, ESCROW, escrow_id, *parties)
    context.emit("payments.escrowEnded", parties, hold.asset, hold.amount, escrow_id, outcome)


def _parties(payer: bytes, payee: bytes, arbiter: bytes | None) -> tuple[bytes, ...]:
    return (payer, payee) if arbiter is None else (payer, payee, arbiter)


# -- queries


def get_escrow(reader: StateReader, escrow_id: bytes) -> Escrow | None:
    """Return an escrow that is not over; who pays whom how much is in the hold of its id."""
    data = reader.get(TREE, escrow_key(escrow_id))
    return None if data is None else Escrow.unpack(data)


# -- invariants


def escrows_hold(reader: StateReader) -> str | None:
    """Check that every escrow has its hold."""
    for escrow_id in all_objects(reader, ESCROW):
        if get_escrow(reader, escrow_id) is None:
            return f"a list names the escrow 0x{escrow_id.hex()}, which is not there"
        data = reader.get(KERNEL, hold_key(escrow_id))
        if data is None or Hold.unpack(data).module != TREE:
            return f"the escrow 0x{escrow_id.hex()} has no value set apart"
    return None


HANDLERS: Final = {
    CREATE.name: _create,
    FINISH.name: _finish,
    CANCEL.name: _cancel,
    DECIDE.name: _decide,
}
DUES: Final = {DUE_END: _on_due}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"escrow": get_escrow}
INVARIANTS: Final = (escrows_hold,)
RULES: Final = {
    "payments.arbiterParty": Rule(
        Code.NOT_AUTHORISED, "{0:account} cannot decide: it is {1:account}, or one person with it."
    ),
    "payments.secret": Rule(Code.NOT_AUTHORISED, "That is not the secret of the escrow {0:hash}."),
}
EVENTS: Final = {
    "payments.escrowCreated": (
        "asset",
        "amount",
        "escrowId",
        "finishAfter",
        "cancelAfter",
        "condition",
        "arbiter",
        "reference",
        "travelHash",
    ),
    "payments.escrowDecided": ("escrowId", "released", "reason"),
    "payments.escrowEnded": ("asset", "amount", "escrowId", "outcome"),
}
