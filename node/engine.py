"""Performs what the consensus machine asks for, in order (R22): one owner, one loop.

Inputs arrive in a bounded inbox; each step's effects are performed before the next input is
taken. Appended inputs reach the disk before anything that rests on them leaves: before a
signature, a message, a decision. Building, executing and fetching run beside the loop and
answer with inputs, so that votes are heard while a block executes.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.consensus.effects import (
    AppendWal,
    Broadcast,
    CancelTimeouts,
    Decide,
    Effect,
    EvidenceFound,
    FetchBody,
    Halt,
    Rejected,
    RequestBlock,
    ScheduleTimeout,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import (
    BlockReady,
    HeaderFetched,
    Input,
    Signed,
    SignRefused,
    StartHeight,
    TimeoutElapsed,
    Validity,
    WorkAvailable,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import pause_ms
from clawpurse.consensus.wal_records import BodyStored, Decided, decode, encode
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import SignedMessage, kind_of
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.bodies import Bodies, Body
from clawpurse.node.signer import DoubleSignRefused, SignerAway
from clawpurse.node.signing import Signing
from clawpurse.node.wal import Wal

# Inputs waiting for the loop. Consensus of 100 authorities makes 200 votes a round; beyond this
# peers are slowed down by not reading from them.
INBOX_MAX: Final = 4_096
# Jobs that wait to be started, which takes one turn of the loop; a height begins a few a round.
JOBS_MAX: Final = 1_024
Job = Callable[[], Awaitable[None]]
# The key under which this node signs a height with this authority set, if any.
KeyFor = Callable[[int, AuthoritySet], bytes | None]
Observe = Callable[[Input | None, bytes | None, Sequence[Effect]], None]
log = logging.getLogger("clawpurse.consensus")


class Judgement(NamedTuple):
    """What checking and executing a proposed block said."""

    ok: bool
    problem: str = ""


class Chain(Protocol):
    """What the engine needs of the chain: the next height's terms, blocks, commits."""

    @property
    def height(self) -> int:
        """The height of the newest committed block, 0 for genesis."""

    def start_height(self, key_for: KeyFor) -> StartHeight:
        """Return the terms of the height after the newest committed block."""

    async def build(self, round_: int, proposer: bytes) -> Body | None:
        """Build and execute a block for the next height; None when that is impossible now."""

    async def judge(self, body: Body) -> Judgement:
        """Check and execute a proposed block (R21), once per block id."""

    async def commit(self, body: Body, certificate: Certificate) -> None:
        """Make a decided block final: one synced batch (R23)."""

    async def announce(self) -> None:
        """Tell subscribers and waiting callers that the newest block is final."""

    def work_waits(self) -> bool:
        """Tell whether the next block would have something in it."""


class Evidence(Protocol):
    """Keeps what convicts an authority (R27)."""

    def found(self, proof: DoubleSign) -> None:
        """Take evidence; what is known changes nothing."""

    async def flush(self) -> None:
        """Have on disk all that was taken. Raises `StorageFault`."""


def decided_twice(height: int, what: str) -> OperatorError:
    """Return what an operator is told at a fork: no node knows which history the others take."""
    return OperatorError(
        f"Height {height} was decided twice: {what}.",
        "More authorities signed both than the network can bear, so nothing is certain after "
        f"block {height - 1}. Payments must not be accepted until the operators have agreed "
        "which history holds",
        "call the other operators; docs/operator-guide.md, “Two histories”",
    )


class _Forgetful:
    """Keeps nothing, until somebody does."""

    def found(self, proof: DoubleSign) -> None:
        """Only count on the log."""
        log.error(
            "an authority signed twice for one position",
            extra={"authority": proof.authority.hex(), "height": proof.height},
        )

    async def flush(self) -> None:
        """There is nothing to write."""


def _nobody_observes(_event: Input | None, _peer: bytes | None, _out: Sequence[Effect]) -> None:
    """Stand in until somebody does."""


class Delivery(NamedTuple):
    """An input, the peer it came from (None: this node), and a body to log before it.

    Without an event it only wakes the loop.
    """

    event: Input | None
    peer: bytes | None = None
    stored: BodyStored | None = None


