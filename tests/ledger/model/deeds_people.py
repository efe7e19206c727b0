"""Signers and their proposals, keys that change, session keys, sponsors: in the machine."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.ledger.crypto import message_hash_of
from tests.ledger.model.deeds_bills import hold_of
from tests.ledger.model.machine import (
    DAY_MS,
    Machine,
    amounts,
    assets,
    customers,
    numbers,
    payees,
    spans,
    switches,
)
from tests.ledger.model.naive import Promise
from tests.ledger.model.naive_people import Members, Motion, Session, Sponsor, sorted_members
from tests.ledger.model.world import DEPOSIT, FEE, OFFICERS, Account, act
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key
from tests.modules.multisig import account_id

NOWHERE = b"\x13" * 32
AGENT, ROBOT, SPARE = Key("agent"), Key("robot"), Key("officer-3's spare key")
CHANGED = OFFICERS[2]
members = st.lists(
    st.tuples(st.sampled_from((ALICE, CAROL, DAVE, CHANGED, BOB, ERIN)), st.integers(1, 2)),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip
signers = st.sampled_from((ALICE, ALICE, CAROL, CAROL, CHANGED, DAVE, BOB))
owners = st.sampled_from((ALICE, ALICE, BOB))
agents = st.sampled_from((AGENT, AGENT, ROBOT))


class Signing(Machine):
    """See the module."""

    # -- keys and signers

    @rule(key=st.sampled_from((SPARE, CHANGED)))
    def changes_its_key(self, key: Key) -> None:
        deed = lambda: self.model.change_key(CHANGED, key)  # noqa: E731
        approvers = [(key, CHANGED.account)]
        done = self.does(CHANGED, deed, "accounts.changeKey", key.public, approvers=approvers)
        if done is not None and not done.rule:
            self.world.keys[CHANGED] = key

    @rule(
        who=customers, threshold=st.integers(1, 3), whom=members,
        usual=st.sampled_from((True, True, False)), salt=st.integers(0, 1),
    )  # fmt: skip
    def founds_a_firm(
        self, who: Key, threshold: int, whom: Members, usual: bool, salt: int
    ) -> None:
        if usual:
            threshold, whom = 2, ((ALICE, 1), (CAROL, 1), (CHANGED, 1))
        drop = message_hash_of(b"salt %d" % salt)
        name = account_id(threshold, *whom, salt=drop)
        wire = [[key, weight] for key, weight in whom]
        self.does(
            who, lambda: self.model.found_firm(who, name, threshold, whom),
            "accounts.createMultisig", threshold, wire, drop,
        )  # fmt: skip

    def firm(self, number: int) -> Any:
        firms = sorted(self.model.firms, key=lambda one: one.account)
        return firms[number % len(firms)]

    @precondition(lambda self: self.model.firms)
    @rule(who=customers, number=numbers, asset=assets, amount=amounts)
    def pays_a_firm(self, who: Key, number: int, asset: str, amount: int) -> None:
        firm = self.firm(number)
        self.does(
            who, lambda: self.model.pay(who, asset, firm, amount, whole=False),
            "assets.transfer", asset, firm, amount,
        )  # fmt: skip

    @precondition(lambda self: self.model.firms)
    @rule(
        number=numbers, by=st.sets(st.sampled_from((ALICE, CAROL, CHANGED, DAVE)), min_size=1),
        threshold=st.integers(1, 3), whom=members,
    )  # fmt: skip
    def replaces_signers(self, number: int, by: set[Key], threshold: int, whom: Members) -> None:
        """The firm itself sends it, signed by some of its signers: enough, or too few."""
        firm, model = self.firm(number), self.model
        if not self.can_pay(firm) or len({key for key, _ in whom}) < len(whom):
            return
        keys = [model.key_of(one) for one in sorted(by, key=lambda one: one.account)]
        if self.world.count >= 6:
            self.next_block(1_000)
        entitled = {model.key_of(member) for member, _ in model.firms[firm][1]}
        few: set[str] = set()
        if not set(keys) <= entitled:
            few = {"kernel.key"}
        elif model.weight(firm, set(keys)) < model.firms[firm][0]:
            few = {"kernel.threshold"}
        new = [(model.key_of(member), member) for member, _ in whom]
        wire = [[member, model.key_of(member).public, share] for member, share in whom]
        reasons = few
        if not few:
            assert model.pays_fee(firm)
            reasons = model.set_signers(firm, threshold, whom)
        approvers = [(key, member.account) for key, member in new]
        action = act("accounts.setSigners", threshold, wire)
        done = self.expect(firm, reasons, action, signers=keys, approvers=approvers)
        assert done.kept_out == bool(few)

    # -- proposals

    @precondition(lambda self: self.model.firms)
    @rule(
        who=signers, number=numbers, span=spans, to=payees,
        payments=st.lists(st.tuples(assets, amounts), min_size=1, max_size=2),
        wrong=st.sampled_from((False,) * 7 + (True,)),
    )  # fmt: skip
    def proposes(
        self, who: Key, number: int, span: int, to: Key, payments: list[tuple[str, int]],
        wrong: bool,
    ) -> None:  # fmt: skip
        """A minute is enough; half of one is not."""
        firm: Any = Account(NOWHERE) if number == 13 else self.firm(number)
        end_ms = self.model.now_ms + (span // 2 if wrong and number % 2 else span) + 2_000
        todo = tuple((asset, to, amount) for asset, amount in payments)
        names = ("accounts.approve",) if wrong and not number % 2 else ("assets.transfer",)
        one = Motion(firm, who, end_ms, todo, yes={who})
        wire: list[Any] = [["assets.transfer", [asset, to, n]] for asset, to, n in todo]
        if names == ("accounts.approve",):
            wire = [["accounts.approve", [NOWHERE]]]
        done = self.does(
            who, lambda: self.model.propose(who, one, names),
            "accounts.propose", firm, end_ms, wire, b"rent",
        )  # fmt: skip
        if done is not None and not done.rule:
            self.model.motions[done.first("accounts.proposed")[0]] = one

    @precondition(lambda self: self.model.motions)
    @rule(who=signers, number=numbers, verb=st.sampled_from(("approve", "approve", "reject")))
    def says_to_a_proposal(self, who: Key, number: int, verb: str) -> None:
        name = self.motion(number)
        deed = lambda: self.model.say(who, name, verb == "approve")  # noqa: E731
        self.does(who, deed, f"accounts.{verb}", name)

    @precondition(lambda self: self.model.motions)
    @rule(
        who=signers, number=numbers, withdraw=st.sampled_from((False, False, True)),
        cost=st.sampled_from((1_000, 1_000, 1_000, 50)),
    )  # fmt: skip
    def ends_a_proposal(self, who: Key, number: int, withdraw: bool, cost: int) -> None:
        name = self.motion(number)
        if withdraw:
            deed = lambda: self.model.withdraw(who, name)  # noqa: E731
            self.does(who, deed, "accounts.withdrawProposal", name)
        else:
            deed = lambda: self.model.execute(who, name, cost)  # noqa: E731
            self.does(who, deed, "accounts.execute", name, cost)

    def motion(self, number: int) -> bytes:
        names = sorted(self.model.motions)
        return NOWHERE if number == 13 or not names else names[number % len(names)]

    # -- session keys

    @rule(
        who=owners, key=st.sampled_from((AGENT, AGENT, ROBOT, BOB)), span=spans,
        lanes=st.sampled_from(((1,), (1,), (2,), (1, 2))),
        actions=st.sampled_from(
            (("anchor.document", "assets.transfer", "payments.schedule"),) * 4
            + (("assets.transfer",), ("accounts.propose",))
        ),
        caps=st.dictionaries(
            st.sampled_from(("CLAW", "CLAW", "EURX")),
            st.sampled_from(((40, 110), (40, 110), (9, 9), (2_000, 3_000), (3, 2))),
        ),
        recipients=st.sampled_from(((), (), (), (BOB, CAROL))),
        memo=st.sampled_from((b"", b"", b"order ")), must=st.booleans(),
    )  # fmt: skip
    def lets_an_agent_pay(
        self, who: Key, key: Key, span: int, lanes: tuple[int, ...], actions: tuple[str, ...],
        caps: dict[str, tuple[int, int]], recipients: tuple[Key, ...], memo: bytes, must: bool,
    ) -> None:  # fmt: skip
        end_ms = self.model.now_ms + span
        listed = tuple(sorted(recipients, key=lambda one: one.account))
        one = Session(end_ms, lanes, actions, dict(caps), listed, memo, must)
        wire = [[asset, *cap] for asset, cap in sorted(caps.items())]
        self.does(
            who, lambda: self.model.grant_session(who, key, one),
            "accounts.grantSession", key.public, "shop", end_ms, list(lanes), list(actions), wire,
            listed, memo, int(must), approvers=[(key, who.account)],
        )  # fmt: skip

    @rule(who=owners, key=agents, resigns=switches)
    def ends_a_session(self, who: Key, key: Key, resigns: bool) -> None:
        deed = lambda: self.model.end_session(who, key)  # noqa: E731
        if resigns:
            approvers = [(key, who.account)]
            self.does(CAROL, deed, "accounts.resignSession", who, key.public, approvers=approvers)
        else:
            self.does(who, deed, "accounts.revokeSession", key.public)

    @precondition(lambda self: self.model.sessions)
    @rule(
        number=numbers, to=payees, asset=assets, amount=st.sampled_from((1, 7, 30, 38, 39, 100)),
        verb=st.sampled_from(("pay", "pay", "pay", "schedule", "document")),
        lane=st.sampled_from((0, 0, 0, 1, 2)), memo=st.sampled_from((b"order 7", b"order 8", b"")),
        stranger=st.sampled_from((False,) * 6 + (True,)), span=spans,
    )  # fmt: skip
    def acts_by_an_agent(
        self, number: int, to: Key, asset: str, amount: int, verb: str, lane: int, memo: bytes,
        stranger: bool, span: int,
    ) -> None:  # fmt: skip
        """`lane` 0: one of the key's own."""
        model = self.model
        names = sorted(model.sessions, key=lambda pair: (pair[0].account, pair[1].account))
        who, key = names[number % len(names)]
        lane = lane or model.sessions[who, key].lanes[0]
        if stranger:
            key = ROBOT if key is AGENT else AGENT
        if not self.can_pay(who):
            return
        if self.world.count >= 6:
            self.next_block(1_000)
        to = self.another(who, to)
        end_ms = self.model.now_ms + span
        commitment = message_hash_of(b"by an agent %d" % (number % 3))
        action = {
            "pay": act("assets.transfer", asset, to, amount),
            "schedule": act("payments.schedule", asset, to, amount, end_ms, b"", None),
            "document": act("anchor.document", commitment, "lease"),
        }[verb]
        terms: Any = {"signers": (key,), "lane": lane, "memo": memo}
        out = model.keeps_out(who, key, lane, memo, action.name)
        if out:
            assert self.expect(who, out, action, **terms).kept_out
            return
        session = model.sessions[who, key]
        model.charge(session, {"CLAW": FEE})
        assert model.pays_fee(who)
        if verb == "document":
            reasons = model.locked(who, action.name) or model.document(who, commitment)
            self.expect(who, reasons, action, **terms)
            return
        opens = to not in model.people
        reasons = model.spends(who, key, asset, to, amount)
        if verb == "schedule":
            one = Promise("scheduled", asset, who, to, amount, end_ms, True)
            reasons |= model.promise(who, one)
        else:
            reasons |= model.may_pay(asset, who, to, amount, whole=True, opener=who)
        done = self.expect(who, reasons, action, **terms)
        if reasons:
            return
        model.charge(session, {asset: amount})
        if opens:
            model.charge(session, {"CLAW": DEPOSIT})
        if verb == "schedule":
            model.promised(done.first("payments.scheduled")[2], one)
        else:
            model.paid_or_held(hold_of(done), who, asset, to, amount)

    # -- sponsors and used keys

    @rule(
        who=owners, whom=st.sampled_from((CAROL, CAROL, DAVE, ALICE, ERIN)),
        limits=st.sampled_from(((2, 4, 20), (2, 4, 20), (2, 4, 6), (1, 4, 20), (4, 2, 20))),
        actions=st.sampled_from(((), ("anchor.document",), ("assets.transfer",))),
        span=st.one_of(spans, st.sampled_from((3 * DAY_MS, 0, 366 * DAY_MS))),
    )  # fmt: skip
    def sponsors(
        self, who: Key, whom: Key, limits: tuple[int, int, int], actions: tuple[str, ...],
        span: int,
    ) -> None:  # fmt: skip
        one = Sponsor(self.model.now_ms + span, *limits, actions)
        self.does(
            who, lambda: self.model.sponsor(who, whom, one),
            "accounts.sponsor", whom, *limits, list(actions), one.end_ms,
        )  # fmt: skip

    @rule(who=owners, whom=st.sampled_from((CAROL, DAVE)))
    def ends_a_sponsorship(self, who: Key, whom: Key) -> None:
        deed = lambda: self.model.end_sponsor(who, whom)  # noqa: E731
        self.does(who, deed, "accounts.endSponsorship", whom)

    @rule(
        payer=owners, who=st.sampled_from((CAROL, CAROL, DAVE)), number=numbers,
        signs=st.sampled_from((False, False, False, True)),
    )  # fmt: skip
    def has_its_fee_paid(self, payer: Key, who: Key, number: int, signs: bool) -> None:
        """By somebody who signs too, or has said before that it pays."""
        model = self.model
        if not self.can_pay(payer) or who not in model.people:
            return
        if self.world.count >= 6:
            self.next_block(1_000)
        commitment = message_hash_of(b"at another's cost %d" % (number % 4))
        action = act("anchor.document", commitment, "lease")
        if signs:
            assert model.pays_fee(payer)
        elif out := model.pays_for(payer, who, action.name):
            done = self.expect(who, out, action, payer=payer, sponsored=True)
            assert done.kept_out
            return
        reasons = model.locked(who, action.name) or model.document(who, commitment)
        self.expect(who, reasons, action, payer=payer, sponsored=not signs)

    @rule(who=customers, number=st.integers(0, 2), to=payees, amount=amounts)
    def pays_once(self, who: Key, number: int, to: Key, amount: int) -> None:
        """A key that was used within a day fails whatever it stands in."""
        key, model = b"order %d" % number, self.model
        done = self.does(
            who,
            lambda: model.uses(who, key)
            or model.may_pay("CLAW", who, to, amount, whole=True, opener=who),
            "assets.transfer", "CLAW", to, amount, idempotency_key=key,
        )  # fmt: skip
        if done is not None and not done.rule:
            model.paid_or_held(None, who, "CLAW", to, amount)

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        model, world, books = self.model, self.world, self.world.books
        for firm, (threshold, whom) in model.firms.items():
            found = world.query("accounts.signers", firm.account)
            assert (found.threshold, list(found.members)) == (threshold, sorted_members(whom))
            motions = sorted(n for n, one in model.motions.items() if one.firm is firm)
            assert world.query("accounts.proposals", firm.account, 1_000) == motions
        for name, one in model.motions.items():
            head, contents = world.query("accounts.proposal", name)
            assert (head.account, head.proposer, head.expires_ms) == (
                one.firm.account, one.proposer.account, one.end_ms,
            )  # fmt: skip
            assert head.approvals == tuple(sorted(key.account for key in one.yes))
            assert head.rejections == tuple(sorted(key.account for key in one.no))
            assert len(contents.actions) == len(one.payments)
        for owner in (ALICE, BOB):
            for key in (AGENT, ROBOT, BOB):
                self.compare_session(owner, key)
            for whom_ in (CAROL, DAVE, ALICE):
                sponsor = model.sponsors.get((owner, whom_))
                terms = books.entitlements.sponsorship(owner.account, whom_.account)
                assert (terms is None) == (sponsor is None), (owner, whom_)
                if terms is not None and sponsor is not None:
                    assert terms.total == sponsor.left
        used = sum(t == "kernel" and k[:1] == b"i" for t, k in world.stored.records)
        assert used == len(model.used)

    def compare_session(self, owner: Key, key: Key) -> None:
        entitlements, one = self.world.books.entitlements, self.model.sessions.get((owner, key))
        found = entitlements.session(owner.account, key.public)
        assert (found is None) == (one is None), (owner, key)
        if one is None:
            return
        spent = entitlements.spent(owner.account, key.public)
        took = {} if spent is None else dict(spent.amounts)
        assert took == dict(one.took), (owner, key)
