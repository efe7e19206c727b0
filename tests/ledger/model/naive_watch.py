"""What the clerk writes down of oracles' reports, documents and logs.

Written from docs/modules/risk.md and docs/modules/anchor.md. A log is kept entry by entry, so
whether one is the beginning of another is seen, not proven.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgpack

from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.rfc6962 import root_of
from tests.ledger.model.naive import DAY_MS, Reasons
from tests.ledger.model.promises import Naive
from tests.ledger.sandbox import Key


@dataclass
class Break:
    """That a log shall go on from fewer entries, and which officers say so."""

    number: int
    size: int
    root: bytes
    end_ms: int
    void: bool = False
    approved: list[Key] = field(default_factory=list)


@dataclass
class Log:
    """A log, entry by entry, and who writes it: an account, or holders of a role."""

    owner: Key
    name: str
    writer: Key | None
    role: str | None
    breakers: int
    entries: list[bytes] = field(default_factory=list)
    anchors: int = 0
    proposed: int = 0
    proposals: dict[Key, Break] = field(default_factory=dict)
    breaks: int = 0

    @property
    def id(self) -> bytes:
        return message_hash_of(msgpack.packb(["anchor.log", self.owner.account, self.name]))


class Watch(Naive):
    """Risk and anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.oracles: tuple[Key, ...] = ()
        self.needed = 0
        #: (oracle, whom it is about): score and time at which it ends.
        self.reports: dict[tuple[Key, Key], tuple[int, int]] = {}
        self.documents: defaultdict[bytes, list[Key]] = defaultdict(list)
        self.logs: dict[bytes, Log] = {}

    # -- risk

    def set_oracles(self, who: Key, members: tuple[Key, ...], needed: int) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        if list(members) != sorted(set(members), key=lambda one: one.account):
            found.add("risk.order")
        if not (needed == 0 if not members else 1 <= needed <= len(members)):
            found.add("risk.needed")
        if len(self.people_of(*members)) < len(members):
            found.add("risk.oneSubject")
        if any(one not in self.people for one in members):
            found.add("kernel.sender")
        if (members, needed) == (self.oracles, self.needed):
            found.add("risk.unchanged")
        if not found:
            gone = set(self.oracles) - set(members)
            self.reports = {key: said for key, said in self.reports.items() if key[0] not in gone}
            self.oracles, self.needed = members, needed
        return found

    def report(self, who: Key, whom: Key, score: int, end_ms: int) -> Reasons:
        found = Reasons() if who in self.oracles else {"risk.notOracle"}
        if self.person(who) == self.person(whom):
            found.add("risk.own")
        if not self.now_ms < end_ms <= self.now_ms + 30 * DAY_MS:
            found.add("risk.expiry")
        if whom not in self.people:
            found.add("kernel.sender")
        if not found:
            self.reports[who, whom] = score, end_ms
        return found

    def counts(self, who: Key, whom: Key) -> bool:
        """Whether a report is there and in time."""
        said = self.reports.get((who, whom))
        return said is not None and said[1] > self.now_ms

    def score(self, whom: Key) -> int | None:
        """The lower median of what different people report, if enough do."""
        best: dict[object, int] = {}
        for (oracle, about), (score, end_ms) in self.reports.items():
            person = self.person(oracle)
            if about is whom and end_ms > self.now_ms and person != self.person(whom):
                best[person] = max(score, best.get(person, 0))
        scores = sorted(best.values())
        if not scores or len(scores) < self.needed:
            return None
        return scores[(len(scores) - 1) // 2]

    # -- anchor

    def document(self, who: Key, commitment: bytes) -> Reasons:
        if who in self.documents[commitment]:
            return {"anchor.documentKnown"}
        self.documents[commitment].append(who)
        return set()

    def open_log(self, one: Log) -> Reasons:
        found = self.writer_of(one.writer, one.role)
        if one.id in self.logs:
            found.add("anchor.logKnown")
        if not found:
            self.logs[one.id] = one
        return found

    def writer_of(self, writer: Key | None, role: str | None) -> Reasons:
        found = Reasons()
        if (writer is None) == (role is None):
            found.add("anchor.oneWriter")
        if writer is not None and writer not in self.people:
            found.add("kernel.sender")
        return found

    def set_writer(self, who: Key, log_id: bytes, writer: Key | None, role: str | None) -> Reasons:
        one = self.logs.get(log_id)
        if one is None:
            return {"anchor.unknown"}
        found = self.writer_of(writer, role)
        if who is not one.owner:
            found.add("anchor.notOwner")
        if (writer, role) == (one.writer, one.role):
            found.add("anchor.writerKnown")
        if not found:
            one.writer, one.role = writer, role
        return found

    def writes(self, who: Key, one: Log) -> bool:
        return who is one.writer if one.role is None else who in self.roles[one.role]

    def anchor(self, who: Key, log_id: bytes, entries: list[bytes], shown: bool) -> Reasons:
        """`shown`: whether the proof is the one of these entries."""
        one = self.logs.get(log_id)
        if one is None:
            return {"anchor.unknown"}
        old = len(one.entries)
        found = Reasons() if self.writes(who, one) else {"anchor.notWriter"}
        if len(entries) < old:
            found.add("anchor.falls")
        elif len(entries) == old and entries != one.entries:
            found.add("anchor.otherRoot")
        elif entries[:old] != one.entries or not shown:
            found.add("anchor.inconsistent")
        if not found:
            if entries != one.entries:
                self.moved(one)
            one.entries = entries
            one.anchors += 1
        return found

    def moved(self, one: Log) -> None:
        for proposal in one.proposals.values():
            proposal.void = True

    def propose_break(
        self, who: Key, log_id: bytes, size: int, root: bytes, end_ms: int
    ) -> Reasons:
        one = self.logs.get(log_id)
        if one is None:
            return {"anchor.unknown"}
        found = Reasons()
        if who is not one.owner and not self.writes(who, one) and who not in self.officers:
            found.add("kernel.role")
        if not self.now_ms < end_ms <= self.now_ms + 14 * DAY_MS:
            found.add("anchor.span")
        if size >= len(one.entries):
            found.add("anchor.notBehind")
        if not size and root != bytes(32) and root != root_of([]):
            found.add("anchor.emptyRoot")
        if not found:
            one.proposed += 1
            one.proposals[who] = Break(one.proposed, size, root, end_ms)
        return found

    def approve_break(
        self, who: Key, log_id: bytes, proposer: Key, number: int, size: int, root: bytes
    ) -> Reasons:
        one = self.logs.get(log_id)
        found = Reasons() if who in self.officers else {"kernel.role"}
        if one is None:
            return found | {"anchor.unknown"}
        said = one.proposals.get(proposer)
        if said is None or (said.number, said.size, said.root) != (number, size, root):
            return found | {"anchor.noProposal"}
        if self.now_ms >= said.end_ms:
            found.add("anchor.late")
        if said.void:
            found.add("anchor.moved")
        own = self.person(proposer)
        if self.person(who) == own:
            found.add("anchor.ownProposal")
        officers = [key for key in said.approved if key in self.officers]
        people = self.people_of(*officers) - {own}
        if who in said.approved:
            # Saying it again has it counted again: others may have become officers meanwhile.
            if len(people) < one.breakers:
                found.add("anchor.approved")
        elif self.person(who) in people:
            found.add("anchor.samePerson")
        if found:
            return found
        if who not in said.approved:
            said.approved.append(who)
        if len(people | {self.person(who)}) >= one.breakers:
            self.moved(one)
            del one.proposals[proposer]
            one.entries = one.entries[:size]
            one.breaks += 1
        return found