class Engine:
    """The consensus loop of one node. `run` returns only by cancellation or an error."""

    def __init__(
        self,
        domain: Domain,
        chain: Chain,
        bodies: Bodies,
        wal: Wal,
        signing: Signing,
        *,
        broadcast: Callable[[Message], None],
        on_rejected: Callable[[bytes, str], None],
    ) -> None:
        self.machine: Final = Machine(domain)
        self._domain = domain
        self._chain = chain
        self._bodies = bodies
        self._wal = wal
        self._signing = signing
        self._broadcast = broadcast
        self._on_rejected = on_rejected
        self._send, self._inbox = trio.open_memory_channel[Delivery](INBOX_MAX)
        self._timers: list[tuple[float, int, TimeoutElapsed]] = []
        self._timer_count = 0
        self._unsynced: list[bytes] = []
        self._recovered: list[BodyStored] = []
        self._undone: Decided | None = None
        self._own_key: bytes | None = None
        self._asks_again = False
        self._signed_before: list[SignedMessage] = []
        self._tasks: list[trio.CancelScope] = []
        self._jobs, self._new_jobs = trio.open_memory_channel[Job](JOBS_MAX)
        self._work_told = 0
        self._height_started_s = 0.0
        self.height_changed = trio.Event()
        self.evidence_count = 0
        self.refusal_count = 0
        # Told of each input that the machine has taken, before its effects are performed: who
        # explains consensus listens here. None: only the place may have changed.
        self.observe: Observe = _nobody_observes
        self.evidence: Evidence = _Forgetful()

    # -- what others may do

    async def deliver(self, event: Input, peer: bytes | None) -> None:
        """Hand in an input; waits while the inbox is full. Cancellable."""
        await self._send.send(Delivery(event, peer))

    def try_deliver(self, event: Input, peer: bytes | None) -> bool:
        """Hand in an input unless the inbox is full."""
        return self._try_send(Delivery(event, peer))

    def _try_send(self, delivery: Delivery) -> bool:
        try:
            self._send.send_nowait(delivery)
        except trio.WouldBlock:
            return False
        return True

    def work_available(self) -> None:
        """Say that a transaction is pooled or work is due; cheap to call often."""
        height = self.machine.height
        if self._work_told != height and self._try_send(Delivery(WorkAvailable(height))):
            self._work_told = height

    @property
    def may_sign(self) -> bool:
        """Whether this node signs the height in progress (R24, R26)."""
        return self._signing.may_sign

    def sign_again(self) -> None:
        """Ask again for signatures that could not be had: a key may sign that could not before."""
        self._asks_again = True
        # With a full inbox the loop is awake and looks after its next input.
        self._try_send(Delivery(None))

    def timers(self) -> list[tuple[TimeoutElapsed, int]]:
        """Return what is timed and in how many ms it elapses, the soonest first."""
        now_s = trio.current_time()
        armed = {TimeoutElapsed(t.kind, t.height, t.round) for t in self.machine.timers}
        return [
            (event, max(0, round((when_s - now_s) * 1000)))
            for when_s, _, event in sorted(self._timers)
            if event in armed
        ]

    # -- start-up

    def open_log(self) -> None:
        """Open or begin the log of the next height and replay it (R22, R23). Blocking.

        A log that is missing or another height's is begun anew; what was voted with the old one
        is in the signing state, which keeps the key silent there (R26). Raises `OperatorError`
        for a damaged log.
        """
        wanted = self._chain.height + 1
        newest = self._wal.newest_height()
        if newest == wanted:
            self._wal.open(wanted)
            self._replay()
            return
        if newest is None and wanted > 1:
            log.warning("the consensus log is missing", extra={"height": wanted})
        elif newest not in (None, wanted - 1):
            log.warning("the consensus log is another height's", extra={"height": newest})
        elif newest is not None:
            # The last height's file stays, so that its bodies can be served.
            self._recovered.extend(
                event
                for event in map(decode, (record.payload for record in self._wal.read(newest)))
                if isinstance(event, BodyStored)
            )
        self._wal.create(wanted)

    def close_log(self) -> None:
        """Close the log; nothing is lost by not doing so."""
        self._wal.close()

    def _replay(self) -> None:
        for record in self._wal.recovered:
            event = decode(record.payload)
            match event:
                case BodyStored():
                    self._recovered.append(event)
                case Decided():
                    self._undone = event
                case _:
                    if isinstance(event, Signed):
                        self._signed_before.append(event.message)
                    elif isinstance(event, StartHeight):
                        self._own_key = event.own_key
                    for effect in self.machine.step(event):
                        if isinstance(effect, EvidenceFound):
                            self.evidence.found(effect.evidence)
        log.info(
            "log replayed",
            extra={
                "height": self._wal.height,
                "records": len(self._wal.recovered),
                "round": self.machine.round,
                "step": self.machine.step_name,
            },
        )

    async def _recall(self) -> None:
        """Let signing states and this log tell each other what was signed (R26)."""
        for message in self._signed_before:
            await self._signing.signed_before(message)
        self._signed_before.clear()
        said = [*self.machine.own_messages]
        said += [e.message for e in self.machine.outstanding() if isinstance(e, Sign)]
        known = [message.sign_bytes(self._domain) for message in said]
        await self._signing.recall(self._chain.height + 1, known)

    # -- the loop

    async def run(self) -> None:
        """Perform consensus until cancelled. Raises what must end the process."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_jobs)
            await self._resume()
            while True:
                delivery = await self._next_delivery()
                if delivery.stored is not None:
                    self._unsynced.append(encode(delivery.stored))
                if self._asks_again:
                    self._asks_again = False
                    await self._recall()
                    signs = [e for e in self.machine.outstanding() if isinstance(e, Sign)]
                    await self._perform(signs, None)
                if delivery.event is None:
                    continue
                effects = self.machine.step(delivery.event)
                self.observe(delivery.event, delivery.peer, effects)
                await self._perform(effects, delivery.peer)

    async def _resume(self) -> None:
        """Go on where the log ends: restore bodies, finish a decision, redo what is owed."""
        await self._recall()
        self._bodies.start_height(self._chain.height + 1)
        for stored in self._recovered:
            self._bodies.put(await self._bodies.complete(Block.unpack(stored.block)))
        self._recovered.clear()
        self._height_started_s = trio.current_time()
        if self._undone is not None:
            await self._commit(self._undone.header, self._undone.certificate)
            self._undone = None
        elif self.machine.height == 0:
            await self._start_height()
        else:
            await self._perform(self.machine.outstanding(), None)
            self._tell_work()

    async def _next_delivery(self) -> Delivery:
        while True:
            deadline = self._timers[0][0] if self._timers else trio.current_time() + 3600
            with trio.move_on_at(deadline):
                return await self._inbox.receive()
            if self._timers and self._timers[0][0] <= trio.current_time():
                return Delivery(heapq.heappop(self._timers)[2])

    async def _perform(self, effects: Iterable[Effect], peer: bytes | None) -> None:
        """Perform effects in order; what signing answers is taken in before anything else."""
        waiting = deque(self._log(effects))
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Sign(message):
                    signed = await self._sign(message)
                    if signed is not None:
                        answered = self.machine.step(signed)
                        self.observe(signed, None, answered)
                        waiting.extendleft(reversed(self._log(answered)))
                case Broadcast(message):
                    await self._flush()
                    self._broadcast(message)
                case Decide(header, certificate):
                    self._unsynced.append(encode(Decided(header, certificate)))
                    await self._flush()
                    await self._commit(header, certificate)
                case ScheduleTimeout(kind, height, round_, ms):
                    self._timer_count += 1
                    when = trio.current_time() + ms / 1000
                    entry = (when, self._timer_count, TimeoutElapsed(kind, height, round_))
                    heapq.heappush(self._timers, entry)
                case CancelTimeouts(height, round_):
                    self._drop_timers(height, round_)
                case EvidenceFound(evidence):
                    await self._accuse(evidence)
                case _:
                    if isinstance(effect, Halt):
                        await self.evidence.flush()
                    self._begin(effect, peer)

    def _log(self, effects: Iterable[Effect]) -> list[Effect]:
        """Log what one step took in, before its other effects; return those.

        One step can take in many inputs, at a height's start. What signing answers comes after
        all of them in the machine, so it must in the log, or replay would not accept it.
        """
        others: list[Effect] = []
        for effect in effects:
            if isinstance(effect, AppendWal):
                self._unsynced.append(encode(effect.record))
            else:
                others.append(effect)
        return others

    def _begin(self, effect: Effect, peer: bytes | None) -> None:
        """Start what runs beside the loop, or report."""
        match effect:
            case RequestBlock(height, round_):
                self._spawn(self._build, height, round_)
            case Validate(header):
                self._spawn(self._validate, header)
            case FetchBody(_, _, block_id):
                self._spawn(self._fetch, block_id)
            case Rejected(_, problem):
                if peer is not None:
                    self._on_rejected(peer, problem)
            case Halt(height, round_, block_id, problem, is_fork=True):
                raise decided_twice(height, f"0x{block_id.hex()} in round {round_}; {problem}")
            case Halt(height, round_, block_id, problem):
                raise OperatorError(
                    f"Height {height} was decided for a block that this node finds invalid.",
                    f"Block 0x{block_id.hex()} in round {round_}: {problem}.",
                    "clawpurse db check, then compare versions with the other authorities",
                )

    async def _accuse(self, evidence: DoubleSign) -> None:
        self.evidence_count += 1
        self.evidence.found(evidence)
        accused = self._signing.accused(evidence.authority, evidence.height)
        if accused is not None:
            await self.evidence.flush()
            raise accused

    def _spawn(self, job: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a job beside the loop until the height is over."""
        scope = trio.CancelScope()
        self._tasks.append(scope)

        async def contained() -> None:
            with scope:
                await job(*args)

        self._jobs.send_nowait(contained)

    async def _run_jobs(self) -> None:
        async with trio.open_nursery() as nursery:
            async for job in self._new_jobs:
                nursery.start_soon(job)

    def _drop_timers(self, height: int, round_: int) -> None:
        kept = [e for e in self._timers if e[2].height > height or e[2].round >= round_]
        heapq.heapify(kept)
        self._timers = kept

    async def _flush(self) -> None:
        if self._unsynced:
            payloads, self._unsynced = self._unsynced, []
            await self._wal.append(payloads)

    async def _sign(self, message: SignedMessage) -> Signed | SignRefused | None:
        """Sign under the guard, or refuse; None while signing is not possible yet (R24, R25).

        A refusal costs one message, never safety; unanswered, the machine would wait with all
        that it wants signed after this one.
        """
        refused = SignRefused(kind_of(message), message.height, message.round)
        signer = self._signing.signer(message.authority)
        if signer is None:
            # The log is from when this node had that key.
            return refused
        if not self._signing.is_open(message.authority):
            return None
        await self._flush()
        if self._signing.wants_recall(message.authority):
            await self._recall()
        try:
            signature = await signer.sign(message.sign_bytes(self._domain))
        except DoubleSignRefused as err:
            self.refusal_count += 1
            log.warning("the signing guard refused", extra={"why": str(err)})
            return refused
        except SignerAway as err:
            log.warning("the signer is away", extra={"why": str(err)})
            return None
        return Signed(message._replace(signature=signature))

    async def _build(self, height: int, round_: int) -> None:
        body = None if self._own_key is None else await self._chain.build(round_, self._own_key)
        if body is None:
            await self._send.send(Delivery(BlockReady(height, round_, None)))
            return
        self._bodies.put(body)
        header = body.block.header
        stored = BodyStored(header.block_id, body.block.pack())
        await self._send.send(Delivery(BlockReady(height, round_, header), None, stored))

    async def _validate(self, header: Header) -> None:
        body = await self._bodies.obtain(header.block_id)
        judgement = await self._chain.judge(body)
        event = Validity(header.block_id, judgement.ok, judgement.problem)
        if not judgement.ok:
            log.error(
                "block refused",
                extra={"block": header.block_id.hex(), "problem": judgement.problem},
            )
            await self._send.send(Delivery(event))
            return
        stored = BodyStored(header.block_id, body.block.pack())
        await self._send.send(Delivery(event, None, stored))

    async def _fetch(self, block_id: bytes) -> None:
        body = await self._bodies.obtain(block_id)
        await self._send.send(Delivery(HeaderFetched(body.block.header)))

    # -- from height to height

    async def _commit(self, header: Header, certificate: Certificate) -> None:
        for scope in self._tasks:
            scope.cancel()
        self._tasks.clear()
        if self.machine.authorities is not None:
            await self._signing.committed(header, certificate, self.machine.authorities)
        # Kept since it was judged, and whoever voted for it has it too.
        body = await self._bodies.obtain(header.block_id)
        await self._chain.commit(body, certificate)
        self._bodies.start_height(header.height + 1)
        # Replaying the old log would find it again; the new one does not know of it.
        await self.evidence.flush()
        await self._wal.roll(header.height + 1)
        await self._chain.announce()
        changed, self.height_changed = self.height_changed, trio.Event()
        changed.set()
        await self._start_height()

    async def _start_height(self) -> None:
        start = self._chain.start_height(self._signing.key_for)
        self._own_key = start.own_key
        now_s = trio.current_time()
        pause = pause_ms(
            previous_start_ms=int(self._height_started_s * 1000),
            now_ms=int(now_s * 1000),
            interval_ms=start.timeouts.interval_ms,
        )
        self._height_started_s = now_s + pause / 1000
        self._timers.clear()
        effects = self.machine.step(replace(start, pause_ms=pause))
        self.observe(None, None, effects)
        await self._perform(effects, None)
        self._tell_work()

    def _tell_work(self) -> None:
        self._work_told = 0
        if self._chain.work_waits():
            self.work_available()
