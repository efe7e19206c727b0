"""Building and judging blocks: what is proposed is valid, what breaks a rule is named.

If judging were lax, one node would vote for what others refuse; if building broke on one bad
transaction, that transaction would stop the network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import trio
import trio.testing

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.errors import Bug, Refused, StorageFault
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.overlay import StateKey
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.transition import Execution, Prepared, prepare
from clawpurse.node.bodies import Body
from clawpurse.node.chain import Chain, open_chain
from clawpurse.node.clock import LoopClock
from clawpurse.node.proposing import REBUILDS_MAX, SMALLEST_BLOCK, Proposing
from clawpurse.node.workers import InlineLane
from tests.node.poolworld import REGISTRY, START_MS, PoolWorld

SEEDS = sorted((bytes((n,)) * 32 for n in range(1, 5)), key=crypto.public_key_of)
KEYS = [crypto.public_key_of(seed) for seed in SEEDS]
OTHER = b"\x77" * 32


class Pool:
    """Transactions in order; notes what is refused and put away."""

    def __init__(self, items: Sequence[Prepared] = ()) -> None:
        self.items = list(items)
        self.refusals: list[tuple[bytes, str]] = []
        self.quarantined: dict[bytes, str] = {}

    def ready(self) -> Iterator[Prepared]:
        for item in list(self.items):
            if item.transaction.tx_id not in self.quarantined:
                yield item

    def refused(self, prepared: Prepared, error: Refused) -> None:
        self.refusals.append((prepared.transaction.tx_id, error.rule))

    def quarantine(self, tx_id: bytes, why: str) -> None:
        self.quarantined[tx_id] = why


class Bench:
    """A chain of four authorities, and one of them who builds and judges."""

    def __init__(self, **params: int) -> None:
        self.world = PoolWorld(**params)
        genesis = self.world.genesis
        self.world.genesis = self.genesis = Genesis(
            genesis.chain_id,
            genesis.time_ms,
            tuple(KEYS),
            genesis.params,
            genesis.assets,
            genesis.accounts,
            genesis.modules,
        )
        self.chain: Chain = open_chain(self.genesis, REGISTRY, MemoryStore(), InlineLane())
        self.domain = Domain(genesis.chain_id, self.genesis.hash, 0)
        self.clock = LoopClock(START_MS + 5_000)
        self.pool = Pool()
        self.proposing = self.another()

    def another(self) -> Proposing:
        """A second node's judgement of the same chain."""
        return Proposing(self.chain, self.pool, self.clock, self.domain)

    def pay(self, sender: int, sequence: int, **terms: Any) -> Prepared:
        return prepare(self.world.pay(sender, sequence, signed=True, **terms), REGISTRY)

    def proposer(self, round_: int = 0) -> bytes:
        return self.chain.authorities.proposer(self.chain.height + 1, round_)

    async def build(self, *items: Prepared, round_: int = 0) -> Body:
        self.pool.items = list(items)
        return await self.proposing.build(round_, self.proposer(round_))

    async def commit(self, body: Body) -> None:
        """Let three authorities decide a block."""
        header = body.block.header
        votes = {}
        for seed, key in list(zip(SEEDS, KEYS, strict=True))[:3]:
            vote = Vote(Kind.PRECOMMIT, header.height, 0, header.block_id, key)
            signature = crypto.sign(seed, vote.sign_bytes(self.domain))
            votes[key] = vote._replace(signature=signature)
        executed = self.proposing.executed(header.block_id)
        assert executed is not None
        await self.chain.commit(executed, Certificate.of(self.chain.authorities, votes))
        self.proposing.forget()

    async def verdict(self, body: Body) -> str:
        """Why a second node refuses a block; empty if it does not."""
        judgement = await self.another().judge(body)
        assert judgement.ok == (not judgement.problem)
        return judgement.problem


