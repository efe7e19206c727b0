"""Session keys: an agent signs alone for an account, within limits that consensus enforces.

What a session key may do is a kernel record, judged wherever a signature counts and wherever
value leaves the account (`ledger/kernel/witness.py`). This part grants and ends them, and keeps
in the tree `accounts`:
s‖account → [1, how many sessions, their lanes as bits] · xk‖key‖account → [1]

A session key cannot grant, change or end sessions: none of these actions is open to one, but
giving itself up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.kernel.entitlements import (
    SESSION_ACTIONS_MAX,
    SESSION_ASSETS_MAX,
    SESSION_MEMO_BYTES_MAX,
    SESSION_RECIPIENTS_MAX,
    SESSIONS_MAX,
    Cap,
    Session,
)
from clawpurse.ledger.kernel.records import SESSION_PREFIX, due_key
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
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule, time_text
from clawpurse.ledger.transactions import ACTION_NAME_CHARS_MAX, LANE_COUNT, Body

TREE: Final = "accounts"
RECORD_VERSION: Final = 1
# Whoever forgets a key is safe again after a year; a year is not a leap year's.
SESSION_MS_MAX: Final = 365 * DAY_MS
# What an owner calls it; public for ever, so no names of people.
LABEL_CHARS_MAX: Final = 32
# The first item of this part's due work.
EXPIRY: Final = "session"
# Why a session ended, in its event.
REVOKED, RESIGNED, EXPIRED = "revoked", "resigned", "expired"
_SUMMARY_PREFIX: Final = b"s"
_KEY_INDEX_PREFIX: Final = b"xk"
_INDEX_ENTRY: Final = codec.pack([RECORD_VERSION])
# Sessions read at once by a full check.
_CHECK_SLICE: Final = 256


class Summary(NamedTuple):
    """How many sessions an account has, and which lanes they own, a bit each."""

    sessions: int
    lanes: int


def summary_key(account: bytes) -> bytes:
    """Return the key, in the tree `accounts`, of an account's summary of sessions."""
    return _SUMMARY_PREFIX + account


def key_index_key(key: bytes, account: bytes) -> bytes:
    """Return the key that lists an account under a key that is a session of it."""
    return _KEY_INDEX_PREFIX + key + account


def lanes_of(mask: int) -> list[int]:
    """Return the lanes whose bits are set, ascending."""
    return [lane for lane in range(LANE_COUNT) if mask >> lane & 1]


# -- actions


def _grant_words(fields: Mapping[str, Any], words: Words) -> str:
    label = f" ({fields['label']})" if fields["label"] else ""
    lanes = ", ".join(str(lane) for lane in fields["lanes"])
    parts = [
        f"Until {time_text(fields['expires'])} let the key 0x{fields['key'].hex()}{label} sign "
        f"for this account, in lane {lanes}, without asking: {', '.join(fields['actions'])}."
    ]
    for asset, per_transaction, per_day in fields["caps"]:
        parts.append(
            f"It may take {words.amount(asset, per_transaction)} at once and "
            f"{words.amount(asset, per_day)} a day, fees included."
        )
    if not fields["caps"]:
        parts.append("It may take nothing, and pay no fee.")
    if fields["recipients"]:
        names = ", ".join(words.account(one) for one in fields["recipients"])
        parts.append(f"It may pay only {names}.")
    else:
        parts.append("It may pay anybody.")
    if fields["memo"]:
        parts.append(f"Its memos begin with {_memo_words(fields['memo'])}.")
    elif fields["memoRequired"]:
        parts.append("It must write a memo.")
    return " ".join(parts)


def _memo_words(memo: bytes) -> str:
    """Show how a memo begins: text if that is plain, so that no terminal is redrawn by it."""
    plain = all(0x20 <= byte < 0x7F for byte in memo)
    return f"“{memo.decode('ascii')}”" if plain else "0x" + memo.hex()


def _revoke_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"From now on the session key 0x{fields['key'].hex()} may do nothing for this account."


def _resign_words(fields: Mapping[str, Any], words: Words) -> str:
    account = words.account(fields["account"])
    return f"Give up the session key 0x{fields['key'].hex()} of {account}; it signs for that."


def _session_key_approves(values: Sequence[Any], body: Body) -> tuple[tuple[bytes, bytes], ...]:
    """The session key signs too, so that nobody grants anything to a key that nobody has."""
    return ((body.sender, values[0]),)


