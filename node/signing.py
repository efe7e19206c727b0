"""Under which key this node signs a height, and whether it may yet (R24, R26).

A node holds one authority key or several: the one in force and the next. Which of them signs is
asked anew for each height, from that height's authority set. Before its first signature a key
listens: f + 1 peers are asked for its votes, for as long as a round takes. What turns out to be
signed and not remembered here makes it observe: it follows the chain and signs nothing until
nothing that it forgot can be contradicted. A block that was made while this process ran, and
that its key signed elsewhere, ends the process: another one has the same key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import trio

from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger import crypto
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote, kind_of
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.params import Params
from clawpurse.node.clock import Clock
from clawpurse.node.signer import NOTHING_SIGNED, Order, Signer, gap_at, sealed

# A key without a memory that can be trusted leaves out the height in progress, in which it may
# have voted, and the next one, which its forgotten self may have entered before the peers that
# answer: it signs from the height after next.
HEIGHTS_LEFT_OUT: Final = 2
# How many times R20's precision a block's time must lie behind this process's start to have been
# proposed after it: the proposer's clock, those of its voters and ours may each be off.
LIVE_PRECISIONS: Final = 3
# How many heartbeats a key listens when a peer says that it has the same key and signs: in each
# one an idle network makes a block, which shows whether that is true. A liar gains no more.
CONTEST_HEARTBEATS: Final = 2
# What a closed gate waits for changes without a word too: peers' answers, catching up.
POLL_S: Final = 0.25
log = logging.getLogger("clawpurse.signing")


class Chain(Protocol):
    """What signing asks of the chain."""

    @property
    def height(self) -> int:
        """The height of the newest final block."""

    @property
    def authorities(self) -> AuthoritySet:
        """The authority set of the next block."""

    @property
    def params(self) -> Params:
        """The parameters of the next block."""


class Progress(Protocol):
    """What signing asks of the height in progress."""

    @property
    def height(self) -> int:
        """The height in progress."""

    @property
    def own_messages(self) -> Sequence[SignedMessage]:
        """What this node signed at that height, in this life or an earlier one that it knows."""

    def proposals(self, round_: int) -> Sequence[Proposal]:
        """Return the verified proposals of a round of that height."""


class _Desk:
    """One key: its signer, what peers answered about it, whether its gate is open."""

    def __init__(self, signer: Signer) -> None:
        self.signer: Final = signer
        self.answered: dict[bytes, None] = {}
        self.is_open = False
        self.closed = trio.Event()
        self.contested_until_s: float | None = None
        # A signer that was away may have signed for somebody else meanwhile.
        self.to_recall = True

    @property
    def key(self) -> bytes:
        return self.signer.public_key

    def close(self) -> None:
        """Sign nothing until peers have been asked once more."""
        self.is_open = False
        self.answered.clear()
        closed, self.closed = self.closed, trio.Event()
        closed.set()


class Signing:
    """The keys of one node. `run` opens their gates; the engine asks which one signs.

    `progress` is the height in progress, `is_behind(blocks)` tells whether more than so many
    blocks are known to be missing here, and `changed` is called when a key may sign that could
    not before; all three are set by the owner.
    """

    progress: Progress

    def __init__(
        self, signers: Mapping[bytes, Signer], chain: Chain, domain: Domain, clock: Clock
    ) -> None:
        self._desks = {key: _Desk(signers[key]) for key in sorted(signers)}
        self._chain = chain
        self._domain = domain
        self._started_ms = clock.now_ms()
        self._news = trio.Event()
        self._begun = trio.Event()
        self.is_behind: Callable[[int], bool] = lambda _blocks: False
        self.changed: Callable[[], None] = lambda: None

    # -- which key

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All keys of this node, in the order of their bytes."""
        return tuple(self._desks)

    def members(self, authorities: AuthoritySet) -> list[bytes]:
        """Return those of this node's keys that are in a set, in the set's order."""
        return [key for key in authorities if key in self._desks]

    @property
    def own_key(self) -> bytes | None:
        """The key that is an authority now, else the first one held; None for a follower."""
        found = self.members(self._chain.authorities) or list(self._desks)
        return found[0] if found else None

    @property
    def is_authority(self) -> bool:
        """Whether a key of this node is in the set of the next block."""
        return bool(self.members(self._chain.authorities))

    def key_for(self, height: int, authorities: AuthoritySet) -> bytes | None:
        """Return the key under which this node signs a height; None where it only observes."""
        found = self.members(authorities)
        if len(found) > 1:
            log.error(
                "two keys of this node are authorities at once; only the first signs",
                extra={"height": height, "keys": [key.hex() for key in found]},
            )
        if not found or self._observes(found[0], height, authorities):
            return None
        return found[0]

    def _observes(self, key: bytes, height: int, authorities: AuthoritySet) -> bool:
        watermark = self._desks[key].signer.watermark
        has_gap = watermark.has_gap and len(authorities) > 1
        return has_gap or watermark.order >= sealed(height)

    def signer(self, key: bytes) -> Signer | None:
        """Return the signer of a key, None when this node does not hold it."""
        desk = self._desks.get(key)
        return None if desk is None else desk.signer

    def is_open(self, key: bytes) -> bool:
        """Tell whether a key has listened long enough to sign (R24)."""
        desk = self._desks.get(key)
        return desk is not None and desk.is_open

    def wants_recall(self, key: bytes) -> bool:
        """Tell whether a signing state must be compared with the log before the key signs."""
        return self._desks[key].to_recall

    @property
    def may_sign(self) -> bool:
        """Whether this node signs the height after the newest block."""
        authorities = self._chain.authorities
        found = self.members(authorities)[:1]
        return any(self._state(self._desks[key], authorities) == "signing" for key in found)

    @property
    def answers(self) -> int:
        """How many peers have answered about the key that is an authority now, or the first."""
        key = self.own_key
        return 0 if key is None else len(self._desks[key].answered)

    # -- what this node's own disk says

    async def recall(self, height: int, said: Iterable[bytes]) -> None:
        """Compare signing states with the log of `height`, which is in progress.

        `said` are the sign bytes of every message that the log knows, the one being signed too.
        A watermark that the log does not explain means that votes and locks were forgotten with
        an older log: the key signs nothing up to the end of the watermark's height. From now on
        gates may open.
        """
        known = frozenset(said)
        for desk in self._desks.values():
            if desk.signer.away:
                continue
            desk.to_recall = False
            watermark = desk.signer.watermark
            place = watermark.order[0]
            if place < height or not watermark.sign_bytes or watermark.sign_bytes in known:
                continue
            log.warning(
                "what this key signed last is not in the consensus log; it observes until above",
                extra={"authority": desk.key.hex(), "height": place},
            )
            await desk.signer.raise_to(sealed(place))
        self._begun.set()

    async def signed_before(self, message: SignedMessage) -> None:
        """Learn from the log that a key signed a message; its state must not know less."""
        desk = self._desks.get(message.authority)
        if desk is not None and desk.signer.watermark.forgets(*self._place(message)):
            await self._learn(desk, self._place(message)[0], "the consensus log")

    # -- what peers say

    def questions(self, peer: bytes) -> list[bytes]:
        """Return the keys about which a peer is still to be asked."""
        return [
            desk.key
            for desk in self._desks.values()
            if not desk.is_open and peer not in desk.answered
        ]

    async def answered(
        self, peer: bytes, key: bytes, is_theirs: bool, votes: Sequence[Vote]
    ) -> None:
        """A peer shows the votes of `key` that it knows; only true signatures count.

        `is_theirs`: it says that it signs under this key itself. That may be a lie, so it only
        makes us listen for longer.
        """
        desk = self._desks.get(key)
        if desk is None or desk.is_open:
            return
        if is_theirs and desk.contested_until_s is None:
            log.error("a peer says that it has our key", extra={"peer": peer.hex()})
            wait_s = CONTEST_HEARTBEATS * self._chain.params.heartbeat_ms / 1000
            desk.contested_until_s = trio.current_time() + wait_s
        for vote in votes:
            if vote.authority == key and self._is_forgotten(desk, vote):
                await self._learn(desk, self._place(vote)[0], "a peer")
        desk.answered[peer] = None
        self._notify()

    async def heard(self, message: SignedMessage) -> None:
        """Look at a message from a peer: is it ours, and not from this process?

        Raises `OperatorError` when another process signs under a key that signs here, or voted
        on a block that was proposed while this process ran.
        """
        desk = self._desks.get(message.authority)
        if desk is None or self._is_known(message):
            return
        forgotten = desk.signer.watermark.forgets(*self._place(message))
        is_live = self._is_live(message)
        if not (forgotten or is_live) or not message.verifies(self._domain, crypto.verify):
            return
        if desk.is_open or is_live:
            raise self._twin(desk.key, f"A {_named(message)} for block {message.height}")
        await self._learn(desk, self._place(message)[0], "a message")

    async def committed(
        self, header: Header, certificate: Certificate, authorities: AuthoritySet
    ) -> None:
        """Look at a decided block's certificate before it is committed (R26).

        Raises `OperatorError` when the block was made while this process ran and carries a
        signature of a key of ours that this process did not make.
        """
        self._notify()
        own = [key for key in authorities.signers(certificate.signers) or () if key in self._desks]
        for key in own:
            vote = Vote(certificate.kind, header.height, certificate.round, header.block_id, key)
            if self._is_known(vote):
                continue
            if header.time_ms > self._live_ms:
                raise self._twin(key, f"Block {header.height}, made after this process started,")
            desk, (order, sign_bytes) = self._desks[key], self._place(vote)
            if desk.signer.watermark.forgets(order, sign_bytes):
                await self._learn(desk, order, "a block")

    def _is_known(self, message: SignedMessage) -> bool:
        """Tell whether this node signed a message of the height in progress, and knows it."""
        known = [one for one in self.progress.own_messages if one.authority == message.authority]
        return self._place(message) in [self._place(one) for one in known]

    def _is_live(self, message: SignedMessage) -> bool:
        """Tell whether a message is about a block that was proposed while this process ran."""
        if message.height != self.progress.height:
            return False  # What this node said at another height is not at hand.
        if isinstance(message, Proposal):
            return message.header.time_ms > self._live_ms
        return any(
            proposal.block_id == message.block_id and proposal.header.time_ms > self._live_ms
            for proposal in self.progress.proposals(message.round)
        )

    def holds(self, key: bytes) -> bool:
        """Tell whether this node signs under a key, for a peer that asks as if it did."""
        if not self.is_open(key):
            return False
        log.error("a peer asks about our key as if it were its own")
        return True

    def accused(self, authority: bytes, height: int) -> OperatorError | None:
        """Return why the process must end when somebody signed twice; None when it was not us."""
        if authority not in self._desks:
            return None
        return self._twin(authority, f"Two messages for one position at height {height}")

    @property
    def _live_ms(self) -> int:
        return self._started_ms + LIVE_PRECISIONS * self._chain.params.precision_ms

    def _place(self, message: SignedMessage) -> tuple[Order, bytes]:
        order = message.height, message.round, int(kind_of(message))
        return order, message.sign_bytes(self._domain)

    def _is_forgotten(self, desk: _Desk, message: SignedMessage) -> bool:
        return desk.signer.watermark.forgets(*self._place(message)) and message.verifies(
            self._domain, crypto.verify
        )

    async def _learn(self, desk: _Desk, order: Order, source: str) -> None:
        """The key signed more than its state knows: note that durably, observe, ask again."""
        log.error(
            "this key signed more than its signing state knows; it observes",
            extra={"authority": desk.key.hex(), "position": list(order), "shown_by": source},
        )
        is_alone = len(self._chain.authorities) == 1
        await desk.signer.raise_to(order if is_alone else gap_at(order[0]))
        if desk.is_open:
            desk.close()
        self._notify()

    def _twin(self, key: bytes, what: str) -> OperatorError:
        return OperatorError(
            f"{what} carries a signature of {authority_text(key)} that this process did not make.",
            "Another process has the same key.",
            "stop one of the two for good; to move a key: clawpurse authority move-out",
        )

    # -- the gates

    async def run(self) -> None:
        """Open each key's gate when it has listened, again after each time it was closed."""
        await self._begun.wait()
        async with trio.open_nursery() as nursery:
            for desk in self._desks.values():
                nursery.start_soon(self._tend, desk)

    async def _tend(self, desk: _Desk) -> None:
        while True:
            await self._listen(desk)
            closed = desk.closed
            desk.is_open = True
            log.info("signing begins", extra={"authority": desk.key.hex()})
            self.changed()
            await closed.wait()

    async def _listen(self, desk: _Desk) -> None:
        """Return when nothing more can be learnt that would forbid to sign; takes what it takes."""
        signer = desk.signer
        has_listened = False
        while True:
            if self._is_alone(desk) and not signer.away:
                return
            if not self._has_heard(desk) or self._is_contested(desk):
                with trio.move_on_after(POLL_S):
                    await self._news.wait()
            elif not has_listened and signer.watermark.order > NOTHING_SIGNED.order:
                pace = TimeoutParams.of(self._chain.params)
                await trio.sleep(pace.rebroadcast_ms(0) / 1000)
                has_listened = True
            elif signer.watermark.has_gap:
                above = max(self._chain.height + HEIGHTS_LEFT_OUT, signer.watermark.order[0])
                await signer.raise_to(sealed(above))
            else:
                return

    def _is_alone(self, desk: _Desk) -> bool:
        """Tell whether there is nobody to ask: the key is the only authority."""
        authorities = self._chain.authorities
        return len(authorities) == 1 and desk.key in authorities

    def _has_heard(self, desk: _Desk) -> bool:
        """Tell whether enough peers have answered, and the blocks that they know are here too.

        f + 1: one of them is honest. After a gap a quorum, or all others: one of them was in
        every height at which the key can have signed.
        """
        authorities, has_gap = self._chain.authorities, desk.signer.watermark.has_gap
        wanted = authorities.honest_size
        if has_gap:
            wanted = min(authorities.quorum_size, len(authorities) - 1)
        if desk.signer.away or len(desk.answered) < wanted:
            return False
        return not self.is_behind(0 if has_gap else 1)

    def _is_contested(self, desk: _Desk) -> bool:
        until_s = desk.contested_until_s
        return until_s is not None and trio.current_time() < until_s

    def _notify(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def signer_is_back(self) -> None:
        """A signer that was away can be asked again."""
        for desk in self._desks.values():
            desk.to_recall = True
        self._notify()
        self.changed()

    # -- for people

    def _state(self, desk: _Desk, authorities: AuthoritySet) -> str:
        if desk.key not in authorities:
            return "outside"
        if desk.signer.away:
            return "away"
        if self._observes(desk.key, self._chain.height + 1, authorities):
            return "observing"
        return "signing" if desk.is_open else "listening"

    def describe(self) -> list[dict[str, Any]]:
        """Return what is known of each key: `state` is signing, listening, observing, away or
        outside (not an authority); `from_height` where it signs again at the earliest.
        """
        authorities = self._chain.authorities
        return [
            {
                "key": desk.key,
                "state": self._state(desk, authorities),
                "why": desk.signer.away,
                "watermark": desk.signer.watermark.order,
                "has_gap": desk.signer.watermark.has_gap,
                "from_height": self._from_height(desk),
                "answers": len(desk.answered),
                "refusals": desk.signer.refusal_count,
            }
            for desk in self._desks.values()
        ]

    def _from_height(self, desk: _Desk) -> int:
        following = self._chain.height + 1
        order = desk.signer.watermark.order
        place = order[0] + (order >= sealed(order[0]))
        if desk.signer.watermark.has_gap and not self._is_alone(desk):
            return max(place, following + HEIGHTS_LEFT_OUT)
        return max(place, following)

    def problems(self) -> list[str]:
        """Return why this node does not sign although a key of it is an authority."""
        authorities = self._chain.authorities
        found = self.members(authorities)
        told = []
        if len(found) > 1:
            told.append("two of its keys are authorities at once; only one of them signs")
        for key in found[:1]:
            desk = self._desks[key]
            match self._state(desk, authorities):
                case "away":
                    told.append(f"not signing: {desk.signer.away}")
                case "listening":
                    told.append("not signing yet: asking peers what this key signed before")
                case "observing":
                    told.append(
                        "not signing: what this key signed last is not all remembered here; it "
                        f"observes and signs again from block {self._from_height(desk)} (more "
                        "than f authorities that wait like this stop the network)"
                    )
        return told


def _named(message: SignedMessage) -> str:
    return kind_of(message).name.lower()
