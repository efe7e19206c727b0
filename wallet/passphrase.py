"""Passphrases as bytes: normalised, so that one typed on another keyboard opens the same key.

At least 15 characters when a key is made (NIST SP 800-63B-4 §3.1.1.2, single factor), no rules
of composition. Unicode form NFKC as in RFC 8265 (OpaqueString profile), then UTF-8.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

from clawpurse.ledger.errors import Malformed, OperatorError

CHARS_MIN: Final = 15
# Longer ones are files picked by mistake.
BYTES_MAX: Final = 1024


def passphrase_bytes(passphrase: str) -> bytes:
    """Return the bytes that are hashed. Raises `Malformed` on what no keyboard types."""
    try:
        data = unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError:
        raise Malformed("passphrase", "is not valid Unicode") from None
    if len(data) > BYTES_MAX:
        raise Malformed("passphrase", f"is longer than {BYTES_MAX} bytes")
    return data


def check_new_passphrase(passphrase: str) -> None:
    """Raise `Malformed` unless `passphrase` is long enough to protect a new key."""
    count = len(passphrase_bytes(passphrase).decode())
    if count < CHARS_MIN:
        raise Malformed("passphrase", f"has {count} characters, at least {CHARS_MIN} are needed")


def read_passphrase_file(path: Path) -> str:
    """Return the one line that a passphrase file holds, without its line end.

    Works on pipes and `/dev/fd/N` too. Raises `OperatorError` when it cannot be read, and
    `Malformed` when it is not one line of text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES_MAX + 3)
    except OSError as err:
        raise OperatorError(
            f"Cannot read the passphrase file {path}:",
            f"{err.strerror or type(err).__name__}.",
            "check --passphrase-file",
        ) from err
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Malformed("passphrase file", "is not UTF-8 text") from None
    line = text.removesuffix("\n").removesuffix("\r")
    if "\n" in line or "\r" in line:
        raise Malformed("passphrase file", "has more than one line")
    if not line:
        raise Malformed("passphrase file", "is empty")
    passphrase_bytes(line)
    return line
