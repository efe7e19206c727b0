"""Bans: who misbehaves stays out for hours; who is configured, or this machine, never does."""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.standing import (
    BAN_FIRST_S,
    BAN_MAX_S,
    BANS_MAX,
    SCORES_MAX,
    Standing,
)

FRIEND, FOE = b"\x01" * 32, b"\x02" * 32


class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


def standing(clock: Clock) -> Standing:
    places = (("10.0.0.1", FRIEND), ("friend.example", b"\x09" * 32))
    return Standing(clock, Configured(PeerAddress(key, host, 1) for host, key in places))


def test_a_ban_covers_key_and_address_and_ends() -> None:
    """A liar must not come back with a new key, nor from a new address."""
    clock = Clock()
    s = standing(clock)
    assert s.ban(FOE, "203.0.113.9", "bad block") == [FOE.hex(), "203.0.113.9/32"]
    assert s.banned(FOE, "198.51.100.1") is not None
    assert s.banned(b"\x03" * 32, "203.0.113.9") is not None
    assert s.banned(None, "203.0.113.9") is not None
    assert s.banned(None, "203.0.113.10") is None
    assert {b.reason for b in s.bans()} == {"bad block"}
    clock.ms += 1000 * BAN_FIRST_S
    assert s.banned(FOE, "203.0.113.9") is None and s.bans() == []


def test_repeated_bans_grow_to_a_day_and_no_further() -> None:
    clock = Clock()
    s = standing(clock)
    lengths = []
    for _ in range(12):
        s.ban(FOE, "203.0.113.9", "again")
        ban = s.banned(FOE, "::")
        assert ban is not None
        lengths.append((ban.until_ms - clock.ms) // 1000)
        clock.ms = ban.until_ms
    assert lengths[:3] == [BAN_FIRST_S, 2 * BAN_FIRST_S, 4 * BAN_FIRST_S]
    assert lengths[-1] == BAN_MAX_S


@pytest.mark.parametrize("host", ["10.0.0.1", "203.0.113.9", "127.0.0.1"])
def test_a_configured_peer_is_never_banned_nor_its_address(host: str) -> None:
    """One wrong block of a partner must not cut a network of four apart for an hour.

    Also not where the configuration has a name and the connection an address.
    """
    s = standing(Clock())
    assert s.ban(FRIEND, host, "bad block") == []
    assert s.banned(FRIEND, host) is None and s.banned(None, host) is None


def test_this_machine_s_and_configured_addresses_are_never_banned_but_keys_are() -> None:
    s = standing(Clock())
    assert s.ban(FOE, "127.0.0.1", "bad block") == [FOE.hex()]
    assert s.ban(FOE, "10.0.0.1", "bad block") == [FOE.hex()]
    assert s.banned(None, "127.0.0.1") is None and s.banned(None, "10.0.0.1") is None
    assert s.banned(FOE, "127.0.0.1") is not None


def test_who_becomes_configured_is_forgiven() -> None:
    """The operator's word outranks an old ban."""
    clock = Clock()
    before = Standing(clock, Configured())
    before.ban(FRIEND, "10.0.0.1", "old story")
    after = standing(clock)
    after.restore(before.export())
    assert after.banned(FRIEND, "10.0.0.1") is None


def test_scores_decay_and_only_many_faults_ban() -> None:
    """A port scan or a broken client is no attack; a hundred of them in a row are."""
    clock = Clock()
    s = standing(clock)
    for _ in range(200):
        s.annoy("203.0.113.9", 2.0, "bad handshake")
        clock.ms += 60_000
    assert s.banned(None, "203.0.113.9") is None
    for _ in range(60):
        s.annoy("203.0.113.9", 2.0, "bad handshake")
    ban = s.banned(None, "203.0.113.9")
    assert ban is not None and ban.reason == "bad handshake"
    for _ in range(1_000):
        s.annoy("127.0.0.1", 2.0, "bad handshake")
    assert s.banned(None, "127.0.0.1") is None


def test_what_is_remembered_is_bounded() -> None:
    """An attacker with a whole network of addresses must not fill our memory."""
    s = standing(Clock())
    for number in range(BANS_MAX + 100):
        s.ban(None, f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x")
        s.annoy(f"199.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1, "x")
    assert len(s.bans()) == BANS_MAX
    assert len(s._scores) <= SCORES_MAX


def test_bans_outlive_a_restart() -> None:
    clock = Clock()
    before = standing(clock)
    before.ban(FOE, "203.0.113.9", "bad block")
    after = standing(clock)
    after.restore(before.export())
    assert after.bans() == before.bans()


@pytest.mark.parametrize(
    "entry",
    [None, [], ["a"], [1, "r", 2, 1], ["a", 1, 2, 1], ["a", "r", "u", 1], ["a", "r", 2, None], {}],
)
def test_a_damaged_file_costs_only_its_damaged_entries(entry: Any) -> None:
    clock = Clock()
    s = standing(clock)
    s.restore([entry, ["good", "reason", clock.ms + 1000, 10**9]])
    assert [ban.subject for ban in s.bans()] == ["good"]
    # However often it says to have been banned, the next ban is computed at once.
    s._add("good", "again")
    assert s.bans()[0].until_ms == clock.ms + 1000 * BAN_MAX_S


def test_a_change_is_told_to_whoever_keeps_it() -> None:
    told: list[int] = []
    s = Standing(Clock(), Configured(), lambda: told.append(1))
    s.ban(FOE, "203.0.113.9", "bad block")
    assert len(told) == 2
