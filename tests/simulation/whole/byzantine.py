"""Byzantine authorities among whole nodes: a real node in wrong hands, at most f of them.

A villain runs the daemon's own node. Its key is also held by whoever wrote this file, every
message that it hands to its connections passes a `Habit` first, which may swallow, change,
delay or contradict it, and after every step of a run each habit may say something unasked. Twins
are two whole nodes under one key, kept apart by cuts that change all the time.

What a villain is told, keeps and answers stays a real node's, so that honest nodes meet its lies
where they meet the truth: behind the handshake, in its frames, at its rate limits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import trio

from clawpurse.consensus.machine import Machine
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.envelope import Message, pack_message, unpack_message
from clawpurse.ledger.agreement.evidence import DoubleSign, Statement
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.transition import prepare
from clawpurse.node import messages
from clawpurse.node.bodies import Body
from clawpurse.node.messages import ConsensusKind, EvidenceKind, ProposalKind, SyncKind, Tip
from clawpurse.p2p.channels import Channel
from tests.node.rpc.nodeworld import Running
from tests.simulation.mutants import LockIgnored
from tests.simulation.whole.checkers import BYZANTINE
from tests.simulation.whole.world import World

#: What a villain says after each step, at most: enough to hurt, not enough to be all there is.
UNASKED = 120
#: … and how long it is silent after that.
PAUSE_S = 0.5
#: Four times the precision by which clocks may differ.
AHEAD_MS = 2_000
#: The lane of payments that their sender never signed; nobody pays from it.
FORGED_LANE = 9


class Habit:
    """One way of doing wrong. `name` is the fault matrix's."""

    name: ClassVar[str]

    def __init__(self, villain: Villain) -> None:
        self.villain = villain
        self.chance = villain.chance

    def begin(self, running: Running) -> None:
        """The villain's node is built and not running yet."""

    def says(self, peer: bytes, message: Message) -> list[Message]:
        """Return what `peer` is told instead of a consensus message."""
        return [message]

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        """Return what is sent instead of any other message; None: nothing."""
        return data

    def unasked(self) -> None:
        """Say something; called after every step while the node runs."""


