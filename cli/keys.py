"""What `keys …` do: keys are made, shown, moved; words are shown to a person and to nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clawpurse.cli import guardrails, prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session, now_ms, shown
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError, WatchOnly
from clawpurse.wallet.durable import create_private, make_private_directory
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.names import check_name
from clawpurse.wallet.watched import check_label

TITLE: Final = "These {count} words are the money. Shown once; write them on paper."
_TRIES_MAX: Final = 3


def add(
    session: Session,
    name: str,
    passphrase_file: Path | None,
    mnemonic_file: Path | None,
    word_count: int,
    language: str,
    label: str | None = None,
) -> None:
    """Make a key. The words go to the terminal, or into a file, or nowhere, in that order."""
    keystore, out = session.keystore, session.out
    check_name(name)
    if keystore.has(name):
        raise taken(name)
    _check_label(label)
    if mnemonic_file is not None:
        require_new(mnemonic_file)
    passphrase = prompts.new_passphrase(out, passphrase_file, name)
    info, words = keystore.add(name, passphrase, word_count=word_count, language=language)
    if mnemonic_file is not None:
        write_words(mnemonic_file, words, name)
    elif prompts.at_terminal() and passphrase_file is None:
        _teach(session, words, name)
    else:
        out.warn(f"The words were not shown. Write them down: clawpurse keys backup {name}")
    tell(session, labelled(session, info, label))
    if prompts.at_terminal() and passphrase_file is None and not session.json_mode:
        guardrails.offer(session, name, passphrase)
    out.note(f"Next: clawpurse faucet {name}")


def _teach(session: Session, words: Sequence[str], name: str) -> None:
    """Show the words until three of them are typed back rightly."""
    for _ in range(_TRIES_MAX):
        prompts.show_words(session.out, TITLE.format(count=len(words)), words)
        if prompts.ask_words(session.out, words):
            return
    session.out.warn(f"The key is saved. Write its words down: clawpurse keys backup {name}")


def show_all(session: Session) -> None:
    """List all keys; a damaged file is listed as such."""
    keystore = session.keystore
    infos: list[dict[str, Any]] = []
    for name in keystore.names():
        try:
            infos.append(_listed(keystore.show(name)))
        except OperatorError as err:
            session.out.warn(str(err))
    if session.json_mode:
        session.out.emit({"keys": infos})
        return
    if not infos:
        session.out.note(f"No keys in {shown(keystore.directory)}. Next: clawpurse keys add alice")
        return
    header: tuple[str, ...] = ("name", "account")
    rows: list[tuple[str, ...]] = [(info["name"], info["account"]) for info in infos]
    if any(info["watchOnly"] or info["label"] for info in infos):
        header = (*header, "kind", "label")
        kinds = ["watch-only" if info["watchOnly"] else "key" for info in infos]
        rows = [
            (*row, kind, info["label"]) for row, kind, info in zip(rows, kinds, infos, strict=True)
        ]
    session.out.table(header, rows)


def show(session: Session, name: str) -> None:
    """Show one key, or an account that is only looked at."""
    info = session.keystore.show(name)
    public_key = None if info.key is None else f"0x{info.key.hex()}"
    document = {**described(info), "publicKey": public_key, **_kind(info)}
    if session.json_mode:
        session.out.emit(document)
        return
    out = session.out
    out.line(f"{info.name} {out.style(document['account'], 'bold')}")
    pairs = [("File", shown(info.file))]
    if public_key is not None:
        pairs.insert(0, ("Public key", public_key))
    if info.path is not None:
        pairs.append(("Derivation", info.path))
    if info.label:
        pairs.append(("Label", info.label))
    if info.watch_only:
        pairs.append(("Kind", "watch-only: its key is not here"))
    out.fields(pairs)


def watch(session: Session, name: str, account: str, label: str | None) -> None:
    """Look at an account whose key is elsewhere."""
    check_name(name)
    _check_label(label)
    info = session.keystore.watch(name, account_named(session, account).account)
    tell(session, labelled(session, info, label))
    session.out.note(f"Nothing signs for {name} here. Next: clawpurse wallet balance {name}")


def derive(
    session: Session,
    name: str,
    phrase_of: str,
    index: int | None,
    passphrase_file: Path | None,
    label: str | None,
) -> None:
    """Make another account of the words that a key has, under the same passphrase."""
    keystore, out = session.keystore, session.out
    check_name(name)
    _check_label(label)
    keystore.show(phrase_of)
    if keystore.has(name):
        raise taken(name)
    passphrase = prompts.passphrase(out, passphrase_file, f"Passphrase for {phrase_of}: ")
    info = keystore.derive(name, phrase_of, passphrase, index=index)
    tell(session, labelled(session, info, label))
    out.note(f"The words and the passphrase of {phrase_of} are those of {name} too.")


def label(session: Session, name: str, text: str) -> None:
    """Give an account a label, or take it away."""
    info = session.keystore.set_label(name, text)
    if session.json_mode:
        session.out.emit({**described(info), "label": info.label})
        return
    session.out.tick(f"{name} is labelled {text}" if text else f"{name} has no label")


def change_passphrase(
    session: Session, name: str, passphrase_file: Path | None, new_file: Path | None
) -> None:
    """Seal a key under another passphrase."""
    keystore, out = session.keystore, session.out
    if keystore.show(name).watch_only:
        raise WatchOnly(name)
    if new_file is None and passphrase_file is not None:
        raise UsageFault(
            "The new passphrase is missing.",
            "Nothing was changed.",
            "add --new-passphrase-file FILE",
        )
    old = prompts.passphrase(out, passphrase_file, f"Passphrase for {name}: ")
    # First whether the old one opens it: nobody chooses a new one for nothing.
    keystore.unlock(name, old)
    new = prompts.new_passphrase(out, new_file, name, what="New passphrase")
    info = keystore.change_passphrase(name, old, new)
    if session.json_mode:
        out.emit(described(info))
        return
    out.tick(f"{name} has its new passphrase")
    out.note("Copies of its file that were made before open with the old one.")


def rename(session: Session, name: str, new_name: str, passphrase_file: Path | None) -> None:
    """Give a key another name: its file is sealed anew under it, then the old one goes."""
    keystore = session.keystore
    check_name(new_name)
    info = keystore.show(name)
    if keystore.has(new_name):
        raise taken(new_name)
    passphrase = None
    if not info.watch_only:
        passphrase = prompts.passphrase(session.out, passphrase_file, f"Passphrase for {name}: ")
    tell(session, keystore.rename(name, new_name, passphrase))


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
    if info.watch_only:
        warning = (f"Looks at {account_text(info.account)} no more.", "No key is removed.")
    prompts.confirm_by_name(session.out, warning, name, yes=yes, understood=understood)
    if info.watch_only:
        keystore.delete(name)
        if session.json_mode:
            session.out.emit({"deleted": name, "copy": None})
            return
        session.out.tick(f"{name} removed")
        return
    make_private_directory(copies)
    create_private(copy, keystore.export_file(name))
    keystore.delete(name)
    if session.json_mode:
        session.out.emit({"deleted": name, "copy": str(copy)})
        return
    session.out.tick(f"{name} removed")
    session.out.note(f"Back: clawpurse keys import {name} --key-file {shown(copy)}")


def described(info: KeyInfo) -> dict[str, Any]:
    """What every command says of a key in JSON."""
    return {"name": info.name, "account": account_text(info.account), "path": str(info.file)}


def _kind(info: KeyInfo) -> dict[str, Any]:
    return {"watchOnly": info.watch_only, "label": info.label}


def _listed(info: KeyInfo) -> dict[str, Any]:
    return {**described(info), **_kind(info)}


def tell(session: Session, info: KeyInfo) -> None:
    """Say which key there is now."""
    if session.json_mode:
        session.out.emit(described(info))
        return
    account = session.out.style(account_text(info.account), "bold")
    session.out.tick(f"{info.name} {account}")


def labelled(session: Session, info: KeyInfo, label: str | None) -> KeyInfo:
    """Give a key that was just saved its label, if there is one."""
    return info if label is None else session.keystore.set_label(info.name, label)


def _check_label(label: str | None) -> None:
    """Before a key is made: a label that is refused afterwards leaves a key without one."""
    if label is not None:
        check_label(label)


def taken(name: str) -> OperatorError:
    """Return the error for a name that another key has."""
    return OperatorError(
        f"A key is named {name} already.", "It was not touched.", f"clawpurse keys show {name}"
    )


def require_new(path: Path) -> None:
    """Raise `UsageFault` unless a file can be made at `path`."""
    if path.exists():
        raise UsageFault(f"{path} exists already.", "It was not touched.", "choose another file")
    if not path.absolute().parent.is_dir():
        raise UsageFault(f"{path.absolute().parent} is no folder.", "", "choose another file")


def write_words(path: Path, words: Sequence[str], name: str) -> None:
    """Write words into a new file, 0600."""
    try:
        create_private(path, " ".join(words).encode() + b"\n")
    except (OSError, OperatorError) as err:
        raise OperatorError(
            f"The key is saved, but its words could not be written to {path}: {err}.",
            "",
            f"clawpurse keys backup {name}",
        ) from err
