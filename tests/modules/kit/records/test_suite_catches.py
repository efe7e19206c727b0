"""What every service inherits is worth nothing if it stays green: one fault for each promise.

Each test breaks the kit in one place and runs one of the inherited tests on the help desk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clawpurse.ledger.errors import Bug, Malformed
from clawpurse.modules.kit.entities.calendars import Calendar
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.privacy.sealing import KeyRing, SubjectCipher
from clawpurse.modules.kit.records import deadlines, persons
from clawpurse.modules.kit.records import work as working
from clawpurse.modules.kit.records.history import History
from clawpurse.modules.kit.records.proposals import Proposals
from clawpurse.modules.kit.records.values import Values
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service import trail
from clawpurse.modules.kit.service.declaration import compiled
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.testing.roles import (
    check_hidden,
    declared,
    deeds_of,
    differences,
    table_text,
    tried,
)
from clawpurse.modules.kit.testing.stand import Stand
from tests.modules.kit.records.desk import HelpDesk
from tests.modules.kit.records.test_desk import TestDesk as Inherited

Patch = pytest.MonkeyPatch
FULL = pytest.mark.full
HOUR_MS = 3_600_000


def nothing(*_: Any, **__: Any) -> None:
    return None


def everybody_may(patch: Patch) -> None:
    patch.setattr(Work, "require", nothing)


def nobody_hides(patch: Patch) -> None:
    patch.setattr(Kind, "hidden_from", lambda self, may: frozenset())


def history_is_committed_apart(patch: Patch) -> None:
    append = History.append

    def apart(self: History, *given: Any) -> Any:
        self._connection.exec_driver_sql("COMMIT")
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        return append(self, *given)

    patch.setattr(History, "append", apart)


def requests_are_forgotten(patch: Patch) -> None:
    patch.setattr(History, "answered", lambda self, actor, key: None)
    append = History.append
    patch.setattr(
        History, "append", lambda self, entry, changes, key: append(self, entry, changes, None)
    )


def clocks_are_never_set(patch: Patch) -> None:
    def winter(self: Calendar, day: Any, minute: int) -> tuple[int, int]:
        at_ms = (day.toordinal() - 719_163) * 24 * HOUR_MS + minute * 60_000 - HOUR_MS
        return at_ms, at_ms

    patch.setattr(Calendar, "_both", winter)


def breaches_are_told_each_time(patch: Patch) -> None:
    def again(one: Any) -> bool:
        return one is not None and one.standing.value == "breached"

    patch.setattr(deadlines, "_is_news", again)


def breaches_are_never_told(patch: Patch) -> None:
    patch.setattr(deadlines.Deadlines, "due", lambda self, purpose, limit: [])


def openings_stay(patch: Patch) -> None:
    destroy = Values.destroy

    def kept(self: Values, subject: str) -> bool:
        table = self._tables.commitments
        rows = self._connection.execute(table.select()).all()
        done = destroy(self, subject)
        for row in rows:
            mine = table.c.commitment == row.commitment
            self._connection.execute(table.update().where(mine).values(opening=row.opening))
        return done

    patch.setattr(Values, "destroy", kept)


def commitments_go(patch: Patch) -> None:
    destroy = Values.destroy

    def gone(self: Values, subject: str) -> bool:
        done = destroy(self, subject)
        table = self._tables.commitments
        self._connection.execute(table.delete().where(table.c.subject == subject))
        return done

    patch.setattr(Values, "destroy", gone)


def values_stay(patch: Patch) -> None:
    patch.setattr(persons, "_blank", nothing)


def nothing_is_compacted(patch: Patch) -> None:
    patch.setattr(Database, "compact", lambda self: True)


def keys_stay_in_memory(patch: Patch) -> None:
    patch.setattr(KeyRing, "forget", nothing)


def nothing_is_sealed(patch: Patch) -> None:
    patch.setattr(SubjectCipher, "seal", lambda self, value, place: b"\1" * 29 + value)
    patch.setattr(SubjectCipher, "open", lambda self, sealed, place: sealed[29:])


def histories_have_values(patch: Patch) -> None:
    committed = Values.committed

    def told(self: Values, kind: Any, number: int, version: int, values: Any, names: Any) -> Any:
        committed(self, kind, number, version, values, names)
        return {name: values[name] for name in names}

    patch.setattr(Values, "committed", told)


def errors_quote(patch: Patch) -> None:
    malformed = working._malformed

    def quoting(error: Any) -> Any:
        made = malformed(error)
        return Malformed(made.field, f"{made.problem}: {error.errors()[0]['input']}")

    patch.setattr(working, "_malformed", quoting)


def values_are_logged(patch: Patch) -> None:
    create = Work.create

    def logged(self: Work, kind: Any, given: Any, request_key: str | None = None) -> Any:
        logging.getLogger("mutant").debug("made %s", dict(given))
        return create(self, kind, given, request_key)

    patch.setattr(Work, "create", logged)


def proposals_stay(patch: Patch) -> None:
    patch.setattr(Proposals, "strip", nothing)


def consent_is_not_asked(patch: Patch) -> None:
    patch.setattr(Values, "agreed", lambda self, subject, category: True)


def calls_keep_what_was_asked_for(patch: Patch) -> None:
    patch.setattr(trail, "_object_of", lambda params: str(getattr(params, "id", "")))


WALK = Inherited.test_whatever_is_tried_is_done_or_refused_as_declared
KILL = Inherited.test_a_kill_between_any_two_steps_leaves_all_or_nothing
ROLES = Inherited.test_exactly_who_may_is_let
CLOCKS = Inherited.test_promises_are_kept_when_clocks_are_set
ERASE = Inherited.test_who_is_erased_is_gone_and_every_proof_holds


@pytest.mark.parametrize(
    ("break_it", "inherited"),
    [
        (consent_is_not_asked, WALK),
        (history_is_committed_apart, KILL),
        pytest.param(requests_are_forgotten, KILL, marks=FULL),
        pytest.param(everybody_may, ROLES, marks=FULL),
        pytest.param(nobody_hides, ROLES, marks=FULL),
        (clocks_are_never_set, CLOCKS),
        (breaches_are_told_each_time, CLOCKS),
        pytest.param(breaches_are_never_told, CLOCKS, marks=FULL),
        (openings_stay, ERASE),
        pytest.param(commitments_go, ERASE, marks=FULL),
        pytest.param(values_stay, ERASE, marks=FULL),
        pytest.param(proposals_stay, ERASE, marks=FULL),
        (nothing_is_compacted, ERASE),
        pytest.param(keys_stay_in_memory, ERASE, marks=FULL),
        pytest.param(nothing_is_sealed, ERASE, marks=FULL),
        (histories_have_values, ERASE),
        pytest.param(errors_quote, ERASE, marks=FULL),
        (values_are_logged, ERASE),
        (calls_keep_what_was_asked_for, ERASE),
    ],
    ids=lambda one: getattr(one, "__name__", "")[:40],
)
def test_a_kit_that_breaks_a_promise_is_caught(
    break_it: Callable[[Patch], None],
    inherited: Callable[[Inherited, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise every service would be called safe, whatever the kit did to it."""
    break_it(monkeypatch)
    with pytest.raises(Bug):
        inherited(Inherited(), tmp_path)


