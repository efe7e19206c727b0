"""consensus_*: where agreement on the next block stands, and who decides."""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.address import authority_text
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import certificate_json, hex_of

Json = dict[str, Any]


class ConsensusMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "consensus_getState",
                "Where agreement on the next block stands",
                self.state,
                result=dict[str, Any],
                result_description=(
                    "height round step waiting proposer lockedValue lockedRound validValue "
                    "validRound votes[{round prevotes precommits}] signing evidenceSeen"
                ),
            ),
            Method(
                "consensus_getAuthorities",
                "The authorities of the next block, and who signed the newest",
                self.authorities,
                result=dict[str, Any],
                result_description=(
                    "height hash quorum authorities[{authority publicKey inNewestCertificate}]"
                ),
            ),
        ]

    def state(self, _params: NoParams, _context: Context) -> Json:
        """consensus_getState."""
        machine = self._services.engine.machine
        state = machine.state
        return {
            "height": state.height,
            "round": state.round,
            "step": state.step_name,
            "waiting": state.waiting,
            "proposer": None if state.proposer is None else authority_text(state.proposer),
            "lockedValue": _maybe(state.locked_value),
            "lockedRound": state.locked_round,
            "validValue": _maybe(state.valid_value),
            "validRound": state.valid_round,
            "votes": [
                {"round": round_, "prevotes": hex_of(prevotes), "precommits": hex_of(precommits)}
                for round_, prevotes, precommits in state.votes
            ],
            "signing": self._services.engine.may_sign,
            "evidenceSeen": self._services.engine.evidence_count,
        }

    def authorities(self, _params: NoParams, _context: Context) -> Json:
        """consensus_getAuthorities."""
        chain = self._services.chain
        signed: frozenset[bytes] = frozenset()
        if chain.tip.certificate is not None:
            raw = certificate_json(chain.tip.certificate)["signers"]
            deciders = chain.authorities_at(chain.height)
            signed = frozenset(deciders.signers(bytes.fromhex(raw[2:])) or ())
        return {
            "height": chain.height + 1,
            "hash": hex_of(chain.authorities.hash),
            "quorum": chain.authorities.quorum_size,
            "authorities": [
                {
                    "authority": authority_text(key),
                    "publicKey": hex_of(key),
                    # Certificates hold the first quorum only: absence proves nothing.
                    "inNewestCertificate": key in signed,
                }
                for key in chain.authorities
            ],
        }


def _maybe(value: bytes | None) -> str | None:
    return None if value is None else hex_of(value)