def _leaving_key_approves(values: Sequence[Any], body: Body) -> tuple[tuple[bytes, bytes], ...]:
    """The session key itself wants to go, whoever sends that and pays for it."""
    return ((values[0], values[1]),)


def _grant_cost(values: Sequence[Any]) -> int:
    """Each name, cap and recipient is looked up, sorted and written."""
    _, _, _, _, actions, caps, recipients, _, _ = values
    return 4 * (len(actions) + len(recipients)) + 20 * len(caps)


_KEY: Final = Field("key", FieldType.KEY, "the session key")
GRANT: Final = ActionType(
    name="accounts.grantSession",
    fields=(
        Field("key", FieldType.KEY, "the Ed25519 key that may sign; it signs this as approver"),
        Field("label", FieldType.TEXT, "what to call it; public for ever", LABEL_CHARS_MAX),
        Field("expires", FieldType.TIME, "when it ends, at most 365 days ahead"),
        Field(
            "lanes",
            FieldType.LIST,
            "1–63, lanes that it alone of all session keys may use",
            LANE_COUNT - 1,
            size_min=1,
            items=(Field("lane", FieldType.INTEGER, "1–63", low=1, high=LANE_COUNT - 1),),
        ),
        Field(
            "actions",
            FieldType.LIST,
            "names of the actions that it may perform",
            SESSION_ACTIONS_MAX,
            size_min=1,
            items=(Field("action", FieldType.TEXT, "a name", ACTION_NAME_CHARS_MAX, size_min=1),),
        ),
        Field(
            "caps",
            FieldType.LIST,
            "what it may take of each asset, minor units, fees and deposits included",
            SESSION_ASSETS_MAX,
            items=(
                Field("asset", FieldType.ASSET, "which asset"),
                Field("perTransaction", FieldType.AMOUNT, "in one transaction, at least 1", low=1),
                Field("perDay", FieldType.AMOUNT, "in one day (UTC), at least 1", low=1),
            ),
        ),
        Field(
            "recipients",
            FieldType.LIST,
            "whom alone it may pay; empty: anybody",
            SESSION_RECIPIENTS_MAX,
            items=(Field("account", FieldType.ACCOUNT, "an account"),),
        ),
        Field("memo", FieldType.BYTES, "how its memos must begin", SESSION_MEMO_BYTES_MAX),
        Field("memoRequired", FieldType.INTEGER, "1 if it must write a memo, else 0", high=1),
    ),
    # Its record, summary, index and due work; the keys of up to 32 signers are looked at.
    cost=600,
    words=_grant_words,
    approvers=_session_key_approves,
    cost_of=_grant_cost,
)
REVOKE: Final = ActionType(
    name="accounts.revokeSession", fields=(_KEY,), cost=250, words=_revoke_words
)
RESIGN: Final = ActionType(
    name="accounts.resignSession",
    fields=(
        Field("account", FieldType.ACCOUNT, "whose session it is"),
        Field("key", FieldType.KEY, "the session key; it signs this as approver for the account"),
    ),
    cost=250,
    words=_resign_words,
    approvers=_leaving_key_approves,
    # It takes nothing, and only the key that signs it.
    session=True,
)


# -- handlers


def _grant(context: Context, values: Sequence[Any]) -> None:
    """Judge everything, then write the session, its index and what forgets it."""
    key, label, expires_ms, lane_list, action_list, cap_list, recipient_list, memo, required = (
        values
    )
    account, entitlements = context.sender, context.entitlements
    _check_key(context, account, key)
    if not context.time_ms < expires_ms <= context.time_ms + SESSION_MS_MAX:
        raise context.refuse("accounts.sessionExpiry", expires_ms, context.time_ms)
    lanes = _ascending(context, lane_list)
    actions = _ascending(context, action_list)
    for name in actions:
        if not context.action_type(name).session:
            raise context.refuse("accounts.sessionAction", name)
    caps = _caps(context, cap_list)
    recipients = _ascending(context, recipient_list)
    standing = summary_of(context.get, account)
    if standing.sessions >= SESSIONS_MAX:
        raise context.refuse("accounts.sessionsFull", account, standing.sessions)
    mask = sum(1 << lane for lane in lanes)
    if taken := standing.lanes & mask:
        raise context.refuse("accounts.sessionLane", account, lanes_of(taken)[0])
    due = context.schedule(expires_ms, account, [EXPIRY, account, key])
    session = Session(
        expires_ms, mask, actions, caps, recipients, memo, int(required or memo != b""), label, due
    )
    entitlements.set_session(account, key, session)
    _put_summary(context, account, Summary(standing.sessions + 1, standing.lanes | mask))
    context.put(key_index_key(key, account), _INDEX_ENTRY)
    context.emit("accounts.sessionGranted", _histories(account, key), key, label, expires_ms, mask)


