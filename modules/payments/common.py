"""Fields, rules and checks that several parts of `payments` use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Code, Malformed, Refused
from clawpurse.ledger.kernel.records import Hold
from clawpurse.ledger.module_api import (
    Context,
    Field,
    FieldType,
    HoldEnd,
    Words,
    read_field,
)
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule, time_text
from clawpurse.modules.payments.records import REFERENCE_BYTES_MAX, TREE

# A year, a leap year's too: what is promised for later than that belongs into a contract.
YEAR_MS: Final = 366 * DAY_MS
# How what was promised ended, in events: paid, given back to its payer, left to officers because
# a rule refused the payout when it came due, or taken by a clawback.
OUTCOMES: Final = ("paid", "returned", "suspended", "seized")

ASSET_FIELD: Final = Field("asset", FieldType.ASSET, "what to pay with")
RECIPIENT_FIELD: Final = Field("recipient", FieldType.ACCOUNT, "whom to pay; opened if it is new")
AMOUNT_FIELD: Final = Field("amount", FieldType.AMOUNT, "minor units, at least 1", low=1)
REFERENCE_FIELD: Final = Field(
    "reference",
    FieldType.BYTES,
    "what the payee's books call it; public for ever, may be empty",
    REFERENCE_BYTES_MAX,
)
TRAVEL_FIELD: Final = Field(
    "travelHash",
    FieldType.HASH,
    "hash of what the payer's institution told the payee's; nil: nothing",
    optional=True,
)
REASON_FIELD: Final = Field(
    "reason", FieldType.NAME, "why: a code of 1–32 of a–z, 0–9, dot, hyphen"
)


def flag_field(name: str, meaning: str) -> Field:
    """Return a field that is 1 for yes, 0 for no."""
    return Field(name, FieldType.INTEGER, meaning, high=1)


def read_fields(fields: Sequence[Field], wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    """Return parsed fields in wire order, for actions that check more than each by itself."""
    if len(wire) != len(fields):
        raise Malformed(where, f"has {len(wire)} fields, {len(fields)} are required")
    return tuple([read_field(field, one, where) for field, one in zip(fields, wire, strict=True)])


def require_ascending(accounts: Sequence[bytes], where: str) -> None:
    """Refuse a list of accounts that is out of order or names one twice. Raises `Malformed`."""
    for before, after in pairwise(accounts):
        if before >= after:
            raise Malformed(where, "is not ascending, or names an account twice")


def paid_words(fields: Mapping[str, Any], words: Words) -> str:
    """Return `12.50 EUR to bob` for fields with asset, amount and recipient."""
    amount = words.amount(fields["asset"], fields["amount"])
    return f"{amount} to {words.account(fields['recipient'])}"


def reference_words(fields: Mapping[str, Any]) -> str:
    """Return a sentence that shows the reference: as text if it is printable ASCII, else hex."""
    reference: bytes = fields["reference"]
    if not reference:
        return ""
    plain = all(0x20 <= byte < 0x7F for byte in reference)
    shown = f'"{reference.decode("ascii")}"' if plain else f"0x{reference.hex()}"
    return f" Reference {shown}."


def when_words(time_ms: int) -> str:
    """Return a block time as people read it."""
    return time_text(time_ms)


def require_other(context: Context, source: bytes, target: bytes) -> None:
    """Refuse a promise to oneself: nobody could be paid by it, or give it back."""
    if source == target:
        raise context.refuse("payments.self", source)


def require_span(context: Context, time_ms: int, span_ms: int = YEAR_MS) -> None:
    """Refuse a time that is over, or further away than `span_ms`."""
    last = context.time_ms + span_ms
    if not context.time_ms < time_ms <= last:
        raise context.refuse("payments.span", time_ms, context.time_ms, last)


def end_promise(
    context: Context, hold_id: bytes, *, pay: bool, forget: Callable[[str], None]
) -> None:
    """End what a record of ours stands for, in due work, where nobody is there to be told.

    `forget` removes the record, saying how it ended (`OUTCOMES`). All of it is paid, or given
    back; a payout that is refused becomes a hold that officers decide on.
    """
    amount = hold_of(context, hold_id).amount
    if not pay:
        forget("returned")
        context.give_back(hold_id, amount)
        return

    def deed() -> None:
        forget("paid")
        context.pay_apart(hold_id, amount)

    refusal = context.attempt(deed)
    if refusal is not None:
        forget("suspended")
        context.suspend(hold_id, refusal)


def seized_entirely(context: Context, end: HoldEnd, key: bytes) -> bytes | None:
    """Return the record under `key` if a clawback has just taken all that it stood for.

    Who ends a promise removes its record first; so a record that is still there when its hold
    ends was ended by nobody here.
    """
    if end.hold.module != TREE or end.paid or end.amount < end.hold.amount:
        return None
    return context.get(key)


def hold_of(context: Context, hold_id: bytes) -> Hold:
    """Return the hold that a record of ours stands for. Raises `Bug` if it is gone."""
    hold = context.hold(hold_id)
    if hold is None:
        raise Bug(f"a record of payments stands for 0x{hold_id.hex()}, which is no hold")
    return hold


def votes_key(hold_id: bytes) -> bytes:
    """Return the key of the votes on a hold."""
    return b"v" + hold_id


def forget_votes(context: Context, hold_id: bytes) -> None:
    """Remove the votes on a hold."""
    if context.get(votes_key(hold_id)) is not None:
        context.delete(votes_key(hold_id))


def refused_missing(context: Context, object_id: bytes) -> Refused:
    """Return the refusal of what is not there, or no longer."""
    return context.refuse("payments.missing", object_id)


RULES: Final = {
    "payments.missing": Rule(Code.NOT_FOUND, "There is no {0:hash} here, or it is over."),
    "payments.self": Rule(Code.MALFORMED, "{0:account} would promise something to itself."),
    "payments.span": Rule(
        Code.MALFORMED, "That time, {0:time}, must be after {1:time} and not after {2:time}."
    ),
    "payments.party": Rule(
        Code.NOT_AUTHORISED, "{0:account} has no part in {1:hash} that lets it do this."
    ),
    "payments.early": Rule(Code.POLICY_REJECTED, "Not before {0:time}; block time is {1:time}."),
    "payments.late": Rule(Code.EXPIRED, "It ended at {0:time}; block time is {1:time}."),
}
