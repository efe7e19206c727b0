"""Scheduled payments: set apart at once, paid by the block's clock.

Tree `payments`: s‖id → a scheduled payment; its id is that of the hold, which says who pays whom
how much.

The value is its payer's until its time: freezes and clawbacks reach it, and a session key's caps
are charged when it is set apart. The payer may cancel until then, the payee may give it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

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
    RECIPIENT_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    end_promise,
    hold_of,
    paid_words,
    reference_words,
    refused_missing,
    require_other,
    require_span,
    seized_entirely,
    when_words,
)
from clawpurse.modules.payments.records import (
    SCHEDULED,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

RULE: Final = "payments.scheduled"
DUE_PAY: Final = "scheduled"


class Scheduled(NamedTuple):
    """What a scheduled payment's hold does not say; `due` is the due work that pays it."""

    time_ms: int
    reference: bytes
    travel_hash: bytes | None
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Scheduled:
        """Read a record that we wrote."""
        return cls(*unpack(data, len(cls._fields)))


def scheduled_key(scheduled_id: bytes) -> bytes:
    """Return the key of a scheduled payment."""
    return SCHEDULED + scheduled_id


# -- actions


def _schedule_words(fields: Mapping[str, Any], words: Words) -> str:
    when, paid = when_words(fields["time"]), paid_words(fields, words)
    return f"Set {paid} apart, to be paid at {when}.{reference_words(fields)}"


def _cancel_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Cancel the scheduled payment 0x{fields['scheduled'].hex()}."


SCHEDULE: Final = ActionType(
    name="payments.schedule",
    fields=(
        ASSET_FIELD,
        RECIPIENT_FIELD,
        AMOUNT_FIELD,
        Field("time", FieldType.TIME, "block time at which it is paid, within a year"),
        REFERENCE_FIELD,
        TRAVEL_FIELD,
    ),
    # Hold, record, four rows of lists, the queue, two accounts.
    cost=400,
    words=_schedule_words,
    session=True,
)
CANCEL: Final = ActionType(
    name="payments.cancelScheduled",
    fields=(Field("scheduled", FieldType.HASH, "id of the scheduled payment"),),
    cost=350,
    words=_cancel_words,
    # It takes nothing from anybody but what was promised to the account itself.
    session=True,
)
ACTIONS: Final = (SCHEDULE, CANCEL)


# -- handlers


def _schedule(context: Context, values: Sequence[Any]) -> None:
    asset, recipient, amount, time_ms, reference, travel_hash = values
    payer = context.sender
    require_other(context, payer, recipient)
    require_span(context, time_ms)
    scheduled_id = context.set_apart(
        asset, payer, recipient, amount, rule=RULE, travel_hash=travel_hash
    )
    due = context.schedule(time_ms, payer, [DUE_PAY, scheduled_id])
    record = Scheduled(time_ms, reference, travel_hash, due)
    context.put(scheduled_key(scheduled_id), record.pack())
    enlist(context, SCHEDULED, scheduled_id, payer, recipient)
    data = (asset, amount, scheduled_id, time_ms, reference, travel_hash)
    context.emit("payments.scheduled", (payer, recipient), *data)


def _cancel(context: Context, values: Sequence[Any]) -> None:
    scheduled_id = values[0]
    scheduled, hold = _scheduled_of(context, scheduled_id)
    if context.sender == hold.source:
        # From its time on it is the payee's, however late the queue that pays it is.
        if context.time_ms >= scheduled.time_ms:
            raise context.refuse("payments.late", scheduled.time_ms, context.time_ms)
    elif context.sender != hold.target:
        raise context.refuse("payments.party", context.sender, scheduled_id)
    context.cancel_due(scheduled.time_ms, scheduled.due)
    _forget(context, scheduled_id, hold, "returned")
    context.give_back(scheduled_id, hold.amount)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """Pay what has come due."""
    scheduled_id = payload[0]
    _, hold = _scheduled_of(context, scheduled_id)
    forget = partial(_forget, context, scheduled_id, hold)
    end_promise(context, scheduled_id, pay=True, forget=forget)


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    data = seized_entirely(context, end, scheduled_key(end.hold_id))
    if data is not None:
        scheduled = Scheduled.unpack(data)
        context.cancel_due(scheduled.time_ms, scheduled.due)
        _forget(context, end.hold_id, end.hold, "seized")


def _scheduled_of(context: Context, scheduled_id: bytes) -> tuple[Scheduled, Hold]:
    data = context.get(scheduled_key(scheduled_id))
    if data is None:
        raise refused_missing(context, scheduled_id)
    return Scheduled.unpack(data), hold_of(context, scheduled_id)


def _forget(context: Context, scheduled_id: bytes, hold: Hold, outcome: str) -> None:
    parties = hold.source, hold.target
    context.delete(scheduled_key(scheduled_id))
    strike(context, SCHEDULED, scheduled_id, *parties)
    data = (hold.asset, hold.amount, scheduled_id, outcome)
    context.emit("payments.scheduledEnded", parties, *data)


# -- queries


def get_scheduled(reader: StateReader, scheduled_id: bytes) -> Scheduled | None:
    """Return a scheduled payment; who pays whom how much is in the hold of its id."""
    data = reader.get(TREE, scheduled_key(scheduled_id))
    return None if data is None else Scheduled.unpack(data)


# -- invariants


def schedules_hold(reader: StateReader) -> str | None:
    """Check that every scheduled payment has its hold."""
    for scheduled_id in all_objects(reader, SCHEDULED):
        if get_scheduled(reader, scheduled_id) is None:
            return f"a list names the scheduled payment 0x{scheduled_id.hex()}, which is not there"
        data = reader.get(KERNEL, hold_key(scheduled_id))
        if data is None or Hold.unpack(data).module != TREE:
            return f"the scheduled payment 0x{scheduled_id.hex()} has no value set apart"
    return None


HANDLERS: Final = {SCHEDULE.name: _schedule, CANCEL.name: _cancel}
DUES: Final = {DUE_PAY: _on_due}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"scheduled": get_scheduled}
INVARIANTS: Final = (schedules_hold,)
RULES: Final[Mapping[str, Rule]] = {}
EVENTS: Final = {
    "payments.scheduled": ("asset", "amount", "scheduledId", "time", "reference", "travelHash"),
    "payments.scheduledEnded": ("asset", "amount", "scheduledId", "outcome"),
}
