"""The node's side of a remote signer: connects, asks, checks, and bears its absence (R25).

The node keeps a watermark of its own beside the signer's: raised before a question leaves, so
that two signers with one key, or one that was set back, are never asked for two things at one
position by this node. What comes back is verified. While the signer is away the node observes,
says so, and tries again with growing pauses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import trio

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.signbytes import parse
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.node.signer import DoubleSignRefused, Guard, Order, SignerAway, Watermark
from clawpurse.node.signer_wire import (
    FAULT_CHARS_MAX,
    Ask,
    Gone,
    KeyState,
    Say,
    SecureLine,
    order_of,
    secure,
    unpack_state,
)
from clawpurse.node.workers import Lane
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.transport import Transport

# A signature takes a flush of a disk and a round trip. The loop of consensus waits for it, so a
# signer that needs longer than a round has is as good as away.
ANSWER_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 5.0
# Pauses between attempts double up to the last: a signer that restarts is found within seconds,
# one that is off for days costs a connection attempt every ten.
PAUSE_FIRST_S: Final = 0.25
PAUSE_MAX_S: Final = 10.0
PING_PERIOD_S: Final = 5.0
log = logging.getLogger("clawpurse.signer")


class RemoteSigner:
    """One key of a remote signer, as the node's `Signer`. Made by `SignerLink`."""

    def __init__(self, link: SignerLink, guard: Guard, lane: Lane) -> None:
        self._link = link
        self._guard = guard
        self._lane = lane
        self.is_served = False

    @property
    def public_key(self) -> bytes:
        """The authority's public key."""
        return self._guard.public_key

    @property
    def watermark(self) -> Watermark:
        """The higher of the node's own watermark and what the signer last said of its own."""
        return self._guard.watermark

    @property
    def away(self) -> str:
        """Why the signer cannot be asked now; empty when it can."""
        if self._link.away:
            return self._link.away
        return "" if self.is_served else f"{self._link.name} does not hold this key"

    @property
    def refusal_count(self) -> int:
        """How many requests this node's own guard refused since start."""
        return self._guard.refusal_count

    async def sign(self, sign_bytes: bytes) -> bytes:
        """Have the signer sign; raises what `Signer.sign` says."""
        if self.away:
            raise SignerAway(self.away)
        guard = self._guard
        position = guard.admit(sign_bytes)
        if position is None:
            await self._lane.run(guard.settle)
        else:
            order = position.order
            await self._lane.run(lambda: guard.store(order, sign_bytes, b""))
        say, answer = await self._link.ask(Ask.SIGN, [self.public_key, sign_bytes])
        if say == Say.REFUSED:
            # It signed for somebody else: what it knows is taken over when we are connected anew.
            await self._link.distrust("it has signed more than this node asked for")
            raise DoubleSignRefused(parse(sign_bytes).order, order_of(answer))
        if say != Say.SIGNED:
            text = answer[0] if answer and type(answer[0]) is str else "no signature"
            raise await self._link.distrust(f"it answered: {text[:FAULT_CHARS_MAX]}")
        signature = codec.binary(answer[0] if answer else None, "signature", 64, 64)
        if not crypto.verify(self.public_key, sign_bytes, signature):
            raise await self._link.distrust("its signature does not verify")
        return signature

    async def raise_to(self, order: Order) -> None:
        """Silence the key up to a position here, and there too while the signer is connected."""
        await self._lane.run(lambda: self._guard.raise_to(order))
        if not self.away:
            try:
                await self._link.ask(Ask.RAISE, [self.public_key, *order])
            except SignerAway as err:
                # The node's own guard holds; the signer is told when it is back.
                log.warning("the signer was not told of a floor", extra={"why": str(err)})

    async def meet(self, state: KeyState) -> Order | None:
        """Take over a watermark of the signer that is above this node's own.

        Returns the position up to which the signer is still to be silenced, if there is one.
        """
        watermark = self._guard.watermark
        if state.order > watermark.order:
            await self._lane.run(lambda: self._guard.store(state.order, state.sign_bytes, b""))
        elif state.order < watermark.order and not watermark.sign_bytes:
            return watermark.order
        return None


