"""Pages of strangers at a node that is open to others: whatever they send reaches nothing.

Over real sockets at an address of its own, with every call needing a token, as behind a proxy.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
import trio

from clawpurse.modules.kit.web.server import bound_port, open_listeners
from tests.node.rpc.nodeworld import TOKEN, hexed, node_world

pytestmark = pytest.mark.real
ADDRESS = "127.0.0.2"
NAME, SHOP = "pay.example", "https://shop.example"
JSON_TYPE = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": f"clawpurse.v1, bearer.{TOKEN}",
}
# What a page of somebody else can have its visitor's browser send, the visitor's token included.
STRANGERS = (
    ("a name that was rebound to our address", {"Host": "evil.example"}, 403),
    ("a name that only begins like ours", {"Host": f"{NAME}.evil.example"}, 403),
    ("a page elsewhere", {"Host": NAME, "Origin": "https://evil.example"}, 403),
    ("a page elsewhere at our port", {"Host": NAME, "Origin": f"https://{NAME}.evil.example"}, 403),
    ("a page without an origin", {"Host": NAME, "Origin": "null"}, 403),
    ("a form", {"Host": NAME, "Content-Type": "text/plain"}, 415),
    ("a form of old", {"Host": NAME, "Content-Type": "application/x-www-form-urlencoded"}, 415),
    ("a file of a form", {"Host": NAME, "Content-Type": "multipart/form-data; boundary=x"}, 415),
)


def ask(port: int, method: str, path: str, fields: dict[str, str], body: bytes = b"") -> Any:
    """One request from this machine's second address; (status, fields, body)."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=30, source_address=(ADDRESS, 0))
    try:
        connection.request(method, path, body or None, fields)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, b"" if answer.status == 101 else answer.read()
    finally:
        connection.close()


def test_pages_of_strangers_reach_nothing_and_listed_ones_do() -> None:
    """A visitor of any web page would else pay, or stop his node, by looking at it."""

    async def main() -> None:
        ports: list[int] = []

        async def listen(host: str, port: int) -> list[trio.SocketListener]:
            listeners = await open_listeners(host, port)
            ports.append(bound_port(listeners[0]))
            return listeners

        async with node_world() as world:
            node = await world.node(
                listen=listen,
                rpc_listen=f"{ADDRESS}:0",
                metrics_listen=f"{ADDRESS}:0",
                rpc_tls_by_proxy=True,
                allowed_hosts=(NAME,),
                allowed_origins=(SHOP,),
            )
            paid = world.pay(world.alice)
            calls = [("tx_submit", {"tx": hexed(paid.raw)}), ("admin_stop", {})]

            def bodies() -> list[bytes]:
                return [
                    json.dumps(
                        {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                    ).encode()
                    for method, params in calls
                ]

            async def send(
                method: str, path: str, fields: dict[str, str], body: bytes = b""
            ) -> Any:
                return await trio.to_thread.run_sync(ask, ports[0], method, path, fields, body)

            with trio.fail_after(120):
                for who, fields, status in STRANGERS:
                    for body in bodies():
                        got, headers, said = await send("POST", "/", JSON_TYPE | fields, body)
                        assert got == status, (who, said)
                        assert "access-control-allow-origin" not in headers, who
                    if status == 403:
                        got, *_ = await send("GET", "/ws", UPGRADE | fields)
                        assert got == 403, who
                        got, *_ = await send("GET", "/", fields)
                        assert got == 403, who
                assert len(node.node.pool) == 0
                assert not node.node.stopped.is_set()
                for fields in ({"Host": NAME}, {"Host": f"{NAME}:443", "Origin": SHOP}):
                    got, headers, said = await send("POST", "/", JSON_TYPE | fields, bodies()[0])
                    assert (got, "result" in json.loads(said)) == (200, True), said
                    assert headers.get("access-control-allow-origin") == fields.get("Origin")
                    assert (await send("GET", "/ws", UPGRADE | fields))[0] == 101
                bare = {"Host": NAME, "Content-Type": "application/json"}
                assert (await send("POST", "/", bare, bodies()[0]))[0] == 401
            await world.stop(node)

    trio.run(main)
