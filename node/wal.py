"""The write-ahead log: one file per height with everything that the machine was told (R22).

File `HEIGHT.wal`: a first record {format, chain id, genesis hash, height, salt}, then records;
each is length u32 ‖ crc32(length) u32 ‖ crc32(kind ‖ payload) u32 ‖ kind u8 ‖ payload. A torn
tail is cut off with a warning: it was never acknowledged. A bad record before good ones means
that acknowledged bytes were lost, so the node refuses to start; it may have signed what it no
longer remembers.

The length has a check of its own, so that a damaged length is told from a torn record. The
checks of all records but the first start from the file's secret salt: bodies hold what others
wrote, and nobody outside can make bytes in them pass for records.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.node.files import AppendFile, Files
from clawpurse.node.workers import Lane

WAL_VERSION: Final = 1
FRAME_BYTES: Final = 12
SALT_BYTES: Final = 4
# A block body is the largest record; anything longer is damage.
RECORD_BYTES_MAX: Final = 17_000_000
HEAD_BYTES_MAX: Final = 256
# The last height's file is kept beside the current one: whoever voted for a body serves it
# until the next height is decided, restarts included.
FILES_KEPT: Final = 2
log = logging.getLogger("clawpurse.wal")


class WalKind(IntEnum):
    """What a record holds."""

    HEAD = 1
    RECORD = 2


class WalRecord(NamedTuple):
    """One record: `payload` is what `consensus.wal_records` encodes."""

    kind: WalKind
    payload: bytes


class Wal:
    """The log of the height that is being decided. One owner: the engine.

    `recovered` are the records found at start-up, oldest first, the head left out.
    """

    def __init__(
        self,
        files: Files,
        lane: Lane,
        chain_id: str,
        genesis_hash: bytes,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._files = files
        self._lane = lane
        self._identity = (chain_id, genesis_hash)
        self._random = random_bytes
        self._salt = 0
        self._file: AppendFile | None = None
        self.height = 0
        self.recovered: tuple[WalRecord, ...] = ()

    def newest_height(self) -> int | None:
        """Return the height of the newest log, or None when there is none."""
        heights = self._heights()
        return heights[-1] if heights else None

    def _heights(self) -> list[int]:
        names = (name for name in self._files.names() if name.endswith(".wal"))
        return sorted(int(name[:-4]) for name in names if name[:-4].isdecimal())

    def open(self, height: int) -> None:
        """Open the log of `height` and read it back. Blocking; used at start-up only.

        Raises `OperatorError` when information may have been lost.
        """
        data = self._files.read(_name(height))
        records, good_bytes, salt = self._parse(data, height)
        if good_bytes < len(data):
            log.warning(
                "torn tail cut off",
                extra={"height": height, "bytes": len(data) - good_bytes},
            )
        if not records:
            self.create(height)
            return
        self.recovered = tuple(records[1:])
        self._salt = salt
        self._file = self._files.open(_name(height), good_bytes)
        self.height = height

    def read(self, height: int) -> tuple[WalRecord, ...]:
        """Return the records of a height's log without opening it; empty when it is not kept."""
        if _name(height) not in self._files.names():
            return ()
        records, _, _ = self._parse(self._files.read(_name(height)), height)
        return tuple(records[1:])

    def _parse(self, data: bytes, height: int) -> tuple[list[WalRecord], int, int]:
        """Return the records, how many bytes they take, and the salt."""
        records: list[WalRecord] = []
        place = salt = 0
        head_bytes = len(self._head(height, bytes(SALT_BYTES)))
        while place < len(data):
            found = _read_record(data, place, salt)
            if isinstance(found, _Bad):
                # Without its head a file says nothing: the salt is lost with it.
                if found.lost_more or (not records and len(data) > head_bytes):
                    raise self._damaged(height, place)
                break
            record, place = found
            if not records:
                salt = self._check_head(record, height)
            records.append(record)
        return records, place, salt

    def _damaged(self, height: int, place: int) -> OperatorError:
        return OperatorError(
            f"The consensus log of height {height} is damaged at byte {place}.",
            "Records after the damage are intact, so acknowledged bytes were lost.",
            "clawpurse db check",
        )

    def _head(self, height: int, salt: bytes) -> bytes:
        payload = codec.pack([WAL_VERSION, *self._identity, height, salt])
        return _frame(WalRecord(WalKind.HEAD, payload), 0)

    def _check_head(self, head: WalRecord, height: int) -> int:
        """Return the salt of a log of ours."""
        expected = [WAL_VERSION, *self._identity, height]
        try:
            wire = codec.unpack(head.payload, size_max=HEAD_BYTES_MAX, field="head")
            salt = codec.binary(wire[-1], "head.salt", SALT_BYTES, SALT_BYTES)
        except (Malformed, IndexError):
            wire, salt = [], b""
        if head.kind is not WalKind.HEAD or wire[:-1] != expected:
            raise OperatorError(
                f"The consensus log of height {height} belongs to another network or height.",
                "Signing after it could contradict what was signed before.",
                "clawpurse doctor",
            )
        return int.from_bytes(salt, "big")

    def create(self, height: int) -> None:
        """Begin the log of `height`, durable before returning. Blocking."""
        if self._file is not None:
            self._file.close()
        salt = self._random(SALT_BYTES)
        self._file = self._files.create(_name(height), self._head(height, salt))
        self._salt = int.from_bytes(salt, "big")
        self.height = height
        self.recovered = ()
        for old in self._heights():
            # One that is higher contradicts the chain that is being continued.
            if old <= height - FILES_KEPT or old > height:
                self._files.remove(_name(old))

    async def append(self, payloads: list[bytes]) -> None:
        """Append records in one durable step. Raises `StorageFault`, which is fatal."""
        file = self._file
        if file is None or not payloads:
            return
        salt = self._salt
        data = b"".join([_frame(WalRecord(WalKind.RECORD, payload), salt) for payload in payloads])
        await self._lane.run(lambda: file.append(data))

    async def roll(self, height: int) -> None:
        """Begin the log of the next height; older ones but the last are removed."""
        await self._lane.run(lambda: self.create(height))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _name(height: int) -> str:
    return f"{height:020d}.wal"


