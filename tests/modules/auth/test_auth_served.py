"""Sign-in as it is served: strangers are told how to sign in; nodes take what it signs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.kernel.records import role_key
from clawpurse.modules.auth.service import JWKS_PATH, OPEN, Auth
from clawpurse.modules.auth.users import invite
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import FORBIDDEN, UNAUTHENTICATED, RpcError
from clawpurse.modules.kit.web.http_client import HttpClient
from clawpurse.modules.kit.web.jwks import read_jwks
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.tokens import BearerTokens, Claims, Issuer
from clawpurse.node.callers import RoleWord
from clawpurse.node.hosting import Listening, Settings, serve
from clawpurse.node.tokens import FOREIGN_LIFETIME_MAX_MS
from tests.modules.auth.signworld import CHEAP, PASSWORD, StubLedger, place_in

NOW_MS = 1_800_000_000_000


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Auth, Listening]]:
    """The service behind its own port."""
    ledger, auth = StubLedger(), Auth(CHEAP)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        yield ledger

    settings = Settings(auth, place_in(folder), connect, lambda: NOW_MS, "test", ports=(0,))
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve, settings)
        yield auth, listening
        listening.stop()


async def code_of(client: RpcClient, method: str, params: dict[str, Any] | None = None) -> int:
    try:
        await client.call(method, params or {})
    except RpcError as error:
        return error.code
    return 0


class OneRole:
    """A ledger in which one account holds one role, until it does not."""

    def __init__(self) -> None:
        self.held = True

    def get(self, _tree: str, key: bytes) -> bytes | None:
        return b"" if self.held and key == role_key(b"a" * 32, "operator") else None

    def ordered(self, *_arguments: Any, **_options: Any) -> Any:
        """Nobody asks for a list."""
        raise NotImplementedError


def test_a_node_ends_tokens_with_the_role_that_they_rest_on() -> None:
    """Otherwise a dismissed operator stops nodes for the rest of a token's life."""
    ledger, word = OneRole(), RoleWord()
    account = account_text(b"a" * 32)
    scopes = read_scopes(["admin_*"])
    claims = Claims("us", ("net-1",), "s-1.1.1", account, scopes, 0, 1, account, ("operator",))
    # Before there is a ledger nobody holds anything.
    assert not word.stands(claims)
    assert word.stands(claims._replace(roles=()))
    word.follow(lambda: ledger)
    assert word.stands(claims)
    assert not word.stands(claims._replace(account=account_text(b"b" * 32)))
    assert not word.stands(claims._replace(account="nobody"))
    assert not word.stands(claims._replace(roles=("operator", "auditor")))
    ledger.held = False
    assert not word.stands(claims)


@pytest.mark.real
async def test_strangers_are_told_how_to_sign_in_and_nothing_else(tmp_path: Path) -> None:
    """Otherwise nobody comes in, or everybody reads who is a member."""
    async with serving(tmp_path) as (auth, listening):
        desk = auth.desk(listening.host)
        invited = await desk.write(lambda book: invite(book, "ada"))
        async with RpcClient(listening.url) as client:
            made = await client.call(
                "auth_register", {"invitation": invited[0], "password": PASSWORD}
            )
            for name in sorted(method.name for method in listening.host.methods()):
                if name not in OPEN:
                    assert await code_of(client, name) == UNAUTHENTICATED, name
            for name in ("sub_subscribe", "events_get", "rpc_discover"):
                assert await code_of(client, name) in (UNAUTHENTICATED, 0, -32601), name
            assert await code_of(client, "sub_subscribe", {"topic": "auth"}) == UNAUTHENTICATED
        async with HttpClient(listening.url) as http:
            keys = read_jwks((await http.request("GET", JWKS_PATH)).body)
            assert (await http.request("GET", "/metrics")).status in (401, 403)
        token = made["accessToken"]
        async with RpcClient(listening.url, token=token) as client:
            assert (await client.call("auth_me"))["name"] == "ada"
            assert await code_of(client, "auth_listUsers") == FORBIDDEN
        # A node takes it as a foreign issuer's, by the published keys alone.
        issuer = Issuer(
            "clawpurse:auth",
            frozenset({"net-1"}),
            FOREIGN_LIFETIME_MAX_MS // 1000,
            keys.get,
            lambda _claims: True,
        )
        grant = BearerTokens((issuer,), lambda: NOW_MS).recognise(token)
        assert grant is not None
        assert grant.scopes.allows("chain_getStatus")
        assert not grant.scopes.allows("admin_stop")
