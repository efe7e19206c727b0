"""Signing in in a real browser: by password, by a second factor, by a passkey, and not any more."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import Page, expect

from clawpurse.modules.auth.totp import totp
from tests.browser.conftest import DESKTOP, PHONE, Open, Watched
from tests.e2e.conftest import Net, environment_for

pytestmark = pytest.mark.real
# By its path: what is installed may be older than what is tested.
MODULE = "clawpurse.modules.auth.service:Auth"
PASSWORD = "seven quiet lanterns drift"
ANSWER_S_MAX = 30
STEP_MS = 30_000


class Gate(NamedTuple):
    """The service, and a token of the machine that may administer it."""

    url: str
    machine: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask as the machine does, beside the browser."""
        answer = httpx.post(
            f"{self.url}/",
            headers={"Authorization": f"Bearer {self.machine}"},
            json={"jsonrpc": "2.0", "id": 1, "method": f"auth_{method}", "params": params},
            timeout=ANSWER_S_MAX,
        ).json()
        assert "result" in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def invitation(self, name: str) -> str:
        """Invite somebody; where the invitation is accepted."""
        return f"{self.url}/#invitation={self.call('invite', name=name)['invitation']}"


@pytest.fixture(scope="module")
def gate(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """`module serve auth` beside the first node; `gatekeeper` administers it."""
    folder = tmp_path_factory.mktemp("gate") / "home"
    folder.mkdir(mode=0o700)
    net.fund("gatekeeper")
    council = ("--authority-home", net.home / "authority-1", "--yes")
    assert net.run("role", "grant", "auth.admin", "gatekeeper", *council).code == 0
    named = ("--account", "gatekeeper", "--data", folder, "--out", folder / "token")
    assert net.run("module", "token", "create", MODULE, *named).code == 0
    words = ("--node", net.rpc, "--data", str(folder), "--listen", "127.0.0.1:0", "--json")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", "module", "serve", MODULE, *words],
            env=environment_for(net.client),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or "{}")
        assert "url" in told, (told, (folder / "log").read_text())
        # Passkeys are bound to a name; an address of numbers has none.
        url = str(told["url"]).replace("127.0.0.1", "localhost")
        made = Gate(url, (folder / "token").read_text().strip())
        made.call("setConfiguration", changes={"origins": [url]}, reason="where the pages are")
        yield made
    finally:
        process.terminate()
        process.wait(ANSWER_S_MAX)
        process.stdout.close()


@pytest.fixture
def page_at(gate: Gate, opened: Open) -> Callable[..., Page]:
    """Opens an address of the service."""

    def make(address: str = "", size: tuple[int, int] = DESKTOP) -> Page:
        watched: Watched = opened(size, origin=gate.url)
        # What a service refuses is answered by errors of HTTP, which a browser complains of.
        watched.provoked += ["401", "403", "404", "409", "429"]
        watched.page.goto(address or f"{gate.url}/")
        return watched.page

    return make


def accept(page: Page) -> None:
    """Choose the password of an invitation."""
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Accept the invitation").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def code(secret: str, ahead: int = 0) -> str:
    """What an app shows now, or so many steps from now."""
    return totp(base64.b32decode(secret), int(time.time() * 1000) + STEP_MS * ahead)


