"""QR codes of payment requests: for a terminal, and as a PNG.

A terminal shows two rows of modules in one line of half blocks. With colours, ink and paper are
named (black on white), so the code is right on dark and on light terminals; without, a person
says whether the terminal is light, since a program cannot know.
"""

from __future__ import annotations

import io
from typing import Final

import segno

from clawpurse.ledger.errors import OperatorError

# The quiet zone that ISO/IEC 18004 asks for, in modules; readers of screens live with half of it.
BORDER: Final = 4
_BORDER_NARROW: Final = 2
COLUMNS: Final = 80
# 8 pixels a module: read from paper and from another screen.
_SCALE: Final = 8
_BLACK_ON_WHITE: Final = "\x1b[30;107m"
_PLAIN: Final = "\x1b[0m"
# By (upper is ink, lower is ink).
_BLOCKS: Final = {
    (False, False): " ",
    (True, False): "▀",
    (False, True): "▄",
    (True, True): "█",
}


def code_of(uri: str) -> segno.QRCode:
    """Return the code of a URI; an address alone in upper case, which makes a smaller one.

    Raises `OperatorError` for text that fits into no code.
    """
    text = uri if "?" in uri else uri.upper()
    try:
        return segno.make_qr(text, error="l")
    except segno.DataOverflowError as err:
        raise OperatorError("That is too long for a QR code.") from err


def terminal_lines(
    code: segno.QRCode, *, colour: bool, light: bool = False, columns: int = COLUMNS
) -> list[str] | None:
    """Return the lines that show a code, None when it is wider than `columns`.

    With `colour` they say black on white themselves. Without, `light` says that the terminal has
    dark letters on light paper; else it is taken for light letters on dark.
    """
    size = code.symbol_size(border=0)[0]
    border = BORDER if size + 2 * BORDER <= columns else _BORDER_NARROW
    if size + 2 * border > columns:
        return None
    ink = colour or light
    rows = [[bool(cell) == ink for cell in row] for row in code.matrix_iter(border=border)]
    if len(rows) % 2:
        rows.append([not ink] * len(rows[0]))
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        line = "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        lines.append(f"{_BLACK_ON_WHITE}{line}{_PLAIN}" if colour else line)
    return lines


def png_of(code: segno.QRCode) -> bytes:
    """Return a code as a PNG, black on white with its quiet zone."""
    picture = io.BytesIO()
    code.save(picture, kind="png", scale=_SCALE, border=BORDER, dark="black", light="white")
    return picture.getvalue()
