"""WebSocket: the same answers as over HTTP, RFC 6455's closes, and bounded memory."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from clawpurse.modules.kit.web.guard import Budgets
from clawpurse.modules.kit.web.jsonrpc import Method

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Socket:
    """A WebSocket client on a raw client, by wsproto."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.protocol = Connection(ConnectionType.CLIENT)
        self.events: list[Any] = []

    @classmethod
    async def open(cls, raw: Any, fields: bytes = b"") -> Socket:
        await raw.send(HANDSHAKE[:-2] + fields + b"\r\n")
        head = await raw.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        # The answer to the example key of RFC 6455 §1.3.
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        return cls(raw)

    async def send(self, event: Any) -> None:
        await self.raw.send(bytes(self.protocol.send(event)))

    async def call(self, ident: Any, method: str, params: Any = None) -> None:
        request = {"jsonrpc": "2.0", "id": ident, "method": method}
        await self.send(TextMessage(json.dumps({**request, "params": params or {}})))

    async def next(self) -> Any:
        while not self.events:
            self.protocol.receive_data(self.raw.rest)
            self.raw.rest = b""
            self.events.extend(self.protocol.events())
            if not self.events:
                data = bytes(await self.raw.stream.receive_some(65536))
                if not data:
                    return None
                self.protocol.receive_data(data)
                self.events.extend(self.protocol.events())
        return self.events.pop(0)

    async def message(self) -> Any:
        text = ""
        while True:
            event = await self.next()
            if isinstance(event, Ping):
                await self.send(event.response())
                continue
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                return json.loads(text)

    async def closing(self) -> Any:
        """Read on to the close frame; None when the connection just ends."""
        while True:
            event = await self.next()
            if event is None or isinstance(event, CloseConnection):
                return event


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    """A client frame made by hand, also wrong ones; masked with zeros."""
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head = bytes([first, bit | len(payload)])
    elif len(payload) < 65536:
        head = bytes([first, bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + len(payload).to_bytes(8, "big")
    return head + (b"\0\0\0\0" if mask else b"") + payload


CALL = b'{"jsonrpc":"2.0","id":1,"method":"sum","params":[1,2]}'


async def test_calls_batches_errors_and_notifications(web: Any) -> None:
    socket = await Socket.open(web.connect())
    await socket.call(1, "sum", [1, 2])
    assert (await socket.message())["result"] == 3
    await socket.send(TextMessage("[" + CALL.decode() + ', {"jsonrpc":"2.0","method":"x"}]'))
    assert [a["result"] for a in await socket.message()] == [3]
    await socket.send(TextMessage("nonsense"))
    assert (await socket.message())["error"]["code"] == -32700
    await socket.send(TextMessage('{"jsonrpc":"2.0","method":"notify_hello","params":[5]}'))
    await socket.call(2, "nothing")
    assert (await socket.message())["error"]["code"] == -32601
    assert web.calls == [5]


async def test_a_long_answer_in_pieces_is_one_message(make_web: Any) -> None:
    """Otherwise a client of the socket gets what no one can parse, or a pong in the middle."""

    async def rows(_params: Any, _context: Any) -> list[str]:
        await trio.lowlevel.checkpoint()
        return ["x" * 100] * 3_000

    web = make_web(extra_methods=[Method("test_rows", "Rows", rows)])
    socket = await Socket.open(web.connect())
    await socket.call(1, "test_rows")
    await socket.send(Ping())
    text, is_over = "", False
    while not is_over:
        event = await socket.next()
        if not isinstance(event, Pong):
            text, is_over = text + event.data, event.message_finished
    assert json.loads(text)["result"] == ["x" * 100] * 3_000


async def test_quick_calls_overtake_only_those_that_wait(web: Any, autojump_clock: Any) -> None:
    """A client that waits for a payment can go on asking; the rest stays in order."""
    socket = await Socket.open(web.connect())
    await socket.call(1, "test_wait", [3000])
    await socket.call(2, "test_slow", [1000])
    await socket.call(3, "sum", [1])
    await socket.call(4, "test_echoLater", ["x"])
    assert [(await socket.message())["id"] for _ in range(4)] == [2, 3, 4, 1]


async def test_waiting_calls_are_bounded(make_web: Any, autojump_clock: Any) -> None:
    web = make_web(limits={"ws_calls_waiting_max": 3})
    socket = await Socket.open(web.connect())
    for number in range(4):
        await socket.call(number, "test_wait", [1000])
    first = await socket.message()
    assert (first["id"], first["error"]["code"]) == (3, -32004)
    assert {(await socket.message())["id"] for _ in range(3)} == {0, 1, 2}


async def test_a_message_in_many_fragments_with_pings_between(web: Any) -> None:
    socket = await Socket.open(web.connect())
    pieces = [CALL[i : i + 5] for i in range(0, len(CALL), 5)]
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        await socket.raw.send(frame(0x1 if number == 0 else 0x0, piece, fin=last))
        if number % 4 == 0:
            await socket.send(Ping(b"p%d" % number))
            event = await socket.next()
            assert isinstance(event, Pong)
            assert bytes(event.payload) == b"p%d" % number
    assert (await socket.message())["result"] == 3


@settings(max_examples=40)
@given(st.lists(st.integers(1, 400), max_size=8))
def test_frames_mean_the_same_however_they_arrive(run_web: Any, cuts: list[int]) -> None:
    raw = HANDSHAKE + frame(1, CALL) + frame(9, b"hi") + frame(1, CALL[:20], fin=False)
    raw += frame(0, CALL[20:]) + frame(8, b"\x03\xe8bye")

    async def scenario(web: Any) -> None:
        client = web.connect()
        places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
        for start, stop in itertools.pairwise(places):
            await client.send(raw[start:stop])
            await trio.testing.wait_all_tasks_blocked()
        await client.until(b"\r\n\r\n")
        answer = await client.receive_to_end()
        assert answer.count(b'"result":3') == 2
        assert b"\x8a\x02hi" in answer
        assert answer.endswith(b"\x88\x05\x03\xe8bye")

    run_web(scenario)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, CALL, mask=False), 1002),
        (frame(2, CALL), 1003),
        (frame(1, b"\xff\xfe"), 1007),
        (frame(0, b"x"), 1002),
        (frame(1, b"x", fin=False) + frame(1, b"x"), 1002),
        (frame(0x3, b"x"), 1002),
        (frame(0xB, b"x"), 1002),
        (frame(0x9, b"x" * 126), 1002),
        (frame(0x9, b"x", fin=False), 1002),
        (bytes([0xC1]) + frame(1, CALL)[1:], 1002),
        (b"\x81\xfe\x00\x01\0\0\0\0x", 1002),
        (b"\x81\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0", 1002),
        (frame(8, b"\x03"), 1002),
        (frame(8, b"\x03\xed"), 1002),
        (frame(8, b"\x00\x01"), 1002),
        (frame(8, b"\x03\xe8\xff\xff"), 1007),
        (frame(1, b" " * (1024 * 1024 + 1)), 1009),
        (b"".join(frame(0 if i else 1, b" " * 60_000, fin=False) for i in range(20)), 1009),
        (frame(1, b"", fin=False) + frame(0, b"", fin=False) * 5000, 1009),
    ],
)
async def test_broken_rules_get_the_close_code_of_the_rfc(
    web: Any, data: bytes, code: int, autojump_clock: Any
) -> None:
    socket = await Socket.open(web.connect())
    with trio.move_on_after(5):
        await socket.raw.send(data)
    event = await socket.closing()
    assert int(event.code) == code
    assert sum(web.log.counts.values()) == 1
    await web.until_closed()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"\x03\xe8"),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x0f\xa0own", b"\x0f\xa0own"),
        (b"\x03\xe9", b"\x03\xe9"),
    ],
)
async def test_a_close_is_answered_and_the_connection_ends(
    web: Any, sent: bytes, answer: bytes, autojump_clock: Any
) -> None:
    raw = web.connect()
    await Socket.open(raw)
    await raw.send(frame(8, sent))
    reply = await raw.receive_to_end()
    assert reply[:1] == b"\x88"
    assert reply[2:] == answer
    assert web.log.counts == {}
    await web.until_closed()


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 426),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"X: y", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"???", 400),
        (b"Upgrade: websocket", b"Upgrade: h2c", 426),
        (b"Connection: Upgrade", b"Connection: close", 426),
        (b"GET /ws HTTP/1.1", b"GET /ws HTTP/1.0", 426),
        (b"GET /ws", b"GET /other", 404),
        (b"GET /ws", b"POST /ws", 405),
    ],
)
async def test_a_wrong_handshake_is_an_http_answer(
    web: Any, field: bytes, value: bytes, status: int
) -> None:
    client = web.connect()
    await client.send(HANDSHAKE.replace(field, value))
    assert (await client.response())[0] == status


