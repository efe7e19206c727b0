"""What authorities can decide: each kind of change, its contents in words, and carrying it out.

A change is its kind and the arguments of the action that votes for it, in their order; two votes
with equal contents and expiry are for one proposal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.agreement.authorities import AUTHORITIES_MAX, AuthoritySet
from clawpurse.ledger.amendments import (
    AMENDMENTS_KEY,
    AMENDMENTS_MAX,
    Amendment,
    pack_amendments,
    read_amendments,
)
from clawpurse.ledger.blocks import BLOCK_BYTES_MAX
from clawpurse.ledger.codec import U64_MAX, Wire
from clawpurse.ledger.crypto import proposal_hash_of
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.records import module_account
from clawpurse.ledger.module_api import Context
from clawpurse.ledger.params import DAY_MS, Params
from clawpurse.ledger.transactions import TX_BYTES_MAX

OWN_ACCOUNT: Final = module_account("governance")
# Blocks between the vote that adopts an amendment and its height: enough for every node to hear
# of it while the network moves; people choose days.
AMENDMENT_BLOCKS_MIN: Final = 10
# "name=number" of every parameter, with room for longer names.
PARAMETERS_CHARS_MAX: Final = 2_048


# (lowest, highest) to which a vote may set a parameter: beyond it no vote could be cast any more
# to set it back. A vote costs about 1,200, and has some hundred bytes.
VOTABLE: Final[Mapping[str, tuple[int, int]]] = {
    "interval_ms": (0, 60_000),
    "heartbeat_ms": (100, 86_400_000),
    "propose_base_ms": (10, 600_000),
    "propose_delta_ms": (0, 600_000),
    "propose_cap_ms": (10, 3_600_000),
    "prevote_base_ms": (10, 600_000),
    "prevote_delta_ms": (0, 600_000),
    "prevote_cap_ms": (10, 600_000),
    "precommit_base_ms": (10, 600_000),
    "precommit_delta_ms": (0, 600_000),
    "precommit_cap_ms": (10, 600_000),
    "execution_bound_ms": (0, 600_000),
    "precision_ms": (10, 60_000),
    "message_delay_ms": (100, 600_000),
    "message_delay_delta_ms": (0, 600_000),
    "message_delay_cap_ms": (100, 3_600_000),
    "block_bytes_max": (TX_BYTES_MAX, BLOCK_BYTES_MAX),
    "block_cost_max": (20_000, U64_MAX),
    "quota_window_ms": (1, 3_600_000),
    "quota_cost_max": (20_000, U64_MAX),
    "valid_for_max_ms": (60_000, DAY_MS),
}


class Kind(IntEnum):
    """What a proposal changes. Numbers are part of the protocol."""

    ADD = 1
    REMOVE = 2
    REPLACE = 3
    PARAMETERS = 4
    GRANT = 5
    REVOKE = 6
    AMEND = 7
    CANCEL = 8


#: Those that make another set of authorities: one of them a height.
AUTHORITY_KINDS: Final = (Kind.ADD, Kind.REMOVE, Kind.REPLACE)


class Change(NamedTuple):
    """A kind, and the arguments of the action that votes for it."""

    kind: int
    arguments: tuple[Any, ...]

    def to_wire(self) -> list[Wire]:
        """Return [kind, argument…]."""
        return [self.kind, *self.arguments]

    @classmethod
    def from_wire(cls, wire: Any) -> Change:
        """Read what `to_wire` wrote."""
        return cls(wire[0], tuple(wire[1:]))

    @property
    def hash(self) -> bytes:
        """The 32 bytes that equal contents share, whatever their expiry."""
        return proposal_hash_of(codec.pack(self.to_wire()))

    def id(self, expires_ms: int) -> bytes:
        """Return the 32-byte id of the proposal to make this change by a time (ms UTC)."""
        return proposal_hash_of(codec.pack([self.to_wire(), expires_ms]))


# -- contents


def read_parameters(text: str, field: str) -> dict[str, int]:
    """Return the values of `name=number,name=number`, names ascending.

    One set of values has one text. Raises `Malformed`, also for names that are no parameters.
    """
    values: dict[str, int] = {}
    for part in text.split(","):
        name, _, digits = part.partition("=")
        if not 1 <= len(digits) <= 20 or digits.strip("0123456789"):
            raise Malformed(field, f"{part!r} is not name=number")
        if values and name <= max(values):
            raise Malformed(field, "names do not ascend")
        values[name] = codec.integer(int(digits), f"{field}.{name}")
    if parameters_text(values) != text:
        raise Malformed(field, "has a number with leading zeros")
    known = Params.__dataclass_fields__
    for name in values:
        if name not in known:
            raise Malformed(f"{field}.{name}", "is not a parameter")
    return values


def parameters_text(values: dict[str, int]) -> str:
    """Return the one text of these values."""
    return ",".join(f"{name}={values[name]}" for name in sorted(values))


def change_words(change: Change) -> str:
    """Return what a change does, as the end of "vote to …"."""
    first, *rest = change.arguments
    match change.kind:
        case Kind.ADD:
            return f"make {authority_text(first)} an authority"
        case Kind.REMOVE:
            return f"remove the authority {authority_text(first)}"
        case Kind.REPLACE:
            return f"replace the authority {authority_text(first)} by {authority_text(rest[0])}"
        case Kind.PARAMETERS:
            return f"set {first.replace(',', ', ').replace('=', ' to ')}"
        case Kind.GRANT:
            return f"give {account_text(rest[0])} the role {first}"
        case Kind.REVOKE:
            return f"take the role {first} from {account_text(rest[0])}"
        case Kind.AMEND:
            return f"adopt the amendment {first}, in force from block {rest[0]} on"
        case _:
            return f"call off the amendment {first}"


def change_json(change: Change) -> dict[str, Any]:
    """Return a change with its arguments by name, as the API shows it."""
    first, *rest = change.arguments
    kind = Kind(change.kind)
    shown: dict[str, Any] = {"kind": KIND_NAMES[kind]}
    if kind in (Kind.ADD, Kind.REMOVE):
        shown["authority"] = authority_text(first)
    elif kind is Kind.REPLACE:
        shown |= {"authority": authority_text(first), "by": authority_text(rest[0])}
    elif kind is Kind.PARAMETERS:
        shown["values"] = read_parameters(first, "values")
    elif kind in (Kind.GRANT, Kind.REVOKE):
        shown |= {"role": first, "account": account_text(rest[0])}
    else:
        shown["name"] = first
        if kind is Kind.AMEND:
            shown["activationHeight"] = rest[0]
    return shown


KIND_NAMES: Final = {
    Kind.ADD: "addAuthority",
    Kind.REMOVE: "removeAuthority",
    Kind.REPLACE: "replaceAuthority",
    Kind.PARAMETERS: "setParameters",
    Kind.GRANT: "grantRole",
    Kind.REVOKE: "revokeRole",
    Kind.AMEND: "amend",
    Kind.CANCEL: "cancelAmendment",
}


# -- carrying out


def carry_out(context: Context, change: Change) -> int:
    """Make a change; returns the height from which on it is in force. Raises `Refused`."""
    match change.kind:
        case Kind.ADD | Kind.REMOVE | Kind.REPLACE:
            context.change_authorities(changed_authorities(context, change))
            return context.height + 2
        case Kind.PARAMETERS:
            context.change_params(changed_params(context, change))
            return context.height + 1
        case Kind.GRANT:
            role, account = change.arguments
            context.key_of(account)
            context.grant_role(account, role, OWN_ACCOUNT)
            return context.height
        case Kind.REVOKE:
            role, account = change.arguments
            context.revoke_role(account, role, OWN_ACCOUNT, "by vote of the authorities")
            return context.height
        case Kind.AMEND:
            context.put(AMENDMENTS_KEY, pack_amendments(with_amendment(context, change)))
            return int(change.arguments[1])
        case _:
            left = without_amendment(context, change)
            if left:
                context.put(AMENDMENTS_KEY, pack_amendments(left))
            else:
                context.delete(AMENDMENTS_KEY)
            return context.height


def check(context: Context, change: Change) -> None:
    """Refuse a change that could not be made now, so that a mistyped one is no proposal."""
    match change.kind:
        case Kind.ADD | Kind.REMOVE | Kind.REPLACE:
            changed_authorities(context, change)
        case Kind.PARAMETERS:
            changed_params(context, change)
        case Kind.GRANT | Kind.REVOKE:
            role, account = change.arguments
            context.key_of(account)
            held = context.has_role(account, role)
            if held and change.kind == Kind.GRANT:
                raise context.refuse("governance.roleHeld", account, role)
            if not held and change.kind == Kind.REVOKE:
                raise context.refuse("governance.roleNotHeld", account, role)
        case Kind.AMEND:
            with_amendment(context, change)
        case _:
            without_amendment(context, change)


def changed_authorities(context: Context, change: Change) -> AuthoritySet:
    """Return the next height's set with a change made. Raises `Refused`."""
    keys = list(context.next_authorities)
    first = change.arguments[0]
    if change.kind in (Kind.REMOVE, Kind.REPLACE):
        if first not in keys:
            raise context.refuse("governance.noAuthority", authority_text(first))
        keys.remove(first)
        if not keys and change.kind == Kind.REMOVE:
            raise context.refuse("governance.lastAuthority")
    if change.kind in (Kind.ADD, Kind.REPLACE):
        new = change.arguments[-1]
        if new in context.next_authorities:
            raise context.refuse("governance.isAuthority", authority_text(new))
        keys.append(new)
    if len(keys) > AUTHORITIES_MAX:
        raise context.refuse("governance.authoritiesFull", AUTHORITIES_MAX)
    return AuthoritySet(keys)


