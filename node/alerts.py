"""Which alerts fire: facts in, conditions out; and a book that remembers since when.

Pure: no clock, no I/O. An alert is something that somebody should look at, by a name that has a
page in docs/runbooks and a severity. `evaluate` judges one moment; `AlertBook` keeps what began
and what ended, so that nothing flaps: a condition fires once it has lasted `hold_ms`, and ends
once it has been gone for `rest_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import authority_text
from clawpurse.node.explanation import BEHIND_MAX, SKEW_MAX_MS, Explanation, Facts, Standing, State

# A pool is nearly full from here on, and no more once it is below the second share.
POOL_FULL_PERCENT: Final = 80
POOL_WELL_PERCENT: Final = 70
# Disk is low below so many times what stops the node (`care`), and well again above the second.
DISK_LOW_FACTOR: Final = 2
DISK_WELL_FACTOR: Final = 3
# Alerts kept at once; a network has at most a hundred authorities.
ALERTS_MAX: Final = 512


class Severity(StrEnum):
    """How soon somebody should look."""

    #: Soon: what works now may stop.
    WARNING = "warning"
    #: Now: payments wait here, or this node is about to stop.
    CRITICAL = "critical"


class Kind(NamedTuple):
    """What is the same for all alerts of a name."""

    severity: Severity
    hold_ms: int
    rest_ms: int
    meaning: str


def _warning(meaning: str, hold_ms: int = 0, rest_ms: int = 2_000) -> Kind:
    return Kind(Severity.WARNING, hold_ms, rest_ms, meaning)


def _critical(meaning: str, hold_ms: int = 0, rest_ms: int = 2_000) -> Kind:
    return Kind(Severity.CRITICAL, hold_ms, rest_ms, meaning)


# Who is silent has been so for three seconds already (`explanation.SILENT_AFTER_MS`).
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "AuthoritySilent": _warning("nothing is heard of an authority"),
        "AuthorityNotSigning": _warning("an authority is connected, and no vote of it comes"),
        "Stalled": _critical("payments wait: no block can be decided", hold_ms=2_000),
        "Halted": _critical("this node decides nothing more"),
        "RecoveryNeeded": _critical("only the recovery ceremony goes on"),
        "NotSigning": _warning("this node's authority key does not sign", hold_ms=15_000),
        "NodeBehind": _warning("blocks are missing here", hold_ms=10_000),
        "NoPeers": _critical("no peer is connected", hold_ms=5_000),
        "ClockSkew": _warning("this node's clock differs from the others'", hold_ms=5_000),
        "DiskLow": _critical("the disk is nearly full; the node stops before it is"),
        "PoolNearlyFull": _warning("payments come faster than blocks take them"),
        "EvidenceSeen": _warning("an authority signed two different things for one position"),
        "AmendmentUnknown": _critical("a change of the rules comes that this version lacks"),
        "CertificateExpiring": _warning("a TLS certificate of this node ends soon"),
        "WebhookDisabled": _warning("a webhook was switched off after its receiver failed"),
        "WebhooksStopped": _critical("no webhook is delivered any more"),
        "ModuleStopped": _critical("a module in this node's process does not run"),
        "ModulePromiseMissed": _warning("a clock of a module's records ran out lately"),
        "ModuleWaits": _warning("a module cannot ask or send for the moment"),
    }
)


class Condition(NamedTuple):
    """Something that is so at this moment. `subject` tells those of one name apart.

    `summary` says what does not change while it lasts: no ages. `facts` are JSON values.
    """

    name: str
    subject: str
    summary: str
    facts: Mapping[str, Any]


class Alert(NamedTuple):
    """A condition that fires, since when (ms UTC)."""

    condition: Condition
    since_ms: int

    @property
    def kind(self) -> Kind:
        """What is the same for all alerts of its name."""
        return KINDS[self.condition.name]

    @property
    def runbook(self) -> str:
        """The page that says what it means, how to check it, and what mends it."""
        return f"docs/runbooks/{self.condition.name}.md"


@dataclass(frozen=True)
class Checked:
    """The facts of one moment. Disk in MB, None while it was not looked at yet.

    `others` are conditions that other parts of the node found themselves.
    """

    facts: Facts
    found: Explanation
    disk_free_mb: int | None
    disk_needed_mb: int
    pool_transactions: int
    pool_transactions_max: int
    pool_bytes: int
    pool_bytes_max: int
    others: tuple[Condition, ...] = ()


def evaluate(checked: Checked, firing: frozenset[tuple[str, str]]) -> Iterator[Condition]:
    """Yield what is so now. `firing` are (name, subject): some end later than they begin."""
    yield from _authorities(checked)
    yield from _deciding(checked)
    yield from _this_node(checked)
    yield from _room(checked, firing)
    for key, height in checked.facts.double_signs:
        authority = authority_text(key)
        yield Condition(
            "EvidenceSeen",
            authority,
            f"{_name(checked.facts, key)} signed two different things at height {height}.",
            {"authority": authority, "height": height},
        )
    yield from checked.others


def _authorities(checked: Checked) -> Iterator[Condition]:
    """Who does not sign: exactly those of whom the explanation says so."""
    own = {one.key for one in checked.facts.authorities if one.is_self}
    for one in checked.found.missing:
        if one.key in own:
            continue
        authority = authority_text(one.key)
        last = "" if one.height is None else f" Its newest vote was for block {one.height}."
        facts = {"authority": authority, "name": one.name, "lastSeenHeight": one.height}
        if one.standing is Standing.SILENT:
            yield Condition("AuthoritySilent", authority, f"{one.name} is silent.{last}", facts)
        else:
            said = f"{one.name} follows without signing.{last}"
            yield Condition("AuthorityNotSigning", authority, said, facts)


_STALLS: Final = {
    State.NO_QUORUM: "Fewer authorities sign than are needed. Payments wait, nothing is lost.",
    State.ROUNDS: "Round after round fails. Payments wait, nothing is lost.",
    State.OVERDUE: "A block is overdue: payments wait, and no block comes.",
}


def _deciding(checked: Checked) -> Iterator[Condition]:
    found, facts = checked.found, checked.facts
    about = {"height": facts.height, "have": found.have, "need": found.need}
    if facts.halt is not None:
        said = f"Halted at block {facts.height}: {facts.halt}."
        yield Condition("Halted", "", said, {"height": facts.height, "why": facts.halt})
    if found.state is State.CEREMONY:
        said = "The authorities wait for each other: only the recovery ceremony goes on."
        yield Condition("RecoveryNeeded", "", said, about)
    elif found.state in _STALLS:
        yield Condition("Stalled", str(found.state), _STALLS[found.state], about)
    if facts.amendment is not None:
        name, height = facts.amendment
        said = f"Block {height} activates {name}, which this version does not know; the node stops."
        yield Condition("AmendmentUnknown", name, said, {"amendment": name, "height": height})


def _this_node(checked: Checked) -> Iterator[Condition]:
    facts = checked.facts
    if facts.behind > BEHIND_MAX:
        said = "This node lacks blocks that its peers have."
        yield Condition("NodeBehind", "", said, {"behind": facts.behind, "best": facts.best})
    is_authority = any(one.is_self for one in facts.authorities)
    if facts.peers == 0 and len(facts.authorities) > is_authority:
        yield Condition("NoPeers", "", "No peer is connected: nothing new arrives here.", {})
    if facts.signing.why and not facts.signing.passing:
        said = f"This node does not sign: {facts.signing.why}."
        yield Condition("NotSigning", "", said, {"state": facts.signing.kind})
    if facts.skew_ms is not None and abs(facts.skew_ms) > SKEW_MAX_MS:
        way = "behind" if facts.skew_ms < 0 else "ahead of"
        said = f"This node's clock is {way} the others' by more than {SKEW_MAX_MS} ms."
        yield Condition("ClockSkew", "", said, {"skewMs": facts.skew_ms})


def _room(checked: Checked, firing: frozenset[tuple[str, str]]) -> Iterator[Condition]:
    free_mb, needed_mb = checked.disk_free_mb, checked.disk_needed_mb
    factor = DISK_WELL_FACTOR if ("DiskLow", "") in firing else DISK_LOW_FACTOR
    if free_mb is not None and free_mb < factor * needed_mb:
        said = f"The disk is nearly full: below {needed_mb} MB the node stops cleanly."
        yield Condition("DiskLow", "", said, {"freeMb": free_mb, "neededMb": needed_mb})
    percent = POOL_WELL_PERCENT if ("PoolNearlyFull", "") in firing else POOL_FULL_PERCENT
    used = max(
        100 * checked.pool_transactions // checked.pool_transactions_max,
        100 * checked.pool_bytes // checked.pool_bytes_max,
    )
    if used >= percent:
        said = "The mempool is nearly full; at its limit it refuses payments."
        facts = {"transactions": checked.pool_transactions, "bytes": checked.pool_bytes}
        yield Condition("PoolNearlyFull", "", said, facts)


def _name(facts: Facts, key: bytes) -> str:
    for one in facts.authorities:
        if one.key == key:
            return one.name
    return authority_text(key)


class _Entry:
    """One condition in the book. Times in ms UTC of the host's clock."""

    __slots__ = ("began_ms", "condition", "fires", "seen_ms")

    def __init__(self, condition: Condition, now_ms: int) -> None:
        self.condition = condition
        self.began_ms = now_ms
        self.seen_ms = now_ms
        self.fires = False


