"""The log of overrides and changes: append-only, each line bound to the one before and signed.

A line is one JSON object: `number`, `atMs`, `what`, `by`, `subject`, `refusals`, `previous` (the
hash of the line before), `hash`, and the key's `signature` of that hash. A head file with the
count and hash of the newest line, signed too, tells a log that was cut at its end. Whoever edits,
reorders, removes or adds a line without the key is named by `check`, with the line's number.

A crash between the line and the head leaves one signed line more than the head says: that is
taken as written. A crash within a line leaves its torn rest, which the next append removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.wallet.durable import FILE_MODE, read_private, replace_private
from clawpurse.wallet.guardrail_json import canonical, label_text, members, octets, parsed
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]
# Some fifty thousand overrides; who needs more of them should change the limits.
LOG_BYTES_MAX: Final = 64 * 2**20
_HEAD_BYTES_MAX: Final = 4_096
_TAG: Final = b"clawpurse/guardl".ljust(16, b"\0")
_HEAD_TAG: Final = b"clawpurse/guardh".ljust(16, b"\0")
_START: Final = bytes(crypto.HASH_BYTES)
_LINE: Final = (
    "number",
    "atMs",
    "what",
    "by",
    "subject",
    "refusals",
    "previous",
    "hash",
    "signature",
)
_HEAD: Final = ("count", "hash", "revision", "policy", "step", "code", "signature")


class Head(NamedTuple):
    """What the newest line left: its number and hash, and what stands by then.

    `revision` and `policy` (a hash) are those of the newest policy, `step` the last time step
    whose code counted, `code` whether codes are asked for.
    """

    size: int = 0
    hash: bytes = _START
    revision: int = 0
    policy: bytes = _START
    step: int = 0
    code: bool = False


class Line(NamedTuple):
    """One line of the log, as it was written. `by` names the factor and whose it is."""

    number: int
    at_ms: int
    what: str
    by: Json
    subject: Json
    refusals: list[Json]
    hash: bytes

    def data(self) -> Json:
        """Return it for JSON."""
        return {**self._asdict(), "hash": f"0x{self.hash.hex()}"}


class GuardrailLog:
    """The log of one key. `append` is called under the lock of its guardrails."""

    def __init__(self, file: Path, head_file: Path, public_key: bytes) -> None:
        self.file = file
        self.head_file = head_file
        self._key = public_key

    def head(self) -> Head:
        """Return the head. Raises `StorageFault` when it is damaged or gone without its log."""
        try:
            data = read_private(self.head_file, _HEAD_BYTES_MAX)
        except FileNotFoundError:
            if self.file.exists():
                raise self._fault(f"{self.head_file.name} is missing") from None
            return Head()
        try:
            return self._read_head(data)
        except Malformed as err:
            raise self._fault(f"{self.head_file.name}: {err.field} {err.problem}") from err

    def lines(self) -> Iterator[Line]:
        """Give every line, checked; raises `StorageFault` at the first that is not as written."""
        head = self.head()
        count, previous = 0, _START
        for raw in self._raw():
            try:
                line = self._read_line(raw, count + 1, previous)
            except Malformed as err:
                raise self._fault(
                    f"line {count + 1} was changed ({err.field} {err.problem})"
                ) from err
            count, previous = line.number, line.hash
            if count == head.size and previous != head.hash:
                raise self._fault(f"line {count} is not the one that was written")
            yield line
        if count < head.size:
            raise self._fault(f"lines {count + 1} to {head.size} were cut off")
        if count > head.size + 1:
            raise self._fault(f"lines after {head.size + 1} were added")

    def append(
        self,
        signer: SigningKey,
        at_ms: int,
        what: str,
        by: Json,
        subject: Json,
        refusals: list[Json],
    ) -> Head:
        """Write a line and the head that it leaves, durably. Raises `StorageFault`.

        The caller's new head (policy, step, code) is written by `put_head`.
        """
        lines, head = list(self.lines()), self.head()
        if not self.head_file.exists():
            # Before the first line: without a head no line is believed.
            self.put_head(signer, head)
        previous = lines[-1].hash if lines else _START
        values = (len(lines) + 1, at_ms, what, by, subject, refusals, f"0x{previous.hex()}")
        document = dict(zip(_LINE, values, strict=False))
        digest = crypto.message_hash_of(_TAG + self._key + canonical(document))
        document["hash"] = f"0x{digest.hex()}"
        document["signature"] = f"0x{signer.sign(_TAG + digest).hex()}"
        self._write(canonical(document) + b"\n")
        return head._replace(size=len(lines) + 1, hash=digest)

    def put_head(self, signer: SigningKey, head: Head) -> None:
        """Sign and save the head, durably."""
        document = _head_json(head)
        signature = signer.sign(_HEAD_TAG + self._key + canonical(document))
        document["signature"] = f"0x{signature.hex()}"
        replace_private(self.head_file, canonical(document) + b"\n")

    def _raw(self) -> Iterator[bytes]:
        try:
            data = read_private(self.file, LOG_BYTES_MAX)
        except FileNotFoundError:
            return
        # What follows the last line end is a line that was never finished.
        yield from data.split(b"\n")[:-1]

    def _write(self, data: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.file, flags, FILE_MODE)
            try:
                whole = sum(len(raw) + 1 for raw in self._raw())
                if whole + len(data) > LOG_BYTES_MAX:
                    raise self._fault("it is full")
                os.ftruncate(descriptor, whole)
                os.lseek(descriptor, whole, os.SEEK_SET)
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as err:
            why = err.strerror or type(err).__name__
            raise StorageFault(
                f"Could not write {self.file}:", f"{why}. Nothing was sent."
            ) from err

    def _read_line(self, raw: bytes, number: int, previous: bytes) -> Line:
        top = members(parsed(raw, "line"), "line", _LINE)
        digest = octets(top.pop("hash"), "hash", crypto.HASH_BYTES)
        signature = octets(top.pop("signature"), "signature", 64)
        if crypto.message_hash_of(_TAG + self._key + canonical(top)) != digest:
            raise Malformed("hash", "does not fit")
        if not crypto.verify(self._key, _TAG + digest, signature):
            raise Malformed("signature", "is not this key's")
        if top["number"] != number or top["previous"] != f"0x{previous.hex()}":
            raise Malformed("previous", "is not the line before")
        return Line(
            number,
            codec.integer(top["atMs"], "atMs"),
            label_text(top["what"], "what"),
            top["by"],
            top["subject"],
            top["refusals"],
            digest,
        )

    def _read_head(self, data: bytes) -> Head:
        top = members(parsed(data, "head"), "head", _HEAD)
        signature = octets(top.pop("signature"), "signature", 64)
        if not crypto.verify(self._key, _HEAD_TAG + self._key + canonical(top), signature):
            raise Malformed("signature", "is not this key's")
        return Head(
            codec.integer(top["count"], "count"),
            octets(top["hash"], "hash", crypto.HASH_BYTES),
            codec.integer(top["revision"], "revision"),
            octets(top["policy"], "policy", crypto.HASH_BYTES),
            codec.integer(top["step"], "step"),
            top["code"] is True,
        )

    def _fault(self, what: str) -> StorageFault:
        return StorageFault(
            f"The log of guardrails {self.file} was tampered with or damaged: {what}.",
            "Nothing was changed.",
            "restore the folder from a backup, or move it away",
        )


def _head_json(head: Head) -> Json:
    values = (
        head.size,
        f"0x{head.hash.hex()}",
        head.revision,
        f"0x{head.policy.hex()}",
        head.step,
        head.code,
    )
    return dict(zip(_HEAD, values, strict=False))
