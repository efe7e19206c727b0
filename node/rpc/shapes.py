"""What the core methods return: the shapes that OpenRPC publishes for typed clients.

They describe and never validate at run time: handlers return plain dictionaries. Tests hold
what a node really answers against them. Fields may be added to a shape, so none forbids more.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

JsonObject = dict[str, Any]
"""Members that depend on the kind of what is shown: an action's fields, an event's data."""

_HEX: Final = "^0x([0-9a-f]{2})*$"
AccountText = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^claw1[02-9ac-hj-np-z]{58}$"})
]
AuthorityText = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": "^clawval1[02-9ac-hj-np-z]{58}$"})
]
HashText = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$"})]
HexText = Annotated[str, WithJsonSchema({"type": "string", "pattern": _HEX})]
AmountText = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]*)$"})]
TimeText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


def _absent() -> Any:
    raise AssertionError("a shape describes; nothing is made of it")


class Shape(BaseModel):
    """Base of results: camelCase on the wire, further members allowed."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")


# A member that is there only sometimes; without a default that the schema would show.
ABSENT: Final[Any] = Field(default_factory=_absent)


class ChainStatus(Shape):
    """How far the chain is, as this node knows it."""

    chain_id: str
    genesis_hash: HashText
    height: int
    hash: HashText
    time: TimeText
    time_ms: int
    state_root: HashText
    syncing: bool
    behind: int
    peers: int
    authorities: int
    version: str
    test_network: bool


class Header(Shape):
    """A block's header; `raw` is what its hash is of."""

    version: int
    chain_id: str
    genesis_hash: HashText
    recovery_epoch: int
    height: int
    hash: HashText
    time: TimeText
    time_ms: int
    first_round: int
    proposer: AuthorityText
    parent_hash: HashText
    parent_certificate_hash: HashText
    transactions_root: HashText
    receipts_root: HashText
    events_root: HashText
    evidence_root: HashText
    state_root: HashText
    authorities_hash: HashText
    next_authorities_hash: HashText
    params_hash: HashText
    cost_used: int
    raw: HexText


class Certificate(Shape):
    """Who decided a block: `signers` is a bitmap over the sorted set of authorities."""

    height: int
    round: int
    block_id: HashText
    signers: HexText
    signatures: list[HexText]
    raw: HexText


class Authorities(Shape):
    """A set of authorities, in the order in which bitmaps name them."""

    hash: HashText
    authorities: list[AuthorityText]
    raw: HexText


class Action(Shape):
    """One action; where this node does not know its name `fields` is null, and `raw` has them."""

    name: str
    fields: JsonObject | None
    raw: list[Any] = ABSENT


class Witness(Shape):
    """One signature of a transaction."""

    role: str
    account: AccountText
    public_key: HashText
    signature: HexText


class Event(Shape):
    """Something that happened in a block; `transaction` is null for what no one sent."""

    kind: str
    transaction: int | None
    accounts: list[AccountText]
    data: JsonObject


class Verdict(Shape):
    """What one rule said of a transaction."""

    rule: str
    version: int
    verdict: Literal["allow", "hold", "deny"]


class Receipt(Shape):
    """What became of a transaction; `reason` and `rule` are null when it succeeded."""

    tx_id: HashText
    height: int
    index: int
    code: str
    reason: str | None
    rule: str | None
    fee: AmountText
    cost: int
    events: list[Event]
    trace: list[Verdict]
    time: TimeText


class ProvenReceipt(Receipt):
    """A receipt and, where asked for, the proof that anybody can check offline."""

    proof: PaymentProof = ABSENT


class Body(Shape):
    """What is signed of a transaction."""

    chain_id: str
    genesis_hash: HashText
    sender: AccountText
    lane: int
    sequence: int
    attempt: int
    valid_until: TimeText
    valid_until_ms: int
    height_max: int | None
    fee: AmountText
    payer: AccountText | None
    actions: list[Action]
    memo: HexText
    memo_text: str | None
    idempotency_key: HexText | None


class Transaction(Body):
    """A signed transaction."""

    tx_id: HashText
    wtx_id: HashText
    witness: list[Witness]
    raw: HexText


class FinalTransaction(Transaction):
    """A transaction and what became of it; place and receipt once it is final."""

    status: str
    height: int = ABSENT
    index: int = ABSENT
    receipt: Receipt = ABSENT


class Words(Shape):
    """One line of what a transaction means."""

    label: str
    text: str


class DecodedTransaction(Body):
    """A transaction or body that was given; what only a signed one has may be absent."""

    signed: bool
    words: list[Words]
    tx_id: HashText = ABSENT
    wtx_id: HashText = ABSENT
    witness: list[Witness] = ABSENT
    raw: HexText = ABSENT


