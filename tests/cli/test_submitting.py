"""What was signed elsewhere is written down before a node gets it, and finished after a kill."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import Role, Transaction
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.guardrails import Journal, Verdict
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Status
from tests.cli.conftest import Cli, SettableClock
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import START_MS

pytestmark = pytest.mark.usefixtures("wallet")


@pytest.fixture
def outbox(home: Path, clock: SettableClock) -> Outbox:
    return Outbox(home / "outbox", now_ms=clock)


@pytest.fixture
def signed(node: FakeNode) -> Transaction:
    """Seven minor units from alice to bob, signed on another machine."""
    alice, bob = node.chain.alice, node.chain.bob
    body = build_body(
        node.chain.terms,
        build_registry(),
        alice.account,
        Slot(3, 0),
        [transfer_action("CLAW", bob.account, 7)],
        valid_until_ms=START_MS + 60_000,
        fee=1,
        idempotency_key=b"\x01",
    )
    return sign_body(body, [(Role.SENDER, alice)])


@pytest.fixture
def file(tmp_path: Path, signed: Transaction) -> str:
    place = tmp_path / "tx.bin"
    place.write_bytes(signed.raw)
    return str(place)


def test_it_is_on_disk_before_a_node_gets_it(
    cli: Cli, node: FakeNode, outbox: Outbox, signed: Transaction, file: str, home: Path
) -> None:
    """Killed as it submits: the next command finishes it, even when the file is gone."""
    node.overrides["tx_submit"] = lambda _: KeyboardInterrupt()
    assert cli("tx", "submit", file).code == 1
    del node.overrides["tx_submit"]
    (row,) = outbox.left()
    assert (row.status, row.lane, row.newest.raw) == (Status.SIGNED, 3, signed.raw)
    assert row.payments == ((node.chain.bob.account, "CLAW", 7),)
    Path(file).unlink()
    shown = cli("wallet", "balance", "alice")
    assert shown.code == 0
    assert shown.err.endswith(
        "! 1 signed payment is unfinished. → clawpurse wallet send --resume\n"
    )
    done = cli("wallet", "send", "--resume", "--json")
    (entry,) = json.loads(done.out)["resumed"]
    assert (done.code, entry["status"]) == (0, "paid")
    receipt = Path(entry["receipt"])
    assert receipt.parent == home / "receipts"
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    assert len(node.final) == 1
    assert "unfinished" not in cli("wallet", "balance", "alice").err


def test_the_same_file_again_goes_on_with_it_and_pays_once(
    cli: Cli, node: FakeNode, outbox: Outbox, file: str
) -> None:
    """Whoever repeats the command after a kill gets the one receipt, then the truth."""
    node.overrides["tx_submit"] = lambda _: KeyboardInterrupt()
    assert cli("tx", "submit", file).code == 1
    del node.overrides["tx_submit"]
    done = cli("tx", "submit", file)
    assert done.code == 0, done.err
    assert done.out.startswith("✓ Final in block 1. Proof checked.")
    again = cli("tx", "submit", file)
    assert (again.code, again.out) == (4, "")
    assert again.err.startswith("It was sent from here before, and is paid. Nothing was sent.")
    assert len(node.final) == len(outbox.rows()) == 1


def test_what_was_refused_comes_again_with_more_signatures(
    cli: Cli, node: FakeNode, outbox: Outbox, signed: Transaction, file: str
) -> None:
    """A missing signature refuses once: the complete file is other bytes of the same id."""
    node.refuse("tx_submit", Code.APPROVAL_REQUIRED, "a weight of 1 is missing")
    refused = cli("tx", "submit", file)
    assert (refused.code, refused.err.startswith("A weight of 1 is missing.")) == (4, True)
    del node.overrides["tx_submit"]
    (row,) = outbox.rows()
    assert row.status is Status.REFUSED
    both = [(Role.SENDER, node.chain.alice), (Role.APPROVER, node.chain.bob)]
    more = sign_body(signed.body, both).raw
    Path(file).write_bytes(more)
    taken: list[str] = []

    def keep(params: dict[str, str]) -> object:
        taken.append(params["tx"])
        return RpcError(Code.POOL_FULL.rpc_code, "full")

    node.overrides["tx_submit"] = keep
    assert cli("tx", "submit", file).code == 4
    assert taken == [f"0x{more.hex()}"]
    found = outbox.find(signed.tx_id)
    assert found is not None and found.newest.raw == more


def test_nothing_reaches_a_node_when_it_cannot_be_written_down(
    cli: Cli, node: FakeNode, home: Path, file: str
) -> None:
    """Without a record nobody could finish it: a damaged outbox submits nothing."""
    (home / "outbox").mkdir(mode=0o700)
    (home / "outbox" / "outbox.db").write_bytes(b"not a database at all" * 100)
    done = cli("tx", "submit", file)
    assert done.code != 0
    assert done.err.count("\n") == 1 and "outbox" in done.err
    assert not any(method == "tx_submit" for method, _ in node.calls)
    looked = cli("wallet", "balance", "alice")
    assert (looked.code, "cannot be used" in looked.err) == (0, True)


def test_what_it_pays_counts_for_the_day_of_who_signed(
    cli: Cli, node: FakeNode, outbox: Outbox, file: str
) -> None:
    """A daily limit that offline files pass by would be none."""
    assert cli("tx", "submit", file).code == 0
    alice = node.chain.alice
    seen: list[int] = []

    def judge(journal: Journal) -> Verdict:
        seen.append(journal.spent(alice.account, "CLAW", 0))
        return Verdict(True)

    outbox.judged(node.chain.terms.genesis_hash, alice.public_key, judge)
    assert seen == [8]


def test_the_verdict_is_asked_before_anything_is_sent(
    cli: Cli, node: FakeNode, signed: Transaction, file: str, tmp_path: Path
) -> None:
    """Done, held and refused are told apart by words and by exit codes; nothing is submitted."""
    done = cli("tx", "simulate", file)
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "✓ It would be done now. Nothing was sent.",
    )
    answer = node.tx_simulate({})
    held = {**answer, "trace": [{"rule": "acme.large", "verdict": "hold"}]}
    node.overrides["tx_simulate"] = lambda _: held
    body = tmp_path / "body.bin"
    body.write_bytes(signed.body_bytes)
    shown = cli("tx", "simulate", str(body))
    assert (shown.code, shown.out.splitlines()[0]) == (5, "! It would be held now, by acme.large.")
    reason = "It has 1.00 CLAW, needs 2.00 CLAW."
    refused = {**answer, "code": "insufficient_funds", "reason": reason, "rule": "kernel.balance"}
    node.overrides["tx_simulate"] = lambda _: refused
    told = cli("tx", "simulate", file)
    assert (told.code, told.out.splitlines()[0]) == (4, f"✗ It would be refused now: {reason}")
    document = json.loads(cli("tx", "simulate", file, "--json").out)
    assert document["verdict"] == "refused" and document["rule"] == "kernel.balance"
    assert document["txId"] == f"0x{signed.tx_id.hex()}"
    assert not any(method == "tx_submit" for method, _ in node.calls)
