"""Judging one payment by the policies of its asset: facts, each looked up once, and outcomes.

The same code answers consensus (the hook) and people who ask before they pay: both see the state
through a `Sight`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.module_api import Movement, VerdictKind
from clawpurse.modules.compliance.attestations import Attestation, attestations_at, level_in
from clawpurse.modules.compliance.language import Side
from clawpurse.modules.compliance.lists import listed
from clawpurse.modules.compliance.records import Get, own, pack
from clawpurse.modules.compliance.velocity import Slots, counter_key

GOVERNING_KEY: Final = b"g"
# What is asked of an account, and answers by (side, name).
Ask = Callable[[bytes, str], int]
Table = dict[tuple[int, str], tuple[int, int]]
# The place of each field in a rule as state keeps it; conditions are taken apart where judged.
_VERDICT, _CONDITIONS = 1, 7


class Sight(NamedTuple):
    """State and circumstances, as judging sees them. `score` is None on a chain without risk."""

    get: Get
    subject_of: Callable[[bytes], bytes]
    has_role: Callable[[bytes, str], bool]
    score: Callable[[bytes], int | None]
    time_ms: int
    sender: bytes
    approvals: Callable[[], Sequence[bytes]]


class Standing(NamedTuple):
    """A policy in force: its scope (empty: all assets), name, version and id of its rules.

    `counters` are (side, window ms, since ms): what it has counted, and from when on without a
    gap; `pairs` tells whether it asks whom an account has paid before.
    """

    asset: str
    name: str
    version: int
    id: bytes
    counters: tuple[tuple[int, int, int], ...]
    pairs: int


class Outcome(NamedTuple):
    """What a policy says of a payment. `rule` is the number of the one that applied, or None."""

    kind: VerdictKind
    rule: int | None


def governing_at(get: Get) -> tuple[Standing, ...]:
    """Return the policies in force, in the order in which they are asked."""
    data = get(GOVERNING_KEY)
    if data is None:
        return ()
    return tuple(
        [
            Standing(asset, name, version, place, tuple([tuple(c) for c in counters]), pairs)
            for asset, name, version, place, counters, pairs in own(data, 1)[0]
        ]
    )


def pack_governing(found: Sequence[Standing]) -> bytes:
    """Return the bytes of the record of policies in force: those of all assets first."""
    return pack(sorted(found))


def rules_key(policy_id: bytes) -> bytes:
    """Return the key of a policy's rules."""
    return b"t" + policy_id


def rules_at(get: Get, policy_id: bytes) -> list[Any]:
    """Return the rules of a policy as state keeps them; [] when they were dropped."""
    data = get(rules_key(policy_id))
    return [] if data is None else own(data, 1)[0]


def judge(rules: Sequence[Any], facts: Facts, asset: str) -> Outcome:
    """Ask the rules of one policy in order; the first that applies decides, none allows.

    `asset` is the policy's scope, empty for all assets: what is counted for it.
    """
    facts.scope = asset
    holds = facts.tests
    for number, rule in enumerate(rules):
        for kind, side, name, limit, window_ms in rule[_CONDITIONS]:
            if not holds[kind](side, name, limit, window_ms):
                break
        else:
            return Outcome(VerdictKind(rule[_VERDICT]), number)
    return Outcome(VerdictKind.ALLOW, None)


