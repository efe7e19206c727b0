"""The consensus loop of a node: what it refuses to start with, and what it must not hide.

Crashes at every step are in `test_crash_points.py`; here stand the states that no crash makes.
"""

from __future__ import annotations

import logging
from copy import deepcopy

import pytest
import trio

from clawpurse.consensus.effects import AppendWal, Effect, Sign
from clawpurse.consensus.inputs import VoteReceived
from clawpurse.consensus.wal_records import encode
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind, vote_bytes
from clawpurse.node.bodies import Body
from clawpurse.node.engine import Judgement
from clawpurse.node.files import MemoryFiles
from clawpurse.node.signer import FileSigner, create_sign_state
from clawpurse.node.workers import InlineLane
from tests.node.lab import Lab, disk_of, run_lab
from tests.node.rpc.nodeworld import Running, until


async def voted_alone(lab: Lab) -> tuple[Running, MemoryFiles]:
    """One of two authorities, with votes of its own at a height that nobody can decide.

    Also returns its signing state from before those votes.
    """
    one = await lab.start("authority-1")
    two = await lab.start("authority-2")
    await lab.final(one, lab.pay(lab.alice))
    await lab.reach(1)
    await lab.crash(two)
    early = deepcopy(one.disk.signer)
    await one.node.intake.submit(lab.pay(lab.alice).raw)
    await until(lambda: bool(one.node.engine.machine.own_messages), 60)
    return one, early


async def grown(lab: Lab, blocks: int = 3) -> Running:
    """A network of one with a few blocks."""
    node = await lab.start("authority-1")
    for _ in range(blocks):
        await lab.final(node, lab.pay(lab.alice))
    return node


def test_a_chain_older_than_its_log_observes_up_to_what_was_signed() -> None:
    """The database was restored without the log, or the disk forgot what it acknowledged."""

    async def scenario(lab: Lab) -> None:
        node = await grown(lab, 1)
        early = disk_of(node)
        for _ in range(3):
            await lab.final(node, lab.pay(lab.alice))
        disk = await lab.crash(node)
        disk.store = early.store
        height = max(order[0] for _, order in lab.released)
        again = await lab.start("authority-1", disk)
        assert again.height == 1
        await trio.sleep(60)
        # There is nobody here who has the blocks, and it makes no others in their place.
        assert again.height == 1 and not again.node.engine.may_sign
        problems = "; ".join(again.node.care.problems())
        assert f"signs again from block {height + 1}" in problems
        # The logs that contradicted the chain are gone, what is refused is remembered.
        disk = await lab.stop(again)
        back = await lab.start("authority-1", disk)
        await trio.sleep(60)
        assert back.height == 1 and not back.node.engine.may_sign

    run_lab(scenario, authorities=1)


def test_a_follower_that_lost_its_log_needs_nobody_s_help() -> None:
    """It votes on nothing, so it has nothing to forget."""

    async def scenario(lab: Lab) -> None:
        node = await grown(lab)
        follower = await lab.node("follower", node)
        await lab.reach(3, follower)
        disk = await lab.crash(follower)
        disk.wal = MemoryFiles()
        back = await lab.node("follower", node, disk=disk)
        await lab.final(node, lab.pay(lab.alice))
        await lab.reach(4, back)

    run_lab(scenario, authorities=1)


def test_a_damaged_log_is_refused() -> None:
    async def scenario(lab: Lab) -> None:
        one, _ = await voted_alone(lab)
        disk = await lab.crash(one)
        name = disk.wal.names()[-1]
        data = bytearray(disk.wal.contents[name])
        data[200] ^= 1
        disk.wal.contents[name] = bytes(data)
        await lab.refused_start("authority-1", disk, "is damaged")

    run_lab(scenario, authorities=2)


def test_a_node_that_finds_a_final_block_invalid_stops_and_says_why() -> None:
    """Going on would be another chain; following blindly would make its checks worthless."""

    async def scenario(lab: Lab) -> None:
        others = await lab.authorities(2, 3, 4)

        async def never(body: Body) -> Judgement:
            return Judgement(False, "state: root is not mine")

        async with lab.ending("finds invalid") as _:
            victim = await lab.start("authority-1")
            victim.node.host.judge = never  # type: ignore[method-assign]
            for turn in range(4):
                await lab.final(others[turn % 3], lab.pay(lab.alice))
        await lab.final(others[0], lab.pay(lab.alice))

    run_lab(scenario)


