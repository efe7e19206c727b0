"""`clawpurse authority …`: who decides blocks, and the keys with which a node does."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Group, node_options
from clawpurse.cli.session import Session

authority = Group(
    "authority",
    help="Those who decide blocks.",
    examples=("clawpurse authority show", "clawpurse authority show --json"),
)


@authority.command("show", examples=("clawpurse authority show",))
@node_options
@click.pass_obj
def show_authorities(session: Session) -> None:
    """List the authorities of the next block."""
    from clawpurse.cli import status as work

    work.authorities(session)
