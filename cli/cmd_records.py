"""`clawpurse MODULE KIND create|get|list|…`: commands made from what a module declares.

Values that belong to no list of a shell's history are read from a file: `--answer @FILE`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from clawpurse.cli.framework import Command, Group, node_options, option
from clawpurse.cli.session import Session
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind, Storage
from clawpurse.modules.kit.records.shapes import moved_fields
from clawpurse.modules.kit.service.declaration import Manifest

KEY: Final = option("--idempotency-key", help="Of your making: the same key is the same request.")
VERSION: Final = option("--version", type=int, help="The version you looked at.")
LIMIT: Final = option("--limit", type=click.IntRange(1, 500), default=50, help="At most so many.")
CURSOR: Final = option("--cursor", help="nextCursor of the page before.")
ID: Final = click.argument("ident", metavar="ID")
Wrapped = Callable[..., Any]


def module_group(manifest: Manifest) -> Group:
    """Return the group of a module's commands."""
    group = Group(
        manifest.name,
        help=f"{manifest.title}: records of a module that runs (clawpurse module serve).",
        examples=_examples(manifest),
    )
    for kind in manifest.kinds.values():
        group.add_command(_kind_group(manifest.name, kind))
    for call in manifest.calls:
        group.add_command(_call(manifest.name, call.name, call.summary))
    group.add_command(_configuration(manifest.name))
    return group


def _examples(manifest: Manifest) -> tuple[str, ...]:
    return tuple(
        f"clawpurse {manifest.name} {_dashed(kind.name)} list --token-file F"
        for kind in list(manifest.kinds.values())[:2]
    )


def _kind_group(service: str, kind: Kind) -> Group:
    group = Group(
        _dashed(kind.name),
        help=f"{kind.title}: states {', '.join(kind.flow.states)}.",
        examples=(f"clawpurse {service} {_dashed(kind.name)} get {kind.prefix}-1 --token-file F",),
    )
    for command in (
        _create(service, kind),
        _get(service, kind),
        _list(service, kind),
        _update(service, kind),
        _move(service, kind),
        _history(service, kind),
        _prove(service, kind),
        _erase(service, kind),
    ):
        group.add_command(command)
    if any(move.approvals for move in kind.flow.moves.values()):
        group.add_command(_proposals(service, kind))
        group.add_command(_approve(service, kind))
    return group


def _create(service: str, kind: Kind) -> click.Command:
    names = [spec for spec in kind.fields.values() if spec.name not in moved_fields(kind)]

    @click.pass_obj
    def run(session: Session, /, idempotency_key: str | None, **given: Any) -> None:
        from clawpurse.cli import records as work

        values = {**work.values(kind, given), **work.present(idempotencyKey=idempotency_key)}
        work.show(session, service, kind, f"{service}_create{kind.noun}", values)

    return _command("create", f"Make a {kind.title.lower()}.", _fields(names, KEY(run)))


def _get(service: str, kind: Kind) -> click.Command:
    @ID
    @click.pass_obj
    def run(session: Session, ident: str) -> None:
        from clawpurse.cli import records as work

        work.show(session, service, kind, f"{service}_get{kind.noun}", {"id": ident})

    return _command("get", f"Show a {kind.title.lower()}.", run)


def _list(service: str, kind: Kind) -> click.Command:
    searched = [spec for spec in kind.fields.values() if spec.indexed]

    @option("--state", type=click.Choice(list(kind.flow.states)), help="Only in this state.")
    @LIMIT
    @CURSOR
    @click.pass_obj
    def run(
        session: Session, /, state: str | None, limit: int, cursor: str | None, **given: Any
    ) -> None:
        from clawpurse.cli import records as work

        wanted = {**work.values(kind, given), **work.present(state=state, cursor=cursor)}
        work.show_list(session, service, kind, {**wanted, "limit": limit})

    return _command("list", f"List each {kind.title.lower()}.", _fields(searched, run))


