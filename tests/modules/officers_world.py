"""A council with compliance: officers, an issuer, and policies in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import Module
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.compliance.policies import Proposal
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key, transfer
from tests.modules.council import Council, event

# Administrators, officers, an issuer of attestations; Alice and Bob pay each other.
ADMIN, ISSUER, OTHER_ISSUER = Key("admin"), Key("issuer"), Key("other issuer")
OFFICERS = tuple(Key(f"officer-{number}") for number in range(1, 5))
OPENING = {
    ALICE: {"CLAW": 1_000_000, "EUR": 1_000_000},
    BOB: {"CLAW": 1_000_000, "EUR": 1_000_000},
    CAROL: {"CLAW": 1_000, "EUR": 1_000},
    DAVE: {},
    ADMIN: {},
    ISSUER: {},
    OTHER_ISSUER: {},
    **{officer: {} for officer in OFFICERS},
}
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
DELAY_MS = 10_000
SUBJECT = message_hash_of(b"a person")
OTHER_SUBJECT = message_hash_of(b"another person")
EVIDENCE = message_hash_of(b"a passport that was seen")


class Desk(Council):
    """Two officers by default, who must both agree."""

    def __init__(self, *modules: Module, officers: int = 2, **settings: Any) -> None:
        roles = [GenesisRole("admin", ADMIN.account)]
        roles += [GenesisRole("compliance", one.account) for one in OFFICERS[:officers]]
        settings.setdefault("roles", tuple(sorted(roles)))
        settings.setdefault("opening", OPENING)
        super().__init__(compliance.MODULE, *modules, **settings)

    def do(self, key: Key, action: RawAction, **fields: Any) -> Receipt:
        """A block with one action that must succeed."""
        receipt = self.pay(key, action, **fields).receipts[0]
        assert receipt.code == 0, receipt
        return receipt

    def agree(self, action: RawAction, officers: Sequence[Key] = OFFICERS[:2]) -> ExecutionResult:
        """Let officers say the same; returns what the last one's block did."""
        assert officers
        for officer in officers:
            result = self.pay(officer, action)
            assert result.receipts[0].code == 0, result.receipts[0]
        return result

    def issuer(self, *topics: str, issuer: Key = ISSUER) -> None:
        self.do(ADMIN, set_issuer(issuer, *topics))

    def attested(self, account: Key, topic: str = "kyc", level: int = 1, **fields: Any) -> None:
        """Attested and accepted."""
        issuer = fields.get("issuer", ISSUER)
        self.do(issuer, attest(self, account, topic, level, **fields))
        self.do(account, accept(topic, issuer))

    def propose(self, *rules: list[Any], by: Key = OFFICERS[0], **fields: Any) -> bytes:
        """A proposed policy; returns its id."""
        result = self.pay(by, propose(*rules, **fields))
        assert result.receipts[0].code == 0, result.receipts[0]
        proposed: bytes = event(result, "compliance.policyProposed")[3][0]  # type: ignore[assignment]
        return proposed

    def enact(self, *rules: list[Any], **fields: Any) -> bytes:
        """A policy that is in force; returns its id."""
        policy_id = self.propose(*rules, **fields)
        if self.proposed(policy_id).status == 0:
            self.do(OFFICERS[1], approve(policy_id))
        delay_ms = fields.get("delay_ms", DELAY_MS)
        self.block(after_ms=delay_ms)
        assert self.proposed(policy_id).status == 2
        return policy_id

    def proposed(self, policy_id: bytes) -> Proposal:
        found: Proposal | None = self.query("compliance.proposal", policy_id)
        assert found is not None
        return found

    def try_pay(
        self, source: Key = ALICE, target: Key = BOB, amount: int = 100, asset: str = "EUR"
    ) -> Receipt:
        return self.pay(source, transfer(target, amount, asset)).receipts[0]


def set_issuer(issuer: Key, *topics: str) -> RawAction:
    return RawAction("compliance.setIssuer", [issuer.account, list(topics)])


def remove_issuer(issuer: Key = ISSUER, reason: str = "licence lost") -> RawAction:
    return RawAction("compliance.removeIssuer", [issuer.account, reason])


def attest(
    chain: Desk,
    account: Key,
    topic: str = "kyc",
    level: int = 1,
    *,
    subject: bytes | None = None,
    expires_ms: int | None = None,
    issuer: Key = ISSUER,
) -> RawAction:
    assert issuer is not None
    subject = message_hash_of(account.account) if subject is None else subject
    expires_ms = chain.time_ms + 30 * DAY_MS if expires_ms is None else expires_ms
    fields: list[Any] = [account.account, subject, topic, level, expires_ms, EVIDENCE]
    return RawAction("compliance.attest", fields)


def accept(topic: str = "kyc", issuer: Key = ISSUER) -> RawAction:
    return RawAction("compliance.accept", [issuer.account, topic])


def revoke_attestation(
    account: Key, topic: str = "kyc", issuer: Key | None = None, reason: str = "lapsed"
) -> RawAction:
    named = None if issuer is None else issuer.account
    return RawAction("compliance.revokeAttestation", [account.account, topic, named, reason])


def set_subject(account: Key, subject: bytes | None, reason: str = "") -> RawAction:
    return RawAction("compliance.setSubject", [account.account, subject, reason])


def set_quorum(needed: int, delay_ms: int = DELAY_MS) -> RawAction:
    return RawAction("compliance.setQuorum", [needed, delay_ms])


def set_list(name: str, officers: int = 1, title: str = "A list") -> RawAction:
    return RawAction("compliance.setList", [name, title, officers])


def add(name: str, *entries: bytes | Key, reason: str = "") -> RawAction:
    return RawAction("compliance.addToList", [name, _sorted(entries), reason])


def remove(name: str, *entries: bytes | Key, reason: str = "") -> RawAction:
    return RawAction("compliance.removeFromList", [name, _sorted(entries), reason])


def _sorted(entries: Sequence[bytes | Key]) -> list[Any]:
    return sorted(one.account if isinstance(one, Key) else one for one in entries)


def propose(
    *rules: list[Any],
    policy: str = "limits",
    asset: str | None = "EUR",
    meaning: str = "What may be paid",
    delay_ms: int = DELAY_MS,
) -> RawAction:
    fields: list[Any] = [policy, asset, meaning, delay_ms, list(rules)]
    return RawAction("compliance.proposePolicy", fields)


def approve(policy_id: bytes) -> RawAction:
    return RawAction("compliance.approvePolicy", [policy_id])


def reject(policy_id: bytes, reason: str = "") -> RawAction:
    return RawAction("compliance.rejectPolicy", [policy_id, reason])


# -- rules of policies


def when(
    kind: str,
    side: str | None = None,
    name: str | None = None,
    number: int = 0,
    window_ms: int = 0,
) -> list[Any]:
    return [kind, side, name, number, window_ms]


def allow(name: str, *conditions: list[Any]) -> list[Any]:
    return [name, "allow", None, 0, None, 0, 0, list(conditions)]


def deny(name: str, *conditions: list[Any], code: str = "not-allowed") -> list[Any]:
    return [name, "deny", code, 0, None, 0, 0, list(conditions)]


def hold(
    name: str,
    *conditions: list[Any],
    needed: int = 2,
    officers: str | None = None,
    expires_ms: int = HOUR_MS,
    release: int = 0,
) -> list[Any]:
    return [name, "hold", None, needed, officers, expires_ms, release, list(conditions)]
