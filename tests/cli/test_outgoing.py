"""What was signed is never forgotten: finished, replaced, cancelled, and limited on the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Row, Status
from tests.cli.conftest import Cli, SettableClock
from tests.cli.fakenode import FakeNode

pytestmark = pytest.mark.usefixtures("wallet")


@pytest.fixture
def outbox(home: Path, clock: SettableClock) -> Outbox:
    return Outbox(home / "outbox", now_ms=clock)


def pay(passphrase_file: str, amount: str = "12.5", *more: str) -> list[str]:
    command = ["wallet", "send", "bob", amount, "--from", "alice", "--yes", *more]
    return [*command, "--passphrase-file", passphrase_file]


def stopped(cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str) -> Row:
    """Interrupt a payment after it was signed, before any node heard of it."""
    node.overrides["tx_submit"] = lambda _: KeyboardInterrupt()
    assert cli(*pay(passphrase_file)).code == 1
    del node.overrides["tx_submit"]
    (row,) = outbox.left()
    assert (row.status, len(row.attempts)) == (Status.SIGNED, 1)
    return row


def test_what_was_stopped_after_signing_is_finished_by_the_next_command(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """A payment that was signed and not sent must be neither lost nor doubled."""
    row = stopped(cli, node, outbox, passphrase_file)
    tx_id = f"0x{row.newest.tx_id.hex()}"
    done = cli(*pay(passphrase_file, "3"))
    assert done.code == 0, done.err
    said = f"  Left unfinished by an earlier command: {tx_id} paid, final in block 1."
    assert done.err.splitlines()[0] == said
    assert len(node.final) == 2
    assert [one.status for one in outbox.rows()] == [Status.PAID, Status.PAID]
    assert outbox.left() == []


def test_resume_says_what_became_of_it(
    cli: Cli, node: FakeNode, outbox: Outbox, home: Path, passphrase_file: str
) -> None:
    """Whoever comes back after a crash asks with one command and needs no passphrase."""
    assert cli("wallet", "send", "--resume").err == "Nothing was left unfinished.\n"
    row = stopped(cli, node, outbox, passphrase_file)
    tx_id = f"0x{row.newest.tx_id.hex()}"
    node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
    pending = cli("wallet", "send", "--resume", "--timeout", "1")
    assert (pending.code, pending.out) == (5, f"! {tx_id} still pending.\n")
    del node.overrides["tx_wait"]
    asked = cli("wallet", "send", "--resume", "--json")
    receipt = str(home / "receipts" / f"{tx_id}.json")
    entry = {"txId": tx_id, "status": "paid", "height": 1, "receipt": receipt}
    assert (asked.code, json.loads(asked.out)) == (0, {"resumed": [entry]})


def test_the_key_of_a_stopped_payment_goes_on_with_it(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """A script that runs again with its key gets the receipt of the one payment."""
    key = ("--idempotency-key", "0x0123")
    node.overrides["tx_submit"] = lambda _: KeyboardInterrupt()
    assert cli(*pay(passphrase_file, "12.5", *key)).code == 1
    del node.overrides["tx_submit"]
    assert cli(*pay(passphrase_file, "12.5", *key)).code == 0
    again = cli(*pay(passphrase_file, "12.5", *key))
    (tx_id,) = node.final
    assert again.code == 4
    assert again.err.endswith(
        f"This idempotency key has paid already, as {tx_id}. Nothing more was sent. "
        f"→ clawpurse tx wait {tx_id}\n"
    )
    other = cli(*pay(passphrase_file, "13", *key))
    assert (other.code, "stands for another payment" in other.err) == (4, True)


def test_a_cancelled_payment_can_never_happen(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """Cancelled must mean that the first bytes are void, whoever still has them."""
    row = stopped(cli, node, outbox, passphrase_file)
    tx_id = f"0x{row.newest.tx_id.hex()}"
    done = cli("tx", "cancel", tx_id, "--passphrase-file", passphrase_file)
    assert done.code == 0, done.err
    assert done.out.startswith("✓ Cancelled in block 1: it can never be paid. The fee was.\n")
    late = node.tx_submit({"tx": f"0x{row.newest.raw.hex()}"})
    assert isinstance(late, RpcError) and late.code == Code.SEQUENCE_LOW.rpc_code
    assert outbox.rows()[0].status is Status.CANCELLED
    again = cli("tx", "cancel", tx_id, "--passphrase-file", passphrase_file)
    assert (again.code, "Too late: it is cancelled" in again.err) == (4, True)


def test_what_is_final_cannot_be_cancelled(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """Saying "cancelled" of money that is gone would be a lie."""
    assert cli(*pay(passphrase_file)).code == 0
    (tx_id,) = node.final
    for command in ("cancel", "replace"):
        done = cli("tx", command, tx_id, "--passphrase-file", passphrase_file)
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("Too late: it is paid, which nothing takes back.")
    unknown = cli("tx", "cancel", "0x" + "12" * 32, "--passphrase-file", passphrase_file)
    assert (unknown.code, "was not signed by this wallet" in unknown.err) == (2, True)


def test_a_payment_is_replaced_by_itself_at_a_higher_fee(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """What waits too long is offered again: the same payment, once."""
    row = stopped(cli, node, outbox, passphrase_file)
    tx_id = f"0x{row.newest.tx_id.hex()}"
    arguments = ["--replace", tx_id, "--fee", "0.05", "--passphrase-file", passphrase_file]
    done = cli("wallet", "send", *arguments, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["fee"], document["txId"] != tx_id) == ("5", True)
    (paid,) = outbox.rows()
    assert (paid.status, paid.lane, len(paid.attempts)) == (Status.PAID, row.lane, 2)
    assert isinstance(node.tx_submit({"tx": f"0x{row.newest.raw.hex()}"}), RpcError)


def test_guardrails_refuse_before_anything_is_signed(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """A program learns which limit it hit, and a person what to do."""
    limit = ["wallet", "guardrails", "set", "alice", "--max", "CLAW", "10"]
    done = cli(*limit, "--passphrase-file", passphrase_file)
    assert done.code == 0, done.err
    refused = cli(*pay(passphrase_file))
    assert (refused.code, refused.out) == (4, "")
    assert refused.err == (
        "12.51 CLAW is over your 10.00 CLAW limit. Nothing was sent. "
        "→ clawpurse wallet guardrails\n"
    )
    asked = json.loads(cli(*pay(passphrase_file, "12.5", "--json")).out)["error"]
    assert asked["name"] == "guardrail"
    (limit_data,) = asked["refusals"]
    assert (limit_data["limit"], limit_data["allowed"], limit_data["asked"]) == (
        "perTransaction",
        "1000",
        "1251",
    )
    assert not node.final and outbox.rows() == []


def test_a_large_payment_says_that_it_is_large(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """The verdict of the guardrails stands with the amount, before the question."""
    done = cli(*pay(passphrase_file, "150"))
    assert "  Guardrails  ! 150.01 CLAW is above 100.00 CLAW" in done.err
    assert account_text(node.chain.bob.account) in done.err


def test_a_day_has_a_limit_over_all_commands(
    cli: Cli, node: FakeNode, outbox: Outbox, passphrase_file: str
) -> None:
    """Many small payments are one large one; what is on its way counts."""
    node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
    limit = ["wallet", "guardrails", "set", "alice", "--per-day", "CLAW", "20"]
    assert cli(*limit, "--passphrase-file", passphrase_file).code == 0
    assert cli(*pay(passphrase_file, "12.5", "--timeout", "1")).code == 5
    done = cli(*pay(passphrase_file, "12.5", "--timeout", "1", "--json"))
    assert done.code == 4
    (limit_data,) = json.loads(done.out)["error"]["refusals"]
    assert (limit_data["limit"], limit_data["spent"]) == ("perDay", "1251")
    assert limit_data["resetsAt"].endswith("T00:00:00.000Z")
