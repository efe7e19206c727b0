"""`clawpurse tx build|sign|combine`: declared here, done in `offline.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import Command, node_options, option
from clawpurse.cli.session import Session

_FILE = click.Path(path_type=Path, dir_okay=False)
OUT = option("--out", type=_FILE, required=True, help="The file to write; a new one.")


@click.command(
    "build",
    cls=Command,
    examples=(
        "clawpurse tx build --pay bob 12.5 CLAW --from alice --out rent.tx",
        "clawpurse tx build --action grant.json --from treasury --expires 2d --out grant.tx",
    ),
)
@option("--from", "sender", metavar="ACCOUNT", help="Who sends; its key need not be here.")
@option(
    "--pay",
    "pays",
    nargs=3,
    multiple=True,
    metavar="TO AMOUNT ASSET",
    help="A payment; several: all or none.",
)
@option("--action", "files", multiple=True, type=_FILE, help="Actions as JSON {name, fields}.")
@option("--memo", default="", help="A note that everybody can read, for ever.")
@option("--fee", metavar="AMOUNT", help="More than the least fee, in CLAW.")
@option("--payer", metavar="ACCOUNT", help="Who pays the fee, if not the sender.")
@option("--lane", type=click.IntRange(0, 63), default=0, help="Which of the parallel sequences.")
@option("--expires", default="1d", metavar="TIME", help="Until when it can be sent: 36h, 2d, ….")
@option("--height-max", type=click.IntRange(1), help="Not after this block.")
@option("--unchecked", is_flag=True, envvar=[], help="Build what the ledger would refuse today.")
@OUT
@node_options
@click.pass_obj
def build(session: Session, /, out: Path, **options: Any) -> None:
    """Write a transaction to be signed elsewhere, with all that a machine offline needs."""
    from clawpurse.cli import offline as work

    work.build(session, work.Plan(**options), out)


@click.command(
    "sign",
    cls=Command,
    examples=(
        "clawpurse tx sign rent.tx --from alice --out signed.tx",
        "clawpurse tx sign rent.tx --from alice --genesis genesis.json --out signed.tx",
    ),
)
@click.argument("file", type=_FILE)
@option("--from", "name", metavar="NAME", required=True, help="The key that signs.")
@option("--as", "role", type=click.Choice(("sender", "payer", "approver")), help="In which role.")
@option("--for", "owner", metavar="ACCOUNT", help="For which account, if not the key's own.")
@option("--genesis", type=_FILE, help="The genesis file: proves precisions.")
@PASSPHRASE_FILE
@option("--yes", is_flag=True, envvar=[], help="Do not ask.")
@OUT
@click.pass_obj
def sign(session: Session, /, file: Path, name: str, out: Path, **options: Any) -> None:
    """Show every field of FILE in words, then sign it. Needs no network."""
    from clawpurse.cli import offline as work

    work.sign(session, file, name, out, **options)


@click.command(
    "combine",
    cls=Command,
    examples=(
        "clawpurse tx combine alice.tx bob.tx --out all.tx",
        "clawpurse tx combine alice.tx bob.tx carol.tx --out all.tx --json",
    ),
)
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE…")
@OUT
@click.pass_obj
def combine(session: Session, files: tuple[Path, ...], out: Path) -> None:
    """Put the signatures of several files of one transaction together."""
    from clawpurse.cli import offline as work

    work.combined(session, files, out)
