"""What keeps a node well: due work on time, disk space, the address book, health."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from clawpurse.ledger.errors import StorageFault
from clawpurse.node.chain import Chain
from clawpurse.node.clock import Clock
from clawpurse.node.config import NodeConfig
from clawpurse.node.engine import Engine
from clawpurse.node.metrics import Metrics
from clawpurse.node.signing import Signing
from clawpurse.node.sync import BlockSync
from clawpurse.p2p.pool import PeerPool

DISK_PERIOD_S: Final = 10.0
PEERS_PERIOD_S: Final = 60.0
DUE_PERIOD_MAX_S: Final = 30.0
# Blocks behind beyond which this node should not be asked.
BEHIND_MAX: Final = 3
log = logging.getLogger("clawpurse.node")


class Care:
    """One node's housekeeping. `problems` is what /readyz says."""

    def __init__(
        self,
        config: NodeConfig,
        chain: Chain,
        engine: Engine,
        sync: BlockSync,
        peers: PeerPool,
        metrics: Metrics,
        clock: Clock,
        *,
        signing: Signing,
        accused: Callable[[bytes], bool],
        free_disk_mb: Callable[[], int],
        store_peers: Callable[[dict[str, object]], None],
    ) -> None:
        #: Below so much free disk this node stops, in MB.
        self.disk_needed_mb = config.min_free_disk_mb
        self._chain = chain
        self._engine = engine
        self._sync = sync
        self._peers = peers
        self._metrics = metrics
        self._clock = clock
        self._signing = signing
        self._accused = accused
        self._free_disk_mb = free_disk_mb
        self._store_peers = store_peers
        self._low_disk = False
        #: As of the last look, None before the first.
        self.free_disk_mb: int | None = None

    def problems(self) -> list[str]:
        """Return why this node cannot be relied on now; empty when it can."""
        found = []
        progress = self._sync.progress
        if progress.behind > BEHIND_MAX:
            found.append(f"syncing {progress.height}/{progress.best} ({progress.behind} behind)")
        authorities = self._chain.authorities
        is_authority = self._signing.is_authority
        others_needed = authorities.quorum_size - 1 if is_authority else 1
        connected = len(self._peers.ids())
        if connected < min(others_needed, max(1, len(authorities) - is_authority)) and (
            len(authorities) > 1 or not is_authority
        ):
            found.append(f"{connected} peers, {others_needed} needed")
        found += self._signing.problems()
        if any(self._accused(key) for key in self._signing.members(authorities)):
            found.append("its authority key signed twice: clawpurse consensus evidence")
        if self._low_disk:
            found.append(f"less than {2 * self.disk_needed_mb} MB of disk are free")
        return found

    async def run(self) -> None:
        """Care until cancelled. Raises `StorageFault` when the disk is all but full."""
        async with trio.open_nursery() as nursery:
            for task in (
                self._watch_due,
                self._watch_disk,
                self._keep_peers_often,
            ):
                nursery.start_soon(task)
            await self._metrics.watch_loop(self._clock)

    async def _watch_due(self) -> None:
        """Wake consensus when scheduled work is due, also on an idle chain."""
        while True:
            due_ms = self._chain.next_due_ms()
            now_ms = self._clock.now_ms()
            changed = self._engine.height_changed
            wait_s = DUE_PERIOD_MAX_S
            if due_ms is not None:
                if due_ms <= now_ms:
                    self._engine.work_available()
                else:
                    wait_s = min(wait_s, (due_ms - now_ms) / 1000)
            with trio.move_on_after(wait_s):
                await changed.wait()

    async def _watch_disk(self) -> None:
        """Stop cleanly before a full disk stops us in the middle of something."""
        while True:
            free_mb = self.free_disk_mb = self._free_disk_mb()
            self._low_disk = free_mb < 2 * self.disk_needed_mb
            if free_mb < self.disk_needed_mb:
                raise StorageFault(
                    f"Only {free_mb} MB of disk are free, {self.disk_needed_mb} are needed.",
                    "The node stopped cleanly; nothing is lost.",
                    "free some space, then clawpurse start",
                )
            await trio.sleep(DISK_PERIOD_S)

    async def _keep_peers_often(self) -> None:
        while True:
            await trio.sleep(PEERS_PERIOD_S)
            self.keep_peers()

    def keep_peers(self) -> None:
        """Store the address book and bans: a small file, written in a moment."""
        peers = self._peers
        saved: dict[str, object] = {
            "book": peers.book.export(),
            "bans": peers.standing.export(),
            "removed": peers.configured.export(),
        }
        self._store_peers(saved)
