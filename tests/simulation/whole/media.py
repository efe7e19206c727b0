"""One machine's disk for one life of a process: what reaches it, what a crash leaves of it.

A `Medium` holds the four things that a node keeps: the database, the consensus log, the journal
and the signing state. Every durable step passes `Medium.step`, which is where a disk is slow,
full, broken or lying, and where the power goes: before, in the middle of, or after a step. What
was in the middle is left torn at some byte; a name whose folder was not synced is as it was.

A medium dies once. What is left of it is a new one, `Medium.survivor`, for the next process.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import trio

from clawpurse.ledger.errors import NotFound, StorageFault
from clawpurse.ledger.store.faulty import FaultyDisk, FaultySnapshot, FaultyStore
from clawpurse.ledger.store.kv import Batch
from clawpurse.node.files import AppendFile

T = TypeVar("T")

#: A change of a folder: it is handed the files by name.
Change = Callable[[dict[str, bytes]], None]

#: Free space of a healthy disk.
FREE_MB = 1_000_000


class PowerCut(Exception):
    """The end of a process in the middle of something."""


@dataclass
class Fuse:
    """Where a process is to die: the `skip`-th next passage of a point, and how.

    `how` is before, torn or after; a torn step is left as `tear` (0 to 1) says.
    """

    point: str
    how: str
    skip: int
    tear: float


class Medium:
    """A machine's disk while one process lives.

    `sync_s` tells how long a durable step takes, in seconds of the loop. `broken` is the error
    that every write gets until it is None. `lying` acknowledges syncs and performs none. `fuse`
    says where the process dies; `burnt` is then "point: how".
    """

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.disk = FaultyDisk()
        self.wal = MediumFiles(self, "log")
        self.journal = MediumFiles(self, "journal")
        self.signer = MediumFiles(self, "signer")
        self.sync_s: Callable[[], float] = no_time
        self.broken: str | None = None
        #: At which of the next steps it breaks, and with which error.
        self.breaks_in: tuple[int, str] | None = None
        self.lying = False
        self.free_mb = FREE_MB
        #: Whether this life ever was one on a bad disk.
        self.harmed = False
        self.dead = False
        self.died = trio.Event()
        #: Called at the moment of death.
        self.on_death: Callable[[], None] = lambda: None
        self.fuse: Fuse | None = None
        self.burnt = ""
        #: What the next durable step of a folder is for, told by who looks into the node.
        self.purpose: dict[str, str] = {}
        #: Better names for steps that have none of their own.
        self.names: Mapping[str, str] = {}
        self.steps = 0

    def name_of(self, folder: str, what: str) -> str:
        """Return the name of the next step of a folder."""
        plain = f"{folder} {what}"
        return self.purpose.pop(folder, self.names.get(plain, plain))

    @property
    def folders(self) -> tuple[MediumFiles, ...]:
        """The three folders of plain files."""
        return self.wal, self.journal, self.signer

    def breaks(self, error: str) -> None:
        """From now on every write fails."""
        self.broken, self.harmed = error, True

    def fills_up(self) -> None:
        """From now on there is hardly any space."""
        self.free_mb, self.harmed = 1, True

    def mend(self) -> None:
        """The operator has made room, or put in a new disk with the old content."""
        self.broken, self.free_mb, self.lying, self.sync_s = None, FREE_MB, False, no_time

    # -- death

    def die(self, burnt: str = "") -> None:
        """From now on nothing reaches the disk."""
        if not self.dead:
            self.dead = True
            self.burnt = burnt
            self.died.set()
            self.on_death()

    def point(self, name: str, how: str) -> None:
        """Pass a place where the process may die. Raises `PowerCut` if it does."""
        if self._burns(name, how):
            self.die(f"{name}: {how}")
            raise PowerCut(self.burnt)

    def _burns(self, name: str, how: str) -> bool:
        fuse = self.fuse
        if fuse is None or fuse.point != name or fuse.how != how or self.dead:
            return False
        fuse.skip -= 1
        return fuse.skip < 0

    def step(self, name: str, whole: Callable[[], T], torn: Callable[[float], None]) -> T:
        """Perform a durable step, unless this is where something happens to it.

        `torn(share)` leaves so much of it. Raises `PowerCut` or `StorageFault`.
        """
        if self.dead:
            raise PowerCut(f"{self.name} is dead")
        self.steps += 1
        self.point(name, "before")
        if self._burns(name, "torn"):
            assert self.fuse is not None
            torn(self.fuse.tear)
            self.die(f"{name}: torn")
            raise PowerCut(self.burnt)
        if self.breaks_in is not None:
            left, error = self.breaks_in
            self.breaks_in = (left - 1, error) if left > 1 else None
            if left <= 1:
                self.breaks(error)
        if self.broken is not None:
            # How much of it got there nobody knows.
            if self.chance.random() < 0.5:
                torn(self.chance.random())
            raise StorageFault(self.broken, f"The disk of {self.name} fails.", "df -h")
        result = whole()
        self.point(name, "after")
        return result

    # -- what is left

    def survivor(self, *, power: bool) -> Medium:
        """The disk as the next process finds it.

        `power` means that the machine itself went down: what was acknowledged by a lying sync
        is lost from some point on, for each folder its own. Otherwise only the process did.
        """
        assert self.dead
        left = Medium(self.name, self.chance)
        left.disk = self.disk
        left.broken, left.free_mb, left.sync_s = self.broken, self.free_mb, self.sync_s
        left.harmed = self.broken is not None or self.free_mb < FREE_MB
        kept: int | None = None
        if power:
            kept = self.chance.randint(0, len(self.disk._pending))
        self.disk.crash(kept)
        for old, new in zip(self.folders, left.folders, strict=True):
            new.contents = old.left(power=power)
            new.durable = dict(new.contents)
        return left

    def backup(self) -> Backup:
        """A copy of everything on the disk now, consistent or not."""
        content = dict(self.disk._durable)
        for batch in self.disk._pending:
            for key, value in batch.operations:
                if value is None:
                    content.pop(key, None)
                else:
                    content[key] = value
        return Backup(content, *(dict(folder.contents) for folder in self.folders))

    def restore(self, backup: Backup, *, data: bool, signer: bool) -> None:
        """Put a backup's data folder, its signing state or both in place of what is here."""
        if data:
            self.disk = FaultyDisk(_durable=dict(backup.store))
            self.wal.reset(backup.wal)
            self.journal.reset(backup.journal)
        if signer:
            self.signer.reset(backup.signer)

    def lane(self) -> MediumLane:
        """A lane for durable steps on this disk."""
        return MediumLane(self)


