"""Lifecycles: nobody makes a move that the declaration does not allow, and everybody learns why."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clawpurse.modules.kit.entities.flows import (
    MOVES_MAX,
    Flow,
    Move,
    Standing,
    Why,
    approvals_missing,
)
from clawpurse.modules.kit.entities.kinds import Entity, Whole, entity

HOUR = 3_600_000
TICKET = Flow(
    "new",
    Move("assign", "new open -> open", role="agent", sets=("owner",), needs=("owner",)),
    Move("wait", "open -> waiting", role="agent"),
    Move("resolve", "open waiting -> resolved", role="agent lead", needs=("answer",)),
    Move(
        "reopen",
        "resolved -> open",
        within_ms=2 * HOUR,
        guard=lambda values: "It was paid back." if values.get("refunded") else None,
    ),
    Move("close", "* -> closed", role="lead", approvals=1),
)


def refusal(move: str, state: str = "open", **facts: Any) -> tuple[str, str] | None:
    roles = facts.pop("roles", {"agent"})
    given, now_ms = facts.pop("given", {}), facts.pop("now_ms", 0)
    said = TICKET.refusal(move, Standing(state, 0, facts), roles=roles, now_ms=now_ms, given=given)
    return (said.why.value, said.sentence) if said is not None else None


def test_a_flow_knows_its_states_its_ends_and_who_leaves_where() -> None:
    """Lists, boards and generated methods are drawn from these."""
    assert TICKET.states == ("new", "open", "waiting", "resolved", "closed")
    assert TICKET.ends == {"closed"}
    assert TICKET.sources("close") == ("new", "open", "waiting", "resolved")
    assert [one.name for one in TICKET.leaving("open")] == ["assign", "wait", "resolve", "close"]
    assert TICKET.leaving("closed") == []


@pytest.mark.parametrize(
    ("said", "why", "words"),
    [
        (refusal("vanish"), "unknown", "There is no move 'vanish'; there are: assign, wait"),
        (refusal("wait", roles=set()), "role", "wait needs the role agent."),
        (refusal("resolve", roles={"x"}), "role", "needs the role agent or lead"),
        (refusal("wait", "new"), "state", "not possible in state new; possible: assign, close."),
        (refusal("wait", "closed"), "state", "possible: nothing."),
        (refusal("assign"), "missing", "assign needs owner."),
        (refusal("assign", given={"owner": ""}), "missing", "assign needs owner."),
        (refusal("wait", given={"owner": "a"}), "unasked", "wait does not set owner."),
        (refusal("reopen", "resolved", now_ms=2 * HOUR + 1), "late", "for 2 hours after resolved"),
        (refusal("reopen", "resolved", refunded=True), "guard", "It was paid back."),
    ],
)
def test_a_refused_move_says_why(said: tuple[str, str] | None, why: str, words: str) -> None:
    """Whoever is refused without a reason asks support, which is where the ticket came from."""
    assert said is not None
    assert (said[0], words in said[1]) == (why, True), said


def test_a_move_that_is_allowed_is_allowed() -> None:
    """The other half: nothing is in the way of work."""
    assert refusal("assign", given={"owner": "ana"}) is None
    assert refusal("assign", owner="ana") is None
    assert refusal("resolve", answer="Paid twice.") is None
    assert refusal("reopen", "resolved", now_ms=2 * HOUR, roles=()) is None


def test_whoever_lacks_the_role_learns_nothing_about_the_record() -> None:
    """Reasons come in an order in which strangers see the same answer for every record."""
    answers = {
        refusal("resolve", state, roles={"stranger"}, answer=answer)
        for state in TICKET.states
        for answer in ("", "x")
    }
    assert len(answers) == 1


def test_approvals_count_people_and_never_the_one_who_asked() -> None:
    """Two keys of one person, or the asker's own yes, would make four eyes two."""
    close = TICKET.moves["close"]
    assert approvals_missing(close, "ana", []) == 1
    assert approvals_missing(close, "ana", ["ana", "ana"]) == 1
    assert approvals_missing(close, "ana", ["ben", "ben"]) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Flow("new", Move("go", "new -> done"), Move("lose", "gone -> done")),
        lambda: Flow("new", Move("go", "new -> done"), Move("go", "done -> new")),
        lambda: Flow("New"),
        lambda: Flow("n" * 41),
        lambda: Flow("new", *(Move(f"m{n}", "new -> done") for n in range(MOVES_MAX + 1))),
        lambda: Move("go", "new"),
        lambda: Move("go", "-> done"),
        lambda: Move("go", "new -> one two"),
        lambda: Move("go", "new -> *"),
        lambda: Move("go", "* new -> done"),
        lambda: Move("go", "new new -> done"),
        lambda: Move("go-on", "new -> done"),
        lambda: Move("go", "new -> done", approvals=1),
        lambda: Move("go", "new -> done", approvals=10, role="x"),
        lambda: Move("go", "new -> done", within_ms=0),
    ],
)
def test_what_is_no_lifecycle_is_refused_when_it_is_declared(make: Any) -> None:
    """A typing error in a declaration must stop the service at its start, not a case in March."""
    with pytest.raises(ValueError, match=r"."):
        make()


@given(st.lists(st.sampled_from(sorted(TICKET.moves)), max_size=30), st.randoms())
def test_no_walk_leaves_the_flow(walk: list[str], random: Any) -> None:
    """Whatever is tried in whatever order, a record is in a state from which it was led there."""
    state, since = TICKET.initial, 0
    for now, name in enumerate(walk):
        roles = {role for role in ("agent", "lead") if random.random() < 0.7}
        at = Standing(state, since, {"owner": "ana", "answer": "yes"})
        said = TICKET.refusal(name, at, roles=roles, now_ms=now)
        move = TICKET.moves[name]
        legal = state in TICKET.sources(name) and (not move.roles or bool(move.roles & roles))
        assert (said is None) == legal
        assert said is None or said.why in (Why.ROLE, Why.STATE)
        if said is None:
            state, since = move.target, now
    assert state in TICKET.states


def test_a_number_that_may_be_missing_has_its_limits() -> None:
    """Otherwise an author who writes `Whole | None` is told that it has none."""

    @entity("sack", prefix="S")
    class Sack(Entity):
        """Sack"""

        weight: Whole | None = None
        flow: ClassVar[Flow] = Flow("in")

    assert Sack.kind.fields["weight"].nullable
    assert (Sack.kind.noun, Sack.kind.nouns) == ("Sack", "Sacks")
    with pytest.raises(ValidationError):
        Sack.kind.parse({"weight": 2**63})
