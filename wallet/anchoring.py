"""What stays with whoever anchors: receipts of documents, and logs as files of lines.

A document's commitment is HMAC-SHA256 under a random key of 32 bytes that only the receipt has.
The message names network, account and kind beside the document's hash and size, so that nobody
who copies a commitment can show it for its own, and a receipt fits one document only. Without
the receipt nothing is provable, and nobody can try documents against the commitment; who destroys
it has erased what was on the ledger.

A log is a file of lines: each line, without its newline, is an entry of the tree of RFC 6962. A
last line that is not finished is none yet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.rfc6962 import leaf_hash

KEY_BYTES: Final = 32
RECEIPT_FORMAT: Final = "clawpurse.anchor/1"
RECEIPT_BYTES_MAX: Final = 16_384
# Lines that a log is read by; longer ones are no entries of a log that people keep.
LINE_BYTES_MAX: Final = 16 * 2**20
_READ_BYTES: Final = 2**20
_MEMBERS: Final = (
    "format", "chainId", "genesisHash", "account", "kind", "key", "commitment", "bytes", "txId",
    "height",
)  # fmt: skip


class Digest(NamedTuple):
    """What is committed to of a document: SHA-256 and size in bytes."""

    sha256: bytes
    size: int


class AnchorReceipt(NamedTuple):
    """The only thing that ties a document to its commitment. `tx_id` and `height` once final."""

    chain_id: str
    genesis_hash: bytes
    account: bytes
    kind: str
    key: bytes
    size: int
    commitment: bytes
    tx_id: str | None = None
    height: int | None = None

    def pack(self) -> bytes:
        """Return the file's bytes: JSON that people can read."""
        values = (
            RECEIPT_FORMAT, self.chain_id, _hex(self.genesis_hash), account_text(self.account),
            self.kind, _hex(self.key), _hex(self.commitment), self.size, self.tx_id, self.height,
        )  # fmt: skip
        return json.dumps(dict(zip(_MEMBERS, values, strict=True)), indent=2).encode() + b"\n"

    @classmethod
    def unpack(cls, data: bytes) -> AnchorReceipt:
        """Read a receipt's file. Raises `Malformed`."""
        try:
            found: Any = json.loads(data)
        except ValueError:
            raise Malformed("receipt", "is not JSON") from None
        if not isinstance(found, dict) or tuple(sorted(found)) != tuple(sorted(_MEMBERS)):
            raise Malformed("receipt", "has other members than a receipt of a document")
        if found["format"] != RECEIPT_FORMAT:
            raise Malformed("receipt.format", f"is not {RECEIPT_FORMAT}")
        tx_id, height = found["txId"], found["height"]
        if not isinstance(found["account"], str):
            raise Malformed("receipt.account", "is not a string")
        return cls(
            codec.ascii_text(found["chainId"], "receipt.chainId", 64),
            _digest(found["genesisHash"], "receipt.genesisHash"),
            account_from_text(found["account"]),
            plain_name(found["kind"], "receipt.kind"),
            _digest(found["key"], "receipt.key"),
            codec.integer(found["bytes"], "receipt.bytes"),
            _digest(found["commitment"], "receipt.commitment"),
            None if tx_id is None else codec.ascii_text(tx_id, "receipt.txId", 66),
            None if height is None else codec.integer(height, "receipt.height"),
        )

    def fits(self, digest: Digest) -> bool:
        """Tell whether it is the receipt of this document."""
        made = commitment_of(self.key, self.genesis_hash, self.account, self.kind, digest)
        return hmac.compare_digest(made, self.commitment)


def commitment_of(
    key: bytes, genesis_hash: bytes, account: bytes, kind: str, digest: Digest
) -> bytes:
    """Return the 32 bytes that are anchored; `key` is 32 random bytes. Raises `Malformed`."""
    codec.binary(key, "key", KEY_BYTES, KEY_BYTES)
    message = ["clawpurse.document", 1, genesis_hash, account, kind, digest.sha256, digest.size]
    return hmac.new(key, codec.pack(message), hashlib.sha256).digest()


def digest_of(path: Path) -> Digest:
    """Return hash and size of a file of any size. Raises `OSError`."""
    state, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(_READ_BYTES):
            state.update(piece)
            size += len(piece)
    return Digest(state.digest(), size)


class LogFile(NamedTuple):
    """The entries of a log's file: their leaf hashes, and whether a line is unfinished."""

    leaves: list[bytes]
    unfinished: bool


def read_log(path: Path) -> LogFile:
    """Return the entries of a log's file, 32 bytes each. Raises `OSError` or `Malformed`."""
    leaves: list[bytes] = []
    with open(path, "rb") as file:
        for line in _lines(file):
            if not line.endswith(b"\n"):
                return LogFile(leaves, True)
            leaves.append(leaf_hash(line[:-1]))
    return LogFile(leaves, False)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise Malformed("log", f"has a line of more than {LINE_BYTES_MAX} bytes")
        yield line


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _digest(value: object, field: str) -> bytes:
    text = codec.ascii_text(value, field, 66, 66)
    try:
        return bytes.fromhex(text[2:]) if text.startswith("0x") else bytes.fromhex("-")
    except ValueError:
        raise Malformed(field, "is not 0x and 64 hexadecimal digits") from None
