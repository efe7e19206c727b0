"""Session keys and sponsors in the mempool: a stolen key cannot crowd out its owner.

If these failed, whoever stole an agent's key could keep the owner's revocation out of every block.
"""

from __future__ import annotations

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import (
    Body,
    RawAction,
    Role,
    WitnessEntry,
    decode_body,
    encode_transaction,
)
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.modules.accounts.sessions import GRANT, REVOKE
from clawpurse.modules.accounts.sponsorship import END, SPONSOR
from clawpurse.node.mempool import Mempool, PoolLimits
from tests.node.poolworld import FUNDS, HOUR_MS, REGISTRY, PoolWorld, admit

AGENT = crypto.public_key_of(b"agent".ljust(32))
OWNER, OTHER = 0, 1


def body_of(world: PoolWorld, sender: int, action: RawAction, **terms: object) -> Body:
    """A body of a sender with one action; as a payment in all else."""
    raw = world.pay(sender, int(str(terms.pop("sequence", world.sequence(sender)))))
    body = decode_body(prepare(raw, REGISTRY).transaction.body_bytes)
    return body._replace(actions=(action,), **terms)  # type: ignore[arg-type]


def taken(body: Body, *witness: tuple[Role, bytes, bytes]) -> Prepared:
    """A transaction with zeros for signatures, by (role, account, key)."""
    entries = [WitnessEntry(int(role), account, key, bytes(64)) for role, account, key in witness]
    return prepare(encode_transaction(body.pack(), entries), REGISTRY)


def granted(world: PoolWorld, sender: int = OWNER) -> None:
    """Let the agent sign for a sender in lanes 1 and 2: 100 at once, 300 a day."""
    account = world.keys[sender]
    fields: list[Wire] = [AGENT, "", world.time_ms + DAY_MS, [1, 2], ["assets.transfer"]]
    action = RawAction(GRANT.name, [*fields, [["CLAW", 100, 300]], [], b"", 0])
    body = body_of(world, sender, action)
    world.commit([taken(body, (Role.SENDER, account, account), (Role.APPROVER, account, AGENT))])


def by_agent(
    world: PoolWorld, sequence: int, lane: int = 1, fee: int = 0, amount: int = 1
) -> Prepared:
    account = world.keys[OWNER]
    action = RawAction("assets.transfer", ["CLAW", world.keys[2], 1])
    body = body_of(world, OWNER, action, sequence=sequence)._replace(lane=lane, fee=fee)
    return taken(body, (Role.SENDER, account, AGENT))


def revocation(world: PoolWorld) -> Prepared:
    account = world.keys[OWNER]
    body = body_of(world, OWNER, RawAction(REVOKE.name, [AGENT]))
    return taken(body, (Role.SENDER, account, account))


def test_an_agent_s_payments_wait_and_are_proposed() -> None:
    world, pool = PoolWorld(), Mempool()
    granted(world)
    first = by_agent(world, 0)
    assert admit(pool, world, first).ready
    assert [one.transaction.tx_id for one in pool.ready()] == [first.transaction.tx_id]
    world.commit(list(pool.ready()))


def test_a_stolen_key_leaves_its_owner_half_of_the_places_in_the_pool() -> None:
    world, pool = PoolWorld(), Mempool(PoolLimits(per_sender_max=6))
    granted(world)
    for sequence in range(3):
        admit(pool, world, by_agent(world, sequence))
    for lane, sequence in ((1, 3), (2, 0)):
        with pytest.raises(Refused) as refusal:
            admit(pool, world, by_agent(world, sequence, lane))
        assert refusal.value.code is Code.POOL_FULL
    assert admit(pool, world, revocation(world)).ready
    world.commit([revocation(world)])


