"""What the ledger says of an account: its roles, the key that signs for it alone, permissions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import PeerError
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError

PAGE: Final = 500
Ask = Callable[[str, dict[str, Any]], Awaitable[Any]]


class NodeLedger:
    """Asks a node by JSON-RPC; see `rights.Ledger`. `roles` are the host's, of the newest block."""

    def __init__(self, ask: Ask, roles: Callable[[str], Awaitable[frozenset[str]]]) -> None:
        self._ask = ask
        self._roles = roles

    async def roles_of(self, account: str) -> frozenset[str]:
        """See `Ledger`."""
        return await self._roles(account)

    async def key_of(self, account: str) -> bytes | None:
        """See `Ledger`. An account that the ledger has not seen is signed for by its own key."""
        try:
            answer = await self._ask("account_getSigners", {"account": account})
        except RpcError as error:
            if error.code != NOT_FOUND:
                raise
            return account_from_text(account)
        try:
            key, threshold = answer["key"], answer["threshold"]
            alone = key is not None and threshold is None
            return bytes.fromhex(key.removeprefix("0x")) if alone else None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PeerError("the node's signers of an account are none") from None

    async def permissions(self) -> dict[str, str]:
        """See `Ledger`."""
        answer = await self._ask("role_list", {"limit": PAGE})
        try:
            return {str(one["action"]): str(one["role"]) for one in answer["permissions"]}
        except (KeyError, TypeError):
            raise PeerError("the node's list of permissions is none") from None
