"""Who may do what at a node's HTTP port, and what it says of itself there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from clawpurse.ledger.errors import StorageFault
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.node.app import Node
from tests.node.rpc.nodeworld import TOKEN, NodeWorld, Running, hexed, text_of, until

JSON_TYPE = "Content-Type: application/json\r\n"


class Answer:
    """A response: status, fields in lower case, body."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split(" ")[1])
        pairs = (line.partition(": ") for line in lines)
        self.fields = {name.lower(): value for name, _, value in pairs}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def calls_counted(node: Running) -> list[str]:
    """What the metrics say of calls."""
    lines = node.node.metrics.exposition().decode().splitlines()
    return [line for line in lines if line.startswith("clawpurse_rpc_call_seconds")]


async def send(
    node: Running, method: str, path: str, body: bytes = b"", fields: str = "", host: str = ""
) -> Answer:
    """One request on a connection of its own, in bytes."""
    return await exchange(
        await node.stream(),
        f"{method} {path} HTTP/1.1\r\nHost: {host or 'localhost'}\r\nConnection: close\r\n"
        f"{fields}Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
    )


async def exchange(stream: trio.abc.Stream, request: bytes) -> Answer:
    await stream.send_all(request)
    data = b""
    with trio.fail_after(30):
        while True:
            try:
                piece = await stream.receive_some(65_536)
            except trio.BrokenResourceError:
                break
            if not piece:
                break
            data += bytes(piece)
    await stream.aclose()
    return Answer(data)


