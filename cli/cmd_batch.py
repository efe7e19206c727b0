"""`clawpurse batch …`: declared here, done in `batches.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

batch = Group(
    "batch",
    help="Many payments, all of them or none, once enough people approved: payrolls, vendor runs.",
    examples=(
        "clawpurse batch propose may.csv --approver bob --approver carol --needed 2 --from alice",
        "clawpurse batch approve 0x… --from bob",
        "clawpurse batch execute 0x… --from carol",
    ),
)
BATCH = click.argument("batch_id", metavar="BATCH")


@batch.command(
    "propose",
    examples=(
        "clawpurse batch propose may.csv --approver bob --approver carol --needed 2 --from alice",
        "clawpurse batch propose run.json --asset EURX --approver bob --expires 3d --from alice",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--approver", "approvers", multiple=True, required=True, metavar="ACCOUNT", help="Who may.")
@option("--needed", type=click.IntRange(1, 16), help="How many must approve (default: all).")
@option("--expires", default="7d", show_default=True, metavar="TIME", help="36h, 10d, 2027-…Z.")
@option("--reference", default="", help="What the books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payees'.")
@acting_options
@click.pass_obj
def propose(session: Session, /, file: Path, **options: Any) -> None:
    """Propose the payments in FILE: CSV with the columns to,amount,reference, or such JSON."""
    from clawpurse.cli import batches as work

    terms = terms_of(options)
    work.propose(session, work.Wish(file, **options), terms)


@batch.command("approve", examples=("clawpurse batch approve 0x… --until 24h --from bob",))
@BATCH
@option("--until", metavar="TIME", help="Until when it counts (default: as long as the batch).")
@acting_options
@click.pass_obj
def approve(session: Session, /, batch_id: str, until: str | None, **options: Any) -> None:
    """Look at what the id stands for, and approve it."""
    from clawpurse.cli import batches as work

    work.approve(session, batch_id, until, terms_of(options))


@batch.command("reject", examples=("clawpurse batch reject 0x… --reason wrong-month --from bob",))
@BATCH
@option("--reason", required=True, metavar="CODE", help="Why: a–z, 0–9, dot, hyphen; public.")
@acting_options
@click.pass_obj
def reject(session: Session, /, batch_id: str, reason: str, **options: Any) -> None:
    """Say no, or take an approval back."""
    from clawpurse.cli import batches as work

    work.reject(session, batch_id, reason, terms_of(options))


@batch.command("withdraw", examples=("clawpurse batch withdraw 0x… --from alice",))
@BATCH
@acting_options
@click.pass_obj
def withdraw(session: Session, /, batch_id: str, **options: Any) -> None:
    """Take it back, as its payer."""
    from clawpurse.cli import batches as work

    work.withdraw(session, batch_id, terms_of(options))


@batch.command("execute", examples=("clawpurse batch execute 0x… --from carol",))
@BATCH
@acting_options
@click.pass_obj
def execute(session: Session, /, batch_id: str, **options: Any) -> None:
    """Pay all of it, as its payer or one who may approve it."""
    from clawpurse.cli import batches as work

    work.execute(session, batch_id, terms_of(options))


@batch.command("show", examples=("clawpurse batch show 0x…",))
@BATCH
@node_options
@click.pass_obj
def show(session: Session, batch_id: str) -> None:
    """Show an open batch, with all its payments."""
    from clawpurse.cli import batches as work

    work.show(session, batch_id)


@batch.command("list", examples=("clawpurse batch list", "clawpurse batch list bob"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_batches(session: Session, account: str | None) -> None:
    """List open batches of an account: to be paid by it, or approved."""
    from clawpurse.cli import batches as work

    work.listed(session, account)
