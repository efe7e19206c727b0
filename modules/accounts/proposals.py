"""Proposals on the ledger: actions that wait until enough signers of an account approved.

Members look at them and approve one by one, each in a transaction of its own. Approvals are
counted when the proposal is executed, by the signers, keys and subjects of then: who left, or
came to be one with another member, does not count. The proposer's proposal is its signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.module_api import (
    ActionType,
    Context,
    DueHandler,
    Field,
    FieldType,
    Handler,
    Query,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule, time_text
from clawpurse.ledger.transactions import ACTIONS_MAX, MEMO_BYTES_MAX
from clawpurse.modules.accounts.records import (
    LISTED,
    PROPOSAL,
    TREE,
    Contents,
    Head,
    all_listed,
    contents_at,
    contents_key,
    count_at,
    head_at,
    head_key,
    listed_key,
    listing,
    made_key,
    open_key,
    pack,
)
from clawpurse.modules.accounts.signers import weight_of

# Proposals that one member may have open for one account: what the others can follow, and
# nobody can keep them from proposing. With 32 signers at most, an account has 512 at most.
OPEN_PER_MEMBER_MAX: Final = 16
# Long enough to reach somebody on leave; one without an end would be a trap in a drawer.
SPAN_MIN_MS: Final = 60_000
SPAN_MAX_MS: Final = 30 * DAY_MS
# Far above what a block may cost, so that the sum of what is declared stays a small number.
COST_DECLARED_MAX: Final = 1_000_000
# The first item of the payload of due work that ends a proposal.
DUE_EXPIRY: Final = "proposal"

# Writes of a dozen records; reading up to 16 actions, each of as many fields as it likes.
COST_PROPOSE: Final = 400
COST_ACTION: Final = 60
# Counting reads of each of 32 signers the account and who stands behind it.
COST_APPROVE: Final = 1_200
COST_REJECT: Final = 400
COST_EXECUTE: Final = 1_400
COST_WITHDRAW: Final = 250
# Of what is executed, every 16 bytes cost one more, as those of a transaction do.
COST_BYTES_SHIFT: Final = 4

EXECUTED: Final = "executed"
REJECTED: Final = "rejected"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"

_PROPOSAL: Final = Field("proposal", FieldType.HASH, "id of the proposal: the hash of its contents")


# -- actions


def _propose_words(fields: Mapping[str, Any], words: Words) -> str:
    names = ", ".join(action.name for action in fields["actions"])
    account, until = words.account(fields["account"]), time_text(fields["expires"])
    return f"As a signer of {account}, propose until {until}, and approve: {names}."


def _said(deed: str) -> Callable[[Mapping[str, Any], Words], str]:
    return lambda fields, _words: f"{deed} the proposal 0x{fields['proposal'].hex()}."


PROPOSE: Final = ActionType(
    name="accounts.propose",
    fields=(
        Field("account", FieldType.ACCOUNT, "the account that shall act, of which one is a signer"),
        Field("expires", FieldType.TIME, "block time at which the proposal ends"),
        Field("actions", FieldType.ACTIONS, "what the account shall do", ACTIONS_MAX, size_min=1),
        Field("memo", FieldType.BYTES, "what it is for, UTF-8; public", MEMO_BYTES_MAX),
    ),
    cost=COST_PROPOSE,
    words=_propose_words,
    cost_of=lambda values: COST_ACTION * len(values[2]),
)
APPROVE: Final = ActionType(
    name="accounts.approve", fields=(_PROPOSAL,), cost=COST_APPROVE, words=_said("Approve")
)
REJECT: Final = ActionType(
    name="accounts.reject", fields=(_PROPOSAL,), cost=COST_REJECT, words=_said("Reject")
)
EXECUTE: Final = ActionType(
    name="accounts.execute",
    fields=(
        _PROPOSAL,
        Field(
            "cost",
            FieldType.INTEGER,
            "what its actions cost, at least; paid by who executes it",
            high=COST_DECLARED_MAX,
        ),
    ),
    cost=COST_EXECUTE,
    words=_said("Let its account perform"),
    cost_of=lambda values: int(values[1]),
)
WITHDRAW: Final = ActionType(
    name="accounts.withdrawProposal",
    fields=(_PROPOSAL,),
    cost=COST_WITHDRAW,
    words=_said("Take back"),
)
# A proposal is for what its account does, not for what it says of others' proposals: whoever
# could propose to approve would be two signers, or one that nobody sees.
NOT_WITHIN: Final = (PROPOSE.name, APPROVE.name, REJECT.name, EXECUTE.name, WITHDRAW.name)


def _propose(context: Context, values: Sequence[Any]) -> None:
    account, expires_ms, actions, memo = values
    _require_signer(context, account, context.sender)
    low, high = context.time_ms + SPAN_MIN_MS, context.time_ms + SPAN_MAX_MS
    if not low <= expires_ms <= high:
        raise context.refuse("accounts.proposalSpan", expires_ms, low, high)
    proposer = context.sender
    opened = count_at(context.get, open_key(account, proposer))
    if opened >= OPEN_PER_MEMBER_MAX:
        raise context.refuse("accounts.proposalsFull", proposer, opened, account)
    number = count_at(context.get, made_key(account)) + 1
    contents = Contents(account, number, proposer, expires_ms, memo, actions)
    _judge_actions(context, contents)
    proposal_id = contents.id
    due = context.schedule(expires_ms, proposer, [DUE_EXPIRY, proposal_id])
    head = Head(account, proposer, expires_ms, due, context.height, (proposer,), ())
    context.put(made_key(account), pack(number))
    context.put(open_key(account, proposer), pack(opened + 1))
    context.put(contents_key(proposal_id), contents.pack())
    context.put(head_key(proposal_id), head.pack())
    context.put(listed_key(account, PROPOSAL, proposal_id), LISTED)
    context.emit("accounts.proposed", (account, proposer), proposal_id, number, expires_ms)


def execution_cost(contents: Contents, actions_cost: int) -> int:
    """Return what who executes has to declare: as if the actions were sent now, bytes included."""
    return actions_cost + (len(contents.pack()) >> COST_BYTES_SHIFT)


def _judge_actions(context: Context, contents: Contents) -> None:
    """Refuse what could never be executed, before others spend their time on it."""
    for action in contents.actions:
        if action.name in NOT_WITHIN:
            raise context.refuse("accounts.proposalAction", action.name)
    cost = execution_cost(contents, context.actions_cost(contents.actions))
    if cost > COST_DECLARED_MAX:
        raise context.refuse("accounts.proposalCost", cost, COST_DECLARED_MAX)


def _approve(context: Context, values: Sequence[Any]) -> None:
    proposal_id, member = values[0], context.sender
    head = _require_open(context, proposal_id)
    signers = _require_signer(context, head.account, member)
    if member in head.approvals:
        raise context.refuse("accounts.approvedAlready", member, proposal_id)
    others = [one for one in head.rejections if one != member]
    head = _voted(head, signers, (*head.approvals, member), others)
    context.put(head_key(proposal_id), head.pack())
    weight = weight_of(context, signers, head.approvals)
    parties = head.account, member
    context.emit("accounts.approved", parties, proposal_id, weight, signers.threshold)


def _reject(context: Context, values: Sequence[Any]) -> None:
    """Say no; when those who have not said so weigh too little, the proposal is over."""
    proposal_id, member = values[0], context.sender
    head = _require_open(context, proposal_id)
    signers = _require_signer(context, head.account, member)
    if member in head.rejections:
        raise context.refuse("accounts.rejectedAlready", member, proposal_id)
    others = [one for one in head.approvals if one != member]
    head = _voted(head, signers, others, (*head.rejections, member))
    left = sum(share for one, share in signers.members if one not in head.rejections)
    parties = head.account, member
    context.emit("accounts.rejected", parties, proposal_id, left, signers.threshold)
    if left < signers.threshold:
        _end(context, proposal_id, head, REJECTED)
    else:
        context.put(head_key(proposal_id), head.pack())


def _execute(context: Context, values: Sequence[Any]) -> None:
    proposal_id, declared = values
    head = _require_open(context, proposal_id)
    signers = _require_signer(context, head.account, context.sender)
    weight = weight_of(context, signers, head.approvals)
    if weight < signers.threshold:
        raise context.refuse("accounts.approvals", proposal_id, weight, signers.threshold)
    contents = contents_at(context.get, proposal_id)
    cost = execution_cost(contents, context.actions_cost(contents.actions))
    if cost > declared:
        raise context.refuse("accounts.proposalCost", cost, declared)
    # Over before it acts: nothing that it does can find it open.
    _end(context, proposal_id, head, EXECUTED)
    context.perform(head.account, contents.actions)


def _withdraw(context: Context, values: Sequence[Any]) -> None:
    head = _require_open(context, values[0])
    if context.sender != head.proposer:
        raise context.refuse("accounts.notProposer", context.sender, values[0], head.proposer)
    _end(context, values[0], head, WITHDRAWN)


def _require_signer(context: Context, account: bytes, member: bytes) -> Signers:
    """Return an account's signers, among whom a member is. Raises `Refused`."""
    signers = context.entitlements.signers(account)
    if signers is None:
        raise context.refuse("accounts.noSigners", account)
    if not signers.weight_of(member):
        raise context.refuse("accounts.notSigner", member, account)
    return signers


