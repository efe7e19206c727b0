"""If these failed, a payment that a wallet was told is accepted could vanish in a crash."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger.errors import OperatorError, StorageFault
from clawpurse.node.files import AppendFile, DiskFiles, MemoryFiles
from clawpurse.node.journal import _HEAD_BYTES, Journal, JournalRecord
from clawpurse.node.workers import InlineLane, ThreadLane

GENESIS = b"g" * 32
NAME = "000000000001.journal"


def salts() -> Callable[[int], bytes]:
    """Salts that differ, without randomness."""
    numbers: Iterator[int] = iter(range(1, 10_000))
    return lambda size: next(numbers).to_bytes(size, "big")[::-1]


def open_on(
    files: MemoryFiles, genesis: bytes = GENESIS, file_bytes_max: int = 10**6
) -> tuple[Journal, list[JournalRecord]]:
    journal = Journal(files, InlineLane(), genesis, salts(), file_bytes_max)
    return journal, journal.open()


def record(number: int, size: int = 30) -> JournalRecord:
    return JournalRecord(number.to_bytes(32, "big"), bytes([number % 251]) * size)


def run(main: Callable[[], object]) -> None:
    async def wrapped() -> None:
        await main()  # type: ignore[misc]

    trio.run(wrapped, clock=MockClock(autojump_threshold=0))


def written(*batches: list[JournalRecord]) -> MemoryFiles:
    """Files of a journal that was given these batches and then died."""
    files = MemoryFiles()

    async def main() -> None:
        journal, _ = open_on(files)
        for batch in batches:
            await journal.append(batch)

    run(main)
    return files


def test_what_was_accepted_is_there_again_after_a_crash() -> None:
    """An accepted payment would be lost."""
    batches = [[record(1), record(2, 0)], [record(3, 60_000)], [record(4)]]
    files = written(*batches)
    _, found = open_on(files)
    assert found == [one for batch in batches for one in batch]
    journal, _ = open_on(files)
    assert len(journal) == 4
    assert journal.holds(record(3).tx_id)
    assert not journal.holds(record(5).tx_id)


def test_torn_at_every_byte_keeps_every_finished_write() -> None:
    """A power cut during one write would take payments with it that were accepted before."""
    batches = [[record(1), record(2)], [record(3)], [record(4), record(5, 9)]]
    ends = [len(written(*batches[:count]).contents[NAME]) for count in range(4)]
    whole = written(*batches).contents[NAME]
    for cut in range(len(whole) + 1):
        files = MemoryFiles()
        files.contents[NAME] = whole[:cut]
        journal, found = open_on(files)
        kept = max((count for count in range(4) if ends[count] <= cut), default=0)
        assert found == [one for batch in batches[:kept] for one in batch]

        # Not only read: what is written next is found again too.
        run(lambda journal=journal: journal.append([record(9)]))  # type: ignore[misc]
        _, again = open_on(files)
        assert again == [*found, record(9)]


def test_a_torn_tail_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """An operator would not learn why a payment that was never acknowledged is not there."""
    files = written([record(1)], [record(2)])
    files.contents[NAME] = files.contents[NAME][:-1]
    with caplog.at_level(logging.WARNING):
        open_on(files)
    assert "torn tail" in caplog.text


@pytest.mark.parametrize("where", ["mark", "length", "crc", "body"])
def test_damage_before_good_records_stops_the_node_with_the_next_command(where: str) -> None:
    """A disk that lost accepted payments would go unnoticed."""
    files = written([record(1)], [record(2)], [record(3)])
    place = _HEAD_BYTES + {"mark": 0, "length": 11, "crc": 12, "body": 20}[where]
    data = bytearray(files.contents[NAME])
    data[place] ^= 0x10
    files.contents[NAME] = bytes(data)
    with pytest.raises(OperatorError) as caught:
        open_on(files)
    assert caught.value.next_command == f"mv memory/{NAME} memory/{NAME}.damaged"
    # Done as told, the node starts.
    files.contents[NAME + ".damaged"] = files.contents.pop(NAME)
    _, found = open_on(files)
    assert found == []


def test_a_payment_cannot_look_like_a_record() -> None:
    """Anybody could make a torn tail look like damage, and keep a node from starting."""
    files = written([record(1)], [record(2)])
    whole = files.contents[NAME]
    second = whole[len(written([record(1)]).contents[NAME]) :]
    # A frame of another place in the same file, in a torn third write.
    torn = files.contents[NAME] + second[:4] + b"torn" + second + second
    files.contents[NAME] = torn
    _, found = open_on(files)
    assert found == [record(1), record(2)]


def test_another_networks_journal_is_refused() -> None:
    """Payments of one network would be sent into another."""
    files = written([record(1)])
    with pytest.raises(OperatorError, match="another network"):
        open_on(files, b"h" * 32)


def test_what_ended_is_not_written_on_and_on() -> None:
    """The journal would grow until the disk is full."""
    files = MemoryFiles()

    async def main() -> None:
        journal, _ = open_on(files, file_bytes_max=2_000)
        alive: list[JournalRecord] = []
        largest = 0
        for number in range(3_000):
            alive.append(record(number))
            await journal.append([alive[-1]])
            if len(alive) > 20:
                # One in fifty stays for good; the rest ends after a while.
                gone = alive.pop(0 if number % 50 else 10)
                if number % 50:
                    journal.settle([gone.tx_id])
            size = sum(len(data) for data in files.contents.values())
            assert size == journal.size_bytes
            largest = max(largest, size)
        assert len(files.contents) <= 2
        # Two files, and what is pending twice at most.
        pending = len(journal) * (30 + 36 + 16)
        assert largest <= 2 * 2_200 + 2 * pending
        held = len(journal)
        _, found = open_on(files)
        assert {one.tx_id for one in alive} <= {one.tx_id for one in found}
        assert len(found) >= held

    run(main)


def test_nothing_pending_leaves_nothing_behind() -> None:
    """A start after a clean stop would read back what is long final."""
    files = MemoryFiles()

    async def main() -> None:
        journal, _ = open_on(files)
        await journal.append([record(1), record(2)])
        journal.settle([record(1).tx_id, record(2).tx_id, record(3).tx_id])
        await journal.close()
        await journal.close()

    run(main)
    assert files.contents == {}

    async def with_one_left() -> None:
        journal, _ = open_on(files)
        journal.put(*record(1))
        await journal.close()

    run(with_one_left)
    assert open_on(files)[1] == [record(1)]


class CountingLane(InlineLane):
    """Counts jobs, and takes a virtual moment for each as a disk does."""

    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, job):  # type: ignore[no-untyped-def]
        self.jobs += 1
        await trio.sleep(0.001)
        return job()


def test_many_callers_share_one_write() -> None:
    """Each payment would cost a write of its own: some hundred a second instead of thousands."""
    lane = CountingLane()

    async def main() -> None:
        journal = Journal(MemoryFiles(), lane, GENESIS, salts())
        journal.open()
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(journal.append, [record(number)])
        assert len(journal) == 200

    run(main)
    assert lane.jobs <= 3


def test_a_cancelled_caller_leaves_the_journal_whole() -> None:
    """One impatient caller would leave a half-written record, or others waiting for ever."""
    files = MemoryFiles()

    async def main() -> None:
        journal = Journal(files, CountingLane(), GENESIS, salts())
        journal.open()
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(journal.append, [record(number)])
                with trio.move_on_after(0.0001 * (number % 7)):
                    await journal.append([record(100 + number)])
        await journal.flush()
        assert open_on(files)[1] and len(open_on(files)[1]) == 80

    run(main)


class FailingFiles(MemoryFiles):
    """Memory that fails one write and then works again, as disks do."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False

    def create(self, name: str, data: bytes) -> AppendFile:
        return FailingFile(self, super().create(name, data))

    def open(self, name: str, size_bytes: int) -> AppendFile:
        return FailingFile(self, super().open(name, size_bytes))


