"""The records of the tree `risk`, and how a score comes out of them.

o → the set of oracles · x‖account → what oracles report of an account, ascending by oracle

A report is judged when it is read, not removed when its time is over: it counts until it expires,
while its oracle has been in the set without a break since it was made, and while neither somebody
else of the same subject reports higher nor that subject is the one that is judged. So the record
never needs due work, and whoever leaves the set counts no more from the next action on. The next
report of the account drops what can never count again, so that a record has at most one report
for each member of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.records import INDEX_PREFIX

TREE: Final = "risk"
RECORD_VERSION: Final = 1
SET_KEY: Final = b"o"
REPORT_PREFIX: Final = INDEX_PREFIX
# Each is read for each judged side of a payment; a network pays for three to seven.
ORACLES_MAX: Final = 16
SCORE_MAX: Final = 1_000
Get = Callable[[bytes], bytes | None]
SubjectOf = Callable[[bytes], bytes]


class OracleSet(NamedTuple):
    """Whose reports count, and how many it takes.

    `number` counts the sets, from 1; `members` are (account, number of the set since which it
    is in without a break), ascending by account. Before the first set, `needed` is 0: no score.
    """

    number: int
    needed: int
    members: tuple[tuple[bytes, int], ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> OracleSet:
        """Read a record that we wrote."""
        number, needed, members = _own(data, 3)
        return cls(number, needed, tuple([(account, since) for account, since in members]))

    def since(self, account: bytes) -> int | None:
        """Return since which set an account is a member, None if it is none."""
        return next((since for member, since in self.members if member == account), None)


NO_ORACLES: Final = OracleSet(0, 0, ())


class Report(NamedTuple):
    """What one oracle says of an account: 0 (no risk seen) to 1,000.

    `model` is the hash of the model, `features` the version of what it looks at, so that whoever
    has both can compute the score again. `set_number` is the set of oracles when it was made.
    """

    oracle: bytes
    score: int
    model: bytes
    features: int
    expires_ms: int
    height: int
    time_ms: int
    set_number: int


class Weight(IntEnum):
    """Why a report counts or does not."""

    COUNTS = 0
    EXPIRED = 1
    REMOVED = 2
    SAME_SUBJECT = 3
    OWN_SUBJECT = 4

    @property
    def label(self) -> str:
        """The name that users see."""
        return _LABELS[self]


_LABELS: Final = {
    Weight.COUNTS: "counts",
    Weight.EXPIRED: "expired",
    Weight.REMOVED: "removed",
    Weight.SAME_SUBJECT: "sameSubject",
    Weight.OWN_SUBJECT: "ownSubject",
}


class Standing(NamedTuple):
    """What is known of an account: the score (None: too few count), and each report's weight.

    `expires_ms` is when the first report that counts expires: the score is sure to be what it is
    until then, if nobody reports or withdraws.
    """

    score: int | None
    expires_ms: int | None
    counted: int
    needed: int
    reports: tuple[tuple[Report, Weight], ...]


def reports_key(account: bytes) -> bytes:
    """Return the key of what oracles report of an account."""
    return REPORT_PREFIX + account


def oracles_at(get: Get) -> OracleSet:
    """Return the present set of oracles."""
    data = get(SET_KEY)
    return NO_ORACLES if data is None else OracleSet.unpack(data)


def reports_at(get: Get, account: bytes) -> tuple[Report, ...]:
    """Return all reports of an account that are kept, whether or not they count."""
    data = get(reports_key(account))
    return () if data is None else unpack_reports(data)


def pack_reports(reports: Sequence[Report]) -> bytes:
    """Return the bytes of a record of reports."""
    return codec.pack([RECORD_VERSION, reports])


def unpack_reports(data: bytes) -> tuple[Report, ...]:
    """Read a record of reports that we wrote."""
    return tuple([Report(*wire) for wire in _own(data, 1)[0]])


def can_count(report: Report, oracles: OracleSet, time_ms: int) -> Weight:
    """Tell whether a report is in time and its oracle still in the set, whoever it is."""
    return _in_force(report, oracles.since(report.oracle), time_ms)


def _in_force(report: Report, since: int | None, time_ms: int) -> Weight:
    if since is None or report.set_number < since:
        return Weight.REMOVED
    return Weight.EXPIRED if report.expires_ms <= time_ms else Weight.COUNTS


def standing_of(get: Get, subject_of: SubjectOf, account: bytes, time_ms: int) -> Standing:
    """Return the score of an account at a block time (ms UTC) and how it comes about.

    Of oracles that are one subject, the highest report counts: nobody lowers what it said by
    asking itself again. The score is the lower median of the reports that count.
    """
    oracles, reports = oracles_at(get), reports_at(get, account)
    if not reports:
        return Standing(None, None, 0, oracles.needed, ())
    since = dict(oracles.members)
    weights = [_in_force(report, since.get(report.oracle), time_ms) for report in reports]
    subject = subject_of(account)
    highest: dict[bytes, int] = {}
    for place, report in enumerate(reports):
        if weights[place] is not Weight.COUNTS:
            continue
        behind = subject_of(report.oracle)
        if behind == subject:
            weights[place] = Weight.OWN_SUBJECT
            continue
        other = highest.get(behind, place)
        higher, lower = (place, other) if report.score > reports[other].score else (other, place)
        highest[behind] = higher
        if higher != lower:
            weights[lower] = Weight.SAME_SUBJECT
    counting = [reports[place] for place in highest.values()]
    weighed = tuple(zip(reports, weights, strict=True))
    if not counting or len(counting) < oracles.needed:
        return Standing(None, None, len(counting), oracles.needed, weighed)
    scores = sorted([report.score for report in counting])
    expires_ms = min([report.expires_ms for report in counting])
    score = scores[(len(scores) - 1) // 2]
    return Standing(score, expires_ms, len(counting), oracles.needed, weighed)


def _own(data: bytes, length: int) -> list[Any]:
    wire = codec.unpack_own(data)
    if len(wire) != length + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of risk has another format than this software writes")
    return wire[1:]
