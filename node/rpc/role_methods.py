"""role_*: who may do what, and who could at any height."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.names import plain_name
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.modules.roles import chain as roles
from clawpurse.modules.roles.records import Entry
from clawpurse.node.rpc import payment_shapes
from clawpurse.node.rpc.governance_methods import start_of
from clawpurse.node.rpc.past import PastState
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Height, Limit

# Holders read between two turns of the loop: about half a millisecond.
HOLDERS_SLICE: Final = 32
Json = dict[str, Any]


def _name(value: Any) -> str:
    try:
        return plain_name(value, "role")
    except Malformed as err:
        raise ValueError(err.problem) from None


RoleName = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9.-]{1,32}$"}),
]


class RoleListParams(Params):
    """Parameters of role_list."""

    role: RoleName | None = Field(None, description="List who holds this role")
    account: Account | None = Field(None, description="List the roles of this account")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=96, description="nextCursor of the page before")


class RoleCheckParams(Params):
    """Parameters of role_check."""

    account: Account = Field(description="Whom it is about")
    role: RoleName = Field(description="Which role")
    at_height: Height | None = Field(None, description="After which block; the newest if left out")


class RoleHistoryParams(Params):
    """Parameters of role_getHistory."""

    account: Account = Field(description="Whom it is about")
    role: RoleName = Field(description="Which role")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=32, description="nextCursor of the page before")


class RoleMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "role_list",
                "Roles: all that were ever used, or who holds one, or what an account holds",
                self.roles,
                RoleListParams,
                cost=5,
                result=payment_shapes.Roles,
                result_description=(
                    "roles[{role holders}] permissions[{action role}] | role holders[] | "
                    "account roles[]; nextCursor|null"
                ),
            ),
            Method(
                "role_check",
                "Whether an account holds a role, or held it after a block, however long ago",
                self.check,
                RoleCheckParams,
                errors=(NOT_FOUND,),
                result=payment_shapes.RoleStanding,
                result_description="account role held height since|null by|null reason|null",
            ),
            Method(
                "role_getHistory",
                "Each time that an account was given a role or lost it, oldest first",
                self.history,
                RoleHistoryParams,
                cost=5,
                result=payment_shapes.RoleHistory,
                result_description="entries[{height held by reason}] nextCursor|null",
            ),
        ]

    async def roles(self, params: RoleListParams, _context: Context) -> Json:
        """role_list."""
        if params.role is not None and params.account is not None:
            raise Malformed("account", "stands beside role; ask for one of them, or role_check")
        state = self._services.chain.reader
        if params.account is not None:
            after = "" if params.cursor is None else plain_name(params.cursor, "cursor")
            held = sorted(one for one in roles.list_roles(state, params.account) if one > after)
            return {
                "account": account_text(params.account),
                "roles": held[: params.limit],
                "nextCursor": held[params.limit - 1] if len(held) > params.limit else None,
            }
        if params.role is not None:
            return await self._holders(params.role, params.limit, params.cursor)
        start = start_of(params.cursor)
        names = roles.list_names(state, start, params.limit + 1)
        return {
            "roles": [{"role": name, "holders": count} for name, count in names[: params.limit]],
            "permissions": [
                {"action": action, "role": role}
                for action, role in roles.list_permissions(state).items()
            ],
            "nextCursor": str(start + params.limit) if len(names) > params.limit else None,
        }

    async def _holders(self, role: str, limit: int, cursor: str | None) -> Json:
        """List who holds a role, ascending: where the ledger keeps them, places change hands."""
        chain = self._services.chain
        after = b"" if cursor is None else account_from_text(cursor, "cursor")
        found: list[bytes] = []
        view = chain.state.at_height(chain.height)
        try:
            state = PastState(view)
            while part := roles.list_holders(state, role, len(found), HOLDERS_SLICE):
                found += part
                await next_turn()
        finally:
            view.close()
        left = sorted(one for one in found if one > after)
        page = [account_text(one) for one in left[:limit]]
        following = page[-1] if len(left) > limit else None
        return {"role": role, "holders": page, "nextCursor": following}

    def check(self, params: RoleCheckParams, _context: Context) -> Json:
        """role_check. The history reaches back to genesis, whatever else a node forgets."""
        chain = self._services.chain
        height = chain.height if params.at_height is None else params.at_height
        if height > chain.height:
            raise NotFound(f"block {height}")
        entry = roles.entry_up_to(chain.reader, params.account, params.role, height)
        return {
            "account": account_text(params.account),
            "role": params.role,
            "held": entry is not None and bool(entry.held),
            "height": height,
            "since": None if entry is None else entry.height,
            "by": None if entry is None else account_text(entry.by),
            "reason": None if entry is None else entry.reason or None,
        }

    def history(self, params: RoleHistoryParams, _context: Context) -> Json:
        """role_getHistory."""
        start = start_of(params.cursor)
        state, limit = self._services.chain.reader, params.limit
        found = roles.list_history(state, params.account, params.role, start, limit + 1)
        return {
            "entries": [_entry_json(entry) for entry in found[:limit]],
            "nextCursor": str(start + limit) if len(found) > limit else None,
        }


def _entry_json(entry: Entry) -> Json:
    return {
        "height": entry.height,
        "held": bool(entry.held),
        "by": account_text(entry.by),
        "reason": entry.reason or None,
    }
