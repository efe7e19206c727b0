"""Contacts in files: all or nothing, addresses checked, what comes back is what went out."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.contact_files import from_csv, from_json, to_csv, to_json
from clawpurse.wallet.contacts import Contact, Contacts

_NOTES = st.text(max_size=40).filter(str.isprintable).map(str.strip)
_ACCOUNTS = st.binary(min_size=32, max_size=32)
_NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
_CONTACTS = st.lists(
    st.builds(Contact, _NAMES, _ACCOUNTS, _NOTES), max_size=6,
    unique_by=(lambda one: one.name, lambda one: one.account),
)  # fmt: skip
BOB, CAROL = Contact("bob", b"\x01" * 32, "Milan"), Contact("carol", b"\x02" * 32)


@given(_CONTACTS)
def test_what_was_exported_is_imported_as_it_was(contacts: list[Contact]) -> None:
    """A note that changes on its way is no longer what a person wrote."""
    assert from_csv(to_csv(contacts).encode()) == contacts
    assert from_json(to_json(contacts).encode()) == contacts


@pytest.mark.parametrize("note", ["=1+1", "-5", "'=1", "''", "'quoted'", "@home", "it's"])
def test_a_note_is_no_formula_and_comes_back(note: str) -> None:
    """The apostrophe that keeps a spreadsheet from running a note must not stay in it."""
    text = to_csv([BOB._replace(note=note)])
    assert not any(cell.startswith(("=", "-", "@")) for cell in text.splitlines()[1].split(","))
    assert from_csv(text.encode())[0].note == note


def test_a_spreadsheets_file_is_read() -> None:
    """With its byte order mark, its own order of columns, a column more, an empty line."""
    text = f"\ufeffx,Account,Name\r\n,{account_text(BOB.account)},bob\r\n,,\r\n"
    assert from_csv(text.encode()) == [BOB._replace(note="")]


def _csv(*rows: str) -> bytes:
    return "\n".join(("name,account,note", *rows)).encode()


@pytest.mark.parametrize(
    ("data", "read", "said"),
    [
        (_csv(f"bob,{account_text(BOB.account)[:-1]}q,"), from_csv, "Line 2: .*checksum"),
        (_csv("Bob!,x,", "carol,claw1,"), from_csv, "Line 2: name .*; line 3: "),
        (_csv(*["x,y,"] * 9), from_csv, "; and 6 more"),
        (_csv(f"bob,{account_text(b'1' * 32)},", f"bob,{account_text(b'2' * 32)},"), from_csv,
         "Line 3: there is another bob"),
        (_csv(f"a,{account_text(b'1' * 32)},", f"b,{account_text(b'1' * 32)},"), from_csv,
         "Line 3: its account is a already"),
        (b"bob,claw1\n", from_csv, "does not name the columns"),
        (b"", from_csv, "does not name the columns"),
        (b'name,account\n"bob', from_csv, "is not CSV"),
        (b"\xff", from_json, "not UTF-8"),
        (b"[1]", from_json, "no list of contacts"),
        (b'{"contacts": [{"name": 1}]}', from_json, "Contact 1: name is no text"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_told_and_nothing_imported(
    data: bytes, read: Callable[[bytes], list[Contact]], said: str
) -> None:
    """Half an address book is one in which the missing half is paid by mistake."""
    with pytest.raises(OperatorError, match=said):
        read(data)


def test_a_duplicate_is_imported_once() -> None:
    """Two exports that were put together."""
    assert from_csv(_csv(*[f"bob,{account_text(BOB.account)},"] * 2)) == [BOB._replace(note="")]


def test_all_are_added_or_none(tmp_path: Path) -> None:
    """A name that would mean somebody else than before is not given away by a file."""
    book = Contacts(tmp_path / "contacts.json")
    assert book.add_all([BOB], {}) == ((BOB,), ())
    done = book.add_all([BOB._replace(note="else"), CAROL], {"alice": b"\x09" * 32})
    assert done == ((CAROL,), (BOB._replace(note="else"),))
    assert book.all() == [BOB, CAROL]
    dave = Contact("dave", b"\x04" * 32)
    for wrong, said in (
        (CAROL._replace(name="bob"), "bob: its account is carol already"),
        (dave._replace(name="bob"), "bob is another account already"),
        (dave._replace(name="alice"), "alice is a key of yours"),
    ):
        with pytest.raises(OperatorError, match=said):
            book.add_all([dave._replace(account=b"\x05" * 32), wrong], {"alice": b"\x09" * 32})
        assert book.all() == [BOB, CAROL]
