"""The address book: signed words on where nodes are, which strangers cannot forge or flood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.p2p.book import (
    BUCKET_SIZE,
    BUCKETS_PER_SOURCE,
    NEW_BUCKETS,
    RECORDS_PER_ANSWER_MAX,
    SKEW_MS,
    TRIED_BUCKETS,
    VALID_FOR_MS,
    AddressBook,
    PeerRecord,
    pack_records,
    unpack_records,
)

GENESIS = b"\x11" * 32
NOW = 1_800_000_000_000
SELF = crypto.public_key_of(b"\xff" * 32)


def record(
    number: int, *places: tuple[str, int], issued: int = NOW, expires: int | None = None
) -> PeerRecord:
    seed = number.to_bytes(4, "big") * 8
    addresses = places or ((f"10.{number % 256}.0.1", 9640),)
    expiry = issued + VALID_FOR_MS if expires is None else expires
    unsigned = PeerRecord(crypto.public_key_of(seed), addresses, issued, expiry)
    return unsigned.signed(seed, GENESIS)


def book(salt: bytes = b"\x05" * 32) -> AddressBook:
    return AddressBook(GENESIS, SELF, salt, lambda: NOW)


def test_a_record_survives_the_wire() -> None:
    one = record(1, ("10.0.0.1", 1), ("node.example", 65535), ("2001:db8::1", 7))
    assert unpack_records(pack_records([one, record(2)])) == [one, record(2)]
    assert one.verifies(GENESIS) and not one.verifies(b"\0" * 32)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_records(data: bytes) -> None:
    for read in (unpack_records, PeerRecord.unpack):
        with pytest.raises(Malformed):
            read(data)
            # The empty list of records is the one short input that is right.
            assert data == codec.pack([])
            raise Malformed("", "")


@pytest.mark.parametrize(
    "places",
    [
        [["h", 0]],
        [["h", 65536]],
        [["", 1]],
        [["a..b", 1]],
        [["UPPER.example", 1]],
        [["h", 1]] * 5,
        [["h"]],
        ["h:1"],
    ],
)
def test_a_record_with_an_address_nobody_can_dial_is_refused(places: list[object]) -> None:
    wire = codec.pack([1, b"\1" * 32, places, NOW, NOW, bytes(64)])
    with pytest.raises(Malformed):
        PeerRecord.unpack(wire)


def test_more_records_than_an_answer_may_hold_are_refused() -> None:
    many = [record(number) for number in range(RECORDS_PER_ANSWER_MAX + 1)]
    with pytest.raises(Malformed):
        unpack_records(pack_records(many))


def test_a_record_that_its_key_did_not_sign_condemns_the_sender() -> None:
    """No honest node passes on what it did not verify."""
    forged = record(1)._replace(addresses=(("10.66.66.66", 1),))
    with pytest.raises(Malformed, match="not signed"):
        book().add(forged, "10.0.0.9")
    # The same, for one that is true on another network.
    seed = b"\x07" * 32
    other = PeerRecord(crypto.public_key_of(seed), (("10.0.0.1", 1),), NOW, NOW + 1)
    with pytest.raises(Malformed):
        book().add(other.signed(seed, b"\0" * 32), "10.0.0.9")


@pytest.mark.parametrize(
    "entry",
    [
        record(1, expires=NOW - SKEW_MS),
        record(1, expires=NOW + VALID_FOR_MS + SKEW_MS + 1),
        record(1, issued=NOW + SKEW_MS + 1, expires=NOW + VALID_FOR_MS),
        record(1, ("0.0.0.0", 1)),
        record(1, ("224.0.0.1", 1)),
        # A stranger elsewhere wants us to knock at a port of our own machine.
        record(1, ("127.0.0.1", 22)),
        record(1, ("10.0.0.1", 1), ("localhost", 22)),
    ],
)
def test_honest_looking_records_of_no_use_are_left_out_without_blame(entry: PeerRecord) -> None:
    b = book()
    assert not b.add(entry, "10.0.0.9")
    assert b.records() == []


def test_on_one_machine_loopback_addresses_are_passed_on() -> None:
    """Test networks of several nodes live there."""
    assert book().add(record(1, ("127.0.0.1", 9640)), "127.0.0.1")


def test_this_node_s_own_record_and_empty_ones_are_left_out() -> None:
    own = PeerRecord(SELF, (("10.0.0.1", 1),), NOW, NOW + VALID_FOR_MS).signed(
        b"\xff" * 32, GENESIS
    )
    assert not book().add(own, "10.0.0.9")


def test_newer_words_of_a_node_replace_older_ones_only() -> None:
    """A node that moved is found at its new place, whoever repeats the old one."""
    b = book()
    old, new = record(1, ("10.1.0.1", 1)), record(1, ("10.1.0.2", 2), issued=NOW + 1)
    assert b.add(old, "10.0.0.9") and b.add(new, "10.0.0.9")
    assert not b.add(old, "10.0.0.9")
    assert b.records() == [new]
    b.connected(new.node_id)
    assert b.is_tried(new.node_id)
    newest = record(1, ("10.1.0.2", 3), issued=NOW + 2)
    assert b.add(newest, "10.0.0.9")
    assert b.records()[0] == newest


def test_one_source_fills_few_buckets_whatever_it_sends() -> None:
    """Eclipse: a stranger with one network must not own the book."""
    b = book()
    honest = [record(50_000 + n, (f"172.{16 + n}.0.1", 1)) for n in range(10)]
    for number, entry in enumerate(honest):
        b.add(entry, f"192.{number}.2.1")
    for entry in honest[:3]:
        b.connected(entry.node_id)
    for number in range(3_000):
        b.add(record(number, (f"203.0.{number % 256}.1", 1)), "198.51.100.7")
    from_stranger = [r for r in b.records() if r.addresses[0][0].startswith("203.")]
    # All its addresses are of one /16 and from one /16: a single bucket.
    assert len(from_stranger) <= BUCKET_SIZE
    known = [r.node_id for r in b.records()]
    assert all(entry.node_id in known for entry in honest[:3])
    assert sum(entry.node_id in known for entry in honest) >= 9


def test_made_up_names_do_not_help_a_source_to_more_buckets() -> None:
    """Names cost nothing: a thousand of them must not push out what others said."""
    b = book()
    honest = [record(50_000 + n, (f"172.{16 + n}.0.1", 1)) for n in range(10)]
    for number, entry in enumerate(honest):
        b.add(entry, f"192.{number}.2.1")
    for number in range(3_000):
        b.add(record(number, (f"n{number}.evil{number}.example", 1)), "198.51.100.7")
    named = [r for r in b.records() if r.addresses[0][0].endswith("example")]
    assert BUCKET_SIZE < len(named) <= BUCKETS_PER_SOURCE * BUCKET_SIZE
    known = [r.node_id for r in b.records()]
    assert sum(entry.node_id in known for entry in honest) >= 8


def test_a_node_that_moves_far_away_is_known_once() -> None:
    """Else it would be dialled at its old address for a week."""
    b = book()
    b.add(record(1, ("203.0.113.1", 1)), "10.0.0.9")
    b.connected(record(1, ("203.0.113.1", 1)).node_id)
    moved = record(1, ("198.51.100.1", 1), issued=NOW + 1)
    assert b.add(moved, "10.0.0.9")
    assert b.records() == [moved]
    assert b.is_tried(moved.node_id)


def test_the_book_is_bounded() -> None:
    b = book()
    for number in range(4_000):
        entry = record(number, (f"{number % 223 + 1}.{number % 251}.0.1", 1))
        b.add(entry, f"{number % 200 + 1}.{number % 97}.0.1")
        b.connected(entry.node_id)
    assert len(b.records()) <= BUCKET_SIZE * (NEW_BUCKETS + TRIED_BUCKETS)


def test_the_book_outlives_a_restart_tried_ones_first() -> None:
    """Anchors: after a restart a node dials first whom it knew, not whom a stranger names."""
    b = book()
    for number in range(6):
        b.add(record(number), "10.0.0.9")
    b.connected(record(4).node_id)
    again = book()
    again.restore(b.export())
    assert {r.node_id for r in again.records()} == {r.node_id for r in b.records()}
    assert again.records()[0] == record(4)
    assert again.is_tried(record(4).node_id) and not again.is_tried(record(3).node_id)


def test_a_damaged_file_costs_only_its_damaged_entries() -> None:
    good = record(1).pack().hex()
    forged = record(2)._replace(issued_ms=NOW + 5).pack().hex()
    b = book()
    b.restore({"tried": [good, "zz", 5, None, forged], "new": "nonsense"})
    assert [r.node_id for r in b.records()] == [record(1).node_id]


def test_expired_records_are_not_told() -> None:
    clock = [NOW]
    b = AddressBook(GENESIS, SELF, b"\5" * 32, lambda: clock[0])
    b.add(record(1), "10.0.0.9")
    clock[0] += VALID_FOR_MS
    assert b.records() == []
