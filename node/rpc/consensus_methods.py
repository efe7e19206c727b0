"""consensus_*: who decides, now and next, and by which rules.

Where agreement stands is in `explain_methods`, what the authorities vote on in
`governance_methods`.
"""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.errors import CallerError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams
from clawpurse.node.rpc import consensus_shapes, shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import hex_of
from clawpurse.wallet.state_documents import certificate_json

Json = dict[str, Any]
# Sets looked through for when a key was an authority last: enough to retire it by.
OUTSIDE_COUNTED: Final = 64


class ConsensusMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "consensus_getAuthorities",
                "The authorities of the next block, who signed the newest, and who comes next",
                self.authorities,
                result=shapes.ConsensusAuthorities,
                result_description=(
                    "height hash quorum authorities[{authority publicKey name "
                    "inNewestCertificate}] next{height hash quorum authorities[]} "
                    "change|null{height added[] removed[]}"
                ),
            ),
            Method(
                "consensus_getSignerMetrics",
                "The authority keys of this node: which of them signs, and what keeps one from it",
                self.signers,
                result=consensus_shapes.SignerMetrics,
                result_description=(
                    "height keys[{authority publicKey state why "
                    "watermark{height round kind remembersAll} signsFrom answers refusals "
                    "outsideFor}]; state: signing, listening, observing, away or outside"
                ),
            ),
            Method(
                "consensus_listAmendments",
                "Changes of the rules that were adopted, and whether this node knows them",
                self.amendments,
                result=consensus_shapes.Amendments,
                result_description=(
                    "amendments[{name activationHeight adoptedHeight active known}] known[] height"
                ),
            ),
        ]

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
                    "name": self._services.explainer.configured_name(key),
                    # Certificates hold the first quorum only: absence proves nothing.
                    "inNewestCertificate": key in signed,
                }
                for key in chain.authorities
            ],
            "next": {
                "height": chain.height + 2,
                "hash": hex_of(chain.next_authorities.hash),
                "quorum": chain.next_authorities.quorum_size,
                "authorities": [authority_text(key) for key in chain.next_authorities],
            },
            "change": self._change(),
        }

    def _change(self) -> Json | None:
        """Return what changes with the block after the next one, None when nothing does."""
        now, following = self._services.chain.authorities, self._services.chain.next_authorities
        if now == following:
            return None
        return {
            "height": self._services.chain.height + 2,
            "added": [authority_text(key) for key in following if key not in now],
            "removed": [authority_text(key) for key in now if key not in following],
        }

    def signers(self, _params: NoParams, _context: Context) -> Json:
        """consensus_getSignerMetrics."""
        signing = self._services.signing
        keys = []
        for desk in signing.describe():
            height, round_, kind = desk["watermark"]
            keys.append(
                {
                    "authority": authority_text(desk["key"]),
                    "publicKey": hex_of(desk["key"]),
                    "state": desk["state"],
                    "why": desk["why"],
                    "watermark": {
                        "height": height,
                        "round": round_,
                        "kind": kind,
                        "remembersAll": not desk["has_gap"],
                    },
                    "signsFrom": desk["from_height"],
                    "answers": desk["answers"],
                    "refusals": desk["refusals"],
                    "outsideFor": self._outside_for(desk["key"]),
                }
            )
        return {"height": self._services.chain.height, "keys": keys}

    def _outside_for(self, key: bytes) -> int:
        """Return in how many sets up to that of the block after the next a key is missing.

        Counted backwards, up to `OUTSIDE_COUNTED`.
        """
        chain = self._services.chain
        newest = chain.height + 2
        for count in range(OUTSIDE_COUNTED):
            try:
                if newest == count or key in chain.authorities_at(newest - count):
                    return count
            except CallerError:
                return count  # Below what this node keeps.
        return OUTSIDE_COUNTED

    def amendments(self, _params: NoParams, _context: Context) -> Json:
        """consensus_listAmendments."""
        chain = self._services.chain
        return {
            "height": chain.height,
            "known": list(chain.known_amendments),
            "amendments": [
                {
                    "name": item.name,
                    "activationHeight": item.height,
                    "adoptedHeight": item.adopted,
                    "active": item.height <= chain.height,
                    "known": item.name in chain.known_amendments,
                }
                for item in chain.amendments
            ],
        }
