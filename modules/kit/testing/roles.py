"""Who may do what: every method and move by each role and by nobody, against the declarations.

Each deed is first tried by all who may not, on one record that must stay as it is, then by each who
may. What comes out is a table that people can read, and two tables that must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.flows import Move
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.model import Actor, Proposal, Record
from clawpurse.modules.kit.records.persons import categories, consent_roles, privacy_role
from clawpurse.modules.kit.service.declaration import Call
from clawpurse.modules.kit.testing.stand import Stand, is_forbidden, person_of
from clawpurse.modules.kit.web.errors import INVALID_PARAMS, RpcError

NOBODY: Final = ""
"""Who has no role at all."""

Matrix = Mapping[tuple[str, str], bool]
"""(deed, role) → whether it is done. A deed is a method, with a move's name behind it."""


@dataclass(frozen=True)
class Deed:
    """Something that is tried: `roles`, any of which it needs; empty: everybody may.

    `prepare` makes what it is tried on, `act` returns what the call answers; what it `consumes`
    can be tried with success only once.
    """

    name: str
    roles: str
    prepare: Callable[[], Any]
    act: Callable[[Actor, Any], Any]
    consumes: bool = False


def declared(deeds: list[Deed], roles: tuple[str, ...]) -> Matrix:
    """Return who may do what as it was declared."""
    return {
        (deed.name, role): not deed.roles or role in deed.roles.split()
        for deed in deeds
        for role in (NOBODY, *roles)
    }


def tried(deeds: list[Deed], roles: tuple[str, ...], stand: Stand) -> Matrix:
    """Return who may do what when it is tried. Raises `Bug` when a refused deed left a trace."""
    found: dict[tuple[str, str], bool] = {}
    for deed in deeds:
        wanted = declared([deed], roles)
        # Those who may not come first, on one and the same thing.
        thing = None
        for role in sorted((NOBODY, *roles), key=lambda role: wanted[deed.name, role]):
            if thing is None or (deed.consumes and wanted[deed.name, role]):
                thing = deed.prepare()
            head = stand.look(lambda work: work.history.head())
            answer = deed.act(_with(role), thing)
            found[deed.name, role] = not is_forbidden(answer)
            if is_forbidden(answer) and stand.look(lambda work: work.history.head()) != head:
                raise Bug(f"{deed.name} was refused to {role or 'nobody'} and left a trace")
    return found


def differences(wanted: Matrix, found: Matrix) -> list[str]:
    """Return in words where two tables differ."""
    return [
        f"{deed} is {'done' if found[deed, role] else 'refused'} for {role or 'nobody'}"
        for (deed, role), may in sorted(wanted.items())
        if found[deed, role] != may
    ]


def table_text(matrix: Matrix, roles: tuple[str, ...]) -> str:
    """Return the table for people: a line for each deed, with the roles that may."""
    deeds = dict.fromkeys(deed for deed, _ in matrix)
    lines = []
    for deed in deeds:
        able = [role for role in roles if matrix[deed, role]]
        lines.append(f"{deed}: {'everybody' if matrix[deed, NOBODY] else ', '.join(able)}")
    return "\n".join(lines)


def deeds_of(stand: Stand, calls: Mapping[str, Mapping[str, Any]]) -> list[Deed]:
    """Return everything that can be tried. `calls`: parameters of the service's own methods."""
    found = [_call(stand, one, calls.get(one.name, {})) for one in stand.manifest.calls]
    for kind in stand.kinds.values():
        found += [*_plain(stand, kind), *_moves(stand, kind)]
    if categories(stand.kinds):
        found += _about_persons(stand)
    return found


def check_hidden(stand: Stand) -> None:
    """Hold every personal field against the roles that may see it. Raises `Bug`."""
    for kind in stand.kinds.values():
        record = stand.made(kind)
        for role in (NOBODY, *stand.roles):
            actor = _with(role, kind.access.read.split()[:1])
            shown = stand.call(actor, f"get{kind.noun}", id=record.id)
            if is_forbidden(shown):
                continue
            for name, spec in kind.fields.items():
                needs = ""
                if spec.personal is not None:
                    needs = kind.access.personal.get(spec.personal.category, "")
                sees = not needs or bool(actor.roles & set(needs.split()))
                is_hidden = spec.wire_name in shown["hidden"]
                value = shown["values"][spec.wire_name]
                if is_hidden == sees or (is_hidden and value is not None):
                    raise Bug(f"{kind.name}.{name} is shown wrongly to {role or 'nobody'}")


def _call(stand: Stand, call: Call, params: Mapping[str, Any]) -> Deed:
    def act(who: Actor, _: Any) -> Any:
        answer = stand.call(who, call.name, **params)
        if isinstance(answer, RpcError) and answer.code == INVALID_PARAMS:
            raise Bug(f"{call.name} needs parameters: say which in `calls` of the tests' class")
        return answer

    return Deed(call.name, call.role, lambda: call, act)


