"""Actions within actions get past no permission, no session, no signature, and no freeze.

If these failed, a proposal, a batch or a session key would be a way around what was forbidden.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Malformed, Refused
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import prepare
from tests.ledger.malice_world import (
    ADMIN,
    DAY_MS,
    HOUR_MS,
    ISSUER,
    OFFICERS,
    Realm,
    first,
    raw,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, transfer
from tests.modules.officers_world import deny, propose, when

AGENT = Key("agent")


class Firm(Realm):
    """Bob and Carol sign for the firm, both."""

    def __init__(self) -> None:
        super().__init__()
        rows = [[BOB.account, 1], [CAROL.account, 1]]
        made = self.do(ALICE, "accounts.createMultisig", 2, rows, b"s" * 32)
        self.firm: bytes = first(made, "accounts.opened").accounts[0]
        self.do(ALICE, "assets.transfer", "CLAW", self.firm, 100_000)
        self.do(ALICE, "assets.transfer", "EUR", self.firm, 1_000)

    def agreed(self, *actions: RawAction) -> bytes:
        wire: list[Any] = [[one.name, one.fields] for one in actions]
        fields = [self.firm, self.time_ms + HOUR_MS, wire, b""]
        proposal = first(self.do(BOB, "accounts.propose", *fields), "accounts.proposed").data[0]
        self.do(CAROL, "accounts.approve", proposal)
        return proposal  # type: ignore[return-value]

    def run(self, proposal: bytes, by: Key = BOB, cost: int = 5_000) -> bytes:
        return self.tx(by, raw("accounts.execute", proposal, cost))


@pytest.fixture
def firm() -> Firm:
    return Firm()


def nested(action: RawAction, depth: int, firm: bytes, end: int) -> RawAction:
    for _ in range(depth):
        action = raw("accounts.propose", firm, end, [[action.name, action.fields]], b"")
    return action


@pytest.mark.parametrize("name", ["propose", "approve", "reject", "execute", "withdrawProposal"])
def test_a_proposal_says_nothing_of_proposals(firm: Firm, name: str) -> None:
    inner: dict[str, list[Any]] = {
        "propose": [
            firm.firm,
            firm.time_ms + HOUR_MS,
            [["assets.transfer", ["CLAW", BOB.account, 1]]],
            b"",
        ],
        "execute": [b"p" * 32, 100],
    }
    action = RawAction(f"accounts.{name}", inner.get(name, [b"p" * 32]))
    fields = [firm.firm, firm.time_ms + HOUR_MS, [[action.name, action.fields]], b""]
    refused = firm.tx(BOB, raw("accounts.propose", *fields))
    firm.refused(refused, "accounts.proposalAction")


@pytest.mark.parametrize("depth", [2, 3, 5, 20, 60])
def test_actions_are_not_nested_deeper(firm: Firm, depth: int) -> None:
    action = nested(transfer(BOB, 1), depth, firm.firm, firm.time_ms + HOUR_MS)
    try:
        deep = firm.tx(BOB, action)
        prepare(deep, firm.registry)
    except Malformed:
        return
    firm.refused(deep, "accounts.proposalAction")


def test_a_permission_holds_for_what_a_proposal_does(firm: Firm) -> None:
    proposal = firm.agreed(transfer(DAVE, 5))
    firm.do(ADMIN, "roles.setPermission", "assets.transfer", "treasurer")
    firm.do(ADMIN, "roles.grant", "treasurer", BOB)
    # Bob may pay; the firm, which would, may not.
    firm.refused(firm.run(proposal), "kernel.role")
    firm.do(ADMIN, "roles.setPermission", "assets.transfer", None)
    firm.done(firm.run(proposal))


@pytest.mark.parametrize(
    "action",
    [
        raw("roles.grant", "admin", BOB),
        raw("roles.setPermission", "assets.transfer", "x"),
        raw("compliance.setIssuer", BOB, ["kyc"]),
        raw("risk.setOracles", [BOB.account], 1),
        raw("compliance.addToList", "l", [bytes(32)], ""),
    ],
)
def test_a_proposal_has_the_roles_of_its_account_alone(firm: Firm, action: RawAction) -> None:
    for key in (BOB, CAROL):
        firm.do(ADMIN, "roles.grant", "admin", key)
        firm.do(ADMIN, "roles.grant", "compliance", key)
    firm.refused(firm.run(firm.agreed(action)), "kernel.role")


def test_a_proposal_has_no_signatures_of_others(firm: Firm) -> None:
    new = Key("new key")
    pairs = [[DAVE.account, DAVE.public]]
    for action in (
        raw("accounts.changeKey", new.public),
        raw("payments.pay", "CLAW", ERIN, 5, b"", None, 0, pairs),
        raw("governance.vote", b"a" * 32, b"p" * 32),
    ):
        fields = [firm.firm, firm.time_ms + HOUR_MS, [[action.name, action.fields]], b""]
        refused = firm.tx(BOB, raw("accounts.propose", *fields))
        firm.refused(refused, "kernel.nestedSigners")


def test_what_a_proposal_costs_is_paid_by_who_executes_it(firm: Firm) -> None:
    legs = [transfer(DAVE, 1) for _ in range(16)]
    proposal = firm.agreed(*legs)
    for cost in (0, 1, 1_599):
        firm.refused(firm.run(proposal, cost=cost), "accounts.proposalCost")
    result = firm.done(firm.run(proposal))
    assert result.cost_used > 5_000


def test_a_proposal_fails_whole(firm: Firm) -> None:
    proposal = firm.agreed(*[transfer(DAVE, 1) for _ in range(15)], transfer(DAVE, 10**9))
    firm.refused(firm.run(proposal), "kernel.balance")
    # Still open, and still nobody paid: executed when there is money.
    assert firm.query("accounts.proposal", proposal) is not None


def test_a_rule_asks_for_approvals_within_a_proposal_too(firm: Firm) -> None:
    rule = deny("eyes", when("approvals-below", name="compliance", number=1))
    made = firm.pay(OFFICERS[0], propose(rule))
    policy = first(made, "compliance.policyProposed").data[0]
    firm.do(OFFICERS[1], "compliance.approvePolicy", policy)
    firm.block(after_ms=20_000)
    proposal = firm.agreed(transfer(DAVE, 5, "EUR"))
    firm.refused(firm.run(proposal), "compliance.approvals")
    # Nor does an action beside it bring an officer's signature that nobody asked for.
    with pytest.raises(BadSignature):
        beside = firm.tx(
            BOB,
            raw("accounts.execute", proposal, 5_000),
            approvers=[(OFFICERS[0], OFFICERS[0].account)],
        )
        prepare(beside, firm.registry)


# -- session keys


def granted(realm: Realm, *actions: str, **changes: Any) -> None:
    terms: dict[str, Any] = {
        "key": AGENT.public,
        "label": "",
        "expires": realm.time_ms + DAY_MS,
        "lanes": [1],
        "actions": list(actions),
        "caps": [["CLAW", 1_000, 2_000]],
        "recipients": [BOB.account],
        "memo": b"",
        "required": 0,
    }
    grant = raw("accounts.grantSession", *{**terms, **changes}.values())
    realm.done(realm.tx(ALICE, grant, approvers=[(AGENT, ALICE.account)]))


def by_agent(realm: Realm, *actions: RawAction, **more: Any) -> bytes:
    return realm.tx(ALICE, *actions, signer=AGENT, lane=more.pop("lane", 1), **more)


FORBIDDEN = (
    "accounts.changeKey",
    "accounts.propose",
    "accounts.execute",
    "accounts.grantSession",
    "accounts.setSigners",
    "accounts.sponsor",
    "assets.clawback",
    "payments.executeBatch",
    "payments.voteHold",
    "roles.grant",
    "compliance.approvePolicy",
)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_session_key_is_allowed_what_an_owner_alone_does(name: str) -> None:
    realm = Realm()
    fields = [AGENT.public, "", realm.time_ms + DAY_MS, [1], [name], [], [], b"", 0]
    grant = realm.tx(
        ALICE, raw("accounts.grantSession", *fields), approvers=[(AGENT, ALICE.account)]
    )
    realm.refused(grant, "accounts.sessionAction")


def test_a_session_key_is_held_to_its_terms() -> None:
    realm = Realm()
    granted(realm, "assets.transfer", "payments.pay", "payments.createEscrow")
    barred = (
        (by_agent(realm, raw("payments.cancelEscrow", bytes(32))), "kernel.sessionAction"),
        (by_agent(realm, transfer(BOB, 5), raw("accounts.open", DAVE)), "kernel.sessionAction"),
        (by_agent(realm, transfer(BOB, 5), lane=2), "kernel.sessionLane"),
        (by_agent(realm, transfer(BOB, 5), lane=0), "kernel.sessionLane"),
        (by_agent(realm, transfer(BOB, 5), fee=1_001), "kernel.sessionPayment"),
    )
    for transaction, rule in barred:
        realm.barred(transaction, rule)
    escrow = ["CLAW", DAVE, 5, None, realm.time_ms + DAY_MS, None, CAROL, b"", None]
    for actions, rule in (
        ((transfer(DAVE, 5),), "kernel.sessionRecipient"),
        ((raw("payments.pay", "CLAW", DAVE, 5, b"", None, 0, []),), "kernel.sessionRecipient"),
        ((raw("payments.createEscrow", *escrow),), "kernel.sessionRecipient"),
        ((transfer(BOB, 998),), "kernel.sessionPayment"),
        ((transfer(BOB, 500), transfer(BOB, 498)), "kernel.sessionPayment"),
        ((transfer(BOB, 1, "EUR"),), "kernel.sessionAsset"),
    ):
        realm.refused_by_session(by_agent(realm, *actions), rule, AGENT)
    realm.done(by_agent(realm, transfer(BOB, 997)))


def test_a_session_key_is_none_of_an_approver() -> None:
    realm = Realm()
    granted(realm, "payments.pay")
    pay = raw("payments.pay", "EUR", CAROL, 5, b"", None, 0, [[ALICE.account, AGENT.public]])
    forged = realm.tx(BOB, pay, approvers=[(AGENT, ALICE.account)])
    try:
        receipt = realm.block(forged).receipts[0]
    except Refused as err:
        assert err.rule == "kernel.key"
        return
    assert receipt.rule == "payments.approverKey" or receipt.code == 0
    rule = deny("eyes", when("approvals-below", name="compliance", number=1))
    made = realm.pay(OFFICERS[0], propose(rule))
    realm.do(
        OFFICERS[1], "compliance.approvePolicy", first(made, "compliance.policyProposed").data[0]
    )
    realm.block(after_ms=20_000)
    realm.do(ADMIN, "roles.grant", "compliance", ALICE)
    again = realm.tx(BOB, pay, approvers=[(AGENT, ALICE.account)])
    realm.refused(again, "compliance.approvals")


# -- freezes and clawbacks reach what is promised


@pytest.mark.parametrize("how", ["escrow", "hold", "schedule", "channel"])
def test_nothing_promised_is_out_of_reach_of_its_issuer(how: str) -> None:
    realm = Realm()
    realm.do(ISSUER, "assets.create", "EURX", 2, "Euro", 14, None, "", None)
    realm.do(ISSUER, "assets.mint", "EURX", ALICE, 1_000)
    end = realm.time_ms + DAY_MS
    made = {
        "escrow": raw("payments.createEscrow", "EURX", BOB, 900, None, end, None, CAROL, b"", None),
        "hold": raw("payments.placeHold", "EURX", BOB, 900, "x", end, 1, 1, [], 0, b"", None),
        "schedule": raw("payments.schedule", "EURX", BOB, 900, end, b"", None),
        "channel": raw("payments.openChannel", "EURX", BOB, 900, HOUR_MS, 1, end, None, b"", None),
    }[how]
    hold_id = first(realm.done(realm.tx(ALICE, made)), "kernel.setApart").data[2]
    realm.do(ISSUER, "assets.freeze", "EURX", ALICE, 1, None)
    stolen = raw("assets.clawback", "EURX", BOB, 900, ISSUER, "stolen", hold_id)
    realm.refused(realm.tx(ISSUER, stolen), "kernel.holdMissing")
    more = raw("assets.clawback", "EURX", ALICE, 901, ISSUER, "stolen", hold_id)
    realm.refused(realm.tx(ISSUER, more), "kernel.holdLess")
    mine = raw("assets.clawback", "EURX", ALICE, 900, ISSUER, "stolen", hold_id)
    realm.done(realm.tx(ISSUER, mine))
    assert realm.held(ALICE, "EURX").held == 0
    realm.block(after_ms=2 * DAY_MS)
    assert realm.balance(BOB, "EURX") == 0


def test_a_payment_to_somebody_frozen_waits_for_officers() -> None:
    realm = Realm()
    realm.do(ISSUER, "assets.create", "EURX", 2, "Euro", 14, None, "", None)
    realm.do(ISSUER, "assets.mint", "EURX", ALICE, 1_000)
    end = realm.time_ms + DAY_MS
    realm.do(ALICE, "payments.schedule", "EURX", BOB, 900, end, b"", None)
    realm.do(ISSUER, "assets.mint", "EURX", BOB, 1)
    realm.do(ISSUER, "assets.freeze", "EURX", BOB, 2, None)
    hold_id = first(realm.block(after_ms=DAY_MS), "kernel.held").data[2]
    release = raw("payments.voteHold", hold_id, 1, "seen")
    result = realm.done(realm.tx(OFFICERS[0], release))
    assert first(result, "payments.releaseRefused").data[2] == "assets.deepFrozen"
    assert realm.balance(BOB, "EURX") == 1
