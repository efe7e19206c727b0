"""People who pay: each goes on with the next payment when the last one was accepted.

A payment that was not acknowledged is handed in again, the same bytes at any node, as wallets
do. So sequences have no gaps that last, and "accepted" has a meaning that can be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from clawpurse.ledger.errors import BadSignature, Malformed, Refused
from clawpurse.ledger.store.index import locate_transaction
from clawpurse.ledger.transactions import Transaction
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, Running
from tests.simulation.whole.world import Accepted

if TYPE_CHECKING:
    from tests.simulation.whole.world import World

#: Lanes that each sender pays from.
LANES = 2
#: Every so many payments carry an idempotency key.
KEYED = 4


class Client:
    """One lane of one sender."""

    def __init__(self, world: World, key: SigningKey, lane: int) -> None:
        self.world = world
        self.key = key
        self.lane = lane
        self.open: Transaction | None = None
        self.count = 0
        #: For how long a payment may wait.
        self.valid_ms = HOUR_MS

    def next(self) -> Transaction:
        """The payment that is not acknowledged yet, else a new one."""
        if self.open is None:
            self.count += 1
            keyed = self.count % KEYED == 0
            self.open = self.world.pay(
                self.key,
                lane=self.lane,
                valid_until_ms=self.world.clock.now_ms() + self.valid_ms,
                key=b"order %d/%d" % (self.lane, self.count) if keyed else None,
            )
        return self.open

    def hand_in(self, node: Running) -> None:
        """Submit at a node, as a task that dies with it."""
        transaction = self.next()

        def accepted() -> None:
            if self.open is transaction:
                self.open = None

        submit(self.world, node, transaction, accepted)


def submit(
    world: World,
    node: Running,
    transaction: Transaction,
    on_accepted: Callable[[], None] = lambda: None,
) -> None:
    """Hand a payment in at a node, as a task that dies with it."""

    async def task() -> None:
        try:
            await node.node.intake.submit(transaction.raw)
        except (Malformed, BadSignature, Refused) as err:
            # A node that is behind, full or off its time says no; the same bytes go elsewhere.
            world.faults[f"refused: {err}"[:60]] += 1
            return
        accepted = Accepted(trio.current_time(), node.name, transaction)
        world.accepted.setdefault(transaction.tx_id, accepted)
        on_accepted()

    assert node.nursery is not None
    node.nursery.start_soon(task)


def clients_of(world: World) -> list[Client]:
    """All who pay in a world."""
    return [Client(world, key, lane) for key in (world.alice, world.bob) for lane in range(LANES)]


def lacking(world: World, nodes: Sequence[Running] | None = None) -> list[tuple[str, bytes]]:
    """What was called accepted and is not final: (node, tx id)."""
    return [
        (node.name, tx_id)
        for node in (world.up if nodes is None else nodes)
        for tx_id in world.accepted
        if locate_transaction(node.node.chain.store, tx_id) is None
    ]
