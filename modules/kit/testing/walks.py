"""Random walks through a service's records, beside a model that is only dictionaries.

    random_walk(KINDS, transact, Walker(random.Random(7), ["support.agent", "support.lead"]), 60)

Each step tries something as somebody: makes a record, changes it, moves it, approves. What the
declarations allow must happen, what they forbid must be refused and change nothing, and in the end
each row must be what its history leads to.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from clawpurse.ledger.errors import Bug, CallerError
from clawpurse.modules.kit.entities.flows import Move
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind, Storage
from clawpurse.modules.kit.records.history import replayed
from clawpurse.modules.kit.records.model import Actor, Conflict, MoveRefused, Proposal, Record
from clawpurse.modules.kit.records.persons import give_consent, withdraw_consent
from clawpurse.modules.kit.records.values import COMMITMENT
from clawpurse.modules.kit.records.work import Work

T = TypeVar("T")
Transact = Callable[[Actor, Callable[[Work], T]], T]
_LETTERS: Final = "abc äß→'\"\\%_"
_PEOPLE: Final = 4
_RECORDS: Final = 6


@dataclass
class Seen:
    """What the model knows of one record."""

    kind: Kind
    number: int
    state: str
    version: int
    values: dict[str, Any]
    open: dict[str, tuple[int, str, dict[str, Any], set[str]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What it is called."""
        return f"{self.kind.prefix}-{self.number}"


class Walker:
    """Draws actors and values. `roles`: those that a service's people may have."""

    def __init__(self, random: Random, roles: Sequence[str]) -> None:
        self.random = random
        self._roles = tuple(roles)

    def actor(self) -> Actor:
        """Draw one of a few people, with some of the roles."""
        name = f"person-{self.random.randrange(_PEOPLE)}"
        some = frozenset(role for role in self._roles if self.random.random() < 0.6)
        return Actor(name, some, "walk")

    def values(self, kind: Kind, names: Sequence[str], known: Mapping[str, Seen]) -> dict[str, Any]:
        """Draw a good value for each of these fields."""
        return {name: self.value(kind.fields[name], known) for name in names}

    def value(self, spec: FieldSpec, known: Mapping[str, Seen]) -> Any:
        """Draw a good value of a field: what its declaration takes."""
        if spec.nullable and self.random.random() < 0.2:
            return None
        if spec.ref is not None:
            there = [one for one in known if known[one].kind.name == spec.ref.kind]
            return self.random.choice(sorted(there)) if there else "nobody"
        if spec.choices:
            return self.random.choice(spec.choices)
        return self._plain(spec)

    def _plain(self, spec: FieldSpec) -> Any:
        draw = self.random
        text = "".join(draw.choices(_LETTERS, k=draw.randrange(12)))[: spec.chars_max]
        match spec.holds:
            case Storage.INTEGER:
                return draw.randrange(1, 5)
            case Storage.BOOLEAN:
                return draw.random() < 0.5
            case Storage.DATE:
                return str(datetime.date(2020, 1, 1) + datetime.timedelta(draw.randrange(3_000)))
            case Storage.LIST:
                return [text] * draw.randrange(3)
            case _:
                return text