def test_an_authority_that_signs_twice_is_seen_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        domain, seed = nodes[0].node.domain, lab.seeds[3]
        key = crypto.public_key_of(seed)
        height = nodes[0].height + 1
        for block_id in (b"\xaa" * 32, b"\xbb" * 32, None):
            data = vote_bytes(domain, Kind.PREVOTE, height, 0, block_id)
            vote = Vote(Kind.PREVOTE, height, 0, block_id, key, crypto.sign(seed, data))
            await nodes[0].node.engine.deliver(VoteReceived(vote), None)
        await until(lambda: nodes[0].node.engine.evidence_count == 1, 10)
        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.reach(2)

    with caplog.at_level(logging.ERROR, "clawpurse.consensus"):
        run_lab(scenario)
    assert "signed twice" in caplog.text


def test_a_guard_that_refuses_costs_votes_and_never_the_height() -> None:
    """An authority below its floor is silent there, and speaks again above it."""

    async def scenario(lab: Lab) -> None:
        files = MemoryFiles()
        key = crypto.public_key_of(lab.seeds[0])
        create_sign_state(files, lab.genesis.hash, key, 4)
        disk = disk_of(await _idle(lab))
        disk.signer = files
        nodes = await lab.authorities(2, 3, 4)
        mute = await lab.start("authority-1", disk)
        await until(lambda: mute.node.signing.is_open(key), 30)
        for turn in range(8):
            await lab.final(nodes[turn % 3], lab.pay(lab.alice))
        await lab.reach(nodes[0].height)
        heights = {slot[1][0] for slot in lab.released if slot[0] == key}
        assert heights and min(heights) > 4

    run_lab(scenario)


async def _idle(lab: Lab) -> Running:
    """A node that was started once and did nothing."""
    node = await lab.start("authority-1")
    await lab.crash(node)
    node.store._closed = False
    return node


def test_a_lost_body_of_a_decided_block_is_fetched() -> None:
    """Bodies are kept with care; should one be gone all the same, its voters have it."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        victim = nodes[0]
        bodies = victim.node.bodies
        keep = bodies.put
        lost: list[bytes] = []

        def forgetful(body: Body) -> None:
            keep(body)
            block_id = body.block.header.block_id
            if not lost and body.block.header.height == 2:
                lost.append(block_id)
                del bodies._bodies[block_id]

        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.reach(1)
        bodies.put = forgetful  # type: ignore[method-assign]
        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.reach(2)
        assert lost

    run_lab(scenario)


def test_work_is_told_once_a_height() -> None:
    """A thousand transactions a second must not be a thousand inputs of consensus."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2)
        engine = nodes[0].node.engine
        delivered: list[object] = []
        send = engine._try_send
        engine._try_send = lambda delivery: delivered.append(delivery) or send(delivery)  # type: ignore[method-assign, func-returns-value]
        for _ in range(500):
            engine.work_available()
        assert len(delivered) == 1

    run_lab(scenario)


def test_all_that_a_step_took_in_is_logged_before_anything_is_signed_for_it() -> None:
    """A height can begin with many early votes. A precommit logged before the prevotes that it
    rests on is refused in replay: after a crash the node would not know its own vote."""

    async def scenario(lab: Lab) -> None:
        node = await grown(lab, 1)
        engine = node.node.engine
        height = engine.machine.height
        votes = [
            VoteReceived(Vote(Kind.PREVOTE, height, round_, None, bytes(32), bytes(64)))
            for round_ in range(2)
        ]
        logged: list[list[bytes]] = []

        async def signing(_message: object) -> None:
            logged.append(list(engine._unsynced))

        engine._sign = signing  # type: ignore[method-assign, assignment]
        asked = Vote(Kind.PREVOTE, height, 0, None, bytes(32))
        effects: list[Effect] = [AppendWal(votes[0]), Sign(asked), AppendWal(votes[1])]
        await engine._perform(effects, None)
        (before,) = logged
        assert before[-2:] == [encode(vote) for vote in votes]

    run_lab(scenario, authorities=1)


def test_the_signer_of_another_network_signs_nothing_here() -> None:
    files = MemoryFiles()
    seed = b"\x01" * 32
    create_sign_state(files, b"\x22" * 32, crypto.public_key_of(seed))
    signer = FileSigner(seed, b"\x22" * 32, files, InlineLane())

    async def scenario(lab: Lab) -> None:
        with pytest.raises(Exception, match="another network"):
            await signer.sign(
                vote_bytes((await grown(lab, 0)).node.domain, Kind.PREVOTE, 1, 0, None)
            )

    run_lab(scenario, authorities=1)
