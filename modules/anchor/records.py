"""The records of the tree `anchor`, and what can be read from them.

d‖sender‖commitment → one anchored document · c‖commitment → how many anchored it ·
xd‖commitment‖number (8) → the account that anchored it as number n, from 0 ·
n‖account → how many documents and logs an account has · xl‖log → a log ·
xo‖account‖name → the log of that name · xp‖log‖proposer → an open proposal to break it ·
xb‖log‖number (4) → a break, for ever

Only a log's newest anchor is state: whoever knows an older one proves it from there, and events
have them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.records import INDEX_PREFIX
from clawpurse.ledger.overlay import StateReader

TREE: Final = "anchor"
RECORD_VERSION: Final = 1
COMMITMENT_PREFIX: Final = INDEX_PREFIX + b"d"
LOG_PREFIX: Final = INDEX_PREFIX + b"l"
OWNER_PREFIX: Final = INDEX_PREFIX + b"o"
PROPOSAL_PREFIX: Final = INDEX_PREFIX + b"p"
BREAK_PREFIX: Final = INDEX_PREFIX + b"b"
COUNT_PREFIX: Final = b"c"
DOCUMENT_PREFIX: Final = b"d"
Get = Callable[[bytes], bytes | None]


class Document(NamedTuple):
    """That a sender anchored a commitment; `number` counts those who did, from 0."""

    kind: str
    height: int
    time_ms: int
    number: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Document:
        """Read a record that we wrote."""
        return cls(*_own(data, 4))


class Owned(NamedTuple):
    """How many documents and logs an account has anchored and opened, ever."""

    documents: int
    logs: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Owned:
        """Read a record that we wrote."""
        return cls(*_own(data, 2))


class Log(NamedTuple):
    """A log: who writes it, and what is known of it.

    `writer` is an account, or else holders of the role `writer_role` write. `breakers` is how
    many officers a break takes. `anchors` counts all anchors; `size` and `root` are the newest
    one's, of `height` and `time_ms` (before the first: when it was opened). `breaks` and
    `proposals` count those.
    """

    owner: bytes
    name: str
    writer: bytes | None
    writer_role: str
    breakers: int
    opened_height: int
    opened_ms: int
    anchors: int
    size: int
    root: bytes
    height: int
    time_ms: int
    breaks: int
    proposals: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Log:
        """Read a record that we wrote."""
        return cls(*_own(data, len(cls._fields)))


class Proposal(NamedTuple):
    """That a log shall go on from a smaller size: who says so, why, and who approved.

    `number` counts the log's proposals, so that an approval is of this one and no other;
    `from_size` and `from_root` are what was anchored when it was made: if that changes, the
    proposal is void. `approvals` are accounts of officers, ascending.
    """

    number: int
    from_size: int
    from_root: bytes
    size: int
    root: bytes
    reason: str
    expires_ms: int
    height: int
    approvals: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Proposal:
        """Read a record that we wrote."""
        wire = _own(data, len(cls._fields))
        wire[8] = tuple(wire[8])
        return cls(*wire)

    def live(self, log: Log, time_ms: int, last: Break | None = None) -> bool:
        """Tell whether it can still be approved. `last` is the log's newest break, if any.

        A break voids what was proposed before it for good, even if the log is anchored again
        just as it was: whoever approved meant another history.
        """
        was = self.from_size, self.from_root
        if last is not None:
            # Of one block's proposals, what names what was broken came before the break.
            same = self.height == last.height and was == (last.from_size, last.from_root)
            if same or self.height < last.height:
                return False
        return time_ms < self.expires_ms and was == (log.size, log.root)


class Break(NamedTuple):
    """That officers let a log go on from a smaller size. It stays visible for ever."""

    from_size: int
    from_root: bytes
    size: int
    root: bytes
    reason: str
    proposer: bytes
    approvals: tuple[bytes, ...]
    height: int
    time_ms: int

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Break:
        """Read a record that we wrote."""
        wire = _own(data, len(cls._fields))
        wire[6] = tuple(wire[6])
        return cls(*wire)


# -- keys


def log_id(owner: bytes, name: str) -> bytes:
    """Return the 32-byte id of an account's log of that name."""
    return message_hash_of(codec.pack(["anchor.log", owner, name]))


def document_key(sender: bytes, commitment: bytes) -> bytes:
    """Return the key of a document that a sender anchored."""
    return DOCUMENT_PREFIX + sender + commitment


def count_key(commitment: bytes) -> bytes:
    """Return the key of how many anchored a commitment."""
    return COUNT_PREFIX + commitment


def place_key(commitment: bytes, number: int) -> bytes:
    """Return the key of who anchored a commitment as number `number`."""
    return COMMITMENT_PREFIX + commitment + number.to_bytes(8, "big")


def owned_key(account: bytes) -> bytes:
    """Return the key of how much an account anchored and opened."""
    return b"n" + account


def log_key(identity: bytes) -> bytes:
    """Return the key of a log."""
    return LOG_PREFIX + identity


def name_key(owner: bytes, name: str) -> bytes:
    """Return the key of the id of an account's log of that name."""
    return OWNER_PREFIX + owner + name.encode("ascii")


