"""A label shows the person that was meant: never two accounts, never somebody else's."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault
from clawpurse.wallet.contacts import Contact, Contacts

BOB = b"\x0b" * 32
EVE = b"\x0e" * 32


@pytest.fixture
def contacts(tmp_path: Path) -> Contacts:
    return Contacts(tmp_path / "home" / "contacts.json")


def test_a_saved_contact_is_found_by_name_and_by_account(contacts: Contacts) -> None:
    assert contacts.all() == []
    contacts.add("bob", BOB, "Bob’s bakery")
    contacts.add("anna", EVE)
    assert contacts.by_name("bob") == Contact("bob", BOB, "Bob’s bakery")
    assert contacts.by_account(EVE) == Contact("anna", EVE)
    assert [entry.name for entry in contacts.all()] == ["anna", "bob"]
    assert contacts.file.stat().st_mode & 0o777 == 0o600
    assert contacts.remove("bob").account == BOB
    assert contacts.by_name("bob") is None


def test_a_label_is_not_moved_to_another_account_silently(contacts: Contacts) -> None:
    contacts.add("bob", BOB)
    for name, account in (("bob", EVE), ("robert", BOB)):
        with pytest.raises(OperatorError, match=r"bob is claw1.*already"):
            contacts.add(name, account)
    assert contacts.all() == [Contact("bob", BOB)]


def test_an_unknown_contact_cannot_be_removed(contacts: Contacts) -> None:
    with pytest.raises(OperatorError, match="No contact is named bob"):
        contacts.remove("bob")


@pytest.mark.parametrize("note", ["x" * 121, "a\nb", "\x1b[31mred", "\u202egnp"])
def test_notes_that_could_deceive_at_a_terminal_are_refused(contacts: Contacts, note: str) -> None:
    with pytest.raises(Malformed, match="note"):
        contacts.add("bob", BOB, note)


@pytest.mark.parametrize("name", ["Bob", "", "claw1bob", "a b"])
def test_names_follow_the_rule_of_key_names(contacts: Contacts, name: str) -> None:
    with pytest.raises(Malformed):
        contacts.add(name, BOB)


ENTRY = {"name": "bob", "account": account_text(BOB), "note": ""}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"version": 1},
        {"version": 2, "contacts": []},
        {"version": 1, "contacts": {}},
        {"version": 1, "contacts": [[]]},
        {"version": 1, "contacts": [{**ENTRY, "account": account_text(BOB)[:-1] + "q"}]},
        {"version": 1, "contacts": [{**ENTRY, "account": 5}]},
        {"version": 1, "contacts": [{**ENTRY, "name": "B"}]},
        {"version": 1, "contacts": [{**ENTRY, "note": "\n"}]},
        {"version": 1, "contacts": [{**ENTRY, "note": None}]},
        {"version": 1, "contacts": [{**ENTRY, "more": 1}]},
        {"version": 1, "contacts": [ENTRY, ENTRY]},
        {"version": 1, "contacts": [ENTRY, {**ENTRY, "name": "eve"}]},
    ],
)
def test_a_damaged_file_is_reported_not_guessed(contacts: Contacts, document: object) -> None:
    contacts.file.parent.mkdir()
    contacts.file.write_text(json.dumps(document))
    with pytest.raises(StorageFault, match="damaged"):
        contacts.all()
    with pytest.raises(StorageFault, match="damaged"):
        contacts.add("eve", EVE)
    assert json.loads(contacts.file.read_text()) == document


def test_contacts_added_at_the_same_time_are_all_kept(contacts: Contacts) -> None:
    threads = [
        threading.Thread(target=contacts.add, args=(f"c{number}", bytes([number]) * 32))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(contacts.all()) == 8
