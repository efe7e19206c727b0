"""Block sync: from nothing to the tip, past liars, silence and slow peers.

One authority makes a chain, whole nodes follow it; liars are peers of our own making.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import trio

from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.blocks import Block
from clawpurse.node import messages
from clawpurse.node import sync as sync_file
from clawpurse.node.messages import RANGE_BLOCKS_MAX, SyncKind, Tip
from clawpurse.node.sync import ANSWER_TIMEOUT_S, SERVING_PER_PEER_MAX, WINDOW_BLOCKS
from clawpurse.p2p.channels import Channel
from tests.node.lab import Lab, disk_of, run_lab
from tests.node.rpc.nodeworld import Disk, Running, until
from tests.node.stranger import Stranger

#: More than two windows.
HEIGHT = 2 * WINDOW_BLOCKS + 6


@cache
def _long_chain() -> Disk:
    async def scenario(lab: Lab) -> Disk:
        lab.delay_max_s = 0.0
        node = await lab.start("authority-1")
        while node.height < HEIGHT:
            await node.node.intake.submit(lab.pay(lab.alice).raw)
            await lab.reach(node.height + 1)
        return disk_of(node)

    disk = run_lab(scenario, authorities=1)
    assert isinstance(disk, Disk)
    return disk


@pytest.fixture(autouse=True, scope="module")
def chain_made() -> None:
    """Make the chain before any test's own loop runs."""
    _long_chain()


def long_chain() -> Disk:
    """The disk of an authority with a chain of `HEIGHT` blocks; a copy."""
    kept = _long_chain()
    return Disk(dict(kept.store), deepcopy(kept.wal), deepcopy(kept.journal), deepcopy(kept.signer))


def pairs_of(node: Running) -> list[tuple[bytes, bytes]]:
    """All blocks of a node with their certificates, from height 1."""
    found = []
    for height in range(1, node.height + 1):
        block = node.node.chain.blocks.block(height)
        certificate = node.node.chain.blocks.certificate(height)
        assert block is not None and certificate is not None
        found.append((block, certificate))
    return found


