"""Audit bundles: many transactions with what proves them, checked from the genesis hash alone.

A bundle is one JSON object (docs/protocol.md §13):

    format, version   `clawpurse-audit`, 1
    scope             what was asked for: accounts, an asset, a range of blocks, or ids
    genesis           bytes that hash to the genesis hash that the auditor trusts
    blocks            ascending; each header and certificate stands once

A block carries what the story needs of it: transactions in their signed form with receipt and
events, events of due work, values of state after it, and the set of authorities that decides
from the next block on, where that changes. Each part has its path to the header, or the block
is *whole*: every transaction, receipt, event and piece of evidence is there and no path needed.

Blocks are checked one by one, so that the chain of authorities is followed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX, AuthoritySet
from clawpurse.ledger.blocks import (
    BLOCK_TRANSACTIONS_MAX,
    EVENT_BYTES_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_MAX,
    HEADER_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    Event,
    Header,
    Receipt,
)
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.params import asset_name
from clawpurse.ledger.statetree.state_proof import STATE_PROOF_BYTES_MAX, verify_state_proof
from clawpurse.ledger.transactions import (
    TX_BYTES_MAX,
    Role,
    Transaction,
    decode_transaction,
    signing_hash,
)
from clawpurse.wallet.proof_steps import (
    bounded_list,
    check_certificate,
    check_genesis,
    check_place,
    exact_members,
    leaf_in_list,
    octets,
    place_fits,
    sides_in_list,
    step,
)
from clawpurse.wallet.proofs import EVENTS_MAX, check_event_index, check_events

BUNDLE_FORMAT: Final = "clawpurse-audit"
BUNDLE_VERSION: Final = 1
# As JSON in memory it takes several times its size; longer stories are several bundles.
BUNDLE_BYTES_MAX: Final = 128_000_000
# A block with nothing but header and certificate takes two kilobytes at least.
BLOCKS_MAX: Final = 65_536
ACCOUNTS_MAX: Final = 64
IDS_MAX: Final = 10_000
STATE_MAX: Final = 4_096
# What a module's key and value may take; no record of today is near it.
STATE_KEY_BYTES_MAX: Final = 256
STATE_VALUE_BYTES_MAX: Final = 1_000_000
# Events that are nobody's transaction stand before all others of their block.
DUE_EVENTS_MAX: Final = 65_536

SCOPE_KINDS: Final = ("accounts", "asset", "heights", "transactions")
_BUNDLE: Final = ("format", "version", "scope", "genesis", "blocks")
_BLOCK: Final = (
    "header",
    "certificate",
    "nextAuthorities",
    "whole",
    "due",
    "transactions",
    "evidence",
    "state",
)
_TRANSACTION: Final = ("signed", "path", "receipt", "events")
_STATE: Final = ("module", "key", "value", "proof")


class Scope(NamedTuple):
    """What a bundle says that it is about: one of the kinds; the others are empty."""

    kind: str
    accounts: tuple[bytes, ...] = ()
    asset: str = ""
    heights: tuple[int, int] = (0, 0)
    ids: tuple[bytes, ...] = ()


class ProvenTransaction(NamedTuple):
    """A transaction that is in a block, and what came of it.

    `place` is its index there, None where nothing in the bundle shows it.
    """

    place: int | None
    transaction: Transaction
    receipt: Receipt
    events: tuple[Event, ...]


class ProvenState(NamedTuple):
    """That a key of a module's tree had a value (None: none) after a block."""

    height: int
    module: str
    key: bytes
    value: bytes | None


class ProvenBlock(NamedTuple):
    """A decided block and what of it the bundle shows. `whole`: all of it."""

    header: Header
    signers: int
    authorities: int
    whole: bool
    due: tuple[Event, ...]
    transactions: tuple[ProvenTransaction, ...]
    evidence: int
    state: tuple[ProvenState, ...]


@dataclass(frozen=True)
class Story:
    """Everything that a bundle proves."""

    genesis: Genesis
    scope: Scope
    blocks: tuple[ProvenBlock, ...]

    @property
    def transactions(self) -> list[tuple[Header, ProvenTransaction]]:
        """All transactions with the headers of their blocks, in order."""
        return [(block.header, one) for block in self.blocks for one in block.transactions]

    @property
    def state(self) -> list[ProvenState]:
        """All proven values of state, by height."""
        return [one for block in self.blocks for one in block.state]


