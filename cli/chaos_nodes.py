"""The processes of `testnet chaos`: started, paused, killed and ended by their ids, never by name.

Nodes reach each other through relays only: their configuration names a relay's port for each
other node, and an address where nobody listens as their own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from clawpurse.cli.chaos_disk import MIN_FREE_MB
from clawpurse.cli.chaos_relay import HOST, Links
from clawpurse.cli.network import LocalNetwork
from clawpurse.cli.processes import (
    ask,
    end_started,
    has_ended,
    last_words,
    node_config,
    rpc_url,
    spawn,
    wait_ready,
)
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import config_text, read_toml
from clawpurse.p2p.address import PeerAddress
from clawpurse.wallet.durable import replace_private

KILL_TIMEOUT_S: Final = 20.0
PAUSE_S: Final = 0.05
WATCH_PERIOD_S: Final = 0.2
# A node that keeps ending by itself is broken; it has been reported by then.
RESTARTS_MAX: Final = 3
# Told to others as where to dial a node: nobody listens there, so that only relays lead to it.
_NOWHERE: Final = f"{HOST}:1"


def write_configs(network: LocalNetwork, links: Links) -> None:
    """Make every node dial every other one through a relay, and mind little about its disk."""
    places = {home.root.name: place for place, home in enumerate(network.homes)}
    ports = [node_config(home).p2p_address[1] for home in network.homes]
    ids = {}
    for home in network.homes:
        for text in read_toml(home.config)["peers"]:
            address = PeerAddress.parse(text)
            if address.port in ports:
                ids[ports.index(address.port)] = address.node_id.hex()
    for home in network.homes:
        place = places[home.root.name]
        values = read_toml(home.config)
        values["peers"] = [
            f"{ids[target]}@{HOST}:{links.port(place, target)}"
            for target in range(len(ports))
            if target != place
        ]
        values["p2p_advertise"] = [_NOWHERE]
        values["min_free_disk_mb"] = MIN_FREE_MB
        replace_private(home.config, config_text(values).encode())


class Nodes:
    """The nodes of one network as children of this process."""

    def __init__(self, network: LocalNetwork, on_death: Callable[[int, str], None]) -> None:
        """`on_death(node, last words)` hears of a node that ended by itself."""
        self.network: Final = network
        self.count: Final = len(network.homes)
        self.urls: Final = [rpc_url(node_config(home)) for home in network.homes]
        self._on_death = on_death
        self._pids: dict[int, int] = {}
        self._paused: dict[int, None] = {}
        self._deaths: dict[int, int] = {}
        #: Nodes that may end by themselves: their disks are full.
        self.may_end: dict[int, None] = {}

    @property
    def running(self) -> list[int]:
        """Which nodes have a process now."""
        return sorted(self._pids)

    async def start_all(self) -> None:
        """Start every node and wait until they are ready. Raises `OperatorError`."""
        for node in range(self.count):
            self.start(node)
        homes = self.network.homes
        await wait_ready({pid: homes[node] for node, pid in self._pids.items()})

    async def require_own(self) -> None:
        """Raise `OperatorError` when somebody else answers where a node should."""
        for url in self.urls:
            status = await ask(url, "chain_getStatus")
            hash_ = None if status is None else status["genesisHash"]
            if hash_ != f"0x{self.network.genesis_hash.hex()}":
                raise OperatorError(
                    f"Another network answers at {url}.", "", "clawpurse testnet chaos, once more"
                )

    def start(self, node: int) -> None:
        """Start a node that is down; it becomes ready when it can."""
        if node not in self._pids:
            self._pids[node] = spawn(self.network.homes[node])

    async def kill(self, node: int) -> None:
        """Kill -9, and wait until it is gone."""
        pid = self._pids.pop(node, None)
        self._paused.pop(node, None)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with trio.move_on_after(KILL_TIMEOUT_S):
            while True:
                if has_ended(pid):
                    return
                await trio.sleep(PAUSE_S)
        raise OperatorError(f"Process {pid} survives kill -9.", "", f"ps {pid}")

    def pause(self, node: int) -> None:
        """Stop a node in the middle of whatever it does."""
        pid = self._pids.get(node)
        if pid is not None:
            os.kill(pid, signal.SIGSTOP)
            self._paused[node] = None

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        if node in self._paused:
            del self._paused[node]
            os.kill(self._pids[node], signal.SIGCONT)

    async def watch(self) -> None:
        """Notice nodes that end by themselves, until cancelled; they are started a few times."""
        while True:
            for node, pid in list(self._pids.items()):
                if not has_ended(pid):
                    continue
                del self._pids[node]
                self._paused.pop(node, None)
                if node in self.may_end:
                    continue
                self._on_death(node, last_words(self.network.homes[node]) or "nothing")
                self._deaths[node] = self._deaths.get(node, 0) + 1
                if self._deaths[node] <= RESTARTS_MAX:
                    self.start(node)
            await trio.sleep(WATCH_PERIOD_S)

    async def end(self) -> None:
        """Ask all to end, and kill those that do not: nothing of ours stays behind."""
        for node in list(self._paused):
            self.resume(node)
        children = list(self._pids.values())
        try:
            await end_started(children)
        except OperatorError:
            for node in self.running:
                await self.kill(node)
            raise
        finally:
            self._pids.clear()
