"""Placed holds: a payer sets value apart for a payee, who takes up to that much of it.

Tree `payments`: h‖id → a placed hold; its id is that of the kernel's hold, which says who sets
how much apart for whom.

The payee may capture what it was allowed, or give it up; releasers whom the payer named decide
by votes (`votes`); what is left at its time is paid or given back, as its payer said. The payer
cannot take it back: that is what a hold is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    end_promise,
    flag_field,
    forget_votes,
    hold_of,
    paid_words,
    read_fields,
    reference_words,
    refused_missing,
    require_ascending,
    require_other,
    require_span,
    seized_entirely,
    when_words,
)
from clawpurse.modules.payments.records import (
    PLACED_HOLD,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# Those who may release one hold: a desk, not a crowd. Each may be looked up at each vote.
RELEASERS_MAX: Final = 8
RULE: Final = "payments.hold"
DUE_EXPIRE: Final = "hold"


class PlacedHold(NamedTuple):
    """What a placed hold's kernel record does not say. Times are ms of block time.

    `capture` is 1 if the payee may take of it; `needed` of `releasers` decide, 0 if there are
    none; `due` is the due work that ends it.
    """

    reason: str
    expires_ms: int
    release_at_expiry: int
    capture: int
    releasers: tuple[bytes, ...]
    needed: int
    reference: bytes
    travel_hash: bytes | None
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> PlacedHold:
        """Read a record that we wrote."""
        made = cls(*unpack(data, len(cls._fields)))
        return made._replace(releasers=tuple(made.releasers))


def placed_key(hold_id: bytes) -> bytes:
    """Return the key of a placed hold."""
    return PLACED_HOLD + hold_id


# -- actions


_PLACE_FIELDS: Final = (
    ASSET_FIELD,
    RECIPIENT_FIELD,
    AMOUNT_FIELD,
    REASON_FIELD,
    Field("expires", FieldType.TIME, "block time at which it ends, within a year"),
    flag_field("releaseAtExpiry", "1: what is left is paid then; 0: given back"),
    flag_field("capture", "1: the payee may take of it by itself"),
    Field(
        "releasers",
        FieldType.LIST,
        "who may release or return it, ascending; may be empty",
        RELEASERS_MAX,
        items=(Field("account", FieldType.ACCOUNT, "a releaser"),),
    ),
    Field(
        "needed",
        FieldType.INTEGER,
        "how many of the releasers decide; 0 if there are none",
        high=RELEASERS_MAX,
    ),
    REFERENCE_FIELD,
    TRAVEL_FIELD,
)


def _read_place(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    """Read the fields, and refuse a hold that could never be paid or decided."""
    values = read_fields(_PLACE_FIELDS, wire, where)
    at_expiry, capture, releasers, needed = values[5:9]
    require_ascending(releasers, f"{where}.releasers")
    if not (1 <= needed <= len(releasers) if releasers else needed == 0):
        raise Malformed(f"{where}.needed", f"is {needed} of {len(releasers)} releasers")
    if not (at_expiry or capture or releasers):
        raise Malformed(where, "has neither releaseAtExpiry nor capture nor releasers")
    return values


def _place_words(fields: Mapping[str, Any], words: Words) -> str:
    parts = [f"Hold {paid_words(fields, words)}; reason {fields['reason']}."]
    if fields["capture"]:
        parts.append("The payee may take of it.")
    if fields["releasers"]:
        names = ", ".join([words.account(account) for account in fields["releasers"]])
        parts.append(f"{fields['needed']} of {names} decide.")
    outcome = "is paid" if fields["releaseAtExpiry"] else "comes back"
    parts.append(f"At {when_words(fields['expires'])} what is left {outcome}.")
    return " ".join(parts) + reference_words(fields)


def _capture_words(fields: Mapping[str, Any], _words: Words) -> str:
    hold, amount = fields["hold"].hex(), fields["amount"]
    if not amount:
        return f"Give up what is held under 0x{hold}."
    rest = " and give the rest back" if fields["giveBack"] else ""
    return f"Take {amount} minor units of what is held under 0x{hold}{rest}."


PLACE: Final = ActionType(
    name="payments.placeHold",
    fields=_PLACE_FIELDS,
    # As an escrow; each releaser is looked up, listed, and taken from the list at the end.
    cost=450,
    words=_place_words,
    parse=_read_place,
    cost_of=lambda values: 60 * len(values[7]),
    session=True,
)
CAPTURE: Final = ActionType(
    name="payments.captureHold",
    fields=(
        Field("hold", FieldType.HASH, "id of the hold"),
        Field("amount", FieldType.AMOUNT, "minor units; 0 with giveBack: give all of it up"),
        flag_field("giveBack", "1: what is left goes back to the payer"),
    ),
    cost=500,
    words=_capture_words,
    # It takes nothing from anybody but what was promised to the account itself.
    session=True,
)
ACTIONS: Final = (PLACE, CAPTURE)


# -- handlers


def _place(context: Context, values: Sequence[Any]) -> None:
    asset, payee, amount, reason, expires_ms, at_expiry = values[:6]
    capture, releasers, needed, reference, travel_hash = values[6:]
    payer = context.sender
    require_other(context, payer, payee)
    require_span(context, expires_ms)
    _require_people(context, releasers, needed, (payer, payee))
    hold_id = context.set_apart(asset, payer, payee, amount, rule=RULE, travel_hash=travel_hash)
    due = context.schedule(expires_ms, payer, [DUE_EXPIRE, hold_id])
    placed = PlacedHold(
        reason, expires_ms, at_expiry, capture, releasers, needed, reference, travel_hash, due
    )
    context.put(placed_key(hold_id), placed.pack())
    parties = (payer, payee, *releasers)
    enlist(context, PLACED_HOLD, hold_id, *parties)
    data = (asset, amount, hold_id, reason, expires_ms, at_expiry, capture, needed, reference)
    context.emit("payments.holdPlaced", parties, *data)


def _require_people(
    context: Context, releasers: Sequence[bytes], needed: int, parties: Sequence[bytes]
) -> None:
    """Refuse releasers who could never decide: parties, no accounts, too few people."""
    party_people = [context.subject_of(party) for party in parties]
    people: list[bytes] = []
    for releaser in releasers:
        context.key_of(releaser)
        person = context.subject_of(releaser)
        if person in party_people:
            raise context.refuse("payments.releaserParty", releaser)
        if person not in people:
            people.append(person)
    if len(people) < needed:
        raise context.refuse("payments.releasersFew", len(people), needed)


def _capture(context: Context, values: Sequence[Any]) -> None:
    hold_id, amount, give_back = values
    placed = placed_hold_of(context.get, hold_id)
    if placed is None:
        raise refused_missing(context, hold_id)
    hold = hold_of(context, hold_id)
    if context.sender != hold.target or (amount and not placed.capture):
        raise context.refuse("payments.party", context.sender, hold_id)
    if not (amount or give_back):
        raise context.refuse("kernel.amount")
    if amount and context.time_ms >= placed.expires_ms:
        raise context.refuse("payments.late", placed.expires_ms, context.time_ms)
    if amount > hold.amount:
        raise context.refuse("kernel.holdLess", hold_id, hold.amount, amount, hold.asset)
    left = hold.amount - amount
    over = give_back or not left
    if over:
        context.cancel_due(placed.expires_ms, placed.due)
        _forget(context, hold_id, placed, hold, "returned" if left else "paid")
    if amount:
        parties = (hold.source, hold.target)
        context.emit("payments.holdCaptured", parties, hold.asset, amount, hold_id, left)
        context.pay_apart(hold_id, amount)
    if left and over:
        context.give_back(hold_id, left)


def end_placed(
    context: Context, hold_id: bytes, placed: PlacedHold, hold: Hold, *, pay: bool
) -> None:
    """End a placed hold as its releasers decided. Raises `Refused` if a payout is refused."""
    context.cancel_due(placed.expires_ms, placed.due)
    _forget(context, hold_id, placed, hold, "paid" if pay else "returned")
    if pay:
        context.pay_apart(hold_id, hold.amount)
    else:
        context.give_back(hold_id, hold.amount)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """End a placed hold at its time, as its payer said."""
    hold_id = payload[0]
    placed = placed_hold_of(context.get, hold_id)
    if placed is None:
        raise refused_missing(context, hold_id)
    forget = partial(_forget, context, hold_id, placed, hold_of(context, hold_id))
    end_promise(context, hold_id, pay=bool(placed.release_at_expiry), forget=forget)


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    data = seized_entirely(context, end, placed_key(end.hold_id))
    if data is not None:
        placed = PlacedHold.unpack(data)
        context.cancel_due(placed.expires_ms, placed.due)
        _forget(context, end.hold_id, placed, end.hold, "seized")


def placed_hold_of(get: Callable[[bytes], bytes | None], hold_id: bytes) -> PlacedHold | None:
    """Return a placed hold, None if there is none of that id any more."""
    data = get(placed_key(hold_id))
    return None if data is None else PlacedHold.unpack(data)


def _forget(context: Context, hold_id: bytes, placed: PlacedHold, hold: Hold, outcome: str) -> None:
    parties = (hold.source, hold.target, *placed.releasers)
    context.delete(placed_key(hold_id))
    # Left to officers it goes on under this id, and its releasers' votes are not theirs.
    forget_votes(context, hold_id)
    strike(context, PLACED_HOLD, hold_id, *parties)
    context.emit("payments.holdEnded", parties, hold.asset, hold.amount, hold_id, outcome)


# -- queries


def get_placed(reader: StateReader, hold_id: bytes) -> PlacedHold | None:
    """Return a placed hold that is not over; parties and amount are in the hold of its id."""
    return placed_hold_of(lambda key: reader.get(TREE, key), hold_id)


# -- invariants


def placed_hold(reader: StateReader) -> str | None:
    """Check that every placed hold has its value set apart."""
    for hold_id in all_objects(reader, PLACED_HOLD):
        if get_placed(reader, hold_id) is None:
            return f"a list names the hold 0x{hold_id.hex()}, which is not there"
        data = reader.get(KERNEL, hold_key(hold_id))
        if data is None or Hold.unpack(data).module != TREE:
            return f"the placed hold 0x{hold_id.hex()} has no value set apart"
    return None


HANDLERS: Final = {PLACE.name: _place, CAPTURE.name: _capture}
DUES: Final = {DUE_EXPIRE: _on_due}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"hold": get_placed}
INVARIANTS: Final = (placed_hold,)
RULES: Final = {
    "payments.releaserParty": Rule(
        Code.NOT_AUTHORISED, "{0:account} cannot release: it is a party, or one person with one."
    ),
    "payments.releasersFew": Rule(
        Code.POLICY_REJECTED, "The releasers are {0:number} people, {1:number} have to agree."
    ),
}
EVENTS: Final = {
    "payments.holdPlaced": (
        "asset",
        "amount",
        "holdId",
        "reason",
        "expires",
        "releaseAtExpiry",
        "capture",
        "needed",
        "reference",
    ),
    "payments.holdCaptured": ("asset", "amount", "holdId", "left"),
    "payments.holdEnded": ("asset", "amount", "holdId", "outcome"),
}
