"""If these failed, payments would be lost or forged on their way in, or a flood would stop all."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger import codec
from clawpurse.ledger.crypto import wtx_id_of
from clawpurse.ledger.errors import (
    BadSignature,
    CallerError,
    Code,
    Malformed,
    Refused,
    StorageFault,
)
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.node import intake as intake_module
from clawpurse.node.clock import LoopClock, SystemClock
from clawpurse.node.files import DiskFiles, MemoryFiles
from clawpurse.node.intake import Intake, Outcome, Restored
from clawpurse.node.journal import Journal, JournalRecord
from clawpurse.node.mempool import Mempool, PoolLimits
from clawpurse.node.pool_fates import Fate
from clawpurse.node.verifier import ChildVerifier, InlineVerifier, Triple
from clawpurse.node.workers import InlineLane, ThreadLane
from tests.node.poolworld import HOUR_MS, REGISTRY, START_MS, PoolWorld

PEER = b"p" * 32
OTHER_PEER = b"q" * 32


class CountingVerifier(InlineVerifier):
    """Counts, and can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.calls = 0
        self.gate: trio.Event | None = None

    async def verify(self, triples: Sequence[Triple]) -> list[bool]:
        self.calls += 1
        self.count += len(triples)
        if self.gate is not None:
            await self.gate.wait()
        return await super().verify(triples)


class GatedLane(InlineLane):
    """A disk that can be made to wait or to fail."""

    def __init__(self) -> None:
        self.gate: trio.Event | None = None
        self.fault: StorageFault | None = None

    async def run(self, job):  # type: ignore[no-untyped-def]
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return await super().run(job)


class Setup:
    """An intake with everything around it in memory."""

    def __init__(self, world: PoolWorld, files: MemoryFiles | None = None) -> None:
        self.world = world
        self.pool = Mempool(PoolLimits(5_000, 10**7, 1_000))
        self.verifier = CountingVerifier()
        self.lane = GatedLane()
        self.files = MemoryFiles() if files is None else files
        self.journal = Journal(
            self.files, self.lane, world.genesis.hash, random.Random(1).randbytes
        )
        self.records = self.journal.open()
        self.final: set[bytes] = set()
        self.spread: list[tuple[Prepared, bytes | None]] = []
        self.blamed: list[tuple[bytes, CallerError]] = []
        self.intake = Intake(
            REGISTRY,
            LoopClock(START_MS),
            self.verifier,
            self.pool,
            self.journal,
            world.head,
            self.final.__contains__,
            lambda found, source: self.spread.extend([(one, source) for one in found]),
            lambda peer, error: self.blamed.append((peer, error)),
        )

    def commit(self, *block: Prepared) -> None:
        """Make a block final, as the node does after each commit."""
        included = self.world.commit(block)
        update = self.pool.committed(self.world.head(), included)
        ids = [one.transaction.tx_id for one in included]
        self.final.update(ids)
        settled = update.run()
        self.journal.settle([*ids, *(tx_id for tx_id, _ in settled)])

    def journalled(self) -> set[bytes]:
        again = Journal(self.files, InlineLane(), self.world.genesis.hash, os.urandom)
        return {one.tx_id for one in again.open()}