def no_time() -> float:
    """How long a step takes on a disk that is not simulated to be slow."""
    return 0.0


@dataclass(frozen=True)
class Backup:
    """What a disk held at one moment."""

    store: Mapping[bytes, bytes]
    wal: Mapping[str, bytes]
    journal: Mapping[str, bytes]
    signer: Mapping[str, bytes]


class MediumFiles:
    """A folder on a medium: `contents` is what a process sees, `durable` what a power cut leaves.

    While the medium lies, changes wait in `unsynced`, in their order.
    """

    def __init__(self, medium: Medium, folder: str) -> None:
        self.medium = medium
        self.folder = folder
        self.contents: dict[str, bytes] = {}
        self.durable: dict[str, bytes] = {}
        self.unsynced: list[Change] = []

    def __deepcopy__(self, memo: object) -> MediumFiles:
        copy = MediumFiles(self.medium, self.folder)
        copy.contents, copy.durable = dict(self.contents), dict(self.durable)
        return copy

    def reset(self, contents: Mapping[str, bytes]) -> None:
        """Have this content and no other."""
        self.contents, self.durable, self.unsynced = dict(contents), dict(contents), []

    def left(self, *, power: bool) -> dict[str, bytes]:
        """What the next process finds."""
        if not power:
            return dict(self.contents)
        found = dict(self.durable)
        for change in self.unsynced[: self.medium.chance.randint(0, len(self.unsynced))]:
            change(found)
        return found

    def _change(self, what: str, whole: Change, torn: Callable[[float], Change]) -> None:
        self.medium.step(
            self.medium.name_of(self.folder, what),
            lambda: self._apply(whole),
            lambda share: self._apply(torn(share)),
        )

    def _apply(self, change: Change) -> None:
        change(self.contents)
        if self.medium.lying:
            self.unsynced.append(change)
            return
        # A sync that is performed takes along what waited: the folder's journal is in order.
        for waiting in self.unsynced:
            waiting(self.durable)
        self.unsynced.clear()
        change(self.durable)

    # -- the interface of `clawpurse.node.files.Files`

    def where(self, name: str) -> str:
        """Return where it would be."""
        return f"{self.medium.name}/{self.folder}/{name}"

    def names(self) -> list[str]:
        """Return the names."""
        return sorted(self.contents)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        if name not in self.contents:
            raise NotFound(name)
        return self.contents[name]

    def create(self, name: str, data: bytes) -> AppendFile:
        """Make a file. Torn early it is empty or short; torn late its name was not synced."""
        old = self.contents.get(name)

        def torn(share: float) -> Change:
            if share > 0.75:
                return _put(name, old)
            return _put(name, data[: int(len(data) * share / 0.75)])

        self._change("create", _put(name, data), torn)
        return MediumAppendFile(self, name)

    def open(self, name: str, size_bytes: int) -> AppendFile:
        """Open for appending, cut to a size."""
        data = self.read(name)
        if len(data) != size_bytes:
            self._change("cut", _put(name, data[:size_bytes]), lambda _share: _put(name, data))
        return MediumAppendFile(self, name)

    def append(self, name: str, data: bytes) -> None:
        """Append; torn anywhere."""

        def appended(part: bytes) -> Change:
            def change(files: dict[str, bytes]) -> None:
                files[name] = files.get(name, b"") + part

            return change

        self._change(
            "append", appended(data), lambda share: appended(data[: int(len(data) * share)])
        )

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite in place; torn anywhere."""
        self.read(name)

        def written(part: bytes) -> Change:
            def change(files: dict[str, bytes]) -> None:
                old = files[name]
                files[name] = old[:offset] + part + old[offset + len(part) :]

            return change

        self._change("slot", written(data), lambda share: written(data[: int(len(data) * share)]))

    def remove(self, name: str) -> None:
        """Remove a file; torn means that the folder was not synced and the file is back."""
        if name in self.contents:
            old = self.contents[name]
            self._change("remove", _put(name, None), lambda _share: _put(name, old))


class MediumAppendFile:
    """An open file of a `MediumFiles`."""

    def __init__(self, files: MediumFiles, name: str) -> None:
        self._files = files
        self._name = name

    def append(self, data: bytes) -> None:
        """Append."""
        self._files.append(self._name, data)

    def close(self) -> None:
        """Nothing to close."""


def _put(name: str, data: bytes | None) -> Change:
    def change(files: dict[str, bytes]) -> None:
        if data is None:
            files.pop(name, None)
        else:
            files[name] = data

    return change


class MediumStore:
    """The database on a medium: a batch is on it whole or not at all."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._inner: FaultyStore = medium.disk.open()

    def get(self, key: bytes) -> bytes | None:
        """Return a value."""
        return self._inner.get(key)

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries."""
        return self._inner.iterate(start, stop, reverse)

    def write(self, batch: Batch, sync: bool) -> None:
        """Write a batch; one that tore is not there after the restart, or is."""

        def whole() -> None:
            self._medium.disk.lying_sync = self._medium.lying
            self._inner.write(batch, sync)

        def torn(share: float) -> None:
            if share > 0.5:
                whole()

        self._medium.step(self._medium.name_of("store", "write"), whole, torn)

    def snapshot(self) -> FaultySnapshot:
        """Return a view."""
        return self._inner.snapshot()

    def content(self) -> dict[bytes, bytes]:
        """Return a copy of everything that a reader sees."""
        return self._inner._inner.content()

    def close(self) -> None:
        """Close."""
        self._inner.close()


class MediumLane:
    """Durable steps one after another, each as long as the disk takes."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._turn = trio.Lock()

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job`, which takes its time; a crash meanwhile leaves it undone, or done untold."""
        medium = self._medium
        delay_s = medium.sync_s()
        with trio.CancelScope(shield=True):
            async with self._turn:
                if not delay_s:
                    await trio.lowlevel.checkpoint()
                    return job()
                if medium.chance.random() < 0.5:
                    await self._wait(delay_s)
                    return job()
                result = job()
                await self._wait(delay_s)
                if medium.dead:
                    raise PowerCut(f"{medium.name} died before it knew")
                return result
        raise AssertionError("nobody cancels a shielded scope that nobody else has")

    async def _wait(self, delay_s: float) -> None:
        with trio.move_on_after(delay_s):
            await self._medium.died.wait()
