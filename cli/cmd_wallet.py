"""`clawpurse wallet …` and its short forms: declared here, done in `sending.py`, `accounts.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import Command, Group, node_options, option
from clawpurse.cli.session import Session

wallet = Group(
    "wallet",
    help="Your money. ACCOUNT is a key's name, a contact, or claw1….",
    examples=("clawpurse wallet balance alice", "clawpurse wallet send bob 12.5 --from alice"),
)


@click.command(
    "send",
    cls=Command,
    examples=(
        "clawpurse wallet send bob 12.5 --asset CLAW --from alice",
        "clawpurse wallet send bob 12.5 --from alice --passphrase-file F --yes --json",
        "clawpurse wallet send bob 12.5 --from agent --for alice",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--from", "from_", metavar="NAME", help="The key that pays (default: your only one).")
@option("--memo", default="", help="A note that everybody can read, for ever.")
@option("--fee", metavar="AMOUNT", help="More than the least fee, in CLAW.")
@option("--for", "owner", metavar="ACCOUNT", help="Pay for ACCOUNT, by a session key of it.")
@option("--payer", metavar="ACCOUNT", help="Who pays the fee: a sponsor of yours.")
@option("--lane", type=click.IntRange(0, 63), help="Which of your parallel sequences.")
@option("--idempotency-key", metavar="HEX", help="Pays once, however often you send it.")
@option(
    "--timeout", type=click.IntRange(1, 3600), default=10, help="Seconds to wait; then pending."
)
@PASSPHRASE_FILE
@option("--yes", is_flag=True, envvar=[], help="Do not ask.")
@option("--allow-new-recipient", is_flag=True, envvar=[], help="Who never received anything yet.")
@option("--override", is_flag=True, envvar=[], help="Pay an unusual fee.")
@node_options
@click.pass_obj
def send(
    session: Session,
    to: str,
    amount: str,
    asset: str,
    from_: str | None,
    memo: str,
    fee: str | None,
    owner: str | None,
    payer: str | None,
    lane: int | None,
    idempotency_key: str | None,
    timeout: int,
    passphrase_file: Path | None,
    yes: bool,
    allow_new_recipient: bool,
    override: bool,
) -> int:
    """Pay AMOUNT to TO, wait until it is final, and keep the receipt with its proof."""
    from clawpurse.cli import sending as work

    return work.send(
        session,
        work.Wish(to, amount, asset, from_, memo, fee, lane, idempotency_key, owner, payer),
        timeout_s=timeout,
        passphrase_file=passphrase_file,
        yes=yes,
        allow_new=allow_new_recipient,
        override=override,
    )


@click.command(
    "balance", cls=Command, examples=("clawpurse wallet balance", "clawpurse wallet balance alice")
)
@click.argument("account", required=False)
@node_options
@click.pass_obj
def balance(session: Session, account: str | None) -> None:
    """Show what an account has."""
    from clawpurse.cli import accounts as work

    work.balance(session, account)


@click.command(
    "history",
    cls=Command,
    examples=("clawpurse wallet history alice", "clawpurse wallet history alice --limit 10 --json"),
)
@click.argument("account", required=False)
@option("--limit", type=click.IntRange(1, 500), default=50, help="At most so many.")
@option("--cursor", help="Go on after a page (its nextCursor).")
@node_options
@click.pass_obj
def history(session: Session, account: str | None, limit: int, cursor: str | None) -> None:
    """List an account's final transactions, the newest first."""
    from clawpurse.cli import accounts as work

    work.history(session, account, limit, cursor)


@click.command(
    "receive", cls=Command, examples=("clawpurse wallet receive alice", "clawpurse receive alice")
)
@click.argument("name", required=False)
@click.pass_obj
def receive(session: Session, name: str | None) -> None:
    """Show your address, at a terminal also as a QR code."""
    from clawpurse.cli import accounts as work

    work.receive(session, name)


@click.command("address", cls=Command, examples=("clawpurse address alice", "clawpurse address"))
@click.argument("name", required=False)
@click.pass_obj
def address(session: Session, name: str | None) -> None:
    """Print the address of a key or contact, nothing else."""
    from clawpurse.cli import accounts as work

    work.address(session, name)


@click.pass_context
def _list_by_default(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_contacts)


contacts = Group(
    "contacts",
    callback=_list_by_default,
    invoke_without_command=True,
    help="Names for other people's accounts.",
    examples=("clawpurse wallet contacts", "clawpurse wallet contacts add bob claw1…"),
)


@contacts.command("list", examples=("clawpurse wallet contacts list",))
@click.pass_obj
def list_contacts(session: Session) -> None:
    """List all contacts."""
    from clawpurse.cli import accounts as work

    work.list_contacts(session)


@contacts.command("add", examples=("clawpurse wallet contacts add bob claw1…",))
@click.argument("name")
@click.argument("account")
@option("--note", default="", help="What you want to remember.")
@click.pass_obj
def add_contact(session: Session, name: str, account: str, note: str) -> None:
    """Give an account a name."""
    from clawpurse.cli import accounts as work

    work.add_contact(session, name, account, note)


@contacts.command("remove", examples=("clawpurse wallet contacts remove bob",))
@click.argument("name")
@click.pass_obj
def remove_contact(session: Session, name: str) -> None:
    """Forget a contact."""
    from clawpurse.cli import accounts as work

    work.remove_contact(session, name)


for _command in (send, balance, history, receive, contacts):
    wallet.add_command(_command)
