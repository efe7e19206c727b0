"""What an agent's session key promises is charged when it promises, and it can release nothing.

If these failed, a stolen session key would pay tomorrow what it may not pay today.
"""

from __future__ import annotations

import hashlib

import pytest

from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments import chain as payments
from clawpurse.modules.payments.actions import ACTIONS
from tests.ledger.sandbox import ALICE, BOB, START_MS
from tests.modules.agents import AGENT, FEE, HOUR_MS, Agents

OWN = (
    "payments.pay",
    "payments.refund",
    "payments.createEscrow",
    "payments.placeHold",
    "payments.captureHold",
    "payments.schedule",
    "payments.cancelScheduled",
)
SOON = START_MS + DAY_MS
LOCK = hashlib.sha256(b"s").digest()


def promises(amount: int) -> list[RawAction]:
    bob = BOB.account
    return [
        RawAction("payments.pay", ["CLAW", bob, amount, b"", None, 0, []]),
        RawAction(
            "payments.createEscrow", ["CLAW", bob, amount, None, SOON, LOCK, None, b"", None]
        ),
        RawAction("payments.placeHold", ["CLAW", bob, amount, "x", SOON, 0, 1, [], 0, b"", None]),
        RawAction("payments.schedule", ["CLAW", bob, amount, SOON, b"", None]),
    ]


def chain_with() -> Agents:
    """1,000 CLAW at once and 2,500 a day."""
    chain = Agents(payments.MODULE)
    assert chain.grant(actions=sorted(OWN)).code == 0
    return chain


@pytest.mark.parametrize("place", range(4))
def test_a_promise_is_charged_when_it_is_made(place: int) -> None:
    chain = chain_with()
    assert chain.act(promises(1_000 - FEE + 1)[place]).rule == "kernel.sessionPayment"
    assert chain.act(promises(1_000 - FEE)[place]).code == 0
    assert chain.act(promises(1_000 - FEE)[place]).code == 0
    assert chain.act(promises(500)[place]).rule == "kernel.sessionDay"
    # When it comes due nothing is charged again, and the next day begins anew.
    chain.block(after_ms=SOON + HOUR_MS - chain.time_ms)
    assert chain.session(AGENT, ALICE) is not None
    assert chain.act(promises(1)[0]).code == 0
    assert chain.spent() == 1 + FEE


def test_what_releases_another_s_promise_is_nothing_for_a_session_key() -> None:
    """A key that could finish its owner's escrows would pay beyond its caps."""
    able = {action.name for action in ACTIONS if action.session}
    assert able >= set(OWN)
    for name in ("finishEscrow", "cancelEscrow", "decideEscrow", "voteHold"):
        assert f"payments.{name}" not in able
        chain = Agents(payments.MODULE)
        assert chain.grant(actions=[f"payments.{name}"]).code != 0
