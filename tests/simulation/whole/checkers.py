"""The properties of consensus over whole nodes: one named checker each.

A checker looks on after every step of a run and judges the whole run at its end. What several
of them need, the blocks judged once more from genesis, is done once (`Court`). Nothing here
shares state with a node; what a node has on disk is read from its disk.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clawpurse.consensus.machine import Machine
from clawpurse.consensus.wal_records import BodyStored, Decided, decode
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.light import SUCCESS, LightBlock, Trusted
from clawpurse.ledger.agreement.light import verify as verify_light
from clawpurse.ledger.agreement.messages import Proposal
from clawpurse.ledger.agreement.signbytes import Kind, Position, parse
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.params import Params
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.index import locate_transaction
from clawpurse.node import bodies, engine, sync
from clawpurse.node.evidence import PER_AUTHORITY_MAX
from clawpurse.node.files import MemoryFiles
from clawpurse.node.signer import _readable
from clawpurse.node.wal import Wal
from clawpurse.node.workers import InlineLane
from tests.node.rpc.nodeworld import Running
from tests.simulation.properties import Violation
from tests.simulation.whole.retrial import Retrial, retry

if TYPE_CHECKING:
    from tests.simulation.whole.world import Release, World

#: Why a node is excused of everything: it is in wrong hands.
BYZANTINE = "byzantine"


def honest_nodes(world: World) -> list[Running]:
    """Return the nodes that run and are in nobody's wrong hands."""
    return [node for node in world.up if world.excused.get(node.name) != BYZANTINE]


class Court:
    """The blocks of a run, judged again; for all checkers of one run together."""

    def __init__(self) -> None:
        self._trial: Retrial | None = None

    def trial(self, world: World) -> Retrial:
        """Return the judgement over the longest chain, made when first asked for."""
        if self._trial is None:
            node = max(honest_nodes(world), key=lambda running: running.height)
            store = node.node.chain.blocks
            raws = [store.block(height) for height in range(1, node.height + 1)]
            chance = random.Random(f"court {world.seed}")
            self._trial = retry(world.genesis, [raw for raw in raws if raw is not None], chance)
        return self._trial


class Watch:
    """What all checkers have in common. `name` is the property's, `number` its place."""

    name: str
    number: int

    def __init__(self, court: Court) -> None:
        self.court = court

    def built(self, world: World, running: Running) -> None:
        """Look into a node that is built and not running yet."""

    def after_step(self, world: World) -> None:
        """Look on after something happened."""

    def at_end(self, world: World) -> None:
        """Judge the whole run."""

    def fail(self, what: str) -> Violation:
        """Return the violation of this property."""
        return Violation(self.number, f"{self.name}: {what}")

    def judged(self, world: World) -> None:
        """Raise what the judgement of all blocks found against this property."""
        for what in self.court.trial(world).found(self.number):
            raise self.fail(what)


class _Judged(Watch):
    """A property that is judged by executing all blocks again."""

    def at_end(self, world: World) -> None:
        self.judged(world)


class Agreement(Watch):
    name, number = "agreement", 1

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._seen = 0
        self._ids: dict[int, bytes] = {}

    def after_step(self, world: World) -> None:
        for decision in world.decisions[self._seen :]:
            height, block_id = decision.header.height, decision.header.block_id
            if self._ids.setdefault(height, block_id) != block_id:
                raise self.fail(f"{decision.node} decided another block at height {height}")
        self._seen = len(world.decisions)

    def at_end(self, world: World) -> None:
        self.after_step(world)
        for node in honest_nodes(world):
            for height in range(1, node.height + 1):
                packed = node.node.chain.blocks.header(height)
                if packed is None or Header.unpack(packed).block_id != self._ids[height]:
                    raise self.fail(f"{node.name} keeps another block at height {height}")


class Validity(_Judged):
    name, number = "validity", 2


