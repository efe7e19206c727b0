"""`watch`: the events of a topic, for ever, from any of several nodes, each exactly once.

A cursor means the same place on every node, so a watch that loses its node goes on at the next
one where it was: nothing is skipped, nothing comes twice, whatever restarts meanwhile. Keep
`cursor` with what you made of the events, and a restart of your own program goes on as well.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import CallerError
from clawpurse.modules.kit.web.client import RpcClient, Subscription
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.web.ws_client import WebSocketClient

# Heartbeats come every 5 to 10 s; a node that misses two of them is left for the next.
SILENCE_MAX_MS: Final = 15_000
# Heartbeats of a node that is behind what we saw already, before another node is tried.
BEHIND_MAX: Final = 2


class Watch(Subscription):
    """The events of a topic over several nodes. Made by `watch`; iterate, then `aclose`.

    As `Subscription`, and: a node that is silent, behind, or refuses is left for the next one.
    Iteration raises RpcError only when every node refused in turn (such as -32002 where none
    keeps the cursor's place any more). One task iterates.
    """

    def __init__(
        self,
        clients: Sequence[RpcClient],
        topic: str,
        matching: Mapping[str, Any] | None,
        from_cursor: str | None,
        jitter: Callable[[], float],
    ) -> None:
        if not clients:
            raise CallerError("a watch needs the URL of at least one node")
        super().__init__(
            self._next, topic, None if matching is None else dict(matching), from_cursor, jitter
        )
        self.silence_max_ms = SILENCE_MAX_MS
        self._clients = clients
        self._turn = itertools.cycle(clients)
        self._refusals = 0
        self._behind = 0
        #: The URL of the node that is listened to, or was last.
        self.url = clients[0].url

    async def _next(self) -> WebSocketClient:
        client = next(self._turn)
        self.url = client.url
        return await client.open_socket()

    async def _connect(self) -> None:
        try:
            await super()._connect()
        except RpcError:
            self._refusals += 1
            if self._refusals >= len(self._clients):
                raise
            return
        if self._socket is not None:
            self._refusals = 0

    async def _take(self, message: Any) -> Any:
        event = await super()._take(message)
        if event is not None:
            self._behind = 0
        elif self._is_behind(message):
            self._behind += 1
            if self._behind >= BEHIND_MAX and len(self._clients) > 1:
                self._behind = 0
                await self._drop()
        return event

    def _is_behind(self, message: Any) -> bool:
        """Tell whether a heartbeat is of a node that has not come to where we are."""
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict) or message.get("method") != "sub_heartbeat":
            return False
        height, place = params.get("height"), str(self.cursor).partition(".")[0]
        return isinstance(height, int) and place.isdigit() and int(place) > height


def watch(
    urls: Sequence[str] | Sequence[RpcClient],
    topic: str = "events",
    matching: Mapping[str, Any] | None = None,
    from_cursor: str | None = None,
    *,
    token: str | None = None,
    jitter: Callable[[], float] = random.random,
) -> Watch:
    """Follow a topic at one or several nodes: iterate over the result with `async for`.

    `urls` are nodes of one network, the preferred one first. `matching` is the topic's filter.
    `from_cursor`: None for what is new, `beginning`, or where an earlier watch was. Close it
    with `aclose`, or use it as `async with`. Nodes that do not answer are tried again, with
    pauses, until the caller gives up; bound that with a cancel scope.
    """
    clients = [url if isinstance(url, RpcClient) else RpcClient(url, token=token) for url in urls]
    return Watch(clients, topic, matching, from_cursor, jitter)
