"""A network of real processes under load, killed and restarted, and what must hold afterwards.

One scenario with sizes; the seed decides who is killed when, and is printed.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from clawpurse.cli.network import LocalNetwork, create_network
from clawpurse.cli.processes import has_ended, node_config, rpc_url, spawn, wait_ready
from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.transactions import Body, RawAction, Role, encode_transaction, sign_entry
from clawpurse.modules.faucet.keys import faucet_seed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable

SETTLE_TIMEOUT_S = 90.0
FIRST_LANE = 32


def free_base_port(nodes: int) -> int:
    """Return a base port under which nobody listens; another process may still be faster."""
    for base in random.Random(os.getpid() ^ time.time_ns()).sample(range(20_000, 55_000, 100), 50):
        try:
            for port in range(base, base + 10 * nodes):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Ledgerbook:
    """What callers were told: the promises that must be kept."""

    def __init__(self) -> None:
        self.accepted: dict[str, int] = {}
        self.final: dict[str, tuple[int, int, str]] = {}


class Processes:
    """The nodes of one network as processes of this test."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.pids: dict[int, int] = {}
        self.clients = [RpcClient(self.url(i), timeout_ms=20_000) for i in range(self.count)]

    @property
    def count(self) -> int:
        return len(self.network.homes)

    def url(self, index: int) -> str:
        return rpc_url(node_config(self.network.homes[index]))

    async def start(self, indexes: Sequence[int]) -> None:
        for index in indexes:
            self.pids[index] = spawn(self.network.homes[index])
        await wait_ready({self.pids[i]: self.network.homes[i] for i in indexes})

    async def kill(self, indexes: Sequence[int]) -> None:
        """kill -9, and reap."""
        for index in indexes:
            os.kill(self.pids[index], signal.SIGKILL)
        for index in indexes:
            pid = self.pids.pop(index)
            with trio.fail_after(10):
                while not has_ended(pid):
                    await trio.sleep(0.01)

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await self.kill(list(self.pids))
            for client in self.clients:
                await client.aclose()


class Payer:
    """Sends payments of the faucet's account in one lane through one node, and keeps count."""

    def __init__(self, nodes: Processes, index: int, book: Ledgerbook) -> None:
        genesis = Genesis.from_json(nodes.network.genesis_file.read_bytes())
        self._genesis = genesis
        self._seed = faucet_seed(genesis.chain_id, genesis.time_ms)
        self._account = crypto.public_key_of(self._seed)
        self._nodes = nodes
        self._index = index
        self._lane = FIRST_LANE + index
        self._book = book
        self.sent = 0

    def signed(self, sequence: int) -> bytes:
        genesis = self._genesis
        body = Body(
            genesis.chain_id,
            genesis.hash,
            self._account,
            self._lane,
            sequence,
            0,
            int(time.time() * 1000) + 3_600_000,
            None,
            genesis.params.fee_min,
            None,
            (RawAction("assets.transfer", ["CLAW", bytes([self._index + 1]) * 32, 1]),),
        ).pack()
        entry = sign_entry(self._seed, genesis.hash, Role.SENDER, self._account, body)
        return encode_transaction(body, [entry])

    async def run(self, period_s: float) -> None:
        """Pay until cancelled; a node that is down is waited for."""
        client = self._nodes.clients[self._index]
        sequence: int | None = None
        while True:
            try:
                if sequence is None:
                    found = await client.call(
                        "account_getSequence",
                        {"account": account_text(self._account), "lane": self._lane},
                    )
                    sequence = found["sequence"]
                raw = self.signed(sequence)
                wait = "final" if sequence % 3 == 0 else "accepted"
                answer = await client.call(
                    "tx_submit", {"tx": "0x" + raw.hex(), "wait": wait}, retry=False
                )
                self._note(answer)
                sequence += 1
                self.sent += 1
            except (Unreachable, BadAnswer, RpcError):
                # Down, or a crash took what was only pending: ask the chain where we stand.
                sequence = None
                await trio.sleep(0.05)
            await trio.sleep(period_s)

    def _note(self, answer: dict[str, Any]) -> None:
        self._book.accepted[answer["txId"]] = self._index
        if answer["status"] == "final":
            self._book.final[answer["txId"]] = (
                answer["height"],
                answer["index"],
                answer["receipt"]["code"],
            )