class Certificates(Watch):
    """Every stored certificate proves its block; a light client accepts these heads, no others."""

    name, number = "certificates", 3

    def at_end(self, world: World) -> None:
        self.judged(world)
        trial = self.court.trial(world)
        for node in honest_nodes(world):
            for header in trial.headers[: node.height]:
                packed = node.node.chain.blocks.certificate(header.height)
                why = "is missing" if packed is None else trial.judge_certificate(header, packed)
                if why is not None:
                    raise self.fail(f"{node.name}, height {header.height}: {why}")
        if trial.headers:
            self._light_client(world, trial)

    def _light_client(self, world: World, trial: Retrial) -> None:
        node = max(honest_nodes(world), key=lambda running: running.height)
        trusted = Trusted.at_genesis(world.genesis)
        for header in trial.headers:
            packed = node.node.chain.blocks.certificate(header.height)
            assert packed is not None
            now_ms = header.time_ms + 1_000
            certificate = Certificate.unpack(packed)
            sets = trial.sets[header.height], trial.sets[header.height + 1]
            true = LightBlock(header, certificate, *sets)
            if verify_light(trusted, true, now_ms) is not SUCCESS:
                raise self.fail(f"a light client refuses height {header.height}")
            other = replace(header, state_root=bytes(32))
            forged = replace(certificate, block_id=other.block_id)
            if verify_light(trusted, LightBlock(other, forged, *sets), now_ms) is SUCCESS:
                raise self.fail(f"a light client accepts a forgery of height {header.height}")
            trusted = Trusted.of(true)


class _Signing(Watch):
    """A property of the signatures that left signers; each is looked at once."""

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._looked_at = 0

    def after_step(self, world: World) -> None:
        for release in world.releases[self._looked_at :]:
            self.released(world, release, parse(release.sign_bytes))
        self._looked_at = len(world.releases)

    def at_end(self, world: World) -> None:
        self.after_step(world)

    def released(self, world: World, release: Release, position: Position) -> None:
        """Look at one signature."""


class NoDoubleSign(_Signing):
    """One statement a position over all that a key ever released, each on disk before it left."""

    name, number = "no double sign", 4

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._first: dict[tuple[bytes, tuple[int, int, int]], bytes] = {}
        self._newest: dict[tuple[str, bytes], tuple[int, int, int]] = {}

    def after_step(self, world: World) -> None:
        super().after_step(world)
        for (name, key), order in self._newest.items():
            medium = world.machines.get(name) or world.down.get(name)
            if medium is None or name in world.tampered:
                continue
            known = remembered(medium.signer.contents, key)
            if known is None or known < order:
                raise self.fail(f"{name} signed at {order}, and its disk says {known}")
        self._newest.clear()

    def released(self, world: World, release: Release, position: Position) -> None:
        if not world.is_correct(release.authority):
            return
        self._newest[release.node, release.authority] = position.order
        slot = release.authority, position.order
        if self._first.setdefault(slot, release.sign_bytes) != release.sign_bytes:
            raise self.fail(f"{release.node} signed twice at {position.order}")


def remembered(files: Mapping[str, bytes], key: bytes) -> tuple[int, int, int] | None:
    """Return the position up to which a signing state on disk forbids a key to sign."""
    found = [_readable(data) for name, data in files.items() if key.hex() in name]
    return max((watermark.order for watermark in found if watermark), default=None)


class Locks(_Signing):
    """No prevote against a lock without a polka since. Faulty keys may have voted for anything."""

    name, number = "locks", 5

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._prevotes: dict[tuple[int, int, bytes], set[bytes]] = {}
        self._locks: dict[tuple[bytes, int], tuple[int, bytes]] = {}

    def released(self, world: World, release: Release, position: Position) -> None:
        key, block_id = release.authority, position.block_id
        if block_id is None or position.kind is Kind.PROPOSAL:
            return
        height, round_ = position.height, position.round
        holder = key, height
        if position.kind is Kind.PRECOMMIT:
            if round_ > self._locks.get(holder, (-1, b""))[0]:
                self._locks[holder] = round_, block_id
            return
        self._prevotes.setdefault((height, round_, block_id), set()).add(key)
        if not world.is_correct(key) or holder not in self._locks:
            return
        locked_round, locked = self._locks[holder]
        if locked == block_id or locked_round >= round_:
            return
        if not any(self._polka(world, height, r, block_id) for r in range(locked_round, round_)):
            raise self.fail(f"{release.node} voted at {height}/{round_} against {locked_round}")

    def _polka(self, world: World, height: int, round_: int, block_id: bytes) -> bool:
        members = AuthoritySet(world.key_names)
        voters = set(self._prevotes.get((height, round_, block_id), ()))
        voters |= {key for key in members if not world.is_correct(key)}
        return members.quorum(len(voters))


