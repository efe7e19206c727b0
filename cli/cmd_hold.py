"""`clawpurse hold …`: declared here, done in `holds.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

hold = Group(
    "hold",
    help="Money on its way that waits: for officers, because a rule stopped it, or for a payee.",
    examples=(
        "clawpurse hold list",
        "clawpurse hold release 0x… --reason checked --from dave",
    ),
)
REASON = option("--reason", required=True, metavar="CODE", help="Why: a–z, 0–9, dot, hyphen.")


@hold.command(
    "create",
    examples=(
        "clawpurse hold create hotel 300 --expires 7d --reason deposit --capture --from alice",
        "clawpurse hold create bob 300 --expires 7d --reason goods --releaser carol --from alice",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@REASON
@option("--expires", required=True, metavar="TIME", help="When it ends: 36h, 7d, 2027-01-15T09:…Z.")
@option("--release-at-expiry", is_flag=True, help="Then pay what is left; else it comes back.")
@option("--capture", is_flag=True, help="The payee may take of it by itself.")
@option("--releaser", "releasers", multiple=True, metavar="ACCOUNT", help="Who decides; repeat.")
@option("--needed", type=click.IntRange(1), help="How many of them (default: all).")
@option("--reference", default="", help="What the payee's books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@acting_options
@click.pass_obj
def create(session: Session, /, to: str, amount: str, **options: Any) -> None:
    """Set AMOUNT apart for TO, who takes of it what it may."""
    from clawpurse.cli import holds as work

    terms = terms_of(options)
    work.create(session, work.Wish(to, amount, **options), terms)


@hold.command(
    "capture",
    examples=(
        "clawpurse hold capture 0x… 120 --give-back --from hotel",
        "clawpurse hold capture 0x… 0 --give-back --from hotel",
    ),
)
@click.argument("hold_id", metavar="HOLD")
@click.argument("amount")
@option("--give-back", is_flag=True, help="What is left goes back to the payer.")
@acting_options
@click.pass_obj
def capture(
    session: Session, /, hold_id: str, amount: str, give_back: bool, **options: Any
) -> None:
    """Take AMOUNT of what is held for you; 0 with --give-back gives all of it up."""
    from clawpurse.cli import holds as work

    work.capture(session, hold_id, amount, give_back, terms_of(options))


@hold.command("release", examples=("clawpurse hold release 0x… --reason checked --from dave",))
@click.argument("hold_id", metavar="HOLD")
@REASON
@acting_options
@click.pass_obj
def release(session: Session, /, hold_id: str, reason: str, **options: Any) -> None:
    """Vote that it is paid."""
    from clawpurse.cli import holds as work

    work.vote(session, hold_id, True, reason, terms_of(options))


@hold.command("return", examples=("clawpurse hold return 0x… --reason fraud --from dave",))
@click.argument("hold_id", metavar="HOLD")
@REASON
@acting_options
@click.pass_obj
def return_(session: Session, /, hold_id: str, reason: str, **options: Any) -> None:
    """Vote that it goes back to its payer."""
    from clawpurse.cli import holds as work

    work.vote(session, hold_id, False, reason, terms_of(options))


@hold.command("show", examples=("clawpurse hold show 0x…",))
@click.argument("hold_id", metavar="HOLD")
@node_options
@click.pass_obj
def show(session: Session, hold_id: str) -> None:
    """Show what is held, why, and who voted how."""
    from clawpurse.cli import holds as work

    work.show(session, hold_id)


@hold.command(
    "list",
    examples=("clawpurse hold list", "clawpurse hold list --of alice"),
)
@option("--officers", default="compliance", show_default=True, help="The role that decides.")
@option("--of", "account", metavar="ACCOUNT", help="All that is set apart by or for an account.")
@node_options
@click.pass_obj
def list_holds(session: Session, officers: str, account: str | None) -> None:
    """List what waits for officers to decide, or is set apart by or for an account."""
    from clawpurse.cli import holds as work

    work.listed(session, officers, account)
