"""Gossip of consensus messages with retransmission (R16), and the question before signing (R24).

Messages go to every peer that takes part. Each participant says regularly where it stands and
which votes it holds; whoever has more sends exactly what is lacking, its own votes or another's.
So a lost connection or a missing link delays agreement and never stops it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from clawpurse.consensus.inputs import CertificateReceived, Input, ProposalReceived, VoteReceived
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.envelope import Message, pack_message, unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import CallerError
from clawpurse.node import messages
from clawpurse.node.bodies import Bodies
from clawpurse.node.chain import Chain
from clawpurse.node.clock import Clock
from clawpurse.node.engine import Engine
from clawpurse.node.messages import ConsensusKind, Have, ProposalKind
from clawpurse.node.presence import Presence
from clawpurse.node.signing import Signing

# How often participants say what they hold. Votes are a hundred bytes; this bounds how long a
# lost one delays a round.
HAVE_PERIOD_S: Final = 0.3
IDLE_PERIOD_S: Final = 1.0
# Who has learnt nothing for so long waits for somebody who is gone, perhaps for hours.
STILL_AFTER_S: Final = 10.0
# A participant that said nothing for so long is none any more: it follows now, or hangs. It is
# one again with its next word.
PARTICIPANT_S: Final = 10.0
# Own messages that a peer is sent when it connects: all votes of a few rounds, or what counts of
# many. A height that stood for hours has thousands.
GREETING_MAX: Final = 64
# What a peer lacks is sent no oftener than this, however often it says that it lacks it.
REPAIR_PERIOD_S: Final = 0.1
# A peer that did not answer what our keys signed is asked again: it may have been starting.
ASK_PERIOD_S: Final = 2.0
# Newest certificates in which a vote of somebody's is looked for: they hold the first quorum
# only, and a key that signs is in one of twenty.
CERTIFICATES_SEARCHED: Final = 20
log = logging.getLogger("clawpurse.consensus")


class Outbox(Protocol):
    """How this file reaches peers."""

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""

    def send_consensus(self, peer: bytes, kind: ConsensusKind, payload: bytes) -> bool:
        """Queue a message on the consensus channel."""

    def send_proposal(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        """Queue a message on the proposals channel."""


class VoteGossip:
    """Consensus messages between this node's engine and its peers."""

    def __init__(
        self,
        chain: Chain,
        bodies: Bodies,
        domain: Domain,
        clock: Clock,
        outbox: Outbox,
        signing: Signing,
    ) -> None:
        self._chain = chain
        self._bodies = bodies
        self._domain = domain
        self._clock = clock
        self._outbox = outbox
        self._signing = signing
        self._participants: dict[bytes, float] = {}
        self._greeted: dict[bytes, None] = {}
        self._repaired_s: dict[bytes, float] = {}
        self._engine: Engine | None = None
        self._presence: Presence | None = None

    def attach(self, engine: Engine, presence: Presence | None = None) -> None:
        """Say which engine this speaks for, and who is told what peers say; once, first of all."""
        self._engine = engine
        self._presence = presence

    @property
    def engine(self) -> Engine:
        """The engine that this speaks for."""
        assert self._engine is not None
        return self._engine

    @property
    def _takes_part(self) -> bool:
        return self._signing.is_authority

    # -- outwards

    def broadcast(self, message: Message) -> None:
        """Send a message to every participant, a proposal together with its compact body."""
        payload = pack_message(message)
        now_s = trio.current_time()
        for peer, heard_s in list(self._participants.items()):
            if now_s - heard_s > PARTICIPANT_S:
                del self._participants[peer]
                self._greeted.pop(peer, None)
            else:
                self._send(peer, message, payload)

    def _send(self, peer: bytes, message: Message, payload: bytes) -> None:
        self._outbox.send_consensus(peer, ConsensusKind.MESSAGE, payload)
        if isinstance(message, Proposal):
            compact = self._bodies.compact(message.block_id)
            if compact is not None:
                self._outbox.send_proposal(peer, ProposalKind.COMPACT, compact)

    def connected(self, peer: bytes) -> None:
        """Say to a new peer where this node stands; ask what it knows of our votes."""
        if self._takes_part:
            self._outbox.send_consensus(peer, ConsensusKind.HAVE, self._have().pack())
        self._ask(peer)

    def _ask(self, peer: bytes) -> None:
        """Ask a peer about each key that waits for its answer before it signs (R24)."""
        for key in self._signing.questions(peer):
            wanted = messages.pack_id(key)
            self._outbox.send_consensus(peer, ConsensusKind.OWN_VOTES_WANTED, wanted)

    def forget_peer(self, peer: bytes) -> None:
        """A peer is gone."""
        self._participants.pop(peer, None)
        self._greeted.pop(peer, None)
        self._repaired_s.pop(peer, None)
        if self._presence is not None:
            self._presence.forget_peer(peer)

    def _have(self) -> Have:
        machine = self.engine.machine
        votes, round_ = machine.votes, machine.round
        height = max(1, machine.height)
        if votes is None:
            return Have(height, 0, False, b"", b"")
        return Have(
            height,
            round_,
            bool(machine.proposals_at(round_)),
            votes.bitmap(Kind.PREVOTE, round_),
            votes.bitmap(Kind.PRECOMMIT, round_),
        )

    async def run(self) -> None:
        """Say regularly what this node holds, until cancelled."""
        asked_s = changed_s = trio.current_time()
        said = b""
        while True:
            if trio.current_time() - asked_s >= ASK_PERIOD_S:
                asked_s = trio.current_time()
                for peer in self._outbox.peers():
                    self._ask(peer)
            if self._takes_part:
                payload = self._have().pack()
                if payload != said:
                    said, changed_s = payload, trio.current_time()
                for peer in self._outbox.peers():
                    self._outbox.send_consensus(peer, ConsensusKind.HAVE, payload)
            # While a height waits for work there is little that could be lacking.
            waits = self.engine.machine.state.waiting
            waits = waits or trio.current_time() - changed_s > STILL_AFTER_S
            await trio.sleep(IDLE_PERIOD_S if waits else HAVE_PERIOD_S)

    # -- inwards

    async def on_message(self, peer: bytes, kind: ConsensusKind, payload: bytes) -> None:
        """Take or answer a message of the consensus channel. Raises `Malformed`."""
        match kind:
            case ConsensusKind.MESSAGE:
                await self._take(peer, unpack_message(payload))
            case ConsensusKind.HAVE:
                self._repair(peer, Have.unpack(payload))
            case ConsensusKind.OWN_VOTES_WANTED:
                authority = messages.unpack_id(payload)
                is_mine = self._signing.holds(authority)
                answer = messages.pack_own_votes(authority, is_mine, self._votes_of(authority))
                self._outbox.send_consensus(peer, ConsensusKind.OWN_VOTES, answer)
            case ConsensusKind.OWN_VOTES:
                await self._signing.answered(peer, *messages.unpack_own_votes(payload))

    async def _take(self, peer: bytes, message: Message) -> None:
        event: Input
        if isinstance(message, Proposal | Vote):
            await self._signing.heard(message)
        if isinstance(message, Proposal):
            if self._presence is not None:
                cost_max = self._chain.params.block_cost_max
                self._presence.clocks.received(message, self._clock.now_ms(), cost_max)
            event = ProposalReceived(message, self._timely(message))
        elif isinstance(message, Vote):
            event = VoteReceived(message)
        else:
            event = CertificateReceived(message)
        await self.engine.deliver(event, peer)

    def _timely(self, proposal: Proposal) -> bool:
        """Judge a fresh proposal's time, once, at receipt (R20)."""
        if proposal.valid_round != -1:
            return True
        return TimeoutParams.of(self._chain.params).timely(
            block_time_ms=proposal.header.time_ms,
            received_ms=self._clock.now_ms(),
            round_=proposal.round,
        )

    def _repair(self, peer: bytes, have: Have) -> None:
        """Send a participant what it lacks of the height in progress."""
        now_s = trio.current_time()
        self._participants[peer] = now_s
        if self._presence is not None:
            self._presence.have(peer, have)
        machine = self.engine.machine
        votes = machine.votes
        if votes is None or have.height != machine.height:
            return
        if peer not in self._greeted:
            self._greet(peer)
        if now_s - self._repaired_s.get(peer, float("-inf")) < REPAIR_PERIOD_S:
            return
        self._repaired_s[peer] = now_s
        lacking: list[Message] = []
        if machine.round > have.round:
            entry = votes.round_certificate(machine.height, machine.round)
            if entry is not None:
                lacking.append(entry)
        if not have.has_proposal:
            # Only what verified here: whoever relays a forgery is taken for the forger.
            lacking.extend(machine.proposals_at(have.round))
        lacking.extend(votes.lacking(Kind.PREVOTE, have.round, have.prevotes))
        lacking.extend(votes.lacking(Kind.PRECOMMIT, have.round, have.precommits))
        for message in lacking:
            self._send(peer, message, pack_message(message))

    def _greet(self, peer: bytes) -> None:
        """Send a participant that is new at this height what this node signed there (R16).

        `Have` speaks of one round only. A decision may rest on a vote of any earlier one, so
        votes for blocks go whatever their round; of the rest the newest do.
        """
        self._greeted[peer] = None
        machine = self.engine.machine
        mine = [
            message
            for message in machine.own_messages
            if message.round == machine.round
            or (isinstance(message, Vote) and message.block_id is not None)
        ]
        for message in mine[-GREETING_MAX:]:
            self._send(peer, message, pack_message(message))

    # -- before signing (R24)

    def _votes_of(self, authority: bytes) -> list[Vote]:
        """Return the highest votes that an authority was seen to sign, each verifiable."""
        found = self._certified_vote_of(authority)
        votes = self.engine.machine.votes
        if votes is not None:
            current = [vote for vote in votes if vote.authority == authority]
            found.extend(sorted(current, key=lambda vote: (vote.round, vote.kind)))
        return found[-messages.OWN_VOTES_MAX :]

    def _certified_vote_of(self, authority: bytes) -> list[Vote]:
        """Return the newest precommit of an authority in the last certificates, if there is one."""
        chain = self._chain
        for height in range(chain.height, max(0, chain.height - CERTIFICATES_SEARCHED), -1):
            try:
                packed = chain.blocks.certificate(height)
                authorities = chain.authorities_at(height)
            except CallerError:
                break  # Below what this node keeps.
            if packed is None:
                break
            certificate = Certificate.unpack(packed)
            members = authorities.signers(certificate.signers) or ()
            if authority in members:
                signature = certificate.signatures[members.index(authority)]
                block_id = certificate.block_id
                place = Kind.PRECOMMIT, height, certificate.round
                return [Vote(*place, block_id, authority, signature)]
        return []
