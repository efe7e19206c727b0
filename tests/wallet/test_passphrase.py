"""A passphrase opens its key however it reaches us: typed, from a file, from a pipe."""

from __future__ import annotations

import os
import socket
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


def test_a_socket_and_a_half_read_file_are_read_through_their_descriptor(tmp_path: Path) -> None:
    """`--passphrase-fd 3` of a service manager is a socket as often as a pipe."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"correct horse battery\n")
        theirs.shutdown(socket.SHUT_WR)
        assert read_passphrase_file(Path(f"/dev/fd/{ours.fileno()}")) == "correct horse battery"
        # It stays open: its owner may have more to say.
        assert os.fstat(ours.fileno())
    (tmp_path / "p").write_bytes(b"first line\ncorrect horse battery\n")
    descriptor = os.open(tmp_path / "p", os.O_RDONLY)
    assert os.read(descriptor, 11) == b"first line\n"
    assert read_passphrase_file(Path(f"/dev/fd/{descriptor}")) == "correct horse battery"
    os.close(descriptor)
    with pytest.raises(OperatorError, match="Cannot read the passphrase file /dev/fd/999"):
        read_passphrase_file(Path("/dev/fd/999"))


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
    check_new_passphrase("e\u0301xtra-sixteen-c")
    with pytest.raises(Malformed, match="has 14 characters"):
        check_new_passphrase("e\u0301" + "xtra-fifteen!")


@pytest.mark.parametrize("text", ["\ud800" * 20, "x" * 1025])
def test_what_no_keyboard_types_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        passphrase_bytes(text)
