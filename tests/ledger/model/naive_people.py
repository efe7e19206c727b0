"""What the clerk writes down of signers, their proposals, session keys, sponsors and used keys.

Written from docs/modules/accounts.md and docs/protocol.md (§5).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.model.naive import DAY_MS, Reasons
from tests.ledger.model.naive_bills import Bills
from tests.ledger.model.world import DEPOSIT, FEE, Account
from tests.ledger.sandbox import Key

MINUTE_MS = 60_000
KEEP_MS = 86_400_000
OPEN_TO_SESSIONS = {"assets.transfer", "payments.schedule", "anchor.document", "payments.pay"}
Members = tuple[tuple[Key, int], ...]


@dataclass
class Motion:
    """What a firm shall do, if enough of its signers say so."""

    firm: Any
    proposer: Key
    end_ms: int
    payments: tuple[tuple[str, Any, int], ...]
    yes: set[Key] = field(default_factory=set)
    no: set[Key] = field(default_factory=set)


@dataclass
class Session:
    """What a session key may do until when, and what it took on which day."""

    end_ms: int
    lanes: tuple[int, ...]
    actions: tuple[str, ...]
    caps: dict[str, tuple[int, int]]
    recipients: tuple[Key, ...]
    memo: bytes
    must_write: bool
    day: int = -1
    took: Counter[str] = field(default_factory=Counter)


@dataclass
class Sponsor:
    """Up to what an account pays another one's fees."""

    end_ms: int
    at_once: int
    a_day: int
    left: int
    actions: tuple[str, ...]
    day: int = -1
    spent: int = 0