class Server(Stranger):
    """A stranger that says it is far and answers ranges by a function of (first, count)."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        give: Callable[[int, int], list[tuple[bytes, bytes]] | None],
        tip: int = HEIGHT,
    ) -> None:
        super().__init__(lab, name)
        self.give = give
        self.tip = Tip(tip, 0, b"\1" * 32).pack()
        self.asked: list[tuple[int, int]] = []

    def connected(self, node_id: bytes) -> None:
        self.pool.send(node_id, Channel.SYNC, SyncKind.TIP, self.tip)

    async def on_message(self, node_id: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        await super().on_message(node_id, channel, kind, payload)
        if (channel, kind) == (Channel.SYNC, SyncKind.RANGE_WANTED):
            first, count = messages.unpack_range_wanted(payload)
            self.asked.append((first, count))
            given = self.give(first, count)
            if given is not None:
                answer = messages.pack_range(first, given)
                self.pool.send(node_id, Channel.SYNC, SyncKind.RANGE, answer)
        elif (channel, kind) == (Channel.SYNC, SyncKind.TIP):
            self.pool.send(node_id, Channel.SYNC, SyncKind.TIP, self.tip)


def test_a_new_node_syncs_from_genesis_by_windows() -> None:
    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        follower = await lab.node("follower", full)
        await until(lambda: follower.node.sync.progress.behind > 3, 10)
        assert any("syncing" in problem for problem in follower.node.care.problems())
        await lab.reach(HEIGHT, follower)
        assert follower.node.sync.progress.behind == 0
        assert follower.node.care.problems() == []
        # It follows on as blocks come.
        await lab.final(full, lab.pay(lab.bob))
        await lab.reach(HEIGHT + 1, follower)

    run_lab(scenario, authorities=1)


def spoilt(kind: str, block: bytes, certificate: bytes, other: bytes) -> tuple[bytes, bytes]:
    """A pair with one thing wrong."""
    proof = Certificate.unpack(certificate)
    whole = Block.unpack(block)
    match kind:
        case "signature":
            bad = Certificate(
                proof.height, proof.round, proof.block_id, proof.signers, (bytes(64),)
            )
            return block, bad.pack()
        case "no quorum":
            bad = Certificate(proof.height, proof.round, proof.block_id, b"\0", ())
            return block, bad.pack()
        case "another certificate":
            return block, other
        case "body":
            return Block(whole.header, whole.parent_certificate, (), ()).pack(), certificate
        case "rubbish":
            return b"rubbish", certificate
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", ["signature", "no quorum", "another certificate", "body", "rubbish"]
)
def test_a_lying_server_is_banned_and_the_chain_comes_from_another(kind: str) -> None:
    """A wrong block costs its sender, never the one who asked."""

    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        true = pairs_of(full)

        def give(first: int, count: int) -> list[tuple[bytes, bytes]]:
            pairs = true[first - 1 : first - 1 + count]
            place = len(pairs) // 2
            block, certificate = pairs[place]
            pairs[place] = spoilt(kind, block, certificate, true[0][1])
            return pairs

        liar = Server(lab, "203.0.113.66", give)
        follower = await lab.node("follower")
        await liar.meet(lab, follower)
        await until(follower.node.peers.standing.bans, 20)
        bans = follower.node.peers.standing.bans()
        assert liar.id.hex() in [ban.subject for ban in bans]
        assert "block" in bans[0].reason
        # What was true before the lie stays; the rest comes from an honest node.
        assert follower.height < HEIGHT
        lab.nursery.start_soon(full.node.peers._dial, follower.address)
        await lab.reach(HEIGHT, follower)

    run_lab(scenario, authorities=1)


def test_a_silent_server_delays_and_never_stops() -> None:
    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        silent = Server(lab, "silent", lambda first, count: None)
        follower = await lab.node("follower")
        await silent.meet(lab, follower)
        await until(lambda: silent.asked, 10)
        lab.nursery.start_soon(full.node.peers._dial, follower.address)
        began = trio.current_time()
        await lab.reach(HEIGHT, follower)
        assert trio.current_time() - began < 4 * ANSWER_TIMEOUT_S
        assert follower.node.peers.standing.bans() == []
        # It is asked less and less, and its word on the height does not count.
        asked = len(silent.asked)
        await trio.sleep(600)
        assert len(silent.asked) - asked < 20

    run_lab(scenario, authorities=1)


def test_a_false_tip_does_not_make_a_node_look_behind() -> None:
    """A claim is a hint: one liar must not turn every node's readiness off."""

    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        follower = await lab.node("follower", full)
        await lab.reach(HEIGHT, follower)
        liar = Server(lab, "liar", lambda first, count: [], tip=10**15)
        await liar.meet(lab, follower)
        await until(lambda: liar.asked, 10)
        await trio.sleep(1)
        behind = []
        for _ in range(200):
            behind.append(follower.node.sync.progress.behind)
            await trio.sleep(0.5)
        # At a heartbeat's block a follower is one behind for a moment.
        assert max(behind) <= 1 and behind.count(0) > 190
        await lab.final(full, lab.pay(lab.bob))
        await lab.reach(HEIGHT + 1, follower)

    run_lab(scenario, authorities=1)


def test_a_server_without_the_first_blocks_is_not_asked_for_them() -> None:
    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        pruned = Server(lab, "pruned", lambda first, count: None)
        pruned.tip = Tip(HEIGHT, HEIGHT - 3, b"\1" * 32).pack()
        follower = await lab.node("follower")
        await pruned.meet(lab, follower)
        await trio.sleep(10)
        assert pruned.asked == []
        lab.nursery.start_soon(full.node.peers._dial, follower.address)
        await lab.reach(HEIGHT, follower)
        assert all(first >= HEIGHT - 3 for first, _ in pruned.asked)

    run_lab(scenario, authorities=1)


