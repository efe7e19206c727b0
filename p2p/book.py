"""Where peers can be found: signed records, and an address book that strangers cannot flood.

A record says under which addresses a node key can be dialled, signed by that key, with an end.
The book keeps *new* records (heard of) and *tried* ones (connected to) in buckets chosen by a
secret salt and the source's network, so that one source fills few buckets, whatever it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Self

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import CallerError, Malformed
from clawpurse.p2p.address import (
    HOST_CHARS_MAX,
    check_host,
    check_port,
    is_dialable,
    is_loopback,
    is_public,
    source_group,
)

RECORD_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 1_024
ADDRESSES_MAX: Final = 4
RECORDS_PER_ANSWER_MAX: Final = 64
ANSWER_BYTES_MAX: Final = RECORDS_PER_ANSWER_MAX * (RECORD_BYTES_MAX + 4) + 16
VALID_FOR_MS: Final = 7 * 86_400_000
# Clocks of honest nodes differ by less.
SKEW_MS: Final = 600_000
NEW_BUCKETS: Final = 64
TRIED_BUCKETS: Final = 16
BUCKET_SIZE: Final = 16
# Of the new buckets, those that one source's network reaches; of the tried, one network.
BUCKETS_PER_SOURCE: Final = 4
_DOMAIN: Final = b"clawpurse/p2p/record/1"
_place_hash = crypto.hasher(b"claw.addrbook")


class PeerRecord(NamedTuple):
    """A node's own word on where it can be dialled. Times in ms UTC."""

    node_id: bytes
    addresses: tuple[tuple[str, int], ...]
    issued_ms: int
    expires_ms: int
    signature: bytes = b""

    def _signed_bytes(self, genesis_hash: bytes) -> bytes:
        return _DOMAIN + genesis_hash + codec.pack(list(self[:4]))

    def signed(self, seed: bytes, genesis_hash: bytes) -> Self:
        """Return the record signed by the node key's seed, for one network."""
        return self._replace(signature=crypto.sign(seed, self._signed_bytes(genesis_hash)))

    def verifies(self, genesis_hash: bytes) -> bool:
        """Tell whether the node key signed it for this network."""
        return crypto.verify(self.node_id, self._signed_bytes(genesis_hash), self.signature)

    def pack(self) -> bytes:
        """Return the canonical bytes."""
        return codec.pack([RECORD_VERSION, *self])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`; the signature is another question."""
        wire = codec.unpack(data, size_max=RECORD_BYTES_MAX, field="record")
        codec.array(wire, "record", 6)
        codec.version(wire[0], "record.version", (RECORD_VERSION,))
        addresses = []
        for item in codec.items(wire[2], "record.addresses", ADDRESSES_MAX):
            host, port = codec.array(item, "record.addresses[]", 2)
            text = codec.ascii_text(host, "record.addresses[].host", HOST_CHARS_MAX)
            name = check_host(text)
            if name != text:
                # The signature covers the text: only one spelling can verify everywhere.
                raise Malformed("record.addresses[].host", "is not in lower case")
            addresses.append(
                (name, check_port(codec.integer(port, "record.addresses[].port", 1, 65_535)))
            )
        return cls(
            codec.digest(wire[1], "record.nodeId"),
            tuple(addresses),
            codec.integer(wire[3], "record.issued"),
            codec.integer(wire[4], "record.expires"),
            codec.binary(wire[5], "record.signature", 64, 64),
        )


def pack_records(records: Iterable[PeerRecord]) -> bytes:
    """Return the payload that carries records."""
    return codec.pack([record.pack() for record in records])


def unpack_records(data: bytes) -> list[PeerRecord]:
    """Read a payload of records. Raises `Malformed`."""
    wire = codec.unpack(data, size_max=ANSWER_BYTES_MAX, field="records")
    found = codec.items(wire, "records", RECORDS_PER_ANSWER_MAX)
    return [PeerRecord.unpack(codec.binary(item, "records[]", RECORD_BYTES_MAX)) for item in found]


def _owner(host: str, port: int) -> str:
    """What stands for whoever owns an address: its network, or itself in a private network."""
    return source_group(host) if is_public(host) else f"{host}:{port}"


class AddressBook:
    """Records by node id, in bounded buckets. `salt` is 32 secret bytes, kept with the book."""

    def __init__(
        self, genesis_hash: bytes, own_id: bytes, salt: bytes, now_ms: Callable[[], int]
    ) -> None:
        self._genesis_hash = genesis_hash
        self._own_id = own_id
        self._salt = salt
        self._now_ms = now_ms
        self._new: dict[int, dict[bytes, PeerRecord]] = {}
        self._tried: dict[int, dict[bytes, PeerRecord]] = {}

    def add(self, record: PeerRecord, source_host: str) -> bool:
        """Take in a record heard from a source; False: expired, older, unsigned, or no room.

        Raises `Malformed` when the signature is not the key's: no honest node passes that on.
        """
        now = self._now_ms()
        if record.node_id == self._own_id or not record.addresses:
            return False
        if not now - SKEW_MS < record.expires_ms <= now + VALID_FOR_MS + SKEW_MS:
            return False
        # A date from the future would outlive every true record of the same key.
        if record.issued_ms > now + SKEW_MS:
            return False
        table, bucket = self._find(record.node_id)
        known = None if bucket is None else bucket[record.node_id]
        if known == record:
            return False  # Told again, as most are: not worth a verification.
        if not record.verifies(self._genesis_hash):
            raise Malformed("record", "is not signed by its node key for this network")
        hosts = [host for host, _ in record.addresses]
        if not all(is_dialable(host) for host in hosts):
            return False
        # Whoever is elsewhere cannot know who listens on this machine, and may only want us to
        # knock at its ports.
        if not is_loopback(source_host) and any(is_loopback(host) for host in hosts):
            return False
        if known is not None and known.issued_ms >= record.issued_ms:
            return False
        if bucket is not None:
            del bucket[record.node_id]
        if table is self._tried:
            self._put(self._bucket(self._tried, TRIED_BUCKETS, record, ""), record)
        else:
            self._put(self._bucket(self._new, NEW_BUCKETS, record, source_host), record)
        return True

    def _find(
        self, node_id: bytes
    ) -> tuple[dict[int, dict[bytes, PeerRecord]] | None, dict[bytes, PeerRecord] | None]:
        """Return table and bucket of a node's record: its address may have been another."""
        for table in (self._tried, self._new):
            for bucket in table.values():
                if node_id in bucket:
                    return table, bucket
        return None, None

    @staticmethod
    def _put(bucket: dict[bytes, PeerRecord], record: PeerRecord) -> None:
        """Put a record into its bucket, in place of the oldest when there is no room."""
        if len(bucket) >= BUCKET_SIZE:
            del bucket[min(bucket, key=lambda node_id: bucket[node_id].issued_ms)]
        bucket[record.node_id] = record

    def _bucket(
        self,
        table: dict[int, dict[bytes, PeerRecord]],
        count: int,
        record: PeerRecord,
        source_host: str,
    ) -> dict[bytes, PeerRecord]:
        """Return where a record belongs; `source_host` is empty for *tried* ones.

        One source's network (for tried ones the address's own) reaches few buckets, however
        many names and addresses it makes up.
        """
        owner = _owner(*record.addresses[0])
        source = source_group(source_host) if source_host else owner
        item = owner if source_host else record.node_id.hex()
        share = self._number(f"share|{source}|{item}") % BUCKETS_PER_SOURCE
        return table.setdefault(self._number(f"place|{source}|{share}") % count, {})

    def _number(self, text: str) -> int:
        return int.from_bytes(_place_hash(self._salt + text.encode())[:4], "big")

    def connected(self, node_id: bytes) -> None:
        """Move a record to *tried*: a connection to it was made."""
        table, bucket = self._find(node_id)
        if table is self._new and bucket is not None:
            record = bucket.pop(node_id)
            self._put(self._bucket(self._tried, TRIED_BUCKETS, record, ""), record)

    def records(self) -> list[PeerRecord]:
        """Return all records that have not expired, tried ones first."""
        now = self._now_ms()
        found: dict[bytes, PeerRecord] = {}
        for table in (self._tried, self._new):
            for bucket in table.values():
                for node_id, record in bucket.items():
                    if record.expires_ms > now:
                        found.setdefault(node_id, record)
        return list(found.values())

    def is_tried(self, node_id: bytes) -> bool:
        """Tell whether a connection to the node was ever made."""
        return any(node_id in bucket for bucket in self._tried.values())

    def export(self) -> dict[str, Any]:
        """Return the book as JSON values, to be kept."""
        return {
            "salt": self._salt.hex(),
            "tried": [r.pack().hex() for bucket in self._tried.values() for r in bucket.values()],
            "new": [r.pack().hex() for bucket in self._new.values() for r in bucket.values()],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `export` returned; records that no longer hold are left out."""
        for name in ("tried", "new"):
            entries = saved.get(name, [])
            for text in entries if isinstance(entries, list) else []:
                try:
                    record = PeerRecord.unpack(bytes.fromhex(text))
                    if self.add(record, record.addresses[0][0]) and name == "tried":
                        self.connected(record.node_id)
                except (CallerError, ValueError, TypeError):
                    continue  # A damaged entry costs one address, which peers tell us again.
