"""`clawpurse keys …`: declared here, done in `keys.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

PASSPHRASE_FILE = option(
    "--passphrase-file",
    type=click.Path(path_type=Path, allow_dash=False),
    help="A file with the passphrase in its one line (also /dev/fd/N).",
)
MNEMONIC_FILE = option(
    "--mnemonic-file",
    type=click.Path(path_type=Path, allow_dash=False),
    help="A file for the words, or with them.",
)
INDEX = option("--index", type=click.IntRange(0), default=0, help="Which account of the words.")
ACCOUNT = option("--account", help="The account, if its key was changed to this one.")
YES = option("--yes", is_flag=True, envvar=[], help="Do not ask; needs --i-understand too.")
UNDERSTAND = option("--i-understand", metavar="NAME", envvar=[], help="The key's name again.")

keys = Group(
    "keys",
    help="Your keys: encrypted files in ~/.clawpurse/keys, from words that you keep on paper.",
    examples=("clawpurse keys add alice", "clawpurse keys list"),
)


@keys.command(
    "add",
    examples=(
        "clawpurse keys add alice",
        "clawpurse keys add alice --passphrase-file F --mnemonic-file WORDS --json",
    ),
)
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@option(
    "--words", type=click.Choice(["12", "15", "18", "21", "24"]), default="24", help="How many."
)
@option("--language", default="english", help="Of the words.")
@click.pass_obj
def add(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    words: str,
    language: str,
) -> None:
    """Make a key and show its words once."""
    from clawpurse.cli import keys as work

    work.add(session, name, passphrase_file, mnemonic_file, int(words), language)


@keys.command("list", examples=("clawpurse keys list", "clawpurse keys list --json"))
@click.pass_obj
def list_(session: Session) -> None:
    """List all keys."""
    from clawpurse.cli import keys as work

    work.show_all(session)


@keys.command("show", examples=("clawpurse keys show alice", "clawpurse keys show alice --json"))
@click.argument("name")
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show a key's account, public key and file; never its secret."""
    from clawpurse.cli import keys as work

    work.show(session, name)


@keys.command(
    "import",
    examples=("clawpurse keys import alice", "clawpurse keys import alice --key-file alice.json"),
)
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@option(
    "--key-file", type=click.Path(path_type=Path), help="A key file, as `keys export` writes it."
)
@INDEX
@ACCOUNT
@click.pass_obj
def import_(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    key_file: Path | None,
    index: int,
    account: str | None,
) -> None:
    """Save the key of words, or of a key file. Also the way to a new passphrase."""
    from clawpurse.cli import keys as work

    if key_file is not None:
        work.import_file(session, name, passphrase_file, key_file)
    else:
        work.import_words(session, name, passphrase_file, mnemonic_file, index, account)


@keys.command("export", examples=("clawpurse keys export alice --out alice.json",))
@click.argument("name")
@option("--out", type=click.Path(path_type=Path), help="Where to (default NAME.key.json here).")
@click.pass_obj
def export(session: Session, name: str, out: Path | None) -> None:
    """Write the key file, still locked by its passphrase, somewhere else."""
    from clawpurse.cli import keys as work

    work.export(session, name, out)


@keys.command("backup", examples=("clawpurse keys backup alice",))
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@click.pass_obj
def backup(
    session: Session, name: str, passphrase_file: Path | None, mnemonic_file: Path | None
) -> None:
    """Show the words again, to write them down."""
    from clawpurse.cli import keys as work

    work.backup(session, name, passphrase_file, mnemonic_file)


@keys.command("rename", examples=("clawpurse keys rename alice alice-old",))
@click.argument("name")
@click.argument("new_name")
@PASSPHRASE_FILE
@click.pass_obj
def rename(session: Session, name: str, new_name: str, passphrase_file: Path | None) -> None:
    """Give a key another name."""
    from clawpurse.cli import keys as work

    work.rename(session, name, new_name, passphrase_file)


@keys.command("delete", examples=("clawpurse keys delete alice",))
@click.argument("name")
@YES
@UNDERSTAND
@click.pass_obj
def delete(session: Session, name: str, yes: bool, i_understand: str | None) -> None:
    """Remove a key; a locked copy is kept under ~/.clawpurse/deleted."""
    from clawpurse.cli import keys as work

    work.delete(session, name, yes=yes, understood=i_understand)
