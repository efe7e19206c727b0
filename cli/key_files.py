"""Keys in and out of files: words, key files, other software's keys, bare secrets, backups.

What comes out is locked by its passphrase, unless a person typed the key's name to have the bare
secret; and a backup ends with a restore from what the person, or the file, has.
"""

from __future__ import annotations

import base64
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.keys import TITLE, described, labelled, require_new, tell, write_words
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, OperatorError, WatchOnly, WrongPassphrase
from clawpurse.wallet.durable import create_private, read_private
from clawpurse.wallet.imports import (
    FILE_BYTES_MAX,
    Kind,
    kind_of,
    pkcs8_pem,
    read_clawpurse_2,
    read_seed,
)
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.mnemonic import read_words
from clawpurse.wallet.names import check_name
from clawpurse.wallet.rehearsal import restores
from clawpurse.wallet.watched import check_label

_WORDS_BYTES_MAX: Final = 4_096
_TRIES_MAX: Final = 3


class Origin(NamedTuple):
    """Where a key comes from, and what else is known of it."""

    key_file: Path | None
    old_passphrase_file: Path | None
    account_index: int
    account: str | None
    label: str | None

    def check(self) -> bytes | None:
        """Return the account that was named; raise before anything is asked or made."""
        if self.label is not None:
            check_label(self.label)
        return None if self.account is None else account_from_text(self.account)


def import_words(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    origin: Origin,
) -> None:
    """Save the key of typed words, or of a file with them."""
    check_name(name)
    own = origin.check()
    if mnemonic_file is not None:
        words = _read_text(mnemonic_file)
    else:
        words = prompts.secret_words(
            session.out, "The words, separated by blanks: ", "--mnemonic-file FILE"
        )
    passphrase = prompts.new_passphrase(session.out, passphrase_file, name)
    info = session.keystore.import_words(
        name, passphrase, words, index=origin.account_index, account=own
    )
    tell(session, labelled(session, info, origin.label))


def import_file(
    session: Session, name: str, passphrase_file: Path | None, key_file: Path, origin: Origin
) -> None:
    """Save the key of a file under `name`, whatever wrote it.

    A key file of ours keeps its passphrase; the others get a new one.
    """
    check_name(name)
    own = origin.check()
    data = _read_key(key_file)
    kind = kind_of(data)
    if kind is not Kind.SEED and own is not None:
        raise UsageFault("--account is for words and bare secrets.", "", "leave it out")
    keystore, out = session.keystore, session.out
    match kind:
        case Kind.KEY_FILE:
            question = f"Passphrase of {key_file}: "
            passphrase = prompts.passphrase(out, passphrase_file, question)
            info = keystore.import_file(name, passphrase, data)
        case Kind.CLAWPURSE_2:
            words = _older_words(session, key_file, data, passphrase_file, origin)
            passphrase = prompts.new_passphrase(out, passphrase_file, name)
            info = keystore.import_words(name, passphrase, words, index=origin.account_index)
        case Kind.SEED:
            seed = read_seed(data)
            passphrase = prompts.new_passphrase(out, passphrase_file, name)
            info = keystore.import_seed(name, passphrase, seed, account=own)
    tell(session, labelled(session, info, origin.label))
    if kind is Kind.CLAWPURSE_2:
        out.note("Its words are here; its address is another chain's, and its funds stay there.")
    if kind is Kind.SEED and str(key_file) != "-":
        out.note(f"{key_file} still holds the bare secret: remove it when the key is backed up.")


def _older_words(
    session: Session, key_file: Path, data: bytes, passphrase_file: Path | None, origin: Origin
) -> str:
    """Return the words of a ClawPurse 2.0 keystore. Its passphrase may be shorter than ours."""
    old_file = origin.old_passphrase_file or passphrase_file
    old = prompts.passphrase(session.out, old_file, f"Passphrase of {key_file}: ")
    words = read_clawpurse_2(data, old)
    if words is None:
        raise WrongPassphrase(str(key_file), 0)
    try:
        read_words(words)
    except Malformed as err:
        raise Malformed("encryptedMnemonic", f"does not hold words: {err.problem}") from None
    return words


def export(session: Session, name: str, out: Path | None) -> None:
    """Write a copy of the key file, locked as it is."""
    data = session.keystore.export_file(name)
    info = session.keystore.show(name)
    target = out or Path(f"{name}.key.json")
    require_new(target)
    create_private(target, data)
    if session.json_mode:
        session.out.emit({**described(info), "path": str(target.absolute())})
        return
    session.out.tick(f"{name} to {target}")
    session.out.note("It opens with the key's passphrase only.")
    session.out.note(f"Next: clawpurse keys import {name} --key-file {target}")


