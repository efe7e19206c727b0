"""What an operator changes while the node runs: its peers, its log levels, its configuration.

Peers are written into the node's own file first and take effect then, so that a restart knows
them. A file that is read anew is judged as a whole first: a bad one changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.errors import Malformed, NotFound, OperatorError
from clawpurse.node.config import NodeConfig
from clawpurse.node.logs import log_levels, set_log_level
from clawpurse.node.workers import Lane
from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.pool import PeerPool

# A network has at most a hundred authorities; each listed peer is dialled for ever.
PEERS_MAX: Final = 256
# How long somebody who added a peer waits to hear whether it answers.
CONNECT_WAIT_S: Final = 5.0
Apply = Callable[[NodeConfig], None]
log = logging.getLogger("clawpurse.node")


class PeersFull(OperatorError):
    """As many peers are configured as a node dials."""


class File(Protocol):
    """See `config_file.ConfigFile`."""

    def read(self) -> NodeConfig:
        """Return what a start would go by now. Raises `OperatorError`."""

    def write_peers(self, peers: tuple[str, ...]) -> None:
        """Set `peers` in the file, durably. Raises `OperatorError`, `Malformed`."""


class Reloaded(NamedTuple):
    """Names of settings: what took effect, and what waits for a restart."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Operator:
    """See the module. `config` is what is in force; `live` applies settings, by name.

    `file` is None where a node has none (in simulation): then peers and configuration stay as
    they are, and `OperatorError` says so.
    """

    def __init__(
        self,
        config: NodeConfig,
        pool: PeerPool,
        file: File | None,
        lane: Lane,
        keep_peers: Callable[[], None],
    ) -> None:
        self.config = config
        self.live: Mapping[str, Apply] = {
            "log_level": lambda new: set_log_level(new.log_level),
            "peers": self._follow_list,
        }
        self._pool = pool
        self._file = file
        self._lane = lane
        self._keep_peers = keep_peers
        self._one_at_a_time = trio.Lock()

    # -- peers

    async def add_peer(self, address: PeerAddress) -> bool:
        """Configure a peer, durably, and connect to it; return whether the list changed.

        Another address of the same node takes the place of the former one. Raises `Malformed`
        for this node itself, `PeersFull`, and `OperatorError` where the file does not allow it.
        """
        if address.node_id == self._pool.node_id:
            raise Malformed("peer", "is this node itself")
        async with self._one_at_a_time:
            listed = await self._listed()
            wanted = [one for one in listed if one.node_id != address.node_id]
            if len(wanted) >= PEERS_MAX:
                raise PeersFull(f"{PEERS_MAX} peers are configured, and no more can be.", "", "")
            is_new = address not in listed
            if is_new:
                wanted.append(address)
                await self._write(wanted)
            self._pool.keep(address)
            self._note_peers()
        log.info("peer added", extra={"peer": str(address)})
        return is_new

    async def connected(self, node_id: bytes) -> bool:
        """Wait a moment for a peer; return whether it is connected."""
        with trio.move_on_after(CONNECT_WAIT_S):
            await self._pool.wait_connected(node_id)
        return node_id in self._pool.ids()

    async def remove_peer(self, node_id: bytes, *, ban: bool) -> tuple[bool, bool]:
        """Drop a peer, durably, and disconnect it; return (was it configured, connected).

        Raises `NotFound` when it is neither and is not to be banned, and `OperatorError` where
        the file does not allow it.
        """
        async with self._one_at_a_time:
            listed = await self._listed()
            wanted = [one for one in listed if one.node_id != node_id]
            was_listed = len(wanted) < len(listed) or node_id in self._pool.configured
            if not was_listed and not ban and node_id not in self._pool.ids():
                raise NotFound(f"peer {node_id.hex()}")
            if len(wanted) < len(listed):
                await self._write(wanted)
            ban_reason = "banned by the operator" if ban else ""
            was_connected = self._pool.drop(node_id, ban_reason=ban_reason)
            self._note_peers()
        log.info("peer removed", extra={"peer": node_id.hex(), "banned": ban})
        return was_listed, was_connected

    def banned_until_ms(self, node_id: bytes) -> int | None:
        """Return when a key's ban ends, ms UTC; None when it has none."""
        for ban in self._pool.standing.bans():
            if ban.subject == node_id.hex():
                return ban.until_ms
        return None

    async def _listed(self) -> list[PeerAddress]:
        """The peers that the file names now: somebody may have edited it since the start."""
        file = self._own_file()
        config = await self._lane.run(file.read)
        return [PeerAddress.parse(text) for text in config.peers]

    async def _write(self, peers: list[PeerAddress]) -> None:
        file, texts = self._own_file(), tuple(str(address) for address in peers)
        await self._lane.run(lambda: file.write_peers(texts))

    def _note_peers(self) -> None:
        """Have in force what the pool keeps, and on disk who is banned or left alone."""
        peers = tuple(str(address) for address in self._pool.configured.addresses)
        self.config = self.config.model_copy(update={"peers": peers})
        self._keep_peers()

    def _own_file(self) -> File:
        if self._file is None:
            raise OperatorError("This node has no configuration file.", "", "")
        return self._file

    # -- configuration

    async def reload(self) -> Reloaded:
        """Read the file anew and apply what can change now. Raises `OperatorError` for a bad
        file, with nothing changed.
        """
        async with self._one_at_a_time:
            new = await self._lane.run(self._own_file().read)
            differing = [
                name
                for name in NodeConfig.model_fields
                if getattr(new, name) != getattr(self.config, name)
            ]
            changed = tuple(name for name in differing if name in self.live)
            # What was read is whole and valid, so nothing below refuses half of it.
            values = {name: getattr(new, name) for name in changed}
            self.config = self.config.model_copy(update=values)
            for name in changed:
                self.live[name](self.config)
            restart = tuple(name for name in differing if name not in self.live)
        log.info("configuration read anew", extra={"changed": " ".join(changed)})
        return Reloaded(changed, restart)

    def _follow_list(self, new: NodeConfig) -> None:
        wanted = {address.node_id: address for address in map(PeerAddress.parse, new.peers)}
        for address in self._pool.configured.addresses:
            if address.node_id not in wanted:
                self._pool.drop(address.node_id)
        for address in wanted.values():
            if not self._pool.configured.holds(address):
                self._pool.keep(address)
        self._keep_peers()

    # -- logs

    def set_log_level(self, level: str, logger: str) -> dict[str, str]:
        """Change the level of a logger, or of `all`, until the process ends; return all levels.

        Raises `Malformed` for one that is not there.
        """
        set_log_level(level, logger)
        log.info("log level set", extra={"of": logger, "to": level})
        return log_levels()