class Villain:
    """One faulty authority. `secret` is its key's seed."""

    def __init__(self, world: World, name: str, habits: Sequence[type[Habit]]) -> None:
        self.world = world
        self.name = name
        self.chance = random.Random(f"villain {world.seed} {name}")
        self.secret = world.seeds[int(name.removeprefix("authority-")) - 1]
        self.key = crypto.public_key_of(self.secret)
        self.running: Running | None = None
        #: How many messages were not what an honest node would have sent.
        self.count = 0
        self._spoke_s = float("-inf")
        self.habits = [habit(self) for habit in habits]
        world.excused[name] = world.tampered[name] = BYZANTINE
        for habit in self.habits:
            world.faults[f"byzantine: {habit.name}"] += 1

    # -- the node

    def built(self, running: Running) -> None:
        """Take a node over."""
        self.running = running
        node = running.node
        self._send = node.peers.send
        node.peers.send = self._sending  # type: ignore[assignment, method-assign]
        # It knows very well who else signs under its key.
        _make_shameless(running)
        for habit in self.habits:
            habit.begin(running)

    @property
    def machine(self) -> Machine:
        """The machine of the node."""
        assert self.running is not None
        return self.running.node.engine.machine

    @property
    def is_up(self) -> bool:
        """Whether the node runs."""
        return self.running is not None and self.world.nodes.get(self.name) is self.running

    @property
    def peers(self) -> list[bytes]:
        """The ids of who is connected."""
        assert self.running is not None
        return list(self.running.node.peers.ids())

    def some_peers(self, share: float = 0.5) -> list[bytes]:
        """Return some of the peers."""
        return [peer for peer in self.peers if self.chance.random() < share]

    # -- speaking

    def signed(self, message: SignedMessage) -> SignedMessage:
        """Sign, without asking any guard."""
        signature = crypto.sign(self.secret, message.sign_bytes(self.domain))
        return message._replace(signature=signature)

    @property
    def domain(self) -> Any:
        """The network's."""
        assert self.running is not None
        return self.running.node.domain

    def vote(self, kind: Kind, height: int, round_: int, block_id: bytes | None) -> SignedMessage:
        """Return a vote of the villain's own."""
        return self.signed(Vote(kind, height, round_, block_id, self.key))

    def tell(self, peer: bytes, message: Message) -> None:
        """Send a consensus message past all habits."""
        self.send(peer, Channel.CONSENSUS, ConsensusKind.MESSAGE, pack_message(message))

    def send(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bool:
        """Send anything past all habits."""
        self.count += 1
        return self._send(peer, channel, kind, data)

    def offer(self, block: Block) -> None:
        """Keep a block of the villain's making, so that its node serves it."""
        assert self.running is not None
        node = self.running.node
        prepared = tuple(prepare(raw, node.chain.registry) for raw in block.transactions)
        node.bodies.put(Body(block, prepared))

    def _sending(self, peer: bytes, channel: Channel, kind: int, payload: bytes) -> bool:
        data: bytes | None = payload
        if channel is Channel.CONSENSUS and kind == ConsensusKind.MESSAGE:
            return self._saying(peer, payload)
        for habit in self.habits:
            data = None if data is None else habit.sends(peer, channel, kind, data)
        self.count += data != payload
        return True if data is None else self._send(peer, channel, kind, data)

    def _saying(self, peer: bytes, payload: bytes) -> bool:
        true = unpack_message(payload)
        said = [true]
        for habit in self.habits:
            said = [instead for message in said for instead in habit.says(peer, message)]
        self.count += said != [true]
        for message in said:
            self._send(peer, Channel.CONSENSUS, ConsensusKind.MESSAGE, pack_message(message))
        return True

    def unasked(self) -> None:
        """Let every habit say something, now and then."""
        now_s = trio.current_time()
        if now_s - self._spoke_s < PAUSE_S:
            return
        self._spoke_s = now_s
        if self.is_up and self.peers and self.machine.votes is not None:
            for habit in self.habits:
                habit.unasked()

    def is_own(self, message: Message) -> bool:
        """Tell whether a message is the villain's own vote or proposal."""
        return isinstance(message, Vote | Proposal) and message.authority == self.key

    def header_variant(self, header: Header) -> Header:
        """Return a block beside one: a millisecond later, all else alike."""
        return replace(header, time_ms=header.time_ms + 1)

    def body_of(self, block_id: bytes) -> Body | None:
        """Return a body that the node keeps."""
        assert self.running is not None
        return self.running.node.bodies.get(block_id)

    def proposed_other(self, proposal: Proposal, header: Header) -> Proposal:
        """Return a proposal of another header in the same place, its body ready to be served."""
        body = self.body_of(proposal.block_id)
        if body is not None:
            self.offer(body.block._replace(header=header))
        other = self.signed(proposal._replace(header=header))
        assert isinstance(other, Proposal)
        return other


def _make_shameless(running: Running) -> None:
    """Let a node sign whoever else signs under its key, and whatever it is accused of."""
    signing: Any = running.node.engine._signing
    hear = signing.answered

    async def nothing(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    async def answered(peer: bytes, key: bytes, _is_theirs: bool, _votes: object) -> None:
        await hear(peer, key, False, [])

    signing.accused = lambda *_: None
    signing.committed = signing.heard = nothing
    signing.answered = answered


# ── votes and proposals ─────────────────────────────────────────────────────────────────────────


class EquivocatesVotes(Habit):
    """A third of the peers are told one vote, a third another one, and a third both."""

    name = "equivocating votes"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Vote) or not self.villain.is_own(message):
            return [message]
        place = sorted(self.villain.peers).index(peer) % 3
        block_id = self._other(message)
        other = self.villain.vote(message.kind, message.height, message.round, block_id)
        told: list[Message] = [message, other]
        return told[place == 1 : 2 - (place == 0)]

    def _other(self, vote: Vote) -> bytes | None:
        if vote.block_id is not None:
            return None
        known = self.villain.machine.proposals_at(vote.round)
        return known[0].block_id if known else b"\x77" * 32


class EquivocatesProposals(Habit):
    """Two blocks, both of them valid, for one turn; each half of the peers hears of one."""

    name = "equivocating proposals"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Proposal) or not self.villain.is_own(message) or peer[0] % 2:
            return [message]
        if message.valid_round != -1:
            return [message]
        other = self.villain.header_variant(message.header)
        return [self.villain.proposed_other(message, other)]


