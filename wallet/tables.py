"""Rows as CSV (RFC 4180) that spreadsheets read as data and never as formulas.

A cell of text that begins with `=`, `+`, `-`, `@`, a tab or a return gets an apostrophe before
it, as OWASP advises: somebody else wrote the memo that a bookkeeper opens. Numbers are made here
and stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final

from clawpurse.wallet.describe import printable

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class Number(str):
    """A decimal number that we made: written bare although it may begin with a minus."""

    __slots__ = ()


def safe_cell(text: str) -> str:
    """Return text that no spreadsheet runs, with what does not print escaped."""
    shown = printable(text)
    return f"'{shown}" if text.lstrip(" ").startswith(FORMULA) else shown


def csv_line(cells: Sequence[str | int]) -> str:
    """Return one row with its line end (CR LF). Numbers stand bare, text is made safe."""
    row = io.StringIO()
    writer = csv.writer(row, lineterminator="\r\n")
    writer.writerow(
        [cell if type(cell) in (int, Number) else safe_cell(str(cell)) for cell in cells]
    )
    return row.getvalue()
