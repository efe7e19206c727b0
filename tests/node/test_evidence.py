"""Evidence between finding and block: what is kept, what is proposed, what is judged valid.

If the pool forgot, a liar would go free; if it grew without bound, a liar would stop the node; if
rules read anything but committed data, two honest nodes could judge one block differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import (
    EVIDENCE_PER_BLOCK_MAX,
    DoubleSign,
    Statement,
)
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import NO_ROUND, Kind, proposal_bytes
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.crypto import list_root
from clawpurse.ledger.errors import InvalidCertificate, Malformed, Refused, StorageFault
from clawpurse.ledger.kernel.context import BlockEnv
from clawpurse.ledger.module_api import Context
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.transition import Execution
from clawpurse.modules.governance.evidence import count_evidence, list_evidence
from clawpurse.node.bodies import Body
from clawpurse.node.chain import open_chain
from clawpurse.node.evidence import (
    PENDING_MAX,
    PER_AUTHORITY_MAX,
    REPEAT_S,
    EvidencePool,
)
from clawpurse.node.evidence_rules import EvidenceRules
from clawpurse.node.messages import EvidenceKind
from clawpurse.node.proposing import Proposing
from clawpurse.node.workers import InlineLane
from tests.node.poolworld import REGISTRY
from tests.node.test_proposing import KEYS, SEEDS, run
from tests.node.test_proposing import Bench as ProposingBench

A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32
P, Q = b"\x91" * 32, b"\x92" * 32


@dataclass
class Box:
    """Notes what is sent, and who is punished."""

    here: list[bytes] = field(default_factory=lambda: [P, Q])
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)
    punished: list[tuple[bytes, str]] = field(default_factory=list)

    def peers(self) -> Sequence[bytes]:
        return self.here

    def send(self, peer: bytes, kind: EvidenceKind, payload: bytes) -> bool:
        assert kind is EvidenceKind.DOUBLE_SIGN
        self.sent.append((peer, payload))
        return True

    def punish(self, peer: bytes, reason: str) -> None:
        self.punished.append((peer, reason))


class Bench(ProposingBench):
    """A chain, one proposer, and its pool of evidence."""

    def __init__(self, **params: int) -> None:
        super().__init__(**params)
        self.box = Box()
        self.work: list[None] = []
        self.counts: dict[str, int] = {}
        self.evidence = self.opened()
        self.proposing = Proposing(self.chain, self.pool, self.clock, self.domain, self.evidence)

    def opened(self) -> EvidencePool:
        """The pool of a node that starts on this store."""
        pool = EvidencePool(
            self.chain,
            EvidenceRules(self.chain, self.domain),
            InlineLane(),
            self.box,
            on_work=lambda: self.work.append(None),
            count=self.count,
        )
        pool.load()
        return pool

    def count(self, state: str) -> None:
        self.counts[state] = self.counts.get(state, 0) + 1

    async def grow(self, count: int = 1) -> list[Body]:
        """Commit blocks of what waits, as a node does."""
        bodies = []
        for _ in range(count):
            body = await self.build()
            await self.commit(body)
            self.evidence.committed(body.block)
            bodies.append(body)
        return bodies

    async def judged(self, *proofs: DoubleSign | bytes, **header: Any) -> str:
        """Why a block with this evidence, however it came about, is refused; empty if not."""
        packed = tuple(p if isinstance(p, bytes) else p.pack() for p in proofs)
        self.evidence.select = lambda height, time_ms: tuple(  # type: ignore[method-assign]
            p for p in proofs if isinstance(p, DoubleSign)
        )
        try:
            body = await self.build()
        finally:
            del self.evidence.select
        made = replace(body.block.header, evidence_root=list_root(packed), **header)
        block = Block(made, body.block.parent_certificate, packed, body.block.transactions)
        return await self.verdict(Body(block, body.prepared))

    def hear(self, proof: DoubleSign, peer: bytes = P) -> None:
        self.evidence.on_message(peer, EvidenceKind.DOUBLE_SIGN, proof.pack())


def proof_of(
    bench: Bench | None = None,
    who: int = 3,
    height: int = 1,
    round_: int = 0,
    kind: Kind = Kind.PREVOTE,
    blocks: tuple[bytes | None, bytes | None] = (A, B),
    seed: bytes | None = None,
) -> DoubleSign:
    """Evidence against the nth authority."""
    domain = DOMAIN if bench is None else bench.domain
    seed = seed or SEEDS[who]
    key = crypto.public_key_of(seed)
    if kind is Kind.PROPOSAL:
        made = []
        for block in blocks:
            assert block is not None
            data = proposal_bytes(domain, height, round_, NO_ROUND, block)
            made.append(Statement(NO_ROUND, block, crypto.sign(seed, data)))
        return DoubleSign(kind, height, round_, key, made[0], made[1])
    votes = [Vote(kind, height, round_, block, key) for block in blocks]
    one, other = (
        vote._replace(signature=crypto.sign(seed, vote.sign_bytes(domain))) for vote in votes
    )
    return DoubleSign.of(one, other)


DOMAIN = Domain("pool-test", b"\x11" * 32, 0)


# -- blocks


def test_what_waits_is_in_the_next_block_and_then_no_more() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        proof = proof_of(bench)
        bench.hear(proof)
        assert bench.evidence.waits()
        body = await bench.build()
        assert body.block.evidence == (proof.pack(),)
        assert body.block.header.evidence_root == list_root([proof.pack()])
        assert await bench.verdict(body) == ""
        await bench.commit(body)
        bench.evidence.committed(body.block)
        assert bench.evidence.pending == ()
        assert not bench.evidence.waits()
        (after,) = await bench.grow()
        assert after.block.evidence == ()
        assert count_evidence(bench.chain.reader) == 1
        assert bench.counts == {"heard": 1, "committed": 1}

    run(main)


def test_a_block_travels_with_its_evidence_in_every_form() -> None:
    """Whole, as a compact announcement, and as stored bytes."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench))
        (body,) = await bench.grow()
        assert Block.unpack(body.block.pack()) == body.block
        stored = bench.chain.blocks.block(2)
        assert stored is not None and Block.unpack(stored).evidence == body.block.evidence
        assert len(body.block.evidence) == 1

    run(main)


