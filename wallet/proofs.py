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
events, which name it. Built by nodes (`build_payment_proof`), checked anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX, AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import (
    CERTIFICATE_BYTES_MAX,
    EVENT_BYTES_MAX,
    HEADER_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    Event,
    Header,
    Receipt,
)
from clawpurse.ledger.errors import InvalidCertificate, Malformed
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.ledger.transactions import TX_BYTES_MAX, Body, decode_body, decode_transaction

PROOF_VERSION: Final = 1
# One change a height at most, and a network that changed its authorities daily for ten years
# would have fewer.
CHANGES_MAX: Final = 4_096
# A path in a list of 2^32 entries; longer ones are not paths.
PATH_MAX: Final = 32
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
                path.append(["left" if place & 1 else "right", _hex(level[place ^ 1])])
            place //= 2
        return {"leaf": _hex(self.leaves[index]), "path": path}


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
        "genesis": _hex(genesis),
        "authorityChanges": [
            {
                "header": _hex(change.header),
                "certificate": _hex(change.certificate),
                "nextAuthorities": _hex(change.next_authorities),
            }
            for change in changes
        ],
        "header": _hex(header),
        "certificate": _hex(certificate),
        "index": index,
        "receipt": receipts.leaf(index),
        "events": [events.leaf(place) for place in places],
        "body": _hex(decode_transaction(transaction).body_bytes),
    }


