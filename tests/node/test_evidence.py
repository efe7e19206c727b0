"""Evidence between finding and block: what is kept, what is proposed, what is judged valid.

If the pool forgot, a liar would go free; if it grew without bound, a liar would stop the node; if
rules read anything but committed data, two honest nodes could judge one block differently.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import (
    EVIDENCE_PER_BLOCK_MAX,
    DoubleSign,
)
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.crypto import list_root
from clawpurse.ledger.errors import InvalidCertificate, Malformed, Refused
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import Context
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.transition import Execution
from clawpurse.modules.governance.evidence import count_evidence
from clawpurse.node.bodies import Body
from clawpurse.node.evidence import (
    PER_AUTHORITY_MAX,
    REPEAT_S,
)
from clawpurse.node.evidence_rules import EvidenceRules
from clawpurse.node.messages import EvidenceKind
from tests.node.evidenceworld import A, B, Bench, C, P, Q, proof_of
from tests.node.poolworld import REGISTRY
from tests.node.test_proposing import KEYS, run

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
