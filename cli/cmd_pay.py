"""`clawpurse pay` and `refund`: declared here, done in `paying.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Command, option
from clawpurse.cli.session import Session


@click.command(
    "pay",
    cls=Command,
    examples=(
        "clawpurse pay bob 250 --reference INV-9 --refund-days 30 --from alice",
        "clawpurse pay bob 9000 --travel-hash 0x… --approver carol --from alice",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--reference", default="", help="What the payee's books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@option("--refund-days", type=click.IntRange(0, 366), default=0, help="Keep it refundable so long.")
@option("--approver", "approvers", multiple=True, metavar="NAME", help="A key that signs, too.")
@acting_options
@click.pass_obj
def pay(session: Session, /, to: str, amount: str, **options: Any) -> None:
    """Pay AMOUNT to TO with particulars: reference, travel-rule hash, approvers, refunds."""
    from clawpurse.cli import paying as work

    terms = terms_of(options)
    work.pay(session, work.Wish(to, amount, **options), terms)


@click.command(
    "refund",
    cls=Command,
    examples=("clawpurse refund 0x… 40 --reference 'one broken' --from bob",),
)
@click.argument("payment", metavar="PAYMENT")
@click.argument("amount")
@option("--reference", default="", help="Why, or what your books call it; public for ever.")
@acting_options
@click.pass_obj
def refund(session: Session, /, payment: str, amount: str, reference: str, **options: Any) -> None:
    """Refund AMOUNT of a payment that you got: PAYMENT is its id, or its transaction's."""
    from clawpurse.cli import paying as work

    work.refund(session, payment, amount, reference, terms_of(options))
