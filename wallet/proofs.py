"""Proof of a payment: everything that a stranger needs to check it offline, from the genesis
hash alone.

A chain of commitments, each step checked by hash or by signatures of a quorum:

    genesis bytes      hash to the genesis hash that the checker trusts; name authority set 1
    authority changes  header (signed by a quorum of the set before) → hash of the set after
    header             signed by a quorum of the set that it names as its own
    receipt            leaf of the header's receipts root; names the transaction
    events             leaves of the header's events root, at the places the receipt names
    body               hashes to the transaction id in the receipt (signatures were the
                       authorities' to check: they are no part of the id)

Paths say for each sibling on which side it stands. RFC 6962 roots bind leaves but not the
length of a list, so no length is claimed; the transaction's place in its block is proven by its
events, which name it, and both by the turns that the paths take: without that, another payment's
events could be shown with this one's receipt. Built by nodes (`build_payment_proof`), checked
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX, AuthoritySet
from clawpurse.ledger.blocks import (
    EVENT_BYTES_MAX,
    HEADER_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    Event,
    Header,
    Receipt,
)
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.transactions import TX_BYTES_MAX, Body, decode_body, decode_transaction
from clawpurse.wallet.proof_steps import (
    bounded_list,
    check_certificate,
    check_genesis,
    check_place,
    hexed,
    leaf_in_list,
    members,
    octets,
    place_fits,
    step,
)

PROOF_VERSION: Final = 1
# One change a height at most, and a network that changed its authorities daily for ten years
# would have fewer.
CHANGES_MAX: Final = 4_096
EVENTS_MAX: Final = 4_096
# Hashes between two places where `HashedList.steps` lets its caller do something else.
HASHES_SLICE: Final = 512


class AuthorityChange(NamedTuple):
    """A certified header after which another set decides, and that set's packed keys."""

    header: bytes
    certificate: bytes
    next_authorities: bytes


@dataclass(frozen=True)
class ProvenPayment:
    """What a proof proves. `signers` of `authorities` signed the block; times in ms UTC."""

    genesis: Genesis
    header: Header
    index: int
    receipt: Receipt
    events: tuple[Event, ...]
    body: Body
    signers: int
    authorities: int


