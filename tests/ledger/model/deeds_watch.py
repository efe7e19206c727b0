"""What oracles report, what is anchored, how a log that lost entries goes on: in the machine."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from tests.ledger.model.machine import (
    DAY_MS,
    EVERYBODY,
    Machine,
    customers,
    numbers,
    spans,
)
from tests.ledger.model.naive_watch import Log
from tests.ledger.model.world import ADMIN, ISSUER, OFFICERS, act
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key

MODEL = message_hash_of(b"model")
ORACLES = (CAROL, DAVE, ISSUER, OFFICERS[0], OFFICERS[1])
NOWHERE = b"\x13" * 32
owners = st.sampled_from((ALICE, ALICE, BOB))
admins = st.sampled_from((ADMIN,) * 7 + (ALICE,))


def entry(number: int, version: int) -> bytes:
    return leaf_hash(b"%d %d" % (number, version))


class Watching(Machine):
    """See the module."""

    # -- risk

    @rule(
        who=admins,
        members=st.sets(st.sampled_from(ORACLES), max_size=4),
        needed=st.integers(0, 3),
        turned=st.sampled_from((False,) * 9 + (True,)),
    )
    def names_oracles(self, who: Key, members: set[Key], needed: int, turned: bool) -> None:
        listed = sorted(members, key=lambda one: one.account, reverse=turned)
        deed = lambda: self.model.set_oracles(who, tuple(listed), needed)  # noqa: E731
        self.does(who, deed, "risk.setOracles", listed, needed)

    @rule(
        who=st.sampled_from(ORACLES),
        whom=st.sampled_from((ALICE, ALICE, BOB, CAROL)),
        score=st.sampled_from((0, 300, 500, 700, 1_000)),
        span=st.one_of(spans, st.sampled_from((DAY_MS, DAY_MS, 0, 31 * DAY_MS))),
    )
    def reports(self, who: Key, whom: Key, score: int, span: int) -> None:
        end_ms = self.model.now_ms + span
        deed = lambda: self.model.report(who, whom, score, end_ms)  # noqa: E731
        self.does(who, deed, "risk.report", whom, score, MODEL, 1, end_ms)

    @rule(who=st.sampled_from(ORACLES), whom=st.sampled_from((ALICE, BOB, CAROL)))
    def takes_a_report_back(self, who: Key, whom: Key) -> None:
        """What counts no more may be forgotten already; what counts may not."""
        if not self.can_pay(who):
            return
        self.paying(who)
        counted = self.model.counts(who, whom)
        kept = (who, whom) in self.model.reports
        done = self.world.send(who, act("risk.withdraw", whom))
        assert done.rule in (("",) if counted else ("", "risk.noReport")), done
        assert kept or done.rule or who not in self.model.oracles
        self.model.reports.pop((who, whom), None)

    # -- documents

    @rule(who=customers, number=st.integers(0, 3))
    def anchors_a_document(self, who: Key, number: int) -> None:
        commitment = message_hash_of(b"document %d" % number)
        deed = lambda: self.model.document(who, commitment)  # noqa: E731
        self.does(who, deed, "anchor.document", commitment, "lease")

    # -- logs

    @rule(
        who=owners,
        name=st.sampled_from(("audit", "audit", "door")),
        writer=st.sampled_from((ALICE, ALICE, BOB, None, None)),
        role=st.sampled_from((None, None, "compliance")),
        breakers=st.sampled_from((2, 2, 3)),
    )
    def opens_a_log(
        self, who: Key, name: str, writer: Key | None, role: str | None, breakers: int
    ) -> None:
        one = Log(who, name, writer, role, breakers)
        deed = lambda: self.model.open_log(one)  # noqa: E731
        self.does(who, deed, "anchor.openLog", name, writer, role, breakers)

    def log(self, number: int) -> tuple[bytes, Log]:
        """Some log; sometimes one that never was."""
        found = sorted(self.model.logs)
        if not found or number == 13:
            return NOWHERE, Log(ALICE, "", ALICE, None, 2)
        name = found[number % len(found)]
        return name, self.model.logs[name]

    @precondition(lambda self: self.model.logs)
    @rule(
        who=owners, number=numbers, writer=st.sampled_from((ALICE, BOB, None)),
        role=st.sampled_from((None, None, "compliance", "compliance", "issuer")),
    )  # fmt: skip
    def names_a_writer(self, who: Key, number: int, writer: Key | None, role: str | None) -> None:
        name, one = self.log(number)
        who = who if number % 5 == 4 else one.owner
        if number % 3:
            writer = None if role else writer
        deed = lambda: self.model.set_writer(who, name, writer, role)  # noqa: E731
        self.does(who, deed, "anchor.setWriter", name, writer, role)

    @precondition(lambda self: self.model.logs)
    @rule(
        who=customers, number=numbers, size=st.integers(0, 9), version=st.integers(0, 1),
        since=st.integers(0, 9), shown=st.sampled_from((True,) * 6 + (False,)),
    )  # fmt: skip
    def anchors_a_log(
        self, who: Key, number: int, size: int, version: int, since: int, shown: bool
    ) -> None:
        """Entries from `since` on are of some version: often what they were, or not."""
        name, one = self.log(number)
        if number % 6:
            holders = [key for key in EVERYBODY if self.model.writes(key, one)]
            who = holders[number % len(holders)] if holders else who
        old = one.entries
        if number % 4:
            since, size = max(since, len(old)), max(size, len(old))
        entries = [*old[:since], *(entry(n, version) for n in range(min(since, len(old)), 9))]
        entries = entries[:size]
        proof: list[Any] = []
        if len(old) <= len(entries):
            proof = consistency_proof(entries, len(old))
        if not shown:
            shown, proof = not proof, proof[:-1]
        deed = lambda: self.model.anchor(who, name, entries, shown)  # noqa: E731
        self.does(who, deed, "anchor.log", name, len(entries), root_of(entries), proof)

    @precondition(lambda self: any(one.entries for one in self.model.logs.values()))
    @rule(who=st.sampled_from((ALICE, *OFFICERS)), number=numbers, size=st.integers(0, 9),
          span=st.one_of(spans, st.just(15 * DAY_MS)))  # fmt: skip
    def proposes_a_break(self, who: Key, number: int, size: int, span: int) -> None:
        name, one = self.log(number)
        if number % 4 and one.entries:
            size %= len(one.entries)
        root = root_of(one.entries[:size]) if number % 7 or size else NOWHERE
        end_ms = self.model.now_ms + span
        deed = lambda: self.model.propose_break(who, name, size, root, end_ms)  # noqa: E731
        self.does(who, deed, "anchor.break", name, size, root, "disk lost", end_ms)

    @precondition(lambda self: any(one.proposals for one in self.model.logs.values()))
    @rule(who=st.sampled_from((*OFFICERS, *OFFICERS, ALICE)), number=numbers, wrong=numbers)
    def approves_a_break(self, who: Key, number: int, wrong: int) -> None:
        name, one = self.log(number)
        if not one.proposals:
            name, one = next((n, o) for n, o in sorted(self.model.logs.items()) if o.proposals)
        proposers = sorted(one.proposals, key=lambda key: key.account)
        proposer = proposers[number % len(proposers)]
        said = one.proposals[proposer]
        stated = (said.number + (wrong == 9), said.size, said.root)
        deed = lambda: self.model.approve_break(who, name, proposer, *stated)  # noqa: E731
        self.does(who, deed, "anchor.approveBreak", name, proposer, *stated)

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        model, world = self.model, self.world
        for whom in (ALICE, BOB, CAROL):
            if whom in model.people:
                score = world.query("risk.score", whom.account, model.now_ms)
                assert score == model.score(whom), whom
        for commitment, whose in model.documents.items():
            found = world.query("anchor.anchorers", commitment, 0, 100)
            assert [place[0] for place in found] == [key.account for key in whose]
        for name, one in model.logs.items():
            log = world.query("anchor.log", name)
            assert (log.owner, log.size, log.root) == (
                one.owner.account, len(one.entries), root_of(one.entries),
            )  # fmt: skip
            assert (log.anchors, log.breaks) == (one.anchors, one.breaks)
            assert log.writer == (one.writer and one.writer.account)
            assert log.writer_role == (one.role or "")
