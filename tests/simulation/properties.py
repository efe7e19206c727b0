"""The properties of consensus, judged by an observer who sees every message and every decision.

Numbers are those of the design's list: 1 agreement, 2 validity, 3 certificates, 4 no double
sign, 5 locks, 6 replay, 9 time, 10 and 11 liveness. The observer shares no state with machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.messages import SignedMessage, Vote, kind_of
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import InvalidCertificate
from tests.simulation.values import DOMAIN, WRONG_ROOT, verify


class Violation(AssertionError):
    """A property does not hold. `number` is the property's."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"property {number}: {what}")
        self.number = number


@dataclass
class Observer:
    """What an all-seeing observer remembers of one schedule."""

    authorities: AuthoritySet
    correct_keys: frozenset[bytes]
    blocks: dict[int, Header] = field(default_factory=dict)
    rounds: dict[int, int] = field(default_factory=dict)
    released: dict[tuple[bytes, int, int, Kind], bytes] = field(default_factory=dict)
    prevotes: dict[tuple[int, int, bytes | None], set[bytes]] = field(default_factory=dict)
    locks: dict[tuple[bytes, int], tuple[int, bytes]] = field(default_factory=dict)
    judged_timely: set[bytes] = field(default_factory=set)
    decisions: int = 0

    def saw(self, message: SignedMessage) -> None:
        """Note a message that left any node, liars included; forgeries are nobody's."""
        if not message.verifies(DOMAIN, verify):
            return
        if isinstance(message, Vote) and message.kind is Kind.PREVOTE:
            value = (message.height, message.round, message.block_id)
            self.prevotes.setdefault(value, set()).add(message.authority)

    def signed(self, message: SignedMessage, *, remembers: bool = True) -> None:
        """Note what a correct node's signer released; judge properties 4 and 5.

        A node that lost its log and does not remember its locks is held to property 4 only.
        """
        kind = kind_of(message)
        slot = (message.authority, message.height, message.round, kind)
        content = message.sign_bytes(DOMAIN)
        if self.released.setdefault(slot, content) != content:
            raise Violation(4, f"{kind.name} {message.height}/{message.round} signed twice")
        self.saw(message)
        if not remembers or not isinstance(message, Vote) or message.block_id is None:
            return
        holder = (message.authority, message.height)
        lock = self.locks.get(holder)
        if kind is Kind.PRECOMMIT:
            if lock is None or lock[0] < message.round:
                self.locks[holder] = (message.round, message.block_id)
        elif lock is not None and lock[0] < message.round and lock[1] != message.block_id:
            self._judge_unlocking(message, lock[0])

    def _judge_unlocking(self, vote: Vote, locked_round: int) -> None:
        for round_ in range(locked_round + 1, vote.round):
            voters = self.prevotes.get((vote.height, round_, vote.block_id), ())
            if self.authorities.quorum(len(voters)):
                return
        raise Violation(
            5, f"prevote {vote.height}/{vote.round} against the lock of round {locked_round}"
        )

    def decided(self, header: Header, certificate: Certificate, parent: Header | None) -> None:
        """Note a correct node's decision; judge properties 1, 2, 3 and 9."""
        self.decisions += 1
        known = self.blocks.setdefault(header.height, header)
        if known.block_id != header.block_id:
            raise Violation(1, f"two blocks decided at height {header.height}")
        if certificate.decided_id != header.block_id or certificate.height != header.height:
            raise Violation(3, "a certificate is for another block")
        try:
            certificate.verify(DOMAIN, self.authorities, verify)
        except InvalidCertificate as error:
            raise Violation(3, f"a decision's certificate does not verify: {error}") from error
        if len(set(certificate.signatures)) != len(certificate.signatures):
            raise Violation(3, "a certificate counts a signer twice")
        if header.state_root == WRONG_ROOT:
            raise Violation(2, f"an invalid block is decided at height {header.height}")
        if parent is not None:
            if header.parent_id != parent.block_id:
                raise Violation(2, f"block {header.height} does not extend its parent")
            if header.time_ms <= parent.time_ms:
                raise Violation(9, f"time does not rise at height {header.height}")
        fresh = certificate.round == header.first_round
        if fresh and header.block_id not in self.judged_timely:
            raise Violation(9, f"block {header.height} was timely for no correct node")
        first = self.rounds.setdefault(header.height, certificate.round)
        self.rounds[header.height] = min(first, certificate.round)
