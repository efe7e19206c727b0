"""`clawpurse tx …`: declared here, done in `transactions.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.cmd_offline import build, combine, sign
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

tx = Group(
    "tx",
    help="Transactions: what became of them, what they say, whether a proof holds.",
    examples=(
        "clawpurse tx wait 0x…",
        "clawpurse tx verify receipt.json --genesis-hash 0x…",
    ),
)


@tx.command("wait", examples=("clawpurse tx wait 0x…", "clawpurse tx wait 0x… --timeout 60 --json"))
@click.argument("tx_id", required=False)
@option("--sender", metavar="ACCOUNT", help="With --idempotency-key, instead of the id.")
@option("--idempotency-key", metavar="HEX", help="The key that it was sent with.")
@option("--timeout", type=click.IntRange(0, 3600), default=30, help="Seconds to wait.")
@node_options
@click.pass_obj
def wait(
    session: Session,
    tx_id: str | None,
    sender: str | None,
    idempotency_key: str | None,
    timeout: int,
) -> int:
    """Ask what became of a transaction; keep its receipt when it is final."""
    from clawpurse.cli import transactions as work

    return work.wait(session, tx_id, sender, idempotency_key, timeout)


@tx.command(
    "verify",
    examples=(
        "clawpurse tx verify receipt.json --genesis-hash 0x…",
        "clawpurse wallet send … --json | clawpurse tx verify - --genesis-hash 0x…",
        "clawpurse rpc account_getBalances account=claw1… prove=true --json | "
        "clawpurse tx verify - --genesis-hash 0x…",
    ),
)
@click.argument("file")
@option("--genesis-hash", metavar="HASH", required=True, help="Of the network that you trust.")
@click.pass_obj
def verify(session: Session, file: str, genesis_hash: str) -> int:
    """Check what a node proved (a payment, an account, balances, any state), offline."""
    from clawpurse.cli import transactions as work

    return work.verify(session, file, genesis_hash)


def _superseding(session: Session, tx_id: str, options: dict[str, Any], *, cancels: bool) -> int:
    from clawpurse.cli import outgoing as work
    from clawpurse.cli.factors import Given

    given = Given(options["passphrase_file"])
    return work.replace(
        session, tx_id, options["fee"], given, timeout_s=options["timeout"], cancels=cancels
    )


@tx.command("cancel", examples=("clawpurse tx cancel 0x…", "clawpurse tx cancel 0x… --fee 0.05"))
@click.argument("tx_id")
@option("--fee", metavar="AMOUNT", help="In CLAW (default: the fee that it offered).")
@option("--timeout", type=click.IntRange(1, 3600), default=30, help="Seconds to wait.")
@PASSPHRASE_FILE
@node_options
@click.pass_obj
def cancel(session: Session, /, tx_id: str, **options: Any) -> int:
    """Take the place of a payment that waits by one that pays nobody. Final is final."""
    return _superseding(session, tx_id, options, cancels=True)


@tx.command("replace", examples=("clawpurse tx replace 0x… --fee 0.05",))
@click.argument("tx_id")
@option("--fee", metavar="AMOUNT", help="In CLAW, at least what it offered (the default).")
@option("--timeout", type=click.IntRange(1, 3600), default=30, help="Seconds to wait.")
@PASSPHRASE_FILE
@node_options
@click.pass_obj
def replace(session: Session, /, tx_id: str, **options: Any) -> int:
    """Offer a payment that waits again, for a higher fee and with time anew."""
    return _superseding(session, tx_id, options, cancels=False)


@tx.command("decode", examples=("clawpurse tx decode 0x92…", "clawpurse tx decode tx.bin --json"))
@click.argument("source", metavar="FILE|HEX|-")
@click.pass_obj
def decode(session: Session, source: str) -> None:
    """Show every field of a transaction in words, offline."""
    from clawpurse.cli import transactions as work

    work.decode(session, source)


@tx.command("simulate", examples=("clawpurse tx simulate rent.tx", "clawpurse tx simulate 0x92…"))
@click.argument("source", metavar="FILE|HEX|-")
@node_options
@click.pass_obj
def simulate(session: Session, source: str) -> int:
    """Ask what the ledger would make of a transaction now; sends nothing."""
    from clawpurse.cli import simulating as work

    return work.simulate(session, source)


@tx.command("submit", examples=("clawpurse tx submit tx.bin", "clawpurse tx submit - --json"))
@click.argument("source", metavar="FILE|HEX|-")
@option("--timeout", type=click.IntRange(0, 3600), default=10, help="Seconds to wait for finality.")
@node_options
@click.pass_obj
def submit(session: Session, source: str, timeout: int) -> int:
    """Send a signed transaction and wait for it; sending it again is harmless."""
    from clawpurse.cli import transactions as work

    return work.submit(session, source, timeout)


for _command in (build, sign, combine):
    tx.add_command(_command)