def test_a_block_is_refused_for_evidence_that_breaks_any_rule() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow(2)
        good = proof_of(bench)
        later = proof_of(bench, 2, 2)
        forged = good._replace(second=good.second._replace(signature=bytes(64)))
        stranger = proof_of(bench, seed=b"\x66" * 32)
        elsewhere = proof_of(None)
        many = [proof_of(bench, 3, 1, n) for n in range(EVIDENCE_PER_BLOCK_MAX + 1)]
        assert await bench.judged(good, later) == ""
        assert await bench.judged(proof_of(bench, 3, 3)) == ""
        assert await bench.judged(*many[:-1]) == ""
        for bad in (
            (later, good),
            (good, good),
            (good, proof_of(bench, blocks=(A, C))),
            (forged,),
            (stranger,),
            (elsewhere,),
            (proof_of(bench, 3, 4),),
            (proof_of(bench, 3, 99),),
            many,
            (good.pack()[:-1],),
            (b"evidence",),
            (good.pack() + b"\0",),
        ):
            assert (await bench.judged(*bad)).startswith("evidence"), bad
        await bench.commit(await bench.build())
        bench.proposing.forget()

    run(main)


def test_recorded_evidence_is_refused_in_any_words() -> None:
    """Also another pair of statements about the same slot, by rules and by execution alike."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench))
        await bench.grow()
        other = proof_of(bench, blocks=(A, C))
        bench.hear(other)
        assert bench.evidence.pending == ()
        body = await bench.build()
        block = Block(body.block.header, body.block.parent_certificate, (other.pack(),), ())
        assert "recorded already" in await bench.verdict(Body(block, ()))
        execution = Execution(bench.chain.reader, REGISTRY, bench_env(bench))
        with pytest.raises(Refused, match="recorded since height 2"):
            execution.begin([other])

    run(main)


def bench_env(bench: Bench) -> BlockEnv:
    chain = bench.chain
    return BlockEnv(chain.height + 1, chain.tip.time_ms + 1_000, chain.params)


def test_age_is_measured_by_block_time_alone() -> None:
    """The wall clock of a judge is wrong as often as not; headers are the same for all."""

    async def main() -> None:
        bench = Bench(evidence_age_max_ms=10_000)
        await bench.grow()
        made_ms = bench.chain.tip.time_ms
        proof = proof_of(bench)
        bench.clock.offset_ms += 3_600_000
        judge = EvidenceRules(bench.chain, bench.domain)
        assert judge.is_timely(proof, made_ms + 10_000)
        assert not judge.is_timely(proof, made_ms + 10_001)
        bench.hear(proof)
        assert list(bench.evidence.pending) == [proof]
        # The next block is an hour later: too old for it, and then forgotten.
        (body,) = await bench.grow()
        assert body.block.evidence == ()
        assert list(bench.evidence.pending) == []
        assert bench.counts["expired"] == 1
        assert "too old" in await bench.judged(proof)
        bench.hear(proof)
        assert bench.evidence.pending == ()
        assert bench.box.punished == []

    run(main)


def test_the_set_of_its_own_height_convicts_members_that_have_left() -> None:
    """And no newcomer of anything before its time."""

    async def main() -> None:
        bench = Bench()
        await bench.grow(2)
        remaining = AuthoritySet(KEYS[:3])
        batch = Batch()
        bench.chain.blocks.put_authorities(2, remaining.pack(), batch)
        bench.chain.store.write(batch, sync=True)
        rules = EvidenceRules(bench.chain, bench.domain)
        rules.verify(proof_of(bench, 3, 1))
        with pytest.raises(InvalidCertificate):
            rules.verify(proof_of(bench, 3, 2))
        bench.hear(proof_of(bench, 3, 1))
        assert len(bench.evidence.pending) == 1
        bench.hear(proof_of(bench, 3, 2))
        assert len(bench.evidence.pending) == 1
        assert [peer for peer, _ in bench.box.punished] == [P]

    run(main)


def test_each_key_gets_its_turn_and_no_block_more_than_its_share() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        for round_ in range(PER_AUTHORITY_MAX):
            for who in (0, 1, 3):
                bench.hear(proof_of(bench, who, 1, round_))
        late = proof_of(bench, 2, 1, 99)
        bench.hear(late)
        first = bench.evidence.select(2, bench.chain.tip.time_ms + 1)
        assert len(first) == EVIDENCE_PER_BLOCK_MAX
        assert late in first
        assert list(first) == sorted(first, key=lambda proof: proof.slot)
        await bench.grow(2)
        assert count_evidence(bench.chain.reader) == 3 * PER_AUTHORITY_MAX + 1

    run(main)


def test_evidence_that_breaks_execution_stops_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in recording it must not be a way to stop a network."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bad, good = proof_of(bench, 3), proof_of(bench, 2)
        bench.hear(bad)
        bench.hear(good)
        ((name, hook),) = REGISTRY.evidence_hooks

        def breaking(context: Context, proof: DoubleSign) -> None:
            if proof == bad:
                raise ZeroDivisionError
            hook(context, proof)

        monkeypatch.setattr(REGISTRY, "evidence_hooks", ((name, breaking),))
        (body,) = await bench.grow()
        assert body.block.evidence == (good.pack(),)
        assert not bench.evidence.waits()
        (body,) = await bench.grow()
        assert body.block.evidence == ()

    run(main)


def test_a_network_without_a_module_that_records_takes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        monkeypatch.setattr(REGISTRY, "evidence_hooks", ())
        bench.evidence.found(proof_of(bench))
        assert bench.evidence.pending == ()
        assert "no module" in await bench.judged(proof_of(bench))

    run(main)


# -- hearing


def test_new_evidence_is_told_to_everybody_else_and_wakes_consensus() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        proof = proof_of(bench)
        bench.hear(proof, P)
        assert bench.box.sent == [(Q, proof.pack())]
        assert len(bench.work) == 1
        bench.hear(proof, Q)
        bench.hear(proof_of(bench, blocks=(B, C)), Q)
        assert len(bench.box.sent) == len(bench.work) == 1
        bench.box.sent.clear()
        bench.evidence.connected(b"\x99" * 32)
        assert bench.box.sent == [(b"\x99" * 32, proof.pack())]

    run(main)


def test_what_still_waits_is_told_again() -> None:
    """A message can be lost with a full channel, or come to a peer that was behind."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench), P)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.evidence.run)
            await trio.sleep(3.5 * REPEAT_S)
            assert len(bench.box.sent) == 1 + 3 * 2
            await bench.grow()
            await trio.sleep(10 * REPEAT_S)
            assert len(bench.box.sent) == 7
            nursery.cancel_scope.cancel()

    run(main)


