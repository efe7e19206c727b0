"""`clawpurse doctor`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command, node_options
from clawpurse.cli.session import Session


@click.command(
    "doctor",
    cls=Command,
    mends_config=True,
    examples=("clawpurse doctor", "clawpurse doctor --home ./node --json"),
)
@node_options
@click.pass_obj
def doctor(session: Session) -> int:
    """Look for what is wrong with the client, a node (--home) or a network, and what mends it."""
    from clawpurse.cli import doctor as work

    return work.run(session)
