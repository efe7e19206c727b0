"""Networks in which an authority signs twice: final once, everywhere, whoever saw it and died.

If evidence were lost, a liar could go on unseen; if it were recorded twice, or blocks with it were
judged differently, one liar could split or stop the network.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio

from clawpurse.consensus.inputs import CertificateReceived, VoteReceived
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.statetree.state_proof import verify_state_proof
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.modules.governance.evidence import count_evidence, list_evidence
from clawpurse.node import messages
from clawpurse.node.messages import EvidenceKind, SyncKind
from clawpurse.p2p.channels import Channel
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.lab import Lab, disk_of, run_lab
from tests.node.rpc.nodeworld import Running, until
from tests.node.stranger import Stranger

ONE, OTHER = b"\xaa" * 32, b"\xbb" * 32


#: One seed in `make test`; the further ones run at full size.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 3))]


def vote(
    lab: Lab,
    who: int,
    height: int,
    block_id: bytes | None,
    kind: Kind = Kind.PREVOTE,
    round_: int = 0,
) -> Vote:
    """A vote of the nth authority that its own guard would never have let out."""
    seed = lab.seeds[who - 1]
    domain = next(iter(lab.nodes.values())).node.domain
    unsigned = Vote(kind, height, round_, block_id, crypto.public_key_of(seed))
    return unsigned._replace(signature=crypto.sign(seed, unsigned.sign_bytes(domain)))


async def equivocate(lab: Lab, node: Running, who: int, height: int = 0) -> bytes:
    """Let a node hear two prevotes of an authority for one position; returns its key."""
    height = height or node.height + 1
    for block_id in (ONE, OTHER):
        await node.node.engine.deliver(VoteReceived(vote(lab, who, height, block_id)), None)
    return crypto.public_key_of(lab.seeds[who - 1])


def blocks_with_evidence(node: Running) -> dict[int, tuple[bytes, ...]]:
    found = {}
    for height in range(1, node.height + 1):
        packed = node.node.chain.blocks.block(height)
        assert packed is not None
        evidence = Block.unpack(packed).evidence
        if evidence:
            found[height] = evidence
    return found


async def recorded(node: Running, count: int = 1, seconds: float = 60) -> None:
    reader = node.node.chain.reader
    await until(lambda: count_evidence(reader) >= count, seconds)


def test_evidence_is_final_once_on_every_node_without_any_payment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An idle network makes a block for it at once; one node saw it, all record the same."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        follower = await lab.start("follower")
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        started = trio.current_time()
        key = await equivocate(lab, nodes[0], 4)
        for node in (*nodes, follower):
            await recorded(node)
        assert trio.current_time() - started < 20
        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.final(nodes[2], lab.pay(lab.alice))
        await lab.reach(nodes[0].height)
        for node in (*nodes, follower):
            (evidence,) = blocks_with_evidence(node).values()
            (found,) = list_evidence(node.node.chain.reader, 0, 10)
            assert evidence == (found.proof.pack(),)
            assert found.proof.authority == key
            assert found.draft is not None
            assert node.node.evidence.pending == ()
            assert any("signed twice" in alarm for alarm in node.node.evidence.alarms())

    with caplog.at_level(logging.ERROR, "clawpurse.consensus"):
        run_lab(scenario)
    assert "signed twice" in caplog.text
    assert "double signing is final" in caplog.text


def test_what_a_node_saw_is_final_though_it_died_at_once() -> None:
    """It is on its disk: when the finder comes back, alone with it, the others learn of it."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        finder = nodes[0]
        lab.split([finder], nodes[1:])
        await equivocate(lab, finder, 4)
        await until(lambda: len(finder.node.evidence.pending) == 1, 10)
        await finder.node.evidence.flush()
        disk = await lab.crash(finder)
        # Not even in the log: what was found outlives the log that it was found with.
        lab.heal_all()
        four = await lab.start("authority-4")
        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.reach(2, *nodes[1:], four)
        assert count_evidence(nodes[1].node.chain.reader) == 0
        back = await lab.start("authority-1", disk)
        for node in (back, *nodes[1:], four):
            await recorded(node)
        await lab.reach(back.height)
        assert len(blocks_with_evidence(back)) == 1

    run_lab(scenario)


