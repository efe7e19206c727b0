"""The gate: strangers cost us a bounded little, and never the places of configured peers."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import pytest
import trio

from clawpurse.p2p.address import Endpoint, PeerAddress
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.gate import (
    HANDSHAKES_BURST,
    HANDSHAKES_PER_S,
    LOG_LINES_BURST,
    LOG_LINES_PER_S,
    SPEECHLESS_S,
    UNAUTHENTICATED_MAX,
    UNAUTHENTICATED_PER_SUBNET_MAX,
    UNAUTHENTICATED_RESERVED,
    Gate,
)
from clawpurse.p2p.standing import Standing

FRIEND = Endpoint("10.9.9.9", 1)


def gate() -> Gate:
    friend = PeerAddress(b"\x01" * 32, FRIEND.host, FRIEND.port)
    return Gate(Standing(lambda: 0, Configured([friend])))


def stranger(number: int) -> Endpoint:
    return Endpoint(f"10.{number}.0.1", 1)


async def test_one_network_may_shake_few_hands_at_once(autojump_clock: trio.abc.Clock) -> None:
    g = gate()
    with ExitStack() as stack:
        for number in range(UNAUTHENTICATED_PER_SUBNET_MAX):
            one = Endpoint(f"203.0.113.{number}", 1)
            assert g.reason_to_refuse(one) is None
            stack.enter_context(g.unauthenticated(one))
        assert "of one network" in str(g.reason_to_refuse(Endpoint("203.0.113.99", 1)))
        assert g.reason_to_refuse(Endpoint("203.0.114.1", 1)) is None
    assert g.reason_to_refuse(Endpoint("203.0.113.99", 1)) is None


async def test_strangers_never_take_the_last_places(autojump_clock: trio.abc.Clock) -> None:
    """A flood of half-open connections must not keep the other authorities out."""
    g = gate()
    with ExitStack() as stack:
        for number in range(UNAUTHENTICATED_MAX - UNAUTHENTICATED_RESERVED):
            assert g.reason_to_refuse(stranger(number)) is None
            stack.enter_context(g.unauthenticated(stranger(number)))
        assert g.reason_to_refuse(stranger(200)) is not None
        for _ in range(UNAUTHENTICATED_RESERVED):
            assert g.reason_to_refuse(FRIEND) is None
            stack.enter_context(g.unauthenticated(FRIEND))
        assert g.reason_to_refuse(FRIEND) is not None


async def test_a_flood_takes_no_tokens_of_configured_peers_and_leaves_no_debt(
    autojump_clock: trio.abc.Clock,
) -> None:
    g = gate()
    let_in = sum(g.may_compute(stranger(n % 200)) for n in range(5_000))
    assert let_in == HANDSHAKES_BURST
    assert g.may_compute(FRIEND)
    await trio.sleep(1)
    let_in = sum(g.may_compute(stranger(n % 200)) for n in range(5_000))
    assert let_in == HANDSHAKES_PER_S


async def test_who_says_nothing_makes_room_for_who_does(autojump_clock: trio.abc.Clock) -> None:
    """Half-open connections hold a place only as long as nobody else needs it."""
    g = gate()
    with ExitStack() as stack:
        places = []
        for number in range(UNAUTHENTICATED_MAX - UNAUTHENTICATED_RESERVED):
            assert g.reason_to_refuse(stranger(number)) is None
            places.append(stack.enter_context(g.unauthenticated(stranger(number))))
        places[0].spoke = True
        assert g.reason_to_refuse(stranger(200)) is not None
        await trio.sleep(SPEECHLESS_S)
        assert g.reason_to_refuse(stranger(200)) is None
        assert [place.scope.cancel_called for place in places[:3]] == [False, True, False]
        # A stranger never ends a configured peer's handshake, however slow that is.
        friends = [stack.enter_context(g.unauthenticated(FRIEND)) for _ in range(9)]
        await trio.sleep(SPEECHLESS_S)
        for number in range(100):
            if g.reason_to_refuse(stranger(number)) is None:
                stack.enter_context(g.unauthenticated(stranger(number)))
        assert not any(friend.scope.cancel_called for friend in friends)


async def test_a_banned_address_gets_no_handshake(autojump_clock: trio.abc.Clock) -> None:
    standing = Standing(lambda: 0, Configured())
    g = Gate(standing)
    standing.ban(None, "203.0.113.1", "bad block")
    assert g.reason_to_refuse(Endpoint("203.0.113.1", 5)) == "banned address"


async def test_refusals_are_counted_and_logged_within_a_ration(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says who, and a flood of strangers must not fill the disk with it."""
    g = gate()
    with caplog.at_level(logging.WARNING, "clawpurse.p2p"):
        for number in range(10_000):
            g.turned_away(stranger(number % 200), "bad handshake", f"detail {number}")
        assert len(caplog.records) == LOG_LINES_BURST
        assert vars(caplog.records[0])["peer"] == "10.0.0.1:1"
        assert vars(caplog.records[0])["reason"] == "detail 0"
        await trio.sleep(1)
        g.turned_away(stranger(1), "bad handshake")
    assert vars(caplog.records[-1])["also_unlogged"] == str(10_000 - LOG_LINES_BURST)
    # Peers choose details, we choose kinds: only kinds are keys.
    assert g.refused == {"bad handshake": 10_001}
    assert LOG_LINES_PER_S >= 1
