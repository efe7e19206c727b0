"""No action is cheap for what it does, and no block of the worst takes longer than a block may.

If these failed, who fills blocks with the right action could make every node miss its rounds.
Ratios are compared, measured side by side, never absolute times; the bound on a full block is one
of this machine and is held with a wide margin.
"""

from __future__ import annotations

import pytest

from clawpurse.ledger.errors import Refused
from clawpurse.ledger.params import Params
from clawpurse.ledger.transition import prepare
from clawpurse.modules.registry import build_registry
from tests.ledger import malice_cases_payments, malice_cases_people, malice_cases_rules
from tests.ledger.malice_costs import CASES, Compared, Job, Town, compared
from tests.ledger.malice_due import DUE
from tests.ledger.malice_world import measured
from tests.ledger.sandbox import ALICE, BOB, transfer

MODULES = (malice_cases_payments, malice_cases_people, malice_cases_rules)
# Per unit of cost against a plain transfer, signatures left out of both. Three is what we hold
# ourselves to; the rest is room for a machine that others use, too.
RATIO_MAX = 4.5
# What policies do is no part of an action's static cost; they have a bound of their own, so that a
# block of movements under the heaviest still stays within its time.
JUDGED_RATIO_MAX = 10.0
# What a unit of a plain transfer took, tree included, when nobody else used the machine.
QUIET_US_PER_UNIT = 0.16
JUDGED = tuple(name for name in CASES if "under" in name or "asked" in name)
PARAMS = Params()
# Actions that cost no more than one that is measured: the same handler, or less of it.
LIKE = {
    "accounts.reject": "accounts.approve",
    "assets.freezeAll": "assets.freezeAll and unfreezeAll",
    "assets.unfreezeAll": "assets.freezeAll and unfreezeAll",
    "compliance.removeIssuer": "compliance.setIssuer",
    "payments.finaliseChannel": "payments.closeChannel, payer",
    **{
        f"governance.{name}": "governance.grantRole, opening"
        for name in (
            "addAuthority",
            "removeAuthority",
            "replaceAuthority",
            "setParameters",
            "revokeRole",
            "amend",
            "cancelAmendment",
        )
    },
}


def best(name: str, count: int) -> Compared:
    """The best of at most three tries: what stays dear is dear."""
    fails = name == malice_cases_payments.FAILING
    found = compared(name, count, fails=fails)
    for _ in range(2):
        if found.ratio <= 3.0:
            break
        again = compared(name, count, fails=fails)
        found = min(found, again, key=lambda one: one.ratio)
    return found


def test_every_action_of_the_network_has_its_worst_case_here() -> None:
    measured_names = {name.partition(",")[0].partition(" ")[0] for name in CASES}
    for name in build_registry().actions:
        assert name in measured_names or LIKE[name] in CASES, name


@pytest.mark.parametrize("name", [name for name in CASES if name not in JUDGED])
def test_an_action_takes_no_longer_for_its_cost_than_a_few_transfers(name: str) -> None:
    found = best(name, 8)
    assert found.ratio <= RATIO_MAX, (name, found.ratio)


@pytest.mark.parametrize("name", JUDGED)
def test_a_block_of_payments_under_the_heaviest_policies_stays_within_its_time(name: str) -> None:
    found = best(name, 8)
    assert found.ratio <= JUDGED_RATIO_MAX, (name, found.ratio)
    # In a quiet machine's time: how long a transfer takes beside it says how busy this one is.
    busy = found.transfers.us_per_unit / QUIET_US_PER_UNIT
    assert found.full_block_ms / max(busy, 1) < PARAMS.execution_bound_ms, (name, busy)


@pytest.mark.parametrize("name", DUE)
def test_a_block_of_due_work_stays_within_its_time(name: str) -> None:
    count = 40
    town, after_ms = DUE[name](count)
    found = measured(town, [], after_ms=after_ms)
    assert found.result.receipts == ()
    each_ms = found.cpu_s * 1_000 / count
    assert each_ms * PARAMS.due_per_block_max < PARAMS.execution_bound_ms / 2, (name, each_ms)


@pytest.mark.full
@pytest.mark.parametrize("name", DUE)
def test_five_hundred_pieces_of_due_work_stay_within_their_time(name: str) -> None:
    town, after_ms = DUE[name](PARAMS.due_per_block_max)
    found = measured(town, [], after_ms=after_ms)
    assert found.cpu_s * 1_000 < PARAMS.execution_bound_ms / 2


def test_keys_that_expire_at_once_stay_within_their_time() -> None:
    """Idempotency keys of a whole block, forgotten together."""
    count = 200
    town = Town(keep_ms=5_000)
    first = town.sequence(ALICE)
    raws = [
        town.tx(ALICE, transfer(BOB, 1), sequence=first + n, idempotency_key=b"%d" % n)
        for n in range(count)
    ]
    town.done(*raws)
    found = measured(town, [], after_ms=10_000)
    assert town.account(ALICE).idempotency_count == 0
    each_ms = found.cpu_s * 1_000 / count
    assert each_ms * 2 * PARAMS.block_transactions_max < PARAMS.execution_bound_ms / 2


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [*JUDGED, "assets.transfer, 16 in one", "payments.executeBatch, 200 legs"]
)
def test_a_full_block_of_the_worst_is_executed_within_its_time(name: str) -> None:
    town, jobs = CASES[name](3)
    (small,) = [measured(town, town.transactions(jobs[:1]))]
    most = PARAMS.block_cost_max // small.result.cost_used
    town, jobs = CASES[name](min(most, PARAMS.block_transactions_max))
    found = measured(town, town.transactions(jobs))
    assert all(receipt.code == 0 for receipt in found.result.receipts)
    assert found.cpu_s * 1_000 < PARAMS.execution_bound_ms


def test_nobody_escapes_the_cost_of_a_block() -> None:
    """A transaction above what is left, or above all that a block may cost, is not taken."""
    town = Town(block_cost_max=1_000)
    many = (transfer(BOB, 1),) * 16
    raws = town.transactions([Job(ALICE, many)])
    found = town.refusal(raws[0])
    assert (found.rule, found.wire_facts[1]) == ("kernel.cost", 1_000)
    execution = town.execution()
    first, *rest = town.transactions([Job(ALICE, (transfer(BOB, 1),))] * 9)
    execution.apply(prepare(first, town.registry))
    with pytest.raises(Refused, match="left in this block"):
        for raw in rest:
            execution.apply(prepare(raw, town.registry))
    assert execution.cost_used <= 1_000