def _update(service: str, kind: Kind) -> click.Command:
    names = [spec for spec in kind.fields.values() if spec.name not in moved_fields(kind)]

    @ID
    @VERSION
    @KEY
    @click.pass_obj
    def run(
        session: Session,
        /,
        ident: str,
        version: int | None,
        idempotency_key: str | None,
        **given: Any,
    ) -> None:
        from clawpurse.cli import records as work

        more = work.present(version=version, idempotencyKey=idempotency_key)
        values = {"id": ident, **work.values(kind, given), **more}
        work.show(session, service, kind, f"{service}_update{kind.noun}", values)

    return _command("update", f"Change values of a {kind.title.lower()}.", _fields(names, run))


def _move(service: str, kind: Kind) -> click.Command:
    sets = [kind.fields[name] for name in sorted(moved_fields(kind))]

    @ID
    @click.argument("move", type=click.Choice(list(kind.flow.moves)))
    @VERSION
    @KEY
    @click.pass_obj
    def run(
        session: Session,
        /,
        ident: str,
        move: str,
        version: int | None,
        idempotency_key: str | None,
        **given: Any,
    ) -> None:
        from clawpurse.cli import records as work

        more = work.present(version=version, idempotencyKey=idempotency_key)
        values = {"id": ident, "move": move, **work.values(kind, given), **more}
        work.show(session, service, kind, f"{service}_move{kind.noun}", values)

    return _command("move", f"Make a move of a {kind.title.lower()}.", _fields(sets, run))


def _history(service: str, kind: Kind) -> click.Command:
    @ID
    @LIMIT
    @CURSOR
    @click.pass_obj
    def run(session: Session, ident: str, limit: int, cursor: str | None) -> None:
        from clawpurse.cli import records as work

        wanted = {"id": ident, "limit": limit, **work.present(cursor=cursor)}
        work.show_history(session, service, f"{service}_history{kind.noun}", wanted)

    return _command("history", f"What became of a {kind.title.lower()}, oldest first.", run)


def _prove(service: str, kind: Kind) -> click.Command:
    @ID
    @option("--entry", type=int, help="Which version of it; the newest if left out.")
    @option("--openings", is_flag=True, help="Also what opens the commitments that you may see.")
    @click.pass_obj
    def run(session: Session, ident: str, entry: int | None, openings: bool) -> None:
        from clawpurse.cli import records as work

        wanted = {"id": ident, "openings": openings, **work.present(version=entry)}
        work.show_json(session, service, f"{service}_prove{kind.noun}", wanted)

    return _command("prove", "An entry of its history with all that proves it, as JSON.", run)


def _erase(service: str, kind: Kind) -> click.Command:
    @ID
    @option("--reason", required=True, help="Why; kept for ever, so nothing personal.")
    @option("--person", is_flag=True, help="The whole person whom the record is about.")
    @option("--yes", is_flag=True, help="Do not ask. It cannot be undone.")
    @click.pass_obj
    def run(session: Session, ident: str, reason: str, person: bool, yes: bool) -> None:
        from clawpurse.cli import records as work

        wanted = {"id": ident, "reason": reason, "person": person}
        work.erase(session, service, f"{service}_erase{kind.noun}", wanted, yes=yes)

    return _command("erase", "Erase what it holds about a person, for ever.", run)


def _proposals(service: str, kind: Kind) -> click.Command:
    @LIMIT
    @CURSOR
    @click.pass_obj
    def run(session: Session, limit: int, cursor: str | None) -> None:
        from clawpurse.cli import records as work

        wanted = {"limit": limit, **work.present(cursor=cursor)}
        work.show_proposals(session, service, f"{service}_list{kind.noun}Proposals", wanted)

    return _command("proposals", "Moves that wait for others to approve.", run)


