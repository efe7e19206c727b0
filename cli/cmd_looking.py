"""`clawpurse wallet balance|history|statement|receive|contacts`, and short forms: declared here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.framework import Command, Group, node_options, option
from clawpurse.cli.session import Session


@click.command(
    "balance", cls=Command, examples=("clawpurse wallet balance", "clawpurse wallet balance alice")
)
@click.argument("account", required=False)
@option("--held", is_flag=True, help="Into a pipe too: what holds the held part, until when.")
@node_options
@click.pass_obj
def balance(session: Session, account: str | None, held: bool) -> None:
    """Show what an account has, and what holds a part of it."""
    from clawpurse.cli import accounts as work

    work.balance(session, account, held)


@click.command(
    "history",
    cls=Command,
    examples=(
        "clawpurse wallet history alice",
        "clawpurse wallet history alice --search rent --min 500",
        "clawpurse wallet history alice --since 2027-01-01 --export alice.csv",
    ),
)
@click.argument("account", required=False)
@option("--limit", type=click.IntRange(1, 500), default=50, help="Show at most so many.")
@option("--cursor", help="Go on after a page (its nextCursor).")
@option("--search", "text", default="", metavar="TEXT", help="In the memo, a name, or the id.")
@option("--with", "counterparty", metavar="ACCOUNT", help="Only from or to this account.")
@option("--of", "asset", metavar="ASSET", help="Only of this asset.")
@option("--min", "low", metavar="AMOUNT", help="Of --of, else CLAW: at least so much.")
@option("--max", "high", metavar="AMOUNT", help="Of --of, else CLAW: at most so much.")
@option("--in/--out", "incoming", default=None, help="Only what came, or what went.")
@option("--failed", is_flag=True, help="Only what failed.")
@option("--since", default="", metavar="DATE", help="Not before 2027-01-01, UTC.")
@option("--until", default="", metavar="DATE", help="Before 2027-02-01, UTC.")
@option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write all of them, not only --limit, into a .csv or .json.",
)
@node_options
@click.pass_obj
def history(
    session: Session,
    /,
    account: str | None,
    limit: int,
    cursor: str | None,
    export: Path | None,
    **options: Any,
) -> None:
    """List an account's final transactions, the newest first, look for some, or write a file."""
    from clawpurse.cli import histories as work

    asked = work.Asked(**options)
    if export is not None:
        work.export(session, account, cursor, asked, export)
        return
    work.history(session, account, limit, cursor, asked)


@click.command(
    "statement",
    cls=Command,
    examples=(
        "clawpurse wallet statement alice --from-date 2027-01-01 --to-date 2027-02-01",
        "clawpurse wallet statement alice --from-height 1 --prove --export alice.csv",
    ),
)
@click.argument("account", required=False)
@option("--from-height", type=click.IntRange(1), help="First block.")
@option("--to-height", type=click.IntRange(1), help="Last block (default: the newest).")
@option("--from-date", metavar="DATE", help="Instead: from 2027-01-01, or 2027-01-01T12:00:00Z.")
@option("--to-date", metavar="DATE", help="Instead: before that time, UTC.")
@option("--prove", is_flag=True, help="Have the balances at both ends proven, and check that.")
@option("--export", type=click.Path(path_type=Path, dir_okay=False), help="Write a .csv or .json.")
@node_options
@click.pass_obj
def statement(
    session: Session,
    account: str | None,
    from_height: int | None,
    to_height: int | None,
    from_date: str | None,
    to_date: str | None,
    prove: bool,
    export: Path | None,
) -> None:
    """What an account had, every movement, and what it has: sums that agree, or an error."""
    from clawpurse.cli import statements as work

    span = work.Range(from_height, to_height, from_date, to_date)
    work.statement(session, account, span, prove=prove, export=export)


@click.command(
    "receive",
    cls=Command,
    examples=(
        "clawpurse wallet receive alice",
        "clawpurse receive alice --amount 12.5 --memo lunch --png lunch.png",
    ),
)
@click.argument("name", required=False)
@option("--amount", metavar="AMOUNT", help="What you ask for; else the payer decides.")
@option("--asset", metavar="ASSET", help="Of which asset (default: the network's own).")
@option("--memo", default="", help="What for; everybody can read it once it is paid.")
@option("--chain-id", metavar="ID", help="The network on which to pay; other wallets then refuse.")
@option(
    "--png", type=click.Path(path_type=Path, dir_okay=False), help="Write the picture to a file."
)
@option("--light", is_flag=True, help="Your terminal is light and shows no colours.")
@click.pass_obj
def receive(
    session: Session,
    name: str | None,
    amount: str | None,
    asset: str | None,
    memo: str,
    chain_id: str | None,
    png: Path | None,
    light: bool,
) -> None:
    """Show your address, or a request to pay you, at a terminal also as a QR code."""
    from clawpurse.cli import receiving as work

    request = work.Request(amount, asset, memo, chain_id)
    work.receive(session, name, request, png=png, light=light)


@click.command("address", cls=Command, examples=("clawpurse address alice", "clawpurse address"))
@click.argument("name", required=False)
@click.pass_obj
def address(session: Session, name: str | None) -> None:
    """Print the address of a key or contact, nothing else."""
    from clawpurse.cli import receiving as work

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
    from clawpurse.cli import contacts as work

    work.list_contacts(session)


@contacts.command("add", examples=("clawpurse wallet contacts add bob claw1…",))
@click.argument("name")
@click.argument("account")
@option("--note", default="", help="What you want to remember.")
@click.pass_obj
def add_contact(session: Session, name: str, account: str, note: str) -> None:
    """Give an account a name."""
    from clawpurse.cli import contacts as work

    work.add_contact(session, name, account, note)


@contacts.command("remove", examples=("clawpurse wallet contacts remove bob",))
@click.argument("name")
@click.pass_obj
def remove_contact(session: Session, name: str) -> None:
    """Forget a contact."""
    from clawpurse.cli import contacts as work

    work.remove_contact(session, name)


_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@contacts.command("export", examples=("clawpurse wallet contacts export contacts.csv",))
@_FILE
@click.pass_obj
def export_contacts(session: Session, file: Path) -> None:
    """Write all contacts into a .csv or .json."""
    from clawpurse.cli import contacts as work

    work.export_contacts(session, file)


@contacts.command("import", examples=("clawpurse wallet contacts import contacts.csv",))
@_FILE
@click.pass_obj
def import_contacts(session: Session, file: Path) -> None:
    """Add all contacts of a .csv or .json, or none if anything in it is wrong."""
    from clawpurse.cli import contacts as work

    work.import_contacts(session, file)