class Replay(Watch):
    """What a node would be after a crash right now is what it is.

    After each step one node's log is copied, with what waits to be flushed, and replayed by the
    node's own code into a machine of its own. Both must stand at the same place, having said the
    same.
    """

    name, number = "replay", 6

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._turn = 0
        #: What each node is writing at this moment.
        self._under_way: dict[str, list[bytes]] = {}

    def built(self, world: World, running: Running) -> None:
        wal, name = running.node.engine._wal, running.name
        append = wal.append
        self._under_way[name] = []

        async def appending(payloads: list[bytes]) -> None:
            self._under_way[name] = list(payloads)
            await append(payloads)
            self._under_way[name] = []

        wal.append = appending  # type: ignore[method-assign]

    def after_step(self, world: World) -> None:
        if honest_nodes(world):
            self._turn += 1
            self.probe(world, honest_nodes(world)[self._turn % len(honest_nodes(world))])

    def at_end(self, world: World) -> None:
        for running in honest_nodes(world):
            self.probe(world, running)

    def probe(self, world: World, running: Running) -> None:
        """Replay a node's log beside it."""
        living = running.node.engine
        wal = living._wal
        if wal.height != living.machine.height or self._under_way.get(running.name):
            return  # Between two heights, or in the middle of writing.
        twin = replayed(world, living)
        if twin is None:
            raise self.fail(f"{running.name} could not start again")
        mine, theirs = living.machine, twin
        if mine.state != theirs.state:
            raise self.fail(f"{running.name}: {theirs.state} after replay, {mine.state} before")
        if mine.own_messages != theirs.own_messages:
            raise self.fail(f"{running.name} remembers other messages of its own after replay")


def replayed(world: World, living: Any) -> Machine | None:
    """Return the machine that a node's own code makes of its log; None if it refuses."""
    files = MemoryFiles()
    files.contents = {name: bytes(data) for name, data in living._wal._files.contents.items()}
    genesis = world.genesis
    wal = Wal(files, InlineLane(), genesis.chain_id, genesis.hash, bytes)
    wal.open(living._wal.height)
    twin = copy.copy(living)
    twin.machine = Machine(living._domain)
    twin._recovered, twin._undone, twin._wal = [], None, wal
    unsynced = twin._unsynced = list(living._unsynced)
    try:
        type(living)._replay(twin)
    except OperatorError:
        return None
    for payload in unsynced:
        event = decode(payload)
        if not isinstance(event, BodyStored | Decided):
            twin.machine.step(event)
    machine: Machine = twin.machine
    return machine


class StateRoots(Watch):
    """Executed again without indexes, cached pages or a pool, each block has the same root."""

    name, number = "state roots", 7

    def at_end(self, world: World) -> None:
        self.judged(world)
        trial = self.court.trial(world)
        for node in honest_nodes(world):
            if node.height and node.node.chain.state.height == node.height:
                expected = trial.headers[node.height - 1].state_root
                if node.node.chain.state.state_root != expected:
                    raise self.fail(f"{node.name} has another state at height {node.height}")


class NothingLost(Watch):
    """What was called final is final for ever; what was called accepted becomes final.

    A payment that could not be included in time is reported as expired instead; the chain's own
    clock says whether that can be.
    """

    name, number = "nothing lost", 8

    def after_step(self, world: World) -> None:
        for node in honest_nodes(world):
            announced = world.announced.get(node.name, 0)
            if node.name not in world.tampered and node.height < announced:
                raise self.fail(f"{node.name} called height {announced} final: {node.height}")

    def at_end(self, world: World) -> None:
        self.after_step(world)
        trial = self.court.trial(world)
        for node in honest_nodes(world):
            self._judge_node(world, node, trial)

    def _judge_node(self, world: World, node: Running, trial: Retrial) -> None:
        chain = node.node.chain
        for tx_id, accepted in world.accepted.items():
            place = locate_transaction(chain.store, tx_id)
            if place is None:
                if accepted.transaction.body.valid_until_ms < chain.tip.time_ms:
                    continue
                raise self.fail(f"0x{tx_id.hex()[:16]}, accepted by {accepted.node}, is nowhere")
            if chain.blocks.receipt(place) != trial.receipts[place[0]][place[1]]:
                raise self.fail(f"{node.name} has another receipt for 0x{tx_id.hex()[:16]}")


