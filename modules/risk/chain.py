"""On-chain half of the module `risk`: who reports, what was reported, which score comes of it.

No model runs here: oracles compute where they like and sign what they found, each in a
transaction of its own. The ledger keeps the newest report of each, counts people, not keys, and
takes the median. What a score means for a payment is said by policies, which ask `risk.score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import own_record, subject_key
from clawpurse.ledger.module_api import KERNEL, Context, Module
from clawpurse.ledger.names import ADMIN_ROLE
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.modules.risk.actions import ACTIONS, REPORT, SET_ORACLES, WITHDRAW
from clawpurse.modules.risk.records import (
    ORACLES_MAX,
    REPORT_PREFIX,
    SCORE_MAX,
    SET_KEY,
    TREE,
    Get,
    OracleSet,
    Report,
    Standing,
    Weight,
    can_count,
    oracles_at,
    pack_reports,
    reports_at,
    reports_key,
    standing_of,
    unpack_reports,
)

# What somebody did a month ago says little of what they do now: a silent oracle falls silent.
VALID_MS_MAX: Final = 30 * DAY_MS
# Records read at once by a full check.
_CHECK_SLICE: Final = 256


# -- actions


def _set_oracles(context: Context, values: Sequence[Any]) -> None:
    """Replace the set. Who stays keeps its reports; who leaves and comes back begins anew."""
    members, needed = values
    if not context.has_role(context.sender, ADMIN_ROLE):
        raise context.refuse("kernel.role", context.sender, ADMIN_ROLE, SET_ORACLES.name)
    for one, other in pairwise(members):
        if one >= other:
            raise context.refuse("risk.order", other)
    people: dict[bytes, bytes] = {}
    for member in members:
        context.key_of(member)  # An oracle that is no account yet is a mistyped one.
        other = people.setdefault(context.subject_of(member), member)
        if other != member:
            raise context.refuse("risk.oneSubject", other, member)
    if not min(1, len(members)) <= needed <= len(members):
        raise context.refuse("risk.needed", needed, len(members))
    before = oracles_at(context.get)
    number = before.number + 1
    since = dict(before.members)
    entered = tuple([(member, since.get(member, number)) for member in members])
    after = OracleSet(number, needed, entered)
    if before[1:] == after[1:]:
        raise context.refuse("risk.unchanged", needed, len(members))
    context.put(SET_KEY, after.pack())
    told = {context.sender: None, **since, **dict.fromkeys(members)}
    context.emit("risk.oraclesSet", tuple(sorted(told)), number, needed, len(members))


def _report(context: Context, values: Sequence[Any]) -> None:
    """Put the sender's report in place of its last one, and drop what can never count again."""
    account, score, model, features, expires_ms = values
    oracle, now_ms = context.sender, context.time_ms
    oracles = oracles_at(context.get)
    if oracles.since(oracle) is None:
        raise context.refuse("risk.notOracle", oracle)
    context.key_of(account)  # A score for what is no account yet is a mistyped one's.
    if context.subject_of(account) == context.subject_of(oracle):
        raise context.refuse("risk.own", oracle, account)
    if not now_ms < expires_ms <= now_ms + VALID_MS_MAX:
        raise context.refuse("risk.expiry", expires_ms, now_ms)
    made = Report(
        oracle, score, model, features, expires_ms, context.height, now_ms, oracles.number
    )
    kept = [
        one
        for one in reports_at(context.get, account)
        if one.oracle != oracle and can_count(one, oracles, now_ms) is Weight.COUNTS
    ]
    context.put(reports_key(account), pack_reports(sorted([*kept, made])))
    context.emit("risk.reported", (account, oracle), score, model, features, expires_ms)


def _withdraw(context: Context, values: Sequence[Any]) -> None:
    account, oracle = values[0], context.sender
    reports = reports_at(context.get, account)
    left = [report for report in reports if report.oracle != oracle]
    if len(left) == len(reports):
        raise context.refuse("risk.noReport", oracle, account)
    if left:
        context.put(reports_key(account), pack_reports(left))
    else:
        context.delete(reports_key(account))
    context.emit("risk.withdrawn", (account, oracle))


# -- queries


