"""What consensus_*, node_* and admin_* return beyond the core: shapes as in `shapes.py`."""

from __future__ import annotations

from typing import Any, Literal

from clawpurse.node.rpc.shapes import (
    AmountText,
    AuthorityText,
    HashText,
    HexText,
    JsonObject,
    Shape,
)
from clawpurse.node.rpc.shapes import TimeText as Time


class Watermark(Shape):
    """The newest thing that a key signed: it signs nothing at or below."""

    height: int
    round: int
    kind: int


class KeptWatermark(Watermark):
    """`remembersAll`: whether all that was signed before is known, too."""

    remembers_all: bool


class SignerKey(Shape):
    """An authority key of this node. `outsideFor`: in how many of the newest sets it is missing."""

    authority: AuthorityText
    public_key: HashText
    state: str
    why: str | None
    watermark: KeptWatermark
    signs_from: int
    answers: int
    refusals: int
    outside_for: int


class SignerMetrics(Shape):
    """The authority keys of a node."""

    height: int
    keys: list[SignerKey]


class AdoptedAmendment(Shape):
    """A change of the rules that the network decided."""

    name: str
    activation_height: int
    adopted_height: int
    active: bool
    known: bool


class Amendments(Shape):
    """What was adopted, and what this software knows."""

    height: int
    known: list[str]
    amendments: list[AdoptedAmendment]


class Named(Shape):
    """An authority and what this node's configuration calls it."""

    authority: AuthorityText
    name: str | None


class Standing(Named):
    """How an authority stands, and the height that it was last heard at."""

    standing: str
    last_seen_height: int | None


class MissingAuthority(Standing):
    """Who is waited for, and since when."""

    since_ms: int
    since_time: Time


class Quorum(Shape):
    """How many are there, are needed, and could be."""

    have: int
    need: int
    of: int


class Newest(Shape):
    """The newest final block; its age is null before there is one."""

    height: int
    age_ms: int | None


class SigningState(Shape):
    """Whether this node's key signs, and what keeps it from that."""

    state: str
    why: str | None


class Convicted(Shape):
    """Who signed twice, and at which height."""

    authority: AuthorityText
    height: int


class Explanation(Shape):
    """What the network waits for, in words and in numbers."""

    state: str
    ok: bool
    sentence: str
    also: list[str]
    waiting_for: str | None
    command: str | None
    hint: str | None
    height: int
    round: int
    step: str
    proposer: AuthorityText | None
    round_ms: int | None
    height_ms: int | None
    missing: list[MissingAuthority]
    quorum: Quorum
    authorities: list[Standing]
    newest: Newest
    peers: int
    behind: int
    best: int | None
    blocks_per_second: float
    skew_ms: int | None
    signing: SigningState
    evidence: list[Convicted]


class OpenProposal(Shape):
    """A block that was proposed in the round under way."""

    round: int
    block_id: HashText
    valid_round: int


class NamedVote(Named):
    """Whose vote it is; `blockId` is null for a vote for nothing."""

    block_id: HashText | None


class RoundVotes(Shape):
    """The votes of a round: bitmaps over the sorted set, and by name."""

    round: int
    prevotes: HexText
    precommits: HexText
    polka: HashText | None
    prevotes_by: list[NamedVote]
    precommits_by: list[NamedVote]


class Decided(Shape):
    """What a quorum decided."""

    round: int
    block_id: HashText


class Timer(Shape):
    """A time-out that runs."""

    kind: str
    height: int
    round: int
    left_ms: int


class OwnKey(Shape):
    """A key of this node: what it does and what it signed last."""

    authority: AuthorityText
    state: str
    from_height: int
    answers: int
    refusals: int
    watermark: Watermark


class OwnMessage(Shape):
    """What this node signed at this height."""

    kind: str
    round: int
    block_id: HashText | None


class RefusedBlock(Shape):
    """Why this node voted against what was proposed."""

    round: int
    problem: str