def _plain(stand: Stand, kind: Kind) -> list[Deed]:
    access = kind.access
    privacy = privacy_role(stand.manifest.name)

    def record() -> Record:
        return stand.made(kind)

    def reading(verb: str) -> Deed:
        name = f"{verb}{kind.noun}"
        return Deed(name, access.read, record, lambda who, one: stand.call(who, name, id=one.id))

    def listing(verb: str) -> Deed:
        name = f"{verb}{kind.nouns}"
        return Deed(name, access.read, record, lambda who, _: stand.call(who, name))

    def create(who: Actor, values: Mapping[str, Any]) -> Any:
        return stand.call(who, f"create{kind.noun}", **values)

    def update(who: Actor, one: Record) -> Any:
        return stand.call(who, f"update{kind.noun}", id=one.id)

    found = [
        *(reading(verb) for verb in ("get", "history", "prove")),
        *(listing(verb) for verb in ("list", "export")),
        Deed(f"create{kind.noun}", access.create, lambda: _values(stand, kind), create),
        Deed(f"update{kind.noun}", access.update, record, update),
    ]
    erase = f"erase{kind.noun}"
    if stand.has(erase):
        found.append(
            Deed(
                erase,
                privacy,
                record,
                lambda who, one: stand.call(who, erase, id=one.id, reason="tried"),
                consumes=True,
            )
        )
    return found


def _values(stand: Stand, kind: Kind) -> Mapping[str, Any]:
    """Return good values for a new record, as they come over the wire."""
    record = stand.made(kind)
    return {
        spec.wire_name: record.values[name]
        for name, spec in kind.fields.items()
        if spec.personal is None or not spec.personal.consent or spec.personal.of
    }


def _moves(stand: Stand, kind: Kind) -> list[Deed]:
    found = []
    for move in kind.flow.moves.values():
        found.append(_move(stand, kind, move))
        if move.approvals:
            found.append(_approval(stand, kind, move))
    return found


def ready(stand: Stand, kind: Kind, move: Move) -> tuple[Record, dict[str, Any]]:
    """Return a record that the move leaves from, and values for it that its guard takes."""
    record = stand.bring(stand.made(kind), kind.flow.sources(move.name)[0])
    probe = stand.bring(stand.made(kind), record.state)
    done = stand.moved(probe, move)
    return record, {kind.fields[name].wire_name: done.values[name] for name in move.sets}


def _move(stand: Stand, kind: Kind, move: Move) -> Deed:
    def act(who: Actor, thing: tuple[Record, dict[str, Any]]) -> Any:
        record, given = thing
        return stand.call(who, f"move{kind.noun}", id=record.id, move=move.name, **given)

    name = f"move{kind.noun} {move.name}"
    return Deed(name, " ".join(sorted(move.roles)), lambda: ready(stand, kind, move), act, True)


def _approval(stand: Stand, kind: Kind, move: Move) -> Deed:
    def proposal() -> Proposal:
        record, given = ready(stand, kind, move)
        names = {spec.wire_name: name for name, spec in kind.fields.items()}
        asked = stand.asked(record, move, {names[one]: value for one, value in given.items()})
        if not isinstance(asked, Proposal):
            raise Bug(f"{move.name} needs approvals and was done at once")
        return asked

    def act(who: Actor, asked: Proposal) -> Any:
        return stand.call(who, f"approve{kind.noun}", proposal=asked.number, approve=True)

    approving = " ".join(sorted(move.approving))
    return Deed(f"approve{kind.noun} {move.name}", approving, proposal, act, True)


def _about_persons(stand: Stand) -> list[Deed]:
    service = stand.manifest.name
    privacy, consent = privacy_role(service), consent_roles(service)
    kind, spec = next(
        (kind, spec)
        for kind in stand.kinds.values()
        for spec in kind.fields.values()
        if spec.personal is not None
    )
    category = spec.personal.category if spec.personal is not None else ""

    def person() -> str:
        return person_of(stand.made(kind), spec)

    def about(name: str, roles: str, **more: Any) -> Deed:
        return Deed(
            name, roles, person, lambda who, one: stand.call(who, name, subject=one, **more), True
        )

    said = {"category": category, "wording": "0x" + bytes(32).hex()}
    return [
        about("giveConsent", consent, **said),
        about("withdrawConsent", consent, **said),
        about("listConsents", consent),
        about("exportSubject", privacy, reason="tried"),
        about("eraseSubject", privacy, reason="tried"),
    ]


def _with(role: str, more: list[str] | None = None) -> Actor:
    roles = frozenset([*([role] if role else []), *(more or [])])
    return Actor(f"with-{role or 'nothing'}", roles, "test")
