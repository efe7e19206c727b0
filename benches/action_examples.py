"""One example of each action: what must be there before it, and the transaction itself.

An example is of ordinary size: what a careful user sends on a usual day. The bench refuses to run
when an action of the registry has none, so nobody adds an action without saying what it costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.benches.action_world import (
    ADMIN,
    AGENT,
    ALICE,
    BOB,
    CAROL,
    DAY_MS,
    HASH,
    HOUR_MS,
    ISSUER,
    NOBODY,
    OFFICERS,
    ORACLES,
    SEATS,
    Job,
    Person,
    World,
    act,
)
from clawpurse.ledger import crypto
from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from clawpurse.modules.anchor.records import log_id
from clawpurse.modules.governance.changes import KIND_NAMES, Change, Kind

Example = Callable[[World], Job]
ONE, TWO, THREE = OFFICERS
_SECRET: Final = b"s" * 32
_CONDITION: Final = hashlib.sha256(_SECRET).digest()
_REFERENCE: Final = b"invoice 4711"
# An anchored log of ordinary size, and what it grew to.
_LEAVES: Final = [leaf_hash(number.to_bytes(4, "big")) for number in range(1_000)]
_OLD: Final = 900
# Two policies of the same conditions, short and long, are told apart by their number of rules.
BLOCKED: Final = "blocked"


def _company(world: World) -> bytes:
    members = [[one.account, 1] for one in sorted((ALICE, BOB, CAROL), key=lambda p: p.account)]
    job = act(ALICE, "accounts.createMultisig", 2, members, HASH)
    account = world.do(job)[0].accounts[0]
    world.do(act(ALICE, "assets.transfer", "CLAW", account, 1_000))
    return account


def _proposal(world: World) -> bytes:
    inner = [["assets.transfer", ["CLAW", BOB.account, 5]]]
    until = world.time_ms + DAY_MS
    job = act(ALICE, "accounts.propose", _company(world), until, inner, b"rent")
    return bytes(world.made(job, "accounts.proposed"))


def _grant(world: World) -> Job:
    fields = [
        AGENT.account, "shop", world.time_ms + DAY_MS, [1], ["assets.transfer"],
        [["CLAW", 1_000, 5_000]], [BOB.account], b"", 0,
    ]  # fmt: skip
    return act(ALICE, "accounts.grantSession", *fields, approvers=[(AGENT, ALICE.account)])


def _sponsor(world: World) -> Job:
    until = world.time_ms + DAY_MS
    return act(ALICE, "accounts.sponsor", BOB, 10, 100, 1_000, ["assets.transfer"], until)


def _after(*earlier: Callable[[World], Job], job: Callable[[World], Job]) -> Example:
    """Return an example before which others are carried out."""

    def example(world: World) -> Job:
        for one in earlier:
            world.do(one(world))
        return job(world)

    return example


def _plain(by: Person, name: str, *fields: Any) -> Example:
    return lambda _world: act(by, name, *fields)


def _proposed(by: Person, name: str, *fields: Any, approvals: Sequence[Person] = ()) -> Example:
    """Return an example on a proposal of a company's that some have approved."""

    def example(world: World) -> Job:
        made = _proposal(world)
        for one in approvals:
            world.do(act(one, "accounts.approve", made))
        return act(by, name, made, *fields)

    return example


