"""What `keys …` do: keys are made, shown, moved; words are shown to a person and to nobody else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session, now_ms, shown
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.durable import create_private, make_private_directory, read_private
from clawpurse.wallet.keyfile import FILE_BYTES_MAX
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.names import check_name

_TITLE: Final = "These {count} words are the money. Shown once; write them on paper."
_TRIES_MAX: Final = 3
_WORDS_BYTES_MAX: Final = 4_096


def add(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    word_count: int,
    language: str,
) -> None:
    """Make a key. The words go to the terminal, or into a file, or nowhere, in that order."""
    keystore, out = session.keystore, session.out
    check_name(name)
    if keystore.has(name):
        raise OperatorError(
            f"A key is named {name} already.", "It was not touched.", f"clawpurse keys show {name}"
        )
    if mnemonic_file is not None:
        _require_new(mnemonic_file)
    passphrase = prompts.new_passphrase(out, passphrase_file)
    info, words = keystore.add(name, passphrase, word_count=word_count, language=language)
    if mnemonic_file is not None:
        _write_words(mnemonic_file, words, name)
    elif prompts.at_terminal() and passphrase_file is None:
        _teach(session, words, name)
    else:
        out.warn(f"The words were not shown. Write them down: clawpurse keys backup {name}")
    _tell(session, info)
    out.note(f"Next: clawpurse faucet {name}")


def _teach(session: Session, words: Sequence[str], name: str) -> None:
    """Show the words until three of them are typed back rightly."""
    for _ in range(_TRIES_MAX):
        prompts.show_words(session.out, _TITLE.format(count=len(words)), words)
        if prompts.ask_words(session.out, words):
            return
    session.out.warn(f"The key is saved. Write its words down: clawpurse keys backup {name}")


def show_all(session: Session) -> None:
    """List all keys; a damaged file is listed as such."""
    keystore = session.keystore
    infos: list[dict[str, Any]] = []
    for name in keystore.names():
        try:
            infos.append(_json(keystore.show(name)))
        except OperatorError as err:
            session.out.warn(str(err))
    if session.json_mode:
        session.out.emit({"keys": infos})
        return
    if not infos:
        session.out.note(f"No keys in {shown(keystore.directory)}. Next: clawpurse keys add alice")
        return
    session.out.table(("name", "account"), [(info["name"], info["account"]) for info in infos])


def show(session: Session, name: str) -> None:
    """Show one key."""
    info = session.keystore.show(name)
    document = {**_json(info), "publicKey": f"0x{info.public_key.hex()}"}
    if session.json_mode:
        session.out.emit(document)
        return
    out = session.out
    out.line(f"{info.name} {out.style(document['account'], 'bold')}")
    pairs = [("Public key", document["publicKey"]), ("File", shown(info.file))]
    if info.path is not None:
        pairs.append(("Derivation", info.path))
    out.fields(pairs)


def import_words(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    index: int,
    account: str | None,
) -> None:
    """Save the key of typed words, or of a file with them."""
    check_name(name)
    own = None if account is None else account_from_text(account)
    if mnemonic_file is not None:
        words = _read_text(mnemonic_file)
    else:
        words = prompts.secret_words(
            session.out, "The words, separated by blanks: ", "--mnemonic-file FILE"
        )
    passphrase = prompts.new_passphrase(session.out, passphrase_file)
    info = session.keystore.import_words(name, passphrase, words, index=index, account=own)
    _tell(session, info)


def import_file(session: Session, name: str, passphrase_file: Path | None, key_file: Path) -> None:
    """Save the key of a key file under `name`, with the passphrase that it has."""
    check_name(name)
    try:
        data = read_private(key_file, FILE_BYTES_MAX)
    except FileNotFoundError:
        raise UsageFault(f"{key_file} is not there.", "", "check --key-file") from None
    passphrase = prompts.passphrase(session.out, passphrase_file, f"Passphrase of {key_file}: ")
    _tell(session, session.keystore.import_file(name, passphrase, data))


def export(session: Session, name: str, out: Path | None) -> None:
    """Write a copy of the key file, locked as it is."""
    data = session.keystore.export_file(name)
    info = session.keystore.show(name)
    target = out or Path(f"{name}.key.json")
    _require_new(target)
    create_private(target, data)
    if session.json_mode:
        session.out.emit({**_json(info), "path": str(target.absolute())})
        return
    session.out.tick(f"{name} to {target}")
    session.out.note("It opens with the key's passphrase only.")
    session.out.note(f"Next: clawpurse keys import {name} --key-file {target}")


def backup(
    session: Session, name: str, passphrase_file: Path | None, mnemonic_file: Path | None
) -> None:
    """Show the words of a key again, or write them into a file."""
    if mnemonic_file is not None:
        _require_new(mnemonic_file)
    elif not prompts.at_terminal():
        raise UsageFault("No terminal to show the words at.", "", "add --mnemonic-file FILE")
    info = session.keystore.show(name)
    passphrase = prompts.passphrase(session.out, passphrase_file, f"Passphrase for {name}: ")
    words = session.keystore.unlock(name, passphrase).reveal_words()
    if words is None:
        raise OperatorError(
            f"{name} was imported without words.", "", f"clawpurse keys export {name}"
        )
    if mnemonic_file is not None:
        _write_words(mnemonic_file, words, name)
    else:
        _teach(session, words, name)
    if session.json_mode:
        session.out.emit(_json(info))
        return
    session.out.tick(f"the words of {name} are backed up")


def rename(session: Session, name: str, new_name: str, passphrase_file: Path | None) -> None:
    """Give a key another name: its file is sealed anew under it, then the old one goes."""
    keystore = session.keystore
    check_name(new_name)
    keystore.show(name)
    if keystore.has(new_name):
        raise OperatorError(
            f"A key is named {new_name} already.", "It was not touched.", "choose another name"
        )
    passphrase = prompts.passphrase(session.out, passphrase_file, f"Passphrase for {name}: ")
    # Through `unlock`, so that a wrong passphrase is counted as one.
    keystore.unlock(name, passphrase)
    info = keystore.import_file(new_name, passphrase, keystore.export_file(name))
    keystore.delete(name)
    _tell(session, info)


def delete(session: Session, name: str, *, yes: bool, understood: str | None) -> None:
    """Remove a key after its name was typed; a locked copy stays."""
    keystore = session.keystore
    info = keystore.show(name)
    copies = session.client_home.root / "deleted"
    copy = copies / f"{name}-{now_ms()}.key.json"
    warning = (
        f"Removes the key {name} of {account_text(info.account)}.",
        f"A copy, still locked by its passphrase, goes to {shown(copy)}.",
    )
    prompts.confirm_by_name(session.out, warning, name, yes=yes, understood=understood)
    make_private_directory(copies)
    create_private(copy, keystore.export_file(name))
    keystore.delete(name)
    if session.json_mode:
        session.out.emit({"deleted": name, "copy": str(copy)})
        return
    session.out.tick(f"{name} removed")
    session.out.note(f"Back: clawpurse keys import {name} --key-file {shown(copy)}")


def _json(info: KeyInfo) -> dict[str, Any]:
    return {"name": info.name, "account": account_text(info.account), "path": str(info.file)}


def _tell(session: Session, info: KeyInfo) -> None:
    if session.json_mode:
        session.out.emit(_json(info))
        return
    account = session.out.style(account_text(info.account), "bold")
    session.out.tick(f"{info.name} {account}")


def _require_new(path: Path) -> None:
    if path.exists():
        raise UsageFault(f"{path} exists already.", "It was not touched.", "choose another file")
    if not path.absolute().parent.is_dir():
        raise UsageFault(f"{path.absolute().parent} is no folder.", "", "choose another file")


def _write_words(path: Path, words: Sequence[str], name: str) -> None:
    try:
        create_private(path, " ".join(words).encode() + b"\n")
    except (OSError, OperatorError) as err:
        raise OperatorError(
            f"The key is saved, but its words could not be written to {path}: {err}.",
            "",
            f"clawpurse keys backup {name}",
        ) from err


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
