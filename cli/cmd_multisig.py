"""`clawpurse multisig …`: declared here, done in `multisig.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

multisig = Group(
    "multisig",
    help="Accounts for which several people sign. ACCOUNT is a key's name, a contact, or claw1….",
    examples=(
        "clawpurse multisig create 2 alice bob carol --from alice",
        "clawpurse multisig propose treasury --pay dave 250 EURX --from alice",
        "clawpurse multisig approve 0x… --from bob",
    ),
)
PROPOSAL = click.argument("proposal", metavar="PROPOSAL")


@multisig.command(
    "create",
    examples=(
        "clawpurse multisig create 2 alice bob carol --from alice",
        "clawpurse multisig create 3 alice=2 bob carol --from alice",
    ),
)
@click.argument("threshold", type=click.IntRange(1))
@click.argument("members", metavar="SIGNER[=WEIGHT]…", nargs=-1, required=True)
@option("--salt", metavar="0xHEX", help="32 bytes; the same again names the same account.")
@acting_options
@click.pass_obj
def create(
    session: Session,
    /,
    threshold: int,
    members: tuple[str, ...],
    salt: str | None,
    **options: Any,
) -> None:
    """Create an account without a key, for which signers of a weight of THRESHOLD sign."""
    from clawpurse.cli import multisig as work

    work.create(session, threshold, members, salt, terms_of(options))


@multisig.command(
    "appoint",
    examples=("clawpurse multisig appoint 2 bob carol dave --from alice",),
)
@click.argument("threshold", type=click.IntRange(1))
@click.argument("members", metavar="SIGNER[=WEIGHT]…", nargs=-1, required=True)
@acting_options
@click.pass_obj
def appoint(session: Session, /, threshold: int, members: tuple[str, ...], **options: Any) -> None:
    """Let signers sign for your account in place of its key; their keys, in this home, sign too."""
    from clawpurse.cli import multisig as work

    work.appoint(session, threshold, members, terms_of(options))


@multisig.command(
    "propose",
    examples=(
        "clawpurse multisig propose treasury --pay dave 250 EURX --memo rent --from alice",
        "clawpurse multisig propose treasury --action grant.json --expires 10d --from alice",
    ),
)
@click.argument("account")
@option(
    "--pay",
    "pays",
    nargs=3,
    multiple=True,
    metavar="TO AMOUNT ASSET",
    help="A payment; several: all or none.",
)
@option(
    "--action",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with actions as JSON: {name, fields}, or a list of such; after the payments.",
)
@option("--memo", default="", help="What it is for; everybody can read it.")
@option("--expires", default="7d", metavar="TIME", help="36h, 10d, at most 30d, or 2027-01-15T….")
@acting_options
@click.pass_obj
def propose(
    session: Session,
    /,
    account: str,
    pays: tuple[tuple[str, str, str], ...],
    files: tuple[Path, ...],
    memo: str,
    expires: str,
    **options: Any,
) -> None:
    """Propose what ACCOUNT shall do; that is your approval of it too."""
    from clawpurse.cli import multisig as work

    wish = work.Wish(account, pays, files, memo, expires)
    work.propose(session, wish, terms_of(options))


@multisig.command("approve", examples=("clawpurse multisig approve 0x… --from bob",))
@PROPOSAL
@acting_options
@click.pass_obj
def approve(session: Session, /, proposal: str, **options: Any) -> None:
    """Approve a proposal, after reading what it would do."""
    from clawpurse.cli import multisig as work

    work.vote(session, "approve", proposal, terms_of(options))


@multisig.command("reject", examples=("clawpurse multisig reject 0x… --from carol",))
@PROPOSAL
@acting_options
@click.pass_obj
def reject(session: Session, /, proposal: str, **options: Any) -> None:
    """Reject a proposal; it is over when the others are too few."""
    from clawpurse.cli import multisig as work

    work.vote(session, "reject", proposal, terms_of(options))


@multisig.command("withdraw", examples=("clawpurse multisig withdraw 0x… --from alice",))
@PROPOSAL
@acting_options
@click.pass_obj
def withdraw(session: Session, /, proposal: str, **options: Any) -> None:
    """Take back what you proposed."""
    from clawpurse.cli import multisig as work

    work.vote(session, "withdraw", proposal, terms_of(options))


@multisig.command("execute", examples=("clawpurse multisig execute 0x… --from bob",))
@PROPOSAL
@acting_options
@click.pass_obj
def execute(session: Session, /, proposal: str, **options: Any) -> None:
    """Let the account do what enough of its signers approved; you pay the fee."""
    from clawpurse.cli import multisig as work

    work.execute(session, proposal, terms_of(options))


@multisig.command("list", examples=("clawpurse multisig list", "clawpurse multisig list treasury"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def listed(session: Session, account: str | None) -> None:
    """List the accounts for which ACCOUNT (or your key) signs, and what is proposed there."""
    from clawpurse.cli import multisig as work

    work.listed(session, account)


@multisig.command(
    "show", examples=("clawpurse multisig show treasury", "clawpurse multisig show 0x…")
)
@click.argument("which", metavar="ACCOUNT|PROPOSAL")
@node_options
@click.pass_obj
def show(session: Session, which: str) -> None:
    """Show who signs for an account, or a proposal: what it does, who approved, what is missing."""
    from clawpurse.cli import multisig as work

    work.show(session, which)


# What people type who have a proposal before them.
multisig.add_command(show, "inspect")