def changed_params(context: Context, change: Change) -> Params:
    """Return the next height's parameters with a change made. Raises `Refused`."""
    for name, value in read_parameters(change.arguments[0], "params").items():
        low, high = VOTABLE.get(name, (0, U64_MAX))
        if not low <= value <= high:
            raise context.refuse("governance.notVotable", name, value, low, high)
    try:
        params = context.next_params.with_values(read_parameters(change.arguments[0], "params"))
    except Malformed as err:
        raise context.refuse("governance.parameters", f"{err}"[:160]) from None
    if params == context.next_params:
        raise context.refuse("governance.sameParameters")
    return params


def with_amendment(context: Context, change: Change) -> tuple[Amendment, ...]:
    """Return the amendments with one more. Raises `Refused`."""
    name, height = change.arguments
    found = read_amendments(context.get(AMENDMENTS_KEY))
    if any(item.name == name for item in found):
        raise context.refuse("governance.amendmentKnown", name)
    if len(found) >= AMENDMENTS_MAX:
        raise context.refuse("governance.amendmentsFull", AMENDMENTS_MAX)
    first = context.height + AMENDMENT_BLOCKS_MIN
    if height < first:
        raise context.refuse("governance.amendmentSoon", height, first)
    return (*found, Amendment(name, height, context.height))


def without_amendment(context: Context, change: Change) -> tuple[Amendment, ...]:
    """Return the amendments without one that is not in force yet. Raises `Refused`."""
    name = change.arguments[0]
    found = read_amendments(context.get(AMENDMENTS_KEY))
    left = tuple(item for item in found if item.name != name)
    if len(left) == len(found):
        raise context.refuse("governance.noAmendment", name)
    if any(item.name == name and item.height <= context.height for item in found):
        raise context.refuse("governance.amendmentActive", name)
    return left


def arguments_of(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return a change's arguments among the values of an action that votes for it."""
    return tuple(values[2:])
