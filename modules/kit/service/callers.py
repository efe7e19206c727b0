"""Who calls a service, and which roles the ledger gives them: the ledger alone decides.

A token acts for an account when it is named after it (`sub` of a JWT, the name of an API key).
Its roles are read from the node and kept until the ledger says that somebody's roles changed, or
for a moment when nothing is heard of the ledger: a revoked role ends within one block, and a
service that cannot ask refuses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.web.errors import UNAUTHENTICATED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.modules.kit.web.tokens import Claims

KEPT_MAX: Final = 4_096
"""Accounts whose roles are kept; some 300 bytes each."""

KEPT_MS: Final = 2_000
"""How long roles are believed without news: as long as a slow block takes."""

PAGE: Final = 500
PAGES_MAX: Final = 4
"""The ledger gives no account more roles than fit into one page."""

ROLE_EVENTS: Final = "roles."
REVOKED: Final = "roles.revoked"
LOST_MAX: Final = 4_096
"""Revoked roles that are remembered: more than anybody revokes in ten minutes, a token's life."""


class Node(Protocol):
    """Whatever answers as a node does: a client, or the node of the same process."""

    async def call(self, method: str, params: Any = ..., /) -> Any:
        """Return the result. Raises `RpcError`, `Unreachable`, `BadAnswer`."""


class _Known(NamedTuple):
    roles: frozenset[str]
    read_ms: int


class LedgerRoles:
    """Roles by account, as of the newest block. `now_ms` is a clock that only goes forward."""

    def __init__(self, node: Node, now_ms: Callable[[], int]) -> None:
        self._node = node
        self._now_ms = now_ms
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lost: OrderedDict[tuple[str, str], None] = OrderedDict()

    def changed(self) -> None:
        """Forget everything: the ledger says that roles changed."""
        self._known.clear()

    def told(self, kind: str, account: str, role: str) -> None:
        """Take an event of the ledger over: a role was granted or revoked."""
        self.changed()
        self._lost.pop((account, role), None)
        if kind == REVOKED:
            self._lost[account, role] = None
            while len(self._lost) > LOST_MAX:
                self._lost.popitem(last=False)

    def stands(self, claims: Claims) -> bool:
        """Whether no role that a token rests on was revoked, as far as was heard here. What was
        revoked before this service ran was refused by the issuer already.
        """
        return not any((claims.account, role) in self._lost for role in claims.roles)

    async def of(self, account: str) -> frozenset[str]:
        """Return the roles of an account (claw1…). Raises as `Node.call` does, `PeerError`."""
        known = self._known.get(account)
        if known is not None and self._now_ms() - known.read_ms < KEPT_MS:
            self._known.move_to_end(account)
            return known.roles
        read_ms = self._now_ms()
        roles = await self._read(account)
        self._known[account] = _Known(roles, read_ms)
        self._known.move_to_end(account)
        while len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        return roles

    async def _read(self, account: str) -> frozenset[str]:
        found: set[str] = set()
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params: dict[str, Any] = {"account": account, "limit": PAGE}
            answer = await self._node.call(
                "role_list", params if cursor is None else {**params, "cursor": cursor}
            )
            try:
                found.update(map(str, answer["roles"]))
                cursor = answer["nextCursor"]
            except (KeyError, TypeError):
                raise PeerError("the node's list of roles is none") from None
            if cursor is None:
                return frozenset(found)
        raise PeerError("the node's list of roles does not end")


def actor_of(roles: LedgerRoles) -> Callable[[Context], Awaitable[Actor]]:
    """Return what tells who a caller is. It raises `RpcError` for who is nobody."""

    async def find(context: Context) -> Actor:
        grant = context.grant
        if grant is None or not grant.alive():
            raise RpcError(
                UNAUTHENTICATED, "this service answers nobody without a token", hint=_HINT
            )
        if not is_account(grant.name):
            return Actor(f"token:{grant.ident}", frozenset(), grant.ident)
        return Actor(grant.name, await roles.of(grant.name), grant.ident)

    return find


def is_account(name: str) -> bool:
    """Whether a token's name is an account that it acts for."""
    try:
        account_from_text(name)
    except Malformed:
        return False
    return True


_HINT: Final = "clawpurse module token create --account NAME"
