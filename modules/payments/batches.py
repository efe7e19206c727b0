"""Batches: many payments of one payer, all of them or none, once enough people approved.

Tree `payments`: b‖id → batch · l‖id → its legs · n‖payer → how many it has open.

The id is the hash of all that is approved (`Contents`), which stands in state until the batch is
over: whoever approves sees, from any node and with a proof, what it says yes to. Nothing is set
apart: the payer's balance is judged when the batch is executed, and so is every approval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import batch_hash_of
from clawpurse.ledger.errors import Bug, Code, Malformed
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Words
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.modules.payments.common import (
    ASSET_FIELD,
    REASON_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    read_fields,
    reference_words,
    refused_missing,
    require_ascending,
    when_words,
)
from clawpurse.modules.payments.records import (
    BATCH,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# With all that goes with them, these fill a quarter of the largest transaction.
LEGS_MAX: Final = 200
LEG_REFERENCE_BYTES_MAX: Final = 32
# Those who may approve one batch: a finance department, each looked up at each step.
APPROVERS_MAX: Final = 16
# What the approvers can follow; with their legs they are some 250 KB of state.
OPEN_MAX: Final = 16
# Long enough for somebody on leave; one without an end would be a trap in a drawer.
SPAN_MIN_MS: Final = 1_000
SPAN_MAX_MS: Final = 30 * DAY_MS
DUE_EXPIRE: Final = "batch"

EXECUTED: Final = "executed"
REJECTED: Final = "rejected"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"


class Leg(NamedTuple):
    """One payment of a batch: to whom, minor units, what the payee's books call it."""

    recipient: bytes
    amount: int
    reference: bytes


class Contents(NamedTuple):
    """All that is approved. `salt` makes two batches with the same legs two batches."""

    salt: bytes
    payer: bytes
    asset: str
    legs: tuple[Leg, ...]
    needed: int
    approvers: tuple[bytes, ...]
    expires_ms: int
    reference: bytes
    travel_hash: bytes | None

    @property
    def id(self) -> bytes:
        """The batch's id. Whoever is shown these contents can work it out."""
        return batch_hash_of(codec.pack(self))

    @property
    def total(self) -> int:
        """What all legs are together, minor units."""
        return sum([leg.amount for leg in self.legs])


class Approval(NamedTuple):
    """Who approved, and until when (ms of block time) it counts."""

    account: bytes
    until_ms: int


class Batch(NamedTuple):
    """A batch that is open, but for its legs. `due` is the due work that ends it.

    `approvals` and `rejections` are ascending by account; an account has one of them at most.
    """

    salt: bytes
    payer: bytes
    asset: str
    leg_count: int
    total: int
    needed: int
    approvers: tuple[bytes, ...]
    expires_ms: int
    reference: bytes
    travel_hash: bytes | None
    due: bytes
    approvals: tuple[Approval, ...]
    rejections: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Batch:
        """Read a record that we wrote."""
        made = cls(*unpack(data, len(cls._fields)))
        return made._replace(
            approvers=tuple(made.approvers),
            approvals=tuple([Approval(*row) for row in made.approvals]),
            rejections=tuple(made.rejections),
        )

    def contents(self, legs: tuple[Leg, ...]) -> Contents:
        """Return all that is approved."""
        return Contents(
            self.salt,
            self.payer,
            self.asset,
            legs,
            self.needed,
            self.approvers,
            self.expires_ms,
            self.reference,
            self.travel_hash,
        )


SubjectOf = Callable[[bytes], bytes]


def approvals_of(batch: Batch, subject_of: SubjectOf, time_ms: int) -> tuple[bytes, ...]:
    """Return which approvals count now: one a person, never the payer's, nobody's who said no."""
    seen = {subject_of(batch.payer), *[subject_of(one) for one in batch.rejections]}
    found: list[bytes] = []
    for account, until_ms in batch.approvals:
        person = subject_of(account)
        if until_ms > time_ms and person not in seen:
            seen.add(person)
            found.append(account)
    return tuple(found)


def approved_by(batch: Batch, subject_of: SubjectOf, time_ms: int) -> int:
    """Return how many people approve now."""
    return len(approvals_of(batch, subject_of, time_ms))