class HidesLocks(Habit):
    """One victim a round is shown the vote that completes a polka, all others nil (M#956)."""

    name = "hidden lock"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Vote) or not self.villain.is_own(message):
            return [message]
        place = message.height, message.round
        victim = sorted(self.villain.peers)[message.round % max(1, len(self.villain.peers))]
        if message.kind is Kind.PREVOTE and peer == victim:
            return [message]
        return [self.villain.vote(message.kind, *place, None)]


class ForgetsLocks(Habit):
    """Amnesia: votes for whatever is valid, as if it had never been locked."""

    name = "amnesia"

    def begin(self, running: Running) -> None:
        machine: Any = running.node.engine.machine
        machine.rules = LockIgnored


class TellsSome(Habit):
    """Proposals and their bodies reach some only."""

    name = "proposal to some"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        hidden = isinstance(message, Proposal) and (peer[0] + message.round) % 2
        return [] if hidden and self.villain.is_own(message) else [message]

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        return None if channel is Channel.PROPOSALS and peer[0] % 2 else data


class WithholdsBodies(Habit):
    """Headers without bodies: nobody gets any body from it, nor an announcement."""

    name = "withheld body"

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        answers = (ProposalKind.COMPACT, ProposalKind.MISSING, ProposalKind.FULL)
        return None if channel is Channel.PROPOSALS and kind in answers else data


class SpoilsBodies(Habit):
    """A good header, with a body of which one witness is another: for others' blocks too."""

    name = "bad witness in a body"

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        if channel is not Channel.PROPOSALS or kind != ProposalKind.FULL:
            return data
        block = Block.unpack(data)
        if not block.transactions:
            return data
        spoilt = spoil_witness(block.transactions[0])
        return block._replace(transactions=(spoilt, *block.transactions[1:])).pack()


def spoil_witness(raw: bytes) -> bytes:
    """Return a signed transaction whose signature is wrong and whose form is right."""
    return raw[:-1] + bytes((raw[-1] ^ 1,))


class SignsForOthers(Habit):
    """Proposes a payment that its sender never signed: the header commits to the bad witness."""

    name = "forged payment"

    def begin(self, running: Running) -> None:
        node = running.node
        build = node.host.build

        async def building(*args: Any) -> Body | None:
            if self.chance.random() < 0.5:
                self._slip_in()
            found: Body | None = await build(*args)
            return found

        node.host.build = building  # type: ignore[assignment, method-assign]

    def _slip_in(self) -> None:
        running, world = self.villain.running, self.villain.world
        assert running is not None
        node = running.node
        sequence = node.next_sequence(world.alice.account, FORGED_LANE)
        honest = world.pay(world.alice, lane=FORGED_LANE, sequence=sequence, amount=1_000)
        forged = prepare(spoil_witness(honest.raw), node.chain.registry)
        try:
            node.pool.admit(forged, node.host.head, node.outside.clock.now_ms())
        except Refused:
            return  # One is in the pool already.


