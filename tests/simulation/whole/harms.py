"""What is done to a disk beyond a crash: flipped bits, lost writes of a lying disk, old backups.

Only so many authorities are harmed in one run as the algorithm tolerates, because a key that lost
its memory counts as faulty. The follower may be harmed at any time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.simulation.whole.media import Backup, Medium
from tests.simulation.whole.world import FOLLOWER

if TYPE_CHECKING:
    from tests.simulation.whole.world import World

LOG, JOURNAL, SIGNER, DATABASE = "log", "journal", "signing state", "database"


class Harms:
    """Harms disks of one world, within what it may bear."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.backups: dict[str, list[Backup]] = {}
        #: The record of the database in which a bit was flipped last, and its bad content.
        self.flipped: dict[str, tuple[bytes, bytes]] = {}

    def may_harm(self, name: str) -> bool:
        """Tell whether one more may be harmed."""
        world = self.world
        harmed = {*world.tampered, *world.excused} - {FOLLOWER}
        return name == FOLLOWER or name in harmed or len(harmed) < world.faults_max

    def mark(self, name: str, what: str) -> None:
        """Note that a node may refuse now, and that its key may have forgotten."""
        self.world.tampered[name] = what
        if name != FOLLOWER:
            self.world.excused.setdefault(name, what)
        self.world.faults[what] += 1

    async def _victim(self) -> str | None:
        """Somebody who is down and may be harmed; somebody is taken down for it, if need be."""
        able = [name for name in self.world.down if self.may_harm(name)]
        if able:
            return self.chance.choice(able)
        up = [node for node in self.world.up if self.may_harm(node.name)]
        if not up:
            return None
        node = self.chance.choice(up)
        await self.world.kill(node, power=True)
        return node.name

    async def flip(self) -> None:
        """One bit of one file of a node that is down decays."""
        name = await self._victim()
        if name is None:
            return
        medium = self.world.down[name]
        places = [
            (what, folder)
            for what, folder in (
                (LOG, medium.wal),
                (JOURNAL, medium.journal),
                (SIGNER, medium.signer),
            )
            if any(folder.contents.values())
        ]
        keys = medium.disk.record_keys()
        if keys and self.chance.random() < 0.4:
            key = self.chance.choice(keys)
            medium.disk.flip_bit(key, self.chance.randrange(8 * len(medium.disk._durable[key])))
            self.flipped[name] = key, medium.disk._durable[key]
            self.mark(name, f"bit flip: {DATABASE}")
        elif places:
            what, folder = self.chance.choice(places)
            file = self.chance.choice(sorted(n for n, data in folder.contents.items() if data))
            data = folder.contents[file]
            place = self.chance.randrange(8 * len(data))
            folder.reset({**folder.contents, file: flipped(data, place)})
            self.mark(name, f"bit flip: {what}")

    def lie(self) -> None:
        """A disk acknowledges what it has not written, and then the power goes."""
        able = [node for node in self.world.up if self.may_harm(node.name)]
        if not able:
            return
        node = self.chance.choice(able)
        medium = self.world.machines[node.name]
        medium.lying = True
        self.mark(node.name, "lying disk")

    def back_up(self) -> None:
        """Everybody's operator takes a backup."""
        media = {**self.world.machines, **self.world.down}
        for name, medium in media.items():
            self.backups.setdefault(name, []).append(medium.backup())

    async def restore(self) -> None:
        """An operator puts back what is older: data, signing state, or the whole machine."""
        name = await self._victim()
        if name is None or name not in self.backups:
            return
        medium, backup = self.world.down[name], self.chance.choice(self.backups[name])
        match self.chance.randrange(4):
            case 0:
                medium.restore(backup, data=True, signer=False)
                self.mark(name, "backup: data")
            case 1:
                medium.restore(backup, data=False, signer=True)
                self.mark(name, "backup: signing state")
            case 2:
                medium.restore(backup, data=True, signer=True)
                self.mark(name, "backup: machine image")
            case 3:
                self._lose_signing_state(name, medium)

    def _lose_signing_state(self, name: str, medium: Medium) -> None:
        """It is gone; its operator names a floor, as told."""
        if name != FOLLOWER:
            medium.mend()
            medium.signer.reset({})
            self.world.raise_floor(name, medium)
            self.mark(name, "lost signing state")


def flipped(data: bytes, place: int) -> bytes:
    """Return bytes with one bit turned."""
    bent = bytearray(data)
    bent[place // 8] ^= 1 << place % 8
    return bytes(bent)
