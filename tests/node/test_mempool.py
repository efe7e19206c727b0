"""If these failed, payments would be lost in the pool, overtake each other, or block others'."""

from __future__ import annotations

import pytest

from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.rules import refuse
from clawpurse.ledger.transition import Prepared
from clawpurse.node.mempool import STRIKES_MAX, Mempool, PoolLimits
from clawpurse.node.pool_fates import Fate, Fates
from tests.node.poolworld import HOUR_MS, START_MS, PoolWorld, admit, places


def refusal(pool: Mempool, world: PoolWorld, prepared: Prepared) -> Refused:
    before = pool.status()
    with pytest.raises(Refused) as caught:
        admit(pool, world, prepared)
    assert pool.status()._replace(evicted=0) == before._replace(evicted=0)
    return caught.value


def sequences(pool: Mempool) -> list[int]:
    return [prepared.transaction.body.sequence for prepared in pool.ready()]


# -- order


def test_who_pays_more_per_cost_goes_first_and_equals_by_arrival() -> None:
    """A proposer would leave money lying, or friends would overtake strangers."""
    world, pool = PoolWorld(4), Mempool()
    for sender, fee in ((0, 50), (1, 60), (2, 50), (3, 0)):
        admit(pool, world, world.prepared(sender, 0, fee=fee))
    # More than the first in all, but less for what it costs.
    admit(pool, world, world.prepared(0, 0, lane=1, fee=51, memo=b"m" * 256))
    order = [(world.keys.index(key), lane) for key, lane, _ in places(list(pool.ready()))]
    assert order == [(1, 0), (0, 0), (2, 0), (0, 1), (3, 0)]


def test_a_lanes_followers_wait_for_who_pays_more_elsewhere() -> None:
    """One dear payment would carry a sender's cheap ones past everybody."""
    world, pool = PoolWorld(2), Mempool()
    admit(pool, world, world.prepared(0, 0, fee=100))
    admit(pool, world, world.prepared(0, 1, fee=1))
    admit(pool, world, world.prepared(1, 0, fee=50))
    offered = [(world.keys.index(key), sequence) for key, _, sequence in places(list(pool.ready()))]
    assert offered == [(0, 0), (1, 0), (0, 1)]


def test_a_lane_keeps_its_sequence_whatever_it_pays() -> None:
    """A payment with a high fee would be offered before the one it depends on, and be refused."""
    world, pool = PoolWorld(2), Mempool()
    admit(pool, world, world.prepared(0, 0, fee=1))
    admit(pool, world, world.prepared(0, 1, fee=900))
    admit(pool, world, world.prepared(0, 2, fee=500))
    admit(pool, world, world.prepared(1, 0, fee=100))
    assert places(list(pool.ready())) == [
        (world.keys[1], 0, 0),
        (world.keys[0], 0, 0),
        (world.keys[0], 0, 1),
        (world.keys[0], 0, 2),
    ]


def test_a_gap_waits_apart_and_blocks_nobody_until_it_fills() -> None:
    """One lost payment would hold up every other, or a later one would be dropped."""
    world, pool = PoolWorld(2), Mempool()
    assert not admit(pool, world, world.prepared(0, 2)).ready
    assert not admit(pool, world, world.prepared(0, 1)).ready
    assert not pool.has_ready()
    assert admit(pool, world, world.prepared(1, 0)).ready
    assert admit(pool, world, world.prepared(0, 0, lane=1)).ready
    assert (pool.status().ready, pool.status().gaps) == (2, 2)
    assert pool.next_sequence(world.keys[0], 0) == 0
    assert admit(pool, world, world.prepared(0, 0)).ready
    assert (pool.status().ready, pool.status().gaps) == (5, 0)
    assert pool.next_sequence(world.keys[0], 0) == 3
    assert [s for key, lane, s in places(list(pool.ready())) if (key, lane) == (world.keys[0], 0)]


def test_a_block_from_elsewhere_fills_a_gap() -> None:
    """A payment would wait for ever for one that another node included."""
    world, pool = PoolWorld(2), Mempool()
    first = world.prepared(0, 0)
    admit(pool, world, world.prepared(0, 1))
    assert sequences(pool) == []
    included = world.commit([first])
    pool.committed(world.head(), included).run()
    assert sequences(pool) == [1]


