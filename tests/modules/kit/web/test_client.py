"""The client: pooled connections, typed errors, deadlines, and what it makes of bad servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable
from clawpurse.modules.kit.web.http_client import HttpClient, Origin


class Counting:
    """Connects to a server in memory and counts."""

    def __init__(self, web: Any) -> None:
        self.web = web
        self.streams: list[Any] = []

    async def __call__(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.streams.append(self.web.connect().stream)
        return self.streams[-1]


async def test_calls_return_results_and_raise_typed_errors(web: Any) -> None:
    async with RpcClient("http://localhost:1", connect=Counting(web)) as rpc:
        assert await rpc.call("subtract", [5, 3]) == 2
        assert await rpc.call("subtract", {"minuend": 5, "subtrahend": 3}) == 2
        assert await rpc.call("get_data") == ["hello", 5]
        await rpc.notify("notify_hello", [9])
        assert web.calls == [9]
        with pytest.raises(RpcError) as caught:
            await rpc.call("test_refused")
        error = caught.value
        assert (error.code, error.message, error.reason) == (-32018, "frozen", "asset is frozen")
        assert (error.error_class, error.retryable) == ("failed", False)
        assert error.hint
        assert error.facts["rule"] == "r"


async def test_a_batch_keeps_its_order_and_its_errors(web: Any) -> None:
    async with RpcClient("http://localhost", connect=Counting(web)) as rpc:
        assert await rpc.batch([]) == []
        answers = await rpc.batch([("sum", [1]), ("nothing", None), ("sum", {"a": 2})])
        assert (answers[0], answers[2]) == (1, 2)
        assert isinstance(answers[1], RpcError)
        with pytest.raises(RpcError) as caught:
            await rpc.batch([("sum", [1])] * 101)
        assert caught.value.code == -32004


async def test_connections_are_kept_and_bounded(web: Any, autojump_clock: Any) -> None:
    connect = Counting(web)
    async with RpcClient("http://localhost", connect=connect, connections_max=3) as rpc:
        for _ in range(10):
            await rpc.call("get_data")
        assert len(connect.streams) == 1
        async with trio.open_nursery() as nursery:
            for _ in range(9):
                nursery.start_soon(rpc.call, "test_slow", [1000])
        assert trio.current_time() >= 3
        assert len(connect.streams) == 3
    await web.until_closed()


async def test_a_kept_connection_that_was_closed_is_replaced_without_notice(
    web: Any, autojump_clock: Any
) -> None:
    connect = Counting(web)
    async with RpcClient("http://localhost", connect=connect) as rpc:
        await rpc.call("get_data")
        await trio.sleep(100)
        assert await rpc.call("get_data") == ["hello", 5]
        assert len(connect.streams) == 2
        await trio.sleep(100)
        with pytest.raises(Unreachable) as caught:
            await rpc.call("get_data", retry=False)
        assert caught.value.sent


async def test_a_deadline_says_that_the_call_may_have_been_carried_out(
    web: Any, autojump_clock: Any
) -> None:
    connect = Counting(web)
    async with RpcClient("http://localhost", connect=connect, timeout_ms=500) as rpc:
        with pytest.raises(Unreachable) as caught:
            await rpc.call("test_slow", [3000])
        assert caught.value.sent
        assert "500 ms" in str(caught.value)
        assert await rpc.call("test_slow", [3000], timeout_ms=4000) == "waited"
        # The late answer of the first call never reaches the second.
        assert len(connect.streams) == 2


async def test_what_cannot_be_connected_was_surely_not_sent() -> None:
    async def refuse() -> Any:
        raise ConnectionRefusedError(111, "Connection refused")

    async with RpcClient("http://localhost:9", connect=refuse) as rpc:
        with pytest.raises(Unreachable) as caught:
            await rpc.call("get_data")
        assert not caught.value.sent
        assert str(caught.value) == "http://localhost:9 does not answer: Connection refused"


async def test_a_token_reaches_the_server(web: Any, tokens: tuple[str, str]) -> None:
    async with RpcClient("http://localhost", connect=Counting(web), token=tokens[0]) as rpc:
        assert await rpc.call("admin_stop") is True
    async with RpcClient("http://localhost", connect=Counting(web)) as rpc:
        with pytest.raises(RpcError) as caught:
            await rpc.call("admin_stop")
        assert caught.value.code == -32006
    with pytest.raises(ValueError):
        RpcClient("http://localhost", token="a\r\nX: y")


def answering(answer: bytes, *, close: bool = True) -> Callable[[], Any]:
    """A server that sends these bytes to whatever it is asked."""

    async def connect() -> Any:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(answer)
        if close:
            await theirs.send_eof()
        return ours

    return connect


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\n{}",
        OK + b"Content-Length: 1\r\n\r\n{",
        OK + b'Content-Length: 37\r\n\r\n{"jsonrpc":"2.0","id":99,"result":1}  ',
        OK + b'Content-Length: 26\r\n\r\n{"id":1,"error":{"x":1}}  ',
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>",
        b"HTTP/1.1 301 Moved\r\nLocation: http://evil.example\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
async def test_bad_answers_are_errors_of_the_other_side(answer: bytes) -> None:
    async with RpcClient("http://localhost", connect=answering(answer)) as rpc:
        with pytest.raises((BadAnswer, Unreachable)):
            await rpc.call("get_data")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b'Content-Length: 36\r\n\r\n{"jsonrpc":"2.0","id":1,"result":42}',
        OK + b'\r\n{"jsonrpc":"2.0","id":1,"result":42}',
        OK
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b'10;x=y\r\n{"jsonrpc":"2.0"\r\n14\r\n,"id":1,"result":42}\r\n0\r\nT: x\r\n\r\n',
        b"HTTP/1.1 103 Early\r\n\r\n"
        + OK
        + b'Content-Length: 36\r\n\r\n{"jsonrpc":"2.0","id":1,"result":42}',
        b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"id":1,"result":42}',
    ],
)
async def test_good_answers_of_other_servers_are_understood(answer: bytes) -> None:
    async with RpcClient("http://localhost", connect=answering(answer)) as rpc:
        assert await rpc.call("get_data") == 42


@settings(max_examples=60)
@given(st.binary(max_size=300), st.booleans())
def test_random_answers_never_crash_a_client(junk: bytes, after_ok: bool) -> None:
    async def main() -> None:
        connect = answering(OK + junk if after_ok else junk)
        async with RpcClient("http://localhost", connect=connect, timeout_ms=1000) as rpc:
            with pytest.raises((BadAnswer, Unreachable, RpcError)):
                await rpc.call("get_data")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_other_requests_can_be_made(web: Any) -> None:
    async with HttpClient("http://localhost", connect=Counting(web)) as http:
        response = await http.request("GET", "/healthz")
        assert (response.status, response.body) == (200, b'{"ok":true}')
        head = await http.request("HEAD", "/healthz")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "11")
        response = await http.request("GET", "/echo?q", headers=b"X-Test: 5\r\n")
        assert response.body == b"GET /echo q 5"
        assert (await http.request("GET", "/nowhere")).status == 404


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9641",
        "ftp://localhost",
        "http://",
        "http://user:pass@localhost",
        "http://localhost:99999",
        "http://localhost/ x",
        "http://localhost/#a",
        "http://lücalhost",
        "",
    ],
)
def test_a_bad_url_is_told_at_once(url: str) -> None:
    with pytest.raises(Malformed):
        Origin(url)


def test_urls_are_taken_apart() -> None:
    origin = Origin("https://node.example/rpc?x=1")
    assert (origin.secure, origin.host, origin.port) == (True, "node.example", 443)
    assert (origin.path, origin.authority) == ("/rpc?x=1", "node.example")
    assert Origin("http://[::1]:9641").authority == "[::1]:9641"
    assert Origin("http://[::1]:9641").host == "::1"
    assert Origin("http://localhost:80").authority == "localhost"
