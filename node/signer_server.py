"""The remote signer's side: keys, watermarks and the rules of R24, for one node (R25).

It parses what it is asked to sign by itself and signs nothing else. One node, known by its key,
is served at a time: a second connection of it means that the first one is dead and not yet
noticed, so the newest is served. Strangers get as far as the handshake, a few at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import trio

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.node.signer import DoubleSignRefused, Signer
from clawpurse.node.signer_wire import (
    FAULT_CHARS_MAX,
    SIGN_BYTES_MAX,
    Ask,
    Gone,
    KeyState,
    Say,
    SecureLine,
    order_of,
    pack_state,
    secure,
)
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.handshake import Identity

# Connections that have not proved who they are; a node needs one.
STRANGERS_MAX: Final = 8
# A node says something every few seconds; one that is silent for so long is gone.
SILENCE_MAX_S: Final = 30.0
log = logging.getLogger("clawpurse.signer")


class SignerServer:
    """Signs for one node.

    `serve` is called for each connection and never raises what a stranger causes; a disk that
    fails raises `StorageFault` and must end the process.
    """

    def __init__(
        self,
        signers: Mapping[bytes, Signer],
        identity: Identity,
        client: bytes,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._signers = signers
        self._identity = identity
        self._client = client
        self._random = random_bytes
        self._strangers = 0
        self._current: trio.CancelScope | None = None
        self._turn = trio.Lock()
        self.signed_count = 0
        self.refused_count = 0

    async def serve(self, stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        """Serve a connection to its end."""
        if self._strangers >= STRANGERS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._strangers += 1
        try:
            line = await secure(stream, self._identity, self._random, self._client, initiator=False)
        except (Gone, PeerError, Malformed) as err:
            log.warning("refused", extra={"from": str(endpoint), "why": str(err)})
            await trio.aclose_forcefully(stream)
            return
        finally:
            self._strangers -= 1
        if self._current is not None:
            self._current.cancel()
        with trio.CancelScope() as scope:
            self._current = scope
            await self._converse(line, endpoint)
        if self._current is scope:
            self._current = None

    async def _converse(self, line: SecureLine, endpoint: Endpoint) -> None:
        log.info("node connected", extra={"from": str(endpoint)})
        why = "silent"
        try:
            while True:
                with trio.move_on_after(SILENCE_MAX_S) as patience:
                    kind, payload = await line.receive()
                if patience.cancelled_caught:
                    break
                # An answer that is being made is finished and kept, whoever asked and left.
                async with self._turn:
                    with trio.CancelScope(shield=True):
                        say, answer = await self._answer(kind, payload)
                await line.send(say, answer)
        except (Gone, PeerError, Malformed) as err:
            why = str(err)
        finally:
            with trio.CancelScope(shield=True):
                await line.close()
            log.info("node disconnected", extra={"from": str(endpoint), "why": why})

    async def _answer(self, kind: int, payload: list[Wire]) -> tuple[Say, Wire]:
        match kind:
            case Ask.STATE:
                return Say.STATE, pack_state([_state(one) for one in self._signers.values()])
            case Ask.SIGN:
                return await self._sign(payload)
            case Ask.RAISE:
                signer = self._signer(payload)
                await signer.raise_to(order_of(payload[1:]))
                return Say.STATE, pack_state([_state(signer)])
            case Ask.PING:
                return Say.PONG, []
        raise Malformed("message.kind", f"is {kind}")

    def _signer(self, payload: list[Wire]) -> Signer:
        signer = self._signers.get(codec.digest(payload[0] if payload else None, "sign.key"))
        if signer is None:
            raise Malformed("sign.key", "is not held here")
        return signer

    async def _sign(self, payload: list[Wire]) -> tuple[Say, Wire]:
        signer = self._signer(payload)
        data = codec.binary(codec.array(payload, "sign", 2)[1], "sign.bytes", SIGN_BYTES_MAX)
        try:
            signature = await signer.sign(data)
        except DoubleSignRefused as err:
            self.refused_count += 1
            log.warning("refused to sign", extra={"why": str(err)})
            return Say.REFUSED, list(err.watermark)
        except Malformed as err:
            self.refused_count += 1
            log.error("asked to sign what is no vote of this network", extra={"why": str(err)})
            return Say.FAULT, [str(err)[:FAULT_CHARS_MAX]]
        self.signed_count += 1
        return Say.SIGNED, [signature]


def _state(signer: Signer) -> KeyState:
    watermark = signer.watermark
    return KeyState(signer.public_key, watermark.order, watermark.sign_bytes)