# -- one place, one transaction


def test_replacing_needs_a_higher_fee_or_attempt() -> None:
    """A stuck payment could not be cancelled, or anybody's copy could push it out."""
    world, pool = PoolWorld(2), Mempool()
    first = world.prepared(0, 0, fee=5)
    admit(pool, world, first)
    for fee, attempt in ((5, 0), (4, 9), (0, 0)):
        again = world.prepared(0, 0, fee=fee, attempt=attempt, amount=2)
        err = refusal(pool, world, again)
        assert (err.code, err.wire_facts[0]) == (Code.DUPLICATE, first.transaction.tx_id)
    second = world.prepared(0, 0, fee=5, attempt=1, amount=3)
    admission = admit(pool, world, second)
    assert admission.replaced == first.transaction.tx_id
    third = world.prepared(0, 0, fee=6, attempt=0, amount=4)
    assert admit(pool, world, third).replaced == second.transaction.tx_id
    assert list(pool.ready()) == [third]
    assert len(pool) == 1
    assert pool.is_pending(first.transaction.tx_id)
    included = world.commit([third])
    settled = dict(pool.committed(world.head(), included).run())
    assert {tx_id: s.fate for tx_id, s in settled.items()} == {
        first.transaction.tx_id: Fate.REPLACED,
        second.transaction.tx_id: Fate.REPLACED,
    }
    assert settled[first.transaction.tx_id].by == third.transaction.tx_id
    # Told once: the day after it has not expired as well.
    world.commit(step_ms=2 * HOUR_MS)
    assert pool.committed(world.head(), []).run() == []
    assert pool.fates.settlement(first.transaction.tx_id) is not None


def test_what_was_replaced_here_may_still_win_elsewhere() -> None:
    """A caller would be told "replaced" of a payment that was made."""
    world, pool = PoolWorld(2), Mempool()
    first = world.prepared(0, 0)
    second = world.prepared(0, 0, attempt=1)
    admit(pool, world, first)
    admit(pool, world, second)
    settled = dict(pool.committed(world.head(), world.commit([first])).run())
    assert list(settled) == [second.transaction.tx_id]
    assert settled[second.transaction.tx_id].by == first.transaction.tx_id
    assert not pool.is_pending(first.transaction.tx_id)
    assert len(pool) == 0


def test_the_same_body_is_one_transaction_whatever_its_witness() -> None:
    """A body with two witnesses would be counted, gossiped and proposed twice."""
    world, pool = PoolWorld(2), Mempool()
    first, second = world.prepared(0, 0), world.prepared(0, 0, signed=True)
    assert first.transaction.tx_id == second.transaction.tx_id
    assert first.transaction.wtx_id != second.transaction.wtx_id
    admit(pool, world, first)
    again = admit(pool, world, second)
    assert again.duplicate
    assert again.prepared is first
    assert pool.by_wtxid(second.transaction.wtx_id) is None


def test_an_idempotency_key_is_used_once() -> None:
    """A wallet that tries again would pay twice."""
    world, pool = PoolWorld(2), Mempool()
    first = world.prepared(0, 0, idempotency_key=b"order 7")
    admit(pool, world, first)
    err = refusal(pool, world, world.prepared(0, 1, idempotency_key=b"order 7"))
    assert (err.code, err.wire_facts[0]) == (Code.DUPLICATE, first.transaction.tx_id)
    admit(pool, world, world.prepared(1, 0, idempotency_key=b"order 7"))
    dearer = world.prepared(0, 0, idempotency_key=b"order 7", fee=1)
    assert admit(pool, world, dearer).replaced == first.transaction.tx_id
    pool.committed(world.head(), world.commit([dearer])).run()
    err = refusal(pool, world, world.prepared(0, 1, idempotency_key=b"order 7"))
    assert (err.code, err.wire_facts[0]) == (Code.DUPLICATE, dearer.transaction.tx_id)
    admit(pool, world, world.prepared(0, 1, idempotency_key=b"order 8"))


# -- caps


