"""Payment channels: value set apart once, paid by vouchers that need no transaction each.

Tree `payments`: c‖id → channel · k‖hold id → [channel id] for a hold that is not its first one.
The id is that of its first hold: a hash of the opening transaction's id and an index, so that it
is one network's and one opening's.

The payer signs vouchers off the ledger (`vouchers`); each names all that was promised so far, and
a claim pays the difference to what was paid. Anybody may bring one; only the payee is paid.

| asked by                | what happens                                                       |
|-------------------------|--------------------------------------------------------------------|
| payee: close            | the channel ends at once: what is left goes back to the payer      |
| payer: close; the       | the challenge begins: so much block time *and* so many blocks, so  |
| channel's time          | that neither a halted nor a hurried chain cuts it short            |
| anybody, or the queue:  | after both, the channel ends. Until then, however late that is,    |
| finalise                | every voucher counts                                               |

How much is left stands in the kernel's hold and nowhere here. A clawback may have made it less:
then claims pay what is left. A claim that a freeze stops is remembered (`owed`): when the channel
ends, that much is left to officers instead of going back to the payer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import vouchers
from clawpurse.ledger.crypto import SIGNATURE_BYTES
from clawpurse.ledger.errors import Bug, Code, Refused
from clawpurse.ledger.kernel.records import Hold, hold_key
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    Field,
    FieldType,
    HoldEnd,
    Query,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.modules.payments.common import (
    AMOUNT_FIELD,
    ASSET_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    paid_words,
    reference_words,
    refused_missing,
    require_other,
    require_span,
    when_words,
)
from clawpurse.modules.payments.records import (
    CHANNEL,
    REFILL,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# A payee decides whether it can answer in that time; nobody needs longer than a month.
CHALLENGE_MS_MIN: Final = 1_000
CHALLENGE_MS_MAX: Final = 30 * DAY_MS
# A day at full pace, of blocks every 200 ms; far longer where little happens.
CHALLENGE_BLOCKS_MAX: Final = 432_000
RULE: Final = "payments.channel"
# Of what is set apart again when all was paid, under a hold of its own.
REFILL_RULE: Final = "payments.channelRefill"
DUE_END: Final = "channel"

FINALISED: Final = "finalised"
CLOSED: Final = "closed"


class Channel(NamedTuple):
    """A channel that is not over. Amounts in minor units, times in ms of block time.

    `key` signs vouchers, whatever keys the payer's account gets. `paid` was claimed so far;
    `owed` is the newest voucher that was brought, above `paid` where not all could be paid.
    `final_ms` and `final_height` are 0, or from when on it can be finalised. `hold_id` is the
    hold that it has value in, if there still is one. `due` is the due work at `due_ms`, empty
    for none.
    """

    asset: str
    payer: bytes
    payee: bytes
    key: bytes
    challenge_ms: int
    challenge_blocks: int
    expires_ms: int
    reference: bytes
    paid: int
    owed: int
    final_ms: int
    final_height: int
    hold_id: bytes
    due_ms: int
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Channel:
        """Read a record that we wrote."""
        return cls(*unpack(data, len(cls._fields)))

    @property
    def closing(self) -> bool:
        """Whether the challenge has begun."""
        return bool(self.final_ms)

    def terms(self, genesis_hash: bytes, channel_id: bytes) -> vouchers.Terms:
        """Return what all vouchers of this channel have in common."""
        return vouchers.Terms(genesis_hash, channel_id, self.asset, self.payee)


def channel_key(channel_id: bytes) -> bytes:
    """Return the key of a channel."""
    return CHANNEL + channel_id


def refill_key(hold_id: bytes) -> bytes:
    """Return the key that says which channel a hold belongs to that is not its first one."""
    return REFILL + hold_id


# -- actions


_CHANNEL: Final = Field("channel", FieldType.HASH, "id of the channel")


def _open_words(fields: Mapping[str, Any], words: Words) -> str:
    blocks, until = fields["challengeBlocks"], when_words(fields["expires"])
    seconds = fields["challengeMs"] // 1_000
    return (
        f"Set {paid_words(fields, words)} apart, to be paid by vouchers until {until}. To get back "
        f"what is left takes {seconds} s and {blocks} blocks.{reference_words(fields)}"
    )


def _top_up_words(fields: Mapping[str, Any], _words: Words) -> str:
    channel = fields["channel"].hex()
    return f"Set {fields['amount']} more minor units apart in the channel 0x{channel}."


def _claim_words(fields: Mapping[str, Any], _words: Words) -> str:
    channel, amount = fields["channel"].hex(), fields["amount"]
    return f"Have the payee of the channel 0x{channel} paid up to {amount} minor units in all."


def _close_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Close the channel 0x{fields['channel'].hex()}."


def _finalise_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"End the channel 0x{fields['channel'].hex()}, whose challenge is over."


OPEN: Final = ActionType(
    name="payments.openChannel",
    fields=(
        ASSET_FIELD,
        Field("recipient", FieldType.ACCOUNT, "the payee; opened if it is new"),
        AMOUNT_FIELD,
        Field(
            "challengeMs",
            FieldType.INTEGER,
            "ms of block time between the payer's close and the end",
            low=CHALLENGE_MS_MIN,
            high=CHALLENGE_MS_MAX,
        ),
        Field(
            "challengeBlocks",
            FieldType.INTEGER,
            "blocks between the payer's close and the end",
            low=1,
            high=CHALLENGE_BLOCKS_MAX,
        ),
        Field("expires", FieldType.TIME, "block time at which it closes by itself, within a year"),
        Field(
            "voucherKey",
            FieldType.KEY,
            "the Ed25519 key that signs vouchers; nil: the payer's present key",
            optional=True,
        ),
        REFERENCE_FIELD,
        TRAVEL_FIELD,
    ),
    # Hold, channel, four rows of lists, the queue, two accounts.
    cost=450,
    words=_open_words,
    session=True,
)
TOP_UP: Final = ActionType(
    name="payments.topUpChannel",
    fields=(_CHANNEL, AMOUNT_FIELD),
    cost=300,
    words=_top_up_words,
    session=True,
)
CLAIM: Final = ActionType(
    name="payments.claimChannel",
    fields=(
        _CHANNEL,
        Field("amount", FieldType.AMOUNT, "the voucher's: all that was promised so far", low=1),
        Field(
            "signature",
            FieldType.BYTES,
            "the voucher's, by the channel's voucher key",
            SIGNATURE_BYTES,
            size_min=SIGNATURE_BYTES,
        ),
    ),
    # A signature, the hold, the channel, two accounts, and four rows of lists when it is empty.
    cost=400,
    words=_claim_words,
    # It takes nothing from anybody but what was promised with a signature.
    session=True,
)
CLOSE: Final = ActionType(
    name="payments.closeChannel", fields=(_CHANNEL,), cost=400, words=_close_words, session=True
)
FINALISE: Final = ActionType(
    name="payments.finaliseChannel",
    fields=(_CHANNEL,),
    cost=400,
    words=_finalise_words,
    session=True,
)
ACTIONS: Final = (OPEN, TOP_UP, CLAIM, CLOSE, FINALISE)


# -- handlers


def _open(context: Context, values: Sequence[Any]) -> None:
    asset, payee, amount, challenge_ms, blocks, expires_ms, key, reference, travel_hash = values
    payer = context.sender
    require_other(context, payer, payee)
    require_span(context, expires_ms)
    key = context.key_of(payer) if key is None else key
    if key is None:
        raise context.refuse("payments.channelKey", payer)
    channel_id = context.set_apart(asset, payer, payee, amount, rule=RULE, travel_hash=travel_hash)
    due = context.schedule(expires_ms, payer, [DUE_END, channel_id])
    channel = Channel(
        asset,
        payer,
        payee,
        key,
        challenge_ms,
        blocks,
        expires_ms,
        reference,
        0,
        0,
        0,
        0,
        channel_id,
        expires_ms,
        due,
    )
    _write(context, channel_id, channel)
    enlist(context, CHANNEL, channel_id, payer, payee)
    data = (asset, amount, channel_id, key, challenge_ms, blocks, expires_ms, reference)
    context.emit("payments.channelOpened", (payer, payee), *data, travel_hash)


def _top_up(context: Context, values: Sequence[Any]) -> None:
    channel_id, amount = values
    channel = _channel_of(context, channel_id)
    if context.sender != channel.payer:
        raise context.refuse("payments.party", context.sender, channel_id)
    if channel.closing:
        raise context.refuse("payments.channelClosing", channel_id, channel.final_ms)
    if context.time_ms >= channel.expires_ms:
        # The queue that closes it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", channel.expires_ms, context.time_ms)
    if _hold_of(context, channel) is not None:
        context.add_apart(channel.hold_id, amount)
    else:
        # All of it was paid, or a clawback took it.
        hold_id = context.set_apart(
            channel.asset, channel.payer, channel.payee, amount, rule=REFILL_RULE
        )
        context.put(refill_key(hold_id), pack([channel_id]))
        _write(context, channel_id, channel._replace(hold_id=hold_id))
    parties = channel.payer, channel.payee
    context.emit("payments.channelToppedUp", parties, channel.asset, amount, channel_id)


def _claim(context: Context, values: Sequence[Any]) -> None:
    """Pay what a voucher promises beyond what was paid, as far as value is left."""
    channel_id, amount, signature = values
    channel = _channel_of(context, channel_id)
    terms = channel.terms(context.genesis_hash, channel_id)
    if not vouchers.verify(channel.key, terms, amount, signature):
        raise context.refuse("payments.voucher", channel_id)
    if amount <= channel.paid:
        raise context.refuse("payments.voucherPaid", channel.paid, amount, channel.asset)
    hold = _hold_of(context, channel)
    if hold is None:
        raise context.refuse("payments.channelEmpty", channel_id)
    channel = channel._replace(owed=max(channel.owed, amount))
    due = min(channel.owed - channel.paid, hold.amount)
    refusal = _pay(context, channel.hold_id, due)
    paid, rule = (due, "") if refusal is None else (0, refusal.rule)
    _write(context, channel_id, channel._replace(paid=channel.paid + paid))
    data = (channel.asset, paid, channel_id, channel.owed, hold.amount - paid, rule)
    context.emit("payments.channelClaimed", (channel.payer, channel.payee), *data)


def _close(context: Context, values: Sequence[Any]) -> None:
    channel_id = values[0]
    channel = _channel_of(context, channel_id)
    if context.sender == channel.payee:
        _end(context, channel_id, channel, CLOSED)
        return
    if context.sender != channel.payer:
        raise context.refuse("payments.party", context.sender, channel_id)
    if channel.closing:
        raise context.refuse("payments.channelClosing", channel_id, channel.final_ms)
    _cancel_due(context, channel)
    _begin_challenge(context, channel_id, channel)


def _finalise(context: Context, values: Sequence[Any]) -> None:
    channel_id = values[0]
    channel = _channel_of(context, channel_id)
    if not channel.closing:
        raise context.refuse("payments.channelOpen", channel_id)
    if context.time_ms < channel.final_ms:
        raise context.refuse("payments.early", channel.final_ms, context.time_ms)
    if context.height < channel.final_height:
        raise context.refuse("payments.channelEarly", channel.final_height, context.height)
    _end(context, channel_id, channel, FINALISED)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """Begin the challenge at the channel's time; end the channel when the challenge is over."""
    channel_id = payload[0]
    data = context.get(channel_key(channel_id))
    if data is None:
        raise Bug("a channel in the queue has no record")
    channel = Channel.unpack(data)._replace(due=b"")
    if not channel.closing:
        _begin_challenge(context, channel_id, channel)
    elif context.height < channel.final_height:
        _wait(context, channel_id, channel)
    else:
        _end(context, channel_id, channel, FINALISED)


