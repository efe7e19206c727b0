"""Many senders on one account, and senders that are killed: each payment exactly once, no gap."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Row, Status
from tests.e2e.conftest import PASSPHRASE, Net, environment_for
from tests.e2e.sender import STEPS

pytestmark = pytest.mark.real
SENDER = Path(__file__).with_name("sender.py")
LIBRARY = Path(__file__).resolve().parents[2] / "docs" / "wallet-library.md"


def rows_of(net: Net) -> list[Row]:
    with Outbox(net.client / "outbox", now_ms=lambda: 0) as outbox:
        return outbox.rows(100_000)


def amount_of(net: Net, name: str) -> int:
    balances = net.run("wallet", "balance", name, "--json").json()["balances"]
    return int(balances[0]["amount"])


def started(net: Net, *arguments: object, out: IO[str] | int = subprocess.PIPE) -> Any:
    command = [sys.executable, str(SENDER), str(arguments[0]), str(net.client), net.rpc]
    return subprocess.Popen(
        [*command, *map(str, arguments[1:])],
        env=environment_for(net.client),
        stdout=out,
        text=True,
    )


@pytest.fixture(scope="module")
def parties(net: Net) -> Net:
    """payer with money, payee with none; no limits in the way."""
    net.fund("payer")
    net.run("keys", "add", "payee", "--passphrase-file", net.passphrase_file, "--json").json()
    return net


@pytest.mark.parametrize("step", STEPS)
def test_a_sender_killed_at_any_step_has_paid_once(parties: Net, step: str) -> None:
    """kill -9 between any two steps: nothing is lost, nothing is paid twice."""
    net = parties
    before, had = amount_of(net, "payee"), rows_of(net)
    child = started(net, "die", step, f"die at {step}-0-0")
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    rows = rows_of(net)[len(had) :]
    was_signed = [row for row in rows if row.attempts]
    resumed = net.run("wallet", "send", "--resume", "--json").json()["resumed"]
    if step in ("reserve", "-record"):
        assert (resumed, was_signed) == ([], [])
        assert amount_of(net, "payee") == before
    else:
        (row,) = was_signed
        assert [one["status"] for one in resumed] == ([] if step == "settle" else ["paid"])
        tx_id = f"0x{row.newest.tx_id.hex()}"
        assert (net.client / "receipts" / f"{tx_id}.json").exists()
        assert amount_of(net, "payee") == before + 1
        # A script that runs again with its key is told that it has paid.
        again = started(net, "many", f"die at {step}", 1, 1)
        assert again.communicate(timeout=60)[0] == "known\n"
    assert all(row.is_settled for row in rows_of(net))
    assert net.run("wallet", "send", "--resume", "--json").json()["resumed"] == []


def pay_in_parallel(net: Net, processes: int, tasks: int, count: int) -> None:
    """Pay from one account by many; kill the first of them in the middle and start it anew."""
    before, had = amount_of(net, "payee"), len(rows_of(net))
    children = [started(net, "many", f"{n} of {count}", tasks, count) for n in range(processes)]
    victim = children[0]
    for _ in range(max(1, tasks * count // 2)):
        assert victim.stdout.readline()
    victim.kill()
    victim.communicate(timeout=60)
    again = started(net, "many", f"0 of {count}", tasks, count)
    for child in (*children[1:], again):
        said, _ = child.communicate(timeout=1_200)
        assert child.returncode == 0
        assert set(said.split()) <= {"paid", "known"}
    whole = processes * tasks * count
    assert amount_of(net, "payee") == before + whole
    rows = rows_of(net)[had:]
    assert sum(row.status is Status.PAID for row in rows) == whole
    assert all(row.is_settled for row in rows)
    # No gap: in each lane what is final is what was signed, one after the other.
    account = rows[0].account
    for lane in sorted({row.lane for row in rows}):
        params = [f"account={account_text(account)}", f"lane={lane}"]
        answer = net.run("rpc", "account_getSequence", *params, "--json").json()
        assert answer["sequence"] == answer["finalSequence"]
        used = [row.newest.sequence for row in rows if row.lane == lane]
        assert sorted(used) == list(range(min(used), answer["finalSequence"]))
    assert len({row.lane for row in rows}) <= processes * tasks + tasks


def test_senders_on_one_account_each_pay_exactly_once(parties: Net) -> None:
    """Programs that share an account must not lose a payment when one of them is killed."""
    pay_in_parallel(parties, 2, 2, 4)


@pytest.mark.full
def test_thirty_two_senders_pay_3200_times(parties: Net) -> None:
    """Eight processes of four tasks, one killed in the middle: 3,200 payments, each once."""
    pay_in_parallel(parties, 8, 4, 100)


def test_the_examples_of_the_library_run(parties: Net, tmp_path: Path) -> None:
    """Whoever copies an example must not find that it never worked."""
    net = parties
    net.fund("alice-lib")
    text = LIBRARY.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    program = "\n".join(blocks).replace('"alice"', '"alice-lib"').replace('"bob"', '"payee"')
    head = f"home, rpc, passphrase = {str(net.client)!r}, {net.rpc!r}, {PASSPHRASE!r}\n"
    file = tmp_path / "examples.py"
    file.write_text(head + program)
    done = subprocess.run(
        [sys.executable, str(file)],
        env=environment_for(net.client),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    address = lines[1].removeprefix("Pay me at ")
    account_from_text(address)
    assert lines[2].startswith("paid in block ")
    assert lines[-1] == "paid"