def test_false_evidence_costs_its_sender_and_nobody_else() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        good = proof_of(bench)
        swapped = good._replace(
            first=good.first._replace(signature=good.second.signature),
            second=good.second._replace(signature=good.first.signature),
        )
        for bad in (
            swapped,
            good._replace(authority=KEYS[0]),
            good._replace(round=1),
            good._replace(kind=Kind.PRECOMMIT),
            proof_of(None),
            proof_of(bench, seed=b"\x66" * 32),
        ):
            bench.box.punished.clear()
            bench.hear(bad, Q)
            assert [peer for peer, _ in bench.box.punished] == [Q], bad
        assert bench.evidence.pending == ()
        assert bench.evidence.alarms() == []
        for raw in (b"", b"\x90", good.pack()[:-1], good.pack() + b"\0", bytes(300)):
            with pytest.raises(Malformed):
                bench.evidence.on_message(P, EvidenceKind.DOUBLE_SIGN, raw)
        assert bench.counts == {"refused": 6}

    run(main)


def test_evidence_of_a_height_that_is_not_here_yet_is_nobody_s_fault() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        for height in (4, 5, 2**63):
            bench.hear(proof_of(bench, 3, height))
        assert list(bench.evidence.pending) == []
        # Of the height in progress and the next one the set is known.
        for height in (2, 3):
            bench.hear(proof_of(bench, 3, height))
        assert len(bench.evidence.pending) == 2
        (body,) = await bench.grow()
        assert body.block.evidence == (proof_of(bench, 3, 2).pack(),)
        (body,) = await bench.grow()
        assert body.block.evidence == (proof_of(bench, 3, 3).pack(),)
        assert bench.box.punished == []

    run(main)