def test_replay_finds_what_was_not_written_down_yet() -> None:
    """The votes are in the log, the evidence was not on disk: the log gives it back."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        lab.split([nodes[0]], nodes[1:])
        await equivocate(lab, nodes[0], 4)
        # A vote of its own rests on the log, so these two are flushed with it.
        await nodes[0].node.intake.submit(lab.pay(lab.alice).raw)
        await until(lambda: bool(nodes[0].node.engine.machine.own_messages), 60)
        disk = disk_of(nodes[0])
        disk.store = {key: value for key, value in disk.store.items() if key[:1] != b"V"}
        await lab.crash(nodes[0])
        back = await lab.start("authority-1", disk)
        assert [proof.height for proof in back.node.evidence.pending] == [2]
        lab.heal_all()
        for node in (back, *nodes[1:]):
            await recorded(node)
        assert len(blocks_with_evidence(back)) == 1

    run_lab(scenario)


def test_a_vote_after_the_decision_convicts_too() -> None:
    """Nobody waits for the slowest vote; a liar must not be safe by being late."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        assert nodes[0].height == 1
        await equivocate(lab, nodes[0], 4, height=1)
        for node in nodes:
            await recorded(node)
        (found,) = list_evidence(nodes[2].node.chain.reader, 0, 10)
        assert found.proof.height == 1

    run_lab(scenario)


