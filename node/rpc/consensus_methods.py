"""consensus_*: who decides. Where agreement stands is in `explain_methods`."""

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
                "consensus_getAuthorities",
                "The authorities of the next block, and who signed the newest",
                self.authorities,
                result=dict[str, Any],
                result_description=(
                    "height hash quorum authorities[{authority publicKey name inNewestCertificate}]"
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
        }
