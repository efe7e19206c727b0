"""Signed notes and checkpoints, as C2SP describes them for transparency logs.

A checkpoint (c2sp.org/tlog-checkpoint) is three lines: the log's origin, its size, its root in
base64. A note (c2sp.org/signed-note) is such a text, a blank line, and lines `— name base64` with
the first four bytes of a key's hash and an Ed25519 signature over the text. Every tool for
transparency logs reads them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final, NamedTuple

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rfc6962 import HASH_BYTES, SIZE_MAX

NOTE_CHARS_MAX: Final = 4_096
"""A checkpoint of ours has about 400; notes with many witnesses are other people's."""

NAME_CHARS_MAX: Final = 256
_ED25519: Final = b"\x01"
_SIGNATURE_BYTES: Final = 64
_KEY_ID_BYTES: Final = 4
_SIGNATURES_MAX: Final = 16


class Checkpoint(NamedTuple):
    """Where a log stands: which one, how many entries, their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


class NoteKey(NamedTuple):
    """A public key and its name: who signs. `text` is what others are given (a verifier key)."""

    name: str
    public_key: bytes

    @property
    def id(self) -> bytes:
        """The four bytes by which a signature names its key."""
        message = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(message).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The key in one line: name, id and key."""
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.public_key)}"


def origin_of(genesis_hash: bytes, log: bytes) -> str:
    """Return what our logs are called: network and id, so that no two share a name."""
    return f"clawpurse/{genesis_hash.hex()}/{log.hex()}"


def parse_key(text: str) -> NoteKey:
    """Read a verifier key. Raises `Malformed`."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _bytes_of(encoded, "key")
    found = NoteKey(name, key[1:])
    is_ours = key[:1] == _ED25519 and len(key) == 1 + crypto.KEY_BYTES
    if not _is_name(name) or not is_ours or found.id.hex() != key_id:
        raise Malformed("key", "is no verifier key of Ed25519")
    return found


def sign_note(text: str, key: NoteKey, seed: bytes) -> str:
    """Return a text with the signature of a key whose seed this is."""
    signature = crypto.sign(seed, text.encode())
    return f"{text}\n\u2014 {key.name} {_base64(key.id + signature)}\n"


def open_note(note: str, key: NoteKey) -> str:
    """Return the text that this key signed. Raises `Malformed`.

    Signatures by other keys are left alone, as the format says.
    """
    if len(note) > NOTE_CHARS_MAX or any(char < " " and char != "\n" for char in note):
        raise Malformed("note", "is no signed note")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Malformed("note", "has no signatures")
    signed = lines[:-1].split("\n")
    if len(signed) > _SIGNATURES_MAX:
        raise Malformed("note", f"has more than {_SIGNATURES_MAX} signatures")
    verified = False
    for line in signed:
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        value = _bytes_of(encoded, "note")
        if mark != "\u2014" or not _is_name(name) or len(value) <= _KEY_ID_BYTES:
            raise Malformed("note", "has a line that is no signature")
        if (name, value[:_KEY_ID_BYTES]) != (key.name, key.id):
            continue
        signature = value[_KEY_ID_BYTES:]
        if len(signature) != _SIGNATURE_BYTES or not crypto.verify(
            key.public_key, f"{text}\n".encode(), signature
        ):
            raise Malformed("note", f"has a signature that is not of the key {key.id.hex()}")
        verified = True
    if not verified:
        raise Malformed("note", f"is not signed by the key {key.id.hex()} of {key.name}")
    return f"{text}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint; lines after the third are somebody's extensions.

    Raises `Malformed`.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise Malformed("checkpoint", "is not origin, size and root")
    origin, digits, encoded = lines[:3]
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 20
    if not is_number or str(int(digits)) != digits or int(digits) > SIZE_MAX:
        raise Malformed("checkpoint.size", "is no number of entries")
    root = _bytes_of(encoded, "checkpoint.root")
    if len(root) != HASH_BYTES:
        raise Malformed("checkpoint.root", f"is not {HASH_BYTES} bytes")
    return Checkpoint(origin, int(digits), root)


def _is_name(name: str) -> bool:
    plain = name.isprintable() and "+" not in name and not any(map(str.isspace, name))
    return 0 < len(name) <= NAME_CHARS_MAX and plain


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes_of(text: str, field: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or _base64(data) != text:
        raise Malformed(field, "is not base64")
    return data