def test_a_full_pool_takes_only_who_pays_more() -> None:
    """Spam would push payments out, or a full pool could not be outbid."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(3, 10**6, 100))
    for sender, fee in ((0, 5), (1, 1), (2, 9)):
        admit(pool, world, world.prepared(sender, 0, fee=fee))
    assert refusal(pool, world, world.prepared(3, 0, fee=1)).code is Code.POOL_FULL
    assert refusal(pool, world, world.prepared(3, 1, fee=99)).code is Code.POOL_FULL
    victim = pool.by_sender(world.keys[1])[0][0]
    assert admit(pool, world, world.prepared(3, 0, fee=2)).ready
    assert not pool.contains(victim.transaction.tx_id)
    assert pool.is_pending(victim.transaction.tx_id)
    assert pool.status().evicted == 1
    assert len(pool) == 3


def test_eviction_shortens_lanes_from_their_end() -> None:
    """What is left of a lane could never be included, and would fill the pool for a day."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(4, 10**6, 100))
    for sequence, fee in ((0, 1), (1, 900), (2, 900)):
        admit(pool, world, world.prepared(0, sequence, fee=fee))
    admit(pool, world, world.prepared(1, 0, fee=500))
    admit(pool, world, world.prepared(2, 0, fee=2))
    assert [s for key, _, s in places(list(pool.ready())) if key == world.keys[0]] == [0, 1]
    assert pool.status().gaps == 0
    # Its own lane is never shortened for its own continuation.
    assert refusal(pool, world, world.prepared(0, 2, fee=9_000)).code is Code.POOL_FULL


def test_a_large_one_evicts_nobody_unless_it_then_fits() -> None:
    """A refused giant would empty the pool for nothing."""
    world = PoolWorld(4)
    size = len(world.pay(0, 0, fee=9))
    pool = Mempool(PoolLimits(100, 3 * size + 10, 100))
    admit(pool, world, world.prepared(0, 0, fee=9))
    admit(pool, world, world.prepared(1, 0, fee=900))
    admit(pool, world, world.prepared(2, 0, fee=900))
    giant = world.prepared(3, 0, fee=500, memo=b"x" * 256)
    assert rate_of(giant) > rate_of(world.prepared(0, 0, fee=9))
    assert refusal(pool, world, giant).code is Code.POOL_FULL
    assert len(pool) == 3
    assert admit(pool, world, world.prepared(3, 0, fee=500)).ready
    assert len(pool) == 3


def rate_of(prepared: Prepared) -> float:
    return prepared.transaction.body.fee / prepared.cost


def test_a_full_pool_still_lets_one_take_its_own_place() -> None:
    """A stuck payment could not be replaced just when everybody is in a hurry."""
    world = PoolWorld(4)
    cost, size = world.prepared(0, 0, fee=9).cost, len(world.pay(0, 0, fee=9))
    world = PoolWorld(4, quota_cost_max=cost)
    pool = Mempool(PoolLimits(2, 2 * size, 1))
    admit(pool, world, world.prepared(0, 0, fee=9))
    admit(pool, world, world.prepared(1, 0, fee=9))
    assert admit(pool, world, world.prepared(0, 0, fee=9, attempt=1)).replaced
    assert (pool.status().evicted, len(pool)) == (0, 2)
    assert pool.status().bytes == 2 * size


def test_what_waits_behind_a_gap_evicts_nobody() -> None:
    """Payments that can be made would give way to some that cannot."""
    world, pool = PoolWorld(8), Mempool(PoolLimits(8, 10**6, 4))
    for sender in range(7):
        admit(pool, world, world.prepared(sender, 0))
    admit(pool, world, world.prepared(7, 0))
    assert refusal(pool, world, world.prepared(6, 2, fee=900)).code is Code.POOL_FULL


