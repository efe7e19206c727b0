"""Gathers what `explanation.explain` rests on from the parts of a running node.

The one place that knows where each fact lives. Reading is cheap and changes nothing: it happens
at every call of `consensus_explain` and at every scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import trio

from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.node.amendments import unknown
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
from clawpurse.node.signing import Signing
from clawpurse.node.sync import BlockSync

FOLLOWER: Final = SigningFacts("follower")
# Enough of `clawval1…` to find it in a list; the fields have the whole.
SHORT_CHARS: Final = 14


class Peers(Protocol):
    """What is asked of the peer-to-peer side."""

    def ids(self) -> list[bytes]:
        """Return the ids of connected peers."""


class Explainer:
    """See the module."""

    def __init__(
        self,
        chain: Chain,
        engine: Engine,
        sync: BlockSync,
        presence: Presence,
        peers: Peers,
        clock: Clock,
        signing: Signing,
        convicted: Callable[[], Mapping[bytes, int]],
        names: Mapping[bytes, str],
    ) -> None:
        """`convicted` returns who signed twice, with a height; `names` what people call whom."""
        self._chain = chain
        self._engine = engine
        self._sync = sync
        self._presence = presence
        self._peers = peers
        self._clock = clock
        self._signing = signing
        self._convicted = convicted
        self.names = names
        self._started_s: float | None = None

    def started(self) -> None:
        """Begin to count for how long this node is up; once, when it runs."""
        self._started_s = trio.current_time()

    def name(self, authority: bytes) -> str:
        """Return what people call an authority: the configured name, else a short text."""
        known = self.names.get(authority)
        return f"{authority_text(authority)[:SHORT_CHARS]}…" if known is None else known

    def configured_name(self, authority: bytes) -> str | None:
        """Return the name that the operator gave an authority, None for none."""
        return self.names.get(authority)

    def explain(self) -> Explanation:
        """Return where agreement stands, in words."""
        return explain(self.facts())

    def delay_ms(self, authority: bytes) -> int | None:
        """Return an authority's delay by its votes as heard here, None while none was."""
        delay_s = self._presence.delay_s(authority)
        return None if delay_s is None else _ms(delay_s)

    def facts(self) -> Facts:
        """Return what the words rest on."""
        now_s = trio.current_time()
        machine, chain, place = self._engine.machine, self._chain, self._presence.place
        own_key = self._signing.own_key
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
            double_signs=tuple(self._convicted().items()),
            amendment=self._amendment(),
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

    def signing(self) -> SigningFacts:
        """Return whether this node signs the next block, and if not, why."""
        own_key = self._signing.own_key
        found = [one for one in self._signing.describe() if one["key"] == own_key]
        return signing_facts(found[0], self._chain.authorities.honest_size) if found else FOLLOWER

    def _amendment(self) -> tuple[str, int] | None:
        coming = unknown(self._chain.amendments, self._chain.known_amendments)
        return (coming[0].name, coming[0].height) if coming else None


def signing_facts(described: Mapping[str, Any], needed: int) -> SigningFacts:
    """Return in words what `Signing.describe` says of a key; `needed` answers open its gate."""
    match described["state"]:
        case "signing":
            return SigningFacts()
        case "outside":
            return SigningFacts(
                "outside", "its key is no authority of this height", "clawpurse authority show"
            )
        case "away":
            return SigningFacts("away", f"its signer cannot be asked ({described['why']})")
        case "observing":
            height = described["from_height"]
            return SigningFacts(
                "observing",
                "its key signed what is not all remembered here; it observes, and signs again "
                f"from block {height}",
                passing=True,
                from_height=height,
            )
        case state:
            answers = min(described["answers"], needed)
            return SigningFacts(
                state,
                f"it listens first; {answers} of {needed} peers have said what its key signed "
                "before",
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
