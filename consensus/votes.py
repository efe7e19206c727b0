"""The vote keeper: every verified vote of one height, counted by round, kind and value.

Bounded (R14): all rounds up to the next one fully, beyond that the highest vote per sender and
kind. A slot (round, kind, authority) keeps two contents: the second is evidence and counts for
its value too, because thresholds count distinct senders per value. Nothing here verifies a
signature; the machine does that between `is_new` and `add`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import Kind

# How often one sender may replace its far vote of a kind while we stay in one round. An honest
# one needs a few; without a bound, rising rounds would fill memory and log one vote at a time.
FAR_VOTES_MAX: Final = 16


class Tally:
    """Votes of one kind in one round. Mappings are by authority, in order of arrival."""

    __slots__ = ("by_value", "first", "second")

    def __init__(self) -> None:
        self.first: Final[dict[bytes, Vote]] = {}
        self.second: Final[dict[bytes, Vote]] = {}
        self.by_value: Final[dict[bytes | None, dict[bytes, Vote]]] = {}

    def count(self, block_id: bytes | None) -> int:
        """Return how many distinct authorities voted for `block_id` (None: nil)."""
        return len(self.by_value.get(block_id, ()))


class DecidedValue(NamedTuple):
    """A quorum of precommits: the round and the id of the block."""

    round: int
    block_id: bytes


_EMPTY: Final = Tally()


class VoteKeeper:
    """All votes of one height, for rounds as the machine reaches them.

    `polkas` maps a round to the block (never nil) for which it has a quorum of prevotes, and
    `decided` is the first quorum of precommits for a block.
    """

    def __init__(self, authorities: AuthoritySet, round_: int = -1) -> None:
        """Keep the votes of `authorities`; `round_` −1 keeps a height that is not begun."""
        self.authorities: Final = authorities
        self.polkas: Final[dict[int, bytes]] = {}
        self.decided: DecidedValue | None = None
        self._round = round_
        self._tallies: Final[dict[tuple[int, Kind], Tally]] = {}
        self._far: Final[dict[tuple[bytes, Kind], Vote]] = {}
        self._far_taken: Final[dict[tuple[bytes, Kind], int]] = {}
        self._latest: Final[dict[bytes, Vote]] = {}
        self._highest = -1

    def tally(self, kind: Kind, round_: int) -> Tally:
        """Return the votes of one kind in one round (an empty tally when there are none)."""
        return self._tallies.get((round_, kind), _EMPTY)

    def is_new(self, vote: Vote) -> bool:
        """Tell whether keeping `vote` would change anything, before its signature is checked.

        Goes by the whole slot, never by who claims to be the sender alone: a forged vote is
        never kept, so it can shadow no true one.
        """
        if vote.round > self._round + 1:
            slot = (vote.authority, vote.kind)
            far = self._far.get(slot)
            if far is None:
                return True
            return far.round < vote.round and self._far_taken[slot] < FAR_VOTES_MAX
        tally = self._tallies.get((vote.round, vote.kind))
        if tally is None:
            return True
        known = tally.first.get(vote.authority)
        if known is None:
            return True
        return known.block_id != vote.block_id and vote.authority not in tally.second

    def add(self, vote: Vote, *, proven: bool = False) -> Vote | None:
        """Keep a verified vote of a member; return the vote that it contradicts, at most once.

        `proven` votes come out of a verified quorum: they are kept in any round and beside any
        two others, because that quorum decides whatever else their senders signed.
        """
        latest = self._latest.get(vote.authority)
        if latest is None or latest.round < vote.round:
            self._latest[vote.authority] = vote
            self._highest = max(self._highest, vote.round)
        if vote.round > self._round + 1 and not proven:
            slot = (vote.authority, vote.kind)
            far = self._far.get(slot)
            if far is None or far.round < vote.round:
                self._far[slot] = vote
                self._far_taken[slot] = self._far_taken.get(slot, 0) + 1
            return None
        return self._keep(vote, proven)

    def _keep(self, vote: Vote, proven: bool) -> Vote | None:
        slot = (vote.round, vote.kind)
        tally = self._tallies.get(slot)
        if tally is None:
            tally = self._tallies[slot] = Tally()
        known = tally.first.get(vote.authority)
        contradicted = None
        if known is None:
            tally.first[vote.authority] = vote
        elif known.block_id == vote.block_id:
            return None
        elif vote.authority not in tally.second:
            tally.second[vote.authority] = vote
            contradicted = known
        elif not proven:
            return None
        senders = tally.by_value.setdefault(vote.block_id, {})
        senders.setdefault(vote.authority, vote)
        if vote.block_id is not None and len(senders) >= self.authorities.quorum_size:
            if vote.kind is Kind.PREVOTE:
                self.polkas.setdefault(vote.round, vote.block_id)
            elif self.decided is None:
                self.decided = DecidedValue(vote.round, vote.block_id)
        return contradicted

    def advance(self, round_: int) -> list[tuple[Vote, Vote]]:
        """Tell which round the machine is in: votes up to the next one are now kept fully.

        Returns pairs that contradict each other and show only now: of a vote that was far, and
        of one that a certificate had brought to its place.
        """
        self._round = round_
        for slot in self._far_taken:
            self._far_taken[slot] = 1
        near = [slot for slot, vote in self._far.items() if vote.round <= round_ + 1]
        found: list[tuple[Vote, Vote]] = []
        for slot in near:
            vote = self._far.pop(slot)
            contradicted = self._keep(vote, proven=False)
            if contradicted is not None:
                found.append((contradicted, vote))
        return found

    def has_quorum(self, kind: Kind, round_: int, block_id: bytes | None) -> bool:
        """Tell whether a quorum voted for `block_id` (None: nil) in a round."""
        return self.tally(kind, round_).count(block_id) >= self.authorities.quorum_size

    def has_quorum_of_any(self, kind: Kind, round_: int) -> bool:
        """Tell whether a quorum voted at all, for whatever value."""
        return len(self.tally(kind, round_).first) >= self.authorities.quorum_size

    def voters(self, round_: int) -> int:
        """Count the distinct authorities of which a vote in `round_` is known."""
        prevotes = self.tally(Kind.PREVOTE, round_).first
        precommits = self.tally(Kind.PRECOMMIT, round_).first
        return len(prevotes) + sum(key not in prevotes for key in precommits)

    def round_to_skip_to(self, round_: int) -> int | None:
        """Return the highest round above `round_` that f + 1 distinct authorities have reached.

        Prevotes and precommits count together (R12); one of the f + 1 is honest and is there.
        """
        if self._highest <= round_:
            return None
        ahead = sorted((v.round for v in self._latest.values() if v.round > round_), reverse=True)
        needed = self.authorities.honest_size
        return ahead[needed - 1] if len(ahead) >= needed else None

    def certificate(self, decided: DecidedValue) -> Certificate:
        """Return all known precommits for a decision as its certificate."""
        tally = self.tally(Kind.PRECOMMIT, decided.round)
        return Certificate.of(self.authorities, tally.by_value[decided.block_id])

    def polka_certificate(self, round_: int) -> PolkaCertificate | None:
        """Return the polka of a round for a block, if there is one."""
        block_id = self.polkas.get(round_)
        if block_id is None:
            return None
        tally = self.tally(Kind.PREVOTE, round_)
        return PolkaCertificate.of(self.authorities, tally.by_value[block_id])

    def round_certificate(self, height: int, round_: int) -> RoundCertificate | None:
        """Return the votes that allow one to enter `round_`, if enough are known."""
        before = self.tally(Kind.PRECOMMIT, round_ - 1).first
        if len(before) >= self.authorities.quorum_size:
            return RoundCertificate(height, round_, tuple(before.values()))
        ahead = tuple(vote for vote in self._latest.values() if vote.round >= round_)
        if len(ahead) < self.authorities.honest_size:
            return None
        return RoundCertificate(height, round_, ahead)

    def bitmap(self, kind: Kind, round_: int) -> bytes:
        """Return whose votes of one kind and round are known, as `AuthoritySet.bitmap`."""
        return self.authorities.bitmap(self.tally(kind, round_).first)

    def lacking(self, kind: Kind, round_: int, peer_has: bytes) -> tuple[Vote, ...]:
        """Return the known votes of one kind and round whose senders `peer_has` leaves out.

        A bitmap of a wrong shape counts as having none. Second votes of equivocators are sent too.
        """
        has = self.authorities.signers(peer_has) or ()
        tally = self.tally(kind, round_)
        return tuple(
            vote
            for votes in (tally.first, tally.second)
            for key, vote in votes.items()
            if key not in has
        )

    def rounds(self) -> tuple[int, ...]:
        """Return the rounds of which votes are kept fully, ascending."""
        return tuple(sorted(dict.fromkeys(round_ for round_, _ in self._tallies)))

    def __iter__(self) -> Iterator[Vote]:
        """Iterate over all kept votes in an order that depends only on what is kept."""
        votes = list(self._far.values())
        for tally in self._tallies.values():
            for senders in tally.by_value.values():
                votes.extend(senders.values())
        place = self.authorities.place
        return iter(
            sorted(votes, key=lambda v: (v.round, v.kind, place(v.authority), v.block_id or b""))
        )
