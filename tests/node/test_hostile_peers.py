"""Peers that bend true messages: nothing they send ends a node or divides honest ones.

Real traffic of a network is recorded, bent in a thousand ways and sent to one of its nodes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import trio

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.envelope import pack_message, unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import CallerError, Malformed, PeerError
from clawpurse.node.messages import ConsensusKind
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.pool import PeerPool
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import Running
from tests.node.stranger import Stranger

MESSAGES = 2_000
Sent = tuple[Channel, int, bytes]


def record(monkeypatch: pytest.MonkeyPatch) -> dict[Sent, None]:
    """Note what nodes send each other from now on, once each."""
    noted: dict[Sent, None] = {}
    send = PeerPool.send

    def noting(self: PeerPool, node_id: bytes, channel: Channel, kind: int, data: bytes) -> bool:
        noted[channel, int(kind), data] = None
        return send(self, node_id, channel, kind, data)

    monkeypatch.setattr(PeerPool, "send", noting)
    return noted


def bent(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """A message with something wrong in it, or somebody else's in its place."""
    way = chance.randrange(7)
    if way == 0 or not data:
        return chance.randbytes(chance.randrange(80))
    if way == 1:
        return data[: chance.randrange(len(data))]
    if way == 2:
        return data + chance.randbytes(chance.randrange(1, 9))
    if way == 3:
        return chance.choice(others)
    if way == 4:
        place = chance.randrange(len(data))
        return data[:place] + bytes((data[place] ^ (1 << chance.randrange(8)),)) + data[place + 1 :]
    try:
        wire: Any = codec.unpack(data, size_max=10**8)
    except Malformed:
        return data[::-1]
    return codec.pack(bend_value(chance, wire))


def bend_value(chance: random.Random, value: Any) -> Any:
    """The same shape with one value changed, wherever it stands."""
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [bend_value(chance, v) if n == place else v for n, v in enumerate(value)]
    if isinstance(value, bytes) and len(value) > 40 and chance.random() < 0.5:
        # Many messages hold others in byte strings.
        try:
            return codec.pack(bend_value(chance, codec.unpack(value, size_max=10**8)))
        except Malformed:
            return chance.randbytes(len(value))
    choices: list[Any] = [0, 1, 2**63, 2**64 - 1, None, True, b"", "", [], [[]], b"\0" * 32]
    if isinstance(value, int):
        choices += [value + 1, max(0, value - 1)]
    if isinstance(value, bytes):
        choices += [chance.randbytes(len(value)), value[:-1], value + b"\0"]
    return chance.choice(choices)


async def busy(lab: Lab, nodes: list[Running], turns: int) -> None:
    for turn in range(turns):
        await lab.final(nodes[turn % len(nodes)], lab.pay(lab.alice))


@pytest.mark.parametrize("seed", range(2))
def test_no_bent_message_ends_a_node(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message of every kind is refused by name, or ignored, or true."""
    traffic = record(monkeypatch)

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await busy(lab, nodes, 4)
        follower = await lab.node("follower", nodes[0])
        await lab.reach(4, follower)
        stranger = Stranger(lab, "203.0.113.9")
        await stranger.meet(lab, nodes[0])
        victim, chance = nodes[0], lab.chance
        sent: list[Sent] = [entry for entry in traffic if entry[0] is not Channel.PEERS]
        kinds = {entry[:2] for entry in sent}
        assert len(kinds) >= 10, kinds
        refused = 0
        for number in range(MESSAGES):
            channel, kind, data = chance.choice(sent)
            others = [d for c, _, d in sent if c is channel]
            payload = bent(chance, data, others)
            if len(payload) > victim.node.router.size_max(channel, kind):
                continue
            try:
                await victim.node.router.on_message(stranger.id, channel, kind, payload)
            except (CallerError, PeerError):
                refused += 1
            if number % 500 == 0:
                await busy(lab, nodes, 1)
        assert refused > MESSAGES / 10
        await busy(lab, nodes, 4)
        honest = {node.address.node_id.hex() for node in [*nodes, follower]}
        for node in [*nodes, follower]:
            assert not honest & {ban.subject for ban in node.node.peers.standing.bans()}
        assert len(victim.node.peers.ids()) >= 4

    run_lab(scenario, seed=seed)


def test_old_messages_sent_again_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded votes, proposals and blocks replayed later are true, and of no use."""
    traffic = record(monkeypatch)

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await busy(lab, nodes, 4)
        stranger = Stranger(lab, "203.0.113.9")
        await stranger.meet(lab, nodes[0])
        for channel, kind, data in list(traffic):
            if channel in (Channel.CONSENSUS, Channel.PROPOSALS, Channel.TRANSACTIONS):
                stranger.say(nodes[0], channel, kind, data)
                await trio.sleep(0.002)
        await busy(lab, nodes, 4)
        assert all(node.node.engine.evidence_count == 0 for node in nodes)
        assert all(not node.node.peers.standing.bans() for node in nodes)

    run_lab(scenario)


def test_a_forger_is_banned_and_those_who_heard_him_are_not() -> None:
    """One stranger forges in an authority's name; only the stranger pays for it."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await busy(lab, nodes, 2)
        await lab.reach(2)
        height = nodes[0].height + 1
        key = nodes[1].node.own_key
        assert key is not None
        header = nodes[0].node.chain.tip.header
        assert header is not None
        authorities = nodes[0].node.chain.authorities
        proposer = authorities.proposer(height, 0)
        forged_header = replace(header, height=height, proposer=proposer, first_round=0)
        forgeries: list[Proposal | Vote] = [
            Proposal(0, -1, forged_header, proposer, bytes(64)),
            Vote(Kind.PREVOTE, height, 0, None, key, bytes(64)),
        ]
        for number, forgery in enumerate(forgeries):
            stranger = Stranger(lab, f"203.0.113.{number + 1}")
            await stranger.meet(lab, nodes[0])
            payload = pack_message(forgery)
            assert unpack_message(payload) == forgery
            stranger.say(nodes[0], Channel.CONSENSUS, ConsensusKind.MESSAGE, payload)
            await trio.sleep(2)
            subjects = [ban.subject for ban in nodes[0].node.peers.standing.bans()]
            assert stranger.id.hex() in subjects
        await busy(lab, nodes, 3)
        for node in nodes[1:]:
            assert node.node.peers.standing.bans() == []
        assert len(nodes[0].node.peers.standing.bans()) == 4

    run_lab(scenario)
