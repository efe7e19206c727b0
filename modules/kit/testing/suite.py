"""The tests that every service inherits: what is declared is what it does, whatever happens.

    class TestSupport(ServiceTests):
        service = Support

    @pytest.mark.real
    class TestSupportOnPostgres(ServiceOnPostgres):   # with a fixture `kit_postgres`: a URL
        service = Support

A subclass may make everything larger (`walks`, `walk_steps`, `cuts`) and marks that as its project
does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Final

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.flows import Move
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.chores import carry_out_retention, find_breaches
from clawpurse.modules.kit.records.model import TIME, Actor, Record
from clawpurse.modules.kit.records.persons import categories, erase_person, give_consent
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import Service, compiled
from clawpurse.modules.kit.testing.canaries import Planted, forgotten
from clawpurse.modules.kit.testing.killing import Step, killed_everywhere
from clawpurse.modules.kit.testing.promises import calendars_of, kept_over_changes
from clawpurse.modules.kit.testing.roles import (
    Matrix,
    check_hidden,
    declared,
    deeds_of,
    differences,
    ready,
    tried,
)
from clawpurse.modules.kit.testing.stand import MAKER, Stand, person_of
from clawpurse.modules.kit.testing.walks import Walk, random_walk

DAYS_MS: Final = 100 * 86_400_000
"""Beyond whatever is kept longest; most promises are broken by then."""


class ServiceTests:
    """What every service's tests inherit. `seed`: another one walks elsewhere.

    `calls`: good parameters for methods that the service declares with `@rpc`, by their name.
    """

    service: ClassVar[type[Service]]
    seed: ClassVar[int] = 1
    walks: ClassVar[int] = 2
    walk_steps: ClassVar[int] = 60
    cuts: ClassVar[int] = 1
    calls: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})

    def test_whatever_is_tried_is_done_or_refused_as_declared(self, tmp_path: Path) -> None:
        """Otherwise some order of steps leads past the flow, or to a row without its history."""
        for number in range(self.walks):
            walked(self.service(), tmp_path / f"{number}.db", self.seed + number, self.walk_steps)

    def test_a_kill_between_any_two_steps_leaves_all_or_nothing(self, tmp_path: Path) -> None:
        """Otherwise a machine that loses its power loses a move, or makes it twice."""
        random, manifest = self._random(), compiled(self.service())

        def make(file: Path, risen: bool) -> Stand:
            return Stand(manifest, file, random=self._random(), risen=risen)

        steps, tried = killed_everywhere(make, tmp_path, steps_of, random, self.cuts)
        if tried < 2 * steps:
            raise Bug(f"{steps} steps were killed at {tried} places only")

    def test_exactly_who_may_is_let(self, tmp_path: Path) -> None:
        """Otherwise a role reaches what it was never given, or not what it needs."""
        stand = Stand(compiled(self.service()), tmp_path / "roles.db", random=self._random())
        try:
            wanted, found = matrices(stand, self.calls)
            check_hidden(stand)
        finally:
            stand.close()
        if wrong := differences(wanted, found):
            raise Bug("; ".join(wrong))

    def test_promises_are_kept_when_clocks_are_set(self, tmp_path: Path) -> None:
        """Otherwise somebody is late, or not, by an hour twice a year."""
        manifest = compiled(self.service())
        calendars = calendars_of(manifest.kinds)

        def make(start_ms: int) -> Stand:
            file = tmp_path / f"{start_ms}.db"
            stand = Stand(manifest, file, random=self._random(), calendars=calendars)
            stand.tick_ms = 0
            return stand

        kept_over_changes(make)

    def test_who_is_erased_is_gone_and_every_proof_holds(self, tmp_path: Path) -> None:
        """Otherwise a promise to forget is not kept, or the history stops proving anything."""
        erased(self.service(), tmp_path, self._random())

    def _random(self) -> Random:
        return Random(self.seed)  # noqa: S311 (chance that is told by its seed)


class ServiceOnPostgres:
    """The same walk on SQLite and on a server: nobody can tell from the answers which it was."""

    service: ClassVar[type[Service]]
    seed: ClassVar[int] = 1
    walk_steps: ClassVar[int] = 120

    def test_both_databases_tell_the_same_story(self, tmp_path: Path, kit_postgres: str) -> None:
        """Otherwise an installation that moves to a server finds other records there."""
        told = [
            story(self.service(), place, self.seed, self.walk_steps)
            for place in (tmp_path / "here.db", kit_postgres)
        ]
        if told[0] != told[1]:
            raise Bug("the databases tell different stories")


def walked(service: Service, place: str | Path, seed: int, steps: int) -> Walk:
    """Walk on a stand of its own. Raises `Bug` where records answer wrongly."""
    random = Random(seed)  # noqa: S311
    stand = Stand(compiled(service), place, random=random)
    try:
        return random_walk(stand.kinds, stand.do, stand.walker, steps)
    finally:
        stand.close()


def story(service: Service, place: str | Path, seed: int, steps: int) -> list[Any]:
    """Walk, and return what became of everything, but for what is random."""
    random = Random(seed)  # noqa: S311
    stand = Stand(compiled(service), place, random=random)
    try:
        walk = random_walk(stand.kinds, stand.do, stand.walker, steps)
        for chore in (find_breaches, carry_out_retention):
            stand.now_ms += _long(stand)
            while stand.do(TIME, chore):
                pass
        told: list[Any] = [walk.done, stand.look(lambda work: work.deadlines.breaches())]
        for one in walk.seen.values():
            record = stand.look(lambda work, o=one: work.get(o.kind, o.number))  # type: ignore[misc]
            told.append((record.id, record.state, record.version, dict(record.values)))
            told.append((record.archived_ms, sorted(record.erased)))
        entries = stand.look(lambda work: list(work.history.verified()))
        told += [(one.number, one.move, one.at_ms, sorted(one.changes)) for one in entries]
        return told
    finally:
        if not stand.database.is_sqlite:
            stand.database.write_now(stand.manifest.tables.metadata.drop_all)
        stand.close()


def matrices(
    stand: Stand, calls: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> tuple[Matrix, Matrix]:
    """Return who may do what as declared, and as it is when it is tried."""
    deeds = deeds_of(stand, calls)
    return declared(deeds, stand.roles), tried(deeds, stand.roles, stand)


def erased(service: Service, folder: Path, random: Random) -> Planted:
    """Erase persons of a service that knows any; see `canaries`."""
    own = folder / "erased"
    stand = Stand(compiled(service), own / "records.db", random=random)
    try:
        return forgotten(stand, own) if categories(stand.kinds) else Planted()
    finally:
        stand.close()


def steps_of(stand: Stand) -> list[Step]:
    """Return requests that may be made again: each kind made, changed and moved, persons, time.

    What they need is made here, so that each of them is one transaction.
    """
    steps: list[Step] = []
    for kind in stand.kinds.values():
        record = stand.made(kind)
        steps += [_create(stand, record), _update(record)]
        steps += [_move(stand, kind, move) for move in kind.flow.leaving(kind.flow.initial)]
        if kind.retain is not None:
            stand.bring(stand.made(kind), sorted(kind.flow.ends)[0])
    persons = _persons(stand)
    for person, category in persons:
        steps += [_agree(person, category)]
    steps += [_pass(find_breaches), _pass(carry_out_retention)]
    return [*steps, *(_erase(person) for person, _ in persons)]


def _create(stand: Stand, like: Record) -> Step:
    kind = like.kind
    values = {
        spec.name: like.values[spec.name]
        for spec in kind.fields.values()
        if spec.personal is None or not spec.personal.consent or spec.personal.of
    }

    def step(stand: Stand) -> None:
        stand.do(MAKER, lambda work: work.create(kind, values, f"create {kind.name}"))

    return step


def _update(record: Record) -> Step:
    key = f"update {record.id}"

    def step(stand: Stand) -> None:
        stand.do(MAKER, lambda work: work.update(record.kind, record.number, {}, request_key=key))

    return step


def _move(stand: Stand, kind: Kind, move: Move) -> Step:
    record, wired = ready(stand, kind, move)
    names = {spec.wire_name: name for name, spec in kind.fields.items()}
    given = {names[name]: value for name, value in wired.items()}
    asker, key = Actor("asker", move.roles, "test"), f"{move.name} {record.id}"

    def step(stand: Stand) -> None:
        stand.do(
            asker,
            lambda work: work.move(kind, record.number, move.name, given, request_key=key),
        )

    return step


def _persons(stand: Stand) -> list[tuple[str, str]]:
    """Return one person for each field that names some, with the field's category."""
    found = {}
    for kind in stand.kinds.values():
        for spec in kind.fields.values():
            if spec.personal is not None:
                record = stand.look(lambda work, k=kind: work.get(k, 1))  # type: ignore[misc]
                found[person_of(record, spec)] = spec.personal.category
    return sorted(found.items())


def _agree(person: str, category: str) -> Step:
    def step(stand: Stand) -> None:
        key = f"agree {person}"
        stand.do(MAKER, lambda work: give_consent(work, person, category, bytes(32), key))

    return step


def _erase(person: str) -> Step:
    def step(stand: Stand) -> None:
        stand.do(MAKER, lambda work: erase_person(work, person, "tried"))

    return step


def _long(stand: Stand) -> int:
    """Return a time after which whatever was kept for a time was kept long enough."""
    kept = [kind.retain.after_ms for kind in stand.kinds.values() if kind.retain is not None]
    return max(kept, default=0) + DAYS_MS


def _pass(chore: Callable[[Work], int]) -> Step:
    """Let a long time pass, and everything that is due happen in one transaction."""

    def step(stand: Stand) -> None:
        stand.now_ms += _long(stand)
        stand.do(TIME, chore)

    return step
