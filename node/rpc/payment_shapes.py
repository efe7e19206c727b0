"""What payment_*, session_*, sponsorship_* and role_* return: shapes as in `shapes.py`."""

from __future__ import annotations

from typing import Literal

from clawpurse.node.rpc.shapes import ABSENT, AccountText, AmountText, HashText, HexText, Shape
from clawpurse.node.rpc.shapes import TimeText as Time


class Referenced(Shape):
    """What its maker wrote on something: bytes, and the text that they are, if they are one."""

    reference: HexText
    reference_text: str | None


class Particulars(Referenced):
    """The same, with the hash of what the two sides told each other."""

    travel_hash: HashText | None


class Value(Shape):
    """Value on its way from payer to payee."""

    asset: str
    amount: AmountText
    payer: AccountText
    payee: AccountText
    since: Time


class PlacedTerms(Particulars):
    """What stands in a hold that somebody placed."""

    reason: str
    capture: bool
    releasers: list[AccountText]


class HoldVote(Shape):
    """One vote on a hold; `entitled` is whether it counts now."""

    voter: AccountText
    release: bool
    reason: str
    time: Time
    entitled: bool


class Hold(Value):
    """Value that is held; `placed` is null for what a rule held."""

    hold_id: HashText
    purpose: str
    rule: str
    rule_version: int
    expires: Time | None
    at_expiry: Literal["return", "release"] | None
    officers: str | None
    needed: int | None
    initiator: AccountText | None
    placed: PlacedTerms | None
    votes: list[HoldVote]


class Holds(Shape):
    """A page of holds."""

    holds: list[Hold]
    next_cursor: str | None


class Escrow(Value, Particulars):
    """An escrow that has not ended."""

    escrow_id: HashText
    finish_after: Time | None
    cancel_after: Time
    condition: HashText | None
    arbiter: AccountText | None
    paid_by_itself: bool


class Scheduled(Value, Particulars):
    """A payment at a time."""

    scheduled_id: HashText
    time: Time


class Refund(Referenced):
    """One refund; `hold_id` where a rule held it."""

    time: Time
    amount: AmountText
    hold_id: HashText | None


class RefundablePayment(Particulars):
    """A payment that can be refunded, and its refunds."""

    payment_id: HashText
    asset: str
    amount: AmountText
    payer: AccountText
    payee: AccountText
    time: Time
    until: Time
    held: bool
    refunded: AmountText
    left: AmountText
    refunds: list[Refund]


class Approver(Shape):
    """Who is asked for a batch; `until` is null for who has not approved."""

    account: AccountText
    approved: bool
    until: Time | None
    rejected: bool


class Leg(Referenced):
    """One payment of a batch."""

    recipient: AccountText
    amount: AmountText


class BatchTerms(Particulars):
    """A batch as it was opened."""

    batch_id: HashText
    salt: HexText
    asset: str
    amount: AmountText
    payer: AccountText
    leg_count: int
    needed: int
    expires: Time


class Batch(BatchTerms):
    """A batch that is open."""

    approvals: int
    executable: bool
    approvers: list[Approver]


class BatchWithLegs(Batch):
    """A batch with its payments."""

    legs: list[Leg]


class Batches(Shape):
    """A page of batches."""

    batches: list[Batch]
    next_cursor: str | None


class Invoice(Shape):
    """An invoice, expired where its time is over."""

    invoice_id: HashText
    state: Literal["open", "held", "paid", "expired", "cancelled"]
    salt: HexText
    payee: AccountText
    asset: str
    amount: AmountText
    payer: AccountText | None
    preimage_hash: HashText | None
    purpose: HexText
    purpose_text: str | None
    expires: Time
    expires_ms: int
    kept_until: Time
    redeemed_by: Literal["preimage", "signature"]
    paid_by: AccountText | None
    ended: Time | None
    hold_id: HashText | None


class Closing(Shape):
    """From when a channel that closes is final: both must be reached."""

    final_time: Time
    final_height: int


