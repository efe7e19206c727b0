"""Rules of whole nodes broken on purpose, one at a time, each to be caught by a named checker.

A mutant replaces parts of the daemon's own code while a run lasts. It says in what run its fault
must show: an ordinary storm, one that dies at chosen steps, or one with a villain of a habit.
`hunt` returns which property caught it and after how many seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import trio

from clawpurse.consensus import machine as machine_module
from clawpurse.consensus.inputs import Signed, Validity, WorkAvailable
from clawpurse.consensus.votes import VoteKeeper
from clawpurse.consensus.wal_records import BodyStored, Record, decode, encode
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    _QuorumCertificate,
)
from clawpurse.ledger.agreement.envelope import pack_message
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import vote_bytes
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.errors import CallerError, InvalidCertificate
from clawpurse.ledger.kernel import books
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.transition import Execution, prepare
from clawpurse.node import bodies, chain, engine, evidence, journal, messages, proposing, votes
from clawpurse.node.messages import ConsensusKind, ProposalKind
from clawpurse.node.signer import Guard, Watermark
from tests.simulation.mutants import rule_of
from tests.simulation.properties import Violation
from tests.simulation.whole import byzantine, crashes, intrigue, storm
from tests.simulation.whole.checkers import Watch, checkers
from tests.simulation.whole.media import Fuse
from tests.simulation.whole.world import World, run_world

Patch = tuple[object, str, object]
#: A mutant that stops the network is seen to do so this soon, in seconds of the loop.
PATIENCE_S = 40.0
STEPS = 12


class Mutant(NamedTuple):
    """A broken rule. `patches` makes its parts; its docstring says what is broken.

    `properties` are the numbers that may catch it, `seeds` how many runs that may take. `habits`
    asks for a villain, `points` for deaths there and nowhere else.
    """

    patches: Callable[[], list[Patch]]
    properties: tuple[int, ...]
    seeds: int = 8
    habits: tuple[type[byzantine.Habit], ...] = ()
    points: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The mutant's name."""
        return self.patches.__name__

    @property
    def rule(self) -> str:
        """What is broken."""
        return rule_of(self.patches)


# ── the log and the signer ──────────────────────────────────────────────────────────────────────


def signs_before_flushing() -> list[Patch]:
    """R22: signs while what the message rests on is not on disk yet."""
    sign = engine.Engine._sign

    async def signing(self: Any, message: Any) -> Any:
        self._flush = _nothing
        try:
            return await sign(self, message)
        finally:
            del self._flush

    return [(engine.Engine, "_sign", signing)]


def logs_no_bodies() -> list[Patch]:
    """R22: bodies are not in the log, so whoever voted for one loses it in a crash."""

    def without(record: Record) -> bytes:
        return encode(WorkAvailable(1) if isinstance(record, BodyStored) else record)

    return [(engine, "encode", without)]


def forgets_own_votes() -> list[Patch]:
    """R22 (X#4275): replay leaves out what the node itself signed."""

    def without(data: bytes) -> Record:
        record = decode(data)
        return WorkAvailable(1) if isinstance(record, Signed) else record

    return [(engine, "decode", without)]


def stores_no_watermark() -> list[Patch]:
    """R24: signatures leave before the signing state is on disk."""

    def store(self: Any, order: Any, sign_bytes: bytes, signature: bytes) -> None:
        self.watermark = Watermark(self.watermark.counter + 1, order, sign_bytes, signature)

    return [(Guard, "store", store)]


def commits_without_sync() -> list[Patch]:
    """R23: blocks are called final before their batch is on disk."""
    commit = chain.Chain.commit

    class Unsynced:
        def __init__(self, store: Any) -> None:
            self._store = store

        def write(self, batch: Any, sync: bool) -> None:
            self._store.write(batch, sync=False)

    async def committing(self: Any, *args: Any) -> None:
        real, self.store = self.store, Unsynced(self.store)
        try:
            await commit(self, *args)
        finally:
            self.store = real

    return [(chain.Chain, "commit", committing)]


def promises_from_memory() -> list[Patch]:
    """A payment is called accepted before the journal has it on disk."""

    async def flush(self: Any) -> None:
        await trio.lowlevel.checkpoint()

    return [(journal.Journal, "flush", flush)]


# ── verification ────────────────────────────────────────────────────────────────────────────────


