"""governance_*: what the authorities vote on, and what became of it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.governance.chain import get_proposal, list_newest, list_open
from clawpurse.modules.governance.changes import change_json, change_words
from clawpurse.modules.governance.records import Proposal, Status
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Hash, Limit, hex_of

# The index counts in four bytes.
START_MAX: Final = 2**32
Json = dict[str, Any]
PROPOSAL: Final = (
    "proposal says change{kind …} status expires votes[] counted quorum|null opener openedHeight "
    "reason statusHeight inForce rule"
)


class ListParams(Params):
    """Parameters of governance_listProposals."""

    status: Literal["open", "all"] = Field("open", description="open (or waiting), or all")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=32, description="nextCursor of the page before")


class ProposalParams(Params):
    """Parameters of governance_getProposal."""

    proposal: Hash = Field(description="The proposal's id")


class GovernanceMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "governance_listProposals",
                "What the authorities vote on: open ones, or all, the newest first",
                self.proposals,
                ListParams,
                cost=10,
                result=dict[str, Any],
                result_description=f"proposals[{{{PROPOSAL}}}] nextCursor|null",
            ),
            Method(
                "governance_getProposal",
                "One proposal, over or not",
                self.proposal,
                ProposalParams,
                errors=(NOT_FOUND,),
                result=dict[str, Any],
                result_description=PROPOSAL,
            ),
        ]

    def proposals(self, params: ListParams, _context: Context) -> Json:
        """governance_listProposals."""
        start = start_of(params.cursor)
        listed = list_open if params.status == "open" else list_newest
        found = listed(self._services.chain.reader, start, params.limit + 1)
        more = len(found) > params.limit
        return {
            "proposals": [self._json(one) for one in found[: params.limit]],
            "nextCursor": str(start + params.limit) if more else None,
        }

    def proposal(self, params: ProposalParams, _context: Context) -> Json:
        """governance_getProposal."""
        found = get_proposal(self._services.chain.reader, params.proposal)
        if found is None:
            raise NotFound(f"proposal {hex_of(params.proposal)}")
        return self._json(found)

    def _json(self, proposal: Proposal) -> Json:
        authorities = self._services.chain.authorities
        counted = proposal.votes
        if proposal.status == Status.OPEN:
            counted = proposal.counted(authorities)
        return {
            "proposal": hex_of(proposal.id),
            "says": change_words(proposal.change),
            "change": change_json(proposal.change),
            "status": Status(proposal.status).label,
            "expires": time_text(proposal.expires_ms),
            "votes": [authority_text(key) for key in proposal.votes],
            # Votes of those who have left no longer count.
            "counted": len(counted),
            "quorum": authorities.quorum_size if proposal.status == Status.OPEN else None,
            "opener": None if proposal.opener is None else authority_text(proposal.opener),
            "openedHeight": proposal.opened_height,
            "reason": proposal.reason or None,
            "statusHeight": proposal.height or None,
            "inForce": proposal.in_force or None,
            "rule": proposal.rule or None,
        }


def start_of(cursor: str | None) -> int:
    """Return the place that a cursor of a list by place stands for. Raises `Malformed`."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()):
        raise Malformed("cursor", "is not one that this API gave")
    return min(int(cursor), START_MAX)
