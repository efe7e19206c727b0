"""What was proposed in each round of one height, and every header that came with it (R14).

A round keeps its first two different proposals; a third only when a quorum voted for its block.
Both matter: whichever of two proposals of a faulty proposer gathers a polka must be usable, or
one locked node could starve the network.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.messages import Proposal
from clawpurse.ledger.agreement.signbytes import NO_ROUND
from clawpurse.ledger.blocks import Header

PROPOSALS_PER_ROUND: Final = 2
# As for votes: how often one sender may replace its far proposal while we stay in one round.
FAR_PROPOSALS_MAX: Final = 16


class Proposed(NamedTuple):
    """A verified proposal with what was judged of it once, at receipt.

    `timely` is the host's verdict (R20); `well_formed` says whether the header's first round and
    proposer fit the proposal (R21).
    """

    proposal: Proposal
    timely: bool
    well_formed: bool


def is_well_formed(proposal: Proposal, authorities: AuthoritySet) -> bool:
    """Tell whether a header names the round and proposer of its first proposal rightly (R21).

    The first round is this one when the proposal has no valid round, else at most that one.
    """
    header = proposal.header
    if proposal.valid_round == NO_ROUND:
        in_order = header.first_round == proposal.round
    else:
        in_order = header.first_round <= proposal.valid_round
    expected = authorities.proposer(header.height, header.first_round)
    return in_order and header.proposer == expected


class ProposalKeeper:
    """The proposals of one height. `headers` maps block ids to headers seen in any round."""

    def __init__(self, round_: int = -1) -> None:
        """Keep a height in which the machine is in `round_` (−1: not begun)."""
        self.headers: Final[dict[bytes, Header]] = {}
        self._round = round_
        self._rounds: Final[dict[int, list[Proposed]]] = {}
        self._far: Final[dict[bytes, Proposed]] = {}
        self._far_taken: Final[dict[bytes, int]] = {}

    def at(self, round_: int) -> tuple[Proposed, ...]:
        """Return the proposals of a round, in order of arrival."""
        return tuple(self._rounds.get(round_, ()))

    def is_new(self, proposal: Proposal, *, wanted: bool) -> bool:
        """Tell whether keeping `proposal` would change anything, before its signature is checked.

        `wanted`: a quorum of this round voted for its block.
        """
        if proposal.round > self._round + 1:
            far = self._far.get(proposal.authority)
            if far is None:
                return True
            taken = self._far_taken[proposal.authority]
            return far.proposal.round < proposal.round and taken < FAR_PROPOSALS_MAX
        kept = self._rounds.get(proposal.round, ())
        content = (proposal.valid_round, proposal.block_id)
        if any((k.proposal.valid_round, k.proposal.block_id) == content for k in kept):
            return False
        if len(kept) < PROPOSALS_PER_ROUND:
            return True
        return wanted and all(k.proposal.block_id != proposal.block_id for k in kept)

    def add(self, proposed: Proposed) -> Proposal | None:
        """Keep a verified, new proposal; return the first one that it contradicts, once a round."""
        proposal = proposed.proposal
        if proposal.round > self._round + 1:
            self._far[proposal.authority] = proposed
            taken = self._far_taken.get(proposal.authority, 0)
            self._far_taken[proposal.authority] = taken + 1
            return None
        kept = self._rounds.setdefault(proposal.round, [])
        kept.append(proposed)
        self.headers.setdefault(proposal.block_id, proposal.header)
        return kept[0].proposal if len(kept) == PROPOSALS_PER_ROUND else None

    def advance(self, round_: int) -> None:
        """Tell which round the machine is in: proposals up to the next one are kept fully."""
        self._round = round_
        for key in self._far_taken:
            self._far_taken[key] = 1
        near = [key for key, far in self._far.items() if far.proposal.round <= round_ + 1]
        for key in near:
            self.add(self._far.pop(key))

    def find(self, round_: int, block_id: bytes) -> Proposed | None:
        """Return a round's well-formed proposal of a block, if it has one."""
        for proposed in self._rounds.get(round_, ()):
            if proposed.well_formed and proposed.proposal.block_id == block_id:
                return proposed
        return None

    def kept(self) -> tuple[Proposed, ...]:
        """Return all proposals, by round and arrival, far ones last."""
        near = [kept for round_ in sorted(self._rounds) for kept in self._rounds[round_]]
        far = sorted(self._far.values(), key=lambda proposed: proposed.proposal.round)
        return (*near, *far)