class Time(Watch):
    """Time rises; a fresh block was timely by the clocks of more than f correct authorities."""

    name, number = "time", 9

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._timely: dict[bytes, set[str]] = {}
        self._seen = 0

    def built(self, world: World, running: Running) -> None:
        votes, name = running.node.votes, running.name
        judge = votes._timely

        def judging(proposal: Proposal) -> bool:
            timely = judge(proposal)
            if honestly_timely(running, proposal):
                self._timely.setdefault(proposal.block_id, set()).add(name)
            return timely

        votes._timely = judging  # type: ignore[method-assign]

    def after_step(self, world: World) -> None:
        for decision in world.decisions[self._seen :]:
            header = decision.header
            if world.excused.get(decision.node) == BYZANTINE:
                continue
            if decision.certificate.round != header.first_round:
                continue
            judges = {*self._timely.get(header.block_id, ()), world.key_names[header.proposer]}
            correct = {name for name in judges if name in world.names and name not in world.excused}
            if len(correct) <= world.faults_max and len(world.names) > 1:
                raise self.fail(f"height {header.height} was timely for {sorted(correct)} only")
        self._seen = len(world.decisions)

    def at_end(self, world: World) -> None:
        self.after_step(world)
        self.judged(world)


def honestly_timely(running: Running, proposal: Proposal) -> bool:
    """R20 by its own words, by the node's clock, for a fresh proposal."""
    params, node = running.node.chain.params, running.node
    late_ms = node.outside.clock.now_ms() - proposal.header.time_ms
    allowed_ms = message_delay_ms(params, proposal.round) + params.precision_ms
    return proposal.valid_round == -1 and -params.precision_ms <= late_ms <= allowed_ms


def message_delay_ms(params: Params, round_: int) -> int:
    """How long a fresh proposal of a round may be on its way."""
    grown = params.message_delay_ms + round_ * params.message_delay_delta_ms
    return min(grown, params.message_delay_cap_ms)


class Liveness(Watch):
    """Once it is calm, each height is decided within f + 2 rounds more than it had."""

    name, number = "liveness", 10

    def at_end(self, world: World) -> None:
        started = max(world.rounds_at_calm, default=0)
        for height in range(started, world.height + 1):
            decision = world.first_decision(height)
            if world.calm_s is None or decision is None or decision.time_s < world.calm_s:
                continue
            bound = world.rounds_at_calm.get(height, 0) + world.faults_max + 2
            if decision.certificate.round > bound:
                raise self.fail(
                    f"height {height} took round {decision.certificate.round}, bound {bound}"
                )


class Heal(Watch):
    """A network that lost its quorum is one round further when it has it back, not thousands."""

    name, number = "quorum-loss heal", 11

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        #: The height that stood still and the highest round in it when the quorum was lost.
        self.lost: tuple[int, int] | None = None

    def lose(self, world: World) -> None:
        """Note that from now on there is no quorum."""
        machines = [running.node.engine.machine for running in honest_nodes(world)]
        height = max(machine.height for machine in machines)
        self.lost = height, max(m.round for m in machines if m.height == height)

    def at_end(self, world: World) -> None:
        if self.lost is None:
            return
        height, round_ = self.lost
        decision = world.first_decision(height)
        if decision is None:
            raise self.fail(f"height {height} is not decided")
        if decision.certificate.round > round_ + world.faults_max + 2:
            raise self.fail(f"height {height} took round {decision.certificate.round}")

    def after_step(self, world: World) -> None:
        if self.lost is None or world.height >= self.lost[0]:
            return
        height, round_ = self.lost
        for running in honest_nodes(world):
            machine = running.node.engine.machine
            if machine.height == height and machine.round > round_ + 1:
                raise self.fail(f"{running.name} is in round {machine.round}, was in {round_}")


