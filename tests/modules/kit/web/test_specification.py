"""JSON-RPC 2.0 over WebSocket, and through clients that others wrote: they get what they expect."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonrpcclient
import pytest
import trio

from clawpurse.modules.kit.web.http_client import Origin
from clawpurse.modules.kit.web.server import bound_port, open_listeners
from clawpurse.modules.kit.web.ws_client import connect_websocket
from tests.modules.kit.web.examples import EXAMPLES, strip
from tests.need import lacking, need

JS = Path(__file__).resolve().parents[3] / "clients" / "js"
SENTINEL = '{"jsonrpc":"2.0","method":"test_echo","params":["done"],"id":"sentinel"}'


async def test_the_examples_hold_over_a_websocket(web: Any) -> None:
    """What is said in one frame is answered in one, or, where there is no answer, in none."""

    async def connect() -> trio.abc.Stream:
        stream: trio.abc.Stream = web.connect().stream
        await trio.lowlevel.checkpoint()
        return stream

    socket = await connect_websocket(Origin("http://localhost"), connect, "/ws")
    for message, expected in EXAMPLES:
        await socket.send(message)
        if expected is not None:
            answer = json.loads(await socket.receive(5_000))
            assert strip(answer) == expected, message
        await socket.send(SENTINEL)
        assert json.loads(await socket.receive(5_000))["id"] == "sentinel", message


def on_a_real_port(
    make_web: Callable[[trio.Nursery], Any], scenario: Callable[[str], None]
) -> list[Any]:
    """Serve the methods of the specification on loopback while `scenario(url)` runs in a thread.

    Returns what notifications brought.
    """

    async def main() -> list[Any]:
        async with trio.open_nursery() as nursery:
            web = make_web(nursery)
            listeners = await open_listeners("127.0.0.1", 0)
            await nursery.start(web.server.run, listeners)
            url = f"http://127.0.0.1:{bound_port(listeners[0])}"
            with trio.fail_after(60):
                await trio.to_thread.run_sync(scenario, url)
            nursery.cancel_scope.cancel()
        calls: list[Any] = web.calls
        return calls

    return trio.run(main)


@pytest.mark.real
def test_a_python_client_of_others_reads_every_kind_of_answer(web_class: Any) -> None:
    """jsonrpcclient, which knows nothing of us, makes the requests and reads the answers."""

    def scenario(url: str) -> None:
        with httpx.Client(timeout=30) as http:

            def send(message: Any) -> Any:
                answer = http.post(url, json=message)
                return jsonrpcclient.parse(answer.json()) if answer.content else None

            def call(*parts: Any) -> Any:
                return send(jsonrpcclient.request(*parts))

            assert call("subtract", (42, 23)).result == 19
            assert call("subtract", (23, 42)).result == -19
            assert call("subtract", {"subtrahend": 23, "minuend": 42}).result == 19
            assert call("get_data").result == ["hello", 5]
            unknown = call("foobar")
            assert isinstance(unknown, jsonrpcclient.Error)
            assert (unknown.code, unknown.message) == (-32601, "Method not found")
            assert call("subtract", ("42", 23)).code == -32602
            assert call("test_missing").data["class"] == "failed"
            assert send(jsonrpcclient.notification("notify_hello", (7,))) is None
            batch = [
                jsonrpcclient.request("sum", (1, 2, 4), id="1"),
                jsonrpcclient.notification("notify_hello", (8,)),
                jsonrpcclient.request("subtract", (42, 23), id="2"),
                {"foo": "boo"},
                jsonrpcclient.request("foo.get", {"name": "myself"}, id="5"),
                jsonrpcclient.request("get_data", id="9"),
            ]
            answers = {answer.id: answer for answer in send(batch)}
            assert answers["1"].result == 7
            assert answers["2"].result == 19
            assert answers[None].code == -32600
            assert answers["5"].code == -32601
            assert answers["9"].result == ["hello", 5]
            assert send([jsonrpcclient.notification("notify_hello", (9,))]) is None
            assert send([]).code == -32600

    assert on_a_real_port(web_class, scenario) == [7, 8, 9]


@pytest.mark.real
def test_a_javascript_client_of_others_reads_every_kind_of_answer(web_class: Any) -> None:
    """json-rpc-2.0 from npm, by fetch and by the WebSocket of its platform."""
    node = need("node", "to run a JSON-RPC client in JavaScript")
    if not (JS / "node_modules" / "json-rpc-2.0").is_dir():
        lacking("the npm package json-rpc-2.0 is not installed", "npm ci --prefix tests/clients/js")
    found: dict[str, Any] = {}

    def scenario(url: str) -> None:
        command = [node, "--experimental-websocket", str(JS / "specification.mjs"), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        found.update(json.loads(done.stdout))

    assert on_a_real_port(web_class, scenario) == [7, 7]
    for way in ("http", "webSocket"):
        said = found[way]
        results = {name: one["result"] for name, one in said.items() if "result" in one}
        assert results == {
            "positional": 19,
            "turned": -19,
            "named": 19,
            "data": ["hello", 5],
            "later": "später ✓",
        }
        assert {name: said[name]["code"] for name in ("unknown", "wrong", "missing")} == {
            "unknown": -32601,
            "wrong": -32602,
            "missing": -32001,
        }
        assert "block 7" in said["missing"]["reason"]
        by_id = {answer["id"]: answer for answer in said["batch"]}
        assert (by_id["1"]["result"], by_id["2"]["result"]) == (7, 19)
        assert by_id["5"]["error"]["code"] == -32601
        assert said["at_once"] == [2 * n for n in range(50)]