def run(main: Callable[[], Any]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def with_header(body: Body, **changes: Any) -> Body:
    block = body.block
    header = replace(block.header, **changes)
    return Body(
        Block(header, block.parent_certificate, block.evidence, block.transactions), body.prepared
    )


def test_what_one_node_builds_another_finds_valid() -> None:
    """Empty blocks and full ones, several heights in a row."""

    async def main() -> None:
        bench = Bench()
        for height in range(1, 4):
            items = [bench.pay(n, height - 1) for n in range(4)] if height != 2 else []
            if height == 3:
                items = [bench.pay(n, 1) for n in range(4)]
            body = await bench.build(*items)
            assert len(body.prepared) == len(items)
            assert await bench.verdict(body) == ""
            await bench.commit(body)
        assert bench.chain.height == 3

    run(main)


def test_a_block_is_executed_once_by_each_node() -> None:
    """What was built or judged is what is committed; a second execution would cost its time."""

    async def main() -> None:
        bench = Bench()
        body = await bench.build(bench.pay(0, 0))
        executed = bench.proposing.executed(body.block.header.block_id)
        assert (await bench.proposing.judge(body)).ok
        assert bench.proposing.executed(body.block.header.block_id) is executed

    run(main)


CHANGES: dict[str, dict[str, Any]] = {
    "header: version": {"version": 2},
    "header: chain_id": {"chain_id": "other"},
    "header: genesis_hash": {"genesis_hash": OTHER},
    "header: recovery_epoch": {"recovery_epoch": 1},
    "header: height": {"height": 2},
    "header: parent_id": {"parent_id": OTHER},
    "header: proposer": {"first_round": 1},
    "header: authorities_hash": {"authorities_hash": OTHER},
    "header: next_authorities_hash": {"next_authorities_hash": OTHER},
    "header: params_hash": {"params_hash": OTHER},
    "time": {"time_ms": START_MS},
    "receipts": {"receipts_root": OTHER},
    "events": {"events_root": OTHER},
    "state": {"state_root": OTHER},
    "cost": {"cost_used": 1},
}


@pytest.mark.parametrize("rule", list(CHANGES))
def test_a_header_that_says_anything_else_is_refused_by_name(rule: str) -> None:
    async def main() -> None:
        bench = Bench()
        body = await bench.build(bench.pay(0, 0))
        problem = await bench.verdict(with_header(body, **CHANGES[rule]))
        assert problem.startswith(rule), problem

    run(main)


def test_a_wrong_state_root_names_modules_and_the_first_changed_key() -> None:
    """Two operators who compare logs must see where their nodes differ."""

    async def main() -> None:
        bench = Bench()
        body = await bench.build(bench.pay(0, 0))
        problem = await bench.verdict(with_header(body, state_root=OTHER))
        assert "module roots here" in problem and "first changed key" in problem
        assert OTHER.hex() in problem

    run(main)


def bad_block(bench: Bench, body: Body, items: Sequence[Prepared]) -> Body:
    """The same header over other transactions; roots are judged after execution."""
    raws = tuple(item.transaction.raw for item in items)
    block = Block(body.block.header, body.block.parent_certificate, (), raws)
    return Body(block, tuple(items))


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"sequence": 5}, "sequence"),
        ({"chain_id": "other"}, "chain"),
        ({"valid_until_ms": START_MS + 1}, "expired"),
        ({"sequence": 0}, "sequence"),
    ],
)
def test_a_transaction_that_may_not_be_included_makes_the_block_invalid(
    terms: dict[str, Any], rule: str
) -> None:
    async def main() -> None:
        bench = Bench()
        first = bench.pay(0, 0)
        body = await bench.build(first)
        given = dict(terms)
        sequence = given.pop("sequence", 1)
        second = prepare(bench.world.pay(0, sequence, signed=True, **given), REGISTRY)
        problem = await bench.verdict(bad_block(bench, body, [first, second]))
        assert rule in problem.lower(), problem

    run(main)


