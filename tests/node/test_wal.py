"""The consensus log: what a crash, a bad disk or a mixed-up folder may do to it.

If it failed silently, an authority could forget what it locked or signed, and contradict itself.
"""

from __future__ import annotations

import logging
import random
import zlib
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import OperatorError, StorageFault
from clawpurse.node import wal as wal_file
from clawpurse.node.files import DiskFiles, Files, MemoryFiles
from clawpurse.node.wal import FRAME_BYTES, Wal, WalKind
from clawpurse.node.workers import InlineLane, ThreadLane

GENESIS = b"\x11" * 32
HEIGHT = 7
NAME = f"{HEIGHT:020d}.wal"
RECORDS = [b"start", b"", b"\x00" * 40, b"vote" * 30, b"body" * 400, b"signed"]


def opened(files: Files, *, seed: int = 1, chain: str = "acme", genesis: bytes = GENESIS) -> Wal:
    return Wal(files, InlineLane(), chain, genesis, random.Random(seed).randbytes)


def written(records: list[bytes] = RECORDS, files: Files | None = None) -> MemoryFiles:
    """A log with these records, each appended by itself."""
    kept = files or MemoryFiles()

    async def main() -> None:
        wal = opened(kept)
        wal.create(HEIGHT)
        for record in records:
            await wal.append([record])
        wal.close()

    trio.run(main)
    assert isinstance(kept, MemoryFiles)
    return kept


def read_back(data: bytes) -> list[bytes]:
    files = MemoryFiles()
    files.contents[NAME] = data
    wal = opened(files, seed=2)
    wal.open(HEIGHT)
    return [record.payload for record in wal.recovered]


WHOLE = written().contents[NAME]
#: Where each record begins, head first, and where the file ends.
PLACES = [0]
while PLACES[-1] < len(WHOLE):
    PLACES.append(PLACES[-1] + FRAME_BYTES + int.from_bytes(WHOLE[PLACES[-1] :][:4], "big"))


def test_what_was_appended_is_read_back() -> None:
    assert read_back(WHOLE) == RECORDS
    assert len(PLACES) == len(RECORDS) + 2


def test_a_tail_torn_at_any_byte_costs_only_the_record_that_was_never_acknowledged() -> None:
    """A crash may come in the middle of any write."""
    for size in range(len(WHOLE)):
        whole = sum(end <= size for end in PLACES[2:])
        assert read_back(WHOLE[:size]) == RECORDS[:whole], size


def test_a_torn_tail_is_cut_off_and_appended_to(caplog: pytest.LogCaptureFixture) -> None:
    """What follows must stand where it can be read, not behind rubbish."""
    files = MemoryFiles()
    files.contents[NAME] = WHOLE[:-3]
    wal = opened(files)
    with caplog.at_level(logging.WARNING, "clawpurse.wal"):
        wal.open(HEIGHT)
    assert "torn tail" in caplog.text
    trio.run(wal.append, [b"after"])
    assert read_back(files.contents[NAME]) == [*RECORDS[:-1], b"after"]


@pytest.mark.parametrize("zeros", [1, 12, 40, 5_000])
def test_a_file_grown_without_its_bytes_is_torn(zeros: int) -> None:
    """After a power cut a file may have its new length and nothing in it."""
    assert read_back(WHOLE + bytes(zeros)) == RECORDS


def flipped(place: int, bit: int) -> bytes:
    changed = bytearray(WHOLE)
    changed[place] ^= 1 << bit
    return bytes(changed)


@given(st.integers(0, PLACES[-2] - 1), st.integers(0, 7))
def test_a_flipped_bit_before_good_records_is_refused(place: int, bit: int) -> None:
    """Acknowledged bytes were lost: a node that went on might sign against its own lock."""
    with pytest.raises(OperatorError, match=r"damaged|another network"):
        read_back(flipped(place, bit))


