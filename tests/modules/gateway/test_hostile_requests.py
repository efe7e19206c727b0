"""What attackers send to gateways: none of it reaches an upstream, or takes the gateway's time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.modules.gateway.paths import canonical
from clawpurse.modules.kit.web.head import HttpRefusal
from tests.modules.gateway.gateworld import (
    Origin,
    answering,
    body_of,
    gate_of,
    rest_of,
    status_of,
)

SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: gate\r\n"
SMUGGLING = {
    "both": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "both-other-way": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two-lengths": POST + b"Content-Length: 0\r\nContent-Length: 30\r\n\r\n" + SMUGGLED,
    "list-of-lengths": POST + b"Content-Length: 0, 30\r\n\r\n" + SMUGGLED,
    "signed-length": POST + b"Content-Length: +30\r\n\r\n" + SMUGGLED,
    "hex-length": POST + b"Content-Length: 0x1e\r\n\r\n" + SMUGGLED,
    "blank-before-colon": POST + b"Content-Length : 30\r\n\r\n" + SMUGGLED,
    "folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding-twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding-identity": POST + b"Transfer-Encoding: identity\r\n\r\n" + SMUGGLED,
    "coding-mistyped": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding-quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + SMUGGLED,
    "coding-tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "coding-with-1.0": b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "bare-lf": POST.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n" + SMUGGLED,
    "bare-lf-in-fields": POST + b"X: a\nContent-Length: 30\r\n\r\n" + SMUGGLED,
    "bare-cr": POST + b"X: a\rContent-Length: 30\r\n\r\n" + SMUGGLED,
    "nul": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "chunk-size-signed": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SMUGGLED,
    "chunk-size-0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + SMUGGLED,
    "chunk-bare-lf": POST + b"Transfer-Encoding: chunked\r\n\r\n0\n\n" + SMUGGLED,
    "chunk-longer": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + SMUGGLED,
    "chunk-huge": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "two-hosts": b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no-host": b"GET /x HTTP/1.1\r\n\r\n",
    "odd-host": b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "connect": b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n",
    "version-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version-0.9": b"GET /x\r\n\r\n",
    "blanks-in-line": b"GET  /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls-on-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
}


@pytest.mark.parametrize("name", SMUGGLING)
async def test_two_readers_cannot_disagree_about_where_a_request_ends(name: str) -> None:
    """A smuggled request is served with somebody else's rights, or for nothing."""
    origin = Origin()
    async with gate_of({"x": origin}) as gate:
        answer = await gate.say(SMUGGLING[name], end=True)
    # One answer, a refusal, and the connection is over.
    assert status_of(answer) in (400, 413, 501, 505), answer
    assert answer.count(b"\r\nContent-Length: ") == 1
    assert b"admin" not in b"".join(origin.heard)


TRICKS = [
    *("/x/../admin", "/x/./y", "/x/..", "//x", "/x//y", "/x/%2e%2e/admin", "/x/%2E./admin"),
    *("/x%2fy", "/x%2Fy", "/x%5cy", "/x\\y", "/x;a=1", "/x%3ba", "/x/%00", "/x%0d%0aX:1", "/x%7f"),
    *("/x%", "/x%2", "/x%zz", "/x%252e", "/x/%25", "x", "/x<y>", '/x"y', "/x y"),
]


@pytest.mark.parametrize("path", TRICKS)
async def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str) -> None:
    """The price of one path would be paid for another, or for none."""
    origin = Origin()
    async with gate_of({"x": origin}) as gate:
        answer = await gate.say(f"GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n".encode(), end=True)
    assert status_of(answer) == 400, answer
    assert origin.heard == []


@pytest.mark.parametrize(
    ("path", "one"),
    [
        ("/", "/"),
        ("/a/", "/a/"),
        ("/a%62c", "/abc"),
        ("/%7euser", "/~user"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
    ],
)
def test_several_spellings_of_a_path_become_one(path: str, one: str) -> None:
    """Whoever spells a path in another way must not get another price."""
    assert canonical(path) == one
    assert canonical(one) == one


@given(st.text(alphabet="/.%;\\abcAE25Ff0~- \x00é", max_size=24).map(lambda rest: "/" + rest))
def test_a_canonical_path_is_its_own_and_climbs_nowhere(path: str) -> None:
    """For whatever anybody writes."""
    try:
        found = canonical(path)
    except HttpRefusal as refusal:
        assert refusal.status == 400
        return
    assert canonical(found) == found
    words = found[1:].split("/")
    assert not {".", ".."} & set(words)
    assert "//" not in found and "\\" not in found and ";" not in found
    for code in ("%2F", "%2E", "%5C", "%25", "%3B", "%00"):
        assert code not in found.upper()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: gate\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"GET /x HTTP/1.1\r\nHost: gate\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: gate\r\n\r\n", 414),
        (POST + b"Content-Length: 99999999999\r\n\r\n", 413),
        (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    ],
)
async def test_bombs_are_answered_and_held_by_nobody(raw: bytes, status: int) -> None:
    """Memory is what attackers take first."""
    origin = Origin()
    async with gate_of({"x": origin}) as gate:
        assert status_of(await gate.say(raw, end=True)) == status