class SimulatedReceipt(Shape):
    """The receipt that a transaction would get now."""

    tx_id: HashText
    code: str
    reason: str | None
    rule: str | None
    fee: AmountText
    fee_min: AmountText
    cost: int
    events: list[Event]
    trace: list[Verdict]


class Fate(Shape):
    """What became of a transaction so far; place and receipt once it is final.

    `replacedBy` is the one that took its sequence; null where that is not known any more.
    """

    tx_id: HashText | None
    status: Literal["pending", "final", "expired", "replaced", "unknown"]
    replaced_by: HashText | None = ABSENT
    height: int = ABSENT
    index: int = ABSENT
    receipt: Receipt = ABSENT


class Submitted(Shape):
    """An answer to a submission; with `wait: final` also place and receipt."""

    tx_id: HashText
    status: Literal["accepted", "final", "pending", "expired", "replaced"]
    duplicate: bool
    replaced_by: HashText | None = ABSENT
    height: int = ABSENT
    index: int = ABSENT
    receipt: Receipt = ABSENT


class CallError(Shape):
    """An error object, as JSON-RPC has it."""

    code: int
    message: str
    data: JsonObject


class BatchEntry(Shape):
    """One transaction of a batch: taken, or why not."""

    tx_id: HashText = ABSENT
    status: str = ABSENT
    duplicate: bool = ABSENT
    error: CallError = ABSENT


class SubmittedBatch(Shape):
    """One entry per transaction, in their order."""

    results: list[BatchEntry]


class Block(Shape):
    """A final block; `transactions` are ids or whole."""

    header: Header
    transactions: list[HashText | Transaction]
    evidence: list[JsonObject]
    certificate: Certificate
    receipts_root: HashText


class LightBlock(Shape):
    """A header with who decided it and who decides the next."""

    header: Header
    certificate: Certificate
    authorities: Authorities
    next_authorities: Authorities


class AuthorityStep(Shape):
    """A decided header after which another set decides."""

    header: HexText
    certificate: HexText
    next_authorities: HexText


class Leaf(Shape):
    """A leaf of a list and its path: which side each sibling stands on, and its hash."""

    leaf: HexText
    path: list[tuple[Literal["left", "right"], HashText]]


class PaymentProof(Shape):
    """Proof of a receipt, from the genesis hash alone."""

    version: int
    genesis: HexText
    authority_changes: list[AuthorityStep]
    header: HexText
    certificate: HexText
    index: int
    receipt: Leaf
    events: list[Leaf]
    body: HexText


class ProvenValue(Shape):
    """A value, or that there is none, with its path to the state root."""

    module: str
    key: HexText
    value: HexText | None
    proof: HexText


class ProvenValues(Shape):
    """A decided header and values of the state after it."""

    header: HexText
    certificate: HexText
    values: list[ProvenValue]


class StateBundle(Shape):
    """Proof of values of the state, from the genesis hash alone."""

    version: int
    kind: Literal["state", "account", "balances", "statement"]
    genesis: HexText
    authority_changes: list[AuthorityStep]
    blocks: list[ProvenValues]


class StateProof(Shape):
    """A value of the state, or that there is none, provable offline."""

    module: str
    key: HexText
    value: HexText | None
    proof: HexText
    header: Header
    certificate: Certificate
    bundle: StateBundle = ABSENT


class GenesisBytes(Shape):
    """The genesis, as people read it and as it is hashed."""

    genesis_hash: HashText
    # The model's own method has that name.
    json_text: str = Field(alias="json")
    raw: HexText


class Lane(Shape):
    """A lane that was used."""

    lane: int
    next_sequence: int


class Quota(Shape):
    """What an account may still do in this window."""

    window: int
    used: int
    max: int
    window_ms: int


class Account(Shape):
    """An account that is open."""

    account: AccountText
    key: HashText | None
    multisig: bool
    deposit_auth: bool
    lanes: list[Lane]
    quota: Quota
    idempotency_keys: int
    scheduled: int
    height: int
    proof: StateBundle = ABSENT


class Balance(Shape):
    """What an account has of one asset, in minor units; `held` is part of no payment's reach."""

    asset: str
    amount: AmountText
    held: AmountText
    decimals: int


class AccountBalances(Shape):
    """Balances after the block of `height`."""

    account: AccountText
    balances: list[Balance]
    height: int
    proof: StateBundle = ABSENT


class AccountSequence(Shape):
    """The next sequence of a lane."""

    account: AccountText
    lane: int
    sequence: int
    final_sequence: int
    open: bool