def _check_key(context: Context, account: bytes, key: bytes) -> None:
    """Refuse a key that may do more already, or that is a session of this account."""
    if context.key_of(account) == key:
        raise context.refuse("accounts.sessionOwnKey", account)
    signers = context.entitlements.signers(account)
    for member, _ in () if signers is None else signers.members:
        if context.key_of(member) == key:
            raise context.refuse("accounts.sessionMember", member, account)
    before = context.entitlements.session(account, key)
    if before is None:
        return
    if before.expires_ms > context.time_ms:
        raise context.refuse("accounts.sessionExists", account, before.expires_ms)
    # It is over; the work that forgets it waits behind other due work.
    context.cancel_due(before.expires_ms, before.due)
    _end(context, account, key, before, EXPIRED)


def _caps(context: Context, cap_list: Sequence[Any]) -> tuple[Cap, ...]:
    """Return the caps by asset. Raises `Refused` for what makes no sense."""
    caps = tuple([Cap(*cap) for cap in sorted(cap_list)])
    _ascending(context, [cap.asset for cap in caps])
    for cap in caps:
        if context.query("assets.get", cap.asset) is None:
            raise context.refuse("kernel.asset", cap.asset)
        if cap.per_day < cap.per_transaction:
            raise context.refuse("accounts.sessionCap", cap.per_transaction, cap.per_day, cap.asset)
    return caps


