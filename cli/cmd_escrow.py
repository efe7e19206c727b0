"""`clawpurse escrow …`: declared here, done in `escrows.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

escrow = Group(
    "escrow",
    help="Money set apart until a time, a secret or an arbiter decides. TO is a key's name, a "
    "contact, or claw1….",
    examples=(
        "clawpurse escrow create bob 250 --arbiter carol --cancel-after 30d --from alice",
        "clawpurse escrow list alice",
    ),
)
SECRET_FILE = option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with the secret, 0x….",
)


@escrow.command(
    "create",
    examples=(
        "clawpurse escrow create bob 250 --finish-after 10d --from alice",
        "clawpurse escrow create bob 250 --secret-file F --cancel-after 48h --from alice",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--finish-after", metavar="TIME", help="Nobody is paid before: 36h, 10d, 2027-01-15T09:…Z.")
@option("--cancel-after", metavar="TIME", help="When it comes back (default: a year after that).")
@option("--condition", metavar="0xHASH", help="SHA-256 of a secret that has it paid.")
@option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Make a new secret in this file (0600), and set its condition.",
)
@option("--arbiter", metavar="ACCOUNT", help="Who decides between you and the payee.")
@option("--reference", default="", help="What the payee's books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@acting_options
@click.pass_obj
def create(session: Session, /, to: str, amount: str, **options: Any) -> None:
    """Set AMOUNT apart for TO."""
    from clawpurse.cli import escrows as work

    terms = terms_of(options)
    work.create(session, work.Wish(to, amount, **options), terms)


@escrow.command(
    "finish",
    examples=(
        "clawpurse escrow finish 0x… --from alice",
        "clawpurse escrow finish 0x… --secret-file F --from bob",
    ),
)
@click.argument("escrow_id", metavar="ESCROW")
@SECRET_FILE
@acting_options
@click.pass_obj
def finish(session: Session, /, escrow_id: str, secret_file: Path | None, **options: Any) -> None:
    """Have the payee paid: with the secret, or as the payer."""
    from clawpurse.cli import escrows as work

    work.finish(session, escrow_id, secret_file, terms_of(options))


@escrow.command("cancel", examples=("clawpurse escrow cancel 0x… --from bob",))
@click.argument("escrow_id", metavar="ESCROW")
@acting_options
@click.pass_obj
def cancel(session: Session, /, escrow_id: str, **options: Any) -> None:
    """Give it back to its payer: as the payee, or after its time."""
    from clawpurse.cli import escrows as work

    work.cancel(session, escrow_id, terms_of(options))


@escrow.command(
    "decide", examples=("clawpurse escrow decide 0x… release --reason delivered --from carol",)
)
@click.argument("escrow_id", metavar="ESCROW")
@click.argument("outcome", type=click.Choice(["release", "return"]))
@option("--reason", required=True, metavar="CODE", help="Why: a–z, 0–9, dot, hyphen; public.")
@acting_options
@click.pass_obj
def decide(session: Session, /, escrow_id: str, outcome: str, reason: str, **options: Any) -> None:
    """Decide as its arbiter."""
    from clawpurse.cli import escrows as work

    work.decide(session, escrow_id, outcome, reason, terms_of(options))


@escrow.command("show", examples=("clawpurse escrow show 0x…",))
@click.argument("escrow_id", metavar="ESCROW")
@node_options
@click.pass_obj
def show(session: Session, escrow_id: str) -> None:
    """Show an escrow that is not over."""
    from clawpurse.cli import escrows as work

    work.show(session, escrow_id)


@escrow.command("list", examples=("clawpurse escrow list", "clawpurse escrow list alice"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_escrows(session: Session, account: str | None) -> None:
    """List the escrows of an account: as payer, payee or arbiter."""
    from clawpurse.cli import escrows as work

    work.listed(session, account)
