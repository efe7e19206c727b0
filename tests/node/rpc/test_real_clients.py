"""Programs of others talk to a node over TCP: the standard library, curl, a JSON-RPC client."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import jsonrpcclient
import pytest
import trio

from clawpurse.modules.kit.web.server import bound_port, open_listeners
from tests.node.rpc.nodeworld import TOKEN, NodeWorld, Running, hexed, node_world, text_of

pytestmark = pytest.mark.real

HEADERS = {"Content-Type": "application/json"}


def on_a_real_port(scenario: Callable[[NodeWorld, Running, int], Any]) -> None:
    """Run a node whose HTTP ports are real, and `scenario` in a thread beside it."""

    async def main() -> None:
        ports: list[int] = []

        async def listen(host: str, port: int) -> list[trio.SocketListener]:
            listeners = await open_listeners(host, port)
            ports.append(bound_port(listeners[0]))
            return listeners

        async with node_world() as world:
            node = await world.node(
                listen=listen, rpc_listen="127.0.0.1:0", metrics_listen="127.0.0.1:0"
            )
            with trio.fail_after(120):
                await trio.to_thread.run_sync(scenario, world, node, ports[0])
            await world.stop(node)

    trio.run(main)


def request(method: str, ident: int = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}


def test_the_standard_library_pays_on_one_kept_connection() -> None:
    """A program without any package of ours submits, waits and reads the receipt."""

    def scenario(world: NodeWorld, _node: Running, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def call(method: str, **params: Any) -> Any:
            connection.request("POST", "/", json.dumps(request(method, **params)), HEADERS)
            answer = json.loads(connection.getresponse().read())
            assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
            return answer.get("result", answer.get("error"))

        paid = trio.from_thread.run_sync(world.pay, world.alice)
        final = call("tx_submit", tx=hexed(paid.raw), wait="final")
        assert final["status"] == "final"
        assert call("tx_getReceipt", txId=hexed(paid.tx_id))["code"] == "ok"
        assert call("chain_getStatus")["height"] == final["height"]
        assert call("chain_getBlock", height=99)["code"] == -32001
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"alive": True})
        connection.close()

    on_a_real_port(scenario)


def test_mistakes_get_a_status_and_the_connection_does_not_hang() -> None:
    """Each wrong request ends in an answer that names what was wrong."""

    def scenario(_world: NodeWorld, _node: Running, port: int) -> None:
        def post(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            result = answer.status, answer.read()
            connection.close()
            return result

        good = json.dumps(request("chain_getStatus")).encode()
        assert post(good, {"Content-Type": "text/plain"})[0] == 415
        assert post(good, {"Content-Type": "application/x-www-form-urlencoded"})[0] == 415
        assert post(good, {**HEADERS, "Host": "evil.example"})[0] == 403
        assert post(good, {**HEADERS, "Origin": "https://evil.example"})[0] == 403
        assert post(good, {**HEADERS, "Origin": f"http://127.0.0.1:{port}"})[0] == 200
        assert post(b" " * (1024 * 1024 + 1), HEADERS)[0] == 413
        status, body = post(json.dumps([request("chain_getStatus")] * 101).encode(), HEADERS)
        assert (status, json.loads(body)["error"]["code"]) == (200, -32004)
        status, body = post(b"{nonsense", HEADERS)
        assert (status, json.loads(body)["error"]["code"]) == (200, -32700)
        assert post(good, HEADERS)[0] == 200

    on_a_real_port(scenario)


def test_a_json_rpc_client_of_others_understands_results_errors_and_batches() -> None:
    """Whoever follows the JSON-RPC 2.0 specification needs nothing of ours."""

    def scenario(world: NodeWorld, _node: Running, port: int) -> None:
        url = f"http://127.0.0.1:{port}/"
        with httpx.Client(timeout=60) as client:

            def call(*parts: Any) -> Any:
                answer = client.post(url, json=jsonrpcclient.request(*parts)).json()
                return jsonrpcclient.parse(answer)

            status = call("chain_getStatus")
            assert isinstance(status, jsonrpcclient.Ok)
            assert status.result["chainId"] == "rpc-test"
            named = call("account_getBalances", {"account": text_of(world.alice)})
            positional = call("account_getBalances", (text_of(world.alice),))
            assert named.result == positional.result
            missing = call("asset_get", {"asset": "NONE"})
            assert isinstance(missing, jsonrpcclient.Error)
            assert (missing.code, missing.message) == (-32001, "notFound")
            assert missing.data["retryable"] is False
            batch = [
                jsonrpcclient.request("chain_getStatus", id=1),
                jsonrpcclient.request("chain_nothing", id="two"),
                jsonrpcclient.notification("chain_getStatus"),
                jsonrpcclient.request("asset_get", ("EUR",), id=3),
            ]
            answers = list(jsonrpcclient.parse(client.post(url, json=batch).json()))
            assert [answer.id for answer in answers] == [1, "two", 3]
            assert [type(answer) for answer in answers] == [
                jsonrpcclient.Ok,
                jsonrpcclient.Error,
                jsonrpcclient.Ok,
            ]
            quiet = client.post(url, json=jsonrpcclient.notification("chain_getStatus"))
            assert (quiet.status_code, quiet.content) == (204, b"")

    on_a_real_port(scenario)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_asks_and_stops_the_node_with_the_token() -> None:
    """The line of the documentation works as it stands, and a clean stop answers first."""

    def scenario(_world: NodeWorld, node: Running, port: int) -> None:
        def curl(*arguments: str) -> str:
            done = subprocess.run(
                ["curl", "-sS", "--max-time", "30", f"http://127.0.0.1:{port}/", *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout

        json_type = ("-H", "Content-Type: application/json")
        asked = curl(*json_type, "-d", json.dumps(request("chain_getStatus")))
        assert json.loads(asked)["result"]["chainId"] == "rpc-test"
        assert "/assets/node/app.js" in curl()
        stop = json.dumps(request("admin_stop"))
        assert json.loads(curl(*json_type, "-d", stop))["error"]["code"] == -32006
        token = ("-H", f"Authorization: Bearer {TOKEN}")
        assert json.loads(curl(*json_type, *token, "-d", stop))["result"] == {"stopping": True}
        assert node.node.stopped.is_set()

    on_a_real_port(scenario)


def test_a_client_that_goes_away_ends_nothing_but_its_call() -> None:
    """Half a request, a reset in the middle of an answer: the node goes on for everybody."""

    def scenario(_world: NodeWorld, node: Running, port: int) -> None:
        for beginning in (b"", b"POST", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
                stream.sendall(beginning)
        waiting = request("tx_wait", txId="0x" + "00" * 32, timeoutMs=60_000)
        body = json.dumps(waiting).encode()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            head = (
                f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            stream.sendall(head.encode() + body)
        answer = httpx.post(f"http://127.0.0.1:{port}/", json=request("node_getHealth"), timeout=30)
        assert answer.json()["result"]["ready"]
        assert not node.node.stopped.is_set()

    on_a_real_port(scenario)
