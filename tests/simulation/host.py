"""A correct node around the machine, in simulated time: log, signer, chain, timers, crashes.

It performs effects in the order of R22 and can die between any two steps of it. What survives a
crash is what a disk would hold: flushed log records (and any part of the unflushed ones), the
signer's watermark, committed blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

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
    CertificateReceived,
    HeaderFetched,
    Input,
    ProposalReceived,
    Signed,
    SignRefused,
    StartHeight,
    SyncedBlock,
    TimeoutElapsed,
    Validity,
    VoteReceived,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import pause_ms
from clawpurse.consensus.wal_records import decode, encode
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote, kind_of
from clawpurse.ledger.blocks import Header
from tests.simulation.properties import Violation
from tests.simulation.values import DOMAIN, WRONG_ROOT, header_of, signed, verify

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

#: Every place at which a node can be told to die; a full run must reach each.
CRASH_POINTS = (
    "before append",
    "after append",
    "before sign",
    "after sign",
    "before send",
    "while sending",
    "after send",
    "before decide record",
    "before commit",
    "after commit",
)


class Crash(Exception):
    """The node dies here."""


class DoubleSignRefused(Exception):
    """The signer's guard said no."""


class Signer:
    """R24 on a disk that never loses what it acknowledged."""

    def __init__(self) -> None:
        self.order = (0, 0, 0)
        self.last: tuple[bytes, SignedMessage] | None = None

    def sign(self, message: SignedMessage) -> SignedMessage:
        """Sign if the position rises, repeat the same bytes, refuse anything else."""
        order = (message.height, message.round, int(kind_of(message)))
        content = message.sign_bytes(DOMAIN)
        if order == self.order and self.last is not None and self.last[0] == content:
            return self.last[1]
        if order <= self.order:
            raise DoubleSignRefused
        result = signed(message)
        self.order, self.last = order, (content, result)
        return result


