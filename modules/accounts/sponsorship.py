"""Sponsorship: an account lets another one name it as payer of fees, up to limits.

What is left of a sponsorship is a kernel record, charged with each fee that it pays, whatever
became of the transaction (`ledger/kernel/witness.py`). This part grants and ends them, and keeps
in the tree `accounts`:
f‖sponsor → [1, how many it sponsors] · xf‖account‖sponsor → [1]

A sponsor pays fees and nothing else: it approves nothing, and what it says counts for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.kernel.entitlements import (
    SESSION_ACTIONS_MAX,
    SPONSORSHIPS_MAX,
    Sponsorship,
)
from clawpurse.ledger.kernel.records import SPONSOR_PREFIX, due_key
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    DueHandler,
    Field,
    FieldType,
    Handler,
    Query,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.ledger.rules import Rule, time_text
from clawpurse.ledger.transactions import ACTION_NAME_CHARS_MAX

TREE: Final = "accounts"
RECORD_VERSION: Final = 1
# As long as a session key lives at most; who sponsors for longer says so again.
SPONSORSHIP_MS_MAX: Final = 365 * DAY_MS
# The first item of this part's due work.
EXPIRY: Final = "sponsorship"
# Why a sponsorship ended, in its event.
ENDED, EXPIRED = "ended", "expired"
_COUNT_PREFIX: Final = b"f"
_SPONSORED_PREFIX: Final = b"xf"
_INDEX_ENTRY: Final = codec.pack([RECORD_VERSION])
# Sponsorships read at once by a full check.
_CHECK_SLICE: Final = 256


def count_key(sponsor: bytes) -> bytes:
    """Return the key, in the tree `accounts`, of how many accounts somebody sponsors."""
    return _COUNT_PREFIX + sponsor


def sponsored_key(account: bytes, sponsor: bytes) -> bytes:
    """Return the key that lists a sponsor under the account that it sponsors."""
    return _SPONSORED_PREFIX + account + sponsor


# -- actions


def _sponsor_words(fields: Mapping[str, Any], words: Words) -> str:
    amounts = [
        words.amount(NATIVE_ASSET, fields[name]) for name in ("perTransaction", "perDay", "total")
    ]
    what = f" for {', '.join(fields['actions'])}" if fields["actions"] else ""
    return (
        f"Pay the fees of {words.account(fields['account'])}{what} without being asked, until "
        f"{time_text(fields['expires'])}: up to {amounts[0]} for a transaction, {amounts[1]} a "
        f"day, {amounts[2]} altogether."
    )


def _end_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"No longer pay the fees of {words.account(fields['account'])} without being asked."


def _sponsor_cost(values: Sequence[Any]) -> int:
    return 4 * len(values[4])


SPONSOR: Final = ActionType(
    name="accounts.sponsor",
    fields=(
        Field("account", FieldType.ACCOUNT, "whose fees to pay; it names the sponsor as payer"),
        Field("perTransaction", FieldType.AMOUNT, "the highest fee, minor units", low=1),
        Field("perDay", FieldType.AMOUNT, "at most in one day (UTC), minor units", low=1),
        Field("total", FieldType.AMOUNT, "at most altogether, minor units", low=1),
        Field(
            "actions",
            FieldType.LIST,
            "names of the actions whose fees are paid; empty: any",
            SESSION_ACTIONS_MAX,
            items=(Field("action", FieldType.TEXT, "a name", ACTION_NAME_CHARS_MAX, size_min=1),),
        ),
        Field("expires", FieldType.TIME, "when it ends, at most 365 days ahead"),
    ),
    # Its record, a count, an index and due work.
    cost=300,
    words=_sponsor_words,
    cost_of=_sponsor_cost,
)
END: Final = ActionType(
    name="accounts.endSponsorship",
    fields=(Field("account", FieldType.ACCOUNT, "whose fees are no longer paid"),),
    cost=250,
    words=_end_words,
)


# -- handlers


def _sponsor(context: Context, values: Sequence[Any]) -> None:
    """Judge everything, then write the sponsorship, its index and what forgets it."""
    account, per_transaction, per_day, total, action_list, expires_ms = values
    sponsor = context.sender
    if account == sponsor:
        raise context.refuse("accounts.sponsorSelf", account)
    context.key_of(account)  # Fees of what is no account yet are a mistyped one's.
    if not per_transaction <= per_day <= total:
        raise context.refuse(
            "accounts.sponsorLimits", per_transaction, per_day, total, NATIVE_ASSET
        )
    if not context.time_ms < expires_ms <= context.time_ms + SPONSORSHIP_MS_MAX:
        raise context.refuse("accounts.sponsorExpiry", expires_ms, context.time_ms)
    actions = sorted(action_list)
    for name in actions:
        context.action_type(name)
    for one, other in pairwise(actions):
        if one == other:
            raise context.refuse("accounts.sponsorTwice", one)
    before = context.entitlements.sponsorship(sponsor, account)
    if before is not None:
        if before.expires_ms > context.time_ms:
            raise context.refuse("accounts.sponsorExists", sponsor, account, before.expires_ms)
        # It is over; the work that forgets it waits behind other due work.
        context.cancel_due(before.expires_ms, before.due)
        _forget(context, sponsor, account, before, EXPIRED)
    count = count_of(context.get, sponsor)
    if count >= SPONSORSHIPS_MAX:
        raise context.refuse("accounts.sponsorFull", sponsor, count)
    due = context.schedule(expires_ms, sponsor, [EXPIRY, sponsor, account])
    terms = Sponsorship(expires_ms, per_transaction, per_day, total, tuple(actions), 0, 0, due)
    context.entitlements.set_sponsorship(sponsor, account, terms)
    _put_count(context, sponsor, count + 1)
    context.put(sponsored_key(account, sponsor), _INDEX_ENTRY)
    context.emit(
        "accounts.sponsored", (sponsor, account), per_transaction, per_day, total, expires_ms
    )


def _end(context: Context, values: Sequence[Any]) -> None:
    account, sponsor = values[0], context.sender
    terms = context.entitlements.sponsorship(sponsor, account)
    if terms is None:
        raise context.refuse("accounts.sponsorMissing", sponsor, account)
    context.cancel_due(terms.expires_ms, terms.due)
    _forget(context, sponsor, account, terms, ENDED)


def _on_expiry(context: Context, payload: Sequence[Any]) -> None:
    """Forget a sponsorship whose time is over; who ends it early cancels this."""
    _, sponsor, account = payload
    terms = context.entitlements.sponsorship(sponsor, account)
    if terms is None:
        raise Bug("a sponsorship came due that is not there")
    _forget(context, sponsor, account, terms, EXPIRED)


def _forget(context: Context, sponsor: bytes, account: bytes, terms: Sponsorship, why: str) -> None:
    context.entitlements.set_sponsorship(sponsor, account, None)
    _put_count(context, sponsor, count_of(context.get, sponsor) - 1)
    context.delete(sponsored_key(account, sponsor))
    context.emit("accounts.sponsorshipEnded", (sponsor, account), terms.total, why)


# -- records


def count_of(get: Callable[[bytes], bytes | None], sponsor: bytes) -> int:
    """Return how many accounts somebody sponsors."""
    data = get(count_key(sponsor))
    if data is None:
        return 0
    wire = codec.unpack_own(data)
    if len(wire) != 2 or wire[0] != RECORD_VERSION:
        raise Bug("a count of sponsorships has another format than this software writes")
    return codec.integer(wire[1], "sponsorships.count")


def _put_count(context: Context, sponsor: bytes, count: int) -> None:
    if count:
        context.put(count_key(sponsor), codec.pack([RECORD_VERSION, count]))
    else:
        context.delete(count_key(sponsor))


# -- queries and invariants


def sponsors_of(reader: StateReader, account: bytes, limit: int, after: bytes = b"") -> list[bytes]:
    """Return up to `limit` sponsors of an account, ascending, above `after`."""
    prefix = _SPONSORED_PREFIX + account
    rows = reader.ordered(TREE, prefix, limit, prefix + after if after else b"")
    return [row[len(prefix) :] for row, _ in rows]


def sponsorships_hold(reader: StateReader) -> str | None:
    """Check that sponsorships, counts, indexes and due work say the same."""
    counted: dict[bytes, int] = {}
    for sponsor, account, terms in _all_sponsorships(reader):
        counted[sponsor] = counted.get(sponsor, 0) + 1
        if reader.get(TREE, sponsored_key(account, sponsor)) is None:
            return f"a sponsor of 0x{account.hex()} is not listed"
        if reader.get(KERNEL, due_key(terms.expires_ms, terms.due)) is None:
            return f"nothing will end a sponsorship of 0x{account.hex()}"
    for sponsor, count in counted.items():
        if count_of(lambda key: reader.get(TREE, key), sponsor) != count:
            return f"the number of accounts that 0x{sponsor.hex()} sponsors is wrong"
    listed, after = 0, b""
    while rows := reader.ordered(TREE, _SPONSORED_PREFIX, _CHECK_SLICE, after):
        listed, after = listed + len(rows), rows[-1][0]
    if listed != sum(counted.values()):
        return "a sponsor is listed and is none"
    return None


def _all_sponsorships(reader: StateReader) -> Iterator[tuple[bytes, bytes, Sponsorship]]:
    after = b""
    while rows := reader.ordered(KERNEL, SPONSOR_PREFIX, _CHECK_SLICE, after):
        for place, data in rows:
            yield place[1:33], place[33:], Sponsorship.unpack(data)
        after = rows[-1][0]


ACTIONS: Final = (SPONSOR, END)
HANDLERS: Final[Mapping[str, Handler]] = {SPONSOR.name: _sponsor, END.name: _end}
DUE: Final[Mapping[str, DueHandler]] = {EXPIRY: _on_expiry}
QUERIES: Final[Mapping[str, Query]] = {"sponsorsOf": sponsors_of}
INVARIANTS: Final = (sponsorships_hold,)
RULES: Final = {
    "accounts.sponsorSelf": Rule(Code.MALFORMED, "{0:account} pays its own fees anyway."),
    "accounts.sponsorLimits": Rule(
        Code.MALFORMED,
        "Of {0:amount} {3:asset} a transaction, {1:amount} {3:asset} a day and {2:amount} {3:asset}"
        " altogether none may be above the next.",
    ),
    "accounts.sponsorExpiry": Rule(
        Code.MALFORMED,
        "A sponsorship ends after {1:time}, the block's time, and within 365 days of it; not at"
        " {0:time}.",
    ),
    "accounts.sponsorTwice": Rule(Code.DUPLICATE, "Listed twice: {0:text}."),
    "accounts.sponsorExists": Rule(
        Code.DUPLICATE, "{0:account} sponsors {1:account} until {2:time}; end that first."
    ),
    "accounts.sponsorFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} sponsors {1:number} accounts, the most allowed."
    ),
    "accounts.sponsorMissing": Rule(Code.NOT_FOUND, "{0:account} does not sponsor {1:account}."),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.sponsored": ("perTransaction", "perDay", "total", "expires"),
    "accounts.sponsorshipEnded": ("left", "why"),
}
