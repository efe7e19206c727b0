"""Many connections together hold no more than the allowance, and small requests go on."""

from __future__ import annotations

import json
from typing import Any

import trio
import trio.testing

from clawpurse.modules.kit.web.memory import FREE_BYTES, Memory, Share

CALL = {"jsonrpc": "2.0", "id": 1, "method": "get_data"}
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_shares_add_up_and_small_ones_are_free() -> None:
    memory = Memory(300_000)
    one, two = Share(memory), Share(memory)
    assert one.resize(200_000)
    assert not two.resize(200_000)
    assert two.resize(FREE_BYTES)
    assert memory.bytes_used == 200_000
    assert not two.resize(2 * FREE_BYTES + 100_001)
    assert one.resize(100_000)
    assert two.resize(200_000)
    one.release()
    two.release()
    one.release()
    assert memory.bytes_used == 0


async def test_many_large_bodies_at_once_are_refused_and_small_requests_go_on(
    make_web: Any, autojump_clock: Any
) -> None:
    """Without this a thousand strangers with a mebibyte each take the node's memory."""
    web = make_web(limits={"memory_bytes_max": 4_000_000})
    senders = [web.connect() for _ in range(20)]
    for number, sender in enumerate(senders):
        coding = b"Transfer-Encoding: chunked\r\n" if number % 2 else b"Content-Length: 1000000\r\n"
        start = b"e0000\r\n" if number % 2 else b""
        await sender.send(HEAD + coding + b"\r\n" + start + b" " * 900_000)
        await trio.testing.wait_all_tasks_blocked()
    assert web.server.memory.bytes_used <= 4_000_000
    assert web.log.counts == {"memory": 16}
    assert await web.connect().rpc(CALL) == (
        200,
        {"jsonrpc": "2.0", "id": 1, "result": ["hello", 5]},
    )
    refused = await senders[-1].receive_to_end()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b'"code":-32005' in refused
    await web.until_closed()
    assert web.server.memory.bytes_used == 0


async def test_large_calls_under_way_and_unread_answers_count_too(
    make_web: Any, make_post: Any, autojump_clock: Any
) -> None:
    web = make_web(limits={"memory_bytes_max": 2_000_000})
    slow = b'{"jsonrpc":"2.0","id":1,"method":"test_slow","params":[3000]}' + b" " * 100_000
    callers = [web.connect() for _ in range(4)]
    for caller in callers:
        await caller.send(make_post(slow))
        await trio.testing.wait_all_tasks_blocked()
    assert web.log.counts == {"memory": 2}
    for caller in callers[:2]:
        assert (await caller.response())[0] == 200
    assert (await callers[3].response())[0] == 503
    large = b'{"jsonrpc":"2.0","id":1,"method":"test_large"}'
    readers = [web.connect(pair=trio.testing.lockstep_stream_pair) for _ in range(10)]
    for reader in readers:
        await reader.send(make_post(large))
        await trio.testing.wait_all_tasks_blocked()
    assert web.server.memory.bytes_used <= 2_000_000
    assert web.log.counts["memory"] == 2 + 4
    await web.until_closed()
    assert web.server.memory.bytes_used == 0


async def test_websockets_share_the_same_allowance(make_web: Any, autojump_clock: Any) -> None:
    web = make_web(limits={"memory_bytes_max": 1_500_000})
    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    # A fragment of 900 kB, masked with zeros, that is not the last of its message.
    fragment = b"\x01\xff" + (900_000).to_bytes(8, "big") + b"\0\0\0\0" + b" " * 900_000
    talkers = [web.connect() for _ in range(3)]
    for talker in talkers:
        await talker.send(handshake + fragment)
        await trio.testing.wait_all_tasks_blocked()
    assert web.server.memory.bytes_used <= 1_500_000
    assert web.log.counts == {"memory": 2}
    assert (await talkers[2].receive_to_end()).endswith(b"\x88\x08\x03\xf5memory")
    for talker in talkers[:2]:
        await talker.stream.aclose()
    await web.until_closed()
    assert web.server.memory.bytes_used == 0


async def test_a_dense_message_is_refused_before_it_is_read(web: Any, make_post: Any) -> None:
    """A mebibyte of empty arrays would stop the loop for 150 ms."""
    client = web.connect()
    for body in (b"[" + b"[]," * 300_000 + b"[]]", b'{"a":{' + b'"":0,' * 200_000 + b'"":0}}'):
        await client.send(make_post(body))
        _, _, answer = await client.response()
        assert json.loads(answer)["error"]["code"] == -32004
    many = {"jsonrpc": "2.0", "id": 1, "method": "get_data"}
    for params in ({f"k{n}": n for n in range(9000)}, list(range(9_000))):
        _, answer = await client.rpc({**many, "params": params})
        assert answer["error"]["code"] == -32602
        assert len(json.dumps(answer)) < 1000


async def test_batches_in_the_making_count_and_take_turns(
    make_web: Any, autojump_clock: Any
) -> None:
    """Sixty batches of large answers side by side took two gibibytes and eight seconds."""
    web = make_web(limits={"memory_bytes_max": 3_000_000})
    slow = {"jsonrpc": "2.0", "method": "test_slow", "params": [3000], "id": 99}
    large = [{"jsonrpc": "2.0", "id": n, "method": "test_large"} for n in range(7)]
    answers: list[list[int]] = []

    async def ask() -> None:
        _, answer = await web.connect().rpc([*large, slow, *large])
        answers.append([a.get("error", {}).get("code", 0) for a in answer])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert web.server.memory.bytes_used <= 3_000_000
        small = web.connect()
        assert (await small.rpc([CALL] * 100))[0] == 200
    assert [0] * 3 in [answer[:3] for answer in answers]
    assert any(-32004 in answer for answer in answers)
    await web.until_closed()
    assert web.server.memory.bytes_used == 0