def test_a_storm_of_evidence_costs_a_few_records_a_block_and_no_payment() -> None:
    """A stolen key can make millions of records; each authority keeps a few of one key."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        stranger = Stranger(lab, "stranger")
        await stranger.meet(lab, nodes[0])
        for round_ in range(60):
            one, other = (vote(lab, 4, 1, block, round_=round_) for block in (ONE, OTHER))
            packed = DoubleSign.of(one, other).pack()
            stranger.say(nodes[0], Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, packed)
        await lab.final(nodes[1], lab.pay(lab.alice))
        await recorded(nodes[0], 8)
        for node in nodes:
            assert len(node.node.evidence.pending) <= 8
            for evidence in blocks_with_evidence(node).values():
                assert len(evidence) <= 16
        assert stranger.id in nodes[0].node.peers.ids()

    run_lab(scenario)


@pytest.mark.parametrize("bend", ["signature", "stranger", "bytes", "size"])
def test_who_sends_false_evidence_is_thrown_out_and_nobody_convicted(bend: str) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        stranger = Stranger(lab, "stranger")
        await stranger.meet(lab, nodes[0])
        proof = DoubleSign.of(vote(lab, 4, 1, ONE), vote(lab, 4, 1, OTHER))
        if bend == "signature":
            proof = proof._replace(second=proof.second._replace(signature=bytes(64)))
        elif bend == "stranger":
            seed = b"\x55" * 32
            key = crypto.public_key_of(seed)
            pair = []
            for block_id in (ONE, OTHER):
                unsigned = Vote(Kind.PREVOTE, 1, 0, block_id, key)
                data = unsigned.sign_bytes(nodes[0].node.domain)
                pair.append(unsigned._replace(signature=crypto.sign(seed, data)))
            proof = DoubleSign.of(*pair)
        payload = proof.pack()
        if bend == "bytes":
            payload = payload[:-1]
        elif bend == "size":
            payload = payload + bytes(400)
        stranger.say(nodes[0], Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, payload)
        await until(lambda: stranger.id not in nodes[0].node.peers.ids(), 20)
        assert all(node.node.evidence.pending == () for node in nodes)
        assert nodes[0].node.evidence.alarms() == []

    run_lab(scenario)


def test_known_and_future_evidence_costs_a_peer_nothing() -> None:
    """Honest nodes repeat themselves, and may be ahead: neither is an offence."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        stranger = Stranger(lab, "stranger")
        await stranger.meet(lab, nodes[0])
        known = DoubleSign.of(vote(lab, 4, 1, ONE), vote(lab, 4, 1, OTHER)).pack()
        ahead = DoubleSign.of(vote(lab, 4, 99, ONE), vote(lab, 4, 99, OTHER)).pack()
        for _ in range(5):
            for packed in (known, ahead):
                stranger.say(nodes[0], Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, packed)
        for node in nodes:
            await recorded(node)
        stranger.say(nodes[0], Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, known)
        await lab.final(nodes[1], lab.pay(lab.alice))
        assert stranger.id in nodes[0].node.peers.ids()
        assert count_evidence(nodes[0].node.chain.reader) == 1

    run_lab(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_evidence_is_recorded_once_whichever_of_its_finders_dies_when(seed: int) -> None:
    """What a node saw that lived on is final; nothing is final twice; nobody else is convicted."""

    async def scenario(lab: Lab) -> None:
        await lab.authorities(1, 2, 3)
        await lab.final(lab.nodes["authority-1"], lab.pay(lab.alice))
        await lab.reach(1)
        liar, seen = crypto.public_key_of(lab.seeds[3]), set()
        for turn in range(9):
            steady, shaky = (f"authority-{n % 3 + 1}" for n in (turn, turn + 1))
            height = lab.nodes[steady].height + 1
            await equivocate(lab, lab.nodes[shaky], 4, height)
            if lab.chance.random() < 0.5:
                await equivocate(lab, lab.nodes[steady], 4, height)
                seen.add(height)
            await trio.sleep(lab.chance.random() * 0.2)
            disk = await lab.crash(lab.nodes[shaky])
            await lab.nodes[steady].node.evidence.flush()
            await trio.sleep(lab.chance.random())
            await lab.start(shaky, disk)
        for node in lab.nodes.values():
            await recorded(node, len(seen))
        await until(lambda: all(not n.node.evidence.pending for n in lab.nodes.values()), 60)
        await lab.final(lab.nodes["authority-1"], lab.pay(lab.bob))
        await lab.reach(lab.nodes["authority-1"].height)
        for node in lab.nodes.values():
            found = [one.proof for one in list_evidence(node.node.chain.reader, 0, 100)]
            assert {proof.authority for proof in found} == {liar}
            assert seen <= {proof.height for proof in found}
            assert len({proof.slot for proof in found}) == len(found)

    run_lab(scenario, seed=seed)


def ballot(lab: Lab, by: int, removed: bytes, expires_ms: int) -> Transaction:
    """A vote of the nth authority to remove one, paid for by Alice."""
    key = SigningKey(lab.seeds[by - 1])
    action = RawAction("governance.removeAuthority", [key.account, expires_ms, removed])
    return sign_body(lab.body(lab.alice, action), [(Role.SENDER, lab.alice), (Role.APPROVER, key)])


def test_who_has_left_is_still_convicted_of_what_it_signed_before() -> None:
    """Across the change of the set, by the set of the height; and of nothing after it left."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        removed = crypto.public_key_of(lab.seeds[3])
        expires_ms = lab.clock.now_ms() + 3_600_000
        for by in (1, 2, 3):
            (told,) = await lab.final(nodes[0], ballot(lab, by, removed, expires_ms))
            assert told["receipt"]["code"] == "ok", told
        for turn in range(3):
            await lab.final(nodes[turn], lab.pay(lab.alice))
        chain = nodes[0].node.chain
        assert removed not in chain.authorities
        last = max(h for h in range(1, chain.height + 1) if removed in chain.authorities_at(h))
        honest, liar = Stranger(lab, "honest"), Stranger(lab, "liar")
        for stranger, height in ((honest, last), (liar, last + 1)):
            await stranger.meet(lab, nodes[0])
            proof = DoubleSign.of(*(vote(lab, 4, height, block) for block in (ONE, OTHER)))
            stranger.say(nodes[0], Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, proof.pack())
        await until(lambda: liar.id not in nodes[0].node.peers.ids(), 20)
        for node in nodes:
            await recorded(node)
        (found,) = list_evidence(chain.reader, 0, 10)
        assert (found.proof.height, found.draft) == (last, None)
        assert honest.id in nodes[0].node.peers.ids()
        assert nodes[0].node.evidence.alarms() == []

    run_lab(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_correct_authorities_that_crash_and_replay_are_never_accused(seed: int) -> None:
    """Replayed, re-signed and repeated messages are the same bytes, so they convict nobody."""

    async def scenario(lab: Lab) -> None:
        await lab.authorities()
        for turn in range(12):
            name = f"authority-{turn % 4 + 1}"
            running = lab.nodes[name]
            other = lab.nodes[f"authority-{(turn + 1) % 4 + 1}"]
            await other.node.intake.submit(lab.pay(lab.alice).raw)
            await trio.sleep(lab.chance.random() * 0.3)
            disk = await lab.crash(running)
            await trio.sleep(lab.chance.random())
            await lab.start(name, disk)
        height = max(node.height for node in lab.nodes.values())
        await lab.final(lab.nodes["authority-1"], lab.pay(lab.bob))
        await lab.reach(height + 1)
        for node in lab.nodes.values():
            assert node.node.engine.evidence_count == 0
            assert node.node.evidence.pending == ()
            assert count_evidence(node.node.chain.reader) == 0
            assert node.node.evidence.alarms() == []

    run_lab(scenario, seed=seed)


def test_programs_see_what_waits_and_prove_what_is_final() -> None:
    """consensus_getEvidence, a block's view, health, and the event that subscriptions carry."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        node = nodes[0]
        await lab.final(node, lab.pay(lab.alice))
        await lab.reach(1)
        empty = await node.call("consensus_getEvidence")
        assert empty == {"evidence": [], "nextCursor": None, "alarms": []}
        lab.split([node], nodes[1:])
        key = await equivocate(lab, node, 4)
        await until(lambda: len(node.node.evidence.pending) == 1, 10)
        (waits,) = (await node.call("consensus_getEvidence"))["evidence"]
        assert (waits["state"], waits["committedHeight"]) == ("pending", None)
        assert (waits["kind"], waits["publicKey"]) == ("prevote", "0x" + key.hex())
        lab.heal()
        for height in (1, 2):
            await equivocate(lab, nodes[1], 4, height=height)
        for one in nodes:
            await recorded(one, 2)
        await lab.reach(nodes[1].height)
        page = await node.call("consensus_getEvidence", limit=1)
        rest = await node.call("consensus_getEvidence", limit=1, cursor=page["nextCursor"])
        (newest,), (oldest,) = page["evidence"], rest["evidence"]
        assert (newest["number"], oldest["number"], rest["nextCursor"]) == (1, 0, None)
        assert newest["state"] == oldest["state"] == "committed"
        block = await node.call("chain_getBlock", height=oldest["committedHeight"])
        assert oldest["raw"] in [item["raw"] for item in block["evidence"]]
        assert block["header"]["evidenceRoot"] != "0x" + "00" * 32
        proven = await node.call("chain_getProof", module="governance", path=oldest["path"])
        assert oldest["raw"][2:] in proven["value"]
        assert verify_state_proof(
            bytes.fromhex(proven["header"]["stateRoot"][2:]),
            "governance",
            bytes.fromhex(oldest["path"][2:]),
            bytes.fromhex(proven["value"][2:]),
            bytes.fromhex(proven["proof"][2:]),
        )
        health = await node.call("node_getHealth")
        assert health["ready"]
        assert ["signed twice" in alarm for alarm in health["alarms"]] == [True]
        await node.refusal("consensus_getEvidence", cursor="x")
        metrics = node.node.metrics.exposition().decode()
        assert 'clawpurse_evidence_total{state="committed"} 2.0' in metrics

    run_lab(scenario)


def second_history(lab: Lab, node: Running, height: int, who: Sequence[int]) -> Certificate:
    """A certificate for another block of a final height, by authorities that signed both."""
    packed = node.node.chain.blocks.certificate(height)
    assert packed is not None
    round_ = Certificate.unpack(packed).round
    votes = {
        crypto.public_key_of(lab.seeds[n - 1]): vote(lab, n, height, OTHER, Kind.PRECOMMIT, round_)
        for n in who
    }
    return Certificate.of(node.node.chain.authorities_at(height), votes)


def test_a_second_history_stops_the_node_that_sees_it_with_its_authors_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(2, 3, 4)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        async with lab.ending("was decided twice"):
            victim = await lab.start("follower")
            await lab.reach(1, victim)
            certificate = second_history(lab, nodes[0], 1, (1, 3, 4))
            await victim.node.engine.deliver(CertificateReceived(certificate), None)
        disk = victim.disk
        disk.store = victim.store.content()
        pending = [key for key in disk.store if key[:1] == b"V"]
        assert len(pending) == 2

    with caplog.at_level(logging.CRITICAL, "clawpurse.consensus"):
        run_lab(scenario)
    assert "two blocks of one height are decided" in caplog.text


def test_a_peer_that_is_on_another_history_is_asked_for_its_proof() -> None:
    """Two halves of equal height would else never notice each other."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(2, 3, 4)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        packed = nodes[0].node.chain.blocks.block(1)
        assert packed is not None
        proof = second_history(lab, nodes[0], 1, (1, 3, 4))

        async def answer(peer: bytes, channel: Channel, kind: int, payload: bytes) -> None:
            if channel is Channel.SYNC and kind == SyncKind.RANGE_WANTED:
                found = messages.pack_range(1, [(packed, proof.pack())])
                stranger.pool.send(peer, Channel.SYNC, SyncKind.RANGE, found)

        stranger = Stranger(lab, "stranger", answer)
        async with lab.ending("was decided twice"):
            victim = await lab.start("follower")
            await lab.reach(1, victim)
            await stranger.meet(lab, victim)
            tip = messages.Tip(1, 0, OTHER).pack()
            stranger.say(victim, Channel.SYNC, SyncKind.TIP, tip)

    run_lab(scenario)


def test_a_forged_second_history_stops_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        true = second_history(lab, nodes[0], 1, (1, 3, 4))
        signatures = (bytes(64), *true.signatures[1:])
        forged = Certificate(true.height, true.round, true.block_id, true.signers, signatures)
        few = second_history(lab, nodes[0], 1, (3, 4))
        for certificate in (forged, few):
            await nodes[0].node.engine.deliver(CertificateReceived(certificate), None)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(2)
        assert nodes[0].node.evidence.pending == ()

    run_lab(scenario)
