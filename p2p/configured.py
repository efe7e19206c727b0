"""The peers that an operator chose: kept for ever, until they are removed again.

Configured peers are dialled without end, never banned, and never lose their place to strangers.
The list changes while the node runs; whoever holds this sees the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import trio

from clawpurse.p2p.address import NODE_ID_BYTES, PeerAddress

# Nodes that were removed and are not dialled again; far more than anybody removes by hand.
REMOVED_MAX: Final = 1_000


class Configured:
    """Who is configured now, by node id, and who was removed and is left alone since."""

    def __init__(self, addresses: Iterable[PeerAddress] = ()) -> None:
        self._addresses = {address.node_id: address for address in addresses}
        self._removed: dict[bytes, None] = {}
        self._changed = trio.Event()

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._addresses

    @property
    def addresses(self) -> list[PeerAddress]:
        """Where they are."""
        return list(self._addresses.values())

    @property
    def removed(self) -> list[bytes]:
        """Nodes that this node does not dial by itself, because somebody removed them."""
        return list(self._removed)

    def has_host(self, host: str) -> bool:
        """Whether a configured peer is at this host, as the list spells it."""
        return any(address.host == host for address in self._addresses.values())

    def holds(self, address: PeerAddress) -> bool:
        """Whether a peer is configured with this very address."""
        return self._addresses.get(address.node_id) == address

    def is_removed(self, node_id: bytes) -> bool:
        """Whether somebody removed the node, and nobody added it since."""
        return node_id in self._removed

    def add(self, address: PeerAddress) -> None:
        """Configure a peer, in place of a former address of the same node."""
        self._removed.pop(address.node_id, None)
        self._addresses[address.node_id] = address
        self._tell()

    def remove(self, node_id: bytes) -> None:
        """Configure a peer no more; discovery does not dial it either."""
        self._addresses.pop(node_id, None)
        self._removed.pop(node_id, None)
        self._removed[node_id] = None
        while len(self._removed) > REMOVED_MAX:
            del self._removed[next(iter(self._removed))]
        self._tell()

    async def wait_changed(self) -> None:
        """Return when the list has changed since this was called."""
        await self._changed.wait()

    def export(self) -> list[str]:
        """Return the removed nodes as JSON values, to be kept."""
        return [node_id.hex() for node_id in self._removed]

    def restore(self, saved: Iterable[Any]) -> None:
        """Take back what `export` returned; what is configured meanwhile is not removed."""
        for text in saved:
            try:
                node_id = bytes.fromhex(text)
            except (TypeError, ValueError):
                continue  # A damaged entry costs one node's being left alone.
            is_id = len(node_id) == NODE_ID_BYTES
            if is_id and node_id not in self._addresses and len(self._removed) < REMOVED_MAX:
                self._removed[node_id] = None

    def _tell(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
