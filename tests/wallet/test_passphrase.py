"""A passphrase opens its key however it reaches us: typed, from a file, from a pipe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.passphrase import (
    check_new_passphrase,
    passphrase_bytes,
    read_passphrase_file,
)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_line_end_of_an_editor_does_not_count(tmp_path: Path, end: str) -> None:
    file = tmp_path / "p"
    file.write_bytes(f"a pass phrase \u00e9{end}".encode())
    assert read_passphrase_file(file) == "a pass phrase \u00e9"


def test_a_pipe_is_read_like_a_file() -> None:
    """`--passphrase-file <(command)` and `/dev/fd/3` never touch a disk."""
    reader, writer = os.pipe()
    os.write(writer, b"correct horse battery\n")
    os.close(writer)
    assert read_passphrase_file(Path(f"/dev/fd/{reader}")) == "correct horse battery"
    os.close(reader)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"a\nb\n", "more than one line"),
        (b"\xff\xfe", "UTF-8"),
        (b"x" * 5000, "longer than"),
    ],
)
def test_files_picked_by_mistake_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(Malformed, match=why):
        read_passphrase_file(tmp_path / "p")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"Cannot read the passphrase file .*nothere"):
        read_passphrase_file(tmp_path / "nothere")


def test_length_counts_characters_after_normalisation() -> None:
    check_new_passphrase("x" * 15)
    with pytest.raises(Malformed, match="has 14 characters"):
        check_new_passphrase("e\u0301" + "x" * 13)


@pytest.mark.parametrize("text", ["\ud800" * 20, "x" * 1025])
def test_what_no_keyboard_types_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        passphrase_bytes(text)
