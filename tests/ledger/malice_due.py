"""Due work at its worst: five hundred pieces of each kind that come due in one block.

A kind prepares a network and so many objects of many creators, and says when they come due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clawpurse.modules.governance.changes import Change, Kind
from tests.ledger.malice_cases_payments import (
    batch_job,
    channel_job,
    escrow_job,
    hold_job,
    invoice_job,
    schedule_job,
)
from tests.ledger.malice_cases_people import ballot, proposal_fields
from tests.ledger.malice_cases_rules import crowded, policy_action
from tests.ledger.malice_costs import (
    COUNCIL,
    CROWD,
    HASH,
    LONG,
    NEW,
    REFERENCE,
    Job,
    Town,
    job,
)
from tests.ledger.malice_world import DAY_MS, HOUR_MS, raw
from tests.ledger.sandbox import ALICE, BOB
from tests.modules.officers_world import when

Due = Callable[[int], tuple[Town, int]]


def _made(town: Town, jobs: list[Job]) -> tuple[Town, int]:
    """Let jobs be done at one block time, as near as can be; due a day later, all of them."""
    town.prepared(jobs)
    return town, DAY_MS + HOUR_MS


def scheduled(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [schedule_job(town, CROWD[n % 64], NEW[n]) for n in range(count)])


def held(count: int) -> tuple[Town, int]:
    """Payments that a rule holds, paid at their end."""
    town = Town()
    rule = ["r", "hold", None, 16, None, DAY_MS, 1, [when("amount-at-least", number=2)]]
    counters = [
        [
            f"c{n}",
            "deny",
            "no",
            0,
            None,
            0,
            0,
            [
                when("sum-at-least", "source", number=10**9, window_ms=10**9 + n),
            ],
        ]
        for n in range(7)
    ]
    town.policy(*counters, rule)
    jobs = [
        job(CROWD[n % 64], "payments.pay", "EUR", NEW[n], 5, REFERENCE, HASH, 366, [])
        for n in range(count)
    ]
    return _made(town, jobs)


def placed(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [hold_job(town, CROWD[8 + n % 56], NEW[n]) for n in range(count)])


def escrows(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [escrow_job(town, CROWD[n % 64], NEW[n]) for n in range(count)])


def batches(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [batch_job(town, CROWD[16 + n // 16], 200, 16) for n in range(count)])


def proposals(count: int) -> tuple[Town, int]:
    town = Town()
    accounts = [town.company(salt=bytes([n]) * 32) for n in range(1 + count // 512)]
    jobs = [
        job(CROWD[n % 32], "accounts.propose", *proposal_fields(town, accounts[n // 512], n))
        for n in range(count)
    ]
    return _made(town, jobs)


def invoices(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [invoice_job(town, n) for n in range(count)])


def payments(count: int) -> tuple[Town, int]:
    """Payments that can no longer be refunded."""
    town = Town()
    fields = ["EUR", BOB, 5, REFERENCE, HASH, 1, []]
    return _made(town, [job(CROWD[n % 64], "payments.pay", *fields) for n in range(count)])


def channels(count: int) -> tuple[Town, int]:
    town = Town()
    return _made(town, [channel_job(town, CROWD[n % 64], NEW[n]) for n in range(count)])


def votes(count: int) -> tuple[Town, int]:
    """Proposals of authorities that nobody joined."""
    town = Town(authorities=tuple(key.public for key in COUNCIL))
    town.prepared([job(ALICE, "accounts.open", NEW[0])])
    change, end = Change(Kind.GRANT, ("r" * 32, NEW[0].account)), town.time_ms + DAY_MS
    return _made(town, [ballot(COUNCIL[n % 100], change, end + n) for n in range(count)])


def ballots(count: int) -> tuple[Town, int]:
    town = crowded()
    town.prepared([job(ALICE, "accounts.open", NEW[n]) for n in range(count)])
    jobs = [
        Job(CROWD[n % 61], (raw("compliance.setSubject", NEW[n], HASH, LONG),))
        for n in range(count)
    ]
    town, _ = _made(town, jobs)
    return town, 8 * DAY_MS


def policies(count: int) -> tuple[Town, int]:
    """Proposed policies of the largest kind that nobody joined."""
    town = crowded(16)
    town, _ = _made(town, [Job(CROWD[n // 8], (policy_action(n),)) for n in range(min(count, 480))])
    return town, 31 * DAY_MS


DUE: Final[dict[str, Due]] = {
    "scheduled payments": scheduled,
    "holds of a rule, under 7 counters": held,
    "placed holds of 8 releasers": placed,
    "escrows": escrows,
    "batches of 200 legs, 16 approvers": batches,
    "proposals of 16 actions": proposals,
    "invoices": invoices,
    "payments that were kept": payments,
    "channels": channels,
    "votes of a hundred authorities": votes,
    "ballots of officers": ballots,
    "policies, largest": policies,
}