async def check(nodes: Processes, book: Ledgerbook) -> dict[str, int]:
    """Wait until nothing is pending, then hold every node to every promise."""
    deadline = trio.current_time() + SETTLE_TIMEOUT_S
    statuses: dict[str, str] = {}
    for tx_id, index in book.accepted.items():
        left_ms = max(1, int((deadline - trio.current_time()) * 1000))
        found = await nodes.clients[index].call(
            "tx_wait", {"txId": tx_id, "timeoutMs": min(left_ms, 20_000)}
        )
        statuses[tx_id] = found["status"]
    lost = [tx_id for tx_id, status in statuses.items() if status not in _ENDS]
    assert not lost, f"{len(lost)} accepted payments were lost, such as {lost[0]}"
    heights = await _same_height(nodes, deadline)
    for index, client in enumerate(nodes.clients):
        for tx_id, expected in book.final.items():
            receipt = await client.call("tx_getReceipt", {"txId": tx_id})
            found_place = (receipt["height"], receipt["index"], receipt["code"])
            assert found_place == expected, f"node {index} changed a final payment {tx_id}"
        state = await client.call("consensus_getState")
        assert state["evidenceSeen"] == 0, f"node {index} saw an authority sign twice"
    await _same_blocks(nodes, heights)
    return {"accepted": len(book.accepted), "final": len(book.final), "height": heights}


_ENDS = frozenset(("final", "expired", "replaced"))


async def _same_height(nodes: Processes, deadline: float) -> int:
    while True:
        statuses = [await client.call("chain_getStatus") for client in nodes.clients]
        places = {(s["height"], s["stateRoot"], s["hash"]) for s in statuses}
        if len(places) == 1:
            return int(statuses[0]["height"])
        assert trio.current_time() < deadline, f"nodes do not meet: {places}"
        await trio.sleep(0.1)


async def _same_blocks(nodes: Processes, height: int) -> None:
    """Compare ids of the last blocks: one height has one block on every node, for ever."""
    for at in range(max(1, height - 40), height + 1):
        ids = [
            (await client.call("chain_getBlock", {"height": at}))["header"]["hash"]
            for client in nodes.clients
        ]
        assert len(set(ids)) == 1, f"two blocks are final at height {at}: {ids}"


async def kill_scenario(folder: Path, seed: int, *, kills_of_all: int, kills_of_one: int) -> None:
    """Four authorities under load; `kills_of_one` single kills, then `kills_of_all` of all."""
    chance = random.Random(seed)
    network = create_network(folder, 4, free_base_port(4), int(time.time() * 1000))
    nodes = Processes(network)
    book = Ledgerbook()
    print(f"kill scenario, seed {seed}")
    try:
        await nodes.start(range(4))
        async with trio.open_nursery() as nursery:
            payers = [Payer(nodes, index, book) for index in range(4)]
            for payer in payers:
                nursery.start_soon(payer.run, 0.01)
            for _ in range(kills_of_one):
                await _kill_one(nodes, chance)
            for number in range(kills_of_all):
                await trio.sleep(chance.uniform(0.2, 1.5))
                await nodes.kill(list(nodes.pids))
                await nodes.start(range(4))
                await _await_progress(nodes, f"kill of all, number {number + 1}")
            nursery.cancel_scope.cancel()
        print(await check(nodes, book))
    finally:
        await nodes.close()


async def _kill_one(nodes: Processes, chance: random.Random) -> None:
    victim = chance.randrange(nodes.count)
    await trio.sleep(chance.uniform(0.2, 1.0))
    await nodes.kill([victim])
    others = [client for index, client in enumerate(nodes.clients) if index != victim]
    before = (await others[0].call("chain_getStatus"))["height"]
    with trio.fail_after(30):
        while (await others[0].call("chain_getStatus"))["height"] < before + 2:
            await trio.sleep(0.05)
    await nodes.start([victim])


async def _await_progress(nodes: Processes, what: str) -> None:
    before = max([(await c.call("chain_getStatus"))["height"] for c in nodes.clients])
    with trio.move_on_after(40) as scope:
        for client in nodes.clients:
            while (await client.call("chain_getStatus"))["height"] <= before:
                await trio.sleep(0.05)
    assert not scope.cancelled_caught, f"no progress after {what}"