def counts_signatures_not_signers() -> list[Patch]:
    """R16: any member's signature will do for every signer that a certificate names."""

    def votes_of(
        self: _QuorumCertificate, domain: Any, authorities: Any, verify: Any
    ) -> tuple[Vote, ...]:
        members = authorities.signers(self.signers) or ()
        text = vote_bytes(domain, self.kind, self.height, self.round, self.block_id)
        true = [s for s in self.signatures if any(verify(k, text, s) for k in authorities)]
        if len(true) != len(members) or not authorities.quorum(len(true)):
            raise InvalidCertificate("too few")
        return tuple(
            Vote(self.kind, self.height, self.round, self.block_id, key, signature)
            for key, signature in zip(members, true, strict=True)
        )

    return [(kind, "verified_votes", votes_of) for kind in (Certificate, PolkaCertificate)]


def believes_parent_certificates() -> list[Patch]:
    """R21: the parent's certificate in a block is not verified."""
    return [(proposing.Proposing, "_check_parent", lambda self, block: None)]


def believes_headers() -> list[Patch]:
    """R21: parent, proposer, sets and parameters in a header are not compared."""
    return [(proposing.Proposing, "_check_header", lambda self, header: None)]


def accepts_any_proposer() -> list[Patch]:
    """R18, R21: a header may name any round and proposer of its first proposal."""
    check = proposing.Proposing._check_header

    def checking(self: Any, header: Any) -> None:
        expected = self._chain.authorities.proposer(header.height, header.first_round)
        check(self, header.__class__(**{**_fields(header), "proposer": expected}))

    return [
        (proposing.Proposing, "_check_header", checking),
        (machine_module, "is_well_formed", lambda proposal, authorities: True),
    ]


def verifies_no_payments() -> list[Patch]:
    """A body's transactions are taken as signed without looking."""

    async def prepare_all(self: Any, raws: Sequence[bytes]) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return [prepare(raw, self._registry) for raw in raws]

    return [(bodies.Bodies, "_prepare_all", prepare_all)]


def blames_the_header() -> list[Patch]:
    """A verdict by block id from one peer's bytes: a bad body condemns the good block."""
    validate = engine.Engine._validate

    async def validating(self: Any, header: Any) -> None:
        for peer in self._bodies._outbox.peers():
            answer = await self._bodies._ask(
                peer, header.block_id, ProposalKind.FULL_WANTED,
                messages.pack_id(header.block_id), 0.2,
            )  # fmt: skip
            if isinstance(answer, Block):
                try:
                    await self._bodies.complete(answer)
                except (bodies.BadBody, CallerError):
                    await self._send.send(
                        engine.Delivery(Validity(header.block_id, False, "bad body"))
                    )
                    return
        await validate(self, header)

    return [(engine.Engine, "_validate", validating)]


def trusts_any_time() -> list[Patch]:
    """R20: fresh proposals are never judged untimely."""
    return [(votes.VoteGossip, "_timely", lambda self, proposal: True)]


# ── execution ───────────────────────────────────────────────────────────────────────────────────


class _Peeking(Execution):
    """Writes what is neither in the block nor in the state that it builds on."""

    def finish_in_steps(self, changes: Any) -> Iterator[None]:
        yield from super().finish_in_steps(changes)
        changes[KERNEL, b"zlast"] = b"looked up elsewhere"


def reads_what_is_not_in_the_block() -> list[Patch]:
    """R21: execution takes something from beside block and state."""
    return [(proposing, "Execution", _Peeking)]


def invents_money() -> list[Patch]:
    """Each transfer credits one unit more than it debits, and the audit looks away."""

    def move(self: Any, asset: str, source: bytes, target: bytes, amount: int) -> None:
        self._debit(asset, source, amount)
        self._credit(asset, target, amount + 1)

    return [(books.Books, "move", move), (books.Audit, "close", lambda self: None)]


def loses_an_event() -> list[Patch]:
    """The stored log of a block lacks its last event."""
    record = chain.commit_record

    def recording(*args: Any) -> Any:
        whole = record(*args)
        return type(whole)(**{**vars(whole), "events": whole.events[:-1]})

    return [(chain, "commit_record", recording)]


# ── peers ───────────────────────────────────────────────────────────────────────────────────────


def keeps_every_round() -> list[Patch]:
    """R14: votes of all future rounds are kept fully."""
    keeper = VoteKeeper
    begin = keeper.__init__

    def beginning(self: Any, authorities: Any, round_: int = -1) -> None:
        begin(self, authorities, round_)
        self._round = 1_000_000

    return [
        (keeper, "__init__", beginning),
        (keeper, "advance", lambda self, round_: ()),
    ]


def relays_unverified() -> list[Patch]:
    """R16: passes on what it has not verified, and is taken for the forger."""
    take = votes.VoteGossip._take

    async def taking(self: Any, peer: bytes, message: Any) -> None:
        told = self.__dict__.setdefault("told", {})
        payload = pack_message(message)
        if payload not in told and isinstance(message, Vote):
            told[payload] = None
            for other in self._outbox.peers():
                if other != peer:
                    self._outbox.send_consensus(other, ConsensusKind.MESSAGE, payload)
        await take(self, peer, message)

    return [(votes.VoteGossip, "_take", taking)]