class SignerLink:
    """The one connection to a remote signer. `run` keeps it up; `signers` are its keys."""

    def __init__(
        self,
        transport: Transport,
        place: tuple[str, int],
        identity: Identity,
        signer_id: bytes,
        guards: Iterable[Guard],
        lane: Lane,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`place` is where the signer listens, `signer_id` its node key."""
        self.name: Final = f"the signer at {place[0]}:{place[1]}"
        self.signers: Final = {one.public_key: RemoteSigner(self, one, lane) for one in guards}
        self.away = f"{self.name} was not reached yet"
        self._transport = transport
        self._place = place
        self._identity = identity
        self._signer_id = signer_id
        self._random = random_bytes
        self._line: SecureLine | None = None
        self._turn = trio.Lock()
        self._lost = trio.Event()

    async def run(self, on_back: Callable[[], None]) -> None:
        """Stay connected until cancelled; `on_back` is called each time the signer is back."""
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                await self._connect()
            except (Gone, PeerError, Malformed, SignerAway, OSError) as err:
                self._note(f"{self.name} does not answer: {err}")
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                continue
            pause_s = PAUSE_FIRST_S
            log.info("signer connected", extra={"signer": self.name})
            on_back()
            await self._ping()
            await trio.sleep(pause_s)

    def _note(self, why: str) -> None:
        if self.away != why:
            log.error("the signer is away", extra={"why": why})
        self.away = why

    async def _connect(self) -> None:
        with trio.move_on_after(CONNECT_TIMEOUT_S) as patience:
            stream, _ = await self._transport.open_stream(*self._place)
        if patience.cancelled_caught:
            raise Gone("nobody took the connection")
        try:
            line = await secure(
                stream, self._identity, self._random, self._signer_id, initiator=True
            )
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        self._line, self._lost = line, trio.Event()
        say, answer = await self._exchange(Ask.STATE, [])
        if say != Say.STATE:
            raise await self.distrust(f"it answered {say} when asked for its state")
        held = {state.key: state for state in unpack_state(answer)}
        for key, signer in self.signers.items():
            signer.is_served = key in held
            if signer.is_served:
                silenced = await signer.meet(held[key])
                if silenced is not None:
                    await self._exchange(Ask.RAISE, [key, *silenced])
            else:
                log.error("the signer lacks a key", extra={"authority": authority_text(key)})
        self.away = ""

    async def _ping(self) -> None:
        """Return when the connection is lost."""
        while not self._lost.is_set():
            with trio.move_on_after(PING_PERIOD_S):
                await self._lost.wait()
                return
            try:
                await self.ask(Ask.PING, [])
            except SignerAway:
                return

    async def ask(self, kind: Ask, payload: Wire) -> tuple[int, list[Wire]]:
        """Put a question and return the answer. Raises `SignerAway`; the connection then ends."""
        if self.away:
            raise SignerAway(self.away)
        return await self._exchange(kind, payload)

    async def _exchange(self, kind: Ask, payload: Wire) -> tuple[int, list[Wire]]:
        async with self._turn:
            line = self._line
            if line is None:
                raise SignerAway(self.away)
            try:
                with trio.fail_after(ANSWER_TIMEOUT_S):
                    await line.send(kind, payload)
                    return await line.receive()
            except trio.TooSlowError:
                why = f"it took longer than {ANSWER_TIMEOUT_S:g} s"
            except (Gone, PeerError, Malformed) as err:
                why = str(err)
            except trio.Cancelled:
                # Half a question is under way: what comes back would answer the next one.
                with trio.CancelScope(shield=True):
                    await self._drop("it was not waited for")
                raise
            raise await self._drop(why)

    async def distrust(self, why: str) -> SignerAway:
        """End a connection on which the signer said what no signer says."""
        return await self._drop(why)

    async def _drop(self, why: str) -> SignerAway:
        line, self._line = self._line, None
        self._note(f"{self.name} does not answer: {why}")
        self._lost.set()
        if line is not None:
            await line.close()
        return SignerAway(self.away)
