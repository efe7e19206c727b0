"""What `wallet contacts` does."""

from __future__ import annotations

from pathlib import Path

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet import contact_files
from clawpurse.wallet.durable import create_private, read_private

# So many names are told one by one.
_NAMES_SHOWN = 5


def list_contacts(session: Session) -> None:
    """List all contacts."""
    found = session.client_home.contacts().all()
    if session.json_mode:
        entries = [
            {"name": one.name, "account": account_text(one.account), "note": one.note}
            for one in found
        ]
        session.out.emit({"contacts": entries})
        return
    if not found:
        session.out.note("No contacts yet. Next: clawpurse wallet contacts add bob claw1…")
        return
    rows = [(one.name, account_text(one.account), one.note) for one in found]
    session.out.table(("name", "account", "note"), rows)


def add_contact(session: Session, name: str, account: str, note: str) -> None:
    """Give an account a name."""
    named = account_named(session, account, "Nothing was saved.")
    added = session.client_home.contacts().add(name, named.account, note)
    document = {"name": added.name, "account": account_text(added.account), "note": added.note}
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.tick(f"{added.name} {document['account']}")
    session.out.note(f"Next: clawpurse wallet send {added.name} 12.5")


def remove_contact(session: Session, name: str) -> None:
    """Forget a contact."""
    removed = session.client_home.contacts().remove(name)
    if session.json_mode:
        session.out.emit({"removed": removed.name, "account": account_text(removed.account)})
        return
    session.out.tick(f"{removed.name} removed")
    session.out.note(
        f"Back: clawpurse wallet contacts add {removed.name} {account_text(removed.account)}"
    )


def export_contacts(session: Session, target: Path) -> None:
    """Write all contacts into a file that another wallet imports, readable by you alone."""
    found = session.client_home.contacts().all()
    write = contact_files.to_csv if _is_csv(target) else contact_files.to_json
    try:
        create_private(target, write(found).encode())
    except FileExistsError:
        raise UsageFault(
            f"{target} exists already.", "Nothing was written.", "name another file"
        ) from None
    if session.json_mode:
        session.out.emit({"file": str(target.absolute()), "contacts": len(found)})
        return
    session.out.tick(f"{shown(target)}: {counted(len(found), 'contact')}")


def import_contacts(session: Session, source: Path) -> None:
    """Add all contacts of a file, or none; those that are there already stay."""
    read = contact_files.from_csv if _is_csv(source) else contact_files.from_json
    try:
        data = read_private(source, contact_files.FILE_BYTES_MAX)
    except FileNotFoundError:
        raise UsageFault(f"There is no file {source}.", "Nothing was imported.", "") from None
    done = session.client_home.contacts().add_all(read(data), _own_keys(session))
    if session.json_mode:
        session.out.emit(
            {"added": [one.name for one in done.added], "known": [one.name for one in done.known]}
        )
        return
    session.out.tick(f"{counted(len(done.added), 'contact')} imported")
    if done.known:
        names = ", ".join(one.name for one in done.known[:_NAMES_SHOWN])
        more = ", …" if len(done.known) > _NAMES_SHOWN else ""
        was = "was" if len(done.known) == 1 else "were"
        session.out.note(f"{len(done.known)} {was} there already: {names}{more}")


def _own_keys(session: Session) -> dict[str, bytes]:
    keystore = session.keystore
    found = {}
    for name in keystore.names():
        try:
            found[name] = keystore.show(name).account
        except OperatorError:
            # Its file is damaged: the name is taken all the same.
            found[name] = b""
    return found


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".csv", ".json"):
        raise UsageFault(f"{path} is neither .csv nor .json.", "", "name it contacts.csv")
    return path.suffix == ".csv"
