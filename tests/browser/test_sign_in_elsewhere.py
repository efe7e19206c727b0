"""A node's dashboard that leads to the sign-in service and back, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_auth_pages import ANSWER_S_MAX, MODULE, Gate, accept
from tests.e2e.conftest import Net, environment_for, network

pytestmark = pytest.mark.real


class Place(NamedTuple):
    """A node that answers nobody without a token, and where its people sign in."""

    node: str
    gate: Gate


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A network of one authority, whose node was told of `module serve auth`."""
    root = tmp_path_factory.mktemp("elsewhere")
    with network(root, authorities=1) as net:
        home = net.home / "authority-1"
        token = root / "node.token"
        made = ("token", "create", "--name", "gate", "--scope", "*", "--out", token)
        assert net.run(*made, "--home", home).code == 0
        net.fund("keeper")
        council = ("--authority-home", home, "--yes")
        assert net.run("role", "grant", "auth.admin", "keeper", *council).code == 0
        with served(net, root / "auth", token) as gate:
            for name, value in (("rpc_sign_in", gate.url), ("rpc_closed", "true")):
                assert net.run("config", "set", name, value, "--home", home).code == 0
            assert net.run("stop", "--home", home).code == 0
            words = ("--home", home, "--detach", "--json")
            started = net.run("start", *words)
            assert started.code == 0, started
            node = net.rpc.rstrip("/")
            gate.call("setConfiguration", changes={"sites": [node]}, reason="the dashboard")
            yield Place(node, gate)


class served:
    """`module serve auth` for a while; `keeper` administers it."""

    def __init__(self, net: Net, folder: Path, token: Path) -> None:
        folder.mkdir(mode=0o700)
        named = ("--account", "keeper", "--data", folder, "--out", folder / "token")
        assert net.run("module", "token", "create", MODULE, *named).code == 0
        words = ("--node", net.rpc, "--data", str(folder), "--listen", "127.0.0.1:0", "--json")
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "clawpurse.cli", "module", "serve", MODULE, *words),
                    *("--token-file", str(token)),
                ],
                env=environment_for(net.client),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline() or "{}")
        assert "url" in told, (told, (folder / "log").read_text())
        url = str(told["url"]).replace("127.0.0.1", "localhost")
        self.gate = Gate(url, (folder / "token").read_text().strip())

    def __enter__(self) -> Gate:
        self.gate.call("setConfiguration", changes={"origins": [self.gate.url]}, reason="pages")
        return self.gate

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(ANSWER_S_MAX)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def page(profiles: Callable[..., BrowserContext]) -> Page:
    return profiles().new_page()


def test_a_person_signs_in_at_the_service_and_comes_back_to_where_they_were(
    place: Place, page: Page
) -> None:
    """Otherwise people carry tokens by hand, and leave them in notes and chats."""
    page.goto(f"{place.node}/#/authorities")
    expect(page.get_by_role("heading", name="This node asks who you are")).to_be_visible()
    page.get_by_role("button", name="Sign in there").click()
    page.wait_for_url(f"{place.gate.url}/**")
    asked = page.url
    page.goto(place.gate.invitation("Ada"))
    accept(page)
    page.goto(asked)
    expect(page.get_by_text("Ada")).to_be_visible()
    page.get_by_role("button", name=f"Sign in to {place.node}").click()
    page.wait_for_url(f"{place.node}/#/authorities")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("heading", name="This node asks who you are")).to_have_count(0)
    expect(page.get_by_text("authority-1").first).to_be_visible()
    assert (
        page.evaluate("Object.keys(localStorage).filter((one) => /token|refresh/.test(one))") == []
    )
    sessions = page.evaluate("sessionStorage.getItem('clawpurse.refresh')")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="This node asks who you are")).to_be_visible()
    # The session is over at the service as well, by the node's own way to it.
    answer = httpx.post(
        f"{place.node}/",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "auth_refresh",
            "params": {"refreshToken": sessions},
        },
        timeout=ANSWER_S_MAX,
    ).json()
    assert answer["error"]["code"] == -32006


def test_a_code_of_somebody_else_signs_nobody_in(place: Place, page: Page) -> None:
    """A link with an attacker's code would have people work, and pay, in a stranger's name."""
    page.goto(f"{place.node}/#code=cpa_{'a' * 43}&state={'s' * 43}")
    expect(page.get_by_text("did not ask to be signed in").first).to_be_visible()
    assert page.url == f"{place.node}/#/"
    assert page.evaluate("sessionStorage.getItem('clawpurse.token')") is None


def test_strangers_get_nothing_by_it_but_the_way_in(place: Place) -> None:
    """A closed node must not answer whoever knows that people sign in there."""
    told = httpx.get(f"{place.node}/sign-in.json", timeout=ANSWER_S_MAX).json()
    assert told == {"signIn": place.gate.url}
    for method in ("chain_getStatus", "tx_submit", "events_get", "rpc_discover", "admin_stop"):
        answer = httpx.post(
            f"{place.node}/",
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": {}},
            timeout=ANSWER_S_MAX,
        )
        assert answer.json()["error"]["code"] == -32006, method