def test_what_this_node_saw_is_never_pushed_out_by_what_it_was_told() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        for round_ in range(100, 100 + 3 * PER_AUTHORITY_MAX):
            bench.hear(proof_of(bench, 3, 1, round_))
        assert len(bench.evidence.pending) == PER_AUTHORITY_MAX
        seen = [proof_of(bench, 3, 1, round_) for round_ in range(PER_AUTHORITY_MAX + 2)]
        for proof in seen:
            bench.evidence.found(proof)
        assert bench.evidence.pending == tuple(seen[:PER_AUTHORITY_MAX])
        bench.hear(proof_of(bench, 3, 1, 50))
        assert bench.evidence.pending == tuple(seen[:PER_AUTHORITY_MAX])
        bench.hear(proof_of(bench, 2))
        assert len(bench.evidence.pending) == PER_AUTHORITY_MAX + 1

    run(main)


def test_many_lying_keys_leave_room_for_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawpurse.node.evidence.PENDING_MAX", 9)

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        for round_ in range(6):
            for who in (0, 1):
                bench.hear(proof_of(bench, who, 1, round_))
        assert len(bench.evidence.pending) == 9
        bench.hear(proof_of(bench, 2))
        bench.hear(proof_of(bench, 3))
        held = [proof.authority for proof in bench.evidence.pending]
        assert len(held) == 9
        assert set(held) == set(KEYS)

    run(main)


# -- keeping


def test_evidence_outlives_the_process_until_it_is_final() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        told, seen = proof_of(bench, 2), proof_of(bench, 3)
        bench.hear(told)
        bench.evidence.found(seen)
        await bench.evidence.flush()
        bench.evidence = bench.opened()
        bench.proposing = Proposing(
            bench.chain, bench.pool, bench.clock, bench.domain, bench.evidence
        )
        assert set(bench.evidence.pending) == {told, seen}
        body = await bench.build()
        await bench.commit(body)
        # The process dies between the commit and the pool's own records.
        again = bench.opened()
        assert again.pending == ()
        await again.flush()
        keys = [key for key, _ in bench.chain.store.iterate(schema.EVIDENCE, b"W")]
        assert keys == []
        assert len(again.alarms()) == 2

    run(main)


def test_a_damaged_record_is_named_and_not_used() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench))
        await bench.evidence.flush()
        ((key, record),) = bench.chain.store.iterate(schema.EVIDENCE, b"W")
        other = schema.seal(key, b"\1" + proof_of(bench, 2).pack())
        for bad in (record[:-1] + bytes((record[-1] ^ 1,)), other, schema.seal(key, b"\1xx")):
            batch = Batch()
            batch.put(key, bad)
            bench.chain.store.write(batch, sync=True)
            with pytest.raises(StorageFault, match="pending evidence"):
                bench.opened()

    run(main)


def test_the_alarm_names_who_signed_twice_and_still_decides() -> None:
    async def main() -> None:
        bench = Bench(evidence_age_max_ms=30_000)
        await bench.grow()
        assert bench.evidence.alarms() == []
        bench.hear(proof_of(bench, 3))
        (alarm,) = bench.evidence.alarms()
        assert "clawval1" in alarm and "height 1" in alarm
        assert bench.evidence.accuses(KEYS[3]) and not bench.evidence.accuses(KEYS[0])
        await bench.grow()
        assert bench.evidence.alarms() == [alarm]
        assert bench.opened().alarms() == [alarm]
        bench.clock.offset_ms += 60_000
        await bench.grow()
        assert bench.evidence.alarms() == []

    run(main)