def test_an_invitation_a_password_and_nothing_that_tells_who_there_is(
    gate: Gate, page_at: Callable[..., Page]
) -> None:
    """Otherwise nobody gets in, or whoever guesses learns whose name is worth a try."""
    page = page_at(gate.invitation("Ines"))
    page.get_by_label("New password").fill("password1234567")
    page.get_by_label("The same again").fill("password1234567")
    page.get_by_role("button", name="Accept the invitation").click()
    expect(page.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_be_visible()
    accept(page)
    expect(page.get_by_text("password alone")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage)") == []
    assert "invitation" not in page.url
    sign_out(page)
    said = []
    for name, password in (("Ines", "wrong and long enough"), ("Nobody", PASSWORD)):
        sign_in(page, name, password)
        alert = page.get_by_role("alert").filter(has_text=re.compile(r"\w"))
        alert.wait_for()
        said.append(alert.inner_text())
        page.reload()
    assert said[0] == said[1] != ""
    sign_in(page, "Ines")
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    page.reload()  # The tab keeps its session; another one has none.
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    expect(page_at().get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_password_is_masked_and_may_be_pasted(page_at: Callable[..., Page]) -> None:
    """Otherwise it is read over a shoulder, or typed short because no manager can fill it in."""
    field = page_at().get_by_label("Password")
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", "current-password")
    pasted = "field => field.dispatchEvent(new ClipboardEvent('paste', {cancelable: true}))"
    assert field.evaluate(pasted)


def test_an_app_is_added_and_then_asked_for(gate: Gate, page_at: Callable[..., Page]) -> None:
    """Otherwise a password that was read over a shoulder is enough."""
    page = page_at(gate.invitation("Tomas"))
    accept(page)
    page.get_by_role("button", name="Add an app").click()
    secret = page.locator("code.ident").inner_text()
    page.get_by_label("The app's first code").fill("000000")
    page.get_by_role("button", name="Use this app").click()
    expect(page.get_by_role("alert").filter(has_text="nobody in")).to_be_visible()
    page.get_by_label("The app's first code").fill(code(secret))
    page.get_by_role("button", name="Use this app").click()
    expect(page.get_by_role("button", name="Remove the app")).to_be_visible()
    page.get_by_role("button", name="Make codes").click()
    paper = page.locator("pre").inner_text().split("\n")
    page.get_by_role("button", name="I have them").click()
    sign_out(page)
    sign_in(page, "Tomas")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    page.get_by_label("Recovery code").fill(paper[0])
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("Recovery codes left")).to_be_visible()
    expect(page.get_by_text(f"{len(paper) - 1} left.")).to_be_visible()
    sign_out(page)
    sign_in(page, "Tomas")
    # A code works once, and the one of now was spent: the next one is taken, too.
    page.get_by_label("Code of the authenticator app").fill(code(secret, 1))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()


def test_a_passkey_signs_in_by_itself(gate: Gate, page_at: Callable[..., Page]) -> None:
    """Otherwise what cannot be phished is not used."""
    page = page_at(gate.invitation("Petra"))
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    accept(page)
    page.get_by_label("Label").fill("my laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("button", name="Remove my laptop")).to_be_visible()
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()
    expect(page.get_by_text("Petra")).to_be_visible()
    sign_out(page)
    sign_in(page, "Petra")
    page.get_by_role("button", name="Show a passkey").click()
    expect(page.get_by_role("heading", name="My account")).to_be_visible()


def test_who_is_locked_or_ended_elsewhere_is_out(gate: Gate, page_at: Callable[..., Page]) -> None:
    """Otherwise somebody who left, or a stolen screen, stays in."""
    page = page_at(gate.invitation("Lena"))
    accept(page)
    other = page_at()
    sign_in(other, "Lena")
    expect(other.get_by_role("button", name="End all others")).to_be_visible()
    other.get_by_role("button", name="End all others").click()
    expect(page.get_by_text("Your session is over.")).to_be_visible()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    users = gate.call("listUsers")["users"]
    lena = next(one["id"] for one in users if one["name"] == "Lena")
    gate.call("lockUser", user=lena, reason="left the company")
    expect(other.get_by_text("Your session is over.")).to_be_visible()
    sign_in(other, "Lena")
    expect(other.get_by_role("alert").filter(has_text=re.compile(r"\w"))).to_be_visible()


def test_an_administrator_invites_and_locks(
    net: Net, gate: Gate, page_at: Callable[..., Page], tmp_path: Path
) -> None:
    """Otherwise whoever runs an office needs a terminal for everybody who comes or goes."""
    invited = gate.call("invite", name="Chief")["invitation"]
    made = gate.call("register", invitation=invited, password=PASSWORD)
    token = tmp_path / "chief"
    token.write_text(made["accessToken"])
    token.chmod(0o600)
    words = ("--service", gate.url, "--passphrase-file", net.passphrase_file)
    bound = net.run("auth", "bind", "gatekeeper", *words, "--token-file", token, "--json")
    assert bound.code == 0, bound.err
    page = page_at()
    sign_in(page, "Chief")
    page.get_by_role("link", name="Users").click()
    page.get_by_label("Name").fill("Newcomer")
    page.get_by_role("button", name="Invite").click()
    link = page.get_by_role("status").locator("p.ident")
    assert link.inner_text().startswith(f"{gate.url}/#invitation=")
    code = link.inner_text().split()[0].partition("=")[2]
    page.get_by_role("button", name="I have it").click()
    gate.call("register", invitation=unquote(code), password=PASSWORD)
    page.get_by_role("button", name="Lock Newcomer").click()
    page.get_by_label("Why; kept for ever").fill("went again")
    page.get_by_role("button", name="Lock this user").click()
    expect(page.get_by_role("button", name="Unlock Newcomer")).to_be_visible()
    page.get_by_role("link", name="Roles").click()
    expect(page.get_by_role("cell", name="auth.admin")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert "auth.admin" in saved.value.path().read_text()


def test_nothing_of_administration_is_for_others_and_a_phone_shows_it_all(
    gate: Gate, page_at: Callable[..., Page]
) -> None:
    """Otherwise everybody invites, or whoever has a telephone cannot end a session."""
    page = page_at(gate.invitation("Uwe"), PHONE)
    accept(page)
    for place in ("#/", "#roles=", "#users="):
        page.goto(f"{gate.url}/{place}")
        page.get_by_role("heading", level=1).wait_for()
        expect(page.get_by_role("button", name="Sign out")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], place
    expect(page.get_by_role("alert")).to_contain_text("auth.admin")
    expect(page.get_by_role("button", name="Invite")).to_have_count(0)