def request(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


# -- the operator's methods


async def test_only_the_operators_token_stops_a_node(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Whoever shares the machine, or a page in its browser, cannot end the daemon."""
    bare = await node.refusal("admin_stop")
    assert (bare.code, bare.message) == (-32006, "unauthenticated")
    with pytest.raises(RpcError) as caught:
        await node.client(token="0123456789abcdef-wrong").call("admin_stop")
    assert caught.value.code == -32006
    assert not node.node.stopped.is_set()
    assert await node.client(token=TOKEN).call("admin_stop") == {"stopping": True}
    with trio.fail_after(60):
        await node.node.ended.wait()
    assert world.nodes


async def test_a_token_without_the_role_is_forbidden(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A token for something else is told apart from no token."""
    dispatcher = node.node.ports.rpc._application._dispatcher  # type: ignore[attr-defined]
    context = Context(grant=Grant("t-1", "reader", read_scopes(["chain_*"])))
    answer = json.loads(dispatcher.answer(request("admin_stop"), context))
    assert answer["error"]["code"] == -32007
    assert world.nodes


async def test_one_clients_budget_is_not_anothers(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """A program that asks without end slows itself down only, and is told for how long."""
    world = make_world()
    node = await world.node(rpc_cost_per_second=100)

    def client(address: str) -> RpcClient:
        return RpcClient(
            "http://localhost",
            connect=lambda: node.stream(Peer(address, address)),
            jitter=lambda: 0.0,
        )

    greedy, modest = client("10.0.0.1"), client("10.0.0.2")
    limited = None
    for _ in range(100):
        try:
            await greedy.call("tx_simulate", {"tx": "0x92"}, retry=False)
        except RpcError as error:
            if error.message == "rateLimited":
                limited = error
                break
    assert limited is not None
    assert (limited.code, limited.retryable) == (-32005, True)
    assert limited.facts["retryAfterMs"] > 0
    assert (await modest.call("chain_getStatus"))["height"] == 0
    await trio.sleep(limited.facts["retryAfterMs"] / 1000 + 0.01)
    assert (await greedy.call("chain_getStatus"))["height"] == 0


async def test_the_faucet_is_for_test_networks_and_the_patient(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Real networks have none; test networks pay everybody, ten times a minute."""
    answer = await node.call("faucet_request", text_of(world.carol))
    assert (answer["asset"], answer["amount"]) == ("CLAW", "100000")
    ended = await node.call("tx_wait", txId=answer["txId"])
    assert ended["receipt"]["code"] == "ok"
    for _ in range(9):
        await node.call("faucet_request", account=text_of(world.carol))
    error = await node.refusal("faucet_request", account=text_of(world.carol))
    assert (error.code, error.message) == (-32005, "rateLimited")
    assert 0 < error.facts["retryAfterMs"] <= 60_000
    other = await node.call("faucet_request", account=text_of(world.bob))
    assert other["txId"] != answer["txId"]


async def test_a_network_that_matters_has_no_faucet(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Money out of nothing is a method that is not there."""
    world = make_world(test_network=False)
    node = await world.node()
    error = await node.refusal("faucet_request", account=text_of(world.carol))
    assert (error.code, error.message) == (-32009, "methodDisabled")
    assert (await node.call("chain_getStatus"))["testNetwork"] is False


async def test_every_node_serves_the_faucet(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A follower that only has the genesis pays too, in lanes of its own."""
    follower = await world.node("follower", node)
    await until(lambda: follower.node.services.network.count == 1)
    answers: list[Any] = []

    async def ask(running: Running) -> None:
        answers.append(await running.call("faucet_request", account=text_of(world.carol)))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask, node)
            nursery.start_soon(ask, follower)
    for answer in answers:
        assert (await follower.call("tx_wait", txId=answer["txId"]))["status"] == "final"
    await until(lambda: follower.height == node.height)
    balances = await follower.call("account_getBalances", account=text_of(world.carol))
    assert balances["balances"][0]["amount"] == str(8 * 100_000)


# -- HTTP


async def test_requests_that_a_browser_could_forge_are_refused(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Another page, a rebound name or a form must not reach a node on this machine."""
    world = make_world()
    node = await world.node(
        allowed_hosts=("node.example",), allowed_origins=("https://Wallet.example",)
    )
    body = request("chain_getStatus")

    async def status(fields: str = JSON_TYPE, host: str = "") -> int:
        return (await send(node, "POST", "/", body, fields, host)).status

    assert await status() == 200
    assert await status(host="node.example:9641") == 200
    assert await status(host="evil.example") == 403
    assert await status(JSON_TYPE + "Origin: https://wallet.example\r\n") == 200
    assert await status(JSON_TYPE + "Origin: https://evil.example\r\n") == 403
    assert await status(JSON_TYPE + "Origin: null\r\n") == 403
    assert await status("Content-Type: text/plain\r\n") == 415
    assert await status("") == 415
    assert (await send(node, "GET", "/nothing")).status == 404
    assert (await send(node, "DELETE", "/")).status == 405


async def test_another_page_reaches_nothing_whatever_it_asks_for(
    autojump_clock: MockClock, node: Running
) -> None:
    """Neither sockets, nor the document, nor health, nor a preflight's leave: one answer, 403."""
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    ask = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n"
    body = request("chain_getStatus")
    before = calls_counted(node)
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "file://"):
        page = f"Origin: {origin}\r\n"
        for method, path, fields, payload in (
            ("GET", "/ws", upgrade, b""),
            ("GET", "/openrpc.json", "", b""),
            ("GET", "/readyz", "", b""),
            ("GET", "/", "", b""),
            ("OPTIONS", "/", ask, b""),
            ("OPTIONS", "/openrpc.json", ask, b""),
            ("POST", "/", JSON_TYPE, body),
            ("POST", "/", "Content-Type: text/plain\r\n", body),
        ):
            answer = await send(node, method, path, payload, page + fields)
            assert answer.status == 403, (origin, method, path)
            assert "access-control-allow-origin" not in str(vars(answer)).lower()
    assert calls_counted(node) == before


async def test_sizes_that_nobody_needs_are_refused(
    autojump_clock: MockClock, node: Running
) -> None:
    """A body over 1 MiB is not read, and a batch over 100 is not run."""
    too_large = await send(node, "POST", "/", b" " * (1024 * 1024 + 1), JSON_TYPE)
    assert too_large.status == 413
    one = {"jsonrpc": "2.0", "id": 1, "method": "chain_getStatus"}
    full = await send(node, "POST", "/", json.dumps([one] * 100).encode(), JSON_TYPE)
    assert len(full.json) == 100
    over = await send(node, "POST", "/", json.dumps([one] * 101).encode(), JSON_TYPE)
    assert over.json["error"]["code"] == -32004
    for junk, code in (
        (b"{", -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"chain_getStatu"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"chain_getStatus","params":[1]}', -32602),
    ):
        answer = await send(node, "POST", "/", junk, JSON_TYPE)
        assert answer.json["error"]["code"] == code, junk


async def test_a_misspelt_method_names_the_nearest(
    autojump_clock: MockClock, node: Running
) -> None:
    """The remedy is in the error."""
    error = await node.refusal("chain_getStatus2")
    assert (error.code, error.hint) == (-32601, "did you mean chain_getStatus?")


async def test_health_readiness_page_and_document(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Probes, people and generators of clients each find their address."""
    assert (await send(node, "GET", "/healthz")).json == {"alive": True}
    ready = await send(node, "GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"ready": True, "problems": []})
    page = await send(node, "GET", "/")
    assert page.status == 200
    assert "/assets/node/app.js" in page.body.decode()
    assert "default-src 'none'" in page.fields["content-security-policy"]
    assert (await send(node, "GET", "/assets/kit/style.css")).status == 200
    document = (await send(node, "GET", "/openrpc.json")).json
    assert document == await node.call("rpc_discover")
    follower = await world.node("follower")
    waiting = await send(follower, "GET", "/readyz")
    assert (waiting.status, waiting.json["ready"]) == (503, False)
    assert waiting.json["problems"] == ["0 peers, 1 needed"]
    # The page stands on any node; it asks for the sentence itself.
    assert (await send(follower, "GET", "/")).status == 200


async def test_metrics_count_blocks_calls_and_lag(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What Grafana draws: the scrape parses, and says what happened."""
    await world.final(node, world.pay(world.alice), world.pay(world.bob, amount=10**12))
    await node.refusal("asset_get", asset="NONE")
    await send(node, "GET", "/", host="evil.example")
    await trio.sleep(1)
    assert node.nursery is not None
    ours, theirs = trio.testing.memory_stream_pair()
    node.nursery.start_soon(node.node.ports.metrics.serve_stream, theirs)
    answer = await exchange(
        ours, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answer.status == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert samples["clawpurse_blocks_committed_total",] == node.height
    assert samples["clawpurse_transactions_final_total", "succeeded"] == 1
    assert samples["clawpurse_transactions_final_total", "failed"] == 1
    assert samples["clawpurse_rpc_errors_total", "-32001", "asset_get"] == 1
    assert samples["clawpurse_rpc_call_seconds_count", "tx_wait"] == 2
    assert samples["clawpurse_loop_lag_seconds_count",] > 0
    assert samples["clawpurse_height",] == node.height
    assert samples["clawpurse_peers",] == 0
    assert samples["clawpurse_behind_blocks",] == 0
    assert samples["clawpurse_mempool_transactions",] == 0
    assert samples["clawpurse_ready",] == 1
    assert samples["clawpurse_refusals_total", "host"] == 1


async def test_damage_that_a_call_meets_ends_the_node(
    autojump_clock: MockClock, world: NodeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that cannot read what it wrote must not go on signing on top of it."""
    ended: list[BaseException] = []
    real = Node.run

    async def run(self: Node, **kwargs: Any) -> None:
        try:
            await real(self, **kwargs)
        except BaseExceptionGroup as group:
            fault, rest = group.split(StorageFault)
            assert fault is not None
            assert rest is None
            ended.append(fault)

    monkeypatch.setattr(Node, "run", run)
    node = await world.node()
    await world.final(node, world.pay(world.alice))

    def damaged(_height: int) -> bytes:
        raise StorageFault("Block 1 is damaged.", "", "clawpurse db repair")

    node.node.chain._views.clear()
    monkeypatch.setattr(node.node.chain.blocks, "block", damaged)
    with pytest.raises((Unreachable, RpcError)):
        await node.client().call("chain_getBlock", {"height": 1}, retry=False)
    with trio.fail_after(60):
        await node.node.ended.wait()
    assert len(ended) == 1


async def test_a_fault_of_ours_ends_only_its_call(
    autojump_clock: MockClock, world: NodeWorld, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets an incident id, the log has the rest, everybody else goes on."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(node.node.chain.blocks, "height_of", broken)
    error = await node.refusal("chain_getBlock", hash="0x" + "00" * 32)
    assert (error.code, "secret" in str(error.as_object())) == (-32603, False)
    assert error.facts["incident"]
    paid = world.pay(world.alice)
    assert (await node.call("tx_submit", tx=hexed(paid.raw), wait="final"))["status"] == "final"