class Walk:
    """One walk: the model, and how the records must answer."""

    def __init__(self, kinds: Mapping[str, Kind], transact: Transact[Any], walker: Walker) -> None:
        self._kinds = kinds
        self._transact = transact
        self._walker = walker
        self._random = walker.random
        self._asks = any(
            spec.personal is not None and spec.personal.consent
            for kind in kinds.values()
            for spec in kind.fields.values()
        )
        self.seen: dict[str, Seen] = {}
        self.agreed: set[tuple[str, str]] = set()
        self.done: list[str] = []

    def step(self) -> None:
        """Try one thing as somebody."""
        actor = self._walker.actor()
        chosen = self._random.random()
        # Few records that much happens to: the rare states lie deep.
        if not self.seen or chosen < (0.2 if len(self.seen) < _RECORDS else 0.05):
            self._create(actor)
            return
        at = self.seen[self._random.choice(sorted(self.seen)[-_RECORDS:])]
        if chosen < 0.3:
            self._update(actor, at)
        elif chosen < 0.36 and self._asks:
            self._consent(at)
        elif chosen < 0.6 and at.open:
            self._approve(actor, at)
        else:
            self._move(actor, at)

    def _create(self, actor: Actor) -> None:
        kind = self._kinds[self._random.choice(sorted(self._kinds))]
        given = self._walker.values(kind, list(kind.fields), self.seen)
        made = self._attempt(actor, lambda work: work.create(kind, given))
        good = all(
            spec.ref is None
            or spec.ref.kind not in self._kinds
            or given[name] in (None, *self.seen)
            for name, spec in kind.fields.items()
        ) and self._may_say(kind, "", given, given)
        self._expect(good, made, f"create {kind.name}")
        if isinstance(made, Record):
            self.seen[made.id] = Seen(kind, made.number, kind.flow.initial, 1, given)
            self._same(made)

    def _update(self, actor: Actor, at: Seen) -> None:
        kind = at.kind
        moved = {name for move in kind.flow.moves.values() for name in move.sets}
        names = [one for one in kind.fields if one not in moved and self._random.random() < 0.4]
        given = self._walker.values(kind, names, self.seen)
        stale = self._random.random() < 0.1
        version = at.version - stale
        done = self._attempt(
            actor, lambda work: work.update(kind, at.number, given, version=version)
        )
        naming = {spec.personal.of for spec in kind.fields.values() if spec.personal}
        good = (
            not stale
            and at.state not in kind.flow.ends
            and all(given[name] == at.values[name] for name in naming & set(given))
            and self._may_say(kind, at.id, self._new(at, given), at.values)
        )
        self._expect(good, done, f"update {kind.name}")
        if isinstance(done, Record):
            at.values.update(given)
            at.version += 1
            at.open.clear()
            self._same(done)

    def _move(self, actor: Actor, at: Seen) -> None:
        kind = at.kind
        move = self._random.choice(list(kind.flow.moves.values()))
        names = [one for one in kind.fields if one in move.sets or self._random.random() < 0.01]
        given = self._walker.values(kind, names, self.seen)
        done = self._attempt(actor, lambda work: work.move(kind, at.number, move.name, given))
        good = (
            self._allowed(actor, at, move, given)
            and move.name not in at.open
            and self._may_say(kind, at.id, self._new(at, given), at.values)
        )
        self._expect(good, done, f"{move.name} of {kind.name}")
        if isinstance(done, Proposal):
            at.version += 1
            at.open.clear()
            at.open[move.name] = (done.number, actor.subject, given, set())
        elif isinstance(done, Record):
            self._moved(at, move, given, done)

    def _consent(self, at: Seen) -> None:
        """Let the person of a record agree to something, or take it back."""
        some = [spec for spec in at.kind.fields.values() if spec.personal is not None]
        if not some:
            return
        spec = self._random.choice(some)
        person, category = self._place(at.kind, at.id, spec, at.values)
        say = self._random.choice([give_consent, withdraw_consent])
        clerk = Actor("clerk", frozenset(), "walk", system=True)
        done = self._attempt(clerk, lambda work: say(work, person, category, bytes(32)))
        self._expect(True, done, f"{say.__name__} to {category}")
        if say is give_consent:
            self.agreed.add((person, category))
        else:
            self.agreed.discard((person, category))

    def _may_say(
        self, kind: Kind, record_id: str, new: Mapping[str, Any], values: Mapping[str, Any]
    ) -> bool:
        """Whether persons agreed to whatever is new about them."""
        return all(
            self._place(kind, record_id, spec, values) in self.agreed
            for spec in kind.fields.values()
            if spec.personal is not None
            and spec.personal.consent
            and new.get(spec.name) is not None
        )

    @staticmethod
    def _new(at: Seen, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value != at.values[name]}

    @staticmethod
    def _place(
        kind: Kind, record_id: str, spec: FieldSpec, values: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Whom a personal field is about, and which category it has."""
        personal = spec.personal
        of = personal.of if personal is not None else ""
        ref = kind.fields[of].ref if of else None
        named = f"{kind.name}/{record_id}" if ref is None else f"{ref.kind}/{values[of]}"
        return named, personal.category if personal is not None else ""

    def _approve(self, actor: Actor, at: Seen) -> None:
        name = self._random.choice(sorted(at.open))
        number, asked_by, given, people = at.open[name]
        move = at.kind.flow.moves[name]
        done = self._attempt(actor, lambda work: work.approve(number, approve=True))
        good = (
            bool(move.approving & actor.roles)
            and actor.subject != asked_by
            and actor.subject not in people
            and (
                len(people) + 1 < move.approvals
                or self._may_say(at.kind, at.id, self._new(at, given), at.values)
            )
        )
        self._expect(good, done, f"approve {name}")
        if not isinstance(done, Exception):
            people.add(actor.subject)
            at.version += 1
            others = {one: kept for one, kept in at.open.items() if one == name}
            at.open.clear()
            at.open.update(others)
        if isinstance(done, Record):
            self._moved(at, move, given, done)

    def _moved(self, at: Seen, move: Move, given: Mapping[str, Any], done: Record) -> None:
        at.values.update(given)
        at.state = move.target
        at.version += 1
        at.open.clear()
        self._same(done)

    def _allowed(self, actor: Actor, at: Seen, move: Move, given: Mapping[str, Any]) -> bool:
        after = {**at.values, **given}
        plain = {**after, **{name: list(value) for name, value in after.items() if _is_list(value)}}
        return (
            (not move.roles or bool(move.roles & actor.roles))
            and at.state in at.kind.flow.sources(move.name)
            and set(given) <= set(move.sets)
            and not any(plain[name] in (None, "", []) for name in move.needs)
            and (move.guard is None or move.guard(after) is None)
        )

    def _attempt(self, actor: Actor, work: Callable[[Work], Any]) -> Any:
        try:
            return self._transact(actor, work)
        except CallerError as error:
            return error

    def _expect(self, good: bool, got: Any, what: str) -> None:
        self.done.append(f"{what}: {'done' if good else type(got).__name__}")
        if good == isinstance(got, Exception):
            raise Bug(f"{what} should {'' if good else 'not '}be possible, got {got!r}")
        if isinstance(got, MoveRefused | Conflict) and str(got) == "":
            raise Bug(f"{what} is refused without a reason")

    def _same(self, record: Record) -> None:
        seen = self.seen[record.id]
        facts = record.state, record.version, dict(record.values)
        if facts != (seen.state, seen.version, seen.values):
            raise Bug(f"{record.id} is {facts}, the model has {seen}")

    def check(self) -> None:
        """Hold every record against the model and against its own history."""

        def look(work: Work) -> None:
            for seen in self.seen.values():
                record = work.get(seen.kind, seen.number)
                self._same(record)
                entries = work.history.of_record(seen.kind.name, seen.number)
                state, version, said = replayed(entries)
                if (state, version) != (record.state, record.version):
                    raise Bug(f"the history of {record.id} leads elsewhere")
                for name, told in said.items():
                    value = told
                    if isinstance(told, dict):
                        _, value = work.values.opened(bytes.fromhex(told[COMMITMENT]))
                    if value != record.values[name]:
                        raise Bug(f"the history of {record.id} says something else of {name}")
            for _ in work.history.verified():
                pass

        self._transact(Actor("checker"), look)


def random_walk(
    kinds: Mapping[str, Kind], transact: Transact[Any], walker: Walker, steps: int
) -> Walk:
    """Walk, and check everything at the end. Raises `Bug` where records answer wrongly."""
    walk = Walk(kinds, transact, walker)
    for _ in range(steps):
        walk.step()
    walk.check()
    return walk


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
