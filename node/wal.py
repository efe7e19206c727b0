"""The write-ahead log: one file per height with everything that the machine was told (R22).

File `HEIGHT.wal`: a first record {format, chain id, genesis hash, height}, then records; each is
length u32 ‖ crc32 u32 ‖ kind u8 ‖ payload. A torn tail is cut off with a warning: it was never
acknowledged. A bad record before good ones means that acknowledged bytes were lost, so the node
refuses to start; it may have signed what it no longer remembers.
"""

from __future__ import annotations

import logging
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.files import AppendFile, Files
from clawpurse.node.workers import Lane

WAL_VERSION: Final = 1
_FRAME_BYTES: Final = 8
# A block body is the largest record; anything longer is damage.
RECORD_BYTES_MAX: Final = 17_000_000
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

    def __init__(self, files: Files, lane: Lane, chain_id: str, genesis_hash: bytes) -> None:
        self._files = files
        self._lane = lane
        self._identity = (chain_id, genesis_hash)
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
        records, good_bytes = self._parse(data, height)
        if good_bytes < len(data):
            log.warning(
                "torn tail cut off",
                extra={"height": height, "bytes": len(data) - good_bytes},
            )
        if good_bytes == 0:
            self.create(height)
            return
        self.recovered = tuple(records[1:])
        self._file = self._files.open(_name(height), good_bytes)
        self.height = height

    def read(self, height: int) -> tuple[WalRecord, ...]:
        """Return the records of a height's log without opening it; empty when it is not kept."""
        if _name(height) not in self._files.names():
            return ()
        records, _ = self._parse(self._files.read(_name(height)), height)
        return tuple(records[1:])

    def _parse(self, data: bytes, height: int) -> tuple[list[WalRecord], int]:
        records: list[WalRecord] = []
        place = 0
        while place < len(data):
            record = _read_record(data, place)
            if record is None:
                if _good_record_after(data, place):
                    raise OperatorError(
                        f"The consensus log of height {height} is damaged at byte {place}.",
                        "Records after the damage are intact, so acknowledged bytes were lost.",
                        "clawpurse db check",
                    )
                break
            records.append(record[0])
            place = record[1]
        if records:
            self._check_head(records[0], height)
        return records, place

    def _check_head(self, head: WalRecord, height: int) -> None:
        expected = codec.pack([WAL_VERSION, *self._identity, height])
        if head.kind is not WalKind.HEAD or head.payload != expected:
            raise OperatorError(
                f"The consensus log of height {height} belongs to another network or height.",
                "Signing after it could contradict what was signed before.",
                "clawpurse doctor",
            )

    def create(self, height: int) -> None:
        """Begin the log of `height`, durable before returning. Blocking."""
        if self._file is not None:
            self._file.close()
        head = WalRecord(WalKind.HEAD, codec.pack([WAL_VERSION, *self._identity, height]))
        self._file = self._files.create(_name(height), _frame(head))
        self.height = height
        self.recovered = ()
        for old in self._heights()[:-FILES_KEPT]:
            self._files.remove(_name(old))

    async def append(self, payloads: list[bytes]) -> None:
        """Append records in one durable step. Raises `StorageFault`, which is fatal."""
        file = self._file
        if file is None or not payloads:
            return
        data = b"".join([_frame(WalRecord(WalKind.RECORD, payload)) for payload in payloads])
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


def _frame(record: WalRecord) -> bytes:
    payload = bytes((record.kind,)) + record.payload
    crc = zlib.crc32(payload)
    return len(payload).to_bytes(4, "big") + crc.to_bytes(4, "big") + payload


def _read_record(data: bytes, place: int) -> tuple[WalRecord, int] | None:
    """Return the record at `place` and where the next begins, or None if it is not whole."""
    if place + _FRAME_BYTES > len(data):
        return None
    length = int.from_bytes(data[place : place + 4], "big")
    crc = int.from_bytes(data[place + 4 : place + 8], "big")
    end = place + _FRAME_BYTES + length
    if not 1 <= length <= RECORD_BYTES_MAX or end > len(data):
        return None
    payload = data[place + _FRAME_BYTES : end]
    if zlib.crc32(payload) != crc or payload[0] not in (WalKind.HEAD, WalKind.RECORD):
        return None
    return WalRecord(WalKind(payload[0]), payload[1:]), end


def _good_record_after(data: bytes, place: int) -> bool:
    """Tell whether a whole record stands anywhere after a bad one.

    A record that is bad but whose length leads to a good one was damaged after it was written;
    a torn append leaves nothing readable behind it.
    """
    if place + _FRAME_BYTES > len(data):
        return False
    length = int.from_bytes(data[place : place + 4], "big")
    after = place + _FRAME_BYTES + length
    if 1 <= length <= RECORD_BYTES_MAX and after < len(data):
        return True
    # The length itself may be what was damaged: look for the next whole record.
    search_end = len(data) - _FRAME_BYTES
    return any(
        _read_record(data, start) is not None
        for start in range(place + 1, min(search_end, place + 65_536))
    )
