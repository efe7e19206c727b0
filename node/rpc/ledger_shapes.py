"""What the ledger's methods return beyond payments and compliance: shapes as in `shapes.py`.

Those of blocks' parts, events, signers, proposals, anchors, and of what waits in the mempool.
"""

from __future__ import annotations

from typing import Literal

from clawpurse.node.rpc.payment_shapes import Session
from clawpurse.node.rpc.shapes import (
    ABSENT,
    AccountText,
    Action,
    AmountText,
    AuthorityText,
    HashText,
    HexText,
    JsonObject,
    Leaf,
    Shape,
    Words,
)
from clawpurse.node.rpc.shapes import TimeText as Time


class Parameters(Shape):
    """The consensus parameters in force, their hash, and the bytes that it is of."""

    parameters: dict[str, int]
    hash: HashText
    raw: HexText


class EventPlace(Shape):
    """Where an event is; `transaction` is null for what no one sent."""

    height: int
    index: int
    transaction: int | None


class EventPlaces(Shape):
    """Places, oldest first; an answer may be empty and not the last."""

    places: list[EventPlace]
    next_cursor: str | None


class IncludedTransaction(Shape):
    """A transaction of a block; bytes alone in a whole block, with paths in parts of one."""

    signed: HexText
    path: list[tuple[Literal["left", "right"], HashText]] | None
    receipt: HexText | Leaf
    events: list[HexText | Leaf]


class Inclusion(Shape):
    """Parts of a block, or all of it, as in an audit bundle."""

    header: HexText
    certificate: HexText
    whole: bool
    due: list[HexText | Leaf]
    transactions: list[IncludedTransaction]
    evidence: list[HexText]
    next_start: int | None


class AuthorityChange(Shape):
    """A block after which other authorities decide."""

    height: int
    header: HexText
    certificate: HexText
    next_authorities: HexText


class AuthorityChanges(Shape):
    """Changes in order; `nextAfter` goes on with them."""

    changes: list[AuthorityChange]
    next_after: int | None


class Cancelling(Shape):
    """What takes a pending transaction's place; without `body` there is nothing left to cancel."""

    tx_id: HashText
    status: Literal["pending", "final", "expired", "replaced"]
    body: HexText = ABSENT
    fee: AmountText = ABSENT
    attempt: int = ABSENT
    words: list[Words] = ABSENT
    replaced_by: HashText | None = ABSENT
    height: int = ABSENT
    index: int = ABSENT
    receipt: JsonObject = ABSENT


class SenderTransactions(Shape):
    """A sender's pending transactions; `ready` ones wait for no earlier one."""

    account: AccountText
    transactions: list[JsonObject]


class Signer(Shape):
    """Who signs for an account; without a key it has signers itself."""

    account: AccountText
    weight: int
    key: HashText | None


class Signers(Shape):
    """Who signs for an account."""

    account: AccountText
    key: HashText | None
    threshold: int | None
    policy: HashText | None
    signers: list[Signer]
    sessions: list[Session]


class MultisigProposal(Shape):
    """What signers shall agree on; `missing` says in words what it takes."""

    proposal: HashText
    account: AccountText
    number: int
    proposer: AccountText
    opened: int
    expires: Time
    memo: HexText
    memo_text: str | None
    actions: list[Action]
    cost: int
    approvals: list[AccountText]
    rejections: list[AccountText]
    counted: list[AccountText]
    weight: int
    threshold: int | None
    waiting: list[AccountText]
    ready: bool
    missing: str
    contents: HexText


class MultisigProposals(Shape):
    """A page of open proposals."""

    account: AccountText
    proposals: list[MultisigProposal]
    next_cursor: HashText | None


class GovernanceProposal(Shape):
    """What authorities vote on; what has not happened is null."""

    proposal: HashText
    says: str
    change: JsonObject
    status: str
    expires: Time
    votes: list[AuthorityText]
    counted: int
    quorum: int | None
    opener: AuthorityText | None
    opened_height: int
    reason: str | None
    status_height: int | None
    in_force: int | None
    rule: str | None


class GovernanceProposals(Shape):
    """A page of what authorities vote on."""

    proposals: list[GovernanceProposal]
    next_cursor: str | None


class Anchoring(Shape):
    """Who anchored a commitment, when."""

    account: AccountText
    kind: str
    height: int
    time: Time
    number: int


class Anchorings(Shape):
    """A page of who anchored a commitment, the first one first."""

    commitment: HashText
    anchorings: list[Anchoring]
    next_cursor: str | None


class Log(Shape):
    """Where an anchored log stands."""

    log: HashText
    owner: AccountText
    name: str
    size: int
    root: HashText
    anchors: int
    break_count: int
    height: int
    time: Time


class Opened(Shape):
    """The block in which something began."""

    height: int
    time: Time


class Break(Shape):
    """Officers let a log go on from behind its anchor."""

    from_size: int
    from_root: HashText
    size: int
    root: HashText
    reason: str
    proposer: AccountText
    approvals: list[AccountText]
    height: int
    time: Time


class BreakProposal(Shape):
    """A break that was proposed; it is open until it ends or the log moves on."""

    proposer: AccountText
    number: int
    size: int
    root: HashText
    reason: str
    expires: Time
    approvals: list[AccountText]
    open: bool


class LogDetails(Log):
    """A log with who writes it, and what was ever broken."""

    writer: AccountText | None
    writer_role: str | None
    breakers: int
    opened: Opened
    sentence: str
    breaks: list[Break]
    proposals: list[BreakProposal]


class Logs(Shape):
    """A page of logs."""

    logs: list[Log]
    next_cursor: str | None
