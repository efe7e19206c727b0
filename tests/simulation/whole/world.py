"""A network of whole nodes on bad disks, bad links and bad clocks, all drawn from one seed.

The nodes are the daemon's own `node.app.Node`; only what is outside of them is simulated. A
`World` starts, kills and restarts them, notes what they sign, decide and promise, and lets
`Checker`s look on. It draws nothing by itself: `storm.py` decides what happens.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.signbytes import parse
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import (
    BadSignature,
    CallerError,
    Malformed,
    OperatorError,
    PeerError,
    StorageFault,
)
from clawpurse.ledger.transactions import Transaction
from clawpurse.node.app import Outside
from clawpurse.node.bodies import Body
from clawpurse.node.clock import Clock, LoopClock
from clawpurse.node.ports import Listen
from clawpurse.node.signer import FileSigner, set_floor
from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.channels import Channel
from tests.node.lab import Lab, WatchedSigner, leaves
from tests.node.rpc.nodeworld import PORT, START_MS, Disk, Running
from tests.seeded import run_seeded
from tests.simulation.properties import Violation
from tests.simulation.whole.clocks import BadClock
from tests.simulation.whole.crashes import CRASH_POINTS, NAMES, wire
from tests.simulation.whole.links import Links, Message
from tests.simulation.whole.media import Fuse, Medium, MediumStore, PowerCut

#: A process that dies while sending goes so long after it; what it sent is on its way.
SENDING_S = 0.05
FOLLOWER = "follower"
KILLED = "killed"


class Checker(Protocol):
    """Judges one property of `number`. Raises `Violation`."""

    name: str
    number: int

    def after_step(self, world: World) -> None:
        """Look on after something happened. Cheap: it is called thousands of times."""

    def at_end(self, world: World) -> None:
        """Judge the whole run: all nodes are up again, all links healed."""


@runtime_checkable
class Wired(Protocol):
    """A checker that looks into nodes."""

    def built(self, world: World, running: Running) -> None:
        """Look into a node that is built and not running yet."""


class Release(NamedTuple):
    """A signature that left an authority's signer, and when."""

    time_s: float
    node: str
    authority: bytes
    sign_bytes: bytes


class Decision(NamedTuple):
    """A block that a node made final, and when; the same one may be decided by many nodes."""

    time_s: float
    node: str
    header: Header
    certificate: Certificate


class Accepted(NamedTuple):
    """A payment that a node called accepted."""

    time_s: float
    node: str
    transaction: Transaction


class Sighting(NamedTuple):
    """Evidence that a node found."""

    time_s: float
    node: str
    evidence: DoubleSign


class Ending(NamedTuple):
    """How a node ended: `kind` is killed, cut, fault (its disk failed) or refused."""

    time_s: float
    node: str
    kind: str
    why: str


class _Signer(WatchedSigner):
    """A signer that tells its world what it released."""

    world: World
    node_name: str
    medium: Medium

    async def sign(self, sign_bytes: bytes) -> bytes:
        signature = await FileSigner.sign(self, sign_bytes)
        self.world.note_release(self.node_name, self.public_key, sign_bytes)
        return signature


@dataclass(frozen=True)
class _Known:
    """What a node is told of another: its address."""

    address: PeerAddress