class FailingFile:
    def __init__(self, files: FailingFiles, file: AppendFile) -> None:
        self._files, self._file = files, file

    def append(self, data: bytes) -> None:
        if self._files.failing:
            self._file.append(data[: len(data) // 2])
            raise StorageFault("The disk is full.", "", "df -h")
        self._file.append(data)

    def close(self) -> None:
        self._file.close()


def test_a_failed_write_is_never_taken_back() -> None:
    """A payment would be called accepted though the disk had lost it."""
    files = FailingFiles()

    async def main() -> None:
        journal, _ = open_on(files)
        await journal.append([record(1)])
        files.failing = True
        with pytest.raises(StorageFault):
            await journal.append([record(2)])
        files.failing = False
        with pytest.raises(StorageFault):
            await journal.append([record(3)])
        await journal.close()

    run(main)
    assert open_on(files)[1] == [record(1)]


class SnapshotFiles(MemoryFiles):
    """Remembers what a crash at each step of each operation would leave."""

    def __init__(self) -> None:
        super().__init__()
        self.crashes: list[dict[str, bytes]] = []

    def _snap(self, name: str = "", data: bytes = b"") -> None:
        for cut in {0, 1, len(data) // 2, len(data) - 1} if data else {0}:
            left = dict(self.contents)
            if name:
                left[name] = left.get(name, b"") + data[:cut]
            self.crashes.append(left)

    def create(self, name: str, data: bytes) -> AppendFile:
        self._snap(name, data)
        return SnapshotFile(self, name, super().create(name, data))

    def remove(self, name: str) -> None:
        self._snap()
        super().remove(name)


class SnapshotFile:
    def __init__(self, files: SnapshotFiles, name: str, file: AppendFile) -> None:
        self._files, self._name, self._file = files, name, file

    def append(self, data: bytes) -> None:
        self._files._snap(self._name, data)
        self._file.append(data)

    def close(self) -> None:
        self._file.close()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(0, 200)), max_size=25),
    st.integers(150, 700),
)
def test_a_crash_at_any_step_loses_nothing(
    steps: list[tuple[int, int, int]], file_bytes_max: int
) -> None:
    """A crash while the journal moves to its next file would lose what was accepted."""
    files = SnapshotFiles()

    async def main() -> None:
        journal, _ = open_on(files, file_bytes_max=file_bytes_max)
        alive: dict[bytes, JournalRecord] = {}
        number = 0
        for count, ended, size in steps:
            batch = [record(number + index, size) for index in range(count)]
            number += count
            files.crashes.clear()
            await journal.append(batch)
            for left in files.crashes:
                after = MemoryFiles()
                after.contents = dict(left)
                _, found = open_on(after, file_bytes_max=file_bytes_max)
                assert set(alive.values()) <= set(found)
            alive.update((one.tx_id, one) for one in batch)
            for tx_id in list(alive)[:ended]:
                journal.settle([tx_id])
                del alive[tx_id]
        assert len(journal) == len(alive)

    run(main)


