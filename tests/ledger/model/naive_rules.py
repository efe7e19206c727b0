"""What the clerk writes down of officers: attestations, subjects, lists, policies, windows.

Written from docs/modules/compliance.md and docs/protocol.md (§5, policies).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.model.naive import DAY_MS, Promise, Reasons
from tests.ledger.model.naive_people import People
from tests.ledger.sandbox import Key

WEEK_MS = 7 * DAY_MS
LEAST_DELAY_MS = 10_000
OPEN_MAX = 8
#: A condition: kind, side, name, number, window; a rule as it goes over the wire.
Condition = list[Any]
PolicyRule = list[Any]


@dataclass
class List:
    title: str
    officers: int
    entries: set[bytes] = field(default_factory=set)


@dataclass
class Version:
    """What of a policy is in force, and which proposal it was."""

    asset: str
    rules: list[PolicyRule]
    id: bytes


@dataclass
class Draft:
    """A proposed version, and who is for and against it."""

    policy: str
    asset: str
    rules: list[PolicyRule]
    delay_ms: int
    by: Key
    end_ms: int
    status: str = "open"
    yes: list[Key] = field(default_factory=list)
    no: list[Key] = field(default_factory=list)


@dataclass
class Attested:
    subject: bytes
    level: int
    end_ms: int
    status: str = "issued"


class Rules(People):
    """Compliance."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: dict[Key, tuple[str, ...]] = {}
        self.removed: set[Key] = set()
        self.attested: dict[tuple[Key, Key, str], Attested] = {}
        self.bound_ms: dict[Key, int] = {}
        self.quorum: int | None = None
        self.delay_ms = LEAST_DELAY_MS
        #: What officers have begun to agree on: until when, and who said so.
        self.ballots: dict[Any, tuple[int, list[Key]]] = {}
        self.lists: dict[str, List] = {}
        self.drafts: dict[bytes, Draft] = {}
        self.versions: dict[str, Version] = {}
        #: Which asset a policy is for, in all its versions.
        self.scopes: dict[str, str] = {}
        #: (asset, side, window): since when it is counted; and (… , party): slot → sum, count.
        self.counted_since: dict[tuple[str, str, int], int] = {}
        self.tallies: dict[tuple[str, str, int, object], dict[int, list[int]]] = {}
        self.paired: set[tuple[Key, Key]] = set()
        #: Whether the payment that is judged carries a hash of the payer's institution.
        self.travels = False

    def begin(self, after_ms: int) -> None:
        self.approving, self.travels = set(), False
        now = self.now_ms + after_ms
        self.ballots = {what: one for what, one in self.ballots.items() if one[0] > now}
        super().begin(after_ms)
        for name, one in self.drafts.items():
            if one.status == "open" and one.end_ms <= now:
                one.status = "expired"
            elif one.status == "waiting" and one.end_ms <= now:
                one.status = "active"
                self.versions[one.policy] = Version(one.asset, one.rules, name)
                self.watch_windows()

    def watch_windows(self) -> None:
        wanted = {
            (one.asset, condition[1], condition[4])
            for one in self.versions.values()
            for rule in one.rules
            for condition in rule[7]
            if condition[0] in ("sum-at-least", "count-at-least")
        }
        self.counted_since = {
            what: self.counted_since.get(what, self.now_ms) for what in sorted(wanted)
        }

    # -- what a payment is judged by

    def level(self, whom: Key, topic: str) -> int | None:
        """The highest level at which somebody is attested a topic now."""
        levels = [
            one.level
            for (holder, issuer, about), one in self.attested.items()
            if (holder, about, one.status) == (whom, topic, "accepted")
            and one.end_ms > self.now_ms
            and self.may_attest(issuer, topic)
        ]
        return max(levels) if levels else None

    def listed(self, whom: Key, name: str) -> bool:
        entries = self.lists[name].entries
        return whom.account in entries or self.persons.get(whom, b"") in entries

    def party(self, side: str, source: Key, target: Key) -> object:
        who = source if side.startswith("source") else target
        return self.person(who) if side.endswith("subject") else who

    def so_far(self, asset: str, side: str, window: int, party: object) -> tuple[int, int]:
        first = self.now_ms * 8 // window - 8
        slots = self.tallies.get((asset, side, window, party), {})
        found = [pair for slot, pair in slots.items() if slot >= first]
        return sum(pair[0] for pair in found), sum(pair[1] for pair in found)

    def holds_of(self, condition: Condition, at: tuple[str, Key, Key, int]) -> bool:
        """Whether a condition holds of a payment."""
        kind, side, name, window = condition[0], condition[1], condition[2], condition[4]
        number: int = condition[3]
        asset, source, target, amount = at
        sides = {"source": [source], "target": [target]}.get(side, [source, target])
        join = all if side == "both" else any
        match kind:
            case "attested" | "not-attested":
                levels = [self.level(one, name) for one in sides]
                fine = [level is not None and level >= number for level in levels]
                return join(one == (kind == "attested") for one in fine)
            case "amount-at-least":
                return amount >= number
            case "amount-below":
                return amount < number
            case "sum-at-least" | "count-at-least":
                total, times = self.so_far(asset, side, window, self.party(side, source, target))
                return (total + amount if kind == "sum-at-least" else times + 1) >= number
            case "listed" | "not-listed":
                return join(self.listed(one, name) == (kind == "listed") for one in sides)
            case "new-counterparty":
                return (source, target) not in self.paired
            case "approvals-below":
                asked = {one for one in self.approving if one in self.roles[name]}
                return len(self.people_of(*asked) - self.people_of(source)) < number
            case "no-travel-hash":
                return not self.travels
            case "risk-at-least":
                scores = [self.score(one) for one in sides]
                return join(score is not None and score >= number for score in scores)
            case "risk-missing":
                return join(self.score(one) is None for one in sides)
        raise AssertionError(kind)

    def policy(self, asset: str, source: Key, target: Key, amount: int) -> str:
        verdicts = set()
        for version in self.versions.values():
            if version.asset == asset:
                for rule in version.rules:
                    at = asset, source, target, amount
                    if all(self.holds_of(condition, at) for condition in rule[7]):
                        verdicts.add(rule[1])
                        break
        return "deny" if "deny" in verdicts else "hold" if "hold" in verdicts else "allow"

    def asks_for_pairs(self, asset: str) -> bool:
        return any(
            condition[0] == "new-counterparty"
            for one in self.versions.values()
            if one.asset == asset
            for rule in one.rules
            for condition in rule[7]
        )

    def count(self, asset: str, source: Key, target: Key, amount: int) -> None:
        held = self.policy(asset, source, target, amount) == "hold"
        for of, side, window in self.counted_since:
            if of == asset:
                key = asset, side, window, self.party(side, source, target)
                slot = self.tallies.setdefault(key, {}).setdefault(
                    self.now_ms * 8 // window, [0, 0]
                )
                slot[0] += amount
                slot[1] += 1
        if not held and self.asks_for_pairs(asset):
            self.paired.add((source, target))

    def marked(self) -> list[Any]:
        return [
            [(key, copy.deepcopy(slots)) for key, slots in self.tallies.items()],
            set(self.paired),
        ]

    def restore(self, mark: list[Any]) -> None:
        super().restore(mark)
        self.tallies, self.paired = dict(mark[3]), mark[4]

    def ended(self, promise_id: bytes, amount: int, one: Promise, *, paid: bool) -> None:
        """What comes back counts no longer, where it surely was counted."""
        super().ended(promise_id, amount, one, paid=paid)
        if paid:
            if self.asks_for_pairs(one.asset):
                self.paired.add((one.payer, one.payee))
            return
        for (asset, side, window), since_ms in self.counted_since.items():
            who = one.payer if side.startswith("source") else one.payee
            late = side.endswith("subject") and self.bound_ms.get(who, -1) >= one.since_ms
            if asset != one.asset or one.since_ms < since_ms or late:
                continue
            key = asset, side, window, self.party(side, one.payer, one.payee)
            pair = self.tallies.get(key, {}).get(one.since_ms * 8 // window)
            if pair is not None:
                pair[0] = max(0, pair[0] - amount)
                pair[1] = max(0, pair[1] - (one.held and not one.left))

    # -- attestations

    def may_attest(self, issuer: Key, topic: str) -> bool:
        return issuer not in self.removed and topic in self.topics.get(issuer, ())

    def set_issuer(self, who: Key, issuer: Key, topics: tuple[str, ...]) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        if len(set(topics)) < len(topics):
            found.add("compliance.topicTwice")
        if issuer not in self.people:
            found.add("kernel.sender")
        if issuer not in self.removed and self.topics.get(issuer) == topics:
            found.add("compliance.sameIssuer")
        if not found:
            self.topics[issuer] = topics
            self.removed.discard(issuer)
        return found

    def remove_issuer(self, who: Key, issuer: Key) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        if issuer in self.removed or issuer not in self.topics:
            found.add("compliance.noIssuer")
        if not found:
            self.removed.add(issuer)
        return found

    def attest(
        self, who: Key, whom: Key, subject: bytes, topic: str, level: int, end_ms: int
    ) -> Reasons:
        found = Reasons() if self.may_attest(who, topic) else {"compliance.mayNotAttest"}
        if whom not in self.people:
            found.add("kernel.sender")
        if not self.now_ms < end_ms <= self.now_ms + 3_653 * DAY_MS:
            found.add("compliance.expiry")
        if self.persons.get(whom, subject) != subject:
            found.add("compliance.otherSubject")
        if not found:
            before = self.attested.get((whom, who, topic))
            one = Attested(subject, level, end_ms)
            if before is not None and (before.status, before.subject) == ("accepted", subject):
                one.status = "accepted"
            self.attested[whom, who, topic] = one
        return found

    def accept(self, who: Key, issuer: Key, topic: str) -> Reasons:
        one = self.attested.get((who, issuer, topic))
        if one is None:
            return {"compliance.noAttestation"}
        found = Reasons() if one.status == "issued" else {"compliance.notOffered"}
        if self.now_ms >= one.end_ms:
            found.add("compliance.attestationLate")
        if not self.may_attest(issuer, topic):
            found.add("compliance.mayNotAttest")
        if self.persons.get(who, one.subject) != one.subject:
            found.add("compliance.otherSubject")
        if not found:
            if who not in self.persons:
                self.persons[who], self.bound_ms[who] = one.subject, self.now_ms
            one.status = "accepted"
        return found

    def revoke_attestation(self, who: Key, whom: Key, topic: str, issuer: Key) -> Reasons:
        found = Reasons()
        if who is not issuer and who not in self.officers:
            found.add("compliance.mayNotRevoke")
        one = self.attested.get((whom, issuer, topic))
        if one is None:
            found.add("compliance.noAttestation")
        elif one.status == "revoked":
            found.add("compliance.notOffered")
        if not found and one is not None:
            one.status = "revoked"
        return found

    # -- what officers agree on

    def there(self) -> int:
        return len(self.people_of(*self.officers))

    def counted(self, voters: list[Key]) -> int:
        return len(self.people_of(*(one for one in voters if one in self.officers)))

    def joins(self, who: Key, voters: list[Key]) -> Reasons:
        """Why saying so adds nobody."""
        if who in voters:
            return {"compliance.agreed"}
        again = self.counted([*voters, who]) == self.counted(voters)
        return {"compliance.samePerson"} if again else set()

    def agree(self, who: Key, what: Any, needed: int, before: Reasons) -> tuple[Reasons, bool]:
        """Reasons against saying something, and whether with it enough officers have."""
        found = set(before) | (set() if who in self.officers else {"kernel.role"})
        end_ms, voters = self.ballots.get(what, (self.now_ms + WEEK_MS, []))
        found |= self.joins(who, voters)
        if found:
            return found, False
        if self.counted([*voters, who]) >= needed:
            self.ballots.pop(what, None)
            return found, True
        self.ballots[what] = end_ms, [*voters, who]
        return found, False

    def set_subject(self, who: Key, whom: Key, subject: bytes | None) -> Reasons:
        found = Reasons() if whom in self.people else {"kernel.sender"}
        if self.persons.get(whom) == subject:
            found.add("compliance.sameSubject")
        found, done = self.agree(who, ("subject", whom, subject), self.officers_needed(), found)
        if done:
            self.persons.pop(whom, None)
            if subject is not None:
                self.persons[whom] = subject
            self.bound_ms[whom] = self.now_ms
        return found

    def officers_needed(self) -> int:
        return self.quorum or max(1, min(2, self.there()))

    def set_quorum(self, who: Key, needed: int, delay_ms: int) -> Reasons:
        few = {"compliance.tooFewOfficers"} if needed > self.there() else Reasons()
        what = "quorum", needed, delay_ms
        found, done = self.agree(who, what, self.officers_needed(), few)
        if done:
            self.quorum, self.delay_ms = needed, delay_ms
        return found

    def set_list(self, who: Key, name: str, title: str, officers: int) -> Reasons:
        found = {"compliance.tooFewOfficers"} if officers > self.there() else Reasons()
        one = self.lists.get(name)
        if one is not None and (one.title, one.officers) == (title, officers):
            found.add("compliance.sameList")
        what = "list", name, title, officers
        found, done = self.agree(who, what, self.officers_needed(), found)
        if done:
            entries = set() if one is None else one.entries
            self.lists[name] = List(title, officers, entries)
        return found

    def change_list(self, who: Key, name: str, entries: tuple[bytes, ...], on: bool) -> Reasons:
        found, one = Reasons(), self.lists.get(name)
        if list(entries) != sorted(set(entries)):
            found.add("compliance.entriesOrder")
        if one is None:
            found |= {"compliance.unknownList"}
            return found | (set() if who in self.officers else {"kernel.role"})
        if any((entry in one.entries) == on for entry in entries):
            found.add("compliance.inList" if on else "compliance.notInList")
        found, done = self.agree(who, ("entries", name, entries, on), one.officers, found)
        if done:
            one.entries = one.entries | set(entries) if on else one.entries - set(entries)
        return found

    # -- policies

    def draft(self, who: Key, one: Draft) -> Reasons:
        found = Reasons() if who in self.officers else {"kernel.role"}
        if one.delay_ms < self.delay_ms:
            found.add("compliance.delay")
        mine = [d for d in self.drafts.values() if (d.by, d.status) == (who, "open")]
        if len(mine) >= OPEN_MAX:
            found.add("compliance.openFull")
        if self.scopes.get(one.policy, one.asset) != one.asset:
            found.add("compliance.scope")
        if self.officers_needed() == 1 and self.waits(one.policy):
            found.add("compliance.waiting")
        return found

    def waits(self, policy: str) -> bool:
        return any(d.policy == policy and d.status == "waiting" for d in self.drafts.values())

    def approve_draft(self, who: Key, name: bytes) -> Reasons:
        found = Reasons() if who in self.officers else {"kernel.role"}
        one = self.drafts.get(name)
        if one is None:
            return found | {"compliance.noProposal"}
        if one.status != "open":
            found.add("compliance.decided")
        found |= self.joins(who, one.yes)
        enough = self.counted([*one.yes, who]) >= self.officers_needed()
        if enough and self.waits(one.policy):
            found.add("compliance.waiting")
        if enough and self.scopes.get(one.policy, one.asset) != one.asset:
            found.add("compliance.scope")
        if found:
            return found
        one.yes = [*one.yes, who]
        one.no = [other for other in one.no if other is not who]
        if enough:
            one.status = "waiting"
            self.scopes[one.policy] = one.asset
            one.end_ms = self.now_ms + max(one.delay_ms, self.delay_ms)
        return found

    def reject_draft(self, who: Key, name: bytes) -> Reasons:
        found = Reasons() if who in self.officers else {"kernel.role"}
        one = self.drafts.get(name)
        if one is None:
            return found | {"compliance.noProposal"}
        if one.status not in ("open", "waiting"):
            found.add("compliance.decided")
        found |= self.joins(who, one.no)
        if found:
            return found
        one.no = [*one.no, who]
        if one.status == "open":
            one.yes = [other for other in one.yes if other is not who]
        mine = one.status == "open" and who is one.by
        if mine or self.counted(one.no) >= self.officers_needed():
            one.status = "rejected"
        return found