class AccountTransactions(Shape):
    """A page of an account's history."""

    account: AccountText
    transactions: list[FinalTransaction]
    next_cursor: str | None


class AccountObject(Shape):
    """Something that an account has to do with."""

    module: str
    kind: str
    id: str
    account: AccountText = ABSENT


class AccountObjects(Shape):
    """A page of them."""

    account: AccountText
    objects: list[AccountObject]
    next_cursor: str | None


class StatementBalance(Shape):
    """One asset over a range of blocks: before the first, after the last."""

    asset: str
    decimals: int
    opening: AmountText
    opening_held: AmountText
    closing: AmountText
    closing_held: AmountText


class AccountStatement(Shape):
    """Balances at both ends, and a page of what stood between them."""

    account: AccountText
    from_height: int
    to_height: int
    balances: list[StatementBalance]
    entries: list[FinalTransaction]
    next_cursor: str | None
    proof: StateBundle = ABSENT


class Asset(Shape):
    """An asset as lists show it."""

    asset: str
    decimals: int
    title: str
    supply: AmountText
    issuer: AccountText | None
    flags: list[str]
    cap: AmountText | None
    frozen: bool
    issued: bool
    metadata: str
    metadata_hash: HashText | None


class Duty(Shape):
    """Who has a duty for an issuer."""

    duty: str
    accounts: list[AccountText]


class AssetDetails(Asset):
    """An asset with who acts for its issuer and what backs it."""

    agents: list[Duty]
    reserve: JsonObject | None


class AssetList(Shape):
    """A page of assets."""

    assets: list[Asset]
    next_cursor: str | None


class AssetSupply(Shape):
    """What exists of an asset after the block of `height`."""

    asset: str
    supply: AmountText
    decimals: int
    height: int


class Holder(Shape):
    """Who has some of an asset, or is authorised or frozen."""

    account: AccountText
    amount: AmountText
    held: AmountText
    freeze: str
    authorisation: str | bool | None
    frozen_by: JsonObject | None


class AssetHolders(Shape):
    """A page of holders."""

    asset: str
    decimals: int
    holders: list[Holder]
    next_cursor: str | None


class AssetHolding(Holder):
    """One holder after the block of `height`."""

    asset: str
    decimals: int
    height: int


class MempoolStatus(Shape):
    """How full the pool is."""

    transactions: int
    bytes: int
    ready: int
    gaps: int
    senders: int
    transactions_max: int
    bytes_max: int
    evicted: int
    oldest_ms: int | None


class MempoolTransactions(Shape):
    """A page of the pool."""

    transactions: list[JsonObject]
    next_cursor: str | None


class Ban(Shape):
    """A ban in force."""

    subject: str
    reason: str
    until: TimeText


class NetworkPeers(Shape):
    """Where a node stands in the network; what is known of each peer."""

    node_id: str
    listen: str
    peers: list[JsonObject]
    bans: list[Ban]


class NodeHealth(Shape):
    """Whether a node can be relied on, and what stands against it."""

    ready: bool
    problems: list[str]
    alarms: list[str | JsonObject]
    height: int
    behind: int
    peers: int


class Module(Shape):
    """A module and its version."""

    name: str
    version: int


class NodeInfo(Shape):
    """What a node is."""

    name: str
    node_id: str
    listen: str
    authority: AuthorityText | None
    is_authority: bool
    signing: bool
    chain_id: str
    genesis_hash: HashText
    modules: list[Module]
    rpc: str
    metrics: str
    started_at: TimeText
    version: str


class ModuleKind(Shape):
    """Records of one kind: how many in each state, and how many promises ran out, ever."""

    name: str
    states: dict[str, int]
    missed: int


class RunningModule(Shape):
    """A service in a node's process. `url` is where it answers; none while it does not."""

    name: str
    title: str
    url: str | None
    problem: str | None
    kinds: list[ModuleKind]


class NodeModules(Shape):
    """The services in a node's process."""

    modules: list[RunningModule]


class NodeVersion(Shape):
    """The version of software and protocol."""

    version: str
    protocol: int


class FaucetPayment(Shape):
    """A payment of test money on its way."""

    tx_id: HashText
    asset: str
    amount: AmountText


class NextAuthorities(Shape):
    """Who decides the next block."""

    height: int
    hash: HashText
    quorum: int
    authorities: list[AuthorityText]


class NamedAuthority(Shape):
    """An authority of the set in force."""

    authority: AuthorityText
    public_key: HashText
    name: str | None
    in_newest_certificate: bool


class ConsensusAuthorities(Shape):
    """The sets of now and next."""

    height: int
    hash: HashText
    quorum: int
    authorities: list[NamedAuthority]
    next: NextAuthorities
    change: JsonObject | None
