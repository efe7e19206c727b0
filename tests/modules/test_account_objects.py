"""What an account has to do with, in one list of several kinds, read in pages of any size.

If this failed, somebody would not see a session key that can still take their money.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.objects import KINDS, Listed
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE
from tests.modules.agents import AGENT, ROBOT, Agents
from tests.modules.multisig import HOUR_MS, account_id, create


def everything() -> tuple[Agents, list[Listed]]:
    """Alice has two of each kind, but proposals; returns them as they should be listed."""
    chain = Agents()
    done: list[RawAction] = []
    for other in (BOB, CAROL):
        done += [
            RawAction("accounts.preauthorise", [other.account]),
            create(1, ALICE, other),
            RawAction("accounts.sponsor", sponsorship(chain, other.account)),
        ]
    for start in range(0, len(done), 3):
        receipt = chain.pay(ALICE, *done[start : start + 3]).receipts[0]
        assert receipt.code == 0, receipt
    for lane, key in enumerate((AGENT, ROBOT), 1):
        assert chain.grant(key=key, lanes=[lane]).code == 0
    people = sorted([BOB.account, CAROL.account])
    firms = sorted([account_id(1, ALICE, BOB), account_id(1, ALICE, CAROL)])
    listed = [
        *(Listed("preauthorisation", one) for one in people),
        *(Listed("multisig", one) for one in firms),
        *(Listed("session", one) for one in sorted([AGENT.public, ROBOT.public])),
        *(Listed("sponsorship", one) for one in people),
    ]
    return chain, listed


def sponsorship(chain: Agents, account: bytes) -> list[Any]:
    """A sponsorship's fields, by the names of the action."""
    values: dict[str, Any] = {
        "account": account,
        "expires": chain.time_ms + HOUR_MS,
        "perTransaction": 10,
        "perDay": 100,
        "total": 1_000,
        "actions": [],
    }
    return [values[field.name] for field in chain.registry.actions["accounts.sponsor"].fields]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 50])
def test_every_object_is_listed_once_whatever_the_pages(size: int) -> None:
    chain, expected = everything()
    found: list[Listed] = []
    while page := chain.query(
        "accounts.objects", ALICE.account, found[-1] if found else None, size
    ):
        assert len(page) <= size
        found += page
    assert found == expected


def test_a_page_goes_on_where_one_left_off_though_what_it_ended_with_is_gone() -> None:
    """A cursor is a place in the order, not an object that must still be there."""
    chain, expected = everything()
    chain.pay(ALICE, RawAction("accounts.withdrawPreauthorisation", [expected[0].id]))
    assert chain.query("accounts.objects", ALICE.account, expected[0], 50) == expected[1:]


def test_others_objects_are_others() -> None:
    chain, _ = everything()
    assert chain.query("accounts.objects", DAVE.account, None, 50) == []
    assert chain.query("accounts.objects", BOB.account, None, 50) == [
        Listed("multisig", account_id(1, ALICE, BOB)),
        Listed("sponsor", ALICE.account),
    ]
    assert len(KINDS) == 6