class Facts:
    """The facts of one payment, looked up when a condition first asks for them."""

    __slots__ = (
        "_counted",
        "_known",
        "_levels",
        "_listings",
        "_movement",
        "_risks",
        "_sight",
        "_subjects",
        "scope",
        "tests",
    )

    def __init__(self, sight: Sight, movement: Movement) -> None:
        self._sight = sight
        self._movement = movement
        # Facts by what they are; the first condition that asks pays for it.
        self._known: dict[object, Any] = {}
        self._levels: Table = {}
        self._listings: Table = {}
        self._risks: Table = {}
        self._counted: dict[bytes, Slots] = {}
        self._subjects: dict[bytes, bytes] = {}
        self.scope = ""
        # By the number of the kind; there is no kind 0.
        self.tests: tuple[Callable[[int, str, int, int], bool], ...] = (
            _never,
            self._attested,
            self._not_attested,
            self._amount_at_least,
            self._amount_below,
            self._sum_at_least,
            self._count_at_least,
            self._listed,
            self._not_listed,
            self._new_counterparty,
            self._approvals_below,
            self._no_travel_hash,
            self._risk_at_least,
            self._risk_missing,
            self._purpose,
        )

    # -- facts

    def subject(self, account: bytes) -> bytes:
        """Return who stands behind an account."""
        found = self._subjects.get(account)
        if found is None:
            found = self._subjects[account] = self._sight.subject_of(account)
        return found

    def party(self, side: int) -> bytes:
        """Return whom a side of a counter means: 32 bytes, an account or a subject."""
        movement = self._movement
        if side == Side.SOURCE:
            return movement.source
        if side == Side.TARGET:
            return movement.target
        return self.subject(movement.source if side == Side.SOURCE_SUBJECT else movement.target)

    def counter(self, asset: str, side: int, window_ms: int) -> tuple[bytes, Slots]:
        """Return the key of a counter and what it has before this payment."""
        key = counter_key(asset, side, window_ms, self.party(side))
        found = self._counted.get(key)
        if found is None:
            found = self._counted[key] = Slots.unpack(self._sight.get(key))
        return key, found

    def level(self, account: bytes, topic: str) -> int:
        """Return the level of a topic that an account is attested, -1 for none."""
        get = self._sight.get
        found: tuple[Attestation, ...] | None = self._known.get(account)
        if found is None:
            found = self._known[account] = attestations_at(get, account)
        highest = level_in(get, found, topic, self._sight.time_ms)
        return -1 if highest is None else highest

    def in_list(self, account: bytes, name: str) -> int:
        """Return 1 for an account that is in a list, or whose subject is; else 0."""
        return int(listed(self._sight.get, name, account, self.subject(account)))

    def score(self, account: bytes, _name: str) -> int:
        """Return the score of risk of an account, -1 for none."""
        place = ("score", account)
        if place not in self._known:
            found = self._sight.score(account)
            self._known[place] = -1 if found is None else found
        return self._known[place]  # type: ignore[no-any-return]

    def _span(self, table: Table, side: int, name: str, ask: Ask) -> tuple[int, int]:
        """Return what "at least" and what "below" are asked of, among whom a side means.

        Of either side it takes one: the highest is at least, the lowest below. Asked once.
        """
        movement = self._movement
        if side == Side.SOURCE:
            low = high = ask(movement.source, name)
        elif side == Side.TARGET:
            low = high = ask(movement.target, name)
        else:
            low, high = sorted((ask(movement.source, name), ask(movement.target, name)))
        span = (high, low) if side == Side.EITHER else (low, high)
        table[side, name] = span
        return span

    def approvers(self, role: str) -> int:
        """Return how many people with a role approved, who are not the initiator."""
        place = ("approvers", role)
        if place not in self._known:
            sight = self._sight
            if "approvals" not in self._known:
                self._known["approvals"] = sight.approvals()
            initiator = self.subject(sight.sender)
            signed = self._known["approvals"]
            people = [self.subject(one) for one in signed if sight.has_role(one, role)]
            self._known[place] = len({one: None for one in people if one != initiator})
        return self._known[place]  # type: ignore[no-any-return]

    def is_new(self) -> bool:
        """Tell whether the source has not paid the target before, as far as is remembered."""
        if "pair" not in self._known:
            movement = self._movement
            key = pair_key(movement.source, movement.target)
            self._known["pair"] = self._sight.get(key) is None
        return self._known["pair"]  # type: ignore[no-any-return]

    # -- conditions

    def _attested(self, side: int, topic: str, least: int, _window: int) -> bool:
        span = self._levels.get((side, topic)) or self._span(self._levels, side, topic, self.level)
        return span[0] >= least

    def _not_attested(self, side: int, topic: str, least: int, _window: int) -> bool:
        span = self._levels.get((side, topic)) or self._span(self._levels, side, topic, self.level)
        return span[1] < least

    def _amount_at_least(self, _side: int, _name: str, limit: int, _window: int) -> bool:
        return self._movement.amount >= limit

    def _amount_below(self, _side: int, _name: str, limit: int, _window: int) -> bool:
        return self._movement.amount < limit

    def _sum_at_least(self, side: int, _name: str, limit: int, window_ms: int) -> bool:
        _, slots = self.counter(self.scope, side, window_ms)
        total, _ = slots.at(self._sight.time_ms, window_ms)
        return total + self._movement.amount >= limit

    def _count_at_least(self, side: int, _name: str, limit: int, window_ms: int) -> bool:
        _, slots = self.counter(self.scope, side, window_ms)
        return slots.at(self._sight.time_ms, window_ms)[1] + 1 >= limit

    def _listed(self, side: int, name: str, _limit: int, _window: int) -> bool:
        span = self._listings.get((side, name)) or self._span(
            self._listings, side, name, self.in_list
        )
        return span[0] >= 1

    def _not_listed(self, side: int, name: str, _limit: int, _window: int) -> bool:
        span = self._listings.get((side, name)) or self._span(
            self._listings, side, name, self.in_list
        )
        return span[1] < 1

    def _new_counterparty(self, _side: int, _name: str, _limit: int, _window: int) -> bool:
        return self.is_new()

    def _approvals_below(self, _side: int, role: str, needed: int, _window: int) -> bool:
        return self.approvers(role) < needed

    def _no_travel_hash(self, _side: int, _name: str, _limit: int, _window: int) -> bool:
        return self._movement.travel_hash is None

    def _risk_at_least(self, side: int, name: str, limit: int, _window: int) -> bool:
        span = self._risks.get((side, name)) or self._span(self._risks, side, name, self.score)
        return span[0] >= limit

    def _risk_missing(self, side: int, name: str, _limit: int, _window: int) -> bool:
        span = self._risks.get((side, name)) or self._span(self._risks, side, name, self.score)
        return span[1] < 0

    def _purpose(self, _side: int, name: str, _limit: int, _window: int) -> bool:
        return self._movement.purpose == name


def pair_key(source: bytes, target: bytes) -> bytes:
    """Return the key that is there while it is remembered that one account paid another."""
    return b"w" + source + target


def _never(_side: int, _name: str, _limit: int, _window: int) -> bool:
    return False


def asked_of(rules: Sequence[Any], facts: Facts, asset: str) -> list[tuple[bool, list[bool]]]:
    """Return of each rule whether it applies by itself, and which of its conditions hold.

    For people: consensus stops at the first that applies.
    """
    facts.scope = asset
    found = []
    for rule in rules:
        holding = [
            facts.tests[kind](side, name, limit, window_ms)
            for kind, side, name, limit, window_ms in rule[_CONDITIONS]
        ]
        found.append((all(holding), holding))
    return found