class ProposesNonsense(Habit):
    """Blocks that are wrong in one place: what they hash to, when, by whom, on what."""

    name = "invalid block"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Proposal) or not self.villain.is_own(message):
            return [message]
        if message.valid_round != -1:
            return [message]
        header = self._wrong(message.header)
        return [message if header is None else self.villain.proposed_other(message, header)]

    def _wrong(self, header: Header) -> Header | None:
        # One wrong block a turn, not one a peer: it does not count on being seen to equivocate.
        chance = random.Random(f"{self.villain.name} {header.height} {header.first_round}")
        keys = sorted(self.villain.world.key_names)
        choices: list[dict[str, Any]] = [
            {"state_root": bytes(32)},
            {"receipts_root": bytes(32)},
            {"events_root": bytes(32)},
            {"time_ms": header.time_ms - 3_600_000},
            {"time_ms": header.time_ms + 3_600_000},
            {"proposer": chance.choice(keys)},
            {"first_round": header.first_round + 1},
            {"parent_id": b"\x11" * 32},
            {"authorities_hash": bytes(32)},
            {"next_authorities_hash": bytes(32)},
            {"params_hash": bytes(32)},
            {"cost_used": header.cost_used + 1},
        ]
        if chance.random() < 0.3:
            return None
        return replace(header, **chance.choice(choices))


class ProposesEarly(Habit):
    """Blocks from the future: their time is seconds ahead of every honest clock (R20)."""

    name = "block from the future"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Proposal) or not self.villain.is_own(message):
            return [message]
        if message.valid_round != -1:
            return [message]
        header = replace(message.header, time_ms=message.header.time_ms + AHEAD_MS)
        return [self.villain.proposed_other(message, header)]


class ForgesParents(Habit):
    """Blocks whose parent certificate is made of one signature, its own, many times."""

    name = "forged parent certificate"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Proposal) or not self.villain.is_own(message):
            return [message]
        body = self.villain.body_of(message.block_id)
        if message.valid_round != -1 or body is None or body.block.parent_certificate is None:
            return [message]
        forged = self._forged(Certificate.unpack(body.block.parent_certificate)).pack()
        header = replace(message.header, parent_certificate_hash=crypto.certificate_hash_of(forged))
        self.villain.offer(body.block._replace(header=header, parent_certificate=forged))
        return [self.villain.signed(message._replace(header=header))]

    def _forged(self, true: Certificate) -> Certificate:
        assert true.block_id is not None
        own = self.villain.vote(Kind.PRECOMMIT, true.height, true.round, true.block_id)
        return replace(true, signatures=(own.signature,) * len(true.signatures))


class SpeaksLate(Habit):
    """Everything that it says about consensus comes late, by any time."""

    name = "late by any delay"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        running = self.villain.running
        delay_s = self.chance.choice((0.0, 0.05, 0.5, 2.0, 8.0))
        if not delay_s or running is None or running.nursery is None:
            return [message]
        running.nursery.start_soon(self._later, delay_s, peer, message)
        return []

    async def _later(self, delay_s: float, peer: bytes, message: Message) -> None:
        await trio.sleep(delay_s)
        self.villain.tell(peer, message)


class ClaimsPolkas(Habit):
    """Proposals that name a valid round in which there was no polka for them."""

    name = "wrong valid round"

    def says(self, peer: bytes, message: Message) -> list[Message]:
        if not isinstance(message, Proposal) or not self.villain.is_own(message):
            return [message]
        if message.round == 0:
            # So that there is a next round, and then this one's turn comes again some time.
            return []
        claimed = self.chance.randrange(message.round)
        header = replace(message.header, first_round=claimed)
        proposer = sorted(self.villain.world.key_names)[
            (header.height - 1 + claimed) % len(self.villain.world.key_names)
        ]
        header = replace(header, proposer=proposer)
        body = self.villain.body_of(message.block_id)
        if body is not None:
            self.villain.offer(body.block._replace(header=header))
        return [self.villain.signed(message._replace(header=header, valid_round=claimed))]


# ── unasked ─────────────────────────────────────────────────────────────────────────────────────


class ForgesVotes(Habit):
    """Votes with garbage for a signature, in the names of honest authorities."""

    name = "garbage-signed votes"

    def unasked(self) -> None:
        machine, chance = self.villain.machine, self.chance
        if chance.random() < 0.7:
            return
        victims = [key for key in self.villain.world.key_names if key != self.villain.key]
        for peer in self.villain.some_peers():
            kind = chance.choice((Kind.PREVOTE, Kind.PRECOMMIT))
            block_id = chance.choice((None, b"\x66" * 32, *machine.live_blocks))
            forged = Vote(
                kind,
                machine.height,
                machine.round,
                block_id,
                chance.choice(victims),
                chance.randbytes(64),
            )
            self.villain.tell(peer, forged)


