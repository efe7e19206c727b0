"""The wallet service's page in a real browser: a person reads, says yes or no, and sees the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Page, expect

from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms, Slot, build_body, transfer_action
from tests.browser.conftest import DESKTOP, PHONE, Open, Watched
from tests.browser.pictures import LOOKS
from tests.e2e.conftest import PASSPHRASE, Net, environment_for

pytestmark = pytest.mark.real
START_S_MAX = 60
SERVE = ("wallet", "serve", "--listen", "127.0.0.1:0", "--json")


class Wallet(NamedTuple):
    """A running service, and two tokens: a person's, and a program's that only sends."""

    url: str
    person: str
    program: str

    def call(self, token: str, method: str, **params: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/",
            headers={"Authorization": f"Bearer {token}"},
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
            timeout=START_S_MAX,
        )
        found: dict[str, Any] = answer.json()
        return found

    def asked(self, amount: str, once: str, why: str, key: str = "signer") -> str:
        """Ask `key` for a payment that a person must confirm; the request's id."""
        pay = {"key": key, "to": "signershop", "amount": amount, "idempotencyKey": once}
        told = self.call(self.program, "wallet_send", **pay, reason=why)
        return str(told["error"]["data"]["requestId"])


@pytest.fixture(scope="module")
def wallet(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wallet]:
    """`signer` and `tightsigner` have money and are locked; `signershop` takes it.

    The second one is for the test that tightens its limits: tests run in any order.
    """
    for name in ("signer", "tightsigner", "signershop"):
        net.fund(name)
    folder = tmp_path_factory.mktemp("signing")
    tokens = []
    for name, scope in (("person", "wallet_*"), ("program", "wallet_send")):
        file = folder / f"{name}.token"
        words = ("--name", f"page-{name}", "--scope", scope, "--out", file)
        done = net.run("wallet", "token", "create", *words)
        assert done.code == 0, done.err
        tokens.append(file.read_text().strip())
    out = folder / "out"
    with out.open("w") as said, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", *SERVE],
            env=environment_for(net.client),
            stdout=said,
            stderr=err,
        )
    try:
        deadline = time.monotonic() + START_S_MAX
        while not out.read_text().endswith("\n"):
            assert process.poll() is None and time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)
        yield Wallet(json.loads(out.read_text())["url"], *tokens)
    finally:
        process.terminate()
        process.wait(START_S_MAX)


@pytest.fixture
def page_of(wallet: Wallet, opened: Open) -> Callable[..., Page]:
    """Opens the page where it says, signed in as the person."""

    def make(place: str = "#/", size: tuple[int, int] = DESKTOP, theme: str = "light") -> Page:
        watched: Watched = opened(size, theme, origin=wallet.url)
        # What a person mistypes is answered by errors of HTTP, which a browser complains of.
        watched.provoked += ["401", "403"]
        watched.page.goto(f"{wallet.url}/{place}")
        watched.page.get_by_label("Token").fill(wallet.person)
        watched.page.get_by_role("button", name="Sign in").click()
        return watched.page

    return make


def approve(page: Page, key: str = "signer") -> None:
    """Type the passphrase and approve; after a wrong one the next try has to wait."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        page.get_by_label(f"Passphrase of {key}", exact=True).fill(PASSPHRASE)
        page.get_by_role("button", name="Approve").click()
        said = page.get_by_role("alert").or_(page.get_by_role("status")).filter(has_text=".")
        said.first.wait_for()
        if "waits after" not in said.first.inner_text():
            return
    raise AssertionError("the passphrase was never taken")


def test_a_person_reads_approves_with_a_passphrase_and_sees_it_final(
    wallet: Wallet, page_of: Callable[..., Page]
) -> None:
    """Otherwise a program pays without anybody's word, or a person signs what nobody showed."""
    wallet.asked("15000", "0x51a001", "invoice 77")
    page = page_of()
    page.get_by_role("link", name="invoice 77").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("page-program asks signer")
    for words in ("150.00 CLAW", "the ledger would do it now", "asks you"):
        expect(page.locator("main")).to_contain_text(words)
    deed = page.get_by_role("button", name="Approve:")
    expect(deed).to_contain_text("150.01 CLAW")
    page.get_by_label("Passphrase of signer").fill("not the right passphrase")
    deed.click()
    expect(page.get_by_role("alert")).to_contain_text("passphrase")
    approve(page)
    expect(page.get_by_role("status")).to_contain_text("Final. Its proof was checked.")
    expect(page.get_by_role("button", name="Approve:")).to_have_count(0)
    assert PASSPHRASE not in page.content()


def test_a_no_is_told_to_whoever_asked(wallet: Wallet, page_of: Callable[..., Page]) -> None:
    """Otherwise a program goes on asking, and a person has no way to stop it."""
    once = "0x51a002"
    request = wallet.asked("15100", once, "invoice 78")
    page = page_of(f"#request={request}")
    page.get_by_role("button", name="Reject…").click()
    page.get_by_label("Why").fill("Paid already.")
    page.get_by_role("button", name="Reject", exact=True).click()
    expect(page.locator("main")).to_contain_text("rejected")
    expect(page.locator("main")).to_contain_text("Paid already.")
    pay = {"key": "signer", "to": "signershop", "amount": "15100", "idempotencyKey": once}
    told = wallet.call(wallet.program, "wallet_send", **pay)["error"]
    assert "Paid already." in json.dumps(told)


