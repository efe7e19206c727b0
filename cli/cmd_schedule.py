"""`clawpurse schedule …`: declared here, done in `schedules.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

schedule = Group(
    "schedule",
    help="Payments at a time to come; the money is set apart at once.",
    examples=(
        "clawpurse schedule create bob 1200 --at 2027-01-31T08:00:00Z --from alice",
        "clawpurse schedule list alice",
    ),
)


@schedule.command("create", examples=("clawpurse schedule create bob 1200 --at 30d --from alice",))
@click.argument("to")
@click.argument("amount")
@option("--at", required=True, metavar="TIME", help="When: 36h, 30d, 2027-01-31T08:00:00Z.")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--reference", default="", help="What the payee's books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@acting_options
@click.pass_obj
def create(session: Session, /, to: str, amount: str, **options: Any) -> None:
    """Pay AMOUNT to TO at a time within a year."""
    from clawpurse.cli import schedules as work

    terms = terms_of(options)
    work.create(session, work.Wish(to, amount, **options), terms)


@schedule.command("cancel", examples=("clawpurse schedule cancel 0x… --from alice",))
@click.argument("scheduled_id", metavar="SCHEDULED")
@acting_options
@click.pass_obj
def cancel(session: Session, /, scheduled_id: str, **options: Any) -> None:
    """Cancel it before its time."""
    from clawpurse.cli import schedules as work

    work.cancel(session, scheduled_id, terms_of(options))


@schedule.command("list", examples=("clawpurse schedule list", "clawpurse schedule list alice"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_scheduled(session: Session, account: str | None) -> None:
    """List what is scheduled by or for an account."""
    from clawpurse.cli import schedules as work

    work.listed(session, account)
