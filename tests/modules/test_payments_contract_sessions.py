"""Batches, invoices and channels by others than a key alone: session keys, and firms of signers.

If these failed, a stolen session key would pay beyond its caps, or a firm could pay nobody.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code
from clawpurse.ledger.module_api import ALLOW, Context, Module, Movement, Verdict, VerdictKind
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from clawpurse.modules.payments import batches
from clawpurse.modules.payments import chain as payments
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, START_MS, Key
from tests.modules.agents import FEE, Agents
from tests.modules.payments_world import HOUR_MS, World, act, named, told

ALLOWED = sorted(
    f"payments.{name}"
    for name in (
        "openChannel",
        "topUpChannel",
        "claimChannel",
        "closeChannel",
        "finaliseChannel",
        "payInvoice",
    )
)
SOON = START_MS + DAY_MS


def chain_with() -> Agents:
    """1,000 CLAW at once and 2,500 a day."""
    chain = Agents(payments.MODULE)
    assert chain.grant(actions=ALLOWED).code == 0
    return chain


def opening(amount: int, key: bytes | None = None) -> RawAction:
    fields: list[Any] = ["CLAW", BOB.account, amount, 1_000, 1, SOON, key, b"", None]
    return RawAction("payments.openChannel", list(fields))


def claiming(chain: Agents, channel_id: bytes, amount: int) -> RawAction:
    terms = Terms(chain.genesis.hash, channel_id, "CLAW", BOB.account)
    signature = crypto.sign(ALICE.seed, voucher_bytes(terms, amount))
    return RawAction("payments.claimChannel", [channel_id, amount, signature])


def channel_of(chain: Agents, key: Any = ALICE) -> bytes:
    (one,) = chain.query("payments.objects", key.account, None, 9)
    return bytes(one.id)


def test_what_a_channel_holds_is_charged_when_it_is_opened() -> None:
    chain = chain_with()
    assert chain.act(opening(1_000 - FEE + 1)).rule == "kernel.sessionPayment"
    assert chain.act(opening(900)).code == 0
    channel_id = channel_of(chain)
    assert chain.spent() == 900 + 2 * FEE
    top_up = RawAction("payments.topUpChannel", [channel_id, 1_000])
    assert chain.act(top_up).rule == "kernel.sessionPayment"
    top_up = RawAction("payments.topUpChannel", [channel_id, 500])
    assert chain.act(top_up).code == 0 and chain.spent() == 1_400 + 4 * FEE
    # What it set apart is the payee's to claim; no cap is asked for again.
    receipt = chain.pay(BOB, claiming(chain, channel_id, 1_400)).receipts[0]
    assert receipt.code == 0 and chain.spent() == 1_400 + 4 * FEE


def test_a_session_key_lets_nothing_out_of_its_owner_s_channel_beyond_its_caps() -> None:
    chain = chain_with()
    assert chain.pay(ALICE, opening(5_000)).receipts[0].code == 0
    channel_id = channel_of(chain)
    before = dict(chain.state.records)
    receipt = chain.act(claiming(chain, channel_id, 4_000))
    assert receipt.rule == "kernel.sessionPayment"
    same = {place: value for place, value in chain.state.records.items() if place in before}
    assert same["payments", b"c" + channel_id] == before["payments", b"c" + channel_id]
    assert chain.act(claiming(chain, channel_id, 500)).code == 0
    assert chain.pay(BOB, claiming(chain, channel_id, 4_000)).receipts[0].code == 0


def test_an_invoice_is_charged_when_it_is_paid() -> None:
    chain = chain_with()
    ids: list[Any] = []
    for amount in (1_000, 700):
        fields = ["CLAW", amount, None, None, b"", SOON, 1]
        result = chain.pay(BOB, RawAction("payments.createInvoice", list(fields)))
        ids.append(result.events[-1].data[2])
    pay = [
        RawAction("payments.payInvoice", [invoice_id, amount, None])
        for invoice_id, amount in zip(ids, (1_000, 700), strict=True)
    ]
    assert chain.act(pay[0]).rule == "kernel.sessionPayment"
    assert chain.act(pay[1]).code == 0
    assert chain.spent() == 700 + 2 * FEE


@pytest.mark.parametrize("action", batches.ACTIONS, ids=lambda action: str(action.name))
def test_no_session_key_is_allowed_a_batch(action: Any) -> None:
    chain = Agents(payments.MODULE)
    assert chain.grant(actions=[action.name]).code != 0


def firm_of(world: World) -> bytes:
    members = [[key.account, 1] for key in sorted((ALICE, CAROL), key=lambda key: key.account)]
    result = world.do(ALICE, "accounts.createMultisig", 2, members, b"s" * 32)
    firm = told(result, "accounts.opened").accounts[0]
    world.do(ALICE, "assets.transfer", "CLAW", firm, 5_000)
    return bytes(firm)


def by_firm(world: World, firm: bytes, action: RawAction) -> Any:
    """Let Alice propose, Carol approve, and Carol execute what the firm does."""
    wire = [[action.name, action.fields]]
    result = world.do(ALICE, "accounts.propose", firm, world.time_ms + HOUR_MS, wire, b"")
    proposal = told(result, "accounts.proposed").data[0]
    world.do(CAROL, "accounts.approve", proposal)
    return world.do(CAROL, "accounts.execute", proposal, 10_000)


def test_a_firm_proposes_a_payroll_and_others_approve_it() -> None:
    world = World()
    firm = firm_of(world)
    legs = [[BOB.account, 10, b"may"], [ERIN.account, 20, b""]]
    approvers = sorted([DAVE.account, ERIN.account])
    propose = act("proposeBatch", "CLAW", legs, 2, approvers, SOON, b"", None)
    result = by_firm(world, firm, propose)
    batch_id = named(told(result, "payments.batchProposed"))["batchId"]
    for key in (DAVE, ERIN):
        world.do(key, "approveBatch", batch_id, None)
    assert world.refused(ALICE, "executeBatch", batch_id, 2).rule == "payments.party"
    world.do(DAVE, "executeBatch", batch_id, 2)
    assert (world.balance(firm), world.balance(BOB)) == (4_970, 10_010)


def test_a_firm_approves_as_one_person() -> None:
    world = World()
    firm = firm_of(world)
    legs = [[BOB.account, 10, b""]]
    world.do(ALICE, "assets.transfer", "CLAW", DAVE.account, 100)
    approvers = sorted([firm, ERIN.account])
    result = world.do(DAVE, "proposeBatch", "CLAW", legs, 2, approvers, SOON, b"", None)
    batch_id = named(told(result, "payments.batchProposed"))["batchId"]
    by_firm(world, firm, act("approveBatch", batch_id, None))
    assert world.refused(DAVE, "executeBatch", batch_id, 1).facts == (batch_id, 1, 2)
    world.do(ERIN, "approveBatch", batch_id, None)
    world.do(ERIN, "executeBatch", batch_id, 1)


def _two_more(context: Context, movement: Movement) -> Verdict:
    """Four eyes: payments above 50 need an approver with a role, who is not the sender."""
    others = [one for one in context.approvals if context.has_role(one, "compliance")]
    if movement.amount > 50 and (movement.source != context.sender or len(others) < 1):
        return Verdict(VerdictKind.DENY, "eyes.four", 1)
    return ALLOW


EYES = Module(
    name="eyes",
    version=1,
    actions=(),
    handlers={},
    on_transfer=_two_more,
    rules={"eyes.four": Rule(Code.APPROVAL_REQUIRED, "Somebody else must approve.")},
)


@pytest.mark.parametrize("executes", [ALICE, CAROL, DAVE], ids=str)
def test_policies_see_who_approved_a_batch_and_who_wanted_it(executes: Key) -> None:
    """Not who executes it: an officer who does is still one who approved."""
    world = World(EYES)
    legs = [[BOB.account, 60, b""]]
    assert world.refused(ALICE, "assets.transfer", "CLAW", BOB.account, 60).rule == "eyes.four"
    for approvers, good in (((CAROL,), False), ((CAROL, DAVE), True)):
        listed = sorted([CAROL.account, DAVE.account])
        result = world.do(ALICE, "proposeBatch", "CLAW", legs, 1, listed, SOON, b"", None)
        batch_id = named(told(result, "payments.batchProposed"))["batchId"]
        for key in approvers:
            world.do(key, "approveBatch", batch_id, None)
        if good:
            world.do(executes, "executeBatch", batch_id, 1)
        else:
            assert world.refused(executes, "executeBatch", batch_id, 1).rule == "eyes.four"


def test_the_payer_pays_for_accounts_that_its_batch_opens() -> None:
    world = World(params={"opening_deposit": 7})
    legs = [[FRANK.account, 60, b""]]
    result = world.do(ALICE, "proposeBatch", "CLAW", legs, 1, [CAROL.account], SOON, b"", None)
    batch_id = named(told(result, "payments.batchProposed"))["batchId"]
    world.do(CAROL, "approveBatch", batch_id, None)
    had = world.balance(ALICE), world.balance(CAROL)
    world.do(CAROL, "executeBatch", batch_id, 1)
    assert (world.balance(ALICE), world.balance(CAROL)) == (had[0] - 67, had[1])