class ForgesCertificates(Habit):
    """Certificates that prove nothing: of a decision, a polka, the way into a round."""

    name = "forged certificate"

    def unasked(self) -> None:
        machine, authorities = self.villain.machine, self.villain.machine.authorities
        if self.chance.random() < 0.7 or authorities is None:
            return
        for peer in self.villain.some_peers():
            self.villain.tell(peer, self._forged(machine.height, machine.round))

    def _forged(self, height: int, round_: int) -> Message:
        villain, authorities = self.villain, self.villain.machine.authorities
        assert authorities is not None
        block_id = self.chance.choice((b"\x66" * 32, *villain.machine.live_blocks))
        everyone = authorities.bitmap(authorities.keys)
        trick = self.chance.randrange(4)
        if trick == 0:
            vote = villain.vote(Kind.PRECOMMIT, height, round_, block_id)
            count = len(authorities)
            return Certificate(height, round_, block_id, everyone, (vote.signature,) * count)
        if trick == 1:
            vote = villain.vote(Kind.PREVOTE, height, round_, block_id)
            count = authorities.quorum_size
            alone = authorities.bitmap([villain.key])
            return PolkaCertificate(height, round_, block_id, alone, (vote.signature,) * count)
        if trick == 2:
            vote = villain.vote(Kind.PRECOMMIT, height, round_, block_id)
            alone = authorities.bitmap([villain.key])
            return Certificate(height, round_, block_id, alone, (vote.signature,))
        votes = tuple(villain.vote(Kind.PREVOTE, height, round_ + 9 + i, None) for i in range(3))
        return RoundCertificate(height, round_ + 9, tuple(v for v in votes if isinstance(v, Vote)))


