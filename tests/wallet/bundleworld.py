"""A real node's short history, and bundles of it: gathered once by the real source.

`Recorded` keeps every answer of the node, so that commands can be run against them without one.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from clawpurse.ledger.kernel.records import account_key
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.wallet.builder import sign_body, transfer_action
from clawpurse.wallet.bundle_source import BundleSource, Wanted
from clawpurse.wallet.bundles import Scope
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.home import Network
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import REGISTRY, NodeWorld, Running, run_world, until

ALICE, BOB, CAROL = (SigningKey(bytes([n]) * 32) for n in (0xA1, 0xB0, 0xC0))


class Recorder:
    """What `NodeClient` uses of `RpcClient`, kept with what it answered."""

    url = "http://localhost"

    def __init__(self, running: Running, kept: dict[str, Any]) -> None:
        self._client = running.client()
        self._kept = kept

    async def call(self, method: str, params: dict[str, Any] | None = None, **_options: Any) -> Any:
        answer = await self._client.call(method, params)
        self._kept[question(method, params)] = answer
        return answer

    async def aclose(self) -> None:
        await self._client.aclose()


def question(method: str, params: dict[str, Any] | None) -> str:
    return json.dumps([method, params or {}], sort_keys=True)


class Recorded(NamedTuple):
    """Bundles by name, and every question that gathering them asked with its answer."""

    genesis_hash: bytes
    bundles: dict[str, Any]
    answers: dict[str, Any]
    tx_ids: list[bytes]
    height: int


@cache
def recorded() -> Recorded:
    """Payments, a failure, five in one block, due work; exported in every way."""
    return run_world(_record, authorities=1)  # type: ignore[no-any-return]


async def _record(world: NodeWorld) -> Recorded:
    node = await world.node()
    made = [
        world.pay(world.alice, amount=1000, memo=b"Invoice 7\x1b[2J"),
        world.pay(world.bob, target=ALICE.account, amount=5, asset="EUR"),
        world.pay(world.alice, amount=10**12),
        sign_body(
            world.body(
                world.alice,
                transfer_action("CLAW", BOB.account, 7),
                transfer_action("EUR", CAROL.account, 8),
                lane=3,
            ),
            [(Role.SENDER, world.alice)],
        ),
    ]
    for one in made:
        await world.final(node, one)
    pairs = [world.pay(world.alice, amount=n) for n in (1, 2, 3)]
    pairs += [world.pay(world.bob, amount=n) for n in (4, 5)]
    await world.final(node, *pairs)
    later = RawAction(
        "payments.schedule",
        ["EUR", BOB.account, 9, world.clock.now_ms() + 60_000, b"rent", None],
    )
    made.append(sign_body(world.body(world.alice, later), [(Role.SENDER, world.alice)]))
    await world.final(node, made[-1])
    await until(lambda: node.node.chain.next_due_ms() is None, seconds=180)
    answers: dict[str, Any] = {}
    client = NodeClient(
        Network("local", ("http://localhost",)),
        open_client=lambda _url: Recorder(node, answers),  # type: ignore[arg-type,return-value]
    )
    ids = sorted(one.tx_id for one in (made[2], pairs[1]))
    last = node.height
    scopes = {
        "alice": Wanted(Scope("accounts", accounts=(ALICE.account,))),
        "both": Wanted(Scope("accounts", accounts=tuple(sorted((BOB.account, CAROL.account))))),
        "late": Wanted(Scope("accounts", accounts=(ALICE.account,)), first=3),
        "asset": Wanted(Scope("asset", asset="EUR")),
        "heights": Wanted(Scope("heights", heights=(2, last))),
        "ids": Wanted(
            Scope("transactions", ids=tuple(ids)), keys=(("kernel", account_key(b"\x13" * 32)),)
        ),
    }
    bundles = {}
    for name, wanted in scopes.items():
        bundles[name] = await gather(client, wanted, world.genesis.hash)
    await client.terms()
    return Recorded(
        world.genesis.hash, bundles, answers, [one.tx_id for one in [*made, *pairs]], last
    )


async def gather(client: NodeClient, wanted: Wanted, genesis_hash: bytes) -> Any:
    """The bundle as a JSON object, read back from its text."""
    source = BundleSource(client, REGISTRY, wanted)
    head = await source.head(genesis_hash)
    blocks = [block async for block in source.blocks()]
    return json.loads(json.dumps({**head, "blocks": blocks}))
