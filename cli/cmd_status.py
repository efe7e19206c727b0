"""`clawpurse status`, `consensus state` and the short form `validators`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command, Group, node_options
from clawpurse.cli.session import Session


@click.command(
    "status", cls=Command, examples=("clawpurse status", "clawpurse status --rpc URL --json")
)
@node_options
@click.pass_obj
def status(session: Session) -> None:
    """Say how the node and its network are, in one screen."""
    from clawpurse.cli import status as work

    work.status(session)


@click.command(
    "validators",
    cls=Command,
    examples=("clawpurse validators", "clawpurse validators --json"),
)
@node_options
@click.pass_obj
def validators(session: Session) -> None:
    """List the authorities of the next block (authority show)."""
    from clawpurse.cli import status as work

    work.authorities(session)


consensus = Group(
    "consensus",
    help="How deciding goes.",
    examples=("clawpurse consensus state", "clawpurse consensus state --json"),
)


@consensus.command("state", examples=("clawpurse consensus state",))
@node_options
@click.pass_obj
def consensus_state(session: Session) -> None:
    """Show where agreement on the next block stands, as this node sees it."""
    from clawpurse.cli import status as work

    work.consensus_state(session)
