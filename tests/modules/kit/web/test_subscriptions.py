"""Subscriptions: no event of a log is lost, repeated or reordered, however slow the client."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed, Pruned
from clawpurse.modules.kit.web.client import RpcClient, SubscriptionEvent
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.subscriptions import (
    Batch,
    Event,
    Feed,
    Subscriptions,
    Topic,
    Wakeup,
)


class EvenOnly(Params):
    even: bool = False


class Log:
    """A log in memory: event n has the cursor `n`; the first `floor` are pruned."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.floor = 0
        self.wakeup = Wakeup()
        self.reads = 0
        self.broken = False

    def append(self, count: int = 1, size: int = 0) -> None:
        for _ in range(count):
            self.events.append(encode_json({"n": len(self.events) + 1, "x": "x" * size}))
        self.wakeup.notify()

    def head(self) -> str:
        return str(len(self.events))

    def beginning(self) -> str:
        return str(self.floor)

    def status(self) -> dict[str, Any]:
        return {"height": len(self.events)}

    async def read(self, after: str, matching: EvenOnly, limit: int) -> Batch:
        self.reads += 1
        if self.broken:
            raise ZeroDivisionError("secret detail")
        if not after.isdigit():
            raise Malformed("fromCursor", "is no cursor of this topic")
        start = int(after)
        if start < self.floor:
            raise Pruned(f"event {start}", self.floor)
        stop = min(start + limit, len(self.events))
        found = [
            Event(str(n + 1), self.events[n])
            for n in range(start, stop)
            if not matching.even or (n + 1) % 2 == 0
        ]
        return Batch(found, str(max(stop, start)))

    async def wait_beyond(self, cursor: str) -> None:
        while len(self.events) <= int(cursor):
            await self.wakeup.wait()


@pytest.fixture
def topics() -> tuple[Log, Feed, Any]:
    """A log, a feed, and the methods over them."""
    log = Log()
    feed = Feed(lambda matching, value: not matching.even or value % 2 == 0)
    made = Subscriptions(
        [
            Topic("blocks", "Final blocks", log, EvenOnly),
            Topic("mempool", "What waits", feed, EvenOnly),
        ]
    )
    return log, feed, made.methods()


def client_of(web: Any, pair: Any = trio.testing.memory_stream_pair) -> RpcClient:
    async def connect() -> Any:
        await trio.lowlevel.checkpoint()
        return web.connect(pair=pair).stream

    return RpcClient("http://localhost", connect=connect, jitter=lambda: 0.0)


async def take(events: Any, count: int) -> list[int]:
    return [(await events.__anext__()).data["n"] for _ in range(count)]


async def test_new_events_are_pushed_with_cursor_and_finality(make_web: Any, topics: Any) -> None:
    log, _, methods = topics
    log.append(3)
    async with client_of(make_web(extra_methods=methods)).subscribe("blocks") as events:
        first: list[SubscriptionEvent] = []

        async def run() -> None:
            first.append(await events.__anext__())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            log.append()
        assert first == [SubscriptionEvent("4", True, {"n": 4, "x": ""}, False)]
        log.append(500)
        assert await take(events, 500) == list(range(5, 505))
        assert events.cursor == "504"


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25])
async def test_a_subscriber_cancelled_while_it_connects_hears_all_the_same(
    make_web: Any, topics: Any, steps: int
) -> None:
    """Somebody with a short patience would else wait for ever on a socket nobody subscribed."""
    log, _, methods = topics
    log.append(3)
    async with client_of(make_web(extra_methods=methods)).subscribe("blocks") as events:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def lose_patience() -> None:
                for _ in range(steps):
                    await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

            nursery.start_soon(lose_patience)
            with scope:
                await events.__anext__()
        assert await events.begin() == "3"
        log.append()
        assert await take(events, 1) == [4]


