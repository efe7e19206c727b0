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
from clawpurse.modules.accounts.sessions import RESIGN, REVOKE
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


KINDS = "pay euros put more out back burn batch tries fails open resign".split()
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


def action_of(chain: Agents, key: Key, kind: str, whom: Key, amounts: list[int]) -> RawAction:
    holds = holds_of(chain, ALICE) or [bytes(32)]
    chosen = holds[(amounts or [0])[0] % len(holds)]
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
        case "resign":
            return RawAction(RESIGN.name, [ALICE.account, key.public])
    return till(kind, whom, amounts[0])


class Costs:
    """What each session key cost its owner, by asset and day."""

    def __init__(self, chain: Agents) -> None:
        self.chain = chain
        self.taken: dict[tuple[Key, str, int], int] = defaultdict(int)

    def act(self, key: Key, actions: list[RawAction], after_ms: int, **terms: Any) -> None:
        """Try a transaction in a block, and hold what it cost against the caps."""
        chain = self.chain
        before = {asset: chain.held(ALICE, asset) for asset in ASSETS}
        resigns = any(action.name == RESIGN.name for action in actions)
        approvers = [(key, ALICE.account)] if resigns else []
        raw = chain.as_agent(*actions, key=key, lane=LANES[key], approvers=approvers, **terms)
        try:
            chain.block(raw, after_ms=after_ms)
        except Refused:
            chain.block(after_ms=after_ms)
        for asset in ASSETS:
            now = chain.held(ALICE, asset)
            spendable = before[asset].amount - now.amount
            lost = max(0, spendable, spendable + before[asset].held - now.held)
            self.taken[key, asset, day_of(chain.time_ms)] += lost
            per_transaction, per_day = CAPS[key].get(asset, (0, 0))
            assert lost <= per_transaction
            assert self.taken[key, asset, day_of(chain.time_ms)] <= per_day
            if chain.session(key) is not None:
                assert chain.spent(asset, key) >= lost

    def grant(self, key: Key) -> None:
        """Grant a session anew: it is another one, whose day begins at nothing."""
        self.chain.pay(ALICE, RawAction(REVOKE.name, [key.public]))
        caps = [[asset, *limits] for asset, limits in CAPS[key].items()]
        self.chain.grant(key=key, lanes=[LANES[key]], actions=EVERYTHING, caps=caps)
        for place in [place for place in self.taken if place[0] is key]:
            del self.taken[place]


def run(steps: list[Any]) -> None:
    chain = Agents()
    costs = Costs(chain)
    for key in CAPS:
        costs.grant(key)
    for key, wishes, fee, after_ms, manner in steps:
        if manner == "owner":
            # The owner sets much apart, for the agents to get at.
            chain.pay(ALICE, till("put", BOB, 5_000))
        elif manner == "again":
            costs.grant(key)
        else:
            actions = [action_of(chain, key, *wish) for wish in wishes]
            payer = BOB if manner == "payer" else None
            costs.act(key, actions, after_ms, fee=fee, payer=payer)
    for key, caps in CAPS.items():
        # The last chance: give itself up, and with it what it took, then take all once more.
        resign = action_of(chain, key, "resign", BOB, [])
        most = transfer(BOB, caps["CLAW"][0] - FEE)
        costs.act(key, [resign, most], 1)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_no_day_costs_the_owner_more_than_the_caps(steps: list[Any]) -> None:
    run(steps)


@pytest.mark.full
@settings(max_examples=3_000, deadline=None)
@given(steps=STEPS)
def test_no_day_costs_the_owner_more_than_the_caps_tried_long(steps: list[Any]) -> None:
    run(steps)
