"""Passphrases as bytes: normalised, so that one typed on another keyboard opens the same key.

At least 15 characters when a key is made (NIST SP 800-63B-4 §3.1.1.2, single factor) that are not
among the first guesses of a thief (`strength.py`), no rules of composition. Unicode form NFKC as
in RFC 8265 (OpaqueString profile), then UTF-8. It arrives by prompt, file or descriptor, never as
an argument or in the environment, where `ps` and crash reports show it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.strength import strength_of, time_to_guess

CHARS_MIN: Final = 15
# Longer ones are files picked by mistake.
BYTES_MAX: Final = 1024
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,6})")


def passphrase_bytes(passphrase: str) -> bytes:
    """Return the bytes that are hashed. Raises `Malformed` on what no keyboard types."""
    try:
        data = unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError:
        raise Malformed("passphrase", "is not valid Unicode") from None
    if len(data) > BYTES_MAX:
        raise Malformed("passphrase", f"is longer than {BYTES_MAX} bytes")
    return data


def check_new_passphrase(passphrase: str, known: Sequence[str] = ()) -> None:
    """Raise `Malformed` unless `passphrase` can protect a new key: long enough, and no first guess.

    `known` are words that a thief would try because of whose key it is. Never quotes it.
    """
    text = passphrase_bytes(passphrase).decode()
    if len(text) < CHARS_MIN:
        raise Malformed(
            "passphrase", f"has {len(text)} characters, at least {CHARS_MIN} are needed"
        )
    strength = strength_of(text, known)
    if not strength.is_enough:
        raise Malformed(
            "passphrase",
            f"is easy to guess: {strength.why}, and would be found in {time_to_guess(strength)}; "
            "four or five words that have nothing to do with each other are better",
        )


def read_passphrase_file(path: Path) -> str:
    """Return the one line that a passphrase file holds, without its line end.

    Works on pipes and descriptors (`/dev/fd/N`) too. Raises `OperatorError` when it cannot be
    read, and `Malformed` when it is not one line of text.
    """
    try:
        data = _read(path)
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


def _read(path: Path) -> bytes:
    descriptor = _DESCRIPTOR.fullmatch(str(path))
    if descriptor is None:
        with open(path, "rb") as file:
            return file.read(BYTES_MAX + 3)
    # The descriptor itself: opening its name again fails for sockets, and starts files anew.
    with os.fdopen(int(descriptor[1]), "rb", closefd=False) as file:
        return file.read(BYTES_MAX + 3)
