"""The wallet service as it listens: pages of its own, everything else closed; a clean stop."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.pages.site import Site
from clawpurse.wallet.home import ClientHome, Network
from clawpurse.wallet.service import Listening, Settings, check_alone, checked_host, serve
from clawpurse.wallet.service_client import open_service
from clawpurse.wallet.service_tokens import scopes_of
from tests.cli.fakenode import FakeNode
from tests.wallet.servicehouse import CHEAP, DAY_MS, PASSPHRASE, Clock

pytestmark = pytest.mark.real


@asynccontextmanager
async def serving(root: Path, **more: Any) -> AsyncIterator[tuple[Listening, Settings]]:
    """Serve a home with alice, unlocked, and a page, on any free port."""
    clock, node, home = Clock(), FakeNode(), ClientHome(root / "home")
    home.prepare()
    keystore = home.keystore(clock, CHEAP)
    keystore.import_seed("alice", PASSPHRASE, node.chain.alice.reveal_seed())
    keystore.import_seed("bob", PASSPHRASE, node.chain.bob.reveal_seed())
    folder = root / "page"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>wallet</title>")
    given: dict[str, Any] = {
        "port": 0,
        "unlock": [("alice", PASSPHRASE)],
        "site": Site({"wallet": folder}, "wallet/index.html"),
        "open_client": node.open,
        **more,
    }
    settings = Settings(home, keystore, Network("small", ("http://small",)), clock, "test", **given)
    async with trio.open_nursery() as nursery:
        listening: Listening = await nursery.start(serve, settings)
        try:
            yield listening, settings
        finally:
            listening.stop()


def token_of(listening: Listening, *scopes: str) -> dict[str, str]:
    secret, _ = listening.desk.tokens.create("me", scopes_of(scopes), (), DAY_MS)
    return {"Authorization": f"Bearer {secret}"}


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_a_request_names_the_page_where_it_waits(tmp_path: Path) -> None:
    """A person would be told to approve something, and not where."""
    async with serving(tmp_path) as (listening, _), httpx.AsyncClient() as client:
        url = listening.url
        assert url is not None
        page = await client.get(url + "/")
        assert (
            page.status_code == 200
            and "default-src 'none'" in page.headers["content-security-policy"]
        )
        agent = token_of(listening, "wallet_send")
        asked = {"key": "alice", "to": "bob", "amount": "20000", "idempotencyKey": "0x01"}
        answer = await client.post(url, json=message("wallet_send", **asked), headers=agent)
        data = answer.json()["error"]["data"]
        assert data["url"] == f"{url}/#request={data['requestId']}"
        document = (await client.get(url + "/openrpc.json")).json()
        names = {one["name"] for one in document["methods"]}
        assert {"wallet_send", "wallet_approve", "rpc_discover"} <= names
        assert document["info"]["title"] == "ClawPurse wallet"


async def test_strangers_and_other_pages_get_nothing(tmp_path: Path) -> None:
    """Any page in the browser of the home's owner could spend, or learn what there is."""
    async with serving(tmp_path) as (listening, _), httpx.AsyncClient() as client:
        url = str(listening.url)
        mine = token_of(listening, "wallet_*")
        body = message("wallet_list")
        assert (await client.post(url, json=body, headers=mine)).status_code == 200
        for headers, status in (
            ({"Host": "evil.example"}, 403),
            ({"Host": "evil.example:80"}, 403),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Content-Type": "text/plain"}, 415),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ):
            whole = {**mine, "Content-Type": "application/json"} | headers
            answer = await client.post(url, content=json.dumps(body), headers=whole)
            assert answer.status_code == status, (headers, answer.status_code)
        for headers in ({}, {"Authorization": "Bearer cpk_aaaaaaaaaa_" + "A" * 43}):
            answer = await client.post(url, json=body, headers=headers)
            assert answer.json()["error"]["code"] == -32006
        discover = await client.post(url, json=message("rpc_discover"))
        assert discover.json()["error"]["code"] == -32006
        assert b" 413 " in await answered(url, mine, length=1 << 23)


async def answered(url: str, headers: dict[str, str], *, length: int) -> bytes:
    """Announce a body of so many bytes; return the first line of the answer."""
    port = int(url.rpartition(":")[2])
    head = [f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    head.append(f"Content-Length: {length}\r\n\r\n")
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all("\r\n".join(head).encode())
        return bytes(await stream.receive_some(4_096)).partition(b"\r\n")[0]


async def test_one_home_has_one_service_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    """Two would each believe that they alone hold the keys; a file would name a dead port."""
    async with serving(tmp_path) as (listening, settings):
        folder = settings.home.root / "service"
        told = json.loads((folder / "service.json").read_text())
        assert told == {"pid": os.getpid(), "url": listening.url, "socket": None}
        modes = {oct(stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir()}
        assert modes == {"0o600"}
        with pytest.raises(OperatorError, match="running already"):
            check_alone(settings.home)
        with pytest.raises(OperatorError, match="running already"):
            await serve(settings)
        unlocked = listening.desk.unlocked
        assert unlocked.left_ms()
        async with open_service(settings.home, "mine", now_ms=settings.now_ms) as client:
            assert len((await client.call("wallet_list"))["keys"]) == 2
        assert listening.desk.tokens.all() == []
    check_alone(settings.home)
    # A killed service leaves its file, and whoever reads it is told what is the case.
    (folder / "service.json").write_text(json.dumps(told))
    with pytest.raises(OperatorError, match="No wallet service"):
        async with open_service(settings.home, "mine", now_ms=settings.now_ms):
            pass
    (folder / "service.json").unlink()
    assert unlocked.left_ms() == {} and not (folder / "service.json").exists()


async def test_a_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Another user of the machine would reach the keys."""
    file = tmp_path / "w.sock"
    async with serving(tmp_path, socket_file=file) as (listening, _):
        assert listening.url is None and stat.S_IMODE(file.stat().st_mode) == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(file))
        async with httpx.AsyncClient(transport=transport) as client:
            mine = token_of(listening, "wallet_*")
            found = await client.post(
                "http://localhost/", json=message("wallet_list"), headers=mine
            )
        assert len(found.json()["result"]["keys"]) == 2
    assert not file.exists()
    with pytest.raises((OperatorError, ExceptionGroup)):
        async with serving(tmp_path / "again", socket_file=tmp_path / ("x" * 200)):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com", ""])
def test_no_address_but_loopback_is_listened_at(host: str) -> None:
    """The keys of a home would be offered to its network."""
    with pytest.raises(OperatorError, match="loopback only"):
        checked_host(host)
    assert checked_host("127.0.0.1") == "127.0.0.1" and checked_host("::1") == "::1"
