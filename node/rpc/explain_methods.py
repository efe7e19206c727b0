"""consensus_explain and consensus_getState: what the network waits for, in words and whole."""

from __future__ import annotations

from typing import Any

from clawpurse.consensus.machine import Machine
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.messages import Vote, kind_of
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams
from clawpurse.node.explaining import Explainer
from clawpurse.node.explanation import AuthorityFacts, Explanation, Facts, Missing, Standing
from clawpurse.node.explanation import explain as explanation_of
from clawpurse.node.rpc import consensus_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import hex_of

Json = dict[str, Any]


class ExplainMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "consensus_explain",
                "One sentence: what the network waits for, who is missing since when, what helps",
                self.explain,
                cost=5,
                result=consensus_shapes.Explanation,
                result_description=(
                    "state ok sentence also[] waitingFor command hint height round step proposer "
                    "roundMs heightMs missing[{authority name standing sinceMs sinceTime "
                    "lastSeenHeight}] quorum{have need of} authorities[{authority name standing "
                    "lastSeenHeight}] newest{height ageMs} peers behind best blocksPerSecond "
                    "skewMs signing{state why} evidence[{authority height}]; ok is false for what "
                    "somebody should look at"
                ),
            ),
            Method(
                "consensus_getState",
                "Where agreement on the next block stands, for tools",
                self.state,
                cost=5,
                result=consensus_shapes.ConsensusState,
                result_description=(
                    "height round step waiting roundMs heightMs proposer proposals[{round blockId "
                    "validRound}] lockedValue lockedRound validValue validRound "
                    "votes[{round prevotes precommits polka prevotesBy precommitsBy}] with "
                    "votesBy[{authority name blockId}] and bitmaps over the sorted set, decided "
                    "authorities[{authority name}] quorum timers[{kind height round leftMs}] "
                    "signing signer{state why} keys[{authority state fromHeight answers refusals "
                    "watermark{height round kind}}] ownMessages[{kind round blockId}] refused "
                    "signingRefusals evidenceSeen"
                ),
            ),
        ]

    def explain(self, _params: NoParams, _context: Context) -> Json:
        """consensus_explain."""
        explainer = self._services.explainer
        facts = explainer.facts()
        return explanation_json(
            facts, explanation_of(facts), explainer, self._services.clock.now_ms()
        )

    def state(self, _params: NoParams, _context: Context) -> Json:
        """consensus_getState."""
        services = self._services
        engine, explainer = services.engine, services.explainer
        machine = engine.machine
        state, facts = machine.state, explainer.facts()
        authorities = machine.authorities or services.chain.authorities
        return {
            "height": state.height,
            "round": state.round,
            "step": state.step_name,
            "waiting": state.waiting,
            "roundMs": facts.round_age_ms,
            "heightMs": facts.busy_age_ms,
            "proposer": None if state.proposer is None else authority_text(state.proposer),
            "proposals": _proposals(machine, state.round),
            "lockedValue": _maybe(state.locked_value),
            "lockedRound": state.locked_round,
            "validValue": _maybe(state.valid_value),
            "validRound": state.valid_round,
            "votes": _votes(machine, state.votes, explainer),
            "decided": _decided(machine),
            "authorities": [
                {"authority": authority_text(key), "name": explainer.configured_name(key)}
                for key in authorities
            ],
            "quorum": authorities.quorum_size,
            "timers": [
                {
                    "kind": event.kind.name.lower(),
                    "height": event.height,
                    "round": event.round,
                    "leftMs": left_ms,
                }
                for event, left_ms in engine.timers()
            ],
            "signing": engine.may_sign,
            "signer": {"state": facts.signing.kind, "why": facts.signing.why},
            "keys": [_key(one) for one in services.signing.describe()],
            "ownMessages": [
                {
                    "kind": kind_of(message).name.lower(),
                    "round": message.round,
                    "blockId": _maybe(message.block_id),
                }
                for message in machine.own_messages
            ],
            "refused": None
            if facts.refusal is None
            else {"round": facts.refusal[0], "problem": facts.refusal[1]},
            "signingRefusals": engine.refusal_count,
            "evidenceSeen": engine.evidence_count,
        }


