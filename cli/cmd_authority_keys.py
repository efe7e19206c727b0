"""`clawpurse authority signer|move-out|move-in|rotate-key|retire-key`: declared here only.

Done in `signer.py` and `authority_keys.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from clawpurse.cli.framework import Command, node_options, option
from clawpurse.cli.session import Session

HOME: Final = option(
    "--home", "node_home", required=True, type=click.Path(path_type=Path), help="The node's folder."
)
PASSPHRASE_FILE: Final = option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Read the passphrase from a file."
)
YES: Final = option("--yes", is_flag=True, envvar=[], help="Ask nothing; needs --i-understand.")
UNDERSTOOD: Final = option(
    "--i-understand", "understood", metavar="CHAIN-ID", help="The network, typed as a confirmation."
)


@click.command(
    "signer",
    cls=Command,
    examples=(
        "clawpurse authority signer --init --genesis genesis.json --hash 0x… "
        "--client-key NODE-ID --home ./signer",
        "clawpurse authority signer --home ./signer",
    ),
)
@HOME
@option("--init", "prepare", is_flag=True, help="Prepare the folder and print how to pair it.")
@option("--genesis", "source", metavar="FILE", help="The network's genesis, with --init.")
@option("--hash", "expected", metavar="HASH", help="Its hash, from somebody you trust.")
@option("--client-key", metavar="NODE-ID", help="The one node that it signs for.")
@option("--listen", metavar="HOST:PORT", help="Where it listens (default 127.0.0.1:9639).")
@option(
    "--signer-floor",
    type=click.IntRange(0),
    metavar="HEIGHT",
    help="Only where the signing state was lost: above every height that was ever signed.",
)
@click.pass_obj
def signer(
    session: Session,
    node_home: Path,
    prepare: bool,
    source: str | None,
    expected: str | None,
    client_key: str | None,
    listen: str | None,
    signer_floor: int | None,
) -> None:
    """Keep an authority's key in a process of its own, and sign there for one node."""
    from clawpurse.cli import signer as work

    root = node_home.expanduser()
    if prepare:
        work.prepare(session, root, source, expected, client_key, listen)
    else:
        work.run(session, root, client_key, listen, signer_floor)


@click.command(
    "move-out",
    cls=Command,
    examples=("clawpurse authority move-out --to NODE-ID --out key.bundle --home ./node",),
)
@HOME
@option("--to", "destination", metavar="NODE-ID", required=True, help="The node it moves to.")
@option("--out", "target", type=click.Path(path_type=Path), required=True, help="The bundle.")
@PASSPHRASE_FILE
@YES
@UNDERSTOOD
@click.pass_obj
def move_out(
    session: Session,
    node_home: Path,
    destination: str,
    target: Path,
    passphrase_file: Path | None,
    yes: bool,
    understood: str | None,
) -> None:
    """Take an authority's key out of a folder, for one other node; it never signs here again."""
    from clawpurse.cli import authority_keys as work

    root = node_home.expanduser()
    work.move_out(
        session, root, destination, target, passphrase_file, yes=yes, understood=understood
    )


@click.command(
    "move-in",
    cls=Command,
    examples=("clawpurse authority move-in key.bundle --home ./node",),
)
@click.argument("bundle", type=click.Path(path_type=Path))
@HOME
@PASSPHRASE_FILE
@click.pass_obj
def move_in(session: Session, bundle: Path, node_home: Path, passphrase_file: Path | None) -> None:
    """Install an authority's key that was moved out for this node."""
    from clawpurse.cli import authority_keys as work

    work.move_in(session, node_home.expanduser(), bundle, passphrase_file)


@click.command(
    "rotate-key", cls=Command, examples=("clawpurse authority rotate-key --home ./node",)
)
@HOME
@click.pass_obj
def rotate_key(session: Session, node_home: Path) -> None:
    """Make an authority's next key beside its key, and say which votes bring it in force."""
    from clawpurse.cli import authority_keys as work

    work.rotate_key(session, node_home.expanduser())


@click.command(
    "retire-key", cls=Command, examples=("clawpurse authority retire-key --home ./node",)
)
@HOME
@node_options
@YES
@UNDERSTOOD
@click.pass_obj
def retire_key(session: Session, node_home: Path, yes: bool, understood: str | None) -> None:
    """Put an authority's old key away when its next key has been in force for a while."""
    from clawpurse.cli import authority_keys as work

    work.retire_key(session, node_home.expanduser(), yes=yes, understood=understood)
