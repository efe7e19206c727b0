"""`pay`, `refund`, `escrow`, `hold` and `schedule`: what people type, see and get.

If these failed, somebody could set money apart for the wrong day, or lose the secret to it.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.promising import id_of, parsed, reference_of, time_of
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.node.rpc import payment_methods as rpc
from clawpurse.node.rpc.payment_methods import PaymentMethods
from clawpurse.node.rpc.services import Services
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import START_MS, _State

NOW_MS = START_MS + 500


@pytest.fixture(autouse=True)
def ready(node: FakeNode, wallet: Keystore) -> None:
    """Alice and Bob have keys; the node shows what its ledger holds by its real methods."""

    def method(name: str, params: type[Any]) -> None:
        def answer(given: dict[str, Any]) -> Any:
            state = _State(node.chain.state)
            services = cast("Services", SimpleNamespace(chain=SimpleNamespace(reader=state)))
            handlers = {one.name: one.handler for one in PaymentMethods(services).methods()}
            try:
                context = cast("Context", None)
                return handlers[name](params.model_validate(given), context)
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))

        node.overrides[name] = answer

    method("payment_getHold", rpc.HoldParams)
    method("payment_listHolds", rpc.HoldsParams)
    method("payment_getEscrow", rpc.EscrowParams)
    method("payment_getScheduled", rpc.ScheduledParams)
    method("payment_getRefunds", rpc.PaymentParams)
    method("payment_listObjects", rpc.ObjectsParams)


class Hand:
    """Runs commands that sign, without questions."""

    def __init__(self, cli: Cli, passphrase_file: str) -> None:
        self.cli = cli
        self.file = passphrase_file

    def signs(self, *arguments: str, by: str = "alice") -> Done:
        return self.cli(*arguments, "--from", by, "--passphrase-file", self.file, "--yes")

    def done(self, *arguments: str, by: str = "alice") -> str:
        found = self.signs(*arguments, by=by)
        assert found.code == 0, found.err
        return found.out

    def json(self, *arguments: str) -> Any:
        found = self.cli(*arguments, "--json")
        assert found.code == 0, found.err
        return json.loads(found.out)


@pytest.fixture
def hand(cli: Cli, passphrase_file: str) -> Hand:
    return Hand(cli, passphrase_file)


def shown_id(said: str) -> str:
    """The id in the last line."""
    return said.split()[-1]


def test_an_escrow_with_a_secret_from_its_making_to_its_payout(hand: Hand, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    said = hand.done(
        "escrow", "create", "bob", "12.50", "--secret-file", str(secret), "--cancel-after", "48h",
        "--reference", "order 7",
    )  # fmt: skip
    assert "12.50 CLAW is set apart until" in said and str(secret) in said
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    escrow = shown_id(said)
    shown = hand.cli("escrow", "show", escrow).out
    assert "12.50 CLAW" in shown and "whose SHA-256 is 0x" in shown and "order 7" in shown
    assert [one["id"] for one in hand.json("escrow", "list", "bob")["objects"]] == [escrow]
    assert "payee, from claw1" in hand.cli("escrow", "list", "bob").out
    refused = hand.signs("escrow", "finish", escrow, by="bob")
    assert refused.code == 4 and "has no part in" in refused.err
    said = hand.done("escrow", "finish", escrow, "--secret-file", str(secret), by="bob")
    assert "12.50 CLAW was paid." in said
    assert hand.cli("escrow", "show", escrow).code != 0


def test_a_secret_is_never_written_over_another(hand: Hand, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0xaa\n")
    done = hand.signs("escrow", "create", "bob", "1", "--secret-file", str(secret))
    assert (done.code, secret.read_text()) == (2, "0xaa\n")
    assert "Nothing was sent" in done.err


def test_an_arbiter_decides_and_a_payee_gives_up(hand: Hand) -> None:
    eve = "claw1" + account_text(b"\x05" * 32)[5:]
    said = hand.done("escrow", "create", eve, "3", "--arbiter", "bob")
    said = hand.done("escrow", "decide", shown_id(said), "return", "--reason", "no.goods", by="bob")
    assert "3.00 CLAW went back to its payer." in said
    said = hand.done("escrow", "create", "bob", "3", "--finish-after", "10d")
    assert "went back" in hand.done("escrow", "cancel", shown_id(said), by="bob")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bob", "1"], "has neither finishAfter nor condition nor arbiter"),
        (["bob", "1", "--finish-after", "soon"], "'soon' is no time."),
        (["bob", "1", "--finish-after", "2d", "--cancel-after", "1d"], "is not after finishAfter"),
        (["bob", "1.234", "--finish-after", "1d"], "has 3 decimals"),
        (["bob", "1", "--finish-after", "1d", "--asset", "GOLD"], "There is no asset GOLD here."),
        (["bob", "1", "--condition", "0x12"], "'0x12' is no condition."),
        (["bob", "1", "--finish-after", "1d", "--reference", "x" * 65], "has 65 bytes"),
        (["bob", "1", "--condition", "0x12", "--secret-file", "f"], "or made of a new secret"),
    ],
)
def test_an_escrow_that_was_typed_wrongly_sends_nothing(
    hand: Hand, node: FakeNode, arguments: list[str], words: str
) -> None:
    done = hand.signs("escrow", "create", *arguments)
    assert done.code == 2 and words in done.err and "Nothing was sent" in done.err
    assert "tx_submit" not in [method for method, _ in node.calls]


def test_what_is_asked_before_signing_shows_amounts_as_people_write_them(
    cli: Cli, passphrase_file: str
) -> None:
    done = cli(
        "escrow", "create", "bob", "12.5", "--asset", "EUR", "--finish-after", "1d",
        "--from", "alice", "--passphrase-file", passphrase_file, "--yes",
    )  # fmt: skip
    assert "Set 12.500 EUR to claw1" in done.err + done.out


def test_a_placed_hold_is_captured_in_part_and_the_rest_given_back(hand: Hand) -> None:
    said = hand.done(
        "hold", "create", "bob", "30", "--expires", "7d", "--reason", "deposit", "--capture"
    )
    hold = shown_id(said)
    shown = hand.cli("hold", "show", hold).out
    assert "its payer placed it: deposit" in shown and "the payee, who may take of it" in shown
    assert "it goes back at" in shown
    said = hand.done("hold", "capture", hold, "10", by="bob")
    assert "10.00 CLAW was paid, the rest is still held." in said
    said = hand.done("hold", "capture", hold, "5", "--give-back", by="bob")
    assert "5.00 CLAW was paid, the rest went back to its payer." in said
    assert hand.json("hold", "list", "--of", "bob")["holds"] == []


def test_giving_up_takes_nothing(hand: Hand) -> None:
    said = hand.done(
        "hold", "create", "bob", "30", "--expires", "7d", "--reason", "x", "--release-at-expiry"
    )
    assert hand.signs("hold", "capture", shown_id(said), "0", by="bob").code == 2
    said = hand.done("hold", "capture", shown_id(said), "0", "--give-back", by="bob")
    assert "nothing was paid, the rest went back" in said


def test_a_releaser_decides_and_who_is_none_is_refused(hand: Hand) -> None:
    eve = account_text(b"\x05" * 32)
    said = hand.done(
        "hold", "create", eve, "30", "--expires", "7d", "--reason", "goods", "--releaser", "bob"
    )
    hold = shown_id(said)
    assert "0 release, 0 return, 1 decide" in hand.cli("hold", "list", "--of", eve).out
    assert hand.signs("hold", "release", hold, "--reason", "me").code == 4
    said = hand.done("hold", "return", hold, "--reason", "no.goods", by="bob")
    assert "it went back to its payer." in said


def test_a_hold_that_nobody_could_end_is_a_mistake_in_typing(hand: Hand) -> None:
    done = hand.signs("hold", "create", "bob", "3", "--expires", "7d", "--reason", "x")
    assert done.code == 2 and "--capture, --releaser or --release-at-expiry" in done.err
    done = hand.signs("hold", "create", "bob", "3", "--expires", "7d", "--reason", "Bad One")
    assert done.code == 2 and "The reason 'Bad One'" in done.err


def test_officers_see_what_waits_for_them(hand: Hand) -> None:
    assert hand.json("hold", "list") == {"holds": [], "nextCursor": None}
    assert hand.cli("hold", "list", "--officers", "No Role").code != 0


def test_a_scheduled_payment_is_listed_and_cancelled(hand: Hand) -> None:
    at = time_text(START_MS + 86_400_000)
    said = hand.done("schedule", "create", "bob", "7", "--at", at, "--reference", "wage")
    assert f"7.00 CLAW is paid at {at}." in said
    listed = hand.cli("schedule", "list", "alice").out
    assert at in listed and "wage" in listed and "to claw1" in listed
    assert "went back" in hand.done("schedule", "cancel", shown_id(said))
    assert hand.json("schedule", "list", "bob")["objects"] == []


def test_a_payment_is_refunded_by_its_id_or_its_transaction(hand: Hand, node: FakeNode) -> None:
    said = hand.done("pay", "bob", "20", "--reference", "INV-9", "--refund-days", "30")
    assert "20.00 CLAW was paid." in said
    payment = shown_id(said)
    assert "15.00 CLAW can still be" in hand.done("refund", payment, "5", by="bob")
    tx_id = "0x" + "77" * 32
    event = {"kind": "payments.payment", "data": {"paymentId": payment}}
    usual = node.tx_getReceipt
    node.overrides["tx_getReceipt"] = lambda params: (
        {"events": [event]} if params["txId"] == tx_id else usual(params)
    )
    assert "14.00 CLAW can still be" in hand.done("refund", tx_id, "1", by="bob")
    refused = hand.signs("refund", payment, "15", by="bob")
    assert refused.code == 4 and "can still be refunded" in refused.err
    assert hand.json("rpc", "payment_getRefunds", f"payment={payment}")["refunded"] == "600"


def test_what_was_not_kept_cannot_be_refunded_by_its_id(hand: Hand, node: FakeNode) -> None:
    node.overrides["tx_getReceipt"] = lambda _: RpcError(NOT_FOUND, "nothing")
    done = hand.signs("refund", "0x" + "99" * 32, "1", by="bob")
    assert done.code == 4 and "No payment that can be refunded has that id." in done.err


def test_an_approver_signs_beside_the_payer(hand: Hand) -> None:
    eve = account_text(b"\x05" * 32)
    said = hand.done("pay", eve, "2", "--approver", "bob")
    assert "2.00 CLAW was paid." in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", START_MS + 90_000),
        ("2m", START_MS + 120_000),
        ("36h", START_MS + 36 * 3_600_000),
        ("10d", START_MS + 864_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000),
        ("2027-01-15T08:00:00.250Z", START_MS + 250),
    ],
)
def test_times_are_read_as_they_are_written(text: str, expected: int) -> None:
    assert time_of(text, NOW_MS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "d",
        "-1d",
        "1w",
        "1.5h",
        "9999999999s",
        "2023-02-29T00:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-01-01T24:00:00Z",
        "2027-01-01 00:00:00Z",
        "2027-01-01T00:00:00+01:00",
        "2027-01-01T00:00:00.x50Z",
        "1969-12-31T23:59:59Z",
        "tomorrow",
    ],
)
def test_what_is_no_time_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UsageFault, match="2027-01-15T09:00:00Z"):
        time_of(text, NOW_MS)


def test_ids_references_and_amounts_are_checked_at_the_edge() -> None:
    assert id_of("ab" * 32, "hold") == id_of("0x" + "ab" * 32, "hold") == b"\xab" * 32
    assert reference_of("Straße") == "Straße".encode()
    assert parsed("0", "CLAW", 2, low=0) == 0
    for wrong in ("0x" + "ab" * 31, "zz" * 32):
        with pytest.raises(UsageFault):
            id_of(wrong, "hold")
    with pytest.raises(UsageFault):
        parsed("0", "CLAW", 2)


def test_limits_bind_every_way_of_paying(hand: Hand, cli: Cli, home: Path) -> None:
    """Otherwise whoever may not send 40 sets 40 apart for the same account, or pays it back."""
    tightened = cli(
        *("wallet", "guardrails", "set", "alice", "--max", "CLAW", "30", "--per-day", "CLAW"),
        *("50", "--confirm-above", "CLAW", "5", "--passphrase-file", hand.file),
    )
    assert tightened.code == 0, tightened.err
    for words in (
        ("escrow", "create", "bob", "40", "--finish-after", "10d"),
        ("hold", "create", "bob", "40", "--expires", "7d", "--reason", "check", "--capture"),
        ("schedule", "create", "bob", "40", "--at", "2h"),
        ("pay", "bob", "40"),
    ):
        refused = hand.signs(*words)
        assert refused.code == 4, (words, refused.err)
        assert "is over your 30.00 CLAW limit" in refused.err
        assert "Nothing was sent" in refused.err
    said = hand.signs("escrow", "create", "bob", "28", "--finish-after", "10d")
    assert (said.code, "CLAW" in said.err) == (0, True)
    refused = hand.signs("wallet", "send", "bob", "28")
    assert (refused.code, "50.00" in refused.err) == (4, True)
    paid = hand.signs("pay", "alice", "29", "--refund-days", "30", by="bob")
    assert paid.code == 0, paid.err
    given_back = hand.signs("refund", shown_id(paid.out), "29")
    assert (given_back.code, "50.00" in given_back.err) == (4, True)