def test_blocks_that_nobody_asked_for_are_not_kept() -> None:
    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        true = pairs_of(full)
        follower = await lab.node("follower")
        pusher = Server(lab, "pusher", lambda first, count: None, tip=0)
        await pusher.meet(lab, follower)
        payload = messages.pack_range(1, true[:RANGE_BLOCKS_MAX])
        pusher.say(follower, Channel.SYNC, SyncKind.RANGE, payload)
        await trio.sleep(5)
        assert follower.node.sync._fetched == {} and follower.height == 0
        assert follower.node.peers.standing.bans() == []

    run_lab(scenario, authorities=1)


def test_what_is_fetched_ahead_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full blocks are megabytes: a fast server must not fill a slow node's memory."""

    held: list[int] = []
    take = sync_file.BlockSync._take

    def noted(sync: sync_file.BlockSync, *args: Any) -> None:
        take(sync, *args)
        held.append(sum(one.size_bytes for one in sync._fetched.values()))

    monkeypatch.setattr(sync_file.BlockSync, "_take", noted)

    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        size = max(len(block) for block, _ in pairs_of(full))
        monkeypatch.setattr(sync_file, "AHEAD_BYTES_MAX", 3 * size)
        monkeypatch.setattr(sync_file, "WINDOW_BLOCKS", 4)
        follower = await lab.node("follower", full)
        await lab.reach(HEIGHT, follower)
        # Three requests may be under way when the bound is met.
        assert 0 < max(held) <= 3 * size + 3 * 4 * size

    run_lab(scenario, authorities=1)


def test_ranges_are_served_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range ends at the tip, at its count, and at its bytes; a flood of requests at a few."""

    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        true = pairs_of(full)
        got: list[tuple[int, list[tuple[bytes, bytes]]]] = []

        async def note(node: bytes, channel: Channel, kind: int, payload: bytes) -> None:
            if (channel, kind) == (Channel.SYNC, SyncKind.RANGE):
                got.append(messages.unpack_range(payload))

        asker = Stranger(lab, "asker", note)
        await asker.meet(lab, full)

        async def ask(first: int, count: int) -> tuple[int, list[tuple[bytes, bytes]]]:
            wanted = messages.pack_range_wanted(first, count)
            asker.say(full, Channel.SYNC, SyncKind.RANGE_WANTED, wanted)
            before = len(got)
            await until(lambda: len(got) > before, 10)
            return got[-1]

        assert await ask(1, 5) == (1, true[:5])
        assert await ask(HEIGHT - 1, 60) == (HEIGHT - 1, true[-2:])
        assert await ask(HEIGHT + 1, 5) == (HEIGHT + 1, [])
        assert await ask(2**60, 5) == (2**60, [])
        two = sum(map(len, (*true[0], *true[1])))
        with monkeypatch.context() as patched:
            patched.setattr(messages, "RANGE_BYTES_MAX", two)
            assert await ask(1, 5) == (1, true[:2])
            patched.setattr(messages, "RANGE_BYTES_MAX", 1)
            assert await ask(1, 5) == (1, true[:1])
        got.clear()
        for _ in range(100):
            full.node.sync.on_message(
                asker.id, SyncKind.RANGE_WANTED, messages.pack_range_wanted(1, 5)
            )
        await trio.sleep(5)
        assert len(got) == SERVING_PER_PEER_MAX

    run_lab(scenario, authorities=1)


def test_a_height_is_known_decided_only_by_a_true_certificate() -> None:
    """A node that believed a false one would not vote where its vote is needed."""

    async def scenario(lab: Lab) -> None:
        full = await lab.start("authority-1", long_chain())
        block, certificate = pairs_of(full)[0]
        follower = await lab.node("follower")
        sync = follower.node.sync
        assert not sync.knows_decided(1)
        whole, proof = Block.unpack(block), Certificate.unpack(certificate)
        false = Certificate(proof.height, proof.round, proof.block_id, proof.signers, (bytes(64),))
        sync._fetched[1] = sync_file._Fetched(b"\7" * 32, whole, false, 1)
        assert not sync.knows_decided(1)
        assert 1 not in sync._fetched
        sync._fetched[1] = sync_file._Fetched(b"\7" * 32, whole, proof, 1)
        assert sync.knows_decided(1)

    run_lab(scenario, authorities=1)
