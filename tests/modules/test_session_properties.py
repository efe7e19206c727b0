"""Whatever two stolen session keys try, no day costs their owner more than the caps say.

What left the account is measured on its balances, not by what the ledger counted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Refused
from clawpurse.ledger.kernel.entitlements import day_of
from clawpurse.ledger.kernel.records import Hold
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.sessions import REVOKE
from tests.ledger.sandbox import ALICE, BOB, CAROL, ERIN, FRANK, Key, open_account, transfer
from tests.modules.agents import AGENT, EVERYTHING, FEE, HOUR_MS, ROBOT, Agents, till

ASSETS = ("CLAW", "EUR")
CAPS = {
    AGENT: {"CLAW": (400, 900), "EUR": (30, 45)},
    ROBOT: {"CLAW": (700, 700)},
}
LANES = {AGENT: 1, ROBOT: 2}
AMOUNTS = st.sampled_from([1, 15, 29, 45, 100, 250, 381, 390, 400, 600, 690, 700, 5_000])
PEOPLE = st.sampled_from([BOB, CAROL, ERIN, FRANK, ALICE])


KINDS = "pay euros put more out back burn batch tries fails open".split()
# One action of an agent: its kind, whom it is about, amounts.
DEEDS = st.tuples(st.sampled_from(KINDS), PEOPLE, st.lists(AMOUNTS, min_size=1, max_size=4))
STEPS = st.lists(
    st.tuples(
        st.sampled_from([AGENT, ROBOT]),
        st.lists(DEEDS, min_size=1, max_size=3),
        st.sampled_from([FEE, FEE, FEE, 100, 380, 900]),
        st.sampled_from([1, 1_000, HOUR_MS, 7 * HOUR_MS]),
        st.sampled_from(["agent"] * 6 + ["payer", "owner", "again"]),
    ),
    min_size=1,
    max_size=25,
)


def holds_of(chain: Agents, owner: Key) -> list[bytes]:
    return sorted(
        key[1:]
        for (tree, key), data in chain.state.records.items()
        if tree == KERNEL and key[:1] == b"h" and Hold.unpack(data).source == owner.account
    )


def action_of(chain: Agents, kind: str, whom: Key, amounts: list[int]) -> RawAction:
    holds = holds_of(chain, ALICE) or [bytes(32)]
    chosen = holds[amounts[0] % len(holds)]
    match kind:
        case "pay":
            return transfer(whom, amounts[0])
        case "euros":
            return transfer(whom, amounts[0], "EUR")
        case "more" | "back":
            return till(kind, chosen, amounts[0])
        case "out":
            return till("pay", chosen, amounts[0])
        case "burn":
            return till("burn", amounts[0])
        case "batch" | "tries":
            return till(kind, whom, amounts)
        case "open":
            return open_account(whom)
    return till(kind, whom, amounts[0])


def run(steps: list[Any]) -> None:
    chain = Agents()
    for key, caps in CAPS.items():
        listed = [[asset, *limits] for asset, limits in caps.items()]
        granted = chain.grant(key=key, lanes=[LANES[key]], actions=EVERYTHING, caps=listed)
        assert granted.code == 0
    taken: dict[tuple[Key, str, int], int] = defaultdict(int)
    for key, wishes, fee, after_ms, manner in steps:
        actions = [action_of(chain, *wish) for wish in wishes]
        before = {asset: chain.held(ALICE, asset) for asset in ASSETS}
        if manner == "owner":
            # The owner sets much apart, for the agents to get at.
            chain.pay(ALICE, till("put", BOB, 5_000))
            continue
        if manner == "again":
            # Revoked and granted again it is another session, whose day begins at nothing.
            chain.pay(ALICE, RawAction(REVOKE.name, [key.public]))
            listed = [[asset, *limits] for asset, limits in CAPS[key].items()]
            chain.grant(key=key, lanes=[LANES[key]], actions=EVERYTHING, caps=listed)
            for place in [place for place in taken if place[0] is key]:
                del taken[place]
            continue
        payer = BOB if manner == "payer" else None
        raw = chain.as_agent(*actions, key=key, lane=LANES[key], fee=fee, payer=payer)
        try:
            chain.block(raw, after_ms=after_ms)
        except Refused:
            chain.block(after_ms=after_ms)
        for asset in ASSETS:
            now = chain.held(ALICE, asset)
            spendable = before[asset].amount - now.amount
            lost = max(0, spendable, spendable + before[asset].held - now.held)
            taken[key, asset, day_of(chain.time_ms)] += lost
            per_transaction, per_day = CAPS[key].get(asset, (0, 0))
            assert lost <= per_transaction
            assert taken[key, asset, day_of(chain.time_ms)] <= per_day
            counted = chain.spent(asset, key)
            assert counted >= lost


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_no_day_costs_the_owner_more_than_the_caps(steps: list[Any]) -> None:
    run(steps)


@pytest.mark.full
@settings(max_examples=3_000, deadline=None)
@given(steps=STEPS)
def test_no_day_costs_the_owner_more_than_the_caps_tried_long(steps: list[Any]) -> None:
    run(steps)
