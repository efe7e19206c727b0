"""Spreading transactions: once over each link, from whoever has them, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from clawpurse.ledger.crypto import wtx_id_of
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.node import gossip as gossip_file
from clawpurse.node import messages
from clawpurse.node.gossip import (
    ANSWER_TIMEOUT_S,
    GREETING_MAX,
    REMIND_PERIOD_S,
    Known,
    TransactionGossip,
)
from clawpurse.node.messages import ANNOUNCE_MAX, BODIES_BYTES_MAX, TransactionKind
from tests.node.poolworld import REGISTRY, PoolWorld

P, Q, R = (bytes((n,)) * 32 for n in (0x91, 0x92, 0x93))
WORLD = PoolWorld()
RAWS = [WORLD.pay(n % 4, n // 4) for n in range(40)]
ITEMS = [prepare(raw, REGISTRY) for raw in RAWS]
IDS = [item.transaction.wtx_id for item in ITEMS]


class Bench:
    """One node's gossip; the pool is a dictionary, and what is sent is noted."""

    def __init__(self, *peers: bytes, takes: int | None = None) -> None:
        self.here = list(peers)
        self.sent: list[tuple[bytes, TransactionKind, list[bytes]]] = []
        self.pool: dict[bytes, Prepared] = {}
        self.taken: list[tuple[bytes, bytes]] = []
        self.takes = takes
        self.gossip = TransactionGossip(
            self, self.pool.get, self.pool.__contains__, self.take, self.held
        )

    def peers(self) -> list[bytes]:
        return self.here

    def send(self, peer: bytes, kind: TransactionKind, payload: bytes) -> bool:
        read = messages.unpack_bodies if kind is TransactionKind.BODIES else messages.unpack_ids
        assert len(payload) <= messages.TRANSACTION_SIZE_MAX[kind]
        self.sent.append((peer, kind, read(payload)))
        return True

    def take(self, raws: Sequence[bytes], peer: bytes) -> int:
        taken = list(raws)[: self.takes]
        self.taken += [(raw, peer) for raw in taken]
        return len(taken)

    def held(self, count: int) -> list[Prepared]:
        return list(self.pool.values())[:count]

    def add(self, *items: Prepared) -> None:
        self.pool.update({item.transaction.wtx_id: item for item in items})

    def hear(self, peer: bytes, kind: TransactionKind, values: list[bytes]) -> None:
        pack = messages.pack_bodies if kind is TransactionKind.BODIES else messages.pack_ids
        self.gossip.on_message(peer, kind, pack(values))

    def got(self, peer: bytes, kind: TransactionKind) -> list[bytes]:
        return [value for to, k, values in self.sent if (to, k) == (peer, kind) for value in values]