def export_secret(
    session: Session,
    name: str,
    out: Path | None,
    form: str,
    passphrase_file: Path | None,
    *,
    yes: bool,
    understood: str | None,
) -> None:
    """Write the bare secret of a key, after its name was typed, into a file of its own.

    `-` is a pipe or a redirection, never a terminal, whose scrollback would keep it.
    """
    info = session.keystore.show(name)
    if info.watch_only:
        raise WatchOnly(name)
    if out is None:
        raise UsageFault("A bare secret needs a place.", "Nothing was written.", "add --out FILE")
    to_pipe = str(out) == "-"
    if to_pipe:
        _require_pipe(session)
    else:
        require_new(out)
    warning = (
        f"Writes the secret of {name}, {account_text(info.account)}, locked by nothing.",
        "Whoever reads it has the money.",
    )
    prompts.confirm_by_name(
        session.out, warning, name, yes=yes, understood=understood, nothing="Nothing was written."
    )
    passphrase = prompts.passphrase(session.out, passphrase_file, f"Passphrase for {name}: ")
    seed = session.keystore.unlock(name, passphrase).signer.reveal_seed()
    text = {
        "hex": f"{seed.hex()}\n",
        "base64": base64.b64encode(seed).decode() + "\n",
        "pem": pkcs8_pem(seed),
    }[form]
    if to_pipe:
        sys.stdout.write(text)
        return
    create_private(out, text.encode())
    if read_seed(read_private(out, FILE_BYTES_MAX)) != seed:
        raise OperatorError(f"{out} does not read back.", "Do not rely on it.", f"rm {out}")
    if session.json_mode:
        session.out.emit({**described(info), "path": str(out.absolute())})
        return
    session.out.tick(f"the secret of {name} to {out}")
    session.out.note(f"Next: clawpurse keys import {name} --key-file {out}")


def _require_pipe(session: Session) -> None:
    if session.json_mode:
        raise UsageFault("A secret is no JSON.", "Nothing was written.", "leave out --json")
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if sys.stdout.isatty() or not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        raise UsageFault(
            "A terminal would keep the secret.", "Nothing was written.", "add --out FILE"
        )


def backup(
    session: Session, name: str, passphrase_file: Path | None, mnemonic_file: Path | None
) -> None:
    """Show the words of a key again, or write them into a file; then restore from what there is.

    At a terminal the person types the words back from the paper: those are restored, not the
    ones that the key file holds.
    """
    out = session.out
    if mnemonic_file is not None:
        require_new(mnemonic_file)
    elif not prompts.at_terminal():
        raise UsageFault("No terminal to show the words at.", "", "add --mnemonic-file FILE")
    info = session.keystore.show(name)
    passphrase = prompts.passphrase(out, passphrase_file, f"Passphrase for {name}: ")
    words = session.keystore.unlock(name, passphrase).reveal_words()
    if words is None:
        raise OperatorError(
            f"{name} was imported without words.", "", f"clawpurse keys export {name}"
        )
    if mnemonic_file is not None:
        write_words(mnemonic_file, words, name)
        if not _restored(session, info, _read_text(mnemonic_file), passphrase):
            raise OperatorError(
                f"{mnemonic_file} does not give {name} back.",
                "It is no backup.",
                f"clawpurse keys backup {name}",
            )
    else:
        _from_paper(session, info, words, passphrase)
    if session.json_mode:
        out.emit({**described(info), "restored": True})
        return
    out.tick(f"the words of {name} are backed up: a trial restore gave the same account")


def _from_paper(session: Session, info: KeyInfo, words: Sequence[str], passphrase: str) -> None:
    for _ in range(_TRIES_MAX):
        prompts.show_words(session.out, TITLE.format(count=len(words)), words)
        typed = prompts.secret_words(
            session.out,
            f"Now from the paper, all {len(words)} words, separated by blanks: ",
            "--mnemonic-file FILE",
        )
        try:
            if _restored(session, info, typed, passphrase):
                return
            session.out.warn("These words give another account.")
        except Malformed as err:
            session.out.warn(f"The words {err.problem}.")
    raise OperatorError(
        f"The words of {info.name} were not typed back.",
        "What is on the paper is no backup yet.",
        f"clawpurse keys backup {info.name}",
    )


def _restored(session: Session, info: KeyInfo, text: str, passphrase: str) -> bool:
    words, _ = read_words(text)
    return restores(info, words, passphrase, beside=session.client_home.root, now_ms=session.now_ms)


def _read_key(key_file: Path) -> bytes:
    if str(key_file) == "-":
        return sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    try:
        return read_private(key_file, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise UsageFault(f"{shown(key_file)} is not there.", "", "check --key-file") from None


def _read_text(path: Path) -> str:
    try:
        data = sys.stdin.buffer.read(_WORDS_BYTES_MAX) if str(path) == "-" else _bytes_of(path)
        return data.decode()
    except UnicodeDecodeError:
        raise UsageFault(f"{path} is not UTF-8 text.", "", "check --mnemonic-file") from None


def _bytes_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_WORDS_BYTES_MAX)
    except OSError as err:
        why = err.strerror or os.strerror(err.errno or 0)
        raise UsageFault(f"{path} cannot be read: {why}.", "", "check --mnemonic-file") from err