async def test_replay_starts_strictly_after_the_cursor_and_runs_into_the_present(
    make_web: Any, topics: Any
) -> None:
    log, _, methods = topics
    log.append(1000)
    client = client_of(make_web(extra_methods=methods))
    async with client.subscribe("blocks", from_cursor="10") as events:
        assert await take(events, 900) == list(range(11, 911))
        log.append(100)
        assert await take(events, 190) == list(range(911, 1101))
    async with client.subscribe("blocks", {"even": True}, "0") as events:
        assert await take(events, 550) == list(range(2, 1101, 2))


async def test_the_answer_comes_before_the_first_event(make_web: Any, topics: Any) -> None:
    log, _, methods = topics
    log.append(5)
    web = make_web(extra_methods=methods)
    client = client_of(web)
    socket = await client.open_socket()
    request = {"jsonrpc": "2.0", "id": 7, "method": "sub_subscribe"}
    params = {"topic": "blocks", "fromCursor": "0"}
    await socket.send(json.dumps({**request, "params": params}))
    answer = await heard(socket, 1000)
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": answer["result"]}
    for n in range(1, 6):
        assert await heard(socket, 1000) == {
            "jsonrpc": "2.0",
            "method": "sub_event",
            "params": {
                "id": answer["result"],
                "cursor": str(n),
                "final": True,
                "data": {"n": n, "x": ""},
            },
        }


async def heard(socket: Any, silence_max_ms: int) -> Any:
    """The next message that is no heartbeat."""
    while True:
        message = json.loads(await socket.receive(silence_max_ms))
        if message.get("method") != "sub_heartbeat":
            return message


async def raw_subscribe(socket: Any, **params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": "sub_subscribe", "params": params}
    await socket.send(json.dumps(request))
    return await heard(socket, 1000)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"topic": "nothing"}, -32001),
        ({"topic": "blocks", "fromCursor": "x"}, -32602),
        ({"topic": "blocks", "fromCursor": "1"}, -32002),
        ({"topic": "blocks", "fromCursor": "9" * 200}, -32602),
        ({"topic": "blocks", "filter": {"odd": True}}, -32602),
        ({"topic": "blocks", "filter": {"even": 1}}, -32602),
        ({"topic": "mempool", "fromCursor": "1"}, -32602),
        ({}, -32602),
    ],
)
async def test_a_wrong_subscription_is_an_answer(
    make_web: Any, topics: Any, params: dict[str, Any], code: int
) -> None:
    log, _, methods = topics
    log.append(5)
    log.floor = 3
    socket = await client_of(make_web(extra_methods=methods)).open_socket()
    assert (await raw_subscribe(socket, **params))["error"]["code"] == code


async def test_subscriptions_need_a_websocket_and_are_bounded(make_web: Any, topics: Any) -> None:
    web = make_web(extra_methods=topics[2], limits={"subscriptions_max": 3})
    client = client_of(web)
    with pytest.raises(RpcError) as caught:
        await client.call("sub_subscribe", {"topic": "blocks"})
    assert caught.value.code == -32009
    socket = await client.open_socket()
    idents = [(await raw_subscribe(socket, topic="blocks"))["result"] for _ in range(3)]
    assert len(set(idents)) == 3
    assert (await raw_subscribe(socket, topic="blocks"))["error"]["code"] == -32004
    for expected in (True, False):
        call = {"jsonrpc": "2.0", "id": 2, "method": "sub_unsubscribe", "params": [idents[0]]}
        await socket.send(json.dumps(call))
        assert (await heard(socket, 1000))["result"] is expected
    topics[0].append()
    assert {(await heard(socket, 1000))["params"]["id"] for _ in range(2)} == set(idents[1:])
    assert "result" in await raw_subscribe(socket, topic="blocks")
    names = [t["name"] for t in await client.call("sub_listTopics")]
    assert names == ["blocks", "mempool"]