def test_a_stolen_key_leaves_its_owner_half_of_the_quota_in_the_pool() -> None:
    world, pool = PoolWorld(quota_cost_max=3_000), Mempool()
    granted(world)
    world.commit(step_ms=HOUR_MS)
    sequence = 0
    while True:
        try:
            admit(pool, world, by_agent(world, sequence))
        except Refused as err:
            assert err.rule == "kernel.quota"
            break
        sequence += 1
    assert sequence > 2
    assert admit(pool, world, revocation(world)).ready


def test_what_a_session_key_may_not_do_is_never_pooled() -> None:
    world, pool = PoolWorld(), Mempool()
    granted(world)
    for prepared, rule in (
        (by_agent(world, 0, lane=3), "kernel.sessionLane"),
        (by_agent(world, 0, fee=101), "kernel.sessionPayment"),
    ):
        with pytest.raises(Refused) as refusal:
            admit(pool, world, prepared)
        assert refusal.value.rule == rule
    assert len(pool) == 0


def test_what_waits_when_its_session_ends_is_put_away_when_its_turn_comes() -> None:
    world, pool = PoolWorld(), Mempool()
    granted(world)
    admit(pool, world, by_agent(world, 0))
    world.commit([revocation(world)])
    waiting = next(iter(pool.ready()))
    with pytest.raises(Refused) as refusal:
        world.commit([waiting])
    assert refusal.value.rule == "kernel.key"
    pool.refused(waiting, refusal.value)
    assert len(pool) == 0


def test_a_sponsored_transaction_waits_without_its_payer_s_signature() -> None:
    world, pool = PoolWorld(), Mempool()
    sponsor, account = world.keys[OTHER], world.keys[OWNER]
    action = RawAction(SPONSOR.name, [account, 10, 10, 10, [], world.time_ms + DAY_MS])
    world.commit([taken(body_of(world, OTHER, action), (Role.SENDER, sponsor, sponsor))])
    paid = RawAction("assets.transfer", ["CLAW", world.keys[2], 1])
    body = body_of(world, OWNER, paid)._replace(payer=sponsor, fee=10)
    assert admit(pool, world, taken(body, (Role.SENDER, account, account))).ready
    dear = taken(body._replace(fee=11, attempt=1), (Role.SENDER, account, account))
    with pytest.raises(Refused) as refusal:
        admit(pool, world, dear)
    assert refusal.value.rule == "kernel.sponsorFee"


def test_fees_that_wait_within_somebody_s_limits_do_not_keep_it_from_ending_them() -> None:
    """Behind a gap they could wait for a day: each within its limits, together the balance."""
    world, pool = PoolWorld(), Mempool()
    sponsor, account = world.keys[OTHER], world.keys[OWNER]
    half = FUNDS // 2
    terms: list[Wire] = [account, half, FUNDS, FUNDS, [], world.time_ms + DAY_MS]
    action = RawAction(SPONSOR.name, terms)
    world.commit([taken(body_of(world, OTHER, action), (Role.SENDER, sponsor, sponsor))])
    paid = RawAction("assets.transfer", ["CLAW", world.keys[2], 1])
    for sequence in (1, 2):
        body = body_of(world, OWNER, paid, sequence=sequence)._replace(payer=sponsor, fee=half)
        assert not admit(pool, world, taken(body, (Role.SENDER, account, account))).ready
    body = body_of(world, OWNER, paid, sequence=3)._replace(payer=sponsor, fee=half)
    with pytest.raises(Refused) as refusal:
        admit(pool, world, taken(body, (Role.SENDER, account, account)))
    assert refusal.value.rule == "kernel.feeFunds"
    ending = RawAction(END.name, [account])
    body = body_of(world, OTHER, ending)._replace(fee=FUNDS)
    assert admit(pool, world, taken(body, (Role.SENDER, sponsor, sponsor))).ready
    again = body._replace(sequence=body.sequence + 1, fee=1)
    with pytest.raises(Refused):
        admit(pool, world, taken(again, (Role.SENDER, sponsor, sponsor)))
