"""`clawpurse status` and the short form `validators`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command, node_options
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