async def test_extensions_are_not_accepted(web: Any) -> None:
    """A compressed message of a few bytes can unpack to gigabytes."""
    raw = web.connect()
    await raw.send(HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    assert b"xtension" not in await raw.until(b"\r\n\r\n")


async def test_a_silent_client_is_pinged_and_then_dropped(web: Any, autojump_clock: Any) -> None:
    """A half-open connection (the other machine lost its power) must not stay for ever."""
    socket = await Socket.open(web.connect())
    started = trio.current_time()
    assert isinstance(await socket.next(), Ping)
    assert 19 < trio.current_time() - started < 21
    assert await socket.closing() is None
    assert 50 < trio.current_time() - started < 85
    assert web.log.counts == {"half-open": 1}


async def test_a_client_that_answers_pings_stays(web: Any, autojump_clock: Any) -> None:
    socket = await Socket.open(web.connect())
    for _ in range(10):
        event = await socket.next()
        assert isinstance(event, Ping)
        await socket.send(event.response())
    await socket.call(1, "sum", [1])
    assert (await socket.message())["result"] == 1


async def test_a_dripped_message_ends_on_the_deadline(web: Any, autojump_clock: Any) -> None:
    socket = await Socket.open(web.connect())
    await socket.raw.send(frame(1, b"{", fin=False))
    started = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                await trio.sleep(5)
                await socket.raw.send(frame(0, b" ", fin=False))

        nursery.start_soon(drip)
        assert await socket.closing() is None
        nursery.cancel_scope.cancel()
    assert trio.current_time() - started < 65
    assert web.log.counts == {"timeout-message": 1}


async def test_a_client_that_asks_and_does_not_read_costs_one_buffer(
    make_web: Any, autojump_clock: Any
) -> None:
    web = make_web(limits={"ws_outgoing_bytes_max": 600_000})
    raw = web.connect(pair=trio.testing.lockstep_stream_pair)
    socket = await Socket.open(raw)
    asked = 0
    with trio.move_on_after(5):
        while asked < 1000:
            await socket.call(asked, "test_large")
            asked += 1
    # Two answers of 300 kB fill the buffer, one is with the network, then reading stops.
    assert asked < 10
    await web.until_closed()
    assert web.log.counts == {"slow-client": 1}


async def test_pings_without_reading_cost_nothing(make_web: Any, autojump_clock: Any) -> None:
    web = make_web(limits={"ws_outgoing_bytes_max": 1000})
    raw = web.connect(pair=trio.testing.lockstep_stream_pair)
    await Socket.open(raw)
    with trio.move_on_after(30):
        for _ in range(10_000):
            await raw.send(frame(9, b"x" * 100))
    answered = 0
    with trio.move_on_after(1):
        while True:
            answered += len(await raw.stream.receive_some(65536))
    assert answered < 20_000


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=5))
def test_random_frames_never_crash_a_server(run_web: Any, pieces: list[bytes]) -> None:
    async def scenario(web: Any) -> None:
        raw = web.connect()
        await raw.send(HANDSHAKE)
        for piece in pieces:
            try:
                await raw.send(piece)
            except trio.BrokenResourceError:
                break
        with trio.fail_after(300):
            await raw.receive_to_end()
        assert "incident" not in web.log.counts

    run_web(scenario)


