"""`clawpurse consensus …`: declared here, done in `consensus.py`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Group, node_options
from clawpurse.cli.session import Session

consensus = Group(
    "consensus",
    help="How deciding goes.",
    examples=("clawpurse consensus explain", "clawpurse consensus state --json"),
)


@consensus.command(
    "explain", examples=("clawpurse consensus explain", "clawpurse consensus explain --rpc URL")
)
@node_options
@click.pass_obj
def explain(session: Session) -> None:
    """Say what the network waits for, who is missing since when, and what helps."""
    from clawpurse.cli import consensus as work

    work.explain(session)


@consensus.command("state", examples=("clawpurse consensus state",))
@node_options
@click.pass_obj
def state(session: Session) -> None:
    """Show where agreement on the next block stands, as this node sees it."""
    from clawpurse.cli import consensus as work

    work.state(session)


@consensus.command("evidence", examples=("clawpurse consensus evidence",))
@node_options
@click.pass_obj
def evidence(session: Session) -> None:
    """List authorities that signed two different things for one position."""
    from clawpurse.cli import consensus as work

    work.evidence(session)
