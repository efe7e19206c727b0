"""Payments from peers: what no honest node sends costs its sender, what a newer one sends not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trio.testing import MockClock

from clawpurse.ledger import codec
from clawpurse.ledger.transactions import RawAction, Role, WitnessEntry, encode_transaction
from clawpurse.node import messages
from clawpurse.node.messages import TransactionKind
from clawpurse.p2p.channels import Channel
from clawpurse.wallet.builder import sign_body
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, until


def _forged(world: NodeWorld) -> bytes:
    paid = world.pay(world.alice)
    wrong = [WitnessEntry(*paid.witness[0]._replace(signature=bytes(64)))]
    return encode_transaction(paid.body_bytes, wrong)


def _junk(_world: NodeWorld) -> bytes:
    return b"\x92\x01\x02"


def _unknown_action(world: NodeWorld) -> bytes:
    body = world.body(world.alice, RawAction("assets.conjure", ["CLAW", 1]))
    return sign_body(body, [(Role.SENDER, world.alice)]).raw


def _next_version(world: NodeWorld) -> bytes:
    """A body of format 2 as this software imagines it: another number in front."""
    paid = world.pay(world.alice)
    fields = codec.unpack_own(paid.body_bytes)
    fields[0] = 2
    return encode_transaction(codec.pack(fields), [WitnessEntry(*paid.witness[0])])


def _longer_next_version(world: NodeWorld) -> bytes:
    """A body of format 2 with a field that this software does not have."""
    paid = world.pay(world.alice)
    fields = [*codec.unpack_own(paid.body_bytes), b"more"]
    fields[0] = 2
    return encode_transaction(codec.pack(fields), [WitnessEntry(*paid.witness[0])])


def _broke(world: NodeWorld) -> bytes:
    return world.pay(world.alice, fee=10**12).raw


CASES: dict[str, tuple[Callable[[NodeWorld], bytes], bool]] = {
    "forged": (_forged, True),
    "junk": (_junk, True),
    "an action of a later version": (_unknown_action, False),
    "a format of a later version": (_next_version, False),
    "a longer format of a later version": (_longer_next_version, False),
    "cannot pay the fee": (_broke, False),
}


@pytest.mark.parametrize("case", CASES)
async def test_only_what_no_honest_node_sends_is_banned(
    autojump_clock: MockClock, case: str, world: NodeWorld, node: Running
) -> None:
    """During an upgrade half of the network must not shut the other half out."""
    build, banned = CASES[case]
    follower = await world.node("follower", node)
    await until(lambda: follower.node.services.network.count == 1)
    raw = build(world)
    payload = messages.pack_bodies([raw])
    peer = node.node.peers.node_id
    kind = int(TransactionKind.BODIES)
    before = node.node.intake.refused_count
    assert follower.node.peers.send(peer, Channel.TRANSACTIONS, kind, payload)
    await until(lambda: node.node.intake.refused_count > before)
    answer = await node.call("net_getPeers")
    reasons = [ban["reason"] for ban in answer["bans"]]
    assert any(reason.startswith("bad transaction") for reason in reasons) is banned
    assert len(answer["peers"]) == (0 if banned else 1)


async def test_a_payment_travels_between_nodes_and_is_not_asked_for_twice(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What a follower took in reaches the authority, which alone can make it final."""
    first = await world.node("follower", node)
    second = await world.node("second", first)
    await until(lambda: second.node.services.network.count >= 1)
    await until(lambda: first.node.services.network.count >= 2)
    paid = world.pay(world.alice)
    answer = await second.call("tx_submit", tx=hexed(paid.raw), wait="final")
    assert answer["status"] == "final"
    for running in (node, first):
        await until(lambda running=running: running.height >= answer["height"])  # type: ignore[misc]
        assert not (await running.call("net_getPeers"))["bans"]


async def test_authorities_pay_from_different_faucet_lanes(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Two people who ask two nodes in the same moment both get money."""
    world = make_world(authorities=4)
    nodes = [await world.node(f"authority-{number}") for number in range(1, 5)]
    nodes.append(await world.node("follower"))
    lanes = [set(running.node._faucet_lanes()) for running in nodes]
    assert all(lanes)
    for index, mine in enumerate(lanes):
        for others in lanes[index + 1 :]:
            assert not mine & others
    assert set().union(*lanes) == set(range(64))