def _require_open(context: Context, proposal_id: bytes) -> Head:
    """Return a proposal that can be acted on. Raises `Refused`."""
    head = head_at(context.get, proposal_id)
    if head is None:
        raise context.refuse("accounts.proposalUnknown", proposal_id)
    if context.time_ms >= head.expires_ms:
        # The queue that ends it is capped per block, so it may come later than its time.
        raise context.refuse("accounts.proposalLate", proposal_id, head.expires_ms)
    return head


def _voted(head: Head, signers: Signers, yes: Sequence[bytes], no: Sequence[bytes]) -> Head:
    """Return a head with other votes: ascending, and of signers of now, so they are bounded."""
    approvals, rejections = (
        tuple(sorted([one for one in votes if signers.weight_of(one)])) for votes in (yes, no)
    )
    return head._replace(approvals=approvals, rejections=rejections)


def _end(context: Context, proposal_id: bytes, head: Head, outcome: str) -> None:
    """Forget a proposal; what became of it stands in the history of its account."""
    if outcome != EXPIRED:
        context.cancel_due(head.expires_ms, head.due)
    left = count_at(context.get, open_key(head.account, head.proposer)) - 1
    if left:
        context.put(open_key(head.account, head.proposer), pack(left))
    else:
        context.delete(open_key(head.account, head.proposer))
    context.delete(head_key(proposal_id))
    context.delete(contents_key(proposal_id))
    context.delete(listed_key(head.account, PROPOSAL, proposal_id))
    parties = (head.account, head.proposer)
    context.emit("accounts.proposalEnded", parties, proposal_id, outcome)