class People(Bills):
    """Accounts: who signs, within which limits, at whose cost."""

    def __init__(self) -> None:
        super().__init__()
        #: Accounts without a key, by id; and who signs for them.
        self.named: dict[bytes, Any] = {}
        self.firms: dict[Any, tuple[int, Members]] = {}
        self.motions: dict[bytes, Motion] = {}
        self.sessions: dict[tuple[Key, Key], Session] = {}
        self.sponsors: dict[tuple[Key, Key], Sponsor] = {}
        self.used: dict[tuple[Key, bytes], int] = {}
        #: By which key an account signs that changed it.
        self.signing: defaultdict[Key, Key | None] = defaultdict(lambda: None)

    def begin(self, after_ms: int) -> None:
        super().begin(after_ms)
        now = self.now_ms
        self.motions = {name: one for name, one in self.motions.items() if one.end_ms > now}
        self.sessions = {name: one for name, one in self.sessions.items() if one.end_ms > now}
        self.sponsors = {name: one for name, one in self.sponsors.items() if one.end_ms > now}
        self.used = {name: at_ms for name, at_ms in self.used.items() if at_ms + KEEP_MS > now}

    def key_of(self, who: Key) -> Key:
        return self.signing[who] or who

    # -- signers

    def change_key(self, who: Key, key: Key) -> Reasons:
        if self.key_of(who) is key:
            return {"accounts.sameKey"}
        self.signing[who] = key
        return set()

    def weight(self, firm: Any, keys: set[Key]) -> int:
        """What signatures by these keys weigh; each key and each person counts once."""
        total, seen, persons = 0, set[Key](), set[object]()
        for member, share in sorted(self.firms[firm][1], key=lambda pair: pair[0].account):
            key = self.key_of(member)
            if key not in keys or key in seen:
                continue
            seen.add(key)
            if self.person(member) not in persons:
                persons.add(self.person(member))
                total += share
        return total

    def bad_signers(self, threshold: int, members: Members) -> Reasons:
        found = Reasons()
        if threshold > sum(share for _, share in members):
            found.add("accounts.threshold")
        listed = [member for member, _ in members]
        if len(set(listed)) < len(listed):
            found |= {"accounts.memberTwice", "accounts.memberKeyTwice"}
            found |= {"accounts.memberSubjectTwice"}
        elif len(self.people_of(*listed)) < len(listed):
            found.add("accounts.memberSubjectTwice")
        if len({self.key_of(member) for member in set(listed)}) < len(set(listed)):
            found.add("accounts.memberKeyTwice")
        if any(member not in self.people for member in listed):
            found |= {"accounts.memberNoKey", "kernel.sender"}
        return found

    def found_firm(self, who: Key, account_id: bytes, threshold: int, members: Members) -> Reasons:
        found = self.bad_signers(threshold, members)
        firm = self.named.get(account_id)
        if firm in self.firms:
            found.add("accounts.multisigExists")
        elif self.money[who, "CLAW"] < DEPOSIT:
            found.add("kernel.balance")
        if not found:
            firm = self.named.setdefault(account_id, Account(account_id))
            self.opened(firm, who)
            self.firms[firm] = threshold, members
        return found

    def set_signers(self, firm: Any, threshold: int, members: Members) -> Reasons:
        found = self.bad_signers(threshold, members)
        if (threshold, sorted_members(members)) == (
            self.firms[firm][0],
            sorted_members(self.firms[firm][1]),
        ):
            found.add("accounts.sameSigners")
        if not found:
            self.firms[firm] = threshold, members
        return found

    # -- proposals

    def signer(self, who: Key, firm: Any) -> Reasons:
        if firm not in self.firms:
            return {"accounts.noSigners", "kernel.sender"}
        members = [member for member, _ in self.firms[firm][1]]
        return set() if who in members else {"accounts.notSigner"}

    def propose(self, who: Key, one: Motion, names: tuple[str, ...]) -> Reasons:
        found = self.signer(who, one.firm)
        if not self.now_ms + MINUTE_MS <= one.end_ms <= self.now_ms + 30 * DAY_MS:
            found.add("accounts.proposalSpan")
        if any(name.startswith("accounts.") for name in names):
            found.add("accounts.proposalAction")
        mine = [m for m in self.motions.values() if (m.firm, m.proposer) == (one.firm, who)]
        if len(mine) >= 16:
            found.add("accounts.proposalsFull")
        return found

    def say(self, who: Key, name: bytes, yes: bool) -> Reasons:
        one = self.motions.get(name)
        if one is None:
            return {"accounts.proposalUnknown"}
        found = self.signer(who, one.firm)
        if who in (one.yes if yes else one.no):
            found.add("accounts.approvedAlready" if yes else "accounts.rejectedAlready")
        if found:
            return found
        threshold, members = self.firms[one.firm]
        (one.yes if yes else one.no).add(who)
        (one.no if yes else one.yes).discard(who)
        signers = {member for member, _ in members}
        one.yes &= signers
        one.no &= signers
        left = sum(share for member, share in members if member not in one.no)
        if not yes and left < threshold:
            del self.motions[name]
        return found

    def withdraw(self, who: Key, name: bytes) -> Reasons:
        one = self.motions.get(name)
        if one is None:
            return {"accounts.proposalUnknown"}
        if who is not one.proposer:
            return {"accounts.notProposer"}
        del self.motions[name]
        return set()

    def execute(self, who: Key, name: bytes, cost: int) -> Reasons:
        one = self.motions.get(name)
        if one is None:
            return {"accounts.proposalUnknown"}
        found = self.signer(who, one.firm)
        signers = {member for member, _ in self.firms[one.firm][1]}
        keys = {self.key_of(member) for member in one.yes & signers}
        if self.weight(one.firm, keys) < self.firms[one.firm][0]:
            found.add("accounts.approvals")
        if cost < 100 * len(one.payments):
            found.add("accounts.proposalCost")
        if found:
            return found
        before = self.mark()
        for asset, to, amount in one.payments:
            found = self.may_pay(asset, one.firm, to, amount, whole=False, opener=one.firm)
            if found:
                self.restore(before)
                return found
            self.opened(to, one.firm)
            self.move(asset, one.firm, to, amount)
        del self.motions[name]
        return found

    # -- session keys

    def grant_session(self, who: Key, key: Key, one: Session) -> Reasons:
        found = Reasons()
        if self.key_of(who) is key:
            found.add("accounts.sessionOwnKey")
        if (who, key) in self.sessions:
            found.add("accounts.sessionExists")
        if not self.now_ms < one.end_ms <= self.now_ms + 365 * DAY_MS:
            found.add("accounts.sessionExpiry")
        if not set(one.actions) <= OPEN_TO_SESSIONS:
            found.add("accounts.sessionAction")
        if any(a_day < at_once for at_once, a_day in one.caps.values()):
            found.add("accounts.sessionCap")
        for (owner, _), other in self.sessions.items():
            if owner is who and set(other.lanes) & set(one.lanes):
                found.add("accounts.sessionLane")
        if not found:
            self.sessions[who, key] = one
        return found

    def end_session(self, who: Key, key: Key) -> Reasons:
        if self.sessions.pop((who, key), None) is None:
            return {"accounts.sessionMissing"}
        return set()

    def keeps_out(self, who: Key, key: Key, lane: int, memo: bytes, action: str) -> Reasons:
        """Why no block may hold what a session key signed; then nothing is taken."""
        one = self.sessions.get((who, key))
        if one is None:
            return {"kernel.key"}
        found = Reasons()
        if lane not in one.lanes:
            found.add("kernel.sessionLane")
        if action not in one.actions:
            found.add("kernel.sessionAction")
        if (one.must_write or one.memo) and not memo:
            found.add("kernel.sessionNoMemo")
        if not memo.startswith(one.memo):
            found.add("kernel.sessionMemo")
        return found | self.above_caps(one, {"CLAW": FEE}, Counter())

    def above_caps(self, one: Session, more: dict[str, int], taken: Counter[str]) -> Reasons:
        """Which caps would be passed; `taken` is what this transaction took so far."""
        found, today = Reasons(), self.now_ms // DAY_MS
        for asset, amount in more.items():
            if asset not in one.caps:
                found.add("kernel.sessionAsset")
                continue
            at_once, a_day = one.caps[asset]
            if taken[asset] + amount > at_once:
                found.add("kernel.sessionPayment")
            if (one.took[asset] if one.day == today else 0) + amount > a_day:
                found.add("kernel.sessionDay")
        return found

    def charge(self, one: Session, what: dict[str, int]) -> None:
        today = self.now_ms // DAY_MS
        if one.day != today:
            one.day, one.took = today, Counter()
        one.took.update(what)

    def spends(self, who: Key, key: Key, asset: str, to: Key, amount: int) -> Reasons:
        """What caps and recipients say of a payment, after the fee was charged."""
        one = self.sessions[who, key]
        found = Reasons()
        if one.recipients and to not in one.recipients:
            found.add("kernel.sessionRecipient")
        total = Counter({asset: amount})
        if to not in self.people:
            total["CLAW"] += DEPOSIT
        return found | self.above_caps(one, dict(total), Counter(CLAW=FEE))

    # -- sponsors

    def sponsor(self, who: Key, whom: Key, one: Sponsor) -> Reasons:
        found = {"accounts.sponsorSelf"} if who is whom else Reasons()
        if not one.at_once <= one.a_day <= one.left:
            found.add("accounts.sponsorLimits")
        if not self.now_ms < one.end_ms <= self.now_ms + 365 * DAY_MS:
            found.add("accounts.sponsorExpiry")
        if (who, whom) in self.sponsors:
            found.add("accounts.sponsorExists")
        if whom not in self.people:
            found.add("kernel.sender")
        if not found:
            self.sponsors[who, whom] = one
        return found

    def end_sponsor(self, who: Key, whom: Key) -> Reasons:
        if self.sponsors.pop((who, whom), None) is None:
            return {"accounts.sponsorMissing"}
        return set()

    def pays_for(self, payer: Key, who: Key, action: str) -> Reasons:
        """Why an account that did not sign does not pay a fee; if none, it has paid it."""
        found, today = Reasons(), self.now_ms // DAY_MS
        one = self.sponsors.get((payer, who))
        if one is None:
            return {"kernel.sponsor"}
        if one.actions and action not in one.actions:
            found.add("kernel.sponsorAction")
        if one.at_once < FEE:
            found.add("kernel.sponsorFee")
        if (one.spent if one.day == today else 0) + FEE > one.a_day:
            found.add("kernel.sponsorDay")
        if one.left < FEE:
            found.add("kernel.sponsorSpent")
        if self.money[payer, "CLAW"] < FEE:
            found.add("kernel.feeFunds")
        if not found:
            one.spent = FEE + (one.spent if one.day == today else 0)
            one.day = today
            one.left -= FEE
            self.pays_fee(payer)
        return found

    # -- idempotency

    def uses(self, who: Key, key: bytes) -> Reasons:
        if (who, key) in self.used:
            return {"kernel.duplicateKey"}
        self.used[who, key] = self.now_ms
        return set()


def sorted_members(members: Members) -> list[tuple[bytes, int]]:
    return sorted((member.account, share) for member, share in members)