class World(Lab):
    """One network. Everything that checkers may read is an attribute; times are the loop's.

    `nodes` run, `down` are off (with the disk that they left), `tampered` are those whose disk
    was harmed by more than a crash, so that they may refuse to start; `excused` are authorities
    whose key may have lost its memory, so that it counts as faulty (at most f ever do).
    """

    def __init__(
        self, nursery: trio.Nursery, seed: int, count: int, checkers: Sequence[Checker] = ()
    ) -> None:
        super().__init__(nursery, seed, authorities=count)
        self.seed = seed
        self.faults_max = (count - 1) // 3
        self.checkers = list(checkers)
        self.links: Links = Links(random.Random(f"links {seed}"))
        self.names = [f"authority-{number}" for number in range(1, count + 1)]
        self.all_names = [*self.names, FOLLOWER]
        self.key_names = {
            crypto.public_key_of(secret): name
            for secret, name in zip(self.seeds, self.names, strict=True)
        }
        self.machines: dict[str, Medium] = {}
        self.clocks = {name: BadClock(START_MS) for name in self.all_names}
        self.down: dict[str, Medium] = {}
        self.tampered: dict[str, str] = {}
        self.excused: dict[str, str] = {}
        # -- what happened
        self.releases: list[Release] = []
        self.decisions: list[Decision] = []
        self.accepted: dict[bytes, Accepted] = {}
        self.announced: dict[str, int] = {}
        self.sightings: list[Sighting] = []
        # Places in `sightings` of what a node saw and died before its disk had it.
        self.unsaved: set[int] = set()
        self.endings: list[Ending] = []
        self.lines: Counter[str] = Counter()
        self.crash_points: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.messages = 0
        self.digest = 0
        #: Since when it is calm: all links whole, all nodes up. None before.
        self.calm_s: float | None = None
        #: The highest round at each height when it became calm, while all may sign again.
        self.rounds_at_calm: dict[int, int] = {}
        # -- inner
        self._first: dict[int, Decision] = {}
        self._addresses = {name: self._address(name) for name in self.all_names}
        self._by_id = {address.node_id: name for name, address in self._addresses.items()}
        self._muted: dict[str, dict[str, None]] = {}
        self._gone: dict[str, trio.Event] = {}
        #: Whether nodes measure their loops 20 times a second: hours go by faster without.
        self.measures_loops = True
        self.links.taps.append(self)

    @staticmethod
    def _address(name: str) -> PeerAddress:
        # As `NodeWorld.node` draws a node's key.
        return PeerAddress(crypto.public_key_of(random.Random(name).randbytes(32)), name, PORT)

    # -- what checkers ask

    @property
    def up(self) -> list[Running]:
        """The nodes that run."""
        return list(self.nodes.values())

    @property
    def height(self) -> int:
        """The highest height that any node decided."""
        return max(self._first, default=0)

    def first_decision(self, height: int) -> Decision | None:
        """Return the first decision at a height."""
        return self._first.get(height)

    def is_correct(self, authority: bytes) -> bool:
        """Tell whether a key is held to its word."""
        name = self.key_names.get(authority)
        return name is not None and name not in self.excused

    def check_step(self) -> None:
        """Let all checkers look on."""
        for checker in self.checkers:
            checker.after_step(self)

    def check_end(self) -> None:
        """Let all checkers judge."""
        for checker in self.checkers:
            checker.at_end(self)

    def raise_floor(self, name: str, medium: Medium) -> None:
        """Let an authority sign nothing up to what it ever signed, as its operator would."""
        key = next(key for key, owner in self.key_names.items() if owner == name)
        heights = (parse(r.sign_bytes).height for r in self.releases if r.authority == key)
        floor = 1 + max(heights, default=0)
        set_floor(cast(Any, medium.signer), self.genesis.hash, key, floor)

    # -- building a node

    def _outside(
        self, name: str, disk: Disk, clock: LoopClock, chance: random.Random, listen: Listen
    ) -> Outside:
        medium = self.machines[name]
        plain = super()._outside(name, disk, clock, chance, listen)
        return Outside(
            **{
                **vars(plain),
                "store": MediumStore(medium),
                "lanes": medium.lane,
                "random_bytes": random.Random(self.chance.random()).randbytes,
                "free_disk_mb": lambda: medium.free_mb,
            }
        )

    def _signer(self, seed: bytes, disk: Disk) -> FileSigner:
        plain = super()._signer(seed, disk)
        medium = cast(Any, disk.signer).medium
        signer = _Signer(seed, self.genesis.hash, disk.signer, medium.lane())
        assert plain.public_key == signer.public_key
        signer.world, signer.node_name, signer.medium = self, medium.name, medium
        return signer

    def _built(self, running: Running) -> None:
        node, name = running.node, running.name
        medium = self.machines[name]
        node.engine.machine._trace = self._trace
        wire(running, medium, lambda: self._dies_sending(running), name in self.names)
        if not self.measures_loops:
            cast(Any, node.metrics).watch_loop = _does_not_measure
        host = cast(Any, node.host)
        commit, announce, accuse = host.commit, host.announce, node.engine._accuse

        async def committing(body: Body, certificate: Certificate) -> None:
            await commit(body, certificate)
            self._note_decision(name, body.block.header, certificate)

        async def announcing() -> None:
            await announce()
            self.announced[name] = max(self.announced.get(name, 0), node.chain.height)

        async def accusing(evidence: DoubleSign) -> None:
            self.sightings.append(Sighting(trio.current_time(), name, evidence))
            await accuse(evidence)

        host.commit, host.announce = committing, announcing
        node.engine._accuse = accusing  # type: ignore[method-assign]
        self._tap(running)
        for checker in self.checkers:
            if isinstance(checker, Wired):
                checker.built(self, running)

    def _tap(self, running: Running) -> None:
        """Stand between a node's connections and its parts."""
        node, name = running.node, running.name
        take = node.router.on_message

        async def on_message(node_id: bytes, channel: Channel, kind: int, payload: bytes) -> None:
            source = self._by_id.get(node_id, node_id.hex())
            message = Message(source, name, channel, kind, payload)
            self._note_message(message)

            async def in_time(bent: bytes) -> None:
                await take(node_id, channel, kind, bent)

            async def late(bent: bytes) -> None:
                if node_id not in node.peers.ids():
                    return
                try:
                    await take(node_id, channel, kind, bent)
                except (PeerError, Malformed, BadSignature) as err:
                    node.peers.punish(node_id, str(err))
                except CallerError:
                    return  # As the pool: what cannot be dealt with is no proof of malice.

            assert running.nursery is not None
            await self.links.deliver(message, in_time, late, running.nursery)

        node.router.on_message = on_message  # type: ignore[method-assign]

    # -- life and death

    async def begin(
        self, name: str, medium: Medium | None = None, fuse: Fuse | None = None
    ) -> Running | None:
        """Start a node on a disk (its own, or a new one); None if it ended at once."""
        medium = medium or self.down.pop(name, None) or self._new_medium(name)
        self.down.pop(name, None)
        self.machines[name] = medium
        medium.names = NAMES
        medium.fuse = fuse
        medium.on_death = lambda: self.links.reset(name)
        disk = Disk({}, *(cast(Any, folder) for folder in medium.folders))
        known = [_Known(self._addresses[n]) for n in self.names if n != name]
        try:
            running = await self.node(name, *cast(Any, known), disk=disk, clock=self.clocks[name])
        except (PowerCut, OperatorError) as err:
            # It did not come as far as having tasks.
            self.nodes.pop(name, None)
            self._note_end(name, medium, err)
            return None
        return running if self.nodes.get(name) is running else None

    def _new_medium(self, name: str) -> Medium:
        return Medium(name, random.Random(self.chance.random()))

    async def begin_all(self, names: Iterable[str]) -> None:
        """Start nodes one after the other."""
        for name in names:
            await self.begin(name)

    async def kill(self, *victims: Running, power: bool) -> None:
        """End nodes at the same instant: their processes, or (`power`) their machines."""
        for victim in victims:
            self.machines[victim.name].die(KILLED)
            victim.scope.cancel()
        for victim in victims:
            await self._gone[victim.name].wait()
            self._note_down(victim.name, "killed", "power" if power else "process", power=power)

    async def _run(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        medium, told = self.machines[running.name], False
        gone = self._gone[running.name] = trio.Event()
        try:
            with running.scope:
                async with trio.open_nursery() as nursery:
                    running.nursery = nursery
                    await nursery.start(running.node.run)
                    told = True
                    task_status.started()
                    await running.node.ended.wait()
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            errors = leaves(group)
            kinds = (PowerCut, OperatorError)
            if not all(isinstance(error, kinds) for error in errors):
                raise
            self._note_end(running.name, medium, _gravest(errors))
        gone.set()
        if not told:
            task_status.started()

    def _note_end(self, name: str, medium: Medium, error: Exception) -> None:
        """A node ended by itself."""
        if medium.burnt == KILLED:
            return
        if medium.dead:
            if medium.burnt in CRASH_POINTS:
                self.crash_points[medium.burnt] += 1
            self._note_down(name, "cut", medium.burnt, power=True)
            return
        medium.die("fault")
        kind = "fault" if isinstance(error, StorageFault) else "refused"
        self._note_down(name, kind, str(error), power=False)
        if not medium.harmed and name not in self.tampered:
            raise Violation(8, f"{name} ended: {error}")

    def _note_down(self, name: str, kind: str, why: str, *, power: bool) -> None:
        if name in self.down:
            return
        self.endings.append(Ending(trio.current_time(), name, kind, why))
        ended = self.nodes.pop(name, None)
        if ended is not None:
            waiting = ended.node.evidence.unsaved
            for place, sighting in enumerate(self.sightings):
                if sighting.node == name and sighting.evidence.slot in waiting:
                    self.unsaved.add(place)
        self._muted.pop(name, None)
        self.down[name] = self.machines.pop(name).survivor(power=power)

    def _dies_sending(self, running: Running) -> None:
        """Some of what a node just handed to its system leaves; the node itself is gone."""
        medium = self.machines[running.name]
        assert medium.fuse is not None
        burnt = f"{medium.fuse.point}: {medium.fuse.how}"
        unreached = medium.fuse.tear if medium.fuse.how == "torn" else 0.0
        muted = {other: None for other in self.all_names if self.chance.random() < unreached}
        self._muted[running.name] = muted

        async def end() -> None:
            await trio.sleep(SENDING_S)
            medium.die(burnt)
            raise PowerCut(burnt)

        assert running.nursery is not None
        running.nursery.start_soon(end)

    # -- notes

    def passes(self, message: Message) -> Sequence[tuple[float, bytes]] | None:
        """Drop what a dying node did not get out any more."""
        if message.to in self._muted.get(message.source, ()):
            return []
        return None

    def _trace(self, branch: str) -> None:
        self.lines[branch] += 1

    def _note_message(self, message: Message) -> None:
        self.messages += 1
        what = (
            f"{trio.current_time():.6f} {message.source} {message.to} "
            f"{message.channel} {message.kind} {zlib.crc32(message.payload)}"
        )
        self.digest = zlib.crc32(what.encode(), self.digest)

    def note_release(self, node: str, authority: bytes, sign_bytes: bytes) -> None:
        """A signature left a signer. Property 4: one per position, for ever."""
        self.releases.append(Release(trio.current_time(), node, authority, sign_bytes))
        slot = authority, parse(sign_bytes).order
        if self.released.setdefault(slot, sign_bytes) != sign_bytes and self.is_correct(authority):
            raise Violation(4, f"{node} signed twice at {slot[1]}")

    def _note_decision(self, node: str, header: Header, certificate: Certificate) -> None:
        """A block became final at a node. Property 1: one per height, ever."""
        decision = Decision(trio.current_time(), node, header, certificate)
        self.decisions.append(decision)
        known = self._first.setdefault(header.height, decision)
        if known.header.block_id != header.block_id:
            raise Violation(
                1, f"height {header.height} is decided twice: by {known.node} and {node}"
            )

    def note_calm(self) -> None:
        """From now on nothing goes wrong any more."""
        self.calm_s = trio.current_time()
        for node in self.up:
            machine = node.node.engine.machine
            known = self.rounds_at_calm.get(machine.height, 0)
            self.rounds_at_calm[machine.height] = max(known, machine.round)


def run_world(
    scenario: Callable[[World], Awaitable[Any]],
    seed: int,
    count: int = 4,
    checkers: Sequence[Checker] = (),
) -> Any:
    """Run `scenario(world)` on a clock that jumps over waiting; equal seeds give equal runs."""

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            world = World(nursery, seed, count, checkers)
            result = await scenario(world)
            nursery.cancel_scope.cancel()
        return result

    return run_seeded(main, seed)


async def _does_not_measure(_clock: Clock) -> None:
    await trio.sleep_forever()


def _gravest(errors: Sequence[Exception]) -> Exception:
    """Of several errors of one end, the one that tells why."""
    for error in errors:
        if isinstance(error, PowerCut):
            return error
    return errors[0]


__all__ = [
    "FOLLOWER",
    "Accepted",
    "Checker",
    "Decision",
    "Ending",
    "Release",
    "Sighting",
    "Violation",
    "World",
    "run_world",
]
