"""Queues, lists and trees under those who want to fill them, and keys that were ground for it.

If these failed, somebody could stall everybody's payments with promises to themselves, or make one
account, list or corner of the state slow for ever.
"""

from __future__ import annotations

import time
from itertools import count, pairwise
from typing import Any

import pytest

from clawpurse.ledger.errors import Refused
from clawpurse.ledger.kernel.records import DUE_PREFIX, account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.statetree.nodes import key_hash_of
from clawpurse.ledger.transition import prepare
from tests.ledger.malice_costs import CROWD, Job, Town, job
from tests.ledger.malice_world import DAY_MS, HOUR_MS, Realm, measured, raw
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key, transfer

REFERENCE = b"flood"


def schedule(town: Town, by: Key, to: Key, at_ms: int) -> Job:
    return job(by, "payments.schedule", "CLAW", to, 1, at_ms, REFERENCE, None)


@pytest.fixture
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Town, "in_trees", False)


def queued(town: Town) -> int:
    return len(town.state.ordered(KERNEL, DUE_PREFIX, 10_000))


# -- due work


def test_a_pile_of_due_work_is_done_in_order_and_stalls_no_payment() -> None:
    """More than a block does, of sixty creators, all for one moment."""
    town = Town()
    at_ms, most = town.time_ms + DAY_MS, town.params.due_per_block_max
    town.prepared([schedule(town, CROWD[n % 60], BOB, at_ms) for n in range(most + 130)])
    before = town.balance(BOB)
    wait = at_ms - town.time_ms
    fresh = town.tx(ALICE, transfer(DAVE, 5), valid_until_ms=at_ms + HOUR_MS)
    result = town.block(fresh, after_ms=wait)
    assert result.receipts[0].code == 0
    assert town.balance(BOB) == before + most
    assert queued(town) == 130
    town.block(town.tx(ALICE, transfer(DAVE, 5)))
    assert town.balance(BOB) == before + most + 130
    assert queued(town) == 0


@pytest.mark.usefixtures("_plain")
def test_what_one_creator_may_put_off_is_bounded() -> None:
    realm = Realm(params={"fee_min": 3, "due_per_creator_max": 4})
    end = realm.time_ms + HOUR_MS
    makers: tuple[tuple[str, list[Any]], ...] = (
        ("payments.schedule", ["CLAW", BOB, 1, end, b"", None]),
        ("payments.placeHold", ["CLAW", BOB, 1, "x", end, 1, 1, [], 0, b"", None]),
        ("payments.createEscrow", ["CLAW", BOB, 1, None, end, None, CAROL, b"", None]),
        ("payments.openChannel", ["CLAW", BOB, 1, 1_000, 1, end, None, b"", None]),
    )
    for name, fields in makers:
        realm.do(ALICE, name, *fields)
    makers += (
        ("payments.pay", ["CLAW", BOB, 1, b"", None, 5, []]),
        ("payments.createInvoice", ["CLAW", 1, None, None, b"", end, 1]),
        (
            "payments.proposeBatch",
            ["CLAW", [[CAROL.account, 1, b""]], 1, [BOB.account], end, b"", None],
        ),
    )
    for name, fields in makers:
        realm.refused(realm.tx(ALICE, raw(name, *fields)), "kernel.dueFull")
    # It is nobody else's queue, and free again when the work is done.
    realm.do(CAROL, *makers[0][:1], *makers[0][1])
    for _ in range(2):  # A channel that comes to its end has its challenge still before it.
        realm.block(after_ms=2 * HOUR_MS)
    assert realm.account(ALICE).due_count == 0


def test_a_sponsor_or_payee_is_charged_for_no_others_due_work() -> None:
    realm = Realm()
    end = realm.time_ms + HOUR_MS
    realm.done(
        realm.tx(ALICE, raw("payments.schedule", "CLAW", BOB, 1, end, b"", None), payer=CAROL)
    )
    counts = [realm.account(key).due_count for key in (ALICE, BOB, CAROL)]
    assert counts == [1, 0, 0]


# -- lists


def ratio_of_growth(town: Town, first: list[Job], flood: list[Job], last: list[Job]) -> float:
    """How much more the last cost than the first: the least of three measurements of each.

    A machine that others use too adds to a time and takes nothing from it.
    """

    def cost(jobs: list[Job]) -> float:
        third = len(jobs) // 3
        parts = [jobs[at : at + third] for at in range(0, 3 * third, third)]
        return min(measured(town, town.transactions(part)).us_per_unit for part in parts)

    before = cost(first)
    town.prepared(flood)
    return cost(last) / before