class Floods(Habit):
    """True signatures for rounds and heights that nobody is in."""

    name = "flood of future rounds and heights"

    def unasked(self) -> None:
        machine, chance = self.villain.machine, self.chance
        first = machine.round + 2
        for peer in self.villain.some_peers():
            for step in range(UNASKED // 3):
                kind = chance.choice((Kind.PREVOTE, Kind.PRECOMMIT))
                rising = self.villain.vote(kind, machine.height, first + step * 7, b"\x55" * 32)
                early = self.villain.vote(kind, machine.height + 1, step, None)
                never = self.villain.vote(kind, machine.height + 1_000, step, None)
                for message in (rising, early, never):
                    self.villain.tell(peer, message)


class LiesAboutTip(Habit):
    """Says that the chain is much longer, and has nothing to show for it."""

    name = "false tip"

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        if channel is not Channel.SYNC or kind != SyncKind.TIP:
            return data
        tip = Tip.unpack(data)
        return tip._replace(height=tip.height + self.chance.choice((1, 2, 1_000))).pack()


class ServesBadBlocks(Habit):
    """Answers to sync: blocks of another height, changed, or with another's certificate."""

    name = "bad block range"

    def sends(self, peer: bytes, channel: Channel, kind: int, data: bytes) -> bytes | None:
        if channel is not Channel.SYNC or kind != SyncKind.RANGE:
            return data
        first, pairs = messages.unpack_range(data)
        if not pairs:
            return data
        raw, packed = pairs[0]
        block, certificate = Block.unpack(raw), Certificate.unpack(packed)
        match self.chance.randrange(5):
            case 0:
                header = replace(block.header, state_root=bytes(32))
                other = replace(certificate, block_id=header.block_id)
                bad = block._replace(header=header).pack(), other.pack()
            case 1:
                bad = block._replace(transactions=block.transactions[1:]).pack(), packed
            case 2:
                signatures = tuple(bytes(64) for _ in certificate.signatures)
                bad = raw, replace(certificate, signatures=signatures).pack()
            case 3:
                bad = raw[: len(raw) // 2], packed
            case _:
                return messages.pack_range(first + 1, pairs)
        return messages.pack_range(first, [bad, *pairs[1:]])


class ReplaysEvidence(Habit):
    """Old evidence once more, true evidence with the key of somebody else in it."""

    name = "evidence replay"

    def unasked(self) -> None:
        running, chance = self.villain.running, self.chance
        assert running is not None
        if chance.random() < 0.6:
            return
        seen = [sighting.evidence for sighting in self.villain.world.sightings]
        proof = chance.choice(seen) if seen else self._made()
        honest = [key for key in self.villain.world.key_names if key != self.villain.key]
        if chance.random() < 0.3:
            proof = proof._replace(authority=chance.choice(honest))
        for peer in self.villain.some_peers():
            self.villain.send(peer, Channel.EVIDENCE, EvidenceKind.DOUBLE_SIGN, proof.pack())

    def _made(self) -> DoubleSign:
        """Convict oneself: of a height long decided, if there is one."""
        height = self.chance.randrange(1, self.villain.machine.height + 1)
        one, other = (
            self.villain.vote(Kind.PREVOTE, height, 0, block_id)
            for block_id in (None, b"\x44" * 32)
        )
        proof = DoubleSign.of(one, other)
        assert isinstance(proof.first, Statement)
        return proof


HABITS: tuple[type[Habit], ...] = (
    EquivocatesVotes,
    EquivocatesProposals,
    HidesLocks,
    ForgetsLocks,
    TellsSome,
    WithholdsBodies,
    SpoilsBodies,
    SignsForOthers,
    ProposesNonsense,
    ProposesEarly,
    ForgesParents,
    SpeaksLate,
    ClaimsPolkas,
    ForgesVotes,
    ForgesCertificates,
    Floods,
    LiesAboutTip,
    ServesBadBlocks,
    ReplaysEvidence,
)


# ── who does it ─────────────────────────────────────────────────────────────────────────────────


class Cast:
    """The villains of one run, as its world sees them: a checker that never complains."""

    name, number = "cast", 0

    def __init__(self) -> None:
        self.villains: list[Villain] = []
        self.twins: list[Twins] = []

    @property
    def names(self) -> list[str]:
        """The names of all nodes in wrong hands."""
        found = [villain.name for villain in self.villains]
        return [*found, *(name for twins in self.twins for name in (twins.one, twins.other))]

    def built(self, world: World, running: Running) -> None:
        for villain in self.villains:
            if villain.name == running.name:
                villain.built(running)
        if any(running.name in (twins.one, twins.other) for twins in self.twins):
            _make_shameless(running)

    def after_step(self, world: World) -> None:
        for villain in self.villains:
            villain.unasked()

    def at_end(self, world: World) -> None:
        """Nothing to judge."""


class Twins:
    """Two whole nodes under one key (arXiv 2004.10617), rarely in one part of the network."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.chance = random.Random(f"twins {world.seed} {name}")
        self.one = name
        # Another name for the same number: the same key, another machine.
        self.other = name.replace("-", "-0")
        self._prepare()

    def _prepare(self) -> None:
        world, other = self.world, self.other
        for name in (self.one, other):
            world.excused[name] = world.tampered[name] = BYZANTINE
        world.clocks[other] = type(world.clocks[self.one])(world.clocks[self.one].now_ms())
        world._addresses[other] = world._address(other)
        world._by_id[world._addresses[other].node_id] = other
        world.faults["byzantine: twins"] += 1

    def part(self) -> None:
        """Draw two sides anew: a twin in each, every other node in one of them."""
        links = self.world.links
        others = [name for name in self.world.all_names if name != self.one]
        side = {name: self.chance.random() < 0.5 for name in others}
        links.cut(self.one, self.other)
        for name in others:
            near, far = (self.one, self.other) if side[name] else (self.other, self.one)
            links.heal(near, name)
            links.cut(far, name)

    def join(self) -> None:
        """Let everybody hear both."""
        for name in [*self.world.all_names, self.other]:
            for twin in (self.one, self.other):
                if name != twin:
                    self.world.links.heal(name, twin)