ACCOUNTS: Final[Mapping[str, Example]] = {
    "accounts.open": _plain(ALICE, "accounts.open", NOBODY),
    "accounts.changeKey": lambda world: act(
        ALICE, "accounts.changeKey", NOBODY, approvers=[(NOBODY, ALICE.account)]
    ),
    "accounts.createMultisig": _plain(
        ALICE, "accounts.createMultisig", 2,
        [[one, 1] for one in sorted(p.account for p in (ALICE, BOB, CAROL))], HASH,
    ),
    "accounts.setSigners": lambda world: act(
        ALICE, "accounts.setSigners", 2,
        [[one, one, 1] for one in sorted((BOB.account, CAROL.account))],
        approvers=[(BOB, BOB.account), (CAROL, CAROL.account)],
    ),
    "accounts.propose": lambda world: act(
        ALICE, "accounts.propose", _company(world), world.time_ms + DAY_MS,
        [["assets.transfer", ["CLAW", BOB.account, 5]]], b"rent",
    ),
    "accounts.approve": _proposed(BOB, "accounts.approve"),
    "accounts.reject": _proposed(BOB, "accounts.reject"),
    "accounts.execute": _proposed(BOB, "accounts.execute", 400, approvals=[BOB]),
    "accounts.withdrawProposal": _proposed(ALICE, "accounts.withdrawProposal"),
    "accounts.setDepositAuth": _plain(ALICE, "accounts.setDepositAuth", 1),
    "accounts.preauthorise": _plain(ALICE, "accounts.preauthorise", BOB),
    "accounts.withdrawPreauthorisation": _after(
        _plain(ALICE, "accounts.preauthorise", BOB),
        job=_plain(ALICE, "accounts.withdrawPreauthorisation", BOB),
    ),
    "accounts.grantSession": _grant,
    "accounts.revokeSession": _after(_grant, job=_plain(ALICE, "accounts.revokeSession", AGENT)),
    "accounts.resignSession": _after(
        _grant,
        job=lambda world: act(
            ALICE, "accounts.resignSession", ALICE, AGENT, approvers=[(AGENT, ALICE.account)]
        ),
    ),
    "accounts.sponsor": _sponsor,
    "accounts.endSponsorship": _after(_sponsor, job=_plain(ALICE, "accounts.endSponsorship", BOB)),
}  # fmt: skip


def _create(flags: int) -> Example:
    """Return the creation of an asset with these powers of its issuer."""
    return _plain(ISSUER, "assets.create", "EURX", 2, "Euro", flags, 10**15, "a page", HASH)


_ISSUED: Final = _create(14)
_MINT: Final = _plain(ISSUER, "assets.mint", "EURX", ALICE, 1_000)
_FREEZE: Final = _plain(ISSUER, "assets.freeze", "EURX", ALICE, 2, "court-order")
_FREEZE_ALL: Final = _plain(ISSUER, "assets.freezeAll", "EURX", "incident")
_APPOINT: Final = _plain(ISSUER, "assets.appoint", "EURX", "mint", BOB)
ASSETS: Final[Mapping[str, Example]] = {
    "assets.transfer": _plain(ALICE, "assets.transfer", "CLAW", BOB, 5),
    "assets.create": _ISSUED,
    "assets.mint": _after(_ISSUED, job=_MINT),
    "assets.burn": _after(
        _ISSUED,
        _plain(ISSUER, "assets.mint", "EURX", ISSUER, 1_000),
        job=_plain(ISSUER, "assets.burn", "EURX", 10),
    ),
    "assets.setMetadata": _after(
        _ISSUED, job=_plain(ISSUER, "assets.setMetadata", "EURX", "another page", HASH)
    ),
    "assets.setFlags": _after(_ISSUED, job=_plain(ISSUER, "assets.setFlags", "EURX", 12)),
    "assets.setCap": _after(_ISSUED, job=_plain(ISSUER, "assets.setCap", "EURX", 10**14)),
    "assets.freeze": _after(_ISSUED, _MINT, job=_FREEZE),
    "assets.unfreeze": _after(
        _ISSUED, _MINT, _FREEZE, job=_plain(ISSUER, "assets.unfreeze", "EURX", ALICE, "lifted")
    ),
    "assets.freezeAll": _after(_ISSUED, job=_FREEZE_ALL),
    "assets.unfreezeAll": _after(
        _ISSUED, _FREEZE_ALL, job=_plain(ISSUER, "assets.unfreezeAll", "EURX", "over")
    ),
    "assets.authorise": _after(_create(15), job=_plain(ISSUER, "assets.authorise", "EURX", BOB, 2)),
    "assets.clawback": _after(
        _ISSUED,
        _MINT,
        job=_plain(ISSUER, "assets.clawback", "EURX", ALICE, 10, ISSUER, "theft", None),
    ),
    "assets.appoint": _after(_ISSUED, job=_APPOINT),
    "assets.dismiss": _after(
        _ISSUED, _APPOINT, job=_plain(ISSUER, "assets.dismiss", "EURX", "mint", BOB)
    ),
    "assets.attestReserve": _after(
        _create(46),
        job=lambda world: act(
            ISSUER,
            "assets.attestReserve",
            *("EURX", 10**9, world.time_ms, HASH, world.time_ms + DAY_MS),
        ),
    ),
}
_CASHIER: Final = _plain(ADMIN, "roles.grant", "cashier", BOB)
ROLES: Final[Mapping[str, Example]] = {
    "roles.grant": _CASHIER,
    "roles.revoke": _after(_CASHIER, job=_plain(ADMIN, "roles.revoke", "cashier", BOB, "left")),
    "roles.setPermission": _plain(ADMIN, "roles.setPermission", "accounts.open", "cashier"),
}


