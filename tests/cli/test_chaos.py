"""The parts of `testnet chaos`: a plan that repeats, bounded relays, a report that is true.

A chaos run that tried less than it says, or that could not be repeated, would prove nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from clawpurse.cli.chaos_checks import check_logs, tracebacks
from clawpurse.cli.chaos_disk import SmallDisk
from clawpurse.cli.chaos_payments import PROMISES_MAX, Payer, Promises, pace_s, recipient
from clawpurse.cli.chaos_plan import (
    QUIET_AFTER_S,
    QUIET_BEFORE_S,
    Fault,
    Kind,
    plan,
)
from clawpurse.cli.chaos_relay import CONNECTIONS_MAX, Links, Relay, Way
from clawpurse.cli.chaos_report import PROBLEMS_MAX, Report
from clawpurse.cli.output import Output
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.node.home import NodeHome
from tests.cli.conftest import Cli

# -- the plan


@pytest.mark.parametrize("nodes", [1, 2, 4, 7])
@pytest.mark.parametrize("seed", range(20))
def test_a_plan_repeats_and_is_possible(seed: int, nodes: int) -> None:
    """Nobody is killed or paused who is down, and all is over before the end."""
    seconds = 240.0
    faults = plan(seed, seconds, nodes, 0)
    assert faults == plan(seed, seconds, nodes, 0)
    assert faults != plan(seed + 1, seconds, nodes, 0)
    down = [0.0] * nodes
    for fault in faults:
        assert fault.at_s >= QUIET_BEFORE_S
        assert fault.ends_s <= seconds - QUIET_AFTER_S + 0.01
        assert all(0 <= node < nodes for node in fault.nodes)
        if fault.kind in (Kind.KILL, Kind.KILL_ALL, Kind.PAUSE, Kind.FULL_DISK):
            assert all(down[node] <= fault.at_s for node in fault.nodes)
            for node in fault.nodes:
                down[node] = fault.ends_s
        if fault.kind in (Kind.CUT, Kind.ONE_WAY):
            assert len(set(fault.nodes)) == 2
        assert fault.text([f"authority-{n}" for n in range(1, nodes + 1)])


@pytest.mark.parametrize("seed", range(10))
def test_in_two_minutes_every_class_comes(seed: int) -> None:
    assert {fault.kind for fault in plan(seed, 120, 4, 1)} == set(Kind)


def test_mostly_no_more_nodes_are_taken_than_the_network_bears() -> None:
    """Else payments would wait all the time, and nothing but waiting would be tried."""
    over = total = 0
    for seed in range(20):
        taken: list[Fault] = []
        for fault in plan(seed, 300, 4, 0):
            taken = [one for one in taken if one.ends_s > fault.at_s]
            if fault.kind in (Kind.KILL, Kind.PAUSE, Kind.FULL_DISK):
                taken.append(fault)
                total += 1
                over += len(taken) > 1
    assert 0 < over < total / 4


# -- relays


Dial = Callable[[], Awaitable[trio.SocketStream]]


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Relay, Dial]]:
    """A relay to a server that answers with what it hears, and how to connect to it."""

    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                while data := await stream.receive_some(65_536):
                    await stream.send_all(data)
            except (trio.BrokenResourceError, OSError):
                return  # The relay ended it.

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        relay = Relay(listeners[0].socket.getsockname()[1])
        port = await nursery.start(relay.serve)
        streams: list[trio.SocketStream] = []

        async def dial() -> trio.SocketStream:
            streams.append(await trio.open_tcp_stream("127.0.0.1", port))
            return streams[-1]

        yield relay, dial
        for stream in streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def ends(stream: trio.SocketStream) -> bool:
    """Tell whether a connection is over."""
    with trio.fail_after(5):
        try:
            return await stream.receive_some(1) == b""
        except (trio.BrokenResourceError, OSError):
            return True


@pytest.mark.real
async def test_a_relay_passes_on_what_it_gets_in_order() -> None:
    async with echoing() as (relay, dial):
        stream = await dial()
        sent = bytes(range(256)) * 4_000
        got = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, sent)
            with trio.fail_after(10):
                while len(got) < len(sent):
                    got += await stream.receive_some(65_536)
        assert got == sent
        assert relay.passed_bytes == 2 * len(sent)
        assert relay.connections == 1


@pytest.mark.real
async def test_dropped_connections_end_and_new_ones_stand() -> None:
    async with echoing() as (relay, dial):
        first = await dial()
        await first.send_all(b"a")
        assert await first.receive_some(1) == b"a"
        relay.drop()
        assert await ends(first)
        second = await dial()
        await second.send_all(b"b")
        assert await second.receive_some(1) == b"b"
        relay.refuse(on=True)
        relay.refuse(on=True)
        assert await ends(second)
        assert await ends(await dial())
        relay.refuse(on=False)
        # Two cuts of one pair overlapped: it heals when both are over.
        assert await ends(await dial())
        relay.refuse(on=False)
        third = await dial()
        await third.send_all(b"c")
        assert await third.receive_some(1) == b"c"


@pytest.mark.real
@pytest.mark.parametrize("way", list(Way))
async def test_what_is_held_one_way_comes_later_and_whole(way: Way) -> None:
    async with echoing() as (relay, dial):
        stream = await dial()
        relay.hold(way, on=True)
        await stream.send_all(b"held")
        with trio.move_on_after(0.2) as scope:
            await stream.receive_some(4)
        assert scope.cancelled_caught
        # The other direction flows: the echo was heard there when only the way back is held.
        assert relay.passed_bytes == (4 if way is Way.BACK else 0)
        relay.hold(way, on=False)
        with trio.fail_after(5):
            assert await stream.receive_some(4) == b"held"


@pytest.mark.real
async def test_a_delay_delays() -> None:
    async with echoing() as (relay, dial):
        relay.delay(0.15)
        stream = await dial()
        began = trio.current_time()
        await stream.send_all(b"late")
        assert await stream.receive_some(4) == b"late"
        assert 0.3 <= trio.current_time() - began < 5


@pytest.mark.real
async def test_connections_are_bounded_and_a_dead_target_is_no_error() -> None:
    async with echoing() as (relay, dial):
        for _ in range(CONNECTIONS_MAX):
            stream = await dial()
            await stream.send_all(b"x")
            assert await stream.receive_some(1) == b"x"
        assert await ends(await dial())
        assert relay.connections == CONNECTIONS_MAX
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        free = listener.socket.getsockname()[1]
        await listener.aclose()
        dead = Relay(free)
        port = await nursery.start(dead.serve)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            assert await ends(stream)
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_links_lead_from_each_node_to_each_other_one() -> None:
    links = Links([1, 2, 3])
    async with trio.open_nursery() as nursery:
        await links.serve(nursery)
        ports = {(a, b): links.port(a, b) for a in range(3) for b in range(3) if a != b}
        assert len(set(ports.values())) == 6
        assert all(ports.values())
        assert len(list(links.of(1))) == 4
        there, back = links.between(0, 2)
        assert (there.target_port, back.target_port) == (3, 1)
        nursery.cancel_scope.cancel()


# -- payments, logs, disk


def test_payers_leave_room_for_their_promises_on_long_runs() -> None:
    day_s = 86_400.0
    assert 4 * day_s / pace_s(4, day_s) <= PROMISES_MAX
    assert pace_s(4, 60) == 0.05
    assert len({recipient(node) for node in range(32)}) == 32


def test_promises_are_kept_with_their_place() -> None:
    promises = Promises()
    promises.note(2, {"txId": "0x01", "status": "accepted"})
    final = {"txId": "0x02", "status": "final", "height": 5, "index": 1, "receipt": {"code": "ok"}}
    promises.note(0, final)
    promises.note(0, {"txId": "0x03", "status": "pending"})
    assert promises.accepted == {"0x01": 2, "0x02": 0, "0x03": 0}
    assert promises.final == {"0x02": (5, 1, "ok")}


def test_a_payer_signs_what_a_node_reads(tmp_path: Path) -> None:
    from clawpurse.cli.network import create_network

    network = create_network(tmp_path / "net", 2, 20_000, 1_800_000_000_000)
    payer = Payer(network, 1, "http://127.0.0.1:1", Promises())
    transaction = decode_transaction(payer.signed(7))
    body = transaction.body
    assert (body.sender, body.lane, body.sequence) == (network.faucet, 33, 7)
    assert body.actions[0].fields == ["CLAW", recipient(1), 1]


RECORD = json.dumps({"level": "info", "message": "block final"})
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1\nOSError: No space left'


def test_tracebacks_are_found_between_records() -> None:
    quoted = json.dumps({"exception": "Traceback (most recent call last): …"})
    text = "\n".join([RECORD, TRACE, RECORD, quoted, RECORD, TRACE.replace("OSError", "KeyError")])
    found = tracebacks(text)
    assert [block.splitlines()[-1] for block in found] == [
        "OSError: No space left",
        quoted,
        "KeyError: No space left",
    ]
    assert tracebacks("\n".join([RECORD] * 3)) == []


def test_only_a_full_disk_excuses_a_traceback(tmp_path: Path) -> None:
    homes = [NodeHome(tmp_path / f"authority-{n}") for n in (1, 2, 3)]
    for home, text in zip(homes, (TRACE, TRACE.replace("No space left", "gone"), ""), strict=True):
        home.root.mkdir()
        if text:
            home.log.write_text(text)
    report = Report(1, 1, 3, "")
    check_logs(homes, [0, 1], report)
    assert report.problems == ["authority-2 logged a traceback: OSError: gone"]
    report = Report(1, 1, 3, "")
    check_logs(homes, [], report)
    assert len(report.problems) == 2
    report = Report(1, 1, 3, "")
    check_logs(homes[2:], [], report)
    assert (report.ok, report.checks) == (True, ["no traceback in any log"])


@pytest.mark.real
def test_a_small_disk_fills_and_empties_or_says_why_not(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path)
    try:
        disk.mount()
    except OperatorError as err:
        assert err.what
        assert not tmp_path.is_mount()
        return
    try:
        assert tmp_path.is_mount()
        disk.fill(8)
        assert disk.free_bytes() <= 8 << 20
        disk.fill(0)
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "more").write_bytes(bytes(8_192))
        disk.empty()
        (tmp_path / "more").write_bytes(bytes(8_192))
    finally:
        disk.unmount()
    assert not tmp_path.is_mount()
    disk.unmount()


# -- the report


def test_a_report_is_one_object_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(7, 0.5, 4, "/somewhere", "acme-test-1")
    report.faults[Kind.KILL] += 2
    report.skipped[Kind.FULL_DISK] = "A small disk needs root."
    report.accepted, report.final, report.blocks, report.longest_stall_ms = 90, 30, 12, 8_200
    report.checks.append("one chain")
    found = report.as_json()
    assert found["ok"] is True
    assert found["faults"]["kill"] == 2
    assert set(found["faults"]) == {str(kind) for kind in Kind}
    assert found["skipped"] == {"fullDisk": "A small disk needs root."}
    assert found["repeat"] == "clawpurse testnet chaos --seed 7 --minutes 0.5 --authorities 4"
    json.dumps(found)
    report.print(Output(json_mode=False, colour=False, environment={}))
    shown = capsys.readouterr().out
    assert "✓ 2 faults in 0.5 min, and every promise was kept." in shown
    assert "! no full disks: A small disk needs root." in shown
    assert "  Longest stall  8.2 s" in shown


def test_a_report_of_trouble_is_bounded_and_names_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(7, 1, 4, "/somewhere")
    for number in range(100):
        report.problem(f"problem {number}")
    assert len(report.problems) == PROBLEMS_MAX
    assert not report.ok
    assert report.sentence() == "0 faults in 1 min broke something: problem 0"
    report.print(Output(json_mode=False, colour=False, environment={}))
    assert "/somewhere" in capsys.readouterr().err
    stopped = Report(7, 1, 4, "/somewhere", interrupted=True)
    assert not stopped.ok
    assert stopped.sentence() == "Broken off before the end: nothing is proven."


def test_chaos_never_touches_a_network_that_it_did_not_make(cli: Cli, tmp_path: Path) -> None:
    """A consortium's test network, or a home full of keys, is one typo away."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "network.json").write_text("{}")
    done = cli("testnet", "chaos", "--home", str(folder), "--minutes", "0.1")
    assert done.code == 1
    assert "no chaos run made it" in done.err
    assert [path.name for path in folder.iterdir()] == ["network.json"]