class HashedList:
    """A list with the tree over it (RFC 6962), for handing out many paths at little cost each.

    Made whole by `of`, or in slices: exhaust `steps` first.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = leaves
        self._levels: list[list[bytes]] = []

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> Self:
        """Return the list, hashed."""
        made = cls(leaves)
        for _ in made.steps():
            pass
        return made

    def steps(self) -> Iterator[None]:
        """Hash the list, yielding between pieces of about half a millisecond."""
        level: list[bytes] = []
        for number, leaf in enumerate(self.leaves, 1):
            level.append(crypto.list_leaf_hash(leaf))
            if number % HASHES_SLICE == 0:
                yield
        while len(level) > 1:
            self._levels.append(level)
            above: list[bytes] = []
            for place in range(0, len(level) - 1, 2):
                above.append(crypto.list_root_of_hashes(level[place : place + 2]))
                if len(above) % HASHES_SLICE == 0:
                    yield
            if len(level) % 2:
                # A last node without sibling rises unchanged.
                above.append(level[-1])
            level = above

    def leaf(self, index: int) -> dict[str, Any]:
        """Return a leaf and its path, lowest sibling first, as they stand in a proof."""
        path, place = [], index
        for level in self._levels:
            if place ^ 1 < len(level):
                path.append(["left" if place & 1 else "right", hexed(level[place ^ 1])])
            place //= 2
        return {"leaf": hexed(self.leaves[index]), "path": path}


def build_payment_proof(
    *,
    genesis: bytes,
    changes: Sequence[AuthorityChange],
    header: bytes,
    certificate: bytes,
    receipts: Sequence[bytes] | HashedList,
    events: Sequence[bytes] | HashedList,
    index: int,
    transaction: bytes,
) -> dict[str, Any]:
    """Return the proof of the receipt at `index` of a block, as a JSON object.

    All arguments are canonical bytes: the genesis, the changes of authorities up to that block
    (ascending), its header and certificate, all its receipts and events in order, and the
    signed transaction, of which only the body goes into the proof. Whoever proves many receipts
    of one block hands in lists that are hashed already.
    """
    receipts = receipts if isinstance(receipts, HashedList) else HashedList.of(receipts)
    events = events if isinstance(events, HashedList) else HashedList.of(events)
    receipt = Receipt.unpack(receipts.leaves[index])
    places = range(receipt.first_event, receipt.first_event + receipt.event_count)
    return {
        "version": PROOF_VERSION,
        "genesis": hexed(genesis),
        "authorityChanges": changes_json(changes),
        "header": hexed(header),
        "certificate": hexed(certificate),
        "index": index,
        "receipt": receipts.leaf(index),
        "events": [events.leaf(place) for place in places],
        "body": hexed(decode_transaction(transaction).body_bytes),
    }


def changes_json(changes: Sequence[AuthorityChange]) -> list[dict[str, str]]:
    """Return changes of authorities as they stand in every proof."""
    return [
        {
            "header": hexed(change.header),
            "certificate": hexed(change.certificate),
            "nextAuthorities": hexed(change.next_authorities),
        }
        for change in changes
    ]


def check_payment_proof(proof: object, genesis_hash: bytes) -> ProvenPayment:
    """Check a proof against a trusted genesis hash and return what it proves.

    Raises `Malformed`, whose field names the first step that does not hold: `proof` (its form),
    `genesis`, `authorityChanges`, `header`, `certificate`, `receipt`, `events`, `index`,
    `body`.
    """
    with step("proof"):
        given = members(proof, "proof", _MEMBERS)
        codec.version(given["version"], "proof.version", (PROOF_VERSION,))
    with step("genesis"):
        genesis = check_genesis(given["genesis"], genesis_hash)
    with step("authorityChanges"):
        _, authorities = follow_changes(given["authorityChanges"], genesis)[-1]
    with step("header"):
        header = Header.unpack(octets(given["header"], "header", HEADER_BYTES_MAX))
        check_place(header, genesis, authorities)
    with step("certificate"):
        signers = check_certificate(header, given["certificate"], authorities)
    with step("receipt"):
        data, sides = leaf_in_list(
            given["receipt"], "receipt", RECEIPT_BYTES_MAX, header.receipts_root
        )
        receipt = Receipt.unpack(data)
    with step("index"):
        index = codec.integer(given["index"], "index", 0, codec.U32_MAX)
        if not place_fits(index, sides):
            raise Malformed("index", f"is {index}, the receipt stands elsewhere in its block")
    with step("events"):
        events = check_events(given["events"], receipt, header)
    with step("index"):
        check_event_index(index, events)
    with step("body"):
        body = _body(given["body"], receipt)
    return ProvenPayment(genesis, header, index, receipt, events, body, signers, len(authorities))


_MEMBERS: Final = (
    "version",
    "genesis",
    "authorityChanges",
    "header",
    "certificate",
    "index",
    "receipt",
    "events",
    "body",
)


def follow_changes(value: object, genesis: Genesis) -> list[tuple[int, AuthoritySet]]:
    """Return each set with the block after which it decides, each certified by the one before.

    The first is of the genesis, after block 0. Raises `Malformed`.
    """
    authorities = AuthoritySet(genesis.authorities)
    height = 0
    sets = [(height, authorities)]
    for item in bounded_list(value, "authorityChanges", CHANGES_MAX):
        given = members(item, "authorityChanges[]", ("header", "certificate", "nextAuthorities"))
        header = Header.unpack(octets(given["header"], "authorityChanges", HEADER_BYTES_MAX))
        if header.height <= height:
            raise Malformed("authorityChanges", "are not in ascending order")
        check_place(header, genesis, authorities)
        check_certificate(header, given["certificate"], authorities)
        packed = octets(given["nextAuthorities"], "authorityChanges", AUTHORITIES_BYTES_MAX)
        following = AuthoritySet.unpack(packed)
        if following.hash != header.next_authorities_hash:
            raise Malformed(
                "authorityChanges", f"block {header.height} names another set than is given"
            )
        authorities, height = following, header.height
        sets.append((height, authorities))
    return sets


def check_events(value: object, receipt: Receipt, header: Header) -> tuple[Event, ...]:
    """Return the events of the block that the receipt names: at its places, none twice."""
    leaves = bounded_list(value, "events", EVENTS_MAX)
    if len(leaves) != receipt.event_count:
        raise Malformed("events", f"are {len(leaves)}, the receipt has {receipt.event_count}")
    found: list[Event] = []
    before = ""
    for index, item in enumerate(leaves, receipt.first_event):
        data, sides = leaf_in_list(item, "events", EVENT_BYTES_MAX, header.events_root)
        # Sides from the root down, left before right, are the order of the leaves.
        place = "".join(reversed(sides))
        if found and place <= before:
            raise Malformed("events", "are not in their order, or one is given twice")
        if not place_fits(index, sides):
            raise Malformed("events", f"hold another than event {index} of the block")
        found.append(Event.unpack(data))
        before = place
    return tuple(found)


def check_event_index(index: int, events: tuple[Event, ...]) -> None:
    """Check that events are of the transaction with that index in its block."""
    for event in events:
        if event.transaction != index:
            raise Malformed("index", f"is {index}, an event names {event.transaction}")


def _body(value: object, receipt: Receipt) -> Body:
    packed = octets(value, "body", TX_BYTES_MAX)
    if crypto.tx_id_of(packed) != receipt.tx_id:
        raise Malformed("body", "is not of the transaction that the receipt names")
    return decode_body(packed)