def proposal_key(identity: bytes, proposer: bytes) -> bytes:
    """Return the key of the open proposal of an account to break a log."""
    return PROPOSAL_PREFIX + identity + proposer


def break_key(identity: bytes, number: int) -> bytes:
    """Return the key of a log's break `number`, from 0."""
    return BREAK_PREFIX + identity + number.to_bytes(4, "big")


# -- reading


def get_of(reader: StateReader) -> Get:
    """Return reading of the module's own tree."""
    return lambda key: reader.get(TREE, key)


def document_at(get: Get, sender: bytes, commitment: bytes) -> Document | None:
    """Return what a sender anchored, None if it did not."""
    data = get(document_key(sender, commitment))
    return None if data is None else Document.unpack(data)


def count_at(get: Get, commitment: bytes) -> int:
    """Return how many accounts anchored a commitment."""
    data = get(count_key(commitment))
    return 0 if data is None else codec.integer(_own(data, 1)[0], "anchor.count")


def owned_at(get: Get, account: bytes) -> Owned:
    """Return how many documents and logs an account has."""
    data = get(owned_key(account))
    return Owned(0, 0) if data is None else Owned.unpack(data)


def log_at(get: Get, identity: bytes) -> Log | None:
    """Return a log, None if there is none of that id."""
    data = get(log_key(identity))
    return None if data is None else Log.unpack(data)


def last_break_at(get: Get, identity: bytes, log: Log) -> Break | None:
    """Return a log's newest break, None if it was never broken."""
    data = get(break_key(identity, log.breaks - 1)) if log.breaks else None
    return None if data is None else Break.unpack(data)


def proposal_at(get: Get, identity: bytes, proposer: bytes) -> Proposal | None:
    """Return an account's proposal to break a log, dead or not; None for none."""
    data = get(proposal_key(identity, proposer))
    return None if data is None else Proposal.unpack(data)


def find_log(reader: StateReader, identity: bytes) -> Log | None:
    """Return a log, None if there is none of that id."""
    return log_at(get_of(reader), identity)


def find_document(reader: StateReader, sender: bytes, commitment: bytes) -> Document | None:
    """Return what a sender anchored, None if it did not."""
    return document_at(get_of(reader), sender, commitment)


def list_anchorers(
    reader: StateReader, commitment: bytes, start: int, limit: int
) -> list[tuple[bytes, Document]]:
    """Return who anchored a commitment, the first one first, from number `start`."""
    get = get_of(reader)
    end = min(count_at(get, commitment), start + limit)
    found: list[tuple[bytes, Document]] = []
    for number in range(start, end):
        data = get(place_key(commitment, number))
        account = None if data is None else value_of(data)
        document = None if account is None else document_at(get, account, commitment)
        if account is None or document is None:
            raise Bug("a list of anchored documents has a hole")
        found.append((account, document))
    return found


def list_logs(
    reader: StateReader, limit: int, after: bytes | None = None
) -> list[tuple[bytes, Log]]:
    """Return (id, log) of all logs, ascending by id, after one of them."""
    rows = reader.ordered(TREE, LOG_PREFIX, limit, b"" if after is None else LOG_PREFIX + after)
    return [(key[len(LOG_PREFIX) :], Log.unpack(data)) for key, data in rows]


def list_logs_of(
    reader: StateReader, owner: bytes, limit: int, after: str | None = None
) -> list[tuple[bytes, Log]]:
    """Return (id, log) of an account's logs, ascending by name, after one of them."""
    prefix = OWNER_PREFIX + owner
    last = b"" if after is None else prefix + after.encode("ascii")
    rows = reader.ordered(TREE, prefix, limit, last)
    return list(_logs(reader, [value_of(data) for _, data in rows]))


def _logs(reader: StateReader, ids: Iterable[bytes]) -> Iterable[tuple[bytes, Log]]:
    for identity in ids:
        log = find_log(reader, identity)
        if log is None:
            raise Bug("a log is listed and there is none")
        yield identity, log


def list_proposals(
    reader: StateReader, identity: bytes, limit: int
) -> list[tuple[bytes, Proposal]]:
    """Return (proposer, proposal) to break a log, dead ones included, ascending by proposer."""
    prefix = PROPOSAL_PREFIX + identity
    rows = reader.ordered(TREE, prefix, limit)
    return [(key[len(prefix) :], Proposal.unpack(data)) for key, data in rows]


def list_breaks(reader: StateReader, identity: bytes, start: int, limit: int) -> list[Break]:
    """Return a log's breaks, oldest first, from number `start`."""
    prefix = BREAK_PREFIX + identity
    after = break_key(identity, start - 1) if start else b""
    return [Break.unpack(data) for _, data in reader.ordered(TREE, prefix, limit, after)]


def pack(value: Wire) -> bytes:
    """Return the bytes of a record of one value."""
    return codec.pack([RECORD_VERSION, value])


def value_of(data: bytes) -> Any:
    """Read a record of one value."""
    return _own(data, 1)[0]


def _own(data: bytes, length: int) -> list[Any]:
    wire = codec.unpack_own(data)
    if len(wire) != length + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of anchor has another format than this software writes")
    return wire[1:]