class Host:
    """One correct node. `address` numbers nodes; twins share a `key` under two addresses."""

    machine_class: type[Machine] = Machine
    signer_class: type[Signer] = Signer

    def __init__(
        self, cluster: Cluster, address: int, key: bytes | None, *, correct: bool, skew_ms: int
    ) -> None:
        self.cluster = cluster
        self.address = address
        self.key = key
        self.correct = correct
        self.skew_ms = skew_ms
        self.signer = self.signer_class()
        self.chain: list[tuple[Header, Certificate]] = []
        self.log: list[Input] = []
        self.flushed = 0
        self.outputs: list[tuple[Effect, ...]] = []
        self.bodies: set[bytes] = set()
        self.helped: set[tuple[int, int]] = set()
        self.epoch = 0
        self.up = False
        self.fuse = -1
        self.fuse_point = ""
        #: Loses its log in every crash and keeps the signer's watermark: counts as faulty, and
        #: must still never sign twice (T#3089, T#3418).
        self.forgetful = address in cluster.plan.forgetful
        self.started_ms = 0
        self.queue: deque[Input] = deque()
        self.machine = self._new_machine()

    # ── life ────────────────────────────────────────────────────────────────────────────────

    def _new_machine(self) -> Machine:
        return self.machine_class(DOMAIN, verify=verify, trace=self.cluster.trace)

    def boot(self) -> None:
        """Start, or start again: replay the log, compare it with what was, go on."""
        self.up = True
        self.epoch += 1
        self.machine = self._new_machine()
        self.queue.clear()
        if self.forgetful:
            self.log, self.outputs, self.flushed = [], [], 0
        if not self.log:
            self.started_ms = self.cluster.now
            self._guard(lambda: self._begin_height(pause=0))
            return
        self._replay(self.machine, self.log, self.outputs)
        self._guard(lambda: self._perform(self.machine.outstanding()))

    def _replay(
        self, machine: Machine, log: Sequence[Input], outputs: Sequence[tuple[Effect, ...]]
    ) -> None:
        """Property 6: the same inputs, identical outputs."""
        for record, expected in zip(log, outputs, strict=True):
            if machine.step(record) != expected:
                raise Violation(6, f"replay of {type(record).__name__} gives other effects")

    def probe_replay(self) -> None:
        """Property 6: a machine built from the log's bytes equals the one that lived."""
        if not self.up or not self.log or self.queue:
            return
        twin = self.machine_class(DOMAIN, verify=verify)
        read_back = [cast(Input, decode(encode(record))) for record in self.log]
        self._replay(twin, read_back, self.outputs)
        if twin.state != self.machine.state:
            raise Violation(6, f"replay gives {twin.state}, life gave {self.machine.state}")
        # A timer that ran out without effect is in no log, so replay may arm it once more.
        mine, theirs = (
            [e for e in machine.outstanding() if not isinstance(e, ScheduleTimeout)]
            for machine in (self.machine, twin)
        )
        if mine != theirs:
            raise Violation(6, f"replay leaves {theirs} to do, life {mine}")

    def crash(self) -> None:
        """Die now. Of the unflushed log any prefix survives."""
        self.up = False
        self.epoch += 1
        self.fuse = -1
        kept = self.cluster.random.randint(self.flushed, len(self.log))
        del self.log[kept:]
        del self.outputs[kept:]
        self.flushed = kept
        self.cluster.crashed(self)

    def _point(self, name: str) -> None:
        if self.fuse_point != name:
            return
        if self.fuse > 0:
            self.fuse -= 1
        elif self.fuse == 0:
            self.cluster.crash_points[name] += 1
            raise Crash

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
            while self.queue:
                self._take(self.queue.popleft())
        except Crash:
            self.crash()

    # ── inputs ──────────────────────────────────────────────────────────────────────────────

    def take(self, event: Input) -> None:
        """Hand one input to the machine and do what it says."""
        if self.up:
            self._guard(lambda: self._take(event))

    def _take(self, event: Input) -> None:
        self._perform(self.machine.step(event))

    def receive(self, sender: int, message: Message | SyncedBlock) -> None:
        """Take a message from the network; help a peer that is behind, or ask to be helped."""
        if not self.up:
            return
        if isinstance(message, SyncedBlock):
            self.take(message)
            return
        if message.height < self.machine.height:
            self._help(sender, message.height)
        elif message.height > self.machine.height:
            self.cluster.ask_for_help(self.address, sender, self.machine.height)
            if message.height > self.machine.height + 1:
                return
        if isinstance(message, Vote):
            self.take(VoteReceived(message))
        elif isinstance(message, Proposal):
            self.take(ProposalReceived(message, self._timely(message)))
        else:
            self.take(CertificateReceived(message))

    def _timely(self, proposal: Proposal) -> bool:
        timely = self.cluster.plan.timeouts.timely(
            block_time_ms=proposal.header.time_ms,
            received_ms=self.cluster.now + self.skew_ms,
            round_=proposal.round,
        )
        if timely and self.correct:
            self.cluster.observer.judged_timely.add(proposal.block_id)
        return timely

    def _help(self, peer: int, height: int) -> None:
        if (peer, height) in self.helped or height > len(self.chain):
            return
        self.helped.add((peer, height))
        self.cluster.later(2_000, lambda: self.helped.discard((peer, height)))
        self.serve(peer, height)

    def serve(self, peer: int, height: int) -> None:
        """Send a committed block with its certificate."""
        if self.up and 1 <= height <= len(self.chain):
            header, certificate = self.chain[height - 1]
            self.cluster.send(self.address, peer, SyncedBlock(header, certificate))

    # ── effects ─────────────────────────────────────────────────────────────────────────────

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        self._remember(effects)
        for effect in effects:
            match effect:
                case AppendWal(record):
                    self._point("before append")
                    self.log.append(record)
                    self._point("after append")
                case Broadcast(message):
                    self._flush()
                    self._send_all(message)
                case Sign(message):
                    self._flush()
                    self._sign(message)
                case ScheduleTimeout(kind, height, round_, ms):
                    self._later(ms, TimeoutElapsed(kind, height, round_))
                case Validate(header):
                    self.cluster.execute(self, header)
                case RequestBlock(height, round_):
                    delay = self.cluster.random.randint(0, self.cluster.plan.build_ms)
                    self.cluster.later(delay, partial(self._built, self.epoch, height, round_))
                case FetchBody(_, _, block_id):
                    self.cluster.fetch(self, block_id)
                case Decide(header, certificate):
                    self._flush()
                    self._commit(header, certificate)
                case Halt(height, _, _, problem):
                    if self.correct:
                        raise Violation(2, f"a correct node halts at {height}: {problem}")
                case CancelTimeouts() | EvidenceFound() | Rejected():
                    self.cluster.noted(self, effect)

    def _remember(self, effects: tuple[Effect, ...]) -> None:
        """Keep what each logged input led to, so that replay can be compared."""
        parts: list[list[Effect]] = []
        for effect in effects:
            if isinstance(effect, AppendWal):
                parts.append([])
            if parts:
                parts[-1].append(effect)
        # A crash while appending loses the same records here: both lists end together.
        self.outputs.extend(tuple(part) for part in parts)

    def _flush(self) -> None:
        self.flushed = len(self.log)

    def _sign(self, message: SignedMessage) -> None:
        self._point("before sign")
        try:
            result = self.signer.sign(message)
        except DoubleSignRefused:
            if self.correct and not self.forgetful:
                raise Violation(4, f"asks for a second signature: {message[:3]}") from None
            self.queue.append(SignRefused(kind_of(message), message.height, message.round))
            return
        if self.correct:
            self.cluster.observer.signed(result, remembers=not self.forgetful)
        self._point("after sign")
        self.queue.append(Signed(result))

    def _send_all(self, message: Message) -> None:
        self._point("before send")
        if isinstance(message, Vote | Proposal):
            self.cluster.observer.saw(message)
        for peer in self.cluster.shuffled_peers(self.address):
            self.cluster.send(self.address, peer, message)
            self._point("while sending")
        self._point("after send")

    def _later(self, delay_ms: int, event: Input) -> None:
        epoch = self.epoch

        def fire() -> None:
            if self.epoch == epoch:
                self.take(event)

        self.cluster.later(delay_ms, fire)

    def _built(self, epoch: int, height: int, round_: int) -> None:
        if self.epoch != epoch or self.machine.height != height or self.key is None:
            return
        parent = self.chain[-1][0] if self.chain else None
        clock = self.cluster.now + self.skew_ms
        header = header_of(
            height,
            first_round=round_,
            proposer=self.key,
            time_ms=clock if parent is None else max(clock, parent.time_ms + 1),
            parent_id=bytes(32) if parent is None else parent.block_id,
            salt=self.cluster.next_salt(),
        )
        self.bodies.add(header.block_id)
        if self.correct:
            self.cluster.observer.judged_timely.add(header.block_id)
        self.take(BlockReady(height, round_, header))

    def judge(self, header: Header) -> None:
        """Give the verdict on a block whose body is here."""
        self.bodies.add(header.block_id)
        parent = self.chain[-1][0] if self.chain else None
        ok = header.state_root != WRONG_ROOT
        if parent is not None:
            ok = ok and header.parent_id == parent.block_id and header.time_ms > parent.time_ms
        else:
            ok = ok and header.parent_id == bytes(32)
        self.take(Validity(header.block_id, ok, "" if ok else "accounts: key 0x00"))

    def fetched(self, header: Header) -> None:
        """Take a header that was asked for by id."""
        self.take(HeaderFetched(header))

    def _commit(self, header: Header, certificate: Certificate) -> None:
        self._point("before decide record")
        self._point("before commit")
        if self.correct:
            parent = self.chain[-1][0] if self.chain else None
            self.cluster.observer.decided(header, certificate, parent)
        self.chain.append((header, certificate))
        self.log, self.flushed, self.outputs = [], 0, []
        self._point("after commit")
        plan = self.cluster.plan
        pause = pause_ms(
            previous_start_ms=self.started_ms,
            now_ms=self.cluster.now,
            interval_ms=plan.timeouts.interval_ms,
        )
        self.started_ms = self.cluster.now + pause
        self._begin_height(pause=pause)

    def _begin_height(self, *, pause: int) -> None:
        height = len(self.chain) + 1
        authorities = self.cluster.authorities
        self.queue.append(
            StartHeight(
                height, authorities, authorities, self.key, self.cluster.plan.timeouts, pause
            )
        )
        self.cluster.height_begun(self, height)
