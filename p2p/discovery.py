"""Whom to dial next, and what peers are told of each other (peer exchange).

Outbound connections are this node's own choice: from the address book, tried nodes first, in
random order, few of one public network, with growing pauses for those that do not answer. A
stranger who fills the book with dead addresses therefore delays discovery and never stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Malformed, ProtocolViolation
from clawpurse.p2p.address import PeerAddress, check_host, check_port, is_public, source_group
from clawpurse.p2p.book import (
    RECORDS_PER_ANSWER_MAX,
    VALID_FOR_MS,
    AddressBook,
    PeerRecord,
    pack_records,
    unpack_records,
)
from clawpurse.p2p.handshake import Identity

RECORDS_WANTED, RECORDS = 1, 2
# Outbound connections into one /16 or /32 of the open internet.
PER_GROUP_MAX: Final = 2
RETRY_FIRST_S: Final = 5.0
RETRY_MAX_S: Final = 600.0
_DOUBLINGS_MAX: Final = 8
# Nodes of which failed dials are remembered; the longest known is forgotten first.
TRIES_MAX: Final = 4_096
# A peer is asked, and answered, no oftener. Far below the channel's rate, so that no restless
# network makes honest nodes look like a flood to each other.
ASK_PERIOD_S: Final = 5.0
ANSWER_PERIOD_S: Final = 1.0
# Listening everywhere says nothing about where others can reach this node.
_ANY_HOST: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104


class _Tries(NamedTuple):
    failures: int
    next_s: float


class Discovery:
    """One node's choice of whom to dial, and its part of peer exchange."""

    def __init__(
        self,
        identity: Identity,
        book: AddressBook,
        private_ids: Iterable[bytes],
        *,
        random_bytes: Callable[[int], bytes],
        now_ms: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._book = book
        self._private_ids = frozenset(private_ids)
        self._random = random_bytes
        self._now_ms = now_ms
        self._tries: dict[bytes, _Tries] = {}

    # -- dialling

    def choose(
        self, count: int, taken: Iterable[bytes], hosts: Iterable[str], now_s: float
    ) -> list[PeerAddress]:
        """Return at most `count` nodes to dial now, and note that they were tried.

        `taken` are nodes that are connected, being dialled, or not to be dialled from here;
        `hosts` are where outbound connections stand.
        """
        if count <= 0:
            return []
        avoided = frozenset(taken)
        groups: dict[str, int] = {}
        for host in hosts:
            self._count(groups, host)
        chosen: list[PeerAddress] = []
        for record in self._candidates():
            if len(chosen) >= count:
                break
            tries = self._tries.get(record.node_id, _Tries(0, now_s))
            if record.node_id in avoided or tries.next_s > now_s:
                continue
            host, port = record.addresses[tries.failures % len(record.addresses)]
            if is_public(host) and groups.get(source_group(host), 0) >= PER_GROUP_MAX:
                continue
            self._count(groups, host)
            self._note(record.node_id, tries.failures, now_s)
            chosen.append(PeerAddress(record.node_id, host, port))
        return chosen

    def feeler(self, taken: Iterable[bytes], now_s: float) -> PeerAddress | None:
        """Return a node that was only heard of, to find out whether it is there."""
        tried = [record.node_id for record in self._book.records() if self._is_tried(record)]
        found = self.choose(1, [*taken, *tried], (), now_s)
        return found[0] if found else None

    def reached(self, node_id: bytes) -> None:
        """Say that a dial succeeded."""
        self._tries.pop(node_id, None)
        self._book.connected(node_id)

    def _is_tried(self, record: PeerRecord) -> bool:
        return self._book.is_tried(record.node_id)

    def _candidates(self) -> list[PeerRecord]:
        """Return the book in random order, tried nodes first."""
        records = self._book.records()
        lots = self._random(4 * len(records))
        keys = [
            (not self._is_tried(record), lots[4 * place : 4 * place + 4])
            for place, record in enumerate(records)
        ]
        return [records[place] for place in sorted(range(len(records)), key=keys.__getitem__)]

    def _count(self, groups: dict[str, int], host: str) -> None:
        group = source_group(host)
        groups[group] = groups.get(group, 0) + 1

    def _note(self, node_id: bytes, failures: int, now_s: float) -> None:
        pause_s = min(RETRY_FIRST_S * 2 ** min(failures, _DOUBLINGS_MAX), RETRY_MAX_S)
        self._tries.pop(node_id, None)
        self._tries[node_id] = _Tries(failures + 1, now_s + pause_s)
        while len(self._tries) > TRIES_MAX:
            del self._tries[next(iter(self._tries))]

    # -- peer exchange

    def own_record(
        self, advertise: Iterable[tuple[str, int]], listen_host: str, port: int
    ) -> list[PeerRecord]:
        """Return this node's record, freshly signed; none if nobody could dial it.

        Addresses are those to `advertise`, else where it listens. One that others would refuse
        to read is left out.
        """
        given = list(advertise)
        if not given and listen_host not in _ANY_HOST:
            given = [(listen_host, port)]
        addresses = []
        for host, number in given:
            try:
                addresses.append((check_host(host), check_port(number)))
            except Malformed:
                continue
        if not addresses:
            return []
        now = self._now_ms()
        identity = self._identity
        record = PeerRecord(identity.node_id, tuple(addresses), now, now + VALID_FOR_MS)
        return [record.signed(identity.node_seed, identity.genesis_hash)]

    def answer(self, asker: bytes, own: list[PeerRecord]) -> bytes:
        """Return the records that a peer is told: ours, and what the book holds of others.

        Private nodes are told to nobody, and told of nobody, or they would dial others and be
        known. A node is not told of itself.
        """
        if asker in self._private_ids:
            return pack_records(own)
        silent = self._private_ids | {asker}
        shared = [record for record in self._candidates() if record.node_id not in silent]
        return pack_records([*own, *shared][:RECORDS_PER_ANSWER_MAX])

    def learn(self, payload: bytes, source_host: str) -> tuple[list[bytes], bool]:
        """Take records in; return whose they are, and whether the book has grown.

        Raises `Malformed` for what no honest node passes on.
        """
        before = len(self._book.records())
        records = unpack_records(payload)
        for record in records:
            self._book.add(record, source_host)
        return [record.node_id for record in records], len(self._book.records()) != before


def refuse_kind(kind: int) -> None:
    """Raise `ProtocolViolation` for a kind that the peers channel does not have."""
    if kind not in (RECORDS_WANTED, RECORDS):
        raise ProtocolViolation(f"kind {kind} does not exist on the peers channel")
