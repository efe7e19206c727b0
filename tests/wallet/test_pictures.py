"""QR codes, read back by a decoder that is not ours."""

from __future__ import annotations

import struct
import zlib

import pytest
import zxingcpp

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.pictures import code_of, png_of, terminal_lines
from clawpurse.wallet.uri import PaymentRequest, format_uri, parse_uri

BOB = b"\x05" * 32
REQUESTS = [
    PaymentRequest(BOB),
    PaymentRequest(BOB, "EURX", "12.50", "lunch", "acme-main"),
    PaymentRequest(BOB, "EURX", "1", "ü" * 40),
]
_INK = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}


def read_picture(rows: list[list[int]]) -> str:
    """What a reader sees in rows of grey pixels."""
    height, width = len(rows), len(rows[0])
    flat = bytes(pixel for row in rows for pixel in row)
    found = zxingcpp.read_barcodes(memoryview(flat).cast("B", (height, width)))
    assert len(found) == 1
    text: str = found[0].text
    return text


def seen(lines: list[str], *, ink: int, paper: int, scale: int = 4) -> str:
    """What a reader sees on a terminal that shows blocks in `ink` on `paper`."""
    rows: list[list[int]] = []
    for line in lines:
        halves = [_INK[char] for char in line]
        for half in (0, 1):
            row = [ink if pair[half] else paper for pair in halves for _ in range(scale)]
            rows.extend([row] * scale)
    return read_picture(rows)


def pixels_of(png: bytes) -> list[list[int]]:
    """Decode a PNG of one grey bit a pixel, filtered by nothing or by the row above."""
    width, height, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (depth, colour) == (1, 0)
    data, place = b"", 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + size]
        place += size + 12
    lines, stride = zlib.decompress(data), (width + 7) // 8 + 1
    rows, above = [], bytes(stride - 1)
    for number in range(height):
        line = lines[number * stride : (number + 1) * stride]
        assert line[0] in (0, 2)
        plus = above if line[0] else bytes(stride - 1)
        above = bytes((byte + more) % 256 for byte, more in zip(line[1:], plus, strict=True))
        bits = [byte >> (7 - bit) & 1 for byte in above for bit in range(8)]
        rows.append([255 * bit for bit in bits[:width]])
    return rows


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_reader_sees_what_was_asked_on_every_terminal(request_: PaymentRequest) -> None:
    """Somebody would hold a telephone before a code that it cannot read."""
    uri = format_uri(request_)
    code = code_of(uri)
    dark = terminal_lines(code, colour=False)
    light = terminal_lines(code, colour=False, light=True)
    coloured = terminal_lines(code, colour=True)
    assert dark is not None and light is not None and coloured is not None
    assert all(len(line) <= 80 for line in (*dark, *light))
    assert parse_uri(seen(dark, ink=230, paper=20)) == request_
    assert parse_uri(seen(light, ink=20, paper=230)) == request_
    assert all(line.startswith("\x1b[30;107m") and line.endswith("\x1b[0m") for line in coloured)
    assert [line[9:-4] for line in coloured] == light
    assert "\x1b" not in "".join([*dark, *light])


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_reader_sees_what_was_asked_in_the_file(request_: PaymentRequest) -> None:
    """An invoice would be printed with a code that says something else."""
    assert parse_uri(read_picture(pixels_of(png_of(code_of(format_uri(request_)))))) == request_


def test_a_code_that_does_not_fit_is_not_cut() -> None:
    """A cut code looks like one, and is none."""
    code = code_of(format_uri(PaymentRequest(BOB, memo="\N{GRINNING FACE}" * 60)))
    assert terminal_lines(code, colour=False) is None
    assert terminal_lines(code, colour=False, columns=200) is not None
    address = code_of(f"clawpurse:{account_text(BOB)}")
    lines = terminal_lines(address, colour=False)
    assert lines is not None and len(lines[0]) <= 45 and len(lines) <= 23
    with pytest.raises(OperatorError, match="too long"):
        code_of("clawpurse:?" + "x" * 3_000)