class ChannelStanding(Referenced):
    """A channel that is not over; `closing` is null while nobody closes it."""

    channel_id: HashText
    asset: str
    payer: AccountText
    payee: AccountText
    voucher_key: HexText
    left: AmountText
    paid: AmountText
    owed: AmountText
    challenge_ms: int
    challenge_blocks: int
    expires: Time
    closing: Closing | None


class Channel(ChannelStanding):
    """A channel, with the network that its vouchers are for."""

    genesis_hash: HashText


class _Listed(Shape):
    """What comes before the particulars in a list of several kinds."""

    id: HashText


class ListedBatch(_Listed, BatchTerms):
    """A batch in the list of an account."""

    kind: Literal["batch"]


class ListedChannel(_Listed, ChannelStanding):
    """A channel in the list of an account."""

    kind: Literal["channel"]


class ListedEscrow(_Listed, Escrow):
    """An escrow in the list of an account."""

    kind: Literal["escrow"]


class ListedHold(_Listed, Hold):
    """A hold in the list of an account."""

    kind: Literal["hold"]


class ListedInvoice(_Listed, Invoice):
    """An invoice in the list of an account."""

    kind: Literal["invoice"]


class ListedPayment(_Listed, RefundablePayment):
    """A payment that can be refunded in the list of an account."""

    kind: Literal["payment"]


class ListedScheduled(_Listed, Scheduled):
    """A scheduled payment in the list of an account."""

    kind: Literal["scheduled"]


PaymentObject = (
    ListedBatch
    | ListedChannel
    | ListedEscrow
    | ListedHold
    | ListedInvoice
    | ListedPayment
    | ListedScheduled
)


class PaymentObjects(Shape):
    """A page of what an account has to do with."""

    objects: list[PaymentObject]
    next_cursor: str | None


class VoucherVerdict(Shape):
    """What a voucher would pay now, or why it pays nothing."""

    channel_id: HashText
    valid: bool
    reason: str | None
    pays: AmountText
    paid: AmountText
    left: AmountText
    asset: str
    payee: AccountText


class SessionCap(Shape):
    """What a session key may spend of one asset."""

    asset: str
    decimals: int | None
    per_transaction: AmountText
    per_day: AmountText
    spent_today: AmountText
    left_today: AmountText


class Session(Shape):
    """What a session key may do."""

    account: AccountText
    key: HexText
    label: str
    expires: Time
    lanes: list[int]
    actions: list[str]
    caps: list[SessionCap]
    recipients: list[AccountText]
    memo: HexText
    memo_text: str | None
    memo_required: bool
    day_ends: Time


class Sessions(Shape):
    """A page of sessions."""

    sessions: list[Session]
    next_cursor: str | None


class Sponsorship(Shape):
    """Whose fees somebody pays; `actions` is null where it is all."""

    sponsor: AccountText
    account: AccountText
    expires: Time
    asset: str
    decimals: int | None
    per_transaction: AmountText
    per_day: AmountText
    spent_today: AmountText
    left_today: AmountText
    left: AmountText
    actions: list[str] | None
    day_ends: Time


class Sponsorships(Shape):
    """A page of sponsorships."""

    sponsorships: list[Sponsorship]
    next_cursor: str | None


class RoleCount(Shape):
    """A role that was used, and how many hold it now."""

    role: str
    holders: int


class Permission(Shape):
    """An action that asks for a role."""

    action: str
    role: str


class Roles(Shape):
    """Of all roles, of the holders of one, or of an account: what was asked for is there."""

    role: str = ABSENT
    holders: list[AccountText] = ABSENT
    account: AccountText = ABSENT
    roles: list[RoleCount | str] = ABSENT
    permissions: list[Permission] = ABSENT
    next_cursor: str | None


class RoleStanding(Shape):
    """Whether an account held a role after a block, and since when that is so."""

    account: AccountText
    role: str
    held: bool
    height: int
    since: int | None
    by: AccountText | None
    reason: str | None


class RoleEntry(Shape):
    """One change of who holds a role."""

    height: int
    held: bool
    by: AccountText
    reason: str | None


class RoleHistory(Shape):
    """A page of changes, oldest first."""

    entries: list[RoleEntry]
    next_cursor: str | None
