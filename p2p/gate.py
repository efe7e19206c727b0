"""The gate: what a connection is judged by before it costs anything, and who was turned away.

Caps on connections that have not authenticated, in all and per network, and a token bucket
before any Diffie-Hellman. Configured peers have places and tokens of their own, so that a flood
of strangers never keeps them out. Refusals are counted by kind and logged within a ration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from clawpurse.p2p.address import Endpoint, is_loopback, subnet
from clawpurse.p2p.channels import TokenBucket
from clawpurse.p2p.standing import Standing

UNAUTHENTICATED_MAX: Final = 32
# Places of these that only configured hosts take.
UNAUTHENTICATED_RESERVED: Final = 8
UNAUTHENTICATED_PER_SUBNET_MAX: Final = 4
# A Diffie-Hellman costs 0.1 ms: a hundred handshakes a second are 3 % of a core.
HANDSHAKES_PER_S: Final = 100
HANDSHAKES_BURST: Final = 200
# Lines about refusals: enough to name everybody who tries in earnest, few enough to read.
LOG_LINES_PER_S: Final = 5
LOG_LINES_BURST: Final = 50
log = logging.getLogger("clawpurse.p2p")


class Gate:
    """Judges new connections. Made inside `trio.run`, because its buckets begin full now."""

    def __init__(self, standing: Standing, configured_hosts: Iterable[str]) -> None:
        now = trio.current_time()
        self._standing = standing
        self._configured = frozenset(configured_hosts)
        self._waiting: dict[str, int] = {}
        self._strangers = 0
        self._tokens = {
            is_known: TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST, now)
            for is_known in (False, True)
        }
        self._lines = TokenBucket(LOG_LINES_PER_S, LOG_LINES_BURST, now)
        self._unlogged = 0
        self.refused: Final[dict[str, int]] = {}

    def reason_to_refuse(self, endpoint: Endpoint) -> str | None:
        """Judge a new connection by where it comes from."""
        host = endpoint.host
        if self._standing.banned(None, host) is not None:
            return "banned address"
        is_known = host in self._configured
        if sum(self._waiting.values()) >= UNAUTHENTICATED_MAX:
            return "too many unauthenticated connections"
        if not is_known:
            if self._strangers >= UNAUTHENTICATED_MAX - UNAUTHENTICATED_RESERVED:
                return "too many unauthenticated connections"
            in_network = self._waiting.get(subnet(host), 0)
            # What runs on this machine already shares everything with us.
            if in_network >= UNAUTHENTICATED_PER_SUBNET_MAX and not is_loopback(host):
                return "too many unauthenticated connections of one network"
        if not self._tokens[is_known].allows(1, trio.current_time()):
            return "too many handshakes"
        return None

    @contextmanager
    def unauthenticated(self, endpoint: Endpoint) -> Iterator[None]:
        """Count a connection while it shakes hands."""
        network, is_stranger = subnet(endpoint.host), endpoint.host not in self._configured
        self._waiting[network] = self._waiting.get(network, 0) + 1
        self._strangers += is_stranger
        try:
            yield
        finally:
            self._strangers -= is_stranger
            self._waiting[network] -= 1
            if not self._waiting[network]:
                del self._waiting[network]

    def turned_away(self, endpoint: Endpoint, kind: str, detail: str = "") -> None:
        """Count a refusal by its kind (a word of ours) and log who it was."""
        self.refused[kind] = self.refused.get(kind, 0) + 1
        if not self._lines.allows(1, trio.current_time()):
            self._unlogged += 1
            return
        facts = {"peer": str(endpoint), "reason": detail or kind}
        if self._unlogged:
            facts["also_unlogged"] = str(self._unlogged)
            self._unlogged = 0
        log.warning("peer refused", extra=facts)