def left_to_ask(batch: Batch, subject_of: SubjectOf) -> int:
    """Return how many people could still approve, those who did included."""
    others = {subject_of(batch.payer), *[subject_of(one) for one in batch.rejections]}
    return len({subject_of(one) for one in batch.approvers} - others)


def batch_key(batch_id: bytes) -> bytes:
    """Return the key of a batch."""
    return BATCH + batch_id


def legs_key(batch_id: bytes) -> bytes:
    """Return the key of a batch's legs; apart, because approvals rewrite the batch."""
    return b"l" + batch_id


def open_key(payer: bytes) -> bytes:
    """Return the key of how many batches a payer has open."""
    return b"n" + payer


# -- actions


_PROPOSE_FIELDS: Final = (
    ASSET_FIELD,
    Field(
        "legs",
        FieldType.LIST,
        "the payments, all of them or none",
        LEGS_MAX,
        size_min=1,
        items=(
            Field("recipient", FieldType.ACCOUNT, "whom to pay; opened if it is new"),
            Field("amount", FieldType.AMOUNT, "minor units, at least 1", low=1),
            Field(
                "reference",
                FieldType.BYTES,
                "what the payee's books call it; public for ever, may be empty",
                LEG_REFERENCE_BYTES_MAX,
            ),
        ),
    ),
    Field(
        "needed",
        FieldType.INTEGER,
        "how many different people must approve",
        low=1,
        high=APPROVERS_MAX,
    ),
    Field(
        "approvers",
        FieldType.LIST,
        "who may approve, ascending",
        APPROVERS_MAX,
        size_min=1,
        items=(Field("account", FieldType.ACCOUNT, "who may approve"),),
    ),
    Field("expires", FieldType.TIME, "block time at which it ends, within 30 days"),
    REFERENCE_FIELD,
    TRAVEL_FIELD,
)
_BATCH: Final = Field("batch", FieldType.HASH, "id of the batch: the hash of its contents")