async def test_a_chunked_body_beyond_its_limit_is_stopped_on_the_way() -> None:
    """Its length is not known before; the limit counts all the same."""

    async def sink(stream: trio.SocketStream, origin: Origin) -> None:
        while data := await stream.receive_some():
            origin.heard.append(bytes(data))

    origin = Origin(sink)
    routes: Any = ({"name": "x", "path": "/x", "upstream": "x", "body_bytes_max": 1_000},)
    body = (b"a" * 100).join([b"64\r\n", b"\r\n"]) * 20 + b"0\r\n\r\n"
    async with gate_of({"x": origin}, routes=routes) as gate:
        answer = await gate.say(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert status_of(answer) == 413
    assert sum(len(data) for data in origin.heard) < 2_000
    assert not b"".join(origin.heard).endswith(b"0\r\n\r\n")


async def test_who_sends_slowly_is_answered_and_let_go() -> None:
    """A byte now and then would else hold a connection for ever."""
    origin = Origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    routes: Any = ({"name": "x", "path": "/x", "upstream": "x", "body_ms": 300},)
    async with gate_of({"x": origin}, routes=routes, head_ms=300) as gate:
        for start in (b"GET /x HTT", b""):
            stream = await gate.connect()
            began = trio.current_time()
            await stream.send_all(start)
            found = await rest_of(stream)
            await stream.aclose()
            assert trio.current_time() - began < 5
            assert status_of(found) == 408 if start else found == b""


async def test_a_body_that_drips_is_cut_off() -> None:
    """The same behind the head: the upstream's connection is held as well."""

    async def sink(stream: trio.SocketStream, _origin: Origin) -> None:
        while await stream.receive_some():
            pass

    routes: Any = ({"name": "x", "path": "/x", "upstream": "x", "body_ms": 300},)
    async with gate_of({"x": Origin(sink)}, routes=routes) as gate:
        stream = await gate.connect()
        await stream.send_all(POST + b"Content-Length: 1000\r\n\r\n")
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                try:
                    for _ in range(100):
                        await stream.send_all(b"a")
                        await trio.sleep(0.05)
                except trio.BrokenResourceError:
                    return

            nursery.start_soon(drip)
            with trio.fail_after(10):
                found = await rest_of(stream)
            nursery.cancel_scope.cancel()
        await stream.aclose()
    assert status_of(found) == 408


async def test_an_upstream_that_refuses_early_is_heard() -> None:
    """Otherwise a large upload that nobody takes is read to its end."""

    async def refuse(stream: trio.SocketStream, _origin: Origin) -> None:
        await stream.receive_some()
        await stream.send_all(
            b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        )

    async with gate_of({"x": Origin(refuse)}) as gate:
        stream = await gate.connect()
        await stream.send_all(POST + b"Content-Length: 10000000\r\n\r\n" + b"a" * 1000)
        with trio.fail_after(10):
            answer = await rest_of(stream)
        await stream.aclose()
    assert status_of(answer) == 413 and body_of(answer) == b"no"
    assert b"Connection: close" in answer


async def test_a_client_that_waits_for_an_invitation_gets_it_after_the_checks() -> None:
    """RFC 9110 §10.1.1; curl waits a second for it with each upload."""

    async def echo(stream: trio.SocketStream, _origin: Origin) -> None:
        data = b""
        while not data.endswith(b"body"):
            data += await stream.receive_some()
        assert b"expect" not in data.lower()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    ask = b"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    async with gate_of({"x": Origin(echo)}) as gate:
        stream = await gate.connect()
        await stream.send_all(POST + ask)
        with trio.fail_after(10):
            assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"body")
        assert body_of(await rest_of(stream)) == b"ok"
        await stream.aclose()
        missing = await gate.say(POST.replace(b"/x", b"/none") + ask)
    assert status_of(missing) == 404


async def test_connections_are_bounded_for_each_client() -> None:
    """One address must not take the whole house."""
    async with gate_of({"x": Origin()}, connections_per_client_max=3) as gate:
        held = [await gate.connect() for _ in range(3)]
        for stream in held:
            await stream.send_all(b"GET /x HTTP/1.1\r\nHost: gate\r\n\r\n")
            await stream.receive_some()
        over = await gate.connect()
        assert await rest_of(over) == b""
        for stream in (*held, over):
            await stream.aclose()
        with trio.fail_after(5):
            while gate.front.counts.open:
                await trio.sleep(0.01)
        assert status_of(await gate.get()) == 200
    assert gate.front.counts.refusals["too-many-connections"] == 1
