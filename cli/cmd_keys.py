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
LABEL = option("--label", metavar="TEXT", help="What you call the account.")
NEW_PASSPHRASE_FILE = option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, allow_dash=False),
    help="A file with the new passphrase in its one line.",
)
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
        "clawpurse keys add savings --from-phrase-of alice",
        "clawpurse keys add treasury --watch claw1…",
    ),
)
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@option(
    "--from-phrase-of",
    "phrase_of",
    metavar="KEY",
    help="Another account of that key's words, with its passphrase.",
)
@option(
    "--index",
    type=click.IntRange(0),
    help="Which account of these words (default: the next one).",
)
@option("--watch", metavar="ACCOUNT", help="Only look at an account; no key is made.")
@LABEL
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
    phrase_of: str | None,
    index: int | None,
    watch: str | None,
    label: str | None,
    words: str,
    language: str,
) -> None:
    """Make a key and show its words once; or another account of words; or only look at one."""
    from clawpurse.cli import keys as work

    if phrase_of is not None and watch is not None:
        raise click.UsageError("--from-phrase-of and --watch exclude each other")
    if index is not None and phrase_of is None:
        raise click.UsageError("--index needs --from-phrase-of")
    if (phrase_of is not None or watch is not None) and mnemonic_file is not None:
        raise click.UsageError("--mnemonic-file is for new words, and there are none")
    if watch is not None:
        work.watch(session, name, watch, label)
    elif phrase_of is not None:
        work.derive(session, name, phrase_of, index, passphrase_file, label)
    else:
        work.add(session, name, passphrase_file, mnemonic_file, int(words), language, label)


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
    examples=(
        "clawpurse keys import alice",
        "clawpurse keys import alice --key-file alice.key.json",
        "clawpurse keys import old --key-file ~/.clawpurse/keystore.enc",
    ),
)
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="A key file of `keys export`, a ClawPurse 2.0 keystore, or a bare secret: 32 bytes, "
    "hex, base64, PKCS#8 (- for stdin).",
)
@option(
    "--old-passphrase-file",
    type=click.Path(path_type=Path, allow_dash=False),
    help="The passphrase of a ClawPurse 2.0 keystore.",
)
@INDEX
@ACCOUNT
@LABEL
@click.pass_obj
def import_(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    key_file: Path | None,
    old_passphrase_file: Path | None,
    index: int,
    account: str | None,
    label: str | None,
) -> None:
    """Save the key of words, of a key file, or of what other software wrote."""
    from clawpurse.cli import key_files as work

    origin = work.Origin(key_file, old_passphrase_file, index, account, label)
    if key_file is not None:
        work.import_file(session, name, passphrase_file, key_file, origin)
    else:
        work.import_words(session, name, passphrase_file, mnemonic_file, origin)


@keys.command(
    "export",
    examples=(
        "clawpurse keys export alice --out alice.key.json",
        "clawpurse keys export alice --secret --out alice.pem",
    ),
)
@click.argument("name")
@option("--out", type=click.Path(path_type=Path), help="Where to (default NAME.key.json here).")
@option("--secret", is_flag=True, envvar=[], help="The bare secret, locked by nothing.")
@option(
    "--format",
    "form",
    type=click.Choice(["pem", "hex", "base64"]),
    default="pem",
    help="Of the bare secret.",
)
@PASSPHRASE_FILE
@YES
@UNDERSTAND
@click.pass_obj
def export(
    session: Session,
    name: str,
    out: Path | None,
    secret: bool,
    form: str,
    passphrase_file: Path | None,
    yes: bool,
    i_understand: str | None,
) -> None:
    """Write the key file, still locked by its passphrase, somewhere else."""
    from clawpurse.cli import key_files as work

    if secret:
        work.export_secret(
            session, name, out, form, passphrase_file, yes=yes, understood=i_understand
        )
    else:
        work.export(session, name, out)


@keys.command("passphrase", examples=("clawpurse keys passphrase alice",))
@click.argument("name")
@PASSPHRASE_FILE
@NEW_PASSPHRASE_FILE
@click.pass_obj
def passphrase(
    session: Session, name: str, passphrase_file: Path | None, new_passphrase_file: Path | None
) -> None:
    """Give a key another passphrase."""
    from clawpurse.cli import keys as work

    work.change_passphrase(session, name, passphrase_file, new_passphrase_file)


@keys.command(
    "label",
    examples=("clawpurse keys label alice 'rent and food'", "clawpurse keys label alice ''"),
)
@click.argument("name")
@click.argument("text")
@click.pass_obj
def label(session: Session, name: str, text: str) -> None:
    """Say what you call an account; an empty text takes the label away."""
    from clawpurse.cli import keys as work

    work.label(session, name, text)


@keys.command("backup", examples=("clawpurse keys backup alice",))
@click.argument("name")
@PASSPHRASE_FILE
@MNEMONIC_FILE
@click.pass_obj
def backup(
    session: Session, name: str, passphrase_file: Path | None, mnemonic_file: Path | None
) -> None:
    """Show the words again; they are one's backup when they were restored from what one has."""
    from clawpurse.cli import key_files as work

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
