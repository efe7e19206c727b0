"""What is attested, what officers agree on, and policies that come and go: in the machine."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.ledger.crypto import message_hash_of
from clawpurse.modules.compliance.policies import STATUS_NAMES, Status
from tests.ledger.model.deeds_bills import hold_of
from tests.ledger.model.machine import (
    DAY_MS,
    MINUTE_MS,
    Machine,
    amounts,
    anybody,
    assets,
    customers,
    numbers,
    payees,
    spans,
    switches,
)
from tests.ledger.model.naive import HELD_MS, LARGE
from tests.ledger.model.naive_rules import Condition, Draft, PolicyRule
from tests.ledger.model.world import ADMIN, ISSUER, OFFICERS, act
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key

NOWHERE = b"\x13" * 32
SEEN = message_hash_of(b"a passport that was seen")
SUBJECTS = (b"p" * 32, b"q" * 32, b"r" * 32)
ATTESTERS = (ISSUER, ISSUER, CAROL)
officers = st.sampled_from((*OFFICERS, *OFFICERS, *OFFICERS, ALICE))
admins = st.sampled_from((ADMIN,) * 7 + (ALICE,))


def deny(name: str, *conditions: Condition) -> PolicyRule:
    return [name, "deny", "no", 0, None, 0, 0, list(conditions)]


def hold(name: str, *conditions: Condition) -> PolicyRule:
    return [name, "hold", None, 2, None, HELD_MS, 0, list(conditions)]


def allow(name: str, *conditions: Condition) -> PolicyRule:
    return [name, "allow", None, 0, None, 0, 0, list(conditions)]


# What USDX is put under: each kind of condition, alone or with others.
POLICIES: tuple[list[PolicyRule], ...] = (
    [],
    [deny("kyc", ["not-attested", "either", "kyc", 1, 0])],
    [allow("known", ["attested", "source", "kyc", 2, 0]), deny("all")],
    [deny("day", ["sum-at-least", "source", None, 150, DAY_MS])],
    [deny("often", ["count-at-least", "source-subject", None, 3, HELD_MS])],
    [deny("received", ["sum-at-least", "target", None, 150, DAY_MS])],
    [hold("new", ["new-counterparty", None, None, 0, 0], ["amount-below", None, None, LARGE, 0])],
    [hold("risk", ["risk-at-least", "either", None, 500, 0])],
    [deny("unknown", ["risk-missing", "target", None, 0, 0])],
    [deny("four-eyes", ["approvals-below", None, "compliance", 1, 0],
          ["amount-at-least", None, None, 30, 0])],
    [deny("travel", ["no-travel-hash", None, None, 0, 0], ["amount-at-least", None, None, 30, 0])],
    [hold("listed", ["listed", "both", "friends", 0, 0]),
     deny("stranger", ["not-listed", "target", "friends", 0, 0])],
)  # fmt: skip
ASKING_FOR_FRIENDS = len(POLICIES) - 1


class Ruling(Machine):
    """See the module."""

    # -- attestations

    @rule(
        who=admins, issuer=st.sampled_from((*ATTESTERS, DAVE)),
        on=st.sampled_from((True, True, False)),
        topics=st.sampled_from((("kyc",), ("kyc",), ("kyc", "rich"), ("kyc", "kyc"))),
    )  # fmt: skip
    def names_an_issuer(self, who: Key, issuer: Key, on: bool, topics: tuple[str, ...]) -> None:
        if on:
            deed = lambda: self.model.set_issuer(who, issuer, topics)  # noqa: E731
            self.does(who, deed, "compliance.setIssuer", issuer, list(topics))
        else:
            deed = lambda: self.model.remove_issuer(who, issuer)  # noqa: E731
            self.does(who, deed, "compliance.removeIssuer", issuer, "licence lost")

    @rule(
        who=st.sampled_from(ATTESTERS), whom=st.sampled_from((ALICE, ALICE, BOB, CAROL, DAVE)),
        subject=st.sampled_from(SUBJECTS), topic=st.sampled_from(("kyc", "kyc", "rich")),
        level=st.integers(0, 2), span=st.one_of(spans, st.sampled_from((DAY_MS, 0))),
    )  # fmt: skip
    def attests(
        self, who: Key, whom: Key, subject: bytes, topic: str, level: int, span: int
    ) -> None:
        subject = self.model.persons.get(whom, subject) if level else subject
        end_ms = self.model.now_ms + span
        self.does(
            who, lambda: self.model.attest(who, whom, subject, topic, level, end_ms),
            "compliance.attest", whom, subject, topic, level, end_ms, SEEN,
        )  # fmt: skip

    @rule(
        who=st.sampled_from((ALICE, ALICE, BOB, CAROL, DAVE)),
        issuer=st.sampled_from(ATTESTERS), topic=st.sampled_from(("kyc", "kyc", "rich")),
        number=numbers,
    )  # fmt: skip
    def accepts(self, who: Key, issuer: Key, topic: str, number: int) -> None:
        """By preference what was offered."""
        offered = [key for key, one in self.model.attested.items() if one.status == "issued"]
        if offered and number % 4:
            who, issuer, topic = offered[number % len(offered)]
        deed = lambda: self.model.accept(who, issuer, topic)  # noqa: E731
        self.does(who, deed, "compliance.accept", issuer, topic)

    @precondition(lambda self: self.model.attested)
    @rule(who=st.sampled_from((None, None, OFFICERS[0], BOB)), number=numbers)
    def revokes_an_attestation(self, who: Key | None, number: int) -> None:
        known = list(self.model.attested)
        whom, issuer, topic = known[number % len(known)]
        topic = "nothing" if number == 13 else topic
        who = who or issuer
        self.does(
            who, lambda: self.model.revoke_attestation(who, whom, topic, issuer),
            "compliance.revokeAttestation", whom, topic, issuer, "lapsed",
        )  # fmt: skip

    # -- what officers agree on

    @rule(
        first=officers, second=officers, whom=st.sampled_from((ALICE, BOB, CAROL, OFFICERS[2])),
        subject=st.sampled_from((*SUBJECTS, None)), count=st.integers(1, 2),
    )  # fmt: skip
    def says_who_somebody_is(
        self, first: Key, second: Key, whom: Key, subject: bytes | None, count: int
    ) -> None:
        for who in (first, second)[:count]:
            self.does(
                who, lambda who=who: self.model.set_subject(who, whom, subject),  # type: ignore[misc]
                "compliance.setSubject", whom, subject, "seen",
            )  # fmt: skip

    @rule(
        first=officers, second=officers, count=st.integers(1, 2),
        needed=st.sampled_from((2, 2, 1, 3)), delay=st.sampled_from((10_000, 20_000)),
    )  # fmt: skip
    def says_how_many_decide(
        self, first: Key, second: Key, count: int, needed: int, delay: int
    ) -> None:
        for who in (first, second)[:count]:
            self.does(
                who, lambda who=who: self.model.set_quorum(who, needed, delay),  # type: ignore[misc]
                "compliance.setQuorum", needed, delay,
            )  # fmt: skip

    @rule(
        first=officers, second=officers, count=st.integers(1, 2),
        name=st.sampled_from(("friends", "friends", "blocked")),
        needed=st.sampled_from((1, 1, 2, 3)),
    )  # fmt: skip
    def makes_a_list(self, first: Key, second: Key, count: int, name: str, needed: int) -> None:
        for who in (first, second)[:count]:
            self.does(
                who, lambda who=who: self.model.set_list(who, name, "No", needed),  # type: ignore[misc]
                "compliance.setList", name, "No", needed,
            )  # fmt: skip

    @rule(
        who=officers, name=st.sampled_from(("friends", "blocked")), on=switches,
        whom=st.lists(st.one_of(anybody.map(lambda key: key.account), st.sampled_from(SUBJECTS)),
                      min_size=1, max_size=2),
        ordered=st.sampled_from((True,) * 6 + (False,)),
    )  # fmt: skip
    def changes_a_list(
        self, who: Key, name: str, on: bool, whom: list[bytes], ordered: bool
    ) -> None:
        there = sorted(self.model.lists[name].entries) if name in self.model.lists else []
        if not on and there and ordered:
            whom = there[:1]
        entries = tuple(sorted(set(whom)) if ordered else whom)
        verb = "addToList" if on else "removeFromList"
        self.does(
            who, lambda: self.model.change_list(who, name, entries, on),
            f"compliance.{verb}", name, list(entries), "said so",
        )  # fmt: skip

    # -- policies

    @rule(
        who=officers, number=st.integers(0, len(POLICIES) - 1),
        delay=st.sampled_from((20_000, 20_000, MINUTE_MS, 5_000)),
        name=st.sampled_from(("usdx", "usdx", "usdx", "more")),
        asset=st.sampled_from(("USDX",) * 6 + ("EURX",)), second=officers,
    )  # fmt: skip
    def proposes_a_policy(
        self, who: Key, number: int, delay: int, name: str, asset: str, second: Key
    ) -> None:
        if number == ASKING_FOR_FRIENDS and "friends" not in self.model.lists:
            number = 1
        rules = POLICIES[number]
        if name == "more":
            # What a second policy says is beside the first one, of an asset of its own.
            rules, asset = POLICIES[0], "USDX"
        one = Draft(name, asset, rules, delay, who, 0)
        done = self.does(
            who, lambda: self.model.draft(who, one),
            "compliance.proposePolicy", name, asset, "Limits", delay, rules,
        )  # fmt: skip
        if done is None or done.rule:
            return
        policy = done.first("compliance.policyProposed")[0]
        one.end_ms = self.model.now_ms + 30 * DAY_MS
        self.model.drafts[policy] = one
        assert not self.model.approve_draft(who, policy)
        deed = lambda: self.model.approve_draft(second, policy)  # noqa: E731
        self.does(second, deed, "compliance.approvePolicy", policy)

    @precondition(lambda self: self.model.drafts)
    @rule(who=officers, number=numbers, yes=st.sampled_from((True, True, False)))
    def speaks_on_a_policy(self, who: Key, number: int, yes: bool) -> None:
        names = list(self.model.drafts)
        name = NOWHERE if number == 13 else names[-1 - number % len(names)]
        if yes:
            deed = lambda: self.model.approve_draft(who, name)  # noqa: E731
            self.does(who, deed, "compliance.approvePolicy", name)
        else:
            deed = lambda: self.model.reject_draft(who, name)  # noqa: E731
            self.does(who, deed, "compliance.rejectPolicy", name, "no")

    # -- payments that carry what policies ask for

    @rule(
        who=customers, to=payees, asset=assets, amount=amounts, travels=switches,
        by=st.sets(st.sampled_from(OFFICERS), max_size=2),
    )  # fmt: skip
    def pays_with_particulars(
        self, who: Key, to: Key, asset: str, amount: int, travels: bool, by: set[Key]
    ) -> None:
        model = self.model
        listed = sorted(by, key=lambda one: one.account)

        def deed() -> set[str]:
            model.approving, model.travels = set(listed), travels
            return model.may_pay(asset, who, to, amount, whole=True, opener=who)

        if not self.can_pay(who):
            return
        self.paying(who)
        signing = [(model.key_of(one), one.account) for one in listed]
        wire = [[one, key.public] for one, (key, _) in zip(listed, signing, strict=True)]
        reasons = deed()
        action = act("payments.pay", asset, to, amount, b"", SEEN if travels else None, 0, wire)
        done = self.expect(who, reasons, action, approvers=signing)
        if not reasons:
            model.paid_or_held(hold_of(done), who, asset, to, amount)
        model.approving, model.travels = set(), False

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        model, world = self.model, self.world
        for whom in (ALICE, BOB, CAROL, DAVE):
            expected = model.persons.get(whom, whom.account)
            assert world.query("compliance.subject", whom.account) == expected, whom
            level = world.query("compliance.level", whom.account, "kyc", model.now_ms)
            assert level == model.level(whom, "kyc"), whom
        for name, one in model.lists.items():
            found = world.query("compliance.list", name)
            assert (found.title, found.officers) == (one.title, one.officers)
            listed = [entry for entry, _ in world.query("compliance.entries", name, 1_000)]
            assert listed == sorted(one.entries), name
        for policy, draft in model.drafts.items():
            proposal = world.query("compliance.proposal", policy)
            assert STATUS_NAMES[Status(proposal.status)] == draft.status, policy
            assert proposal.voters == tuple(key.account for key in draft.yes)
            assert proposal.against == tuple(key.account for key in draft.no)
        for asset in ("EURX", "USDX"):
            standing = [one.id for one in world.query("compliance.governing") if one.asset == asset]
            assert sorted(standing) == sorted(
                one.id for one in model.versions.values() if one.asset == asset and one.rules
            )
        assert len(world.query("compliance.ballots", 1_000)) == len(model.ballots)
