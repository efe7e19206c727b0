"""Pools on a memory network: nodes find each other, keep each other, and shut liars out."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from clawpurse.ledger.errors import Malformed, ProtocolViolation
from clawpurse.p2p import pool as pool_file
from clawpurse.p2p.address import Endpoint, PeerAddress
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.handshake import MAGIC, Identity
from clawpurse.p2p.pool import HANDSHAKE_TIMEOUT_S, RETRY_MAX_S, STALE_S, STRANGERS_MAX
from clawpurse.p2p.records import FRAME_BYTES_MAX
from clawpurse.p2p.transport import MemoryNetwork
from tests.p2p.peers import (
    GENESIS,
    PORT,
    SIZE_MAX,
    Heard,
    Peer,
    World,
    host_of,
    identity,
    linked,
    node_id,
    until,
)


async def test_eight_nodes_mesh_from_one_bootstrap_address(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A new member needs one address of anybody, and ends up knowing everybody."""
    world = World(nursery)
    first = await world.peer(0)
    peers = [first, *[await world.peer(number, first) for number in range(1, 8)]]
    await until(lambda: linked(*peers), 60)
    for peer in peers:
        assert sorted(peer.pool.ids()) == sorted(p.id for p in peers if p is not peer)
        connected = [who for what, who in peer.heard.events if what == "connected"]
        assert set(connected) == set(peer.pool.ids())
    nursery.cancel_scope.cancel()


async def test_messages_reach_their_handler_with_sender_and_kind(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 5)
    block = bytes(range(256)) * 20_000
    assert a.pool.send(b.id, Channel.PROPOSALS, 2, block)
    assert b.pool.send(a.id, Channel.CONSENSUS, 1, b"vote")
    await until(lambda: a.heard.messages and b.heard.messages, 5)
    assert b.heard.messages == [(a.id, Channel.PROPOSALS, 2, block)]
    assert a.heard.messages == [(b.id, Channel.CONSENSUS, 1, b"vote")]
    assert not a.pool.send(b"\0" * 32, Channel.CONSENSUS, 1, b"nobody")
    (line,) = a.pool.describe()
    assert (line["nodeId"], line["direction"]) == (b.id.hex(), "inbound")
    assert json.dumps(line)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("turn", range(6))
async def test_dialling_each_other_at_once_leaves_one_connection_on_both_sides(
    turn: int, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Two would deliver everything twice; none would be a partition."""
    world = World(nursery)
    one, two = 10 + 2 * turn, 11 + 2 * turn
    a = Peer(
        one,
        world.net.transport(host_of(one)),
        persistent=(PeerAddress(node_id(two), host_of(two), PORT),),
    )
    b = Peer(
        two,
        world.net.transport(host_of(two)),
        persistent=(PeerAddress(node_id(one), host_of(one), PORT),),
    )
    # Both listen before either dials.
    for peer in (a, b):
        nursery.start_soon(peer.run)
    await until(lambda: linked(a, b), 30)
    await trio.sleep(60)
    assert linked(a, b)
    held = a.connection(b), b.connection(a)
    assert held[0].outbound != held[1].outbound
    for peer, other in ((a, b), (b, a)):
        balance = [what for what, who in peer.heard.events if who == other.id]
        assert balance.count("connected") == balance.count("disconnected") + 1
        assert balance[-1] == "connected"
    # It is one and the same connection.
    assert a.pool.send(b.id, Channel.CONSENSUS, 1, b"x")
    await until(lambda: b.heard.messages, 5)
    nursery.cancel_scope.cancel()


async def test_lost_peers_are_found_again(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A restart of one authority is a pause, not a partition; also after long quiet."""
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 5)
    for quiet_s in (1, 1_800):
        await trio.sleep(quiet_s)
        await world.stop(a)
        await until(lambda: not b.pool.ids(), 5)
        a = await world.peer(1)
        # Pauses begin small again after a steady connection.
        await until(b.pool.ids, 3)
    await world.stop(a)
    await trio.sleep(600)
    a = await world.peer(1)
    await until(lambda: linked(a, b), 2 * RETRY_MAX_S)
    nursery.cancel_scope.cancel()


