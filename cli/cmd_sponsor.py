"""`clawpurse sponsor …`: declared here, done in `sponsors.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

sponsor = Group(
    "sponsor",
    help="Pay other accounts' fees up to limits, without being asked each time.",
    examples=(
        "clawpurse sponsor grant bob --at-once 0.1 --a-day 1 --total 20 --from alice",
        "clawpurse wallet send carol 5 --from bob --payer alice",
    ),
)


@sponsor.command(
    "grant",
    examples=("clawpurse sponsor grant bob --at-once 0.1 --a-day 1 --total 20 --from alice",),
)
@click.argument("account")
@option("--at-once", required=True, metavar="AMOUNT", help="The highest fee, in CLAW.")
@option("--a-day", required=True, metavar="AMOUNT", help="At most in one day (UTC), in CLAW.")
@option("--total", required=True, metavar="AMOUNT", help="At most altogether, in CLAW.")
@option("--allow", "actions", multiple=True, metavar="ACTION", help="Only for these (default any).")
@option("--expires", default="30d", show_default=True, metavar="TIME", help="12h, 30d, 2027-01-….")
@acting_options
@click.pass_obj
def grant(session: Session, /, account: str, **options: Any) -> None:
    """Let ACCOUNT name you as payer of its fees."""
    from clawpurse.cli import sponsors as work

    terms = terms_of(options)
    work.grant(session, work.Wish(account, **options), terms)


@sponsor.command("end", examples=("clawpurse sponsor end bob --from alice",))
@click.argument("account")
@acting_options
@click.pass_obj
def end(session: Session, /, account: str, **options: Any) -> None:
    """No longer pay ACCOUNT's fees."""
    from clawpurse.cli import sponsors as work

    work.end(session, account, terms_of(options))


@sponsor.command(
    "list", examples=("clawpurse sponsor list alice", "clawpurse sponsor list --of bob")
)
@click.argument("account", required=False)
@option("--of", "sponsored", metavar="ACCOUNT", help="Who pays the fees of this account.")
@node_options
@click.pass_obj
def list_sponsorships(session: Session, account: str | None, sponsored: str | None) -> None:
    """List whose fees an account pays, and what is left."""
    from clawpurse.cli import sponsors as work

    work.listed(session, account, sponsored)
