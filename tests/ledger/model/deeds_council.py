"""Who gets which role, what asks for one, and what authorities vote: in the machine."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.ledger.kernel.records import AUTHORITIES_KEY, Membership
from clawpurse.modules.governance.changes import Change, Kind
from clawpurse.modules.governance.records import Status
from tests.ledger.model.machine import DAY_MS, MINUTE_MS, Machine, numbers
from tests.ledger.model.naive_council import Place
from tests.ledger.model.world import ADMIN, ISSUER, OFFICERS, act
from tests.ledger.sandbox import ALICE, BOB, DAVE, Key
from tests.modules.council import AUTHORITIES

KINDS = {
    "addAuthority": Kind.ADD,
    "removeAuthority": Kind.REMOVE,
    "replaceAuthority": Kind.REPLACE,
    "setParameters": Kind.PARAMETERS,
    "grantRole": Kind.GRANT,
    "revokeRole": Kind.REVOKE,
    "amend": Kind.AMEND,
    "cancelAmendment": Kind.CANCEL,
}
# Only what its deed asks the clerk about first is ever locked.
LOCKABLE = ("anchor.document", "risk.report", "payments.createInvoice", "accounts.propose")
admins = st.sampled_from((ADMIN,) * 7 + (ALICE,))
roles = st.sampled_from(("desk", "desk", "desk", "admin", "issuer", "compliance", "eurx.mint"))
whom = st.sampled_from((ALICE, BOB, DAVE, ADMIN, ISSUER, OFFICERS[2]))
seats = st.sampled_from(AUTHORITIES[:5])
changes = st.one_of(
    st.tuples(st.sampled_from(("addAuthority", "removeAuthority")), seats),
    st.tuples(st.just("replaceAuthority"), seats, seats),
    st.tuples(st.just("setParameters"), st.sampled_from((200, 300))),
    st.tuples(
        st.sampled_from(("grantRole", "revokeRole")),
        st.sampled_from(("desk", "desk", "admin")),
        st.sampled_from((ALICE, BOB, ADMIN)),
    ),
    st.tuples(st.just("amend"), st.sampled_from(("later", "soon")), st.sampled_from((5, 100_000))),
    st.tuples(st.just("cancelAmendment"), st.sampled_from(("later", "soon"))),
)


class Councils(Machine):
    """See the module."""

    # -- roles

    @rule(who=admins, role=roles, to=whom, give=st.sampled_from((True, True, True, False)))
    def changes_a_role(self, who: Key, role: str, to: Key, give: bool) -> None:
        if give:
            deed = lambda: self.model.grant(who, role, to)  # noqa: E731
            self.does(who, deed, "roles.grant", role, to)
        elif role == "desk" or (role, to) == ("admin", ADMIN):
            deed = lambda: self.model.revoke(who, role, to)  # noqa: E731
            self.does(who, deed, "roles.revoke", role, to, "gone")

    @rule(
        who=admins,
        action=st.sampled_from((*LOCKABLE, "roles.grant", "governance.vote")),
        role=st.sampled_from((None, None, "desk")),
    )
    def locks_an_action(self, who: Key, action: str, role: str | None) -> None:
        deed = lambda: self.model.permit(who, action, role)  # noqa: E731
        self.does(who, deed, "roles.setPermission", action, role)

    # -- votes

    @rule(
        voters=st.permutations(AUTHORITIES[:5]),
        count=st.sampled_from((1, 2, 3, 5, 5, 5)),
        what=changes,
        span=st.sampled_from((MINUTE_MS - 1, 2 * MINUTE_MS, 2 * MINUTE_MS, DAY_MS, DAY_MS)),
    )
    def votes_for(self, voters: list[Key], count: int, what: tuple[Any, ...], span: int) -> None:
        """Some authorities want the same; whoever is none is refused."""
        if what[0] == "amend":
            what = (*what[:2], self.model.height + what[2])
        place = (what, self.model.now_ms + span)
        for voter in voters[:count]:
            self.ballot("propose", voter, place)

    @precondition(lambda self: self.model.papers)
    @rule(voter=seats, number=numbers, verb=st.sampled_from(("vote", "propose", "withdraw")))
    def votes_again(self, voter: Key, number: int, verb: str) -> None:
        places = list(self.model.papers)
        place = places[-1 - number % len(places)]
        if number == 13:
            place = (("setParameters", 777), place[1])
        self.ballot(verb, voter, place)

    def ballot(self, verb: str, voter: Key, place: Place) -> bool:
        """One vote; the administrator sends and pays it. Whether it was taken."""
        if not self.can_pay(ADMIN):
            return False
        what, end_ms = place
        change = ledger_change(what)
        if verb == "propose":
            action = act(f"governance.{what[0]}", voter.public, end_ms, *change.arguments)
        else:
            action = act(f"governance.{verb}", voter.public, change.id(end_ms))
        self.paying(ADMIN)
        reasons = self.model.check_vote(verb, voter, place)
        done = self.expect(ADMIN, reasons, action, approvers=[(voter, voter.public)])
        if not reasons:
            self.model.voted(verb, voter, place, done.tx_id)
        return not reasons

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        model, world = self.model, self.world
        for height in (world.height + 1, world.height + 2):
            found = Membership.unpack(world.stored.records["kernel", AUTHORITIES_KEY]).at(height)
            assert set(found) == {key.public for key in model.members(height)}, height
        assert world.params.interval_ms == model.interval_ms
        for place, paper in model.papers.items():
            proposal = world.query("governance.proposal", ledger_change(place[0]).id(place[1]))
            assert Status(proposal.status).label == paper.status, place
            if paper.status == "open":
                assert set(proposal.votes) == {key.public for key in paper.votes}
        for role, holders in model.roles.items():
            listed = world.query("roles.holders", role, 0, 100)
            assert set(listed) == {key.account for key in holders}, role
            assert len(listed) == len(holders)
        assert world.query("roles.permissions") == model.permissions
        adopted = {one.name: one.height for one in world.query("governance.amendments")}
        assert adopted == model.amendments


def ledger_change(what: tuple[Any, ...]) -> Change:
    """What a proposal says, as the ledger writes it."""
    kind, *args = what
    if kind == "setParameters":
        return Change(KINDS[kind], (f"interval_ms={args[0]}",))
    return Change(KINDS[kind], tuple(one.account if isinstance(one, Key) else one for one in args))