class ConsensusState(Shape):
    """Where agreement on the next block stands."""

    height: int
    round: int
    step: str
    waiting: bool
    round_ms: int | None
    height_ms: int | None
    proposer: AuthorityText | None
    proposals: list[OpenProposal]
    locked_value: HashText | None
    locked_round: int
    valid_value: HashText | None
    valid_round: int
    votes: list[RoundVotes]
    decided: Decided | None
    authorities: list[Named]
    quorum: int
    timers: list[Timer]
    signing: bool
    signer: SigningState
    keys: list[OwnKey]
    own_messages: list[OwnMessage]
    refused: RefusedBlock | None
    signing_refusals: int
    evidence_seen: int


class Statement(Shape):
    """One of two things that a key signed for one position."""

    valid_round: int | None
    block_id: HashText | None
    signature: HexText


class DoubleSigning(Shape):
    """An authority that signed twice; the last four are null while no block records it."""

    authority: AuthorityText
    public_key: HashText
    height: int
    round: int
    kind: str
    first: Statement
    second: Statement
    raw: HexText
    state: Literal["pending", "committed"]
    committed_height: int | None
    number: int | None
    draft: HashText | None
    path: HexText | None


class Evidence(Shape):
    """A page of evidence."""

    evidence: list[DoubleSigning]
    next_cursor: str | None
    alarms: list[str]


class SigningAuthority(Named):
    """How long after the first vote of a step its own usually comes; null where none came."""

    delay_ms: int | None


class SignedBlock(Shape):
    """A letter for each authority: p proposed, s signed, o not in the certificate, - not one."""

    height: int
    round: int
    marks: str


class SigningRecord(Shape):
    """Who proposed and signed the newest blocks, oldest first."""

    authorities: list[SigningAuthority]
    blocks: list[SignedBlock]


class Alert(Shape):
    """What somebody should look at."""

    name: str
    subject: str | None
    severity: str
    since: Time
    summary: str
    meaning: str
    runbook: str
    facts: JsonObject


class Check(Shape):
    """What can fire."""

    name: str
    severity: str
    meaning: str


class Alerts(Shape):
    """What fires now, the critical ones first, and all that can."""

    alerts: list[Alert]
    checks: list[Check]
    time: Time


class TimelinePoint(Shape):
    """One step of the near past; null is what this node did not see: it was not running.

    Spans are null too where nothing became final.
    """

    time: Time
    final: int | None
    failed: int | None
    blocks: int | None
    p50_ms: float | None
    p95_ms: float | None


class Timeline(Shape):
    """How soon payments were final, from this node's acceptance on."""

    step_ms: int
    target_ms: int
    p50_ms: float | None
    p95_ms: float | None
    points: list[TimelinePoint]


class Setting(Shape):
    """A setting; the value is null where it is nobody's business."""

    name: str
    value: Any
    is_default: bool
    is_secret: bool


class Settings(Shape):
    """A node's settings."""

    settings: list[Setting]


class Storage(Shape):
    """Disk and kept blocks; `backup` is null: a node makes none."""

    free_mb: int | None
    min_free_mb: int
    first_height: int
    height: int
    backup: None


class SupplyPart(Shape):
    """Where a supply is, in minor units."""

    balances: AmountText
    holds: AmountText
    escrows: AmountText
    channels: AmountText
    scheduled: AmountText


class SupplyParts(Shape):
    """A supply added up; `why` says why there are no parts."""

    asset: str
    supply: AmountText
    decimals: int
    height: int
    parts: SupplyPart | None
    why: str | None


class AddedPeer(Shape):
    """A peer that is kept from now on; `added` is false where it was listed already."""

    peer: str
    node_id: str
    added: bool
    connected: bool
    peers: list[str]


class RemovedPeer(Shape):
    """A peer that is kept no more; `removed`: it was configured."""

    node_id: str
    removed: bool
    disconnected: bool
    banned_until: Time | None
    peers: list[str]


class LogLevels(Shape):
    """The level of `all`, and of each logger that has one of its own."""

    levels: dict[str, str]


class Reloaded(Shape):
    """Names of settings that changed, and of those that count from the next start on."""

    changed: list[str]
    needs_restart: list[str]


class Stopping(Shape):
    """The node ends."""

    stopping: bool