def _ballot(world: World, change: Change, seat: Person = SEATS[0]) -> Job:
    fields = [seat, world.genesis.time_ms + HOUR_MS, *change.arguments]
    name = f"governance.{KIND_NAMES[Kind(change.kind)]}"
    return act(ALICE, name, *fields, approvers=[(seat, seat.account)])


def _opening(kind: Kind, *arguments: Any) -> Example:
    return lambda world: _ballot(world, Change(kind, arguments))


def _decided(world: World, change: Change) -> None:
    for seat in SEATS[:3]:
        world.do(_ballot(world, change, seat))


def _cancel(world: World) -> Job:
    _decided(world, Change(Kind.AMEND, ("bench", 1_000)))
    return _ballot(world, Change(Kind.CANCEL, ("bench",)))


def _second(verb: str, seat: Person) -> Example:
    """Return an example on a proposal that the first seat has voted for."""

    def example(world: World) -> Job:
        change = Change(Kind.GRANT, ("cashier", BOB.account))
        world.do(_ballot(world, change))
        made = change.id(world.genesis.time_ms + HOUR_MS)
        return act(ALICE, f"governance.{verb}", seat, made, approvers=[(seat, seat.account)])

    return example


GOVERNANCE: Final[Mapping[str, Example]] = {
    "governance.addAuthority": _opening(Kind.ADD, NOBODY.account),
    "governance.removeAuthority": _opening(Kind.REMOVE, SEATS[3].account),
    "governance.replaceAuthority": _opening(Kind.REPLACE, SEATS[3].account, NOBODY.account),
    "governance.setParameters": _opening(Kind.PARAMETERS, "fee_min=2"),
    "governance.grantRole": _opening(Kind.GRANT, "cashier", BOB.account),
    "governance.revokeRole": _after(_CASHIER, job=_opening(Kind.REVOKE, "cashier", BOB.account)),
    "governance.amend": _opening(Kind.AMEND, "bench", 1_000),
    "governance.cancelAmendment": _cancel,
    "governance.vote": _second("vote", SEATS[1]),
    "governance.withdraw": _second("withdraw", SEATS[0]),
}


def _attest(world: World) -> Job:
    until = world.time_ms + DAY_MS
    return act(ISSUER, "compliance.attest", BOB, HASH, "kyc", 2, until, HASH)


def _listed(by: Person) -> Example:
    return _plain(by, "compliance.setList", BLOCKED, "Whom nobody pays", 1)


def policy_job(by: Person, rules: Sequence[Any]) -> Job:
    """Return the proposal of a policy for EUR that is in force ten seconds after it passed."""
    meaning = "What may be paid in euro"
    return act(by, "compliance.proposePolicy", "limits", "EUR", meaning, 10_000, list(rules))


def rule_of(name: str, kind: str, *terms: Any) -> list[Any]:
    """Return a rule that denies what one condition says: (side, name, number, window)."""
    return [name, "deny", "not-allowed", 0, None, 0, 0, [[kind, *terms]]]


_LIMIT: Final = rule_of("large", "amount-at-least", None, None, 10**9, 0)


def _policy(verb: str, *reason: str) -> Example:
    def example(world: World) -> Job:
        made = world.made(policy_job(ONE, [_LIMIT]), "compliance.policyProposed")
        return act(TWO, f"compliance.{verb}", made, *reason)

    return example