def test_every_bit_of_every_length_is_watched() -> None:
    """A damaged length hides all that follows, which looks like a torn tail."""
    for start in PLACES[:-2]:
        for bit in range(32):
            with pytest.raises(OperatorError):
                read_back(flipped(start + bit // 8, bit % 8))


@given(st.integers(PLACES[-2], len(WHOLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_in_the_last_record_costs_that_record(place: int, bit: int) -> None:
    """It cannot be told from a torn write; signer and peers still know what was signed."""
    assert read_back(flipped(place, bit)) == RECORDS[:-1]


def test_a_long_body_behind_a_damaged_length_is_found() -> None:
    """A body of a megabyte between the damage and the next record must not hide it."""
    files = written([b"x", bytes(1_000_000), b"signed"])
    data = bytearray(files.contents[NAME])
    data[PLACES[1] + FRAME_BYTES + 2] ^= 1
    with pytest.raises(OperatorError):
        read_back(bytes(data))


def test_bytes_of_others_inside_a_torn_body_are_not_taken_for_records() -> None:
    """A payment could carry the bytes of a record; a crash at the wrong moment would then keep
    the node from starting."""
    body = b"\x02evil"
    length = len(body).to_bytes(4, "big")
    forged = length + zlib.crc32(length).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big")
    files = written([b"first", (forged + body) * 20])
    data = files.contents[NAME]
    for cut in range(1, 200):
        assert read_back(data[:-cut]) == [b"first"]
    # Also where the tear has damaged the record's own head.
    start = len(data) - FRAME_BYTES - 1 - 20 * len(forged + body)
    torn = data[:start] + bytes(8) + data[start + 8 :]
    assert read_back(torn) == [b"first"]


def test_salts_differ_between_files() -> None:
    files = MemoryFiles()
    wal = opened(files)
    wal.create(1)
    first = files.contents["00000000000000000001.wal"]
    wal.create(1)
    assert files.contents["00000000000000000001.wal"] != first


@pytest.mark.parametrize(
    "other",
    [
        {"chain": "other"},
        {"genesis": b"\x22" * 32},
    ],
)
def test_a_log_of_another_network_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(OperatorError, match="another network or height"):
        opened(written(), **other).open(HEIGHT)  # type: ignore[arg-type]


def test_a_log_of_another_height_is_refused() -> None:
    files = written()
    files.contents[f"{8:020d}.wal"] = files.contents[NAME]
    with pytest.raises(OperatorError, match="another network or height"):
        opened(files).open(8)


def test_a_damaged_head_with_records_behind_it_is_refused() -> None:
    with pytest.raises(OperatorError):
        read_back(flipped(20, 0))
    # Alone it holds nothing that could be lost: the log begins anew.
    assert read_back(flipped(20, 0)[: PLACES[1]]) == []


def test_the_newest_height_is_found_among_other_files() -> None:
    files = written()
    files.contents["notes.txt"] = b""
    files.contents["x.wal"] = b""
    wal = opened(files)
    assert wal.newest_height() == HEIGHT
    assert opened(MemoryFiles()).newest_height() is None


def test_two_heights_are_kept_and_older_ones_removed() -> None:
    """Whoever voted for a body serves it until the next height is decided, restarts included."""

    async def main() -> None:
        files = MemoryFiles()
        wal = opened(files)
        wal.create(1)
        for height in range(2, 6):
            await wal.append([b"record of %d" % (height - 1)])
            await wal.roll(height)
        assert files.names() == [f"{height:020d}.wal" for height in (4, 5)]
        again = opened(files)
        assert [r.payload for r in again.read(4)] == [b"record of 4"]
        assert again.read(3) == ()
        again.open(5)
        assert again.recovered == ()

    trio.run(main)


def test_a_log_begun_below_others_removes_them() -> None:
    """After an operator's restart from an older chain the higher logs contradict it for ever."""
    files = written()
    wal = opened(files)
    wal.create(3)
    assert files.names() == [f"{3:020d}.wal"]


def test_records_of_several_inputs_go_in_one_durable_step() -> None:
    files = MemoryFiles()
    steps: list[int] = []

    class Counting(InlineLane):
        async def run(self, job):  # type: ignore[no-untyped-def]
            steps.append(1)
            return await super().run(job)

    async def main() -> None:
        wal = Wal(files, Counting(), "acme", GENESIS, random.Random(1).randbytes)
        wal.create(HEIGHT)
        await wal.append([b"a", b"b", b"c"])
        await wal.append([])

    trio.run(main)
    assert len(steps) == 1
    assert read_back(files.contents[NAME]) == [b"a", b"b", b"c"]


def test_a_disk_that_fails_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on after a failed write would be signing without memory."""

    async def main() -> None:
        wal = Wal(DiskFiles(tmp_path), ThreadLane(), "acme", GENESIS, random.Random(1).randbytes)
        wal.create(1)
        await wal.append([b"kept"])

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("clawpurse.node.files.os.write", full)
            with pytest.raises(StorageFault, match="disk is full"):
                await wal.append([b"lost"])
        wal.close()
        wal.close()
        again = Wal(DiskFiles(tmp_path), ThreadLane(), "acme", GENESIS, random.Random(1).randbytes)
        again.open(1)
        assert [record.payload for record in again.recovered] == [b"kept"]
        again.close()

    trio.run(main)


def test_kinds_of_records_are_part_of_the_format() -> None:
    assert {kind.name: int(kind) for kind in WalKind} == {"HEAD": 1, "RECORD": 2}
    assert wal_file.WAL_VERSION == 1
