"""Many clients that ask for the dearest things: blocks go on, others are served, they are told."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.transactions import Body, Role
from clawpurse.modules.faucet.keys import faucet_seed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import LIMIT_EXCEEDED, RATE_LIMITED
from clawpurse.wallet.builder import sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.e2e.conftest import Net, free_base_port, runner

pytestmark = pytest.mark.real
# Blocks under the flood are at most so many times as far apart as without it (the median), or
# FLOOR_MS, whichever is more: below that both are what two cores that other tests share make of it.
FACTOR = 3
FLOOR_MS = 1_500
CLIENTS, BLOCKS = 12, 8
CLIENTS_FULL, BLOCKS_FULL = 30, 20
CALLS = 100
# Budgets are by address. More of them than this and each gets so little of two cores that it
# stays below its budget: then nobody asks too often, which is what is tried here.
ADDRESSES = 6
# What callers from elsewhere get by default; this machine's own get more than it can serve.
COST_PER_SECOND = 5_000
PAY_PERIOD_S = 0.1
# No lane that an authority's faucet pays from.
LANE = 63
PATIENCE_S = 60


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """One authority whose callers here have the budget of callers from elsewhere."""
    root = tmp_path_factory.mktemp("flood")
    run, folder = runner(root / "client"), root / "net"
    start = ("testnet", "start", "--authorities", 1, "--home", folder, "--detach", "--json")
    facts = run(*start, "--base-port", free_base_port(1)).json()
    run("testnet", "stop", "--home", folder)
    node = folder / "authority-1"
    run("config", "set", "rpc_cost_per_second", COST_PER_SECOND, "--home", node, "--json").json()
    try:
        run(*start).json()
        yield Net(run, facts, folder, root / "client", "")
    finally:
        run("stop", "--home", folder)


class Payer:
    """Pays from the faucet's account at the node that is flooded."""

    def __init__(self, net: Net, client: RpcClient) -> None:
        self.genesis = Genesis.from_json(Path(net.facts["genesis"]).read_bytes())
        seed = faucet_seed(self.genesis.chain_id, self.genesis.time_ms)
        self.key = SigningKey(seed)
        assert self.key.account == public_key_of(seed)
        self.client = client
        self.sequence = 0

    async def gaps_ms(self, blocks: int) -> list[int]:
        """Pay without rest until so many blocks more are final; return the times between them."""
        status = await self.client.call("chain_getStatus")
        first, until_ms = int(status["height"]), int(status["timeMs"]) + 3_600_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pay, nursery, until_ms)
            with trio.fail_after(PATIENCE_S):
                while int((await self.client.call("chain_getStatus"))["height"]) <= first + blocks:
                    await trio.sleep(PAY_PERIOD_S)
            nursery.cancel_scope.cancel()
        times = [
            int((await self.client.call("chain_getBlock", {"height": height}))["header"]["timeMs"])
            for height in range(first + 1, first + blocks + 2)
        ]
        return [late - early for early, late in pairwise(times)]

    async def _pay(self, nursery: trio.Nursery, until_ms: int) -> None:
        """Hand in a payment now and then, whether or not those before were answered."""
        while True:
            body = Body(
                self.genesis.chain_id, self.genesis.hash, self.key.account, LANE, self.sequence, 0,
                until_ms, None, 1, None, (transfer_action("CLAW", bytes(32), 1),), b"", None,
            )  # fmt: skip
            self.sequence += 1
            raw = sign_body(body, [(Role.SENDER, self.key)]).raw
            nursery.start_soon(self.client.call, "tx_submit", {"tx": "0x" + raw.hex()})
            await trio.sleep(PAY_PERIOD_S)


class Flood:
    """Clients of addresses of their own, each with a connection that never rests."""

    def __init__(self, port: int, account: str) -> None:
        dear = {
            "jsonrpc": "2.0", "id": 1, "method": "account_getTransactions",
            "params": {"account": account, "limit": 500},
        }  # fmt: skip
        self.port = port
        self.bodies = [json.dumps([dear] * count).encode() for count in (CALLS, CALLS + 1)]
        self.errors: dict[int, dict[str, Any]] = {}
        self.answered = 0

    async def client(self, number: int) -> None:
        address = f"127.7.0.{number % ADDRESSES + 1}"
        while True:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address)
            try:
                for turn in range(1_000):
                    await self.ask(stream, self.bodies[turn % 5 == 0])
            except (trio.BrokenResourceError, EOFError):
                # A node may close on who asks too much.
                await trio.sleep(0.05)
            finally:
                await trio.aclose_forcefully(stream)

    async def ask(self, stream: trio.SocketStream, body: bytes) -> None:
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json"
        await stream.send_all(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        data = bytearray()
        while b"\r\n\r\n" not in data:
            data += await self.some(stream)
        fields, _, rest = bytes(data).partition(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in fields.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        ]
        answer = bytearray(rest)
        while len(answer) < lengths[0]:
            answer += await self.some(stream)
        self.note(json.loads(answer))

    async def some(self, stream: trio.SocketStream) -> bytes:
        data = bytes(await stream.receive_some(65_536))
        if not data:
            raise EOFError
        return data

    def note(self, answer: Any) -> None:
        for one in answer if isinstance(answer, list) else [answer]:
            if "error" in one:
                self.errors.setdefault(one["error"]["code"], one["error"])
            else:
                self.answered += 1


@pytest.mark.parametrize(
    ("clients", "blocks"),
    [(CLIENTS, BLOCKS), pytest.param(CLIENTS_FULL, BLOCKS_FULL, marks=pytest.mark.full)],
)
def test_a_flood_of_dear_calls_does_not_stop_blocks(
    budgeted: Net, clients: int, blocks: int
) -> None:
    """Whoever asks without end slows himself down, and neither payments nor other callers."""

    async def main() -> None:
        async with RpcClient(budgeted.rpc, timeout_ms=PATIENCE_S * 1000) as client:
            payer = Payer(budgeted, client)
            listed = await client.call(
                "account_getSequence", {"account": budgeted.facts["faucet"], "lane": LANE}
            )
            payer.sequence = int(listed["sequence"])
            calm = await payer.gaps_ms(blocks)
            flood = Flood(int(budgeted.rpc.rpartition(":")[2]), budgeted.facts["faucet"])
            async with trio.open_nursery() as nursery:
                for number in range(clients):
                    nursery.start_soon(flood.client, number)
                with trio.fail_after(PATIENCE_S):
                    while not {RATE_LIMITED, LIMIT_EXCEEDED} <= set(flood.errors):
                        await trio.sleep(0.01)
                flooded = await payer.gaps_ms(blocks)
                health = await client.call("node_getHealth")
                nursery.cancel_scope.cancel()
        print(f"between blocks: {calm} ms calm, {flooded} ms flooded; {flood.answered} answers")
        assert statistics.median(flooded) <= max(FACTOR * statistics.median(calm), FLOOR_MS)
        assert health["ready"], health
        assert flood.answered
        assert set(flood.errors) == {RATE_LIMITED, LIMIT_EXCEEDED}, flood.errors
        slow, much = flood.errors[RATE_LIMITED], flood.errors[LIMIT_EXCEEDED]
        assert slow["message"] == "rateLimited"
        assert (slow["data"]["class"], slow["data"]["retryable"]) == ("retry", True)
        assert slow["data"]["retryAfterMs"] > 0
        assert much["message"] == "limitExceeded"
        assert (much["data"]["class"], much["data"]["retryable"]) == ("failed", False)
        assert all(error["data"]["reason"] and error["data"]["hint"] for error in (slow, much))

    trio.run(main)