def keeps_no_evidence() -> list[Patch]:
    """R27: what was seen to be signed twice reaches no block."""
    return [
        (evidence.EvidencePool, "found", lambda self, proof: None),
        (evidence.EvidencePool, "on_message", lambda self, peer, kind, payload: None),
    ]


async def _nothing(*_: object) -> None:
    await trio.lowlevel.checkpoint()


def _fields(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__dataclass_fields__}


MUTANTS: tuple[Mutant, ...] = (
    Mutant(signs_before_flushing, (15, 6), points=(crashes.WATERMARK, crashes.OWN_MESSAGE)),
    Mutant(logs_no_bodies, (15,)),
    Mutant(forgets_own_votes, (6,)),
    Mutant(stores_no_watermark, (4,)),
    Mutant(
        commits_without_sync, (8, 15), points=(crashes.NEW_LOG, crashes.ANNOUNCE, crashes.INPUTS)
    ),
    Mutant(promises_from_memory, (8, 10)),
    Mutant(counts_signatures_not_signers, (1, 3, 8), habits=(byzantine.ForgesCertificates,)),
    Mutant(believes_parent_certificates, (3,), habits=(byzantine.ForgesParents,)),
    Mutant(believes_headers, (2, 9), habits=(byzantine.ProposesNonsense,)),
    Mutant(accepts_any_proposer, (2,), habits=(byzantine.ProposesNonsense,)),
    Mutant(verifies_no_payments, (18,), habits=(byzantine.SignsForOthers,)),
    Mutant(blames_the_header, (8, 10), habits=(byzantine.SpoilsBodies,)),
    Mutant(trusts_any_time, (9,), habits=(byzantine.ProposesEarly,)),
    Mutant(reads_what_is_not_in_the_block, (7,)),
    Mutant(invents_money, (19,)),
    Mutant(loses_an_event, (23,)),
    Mutant(keeps_every_round, (13,), habits=(byzantine.Floods,)),
    Mutant(relays_unverified, (22,), habits=(byzantine.ForgesVotes,)),
    Mutant(keeps_no_evidence, (12,), habits=(byzantine.EquivocatesVotes,)),
)


# ── hunting ─────────────────────────────────────────────────────────────────────────────────────


class Focus(storm.Storm):
    """A storm that kills at chosen steps and does nothing else but pay."""

    points: tuple[str, ...] = ()

    def _drawn_actions(self) -> list[Callable[[], object]]:
        return [self._light, self._light, self.pay, self.pay, self.pay, self.revive]

    def _light(self) -> None:
        node = self.anybody()
        if node is not None:
            point = self.chance.choice(self.points)
            how = self.chance.choice(crashes.HOWS[point])
            self.world.machines[node.name].fuse = Fuse(point, how, 0, self.chance.random())


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """Break the rule while this lasts."""
    with ExitStack() as stack:
        for owner, name, part in mutant.patches():
            stack.enter_context(mock.patch.object(owner, name, part))
        for module in (storm, intrigue):
            if hasattr(module, "PATIENCE_S"):
                stack.enter_context(mock.patch.object(module, "PATIENCE_S", PATIENCE_S))
        yield


def play(mutant: Mutant, seed: int, watching: Sequence[Watch]) -> None:
    """Run once what shows this mutant."""
    if mutant.habits:
        intrigue.run(seed, 4, watching, STEPS, habits=mutant.habits)
        return
    if not mutant.points:
        storm.run(seed, 4, watching, STEPS)
        return

    async def scenario(world: World) -> None:
        focus = Focus(world)
        focus.points = mutant.points
        await focus.begin()
        for _ in range(STEPS):
            await focus.step()
        await focus.calm()
        await focus.settle()
        world.check_end()

    run_world(scenario, seed, 4, watching)


def violations_in(error: BaseException) -> list[Violation]:
    """Return the violations in an error or a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        return [found for inner in error.exceptions for found in violations_in(inner)]
    return [error] if isinstance(error, Violation) else []


class Catch(NamedTuple):
    """What caught a mutant: a property's number and words, and how many seeds it took."""

    number: int
    what: str
    seeds: int


def hunt(mutant: Mutant, *, without: Iterable[str] = ()) -> Catch | None:
    """Run seeds until a violation shows; None when it survives them all."""
    left_out = list(without)
    for seed in range(mutant.seeds):
        try:
            with broken(mutant):
                play(mutant, seed, checkers(without=left_out))
        except Exception as error:
            found = violations_in(error)
            if not found:
                raise
            return Catch(found[0].number, str(found[0]), seed + 1)
    return None
