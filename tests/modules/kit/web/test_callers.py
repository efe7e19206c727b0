"""Who may call: closed servers, tokens that end in mid-session, budgets by token and method."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from clawpurse.modules.kit.web.grants import FixedTokens, Grant, NotAuthentic, Token
from clawpurse.modules.kit.web.guard import Access, Budgets
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.scopes import read_scopes

SECRET = "a-token-of-some-length"
CALL = {"jsonrpc": "2.0", "id": 7, "method": "get_data"}
STRANGER = Peer("203.0.113.9:5", "203.0.113.9")


class Ending:
    """Recognises one token, until told that it ended."""

    def __init__(self, scopes: str = "test_*") -> None:
        self.alive = True
        self.scopes = read_scopes(scopes.split())

    def recognise(self, presented: str) -> Grant | None:
        if presented != SECRET:
            return None
        if not self.alive:
            raise NotAuthentic("token-revoked", "revoked")
        return Grant("t-9", "shop", self.scopes, alive=lambda: self.alive)


def closed(*authenticators: Any, **more: Any) -> Access:
    return Access(authenticators=authenticators, closed=True, **more)


@pytest.mark.parametrize(
    ("scopes", "method", "code", "status"),
    [
        ("*", "admin_stop", None, 200),
        ("admin_*", "admin_stop", None, 200),
        ("admin_stop", "admin_stop", None, 200),
        ("test_*", "admin_stop", -32007, 403),
        ("test_*", "test_echo", None, 200),
        ("test_echo", "test_echoLater", -32007, 403),
        ("admin_*", "test_echo", -32007, 403),
        ("test_*", "test_nothing", -32601, 200),
    ],
)
async def test_beyond_this_machine_scopes_decide(
    make_web: Any, scopes: str, method: str, code: int | None, status: int
) -> None:
    client = make_web(access=closed(Ending(scopes))).connect(STRANGER)
    got, answer = await client.rpc({**CALL, "method": method}, Authorization=f"Bearer {SECRET}")
    assert (got, answer.get("error", {}).get("code")) == (status, code)
    assert answer["id"] == 7


async def test_a_stranger_learns_nothing_without_a_token(make_web: Any, make_post: Any) -> None:
    client = make_web(access=closed(Ending())).connect(STRANGER)
    for method in ("get_data", "nothing_like_this", "admin_stop"):
        await client.send(make_post(json.dumps({**CALL, "method": method}).encode()))
        status, fields, body = await client.response()
        assert status == 401
        assert fields["www-authenticate"].startswith("Bearer ")
        assert json.loads(body)["error"]["data"]["reason"] == (
            "this server answers nobody without a token"
        )
    await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await client.response())[0] == 200


async def test_a_strangers_large_body_is_not_even_read(make_web: Any) -> None:
    """Else strangers could fill the memory that callers with a token need."""
    client = make_web(access=closed(Ending())).connect(STRANGER)
    await client.send(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 900000\r\n\r\n{"
    )
    assert (await client.response())[0] == 401


async def test_a_revoked_token_ends_on_a_kept_connection(make_web: Any) -> None:
    ending = Ending("*")
    client = make_web(access=closed(ending)).connect(STRANGER)
    token = f"Bearer {SECRET}"
    assert (await client.rpc(CALL, Authorization=token))[0] == 200
    ending.alive = False
    status, answer = await client.rpc(CALL, Authorization=token)
    assert (status, answer["error"]["code"]) == (401, -32006)
    ending.alive = True
    assert (await client.rpc(CALL, Authorization=token))[0] == 200


async def open_socket(client: Any, protocols: str) -> bytes:
    await client.send(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        b"Sec-WebSocket-Protocol: " + protocols.encode() + b"\r\n\r\n"
    )
    return bytes(await client.until(b"\r\n\r\n"))


async def test_an_open_websocket_ends_soon_after_its_token(
    make_web: Any, autojump_clock: Any
) -> None:
    ending = Ending()
    client = make_web(access=closed(ending)).connect(STRANGER)
    head = await open_socket(client, f"clawpurse.v1, bearer.{SECRET}")
    assert head.startswith(b"HTTP/1.1 101")
    assert b"Sec-WebSocket-Protocol: clawpurse.v1\r\n" in head
    assert SECRET.encode() not in head
    protocol = Connection(ConnectionType.CLIENT)
    call = json.dumps({**CALL, "method": "test_whoami"})
    await client.send(protocol.send(TextMessage(call)))
    while not (events := list(protocol.events())):
        protocol.receive_data(bytes(await client.stream.receive_some(65536)))
    assert isinstance(events[0], TextMessage)
    assert json.loads(events[0].data)["result"] == ["token:t-9", "test_*"]
    ending.alive = False
    since = trio.current_time()
    while not (events := list(protocol.events())):
        protocol.receive_data(bytes(await client.stream.receive_some(65536)))
    assert isinstance(events[0], CloseConnection)
    assert events[0].code == 1008
    assert trio.current_time() - since <= 2


async def test_a_websocket_without_a_good_token_is_not_opened(make_web: Any) -> None:
    web = make_web(access=closed(Ending()))
    for protocols in ("clawpurse.v1", "clawpurse.v1, bearer.wrong-token-of-a-length"):
        assert (await open_socket(web.connect(STRANGER), protocols)).startswith(b"HTTP/1.1 401")


async def test_a_certificate_may_be_needed_beside_a_token(make_web: Any) -> None:
    access = closed(FixedTokens((Token(SECRET),)), certificate_needed=True)
    web = make_web(access=access)
    token = f"Bearer {SECRET}"
    assert (await web.connect(STRANGER).rpc(CALL, Authorization=token))[0] == 401
    assert (await web.connect().rpc(CALL, Authorization=token))[0] == 200


async def test_callers_with_tokens_have_budgets_of_their_own(
    make_web: Any, autojump_clock: Any
) -> None:
    """Two services behind one address do not pay for each other; guessing tokens costs."""
    web = make_web(access=Access(authenticators=(Ending("*"),)), budgets=Budgets(10, 5))
    client = web.connect(STRANGER)
    assert [(await client.rpc(CALL))[0] for _ in range(6)] == [200] * 5 + [429]
    assert (await client.rpc(CALL, Authorization=f"Bearer {SECRET}"))[0] == 200
    other = web.connect(Peer("203.0.113.10:5", "203.0.113.10"))
    assert (await other.rpc(CALL, Authorization="Bearer wrong-token-of-a-length"))[0] in (401, 429)
    assert (await other.rpc(CALL))[0] == 429


async def test_a_method_can_have_a_limit_of_its_own(
    make_web: Any, make_post: Any, autojump_clock: Any
) -> None:
    budgets = Budgets(1000, 1000, methods={"get_data": (2, 0.5)})
    client = make_web(budgets=budgets).connect()
    assert [(await client.rpc(CALL))[0] for _ in range(2)] == [200, 200]
    await client.send(make_post(json.dumps(CALL).encode()))
    status, fields, body = await client.response()
    assert (status, fields["retry-after"]) == (429, "2")
    assert json.loads(body)["error"]["data"]["retryAfterMs"] == 2000
    assert (await client.rpc({**CALL, "method": "test_echo"}))[0] == 200
    await trio.sleep(2.1)
    assert (await client.rpc(CALL))[0] == 200


def test_this_machine_may_have_another_rate() -> None:
    now = [0.0]
    budgets = Budgets(1, 1, now=lambda: now[0], preferred=(10, 10, frozenset({"here"})))
    assert budgets.charge("here", 10) == 0
    assert budgets.charge("there", 10) == 0
    assert budgets.wait_s("here") == pytest.approx(0.1)
    assert budgets.wait_s("there") == pytest.approx(10)


async def test_an_answer_has_a_largest_size(make_web: Any) -> None:
    client = make_web(limits={"response_bytes_max": 100_000}).connect()
    _, answer = await client.rpc({**CALL, "method": "test_large"})
    assert answer["error"]["code"] == -32004
