"""The gate: what a connection is judged by before it costs anything, and who was turned away.

Caps on connections that have not authenticated, in all and per network, and a token bucket
before any Diffie-Hellman. Configured peers have places and tokens of their own, so that a flood
of strangers never keeps them out, and who says nothing makes room for who does. Refusals are
counted by kind and logged within a ration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
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
# Honest peers speak at once. Who has not by then makes room when places are short.
SPEECHLESS_S: Final = 1.0
# A Diffie-Hellman costs 0.1 ms: a hundred handshakes a second are 3 % of a core.
HANDSHAKES_PER_S: Final = 100
HANDSHAKES_BURST: Final = 200
# Lines about refusals: enough to name everybody who tries in earnest, few enough to read.
LOG_LINES_PER_S: Final = 5
LOG_LINES_BURST: Final = 50
log = logging.getLogger("clawpurse.p2p")


class Place:
    """One unauthenticated connection's place. `scope` ends it when another needs the place."""

    def __init__(self, network: str, *, is_known: bool) -> None:
        self.network: Final = network
        self.is_known: Final = is_known
        self.since_s: Final = trio.current_time()
        self.scope: Final = trio.CancelScope()
        self.spoke = False


class Gate:
    """Judges new connections. Made inside `trio.run`, because its buckets begin full now."""

    def __init__(self, standing: Standing) -> None:
        now = trio.current_time()
        self._standing = standing
        self._places: dict[Place, None] = {}
        self._tokens = {
            is_known: TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST, now)
            for is_known in (False, True)
        }
        self._lines = TokenBucket(LOG_LINES_PER_S, LOG_LINES_BURST, now)
        self._unlogged = 0
        self.refused: Final[dict[str, int]] = {}

    def reason_to_refuse(self, endpoint: Endpoint) -> str | None:
        """Judge a new connection by where it comes from. May end one that says nothing."""
        host = endpoint.host
        if self._standing.banned(None, host) is not None:
            return "banned address"
        in_network = sum(place.network == subnet(host) for place in self._places)
        # What runs on this machine already shares everything with us.
        is_free = self._is_known(host) or is_loopback(host)
        if in_network >= UNAUTHENTICATED_PER_SUBNET_MAX and not is_free:
            return "too many unauthenticated connections of one network"
        while not self._has_room(host):
            if not self._make_room(host):
                return "too many unauthenticated connections"
        return None

    def _is_known(self, host: str) -> bool:
        return self._standing.configured.has_host(host)

    def _has_room(self, host: str) -> bool:
        if len(self._places) >= UNAUTHENTICATED_MAX:
            return False
        strangers = sum(not place.is_known for place in self._places)
        return self._is_known(host) or strangers < UNAUTHENTICATED_MAX - UNAUTHENTICATED_RESERVED

    def _make_room(self, host: str) -> bool:
        """End the oldest connection that said nothing for too long; a stranger's, for one."""
        latest_s = trio.current_time() - SPEECHLESS_S
        for place in self._places:
            if place.spoke or place.since_s > latest_s:
                continue
            if self._is_known(host) or not place.is_known:
                del self._places[place]
                place.scope.cancel()
                return True
        return False

    @contextmanager
    def unauthenticated(self, endpoint: Endpoint) -> Iterator[Place]:
        """Count a connection while it shakes hands."""
        place = Place(subnet(endpoint.host), is_known=self._is_known(endpoint.host))
        self._places[place] = None
        try:
            yield place
        finally:
            self._places.pop(place, None)

    def may_compute(self, endpoint: Endpoint) -> bool:
        """Pay for one handshake's arithmetic, before any of it; False when none is left."""
        return self._tokens[self._is_known(endpoint.host)].allows(1, trio.current_time())

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
