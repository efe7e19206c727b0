"""The journal: transactions that were called accepted, until it is known how they ended.

"Accepted" promises that a crash of this node does not lose the payment, so it is on the medium
before the word is given; many share one durable write. Two generations of files: when the
current one is full, a new one begins with whatever of the older still matters, and the older is
removed. Its size so follows what is pending, not what ever was.

File `GENERATION.journal`: head `CLAWJRNL` ‖ version u16 ‖ genesis hash 32 ‖ generation u64 ‖
salt 16 ‖ crc32 u32, then frames, one for each durable write: mark 8 ‖ length u32 ‖ crc32 u32 ‖
records; a record is tx id 32 ‖ length u32 ‖ signed transaction. The mark is the salt's first
half; the rest of the salt and the frame's place seed its crc, so no payment can be made that
looks like a frame of a file that its maker has not seen.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import trio

from clawpurse.ledger.errors import Bug, OperatorError, StorageFault
from clawpurse.ledger.transactions import TX_BYTES_MAX
from clawpurse.node.files import AppendFile, Files
from clawpurse.node.workers import Lane

MAGIC: Final = b"CLAWJRNL"
JOURNAL_VERSION: Final = 1
SUFFIX: Final = ".journal"
SALT_BYTES: Final = 16
_HEAD_BYTES: Final = len(MAGIC) + 2 + 32 + 8 + SALT_BYTES + 4
_MARK_BYTES: Final = 8
_FRAME_BYTES: Final = _MARK_BYTES + 8
_RECORD_BYTES: Final = 36
# About 25,000 payments: reading two such files back takes well under a second.
FILE_BYTES_MAX: Final = 8_000_000
# One durable write; more than waits for one are written in several.
FRAME_BYTES_MAX: Final = 1_000_000
_BODY_BYTES_MAX: Final = FRAME_BYTES_MAX + _RECORD_BYTES + TX_BYTES_MAX
log = logging.getLogger("clawpurse.journal")


class JournalRecord(NamedTuple):
    """An accepted transaction: the id of its body and its signed bytes."""

    tx_id: bytes
    raw: bytes


class _Generation:
    """One file: what in it is pending, its size, and how much of that was not carried over."""

    __slots__ = ("appended", "bytes", "pending", "salt")

    def __init__(self, salt: bytes, pending: dict[bytes, bytes], size: int) -> None:
        self.salt = salt
        self.pending = pending
        self.bytes = size
        self.appended = size


class Journal:
    """Accepted transactions on disk. `put` and `flush` belong to one owner, `settle` to another.

    What a start finds counts as pending until `settle` says otherwise. `random` gives bytes for
    salts.
    """

    def __init__(
        self,
        files: Files,
        lane: Lane,
        genesis_hash: bytes,
        random: Callable[[int], bytes],
        file_bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        self._files = files
        self._lane = lane
        self._genesis_hash = genesis_hash
        self._random = random
        self._file_bytes_max = file_bytes_max
        self._generations: dict[int, _Generation] = {}
        self._file: AppendFile | None = None
        self._turn = trio.Lock()
        self._waiting: list[JournalRecord] = []
        self._put_count = 0
        self._durable_count = 0
        self._failed = False

    # -- start and stop

    def open(self) -> list[JournalRecord]:
        """Read back what is there; returns it, oldest first. Blocking; at start-up only.

        Cuts off a torn tail with a warning: it was never acknowledged. Raises `OperatorError`
        when acknowledged bytes are damaged or belong to another network, or `StorageFault`.
        """
        numbers = self._numbers()
        found: dict[bytes, bytes] = {}
        for number in numbers:
            name, is_newest = _name(number), number == numbers[-1]
            data = self._files.read(name)
            salt = self._read_head(name, data, number, may_be_torn=is_newest)
            if salt is None:
                log.warning("unfinished journal removed", extra={"file": name})
                self._files.remove(name)
                continue
            records, good_bytes = self._read_frames(name, data, salt, may_be_torn=is_newest)
            pending = {tx_id: raw for tx_id, raw in records if tx_id not in found}
            found.update(pending)
            self._generations[number] = _Generation(salt, pending, good_bytes)
            if is_newest:
                if good_bytes < len(data):
                    log.warning(
                        "torn tail cut off",
                        extra={"file": name, "bytes": len(data) - good_bytes},
                    )
                self._file = self._files.open(name, good_bytes)
        if self._file is None:
            self._begin(1 + max(numbers, default=0))
        return [JournalRecord(*item) for item in found.items()]

    def _numbers(self) -> list[int]:
        stems = [n.removesuffix(SUFFIX) for n in self._files.names() if n.endswith(SUFFIX)]
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())

    def _read_head(self, name: str, data: bytes, number: int, may_be_torn: bool) -> bytes | None:
        """Return the salt; None when the file was being made as the node died."""
        body, crc = data[: _HEAD_BYTES - 4], data[_HEAD_BYTES - 4 : _HEAD_BYTES]
        if len(data) < _HEAD_BYTES or zlib.crc32(body) != int.from_bytes(crc, "big"):
            if may_be_torn and len(data) <= _HEAD_BYTES:
                return None
            raise self._damaged(name, 0)
        salt = body[-SALT_BYTES:]
        if body != self._head(number, salt)[:-4]:
            path = self._files.where(name)
            raise OperatorError(
                f"The journal {path} belongs to another network, or to another version.",
                "Payments accepted there must not be sent here.",
                f"mv {path} {path}.foreign",
            )
        return salt

    def _damaged(self, name: str, place: int) -> OperatorError:
        path = self._files.where(name)
        return OperatorError(
            f"The journal {path} is damaged at byte {place}, and goes on behind the damage.",
            "Payments that this node accepted may be lost; their senders can send them again.",
            f"mv {path} {path}.damaged",
        )

    def _read_frames(
        self, name: str, data: bytes, salt: bytes, may_be_torn: bool
    ) -> tuple[list[JournalRecord], int]:
        records: list[JournalRecord] = []
        place = _HEAD_BYTES
        while place < len(data):
            frame = _read_frame(data, place, salt)
            if frame is None:
                if not may_be_torn or _good_frame_after(data, place, salt):
                    raise self._damaged(name, place)
                break
            records.extend(frame[0])
            place = frame[1]
        return records, place

    async def close(self) -> None:
        """Make durable what waits and close; with nothing pending, leave no file behind."""
        if not self._failed:
            await self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None
        if not any(generation.pending for generation in self._generations.values()):
            names = [_name(number) for number in self._generations]
            self._generations.clear()
            await self._lane.run(lambda: self._remove(names))

    # -- the promise

    def __len__(self) -> int:
        """How many transactions are pending."""
        return sum(len(generation.pending) for generation in self._generations.values())

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(generation.bytes for generation in self._generations.values())

    def holds(self, tx_id: bytes) -> bool:
        """Tell whether a transaction is pending here (durable, or about to be by a `flush`)."""
        return any(tx_id in one.pending for one in self._generations.values())

    def put(self, tx_id: bytes, raw: bytes) -> None:
        """Take a transaction in; it is durable after the next `flush`. A second one is fine."""
        if self.holds(tx_id):
            return
        newest = next(reversed(self._generations.values()))
        newest.pending[tx_id] = raw
        self._waiting.append(JournalRecord(tx_id, raw))
        self._put_count += 1

    async def flush(self) -> None:
        """Return when all that was `put` before is on the medium; callers share the writes.

        A cancelled call leaves the rest to the next one. Raises `StorageFault`, which is fatal:
        nobody knows what the disk kept, so every later call raises it too.
        """
        target = self._put_count
        async with self._turn:
            if self._durable_count >= target:
                return
            if self._failed:
                raise StorageFault(
                    "The journal cannot be written.", "An earlier write failed.", "df -h"
                )
            records, self._waiting = self._waiting, []
            reached = self._put_count
            # Were it abandoned half way, the next call would not know what was written.
            with trio.CancelScope(shield=True):
                await self._write(records)
            self._durable_count = reached

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """`put` them all and `flush`."""
        for tx_id, raw in records:
            self.put(tx_id, raw)
        await self.flush()

    def settle(self, tx_ids: Iterable[bytes]) -> None:
        """Say that nothing needs to be remembered of these: final, replaced, or expired."""
        generations = list(self._generations.values())
        for tx_id in tx_ids:
            for generation in generations:
                if generation.pending.pop(tx_id, None) is not None:
                    break

    # -- writing

    async def _write(self, records: list[JournalRecord]) -> None:
        """Write records in one job, in a new generation if the current one is full."""
        number, newest = next(reversed(self._generations.items()))
        head = b""
        carried: list[JournalRecord] = []
        if newest.appended >= self._file_bytes_max:
            number += 1
            carried, newest = self._rotate(number, newest, records)
            head = self._head(number, newest.salt)
        kept = (number, number - 1) if head else self._generations
        stale = [
            old
            for old, generation in self._generations.items()
            if old not in kept or (old != number and not generation.pending)
        ]
        job = _Job(_name(number), head, newest.salt, newest.bytes, carried, records)
        names = [_name(old) for old in stale]
        file = self._file
        # Set before, not after: whatever interrupts this leaves the file in an unknown state.
        self._failed = True
        self._file, newest.bytes = await self._lane.run(lambda: self._perform(job, file, names))
        self._failed = False
        newest.appended += sum([len(raw) + _RECORD_BYTES for _, raw in records])
        for old in stale:
            del self._generations[old]

    def _rotate(
        self, number: int, full: _Generation, records: list[JournalRecord]
    ) -> tuple[list[JournalRecord], _Generation]:
        """Begin a generation with what is pending in all but the full one, which stays behind."""
        older = [one for one in self._generations.values() if one is not full]
        pending = {tx_id: raw for one in older for tx_id, raw in one.pending.items()}
        carried = [JournalRecord(*item) for item in pending.items()]
        for one in older:
            one.pending = {}
        for tx_id, raw in records:
            # What was settled meanwhile is not pending any more.
            if full.pending.pop(tx_id, None) is not None:
                pending[tx_id] = raw
        begun = _Generation(self._random(SALT_BYTES), pending, 0)
        self._generations[number] = begun
        return carried, begun

    def _begin(self, number: int) -> None:
        """Make the first file. Blocking; at start-up only."""
        salt = self._random(SALT_BYTES)
        self._generations[number] = _Generation(salt, {}, _HEAD_BYTES)
        self._file = self._files.create(_name(number), self._head(number, salt))

    def _head(self, number: int, salt: bytes) -> bytes:
        body = b"".join(
            (
                MAGIC,
                JOURNAL_VERSION.to_bytes(2, "big"),
                self._genesis_hash,
                number.to_bytes(8, "big"),
                salt,
            )
        )
        return body + zlib.crc32(body).to_bytes(4, "big")

    def _perform(
        self, job: _Job, file: AppendFile | None, stale: list[str]
    ) -> tuple[AppendFile, int]:
        """Do the writing; may run in a worker thread, so it only touches what it is given."""
        place = job.place
        if job.head:
            if file is not None:
                file.close()
            file = self._files.create(job.name, job.head)
            place = len(job.head)
        if file is None:
            raise Bug("the journal is written before it is open")
        for records in (job.carried, job.records):
            for body in _bodies(records):
                frame = _frame(body, place, job.salt)
                file.append(frame)
                place += len(frame)
        self._remove(stale)
        return file, place

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._files.remove(name)


class _Job(NamedTuple):
    """One durable step: records for `name` at byte `place`; with a `head` the file is new."""

    name: str
    head: bytes
    salt: bytes
    place: int
    carried: list[JournalRecord]
    records: list[JournalRecord]


def _name(number: int) -> str:
    return f"{number:012d}{SUFFIX}"


def _bodies(records: Sequence[JournalRecord]) -> Iterator[bytes]:
    """Yield packed records in pieces of about `FRAME_BYTES_MAX`."""
    parts: list[bytes] = []
    size = 0
    for tx_id, raw in records:
        parts += (tx_id, len(raw).to_bytes(4, "big"), raw)
        size += _RECORD_BYTES + len(raw)
        if size >= FRAME_BYTES_MAX:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _crc(body: bytes, place: int, salt: bytes) -> bytes:
    seed = zlib.crc32(salt[_MARK_BYTES:] + place.to_bytes(8, "big"))
    return zlib.crc32(body, seed).to_bytes(4, "big")


def _frame(body: bytes, place: int, salt: bytes) -> bytes:
    mark, length = salt[:_MARK_BYTES], len(body).to_bytes(4, "big")
    return b"".join((mark, length, _crc(body, place, salt), body))


def _read_frame(data: bytes, place: int, salt: bytes) -> tuple[list[JournalRecord], int] | None:
    """Return the records of the frame at `place` and where the next begins; None: not whole."""
    start = place + _FRAME_BYTES
    length = int.from_bytes(data[place + _MARK_BYTES : place + _MARK_BYTES + 4], "big")
    end = start + length
    if not data.startswith(salt[:_MARK_BYTES], place) or end > len(data):
        return None
    if not 0 < length <= _BODY_BYTES_MAX:
        return None
    body = data[start:end]
    if _crc(body, place, salt) != data[start - 4 : start]:
        return None
    records: list[JournalRecord] = []
    at = 0
    while at < length:
        size = int.from_bytes(body[at + 32 : at + _RECORD_BYTES], "big")
        raw = body[at + _RECORD_BYTES : at + _RECORD_BYTES + size]
        records.append(JournalRecord(body[at : at + 32], raw))
        at += _RECORD_BYTES + size
    return records, end


def _good_frame_after(data: bytes, place: int, salt: bytes) -> bool:
    """Tell whether a whole frame stands behind a bad one: then acknowledged bytes are damaged.

    A frame is written only when the one before it is durable, so a torn one is the last.
    """
    mark = salt[:_MARK_BYTES]
    found = data.find(mark, place + 1)
    while found >= 0:
        if _read_frame(data, found, salt) is not None:
            return True
        found = data.find(mark, found + 1)
    return False
