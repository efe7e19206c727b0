"""Addresses: what can be dialled, and the groups by which strangers are counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed
from clawpurse.p2p.address import (
    Endpoint,
    PeerAddress,
    ban_key,
    check_host,
    is_dialable,
    is_loopback,
    is_public,
    source_group,
    subnet,
)

ID = "ab" * 32


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (f"{ID}@10.1.2.3:9640", "10.1.2.3", 9640),
        (f"{ID}@[2001:db8::1]:1", "2001:db8::1", 1),
        (f"{ID}@Node-1.Example.COM:65535", "node-1.example.com", 65535),
    ],
)
def test_addresses_are_read_and_shown_alike(text: str, host: str, port: int) -> None:
    address = PeerAddress.parse(text)
    assert (address.node_id.hex(), address.host, address.port) == (ID, host, port)
    assert PeerAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "10.1.2.3:9640",
        f"{ID[:-1]}@h:1",
        f"{ID.upper()}@h:1",
        f"{ID}@h",
        f"{ID}@h:",
        f"{ID}@h:0",
        f"{ID}@h:65536",
        f"{ID}@h:999999",
        f"{ID}@h:+1",
        f"{ID}@h:١",
        f"{ID}@2001:db8::1:9",
        f"{ID}@[nonsense::]:9",
        f"{ID}@:9",
        f"{ID}@a b:9",
        f"{ID}@a\n:9",
        f"{ID}@{'a' * 254}:9",
        # Resolvers raise something else than "not found" on these; one gossiped record with
        # such a host must not end the nodes that dial it.
        f"{ID}@a..b:9",
        f"{ID}@.:9",
        f"{ID}@a.:9",
        f"{ID}@{'a' * 64}.com:9",
    ],
)
def test_what_cannot_be_dialled_is_refused_with_a_name_for_it(text: str) -> None:
    with pytest.raises(Malformed):
        PeerAddress.parse(text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Peers and operators write these: anything but a clean refusal would be a crash."""
    try:
        PeerAddress.parse(text)
    except Malformed:
        return


@given(st.from_regex(r"[a-z0-9._-]{1,80}", fullmatch=True))
def test_every_accepted_name_can_be_given_to_a_resolver(name: str) -> None:
    try:
        host = check_host(name)
    except Malformed:
        return
    host.encode("idna")


def test_strangers_are_counted_by_what_one_of_them_owns() -> None:
    """Too fine, and one tenant of a network takes all places; too coarse, and it bans many."""
    assert subnet("203.0.113.7") == subnet("203.0.113.200") != subnet("203.0.114.7")
    assert subnet("2001:db8:1:2::1") == subnet("2001:db8:1:2:ffff::") != subnet("2001:db8:1:3::1")
    assert source_group("203.0.113.7") == source_group("203.0.9.9") != source_group("203.1.9.9")
    assert source_group("2001:db8:1::") == source_group("2001:db8:2::")
    assert source_group("a.b.example.org") == source_group("c.example.org")
    assert ban_key("203.0.113.7") != ban_key("203.0.113.8")
    assert ban_key("2001:db8::1") == ban_key("2001:db8::2")
    # An IPv4 address in IPv6 clothes is the same machine.
    assert ban_key("::ffff:203.0.113.7") == ban_key("203.0.113.7")


def test_what_is_this_machine_and_what_is_no_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "example.org", "::2")))
    assert not any(map(is_dialable, ("0.0.0.0", "::", "224.0.0.1", "ff02::1")))
    assert is_dialable("10.0.0.1") and is_dialable("example.org")
    assert is_public("8.8.8.8") and not is_public("10.0.0.1") and not is_public("example.org")
    assert str(Endpoint("::1", 5)) == "[::1]:5"