_REGISTER: Final = _plain(ADMIN, "compliance.setIssuer", ISSUER, ["kyc"])
_ADD: Final = _plain(ONE, "compliance.addToList", BLOCKED, [NOBODY.account], "sanctioned")
COMPLIANCE: Final[Mapping[str, Example]] = {
    "compliance.setIssuer": _REGISTER,
    "compliance.removeIssuer": _after(
        _REGISTER, job=_plain(ADMIN, "compliance.removeIssuer", ISSUER, "licence lost")
    ),
    "compliance.attest": _after(_REGISTER, job=_attest),
    "compliance.accept": _after(
        _REGISTER, _attest, job=_plain(BOB, "compliance.accept", ISSUER, "kyc")
    ),
    "compliance.revokeAttestation": _after(
        _REGISTER,
        _attest,
        job=_plain(ISSUER, "compliance.revokeAttestation", BOB, "kyc", None, "lapsed"),
    ),
    "compliance.setSubject": _plain(ONE, "compliance.setSubject", BOB, HASH, "seen in person"),
    "compliance.setQuorum": _plain(ONE, "compliance.setQuorum", 3, 10_000),
    "compliance.proposePolicy": lambda world: policy_job(ONE, [_LIMIT]),
    "compliance.approvePolicy": _policy("approvePolicy"),
    "compliance.rejectPolicy": _policy("rejectPolicy", "too strict"),
    "compliance.setList": _listed(ONE),
    "compliance.addToList": _after(_listed(ONE), _listed(TWO), job=_ADD),
    "compliance.removeFromList": _after(
        _listed(ONE),
        _listed(TWO),
        _ADD,
        job=_plain(ONE, "compliance.removeFromList", BLOCKED, [NOBODY.account], "mistaken"),
    ),
}


def _oracles(_world: World) -> Job:
    members = sorted(one.account for one in ORACLES)
    return act(ADMIN, "risk.setOracles", members, 2)


def report_by(oracle: Person) -> Example:
    """Return an oracle's report of Bob."""
    return lambda world: act(oracle, "risk.report", BOB, 640, HASH, 3, world.time_ms + HOUR_MS)


_LOG: Final = log_id(ALICE.account, "audit")
_OPEN_LOG: Final = _plain(ALICE, "anchor.openLog", "audit", ALICE, None, 2)
_ANCHOR: Final = _plain(ALICE, "anchor.log", _LOG, _OLD, root_of(_LEAVES[:_OLD]), [])


def _break(world: World) -> Job:
    until = world.time_ms + HOUR_MS
    return act(ALICE, "anchor.break", _LOG, 10, root_of(_LEAVES[:10]), "restored", until)


RISK_AND_ANCHORS: Final[Mapping[str, Example]] = {
    "risk.setOracles": _oracles,
    "risk.report": _after(
        _oracles, report_by(ORACLES[0]), report_by(ORACLES[1]), job=report_by(ORACLES[2])
    ),
    "risk.withdraw": _after(
        _oracles,
        report_by(ORACLES[0]),
        report_by(ORACLES[1]),
        job=_plain(ORACLES[1], "risk.withdraw", BOB),
    ),
    "anchor.document": _plain(ALICE, "anchor.document", HASH, "lease"),
    "anchor.openLog": _OPEN_LOG,
    "anchor.setWriter": _after(_OPEN_LOG, job=_plain(ALICE, "anchor.setWriter", _LOG, BOB, None)),
    "anchor.log": _after(
        _OPEN_LOG,
        _ANCHOR,
        job=_plain(
            ALICE,
            "anchor.log",
            *(_LOG, len(_LEAVES), root_of(_LEAVES), consistency_proof(_LEAVES, _OLD)),
        ),
    ),
    "anchor.break": _after(_OPEN_LOG, _ANCHOR, job=_break),
    "anchor.approveBreak": _after(
        _OPEN_LOG,
        _ANCHOR,
        _break,
        job=_plain(ONE, "anchor.approveBreak", _LOG, ALICE, 1, 10, root_of(_LEAVES[:10])),
    ),
}


def _pay(_world: World) -> Job:
    return act(ALICE, "payments.pay", "EUR", BOB, 50, _REFERENCE, None, 30, [])


def _escrow(world: World) -> Job:
    until = world.time_ms + DAY_MS
    fields = ["EUR", BOB, 50, None, until, _CONDITION, CAROL, _REFERENCE, None]
    return act(ALICE, "payments.createEscrow", *fields)


def _hold(world: World) -> Job:
    fields = ["EUR", BOB, 50, "booking", world.time_ms + DAY_MS, 0, 1, [CAROL.account], 1]
    return act(ALICE, "payments.placeHold", *fields, _REFERENCE, None)


def _schedule(world: World) -> Job:
    until = world.time_ms + DAY_MS
    return act(ALICE, "payments.schedule", "EUR", BOB, 50, until, _REFERENCE, None)