def test_one_sender_cannot_fill_the_pool_nor_the_gaps() -> None:
    """One careless program would keep everybody else from paying."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(40, 10**6, 8))
    for sequence in (2, 3):
        admit(pool, world, world.prepared(0, sequence))
    err = refusal(pool, world, world.prepared(0, 5))
    assert (err.code, err.wire_facts) == (Code.POOL_FULL, (0,))
    assert refusal(pool, world, world.prepared(0, 9)).code is Code.SEQUENCE_GAP
    for lane in range(1, 7):
        admit(pool, world, world.prepared(0, 0, lane=lane))
    assert refusal(pool, world, world.prepared(0, 0)).code is Code.POOL_FULL
    assert admit(pool, world, world.prepared(1, 0)).ready


def test_gaps_have_a_share_of_the_pool() -> None:
    """Payments that cannot be included would crowd out those that can."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(8, 10**6, 8))
    admit(pool, world, world.prepared(0, 1))
    admit(pool, world, world.prepared(1, 1))
    assert refusal(pool, world, world.prepared(2, 1)).code is Code.POOL_FULL
    assert admit(pool, world, world.prepared(0, 0)).ready
    assert not admit(pool, world, world.prepared(2, 1)).ready


# -- judged by state


def test_fees_of_everything_pooled_must_be_covered() -> None:
    """One account with little money would fill blocks with refused transactions."""
    world, pool = PoolWorld(3, funds=100), Mempool()
    admit(pool, world, world.prepared(0, 0, fee=60))
    err = refusal(pool, world, world.prepared(0, 1, fee=41))
    assert err.code is Code.INSUFFICIENT_FUNDS
    # A sponsor's fees count against the sponsor, and a replacement's against what it replaces.
    admit(pool, world, world.prepared(1, 0, fee=40, payer=0))
    assert refusal(pool, world, world.prepared(2, 0, fee=1, payer=0)).code.name.endswith("FUNDS")
    dearer = world.prepared(0, 0, fee=60, attempt=1)
    assert admit(pool, world, dearer).replaced
    pool.committed(world.head(), world.commit([dearer])).run()
    assert refusal(pool, world, world.prepared(0, 1, fee=1)).code is Code.INSUFFICIENT_FUNDS


def test_a_quota_is_spent_by_what_is_pooled_too() -> None:
    """A sender over its quota would fill the pool with what no block may include."""
    cost = PoolWorld().prepared(0, 0).cost
    world, pool = PoolWorld(2, quota_cost_max=2 * cost), Mempool()
    admit(pool, world, world.prepared(0, 0))
    admit(pool, world, world.prepared(0, 1))
    assert refusal(pool, world, world.prepared(0, 2)).code is Code.QUOTA_EXCEEDED


def test_terms_are_judged_by_the_later_of_head_time_and_own_clock() -> None:
    """An expired payment would be accepted while the chain is idle, or by a slow clock."""
    world, pool = PoolWorld(4), Mempool()
    late = world.prepared(0, 0, valid_until_ms=START_MS + 500)
    with pytest.raises(Refused) as caught:
        pool.admit(late, world.head(), START_MS + 501)
    assert caught.value.code is Code.EXPIRED
    world.commit(step_ms=501)
    assert refusal(pool, world, late).code is Code.EXPIRED
    # Equal to head time: the next block is later, so it can never be included.
    edge = world.prepared(0, 0, valid_until_ms=world.time_ms)
    assert refusal(pool, world, edge).code is Code.EXPIRED
    far = world.prepared(0, 0, valid_until_ms=world.time_ms + 25 * HOUR_MS)
    assert refusal(pool, world, far).code is Code.MALFORMED
    low = world.prepared(0, 0, height_max=1)
    assert refusal(pool, world, low).code is Code.EXPIRED
    foreign = world.prepared(0, 0, genesis_hash=b"g" * 32)
    assert refusal(pool, world, foreign).code is Code.WRONG_CHAIN
    pool.committed(world.head(), world.commit([world.prepared(0, 0)])).run()
    assert refusal(pool, world, world.prepared(0, 0)).code is Code.SEQUENCE_LOW


# -- how it ends


def test_expired_is_told_when_no_block_can_include_it() -> None:
    """A payment would be reported expired and then made."""
    world, pool = PoolWorld(4), Mempool()
    by_time = world.prepared(0, 0, valid_until_ms=START_MS + 5_000)
    by_height = world.prepared(1, 0, height_max=3)
    follower = world.prepared(0, 1)
    for prepared in (by_time, by_height, follower):
        admit(pool, world, prepared)
    fates: dict[bytes, list[int]] = {}
    for _ in range(8):
        world.commit()
        for tx_id, settlement in pool.committed(world.head(), []).run():
            assert settlement.fate is Fate.EXPIRED
            fates.setdefault(tx_id, []).append(world.height)
    assert fates[by_height.transaction.tx_id] == [3]
    assert fates[by_time.transaction.tx_id][0] in (5, 6)
    assert len(fates) == 2
    assert (pool.status().ready, pool.status().gaps) == (0, 1)


