"""`clawpurse receipts …`, also as `wallet receipts`: declared here, done in `receipts.py`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

receipts = Group(
    "receipts",
    help="Saved payments with their proofs. TXID may be shortened.",
    examples=("clawpurse receipts list", "clawpurse receipts verify --all"),
)


@receipts.command("list", examples=("clawpurse receipts list", "clawpurse receipts list --json"))
@click.pass_obj
def listed(session: Session) -> None:
    """List saved receipts by block."""
    from clawpurse.cli import receipts as work

    work.listed(session)


@receipts.command("show", examples=("clawpurse receipts show 0x18314b0c",))
@click.argument("tx_id", metavar="TXID")
@click.pass_obj
def show(session: Session, tx_id: str) -> None:
    """Show a receipt; with --json the document with its proof."""
    from clawpurse.cli import receipts as work

    work.show(session, tx_id)


@receipts.command(
    "verify",
    examples=("clawpurse receipts verify --all", "clawpurse receipts verify 0x18314b0c"),
)
@click.argument("tx_id", metavar="TXID", required=False)
@option("--all", "every", is_flag=True, help="All of them.")
@option("--genesis-hash", metavar="HASH", help="Whom you trust (default: the pinned network).")
@click.pass_obj
def verify(session: Session, tx_id: str | None, every: bool, genesis_hash: str | None) -> int:
    """Check receipts offline, from the genesis hash alone: nobody is asked."""
    from clawpurse.cli import receipts as work

    return work.verify(session, tx_id, genesis_hash, every=every)
