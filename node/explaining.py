"""Gathers what `explanation.explain` rests on from the parts of a running node.

The one place that knows where each fact lives. Reading is cheap and changes nothing: it happens
at every call of `consensus_explain` and at every scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import trio

from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.node.chain import Chain
from clawpurse.node.clock import Clock
from clawpurse.node.engine import Engine
from clawpurse.node.explanation import (
    AuthorityFacts,
    Explanation,
    Facts,
    SigningFacts,
    Standing,
    explain,
)
from clawpurse.node.presence import Place, Presence
from clawpurse.node.sync import BlockSync

# Enough of `clawval1…` to find it in a list; the fields have the whole.
SHORT_CHARS: Final = 14


class Peers(Protocol):
    """What is asked of the peer-to-peer side."""

    def ids(self) -> list[bytes]:
        """Return the ids of connected peers."""


class Explainer:
    """See the module. Other parts may replace the callables, once, before the node runs.

    `signing` says whether this node signs, `amendment` what the network activates that this
    software does not know (name, height), `without_sign_state` which authorities are known to
    have lost theirs.
    """

    def __init__(
        self,
        chain: Chain,
        engine: Engine,
        sync: BlockSync,
        presence: Presence,
        peers: Peers,
        clock: Clock,
        own_key: Callable[[], bytes | None],
        names: Mapping[bytes, str],
    ) -> None:
        self._chain = chain
        self._engine = engine
        self._sync = sync
        self._presence = presence
        self._peers = peers
        self._clock = clock
        self._own_key = own_key
        self._names = names
        self._started_s: float | None = None
        self.signing: Callable[[], SigningFacts] = self._plain_signing
        self.amendment: Callable[[], tuple[str, int] | None] = lambda: None
        self.without_sign_state: Callable[[], tuple[bytes, ...]] = lambda: ()

    def started(self) -> None:
        """Begin to count for how long this node is up; once, when it runs."""
        self._started_s = trio.current_time()

    def name(self, authority: bytes) -> str:
        """Return what people call an authority: the configured name, else a short text."""
        known = self._names.get(authority)
        return f"{authority_text(authority)[:SHORT_CHARS]}…" if known is None else known

    def configured_name(self, authority: bytes) -> str | None:
        """Return the name that the operator gave an authority, None for none."""
        return self._names.get(authority)

    def explain(self) -> Explanation:
        """Return where agreement stands, in words."""
        return explain(self.facts())

    def facts(self) -> Facts:
        """Return what the words rest on."""
        now_s = trio.current_time()
        machine, chain, place = self._engine.machine, self._chain, self._presence.place
        own_key = self._own_key()
        authorities = machine.authorities or chain.authorities
        height, round_ = max(machine.height, 1), machine.round
        progress = self._sync.progress
        work_s = self._presence.work_age_s()
        refusal = self._presence.refusal
        return Facts(
            height=height,
            tip=chain.height,
            tip_age_ms=max(0, self._clock.now_ms() - chain.tip.time_ms),
            round=round_,
            step=machine.step_name,
            waiting=machine.waiting,
            round_age_ms=_ms(now_s - place.round_s),
            busy_age_ms=_ms(now_s - place.busy_s),
            vote_due_ms=TimeoutParams.of(chain.params).propose_ms(round_),
            authorities=self._authorities(authorities, own_key, place, now_s),
            quorum=authorities.quorum_size,
            proposer=authorities.proposer(height, round_),
            has_proposal=bool(machine.proposals_at(round_)),
            peers=len(self._peers.ids()),
            up_ms=0 if self._started_s is None else _ms(now_s - self._started_s),
            signing=self.signing(),
            behind=progress.behind,
            best=progress.best,
            rate=progress.rate,
            work_age_ms=None if work_s is None else _ms(work_s),
            refusal=None if refusal is None else (refusal.round, refusal.problem),
            skew_ms=self._presence.clocks.skew_ms(authorities, own_key),
            double_signs=tuple(self._presence.evidence.items()),
            without_sign_state=self.without_sign_state(),
            amendment=self.amendment(),
            halt=_halt(self._engine),
            test_network=chain.genesis.test_network,
        )

    def silent_seconds(self) -> dict[bytes, float]:
        """Return for each authority of which something is known how long it has been silent.

        0 while it signs; one of which nothing is known is left out: a gap is not a zero.
        """
        found = self.explain()
        ages = {one.key: one.age_ms / 1000 for one in found.missing}
        authorities = self._engine.machine.authorities or self._chain.authorities
        return {
            key: ages.get(key, 0.0)
            for key, is_ in zip(authorities, found.standings, strict=True)
            if is_ is not Standing.UNKNOWN
        }

    def signs(self) -> bool:
        """Tell whether this node signs now."""
        return self.signing().kind == "signs"

    def skew_seconds(self) -> dict[str, float]:
        """Return this node's clock minus the others' in seconds; empty while unknown."""
        skew_ms = self.facts().skew_ms
        return {} if skew_ms is None else {"": skew_ms / 1000}

    def _authorities(
        self, authorities: AuthoritySet, own_key: bytes | None, place: Place, now_s: float
    ) -> tuple[AuthorityFacts, ...]:
        votes = self._engine.machine.votes
        voted: dict[bytes, object] = {}
        if votes is not None:
            voted.update(votes.tally(Kind.PREVOTE, place.round).first)
            voted.update(votes.tally(Kind.PRECOMMIT, place.round).first)
        found = []
        for key in authorities:
            voice = self._presence.voice(key)
            passed_s = self._presence.passed_age_s(key)
            found.append(
                AuthorityFacts(
                    key,
                    self.name(key),
                    is_self=key == own_key,
                    vote_height=None if voice is None else voice.height,
                    vote_age_ms=None if voice is None else _ms(now_s - voice.vote_s),
                    life_age_ms=None if voice is None else _ms(now_s - voice.life_s),
                    passed_age_ms=None if passed_s is None else _ms(passed_s),
                    follows=None if voice is None else voice.follows,
                    voted=key in voted,
                    certified=self._presence.certified_height(key),
                )
            )
        return tuple(found)

    def _plain_signing(self) -> SigningFacts:
        """What engine and gossip know themselves of whether this node signs."""
        own_key = self._own_key()
        if own_key is None:
            return SigningFacts("follower")
        if own_key not in self._chain.authorities:
            return SigningFacts(
                "outside", "its key is no authority of this height", "clawpurse authority show"
            )
        if self._engine.may_sign:
            return SigningFacts()
        return SigningFacts(
            "listening",
            f"it listens first, and asks {self._chain.authorities.honest_size} peers what its key "
            "signed before",
            passing=True,
        )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _halt(engine: Engine) -> str | None:
    """Return why the machine stands still for ever, None while it does not."""
    halt = engine.machine.halt
    if halt is None:
        return None
    return f"a quorum decided 0x{halt.block_id.hex()[:12]}…, invalid here ({halt.problem})"
