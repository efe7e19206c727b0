"""`clawpurse wallet serve` as a process: agents pay through it, it is killed, and nothing is lost.

Loopback only; tokens, keys and a network of its own processes. What it prints is searched for
everything that was secret.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import (
    GUARDRAIL_REFUSED,
    KEY_LOCKED,
    WRONG_PASSPHRASE,
)
from clawpurse.wallet.outbox import Outbox
from tests.e2e.conftest import PASSPHRASE, Net, environment_for

pytestmark = pytest.mark.real
SECONDS_MAX = 60.0
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "wallet-guide.md"
DAY_MS = 86_400_000
STRANGER = account_text(b"\x5e" * 32)
WRONG = "a passphrase that somebody tries"
# The service, but it halts where bytes are signed and written down, before a node hears of them.
HALTING = """
import signal, sys
from pathlib import Path
from clawpurse.cli.main import main
from clawpurse.wallet.client import NodeClient

place = Path(sys.argv.pop(1))

async def halt(self, raw, *, wait="accepted"):
    place.write_text("signed")
    signal.pause()

NodeClient.submit = halt
main()
"""


class Service(NamedTuple):
    """A running service and everything it printed."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]
    errors: Path

    def call(self, token: str, method: str, **params: Any) -> dict[str, Any]:
        """Call; the whole answer."""
        answer = httpx.post(
            self.facts["url"] + "/",
            headers={"Authorization": f"Bearer {token}"},
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
            timeout=SECONDS_MAX,
        )
        found: dict[str, Any] = answer.json()
        return found

    def result(self, token: str, method: str, **params: Any) -> Any:
        """Call; what was answered."""
        answer = self.call(token, method, **params)
        assert "result" in answer, answer
        return answer["result"]

    def error(self, token: str, method: str, **params: Any) -> dict[str, Any]:
        """Call; how it was refused."""
        answer = self.call(token, method, **params)
        found: dict[str, Any] = answer["error"]
        return found


class House(NamedTuple):
    """A network, a home with a key that has money, and tokens."""

    net: Net
    owner: str
    agent: str
    outputs: list[Path]
    folder: Path


