"""On-chain half of the module `roles`: who holds which role, since when, and which actions ask.

Whether an account holds a role *now* is the kernel's record, checked before every guarded
action. This module keeps what people ask about it: lists and the whole history, whoever changed
it (an administrator here, the authorities in `governance`): the kernel tells it of every change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import PERMISSIONS_KEY, role_key, unpack_permissions
from clawpurse.ledger.module_api import KERNEL, Context, Module, RoleChange
from clawpurse.ledger.names import ADMIN_ROLE
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.roles.actions import ACTIONS, GRANT, REVOKE, SET_PERMISSION
from clawpurse.modules.roles.records import (
    NAME_COUNT_KEY,
    TREE,
    Entry,
    Get,
    Standing,
    count_at,
    entry_at,
    entry_key,
    held_count_key,
    held_key,
    holder_count_key,
    holder_key,
    item_at,
    name_key,
    newest_up_to,
    pack,
    standing_key,
    standing_of,
)

# More than any department has; each is a row in what a person reads about an account.
ROLES_PER_ACCOUNT_MAX: Final = 64
# A role for everybody is no role; the list is read in pages, so this bounds nothing but `db check`.
HOLDERS_MAX: Final = 1_000_000
# Names in use on one network, ever: they are listed, and a typing mistake stays in the list. Enough
# for the duties over all assets of a hundred issuers who have as many as they can.
NAMES_MAX: Final = 65_536
# What sets things right again is never locked, or a network could lock itself out.
NEVER_LOCKED: Final = ("governance.", "roles.")


# -- actions


def _require_admin(context: Context, action: str) -> None:
    if not context.has_role(context.sender, ADMIN_ROLE):
        raise context.refuse("kernel.role", context.sender, ADMIN_ROLE, action)


def _grant(context: Context, values: Sequence[Any]) -> None:
    role, account = values
    _require_admin(context, GRANT.name)
    context.key_of(account)  # A role for what is no account yet is a mistyped one.
    context.grant_role(account, role, context.sender)


def _revoke(context: Context, values: Sequence[Any]) -> None:
    role, account, reason = values
    _require_admin(context, REVOKE.name)
    # Who revokes is an administrator, so the last one can only be who revokes itself.
    last = role == ADMIN_ROLE and count_at(context.get, holder_count_key(ADMIN_ROLE)) == 1
    if last and account == context.sender:
        raise context.refuse("roles.lastAdmin", account)
    context.revoke_role(account, role, context.sender, reason)


def _set_permission(context: Context, values: Sequence[Any]) -> None:
    action, role = values
    _require_admin(context, SET_PERMISSION.name)
    if action.startswith(NEVER_LOCKED):
        raise context.refuse("roles.neverLocked", action)
    context.set_permission(action, role)
    context.emit("roles.permissionSet", (context.sender,), action, role)


# -- the records of every change, whoever makes it


def _on_role(context: Context, change: RoleChange) -> None:
    """Write history and lists. Everything that may be refused is refused before that."""
    account, role = change.account, change.role
    standing = standing_of(context.get, account, role)
    if change.held:
        standing = _enlist(context, account, role, standing)
        context.emit("roles.granted", (account, change.by), role)
    else:
        standing = _strike(context, account, role, standing)
        context.emit("roles.revoked", (account, change.by), role, change.reason)
    entry = Entry(context.height, int(change.held), change.by, change.reason)
    context.put(entry_key(account, role, standing.entries), pack(*entry))
    standing = standing._replace(entries=standing.entries + 1)
    context.put(standing_key(account, role), pack(*standing))


def _enlist(context: Context, account: bytes, role: str, standing: Standing) -> Standing:
    """Put an account at the end of a role's list, and the role at the end of the account's."""
    get = context.get
    holders = count_at(get, holder_count_key(role))
    held = count_at(get, held_count_key(account))
    if standing.held:
        raise context.refuse("roles.held", account, role)
    if held >= ROLES_PER_ACCOUNT_MAX:
        raise context.refuse("roles.accountFull", account, ROLES_PER_ACCOUNT_MAX)
    if holders >= HOLDERS_MAX:
        raise context.refuse("roles.roleFull", role, HOLDERS_MAX)
    if get(holder_count_key(role)) is None:
        names = count_at(get, NAME_COUNT_KEY)
        if names >= NAMES_MAX:
            raise context.refuse("roles.namesFull", NAMES_MAX)
        context.put(name_key(names), pack(role))
        context.put(NAME_COUNT_KEY, pack(names + 1))
    context.put(holder_key(role, holders), pack(account))
    context.put(holder_count_key(role), pack(holders + 1))
    context.put(held_key(account, held), pack(role))
    context.put(held_count_key(account), pack(held + 1))
    return standing._replace(holder_place=holders, role_place=held)


def _strike(context: Context, account: bytes, role: str, standing: Standing) -> Standing:
    """Take an account out of a role's list and the role out of its; the last take the places."""
    get = context.get
    place, role_place = standing.holder_place, standing.role_place
    if place is None or role_place is None:
        raise context.refuse("roles.notHeld", account, role)
    last = count_at(get, holder_count_key(role)) - 1
    if place != last:
        moved: bytes = item_at(get, holder_key(role, last))
        context.put(holder_key(role, place), pack(moved))
        other = standing_of(get, moved, role)._replace(holder_place=place)
        context.put(standing_key(moved, role), pack(*other))
    context.delete(holder_key(role, last))
    context.put(holder_count_key(role), pack(last))
    last = count_at(get, held_count_key(account)) - 1
    if role_place != last:
        name: str = item_at(get, held_key(account, last))
        context.put(held_key(account, role_place), pack(name))
        other = standing_of(get, account, name)._replace(role_place=role_place)
        context.put(standing_key(account, name), pack(*other))
    context.delete(held_key(account, last))
    if last:
        context.put(held_count_key(account), pack(last))
    else:
        context.delete(held_count_key(account))
    return standing._replace(holder_place=None, role_place=None)


