"""Scores and logs against a model in plain dictionaries that knows nothing of records.

The model keeps whole logs, entry by entry, and every report ever made, and says of each action
whether it must be taken. If these failed, the ledger and a careful reader would disagree on which
log is the true one, or on who is suspicious.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.anchor.records import log_id
from clawpurse.modules.risk import chain as risk
from tests.ledger.sandbox import ALICE, BOB, Key
from tests.modules.council import Council
from tests.modules.multisig import DESK

PEOPLE = tuple(Key(f"somebody-{number}") for number in range(5))
MODEL = message_hash_of(b"model")
LOG = log_id(BOB.account, "log")
HOUR_MS = 3_600_000
WHO = st.integers(0, len(PEOPLE) - 1)


def entry(number: int, version: int) -> bytes:
    return leaf_hash(b"%d %d" % (number, version))


class Machine(RuleBasedStateMachine):
    """Five people are oracles and officers in turn; Bob keeps a log; Alice is the administrator."""

    @initialize()
    def start(self) -> None:
        roles = [GenesisRole("admin", ALICE.account)]
        roles += [GenesisRole("compliance", one.account) for one in PEOPLE[:4]]
        opening: dict[Key, dict[str, int]] = {ALICE: {"CLAW": 10**9}, BOB: {"CLAW": 10**9}}
        opening.update((one, {"CLAW": 10**9}) for one in PEOPLE)
        self.chain = Council(
            DESK, risk.MODULE, anchor.MODULE, roles=tuple(sorted(roles)), opening=opening
        )
        self.do(BOB, "anchor.openLog", "log", BOB.account, None, 2)
        self.subject = dict(enumerate(range(len(PEOPLE))))
        self.oracles: list[int] = []
        self.needed = 0
        # (oracle, score, ends): what was reported of Bob and not replaced, withdrawn or cut off.
        self.reports: dict[int, tuple[int, int]] = {}
        self.anchored: list[bytes] = []
        self.proposals: dict[int, dict[str, Any]] = {}
        self.made = 0
        self.breaks = 0

    def do(self, by: Key, name: str, *fields: Any) -> bool:
        receipt = self.chain.pay(by, RawAction(name, list(fields))).receipts[0]
        return receipt.code == 0

    # -- oracles

    @rule(members=st.sets(WHO), needed=st.integers(0, 5))
    def set_oracles(self, members: set[int], needed: int) -> None:
        ordered = sorted(members, key=lambda one: PEOPLE[one].account)
        taken = self.do(ALICE, "risk.setOracles", [PEOPLE[one].account for one in ordered], needed)
        subjects = {self.subject[one] for one in members}
        possible = needed == 0 if not members else 1 <= needed <= len(members)
        new = (sorted(members), needed) != (sorted(self.oracles), self.needed)
        assert taken == (possible and len(subjects) == len(members) and new)
        if taken:
            for gone in set(self.oracles) - members:
                self.reports.pop(gone, None)
            self.oracles, self.needed = sorted(members), needed

    @rule(who=WHO, score=st.integers(0, 1_000), hours=st.integers(0, 3))
    def report(self, who: int, score: int, hours: int) -> None:
        until = self.chain.time_ms + 1_000 + hours * HOUR_MS
        taken = self.do(PEOPLE[who], "risk.report", BOB.account, score, MODEL, 1, until)
        assert taken == (who in self.oracles and hours > 0)
        if taken:
            self.reports[who] = (score, until)

    @rule(who=WHO)
    def withdraw(self, who: int) -> None:
        taken = self.do(PEOPLE[who], "risk.withdraw", BOB.account)
        # What is over, or whose oracle left, may be forgotten already; what counts may not.
        counts = who in self.reports and self.reports[who][1] > self.chain.time_ms
        assert taken or not counts
        self.reports.pop(who, None)

    @rule(who=WHO, other=WHO)
    def one_person(self, who: int, other: int) -> None:
        number = self.subject[other]
        self.chain.pay(ALICE, RawAction("desk.say", [PEOPLE[who].account, bytes([number]) * 32]))
        self.chain.pay(ALICE, RawAction("desk.say", [PEOPLE[other].account, bytes([number]) * 32]))
        self.subject[who] = number

    @rule(minutes=st.sampled_from([1, 59, 61, 200]))
    def wait(self, minutes: int) -> None:
        self.chain.block(after_ms=minutes * 60_000)

    # -- logs

    @rule(size=st.integers(0, 12), version=st.integers(0, 1), since=st.integers(0, 12))
    def anchor_log(self, size: int, version: int, since: int) -> None:
        """A log whose entries from `since` on are of some version: often the old one's, or not."""
        leaves = [*self.anchored[:since], *(entry(n, version) for n in range(since, 12))][:size]
        old = len(self.anchored)
        proof: list[Any] = consistency_proof(leaves, old) if old <= len(leaves) else []
        taken = self.do(BOB, "anchor.log", LOG, len(leaves), root_of(leaves), proof)
        assert taken == (leaves[:old] == self.anchored)
        if taken:
            if leaves != self.anchored:
                self.proposals.clear()
            self.anchored = leaves

    @rule(who=WHO, size=st.integers(0, 12))
    def propose(self, who: int, size: int) -> None:
        root = root_of(self.anchored[:size])
        until = self.chain.time_ms + 1_000 + HOUR_MS
        taken = self.do(PEOPLE[who], "anchor.break", LOG, size, root, "why", until)
        assert taken == (who < 4 and size < len(self.anchored))
        if taken:
            self.made += 1
            self.proposals[who] = {
                "number": self.made, "size": size, "root": root, "until": until, "by": set(),
            }  # fmt: skip

    @rule(who=WHO, proposer=WHO)
    def approve(self, who: int, proposer: int) -> None:
        found = self.proposals.get(proposer)
        if found is None:
            return
        fields = [LOG, PEOPLE[proposer].account, found["number"], found["size"], found["root"]]
        taken = self.do(PEOPLE[who], "anchor.approveBreak", *fields)
        own = self.subject[proposer]
        others = {self.subject[one] for one in found["by"]} - {own}
        open_still = self.chain.time_ms < found["until"]
        again = who in found["by"] and len(others) < 2
        fresh = who in found["by"] or self.subject[who] not in others
        assert taken == (
            who < 4 and open_still and self.subject[who] != own and not again and fresh
        )
        if not taken:
            return
        found["by"].add(who)
        if len(others | {self.subject[who]}) >= 2:
            self.anchored = self.anchored[: found["size"]]
            self.proposals.clear()
            self.breaks += 1

    # -- what must hold after each

    @invariant()
    def the_score_is_the_model_s(self) -> None:
        if not hasattr(self, "chain"):
            return
        now_ms = self.chain.time_ms
        best: dict[int, int] = {}
        for oracle, (score, until) in self.reports.items():
            if until > now_ms:
                subject = self.subject[oracle]
                best[subject] = max(score, best.get(subject, 0))
        scores = sorted(best.values())
        enough = bool(scores) and len(scores) >= self.needed
        expected = scores[(len(scores) - 1) // 2] if enough else None
        assert self.chain.query("risk.score", BOB.account, now_ms) == expected

    @invariant()
    def the_log_is_the_model_s(self) -> None:
        if not hasattr(self, "chain"):
            return
        log = self.chain.query("anchor.log", LOG)
        assert (log.size, log.root) == (len(self.anchored), root_of(self.anchored))
        assert log.breaks == self.breaks == len(self.chain.query("anchor.breaks", LOG, 0, 1_000))


def _run(examples: int, steps: int) -> None:
    sizes = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=sizes)


def test_scores_and_logs_are_those_of_the_model() -> None:
    _run(25, 30)


@pytest.mark.full
def test_scores_and_logs_are_those_of_the_model_for_longer() -> None:
    _run(400, 60)
