"""The gateway as people run it: a real network, a real upstream, real money; and kill -9."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms, Signing, Slot, build_body, sign_body_for
from clawpurse.wallet.home import ClientHome
from clawpurse.wallet.keys import SigningKey
from tests.e2e.conftest import PASSPHRASE, Net, environment_for

pytestmark = pytest.mark.real
PRICE = 7
START_S_MAX = 60.0
WAIT_S = 60.0


class Upstream(ThreadingHTTPServer):
    """Answers with the path; `/forecast/fail` with 500."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.served = itertools.count(1)
        self.count = 0
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        failed = self.path.endswith("fail")
        if self.path.endswith("slow"):
            time.sleep(2)
        body = b"" if failed else f"sunny {self.path}".encode()
        self.server.count = next(self.server.served)
        self.send_response(500 if failed else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return None


class Shop(NamedTuple):
    """A gateway's folder, and how it is started."""

    net: Net
    folder: Path
    payee: str
    upstream: Upstream
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen[str]:
        """Run it; returns when it serves."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "clawpurse.cli", "gateway", "serve", "--json"),
                    *("--config", str(self.folder / "gateway.toml")),
                    *("--data", str(self.folder / "data"), "--listen", "127.0.0.1:0"),
                    *("--rpc", self.net.rpc, "--passphrase-file", self.net.passphrase_file),
                ],
                env=environment_for(self.net.client),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        until = time.monotonic() + START_S_MAX
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/health", timeout=1).status_code == 200:
                    return process
            except httpx.HTTPError:
                assert process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def rpc(self, method: str, **params: Any) -> Any:
        found = self.net.run("rpc", method, *[f"{k}={v}" for k, v in params.items()], "--json")
        assert found.code == 0, found
        return found.json()


def end(process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(how)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def shop(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A gateway that sells a forecast, with an account of its own."""
    folder = tmp_path_factory.mktemp("gateway")
    words = ("--passphrase-file", net.passphrase_file, "--data", folder / "data", "--json")
    made = net.run("module", "key", "gateway", *words)
    assert made.code == 0, made
    payee = made.json()["account"]
    assert net.run("faucet", payee, "--json").code == 0
    upstream, port = Upstream(), free_port()
    (folder / "gateway.toml").write_text(
        f'''
listen = "127.0.0.1:{port}"
payee = "{payee}"
compatibility = true
invoice_ttl_s = 10
refund_after_s = 1
claim_every_s = 1
[upstreams.weather]
targets = ["{upstream.url}"]
[[routes]]
name = "forecast"
path = "/forecast/*"
methods = ["GET"]
upstream = "weather"
prices = [{{ asset = "CLAW", amount = {PRICE} }}]
[upstreams.moving]
service = "moving"
tags = ["eu"]
[[routes]]
name = "moving"
path = "/moving/*"
upstream = "moving"
[[routes]]
name = "free"
path = "/free/*"
upstream = "weather"
'''
    )
    yield Shop(net, folder, payee, upstream, port)
    upstream.shutdown()
    upstream.server_close()


@pytest.fixture
def gateway(shop: Shop) -> Iterator[Shop]:
    process = shop.start()
    yield shop
    end(process)


def test_somebody_pays_for_a_forecast_at_the_command_line(gateway: Shop) -> None:
    """402, pay, 200: what ClawPurse is known for."""
    gateway.net.fund("gw-alice")
    assert httpx.get(f"{gateway.url}/free/x").text == "sunny /free/x"
    asked = httpx.get(f"{gateway.url}/forecast/berlin")
    assert asked.status_code == 402
    ident = asked.json()["invoice"]["id"]
    assert httpx.get(f"{gateway.url}/invoices/{ident}").json()["status"] == "open"
    words = ("--from", "gw-alice", "--passphrase-file", gateway.net.passphrase_file, "--json")
    paying = ("gateway", "pay", f"{gateway.url}/forecast/berlin", *words)
    dear = gateway.net.run(*paying, "--max", "0.06", "--yes")
    assert dear.code == 4 and "costs 0.07 CLAW" in json.loads(dear.out)["error"]["reason"]
    done = gateway.net.run(*paying, "--max", "0.07", "--yes")
    assert done.code == 0, done
    found = done.json()
    assert (found["status"], found["body"]) == (200, "sunny /forecast/berlin")
    assert (found["paid"]["amount"], found["paid"]["payee"]) == (str(PRICE), gateway.payee)
    state = httpx.get(f"{gateway.url}/invoices/{found['paid']['invoice']}").json()
    assert state["status"] == "consumed"


def test_a_payment_that_bought_nothing_comes_back_by_itself(gateway: Shop) -> None:
    """Late, doubled or forgotten: nobody has to write to a support desk."""
    gateway.net.fund("gw-forgetful")
    run = gateway.net.run
    invoice = httpx.get(f"{gateway.url}/forecast/rome").json()["invoice"]
    words = ("--from", "gw-forgetful", "--passphrase-file", gateway.net.passphrase_file, "--yes")
    sent = run(
        *("wallet", "send", gateway.payee, "0.07", "--memo", invoice["memo"], *words),
        *("--allow-new-recipient", "--json"),
    )
    assert sent.code == 0, sent
    held = run("wallet", "balance", "gw-forgetful", "--json").json()["balances"][0]["amount"]
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        now = run("wallet", "balance", "gw-forgetful", "--json").json()["balances"][0]["amount"]
        if int(now) == int(held) + PRICE:
            break
        time.sleep(0.5)
    else:
        raise AssertionError((gateway.folder / "log").read_text())
    # And it buys nothing any more.
    proof = {"Payment-Proof": f"{invoice['id']} {sent.json()['txId']}"}
    late = httpx.get(f"{gateway.url}/forecast/rome", headers=proof)
    assert late.status_code == 402
    time.sleep(3)
    again = run("wallet", "balance", "gw-forgetful", "--json").json()["balances"][0]["amount"]
    assert int(again) == int(held) + PRICE


class Payer:
    """Somebody with a channel, who asks for one forecast after the other."""

    def __init__(self, shop: Shop, name: str) -> None:
        shop.net.fund(name)
        words = ("--from", name, "--passphrase-file", shop.net.passphrase_file, "--yes", "--json")
        opened = shop.net.run(
            *("channel", "open", shop.payee, "100", "--challenge", "1h"),
            *("--challenge-blocks", "100", *words),
        )
        assert opened.code == 0, opened
        events = opened.json()["receipt"]["events"]
        made = next(one["data"] for one in events if one["kind"] == "payments.channelOpened")
        self.channel = str(made["channelId"])
        genesis = bytes.fromhex(shop.net.facts["genesisHash"][2:])
        payee = account_from_text(shop.payee)
        self.terms = Terms(genesis, bytes.fromhex(self.channel[2:]), "CLAW", payee)
        keystore = ClientHome(shop.net.client).keystore(lambda: int(time.time() * 1000))
        self.key: SigningKey = keystore.unlock(name, PASSPHRASE).signer
        self.promised = 0
        self.served = 0
        self.lost = 0

    def voucher(self, amount: int) -> str:
        signature = self.key.sign(voucher_bytes(self.terms, amount))
        return f"{self.channel}.{amount}.0x{signature.hex()}"

    def ask(self, client: httpx.Client, url: str, number: int, until: float) -> None:
        """One forecast; the same request again until somebody answers it."""
        amount = self.promised + PRICE
        headers = {"Payment-Voucher": self.voucher(amount), "Payment-Request-Id": f"r{number}"}
        while time.monotonic() < until:
            try:
                answer = client.get(f"{url}/forecast/{number}", headers=headers)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if answer.status_code == 200:
                assert answer.text == f"sunny /forecast/{number}"
                self.served += 1
            elif answer.status_code == 409:
                # Served, and the answer was lost on the way: paid for, once.
                self.lost += 1
            else:
                assert answer.status_code in (502, 503), (answer.status_code, answer.text)
                time.sleep(0.05)
                continue
            self.promised = amount
            return
        raise AssertionError("nobody answered")


@pytest.mark.parametrize(
    ("clients", "requests", "kills"),
    [(3, 120, 2), pytest.param(20, 5_000, 5, marks=pytest.mark.full)],
)
def test_what_the_ledger_pays_is_what_was_served_whatever_dies(
    shop: Shop, clients: int, requests: int, kills: int
) -> None:
    """The books of a shop that is killed at any moment are right to the unit."""
    payers = [Payer(shop, f"gw-payer-{clients}-{number}") for number in range(clients)]
    each = requests // clients
    process = shop.start()
    until = time.monotonic() + 300

    def buy(payer: Payer) -> None:
        with httpx.Client(timeout=20) as client:
            for number in range(each):
                payer.ask(client, shop.url, number, until)

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(buy, payer) for payer in payers]
        for number in range(kills):
            wanted = each * clients * (number + 1) // (kills + 1)
            while sum(one.served for one in payers) < wanted and time.monotonic() < until:
                time.sleep(0.02)
            end(process, signal.SIGKILL)
            process = shop.start()
        for one in running:
            one.result()
    served = served_by(shop)
    wait = time.monotonic() + WAIT_S
    for payer in payers:
        assert payer.served + payer.lost == each
        count = served[payer.channel]
        # A kill between the last byte of an answer and its entry gives that one away, to the payer.
        assert each - kills <= count <= each
        while True:
            paid = int(shop.rpc("payment_getChannel", channel=payer.channel)["paid"])
            if paid == count * PRICE or time.monotonic() > wait:
                break
            time.sleep(0.5)
        # On the ledger: what was served, to the unit; and never more than was signed.
        assert paid == count * PRICE <= payer.promised
    end(process)


