"""N machines, a heap of events, and a network that loses, repeats, delays and splits.

Everything is drawn from one `random.Random(seed)`: a seed and a plan repeat a schedule exactly.
Until `Plan.calm_ms` (the paper's GST) anything may happen to a message; from then on each
arrives within `Plan.delay_ms`, and every node that crashed has come back.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from clawpurse.consensus.effects import Effect, EvidenceFound
from clawpurse.consensus.inputs import SyncedBlock, WorkAvailable
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.agreement.certificates import PolkaCertificate
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from tests.simulation.host import CRASH_POINTS, Host
from tests.simulation.liars import Liar, Locker
from tests.simulation.properties import Observer, Violation
from tests.simulation.values import authorities_of, key_of

#: Short, but in the proportions that R17 demands of a 40 ms delay and a 30 ms execution:
#: propose(r) > 2·40 + precommit(r − 1) + 2·30 and prevote, precommit > 2·40 + 30.
TIMEOUTS = TimeoutParams(
    interval_ms=0,
    heartbeat_ms=0,
    propose_base_ms=400,
    propose_delta_ms=120,
    propose_cap_ms=4_000,
    prevote_base_ms=160,
    prevote_delta_ms=60,
    prevote_cap_ms=1_500,
    precommit_base_ms=160,
    precommit_delta_ms=60,
    precommit_cap_ms=1_500,
    execution_ms=30,
)


@dataclass(frozen=True)
class Split:
    """From `start_ms` to `end_ms` only nodes of one side hear each other."""

    start_ms: int
    end_ms: int
    side: frozenset[int]


@dataclass(frozen=True)
class Outage:
    """A node dies at a crash point after `start_ms`, its `skip`-th passage, and returns later."""

    start_ms: int
    node: int
    point: str
    skip: int
    down_ms: int


@dataclass(frozen=True)
class Plan:
    """One schedule. Times in ms of simulated time; chances in percent.

    `sieve` gives the chances from which each (round, kind, receiver) draws how much
    of it is lost: proposals that reach half the nodes, prevotes that arrive where precommits do
    not. That is what makes locks, and locks are where consensus algorithms break. `lockers` are
    liars that do nothing but hide locks.
    """

    seed: int
    count: int = 4
    liars: tuple[int, ...] = ()
    twins: tuple[int, ...] = ()
    mute: tuple[int, ...] = ()
    forgetful: tuple[int, ...] = ()
    followers: int = 0
    target: int = 3
    calm_ms: int = 3_000
    delay_ms: int = 40
    rough_delay_ms: int = 400
    execute_ms: int = 30
    build_ms: int = 20
    lost: int = 10
    sieve: dict[Kind, tuple[int, ...]] = field(default_factory=dict)
    lockers: tuple[int, ...] = ()
    repeated: int = 5
    splits: tuple[Split, ...] = ()
    outages: tuple[Outage, ...] = ()
    skews_ms: tuple[int, ...] = ()
    work: bool = True
    timeouts: TimeoutParams = field(default=TIMEOUTS)


#: A schedule that takes longer than this after its calm has lost its liveness.
PATIENCE_MS = 90_000
EVENTS_MAX = 2_000_000


class Cluster:
    """One schedule in progress."""

    host_class: type[Host] = Host
    liar_class: type[Liar] = Liar
    observer_class: type[Observer] = Observer

    def __init__(self, plan: Plan, trace: Counter[str] | None = None) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.now = 0
        self.authorities = authorities_of(plan.count)
        self.lines: Counter[str] = Counter() if trace is None else trace
        self.crash_points: Counter[str] = Counter()
        self.evidence: Counter[bytes] = Counter()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._salt = 0
        self._begun = 0
        self.headers: dict[bytes, Header] = {}
        self.withheld: dict[bytes, frozenset[int]] = {}
        self.rounds_before_calm: dict[int, int] = {}
        self._holes: dict[tuple[int, int, int, int], int] = {}
        faulty = {*plan.liars, *plan.lockers, *plan.twins, *plan.mute}
        self.observer = self.observer_class(
            self.authorities,
            frozenset(key_of(i) for i in range(plan.count) if i not in faulty),
        )
        self.nodes: list[Host | Liar] = []
        self._seat(faulty)
        self.correct = [n for n in self.nodes if isinstance(n, Host) and n.correct]

    def _seat(self, faulty: set[int]) -> None:
        plan = self.plan
        for number in range(plan.count):
            if number in plan.lockers:
                self.nodes.append(Locker(self, number, key_of(number)))
            elif number in plan.liars:
                self.nodes.append(self.liar_class(self, number, key_of(number)))
            else:
                skew = plan.skews_ms[number] if plan.skews_ms else 0
                correct = number not in faulty
                self.nodes.append(
                    self.host_class(self, number, key_of(number), correct=correct, skew_ms=skew)
                )
        for number in plan.twins:
            address = len(self.nodes)
            self.nodes.append(
                self.host_class(self, address, key_of(number), correct=False, skew_ms=0)
            )
        for _ in range(plan.followers):
            address = len(self.nodes)
            self.nodes.append(self.host_class(self, address, None, correct=True, skew_ms=0))

    # ── time ────────────────────────────────────────────────────────────────────────────────

    def later(self, delay_ms: int, work: Callable[[], None]) -> None:
        """Do `work` after a delay."""
        self._sequence += 1
        heapq.heappush(self._heap, (self.now + delay_ms, self._sequence, work))

    def run(self) -> None:
        """Run until every correct node has decided `plan.target` heights. Raises `Violation`."""
        plan = self.plan
        for node in self.nodes:
            if node.address in plan.mute:
                continue
            late = isinstance(node, Host) and node.key is None
            self.later(self.random.randint(0, 2_000 if late else 50), node.boot)
        for outage in plan.outages:
            self.later(outage.start_ms, partial(self._arm, outage))
        self.later(plan.calm_ms, self._calm)
        limit = plan.calm_ms + self.patience_ms
        events = 0
        while not self._finished():
            if not self._heap or events > EVENTS_MAX:
                raise Violation(10, f"stuck at {self._where()} after {events} events")
            self.now, _, work = heapq.heappop(self._heap)
            if self.now > limit:
                raise Violation(10, f"no decision within {self.patience_ms} ms: {self._where()}")
            work()
            events += 1
        for node in self.correct:
            node.probe_replay()
        self._judge_liveness()

    @property
    def patience_ms(self) -> int:
        """How long after its calm a schedule may take."""
        return PATIENCE_MS

    def _finished(self) -> bool:
        return self.now >= self.plan.calm_ms and all(
            len(node.chain) >= self.plan.target for node in self.correct
        )

    def _where(self) -> str:
        return "; ".join(
            f"{n.address}: {n.machine.height}/{n.machine.round} {n.machine.step_name}"
            for n in self.correct
        )

    def _arm(self, outage: Outage) -> None:
        node = self.nodes[outage.node]
        if isinstance(node, Host) and node.up:
            node.fuse, node.fuse_point = outage.skip, outage.point

    def crashed(self, node: Host) -> None:
        """Bring a dead node back: after its outage, but not later than the calm."""
        down = next(o.down_ms for o in self.plan.outages if o.node == node.address)
        until_calm = max(0, self.plan.calm_ms - self.now)
        self.later(min(down, until_calm), node.boot)

    def _calm(self) -> None:
        for node in self.correct:
            if node.up:
                node.fuse = -1
            height, round_ = node.machine.height, node.machine.round
            known = self.rounds_before_calm.get(height, 0)
            self.rounds_before_calm[height] = max(known, round_)

    def _judge_liveness(self) -> None:
        """Properties 10 and 11: decide within f + 2 rounds once it is calm."""
        faults = (self.plan.count - 1) // 3
        started = max(self.rounds_before_calm, default=0)
        for height, round_ in self.observer.rounds.items():
            if height < started:
                continue
            bound = self.rounds_before_calm.get(height, 0) + faults + 2
            if round_ > bound:
                raise Violation(10, f"height {height} took round {round_}, bound {bound}")

    # ── the network ─────────────────────────────────────────────────────────────────────────

    def shuffled_peers(self, address: int) -> list[int]:
        """Return all other addresses, in an order that differs from time to time."""
        peers = [node.address for node in self.nodes if node.address != address]
        self.random.shuffle(peers)
        return peers

    def send(self, sender: int, receiver: int, message: Message | SyncedBlock) -> None:
        """Put a message on its way, or lose it."""
        plan, chance = self.plan, self.random
        target = self.nodes[receiver]
        if self.now >= plan.calm_ms:
            delay = 1 + int(chance.random() * plan.delay_ms)
        else:
            lost = plan.lost
            if plan.sieve and isinstance(message, Vote | Proposal | PolkaCertificate):
                lost = max(lost, self._sieved(message, receiver))
            if chance.random() * 100 < lost or self._split(sender, receiver):
                return
            delay = 1 + int(chance.random() * plan.rough_delay_ms)
            if chance.random() * 100 < plan.repeated:
                self.later(2 * delay, lambda: target.receive(sender, message))
        self.later(delay, lambda: target.receive(sender, message))

    def _split(self, sender: int, receiver: int) -> bool:
        return any(
            split.start_ms <= self.now < split.end_ms
            and (sender in split.side) != (receiver in split.side)
            for split in self.plan.splits
        )

    def _sieved(self, message: Vote | Proposal | PolkaCertificate, receiver: int) -> int:
        kind = Kind.PROPOSAL if isinstance(message, Proposal) else message.kind
        hole = (message.height, message.round, kind, receiver)
        if hole not in self._holes:
            self._holes[hole] = self.random.choice(self.plan.sieve.get(kind, (0,)))
        lost = self._holes[hole]
        # A polka is shown again in later rounds; sometimes it gets through at last.
        return 2 * lost // 3 if isinstance(message, PolkaCertificate) else lost

    def ask_for_help(self, asker: int, peer: int, height: int) -> None:
        """Ask a peer that is ahead for the block that we lack, as block sync does."""
        node = self.nodes[peer]
        if isinstance(node, Host) and height <= len(node.chain):
            node._help(asker, height)

    # ── blocks ──────────────────────────────────────────────────────────────────────────────

    def next_salt(self) -> int:
        """Return a number that no block has had yet."""
        self._salt += 1
        return self._salt

    def execute(self, node: Host, header: Header) -> None:
        """Fetch the body from who has it and execute it, which takes time."""
        self.headers[header.block_id] = header
        epoch = node.epoch

        def judge() -> None:
            if node.epoch == epoch and node.machine.height == header.height:
                node.judge(header)

        def attempt() -> None:
            if node.epoch != epoch or node.machine.height != header.height:
                return
            if self._may_have(node, header.block_id):
                self.later(1 + int(self.random.random() * self.plan.execute_ms), judge)
            else:
                self.later(150, attempt)

        attempt()

    def _may_have(self, node: Host, block_id: bytes) -> bool:
        if node.address not in self.withheld.get(block_id, frozenset()):
            return True
        return block_id in node.bodies or any(
            other.up and block_id in other.bodies for other in self.correct
        )

    def fetch(self, node: Host, block_id: bytes) -> None:
        """Find a header by id at any node that is up."""
        epoch = node.epoch

        def attempt() -> None:
            if node.epoch != epoch:
                return
            header = self.headers.get(block_id)
            if header is None:
                self.later(150, attempt)
            else:
                node.fetched(header)

        self.later(20, attempt)

    # ── notes ───────────────────────────────────────────────────────────────────────────────

    def trace(self, branch: str) -> None:
        """Count a branch of the algorithm."""
        self.lines[branch] += 1

    def noted(self, node: Host, effect: Effect) -> None:
        """Property 12's safe half: evidence convicts nobody who was correct."""
        if isinstance(effect, EvidenceFound) and node.correct:
            culprit = effect.evidence.authority
            self.evidence[culprit] += 1
            if culprit in self.observer.correct_keys:
                raise Violation(12, "evidence against a correct authority")

    def height_begun(self, node: Host, height: int) -> None:
        """Wake the liars; give some nodes work, now or later, when heights wait for it."""
        if height > self._begun:
            self._begun = height
            for liar in self.nodes:
                if isinstance(liar, Liar):
                    self.later(self.random.randint(0, 60), partial(liar.begin, height))
        if not self.plan.work or not self.plan.timeouts.heartbeat_ms:
            return
        if self.random.random() < 0.7:
            epoch = node.epoch

            def arrive() -> None:
                if node.epoch == epoch:
                    node.take(WorkAvailable(height))

            self.later(self.random.randint(0, 300), arrive)


__all__ = ["CRASH_POINTS", "TIMEOUTS", "Cluster", "Outage", "Plan", "Split"]