async def test_binary_answers_do_not_exist_and_text_is_utf_8(web: Any) -> None:
    socket = await Socket.open(web.connect())
    await socket.call(1, "test_echo", ["grüße 🦞"])
    assert (await socket.message())["result"] == "grüße 🦞"
    await socket.send(BytesMessage(b"x"))
    assert int((await socket.closing()).code) == 1003


async def test_a_stopping_server_says_so_after_the_calls_under_way(
    web: Any, nursery: Any, autojump_clock: Any
) -> None:
    nursery.start_soon(web.server.run, [])
    await trio.testing.wait_all_tasks_blocked()
    socket = await Socket.open(web.connect())
    await socket.call(1, "test_slow", [1000])
    await trio.testing.wait_all_tasks_blocked()
    web.server.stop()
    assert (await socket.message())["result"] == "waited"
    event = await socket.closing()
    assert int(event.code) == 1001
    await socket.send(event.response())
    started = trio.current_time()
    await web.until_closed()
    assert trio.current_time() - started < 2


async def test_a_client_over_its_budget_is_refused_and_read_slowly(
    make_web: Any, autojump_clock: Any
) -> None:
    """Refusing is work too: a flood of refused calls must not be answered at full speed."""
    web = make_web(budgets=Budgets(1, 10))
    socket = await Socket.open(web.connect())
    for number in range(60):
        await socket.call(number, "sum", [1])
    codes = [(await socket.message()).get("error", {}).get("code") for _ in range(60)]
    assert codes[:10] == [None] * 10
    assert set(codes[10:]) <= {None, -32005}
    assert trio.current_time() > 20
    await trio.sleep(15)
    await socket.call(99, "sum", [1])
    assert (await socket.message())["result"] == 1


async def test_nothing_follows_the_close_of_a_server_that_stops(
    web: Any, nursery: Any, autojump_clock: Any
) -> None:
    nursery.start_soon(web.server.run, [])
    await trio.testing.wait_all_tasks_blocked()
    raw = web.connect()
    socket = await Socket.open(raw)
    web.server.stop()
    await trio.testing.wait_all_tasks_blocked()
    await socket.call(1, "sum", [1])
    assert (await raw.receive_to_end()).endswith(b"\x88\x0e\x03\xe9server stops")


async def test_a_session_ends_its_tasks_when_the_line_is_cut(web: Any, autojump_clock: Any) -> None:
    socket = await Socket.open(web.connect())
    for number in range(5):
        await socket.call(number, "test_wait", [4000])
    await socket.call(9, "test_slow", [4000])
    await trio.testing.wait_all_tasks_blocked()
    await socket.raw.stream.aclose()
    started = trio.current_time()
    await web.until_closed()
    assert trio.current_time() - started < 1