async def test_a_slow_client_is_told_where_it_was_and_resumes_without_a_gap(
    make_web: Any, topics: Any, autojump_clock: Any
) -> None:
    log, _, methods = topics
    web = make_web(
        extra_methods=methods,
        limits={"ws_outgoing_bytes_max": 20_000, "ws_stall_ms": 5_000},
    )
    client = client_of(web, trio.testing.lockstep_stream_pair)
    socket = await client.open_socket()
    assert "result" in await raw_subscribe(socket, topic="blocks")
    log.append(1000, size=100)
    await trio.sleep(20)  # virtual: the client does something else
    seen: list[int] = []
    lagged: dict[str, Any] = {}
    while not lagged:
        message = await heard(socket, 1000)
        if message["method"] == "sub_event":
            seen.append(message["params"]["data"]["n"])
        else:
            assert message["method"] == "sub_lagged"
            lagged = message["params"]
    assert lagged["cursor"] == str(seen[-1])
    assert seen == list(range(1, len(seen) + 1))
    assert 0 < len(seen) < 1000
    assert web.log.counts == {"slow-client": 1}
    # The same connection may subscribe again from there.
    assert "result" in await raw_subscribe(socket, topic="blocks", fromCursor=lagged["cursor"])
    while len(seen) < 1000:
        seen.append((await heard(socket, 1000))["params"]["data"]["n"])
    assert seen == list(range(1, 1001))


async def test_a_slow_client_of_a_local_topic_is_told_how_many_it_lost(
    make_web: Any, topics: Any, autojump_clock: Any
) -> None:
    _, feed, methods = topics
    web = make_web(
        extra_methods=methods,
        limits={"ws_outgoing_bytes_max": 1000, "local_events_queued_max": 10},
    )
    client = client_of(web, trio.testing.lockstep_stream_pair)
    socket = await client.open_socket()
    assert "result" in await raw_subscribe(socket, topic="mempool", filter={"even": True})
    for n in range(2000):
        feed.publish(n)
        if n % 50 == 0:
            await trio.sleep(0.1)
    seen: list[int] = []
    lost = 0
    with trio.move_on_after(5):
        while True:
            message = await heard(socket, 100_000)
            params = message["params"]
            assert params["cursor"] is None
            if message["method"] == "sub_lagged":
                lost += params["lost"]
            else:
                assert params["final"] is False
                seen.append(params["data"])
    assert len(seen) + lost == 1000
    assert lost > 0
    assert seen == sorted(seen)
    assert all(n % 2 == 0 for n in seen)


async def test_events_of_a_feed_reach_only_who_listens(make_web: Any, topics: Any) -> None:
    _, feed, methods = topics
    feed.publish(1)
    web = make_web(extra_methods=methods)
    async with client_of(web).subscribe("mempool") as events:
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                assert await events.__anext__() == SubscriptionEvent(None, False, 2, False)

            nursery.start_soon(check)
            await trio.testing.wait_all_tasks_blocked()
            feed.publish(2)
        assert len(feed._listeners) == 1
    await web.until_closed()
    assert not feed._listeners


async def test_a_log_that_fails_ends_the_subscription_with_an_incident(
    make_web: Any, topics: Any, caplog: Any
) -> None:
    log, _, methods = topics
    web = make_web(extra_methods=methods)
    socket = await client_of(web).open_socket()
    assert "result" in await raw_subscribe(socket, topic="blocks")
    log.broken = True
    log.append()
    message = await heard(socket, 1000)
    assert message["method"] == "sub_ended"
    assert message["params"]["error"]["code"] == -32603
    assert "secret" not in json.dumps(message)
    assert "secret detail" in caplog.text
    log.broken = False
    assert "result" in await raw_subscribe(socket, topic="blocks")