def check_bundle(
    document: object,
    genesis_hash: bytes,
    asset_of: Callable[[Event], str | None],
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Story:
    """Check a bundle against a trusted genesis hash and return what it proves.

    `asset_of` tells which asset an event is about; `progress` is told (blocks done, blocks).
    Raises `Malformed`, whose field names the first step that does not hold: `bundle` (its form),
    `genesis`, `scope`, or `block N` with N the height (or the place, before that is known).
    """
    with step("bundle"):
        given = exact_members(document, "bundle", _BUNDLE)
        if given["format"] != BUNDLE_FORMAT:
            raise Malformed("format", f"is not {BUNDLE_FORMAT}")
        codec.version(given["version"], "version", (BUNDLE_VERSION,))
        packed = bounded_list(given["blocks"], "blocks", BLOCKS_MAX)
    with step("genesis"):
        genesis = check_genesis(given["genesis"], genesis_hash)
    with step("scope"):
        scope = _scope(given["scope"])
    authorities, blocks = AuthoritySet(genesis.authorities), list[ProvenBlock]()
    for place, value in enumerate(packed):
        with step(_block_name(value, place)):
            block, authorities = _check_block(value, genesis, authorities)
            _check_order(block, blocks, scope)
        blocks.append(block)
        progress(place + 1, len(packed))
    story = Story(genesis, scope, tuple(blocks))
    with step("scope"):
        _check_scope(story, asset_of)
    return story


def scope_json(scope: Scope, account_text: Callable[[bytes], str]) -> dict[str, Any]:
    """Return a scope as it stands in a bundle."""
    match scope.kind:
        case "accounts":
            return {"accounts": [account_text(account) for account in scope.accounts]}
        case "asset":
            return {"asset": scope.asset}
        case "heights":
            return {"heights": list(scope.heights)}
        case _:
            return {"transactions": ["0x" + tx_id.hex() for tx_id in scope.ids]}


def touches(one: ProvenTransaction, account: bytes) -> bool:
    """Tell whether an account sent a transaction, paid or signed for it, or is in its events."""
    body = one.transaction.body
    return (
        account in (body.sender, body.payer)
        or any(entry.account == account for entry in one.transaction.witness)
        or any(account in event.accounts for event in one.events)
    )


# -- blocks


def _block_name(value: object, place: int) -> str:
    """Name a block for errors: by its height once that can be read."""
    try:
        given = exact_members(value, "block", _BLOCK)
        return f"block {Header.unpack(octets(given['header'], 'header', HEADER_BYTES_MAX)).height}"
    except Malformed:
        return f"block at place {place}"


def _check_block(
    value: object, genesis: Genesis, authorities: AuthoritySet
) -> tuple[ProvenBlock, AuthoritySet]:
    """Return a block that `authorities` decided, and who decides from the next one on."""
    given = exact_members(value, "block", _BLOCK)
    header = Header.unpack(octets(given["header"], "header", HEADER_BYTES_MAX))
    check_place(header, genesis, authorities)
    signers = check_certificate(header, given["certificate"], authorities)
    following = _next_authorities(given["nextAuthorities"], header)
    whole = given["whole"]
    if type(whole) is not bool:
        raise Malformed("whole", "is not true or false")
    contents = _whole_contents(given, header) if whole else _parts(given, header)
    due, transactions, evidence = contents
    for one in transactions:
        _check_transaction(one, genesis)
    state = tuple(
        _state_value(item, header) for item in bounded_list(given["state"], "state", STATE_MAX)
    )
    block = ProvenBlock(
        header, signers, len(authorities), whole, due, transactions, evidence, state
    )
    return block, following or authorities


def _next_authorities(value: object, header: Header) -> AuthoritySet | None:
    if header.next_authorities_hash == header.authorities_hash:
        if value is not None:
            raise Malformed("nextAuthorities", "are given where they do not change")
        return None
    following = AuthoritySet.unpack(octets(value, "nextAuthorities", AUTHORITIES_BYTES_MAX))
    if following.hash != header.next_authorities_hash:
        raise Malformed("nextAuthorities", "are another set than the header names")
    return following


Contents = tuple[tuple[Event, ...], tuple[ProvenTransaction, ...], int]


def _whole_contents(given: Mapping[str, Any], header: Header) -> Contents:
    """Return all that is in a block, its four lists hashed anew."""
    raws: list[bytes] = []
    receipts: list[bytes] = []
    events: list[bytes] = []

    def event(item: object) -> Event:
        events.append(octets(item, "event", EVENT_BYTES_MAX))
        return Event.unpack(events[-1])

    due = tuple(event(item) for item in bounded_list(given["due"], "due", DUE_EVENTS_MAX))
    if any(one.transaction is not None for one in due):
        raise Malformed("due", "holds an event of a transaction")
    found: list[ProvenTransaction] = []
    listed = bounded_list(given["transactions"], "transactions", BLOCK_TRANSACTIONS_MAX)
    for index, item in enumerate(listed):
        parts = exact_members(item, "transactions[]", _TRANSACTION)
        if parts["path"] is not None:
            raise Malformed("path", "stands in a whole block, which needs none")
        raws.append(octets(parts["signed"], "signed", TX_BYTES_MAX))
        receipts.append(octets(parts["receipt"], "receipt", RECEIPT_BYTES_MAX))
        receipt = Receipt.unpack(receipts[-1])
        if receipt.first_event != len(events):
            raise Malformed("receipt", f"{index} names other events than stand there")
        mine = tuple(event(one) for one in bounded_list(parts["events"], "events", EVENTS_MAX))
        if len(mine) != receipt.event_count:
            raise Malformed("events", f"are {len(mine)}, the receipt has {receipt.event_count}")
        check_event_index(index, mine)
        found.append(ProvenTransaction(index, decode_transaction(raws[-1]), receipt, mine))
    evidence = [
        octets(item, "evidence", EVIDENCE_BYTES_MAX)
        for item in bounded_list(given["evidence"], "evidence", EVIDENCE_MAX)
    ]
    ids = [one.transaction.wtx_id for one in found]
    for name, leaves, root in (
        ("transactions", ids, header.transactions_root),
        ("receipts", receipts, header.receipts_root),
        ("events", events, header.events_root),
        ("evidence", evidence, header.evidence_root),
    ):
        if crypto.list_root(leaves) != root:
            raise Malformed(name, "are not exactly those that the header commits to")
    return due, tuple(found), len(evidence)


def _parts(given: Mapping[str, Any], header: Header) -> Contents:
    """Return what of a block is given, each part led to the header by its path."""
    if bounded_list(given["evidence"], "evidence", EVIDENCE_MAX):
        raise Malformed("evidence", "stands in a block that is not whole")
    due: list[Event] = []
    before = ""
    for item in bounded_list(given["due"], "due", DUE_EVENTS_MAX):
        data, sides = leaf_in_list(_leaf(item, "due"), "due", EVENT_BYTES_MAX, header.events_root)
        before = _later(before, sides, "due", first=not due)
        due.append(Event.unpack(data))
        if due[-1].transaction is not None:
            raise Malformed("due", "holds an event of a transaction")
    found: list[ProvenTransaction] = []
    before = ""
    for item in bounded_list(given["transactions"], "transactions", BLOCK_TRANSACTIONS_MAX):
        one, sides = _part(item, header)
        before = _later(before, sides, "transactions", first=not found)
        found.append(one)
    return tuple(due), tuple(found), 0


def _part(item: object, header: Header) -> tuple[ProvenTransaction, str]:
    """Return one transaction with what came of it, and the sides of its place."""
    parts = exact_members(item, "transactions[]", _TRANSACTION)
    transaction = decode_transaction(octets(parts["signed"], "signed", TX_BYTES_MAX))
    with step("path"):
        sides = sides_in_list(transaction.wtx_id, parts["path"], "", header.transactions_root)
    with step("receipt"):
        data, other = leaf_in_list(
            _leaf(parts["receipt"], ""), "", RECEIPT_BYTES_MAX, header.receipts_root
        )
        receipt = Receipt.unpack(data)
    # Both lists have one entry a transaction: the same place has the same sides.
    if sides != other:
        raise Malformed("receipt", "stands at another place than its transaction")
    with step("events"):
        leaves = [_leaf(one, "") for one in bounded_list(parts["events"], "", EVENTS_MAX)]
        events = check_events(leaves, receipt, header)
    index = events[0].transaction if events else None
    if events:
        if index is None or not place_fits(index, sides):
            raise Malformed("events", "are of another transaction")
        check_event_index(index, events)
    return ProvenTransaction(index, transaction, receipt, events), sides


def _later(before: str, sides: str, name: str, *, first: bool) -> str:
    """Return the place of a leaf, from the root down; refused unless it is after `before`."""
    place = sides[::-1]
    if not first and place <= before:
        raise Malformed(name, "are not in their order, or one is given twice")
    return place


def _check_transaction(one: ProvenTransaction, genesis: Genesis) -> None:
    """Check what a transaction says of itself: its receipt, its network, its signatures."""
    transaction = one.transaction
    body = transaction.body
    if one.receipt.tx_id != transaction.tx_id:
        raise Malformed("receipt", "is of another transaction")
    if (body.chain_id, body.genesis_hash) != (genesis.chain_id, genesis.hash):
        raise Malformed("signed", "is for another network")
    for entry in transaction.witness:
        role = Role(entry.role)
        message = signing_hash(body.genesis_hash, role, entry.account, transaction.body_bytes)
        if not crypto.verify(entry.public_key, message, entry.signature):
            raise Malformed("signed", "has a signature that is not its key's")


def _state_value(item: object, header: Header) -> ProvenState:
    parts = exact_members(item, "state[]", _STATE)
    module = codec.ascii_text(parts["module"], "state.module", 32, 1)
    key = octets(parts["key"], "state.key", STATE_KEY_BYTES_MAX)
    value = parts["value"]
    if value is not None:
        value = octets(value, "state.value", STATE_VALUE_BYTES_MAX)
    proof = octets(parts["proof"], "state.proof", STATE_PROOF_BYTES_MAX)
    if not verify_state_proof(header.state_root, module, key, value, proof):
        raise Malformed("state", f"does not prove that value of {module} 0x{key.hex()}")
    return ProvenState(header.height, module, key, value)


def _check_order(block: ProvenBlock, before: list[ProvenBlock], scope: Scope) -> None:
    """Check that a block comes after the one before; in a range of heights, directly after."""
    header = block.header
    if not before:
        return
    last = before[-1].header
    if header.height <= last.height or header.time_ms <= last.time_ms:
        raise Malformed("header", f"is not after block {last.height}")
    if header.height == last.height + 1 and header.parent_id != last.block_id:
        raise Malformed("header", f"names another parent than block {last.height}")


# -- scope


def _scope(value: object) -> Scope:
    if type(value) is not dict or len(value) != 1:
        raise Malformed("scope", f"is not one of {', '.join(SCOPE_KINDS)}")
    ((kind, about),) = value.items()
    match kind:
        case "accounts":
            listed = bounded_list(about, "accounts", ACCOUNTS_MAX)
            if not all(type(item) is str for item in listed):
                raise Malformed("accounts", "are not texts")
            accounts = tuple(account_from_text(item) for item in listed)
            _ascending(accounts, "accounts")
            return Scope("accounts", accounts=accounts)
        case "asset":
            return Scope("asset", asset=asset_name(about, "asset"))
        case "heights":
            ends = [codec.integer(item, "heights", 1) for item in bounded_list(about, "heights", 2)]
            if len(ends) != 2 or ends[0] > ends[1]:
                raise Malformed("heights", "are not [first, last]")
            return Scope("heights", heights=(ends[0], ends[1]))
        case "transactions":
            ids = tuple(
                codec.digest(octets(item, "transactions", crypto.HASH_BYTES), "transactions")
                for item in bounded_list(about, "transactions", IDS_MAX)
            )
            _ascending(ids, "transactions")
            return Scope("transactions", ids=ids)
        case _:
            raise Malformed("scope", f"is not one of {', '.join(SCOPE_KINDS)}")


def _ascending(values: tuple[bytes, ...], name: str) -> None:
    if not values or any(a >= b for a, b in pairwise(values)):
        raise Malformed(name, "are not listed in ascending order")


def _check_scope(story: Story, asset_of: Callable[[Event], str | None]) -> None:
    """Check that the bundle is about what it says: nothing else, and of each something."""
    scope = story.scope
    transactions = [one for _, one in story.transactions]
    due = [event for block in story.blocks for event in block.due]
    match scope.kind:
        case "heights":
            _check_range(story)
        case "transactions":
            if due or {one.transaction.tx_id for one in transactions} != set(scope.ids):
                raise Malformed("transactions", "are not exactly those in the blocks")
        case "asset":
            if not all(any(asset_of(e) == scope.asset for e in one.events) for one in transactions):
                raise Malformed("asset", "is not what every transaction is about")
            if not all(asset_of(event) == scope.asset for event in due):
                raise Malformed("asset", "is not what all due work is about")
            if not transactions and not due:
                raise Malformed("asset", "does not occur")
        case _:
            named = set(scope.accounts)
            for one in transactions:
                if not any(touches(one, account) for account in scope.accounts):
                    raise Malformed("accounts", "take no part in one of the transactions")
            if not all(named.intersection(event.accounts) for event in due):
                raise Malformed("accounts", "are not in all due work")
            for account in scope.accounts:
                shown = (
                    any(touches(one, account) for one in transactions)
                    or any(account in event.accounts for event in due)
                    or any(account in one.key for one in story.state)
                )
                if not shown:
                    raise Malformed("accounts", "are named of which nothing is shown")


def _check_range(story: Story) -> None:
    first, last = story.scope.heights
    inside = [block for block in story.blocks if block.header.height >= first]
    if [block.header.height for block in inside] != list(range(first, first + len(inside))) or len(
        inside
    ) != last - first + 1:
        raise Malformed("heights", f"are not exactly the blocks {first} to {last}")
    if not all(block.whole for block in inside):
        raise Malformed("heights", "hold a block that is not whole")
    if any(block.transactions or block.due for block in story.blocks[: -len(inside)]):
        raise Malformed("heights", f"begin at {first}, a transaction stands before")


def _leaf(value: object, field: str) -> Mapping[str, Any]:
    return exact_members(value, field, ("leaf", "path"))
