"""The connection loop: order, limits, deadlines, and nothing lost or answered twice."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
CALL = b'{"jsonrpc":"2.0","id":1,"method":"subtract","params":[42,23]}'
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": 19}


def get(path: str = "/healthz", *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def echo(number: int) -> dict[str, Any]:
    params = {"someText": f"n{number}"}
    return {"jsonrpc": "2.0", "id": number, "method": "test_echo", "params": params}


async def test_a_call_is_answered_and_the_connection_kept(web: Any, make_post: Any) -> None:
    client = web.connect()
    for _ in range(3):
        await client.send(make_post(CALL))
        status, fields, body = await client.response()
        assert (status, json.loads(body)) == (200, ANSWER)
        assert fields["content-type"] == "application/json"
        assert "connection" not in fields


async def test_pipelined_requests_are_answered_in_order(web: Any, make_post: Any) -> None:
    """Quick and slow handlers mixed: an answer out of order would be taken for another's."""
    client = web.connect()
    burst = b""
    for number in range(100):
        name = "test_echo" if number % 3 else "test_echoLater"
        call = {**echo(number), "method": name}
        burst += make_post(json.dumps(call).encode())
    await client.send(burst)
    for number in range(100):
        _, _, body = await client.response()
        assert json.loads(body) == {"jsonrpc": "2.0", "id": number, "result": f"n{number}"}


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["length", "chunked", "get", "blank"]), st.integers(1, 30)),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.integers(0, 1500), max_size=12),
)
def test_requests_are_answered_the_same_however_the_bytes_arrive(
    run_web: Any, kinds: list[tuple[str, int]], cuts: list[int]
) -> None:
    raw = b""
    expected: list[Any] = []
    for number, (kind, size) in enumerate(kinds):
        body = json.dumps(echo(number)).encode()
        match kind:
            case "length":
                raw += b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
                raw += body
            case "chunked":
                raw += b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
                raw += chunked(body, size)
            case "blank":
                raw += b"\r\n" + get("/echo")
            case "get":
                raw += get("/echo")
        expected.append(number if kind in ("length", "chunked") else b"GET /echo  None")

    async def scenario(web: Any) -> None:
        client = web.connect()
        places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
        for start, stop in itertools.pairwise(places):
            await client.send(raw[start:stop])
            await trio.testing.wait_all_tasks_blocked()
        for item in expected:
            status, _, body = await client.response()
            assert status == 200
            if isinstance(item, int):
                assert json.loads(body)["result"] == f"n{item}"
            else:
                assert body == item
        assert not client.rest

    run_web(scenario)


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6), st.booleans())
def test_random_bytes_get_an_error_or_a_close_and_harm_nobody_else(
    run_web: Any, pieces: list[bytes], after_good: bool
) -> None:
    async def scenario(web: Any) -> None:
        bad, good = web.connect(), web.connect()
        assert await good.rpc(json.loads(CALL)) == (200, ANSWER)
        if after_good:
            await bad.send(b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 61\r\n\r\n" + CALL)
        for piece in pieces:
            try:
                await bad.send(piece)
            except trio.BrokenResourceError:
                break
        assert await good.rpc(json.loads(CALL)) == (200, ANSWER)
        with trio.fail_after(300):
            answer = await bad.receive_to_end()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        assert await web.connect().rpc(json.loads(CALL)) == (200, ANSWER)
        assert not web.faults
        assert "incident" not in web.log.counts

    run_web(scenario)


CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = [
    # Each must be refused, and the request hidden behind must never be answered.
    b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HEAD + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /echo\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\n folded\r\n\r\nhello",
    b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: +5\r\n\r\nhello",
]  # fmt: skip


@pytest.mark.parametrize("prefix", SMUGGLED)
async def test_a_request_hidden_behind_an_unclear_one_is_never_answered(
    web: Any, prefix: bytes, autojump_clock: Any
) -> None:
    client = web.connect()
    await client.send(prefix + get("/echo", "X-Test: hidden"))
    answer = await client.receive_to_end()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert answer.count(b"Content-Length: ") == 1
    assert b"hidden" not in answer
    assert b"Connection: close" in answer


async def test_good_requests_before_a_bad_one_are_still_answered(
    web: Any, autojump_clock: Any
) -> None:
    client = web.connect()
    await client.send(get() + get("/echo") + b"BAD\r\n\r\n" + get())
    answer = await client.receive_to_end()
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ") if part[:3].isdigit()]
    assert statuses == [b"200", b"200", b"400"]


@pytest.mark.parametrize(
    ("raw", "status", "slug"),
    [
        (b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1048577\r\n\r\n", 413, "body-too-large"),
        (
            b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n100001\r\n",
            413,
            "body-too-large",
        ),
        (b"GET /" + b"a" * 9000, 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000, 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 70 + b"\r\n", 431, "too-many-headers"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "not-http"),
        (b"\r\n" * 10 + get(), 400, "blank-lines"),
    ],
)
async def test_what_is_too_large_or_no_http_is_answered_named_and_logged(
    web: Any, raw: bytes, status: int, slug: str, autojump_clock: Any, caplog: Any
) -> None:
    client = web.connect()
    await client.send(raw)
    answer = await client.receive_to_end()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert web.log.counts == {slug: 1}
    assert caplog.records[0].peer == "memory"
    assert caplog.records[0].reason == slug


async def test_a_body_of_exactly_the_limit_is_taken(web: Any, make_post: Any) -> None:
    client = web.connect()
    await client.send(make_post(CALL + b" " * (1024 * 1024 - len(CALL))))
    status, _, body = await client.response()
    assert (status, json.loads(body)) == (200, ANSWER)


async def test_a_peer_that_drips_its_head_is_closed_on_the_deadline(
    web: Any, autojump_clock: Any
) -> None:
    """Slowloris: a byte now and then must not hold a connection for ever."""
    client = web.connect()
    started = trio.current_time()
    answer = b""
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            while True:
                await trio.sleep(1)
                await client.send(b"X: y\r\n")

        nursery.start_soon(drip)
        answer = await client.until(b"\r\n\r\n")
        nursery.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 408")
    assert trio.current_time() - started < 11
    assert web.log.counts == {"timeout-head": 1}


async def test_a_peer_that_drips_its_body_is_closed_on_the_deadline(
    web: Any, autojump_clock: Any
) -> None:
    client = web.connect()
    await client.send(b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 1000\r\n\r\n")
    started = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                await trio.sleep(1)
                await client.send(b" ")

        nursery.start_soon(drip)
        answer = await client.until(b"\r\n\r\n")
        nursery.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 408")
    assert 29 < trio.current_time() - started < 31


async def test_a_silent_connection_is_closed_without_an_answer(
    web: Any, autojump_clock: Any
) -> None:
    client = web.connect()
    started = trio.current_time()
    assert await client.receive_to_end() == b""
    assert 9 < trio.current_time() - started < 11
    assert web.server.counts.connections_open == 0


async def test_an_idle_connection_is_closed_without_complaint(
    web: Any, autojump_clock: Any
) -> None:
    client = web.connect()
    await client.send(get())
    await client.response()
    started = trio.current_time()
    assert await client.receive_to_end() == b""
    assert 50 < trio.current_time() - started < 65
    assert web.log.counts == {}


async def test_blank_lines_buy_no_time(web: Any, autojump_clock: Any) -> None:
    """Else an empty line a minute would hold a connection for ever."""
    client = web.connect()
    with pytest.raises(trio.BrokenResourceError):
        for number in range(60):
            await client.send(b"\r\n"[number % 2 :][:1])
            await trio.sleep(2)
    assert trio.current_time() < 20


async def test_idle_time_counts_anew_after_each_request(web: Any, autojump_clock: Any) -> None:
    client = web.connect()
    for _ in range(5):
        await trio.sleep(45 if _ else 5)
        await client.send(get())
        assert (await client.response())[0] == 200


async def test_a_peer_that_does_not_read_is_dropped_on_the_deadline(
    web: Any, make_post: Any, autojump_clock: Any
) -> None:
    """Its answers wait in one buffer, and then no longer."""
    client = web.connect(pair=trio.testing.lockstep_stream_pair)
    call = b'{"jsonrpc":"2.0","id":1,"method":"test_large"}'
    await client.send(make_post(call))
    started = trio.current_time()
    await web.until_closed()
    assert 55 < trio.current_time() - started < 66
    assert web.log.counts == {"timeout-peer-to-read": 1}


async def test_a_request_cut_off_is_told_so_and_a_clean_end_is_not(
    web: Any, autojump_clock: Any
) -> None:
    for raw in (b"GET / HT", b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\n123"):
        client = web.connect()
        await client.send(raw)
        await client.stream.send_eof()
        assert (await client.receive_to_end()).startswith(b"HTTP/1.1 400")
    client = web.connect()
    await client.stream.send_eof()
    assert await client.receive_to_end() == b""
    assert web.log.counts == {"cut-off": 2}


async def test_a_half_closed_client_still_gets_its_answers(
    web: Any, make_post: Any, autojump_clock: Any
) -> None:
    """`printf … | nc` closes its side at once; the answers, slow ones too, are still wanted."""
    client = web.connect()
    slow = b'{"jsonrpc":"2.0","id":1,"method":"test_slow","params":[2000]}'
    await client.send(make_post(slow) + make_post(CALL))
    await client.stream.send_eof()
    answer = await client.receive_to_end()
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_an_expected_continue_is_sent_and_only_when_needed(web: Any, make_post: Any) -> None:
    client = web.connect()
    head, _, body = make_post(CALL, Expect="100-continue").partition(b"\r\n\r\n")
    await client.send(head + b"\r\n\r\n")
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)
    assert (await client.response())[0] == 200
    await client.send(head + b"\r\n\r\n" + body)
    assert (await client.response())[0] == 200
    chunked_head = (
        b"POST / HTTP/1.1\r\n"
        + HEAD
        + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await client.send(chunked_head)
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(chunked(CALL, 10))
    assert (await client.response())[0] == 200


async def test_a_body_that_will_be_refused_is_not_invited(
    web: Any, make_post: Any, autojump_clock: Any
) -> None:
    for fields, status in (({"Content-Type": "text/plain"}, 415), ({"Host": "evil.example"}, 403)):
        client = web.connect()
        head, _, _ = make_post(CALL, Expect="100-continue", **fields).partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        answer = await client.receive_to_end()
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert b"Connection: close" in answer
    client = web.connect()
    await client.send(
        b"POST / HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
    )
    assert (await client.receive_to_end()).startswith(b"HTTP/1.1 413")


async def test_head_is_get_without_the_body(web: Any) -> None:
    client = web.connect()
    await client.send(get(method="HEAD") + get())
    status, fields, body = await client.response("HEAD")
    assert (status, fields["content-length"], body) == (200, "11", b"")
    assert (await client.response())[2] == b'{"ok":true}'


@pytest.mark.parametrize(
    ("request_bytes", "connection", "closes"),
    [
        (get(version="1.0"), "close", True),
        (get("/healthz", "Connection: keep-alive", version="1.0"), "keep-alive", False),
        (get("/healthz", "Connection: close"), "close", True),
        (get(), None, False),
    ],
)
async def test_the_connection_is_kept_or_closed_as_agreed(
    web: Any, request_bytes: bytes, connection: str | None, closes: bool
) -> None:
    client = web.connect()
    await client.send(request_bytes)
    _, fields, _ = await client.response()
    assert fields.get("connection") == connection
    if closes:
        assert await client.receive_to_end() == b""
    else:
        await client.send(get())
        assert (await client.response())[0] == 200


async def test_a_fault_of_a_route_leaks_nothing_and_ends_nothing(web: Any, caplog: Any) -> None:
    client = web.connect()
    await client.send(get("/broken") + get())
    status, _, body = await client.response()
    assert status == 500
    assert b"secret" not in body
    incident = body.split()[-1].decode()
    assert incident in caplog.text
    assert "secret detail" in caplog.text
    assert (await client.response())[0] == 200


async def test_one_client_that_asks_much_does_not_keep_the_loop(web: Any, make_post: Any) -> None:
    """Another's request is answered while a burst of a thousand is under way."""
    greedy, modest = web.connect(), web.connect()
    await greedy.send(make_post(CALL) * 1000)
    await modest.send(get())
    await modest.response()
    answered = (await greedy.stream.receive_some(10_000_000)).count(b"HTTP/1.1 200")
    assert answered < 1000


async def test_heads_that_differ_in_one_byte_are_not_confused(web: Any) -> None:
    """Remembered heads must never lend one request another's path or token."""
    client = web.connect()
    for number in range(40):
        await client.send(get(f"/echo?{number % 13}", f"X-Test: {number % 7}"))
        _, _, body = await client.response()
        assert body == f"GET /echo {number % 13} {number % 7}".encode()
