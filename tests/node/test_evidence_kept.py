"""Evidence on disk, over restarts and kills; and that it never convicts a correct key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import (
    DoubleSign,
    Statement,
)
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import NO_ROUND, Kind, proposal_bytes
from clawpurse.ledger.errors import InvalidCertificate, Malformed, StorageFault
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.modules.governance.evidence import list_evidence
from clawpurse.node.chain import open_chain
from clawpurse.node.evidence import (
    PENDING_MAX,
    PER_AUTHORITY_MAX,
)
from clawpurse.node.proposing import Proposing
from clawpurse.node.workers import InlineLane
from tests.node.evidenceworld import DOMAIN, A, B, Bench, C, proof_of
from tests.node.poolworld import REGISTRY
from tests.node.test_proposing import KEYS, SEEDS, run


def test_evidence_outlives_the_process_until_it_is_final() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.grow()
        told, seen = proof_of(bench, 2), proof_of(bench, 3)
        bench.hear(told)
        bench.evidence.found(seen)
        assert bench.evidence.unsaved == {told.slot, seen.slot}
        await bench.evidence.flush()
        assert bench.evidence.unsaved == frozenset()
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


def test_a_key_that_signs_twice_all_the_time_does_not_keep_an_idle_network_busy() -> None:
    """Its first conviction makes a block; each further one waits for a block made anyway."""

    async def main() -> None:
        bench = Bench()
        await bench.grow()
        bench.hear(proof_of(bench, 2))
        assert bench.evidence.waits() and len(bench.work) == 1
        await bench.grow()
        again, other = proof_of(bench, 2, round_=1), proof_of(bench, 3)
        bench.hear(again)
        assert not bench.evidence.waits() and len(bench.work) == 1
        await bench.evidence.flush()
        bench.evidence = bench.opened()
        assert not bench.evidence.waits()
        bench.hear(other)
        assert bench.evidence.waits() and len(bench.work) == 2
        assert set(bench.evidence.select(3, bench.chain.tip.time_ms)) == {again, other}

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
        assert not bench.evidence.accuses(KEYS[3])

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
