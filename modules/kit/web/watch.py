"""Open WebSockets whose token ends: closed within a second or so, whatever they do.

Each call of a WebSocket asks its grant anyway. A subscription makes no calls, so somebody has to
look: one task a connection, for those connections only whose grant can end.
"""

from __future__ import annotations

from typing import Final

import trio
from wsproto.frame_protocol import CloseReason

from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.memory import Memory
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.websocket import WebSocketSession

LOOK_S: Final = 1.0
"""How long a dead token's subscriptions may go on; a thousand such looks cost 2 ms a second."""


class WatchedSession:
    """A WebSocket session that ends with its grant. See `http.Upgraded`."""

    def __init__(
        self, session: WebSocketSession, grant: Grant, peer: Peer, log: RefusalLog
    ) -> None:
        self._session = session
        self._grant = grant
        self._peer = peer
        self._log = log

    def stop(self) -> None:
        """Close as the server stops."""
        self._session.stop()

    async def run(self, stream: trio.abc.Stream, beginning: bytes, memory: Memory) -> None:
        """Serve until either side closes or the grant ends; does not close the stream."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await self._session.run(stream, beginning, memory)
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            if not self._grant.alive():
                break
        self._log.refuse(self._peer.address, self._peer.client, "token-dead")
        self._session.end(CloseReason.POLICY_VIOLATION, "the token has expired or was revoked")
