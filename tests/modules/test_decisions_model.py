"""Votes and roles against naive ones: random deeds, plain sets and lists, the same decisions.

The model was written from docs/protocol.md and shares no code with the modules. Where the two
disagree, somebody decided without a quorum, or a decision was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.crypto import due_hash_of
from clawpurse.modules.governance.changes import Change, Kind
from clawpurse.modules.governance.records import Status
from tests.ledger.sandbox import ALICE, BOB, CAROL, START_MS, Key
from tests.modules.council import AUTHORITIES, Council, grant, revoke

PEOPLE = {"alice": ALICE, "bob": BOB, "carol": CAROL}
SEATS = 3
MINUTE_MS = 60_000
# Ends of proposals: few, so that votes meet; the sandbox's blocks reach and pass them.
ENDS = (START_MS + 2 * MINUTE_MS, START_MS + 4 * MINUTE_MS)


class Deed(NamedTuple):
    """One transaction: a vote by contents, a vote or withdrawal by id, a role given or taken."""

    verb: str
    voter: int = 0
    what: tuple[Any, ...] = ()
    end: int = 0


@dataclass
class Paper:
    """A proposal as a secretary would keep it."""

    what: tuple[Any, ...]
    opener: int
    ends_ms: int
    status: str = "open"
    votes: set[int] = field(default_factory=set)


@dataclass
class Naive:
    """All that is decided, as a child would write it down."""

    sets: list[tuple[int, frozenset[int]]] = field(
        default_factory=lambda: [(0, frozenset(range(SEATS)))]
    )
    papers: dict[tuple[tuple[Any, ...], int], Paper] = field(default_factory=dict)
    queue: list[tuple[int, bytes, tuple[tuple[Any, ...], int]]] = field(default_factory=list)
    roles: dict[tuple[str, str], list[tuple[int, bool]]] = field(default_factory=dict)
    interval_ms: int = 200
    height: int = 0
    now_ms: int = START_MS

    def seats(self, height: int) -> frozenset[int]:
        return [members for since, members in self.sets if since <= height][-1]

    def holds(self, who: str, role: str) -> bool:
        return bool(self.roles.get((who, role), [(0, False)])[-1][1])

    def begin(self, after_ms: int) -> None:
        self.height += 1
        self.now_ms += after_ms
        due = sorted(entry for entry in self.queue if entry[0] <= self.now_ms)
        self.queue = [entry for entry in self.queue if entry[0] > self.now_ms]
        for when_ms, due_id, place in due:
            paper = self.papers[place]
            if paper.status == "waiting":
                self.perform(place, when_ms, due_hash_of(due_id + (1).to_bytes(4, "big")))
            elif paper.status == "open" and place[1] == when_ms:
                paper.status = "expired"

    def problem(self, what: tuple[Any, ...]) -> str:
        """Why a change cannot be made to the next height's terms."""
        kind, *args = what
        members = self.seats(self.height + 1)
        if kind in (Kind.REMOVE, Kind.REPLACE):
            if args[0] not in members:
                return "governance.noAuthority"
            if kind is Kind.REMOVE and len(members) == 1:
                return "governance.lastAuthority"
        if kind in (Kind.ADD, Kind.REPLACE) and args[-1] in members:
            return "governance.isAuthority"
        if kind is Kind.GRANT and self.holds(args[1], args[0]):
            return "held"
        if kind is Kind.REVOKE and not self.holds(args[1], args[0]):
            return "notHeld"
        if kind is Kind.PARAMETERS and args[0] == self.interval_ms:
            return "governance.sameParameters"
        return ""

    def perform(self, place: tuple[tuple[Any, ...], int], passed_ms: int, next_due: bytes) -> None:
        paper = self.papers[place]
        kind, *args = paper.what
        decides = kind in (Kind.ADD, Kind.REMOVE, Kind.REPLACE)
        if decides and self.sets[-1][0] >= self.height + 2:
            paper.status = "waiting"
            self.queue.append((passed_ms, next_due, place))
            return
        if self.problem(paper.what):
            paper.status = "failed"
            return
        paper.status = "passed"
        if decides:
            members = set(self.seats(self.height + 1))
            if kind is not Kind.ADD:
                members.discard(args[0])
            if kind is not Kind.REMOVE:
                members.add(args[-1])
            self.sets.append((self.height + 2, frozenset(members)))
        elif kind is Kind.PARAMETERS:
            self.interval_ms = args[0]
        else:
            self.roles.setdefault((args[1], args[0]), []).append((self.height, kind is Kind.GRANT))

    def act(self, deed: Deed, tx_id: bytes) -> str:
        """Perform a deed; the rule that refuses it, or nothing."""
        if deed.verb in ("grant", "revoke"):
            return self.role(deed)
        if deed.voter not in self.seats(self.height):
            return "governance.notMember"
        place, made = (deed.what, ENDS[deed.end]), 0
        if deed.verb == "propose" and place not in self.papers:
            if not place[1] - self.now_ms >= MINUTE_MS:
                return "governance.span"
            problem = self.problem(deed.what)
            if problem:
                return {"held": "governance.roleHeld", "notHeld": "governance.roleNotHeld"}.get(
                    problem, problem
                )
            self.papers[place] = Paper(deed.what, deed.voter, place[1])
            self.queue.append((place[1], due_hash_of(tx_id + (1).to_bytes(4, "big")), place))
            made = 1
        if place not in self.papers:
            return "governance.unknown"
        paper = self.papers[place]
        if paper.status != "open":
            return "governance.over"
        members = self.seats(self.height)
        counted = paper.votes & members
        if deed.verb == "withdraw":
            if deed.voter not in counted:
                return "governance.notVoted"
            paper.votes = counted - {deed.voter}
            return ""
        passes = 3 * len(counted | {deed.voter}) > 2 * len(members)
        if deed.voter in counted and not passes:
            return "governance.voted"
        paper.votes = counted | {deed.voter}
        if passes:
            self.perform(place, self.now_ms, due_hash_of(tx_id + (made + 1).to_bytes(4, "big")))
        return ""

    def role(self, deed: Deed) -> str:
        who, role = deed.what
        if not self.holds("alice", "admin"):
            return "kernel.role"
        if deed.verb == "grant" and self.holds(who, role):
            return "roles.held"
        if deed.verb == "revoke":
            admins = [name for name in PEOPLE if self.holds(name, "admin")]
            if (who, role) == ("alice", "admin") and admins == ["alice"]:
                return "roles.lastAdmin"
            if not self.holds(who, role):
                return "roles.notHeld"
        self.roles.setdefault((who, role), []).append((self.height, deed.verb == "grant"))
        return ""


