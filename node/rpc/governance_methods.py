"""governance_*: what the authorities vote on, and what became of it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from clawpurse.ledger import crypto
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.governance.chain import get_proposal, list_before, list_open
from clawpurse.modules.governance.changes import change_json, change_words
from clawpurse.modules.governance.records import Proposal, Status
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import ledger_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Hash, Limit, hex_of

# Authorities have 16 open proposals each at most; drafts about evidence come on top.
OPEN_LISTED_MAX: Final = 4_096
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
    cursor: str | None = Field(None, max_length=96, description="nextCursor of the page before")


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
                result=ledger_shapes.GovernanceProposals,
                result_description=f"proposals[{{{PROPOSAL}}}] nextCursor|null",
            ),
            Method(
                "governance_getProposal",
                "One proposal, over or not",
                self.proposal,
                ProposalParams,
                errors=(NOT_FOUND,),
                result=ledger_shapes.GovernanceProposal,
                result_description=PROPOSAL,
            ),
        ]

    def proposals(self, params: ListParams, _context: Context) -> Json:
        """governance_listProposals."""
        state = self._services.chain.reader
        if params.status == "open":
            return self._open(state, params.limit, params.cursor)
        before = None if params.cursor is None else start_of(params.cursor)
        found, last = list_before(state, params.limit, before)
        return {
            "proposals": [self._json(one) for one in found],
            "nextCursor": str(last) if last else None,
        }

    def _open(self, state: StateReader, limit: int, cursor: str | None) -> Json:
        """List what is open in order of opening: where the ledger keeps it, places change hands."""
        after = None if cursor is None else _opened_of(cursor)
        opened = sorted(
            ((one.opened_height, one.id), one) for one in list_open(state, 0, OPEN_LISTED_MAX)
        )
        left = [(place, one) for place, one in opened if after is None or place > after]
        page = left[:limit]
        return {
            "proposals": [self._json(one) for _, one in page],
            "nextCursor": _opened_text(page[-1][0]) if len(left) > limit else None,
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


def _opened_text(place: tuple[int, bytes]) -> str:
    return f"{place[0]}.{place[1].hex()}"


def _opened_of(cursor: str) -> tuple[int, bytes]:
    """Read a cursor of the open proposals. Raises `Malformed`."""
    height, _, identity = cursor.partition(".")
    try:
        place = start_of(height), bytes.fromhex(identity)
    except ValueError:
        place = 0, b""
    if len(place[1]) != crypto.HASH_BYTES or _opened_text(place) != cursor:
        raise Malformed("cursor", "is not one that this API gave")
    return place


def start_of(cursor: str | None) -> int:
    """Return the place that a cursor of a list by place stands for. Raises `Malformed`."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()):
        raise Malformed("cursor", "is not one that this API gave")
    return min(int(cursor), START_MAX)