def _begin_challenge(context: Context, channel_id: bytes, channel: Channel) -> None:
    channel = channel._replace(
        final_ms=context.time_ms + channel.challenge_ms,
        final_height=context.height + channel.challenge_blocks,
    )
    _wait(context, channel_id, channel)
    data = (channel_id, channel.final_ms, channel.final_height)
    context.emit("payments.channelClosing", (channel.payer, channel.payee), *data)


def _wait(context: Context, channel_id: bytes, channel: Channel) -> None:
    """Let the queue end it soon after it can be; by hand where the payer's queue is full.

    Nobody knows when a height comes, only that blocks are not closer than their interval. So a
    slow chain looks again, each time after a quarter of the time that it took so far: a few
    dozen times at most, however many blocks it is.
    """
    blocks_ms = (channel.final_height - context.height) * context.params.interval_ms
    lasted_ms = context.time_ms - (channel.final_ms - channel.challenge_ms)
    due_ms = max(channel.final_ms, context.time_ms + max(blocks_ms, lasted_ms // 4))
    _write(context, channel_id, channel._replace(due=b""))

    def deed() -> None:
        due = context.schedule(due_ms, channel.payer, [DUE_END, channel_id])
        _write(context, channel_id, channel._replace(due_ms=due_ms, due=due))

    context.attempt(deed)


def _end(context: Context, channel_id: bytes, channel: Channel, outcome: str) -> None:
    """End a channel: what was claimed and could not be paid is paid or left to officers.

    The rest goes back to the payer. The record goes first, so that nothing finds it half ended.
    """
    _cancel_due(context, channel)
    parties = channel.payer, channel.payee
    context.delete(channel_key(channel_id))
    strike(context, CHANNEL, channel_id, *parties)
    hold = _hold_of(context, channel)
    returned = 0
    if hold is not None:
        owed = min(channel.owed - channel.paid, hold.amount)
        returned = hold.amount - owed
        if returned:
            context.give_back(channel.hold_id, returned)
        if owed:
            refusal = _pay(context, channel.hold_id, owed)
            if refusal is not None:
                _forget_refill(context, channel.hold_id)
                context.suspend(channel.hold_id, refusal)
    data = (channel.asset, returned, channel_id, channel.owed, outcome)
    context.emit("payments.channelEnded", parties, *data)


def _pay(context: Context, hold_id: bytes, amount: int) -> Refused | None:
    """Pay out of a channel; returns what the ledger's rules refused it with.

    What refuses only whoever asks (a session key beyond its caps) is raised: somebody else may.
    """
    refusal = context.attempt(lambda: context.pay_apart(hold_id, amount))
    if refusal is not None and refusal.rule.startswith("kernel.session"):
        raise refusal
    return refusal


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    """Forget whose a hold was when nothing is left in it; its channel stays."""
    if end.hold.rule == REFILL_RULE and end.amount == end.hold.amount:
        _forget_refill(context, end.hold_id)


def _forget_refill(context: Context, hold_id: bytes) -> None:
    if context.get(refill_key(hold_id)) is not None:
        context.delete(refill_key(hold_id))


def _cancel_due(context: Context, channel: Channel) -> None:
    if channel.due:
        context.cancel_due(channel.due_ms, channel.due)


def _channel_of(context: Context, channel_id: bytes) -> Channel:
    data = context.get(channel_key(channel_id))
    if data is None:
        raise refused_missing(context, channel_id)
    return Channel.unpack(data)


def _hold_of(context: Context, channel: Channel) -> Hold | None:
    return context.hold(channel.hold_id)


def _write(context: Context, channel_id: bytes, channel: Channel) -> None:
    context.put(channel_key(channel_id), channel.pack())


# -- queries


def get_channel(reader: StateReader, channel_id: bytes) -> Channel | None:
    """Return a channel that is not over; what is left in it is in the hold `hold_id`, if any."""
    data = reader.get(TREE, channel_key(channel_id))
    return None if data is None else Channel.unpack(data)


def left_in(reader: StateReader, channel: Channel) -> int:
    """Return what is left in a channel, minor units."""
    data = reader.get(KERNEL, hold_key(channel.hold_id))
    return 0 if data is None else Hold.unpack(data).amount


# -- invariants


def channels_hold(reader: StateReader) -> str | None:
    """Check that every channel agrees with its hold, and pays no more than it owes."""
    for channel_id in all_objects(reader, CHANNEL):
        name = f"the channel 0x{channel_id.hex()}"
        channel = get_channel(reader, channel_id)
        if channel is None:
            return f"a list names {name}, which is not there"
        if channel.paid > channel.owed:
            return f"{name} paid more than any voucher said"
        data = reader.get(KERNEL, hold_key(channel.hold_id))
        if data is not None:
            hold = Hold.unpack(data)
            said = channel.asset, channel.payer, channel.payee
            if hold.module != TREE or hold[:3] != said:
                return f"{name} has its value in another's hold"
    return None


HANDLERS: Final = {
    OPEN.name: _open,
    TOP_UP.name: _top_up,
    CLAIM.name: _claim,
    CLOSE.name: _close,
    FINALISE.name: _finalise,
}
DUES: Final = {DUE_END: _on_due}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final[Mapping[str, Query]] = {"channel": get_channel, "channelLeft": left_in}
INVARIANTS: Final = (channels_hold,)
RULES: Final = {
    "payments.channelKey": Rule(
        Code.MALFORMED, "No key signs alone for {0:account}; name a key for vouchers."
    ),
    "payments.channelClosing": Rule(
        Code.DUPLICATE, "The channel {0:hash} is closing; it can end at {1:time}."
    ),
    "payments.channelOpen": Rule(
        Code.POLICY_REJECTED, "Nobody asked to close the channel {0:hash} yet."
    ),
    "payments.channelEarly": Rule(
        Code.POLICY_REJECTED, "Not before height {0:number}; this is {1:number}."
    ),
    "payments.channelEmpty": Rule(
        Code.INSUFFICIENT_FUNDS, "Nothing is left in the channel {0:hash}."
    ),
    "payments.voucher": Rule(
        Code.BAD_SIGNATURE, "That is no voucher of the channel {0:hash}: it does not verify."
    ),
    "payments.voucherPaid": Rule(
        Code.DUPLICATE,
        "{0:amount} {2:asset} were paid already; a voucher over {1:amount} adds nothing.",
    ),
}
EVENTS: Final = {
    "payments.channelOpened": (
        "asset",
        "amount",
        "channelId",
        "voucherKey",
        "challengeMs",
        "challengeBlocks",
        "expires",
        "reference",
        "travelHash",
    ),
    "payments.channelToppedUp": ("asset", "amount", "channelId"),
    "payments.channelClaimed": ("asset", "amount", "channelId", "cumulative", "left", "rule"),
    "payments.channelClosing": ("channelId", "finalTime", "finalHeight"),
    "payments.channelEnded": ("asset", "returned", "channelId", "cumulative", "outcome"),
}