def explanation_json(facts: Facts, found: Explanation, explainer: Explainer, now_ms: int) -> Json:
    """Return an explanation as JSON; times are this node's."""
    return {
        "state": str(found.state),
        "ok": found.well,
        "sentence": found.sentence,
        "also": list(found.also),
        "waitingFor": found.waiting_for,
        "command": found.command or None,
        "hint": found.hint or None,
        "height": facts.height,
        "round": facts.round,
        "step": facts.step,
        "proposer": None if facts.proposer is None else authority_text(facts.proposer),
        "roundMs": facts.round_age_ms,
        "heightMs": facts.busy_age_ms,
        "missing": [_missing(one, explainer, now_ms) for one in found.missing],
        "quorum": {"have": found.have, "need": found.need, "of": len(facts.authorities)},
        "authorities": [
            _authority(one, is_, explainer)
            for one, is_ in zip(facts.authorities, found.standings, strict=True)
        ],
        "newest": {"height": facts.tip, "ageMs": facts.tip_age_ms},
        "peers": facts.peers,
        "behind": facts.behind,
        "best": facts.best,
        "blocksPerSecond": round(facts.rate, 1),
        "skewMs": facts.skew_ms,
        "signing": {"state": facts.signing.kind, "why": facts.signing.why or None},
        "evidence": [
            {"authority": authority_text(key), "height": height}
            for key, height in facts.double_signs
        ],
    }


def _key(described: dict[str, Any]) -> Json:
    """One key of this node: whether it signs, and what it signed last."""
    height, round_, kind = described["watermark"]
    return {
        "authority": authority_text(described["key"]),
        "state": described["state"],
        "fromHeight": described["from_height"],
        "answers": described["answers"],
        "refusals": described["refusals"],
        "watermark": {"height": height, "round": round_, "kind": kind},
    }


def _missing(one: Missing, explainer: Explainer, now_ms: int) -> Json:
    return {
        "authority": authority_text(one.key),
        "name": explainer.configured_name(one.key),
        "standing": str(one.standing),
        "sinceMs": one.age_ms,
        "sinceTime": time_text(max(0, now_ms - one.age_ms)),
        "lastSeenHeight": one.height,
    }


def _authority(one: AuthorityFacts, standing: Standing, explainer: Explainer) -> Json:
    return {
        "authority": authority_text(one.key),
        "name": explainer.configured_name(one.key),
        "standing": str(standing),
        "lastSeenHeight": one.vote_height if one.vote_height is not None else one.certified,
    }


def _proposals(machine: Machine, round_: int) -> list[Json]:
    return [
        {
            "round": proposal.round,
            "blockId": hex_of(proposal.block_id),
            "validRound": proposal.valid_round,
        }
        for proposal in machine.proposals_at(round_)
    ]


def _votes(
    machine: Machine, bitmaps: tuple[tuple[int, bytes, bytes], ...], explainer: Explainer
) -> list[Json]:
    """Return the votes of each round, as bitmaps over the sorted set and by name."""
    votes = machine.votes
    if votes is None:
        return []
    return [
        {
            "round": round_,
            "prevotes": hex_of(prevotes),
            "precommits": hex_of(precommits),
            "polka": _maybe(votes.polkas.get(round_)),
            "prevotesBy": _by(
                votes.authorities, votes.tally(Kind.PREVOTE, round_).first, explainer
            ),
            "precommitsBy": _by(
                votes.authorities, votes.tally(Kind.PRECOMMIT, round_).first, explainer
            ),
        }
        for round_, prevotes, precommits in bitmaps
    ]


def _by(authorities: AuthoritySet, votes: dict[bytes, Vote], explainer: Explainer) -> list[Json]:
    return [
        {
            "authority": authority_text(key),
            "name": explainer.configured_name(key),
            "blockId": _maybe(votes[key].block_id),
        }
        for key in authorities
        if key in votes
    ]


def _decided(machine: Machine) -> Json | None:
    decided = None if machine.votes is None else machine.votes.decided
    if decided is None:
        return None
    return {"round": decided.round, "blockId": hex_of(decided.block_id)}


def _maybe(value: bytes | None) -> str | None:
    return None if value is None else hex_of(value)