class Evidence(Watch):
    """Every double signing that a correct node saw is recorded once, against nobody correct."""

    name, number = "evidence", 12

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._seen = 0
        #: What each key was seen to do; beyond a bound a node keeps no more of one key's.
        self._slots: dict[bytes, set[bytes]] = {}

    def after_step(self, world: World) -> None:
        for sighting in world.sightings[self._seen :]:
            authority = sighting.evidence.authority
            self._slots.setdefault(authority, set()).add(sighting.evidence.slot)
            if world.is_correct(authority):
                raise self.fail(f"{sighting.node} accuses a correct authority")
        self._seen = len(world.sightings)

    def at_end(self, world: World) -> None:
        self.after_step(world)
        self.judged(world)
        trial = self.court.trial(world)
        # What waits for the next block is not lost: a convicted key gets no blocks of its own.
        recorded = {proof.slot for proof in trial.evidence}
        for node in honest_nodes(world):
            recorded.update(proof.slot for proof in node.node.evidence.pending)
        convicted = {proof.authority for proof in trial.evidence}
        for proof in trial.evidence:
            if world.is_correct(proof.authority):
                raise self.fail(f"a correct authority is convicted at height {proof.height}")
        for place, sighting in enumerate(world.sightings):
            proof = sighting.evidence
            if sighting.node in world.excused or place in world.unsaved:
                continue
            # Of a key that does it all the time, a node keeps so much and no more.
            flooded = len(self._slots[proof.authority]) > PER_AUTHORITY_MAX
            if not (proof.authority in convicted if flooded else proof.slot in recorded):
                raise self.fail(
                    f"{sighting.node} saw a double signing at {proof.height}/{proof.round} "
                    f"({proof.kind.name}) that no block records"
                )


class Bounded(Watch):
    """Whatever peers send, what a node keeps of it has a bound."""

    name, number = "bounded", 13

    def after_step(self, world: World) -> None:
        for running in honest_nodes(world):
            for what, size, most in holdings(running):
                if size > most:
                    raise self.fail(f"{running.name} keeps {size} {what}, {most} are allowed")


def holdings(running: Running) -> Iterable[tuple[str, int, int]]:
    """Yield (what, how much of it a node keeps, the bound)."""
    node = running.node
    machine, members = node.engine.machine, len(node.chain.authorities)
    votes = machine.votes
    if votes is not None:
        # Two contents of two kinds in each round up to the next; two far ones per sender.
        most = 4 * members * (machine.round + 2) + 2 * members
        yield "votes", sum(1 for _ in votes), most
    yield "inputs", node.engine._inbox.statistics().current_buffer_used, engine.INBOX_MAX
    yield "timers", len(node.engine._timers), 8 * (machine.round + 2)
    yield "bodies", len(node.bodies._bodies), bodies.BODIES_MAX + len(machine.live_blocks)
    compacts = max(map(len, node.bodies._compacts.values()), default=0)
    yield "announcements of a peer", compacts, bodies.COMPACTS_PER_PEER_MAX
    ahead = sync.AHEAD_BLOCKS_MAX + sync.WINDOW_BLOCKS
    yield "blocks ahead", len(node.sync._fetched), ahead
    yield "block requests", len(node.sync._pending), sync.REQUESTS_MAX
    yield "ranges to serve", len(node.sync._asked_of_us), sync.SERVING_MAX
    logged = sum(len(data) for data in files_of(node.engine._wal._files).values())
    # A flood may make a node log what is kept of it, a few times a round; never all of it.
    yield "bytes of log", logged, 2_000_000 * (machine.round + 2)


def files_of(folder: Any) -> dict[str, bytes]:
    """Return the files of a simulated folder."""
    found: dict[str, bytes] = folder.contents
    return found