def test_what_left_early_is_reported_in_the_end() -> None:
    """An accepted payment that was evicted would stay "pending" for ever."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(1, 10**6, 10))
    evicted = world.prepared(0, 0, valid_until_ms=START_MS + 2_000)
    admit(pool, world, evicted)
    admit(pool, world, world.prepared(1, 0, fee=1))
    assert pool.is_pending(evicted.transaction.tx_id)
    settled: dict[bytes, Fate] = {}
    for _ in range(4):
        world.commit()
        update = pool.committed(world.head(), [])
        settled.update((tx_id, end.fate) for tx_id, end in update.run())
    assert settled == {evicted.transaction.tx_id: Fate.EXPIRED}
    assert not pool.is_pending(evicted.transaction.tx_id)


def test_an_evicted_one_that_comes_again_is_pooled_again() -> None:
    """A wallet that tries again after the rush would be refused or reported twice."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(1, 10**6, 10))
    evicted, winner = world.prepared(0, 0), world.prepared(1, 0, fee=1)
    admit(pool, world, evicted)
    admit(pool, world, winner)
    pool.committed(world.head(), world.commit([winner])).run()
    admit(pool, world, evicted)
    assert len(pool.fates) == 0
    assert pool.committed(world.head(), world.commit([evicted])).run() == []


def test_memory_of_what_left_is_bounded_and_says_whom_it_forgot() -> None:
    """Replacing without end would eat the node's memory, or a journal would wait for ever."""
    world, pool = PoolWorld(2), Mempool(fates=Fates(3, 2))
    attempts = [world.prepared(0, 0, attempt=number) for number in range(6)]
    for prepared in attempts:
        admit(pool, world, prepared)
    assert len(pool.fates) == 3
    settled = pool.committed(world.head(), world.commit()).run()
    assert [(tx_id, end.fate) for tx_id, end in settled] == [
        (prepared.transaction.tx_id, Fate.FORGOTTEN) for prepared in attempts[:2]
    ]
    settled = pool.committed(world.head(), world.commit([attempts[5]])).run()
    assert [tx_id for tx_id, _ in settled] == [p.transaction.tx_id for p in attempts[2:5]]
    assert pool.fates.settlement(attempts[2].transaction.tx_id) is None
    assert pool.fates.settlement(attempts[4].transaction.tx_id) is not None


# -- proposing


def test_a_refused_one_takes_the_rest_of_its_lane_with_it_for_this_block() -> None:
    """A proposer would execute a lane's followers in vain, or drop them."""
    world, pool = PoolWorld(2), Mempool()
    lane = [world.prepared(0, sequence) for sequence in range(3)]
    other = world.prepared(1, 0)
    for prepared in (*lane, other):
        admit(pool, world, prepared)
    poor = refuse("kernel.feeFunds", world.keys[0], 0, 1, "CLAW")
    for turn in range(1, STRIKES_MAX + 1):
        offered = []
        for prepared in pool.ready():
            offered.append(prepared)
            if prepared is lane[0]:
                pool.refused(prepared, poor)
        assert offered == [lane[0], other]
        assert pool.contains(lane[0].transaction.tx_id) == (turn < STRIKES_MAX)
    assert list(pool.ready()) == [other]
    assert pool.status().gaps == 2
    admit(pool, world, lane[0])
    assert sorted(places(list(pool.ready()))) == sorted(places([*lane, other]))
    pool.refused(other, refuse("kernel.key", world.keys[1]))
    assert list(pool.ready()) == lane


def test_a_full_block_is_nobodys_fault() -> None:
    """Payments would vanish from the pool because a block was full a few times."""
    world, pool = PoolWorld(2), Mempool()
    admit(pool, world, world.prepared(0, 0))
    for _ in range(2 * STRIKES_MAX):
        pool.refused(next(pool.ready()), refuse("kernel.blockFull", 1, 0))
    assert len(list(pool.ready())) == 1