def _expire(context: Context, payload: Sequence[Any]) -> None:
    head = head_at(context.get, payload[1])
    if head is None:
        raise Bug("a proposal in the queue has no record")
    _end(context, payload[1], head, EXPIRED)


# -- queries


def get_proposal(reader: StateReader, proposal_id: bytes) -> tuple[Head, Contents] | None:
    """Return an open proposal, None if there is none of that id (any more)."""
    head = head_at(lambda key: reader.get(TREE, key), proposal_id)
    if head is None:
        return None
    return head, contents_at(lambda key: reader.get(TREE, key), proposal_id)


def list_proposals(
    reader: StateReader, account: bytes, limit: int, after: bytes = b""
) -> list[bytes]:
    """Return up to `limit` ids of an account's open proposals, ascending, from after one."""
    prefix = listing(account, PROPOSAL)
    rows = reader.ordered(TREE, prefix, limit, after=prefix + after if after else b"")
    return [key[len(prefix) :] for key, _ in rows]


def proposals_match(reader: StateReader) -> str | None:
    """Check that lists, heads, contents and counts of open proposals say the same."""
    opened: dict[bytes, int] = {}
    for account, proposal_id in all_listed(reader, PROPOSAL):
        found = get_proposal(reader, proposal_id)
        if found is None:
            return f"the list of {account_text(account)} has a proposal that is over"
        head, contents = found
        if contents.id != proposal_id or (account, contents.proposer) != head[:2]:
            return f"the proposal 0x{proposal_id.hex()} says another thing than its id"
        place = open_key(account, head.proposer)
        opened[place] = opened.get(place, 0) + 1
    for place, count in opened.items():
        if count_at(lambda key: reader.get(TREE, key), place) != count:
            return f"{account_text(place[33:])} has {count} proposals open, its count is another"
    return None