@settings(max_examples=25)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["found", "hear"]),
                st.integers(0, 3),
                st.integers(1, 5),
                st.integers(0, 3),
                st.sampled_from([Kind.PREVOTE, Kind.PRECOMMIT]),
            ),
            st.tuples(st.sampled_from(["grow", "restart", "crash"])),
        ),
        max_size=30,
    )
)
def test_whatever_comes_each_slot_is_recorded_once_and_bounds_hold(
    steps: list[tuple[Any, ...]],
) -> None:
    """Found, heard, committed, restarted, killed, in any order."""

    async def main() -> None:
        bench = Bench()
        flushed: tuple[DoubleSign, ...] = ()
        await bench.grow()
        for step in steps:
            match step:
                case ("grow",):
                    await bench.grow()
                case ("restart" | "crash",):
                    if step[0] == "restart":
                        await bench.evidence.flush()
                        flushed = bench.evidence.pending
                    bench.evidence = bench.opened()
                    bench.proposing = Proposing(
                        bench.chain, bench.pool, bench.clock, bench.domain, bench.evidence
                    )
                    if step[0] == "restart":
                        assert bench.evidence.pending == flushed
                case (how, who, height, round_, kind):
                    proof = proof_of(bench, who, height, round_, kind)
                    if how == "hear":
                        bench.hear(proof)
                    elif height <= bench.chain.height + 1:
                        bench.evidence.found(proof)
            pending = bench.evidence.pending
            slots = [proof.slot for proof in pending]
            assert slots == sorted(set(slots))
            assert len(pending) <= PENDING_MAX
            for key in KEYS:
                assert sum(p.authority == key for p in pending) <= PER_AUTHORITY_MAX
        recorded = list_evidence(bench.chain.reader, 0, 1_000)
        slots = [one.proof.slot for one in recorded]
        assert len(slots) == len(set(slots))
        assert bench.box.punished == []

    run(main)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(list(Kind)), st.integers(1, 3), st.integers(0, 2)),
        st.sampled_from([A, B, C]),
        min_size=2,
        max_size=8,
    ),
    st.data(),
)
def test_no_mixture_of_what_a_correct_key_signed_convicts_it(
    signed: dict[tuple[Kind, int, int], bytes], data: st.DataObject
) -> None:
    """Each position signed once: whatever an enemy cuts and pastes, nothing comes of it."""
    seed, key = SEEDS[0], KEYS[0]
    found = []
    for (kind, height, round_), block in signed.items():
        if kind is Kind.PROPOSAL:
            raw = proposal_bytes(DOMAIN, height, round_, NO_ROUND, block)
        else:
            raw = Vote(kind, height, round_, block, key).sign_bytes(DOMAIN)
        found.append(Statement(NO_ROUND, block, crypto.sign(seed, raw)))
    position = data.draw(st.sampled_from(list(signed)))
    first, second = (
        replace_statement(data.draw(st.sampled_from(found)), data.draw) for _ in range(2)
    )
    proof = DoubleSign(position[0], position[1], position[2], key, first, second)
    try:
        read = DoubleSign.unpack(proof.pack())
    except Malformed:
        return
    with pytest.raises(InvalidCertificate):
        read.verify(DOMAIN, AuthoritySet(KEYS), crypto.verify)


def replace_statement(statement: Statement, draw: Callable[[Any], Any]) -> Statement:
    """As it is, or naming another block or valid round than was signed."""
    block = draw(st.sampled_from([statement.block_id, A, B, C, None]))
    valid_round = draw(st.sampled_from([NO_ROUND, NO_ROUND, 0, 1]))
    return Statement(valid_round, block, statement.signature)


def test_a_store_that_fails_ends_the_node_rather_than_forget() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench))

        def failing(batch: Batch, sync: bool) -> None:
            raise StorageFault("the disk is full", "", "df -h")

        bench.chain.store.write = failing  # type: ignore[method-assign]
        with pytest.raises(StorageFault):
            await bench.evidence.flush()

    run(main)


def test_opening_the_same_store_gives_the_same_chain() -> None:
    """Records of evidence are no business of the chain's own start."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench))
        await bench.evidence.flush()
        again = open_chain(bench.genesis, REGISTRY, bench.chain.store, InlineLane())
        assert again.tip.block_id == bench.chain.tip.block_id

    run(main)
