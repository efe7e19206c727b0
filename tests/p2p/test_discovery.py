"""Discovery: a node finds the network though strangers fill its book with dead addresses."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.p2p.book import (
    RECORDS_PER_ANSWER_MAX,
    VALID_FOR_MS,
    AddressBook,
    PeerRecord,
    pack_records,
    unpack_records,
)
from clawpurse.p2p.discovery import PER_GROUP_MAX, RETRY_MAX_S, TRIES_MAX, Discovery
from clawpurse.p2p.handshake import Identity

GENESIS = b"\x11" * 32
NOW = 1_800_000_000_000
ME = Identity("acme", GENESIS, b"\xfe" * 32, b"\xfd" * 32)


def record(number: int, *places: tuple[str, int]) -> PeerRecord:
    seed = number.to_bytes(4, "big") * 8
    addresses = places or ((f"n{number}.host-{number}.example", 1),)
    unsigned = PeerRecord(crypto.public_key_of(seed), addresses, NOW, NOW + VALID_FOR_MS)
    return unsigned.signed(seed, GENESIS)


def made(*records: PeerRecord, private: tuple[bytes, ...] = ()) -> tuple[Discovery, AddressBook]:
    book = AddressBook(GENESIS, ME.node_id, b"\5" * 32, lambda: NOW)
    for number, entry in enumerate(records):
        book.add(entry, f"s{number}.source-{number}.example")
    discovery = Discovery(
        ME, book, private, random_bytes=random.Random(1).randbytes, now_ms=lambda: NOW
    )
    return discovery, book


def test_dead_addresses_delay_and_never_stop_the_search() -> None:
    """With 60 dead entries and one true one, the true one is dialled within minutes."""
    true = record(99)
    discovery, _ = made(*(record(n) for n in range(60)), true)
    now_s, seen = 0.0, set()
    for _ in range(40):
        seen |= {a.node_id for a in discovery.choose(8, (), (), now_s)}
        now_s += 10.0
    assert true.node_id in seen
    assert len(seen) > 55


def test_a_node_that_does_not_answer_is_asked_less_and_less() -> None:
    """Else an hour without network would be an hour of knocking."""
    discovery, _ = made(record(1))
    times = [now for now in range(7_200) if discovery.choose(1, (), (), float(now))]
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 10 and pauses[-1] == RETRY_MAX_S
    discovery.reached(record(1).node_id)
    assert discovery.choose(1, (), (), 7_200.0)


def test_all_addresses_of_a_node_get_their_turn() -> None:
    discovery, _ = made(record(1, ("a.example", 1), ("b.example", 2)))
    hosts = [discovery.choose(1, (), (), 1000.0 * n)[0].host for n in range(4)]
    assert hosts == ["a.example", "b.example", "a.example", "b.example"]


def test_nodes_once_reached_come_first_and_taken_ones_never() -> None:
    discovery, book = made(*(record(n) for n in range(20)))
    book.connected(record(7).node_id)
    assert discovery.choose(1, (), (), 0.0)[0].node_id == record(7).node_id
    everyone = [record(n).node_id for n in range(20)]
    assert discovery.choose(5, everyone, (), 0.0) == []
    assert discovery.choose(0, (), (), 0.0) == []
    assert discovery.choose(-3, (), (), 0.0) == []


def test_few_outbound_connections_go_into_one_public_network() -> None:
    """Renting one network must not be enough to surround a node."""
    flood = [record(n, (f"8.8.{n}.1", 1)) for n in range(30)]
    discovery, _ = made(*flood, record(77, ("9.9.9.9", 1)))
    chosen = discovery.choose(8, (), (), 0.0)
    assert sum(a.host.startswith("8.8.") for a in chosen) == PER_GROUP_MAX
    assert any(a.host == "9.9.9.9" for a in chosen)
    assert not any(
        a.host.startswith("8.8.") for a in discovery.choose(8, (), ("8.8.1.1", "8.8.2.1"), 500.0)
    )
    # A consortium's private network is one group, and no reason to stay alone.
    inside, _ = made(*(record(n, (f"10.0.0.{n}", 1)) for n in range(8)))
    assert len(inside.choose(8, (), (), 0.0)) > PER_GROUP_MAX


def test_a_feeler_goes_to_whom_we_only_heard_of() -> None:
    discovery, book = made(record(1), record(2))
    book.connected(record(1).node_id)
    felt = discovery.feeler((), 0.0)
    assert felt is not None and felt.node_id == record(2).node_id
    assert discovery.feeler((record(2).node_id,), 0.0) is None


def test_failures_remembered_are_bounded() -> None:
    discovery, _ = made()
    for number in range(TRIES_MAX + 50):
        discovery._note(number.to_bytes(32, "big"), 0, 0.0)
    assert len(discovery._tries) == TRIES_MAX


def test_private_nodes_are_told_to_nobody() -> None:
    """A sentry that gossips the authority behind it is no sentry."""
    hidden, asker = record(3), record(4)
    discovery, _ = made(*(record(n) for n in range(6)), private=(hidden.node_id,))
    own = discovery.own_record((), "me.example", 9640)
    told = [r.node_id for r in unpack_records(discovery.answer(asker.node_id, own))]
    assert told[0] == ME.node_id
    assert hidden.node_id not in told and asker.node_id not in told
    assert len(told) == 5


def test_an_answer_is_bounded_and_changes() -> None:
    """A peer that asks again learns of others, however large the book is."""
    discovery, _ = made(*(record(n) for n in range(200)))
    answers = [unpack_records(discovery.answer(b"\0" * 32, [])) for _ in range(4)]
    assert all(len(answer) == RECORDS_PER_ANSWER_MAX for answer in answers)
    assert len({r.node_id for answer in answers for r in answer}) > RECORDS_PER_ANSWER_MAX


@pytest.mark.parametrize(
    ("advertise", "listen", "expected"),
    [
        ((), "10.0.0.1", (("10.0.0.1", 9640),)),
        ((), "0.0.0.0", None),
        ((), "::", None),
        ((("Node.Example", 7),), "0.0.0.0", (("node.example", 7),)),
        # What others would refuse to read must not make us the liar.
        ((("a..b", 7), ("good.example", 7)), "h", (("good.example", 7),)),
        ((("good.example", 0),), "h", None),
        ((), "fe80::1%eth0", None),
    ],
)
def test_a_node_says_of_itself_only_what_others_can_read(
    advertise: tuple[tuple[str, int], ...],
    listen: str,
    expected: tuple[tuple[str, int], ...] | None,
) -> None:
    discovery, _ = made()
    own = discovery.own_record(advertise, listen, 9640)
    if expected is None:
        assert own == []
        return
    (read,) = unpack_records(pack_records(own))
    assert read.addresses == expected and read.verifies(GENESIS)


def test_what_is_learned_counts_as_news_once() -> None:
    discovery, _ = made()
    payload = pack_records([record(1), record(2)])
    names, grown = discovery.learn(payload, "s.example")
    assert names == [record(1).node_id, record(2).node_id] and grown
    assert discovery.learn(payload, "s.example")[1] is False
    with pytest.raises(Malformed):
        discovery.learn(pack_records([record(3)._replace(issued_ms=NOW + 1)]), "s.example")