@pytest.mark.real
async def test_real_files_in_a_real_thread(tmp_path: Path) -> None:
    """What holds in memory would not hold on a disk."""
    files = DiskFiles(tmp_path)
    journal = Journal(files, ThreadLane(), GENESIS, os.urandom, 20_000)
    assert journal.open() == []
    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(journal.append, [record(number, 400)])
    for number in range(300, 330):
        await journal.append([record(number, 400)])
    journal.settle([record(number).tx_id for number in range(250)])
    await journal.append([record(400)])
    await journal.close()
    again = Journal(files, ThreadLane(), GENESIS, os.urandom)
    found = again.open()
    assert {one.tx_id for one in found} >= {record(number).tx_id for number in range(250, 330)}
    assert found[-1] == record(400)
    again.settle([one.tx_id for one in found])
    await again.close()
    assert files.names() == []


WRITER = """
import importlib.machinery, importlib.util, os, sys, trio
spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
spec.submodule_search_locations = [sys.argv[1]]
sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)
from pathlib import Path
from clawpurse.node.files import DiskFiles
from clawpurse.node.journal import Journal, JournalRecord
from clawpurse.node.workers import ThreadLane

async def writer(journal, start):
    for number in range(start, 10**9, 4):
        raw = number.to_bytes(8, "big") * 40
        await journal.append([JournalRecord(number.to_bytes(32, "big"), raw)])
        os.write(1, b"%d\\n" % number)
        if number % 3:
            journal.settle([number.to_bytes(32, "big")])
            os.write(1, b"-%d\\n" % number)

async def main():
    journal = Journal(DiskFiles(Path(sys.argv[2])), ThreadLane(), b"g" * 32, os.urandom, 30_000)
    start = max([int.from_bytes(one.tx_id, "big") for one in journal.open()], default=0) + 1
    async with trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(writer, journal, start + index)

trio.run(main)
"""


@pytest.mark.real
@pytest.mark.parametrize("lines", [1, 37, 400])
def test_kill_nine_loses_no_promise(tmp_path: Path, lines: int) -> None:
    """A node that is killed would forget payments that it had accepted."""
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(script), str(root), str(tmp_path / "journal")]
    promised: set[int] = set()
    ended: set[int] = set()
    for _ in range(3):
        said: list[bytes] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(lines):
                said.append(process.stdout.readline())
            process.kill()
            said.extend(process.stdout.read().split(b"\n")[:-1])
        numbers = [int(line) for line in said]
        promised.update(number for number in numbers if number > 0)
        ended.update(-number for number in numbers if number < 0)
        files = DiskFiles(tmp_path / "journal")
        found = Journal(files, InlineLane(), GENESIS, os.urandom).open()
        by_number = {int.from_bytes(one.tx_id, "big"): one.raw for one in found}
        for number in promised - ended:
            assert by_number[number] == number.to_bytes(8, "big") * 40
    assert len(files.names()) <= 3