numbers = st.integers(0, 5)
names = st.sampled_from(["alice", "bob", "carol"])
roles_ = st.sampled_from(["admin", "desk", "desk"])
changes = st.one_of(
    st.tuples(st.just(Kind.ADD), numbers),
    st.tuples(st.just(Kind.ADD), st.integers(3, 5)),
    st.tuples(st.just(Kind.REMOVE), numbers),
    st.tuples(st.just(Kind.REPLACE), numbers, numbers),
    st.tuples(st.sampled_from([Kind.GRANT, Kind.REVOKE]), roles_, names),
    st.tuples(st.just(Kind.PARAMETERS), st.sampled_from([200, 300])),
)
ends = st.integers(0, len(ENDS) - 1)
votes = st.builds(Deed, st.sampled_from(["vote", "vote", "withdraw"]), numbers, changes, ends)
proposals = st.builds(Deed, st.just("propose"), st.integers(0, 4), changes, ends)


seat_changes = st.one_of(
    st.tuples(st.just(Kind.ADD), st.integers(2, 5)),
    st.tuples(st.just(Kind.REMOVE), st.integers(0, 4)),
    st.tuples(st.just(Kind.REPLACE), st.integers(0, 3), st.integers(2, 5)),
)


@st.composite
def rounds_of_votes(draw: st.DrawFn) -> list[Deed]:
    """Some vote for one thing; it may stay undecided."""
    what, end = draw(seat_changes | changes), draw(ends)
    voters = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
    return [Deed("propose", voter, what, end) for voter in voters]


@st.composite
def decisions(draw: st.DrawFn) -> list[Deed]:
    """Everybody who may be a member votes for a change of the authorities."""
    what, end = draw(seat_changes), draw(ends)
    return [Deed("propose", voter, what, end) for voter in draw(st.permutations(range(5)))]


