"""What the operator of a simulated node does when it does not come back by itself.

Only what the documentation says: start it, read what it says, check a database that is in doubt,
move damaged data away and let the node fetch the chain, name a floor for a lost signing state.
"""

from __future__ import annotations

from typing import Any, cast
from unittest import mock

from clawpurse.cli.db import DatabaseCheck
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.store.memory import MemoryStore
from tests.simulation.whole.media import Backup, Medium
from tests.simulation.whole.world import FOLLOWER, Violation, World

EMPTY = Backup({}, {}, {}, {})


async def bring_back(world: World, name: str, flipped: tuple[bytes, bytes] | None = None) -> None:
    """Start a node; if it refuses, do what its operator is told to. Raises `Violation`.

    `flipped` is a bad record of its database, key and content: its check has to find it.
    """
    medium, harm = world.down[name], world.tampered.get(name)
    if flipped is not None:
        problems = database_problems(world, medium)
        if not problems and medium.backup().store.get(flipped[0]) == flipped[1]:
            raise Violation(7, f"{name}: `db check` does not find record {flipped[0]!r}")
        if problems:
            begin_anew(world, name)
    if await world.begin(name) is not None:
        return
    ending = world.endings[-1]
    if harm is None:
        raise Violation(8, f"{name} does not come back: {ending.kind}, {ending.why}")
    begin_anew(world, name)
    if await world.begin(name) is not None:
        return
    if name != FOLLOWER:
        # It is the signing state: what it says has to be told by its operator.
        world.raise_floor(name, world.down[name])
    if await world.begin(name) is None:
        why = world.endings[-1].why
        raise Violation(8, f"{name} does not come back although its operator did all: {why}")


def begin_anew(world: World, name: str) -> None:
    """Move a node's data away. Its signing state stays."""
    world.down[name].restore(EMPTY, data=True, signer=False)
    world.tampered[name] = "moved away"


def database_problems(world: World, medium: Medium) -> list[str]:
    """What `clawpurse db check` finds."""
    store = MemoryStore(dict(medium.backup().store))
    try:
        return DatabaseCheck(cast(Any, mock.Mock()), world.genesis, cast(Any, store)).run()
    except OperatorError as err:
        return [str(err)]
