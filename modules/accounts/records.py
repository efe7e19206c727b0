"""The records of the tree `accounts`, and what can be read from them.

p‖id → head of an open proposal · c‖id → its contents · n‖account → proposals made, ever ·
o‖account‖member → proposals that the member has open there · d‖account → how many may pay it ·
xd‖account‖payer, xm‖member‖account, xp‖account‖id → lists for people (`objects`)

Signers, session keys and sponsorships are records of the kernel, which judges signatures by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import account_hash_of, proposal_hash_of
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.kernel.records import INDEX_PREFIX
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.transactions import RawAction

TREE: Final = "accounts"
RECORD_VERSION: Final = 1
# What is listed under an account, one letter each: who may pay it, who pays its fees (kept by
# `sponsorship`), the multisignature accounts of which it is a signer, and open proposals for it.
PAYER: Final = b"d"
SPONSOR: Final = b"f"
MEMBERSHIP: Final = b"m"
PROPOSAL: Final = b"p"
# The value of an entry of a list: that it is there says all.
LISTED: Final = codec.pack([RECORD_VERSION])
_PAGE: Final = 1_000
Get = Callable[[bytes], bytes | None]


def multisig_id(signers: Signers, salt: bytes) -> bytes:
    """Return the id of the account that begins with these signers; no key belongs to it.

    `salt` (32 bytes) tells accounts of the same signers apart.
    """
    wire = [signers.threshold, signers.members, salt]
    return account_hash_of(b"multisig " + codec.pack(wire))


def proposal_id_of(contents: bytes) -> bytes:
    """Return the id of the proposal with these contents, as they are kept."""
    return proposal_hash_of(b"account" + contents)


class Contents(NamedTuple):
    """What a proposal says; never changes. Its hash is the id, so nobody can show another one.

    `number` counts the proposals of the account from 1, so that equal ones have different ids.
    """

    account: bytes
    number: int
    proposer: bytes
    expires_ms: int
    memo: bytes
    actions: tuple[RawAction, ...]

    @property
    def id(self) -> bytes:
        """The proposal's 32-byte id."""
        return proposal_id_of(self.pack())

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Contents:
        """Read a record that we wrote."""
        _, account, number, proposer, expires_ms, memo, wire = _own(data, 1 + len(cls._fields))
        actions = tuple([RawAction(name, fields) for name, fields in wire])
        return cls(account, number, proposer, expires_ms, memo, actions)


class Head(NamedTuple):
    """Where an open proposal stands: who approved, who rejected, each ascending by account.

    `due` is the id of the due work that ends it; `height` is that of the block that opened it.
    """

    account: bytes
    proposer: bytes
    expires_ms: int
    due: bytes
    height: int
    approvals: tuple[bytes, ...]
    rejections: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Head:
        """Read a record that we wrote."""
        _, account, proposer, expires_ms, due, height, yes, no = _own(data, 1 + len(cls._fields))
        return cls(account, proposer, expires_ms, due, height, tuple(yes), tuple(no))


def head_key(proposal_id: bytes) -> bytes:
    """Return the key of an open proposal's head."""
    return b"p" + proposal_id


def contents_key(proposal_id: bytes) -> bytes:
    """Return the key of an open proposal's contents."""
    return b"c" + proposal_id


def made_key(account: bytes) -> bytes:
    """Return the key of how many proposals an account had, ever."""
    return b"n" + account


def open_key(account: bytes, member: bytes) -> bytes:
    """Return the key of how many proposals a member has open for an account; absent when none."""
    return b"o" + account + member


def payers_key(account: bytes) -> bytes:
    """Return the key of how many accounts may pay an account; absent when none."""
    return b"d" + account


def listing(account: bytes, letter: bytes) -> bytes:
    """Return how the keys of one list of an account begin."""
    return INDEX_PREFIX + letter + account


def listed_key(account: bytes, letter: bytes, object_id: bytes) -> bytes:
    """Return the key of an entry of a list of an account."""
    return listing(account, letter) + object_id


def all_listed(reader: StateReader, letter: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (account, id of the object) of all lists of a letter; for full checks only."""
    after = b""
    while page := reader.ordered(TREE, INDEX_PREFIX + letter, _PAGE, after=after):
        for key, _ in page:
            yield key[2:34], key[34:]
        after = page[-1][0]


def head_at(get: Get, proposal_id: bytes) -> Head | None:
    """Return where an open proposal stands, None if there is none of that id (any more)."""
    data = get(head_key(proposal_id))
    return None if data is None else Head.unpack(data)


def contents_at(get: Get, proposal_id: bytes) -> Contents:
    """Return what an open proposal says. Raises `Bug` if it is missing."""
    data = get(contents_key(proposal_id))
    if data is None:
        raise Bug("an open proposal has no contents")
    return Contents.unpack(data)


def count_at(get: Get, key: bytes) -> int:
    """Return a count; 0 when there is no record."""
    data = get(key)
    return 0 if data is None else codec.integer(_own(data, 2)[1], "accounts.count")


def pack(*values: Wire | Sequence[Wire]) -> bytes:
    """Return the bytes of a record."""
    return codec.pack([RECORD_VERSION, *values])


def _own(data: bytes, length: int) -> list[Any]:
    wire = codec.unpack_own(data)
    if len(wire) != length or wire[0] != RECORD_VERSION:
        raise Bug("a record of accounts has another format than this software writes")
    return wire
