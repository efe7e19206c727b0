"""Contacts as a file for another wallet or a spreadsheet: CSV `name,account,note`, or JSON.

Whatever is wrong with a file is told at once, with its lines, and none of it is imported. A note
that a spreadsheet would run as a formula has an apostrophe before it in a CSV, which is taken off
again here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.contacts import CONTACTS_MAX, Contact, check_note
from clawpurse.wallet.names import check_name
from clawpurse.wallet.tables import FORMULA, csv_line

COLUMNS: Final = ("name", "account", "note")
# Twice what as many contacts take in the longest form, with room for indentation.
FILE_BYTES_MAX: Final = CONTACTS_MAX * 1_024
# A person mends a few at a time; the rest is counted.
_PROBLEMS_SHOWN: Final = 3
_QUOTE: Final = "'"
Json = dict[str, Any]


class Row(NamedTuple):
    """An entry of a file as text, and the line or number by which a person finds it."""

    place: str
    name: object
    account: object
    note: object


def to_csv(contacts: Iterable[Contact]) -> str:
    """Return contacts as CSV (RFC 4180), which `from_csv` reads back as they are."""
    lines = [csv_line(COLUMNS)]
    for one in contacts:
        note = f"{_QUOTE}{one.note}" if one.note.startswith(_QUOTE) else one.note
        lines.append(csv_line((one.name, account_text(one.account), note)))
    return "".join(lines)


def to_json(contacts: Iterable[Contact]) -> str:
    """Return contacts as `{"contacts": [{name, account, note}]}`."""
    shown = [
        {"name": one.name, "account": account_text(one.account), "note": one.note}
        for one in contacts
    ]
    return json.dumps({"contacts": shown}, ensure_ascii=False, indent=1) + "\n"


def from_csv(data: bytes) -> list[Contact]:
    """Read contacts; the columns may stand in any order, others are ignored, `note` may lack.

    Raises `OperatorError` that names every line which is wrong, up to a few.
    """
    reader = csv.reader(io.StringIO(_text(data), newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as err:
        raise _unusable([f"line {reader.line_num} is not CSV ({err})"]) from err
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    if not {"name", "account"} <= set(header):
        raise _unusable(["the first line does not name the columns name and account"])

    def cell(cells: Sequence[str], column: str) -> str:
        place = header.index(column) if column in header else len(cells)
        return cells[place].strip() if place < len(cells) else ""

    return _checked(
        Row(f"line {number}", cell(cells, "name"), cell(cells, "account"),
            _unquoted(cell(cells, "note")))
        for number, cells in lines[1:]
    )  # fmt: skip


def from_json(data: bytes) -> list[Contact]:
    """Read contacts: `{"contacts": […]}`, or the list alone. Raises as `from_csv`."""
    try:
        document = json.loads(_text(data))
    except (ValueError, RecursionError):
        raise _unusable(["it is not JSON"]) from None
    entries = document.get("contacts") if type(document) is dict else document
    if type(entries) is not list or not all(type(one) is dict for one in entries):
        raise _unusable(["it has no list of contacts"])
    return _checked(
        Row(f"contact {number}", one.get("name"), one.get("account"), one.get("note", ""))
        for number, one in enumerate(entries, 1)
    )


def _text(data: bytes) -> str:
    if len(data) > FILE_BYTES_MAX:
        raise _unusable([f"it is larger than {FILE_BYTES_MAX} bytes"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unusable(["it is not UTF-8"]) from None


def _checked(rows: Iterable[Row]) -> list[Contact]:
    """Return the contacts, each once. Raises `OperatorError` with all that is wrong."""
    found: list[Contact] = []
    problems: list[str] = []
    names: dict[str, Contact] = {}
    accounts: dict[bytes, Contact] = {}
    for row in rows:
        try:
            contact = _contact(row)
        except Malformed as err:
            problems.append(f"{row.place}: {err.field} {err.problem}")
            continue
        same = names.get(contact.name), accounts.get(contact.account)
        if same == (None, None):
            found.append(contact)
            names[contact.name] = accounts[contact.account] = contact
        elif same[0] is None:
            problems.append(f"{row.place}: its account is {_name(same[1])} already")
        elif same[0] is not same[1]:
            problems.append(f"{row.place}: there is another {contact.name}")
    if problems:
        raise _unusable(problems)
    return found


def _contact(row: Row) -> Contact:
    for field, value in zip(COLUMNS, row[1:], strict=True):
        if type(value) is not str:
            raise Malformed(field, "is no text")
    return Contact(
        check_name(str(row.name)), account_from_text(str(row.account)), check_note(str(row.note))
    )


def _name(contact: Contact | None) -> str:
    return "" if contact is None else contact.name


def _unquoted(note: str) -> str:
    quoted = note.startswith(_QUOTE) and note[1:].lstrip(" ").startswith((*FORMULA, _QUOTE))
    return note[1:] if quoted else note


def _unusable(problems: Sequence[str]) -> OperatorError:
    told = "; ".join(problems[:_PROBLEMS_SHOWN])
    more = len(problems) - _PROBLEMS_SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return OperatorError(
        f"{told[:1].upper()}{told[1:]}{rest}.", "Nothing was imported.", "mend the file"
    )
