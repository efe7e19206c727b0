"""What a light client keeps between runs, and how it asks nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from clawpurse.ledger.errors import StorageFault
from clawpurse.modules.kit.web.errors import RATE_LIMITED, RpcError
from clawpurse.wallet.light import Cause, LightClient, follow_chain
from clawpurse.wallet.light_compare import Standing
from clawpurse.wallet.light_source import NodeSource
from clawpurse.wallet.light_store import BLOCKS_MAX, TrustedBlocks
from tests.ledger.lightworld import LightWorld
from tests.wallet.lightnodes import (
    FakeRpc,
    FakeSource,
    P,
    V,
    W,
    not_verified,
    standings,
    verified,
)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"genesisHash": "0x', '"genesisHash": "0x00'),
        lambda text: text.replace("0x94c5", "0x94c6"),
        lambda text: text.replace('"fork": null', '"fork": [1]'),
        lambda text: text.replace('"blocks": [', '"blocks": ["zz",'),
        lambda text: "[]",
    ],
)
def test_a_damaged_store_is_reported_and_not_believed(
    world: LightWorld, store: TrustedBlocks, damage: Callable[[str], str]
) -> None:
    store.keep(world.genesis.hash, world.blocks[5], world.blocks[6])
    path = store.file_of(world.genesis.hash)
    before = path.read_text()
    path.write_text(damage(before))
    if path.read_text() == before:
        # Nothing to replace there: bend a byte of the first block instead.
        path.write_text(before.replace("6c69676874", "6c69676875", 1))
    assert path.read_text() != before
    with pytest.raises(StorageFault, match="damaged"):
        store.load(world.genesis.hash)


def test_networks_are_kept_apart(store: TrustedBlocks) -> None:
    first, second = LightWorld(height=3), LightWorld(height=3, fee_min=1)
    store.keep(first.genesis.hash, first.blocks[3])
    assert store.load(second.genesis.hash).blocks == ()
    store.file_of(first.genesis.hash).rename(store.file_of(second.genesis.hash))
    with pytest.raises(StorageFault, match="another network"):
        store.load(second.genesis.hash)


async def test_only_so_many_blocks_are_kept(store: TrustedBlocks) -> None:
    world = LightWorld(height=BLOCKS_MAX + 5)
    for height in range(1, world.height + 1):
        store.keep(world.genesis.hash, world.blocks[height])
    kept = store.load(world.genesis.hash)
    assert [block.height for block in kept.blocks] == list(range(6, BLOCKS_MAX + 6))


# -- over JSON-RPC


async def test_programs_follow_a_chain_with_one_call(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    opened: list[FakeRpc] = []

    def open_client(url: str) -> Any:
        opened.append(FakeRpc(FakeSource(world, url)))
        return opened[-1]

    found = await follow_chain(
        P,
        [W, V],
        lambda: world.now_ms,
        genesis_hash=world.genesis.hash,
        store=store,
        open_client=open_client,
    )
    assert verified(found).agreed == 2
    assert [client.closed for client in opened] == [True] * 3


BENT: list[Callable[[Any], Any]] = [
    lambda answer: None,
    lambda answer: [],
    lambda answer: {},
    lambda answer: {**answer, "header": None},
    lambda answer: {**answer, "header": {"raw": 5}},
    lambda answer: {**answer, "header": {"raw": "0x" + "00" * 5_000}},
    lambda answer: {**answer, "header": {"raw": answer["header"]["raw"].upper()}},
    lambda answer: {**answer, "header": {"raw": "0xzz"}},
    lambda answer: {**answer, "certificate": {"raw": "0x"}},
    lambda answer: {**answer, "authorities": answer["header"]},
]


@pytest.mark.parametrize("number", range(len(BENT)))
async def test_whatever_a_node_answers_it_is_no_block_or_told(
    autojump_clock: trio.testing.MockClock, world: LightWorld, number: int
) -> None:
    bent = NodeSource(FakeRpc(FakeSource(world, P), BENT[number]))  # type: ignore[arg-type]
    honest = FakeSource(world, W)
    one = LightClient(bent, [honest], lambda: world.now_ms, genesis_hash=world.genesis.hash)
    not_verified(await one.follow(), Cause.PRIMARY)
    two = LightClient(honest, [bent], lambda: world.now_ms, genesis_hash=world.genesis.hash)
    found = not_verified(await two.follow(), Cause.UNWITNESSED)
    assert standings(found) == [Standing.FAULTY]


async def test_a_busy_node_is_given_time(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """A node's budget for one client must not look like a lie or an outage."""

    class Busy(FakeRpc):
        refused = 0

        async def call(self, method: str, params: Any = None, **options: Any) -> Any:
            if self.refused < 3:
                self.refused += 1
                raise RpcError(RATE_LIMITED, "too much", facts={"retryAfterMs": 700})
            return await super().call(method, params, **options)

    busy = NodeSource(Busy(FakeSource(world, P)))  # type: ignore[arg-type]
    before = trio.current_time()
    assert await busy.block(3) == world.blocks[3]
    assert trio.current_time() - before == pytest.approx(2.1)