def _get_of(reader: StateReader) -> Get:
    return lambda key: reader.get(TREE, key)


def _subject_of(reader: StateReader, account: bytes) -> bytes:
    data = reader.get(KERNEL, subject_key(account))
    return account if data is None else codec.digest(own_record(data, 2)[1], "subject")


def find_standing(reader: StateReader, account: bytes, time_ms: int) -> Standing:
    """Return what is known of an account at a block time (ms UTC), report by report."""
    return standing_of(_get_of(reader), lambda one: _subject_of(reader, one), account, time_ms)


def find_score(reader: StateReader, account: bytes, time_ms: int) -> int | None:
    """Return the score of an account at a block time (ms UTC), None when too few report.

    State has no clock, so whoever asks says when: a hook `context.time_ms`.
    """
    return find_standing(reader, account, time_ms).score


def find_oracles(reader: StateReader) -> OracleSet:
    """Return the present set of oracles."""
    return oracles_at(_get_of(reader))


# -- invariants


def set_holds(reader: StateReader) -> str | None:
    """Check that the set of oracles is one that could have been set."""
    oracles = find_oracles(reader)
    accounts = [account for account, _ in oracles.members]
    if accounts != sorted(set(accounts)) or len(accounts) > ORACLES_MAX:
        return "the oracles are not in order, or too many"
    if not min(1, len(accounts)) <= oracles.needed <= len(accounts):
        return f"{oracles.needed} of {len(accounts)} oracles can never report"
    if not all(1 <= since <= oracles.number for _, since in oracles.members):
        return "an oracle is a member since a set that was not"
    return None


def reports_hold(reader: StateReader) -> str | None:
    """Check that each account's reports are in order, in their bounds, and one an oracle."""
    number, after = find_oracles(reader).number, b""
    while rows := reader.ordered(TREE, REPORT_PREFIX, _CHECK_SLICE, after):
        for key, data in rows:
            reports, whose = unpack_reports(data), f"reports of 0x{key[1:].hex()}"
            oracles = [report.oracle for report in reports]
            if not reports or oracles != sorted(set(oracles)) or len(oracles) > ORACLES_MAX:
                return f"the {whose} are none, too many, or not in order"
            for report in reports:
                if not 0 <= report.score <= SCORE_MAX or not 1 <= report.set_number <= number:
                    return f"one of the {whose} has a score or a set that there is not"
                if not report.time_ms < report.expires_ms <= report.time_ms + VALID_MS_MAX:
                    return f"one of the {whose} counts too long, or never did"
        after = rows[-1][0]
    return None


RULES: Final = {
    "risk.order": Rule(
        Code.MALFORMED, "Oracles are listed ascending by account, each once; not {0:account}."
    ),
    "risk.oneSubject": Rule(
        Code.DUPLICATE, "{0:account} and {1:account} are one subject, and count once."
    ),
    "risk.needed": Rule(Code.MALFORMED, "{0:number} of {1:number} oracles can never make a score."),
    "risk.unchanged": Rule(
        Code.DUPLICATE, "{0:number} of these {1:number} oracles make a score already."
    ),
    "risk.notOracle": Rule(
        Code.NOT_AUTHORISED, "{0:account} is none of this network's oracles of risk."
    ),
    "risk.own": Rule(
        Code.NOT_AUTHORISED, "{0:account} cannot report of {1:account}: they are one subject."
    ),
    "risk.expiry": Rule(
        Code.MALFORMED,
        "A report counts from {1:time}, the block's time, for at most 30 days; not until {0:time}.",
    ),
    "risk.noReport": Rule(
        Code.NOT_FOUND, "Nothing that {0:account} reported of {1:account} is kept."
    ),
}
EVENTS: Final = {
    "risk.oraclesSet": ("set", "needed", "oracles"),
    "risk.reported": ("score", "model", "features", "expires"),
    "risk.withdrawn": (),
}
MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=ACTIONS,
    handlers={
        SET_ORACLES.name: _set_oracles,
        REPORT.name: _report,
        WITHDRAW.name: _withdraw,
    },
    queries={"score": find_score, "standing": find_standing, "oracles": find_oracles},
    invariants=(set_holds, reports_hold),
    rules=RULES,
    events=EVENTS,
)