def _ascending(context: Context, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return values in order. Raises `Refused` for one that is there twice."""
    ordered = sorted(values)
    for one, other in pairwise(ordered):
        if one == other:
            raise context.refuse("accounts.sessionTwice", one)
    return tuple(ordered)


def _revoke(context: Context, values: Sequence[Any]) -> None:
    _end_early(context, context.sender, values[0], REVOKED)


def _resign(context: Context, values: Sequence[Any]) -> None:
    # That the key signed as approver was checked before (`_leaving_key_approves`).
    account, key = values
    _end_early(context, account, key, RESIGNED)


def _end_early(context: Context, account: bytes, key: bytes, why: str) -> None:
    session = context.entitlements.session(account, key)
    if session is None:
        raise context.refuse("accounts.sessionMissing", account, key)
    context.cancel_due(session.expires_ms, session.due)
    _end(context, account, key, session, why)


def _on_expiry(context: Context, payload: Sequence[Any]) -> None:
    """Forget a session whose time is over; who ends it early cancels this."""
    _, account, key = payload
    session = context.entitlements.session(account, key)
    if session is None:
        raise Bug("a session came due that is not there")
    _end(context, account, key, session, EXPIRED)


def _end(context: Context, account: bytes, key: bytes, session: Session, why: str) -> None:
    """Forget a session and free its lanes."""
    context.entitlements.set_session(account, key, None)
    standing = summary_of(context.get, account)
    left = Summary(standing.sessions - 1, standing.lanes & ~session.lanes)
    _put_summary(context, account, left)
    context.delete(key_index_key(key, account))
    context.emit("accounts.sessionEnded", _histories(account, key), key, why)


def _histories(account: bytes, key: bytes) -> tuple[bytes, ...]:
    """In whose history it stands: the account's, and what the key's own account would be."""
    return (account, key) if account != key else (account,)


# -- records


def summary_of(get: Callable[[bytes], bytes | None], account: bytes) -> Summary:
    """Return how many sessions an account has and which lanes are theirs."""
    data = get(summary_key(account))
    if data is None:
        return Summary(0, 0)
    _, sessions, lanes = _unpack(data, 3)
    return Summary(sessions, lanes)


def _put_summary(context: Context, account: bytes, summary: Summary) -> None:
    if summary.sessions:
        context.put(summary_key(account), codec.pack([RECORD_VERSION, *summary]))
    else:
        context.delete(summary_key(account))


def _unpack(data: bytes, length: int) -> list[Any]:
    wire: list[Wire] = codec.unpack_own(data)
    if len(wire) != length or wire[0] != RECORD_VERSION:
        raise Bug("a record of sessions has another format than this software writes")
    return wire


# -- queries and invariants


def accounts_of_key(reader: StateReader, key: bytes, limit: int, after: bytes = b"") -> list[bytes]:
    """Return up to `limit` accounts of which a key is a session key, ascending, above `after`."""
    prefix = _KEY_INDEX_PREFIX + key
    rows = reader.ordered(TREE, prefix, limit, prefix + after if after else b"")
    return [row[len(prefix) :] for row, _ in rows]


def sessions_hold(reader: StateReader) -> str | None:
    """Check that sessions, summaries, indexes and due work say the same."""
    counted: dict[bytes, Summary] = {}
    for account, key, session in _all_sessions(reader):
        before = counted.get(account, Summary(0, 0))
        if before.lanes & session.lanes or not session.lanes or session.lanes & 1:
            return f"sessions of 0x{account.hex()} share a lane, or have none"
        counted[account] = Summary(before.sessions + 1, before.lanes | session.lanes)
        if reader.get(TREE, key_index_key(key, account)) is None:
            return f"a session of 0x{account.hex()} is not listed under its key"
        if reader.get(KERNEL, due_key(session.expires_ms, session.due)) is None:
            return f"nothing will end a session of 0x{account.hex()}"
    for account, summary in counted.items():
        if summary_of(lambda key: reader.get(TREE, key), account) != summary:
            return f"the summary of the sessions of 0x{account.hex()} is wrong"
    listed, after = 0, b""
    while rows := reader.ordered(TREE, _KEY_INDEX_PREFIX, _CHECK_SLICE, after):
        listed, after = listed + len(rows), rows[-1][0]
    if listed != sum(summary.sessions for summary in counted.values()):
        return "a session is listed under its key and is not there"
    return None


def _all_sessions(reader: StateReader) -> Iterator[tuple[bytes, bytes, Session]]:
    after = b""
    while rows := reader.ordered(KERNEL, SESSION_PREFIX, _CHECK_SLICE, after):
        for place, data in rows:
            yield place[1:33], place[33:], Session.unpack(data)
        after = rows[-1][0]


ACTIONS: Final = (GRANT, REVOKE, RESIGN)
HANDLERS: Final[Mapping[str, Handler]] = {
    GRANT.name: _grant,
    REVOKE.name: _revoke,
    RESIGN.name: _resign,
}
DUE: Final[Mapping[str, DueHandler]] = {EXPIRY: _on_expiry}
QUERIES: Final[Mapping[str, Query]] = {"accountsOfKey": accounts_of_key}
INVARIANTS: Final = (sessions_hold,)
RULES: Final = {
    "accounts.sessionOwnKey": Rule(
        Code.MALFORMED, "That key signs for {0:account} already, without limits."
    ),
    "accounts.sessionMember": Rule(
        Code.MALFORMED, "That is the key of {0:account}, who is one of the signers of {1:account}."
    ),
    "accounts.sessionExists": Rule(
        Code.DUPLICATE, "That key is a session key of {0:account} until {1:time}; revoke it first."
    ),
    "accounts.sessionMissing": Rule(Code.NOT_FOUND, "{0:account} has no session key {1:hash}."),
    "accounts.sessionsFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} session keys, the most allowed."
    ),
    "accounts.sessionLane": Rule(
        Code.DUPLICATE, "Lane {1:number} of {0:account} belongs to another session key."
    ),
    "accounts.sessionExpiry": Rule(
        Code.MALFORMED,
        "A session ends after {1:time}, the block's time, and within 365 days of it; not at"
        " {0:time}.",
    ),
    "accounts.sessionAction": Rule(Code.NOT_AUTHORISED, "No session key may be allowed {0:text}."),
    "accounts.sessionCap": Rule(
        Code.MALFORMED,
        "A cap of {1:amount} {2:asset} a day is below {0:amount} {2:asset} in one transaction.",
    ),
    "accounts.sessionTwice": Rule(Code.DUPLICATE, "Listed twice: {0:text}."),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.sessionGranted": ("key", "label", "expires", "lanes"),
    "accounts.sessionEnded": ("key", "why"),
}
