"""What the operator of a simulated node does when it does not come back by itself.

Only what the documentation says: start it, read what it says, restore or empty its data, and
name a floor above everything that its key ever signed.
"""

from __future__ import annotations

from typing import Any, cast

from clawpurse.ledger.agreement.signbytes import parse
from clawpurse.node.signer import set_floor
from tests.simulation.whole.media import Backup
from tests.simulation.whole.world import FOLLOWER, Violation, World

EMPTY = Backup({}, {}, {}, {})


async def bring_back(world: World, name: str) -> None:
    """Start a node; if it refuses, do what its operator is told to. Raises `Violation`."""
    if await world.begin(name) is not None:
        return
    ending = world.endings[-1]
    if name not in world.tampered:
        raise Violation(8, f"{name} does not come back: {ending.kind}, {ending.why}")
    begin_anew(world, name)
    if await world.begin(name) is None:
        why = world.endings[-1].why
        raise Violation(8, f"{name} does not come back although its operator did all: {why}")


def begin_anew(world: World, name: str) -> None:
    """Empty a node's data; its key signs nothing up to where it ever signed."""
    medium = world.down[name]
    medium.restore(EMPTY, data=True, signer=False)
    if name != FOLLOWER:
        key = next(key for key, owner in world.key_names.items() if owner == name)
        world.excused.setdefault(name, "began anew")
        set_floor(cast(Any, medium.signer), world.genesis.hash, key, floor_of(world, key))


def floor_of(world: World, authority: bytes) -> int:
    """The height above all that a key ever signed."""
    heights = (
        parse(release.sign_bytes).height
        for release in world.releases
        if release.authority == authority
    )
    return 1 + max(heights, default=0)
