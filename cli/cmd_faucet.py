"""`clawpurse faucet ACCOUNT`: money of a test network."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command, node_options, option
from clawpurse.cli.session import Session


@click.command(
    "faucet", cls=Command, examples=("clawpurse faucet alice", "clawpurse faucet alice --json")
)
@click.argument("account")
@option(
    "--timeout", type=click.IntRange(1, 3600), default=10, help="Seconds to wait; then pending."
)
@node_options
@click.pass_obj
def faucet(session: Session, account: str, timeout: int) -> None:
    """Get test money for ACCOUNT; on test networks only."""
    from clawpurse.cli import faucet as work

    work.request(session, account, timeout)