singles = st.builds(
    Deed, st.sampled_from(["grant", "revoke"]), st.just(0), st.tuples(names, roles_)
)
deeds = st.lists(
    decisions()
    | decisions()
    | rounds_of_votes()
    | st.lists(votes | proposals | singles, max_size=2),
    max_size=4,
).map(lambda lists: [deed for one in lists for deed in one])
gaps = st.sampled_from([1, 1_000, 1_000, 1_000, MINUTE_MS, 2 * MINUTE_MS])
blocks = st.lists(st.tuples(gaps, deeds), min_size=1, max_size=8)


def ledger_change(chain: Council, what: tuple[Any, ...]) -> Change:
    kind, *args = what
    if kind in (Kind.GRANT, Kind.REVOKE):
        return chain.change(kind, args[0], PEOPLE[args[1]].account)
    if kind is Kind.PARAMETERS:
        return chain.change(kind, f"interval_ms={args[0]}")
    return chain.change(kind, *(AUTHORITIES[number] for number in args))


def signed(chain: Council, deed: Deed, sequence: int) -> bytes:
    terms: dict[str, Any] = {"sequence": sequence, "valid_until_ms": chain.time_ms + 10 * MINUTE_MS}
    if deed.verb in ("grant", "revoke"):
        who, role = deed.what
        make = grant if deed.verb == "grant" else revoke
        return chain.tx(ALICE, make(role, PEOPLE[who]), **terms)
    voter: Key = AUTHORITIES[deed.voter]
    change, end = ledger_change(chain, deed.what), ENDS[deed.end]
    if deed.verb == "propose":
        return chain.ballot(voter, change, end, **terms)
    return chain.by_id(deed.verb, voter, change.id(end), **terms)


def compare(chain: Council, model: Naive) -> None:
    for height in (chain.height + 1, chain.height + 2):
        members = {AUTHORITIES[number].public for number in model.seats(height)}
        assert set(chain.seats(height)) == members
    assert chain.params.interval_ms == model.interval_ms
    for (what, end), paper in model.papers.items():
        found = chain.proposal(ledger_change(chain, what).id(end))
        assert Status(found.status).label == paper.status, (what, end)
        if paper.status == "open":
            assert set(found.votes) == {AUTHORITIES[number].public for number in paper.votes}
    live = [paper for paper in model.papers.values() if paper.status in ("open", "waiting")]
    assert len(chain.query("governance.open", 0, 1_000)) == len(live)
    assert len(chain.query("governance.newest", 0, 1_000)) == len(model.papers)
    for name, key in PEOPLE.items():
        for role in ("admin", "desk"):
            history = model.roles.get((name, role), [])
            found = chain.query("roles.history", key.account, role, 0, 1_000)
            assert [(entry.height, bool(entry.held)) for entry in found] == history
            for height in range(chain.height + 1):
                held = [given for at, given in history if at <= height]
                expected = bool(held and held[-1])
                assert chain.query("roles.at", key.account, role, height) == expected
            assert chain.query("roles.holds", key.account, role) == model.holds(name, role)


def run(steps: list[tuple[int, list[Deed]]]) -> None:
    chain, model = Council(seats=SEATS), Naive()
    model.roles["alice", "admin"] = [(0, True)]
    for after_ms, tried in steps:
        first = chain.sequence(ALICE)
        raws = [signed(chain, deed, first + place) for place, deed in enumerate(tried)]
        model.begin(after_ms)
        result = chain.block(*raws, after_ms=after_ms)
        for deed, receipt in zip(tried, result.receipts, strict=True):
            assert receipt.rule == model.act(deed, receipt.tx_id), deed
        compare(chain, model)


@given(blocks)
@settings(max_examples=80)
def test_any_sequence_of_votes_decides_what_the_naive_secretary_wrote(
    steps: list[tuple[int, list[Deed]]],
) -> None:
    run(steps)


@pytest.mark.full
@given(st.lists(st.tuples(gaps, deeds), min_size=4, max_size=14))
@settings(max_examples=1_200)
def test_long_sequences_do_too(steps: list[tuple[int, list[Deed]]]) -> None:
    run(steps)
