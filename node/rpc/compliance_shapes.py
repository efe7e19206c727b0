"""What compliance_*, credential_* and risk_* return: shapes as in `shapes.py`."""

from __future__ import annotations

from typing import Any, Literal

from clawpurse.node.rpc.shapes import ABSENT, AccountText, HashText, HexText, Shape, Verdict
from clawpurse.node.rpc.shapes import TimeText as Time

VerdictName = Literal["allow", "hold", "deny"]


class Condition(Shape):
    """One condition of a rule: what it takes, by name and in words."""

    condition: str
    side: str = ABSENT
    name: str | None = ABSENT
    number: int | str = ABSENT
    window_ms: int = ABSENT
    words: str


class JudgedCondition(Condition):
    """A condition and whether it holds."""

    holds: bool


class Rule(Shape):
    """A rule; the members about holding are those of a rule that holds."""

    rule: str
    verdict: VerdictName
    code: str = ABSENT
    needed: int = ABSENT
    officers: str = ABSENT
    expires_ms: int = ABSENT
    at_expiry: Literal["release", "return"] = ABSENT
    conditions: list[Condition]
    words: str


class JudgedRule(Rule):
    """A rule asked about a payment; those after the one that decides are not reached."""

    conditions: list[JudgedCondition]  # type: ignore[assignment]  # each says more
    applies: bool
    reached: bool
    decides: bool


class PolicyReport(Shape):
    """What one policy says of a payment."""

    policy: str
    version: int
    asset: str | None
    meaning: str
    verdict: VerdictName
    rule: str | None
    words: str
    rules: list[JudgedRule]


class WouldHold(Shape):
    """Who would decide on a hold until when; for a rule of no policy only which it is."""

    rule: str
    needed: int = ABSENT
    officers: str = ABSENT
    expires: Time = ABSENT
    at_expiry: Literal["release", "return"] = ABSENT


class Checked(Shape):
    """What the ledger would say of a payment now."""

    verdict: VerdictName
    code: str
    reason: str | None
    rule: str | None
    words: str
    trace: list[Verdict]
    hold: WouldHold | None
    policies: list[PolicyReport]
    height: int
    time: Time


class TracedPolicy(Shape):
    """The version of a policy that judged."""

    policy: str
    asset: str | None
    version: int
    active_from: Time
    active_height: int | None
    ended_height: int | None
    approved_by: list[AccountText]


class TracedVerdict(Shape):
    """What one rule said then; `policy` is null for a rule of no policy."""

    rule: str
    version: int
    verdict: VerdictName
    words: str | None
    policy: TracedPolicy | None


class ExplainedVote(Shape):
    """Who voted on a hold, and why."""

    voter: AccountText
    release: bool
    reason: str
    height: int
    time: Time


class ExplainedHold(Shape):
    """What became of a hold; what comes with only some of its states is left out in others."""

    hold_id: HashText
    rule: str
    status: Literal["held", "released", "returned", "ended"]
    votes: list[ExplainedVote]
    needed: int = ABSENT
    officers: str | None = ABSENT
    expires: Time = ABSENT
    by: AccountText | None = ABSENT
    height: int = ABSENT
    time: Time = ABSENT


class Explained(Shape):
    """Why a transaction went as it did."""

    tx_id: HashText
    height: int
    index: int
    time: Time
    code: str
    reason: str | None
    sentences: list[str]
    trace: list[TracedVerdict]
    holds: list[ExplainedHold]


class PolicyVersion(Shape):
    """A version of a policy with its rules."""

    policy: str
    version: int
    asset: str | None
    meaning: str
    state: Literal["active", "waiting", "ended", "never"]
    proposal: HashText
    approved_by: list[AccountText]
    approved_height: int
    approved_time: Time
    active_from: Time
    active_height: int | None
    ended_height: int | None
    rules: list[Rule]


class OfficersQuorum(Shape):
    """How many officers decide, and how long their decisions wait."""

    needed: int
    delay_ms: int