def _batch(world: World) -> Job:
    legs = [[BOB.account, 5, b"pay slip"] for _ in range(10)]
    fields = ["EUR", legs, 1, [CAROL.account], world.time_ms + DAY_MS, _REFERENCE, None]
    return act(ALICE, "payments.proposeBatch", *fields)


def _invoice(world: World) -> Job:
    until = world.time_ms + DAY_MS
    return act(BOB, "payments.createInvoice", "EUR", 50, ALICE, None, b"goods", until, 30)


def _channel(world: World, blocks: int = 1) -> Job:
    fields = ["EUR", BOB, 50, HOUR_MS, blocks, world.time_ms + DAY_MS, None, _REFERENCE, None]
    return act(ALICE, "payments.openChannel", *fields)


_EVENTS: Final = {
    _pay: ("payments.payment", 4),
    _escrow: ("payments.escrowCreated", 2),
    _hold: ("payments.holdPlaced", 2),
    _schedule: ("payments.scheduled", 2),
    _batch: ("payments.batchProposed", 2),
    _invoice: ("payments.invoiceCreated", 2),
    _channel: ("payments.channelOpened", 2),
}


def _on(made: Callable[[World], Job], by: Person, name: str, *fields: Any) -> Example:
    """Return an example on what another action makes."""
    return lambda world: act(by, name, world.made(made(world), *_EVENTS[made]), *fields)


def _approved_batch(world: World) -> Job:
    made = world.made(_batch(world), *_EVENTS[_batch])
    world.do(act(CAROL, "payments.approveBatch", made, None))
    return act(ALICE, "payments.executeBatch", made, 10)


def _claim(world: World) -> Job:
    made = world.made(_channel(world), *_EVENTS[_channel])
    terms = Terms(world.genesis.hash, made, "EUR", BOB.account)
    signature = crypto.sign(ALICE.seed, voucher_bytes(terms, 10))
    return act(BOB, "payments.claimChannel", made, 10, signature)


def _finalise(world: World) -> Job:
    """A challenge whose time is over long before its blocks are: else the queue ends it first."""
    made = world.made(_channel(world, blocks=10), *_EVENTS[_channel])
    world.do(act(ALICE, "payments.closeChannel", made))
    world.wait(2 * HOUR_MS)
    for _ in range(9):
        world.wait(200)
    return act(ALICE, "payments.finaliseChannel", made)


PAYMENTS: Final[Mapping[str, Example]] = {
    "payments.pay": _pay,
    "payments.refund": _on(_pay, BOB, "payments.refund", 10, _REFERENCE),
    "payments.createEscrow": _escrow,
    "payments.finishEscrow": _on(_escrow, BOB, "payments.finishEscrow", _SECRET),
    "payments.cancelEscrow": _on(_escrow, BOB, "payments.cancelEscrow"),
    "payments.decideEscrow": _on(_escrow, CAROL, "payments.decideEscrow", 1, "delivered"),
    "payments.placeHold": _hold,
    "payments.captureHold": _on(_hold, BOB, "payments.captureHold", 10, 0),
    "payments.voteHold": _on(_hold, CAROL, "payments.voteHold", 1, "delivered"),
    "payments.schedule": _schedule,
    "payments.cancelScheduled": _on(_schedule, ALICE, "payments.cancelScheduled"),
    "payments.proposeBatch": _batch,
    "payments.approveBatch": _on(_batch, CAROL, "payments.approveBatch", None),
    "payments.rejectBatch": _on(_batch, CAROL, "payments.rejectBatch", "wrong-month"),
    "payments.withdrawBatch": _on(_batch, ALICE, "payments.withdrawBatch"),
    "payments.executeBatch": _approved_batch,
    "payments.createInvoice": _invoice,
    "payments.payInvoice": _on(_invoice, ALICE, "payments.payInvoice", 50, None),
    "payments.cancelInvoice": _on(_invoice, BOB, "payments.cancelInvoice"),
    "payments.openChannel": _channel,
    "payments.topUpChannel": _on(_channel, ALICE, "payments.topUpChannel", 10),
    "payments.claimChannel": _claim,
    "payments.closeChannel": _on(_channel, ALICE, "payments.closeChannel"),
    "payments.finaliseChannel": _finalise,
}
EXAMPLES: Final[Mapping[str, Example]] = {
    **ACCOUNTS,
    **ASSETS,
    **ROLES,
    **GOVERNANCE,
    **PAYMENTS,
    **COMPLIANCE,
    **RISK_AND_ANCHORS,
}
