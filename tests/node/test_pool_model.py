"""The pool beside a plain model of its promises, through whatever run of events."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Refused
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transition import Prepared
from clawpurse.node.mempool import Mempool, PoolLimits
from clawpurse.node.pool_fates import Fate, Fates
from tests.node.poolworld import PoolWorld, admit, places

_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("admit"),
            st.integers(0, 2),
            st.integers(0, 5),
            st.integers(0, 1),
            st.integers(0, 3),
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.tuples(st.just("block"), st.integers(0, 6)),
        st.tuples(st.just("foreign"), st.integers(0, 2), st.integers(0, 1)),
        st.tuples(st.just("refused"), st.booleans()),
        st.tuples(st.just("quarantine")),
        st.tuples(st.just("time"), st.integers(0, 4_000)),
    ),
    max_size=60,
)


def check_pool(pool: Mempool, world: PoolWorld) -> list[Prepared]:
    """Whatever happened, the pool's promises hold; returns what it offers."""
    limits, status = pool.limits, pool.status()
    offered = list(pool.ready())
    nexts: dict[tuple[bytes, int], int] = {}
    for key, lane, sequence in places(offered):
        expected = nexts.get((key, lane), world.sequence(world.keys.index(key), lane))
        assert sequence == expected
        nexts[key, lane] = sequence + 1
    assert len(offered) == status.ready
    assert status.ready + status.gaps == status.transactions <= limits.transactions_max
    assert status.bytes <= limits.bytes_max
    total, gaps, size, slots = 0, 0, 0, set()
    for key in world.keys:
        pooled = pool.by_sender(key)
        assert len(pooled) <= limits.per_sender_max
        total += len(pooled)
        gaps += sum(not ready for _, ready in pooled)
        for prepared, ready in pooled:
            body = prepared.transaction.body
            size += len(prepared.transaction.raw)
            assert ready == (prepared in offered)
            assert (key, body.lane, body.sequence) not in slots
            slots.add((key, body.lane, body.sequence))
            assert pool.get(prepared.transaction.tx_id) is prepared
            assert pool.by_wtxid(prepared.transaction.wtx_id) is prepared
            assert pool.prefix_lookup(prepared.transaction.wtx_id[:16]) is prepared
    assert (total, gaps) == (status.transactions, status.gaps)
    assert status.bytes == sum(
        len(p.transaction.raw) for k in world.keys for p, _ in pool.by_sender(k)
    )
    assert len(pool._fees) <= len(world.keys)
    return offered


def includable(offered: list[Prepared], world: PoolWorld) -> list[Prepared]:
    """What a block a millisecond from now may hold of what is offered."""
    block: list[Prepared] = []
    stuck: set[tuple[bytes, int]] = set()
    for prepared in offered:
        body = prepared.transaction.body
        if body.valid_until_ms <= world.time_ms or (body.sender, body.lane) in stuck:
            stuck.add((body.sender, body.lane))
        else:
            block.append(prepared)
    return block


@settings(max_examples=150)
@given(_steps)
def test_whatever_happens_the_pool_keeps_its_promises(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """Payments would be lost, overtake each other or pile up after some rare run of events."""
    world, pool = PoolWorld(3, funds=2_000), Mempool(PoolLimits(8, 2_400, 5), Fates(10, 10))
    accepted: set[bytes] = set()
    final: set[bytes] = set()
    reported: dict[bytes, Fate] = {}

    def take(block: list[Prepared]) -> None:
        update = pool.committed(world.head(), block)
        final.update(p.transaction.tx_id for p in block)
        for tx_id, settlement in update.run():
            assert tx_id not in final
            assert reported.get(tx_id, settlement.fate) is settlement.fate
            reported[tx_id] = settlement.fate

    for step in steps:
        offered = check_pool(pool, world)
        match step:
            case ("admit", sender, ahead, lane, fee, attempt, minutes):
                prepared = world.prepared(
                    sender,
                    world.sequence(sender, lane) + ahead,
                    lane=lane,
                    fee=100 * fee,
                    attempt=attempt,
                    valid_until_ms=world.time_ms + 1 + 3_000 * minutes,
                    idempotency_key=b"k" if ahead == 5 else None,
                )
                try:
                    admit(pool, world, prepared)
                except Refused:
                    continue
                assert pool.contains(prepared.transaction.tx_id)
                accepted.add(prepared.transaction.tx_id)
            case ("block", count):
                wanted = [
                    p for p in offered if p.transaction.body.valid_until_ms > world.time_ms + 1
                ]
                block: list[Prepared] = []
                stuck: set[tuple[bytes, int]] = set()
                for prepared in offered[:count]:
                    body = prepared.transaction.body
                    if prepared in wanted and (body.sender, body.lane) not in stuck:
                        block.append(prepared)
                    else:
                        stuck.add((body.sender, body.lane))
                take(world.commit(block, 1))
            case ("foreign", sender, lane):
                take(
                    world.commit(
                        [world.prepared(sender, world.sequence(sender, lane), lane=lane, amount=7)]
                    )
                )
            case ("refused", is_final) if offered:
                rule = "kernel.key" if is_final else "kernel.feeFunds"
                facts = (world.keys[0],) if is_final else (world.keys[0], 0, 1, "CLAW")
                pool.refused(offered[-1], refuse(rule, *facts))
            case ("quarantine",) if offered:
                pool.quarantine(offered[0].transaction.tx_id, "test")
            case ("time", step_ms):
                take(world.commit([], step_ms + 1))
    check_pool(pool, world)
    for _ in range(3):
        take(world.commit([], 6_000))
    assert len(pool) == 0
    assert len(pool.fates) == 0
    # Every accepted one is final or reported.
    assert accepted <= final | set(reported)


@pytest.mark.full
@settings(max_examples=5_000)
@given(_steps)
def test_whatever_happens_at_length(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """As above, for longer."""
    test_whatever_happens_the_pool_keeps_its_promises.hypothesis.inner_test(steps)  # type: ignore[attr-defined]