class BodiesKept(_Signing):
    """Whoever voted for a block has its body on disk; so whatever a quorum precommitted is there.

    A vote rests on a body that was logged before it; it stays on disk in the log until the
    height is final, and in the database for ever. So of every quorum more than f correct disks
    hold it.
    """

    name, number = "bodies kept", 15

    def __init__(self, court: Court) -> None:
        super().__init__(court)
        self._voted: dict[tuple[str, bytes], int] = {}

    def released(self, world: World, release: Release, position: Position) -> None:
        if position.block_id is not None and world.is_correct(release.authority):
            self._voted[release.node, position.block_id] = position.height

    def after_step(self, world: World) -> None:
        super().after_step(world)
        for (name, block_id), height in list(self._voted.items()):
            medium = world.machines.get(name) or world.down.get(name)
            if name in world.tampered or medium is None or name in world.excused:
                continue
            running = world.nodes.get(name)
            if running is not None and running.height >= height:
                del self._voted[name, block_id]
                continue
            if running is None and _is_stored(medium.backup().store, height):
                continue
            # A record of a body begins so: [12, block id, …].
            mark = b"\x93\x0c\xc4\x20" + block_id
            if not any(mark in data for data in medium.wal.contents.values()):
                raise self.fail(f"{name} voted for a block of height {height} and lost its body")


def _is_stored(content: Any, height: int) -> bool:
    return schema.at_height(schema.BLOCK, height) in content


class TreeRoot(_Judged):
    name, number = "tree root", 16


class Once(_Judged):
    name, number = "effect once", 17


class Authorised(_Judged):
    name, number = "authorised keys", 18


class Supply(_Judged):
    name, number = "supply", 19


class Cost(_Judged):
    name, number = "block cost", 20


class DueWork(Watch):
    """Work that is due is done within the heartbeat and a bounded backlog."""

    name, number = "due work", 21

    def at_end(self, world: World) -> None:
        for node in honest_nodes(world):
            chain = node.node.chain
            due_ms = chain.next_due_ms()
            if due_ms is None:
                continue
            late_ms = chain.tip.time_ms - due_ms - 2 * chain.params.heartbeat_ms
            if late_ms > 0:
                raise self.fail(f"work that was due is {late_ms} ms late at {node.name}")


class ForgeryHarmless(Watch):
    """Nobody is banned or forgotten for what somebody else forged in its name."""

    name, number = "forgery harmless", 22

    def after_step(self, world: World) -> None:
        names = {address.node_id.hex(): name for name, address in world._addresses.items()}
        for running in honest_nodes(world):
            if running.name in world.excused:
                continue
            for ban in running.node.peers.standing.bans():
                name = names.get(ban.subject, ban.subject)
                if name in world.all_names and name not in world.excused:
                    raise self.fail(f"{running.name} banned {name}: {ban.reason}")

    def at_end(self, world: World) -> None:
        self.after_step(world)


class EventLog(Watch):
    """The events of each block are the same bytes on all nodes, and those of its header."""

    name, number = "event log", 23

    def at_end(self, world: World) -> None:
        self.judged(world)
        trial = self.court.trial(world)
        for node in honest_nodes(world):
            floor = node.node.chain.blocks.floor()
            for height in range(max(1, floor), min(node.height, trial.height) + 1):
                if node.node.chain._events_at(height) != trial.events.get(height):
                    raise self.fail(f"{node.name} tells other events of height {height}")


#: Property 14, coverage, is a property of all runs together: `Report` counts what each reached.
CHECKERS: tuple[Callable[[Court], Watch], ...] = (
    Agreement,
    Validity,
    Certificates,
    NoDoubleSign,
    Locks,
    Replay,
    StateRoots,
    NothingLost,
    Time,
    Liveness,
    Heal,
    Evidence,
    Bounded,
    BodiesKept,
    TreeRoot,
    Once,
    Authorised,
    Supply,
    Cost,
    DueWork,
    ForgeryHarmless,
    EventLog,
)


def checkers(*, without: Iterable[str] = ()) -> list[Watch]:
    """Return a checker of each property for one run, but for those that are named."""
    court = Court()
    left_out = set(without)
    return [made for made in (checker(court) for checker in CHECKERS) if made.name not in left_out]
