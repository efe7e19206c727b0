"""The way through the gateway: what goes in comes out, once, whole, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from clawpurse.modules.gateway.front import State
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.upstreams import Upstream
from tests.modules.gateway.gateworld import (
    OK,
    Origin,
    answering,
    body_of,
    config_of,
    gate_of,
    rest_of,
    status_of,
)

LARGE = 3 * 1024 * 1024


def routed(**more: Any) -> Any:
    """The one route, with further settings."""
    return ({"name": "x", "path": "/x/**", "upstream": "x", **more},)


def up(**more: Any) -> Any:
    """The one upstream, with further settings."""
    return lambda origins: {"x": {"targets": tuple(o.url for o in origins.values()), **more}}


async def until(check: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not check():
            await trio.sleep(0.02)


async def test_a_request_goes_on_and_its_answer_comes_back() -> None:
    """What a gateway is for."""
    origin = Origin(
        answering(
            b"HTTP/1.1 201 Made\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"Content-Length: 2\r\n\r\nhi"
        )
    )
    async with gate_of({"x": origin}) as gate:
        answer = await gate.get("/x/a%41?q=1&q=2", "Cookie: c=1\r\nCookie: d=2\r\nX-Odd: yes\r\n")
    assert status_of(answer) == 201
    assert body_of(answer) == b"hi"
    assert answer.count(b"Set-Cookie: ") == 2
    [heard] = origin.heard
    assert heard.startswith(b"GET /x/aA?q=1&q=2 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\ncookie: c=1; d=2\r\n" in heard and b"\r\nx-odd: yes\r\n" in heard
    assert b"\r\nx-forwarded-for: 127.0.0.1\r\n" in heard
    assert b"\r\nx-forwarded-host: gate\r\n" in heard
    assert b"\r\ntraceparent: 00-" in heard and b"\r\nx-request-id: " in heard
    assert b"connection:" not in heard.lower()


async def test_what_belongs_to_one_connection_stays_there() -> None:
    """Otherwise a client steers the gateway's connections, or says who it is."""
    origin = Origin(
        answering(
            b"HTTP/1.1 200 OK\r\nConnection: x-inner\r\nX-Inner: 1\r\nKeep-Alive: 5\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
    )
    fields = (
        "X-Clawpurse-Account: claw1boss\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n"
        "Proxy-Authorization: x\r\nTE: trailers\r\n"
    )
    async with gate_of({"x": origin}) as gate:
        answer = await gate.say(
            b"GET /x HTTP/1.1\r\nHost: gate\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n"
            + f"{fields}\r\n".encode()
        )
    heard = origin.heard[0].lower()
    for name in (
        b"x-clawpurse",
        b"10.0.0.1",
        b"proxy-auth",
        b"\r\nte:",
        b"x-mine",
        b"forwarded: for",
    ):
        assert name not in heard, name
    assert b"x-inner" not in answer.lower() and b"keep-alive: 5" not in answer.lower()


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_stream_both_ways(chunked: bool) -> None:
    """A gateway that gathers bodies falls over the first large one."""
    pieces = [b"%07d" % number * 1000 for number in range(40)]

    async def echo(stream: trio.SocketStream, origin: Origin) -> None:
        """Answer the first piece before the second was sent."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst")
        origin.heard.append(data)
        while more := await stream.receive_some():
            origin.heard.append(more)

    origin = Origin(echo)
    async with gate_of({"x": origin}) as gate:
        stream = await gate.connect()
        length = (
            "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, pieces))}"
        )
        await stream.send_all(f"POST /x HTTP/1.1\r\nHost: gate\r\n{length}\r\n\r\n".encode())
        first = b"%x\r\n%b\r\n" % (len(pieces[0]), pieces[0]) if chunked else pieces[0]
        await stream.send_all(first)
        with trio.fail_after(10):
            answer = b""
            while b"first" not in answer:
                answer += await stream.receive_some()
        await stream.aclose()
    assert status_of(answer) == 200


async def test_a_large_answer_passes_through_whole() -> None:
    """Cut off or doubled bytes would be somebody's data."""
    body = bytes(range(256)) * (LARGE // 256)

    async def send(stream: trio.SocketStream, _origin: Origin) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 50_000):
            piece = body[start : start + 50_000]
            await stream.send_all(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
        await stream.send_all(b"0\r\nTrailer: dropped\r\n\r\n")
        await stream.receive_some()

    async with gate_of({"x": Origin(send)}) as gate:
        stream = await gate.connect()
        await stream.send_all(b"GET /x HTTP/1.0\r\n\r\n")
        answer = await rest_of(stream)
        await stream.aclose()
    # Who speaks 1.0 gets it to the end of the connection.
    assert body_of(answer) == body


async def test_connections_are_kept_on_both_sides() -> None:
    """A connection for each request costs more than the request."""
    origin = Origin()
    async with gate_of({"x": origin}) as gate:
        stream = await gate.connect()
        for _ in range(20):
            await stream.send_all(b"GET /x HTTP/1.1\r\nHost: gate\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += await stream.receive_some()
        # Several at once are answered in order.
        await stream.send_all(b"GET /x HTTP/1.1\r\nHost: gate\r\n\r\n" * 5)
        answer = b""
        while answer.count(b"\r\n\r\nok") < 5:
            answer += await stream.receive_some()
        await stream.aclose()
    assert origin.connections == 1
    assert origin.requests == 25


async def test_an_upstream_that_ended_a_kept_connection_loses_no_request() -> None:
    """Servers end idle connections; whoever comes next must not get an error for it."""

    async def once(stream: trio.SocketStream, origin: Origin) -> None:
        origin.heard.append(bytes(await stream.receive_some()))
        await stream.send_all(OK)

    origin = Origin(once)
    async with gate_of({"x": origin}) as gate:
        for _ in range(5):
            assert status_of(await gate.get(method="POST", fields="Content-Length: 0\r\n")) == 200
            await trio.sleep(0.02)
    assert len(origin.heard) == 5


async def test_safe_requests_are_tried_elsewhere_and_others_never_twice() -> None:
    """A payment that is posted twice is worse than an error."""

    async def rude(stream: trio.SocketStream, origin: Origin) -> None:
        origin.heard.append(bytes(await stream.receive_some()))

    bad, good = Origin(rude), Origin()

    def both(_origins: Any) -> Any:
        return {
            "x": {
                "targets": (bad.url, good.url),
                "retries": {"attempts": 2},
                "breaker": {"failures": 1000},
            }
        }

    async with gate_of({"bad": bad, "good": good}, upstreams=both, routes=routed()) as gate:
        answers = [status_of(await gate.get()) for _ in range(10)]
        assert answers == [200] * 10
        tried, served = len(bad.heard), good.requests
        assert tried >= 3
        posted = [
            status_of(await gate.get(method="POST", fields="Content-Length: 0\r\n"))
            for _ in range(10)
        ]
        assert posted.count(502) == len(bad.heard) - tried >= 3
        assert posted.count(200) == good.requests - served


async def test_retries_are_a_share_of_requests() -> None:
    """Otherwise a tired upstream gets twice the load."""

    async def rude(stream: trio.SocketStream, origin: Origin) -> None:
        origin.heard.append(bytes(await stream.receive_some()))

    one, two = Origin(rude), Origin(rude)

    def both(_origins: Any) -> Any:
        return {
            "x": {
                "targets": (one.url, two.url),
                "retries": {"attempts": 2, "budget_percent": 10},
                "breaker": {"failures": 1000},
            }
        }

    async with gate_of({"one": one, "two": two}, upstreams=both, routes=routed()) as gate:
        for _ in range(60):
            assert status_of(await gate.get()) == 502
    assert 60 < len(one.heard) + len(two.heard) <= 60 + 10 + 6


async def test_a_broken_target_rests_and_comes_back() -> None:
    """Each request would else wait for who does not answer."""
    alive = [False]

    async def moody(stream: trio.SocketStream, origin: Origin) -> None:
        if alive[0]:
            await answering(OK)(stream, origin)
        origin.heard.append(b"")

    origin = Origin(moody)
    breaker = {"failures": 3, "rest_ms": 300}
    async with gate_of(
        {"x": origin}, upstreams=up(breaker=breaker, retries={"attempts": 1})
    ) as gate:
        assert [status_of(await gate.get()) for _ in range(6)] == [502, 502, 502, 503, 503, 503]
        assert len(origin.heard) == 3
        alive[0] = True
        await trio.sleep(0.35)
        assert status_of(await gate.get()) == 200
        assert status_of(await gate.get()) == 200


async def test_an_unwell_target_gets_nothing_until_it_is_well() -> None:
    """What its own check calls broken is no place for customers."""
    well = [True]

    async def checked(stream: trio.SocketStream, origin: Origin) -> None:
        data = bytes(await stream.receive_some())
        if data.startswith(b"GET /health"):
            code = b"200 OK" if well[0] else b"500 No"
            await stream.send_all(b"HTTP/1.1 " + code + b"\r\nContent-Length: 0\r\n\r\n")
            return
        origin.heard.append(data)
        await stream.send_all(OK)

    health = {"every_ms": 100, "unwell_after": 2, "well_after": 1}
    async with gate_of({"x": Origin(checked)}, upstreams=up(health=health)) as gate:
        target = gate.upstreams["x"].targets[0]
        assert status_of(await gate.get()) == 200
        well[0] = False
        await until(lambda: not target.well)
        assert status_of(await gate.get()) == 503
        well[0] = True
        await until(lambda: target.well)
        assert status_of(await gate.get()) == 200


async def test_an_upstream_that_is_slow_or_says_nonsense_is_said_to_be() -> None:
    """The caller must know that it was not the gateway's nor its own fault."""

    async def silent(stream: trio.SocketStream, _origin: Origin) -> None:
        await stream.receive_some()
        await trio.sleep_forever()

    origins = {
        "silent": Origin(silent),
        "garbage": Origin(answering(b"\x00\x01garbage\r\n\r\n")),
        "lengths": Origin(
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
        ),
        "both": Origin(
            answering(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
        ),
        "folded": Origin(answering(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n")),
        "bare": Origin(answering(b"HTTP/1.1 200 OK\nX: a\r\nContent-Length: 0\r\n\r\n")),
        "endless": Origin(answering(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n")),
        "unasked": Origin(answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")),
    }

    def quick(found: Any) -> Any:
        return {
            name: {"targets": (one.url,), "response_ms": 200, "retries": {"attempts": 1}}
            for name, one in found.items()
        }

    async with gate_of(origins, upstreams=quick) as gate:
        for name in origins:
            answer = await gate.get(f"/{name}")
            assert status_of(answer) == (504 if name == "silent" else 502), (name, answer)
            assert b'"code":"upstreamTimeout"' in answer or b'"code":"badGateway"' in answer


async def test_an_answer_that_is_cut_off_is_never_taken_for_whole() -> None:
    """Half a file that looks whole is worse than none."""
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"

    def closing(raw: bytes) -> Any:
        async def run(stream: trio.SocketStream, _origin: Origin) -> None:
            await stream.receive_some()
            await stream.send_all(raw)

        return run

    async with gate_of({"cut": Origin(closing(cut)), "chunks": Origin(closing(chunks))}) as gate:
        assert b"Content-Length: 100" in (short := await gate.get("/cut"))
        assert body_of(short) == b"half"
        assert not (await gate.get("/chunks")).endswith(b"0\r\n\r\n")


async def test_a_websocket_passes_through() -> None:
    """Live data is what people pay for, too."""

    async def socket(stream: trio.SocketStream, origin: Origin) -> None:
        origin.heard.append(bytes(await stream.receive_some()))
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\nhello"
        )
        while data := await stream.receive_some():
            await stream.send_all(data[::-1])

    origin = Origin(socket)
    ask = b"GET /x HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with gate_of({"x": origin}, routes=routed(websocket=True)) as gate:
        stream = await gate.connect()
        await stream.send_all(ask)
        with trio.fail_after(10):
            answer = b""
            while not answer.endswith(b"hello"):
                answer += await stream.receive_some()
            await stream.send_all(b"abc")
            assert await stream.receive_some() == b"cba"
        await stream.aclose()
    assert status_of(answer) == 101
    assert b"upgrade: websocket" in origin.heard[0].lower()
    async with gate_of({"x": Origin()}) as gate:
        assert (
            status_of(await gate.say(ask.replace(b"Upgrade\r\n", b"Upgrade, close\r\n", 1))) == 200
        )


async def test_routes_are_chosen_by_host_path_method_and_header_the_most_exact_first() -> None:
    """A price on one route is worth nothing if another one leads to the same place."""
    origins = {
        name: Origin(
            answering(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())
            )
        )
        for name in ("all", "one", "exact", "host", "beta")
    }
    routes = (
        {"name": "all", "path": "/**", "upstream": "all"},
        {"name": "one", "path": "/a/*", "upstream": "one", "methods": ("GET",)},
        {"name": "exact", "path": "/a/b", "upstream": "exact", "methods": ("GET", "POST")},
        {"name": "host", "path": "/**", "upstream": "host", "hosts": ("*.example",)},
        {"name": "beta", "path": "/a/b", "upstream": "beta", "headers": {"x-version": "2"}},
    )
    async with gate_of(origins, routes=routes) as gate:
        for path, fields, wanted in (
            ("/", "", b"all"),
            ("/a/c", "", b"one"),
            ("/a/b", "", b"exact"),
            ("/a/b", "X-Version: 2\r\n", b"beta"),
            ("/a/b/c", "", b"all"),
            ("/a", "", b"all"),
        ):
            assert body_of(await gate.get(path, fields)) == wanted, path
        assert (
            body_of(await gate.get("/a/c", method="POST", fields="Content-Length: 0\r\n")) == b"all"
        )
        ask = b"GET /a/b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
        assert body_of(await gate.say(ask % b"api.example:80")) == b"host"
        assert body_of(await gate.say(ask % b"example")) == b"exact"


async def test_what_has_no_route_is_said_to_have_none() -> None:
    """A typing error must not look like an outage."""
    async with gate_of({"x": Origin()}, routes=routed(methods=("GET",))) as gate:
        assert status_of(await gate.get("/y")) == 404
        wrong = await gate.get("/x", method="PUT", fields="Content-Length: 0\r\n")
        assert status_of(wrong) == 405 and b"Allow: GET" in wrong


async def test_pages_of_listed_origins_may_call_and_no_others() -> None:
    """Else every page in the world calls in its visitors' names."""
    cors = {"origins": ("https://page.example",), "credentials": True}
    ask = "Origin: {}\r\nAccess-Control-Request-Method: PUT\r\n"
    async with gate_of({"x": Origin()}, routes=routed(cors=cors)) as gate:
        good = await gate.get("/x", ask.format("https://page.example"), "OPTIONS")
        assert status_of(good) == 204
        assert b"Access-Control-Allow-Origin: https://page.example" in good
        other = await gate.get("/x", ask.format("https://evil.example"), "OPTIONS")
        assert b"Allow-Origin" not in other
        real = await gate.get("/x", "Origin: https://page.example\r\n")
        assert (
            b"Access-Control-Allow-Origin: https://page.example" in real and body_of(real) == b"ok"
        )


async def test_a_reload_drops_nobody() -> None:
    """Whoever is being served when a setting changes must not notice."""
    waits = trio.Event()

    async def slow(stream: trio.SocketStream, _origin: Origin) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nol")
        await waits.wait()
        await stream.send_all(b"d!")

    origins = {"x": Origin(slow), "y": Origin()}
    async with gate_of(origins) as gate, trio.open_nursery() as nursery:
        found: list[bytes] = []

        async def ask() -> None:
            found.append(await gate.get())

        nursery.start_soon(ask)
        await trio.sleep(0.1)
        fresh = config_of({"x": origins["y"]})
        upstreams = {"x": Upstream("x", fresh.upstreams["x"], trio.current_time)}
        gate.front.state = State(fresh, Router(fresh.routes), upstreams)
        assert body_of(await gate.get()) == b"ok"
        waits.set()
        await trio.sleep(0.1)
        assert body_of(found[0]) == b"old!"
        await upstreams["x"].close()


async def test_a_stop_lets_requests_end_and_closes_what_waits() -> None:
    """An upgrade at noon must not cut a download."""
    goes = trio.Event()

    async def slow(stream: trio.SocketStream, _origin: Origin) -> None:
        await stream.receive_some()
        await goes.wait()
        await stream.send_all(OK)

    async with gate_of({"x": Origin(slow)}) as gate, trio.open_nursery() as nursery:
        found: list[bytes] = []
        idle = await gate.connect()

        async def ask() -> None:
            stream = await gate.connect()
            await stream.send_all(b"GET /x HTTP/1.1\r\nHost: gate\r\n\r\n")
            found.append(await rest_of(stream))
            await stream.aclose()

        nursery.start_soon(ask)
        await trio.sleep(0.1)
        gate.front.stop()
        with trio.fail_after(5):
            assert await idle.receive_some() == b""
        await idle.aclose()
        with pytest.raises(OSError):
            await gate.connect()
        goes.set()
        await trio.sleep(0.1)
        assert body_of(found[0]) == b"ok" and b"Connection: close" in found[0]


async def test_each_answer_can_be_found_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Support has nothing but the id that the customer reads out."""
    caplog.set_level("INFO", "clawpurse.gateway.access")
    async with gate_of({"x": Origin()}) as gate:
        answer = await gate.get("/x/y?token=secret", "X-Request-Id: order-7\r\n")
        bad = await gate.get("/x/y", "X-Request-Id: a b\\u0001\r\n")
    assert b"X-Request-Id: order-7" in answer and b"X-Request-Id: a b" not in bad
    first = caplog.records[0]
    assert (first.request, first.route, first.bytes) == ("order-7", "x", 2)  # type: ignore[attr-defined]
    assert "secret" not in caplog.text
