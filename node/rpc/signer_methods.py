"""account_getSigners and multisig_*: who signs for an account, and what its signers vote on."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.kernel.records import Account as AccountRecord
from clawpurse.ledger.kernel.records import account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.accounts.proposals import execution_cost, get_proposal, list_proposals
from clawpurse.modules.accounts.records import Contents, Head
from clawpurse.modules.accounts.signers import get_counted, get_signers, get_standing
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import ledger_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.session_methods import SessionMethods
from clawpurse.node.rpc.values import Account, Hash, action_json, hex_of, memo_text

Json = dict[str, Any]
# Each shows its contents, up to a whole transaction's, and counts up to 32 approvals.
LISTED_MAX: Final = 100
PROPOSAL: Final = (
    "proposal account number proposer opened (height) expires memo memoText|null "
    "actions[{name fields}] cost approvals[] rejections[] counted[] weight threshold|null "
    "waiting[] ready missing (in words) contents (whose hash is the id)"
)


class SignersParams(Params):
    """Parameters of account_getSigners."""

    account: Account = Field(description="The account, claw1…")


class ProposalsParams(Params):
    """Parameters of multisig_listProposals."""

    account: Account = Field(description="The account that shall act")
    limit: int = Field(20, ge=1, le=LISTED_MAX, description="At most so many")
    cursor: Hash | None = Field(None, description="nextCursor of the page before")


class ProposalParams(Params):
    """Parameters of multisig_getProposal."""

    proposal: Hash = Field(description="The proposal's id")


class SignerMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "account_getSigners",
                "Who signs for an account: its key or signers with weights, and its session keys",
                self.signers,
                SignersParams,
                errors=(NOT_FOUND,),
                cost=5,
                result=ledger_shapes.Signers,
                result_description=(
                    "account key|null threshold|null policy|null "
                    "signers[{account weight key|null}] sessions[] (as session_list)"
                ),
            ),
            Method(
                "multisig_listProposals",
                "Open proposals for an account, in the order of their ids",
                self.proposals,
                ProposalsParams,
                cost=50,
                result=ledger_shapes.MultisigProposals,
                result_description=f"account proposals[{{{PROPOSAL}}}] nextCursor|null",
            ),
            Method(
                "multisig_getProposal",
                "An open proposal: who approved it, and what is missing",
                self.proposal,
                ProposalParams,
                errors=(NOT_FOUND,),
                cost=5,
                result=ledger_shapes.MultisigProposal,
                result_description=PROPOSAL,
            ),
        ]

    def signers(self, params: SignersParams, _context: Context) -> Json:
        """account_getSigners."""
        state = self._services.chain.reader
        data = state.get(KERNEL, account_key(params.account))
        if data is None:
            raise NotFound(account_text(params.account))
        record = AccountRecord.unpack(data)
        signers = get_signers(state, params.account)
        return {
            "account": account_text(params.account),
            "key": None if record.key is None else hex_of(record.key),
            "threshold": None if signers is None else signers.threshold,
            "policy": None if signers is None else hex_of(signers.hash),
            "signers": [] if signers is None else _members(state, signers),
            "sessions": SessionMethods(self._services).of_account(params.account),
        }

    def proposals(self, params: ProposalsParams, _context: Context) -> Json:
        """multisig_listProposals."""
        state, limit = self._services.chain.reader, params.limit
        found = list_proposals(state, params.account, limit + 1, params.cursor or b"")
        listed = [get_proposal(state, proposal_id) for proposal_id in found[:limit]]
        return {
            "account": account_text(params.account),
            "proposals": [self._json(*one) for one in listed if one is not None],
            "nextCursor": hex_of(found[limit - 1]) if len(found) > limit else None,
        }

    def proposal(self, params: ProposalParams, _context: Context) -> Json:
        """multisig_getProposal."""
        found = get_proposal(self._services.chain.reader, params.proposal)
        if found is None:
            raise NotFound(f"an open proposal {hex_of(params.proposal)}")
        return self._json(*found)

    def _json(self, head: Head, contents: Contents) -> Json:
        state, registry = self._services.chain.reader, self._services.chain.registry
        signers = get_signers(state, head.account)
        counted = [] if signers is None else get_counted(state, signers, head.approvals)
        weight = 0 if signers is None else sum(signers.weight_of(one) for one in counted)
        ready = signers is not None and weight >= signers.threshold
        late = self._services.clock.now_ms() >= head.expires_ms
        cost = 0
        for action in contents.actions:
            kind, values = registry.read_action(action)
            cost += kind.cost_with(values)
        return {
            "proposal": hex_of(contents.id),
            "account": account_text(head.account),
            "number": contents.number,
            "proposer": account_text(head.proposer),
            "opened": head.height,
            "expires": time_text(head.expires_ms),
            "memo": hex_of(contents.memo),
            "memoText": memo_text(contents.memo),
            "actions": [action_json(one.name, one.fields, registry) for one in contents.actions],
            "cost": execution_cost(contents, cost),
            "approvals": [account_text(one) for one in head.approvals],
            "rejections": [account_text(one) for one in head.rejections],
            "counted": [account_text(one) for one in counted],
            "weight": weight,
            "threshold": None if signers is None else signers.threshold,
            "waiting": [account_text(one) for one in _waiting(head, signers)],
            "ready": ready and not late,
            "missing": _missing(head, signers, counted, weight, late),
            "contents": hex_of(contents.pack()),
        }


def _members(state: StateReader, signers: Signers) -> list[Json]:
    """Return the signers with their keys of now; one without a key has signers itself."""
    shown = []
    for member, weight in signers.members:
        key, _ = get_standing(state, member)
        key_text = None if key is None else hex_of(key)
        shown.append({"account": account_text(member), "weight": weight, "key": key_text})
    return shown


def _waiting(head: Head, signers: Signers | None) -> list[bytes]:
    """Return who has not approved, and could."""
    members = () if signers is None else signers.members
    return [one for one, _ in members if one not in head.approvals]


def _missing(
    head: Head, signers: Signers | None, counted: list[bytes], weight: int, late: bool
) -> str:
    """Return what it takes to execute a proposal, for people."""
    if late:
        return f"Nothing can be done: it ended at {time_text(head.expires_ms)}."
    if signers is None:
        return "Nothing can be done: the account has no signers any more."
    if weight >= signers.threshold:
        return "Nothing is missing: any signer can execute it."
    void = [one for one in head.approvals if one not in counted]
    others = [f"{account_text(one)} ({signers.weight_of(one)})" for one in _waiting(head, signers)]
    said = f"{signers.threshold - weight} of {signers.threshold} is missing"
    said += f"; not approved by {', '.join(others)}." if others else "; all signers have approved."
    if void:
        # The same person, or key, counts once; who left, or has signers itself, not at all.
        said += f" Not counted: {', '.join(account_text(one) for one in void)}."
    return said