class Rules(Shape):
    """Policies; the quorum is null on a network that set none."""

    policies: list[PolicyVersion]
    quorum: OfficersQuorum | None


class PolicyProposal(Shape):
    """A proposed policy."""

    proposal: HashText
    number: int
    policy: str
    asset: str | None
    meaning: str
    delay_ms: int
    status: str
    version: int | None
    by: AccountText
    opened_height: int
    opened_time: Time
    ends: Time
    approved_by: list[AccountText]
    rejected_by: list[AccountText]
    reason: str | None
    cost: int
    rules: list[Rule]


class Ballot(Shape):
    """What officers have begun to agree on; `fields` are those of the action, in its order."""

    digest: HashText
    action: str
    fields: Any
    supported_by: list[AccountText]
    ends: Time


class PolicyProposals(Shape):
    """A page of proposed policies; ballots come with the first one."""

    proposals: list[PolicyProposal]
    ballots: list[Ballot]
    next_cursor: int | None


class NamedList(Shape):
    """A list that policies look into."""

    name: str
    title: str
    officers: int
    version: int
    entries: int


class ListEntry(Shape):
    """An entry, since which version of the list."""

    entry: HashText
    account: AccountText
    since: int


class ListChange(Shape):
    """What one version of a list added or took away."""

    added: bool
    entries: list[HashText]
    by: AccountText
    height: int
    time: Time
    reason: str | None


class Lists(Shape):
    """All lists; or one with its entries (`entries`), or with one change of it."""

    lists: list[NamedList] = ABSENT
    name: str = ABSENT
    title: str = ABSENT
    officers: int = ABSENT
    version: int = ABSENT
    entries: list[ListEntry] | int = ABSENT
    count: int = ABSENT
    change: ListChange = ABSENT
    next_cursor: str | None = ABSENT


class Freeze(Shape):
    """A frozen holder."""

    account: AccountText
    level: str
    height: int
    by: AccountText
    reason: str | None


class Freezes(Shape):
    """A page of frozen holders; `allFrozen`: nobody moves it."""

    asset: str
    all_frozen: bool
    freezes: list[Freeze]
    next_cursor: AccountText | None


class Credential(Shape):
    """What is attested, by whom; only what counts is asked for by rules."""

    topic: str
    issuer: AccountText
    level: int
    status: Literal["issued", "accepted", "revoked"]
    counts: bool
    expires: Time
    subject: HashText
    commitment: HexText
    height: int
    reason: str | None
    by: AccountText | None


class Credentials(Shape):
    """What is attested of an account; `subject` where it stands for somebody else."""

    account: AccountText
    subject: HashText | None
    credentials: list[Credential]
    time: Time


class Attested(Shape):
    """Whether a topic is attested at a level now."""

    account: AccountText
    topic: str
    attested: bool
    level: int | None
    time: Time


class Issuer(Shape):
    """Who attests what."""

    issuer: AccountText
    topics: list[str]
    active: bool
    height: int
    by: AccountText
    reason: str | None


class Issuers(Shape):
    """A page of issuers."""

    issuers: list[Issuer]
    next_cursor: AccountText | None


class RiskReport(Shape):
    """What one oracle signed; `why` says why it counts or not."""

    oracle: AccountText
    score: int
    model: HashText
    features: int
    expires: Time
    height: int
    time: Time
    counts: bool
    why: str


class RiskScore(Shape):
    """The score of an account now; null when too few reports count."""

    account: AccountText
    score: int | None
    counted: int
    needed: int
    oracles: int
    expires: Time | None
    sentence: str
    reports: list[RiskReport]
    height: int
    time: Time


class RiskOracle(Shape):
    """An oracle, since which set of oracles."""

    account: AccountText
    since_set: int


class RiskOracles(Shape):
    """Whose reports count."""

    set: int
    needed: int
    oracles: list[RiskOracle]
