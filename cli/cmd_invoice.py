"""`clawpurse invoice …`: declared here, done in `invoices.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

invoice = Group(
    "invoice",
    help="Ask for money: paid once, exactly, in time, and found by its id. ACCOUNT is a key's "
    "name, a contact, or claw1….",
    examples=(
        "clawpurse invoice create 25 --purpose 'order 7' --expires 2h --from shop",
        "clawpurse invoice pay 0x… --from alice",
    ),
)
INVOICE = click.argument("invoice_id", metavar="INVOICE")


@invoice.command(
    "create",
    examples=(
        "clawpurse invoice create 25 --purpose 'order 7' --expires 2h --from shop",
        "clawpurse invoice create 25 --bill-to alice --purpose 'order 7' --from shop",
    ),
)
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to be paid with.")
@option("--bill-to", metavar="ACCOUNT", help="Who alone may pay it (default: anybody).")
@option("--purpose", default="", help="What it is for; public for ever.")
@option("--preimage-hash", metavar="0xHASH", help="SHA-256 of the secret that redeems it.")
@option("--expires", default="1h", show_default=True, metavar="TIME", help="36h, 10d, 2027-…Z.")
@option(
    "--keep-days",
    type=click.IntRange(0, 92),
    default=7,
    show_default=True,
    help="For how many days after that it can be asked for.",
)
@acting_options
@click.pass_obj
def create(session: Session, /, amount: str, **options: Any) -> None:
    """Ask for AMOUNT."""
    from clawpurse.cli import invoices as work

    terms = terms_of(options)
    work.create(session, work.Wish(amount, **options), terms)


@invoice.command("pay", examples=("clawpurse invoice pay 0x… --from alice",))
@INVOICE
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@acting_options
@click.pass_obj
def pay(session: Session, /, invoice_id: str, travel_hash: str | None, **options: Any) -> None:
    """Look at what the id stands for, and pay it."""
    from clawpurse.cli import invoices as work

    work.pay(session, invoice_id, travel_hash, terms_of(options))


@invoice.command("cancel", examples=("clawpurse invoice cancel 0x… --from shop",))
@INVOICE
@acting_options
@click.pass_obj
def cancel(session: Session, /, invoice_id: str, **options: Any) -> None:
    """Take it back, as its payee, before it is paid."""
    from clawpurse.cli import invoices as work

    work.cancel(session, invoice_id, terms_of(options))


@invoice.command("show", examples=("clawpurse invoice show 0x…",))
@INVOICE
@node_options
@click.pass_obj
def show(session: Session, invoice_id: str) -> None:
    """Show an invoice, and what became of it."""
    from clawpurse.cli import invoices as work

    work.show(session, invoice_id)


@invoice.command("list", examples=("clawpurse invoice list", "clawpurse invoice list shop"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_invoices(session: Session, account: str | None) -> None:
    """List the invoices of an account: that it made, may pay, or paid."""
    from clawpurse.cli import invoices as work

    work.listed(session, account)


@invoice.command("redeem", examples=("clawpurse invoice redeem 0x… --request 0x… --from alice",))
@INVOICE
@option("--request", required=True, metavar="0xHASH", help="Hash of what it is shown for.")
@option("--from", "name", metavar="NAME", help="The key of the account that paid.")
@option("--genesis-hash", metavar="0xHASH", help="Of the network; with it, no node is asked.")
@PASSPHRASE_FILE
@node_options
@click.pass_obj
def redeem(
    session: Session,
    invoice_id: str,
    request: str,
    name: str | None,
    genesis_hash: str | None,
    passphrase_file: Path | None,
) -> None:
    """Sign that who asks is who paid, for one request to a shop or gateway."""
    from clawpurse.cli import invoices as work

    work.redeem(session, invoice_id, request, name, genesis_hash, passphrase_file)