def _genesis(context: Context, genesis: Genesis) -> None:
    for role, account in genesis.roles:
        context.grant_role(account, role, context.sender)


# -- queries


def _get_of(reader: StateReader) -> Get:
    return lambda key: reader.get(TREE, key)


def holds(reader: StateReader, account: bytes, role: str) -> bool:
    """Tell whether an account holds a role now."""
    return reader.get(KERNEL, role_key(account, role)) is not None


def held_at(reader: StateReader, account: bytes, role: str, height: int) -> bool:
    """Tell whether an account held a role once the block of a height was final."""
    entry = newest_up_to(_get_of(reader), account, role, height)
    return entry is not None and bool(entry.held)


def entry_up_to(reader: StateReader, account: bytes, role: str, height: int) -> Entry | None:
    """Return what was last decided of an account and a role at or below a height."""
    return newest_up_to(_get_of(reader), account, role, height)


def list_names(reader: StateReader, start: int, limit: int) -> list[tuple[str, int]]:
    """Return (role, how many hold it) of roles that were ever held, by order of first use."""
    get = _get_of(reader)
    end = min(count_at(get, NAME_COUNT_KEY), start + limit)
    names: list[str] = [item_at(get, name_key(index)) for index in range(start, end)]
    return [(name, count_at(get, holder_count_key(name))) for name in names]


def list_holders(reader: StateReader, role: str, start: int, limit: int) -> list[bytes]:
    """Return up to `limit` accounts that hold a role, from place `start`."""
    get = _get_of(reader)
    end = min(count_at(get, holder_count_key(role)), start + limit)
    return [item_at(get, holder_key(role, place)) for place in range(start, end)]


def list_roles(reader: StateReader, account: bytes) -> list[str]:
    """Return the roles that an account holds."""
    get = _get_of(reader)
    count = count_at(get, held_count_key(account))
    return [item_at(get, held_key(account, place)) for place in range(count)]


def list_history(
    reader: StateReader, account: bytes, role: str, start: int, limit: int
) -> list[Entry]:
    """Return up to `limit` entries of a history, oldest first, from number `start`."""
    get = _get_of(reader)
    end = min(standing_of(get, account, role).entries, start + limit)
    return [entry_at(get, account, role, number) for number in range(start, end)]


def list_permissions(reader: StateReader) -> dict[str, str]:
    """Return which role each guarded action asks for."""
    data = reader.get(KERNEL, PERMISSIONS_KEY)
    return {} if data is None else unpack_permissions(data)


# -- invariants


def lists_hold(reader: StateReader) -> str | None:
    """Check that lists, standings, histories and the kernel's records say the same."""
    get = _get_of(reader)
    for role, count in list_names(reader, 0, NAMES_MAX):
        for place, account in enumerate(list_holders(reader, role, 0, count)):
            standing = standing_of(get, account, role)
            if standing.holder_place != place or standing.role_place is None:
                return f"the list of {role} and a standing differ at {place}"
            if get(held_key(account, standing.role_place)) != pack(role):
                return f"an account's list lacks {role} at {standing.role_place}"
            if not holds(reader, account, role):
                return f"a holder of {role} has no record in the kernel"
            if not entry_at(get, account, role, standing.entries - 1).held:
                return f"a history of {role} ends without it, and it is held"
    return None


RULES: Final = {
    "roles.held": Rule(Code.DUPLICATE, "{0:account} holds the role {1:text} already."),
    "roles.notHeld": Rule(Code.NOT_FOUND, "{0:account} does not hold the role {1:text}."),
    "roles.lastAdmin": Rule(
        Code.POLICY_REJECTED,
        "{0:account} is the last administrator; only the authorities can take that role.",
    ),
    "roles.neverLocked": Rule(
        Code.POLICY_REJECTED,
        "The action {0:text} can never ask for a role: it sets things right again.",
    ),
    "roles.accountFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} holds {1:number} roles, the most allowed."
    ),
    "roles.roleFull": Rule(
        Code.LIMIT_EXCEEDED, "The role {0:text} has {1:number} holders, the most allowed."
    ),
    "roles.namesFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} different roles, the most allowed."
    ),
}
EVENTS: Final = {
    "roles.granted": ("role",),
    "roles.revoked": ("role", "reason"),
    "roles.permissionSet": ("action", "role"),
}
MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=ACTIONS,
    handlers={GRANT.name: _grant, REVOKE.name: _revoke, SET_PERMISSION.name: _set_permission},
    on_role=_on_role,
    queries={
        "holds": holds,
        "at": held_at,
        "entry": entry_up_to,
        "list": list_names,
        "holders": list_holders,
        "of": list_roles,
        "history": list_history,
        "permissions": list_permissions,
    },
    invariants=(lists_hold,),
    rules=RULES,
    events=EVENTS,
    genesis=_genesis,
)