async def test_what_is_pruned_under_a_reader_ends_it_with_that_name(
    make_web: Any, topics: Any
) -> None:
    log, _, methods = topics
    log.append(2)
    web = make_web(extra_methods=methods)
    client = client_of(web)
    async with client.subscribe("blocks", from_cursor="0") as events:
        assert await take(events, 2) == [1, 2]
        log.floor = 5
        log.append()
        with pytest.raises(RpcError) as caught:
            await events.__anext__()
        assert caught.value.code == -32002
        assert caught.value.facts["floor"] == 5


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    sizes=st.sampled_from([0, 300]),
)
def test_a_client_that_loses_its_connection_misses_and_repeats_nothing(
    run_web: Any, cuts: list[int], sizes: int
) -> None:
    """The server cuts the line after so many events; the iterator never shows it."""
    log = Log()
    methods = Subscriptions([Topic("blocks", "x", log, EvenOnly)]).methods()

    async def scenario(web: Any) -> None:
        streams: list[Any] = []

        async def connect() -> Any:
            await trio.lowlevel.checkpoint()
            streams.append(web.connect().stream)
            return streams[-1]

        client = RpcClient("http://localhost", connect=connect)
        log.append(20, sizes)
        seen: list[int] = []
        async with client.subscribe("blocks", from_cursor="0") as events:
            for count in cuts:
                log.append(count, sizes)
                seen += await take(events, count)
                await trio.aclose_forcefully(streams[-1])
            seen += await take(events, 20)
        assert seen == list(range(1, len(log.events) + 1))

    run_web(scenario, extra_methods=methods)


async def test_a_thousand_subscribers_all_get_every_event(make_web: Any, topics: Any) -> None:
    log, _, methods = topics
    web = make_web(extra_methods=methods)
    seen: list[list[int]] = [[] for _ in range(200)]

    async def follow(mine: list[int]) -> None:
        async with client_of(web).subscribe("blocks", from_cursor="0") as events:
            mine += await take(events, 20)

    async with trio.open_nursery() as nursery:
        for mine in seen:
            nursery.start_soon(follow, mine)
        for _ in range(20):
            log.append()
            await trio.testing.wait_all_tasks_blocked()
    assert all(mine == list(range(1, 21)) for mine in seen)


async def test_heartbeats_move_the_cursor_of_a_filter_that_matches_nothing(
    make_web: Any, topics: Any, autojump_clock: Any
) -> None:
    """Silence is told from death, and resuming does not search again what was searched."""
    log, feed, methods = topics
    log.append(3)
    web = make_web(extra_methods=methods)
    socket = await client_of(web).open_socket()
    blocks = (await raw_subscribe(socket, topic="blocks", filter={"even": True}))["result"]
    first = json.loads(await socket.receive(1000))
    assert first["method"] == "sub_heartbeat"
    assert first["params"] == {"id": blocks, "cursor": "3", "height": 3}
    mempool = (await raw_subscribe(socket, topic="mempool"))["result"]
    began = trio.current_time()
    log.append()
    assert (await heard(socket, 1000))["params"]["cursor"] == "4"
    log.append()
    beats: dict[str, list[Any]] = {blocks: [], mempool: []}
    times = []
    while len(beats[blocks]) < 3:
        message = json.loads(await socket.receive(20_000))
        assert message["method"] == "sub_heartbeat"
        beats[message["params"]["id"]].append(message["params"]["cursor"])
        times.append(trio.current_time() - began)
    assert beats[blocks] == ["5", "5", "5"]
    assert beats[mempool][:3] == [None, None, None]
    # Beside an event there is no need for one: silence is never longer than two intervals.
    assert times[0] <= 5.1
    assert times[-1] <= 20.1
    feed.publish(2)
    assert (await heard(socket, 1000))["params"]["data"] == 2


async def test_the_beginning_and_now_are_words(make_web: Any, topics: Any) -> None:
    """Who has no cursor yet says where to begin, and never asks for what is pruned."""
    log, _, methods = topics
    log.append(5)
    log.floor = 2
    client = client_of(make_web(extra_methods=methods))
    async with client.subscribe("blocks", from_cursor="beginning") as events:
        assert await take(events, 3) == [3, 4, 5]
    async with client.subscribe("blocks", from_cursor="now") as events:
        with trio.move_on_after(0.05):
            await events.__anext__()
        assert events.cursor == "5"
        log.append()
        assert await take(events, 1) == [6]