class AlertBook:
    """What fires, and since when. Told of each moment by `update`."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def update(
        self, conditions: Iterable[Condition], now_ms: int
    ) -> tuple[list[Alert], list[Alert]]:
        """Take in what is so now; return alerts that began to fire, and those that ended."""
        now = {(one.name, one.subject): one for one in conditions}
        begun, ended = [], []
        for key, condition in now.items():
            entry = self._entries.get(key)
            if entry is None:
                if len(self._entries) >= ALERTS_MAX:
                    continue
                entry = self._entries[key] = _Entry(condition, now_ms)
            entry.condition, entry.seen_ms = condition, now_ms
            if not entry.fires and now_ms - entry.began_ms >= KINDS[condition.name].hold_ms:
                entry.fires = True
                begun.append(Alert(condition, entry.began_ms))
        for key in [key for key in self._entries if key not in now]:
            entry = self._entries[key]
            if entry.fires and now_ms - entry.seen_ms < KINDS[key[0]].rest_ms:
                continue
            del self._entries[key]
            if entry.fires:
                ended.append(Alert(entry.condition, entry.began_ms))
        return begun, ended

    @property
    def firing(self) -> list[Alert]:
        """What fires, the critical ones first, then the oldest."""
        found = [Alert(one.condition, one.began_ms) for one in self._entries.values() if one.fires]
        return sorted(
            found,
            key=lambda one: (
                one.kind.severity is not Severity.CRITICAL,
                one.since_ms,
                one.condition.name,
                one.condition.subject,
            ),
        )

    @property
    def keys(self) -> frozenset[tuple[str, str]]:
        """(name, subject) of what fires."""
        return frozenset(key for key, entry in self._entries.items() if entry.fires)
