"""Votes on holds: k distinct people release or return what is held.

Tree `payments`: v‖hold id → votes, in the order in which they were given.

A hold that a rule made is decided by holders of the role that the rule named; a placed hold by
those whom its payer named. A person has one vote, by whatever account, and may change it until
it is decided. Whoever the payment is about has none: payer, payee, who sent it, and whoever is
one subject with them. All of that is looked at again when votes are counted, so who lost the
role, or turned out to be a party, no longer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import Hold
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    DueHandler,
    Field,
    FieldType,
    HoldEnd,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.payments.common import (
    REASON_FIELD,
    flag_field,
    forget_votes,
    refused_missing,
    votes_key,
)
from clawpurse.modules.payments.placed import PlacedHold, end_placed, placed_hold_of
from clawpurse.modules.payments.records import TREE, pack, unpack

# Voters of one hold; each is looked up again at each vote. A council of this size decides
# nothing that one payment waits for.
VOTES_MAX: Final = 32


class Vote(NamedTuple):
    """Who voted, 1 for release or 0 for return, the code of the reason, and when (ms)."""

    voter: bytes
    release: int
    reason: str
    time_ms: int


def _pack_votes(votes: Sequence[Vote]) -> bytes:
    return pack([votes])


def _unpack_votes(data: bytes | None) -> tuple[Vote, ...]:
    return () if data is None else tuple([Vote(*row) for row in unpack(data, 1)[0]])


# -- the action


def _vote_words(fields: Mapping[str, Any], _words: Words) -> str:
    outcome = "released to its payee" if fields["release"] else "returned to its payer"
    hold = fields["hold"].hex()
    return f"Vote that what is held under 0x{hold} is {outcome}. Reason: {fields['reason']}."


VOTE: Final = ActionType(
    name="payments.voteHold",
    fields=(
        Field("hold", FieldType.HASH, "id of the hold"),
        flag_field("release", "1: release it to the payee; 0: return it to the payer"),
        REASON_FIELD,
    ),
    # Up to 32 votes with a role and a subject each, and the end of the hold.
    cost=700,
    words=_vote_words,
)
ACTIONS: Final = (VOTE,)


# -- handlers


class Bench(NamedTuple):
    """Who decides on a hold: whether an account may, how many people it takes, who has no vote."""

    entitled: Callable[[bytes], bool]
    needed: int
    parties: tuple[bytes, ...]


def _bench_of(context: Context, hold: Hold, placed: PlacedHold | None) -> Bench:
    if placed is not None:
        releasers = placed.releasers
        return Bench(
            lambda account: account in releasers, placed.needed, (hold.source, hold.target)
        )
    parties = (hold.source, hold.target, hold.initiator or hold.source)
    return Bench(lambda account: context.has_role(account, hold.officers), hold.needed, parties)


def _vote(context: Context, values: Sequence[Any]) -> None:
    hold_id, release, reason = values
    hold = context.hold(hold_id)
    if hold is None:
        raise refused_missing(context, hold_id)
    placed = placed_hold_of(context.get, hold_id) if hold.module == TREE else None
    if hold.module != KERNEL and (placed is None or not placed.releasers):
        raise context.refuse("payments.noVotes", hold_id, hold.module)
    bench = _bench_of(context, hold, placed)
    _require_entitled(context, bench, hold_id, hold.officers)
    expires_ms = hold.expires_ms if placed is None else placed.expires_ms
    if context.time_ms >= expires_ms:
        # The queue that ends it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", expires_ms, context.time_ms)
    before = _unpack_votes(context.get(votes_key(hold_id)))
    votes = _with_vote(context, before, Vote(context.sender, release, reason, context.time_ms))
    count = _count(context, bench, votes, release)
    if count < bench.needed and any(
        (vote.voter, vote.release) == (context.sender, release) for vote in before
    ):
        raise context.refuse("payments.voted", context.sender, hold_id)
    if len(votes) > VOTES_MAX:
        votes = tuple([vote for vote in votes if bench.entitled(vote.voter)])
        if len(votes) > VOTES_MAX:
            raise context.refuse("payments.votesFull", hold_id, VOTES_MAX)
    context.put(votes_key(hold_id), _pack_votes(votes))
    parties = (hold.source, hold.target, context.sender)
    context.emit("payments.holdVoted", parties, hold_id, release, reason, count, bench.needed)
    if count >= bench.needed:
        _decide(context, hold_id, hold, placed, release)


def _require_entitled(context: Context, bench: Bench, hold_id: bytes, role: str) -> None:
    """Refuse the vote of who has none, or is one subject with a party."""
    sender = context.sender
    if not bench.entitled(sender):
        if role:
            raise context.refuse("kernel.role", sender, role, VOTE.name)
        raise context.refuse("payments.party", sender, hold_id)
    person = context.subject_of(sender)
    for party in bench.parties:
        if person == context.subject_of(party):
            raise context.refuse("payments.ownHold", sender, hold_id)


def _with_vote(context: Context, votes: Sequence[Vote], vote: Vote) -> tuple[Vote, ...]:
    """Return the votes with one more; it replaces what its subject said before."""
    person = context.subject_of(vote.voter)
    others = [one for one in votes if context.subject_of(one.voter) != person]
    return (*others, vote)


def _count(context: Context, bench: Bench, votes: Sequence[Vote], release: int) -> int:
    """Return how many people who may decide want an outcome."""
    parties = [context.subject_of(party) for party in bench.parties]
    people: list[bytes] = []
    for vote in votes:
        if vote.release == release and bench.entitled(vote.voter):
            person = context.subject_of(vote.voter)
            if person not in parties and person not in people:
                people.append(person)
    return len(people)


def _decide(
    context: Context, hold_id: bytes, hold: Hold, placed: PlacedHold | None, release: int
) -> None:
    """End a hold as decided. Refused (a party is frozen), votes and hold stay as they are.

    Whoever may vote then votes again once the refusal's reason is gone.
    """

    def deed() -> None:
        if placed is None:
            context.settle(hold_id, release=bool(release))
        else:
            end_placed(context, hold_id, placed, hold, pay=bool(release))

    refusal = context.attempt(deed)
    if refusal is not None:
        parties = (hold.source, hold.target, context.sender)
        data = (hold_id, int(refusal.code), refusal.rule)
        context.emit("payments.releaseRefused", parties, *data)


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    """Forget the votes on what is held no longer."""
    if end.amount == end.hold.amount:
        forget_votes(context, end.hold_id)


# -- queries


def get_votes(reader: StateReader, hold_id: bytes) -> tuple[Vote, ...]:
    """Return the votes on a hold in the order in which they were given."""
    return _unpack_votes(reader.get(TREE, votes_key(hold_id)))


HANDLERS: Final = {VOTE.name: _vote}
DUES: Final[Mapping[str, DueHandler]] = {}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"votes": get_votes}
INVARIANTS: Final = ()
RULES: Final = {
    "payments.noVotes": Rule(
        Code.POLICY_REJECTED, "Nobody votes on {0:hash}; the module {1:text} decides on it."
    ),
    "payments.ownHold": Rule(
        Code.NOT_AUTHORISED, "{0:account} is a party to {1:hash}, or one person with a party."
    ),
    "payments.voted": Rule(Code.DUPLICATE, "{0:account} voted so on {1:hash} already."),
    "payments.votesFull": Rule(
        Code.LIMIT_EXCEEDED, "{0:hash} has {1:number} votes, the most allowed."
    ),
}
EVENTS: Final = {
    "payments.holdVoted": ("holdId", "released", "reason", "votes", "needed"),
    "payments.releaseRefused": ("holdId", "code", "rule"),
}