def test_beyond_a_limit_the_page_says_so_and_signs_nothing(
    wallet: Wallet, page_of: Callable[..., Page], net: Net
) -> None:
    """Otherwise the page is a way around the limits of the key."""
    request = wallet.asked("15200", "0x51a003", "invoice 79", "tightsigner")
    tight = ("wallet", "guardrails", "set", "tightsigner", "--max", "CLAW", "120")
    assert net.run(*tight, "--passphrase-file", net.passphrase_file).code == 0
    page = page_of(f"#request={request}")
    expect(page.locator("main")).to_contain_text("is over your 120.00 CLAW limit")
    expect(page.get_by_text("refuses")).to_be_visible()
    approve(page, "tightsigner")
    expect(page.get_by_role("alert")).to_contain_text("limit")
    expect(page.get_by_role("status")).to_have_count(0)


def test_a_transaction_is_handed_over_in_the_address(
    wallet: Wallet, page_of: Callable[..., Page], net: Net
) -> None:
    """Otherwise the node's page would have to hold keys."""
    status = net.run("rpc", "chain_getStatus", "--json").json()
    keys = {one["name"]: one for one in wallet.call(wallet.person, "wallet_list")["result"]["keys"]}
    key, shop = keys["signer"], keys["signershop"]
    account = bytes.fromhex(key["publicKey"][2:])
    terms = ChainTerms(status["chainId"], bytes.fromhex(status["genesisHash"][2:]))
    body = build_body(
        terms,
        build_registry(),
        account,
        Slot(9, 0),
        [transfer_action("CLAW", bytes.fromhex(shop["publicKey"][2:]), 700)],
        valid_until_ms=int(time.time() * 1000) + 600_000,
        fee=1,
    )
    page = page_of(f"#sign=0x{body.pack().hex()}")
    page.get_by_label("Key").select_option("signer")
    page.get_by_role("button", name="Look at it").click()
    expect(page.locator("main")).to_contain_text("is locked")


def test_without_a_token_there_is_nothing_to_see(wallet: Wallet, opened: Open) -> None:
    """Otherwise whoever sits at this machine reads what is asked of somebody's keys."""
    watched = opened(origin=wallet.url)
    watched.provoked.append("401")
    page = watched.page
    page.goto(f"{wallet.url}/#/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill("x" * 40)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not accepted")
    assert "invoice" not in page.content()


def test_the_page_as_a_picture(
    wallet: Wallet, page_of: Callable[..., Page], shoot: Callable[[Page, str], None], net: Net
) -> None:
    """Looked at by us: light, dark, and on a phone, where nothing may be wider than the screen."""
    request = wallet.asked("11000", "0x51a004", "invoice 80")
    for size, theme, suffix in LOOKS:
        page = page_of(f"#request={request}", size, theme)
        expect(page.get_by_role("button", name="Approve:")).to_be_visible()
        shoot(page, f"signing{suffix}")
    page = page_of(f"#request={request}", PHONE)
    expect(page.get_by_role("button", name="Approve:")).to_be_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE[0]


def test_a_decision_of_the_node_s_page_is_made_where_the_key_is(
    wallet: Wallet, page_of: Callable[..., Page], opened: Open, net: Net
) -> None:
    """Otherwise whoever approves copies commands, or the node's page would need the key."""
    made = net.run(
        *("multisig", "create", "2", "signer", "signershop", "--from", "signer"),
        *("--passphrase-file", net.passphrase_file, "--yes", "--json"),
    )
    assert made.code == 0, made.err
    account = made.json()["account"]
    propose = ("multisig", "propose", account, "--pay", "signershop", "1", "CLAW")
    asked = net.run(
        *propose, "--from", "signer", "--passphrase-file", net.passphrase_file, "--yes", "--json"
    )
    assert asked.code == 0, asked.err
    proposal = asked.json()["proposal"]
    watched = opened()
    page = watched.go(f"/approvals/multisig/{proposal}")
    page.get_by_role("button", name="Withdraw").click()
    page.get_by_label("address").fill(wallet.url.partition("://")[2])
    address = page.get_by_role("link", name="Sign in your wallet").get_attribute("href")
    assert address is not None and address.startswith(f"{wallet.url}/#action=")
    signing = page_of(address.removeprefix(f"{wallet.url}/"))
    signing.get_by_label("Key").select_option("signer")
    signing.get_by_role("button", name="Look at it").click()
    expect(signing.locator("main")).to_contain_text("accounts.withdrawProposal")
    approve(signing)
    expect(signing.get_by_role("status")).to_contain_text("Final. Its proof was checked.")