def served_by(shop: Shop) -> dict[str, int]:
    """How many requests the gateway's books say were served, by channel."""
    asked = "SELECT channel, count(*) FROM gateway_uses WHERE state = 'served' GROUP BY channel"
    with closing(sqlite3.connect(shop.folder / "data" / "payments.db")) as db:
        assert db.execute("SELECT 1 FROM gateway_uses WHERE state = 'reserved'").fetchone() is None
        return dict(db.execute(asked).fetchall())


def test_a_stop_and_a_wrong_file_cost_nobody_an_answer(shop: Shop) -> None:
    """An upgrade, or a typing error, at noon."""
    process = shop.start()
    file = shop.folder / "gateway.toml"
    text = file.read_text()
    try:
        file.write_text(text + "\n[[routes]]\nname = 'broken'\n")
        time.sleep(3)
        assert httpx.get(f"{shop.url}/free/a").status_code == 200
        file.write_text(text + "\n[[routes]]\nname='more'\npath='/more/*'\nupstream='weather'\n")
        until = time.monotonic() + WAIT_S
        while httpx.get(f"{shop.url}/more/a").status_code != 200:
            assert time.monotonic() < until, (shop.folder / "log").read_text()
            time.sleep(0.2)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(httpx.get, f"{shop.url}/free/slow", timeout=20)
            time.sleep(0.7)
            process.send_signal(signal.SIGTERM)
            assert found.result().text == "sunny /free/slow"
        assert process.wait(30) == 0
    finally:
        file.write_text(text)
        end(process)
    assert "was not taken over" in (shop.folder / "log").read_text()


