"""What each action of the ledger takes out of the account that sends it. Pure.

Limits of a wallet that knows only transfers are kept by whoever pays by escrow, so every action is
in this table, and a test fails for one that is not. What pays by the id of something on the ledger
(an invoice, a channel, a payment that is given back) is looked up first: `needs` says where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transactions import Body, RawAction
from clawpurse.wallet.intent import Intent


class Takes(StrEnum):
    """What an action takes from its sender, beside the fee."""

    PAYS = "pays"
    """`asset` and `amount` to `recipient`: at once, later, or unless it is called off."""
    PAYS_MANY = "pays many"
    """`legs` of [recipient, amount, …] in `asset`."""
    PAYS_BY_ID = "pays by id"
    """`amount` of an asset, to somebody, that both stand on the ledger."""
    POWERS = "powers"
    """Nothing now: it says who else may take something later, or from when on nobody may."""
    NOTHING = "nothing"


class Lookup(NamedTuple):
    """Where an id is told: a method, its parameter, and the answer's member for who is paid."""

    method: str
    parameter: str
    recipient: str


class Paid(NamedTuple):
    """What an id stands for: who is paid, in which asset. `amount` is what an action pays."""

    recipient: bytes
    asset: str
    amount: int = 0


_BY_ID: Final[Mapping[str, Lookup]] = MappingProxyType(
    {
        "payments.payInvoice": Lookup("payment_getInvoice", "invoice", "payee"),
        "payments.refund": Lookup("payment_getRefunds", "payment", "payer"),
        "payments.topUpChannel": Lookup("payment_getChannel", "channel", "payee"),
    }
)
_PAYS: Final = (
    "assets.transfer",
    "payments.createEscrow",
    "payments.openChannel",
    "payments.pay",
    "payments.placeHold",
    "payments.schedule",
)
_POWERS: Final = (
    *("accounts.approve", "accounts.changeKey", "accounts.createMultisig", "accounts.execute"),
    *("accounts.grantSession", "accounts.propose", "accounts.setSigners", "accounts.sponsor"),
    *("assets.appoint", "assets.setFlags", "payments.approveBatch", "payments.executeBatch"),
    # Takes back what is the account's own, or destroys it: nobody is paid.
    *("assets.burn", "assets.clawback", "assets.mint"),
)
_NOTHING: Final = (
    *("accounts.endSponsorship", "accounts.open", "accounts.preauthorise", "accounts.reject"),
    *("accounts.resignSession", "accounts.revokeSession", "accounts.setDepositAuth"),
    *("accounts.withdrawPreauthorisation", "accounts.withdrawProposal"),
    *("anchor.approveBreak", "anchor.break", "anchor.document", "anchor.log", "anchor.openLog"),
    "anchor.setWriter",
    *("assets.attestReserve", "assets.authorise", "assets.create", "assets.dismiss"),
    *("assets.freeze", "assets.freezeAll", "assets.setCap", "assets.setMetadata"),
    *("assets.unfreeze", "assets.unfreezeAll"),
    *("compliance.accept", "compliance.addToList", "compliance.approvePolicy"),
    *("compliance.attest", "compliance.proposePolicy", "compliance.rejectPolicy"),
    *("compliance.removeFromList", "compliance.removeIssuer", "compliance.revokeAttestation"),
    *("compliance.setIssuer", "compliance.setList", "compliance.setQuorum"),
    "compliance.setSubject",
    *("governance.addAuthority", "governance.amend", "governance.cancelAmendment"),
    *("governance.grantRole", "governance.removeAuthority", "governance.replaceAuthority"),
    *("governance.revokeRole", "governance.setParameters", "governance.vote"),
    "governance.withdraw",
    *("payments.cancelEscrow", "payments.cancelInvoice", "payments.cancelScheduled"),
    *("payments.captureHold", "payments.claimChannel", "payments.closeChannel"),
    *("payments.createInvoice", "payments.decideEscrow", "payments.finaliseChannel"),
    *("payments.finishEscrow", "payments.rejectBatch", "payments.voteHold"),
    "payments.withdrawBatch",
    *("risk.report", "risk.setOracles", "risk.withdraw"),
    *("roles.grant", "roles.revoke", "roles.setPermission"),
)
TAKES: Final[Mapping[str, Takes]] = MappingProxyType(
    dict.fromkeys(_PAYS, Takes.PAYS)
    | {"payments.proposeBatch": Takes.PAYS_MANY}
    | dict.fromkeys(_BY_ID, Takes.PAYS_BY_ID)
    | dict.fromkeys(_POWERS, Takes.POWERS)
    | dict.fromkeys(_NOTHING, Takes.NOTHING)
)
"""Every action of the ledger."""


def needs(actions: Sequence[RawAction], registry: Registry) -> dict[bytes, Lookup]:
    """Return the ids that must be looked up before `outflows` can say what is paid."""
    found: dict[bytes, Lookup] = {}
    for action in actions:
        if action.name in _BY_ID:
            values = _values(action, registry)
            found[values[_BY_ID[action.name].parameter]] = _BY_ID[action.name]
    return found


def outflows(body: Body, registry: Registry, known: Mapping[bytes, Paid]) -> tuple[Intent, ...]:
    """Return what a body pays, as limits judge it; the first part carries the fee.

    `known` has what `needs` names; what is not in it is left out.
    """
    parts: list[Paid] = []
    for action in body.actions:
        takes = TAKES.get(action.name, Takes.NOTHING)
        if takes in (Takes.POWERS, Takes.NOTHING):
            continue
        values = _values(action, registry)
        if takes is Takes.PAYS:
            parts.append(Paid(values["recipient"], values["asset"], values["amount"]))
        elif takes is Takes.PAYS_MANY:
            parts += [Paid(leg[0], values["asset"], leg[1]) for leg in values["legs"]]
        else:
            found = known.get(values[_BY_ID[action.name].parameter])
            if found is not None:
                parts.append(found._replace(amount=values["amount"]))
    memo = body.memo.decode(errors="replace")
    fee = body.fee if body.payer is None else 0
    return tuple(
        Intent(body.sender, one.recipient, one.asset, one.amount, memo, 0 if place else fee)
        for place, one in enumerate(parts)
    )


def _values(action: RawAction, registry: Registry) -> dict[str, Any]:
    spec, values = registry.read_action(action)
    return {field.name: value for field, value in zip(spec.fields, values, strict=True)}