def _approve(service: str, kind: Kind) -> click.Command:
    @click.argument("proposal", type=int)
    @option("--reject", is_flag=True, help="Say no.")
    @option("--reason", default="", help="Why; kept for ever, so nothing personal.")
    @KEY
    @click.pass_obj
    def run(
        session: Session, proposal: int, reject: bool, reason: str, idempotency_key: str | None
    ) -> None:
        from clawpurse.cli import records as work

        wanted = {"proposal": proposal, "approve": not reject, "reason": reason}
        more = work.present(idempotencyKey=idempotency_key)
        work.show(session, service, kind, f"{service}_approve{kind.noun}", {**wanted, **more})

    return _command("approve", "Approve a move that somebody proposed, or reject it.", run)


def _call(service: str, name: str, summary: str) -> click.Command:
    @click.argument("parameters", nargs=-1, metavar="[K=V]…")
    @click.pass_obj
    def run(session: Session, parameters: tuple[str, ...]) -> None:
        from clawpurse.cli import records as work

        work.show_call(session, service, f"{service}_{name}", parameters)

    dashed = "".join(f"-{char.lower()}" if char.isupper() else char for char in name)
    return _command(dashed, f"{summary}.", run)


def _configuration(service: str) -> Group:
    group = Group(
        "config",
        help="The module's configuration: every version is kept.",
        examples=(f"clawpurse {service} config get --token-file F",),
    )

    @click.pass_obj
    def get(session: Session) -> None:
        from clawpurse.cli import records as work

        work.show_json(session, service, f"{service}_getConfiguration", {})

    @click.argument("changes", nargs=-1, required=True, metavar="K=V…")
    @option("--reason", required=True, help="Why; kept for ever.")
    @option("--dry-run", is_flag=True, help="Only say what would change.")
    @click.pass_obj
    def set_(session: Session, changes: tuple[str, ...], reason: str, dry_run: bool) -> None:
        from clawpurse.cli import records as work

        work.configure(session, service, changes, reason, dry_run)

    @click.argument("version", type=int)
    @option("--reason", required=True, help="Why; kept for ever.")
    @click.pass_obj
    def rollback(session: Session, version: int, reason: str) -> None:
        from clawpurse.cli import records as work

        wanted = {"version": version, "reason": reason}
        work.show_json(session, service, f"{service}_rollbackConfiguration", wanted)

    @LIMIT
    @CURSOR
    @click.pass_obj
    def versions(session: Session, limit: int, cursor: str | None) -> None:
        from clawpurse.cli import records as work

        wanted = {"limit": limit, **work.present(cursor=cursor)}
        work.show_json(session, service, f"{service}_listConfigurations", wanted)

    group.add_command(_command("get", "Show what is in force.", get))
    group.add_command(_command("set", "Change settings, all at once or none.", set_))
    group.add_command(_command("rollback", "Go back to an older version.", rollback))
    group.add_command(_command("versions", "List every version.", versions))
    return group


def _command(name: str, says: str, run: Wrapped) -> click.Command:
    run.__doc__ = says
    made: click.Command = click.command(name, cls=Command)(node_options(run))
    return made


def _fields(specs: list[FieldSpec], run: Wrapped) -> Wrapped:
    """Give a command an option for each of these fields."""
    for spec in reversed(specs):
        kind: Any = str
        if spec.choices:
            kind = click.Choice(list(spec.choices))
        elif spec.holds is Storage.INTEGER:
            kind = int
        elif spec.holds is Storage.BOOLEAN:
            kind = bool
        several = spec.holds is Storage.LIST
        says = spec.description or spec.name.replace("_", " ").capitalize()
        shown = f"{says}; again for more." if several else f"{says}; @FILE reads it from a file."
        run = option(
            f"--{_dashed(spec.name)}",
            f"field_{spec.name}",
            type=kind,
            multiple=several,
            help=shown if kind is str else f"{says}.",
        )(run)
    return run


def _dashed(name: str) -> str:
    return name.replace("_", "-")