async def test_a_caller_s_transaction_goes_to_everybody_as_a_body(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """On a quiet network a question would only cost time."""
    bench = Bench(P, Q)
    nursery.start_soon(bench.gossip.run)
    bench.gossip.accepted(ITEMS[:3], None)
    await trio.sleep(1)
    for peer in (P, Q):
        assert bench.got(peer, TransactionKind.BODIES) == RAWS[:3]
        assert bench.got(peer, TransactionKind.ANNOUNCE) == []
    nursery.cancel_scope.cancel()


async def test_a_peer_s_transaction_is_announced_to_the_others_once(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(P, Q, R)
    nursery.start_soon(bench.gossip.run)
    bench.hear(R, TransactionKind.ANNOUNCE, IDS[:1])
    bench.gossip.accepted(ITEMS[:3], P)
    await trio.sleep(1)
    bench.gossip.accepted(ITEMS[:3], Q)
    await trio.sleep(1)
    assert bench.got(P, TransactionKind.ANNOUNCE) == []
    assert bench.got(Q, TransactionKind.ANNOUNCE) == IDS[:3]
    assert bench.got(R, TransactionKind.ANNOUNCE) == IDS[1:3]
    nursery.cancel_scope.cancel()


async def test_what_is_announced_and_lacking_is_asked_for_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A body crosses the wire once, however many announce it."""
    bench = Bench(P, Q)
    bench.add(ITEMS[0])
    bench.hear(P, TransactionKind.ANNOUNCE, IDS[:4])
    bench.hear(Q, TransactionKind.ANNOUNCE, IDS[:4])
    assert bench.got(P, TransactionKind.WANTED) == IDS[1:4]
    assert bench.got(Q, TransactionKind.WANTED) == []
    bench.hear(P, TransactionKind.BODIES, RAWS[1:4])
    assert bench.taken == [(raw, P) for raw in RAWS[1:4]]
    # They are on their way into the pool; later announcements of others cost nothing.
    bench.hear(R, TransactionKind.ANNOUNCE, IDS[:4])
    assert bench.got(R, TransactionKind.WANTED) == []


async def test_a_silent_announcer_is_followed_by_the_next(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Whoever announces everything and delivers nothing must not hide a payment."""
    bench = Bench(P, Q, R)
    nursery.start_soon(bench.gossip.run)
    for peer in (P, Q, R):
        bench.hear(peer, TransactionKind.ANNOUNCE, IDS[:2])
    bench.here.remove(Q)
    await trio.sleep(ANSWER_TIMEOUT_S + 0.5)
    assert bench.got(R, TransactionKind.WANTED) == IDS[:2]
    assert bench.got(Q, TransactionKind.WANTED) == []
    bench.add(ITEMS[0])
    bench.hear(P, TransactionKind.ANNOUNCE, IDS[1:2])
    await trio.sleep(ANSWER_TIMEOUT_S + 0.5)
    assert bench.got(P, TransactionKind.WANTED) == [*IDS[:2], IDS[1]]
    await trio.sleep(10)
    assert bench.gossip._wanted == {}
    nursery.cancel_scope.cancel()


async def test_what_the_intake_had_no_room_for_may_be_asked_for_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench(P, takes=1)
    bench.hear(P, TransactionKind.BODIES, RAWS[:3])
    bench.hear(Q, TransactionKind.ANNOUNCE, IDS[:3])
    assert bench.got(Q, TransactionKind.WANTED) == IDS[:3]


async def test_requests_are_answered_once_each_and_in_batches(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that names one transaction 2,000 times gets it once."""
    bench = Bench(P)
    bench.add(*ITEMS[:5])
    bench.hear(P, TransactionKind.WANTED, [IDS[0]] * ANNOUNCE_MAX)
    assert bench.got(P, TransactionKind.BODIES) == RAWS[:1]
    bench.sent.clear()
    bench.hear(P, TransactionKind.WANTED, [*IDS[:5], IDS[30]])
    assert bench.got(P, TransactionKind.BODIES) == RAWS[:5]
    monkeypatch.setattr(messages, "BODIES_BYTES_MAX", 2 * len(RAWS[0]))
    bench.sent.clear()
    bench.hear(P, TransactionKind.WANTED, IDS[:5])
    assert [len(values) for _, _, values in bench.sent] == [2, 2, 1]
    assert BODIES_BYTES_MAX >= 65_536


async def test_a_new_peer_is_told_of_all_that_waits_here(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """It may be the next to propose, and the only other one that hears of a payment."""
    bench = Bench()
    nursery.start_soon(bench.gossip.run)
    bench.gossip.accepted(ITEMS[:5], None)
    bench.add(*ITEMS[:5])
    await trio.sleep(1)
    bench.here.append(P)
    bench.gossip.connected(P)
    assert bench.got(P, TransactionKind.ANNOUNCE) == IDS[:5]
    bench.gossip.accepted(ITEMS[:6], Q)
    await trio.sleep(1)
    assert bench.got(P, TransactionKind.ANNOUNCE) == IDS[:6]
    assert GREETING_MAX >= 5_000
    nursery.cancel_scope.cancel()


async def test_memory_is_bounded_under_invented_ids(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_file, "WANTED_MAX", 5_000)
    monkeypatch.setattr(gossip_file, "KNOWN_MAX", 4_000)
    bench = Bench(P)
    for start in range(0, 20_000, ANNOUNCE_MAX):
        ids = [(start + n).to_bytes(32, "big") for n in range(ANNOUNCE_MAX)]
        bench.hear(P, TransactionKind.ANNOUNCE, ids)
    assert len(bench.gossip._wanted) == 5_000
    known = bench.gossip._known[P]
    assert len(known._new) + len(known._old) <= 4_000
    bench.gossip.forget_peer(P)
    assert bench.gossip._known == {}


def test_a_bounded_memory_forgets_the_older_half() -> None:
    known = Known(10)
    for number in range(12):
        known.add(bytes((number,)))
    assert bytes((11,)) in known and bytes((5,)) in known
    assert bytes((0,)) not in known


@pytest.mark.parametrize("kind", list(TransactionKind))
def test_rubbish_is_refused_by_name(kind: TransactionKind) -> None:
    bench = Bench()
    with pytest.raises(Malformed):
        bench.gossip.on_message(P, kind, b"rubbish")


def test_ids_are_those_of_the_signed_bytes() -> None:
    noted: list[Any] = [wtx_id_of(raw) for raw in RAWS]
    assert noted == IDS


async def test_what_waits_for_long_is_announced_again(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A full channel drops what it cannot hold: a payment that only this node knows would wait
    until it expires, although it was called accepted."""
    bench = Bench(P, Q)
    nursery.start_soon(bench.gossip.run)
    bench.add(*ITEMS[:2])
    await trio.sleep(REMIND_PERIOD_S + 1)
    assert bench.sent == []
    bench.add(ITEMS[2])
    await trio.sleep(REMIND_PERIOD_S)
    for peer in (P, Q):
        assert bench.got(peer, TransactionKind.ANNOUNCE) == IDS[:2]
    # What came into a block meanwhile is not spoken of again.
    bench.pool.clear()
    bench.sent.clear()
    await trio.sleep(3 * REMIND_PERIOD_S)
    assert bench.sent == []
    nursery.cancel_scope.cancel()