def test_a_role_that_reaches_too_far_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the matrix is what the kit does, and not what was declared."""
    everybody_may(monkeypatch)
    nobody_hides(monkeypatch)
    stand = Stand(compiled(HelpDesk()), tmp_path / "roles.db", random=Random(1))
    deeds = [one for one in deeds_of(stand, {}) if one.name in ("eraseTicket", "listConsents")]
    found = tried(deeds, stand.roles, stand)
    wrong = differences(declared(deeds, stand.roles), found)
    assert "eraseTicket is done for nobody" in wrong
    assert "listConsents is done for support.agent" in wrong
    assert not any("desk.privacy" in one for one in wrong)
    with pytest.raises(Bug, match="needs is shown wrongly"):
        check_hidden(stand)
    stand.close()


def test_the_matrix_reads_as_people_would_write_it(tmp_path: Path) -> None:
    """Otherwise an auditor gets a table of numbers."""
    stand = Stand(compiled(HelpDesk()), tmp_path / "roles.db", random=Random(1))
    deeds = deeds_of(stand, {})
    lines = table_text(declared(deeds, stand.roles), stand.roles).splitlines()
    assert "moveTicket assign: support.agent" in lines
    assert "approveTicket pay_back: finance, support.lead" in lines
    assert "moveTicket reopen: everybody" in lines
    assert "eraseSubject: desk.privacy" in lines
    assert "giveConsent: desk.consent, desk.privacy" in lines
    stand.close()