@pytest.fixture(scope="module")
def house(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """`served` has money, `servedshop` none; a token for everything, and one that only sends.

    Afterwards, what all services of all tests printed is searched for what was secret.
    """
    net.fund("served")
    net.run("keys", "add", "servedshop", "--passphrase-file", net.passphrase_file, "--json").json()
    folder = tmp_path_factory.mktemp("service")
    tokens = []
    for name, scope in (("owner", "wallet_*"), ("agent", "wallet_send")):
        file = folder / f"{name}.token"
        more = () if name == "owner" else ("--account", "served")
        made = net.run(
            *("wallet", "token", "create", "--name", name, "--scope", scope, "--out", file), *more
        )
        assert made.code == 0, made.err
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        tokens.append(file.read_text().strip())
    made_house = House(net, tokens[0], tokens[1], [], folder)
    yield made_house
    printed = "".join(file.read_text() for file in made_house.outputs)
    assert [one for one in (PASSPHRASE, WRONG, *tokens) if one in printed] == []


def command(house: House, *more: str) -> list[str]:
    unlock = ("--unlock", "served", "--passphrase-file", house.net.passphrase_file)
    return ["wallet", "serve", "--listen", "127.0.0.1:0", *unlock, "--json", *more]


@contextmanager
def served(house: House, *more: str, program: str = "") -> Iterator[Service]:
    """Start the service; leaving kills it if it still runs."""
    number = len(house.outputs)
    errors, out = house.folder / f"{number}.err", house.folder / f"{number}.out"
    house.outputs.extend((errors, out))
    start = [sys.executable, "-m", "clawpurse.cli"]
    if program:
        start = [sys.executable, "-c", HALTING, program]
    with errors.open("w") as err, out.open("w") as said:
        process = subprocess.Popen(
            [*start, *command(house, *more)],
            env=environment_for(house.net.client),
            stdout=said,
            stderr=err,
            text=True,
        )
        try:
            facts = json.loads(wait_for(lambda: whole_line(out), process, errors))
            yield Service(process, facts, errors)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(SECONDS_MAX)


def whole_line(file: Path) -> str:
    text = file.read_text()
    return text if text.endswith("\n") else ""


def wait_for(look: Any, process: subprocess.Popen[str], errors: Path) -> Any:
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        assert process.poll() is None, errors.read_text()
        time.sleep(0.02)
    raise AssertionError(f"in vain: {errors.read_text()}")


def balance(house: House, name: str) -> int:
    balances = house.net.run("wallet", "balance", name, "--json").json()["balances"]
    return int(balances[0]["amount"]) if balances else 0


def test_a_call_that_dies_with_the_service_is_one_payment(house: House) -> None:
    """Killed between signing and the answer, an agent's retry would pay a second time."""
    before, asked = balance(house, "servedshop"), house.folder / "signed"
    pay = {"key": "served", "to": "servedshop", "amount": "1250", "idempotencyKey": "0x5e47"}
    leave = {"allowNewRecipient": True}
    with served(house, program=str(asked)) as service:
        with pytest.raises(httpx.HTTPError), httpx.Client(timeout=0.1) as client:
            client.post(
                service.facts["url"] + "/",
                headers={"Authorization": f"Bearer {house.agent}"},
                json={
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "wallet_send",
                    "params": {**pay, **leave},
                },
            )
        wait_for(asked.exists, service.process, service.errors)
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait(SECONDS_MAX)
    with Outbox(house.net.client / "outbox", now_ms=lambda: 0) as outbox:
        (row,) = [one for one in outbox.rows() if one.key == b"\x5e\x47"]
    assert row.attempts and not row.is_settled
    with served(house) as service:
        paid = service.result(house.agent, "wallet_send", **pay, **leave, waitMs=30_000)
        assert (paid["status"], paid["txId"]) == ("final", f"0x{row.newest.tx_id.hex()}")
        assert service.result(house.agent, "wallet_send", **pay) == paid
        receipt = service.result(house.owner, "wallet_getReceipt", txId=paid["txId"])
        assert receipt["txId"] == paid["txId"]
    assert balance(house, "servedshop") == before + 1250


def test_refusals_name_the_limit_and_when_it_resets(house: House) -> None:
    """An agent would go on asking, or never ask again."""
    with served(house) as service:
        owner = house.owner
        service.result(owner, "wallet_create", name="servedcap", passphrase=PASSPHRASE)
        service.result(owner, "wallet_unlock", name="servedcap", passphrase=PASSPHRASE)
        policy = service.result(owner, "wallet_getGuardrails", key="servedcap")["policy"]
        policy["assets"][0]["perDay"] = "200"
        service.result(owner, "wallet_setGuardrails", key="servedcap", policy=policy)
        pay = {"key": "servedcap", "to": "served", "amount": "150", "idempotencyKey": "0x5e48"}
        # It has no money yet: the limit is what is told.
        over = service.error(owner, "wallet_send", **{**pay, "amount": "200"})
        assert (over["code"], over["data"]["resetsMs"]) == (GUARDRAIL_REFUSED, None)
        fill = {"key": "served", "to": "servedcap", "amount": "500", "idempotencyKey": "0x5e47f0"}
        service.result(house.agent, "wallet_send", **fill, allowNewRecipient=True, waitMs=30_000)
        paid = service.result(owner, "wallet_send", **pay, waitMs=30_000)
        assert paid["status"] == "final"
        error = service.error(owner, "wallet_send", **{**pay, "idempotencyKey": "0x5e4a"})
        data = error["data"]
        assert (error["code"], data["limit"], data["asset"]) == (
            GUARDRAIL_REFUSED,
            "perDay",
            "CLAW",
        )
        assert (data["allowed"], data["asked"], data["spent"]) == ("200", "151", "151")
        assert data["resetsMs"] % DAY_MS == 0
        assert 0 < data["resetsMs"] - time.time() * 1000 <= DAY_MS
        policy["assets"][0]["perDay"] = None
        loose = service.error(house.owner, "wallet_setGuardrails", key="servedcap", policy=policy)
        assert loose["data"]["weaker"]
        assert service.error(house.agent, "wallet_getGuardrails", key="served")["code"] == -32007


def test_the_program_of_the_guide_pays(house: House) -> None:
    """Whoever copies it would find out with money."""
    block = GUIDE.read_text(encoding="utf-8").split("## Let programs pay: a service", 1)[1]
    program = block.split("```python\n", 1)[1].split("```", 1)[0]
    for name, here in (('"alice"', '"served"'), ('"bob"', '"servedshop"')):
        program = program.replace(name, here)
    before = balance(house, "servedshop")
    with served(house) as service:
        program = program.replace("http://127.0.0.1:9638", service.facts["url"])
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", program],
                cwd=house.folder,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
            assert done.stdout.startswith("final 0x"), done.stderr
    assert balance(house, "servedshop") == before + 1250


def test_a_person_answers_at_the_terminal(house: House) -> None:
    """Somebody without a browser could not answer what a program asks."""
    run = house.net.run
    assert "No wallet service of this home is running." in run("wallet", "request", "list").err
    with served(house) as service:
        assert run("wallet", "request", "list").out == "Nothing waits for you.\n"
        ids = []
        for number in (1, 2):
            pay = {"key": "served", "to": STRANGER, "amount": f"{number}20"}
            once = {"idempotencyKey": f"0x5eaa{number:02x}", "reason": "flowers"}
            error = service.error(house.agent, "wallet_send", **pay, **once, memo="for you")
            ids.append(error["data"]["requestId"])
        listed = run("wallet", "request", "list").out
        assert all(one[:10] in listed for one in ids) and "agent" in listed
        shown = run("wallet", "request", "show", ids[0][:12]).out
        for part in ("agent asks: flowers", "1.20 CLAW to claw1", "“for you”", "paid"):
            assert part in shown, shown
        service.result(house.owner, "wallet_lock", name="served")
        with_passphrase = ("--passphrase-file", house.net.passphrase_file, "--yes")
        done = run("wallet", "request", "approve", ids[0], *with_passphrase)
        assert done.code == 0 and "✓ final in block" in done.out, done.err
        again = run("wallet", "request", "approve", ids[0], "--json").json()
        assert again["payment"]["status"] == "final"
        rejected = run("wallet", "request", "reject", ids[1][2:], "--reason", "no more")
        assert "of agent is rejected" in rejected.out
        late = run("wallet", "request", "approve", ids[1], *with_passphrase)
        assert late.code == 4 and "rejected already" in late.err
        assert run("wallet", "request", "show", "0xffff").code == 2
        # The tokens of these commands are gone again.
        names = [one["name"] for one in run("wallet", "token", "list", "--json").json()["tokens"]]
        assert "wallet request" not in names


def test_a_key_locks_itself_and_wrong_passphrases_wait(house: House) -> None:
    """A service that was left alone would spend; one that is guessed at would be opened."""
    with served(house) as service:
        owner = house.owner
        opened = service.result(
            owner, "wallet_unlock", name="served", passphrase=PASSPHRASE, timeoutMs=1_000
        )
        assert 0 < opened["unlockedForMs"] <= 1_000
        wait_for(
            lambda: not service.result(owner, "wallet_getStatus")["unlocked"],
            service.process,
            service.errors,
        )
        pay = {"key": "served", "to": "servedshop", "amount": "1", "idempotencyKey": "0x5e49"}
        assert service.error(house.agent, "wallet_send", **pay)["code"] == KEY_LOCKED
        service.result(owner, "wallet_create", name="servedtry", passphrase=PASSPHRASE)
        first = service.error(owner, "wallet_unlock", name="servedtry", passphrase=WRONG)
        again = service.error(owner, "wallet_unlock", name="servedtry", passphrase=PASSPHRASE)
        assert (first["code"], again["code"]) == (WRONG_PASSPHRASE, WRONG_PASSPHRASE)
        assert (first["data"]["tried"], again["data"]["tried"]) == (True, False)
        wait_for(
            lambda: (
                "result"
                in service.call(owner, "wallet_unlock", name="servedtry", passphrase=PASSPHRASE)
            ),
            service.process,
            service.errors,
        )


def test_nobody_gets_in_without_a_token_or_from_another_page(house: House) -> None:
    """Any page that a person has open could spend."""
    with served(house) as service:
        url = service.facts["url"] + "/"
        body = {"jsonrpc": "2.0", "id": 1, "method": "wallet_list", "params": {}}
        assert httpx.post(url, json=body).json()["error"]["code"] == -32006
        mine = {"Authorization": f"Bearer {house.owner}"}
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            assert httpx.post(url, json=body, headers={**mine, **headers}).status_code == 403
        text = {**mine, "Content-Type": "text/plain"}
        assert httpx.post(url, content=json.dumps(body), headers=text).status_code == 415
        token = house.net.run("wallet", "token", "list", "--json").json()["tokens"][-1]
        assert token["scopes"] == ["wallet_send"]


def test_one_service_a_home_and_a_clean_end(house: House) -> None:
    """Two would pay by turns without knowing of each other; a stop would leave keys about."""
    with served(house) as service:
        lock = house.net.client / "service"
        found = {oct(stat.S_IMODE(one.stat().st_mode)) for one in lock.iterdir()}
        assert found == {"0o600"} and stat.S_IMODE(lock.stat().st_mode) == 0o700
        done = house.net.run(*(one for one in command(house) if one != "--json"))
        assert done.code != 0
        assert "A wallet service of this home is running already." in done.err
        assert len(done.err.strip().splitlines()) == 1
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(SECONDS_MAX) == 0
        assert not (lock / "service.json").exists()
    socket = house.folder / "wallet.sock"
    done = house.net.run("wallet", "serve", "--listen", "192.0.2.7:9638")
    assert done.code != 0 and "loopback only" in done.err
    with served(house, "--socket", str(socket)) as service:
        assert service.facts["url"] is None
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        transport = httpx.HTTPTransport(uds=str(socket))
        with httpx.Client(transport=transport) as client:
            answer = client.post(
                "http://localhost/",
                json={"jsonrpc": "2.0", "id": 1, "method": "wallet_list", "params": {}},
                headers={"Authorization": f"Bearer {house.owner}"},
            ).json()
        assert {"served", "servedshop"} <= {one["name"] for one in answer["result"]["keys"]}


def test_nothing_secret_is_ever_printed(house: House) -> None:
    """A log that is sent to somebody for help would open the wallet."""
    with served(house) as service:
        made = service.result(
            house.owner,
            "wallet_create",
            name="whispered",
            passphrase=PASSPHRASE,
            revealWords=True,
        )
        words = made["words"]
        for name in ("wallet_import", "wallet_create"):
            told = service.error(
                house.owner, name, name="served", passphrase=PASSPHRASE, words=" ".join(words)
            )
            assert PASSPHRASE not in json.dumps(told) and words[5] not in json.dumps(told)
        bad = service.error(house.owner, "wallet_unlock", name="served", passphrase=[PASSPHRASE])
        assert PASSPHRASE not in json.dumps(bad)
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(SECONDS_MAX)
        printed = "".join(file.read_text() for file in house.outputs)
    assert [one for one in (PASSPHRASE, " ".join(words[:3])) if one in printed] == []
