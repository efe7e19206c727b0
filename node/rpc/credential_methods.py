"""credential_*: what is attested of accounts, by whom, and who may attest."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.compliance import queries
from clawpurse.modules.compliance.attestations import (
    STATUS_NAMES,
    Attestation,
    Issuer,
    Status,
    level,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import compliance_shapes
from clawpurse.node.rpc.compliance_methods import Name
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Limit, hex_of

Json = dict[str, Any]


class CredentialListParams(Params):
    """Parameters of credential_list."""

    account: Account = Field(description="Of whom it is attested")


class CredentialCheckParams(Params):
    """Parameters of credential_check."""

    account: Account = Field(description="Of whom it is attested")
    topic: Name = Field(description="What about")
    level: int = Field(0, ge=0, le=255, description="At least so far looked into")


class IssuersParams(Params):
    """Parameters of credential_listIssuers."""

    limit: Limit = Field(50, description="At most so many")
    cursor: Account | None = Field(None, description="nextCursor of the page before")


class CredentialMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "credential_list",
                "What is attested of an account, also what does not count, and why not",
                self.credentials,
                CredentialListParams,
                cost=5,
                result=compliance_shapes.Credentials,
                result_description=(
                    "account subject|null credentials[{topic issuer level status: issued|accepted|"
                    "revoked, counts expires subject commitment height reason|null by|null}] time"
                ),
            ),
            Method(
                "credential_check",
                "Whether an account is attested a topic at a level now",
                self.check,
                CredentialCheckParams,
                cost=5,
                result=compliance_shapes.Attested,
                result_description="account topic attested level|null time",
            ),
            Method(
                "credential_listIssuers",
                "Who may attest what, and who no longer may",
                self.issuers,
                IssuersParams,
                cost=5,
                result=compliance_shapes.Issuers,
                result_description=(
                    "issuers[{issuer topics[] active height by reason|null}] nextCursor|null"
                ),
            ),
        ]

    def credentials(self, params: CredentialListParams, _context: Context) -> Json:
        """credential_list."""
        state, time_ms = self._services.chain.reader, self._services.chain.tip.time_ms
        subject = queries.subject_at(state, params.account)
        return {
            "account": account_text(params.account),
            "subject": None if subject == params.account else hex_of(subject),
            "credentials": [
                self._one(one, time_ms) for one in queries.list_attestations(state, params.account)
            ],
            "time": time_text(time_ms),
        }

    def _one(self, one: Attestation, time_ms: int) -> Json:
        issuer = queries.get_issuer(self._services.chain.reader, one.issuer)
        heard = issuer is not None and bool(issuer.active) and one.topic in issuer.topics
        accepted = one.status == Status.ACCEPTED
        return {
            "topic": one.topic,
            "issuer": account_text(one.issuer),
            "level": one.level,
            "status": STATUS_NAMES[Status(one.status)],
            "counts": accepted and heard and time_ms < one.expires_ms,
            "expires": time_text(one.expires_ms),
            "subject": hex_of(one.subject),
            "commitment": hex_of(one.commitment),
            "height": one.height,
            "reason": one.reason or None,
            "by": account_text(one.by) if one.by else None,
        }

    def check(self, params: CredentialCheckParams, _context: Context) -> Json:
        """credential_check. At the time of the newest block: time has no other clock here."""
        chain = self._services.chain
        found = level(chain.reader, params.account, params.topic, chain.tip.time_ms)
        return {
            "account": account_text(params.account),
            "topic": params.topic,
            "attested": found is not None and found >= params.level,
            "level": found,
            "time": time_text(chain.tip.time_ms),
        }

    def issuers(self, params: IssuersParams, _context: Context) -> Json:
        """credential_listIssuers."""
        limit = params.limit
        rows = queries.list_issuers(self._services.chain.reader, limit + 1, params.cursor)
        return {
            "issuers": [_issuer_json(*row) for row in rows[:limit]],
            "nextCursor": account_text(rows[limit - 1][0]) if len(rows) > limit else None,
        }


def _issuer_json(account: bytes, issuer: Issuer) -> Json:
    return {
        "issuer": account_text(account),
        "topics": list(issuer.topics),
        "active": bool(issuer.active),
        "height": issuer.height,
        "by": account_text(issuer.by),
        "reason": issuer.reason or None,
    }