async def test_a_peer_that_began_anew_replaces_its_dead_connection(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """After a power failure the old connection looks alive for half a minute: in its way."""
    world = World(nursery)
    small, large = sorted((1, 2), key=node_id)
    b = await world.peer(large)
    a = await world.peer(small, b)
    await until(lambda: linked(a, b), 5)
    # The link goes silent without an end: neither side is told.
    dead = a.connection(b)

    async def swallow(data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    dead._stream.send_all = swallow
    b.connection(a)._stream.send_all = swallow
    await trio.sleep(STALE_S + 1)
    assert a.connection(b) is dead
    # b dials; a holds an outbound connection, which it would otherwise prefer.
    del b.pool._connections[a.id]
    nursery.start_soon(b.pool._dial, a.address)
    await until(lambda: a.connection(b) not in (None, dead), 3)
    nursery.cancel_scope.cancel()


async def test_a_node_does_not_connect_to_itself(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    # By its own id it does not even dial; under another id its own answer gives it away.
    nursery.start_soon(a.pool._dial, PeerAddress(node_id(9), a.host, PORT))
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 10)
    await trio.sleep(60)
    assert a.pool.ids() == [b.id]
    assert a.pool.refused == {"connected to itself": 2}
    # Who expects another key than answers there is not connected either.
    nursery.start_soon(a.pool._dial, PeerAddress(node_id(9), b.host, PORT))
    await trio.sleep(1)
    assert a.pool.ids() == [b.id]
    assert a.pool.refused["another node answers there"] == 1
    nursery.cancel_scope.cancel()


async def test_another_network_s_node_is_refused_by_name_and_not_banned(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator with the wrong genesis reads why; nobody is punished for a mistake."""
    world = World(nursery)
    a = await world.peer(1)
    with caplog.at_level(logging.WARNING, "clawpurse.p2p"):
        b = await world.peer(2, a, known_as=identity(2, genesis=b"\x22" * 32))
        await trio.sleep(60)
    assert not a.pool.ids() and not b.pool.ids()
    reasons = [vars(line)["reason"] for line in caplog.records]
    both = ["0x" + "11" * 32, "0x" + "22" * 32]
    for mine, theirs in (both, both[::-1]):
        assert f"genesis hash is {theirs} there and {mine} here" in reasons
    assert a.standing.bans() == b.standing.bans() == []
    nursery.cancel_scope.cancel()


async def test_another_protocol_version_is_told_on_both_sides(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    mine = identity(2)
    newer = Identity(mine.chain_id, GENESIS, mine.node_seed, mine.static_secret, version=2)
    with caplog.at_level(logging.WARNING, "clawpurse.p2p"):
        await world.peer(2, a, known_as=newer)
        await trio.sleep(5)
    reasons = [vars(line)["reason"] for line in caplog.records]
    assert "protocol version is 2 there and 1 here" in reasons
    assert "protocol version is 1 there and 2 here" in reasons
    assert not a.standing.bans()
    nursery.cancel_scope.cancel()


async def test_a_liar_is_banned_by_key_and_address_and_stays_so_over_restarts(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    liar = await world.peer(3, host="203.0.113.9")
    victim = await world.peer(1)

    async def refuse(peer: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        raise Malformed("vote.height", "is not an integer")

    victim.heard.answer = refuse
    nursery.start_soon(liar.pool._dial, victim.address)
    await until(lambda: linked(victim, liar), 5)
    liar.pool.send(victim.id, Channel.CONSENSUS, 1, b"nonsense")
    await until(lambda: not victim.pool.ids(), 5)
    bans = {ban.subject: ban.reason for ban in victim.standing.bans()}
    assert bans == {
        liar.id.hex(): "vote.height: is not an integer",
        "203.0.113.9/32": "vote.height: is not an integer",
    }
    saved = {"book": victim.book.export(), "bans": victim.standing.export()}
    await world.stop(victim)
    await world.stop(liar)
    victim = await world.peer(1, saved=json.loads(json.dumps(saved)))
    # Same key from elsewhere, another key from the same place: neither gets in.
    elsewhere = await world.peer(3, victim, host="198.51.100.7")
    same_place = await world.peer(4, victim, host="203.0.113.9")
    await trio.sleep(120)
    assert victim.pool.ids() == []
    assert victim.pool.refused["banned"] >= 1 and victim.pool.refused["banned address"] >= 1
    await trio.sleep(3_600)
    await until(lambda: linked(victim, elsewhere), 2 * RETRY_MAX_S)
    await until(lambda: linked(victim, same_place), 2 * RETRY_MAX_S)
    nursery.cancel_scope.cancel()


async def test_a_configured_peer_is_disconnected_for_a_fault_and_taken_back(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 5)
    b.pool.punish(a.id, "bad block 7")
    await until(lambda: not b.pool.ids(), 5)
    assert b.standing.bans() == []
    await until(lambda: linked(a, b), 5)
    nursery.cancel_scope.cancel()


async def test_private_nodes_are_never_gossiped(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """An authority behind a sentry must be known to the sentry only."""
    world = World(nursery)
    hidden = await world.peer(1)
    sentry = await world.peer(2, hidden, private=frozenset((hidden.id,)))
    others = [await world.peer(number, sentry) for number in (3, 4, 5)]
    await until(lambda: linked(sentry, *others) and linked(sentry, hidden), 60)
    await trio.sleep(600)
    for other in others:
        assert hidden.id not in other.pool.ids()
        assert hidden.id not in [record.node_id for record in other.book.records()]
    nursery.cancel_scope.cancel()


async def test_restless_peers_never_make_honest_ones_look_like_a_flood(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Connections that come and go make everybody ask for news; asking is rationed."""
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 5)
    since = a.connection(b).since_s
    for number in range(60):
        restless = await world.peer(100 + number, a, b)
        await trio.sleep(1)
        await world.stop(restless)
    assert linked(a, b) and a.connection(b).since_s == since
    assert a.standing.bans() == b.standing.bans() == []
    nursery.cancel_scope.cancel()


async def test_strangers_do_not_take_the_places_of_configured_peers(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_file, "STRANGERS_MAX", 3)
    assert STRANGERS_MAX >= 16
    world = World(nursery)
    friend_address = PeerAddress(node_id(9), host_of(9), PORT)
    a = Peer(1, world.net.transport(host_of(1)), persistent=(friend_address,))
    await nursery.start(a.run)
    strangers = [await world.peer(number, a) for number in range(20, 26)]
    await until(lambda: len(a.pool.ids()) == 3, 10)
    await trio.sleep(30)
    inbound = [c for c in a.pool._connections.values() if not c.outbound]
    assert len(inbound) == 3
    assert a.pool.refused["inbound slots are full"] >= 1
    friend = await world.peer(9, a)
    await until(lambda: linked(a, friend), 2 * RETRY_MAX_S)
    # Being full is no fault: nobody was banned on either side.
    assert not a.standing.bans() and not any(s.standing.bans() for s in strangers)
    nursery.cancel_scope.cancel()


async def test_who_hoards_memory_with_unfinished_messages_is_closed(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may hold one message a channel; all together only so much."""
    world = World(nursery)
    a = await world.peer(1)
    monkeypatch.setattr(a.pool._budget, "_bytes_max", 300_000)
    honest, hoarder = await world.peer(2, a), await world.peer(3, a)
    await until(lambda: linked(a, honest) and linked(a, hoarder), 10)
    frames = hoarder.connection(a)._queues._queues[Channel.SYNC].frames
    head = SIZE_MAX.to_bytes(4, "big") + b"\x01"
    frames.append(
        b"\x05\x01" + FRAME_BYTES_MAX.to_bytes(2, "big") + head + bytes(FRAME_BYTES_MAX - 5)
    )
    more = b"\x05\x00" + FRAME_BYTES_MAX.to_bytes(2, "big") + bytes(FRAME_BYTES_MAX)
    frames.extend([more] * 20)
    held = a.connection(hoarder)
    hoarder.connection(a).send(Channel.CONSENSUS, 1, b"wake up")
    await until(lambda: held.closed_because, 10)
    assert "memory" in held.closed_because
    assert a.pool.send(honest.id, Channel.CONSENSUS, 1, b"still here")
    assert not a.standing.bans()
    nursery.cancel_scope.cancel()


class Knocker:
    """A stranger who connects and says something, or nothing."""

    def __init__(self, net: MemoryNetwork, host: str) -> None:
        self.net, self.host = net, host

    async def knock(self, target: Peer, data: bytes = b"") -> float:
        """Say `data` and wait for the end; returns after how many seconds it came."""
        began = trio.current_time()
        stream = await self.net.connect(self.host, target.host, PORT)
        try:
            if data:
                await stream.send_all(data)
            while await stream.receive_some(4_096):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return trio.current_time() - began
        return trio.current_time() - began


async def test_whoever_does_not_finish_the_handshake_is_closed_within_its_deadline(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    for data in (b"", MAGIC[:3], MAGIC + b"\0\1", a.identity.preface + b"\0\x20" + bytes(31)):
        took = await Knocker(world.net, "203.0.113.1").knock(a, data)
        assert took <= HANDSHAKE_TIMEOUT_S + 0.1
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(4_096), a.identity.preface + b"\xff\xff"):
        assert await Knocker(world.net, "203.0.113.1").knock(a, data) < 1
    assert a.pool.refused == {"handshake timed out": 4, "bad handshake": 3}
    assert a.standing.bans() == []
    nursery.cancel_scope.cancel()


async def test_knocking_and_leaving_is_never_a_reason_for_a_ban(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A load balancer's health check knocks every few seconds for years."""
    world = World(nursery)
    a = await world.peer(1)
    for _ in range(300):
        stream = await world.net.connect("203.0.113.1", a.host, PORT)
        await stream.aclose()
        await trio.sleep(5)
    assert a.standing.bans() == []
    for _ in range(60):
        await Knocker(world.net, "203.0.113.1").knock(a, b"garbage of another protocol")
    assert [ban.subject for ban in a.standing.bans()] == ["203.0.113.1/32"]
    nursery.cancel_scope.cancel()


async def test_a_peer_that_is_full_is_not_blamed_by_those_it_turns_away(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A node that hangs up at once is busy; an hour's ban would hurt both."""
    world = World(nursery)
    a = await world.peer(1)

    async def busy(stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        await stream.aclose()

    world.net.listen("203.0.113.77", PORT, busy, nursery)
    await world.net.connect("x", "203.0.113.77", PORT)
    b = PeerAddress(node_id(7), "203.0.113.77", PORT)
    for _ in range(100):
        await a.pool._dial(b)
        await trio.sleep(0.1)
    assert a.standing.bans() == []
    nursery.cancel_scope.cancel()


async def test_a_feeler_turns_hearsay_into_knowledge(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_file, "OUTBOUND_TARGET", 1)
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    c = await world.peer(3, a, b)
    await until(lambda: linked(a, b) and linked(b, c), 30)
    # b has its one outbound connection; of d it only hears.
    d = await world.peer(4, a)
    await until(lambda: d.id in [r.node_id for r in b.book.records()], 60)
    await until(lambda: b.book.is_tried(d.id), 600)
    nursery.cancel_scope.cancel()


async def test_an_error_of_ours_ends_the_pool_instead_of_hiding(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def broken(peer: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            world = World(nursery)
            a = await world.peer(1)
            b = await world.peer(2, a)
            await until(lambda: linked(a, b), 5)
            a.heard.answer = broken
            b.pool.send(a.id, Channel.CONSENSUS, 1, b"x")
            await trio.sleep(5)


async def test_unknown_kinds_and_channels_are_refused_by_the_pool(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    a = await world.peer(1)
    with pytest.raises(ProtocolViolation):
        a.pool._size_max(9, 1)
    with pytest.raises(ProtocolViolation):
        a.pool._size_max(Channel.SYNC, 99)
    b = await world.peer(2, a, host="203.0.113.5")
    await until(lambda: linked(a, b), 5)
    b.pool.send(a.id, Channel.PEERS, 7, b"")
    await until(lambda: a.standing.banned(b.id, "::") is not None, 5)
    nursery.cancel_scope.cancel()


async def test_stopping_closes_every_stream(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Also of peers in the middle of a handshake, or they would wait for nothing."""
    world = World(nursery)
    a = await world.peer(1)
    b = await world.peer(2, a)
    await until(lambda: linked(a, b), 5)
    half_open = await world.net.connect("203.0.113.1", a.host, PORT)
    await trio.testing.wait_all_tasks_blocked()
    await world.stop(a)
    await until(lambda: not b.pool.ids(), 5)
    with trio.fail_after(1), pytest.raises(trio.BrokenResourceError):
        while await half_open.receive_some(10):
            pass
        raise trio.BrokenResourceError
    nursery.cancel_scope.cancel()


def test_the_handler_of_these_tests_is_what_the_pool_asks_for() -> None:
    heard: pool_file.Handler = Heard()
    assert heard.size_max(1, 1) == SIZE_MAX