def _frame(record: WalRecord, salt: int) -> bytes:
    body = bytes((record.kind,)) + record.payload
    length = len(body).to_bytes(4, "big")
    checks = zlib.crc32(length, salt).to_bytes(4, "big") + zlib.crc32(body, salt).to_bytes(4, "big")
    return length + checks + body


class _Bad(NamedTuple):
    """A record that is not whole. `lost_more`: good bytes stand behind it."""

    lost_more: bool


def _read_record(data: bytes, place: int, salt: int) -> tuple[WalRecord, int] | _Bad:
    """Return the record at `place` and where the next begins."""
    length = _read_length(data, place, salt)
    if length is None:
        return _Bad(_good_record_after(data, place, salt))
    end = place + FRAME_BYTES + length
    if end > len(data):
        return _Bad(False)
    body = data[place + FRAME_BYTES : end]
    is_whole = zlib.crc32(body, salt) == int.from_bytes(data[place + 8 : place + 12], "big")
    if not is_whole or body[0] not in (WalKind.HEAD, WalKind.RECORD):
        # A record that was written to its end, and behind which another was begun, was whole.
        return _Bad(end < len(data))
    return WalRecord(WalKind(body[0]), body[1:]), end


def _read_length(data: bytes, place: int, salt: int) -> int | None:
    if place + FRAME_BYTES > len(data):
        return None
    field = data[place : place + 4]
    length = int.from_bytes(field, "big")
    if zlib.crc32(field, salt) != int.from_bytes(data[place + 4 : place + 8], "big"):
        return None
    return length if 1 <= length <= RECORD_BYTES_MAX else None


def _good_record_after(data: bytes, place: int, salt: int) -> bool:
    """Tell whether a whole record stands anywhere behind a damaged length."""
    for start in range(place + 1, len(data) - FRAME_BYTES):
        length = _read_length(data, start, salt)
        if length is not None and start + FRAME_BYTES + length <= len(data):
            body = data[start + FRAME_BYTES : start + FRAME_BYTES + length]
            if zlib.crc32(body, salt) == int.from_bytes(data[start + 8 : start + 12], "big"):
                return True
    return False