def check_payment_proof(proof: object, genesis_hash: bytes) -> ProvenPayment:
    """Check a proof against a trusted genesis hash and return what it proves.

    Raises `Malformed`, whose field names the first step that does not hold: `proof` (its form),
    `genesis`, `authorityChanges`, `header`, `certificate`, `receipt`, `events`, `index`,
    `body`.
    """
    with _step("proof"):
        members = _object(proof, "proof", _MEMBERS)
        codec.version(members["version"], "proof.version", (PROOF_VERSION,))
    with _step("genesis"):
        genesis = _genesis(members["genesis"], genesis_hash)
    with _step("authorityChanges"):
        authorities = _follow_changes(members["authorityChanges"], genesis)
    with _step("header"):
        header = Header.unpack(_octets(members["header"], "header", HEADER_BYTES_MAX))
        _check_place(header, genesis, authorities)
    with _step("certificate"):
        signers = _check_certificate(header, members["certificate"], authorities)
    with _step("receipt"):
        data, _ = _in_list(members["receipt"], "receipt", RECEIPT_BYTES_MAX, header.receipts_root)
        receipt = Receipt.unpack(data)
    with _step("index"):
        index = codec.integer(members["index"], "index", 0, codec.U32_MAX)
    with _step("events"):
        events = _events(members["events"], receipt, header)
    with _step("index"):
        _check_index(index, events)
    with _step("body"):
        body = _body(members["body"], receipt)
    return ProvenPayment(genesis, header, index, receipt, events, body, signers, len(authorities))


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Name the step in the error, whatever field the inner decoder would have named."""
    try:
        yield
    except Malformed as err:
        inner = err.field.removeprefix(name).lstrip(".")
        raise Malformed(name, f"{inner} {err.problem}".lstrip()) from err
    except InvalidCertificate as err:
        raise Malformed(name, str(err)) from err


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


def _genesis(value: object, genesis_hash: bytes) -> Genesis:
    packed = _octets(value, "genesis", GENESIS_BYTES_MAX)
    found = crypto.genesis_hash_of(packed)
    if found != genesis_hash:
        raise Malformed("genesis", f"has the hash 0x{found.hex()}, not 0x{genesis_hash.hex()}")
    return Genesis.unpack(packed)


def _follow_changes(value: object, genesis: Genesis) -> AuthoritySet:
    """Return the set that decides after all changes, each certified by the set before it."""
    authorities = AuthoritySet(genesis.authorities)
    height = 0
    for item in _list(value, "authorityChanges", CHANGES_MAX):
        members = _object(item, "authorityChanges[]", ("header", "certificate", "nextAuthorities"))
        header = Header.unpack(_octets(members["header"], "authorityChanges", HEADER_BYTES_MAX))
        if header.height <= height:
            raise Malformed("authorityChanges", "are not in ascending order")
        _check_place(header, genesis, authorities)
        _check_certificate(header, members["certificate"], authorities)
        packed = _octets(members["nextAuthorities"], "authorityChanges", AUTHORITIES_BYTES_MAX)
        following = AuthoritySet.unpack(packed)
        if following.hash != header.next_authorities_hash:
            raise Malformed(
                "authorityChanges", f"block {header.height} names another set than is given"
            )
        authorities, height = following, header.height
    return authorities


def _check_place(header: Header, genesis: Genesis, authorities: AuthoritySet) -> None:
    if (header.chain_id, header.genesis_hash) != (genesis.chain_id, genesis.hash):
        raise Malformed("header", "belongs to another network")
    if header.authorities_hash != authorities.hash:
        raise Malformed("header", f"block {header.height} was decided by another set than is known")


def _check_certificate(header: Header, value: object, authorities: AuthoritySet) -> int:
    """Check that a quorum of `authorities` decided this header; return how many signed."""
    packed = _octets(value, "certificate", CERTIFICATE_BYTES_MAX)
    certificate = Certificate.unpack(packed)
    if (certificate.height, certificate.decided_id) != (header.height, header.block_id):
        raise Malformed("certificate", f"is not for block {header.height} with this header")
    domain = Domain(header.chain_id, header.genesis_hash, header.recovery_epoch)
    certificate.verify(domain, authorities, crypto.verify)
    return len(certificate.signatures)


def _events(value: object, receipt: Receipt, header: Header) -> tuple[Event, ...]:
    """Return as many events of the block as the receipt has, in order, none twice."""
    leaves = _list(value, "events", EVENTS_MAX)
    if len(leaves) != receipt.event_count:
        raise Malformed("events", f"are {len(leaves)}, the receipt has {receipt.event_count}")
    found: list[Event] = []
    before = ""
    for item in leaves:
        data, sides = _in_list(item, "events", EVENT_BYTES_MAX, header.events_root)
        # Sides from the root down, left before right, are the order of the leaves.
        place = "".join(reversed(sides))
        if found and place <= before:
            raise Malformed("events", "are not in their order, or one is given twice")
        found.append(Event.unpack(data))
        before = place
    return tuple(found)


def _check_index(index: int, events: tuple[Event, ...]) -> None:
    for event in events:
        if event.transaction != index:
            raise Malformed("index", f"is {index}, an event names {event.transaction}")


def _body(value: object, receipt: Receipt) -> Body:
    packed = _octets(value, "body", TX_BYTES_MAX)
    if crypto.tx_id_of(packed) != receipt.tx_id:
        raise Malformed("body", "is not of the transaction that the receipt names")
    return decode_body(packed)


def _in_list(value: object, field: str, size_max: int, root: bytes) -> tuple[bytes, str]:
    """Check a leaf's path to the root of a list.

    Returns the leaf's bytes and the sides of its siblings, lowest first: `0` for one on the
    right (the leaf is left of it), `1` for one on the left.
    """
    leaf = _object(value, field, ("leaf", "path"))
    data = _octets(leaf["leaf"], field, size_max)
    digest, sides = crypto.list_leaf_hash(data), ""
    for item in _list(leaf["path"], f"{field}.path", PATH_MAX):
        if type(item) is not list or len(item) != 2 or item[0] not in ("left", "right"):
            raise Malformed(f"{field}.path", 'holds something else than ["left"|"right", hash]')
        sibling = codec.digest(_octets(item[1], f"{field}.path", crypto.HASH_BYTES), field)
        is_left = item[0] == "left"
        pair = [sibling, digest] if is_left else [digest, sibling]
        digest = crypto.list_root_of_hashes(pair)
        sides += "1" if is_left else "0"
    if digest != root:
        raise Malformed(field, "is not in the block (its path does not lead to the header)")
    return data, sides


def _object(value: object, field: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise Malformed(field, "is not an object")
    missing = [name for name in names if name not in value]
    if missing:
        raise Malformed(f"{field}.{missing[0]}", "is missing")
    return value


def _list(value: object, field: str, count_max: int) -> list[Any]:
    if type(value) is not list or len(value) > count_max:
        raise Malformed(field, f"is not a list of at most {count_max}")
    return value


def _octets(value: object, field: str, size_max: int) -> bytes:
    if type(value) is not str or not value.startswith("0x") or len(value) > 2 + 2 * size_max:
        raise Malformed(field, f"is not 0x and hex digits of at most {size_max} bytes")
    try:
        octets = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed(field, "is not 0x and hex digits") from None
    if _hex(octets) != value:
        raise Malformed(field, "is not 0x and lower-case hex digits")
    return octets


def _hex(octets: bytes) -> str:
    return "0x" + octets.hex()
