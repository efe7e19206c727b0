"""Contacts: the labels that a person gives to other people's accounts.

One 0600 JSON file, replaced whole. A label never points to two accounts and an account never
has two labels, so that what a confirmation shows is what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.names import check_name

_VERSION: Final = 1
# Read and written whole each time; so many take about 80 ms.
CONTACTS_MAX: Final = 2_000
_BYTES_MAX: Final = CONTACTS_MAX * 512
NOTE_CHARS_MAX: Final = 120


class Contact(NamedTuple):
    """A label for an account, with an optional note of the person who gave it."""

    name: str
    account: bytes
    note: str = ""


class Imported(NamedTuple):
    """What came of an import: which contacts are new, and which were there as they are."""

    added: tuple[Contact, ...]
    known: tuple[Contact, ...]


class Contacts:
    """The contacts file. Every call reads it afresh: other processes may have changed it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def all(self) -> list[Contact]:
        """Return all contacts by name. Raises `StorageFault` when the file is damaged."""
        try:
            data = read_private(self.file, _BYTES_MAX)
        except FileNotFoundError:
            return []
        try:
            return _decode(data)
        except Malformed as err:
            raise StorageFault(
                f"The contacts file {self.file} is damaged ({err}).",
                "Nothing was changed.",
                "restore it from a backup or move it away",
            ) from err

    def by_name(self, name: str) -> Contact | None:
        """Return the contact of that name, or None."""
        return next((entry for entry in self.all() if entry.name == name), None)

    def by_account(self, account: bytes) -> Contact | None:
        """Return the contact with that account, or None."""
        return next((entry for entry in self.all() if entry.account == account), None)

    def add(self, name: str, account: bytes, note: str = "") -> Contact:
        """Save a new contact. Raises `OperatorError` if the name or the account is taken."""
        contact = Contact(check_name(name), account, check_note(note))
        make_private_directory(self.file.parent)
        with locked(self._lock_file, "The contacts are in use by another clawpurse."):
            entries = self.all()
            for entry in entries:
                if name == entry.name or account == entry.account:
                    raise OperatorError(
                        f"{entry.name} is {account_text(entry.account)} already.",
                        "Nothing was changed.",
                        f"clawpurse wallet contacts remove {entry.name}",
                    )
            if len(entries) >= CONTACTS_MAX:
                raise OperatorError(f"There are {CONTACTS_MAX} contacts, the most that fit.")
            self._write([*entries, contact])
        return contact

    def add_all(self, wanted: Sequence[Contact], own: Mapping[str, bytes]) -> Imported:
        """Save all of them, or none. Those that are there already stay, with their own notes.

        `own` are the keys of this home: a contact may not take the name of one. Raises
        `OperatorError` naming whose name or account is taken.
        """
        make_private_directory(self.file.parent)
        with locked(self._lock_file, "The contacts are in use by another clawpurse."):
            entries = self.all()
            names = {entry.name: entry for entry in entries}
            accounts = {entry.account: entry for entry in entries}
            added: list[Contact] = []
            known: list[Contact] = []
            problems: list[str] = []
            for one in wanted:
                named, there = names.get(one.name), accounts.get(one.account)
                if own.get(one.name, one.account) != one.account:
                    problems.append(f"{one.name} is a key of yours")
                elif named is None and there is None:
                    added.append(one)
                elif named is there:
                    known.append(one)
                elif there is not None:
                    problems.append(f"{one.name}: its account is {there.name} already")
                else:
                    problems.append(f"{one.name} is another account already")
            if problems:
                more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
                raise OperatorError(
                    f"{'; '.join(problems[:3])}{more}.",
                    "Nothing was imported.",
                    "clawpurse wallet contacts",
                )
            if len(entries) + len(added) > CONTACTS_MAX:
                raise OperatorError(
                    f"That makes more than {CONTACTS_MAX} contacts.", "Nothing was imported.", ""
                )
            if added:
                self._write([*entries, *added])
        return Imported(tuple(added), tuple(known))

    def remove(self, name: str) -> Contact:
        """Remove a contact and return it. Raises `OperatorError` if there is none."""
        make_private_directory(self.file.parent)
        with locked(self._lock_file, "The contacts are in use by another clawpurse."):
            entries = self.all()
            for entry in entries:
                if entry.name == name:
                    self._write([other for other in entries if other is not entry])
                    return entry
        raise OperatorError(f"No contact is named {name}.", "", "clawpurse wallet contacts")

    @property
    def _lock_file(self) -> Path:
        return self.file.with_name(f".{self.file.name}.lock")

    def _write(self, entries: list[Contact]) -> None:
        remove_unfinished(self.file)
        document = {
            "version": _VERSION,
            "contacts": [
                {"name": entry.name, "account": account_text(entry.account), "note": entry.note}
                for entry in sorted(entries)
            ],
        }
        text = json.dumps(document, indent=2, ensure_ascii=False)
        replace_private(self.file, text.encode() + b"\n")


def check_note(note: str) -> str:
    """Return a note that can be shown, else raise `Malformed`."""
    # Notes are printed beside amounts: no control or direction characters (`isprintable`).
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        raise Malformed("note", f"is longer than {NOTE_CHARS_MAX} or has unprintable characters")
    return note


def _decode(data: bytes) -> list[Contact]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("contacts", "is not JSON") from None
    if type(document) is not dict or document.keys() != {"version", "contacts"}:
        raise Malformed("contacts", "is not an object with version and contacts")
    codec.version(document["version"], "contacts.version", (_VERSION,))
    found: list[Contact] = []
    entries = document["contacts"]
    if type(entries) is not list or len(entries) > CONTACTS_MAX:
        raise Malformed("contacts.contacts", f"is not a list of at most {CONTACTS_MAX}")
    for item in entries:
        if type(item) is not dict or item.keys() != {"name", "account", "note"}:
            raise Malformed("contacts.contacts[]", "is not an object with name, account, note")
        note = item["note"]
        if type(note) is not str:
            raise Malformed("contacts.contacts[].note", "is not a string")
        name = check_name(codec.ascii_text(item["name"], "contacts.contacts[].name", 64))
        account = account_from_text(codec.ascii_text(item["account"], "contacts.account", 90))
        found.append(Contact(name, account, check_note(note)))
    for distinct in ({entry.name for entry in found}, {entry.account for entry in found}):
        if len(distinct) < len(found):
            raise Malformed("contacts", "has a name or an account twice")
    return sorted(found)