ACTIONS: Final[tuple[ActionType, ...]] = (PROPOSE, APPROVE, REJECT, EXECUTE, WITHDRAW)
HANDLERS: Final[Mapping[str, Handler]] = {
    PROPOSE.name: _propose,
    APPROVE.name: _approve,
    REJECT.name: _reject,
    EXECUTE.name: _execute,
    WITHDRAW.name: _withdraw,
}
DUE: Final[Mapping[str, DueHandler]] = {DUE_EXPIRY: _expire}
RULES: Final[Mapping[str, Rule]] = {
    "accounts.noSigners": Rule(Code.NOT_FOUND, "{0:account} has no signers; its key signs."),
    "accounts.notSigner": Rule(Code.NOT_AUTHORISED, "{0:account} is no signer of {1:account}."),
    "accounts.proposalSpan": Rule(
        Code.MALFORMED, "A proposal cannot end at {0:time}, only from {1:time} to {2:time}."
    ),
    "accounts.proposalAction": Rule(
        Code.MALFORMED, "The action {0:text} is a signer's; no account can be proposed to do it."
    ),
    "accounts.proposalsFull": Rule(
        Code.LIMIT_EXCEEDED,
        "{0:account} has {1:number} proposals open for {2:account}, the most allowed.",
    ),
    "accounts.proposalCost": Rule(
        Code.LIMIT_EXCEEDED, "The proposal's actions cost {0:number}, {1:number} is the most here."
    ),
    "accounts.proposalUnknown": Rule(
        Code.NOT_FOUND, "There is no open proposal {0:hash}; its account's history tells more."
    ),
    "accounts.proposalLate": Rule(Code.EXPIRED, "The proposal {0:hash} ended at {1:time}."),
    "accounts.approvedAlready": Rule(Code.DUPLICATE, "{0:account} approved {1:hash} already."),
    "accounts.rejectedAlready": Rule(Code.DUPLICATE, "{0:account} rejected {1:hash} already."),
    "accounts.approvals": Rule(
        Code.APPROVAL_REQUIRED,
        "The approvals of {0:hash} weigh {1:number}, {2:number} are needed.",
    ),
    "accounts.notProposer": Rule(
        Code.NOT_AUTHORISED, "{0:account} cannot take back {1:hash}, which {2:account} proposed."
    ),
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts.proposed": ("proposal", "number", "expires"),
    "accounts.approved": ("proposal", "weight", "threshold"),
    "accounts.rejected": ("proposal", "weightLeft", "threshold"),
    "accounts.proposalEnded": ("proposal", "outcome"),
}
QUERIES: Final[Mapping[str, Query]] = {"proposal": get_proposal, "proposals": list_proposals}
INVARIANTS: Final[tuple[Callable[[StateReader], str | None], ...]] = (proposals_match,)