@pytest.mark.parametrize("size", [400, pytest.param(4_000, marks=pytest.mark.full)])
def test_a_list_does_not_slow_who_is_in_it(size: int) -> None:
    """Thousands of promises to one account, which it never asked for."""
    town = Town()
    end = town.time_ms + DAY_MS
    jobs = [schedule(town, CROWD[n % 60], BOB, end + n) for n in range(size + 180)]
    assert ratio_of_growth(town, jobs[:90], jobs[90:-90], jobs[-90:]) < 2.5


@pytest.mark.parametrize("size", [400, pytest.param(1_500, marks=pytest.mark.full)])
def test_a_list_that_grows_within_a_block_stays_cheap(size: int) -> None:
    """What a block writes into one list costs as much at its end as at its beginning."""
    town = Town(block_cost_max=10**6)
    end = town.time_ms + DAY_MS
    made = town.transactions([schedule(town, CROWD[n % 60], BOB, end) for n in range(size)])
    execution = town.execution()
    spans = []
    for begin in range(0, size, size // 4):
        began = time.process_time()
        for one in made[begin : begin + size // 4]:
            assert execution.apply(prepare(one, town.registry)).code == 0
        spans.append(time.process_time() - began)
    assert spans[-1] < 3 * min(spans)


# -- ground keys


def ground(prefix_nibbles: int, wanted: int) -> list[bytes]:
    """Account ids whose state keys share the first nibbles of their place in the tree."""
    found: list[bytes] = []
    whole, half = divmod(prefix_nibbles, 2)
    for number in count():
        account = number.to_bytes(32, "big")
        place = key_hash_of(account_key(account))
        if not any(place[:whole]) and (not half or place[whole] < 16):
            found.append(account)
            if len(found) == wanted:
                return found
    raise AssertionError


def deepest(tries: int) -> tuple[int, bytes, bytes]:
    """The two of so many account ids whose places share most nibbles."""
    places = sorted(
        (key_hash_of(account_key(number.to_bytes(32, "big"))), number) for number in range(tries)
    )
    shared = [
        (len(_common(one[0].hex(), other[0].hex())), one[1], other[1])
        for one, other in pairwise(places)
    ]
    depth, one, other = max(shared)
    return depth, one.to_bytes(32, "big"), other.to_bytes(32, "big")


def _common(one: str, other: str) -> str:
    size = next((n for n in range(64) if one[n] != other[n]), 64)
    return one[:size]


def paid(town: Town, accounts: list[bytes]) -> float:
    """What a payment to each of these takes, once they are there: µs of CPU a unit of cost."""
    opening = [Job(ALICE, (transfer(account, 1),)) for account in accounts]
    town.prepared(opening)
    return min(measured(town, town.transactions(opening)).us_per_unit for _ in range(3))


@pytest.mark.parametrize(
    ("nibbles", "wanted"), [(2, 60), pytest.param(3, 1_000, marks=pytest.mark.full)]
)
def test_accounts_ground_into_one_corner_of_the_tree_cost_what_others_do(
    nibbles: int, wanted: int
) -> None:
    town, other = Town(), Town()
    usual = paid(other, [number.to_bytes(32, "big") for number in range(wanted)])
    crowded = paid(town, ground(nibbles, wanted))
    assert crowded < 3 * usual


@pytest.mark.parametrize("tries", [50_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_two_accounts_ground_deep_cost_what_others_do(tries: int) -> None:
    depth, one, twin = deepest(tries)
    assert depth >= 6
    town, other = Town(), Town()
    usual = paid(other, [number.to_bytes(32, "big") for number in range(2)] * 10)
    deep = paid(town, [one, twin] * 10)
    assert deep < 2.5 * usual


def test_a_payment_to_an_account_that_nobody_has_is_like_any_other() -> None:
    """Ids need no key; what is sent there is lost to its sender alone, and not opened twice."""
    realm = Realm()
    realm.done(realm.tx(ALICE, transfer(bytes(32), 5)))
    realm.refused(realm.tx(ALICE, raw("accounts.open", bytes(32))), "kernel.accountExists")
    thief = Key("thief")
    with pytest.raises(Refused) as caught:
        execution = realm.execution()
        execution.apply(prepare(realm.tx(thief, transfer(BOB, 1)), realm.registry))
    assert caught.value.rule == "kernel.sender"