def _read_propose(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    """Read the fields; refuse what could never be executed."""
    values = read_fields(_PROPOSE_FIELDS, wire, where)
    legs = tuple([Leg(*leg) for leg in values[1]])
    if sum([leg.amount for leg in legs]) > codec.U64_MAX:
        raise Malformed(f"{where}.legs", "are together more than any account can hold")
    require_ascending(values[3], f"{where}.approvers")
    if values[2] > len(values[3]):
        raise Malformed(f"{where}.needed", f"is above the {len(values[3])} who may approve")
    return (values[0], legs, *values[2:])


def _propose_words(fields: Mapping[str, Any], words: Words) -> str:
    legs = fields["legs"]
    total = words.amount(fields["asset"], sum([leg[1] for leg in legs]))
    names = ", ".join([words.account(account) for account in fields["approvers"]])
    return (
        f"Propose to pay {total} in {len(legs)} payments, all or none, if {fields['needed']} of "
        f"{names} approve before {when_words(fields['expires'])}.{reference_words(fields)}"
    )


def _approve_words(fields: Mapping[str, Any], _words: Words) -> str:
    until = fields["until"]
    limit = "" if until is None else f", until {when_words(until)}"
    return f"Approve the batch 0x{fields['batch'].hex()}{limit}."


def _reject_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Reject the batch 0x{fields['batch'].hex()}. Reason: {fields['reason']}."


def _withdraw_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Take the batch 0x{fields['batch'].hex()} back."


def _execute_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Pay all {fields['legs']} payments of the batch 0x{fields['batch'].hex()}."


PROPOSE: Final = ActionType(
    name="payments.proposeBatch",
    fields=_PROPOSE_FIELDS,
    # Batch, legs, count, the queue, one row of a list; a look at each approver, and its row.
    cost=350,
    words=_propose_words,
    parse=_read_propose,
    cost_of=lambda values: 10 * len(values[1]) + 50 * len(values[3]),
)
APPROVE: Final = ActionType(
    name="payments.approveBatch",
    fields=(
        _BATCH,
        Field(
            "until",
            FieldType.TIME,
            "block time from which the approval no longer counts; nil: as long as the batch",
            optional=True,
        ),
    ),
    # A look at each approver, in the largest case.
    cost=300,
    words=_approve_words,
)
REJECT: Final = ActionType(
    name="payments.rejectBatch",
    fields=(_BATCH, REASON_FIELD),
    # As an approval; and the end of the batch with up to 17 rows of lists.
    cost=800,
    words=_reject_words,
)
WITHDRAW: Final = ActionType(
    name="payments.withdrawBatch", fields=(_BATCH,), cost=600, words=_withdraw_words
)
EXECUTE: Final = ActionType(
    name="payments.executeBatch",
    fields=(
        _BATCH,
        Field(
            "legs",
            FieldType.INTEGER,
            "how many payments it has, at least; whoever executes it pays for them",
            low=1,
            high=LEGS_MAX,
        ),
    ),
    cost=800,
    words=_execute_words,
    # A transfer each, with its own event beside the kernel's.
    cost_of=lambda values: 100 * int(values[1]),
)
ACTIONS: Final = (PROPOSE, APPROVE, REJECT, WITHDRAW, EXECUTE)


# -- handlers


def _propose(context: Context, values: Sequence[Any]) -> None:
    asset, legs, needed, approvers, expires_ms, reference, travel_hash = values
    payer, low, high = context.sender, context.time_ms + SPAN_MIN_MS, context.time_ms + SPAN_MAX_MS
    if not low <= expires_ms <= high:
        raise context.refuse("payments.batchSpan", expires_ms, low, high)
    if any(leg.recipient == payer for leg in legs):
        raise context.refuse("payments.self", payer)
    opened = _opened(context, payer)
    if opened >= OPEN_MAX:
        raise context.refuse("payments.batchesFull", payer, opened)
    contents = Contents(
        context.new_id(), payer, asset, legs, needed, approvers, expires_ms, reference, travel_hash
    )
    batch_id, total = contents.id, contents.total
    due = context.schedule(expires_ms, payer, [DUE_EXPIRE, batch_id])
    batch = Batch(
        contents.salt,
        payer,
        asset,
        len(legs),
        total,
        needed,
        approvers,
        expires_ms,
        reference,
        travel_hash,
        due,
        (),
        (),
    )
    _require_people(context, batch)
    context.put(batch_key(batch_id), batch.pack())
    context.put(legs_key(batch_id), pack([legs]))
    context.put(open_key(payer), pack([opened + 1]))
    enlist(context, BATCH, batch_id, payer, *approvers)
    data = (asset, total, batch_id, len(legs), needed, expires_ms, reference, travel_hash)
    context.emit("payments.batchProposed", (payer, *approvers), *data)


def _require_people(context: Context, batch: Batch) -> None:
    """Refuse approvers who are no accounts, or are the payer; or too few people to be enough."""
    payer = context.subject_of(batch.payer)
    for account in batch.approvers:
        context.key_of(account)
        if context.subject_of(account) == payer:
            raise context.refuse("payments.batchPayer", account, batch.payer)
    people = left_to_ask(batch, context.subject_of)
    if people < batch.needed:
        raise context.refuse("payments.batchPeople", people, batch.needed)


def _opened(context: Context, payer: bytes) -> int:
    data = context.get(open_key(payer))
    return 0 if data is None else int(unpack(data, 1)[0])


def _approve(context: Context, values: Sequence[Any]) -> None:
    batch_id, until_ms = values
    batch, account = _batch_for(context, batch_id), context.sender
    _require_approver(context, batch_id, batch)
    if context.subject_of(account) == context.subject_of(batch.payer):
        # Who they are may have become known only since it was proposed.
        raise context.refuse("payments.batchPayer", account, batch.payer)
    until_ms = batch.expires_ms if until_ms is None else until_ms
    if not context.time_ms < until_ms <= batch.expires_ms:
        raise context.refuse("payments.span", until_ms, context.time_ms, batch.expires_ms)
    _require_new_person(context, batch_id, batch, account)
    approvals = [one for one in batch.approvals if one.account != account]
    batch = batch._replace(
        approvals=tuple(sorted([*approvals, Approval(account, until_ms)])),
        rejections=tuple([one for one in batch.rejections if one != account]),
    )
    context.put(batch_key(batch_id), batch.pack())
    people = approved_by(batch, context.subject_of, context.time_ms)
    data = (batch_id, people, batch.needed, until_ms)
    context.emit("payments.batchApproved", (batch.payer, account), *data)


def _require_new_person(context: Context, batch_id: bytes, batch: Batch, account: bytes) -> None:
    """Refuse an approval by somebody whose approval counts already, by whatever account."""
    person = context.subject_of(account)
    for approval in batch.approvals:
        in_force = approval.until_ms > context.time_ms
        if in_force and context.subject_of(approval.account) == person:
            raise context.refuse("payments.batchApprovedAlready", account, approval.account)


def _reject(context: Context, values: Sequence[Any]) -> None:
    """Say no, or take an approval back; when too few are left to ask, the batch is over."""
    batch_id, reason = values
    batch, account = _batch_for(context, batch_id), context.sender
    _require_approver(context, batch_id, batch)
    if account in batch.rejections:
        raise context.refuse("payments.batchRejectedAlready", account, batch_id)
    batch = batch._replace(
        approvals=tuple([one for one in batch.approvals if one.account != account]),
        rejections=tuple(sorted([*batch.rejections, account])),
    )
    left = left_to_ask(batch, context.subject_of)
    data = (batch_id, left, batch.needed, reason)
    context.emit("payments.batchRejected", (batch.payer, account), *data)
    if left < batch.needed:
        _end(context, batch_id, batch, REJECTED)
    else:
        context.put(batch_key(batch_id), batch.pack())


def _withdraw(context: Context, values: Sequence[Any]) -> None:
    batch_id = values[0]
    batch = _batch_for(context, batch_id)
    if context.sender != batch.payer:
        raise context.refuse("payments.party", context.sender, batch_id)
    _end(context, batch_id, batch, WITHDRAWN)


def _execute(context: Context, values: Sequence[Any]) -> None:
    batch_id, declared = values
    batch = _batch_for(context, batch_id)
    if context.sender != batch.payer:
        _require_approver(context, batch_id, batch)
    if declared < batch.leg_count:
        raise context.refuse("payments.batchLegs", batch_id, batch.leg_count, declared)
    approvals = approvals_of(batch, context.subject_of, context.time_ms)
    if len(approvals) < batch.needed:
        raise context.refuse("payments.batchApprovals", batch_id, len(approvals), batch.needed)
    legs = _legs_at(context.get(legs_key(batch_id)))
    # Over before it pays: nothing that it does can find it open.
    _end(context, batch_id, batch, EXECUTED)
    # Whoever sends this, the payer wanted it, and policies are to see who approved.
    context.act_for(batch.payer, approvals, lambda: _pay(context, batch_id, batch, legs))


def _pay(context: Context, batch_id: bytes, batch: Batch, legs: Sequence[Leg]) -> None:
    """Pay all of it. No payment may be held: the batch is paid whole or not at all."""
    for number, leg in enumerate(legs):
        context.transfer(
            batch.asset,
            batch.payer,
            leg.recipient,
            leg.amount,
            travel_hash=batch.travel_hash,
        )
        data = (batch.asset, leg.amount, leg.reference, batch_id, number)
        context.emit("payments.batchPaid", (batch.payer, leg.recipient), *data)


def _batch_for(context: Context, batch_id: bytes) -> Batch:
    """Return a batch that can be acted on. Raises `Refused`."""
    data = context.get(batch_key(batch_id))
    if data is None:
        raise refused_missing(context, batch_id)
    batch = Batch.unpack(data)
    if context.time_ms >= batch.expires_ms:
        # The queue that ends it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", batch.expires_ms, context.time_ms)
    return batch


def _require_approver(context: Context, batch_id: bytes, batch: Batch) -> None:
    if context.sender not in batch.approvers:
        raise context.refuse("payments.party", context.sender, batch_id)


def _legs_at(data: bytes | None) -> tuple[Leg, ...]:
    if data is None:
        raise Bug("a batch has no legs")
    return tuple([Leg(*leg) for leg in unpack(data, 1)[0]])


def _end(context: Context, batch_id: bytes, batch: Batch, outcome: str) -> None:
    """Forget a batch; what became of it stands in the history of its payer and approvers."""
    if outcome != EXPIRED:
        context.cancel_due(batch.expires_ms, batch.due)
    left = _opened(context, batch.payer) - 1
    if left:
        context.put(open_key(batch.payer), pack([left]))
    else:
        context.delete(open_key(batch.payer))
    context.delete(batch_key(batch_id))
    context.delete(legs_key(batch_id))
    parties = (batch.payer, *batch.approvers)
    strike(context, BATCH, batch_id, *parties)
    context.emit("payments.batchEnded", parties, batch.asset, batch.total, batch_id, outcome)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    batch_id = payload[0]
    data = context.get(batch_key(batch_id))
    if data is None:
        raise Bug("a batch in the queue has no record")
    _end(context, batch_id, Batch.unpack(data), EXPIRED)


# -- queries


def get_batch(reader: StateReader, batch_id: bytes) -> Batch | None:
    """Return a batch that is open, None if there is none of that id (any more)."""
    data = reader.get(TREE, batch_key(batch_id))
    return None if data is None else Batch.unpack(data)


def get_legs(reader: StateReader, batch_id: bytes) -> tuple[Leg, ...]:
    """Return the legs of a batch that is open."""
    return _legs_at(reader.get(TREE, legs_key(batch_id)))


# -- invariants


def batches_hold(reader: StateReader) -> str | None:
    """Check that lists, batches, legs and counts say the same."""
    opened: dict[bytes, int] = {}
    seen = b""
    for batch_id in sorted(all_objects(reader, BATCH)):
        batch = get_batch(reader, batch_id)
        if batch is None:
            return f"a list names the batch 0x{batch_id.hex()}, which is not there"
        if batch_id == seen:
            continue  # Each is listed under its payer and all its approvers.
        seen = batch_id
        opened[batch.payer] = opened.get(batch.payer, 0) + 1
        contents = batch.contents(get_legs(reader, batch_id))
        said = len(contents.legs), contents.total
        if contents.id != batch_id or said != (batch.leg_count, batch.total):
            return f"the batch 0x{batch_id.hex()} says another thing than its id"
    for payer, count in opened.items():
        data = reader.get(TREE, open_key(payer))
        if data is None or unpack(data, 1)[0] != count:
            return f"0x{payer.hex()} has {count} batches open, its count is another"
    return None


HANDLERS: Final = {
    PROPOSE.name: _propose,
    APPROVE.name: _approve,
    REJECT.name: _reject,
    WITHDRAW.name: _withdraw,
    EXECUTE.name: _execute,
}
DUES: Final = {DUE_EXPIRE: _on_due}
HOLD_ENDS: Final = ()
QUERIES: Final = {"batch": get_batch, "legs": get_legs}
INVARIANTS: Final = (batches_hold,)
RULES: Final = {
    "payments.batchSpan": Rule(
        Code.MALFORMED, "A batch cannot end at {0:time}, only from {1:time} to {2:time}."
    ),
    "payments.batchesFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:account} has {1:number} batches open, the most allowed."
    ),
    "payments.batchPayer": Rule(
        Code.NOT_AUTHORISED,
        "{0:account} cannot approve: it is the payer {1:account}, or one person with it.",
    ),
    "payments.batchPeople": Rule(
        Code.MALFORMED, "The approvers are {0:number} people; {1:number} must approve."
    ),
    "payments.batchApprovedAlready": Rule(
        Code.DUPLICATE, "{0:account} approved already, as {1:account}; a person counts once."
    ),
    "payments.batchRejectedAlready": Rule(Code.DUPLICATE, "{0:account} rejected {1:hash} already."),
    "payments.batchApprovals": Rule(
        Code.APPROVAL_REQUIRED,
        "{1:number} people approve the batch {0:hash} now, {2:number} are needed.",
    ),
    "payments.batchLegs": Rule(
        Code.LIMIT_EXCEEDED, "The batch {0:hash} has {1:number} payments, not {2:number}."
    ),
}
EVENTS: Final = {
    "payments.batchProposed": (
        "asset",
        "amount",
        "batchId",
        "legs",
        "needed",
        "expires",
        "reference",
        "travelHash",
    ),
    "payments.batchApproved": ("batchId", "approvals", "needed", "until"),
    "payments.batchRejected": ("batchId", "possible", "needed", "reason"),
    "payments.batchEnded": ("asset", "amount", "batchId", "outcome"),
    "payments.batchPaid": ("asset", "amount", "reference", "batchId", "number"),
}