def play(setup: Setup, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` beside the intake, on a clock that costs no time."""

    async def whole() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(setup.intake.run)
            with trio.fail_after(3_600):
                await main()
            nursery.cancel_scope.cancel()

    trio.run(whole, clock=MockClock(autojump_threshold=0))


def ids(raws: Sequence[bytes]) -> list[bytes]:
    return [prepare(raw, REGISTRY).transaction.tx_id for raw in raws]


def test_accepted_is_pooled_journalled_and_spread() -> None:
    """A wallet would be told "accepted" of a payment that this node then forgets."""
    setup = Setup(PoolWorld(2))
    raws = [setup.world.pay(0, sequence, signed=True) for sequence in range(100)]

    async def main() -> None:
        outcome = await setup.intake.submit(raws[0])
        assert outcome == Outcome(ids(raws[:1])[0])
        assert setup.journalled() == {outcome.tx_id}
        results = await setup.intake.submit_many(raws[1:])
        assert results == [Outcome(tx_id) for tx_id in ids(raws[1:])]
        assert [one.transaction.raw for one in setup.pool.ready()] == raws
        assert [(one.transaction.raw, source) for one, source in setup.spread] == [
            (raw, None) for raw in raws
        ]
        assert setup.journalled() == set(ids(raws))
        assert setup.intake.waiting_count == 0
        assert await setup.intake.submit_many([]) == []

    play(setup, main)


def test_every_failure_has_its_type_and_nothing_of_it_stays() -> None:
    """A caller would not know what to do, or a refused payment would be made later."""
    world = PoolWorld(3, funds=100)
    setup = Setup(world)
    forged = bytearray(world.pay(0, 0, signed=True))
    forged[-1] ^= 1
    bad: list[tuple[bytes, type[CallerError], Code]] = [
        (b"", Malformed, Code.MALFORMED),
        (b"\x00" * 70_000, Malformed, Code.MALFORMED),
        (b"\xc1", Malformed, Code.MALFORMED),
        (world.pay(0, 0, signed=True) + b"x", Malformed, Code.MALFORMED),
        (bytes(forged), BadSignature, Code.BAD_SIGNATURE),
        (world.pay(0, 0), BadSignature, Code.BAD_SIGNATURE),
        (world.pay(0, 0, signed=True, genesis_hash=b"x" * 32), Refused, Code.WRONG_CHAIN),
        (world.pay(0, 0, signed=True, fee=101), Refused, Code.INSUFFICIENT_FUNDS),
        (world.pay(0, 5_000, signed=True), Refused, Code.SEQUENCE_GAP),
        (world.pay(0, 0, signed=True, valid_until_ms=START_MS - 1), Refused, Code.EXPIRED),
    ]

    async def main() -> None:
        for raw, kind, code in bad:
            for _ in range(2):
                with pytest.raises(kind) as caught:
                    await setup.intake.submit(raw)
                assert caught.value.code is code  # type: ignore[attr-defined]
        results = await setup.intake.submit_many([raw for raw, _, _ in bad])
        assert [type(result) for result in results] == [kind for _, kind, _ in bad]
        good = await setup.intake.submit(world.pay(0, 0, signed=True))
        assert setup.journalled() == {good.tx_id}
        assert len(setup.pool) == len(setup.spread) == 1

    play(setup, main)


def test_what_state_forbids_costs_no_signature_check() -> None:
    """Anybody could keep the verifier busy with payments that no block may hold."""
    world = PoolWorld(2)
    setup = Setup(world)

    async def main() -> None:
        setup.commit(world.prepared(0, 0))
        with pytest.raises(Refused):
            await setup.intake.submit(world.pay(0, 0))
        assert setup.verifier.count == 0

    play(setup, main)


def test_one_transaction_submitted_by_many_at_once_is_checked_once() -> None:
    """A wallet that tries again would cost the node as much as ten."""
    setup = Setup(PoolWorld(2))
    raw = setup.world.pay(0, 0, signed=True)
    outcomes: list[Outcome] = []

    async def one() -> None:
        outcomes.append(await setup.intake.submit(raw))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
                setup.intake.offer([raw], PEER)
        assert len(set(outcomes)) == 1
        assert setup.journalled() == {outcomes[0].tx_id}
        assert setup.verifier.count == 1
        assert len(setup.spread) == 1
        again = await setup.intake.submit(raw)
        assert again == outcomes[0]._replace(duplicate=True)
        assert setup.verifier.count == 1

    play(setup, main)


def test_a_final_one_that_comes_again_is_a_duplicate_not_an_error() -> None:
    """A wallet that lost the answer would believe that its payment was refused."""
    world = PoolWorld(2)
    setup = Setup(world)
    raw = world.pay(0, 0, signed=True)

    async def main() -> None:
        first = await setup.intake.submit(raw)
        setup.commit(*setup.pool.ready())
        assert await setup.intake.submit(raw) == first._replace(duplicate=True)
        with pytest.raises(Refused) as caught:
            await setup.intake.submit(world.pay(0, 0, signed=True, amount=2))
        assert caught.value.code is Code.SEQUENCE_LOW
        assert len(setup.journal) == 0

    play(setup, main)


def test_from_peers_is_pooled_and_relayed_but_promised_to_nobody() -> None:
    """Each node would write every payment of the network to its journal."""
    setup = Setup(PoolWorld(2))
    raws = [setup.world.pay(0, sequence, signed=True) for sequence in range(3)]

    async def main() -> None:
        assert setup.intake.offer([raws[0], raws[1], raws[0]], PEER) == 2
        await until(lambda: setup.intake.waiting_count == 0)
        assert [source for _, source in setup.spread] == [PEER, PEER]
        assert setup.journalled() == set()
        # A caller who submits it too is promised it.
        outcome = await setup.intake.submit(raws[1])
        assert outcome.duplicate
        assert setup.journalled() == {outcome.tx_id}
        # Known ones cost nothing and are not relayed again.
        checked = setup.verifier.count
        setup.intake.offer(raws[:2], OTHER_PEER)
        await until(lambda: setup.intake.waiting_count == 0)
        assert setup.verifier.count == checked
        assert len(setup.spread) == 2
        wtx_ids = [one.transaction.wtx_id for one in setup.pool.ready()]
        assert [setup.intake.knows(wtx_id) for wtx_id in [*wtx_ids, b"?" * 32]] == [
            True,
            True,
            False,
        ]

    play(setup, main)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never became so")


def test_bad_bytes_are_remembered_by_their_whole_form_only() -> None:
    """One forged witness would keep the genuine payment out."""
    world = PoolWorld(2)
    setup = Setup(world)
    forged, genuine = world.pay(0, 0), world.pay(0, 0, signed=True)
    poor = world.pay(1, 0, signed=True, fee=10**9)

    async def main() -> None:
        for _ in range(3):
            setup.intake.offer([forged, b"junk", poor], PEER)
            await until(lambda: setup.intake.waiting_count == 0)
        assert setup.verifier.count == 1
        kinds = [type(error) for peer, error in setup.blamed]
        assert sorted(kind.__name__ for kind in kinds) == 3 * ["BadSignature"] + 3 * ["Malformed"]
        assert {peer for peer, _ in setup.blamed} == {PEER}
        # Refused by state, so it may become right: nobody is blamed, nothing remembered.
        assert not setup.intake.knows(wtx_id_of(poor))
        assert setup.intake.knows(wtx_id_of(forged))
        assert not (await setup.intake.submit(genuine)).duplicate

    play(setup, main)


def test_nothing_is_called_accepted_before_the_disk_has_it() -> None:
    """A power cut would take a payment that a wallet believes accepted."""
    setup = Setup(PoolWorld(2))
    raws = [setup.world.pay(0, sequence, signed=True) for sequence in range(2)]
    answered: list[bytes] = []

    async def one(raw: bytes) -> None:
        await setup.intake.submit(raw)
        answered.append(raw)

    async def main() -> None:
        setup.lane.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, raws[0])
            await trio.testing.wait_all_tasks_blocked()
            # It may be proposed already; only the promise waits.
            assert [item.transaction.raw for item in setup.pool.ready()] == raws[:1]
            nursery.start_soon(one, raws[1])
            await trio.testing.wait_all_tasks_blocked()
            assert answered == []
            setup.lane.gate.set()
        assert sorted(answered) == sorted(raws)

    play(setup, main)


def test_a_disk_that_fails_ends_the_node_and_promises_nothing() -> None:
    """A node with a full disk would go on accepting payments that it cannot keep."""
    setup = Setup(PoolWorld(2))
    setup.lane.fault = StorageFault("The disk is full.", "", "df -h")
    answered: list[Outcome] = []

    async def whole() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(setup.intake.run)
            answered.append(await setup.intake.submit(setup.world.pay(0, 0, signed=True)))

    with pytest.RaisesGroup(pytest.RaisesGroup(StorageFault)):
        trio.run(whole, clock=MockClock(autojump_threshold=0))
    assert answered == []


def test_the_next_batches_are_decoded_while_signatures_are_checked() -> None:
    """The verifier would stand idle between batches, and halve what a node can take."""
    setup = Setup(PoolWorld(4))
    count = 1_000
    raws = [setup.world.pay(number % 4, number // 4, signed=True) for number in range(count)]

    async def main() -> None:
        setup.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(setup.intake.submit_many, raws)
            await trio.testing.wait_all_tasks_blocked()
            assert setup.verifier.calls == intake_module.VERIFYING_MAX
            assert setup.verifier.count <= intake_module.VERIFYING_MAX * intake_module.BATCH_MAX
            setup.verifier.gate.set()
        assert setup.pool.status().ready == count

    play(setup, main)


def test_a_block_between_checking_and_admission_is_respected() -> None:
    """A payment would enter the pool by a state that is no more."""
    world = PoolWorld(2)
    setup = Setup(world)

    async def main() -> None:
        setup.verifier.gate = trio.Event()
        results: list[object] = []

        async def one() -> None:
            results.extend(
                await setup.intake.submit_many([world.pay(0, s, signed=True) for s in range(2)])
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            setup.commit(world.prepared(0, 0, amount=5))
            setup.verifier.gate.set()
        assert isinstance(results[0], Refused)
        assert results[0].code is Code.SEQUENCE_LOW
        assert isinstance(results[1], Outcome)

    play(setup, main)


def test_too_much_at_once_is_refused_or_dropped_and_peers_leave_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flood would eat the memory, or peers would keep callers out."""
    monkeypatch.setattr(intake_module, "JOBS_MAX", 40)
    monkeypatch.setattr(intake_module, "PEERS_JOBS_MAX", 30)
    monkeypatch.setattr(intake_module, "ONE_PEER_JOBS_MAX", 10)
    world = PoolWorld(4)
    setup = Setup(world)
    intake = setup.intake

    def payments(lane: int) -> list[bytes]:
        return [world.pay(lane % 4, s, lane=lane, signed=True) for s in range(20)]

    async def main() -> None:
        setup.verifier.gate = trio.Event()
        assert intake.offer(payments(0), PEER) == 10
        assert intake.offer(payments(0), PEER) == 0
        assert [intake.offer(payments(n), bytes([n]) * 32) for n in (1, 2, 3)] == [10, 10, 0]
        results: list[object] = []

        async def caller() -> None:
            results.extend(await intake.submit_many(payments(5)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            assert intake.waiting_count == 40
            setup.verifier.gate.set()
        assert sum(isinstance(result, Outcome) for result in results) == 10
        refused = [result for result in results if isinstance(result, Refused)]
        assert {result.code for result in refused} == {Code.POOL_FULL}
        assert setup.pool.status().transactions == 40
        assert intake.waiting_count == 0
        assert (intake._jobs_bytes, intake._peers_jobs, intake._peer_jobs) == (0, 0, {})
        # Afterwards there is room again.
        assert not (await intake.submit(payments(5)[10])).duplicate

    play(setup, main)


def test_a_caller_who_leaves_changes_nothing() -> None:
    """One impatient caller would break others, or leave a promise half kept."""
    setup = Setup(PoolWorld(2))
    raws = [setup.world.pay(0, sequence, signed=True) for sequence in range(64)]

    async def main() -> None:
        setup.verifier.gate = trio.Event()
        with trio.move_on_after(1):
            await setup.intake.submit_many(raws)
        setup.verifier.gate.set()
        results = await setup.intake.submit_many(raws)
        assert all(isinstance(result, Outcome) for result in results)
        assert setup.journalled() == set(ids(raws))
        assert setup.verifier.count == 64

    play(setup, main)


def test_a_restart_brings_back_what_was_accepted_or_says_how_it_ended() -> None:
    """An accepted payment would be neither final nor reported after a crash."""
    world = PoolWorld(6)
    before = Setup(world)
    included, replaced, expired, late, pending = (
        world.pay(0, 0, signed=True),
        world.pay(1, 0, signed=True),
        world.pay(2, 0, signed=True, valid_until_ms=START_MS + 500),
        world.pay(3, 0, signed=True, height_max=1),
        world.pay(4, 0, signed=True),
    )
    raws = [included, replaced, expired, late, pending]

    async def accept() -> None:
        results = await before.intake.submit_many(raws)
        assert all(isinstance(result, Outcome) for result in results)

    play(before, accept)
    # Blocks went on while this node was down.
    world.commit([world.prepared(0, 0, signed=True), world.prepared(1, 0, amount=9)])
    after = Setup(world, before.files)
    tx_ids = ids(raws)
    after.final.add(tx_ids[0])
    foreign = JournalRecord(b"f" * 32, b"not a transaction")

    async def main() -> None:
        assert [one.tx_id for one in after.records] == tx_ids
        report = await after.intake.restore([*after.records, foreign])
        assert report == Restored(final=1, pooled=1, ended=4, remembered=0)
        fates = [after.pool.fates.settlement(tx_id) for tx_id in tx_ids]
        assert [None if one is None else one.fate for one in fates] == [
            None, Fate.REPLACED, Fate.EXPIRED, Fate.EXPIRED, None,
        ]  # fmt: skip
        assert [one.transaction.tx_id for one in after.pool.ready()] == [tx_ids[4]]
        assert [source for _, source in after.spread] == [None]
        assert len(after.journal) == 1
        # And it is not written a second time.
        written = sum(len(data) for data in after.files.contents.values())
        await after.intake.submit(pending)
        assert sum(len(data) for data in after.files.contents.values()) == written

    play(after, main)


def test_a_restored_one_that_cannot_enter_is_remembered_to_its_end() -> None:
    """An accepted payment that a restart finds unpayable would stay without an answer."""
    world = PoolWorld(2, funds=1_000)
    before = Setup(world)
    raw = world.pay(0, 1, lane=1, signed=True, fee=700, valid_until_ms=START_MS + 10_000)
    first = world.pay(0, 0, lane=1, signed=True)

    async def accept() -> None:
        await before.intake.submit_many([first, raw])

    play(before, accept)
    world.commit([world.prepared(0, 0, amount=900)])
    after = Setup(world, before.files)

    async def main() -> None:
        report = await after.intake.restore(after.records)
        assert report == Restored(final=0, pooled=1, ended=0, remembered=1)
        tx_id = ids([raw])[0]
        assert after.pool.is_pending(tx_id)
        assert after.journal.holds(tx_id)
        for _ in range(12):
            after.commit()
        settlement = after.pool.fates.settlement(tx_id)
        assert settlement is not None
        assert settlement.fate is Fate.EXPIRED
        assert not after.journal.holds(tx_id)

    play(after, main)


@settings(max_examples=60)
@given(st.data())
def test_hostile_bytes_harm_nobody(data: st.DataObject) -> None:
    """A peer's garbage would stop the node or keep payments from passing."""
    world = PoolWorld(2)
    setup = Setup(world)
    good = world.pay(0, 0, signed=True)
    wire = st.recursive(
        st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=6),
        max_leaves=20,
    )
    mutated = st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255)).map(
        lambda change: (
            good[: change[0]] + bytes([good[change[0]] ^ change[1]]) + good[change[0] + 1 :]
        )
    )
    junk = st.one_of(st.binary(max_size=400), wire.map(codec.pack), mutated)
    floods = data.draw(st.lists(st.lists(junk, max_size=20), max_size=6))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number, flood in enumerate(floods):
                setup.intake.offer(flood, bytes([number]) * 32)
                nursery.start_soon(setup.intake.submit_many, flood)
            outcome = await setup.intake.submit(good)
        await until(lambda: setup.intake.waiting_count == 0)
        assert outcome.tx_id == ids([good])[0]
        assert [one.transaction.raw for one in setup.pool.ready()] == [good]
        assert setup.intake._jobs_bytes == 0

    play(setup, main)


def test_a_long_flood_leaves_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that sends garbage for an hour would eat the memory."""
    monkeypatch.setattr(intake_module, "JOBS_MAX", 200)
    monkeypatch.setattr(intake_module, "ONE_PEER_JOBS_MAX", 200)
    monkeypatch.setattr(intake_module, "REJECTED_MAX", 100)
    world = PoolWorld(2)
    setup = Setup(world)

    async def main() -> None:
        for number in range(40):
            junk = [world.pay(0, s, lane=number) for s in range(50)]
            junk += [number.to_bytes(4, "big") + bytes([s]) for s in range(50)]
            setup.intake.offer(junk, PEER)
            assert setup.intake.waiting_count <= 200
            await until(lambda: setup.intake.waiting_count == 0)
        rejected = setup.intake._rejected
        assert len(rejected._new) + len(rejected._old) <= 100
        assert len(setup.pool) == 0
        assert len(setup.journal) == 0
        assert (await setup.intake.submit(world.pay(0, 0, signed=True))).tx_id

    play(setup, main)


@pytest.mark.real
async def test_with_a_real_child_thread_and_disk(tmp_path: Path) -> None:
    """What holds with twins in memory would not hold in a node."""
    world = PoolWorld(8)
    clock, verifier = SystemClock(), ChildVerifier()
    world.time_ms = clock.now_ms()
    valid = world.time_ms + HOUR_MS
    pool = Mempool()
    journal = Journal(DiskFiles(tmp_path), ThreadLane(), world.genesis.hash, os.urandom)
    journal.open()
    spread: list[Prepared] = []
    intake = Intake(
        REGISTRY, clock, verifier, pool, journal, world.head, lambda _: False,
        lambda found, _: spread.extend(found), lambda peer, error: None,
    )  # fmt: skip
    raws = [world.pay(n % 8, n // 8, signed=n % 10 != 9, valid_until_ms=valid) for n in range(800)]

    async def caller(part: list[bytes]) -> None:
        for start in range(0, len(part), 50):
            results = await intake.submit_many(part[start : start + 50])
            for raw, result in zip(part[start : start + 50], results, strict=True):
                is_good = raws.index(raw) % 10 != 9
                assert isinstance(result, Outcome if is_good else BadSignature)

    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        await nursery.start(intake.run)
        with trio.fail_after(60):
            async with trio.open_nursery() as callers:
                for index in range(4):
                    callers.start_soon(caller, raws[index::4])
        assert verifier.deaths == 0
        nursery.cancel_scope.cancel()
    assert len(pool) == len(spread) == len(journal) == 720
    await journal.close()
    again = Journal(DiskFiles(tmp_path), ThreadLane(), world.genesis.hash, os.urandom)
    assert len(again.open()) == 720
