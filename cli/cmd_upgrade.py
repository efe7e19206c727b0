"""`clawpurse upgrade …`: amendments of the rules, declared here, done in `voting.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import AUTHORITY_HOMES, acting_options, terms_of
from clawpurse.cli.cmd_authority import DAYS
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

upgrade = Group(
    "upgrade",
    help="Changes of the rules, from a block on, by vote of the authorities.",
    examples=("clawpurse upgrade status", "clawpurse upgrade propose NAME --height 90000"),
)


@upgrade.command("status", examples=("clawpurse upgrade status", "clawpurse upgrade status --json"))
@node_options
@click.pass_obj
def status(session: Session) -> None:
    """List amendments: proposed, adopted, in force, and whether the node knows them."""
    from clawpurse.cli import voting as work

    work.amendments(session)


@upgrade.command(
    "propose",
    examples=("clawpurse upgrade propose NAME --height 90000 --authority-home ./authority-1",),
)
@click.argument("name")
@option("--height", type=click.IntRange(1), required=True, help="The first block under it.")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def propose(
    session: Session,
    /,
    name: str,
    height: int,
    days: int,
    authority_homes: tuple[Path, ...],
    **options: Any,
) -> None:
    """Vote to adopt an amendment that the new software knows by NAME."""
    from clawpurse.cli import voting as work

    change = work.amendment(name, height)
    work.propose(session, change, authority_homes, days, terms_of(options))


@upgrade.command(
    "cancel", examples=("clawpurse upgrade cancel NAME --authority-home ./authority-1",)
)
@click.argument("name")
@DAYS
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def cancel(
    session: Session, /, name: str, days: int, authority_homes: tuple[Path, ...], **options: Any
) -> None:
    """Vote to call off an amendment that is not in force yet."""
    from clawpurse.cli import voting as work

    work.propose(session, work.cancellation(name), authority_homes, days, terms_of(options))


@upgrade.command("vote", examples=("clawpurse upgrade vote 0x… --authority-home ./authority-2",))
@click.argument("proposal")
@AUTHORITY_HOMES
@acting_options
@click.pass_obj
def vote(
    session: Session, /, proposal: str, authority_homes: tuple[Path, ...], **options: Any
) -> None:
    """Vote for a proposed amendment (as `authority vote`)."""
    from clawpurse.cli import voting as work

    work.vote(session, proposal, authority_homes, terms_of(options), "vote")
