"""Faulty authorities: everything that one can say with a key of one's own, and without others'.

A liar reacts to what it hears: it votes for anything and for several things, proposes two blocks
or none, invalid, early, late or withheld ones, forges what it cannot sign, and floods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from clawpurse.consensus.inputs import SyncedBlock
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from tests.simulation.values import (
    WRONG_ROOT,
    header_of,
    signed_proposal,
    signed_vote,
)

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

#: How often a liar reacts to a message, in percent: enough to matter, not enough to drown.
EAGERNESS = 35
#: … and how often at most in one round: liars also hear each other.
LIES_MAX = 8


class Liar:
    """One faulty authority under one key."""

    def __init__(self, cluster: Cluster, address: int, key: bytes) -> None:
        self.cluster = cluster
        self.address = address
        self.key = key
        self.known: dict[int, list[Header]] = {}
        self.proposed: set[tuple[int, int]] = set()
        self.heard: list[Message] = []
        self.top = 1
        self.lies: Counter[tuple[int, int]] = Counter()

    def boot(self) -> None:
        """Nothing to do: a liar waits until somebody begins a height."""

    def begin(self, height: int) -> None:
        """Propose in time: somebody has begun `height`."""
        self._turn(height, 0)

    def receive(self, sender: int, message: Message | SyncedBlock) -> None:
        """React to a message, often by lying."""
        if isinstance(message, SyncedBlock):
            return
        if isinstance(message, Proposal):
            blocks = self.known.setdefault(message.height, [])
            if message.header not in blocks and len(blocks) < 8:
                blocks.append(message.header)
        if len(self.heard) < 200:
            self.heard.append(message)
        self._turn(message.height, message.round)
        self._turn(message.height, message.round + 1)
        if message.height > self.top:
            self.top = message.height
            self._turn(message.height, 0)
        place = (message.height, message.round)
        if self.lies[place] < LIES_MAX and self.cluster.random.random() * 100 < EAGERNESS:
            self.lies[place] += 1
            self._lie(*place)

    # ── lies ────────────────────────────────────────────────────────────────────────────────

    def _lie(self, height: int, round_: int) -> None:
        tricks: list[Callable[[int, int], None]] = [
            self._vote,
            self._vote,
            self._vote,
            self._vote_twice,
            self._vote_twice,
            self._complete_polka_for_one,
            self._flood,
            self._forge_vote,
            self._forge_certificate,
            self._repeat,
        ]
        self.cluster.random.choice(tricks)(height, round_)

    def _some_id(self, height: int) -> bytes | None:
        ids: list[bytes | None] = [None, b"\x77" * 32]
        ids += [header.block_id for header in self.known.get(height, [])] * 3
        return self.cluster.random.choice(ids)

    def _say(self, message: Message, share: float = 1.0) -> None:
        if isinstance(message, Vote | Proposal):
            self.cluster.observer.saw(message)
        for peer in self.cluster.shuffled_peers(self.address):
            if self.cluster.random.random() < share:
                self.cluster.send(self.address, peer, message)

    def _ballot(self, kind: Kind, height: int, round_: int, block_id: bytes | None) -> Vote:
        return signed_vote(Vote(kind, height, round_, block_id, self.key))

    def _vote(self, height: int, round_: int) -> None:
        kind = self.cluster.random.choice((Kind.PREVOTE, Kind.PRECOMMIT))
        self._say(self._ballot(kind, height, round_, self._some_id(height)))

    def _vote_twice(self, height: int, round_: int) -> None:
        kind = self.cluster.random.choice((Kind.PREVOTE, Kind.PRECOMMIT))
        for _ in range(2):
            self._say(self._ballot(kind, height, round_, self._some_id(height)), share=0.5)

    def _complete_polka_for_one(self, height: int, round_: int) -> None:
        """The hidden lock (M#956): one node gets the vote that completes a polka."""
        block_id = self._some_id(height)
        for kind in (Kind.PREVOTE, Kind.PRECOMMIT):
            self._say(self._ballot(kind, height, round_, block_id), share=0.3)

    def _flood(self, height: int, round_: int) -> None:
        far = round_ + self.cluster.random.choice((1, 2, 5, 1_000_000))
        for kind in (Kind.PREVOTE, Kind.PRECOMMIT):
            self._say(self._ballot(kind, height, far, self._some_id(height)), share=0.7)
            self._say(self._ballot(kind, height + 1, 0, self._some_id(height + 1)), share=0.4)

    def _forge_vote(self, height: int, round_: int) -> None:
        """Votes in others' names; if they were kept, they would shadow the true ones (R14)."""
        block_id = self._some_id(height)
        for victim in self.cluster.authorities:
            for kind in (Kind.PREVOTE, Kind.PRECOMMIT):
                forged = Vote(kind, height, round_, block_id, victim, b"\x01" * 64)
                for peer in self.cluster.shuffled_peers(self.address):
                    self.cluster.send(self.address, peer, forged)

    def _forge_certificate(self, height: int, round_: int) -> None:
        """A quorum that is our own signature, again and again."""
        keys = self.cluster.authorities.keys
        block_id = self._some_id(height) or b"\x77" * 32
        bitmap = self.cluster.authorities.bitmap(keys)
        for form, kind in ((Certificate, Kind.PRECOMMIT), (PolkaCertificate, Kind.PREVOTE)):
            own = self._ballot(kind, height, round_, block_id).signature
            self._say(form(height, round_, block_id, bitmap, (own,) * len(keys)))
            alone = self.cluster.authorities.bitmap([self.key])
            self._say(form(height, round_, block_id, alone, (own,) * len(keys)))
        ballots = tuple(
            self._ballot(Kind.PRECOMMIT, height, round_ + 7 + i, None) for i in range(3)
        )
        self._say(RoundCertificate(height, round_ + 7, ballots))

    def _repeat(self, height: int, round_: int) -> None:
        del height, round_
        if self.heard:
            self._say(self.cluster.random.choice(self.heard))

    # ── proposals ───────────────────────────────────────────────────────────────────────────

    def _turn(self, height: int, round_: int) -> None:
        if self.cluster.authorities.proposer(height, round_) != self.key:
            return
        if (height, round_) in self.proposed:
            return
        self.proposed.add((height, round_))
        for _ in range(self.cluster.random.choice((0, 1, 2, 2, 3))):
            self._propose(height, round_)

    def _propose(self, height: int, round_: int) -> None:
        chance = self.cluster.random
        parent = self.cluster.observer.blocks.get(height - 1)
        if height > 1 and parent is None:
            return
        again = self.known.get(height, [])
        # Half of the later proposals claim a polka in the round before, which nobody saw.
        valid_round = chance.choice((-1, round_ - 1, chance.randint(-1, max(-1, round_ - 1))))
        if again and round_ > 0 and chance.random() < 0.4:
            header = chance.choice(again)
        else:
            first = round_ if valid_round < 0 else chance.randint(0, valid_round)
            header = self._block(height, first, parent)
            match chance.randrange(5):
                case 0:
                    header = replace(header, state_root=WRONG_ROOT)
                case 1:
                    later = header.time_ms + chance.choice((400, 5_000, 30_000))
                    header = replace(header, time_ms=later)
                case 2:
                    header = replace(header, first_round=first + 1)
            self.known.setdefault(height, []).append(header)
        if chance.random() < 0.3:
            addresses = [node.address for node in self.cluster.nodes]
            hidden = frozenset(chance.sample(addresses, len(addresses) // 2))
            self.cluster.withheld[header.block_id] = hidden
        share = chance.choice((1.0, 0.6, 0.4))
        self._offer(Proposal(round_, valid_round, header, self.key), share=share)

    def _block(self, height: int, first_round: int, parent: Header | None) -> Header:
        clock = max(1, self.cluster.now)
        return header_of(
            height,
            first_round=first_round,
            proposer=self.cluster.authorities.proposer(height, first_round),
            time_ms=clock if parent is None else max(clock, parent.time_ms + 1),
            parent_id=bytes(32) if parent is None else parent.block_id,
            salt=self.cluster.next_salt(),
        )

    def _offer(self, proposal: Proposal, *, share: float) -> None:
        self.cluster.headers[proposal.block_id] = proposal.header
        self._say(signed_proposal(proposal), share=share)


class Locker(Liar):
    """The hidden lock, on purpose and in every round (M#956).

    For each round it picks one victim: the victim alone is shown the prevote that completes a
    polka, all others are shown nil, and precommits are nil for everybody. Proposes like a liar.
    """

    def __init__(self, cluster: Cluster, address: int, key: bytes) -> None:
        super().__init__(cluster, address, key)
        self.played: set[tuple[int, int]] = set()

    def _lie(self, height: int, round_: int) -> None:
        """Do not lie at random."""

    def _propose(self, height: int, round_: int) -> None:
        """Try to talk the locked ones out of it, or to lock more on something older."""
        chance = self.cluster.random
        trick = chance.randrange(3)
        if round_ == 0 or trick == 0:
            super()._propose(height, round_)
            return
        older = [h for h in self.known.get(height, []) if h.first_round < round_]
        if older and (trick == 1 or len(older) > 1):
            header = min(older, key=lambda known: known.first_round)
            self._offer(Proposal(round_, header.first_round, header, self.key), share=1.0)
            return
        parent = self.cluster.observer.blocks.get(height - 1)
        if height == 1 or parent is not None:
            self._offer(
                Proposal(round_, round_ - 1, self._block(height, round_ - 1, parent), self.key),
                share=1.0,
            )

    def receive(self, sender: int, message: Message | SyncedBlock) -> None:
        """Play the trick once a round, as soon as somebody prevotes for a block."""
        super().receive(sender, message)
        if not isinstance(message, Vote) or message.kind is not Kind.PREVOTE:
            return
        place = (message.height, message.round)
        if message.block_id is None or place in self.played:
            return
        self.played.add(place)
        peers = self.cluster.shuffled_peers(self.address)
        for rank, peer in enumerate(peers):
            shown = message.block_id if rank == 0 else None
            vote = self._ballot(Kind.PREVOTE, *place, shown)
            self.cluster.observer.saw(vote)
            self.cluster.send(self.address, peer, vote)
            self.cluster.send(self.address, peer, self._ballot(Kind.PRECOMMIT, *place, None))
