"""`clawpurse authority …`: who decides blocks, and the keys with which a node does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from clawpurse.cli import cmd_authority_keys as keys
from clawpurse.cli.acting_options import AUTHORITY_HOMES, acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

DAYS: Final = option(
    "--days",
    type=click.IntRange(1, 29),
    default=7,
    show_default=True,
    help="How long the proposal is open, if it is a new one.",
)

authority = Group(
    "authority",
    help="Those who decide blocks.",
    examples=("clawpurse authority show", "clawpurse authority show --json"),
)
for _command in (keys.signer, keys.move_out, keys.move_in, keys.rotate_key, keys.retire_key):
    authority.add_command(_command)


@authority.command("show", examples=("clawpurse authority show",))
@node_options
@click.pass_obj
def show_authorities(session: Session) -> None:
    """List the authorities of the next block."""
    from clawpurse.cli import status as work

    work.authorities(session)


@authority.command(
    "init-key",
    examples=("clawpurse authority init-key --home ./node",),
)
@option(
    "--home", "node_home", required=True, type=click.Path(path_type=Path), help="The node's folder."
)
@click.pass_obj
def init_key(session: Session, node_home: Path) -> None:
    """Make the key with which a node that has joined will decide blocks; print clawval1…."""
    from clawpurse.cli import office as work

    work.init_key(session, node_home.expanduser())


propose = Group(
    "propose",
    help="Vote for a change; a quorum of the authorities makes it.",
    examples=(
        "clawpurse authority propose add clawval1… --authority-home ./authority-1",
        "clawpurse authority propose params interval_ms=500 --authority-home ./authority-1",
    ),
)
authority.add_command(propose)


def _change(session: Session, change: Any, options: dict[str, Any]) -> None:
    from clawpurse.cli import voting as work

    homes, days = options.pop("authority_homes"), options.pop("days")
    work.propose(session, change, homes, days, terms_of(options))


@propose.command(
    "add", examples=("clawpurse authority propose add clawval1… --authority-home ./authority-1",)
)
@click.argument("key", metavar="CLAWVAL1")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_add(session: Session, /, key: str, **options: Any) -> None:
    """Vote to make a key an authority; its node should run before it is one."""
    from clawpurse.cli import voting as work

    _change(session, work.add(key), options)


@propose.command(
    "remove",
    examples=("clawpurse authority propose remove clawval1… --authority-home ./authority-1",),
)
@click.argument("key", metavar="CLAWVAL1")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_remove(session: Session, /, key: str, **options: Any) -> None:
    """Vote to remove an authority."""
    from clawpurse.cli import voting as work

    _change(session, work.remove(key), options)


@propose.command(
    "replace",
    examples=("clawpurse authority propose replace OLD NEW --authority-home ./authority-1",),
)
@click.argument("old", metavar="OLD-CLAWVAL1")
@click.argument("new", metavar="NEW-CLAWVAL1")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_replace(session: Session, /, old: str, new: str, **options: Any) -> None:
    """Vote to put one authority in another's place, at one height."""
    from clawpurse.cli import voting as work

    _change(session, work.replacement(old, new), options)


@propose.command(
    "params",
    examples=("clawpurse authority propose params interval_ms=500 --authority-home ./authority-1",),
)
@click.argument("values", metavar="NAME=NUMBER", nargs=-1, required=True)
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_params(session: Session, /, values: tuple[str, ...], **options: Any) -> None:
    """Vote to set parameters, all of these at once."""
    from clawpurse.cli import voting as work

    _change(session, work.parameters(values), options)


@propose.command(
    "grant",
    examples=("clawpurse authority propose grant admin alice --authority-home ./authority-1",),
)
@click.argument("role", metavar="ROLE")
@click.argument("account")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_grant(session: Session, /, role: str, account: str, **options: Any) -> None:
    """Vote to give an account a role; the way to a first administrator."""
    from clawpurse.cli import voting as work

    _change(session, work.role(session, role, account, held=True), options)


@propose.command(
    "revoke",
    examples=("clawpurse authority propose revoke admin alice --authority-home ./authority-1",),
)
@click.argument("role", metavar="ROLE")
@click.argument("account")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose_revoke(session: Session, /, role: str, account: str, **options: Any) -> None:
    """Vote to take a role from an account, the last administrator's too."""
    from clawpurse.cli import voting as work

    _change(session, work.role(session, role, account, held=False), options)


@authority.command(
    "vote", examples=("clawpurse authority vote 0x3f9a… --authority-home ./authority-2",)
)
@click.argument("proposal")
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def vote(
    session: Session, /, proposal: str, authority_homes: tuple[Path, ...], **options: Any
) -> None:
    """Vote for a proposal, by its id or the beginning of it."""
    from clawpurse.cli import voting as work

    work.vote(session, proposal, authority_homes, terms_of(options), "vote")


@authority.command(
    "withdraw", examples=("clawpurse authority withdraw 0x3f9a… --authority-home ./authority-2",)
)
@click.argument("proposal")
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def withdraw(
    session: Session, /, proposal: str, authority_homes: tuple[Path, ...], **options: Any
) -> None:
    """Take a vote back, as long as the proposal is open."""
    from clawpurse.cli import voting as work

    work.vote(session, proposal, authority_homes, terms_of(options), "withdraw")


@authority.command(
    "proposals",
    examples=("clawpurse authority proposals", "clawpurse authority proposals --all --json"),
)
@option("--all", "everything", is_flag=True, help="Those that are over, too.")
@node_options
@click.pass_obj
def proposals(session: Session, everything: bool) -> None:
    """List what the authorities vote on."""
    from clawpurse.cli import voting as work

    work.proposals(session, everything=everything)
