"""admin_*: what the operator of this node does to it while it runs, with a token that may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import (
    BAD_CONFIGURATION,
    LIMIT_EXCEEDED,
    NOT_FOUND,
    RpcError,
)
from clawpurse.modules.kit.web.guard import ADMIN
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.node.logs import ALL, LOGGERS
from clawpurse.node.operator import Operator, PeersFull
from clawpurse.node.rpc import consensus_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.p2p.address import HOST_CHARS_MAX, PeerAddress, parse_node_id

Json = dict[str, Any]
# 64 digits of a node id, an @, a host in brackets, a colon and a port.
PEER_CHARS_MAX: Final = 64 + 1 + HOST_CHARS_MAX + 2 + 6


def _address(value: Any) -> PeerAddress:
    try:
        if isinstance(value, str) and len(value) <= PEER_CHARS_MAX:
            return PeerAddress.parse(value)
    except Malformed as err:
        raise ValueError(f"is wrong: {err}") from None
    raise ValueError("is not NODE-ID@HOST:PORT")


def _node_id(value: Any) -> bytes:
    """Read a node id, also as the first part of `NODE-ID@HOST:PORT`."""
    try:
        if isinstance(value, str) and len(value) <= PEER_CHARS_MAX:
            return parse_node_id(value.partition("@")[0])
    except Malformed as err:
        raise ValueError(f"is wrong: {err}") from None
    raise ValueError("is not a node id")


Address = Annotated[
    PeerAddress,
    BeforeValidator(_address),
    WithJsonSchema(
        {"type": "string", "pattern": "^[0-9a-f]{64}@.+:[0-9]{1,5}$", "maxLength": PEER_CHARS_MAX}
    ),
]
NodeId = Annotated[
    bytes,
    BeforeValidator(_node_id),
    WithJsonSchema(
        {"type": "string", "pattern": "^[0-9a-f]{64}(@.*)?$", "maxLength": PEER_CHARS_MAX}
    ),
]


def _logger(value: Any) -> str:
    if value not in (ALL, *LOGGERS):
        raise ValueError(f"is none of {', '.join((ALL, *LOGGERS))}")
    return str(value)


Logger = Annotated[
    str,
    BeforeValidator(_logger),
    WithJsonSchema({"type": "string", "enum": [ALL, *LOGGERS]}),
]


class AddPeerParams(Params):
    """Parameters of admin_addPeer."""

    peer: Address = Field(description="NODE-ID@HOST:PORT")


class RemovePeerParams(Params):
    """Parameters of admin_removePeer."""

    peer: NodeId = Field(description="Its node id, or NODE-ID@HOST:PORT")
    ban: bool = Field(False, description="Refuse it, too, when it comes by itself")


class LogLevelParams(Params):
    """Parameters of admin_setLogLevel."""

    level: Literal["debug", "info", "warning", "error"] = Field(description="From which on")
    logger: Logger = Field(ALL, description="Of this part of the node, or of all alike")


class AdminMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _operator(self) -> Operator:
        return self._services.operator

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "admin_addPeer",
                "Stay connected to a peer from now on, after restarts too",
                self.add_peer,
                AddPeerParams,
                errors=(BAD_CONFIGURATION, LIMIT_EXCEEDED),
                role=ADMIN,
                result=consensus_shapes.AddedPeer,
                result_description=(
                    "peer nodeId added (false: it was listed) connected peers[] (all configured)"
                ),
            ),
            Method(
                "admin_removePeer",
                "Disconnect a peer and keep it no more, after restarts neither",
                self.remove_peer,
                RemovePeerParams,
                errors=(BAD_CONFIGURATION, NOT_FOUND),
                role=ADMIN,
                result=consensus_shapes.RemovedPeer,
                result_description=(
                    "nodeId removed (it was configured) disconnected bannedUntil|null peers[]"
                ),
            ),
            Method(
                "admin_setLogLevel",
                "Log more or less from now on, until the node ends",
                self.set_log_level,
                LogLevelParams,
                role=ADMIN,
                result=consensus_shapes.LogLevels,
                result_description="levels{all, and each logger with a level of its own}",
            ),
            Method(
                "admin_reloadConfig",
                "Read the configuration file anew and apply what can change now",
                self.reload_config,
                errors=(BAD_CONFIGURATION,),
                role=ADMIN,
                result=consensus_shapes.Reloaded,
                result_description="changed[] needsRestart[]: names of settings",
            ),
            Method(
                "admin_stop",
                "Stop this node cleanly",
                self.stop,
                role=ADMIN,
                result=consensus_shapes.Stopping,
                result_description="stopping",
            ),
        ]

    async def add_peer(self, params: AddPeerParams, _context: Context) -> Json:
        """admin_addPeer."""
        address = params.peer
        with _told():
            added = await self._operator.add_peer(address)
        return {
            "peer": str(address),
            "nodeId": address.node_id.hex(),
            "added": added,
            "connected": await self._operator.connected(address.node_id),
            "peers": list(self._operator.config.peers),
        }

    async def remove_peer(self, params: RemovePeerParams, _context: Context) -> Json:
        """admin_removePeer."""
        with _told():
            removed, connected = await self._operator.remove_peer(params.peer, ban=params.ban)
        until_ms = self._operator.banned_until_ms(params.peer)
        return {
            "nodeId": params.peer.hex(),
            "removed": removed,
            "disconnected": connected,
            "bannedUntil": None if until_ms is None else time_text(until_ms),
            "peers": list(self._operator.config.peers),
        }

    def set_log_level(self, params: LogLevelParams, _context: Context) -> Json:
        """admin_setLogLevel."""
        return {"levels": self._operator.set_log_level(params.level, params.logger)}

    async def reload_config(self, _params: NoParams, _context: Context) -> Json:
        """admin_reloadConfig."""
        with _told():
            done = await self._operator.reload()
        return {"changed": list(done.changed), "needsRestart": list(done.needs_restart)}

    def stop(self, _params: NoParams, _context: Context) -> Json:
        """admin_stop."""
        self._services.stop()
        return {"stopping": True}


@contextmanager
def _told() -> Iterator[None]:
    """Answer with what an operator must mend, in the words that a start would use."""
    try:
        yield
    except PeersFull as err:
        raise RpcError(LIMIT_EXCEEDED, err.what, hint="remove a peer first") from err
    except StorageFault:
        raise
    except OperatorError as err:
        hint = err.next_command or None
        raise RpcError(BAD_CONFIGURATION, f"{err.what} {err.why}".strip(), hint=hint) from err