def test_a_service_says_where_it_is_and_goes(gateway: Shop) -> None:
    """Otherwise somebody edits a file at each gateway whenever a server moves."""
    net = gateway.net
    net.fund("gw-mover")
    words = [
        *("gateway", "register", "moving", gateway.upstream.url, "--tag", "eu"),
        *("--from", "gw-mover", "--passphrase-file", net.passphrase_file),
        *("--gateway", gateway.url),
    ]
    assert httpx.get(f"{gateway.url}/moving/a").status_code == 503
    refused = net.run(*words, "--once")
    assert refused.code == 4 and "gateway.service" in refused.err
    council = ("--authority-home", net.home / "authority-1", "--yes")
    assert net.run("role", "grant", "gateway.service", "gw-mover", *council).code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "clawpurse.cli", *map(str, words)],
        env=environment_for(net.client),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: httpx.get(f"{gateway.url}/moving/a").status_code == 200)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    wait_for(lambda: httpx.get(f"{gateway.url}/moving/a").status_code == 503)


def wait_for(check: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_an_agent_pays_by_x402(gateway: Shop) -> None:
    """One retry with a signed payment; nothing to submit, nothing to wait for."""
    import base64

    gateway.net.fund("gw-agent")
    asked = httpx.get(f"{gateway.url}/forecast/oslo")
    wanted = json.loads(base64.b64decode(asked.headers["payment-required"]))
    [offer] = wanted["accepts"]
    keystore = ClientHome(gateway.net.client).keystore(lambda: int(time.time() * 1000))
    key = keystore.unlock("gw-agent", PASSPHRASE).signer
    terms = ChainTerms(
        gateway.net.facts["chainId"], bytes.fromhex(gateway.net.facts["genesisHash"][2:])
    )
    pay = RawAction("assets.transfer", ["CLAW", account_from_text(offer["payTo"]), PRICE])
    body = build_body(
        terms,
        build_registry(),
        key.account,
        Slot(0, 0),
        [pay],
        valid_until_ms=int(time.time() * 1000) + 60_000,
        fee=1,
        memo=offer["extra"]["memo"],
    )
    raw = sign_body_for(body, [Signing(Role.SENDER, key.account, key)]).raw
    payload = {
        "x402Version": 2,
        "accepted": offer,
        "payload": {"transaction": f"0x{raw.hex()}"},
    }
    header = base64.b64encode(json.dumps(payload).encode()).decode()
    answer = httpx.get(f"{gateway.url}/forecast/oslo", headers={"PAYMENT-SIGNATURE": header})
    told = json.loads(base64.b64decode(answer.headers["payment-response"]))
    assert (answer.status_code, answer.text) == (200, "sunny /forecast/oslo"), told
    assert told["success"] is True
    again = httpx.get(f"{gateway.url}/forecast/oslo", headers={"PAYMENT-SIGNATURE": header})
    assert again.status_code == 402