def test_blocks_over_their_limits_are_refused_before_they_are_executed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R17: a block's static cost is checked before anything executes."""

    async def main() -> None:
        bench = Bench(block_transactions_max=3, block_cost_max=4_000)
        items = [bench.pay(n % 4, n // 4) for n in range(8)]
        body = await bench.build(*items)
        assert len(body.prepared) <= 3
        executions: list[int] = []
        begin = Execution.begin_in_steps

        def counted(self: Execution, evidence: Sequence[DoubleSign] = ()) -> Iterator[None]:
            executions.append(1)
            return begin(self, evidence)

        monkeypatch.setattr(Execution, "begin_in_steps", counted)
        assert (await bench.verdict(bad_block(bench, body, items))).startswith("size")
        heavy = [replace_cost(item, 2_000) for item in items[:3]]
        assert (await bench.verdict(bad_block(bench, body, heavy))).startswith("cost")
        block = Block(body.block.header, None, (b"evidence",), body.block.transactions)
        assert (await bench.verdict(Body(block, body.prepared))).startswith("evidence")
        assert executions == []

    run(main)


def replace_cost(item: Prepared, cost: int) -> Prepared:
    return item._replace(cost=cost)


def test_the_parent_s_certificate_must_be_a_full_proof_of_the_parent() -> None:
    async def main() -> None:
        bench = Bench()
        first = await bench.build(bench.pay(0, 0))
        for certificate in (b"anything", b""):
            block = Block(first.block.header, certificate, (), first.block.transactions)
            assert "block 1 has" in await bench.verdict(Body(block, first.prepared))
        await bench.commit(first)
        second = await bench.build(bench.pay(0, 1))
        true = second.block.parent_certificate
        assert true is not None and await bench.verdict(second) == ""
        proof = Certificate.unpack(true)
        few = Certificate(
            proof.height,
            proof.round,
            proof.block_id,
            bench.chain.authorities.bitmap(KEYS[:2]),
            proof.signatures[:2],
        )
        forged = Certificate(
            proof.height,
            proof.round,
            proof.block_id,
            proof.signers,
            (*proof.signatures[:2], bytes(64)),
        )
        elsewhere = Certificate(2, proof.round, proof.block_id, proof.signers, proof.signatures)
        for packed, problem in (
            (None, "is missing"),
            (few.pack(), "no quorum"),
            (forged.pack(), "does not verify"),
            (elsewhere.pack(), "another block"),
            (b"rubbish", "certificate"),
        ):
            block = Block(second.block.header, packed, (), second.block.transactions)
            assert problem in await bench.verdict(Body(block, second.prepared))

    run(main)


def test_another_quorum_s_certificate_of_the_parent_will_do() -> None:
    """Each node keeps the votes that it saw first; all are proofs."""

    async def main() -> None:
        bench = Bench()
        first = await bench.build(bench.pay(0, 0))
        await bench.commit(first)
        second = await bench.build(bench.pay(0, 1))
        header = first.block.header
        votes = {}
        for seed, key in list(zip(SEEDS, KEYS, strict=True))[1:]:
            vote = Vote(Kind.PRECOMMIT, header.height, 2, header.block_id, key)
            votes[key] = vote._replace(signature=crypto.sign(seed, vote.sign_bytes(bench.domain)))
        other = Certificate.of(bench.chain.authorities, votes).pack()
        block = Block(second.block.header, other, (), second.block.transactions)
        assert await bench.verdict(Body(block, second.prepared)) == ""

    run(main)


def test_time_rises_even_when_the_clock_stands_or_goes_back() -> None:
    """A corrected clock must not stop a chain whose time is ahead of it."""

    async def main() -> None:
        bench = Bench()
        for _ in range(3):
            body = await bench.build()
            assert body.block.header.time_ms > bench.chain.tip.time_ms
            await bench.commit(body)
            bench.clock.offset_ms -= 3_600_000

    run(main)


def test_what_may_not_be_included_now_is_left_out_and_told_to_the_pool() -> None:
    async def main() -> None:
        bench = Bench()
        good, gap, late = (
            bench.pay(0, 0),
            bench.pay(1, 7),
            bench.pay(2, 0, valid_until_ms=START_MS + 1),
        )
        body = await bench.build(gap, good, late)
        assert [item.transaction.tx_id for item in body.prepared] == [good.transaction.tx_id]
        assert [tx_id for tx_id, _ in bench.pool.refusals] == [
            gap.transaction.tx_id,
            late.transaction.tx_id,
        ]

    run(main)


def test_blocks_keep_their_limits_and_shrink_with_failed_rounds() -> None:
    async def main() -> None:
        bench = Bench(block_transactions_max=3)
        items = [bench.pay(n % 4, n // 4) for n in range(8)]
        assert len((await bench.build(*items)).prepared) == 3
        many = Bench(block_transactions_max=400)
        items = [many.pay(n % 4, n // 4) for n in range(400)]
        for round_, count in ((0, 400), (1, 200), (3, 50), (30, SMALLEST_BLOCK)):
            assert len((await many.build(*items, round_=round_)).prepared) == count

    run(main)


# -- poison: a transaction on which our own code breaks


def poison(
    monkeypatch: pytest.MonkeyPatch, bad: Sequence[Prepared], *, at_the_end: bool = False
) -> None:
    """Make execution break on these: when applied, or only in the final audit."""
    bad_ids = {item.transaction.tx_id for item in bad}
    apply, finish = Execution.apply, Execution.finish_in_steps

    def broken_apply(self: Execution, prepared: Prepared) -> Any:
        if prepared.transaction.tx_id in bad_ids:
            if not at_the_end:
                raise ZeroDivisionError("a bug of ours")
            self.spoilt = True  # type: ignore[attr-defined]
        return apply(self, prepared)

    def broken_finish(self: Execution, changes: dict[StateKey, bytes | None]) -> Iterator[None]:
        yield from finish(self, changes)
        if getattr(self, "spoilt", False):
            raise Bug("the books do not balance")

    monkeypatch.setattr(Execution, "apply", broken_apply)
    monkeypatch.setattr(Execution, "finish_in_steps", broken_finish)


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("place", [0, 7, 20])
def test_a_poisoned_transaction_is_put_away_and_the_rest_proposed(
    place: int, at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R21: one poisoned transaction never stops nodes."""

    async def main() -> None:
        bench = Bench()
        items = [bench.pay(n % 4, n // 4) for n in range(20)]
        # In a lane of its own, so that it can be applied wherever it stands.
        alone = bench.pay(place % 4, 0, lane=9)
        items.insert(place, alone)
        poison(monkeypatch, [alone], at_the_end=at_the_end)
        body = await bench.build(*items)
        assert list(bench.pool.quarantined) == [alone.transaction.tx_id]
        assert len(body.prepared) == 20
        assert await bench.verdict(body) == ""

    run(main)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_however_many_are_poisoned_a_block_is_proposed(
    at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        bench = Bench()
        bad = [bench.pay(n % 4, 0, lane=1 + n // 4) for n in range(REBUILDS_MAX + 4)]
        poison(monkeypatch, bad, at_the_end=at_the_end)
        body = await bench.build(*bad, bench.pay(0, 0))
        assert body.prepared == () and len(bench.pool.quarantined) == REBUILDS_MAX

    run(main)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_proposed_block_that_breaks_execution_is_invalid_and_ends_nobody(
    at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        bench = Bench()
        body = await bench.build(bench.pay(0, 0))
        poison(monkeypatch, body.prepared, at_the_end=at_the_end)
        assert "execution broke" in await bench.verdict(body)

    run(main)


def test_a_disk_that_fails_is_blamed_on_no_transaction_and_no_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a bad sector would put payments away, or vote against good blocks."""

    async def main() -> None:
        bench = Bench()
        body = await bench.build(bench.pay(0, 0))
        monkeypatch.setattr(Execution, "apply", _fail)
        with pytest.raises(StorageFault):
            await bench.another().judge(body)
        with pytest.raises(StorageFault):
            await bench.build(bench.pay(0, 0))
        assert bench.pool.quarantined == {}

    run(main)


def _fail(self: Execution, prepared: Prepared) -> None:
    raise StorageFault("The disk does not read.")


def test_results_kept_are_bounded() -> None:
    """At most a few speculative results live: each holds a block's worth of state (R17)."""

    async def main() -> None:
        bench = Bench()
        rng = random.Random(1)
        for _ in range(12):
            bench.clock.offset_ms += rng.randrange(1, 1_000)
            await bench.build(bench.pay(0, 0))
        assert len(bench.proposing._executed) <= 4

    run(main)


def test_the_header_of_these_tests_has_no_unchecked_field() -> None:
    """A field that nobody compares is one that two nodes may read differently."""
    checked = {name.split(": ")[-1] for name in CHANGES} | {
        field for change in CHANGES.values() for field in change
    }
    body_roots = {"transactions_root", "evidence_root", "parent_certificate_hash"}
    assert {f.name for f in fields(Header)} - checked == body_roots