def test_what_breaks_execution_is_put_away_for_good() -> None:
    """One poisoned transaction would stop block after block (R21)."""
    world, pool = PoolWorld(2), Mempool()
    poison = world.prepared(0, 0)
    admit(pool, world, poison)
    pool.quarantine(poison.transaction.tx_id, "ZeroDivisionError")
    assert not pool.has_ready()
    assert refusal(pool, world, poison).code is Code.POLICY_REJECTED
    assert pool.quarantined() == {poison.transaction.tx_id: "ZeroDivisionError"}
    # Executed elsewhere after all: the lane goes on.
    pool.committed(world.head(), world.commit([poison])).run()
    assert admit(pool, world, world.prepared(0, 1)).ready


def test_a_selection_outlives_what_happens_to_the_pool() -> None:
    """Building in slices would crash or offer what is gone when payments arrive meanwhile."""
    world, pool = PoolWorld(4), Mempool(PoolLimits(4, 10**6, 10))
    first = [world.prepared(sender, 0, fee=sender) for sender in range(4)]
    for prepared in first:
        admit(pool, world, prepared)
    selection = pool.ready()
    assert next(selection) is first[3]
    dear = world.prepared(3, 1, fee=90)
    admit(pool, world, dear)  # evicts the cheapest
    assert list(selection) == [dear, first[2], first[1]]
    selection = pool.ready()
    assert next(selection) is first[3]
    update = pool.committed(world.head(), world.commit([first[3]]))
    assert list(selection) == []
    assert list(pool.ready()) == []
    assert not pool.has_ready()
    update.run()
    assert list(pool.ready()) == [dear, first[2], first[1]]


def test_payments_may_come_while_a_block_is_taken_in() -> None:
    """A payment that follows an included one would be refused or lost between two slices."""
    world, pool = PoolWorld(2), Mempool()
    first, second, third = (world.prepared(0, sequence) for sequence in range(3))
    admit(pool, world, first)
    update = pool.committed(world.head(), world.commit([first, second]))
    update = pool.committed(world.head(), [first, second])
    admit(pool, world, third)
    assert not pool.get(second.transaction.tx_id)
    while update.step():
        assert admit(pool, world, third).duplicate
    assert list(pool.ready()) == [third]


# -- finding


def test_a_prefix_of_two_finds_none() -> None:
    """A proposal would be rebuilt with the wrong transaction, and its votes lost."""
    world, pool = PoolWorld(4), Mempool()
    made = [world.prepared(sender, 0) for sender in range(3)]
    wtx_ids = [b"p" * 16 + bytes([number]) * 16 for number in range(3)]
    twins = [
        prepared._replace(transaction=prepared.transaction._replace(wtx_id=wtx_id))
        for prepared, wtx_id in zip(made, wtx_ids, strict=True)
    ]
    admit(pool, world, twins[0])
    assert pool.prefix_lookup(b"p" * 16) is twins[0]
    admit(pool, world, twins[1])
    admit(pool, world, twins[2])
    assert pool.prefix_lookup(b"p" * 16) is None
    assert [pool.by_wtxid(wtx_id) for wtx_id in wtx_ids] == twins
    pool.committed(world.head(), world.commit([twins[0], twins[2]])).run()
    assert pool.prefix_lookup(b"p" * 16) is twins[1]
    assert pool.by_wtxid(wtx_ids[0]) is None


def test_pages_show_everything_once() -> None:
    """Who lists the pool would miss payments or see them twice."""
    world, pool = PoolWorld(2), Mempool()
    for sequence in range(25):
        admit(pool, world, world.prepared(0, sequence, fee=sequence % 3))
    seen: list[Prepared] = []
    after = None
    for _ in range(10):
        found, after = pool.page(7, after)
        seen.extend(found)
        if after is None:
            break
    assert len(seen) == 25
    assert sorted(places(seen)) == sorted(places(list(pool.ready())))
    assert [p.transaction.body.sequence for p, _ in pool.by_sender(world.keys[0])] == list(
        range(25)
    )
    assert pool.by_sender(b"?" * 32) == []
