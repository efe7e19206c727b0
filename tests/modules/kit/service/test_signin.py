"""The way to a sign-in service: which addresses it takes, what it passes on, whose tokens stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.service.callers import LOST_MAX, LedgerRoles
from clawpurse.modules.kit.service.signin import OPEN, SignInWay, closed_but, sign_in_routes
from clawpurse.modules.kit.web.errors import NODE_UNREACHABLE, UNAUTHENTICATED
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import CALLER, Context, Dispatcher, Method, Pending
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.tokens import Claims

ACCOUNT = "claw1somebody"


class NoNode:
    async def call(self, _method: str, _params: Any = None, /) -> Any:
        raise AssertionError("nobody is asked")


def claims(*roles: str) -> Claims:
    return Claims(
        "clawpurse:auth",
        ("net-1",),
        "s-1.1.1",
        ACCOUNT,
        read_scopes(("*",)),
        0,
        600,
        account=ACCOUNT,
        roles=roles,
    )


async def ask(dispatcher: Dispatcher, method: str, **params: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply: Any = dispatcher.answer(json.dumps(message).encode(), Context("x", "x", None))
    if isinstance(reply, Pending):
        reply = await reply.run()
    return json.loads(bytes(reply))


def test_a_token_dies_with_a_role_that_it_rests_on() -> None:
    """Otherwise who lost a role goes on with it for as long as the token lives."""
    roles = LedgerRoles(NoNode(), lambda: 0)
    resting, other = claims("support.lead"), claims("support.agent")
    assert roles.stands(resting)
    roles.told("roles.revoked", ACCOUNT, "support.lead")
    assert not roles.stands(resting)
    assert roles.stands(other)
    assert roles.stands(claims())
    roles.told("roles.granted", ACCOUNT, "support.lead")
    assert roles.stands(resting)
    for number in range(LOST_MAX + 10):
        roles.told("roles.revoked", f"claw1{number}", "support.lead")
    assert len(roles._lost) == LOST_MAX


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example",
        "http://login.example",
        "https://login.example/",
        "https://login.example/path",
        "https://u@login.example",
        "http://127.0.0.1.evil.example",
        "ws://localhost",
    ],
)
def test_people_are_sent_to_an_origin_and_nowhere_else(url: str) -> None:
    """A path, or http across the network, would hand out passwords and tokens."""
    with pytest.raises(Malformed):
        SignInWay(url)


def test_a_page_is_told_where_people_sign_in_or_that_there_is_no_such_place() -> None:
    """Else it guesses, or shows an error where a token is meant to be pasted."""
    for way, said in ((None, None), (SignInWay("https://login.example"),) * 2):
        answer = sign_in_routes(way)["GET", "/sign-in.json"](None)  # type: ignore[arg-type]
        assert json.loads(bytes(answer.body)) == {"signIn": said and said.url}


async def test_a_service_that_is_away_is_said_to_be() -> None:
    """Somebody would else be told that the session is over, and lose it."""
    way = SignInWay("http://127.0.0.1:1")
    dispatcher = Dispatcher(way.methods(), log=RefusalLog())
    answer = await ask(dispatcher, "auth_refresh", refreshToken="cpr_x")
    assert answer["error"]["code"] == NODE_UNREACHABLE
    assert answer["error"]["data"]["retryable"] is True


async def test_strangers_reach_what_is_open_and_nothing_else() -> None:
    """The way in must not open the house."""

    def answer(_params: object, _context: Context) -> dict[str, int]:
        return {}

    methods = [Method("chain_getStatus", "Status", answer), Method("auth_refresh", "x", answer)]
    assert [one.role for one in (closed_but(one, OPEN) for one in methods)] == [CALLER, ""]
    dispatcher = Dispatcher([closed_but(one, OPEN) for one in methods], log=RefusalLog())
    assert (await ask(dispatcher, "chain_getStatus"))["error"]["code"] == UNAUTHENTICATED
    assert "result" in await ask(dispatcher, "auth_refresh")
