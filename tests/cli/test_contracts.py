"""`batch`, `invoice` and `channel`: what people type, see and get.

If these failed, somebody could approve a payroll that was never shown, or serve for a voucher
that pays nothing.
"""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clawpurse.cli.batches import read_rows
from clawpurse.cli.channels import read_vouchers
from clawpurse.cli.failures import UsageFault
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.redeeming import Claim, redeems
from clawpurse.ledger.vouchers import Terms
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.node.rpc import contract_methods, payment_methods
from clawpurse.node.rpc.services import Services
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.vouchers import make
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode, shown_as
from tests.wallet.smallchain import START_MS, _State

EVE = account_text(b"\x05" * 32)


@pytest.fixture(autouse=True)
def ready(node: FakeNode, wallet: Keystore) -> None:
    """Alice and Bob have keys; the node shows what its ledger holds by its real methods."""

    def method(name: str, params: type[Any], methods: type[Any]) -> None:
        def answer(given: dict[str, Any]) -> Any:
            chain = SimpleNamespace(
                reader=_State(node.chain.state),
                genesis=node.chain.genesis,
                tip=SimpleNamespace(time_ms=START_MS + 1),
            )
            services = cast("Services", SimpleNamespace(chain=chain))
            handlers = {one.name: one.handler for one in methods(services).methods()}
            try:
                return handlers[name](params.model_validate(given), cast("Any", None))
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))

        node.overrides[name] = answer

    for name, params in (
        ("payment_getBatch", contract_methods.BatchParams),
        ("payment_listBatches", contract_methods.BatchesParams),
        ("payment_getInvoice", contract_methods.InvoiceParams),
        ("payment_getChannel", contract_methods.ChannelParams),
        ("payment_verifyVoucher", contract_methods.VoucherParams),
    ):
        method(name, params, contract_methods.ContractMethods)
    method("payment_listObjects", payment_methods.ObjectsParams, payment_methods.PaymentMethods)


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

    def key_only(self, *arguments: str, by: str = "alice") -> str:
        found = self.cli(*arguments, "--from", by, "--passphrase-file", self.file)
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


# -- batches


@pytest.fixture
def payroll(tmp_path: Path) -> Path:
    path = tmp_path / "may.csv"
    path.write_text(f'to,amount,reference\n{EVE},12.50,may\n\nbob,"100.00",bonus 5\n')
    return path


def test_a_payroll_from_its_file_to_its_payment(hand: Hand, payroll: Path, node: FakeNode) -> None:
    proposal = hand.signs(
        "batch", "propose", str(payroll), "--approver", "bob", "--reference", "may"
    )
    assert proposal.code == 0, proposal.err
    assert "12.50 CLAW to" in proposal.err, "what is proposed is shown before the question"
    assert "112.50 CLAW in 2 payments are proposed until" in proposal.out
    batch = shown_id(proposal.out)
    shown = hand.cli("batch", "show", batch).out
    assert "112.50 CLAW in 2 payments" in shown and "0 of 1" in shown and "bonus 5" in shown
    assert "approver" in hand.cli("batch", "list", "bob").out
    assert "payer" in hand.cli("batch", "list", "alice").out
    early = hand.signs("batch", "execute", batch)
    assert early.code == 4 and "0 people approve" in early.err
    approved = hand.signs("batch", "approve", batch, "--until", "24h", by="bob")
    assert approved.code == 0 and "1 of 1 approve it." in approved.out
    assert EVE in approved.err and "12.50 CLAW" in approved.err, "shown before the question"
    assert "yes, until" in hand.cli("batch", "show", batch).out
    assert "112.50 CLAW were paid." in hand.done("batch", "execute", batch, by="bob")
    assert hand.json("batch", "list", "alice")["batches"] == []
    assert hand.cli("batch", "show", batch).code != 0


def test_a_node_that_shows_other_payments_is_not_believed(
    hand: Hand, payroll: Path, node: FakeNode
) -> None:
    batch = shown_id(hand.done("batch", "propose", str(payroll), "--approver", "bob"))
    real = node.overrides["payment_getBatch"]

    def lie(given: dict[str, Any]) -> Any:
        answer = real(given)
        answer["legs"][0]["amount"] = "1"
        return answer

    def nonsense(given: dict[str, Any]) -> Any:
        return {**real(given), "salt": 5}

    for liar in (lie, nonsense):
        node.overrides["payment_getBatch"] = liar
        for command in (["approve", batch], ["execute", batch]):
            refused = hand.signs("batch", *command, by="bob")
            assert refused.code == 4 and "Nothing was sent" in refused.err
        assert hand.cli("batch", "show", batch).code == 4


def test_a_batch_is_rejected_or_taken_back(hand: Hand, payroll: Path) -> None:
    batch = shown_id(hand.done("batch", "propose", str(payroll), "--approver", "bob"))
    said = hand.done("batch", "reject", batch, "--reason", "wrong-month", by="bob")
    assert "0 people can still approve it" in said and "over" in said
    batch = shown_id(hand.done("batch", "propose", str(payroll), "--approver", "bob"))
    assert "taken back" in hand.done("batch", "withdraw", batch)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin with the line to,amount,reference"),
        ("bob,5,x\n", "does not begin with the line"),
        ("to,amount,reference\n", "has 0 payments"),
        ("to,amount,reference\nbob,5\n", "line 2 has 2 columns, 3 are needed"),
        ('to,amount\nbob,"5\n', "line 2"),
        ("to,amount\n" + "bob,1\n" * 201, "has 201 payments"),
        ("[", "is not JSON"),
        ('{"to": "bob"}', "is not a list"),
        ('[{"to": "bob"}]', "payment 1 does not have to, amount"),
        ('[{"to": "bob", "amount": true}]', "payment 1 does not have"),
        ('[{"to": "bob", "amount": "1", "memo": "x"}]', "payment 1 does not have"),
        ("x" * 200_001, "is above 200000 bytes"),
    ],
)
def test_a_file_that_is_no_batch_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run"
    path.write_text(text)
    with pytest.raises(UsageFault, match=words):
        read_rows(path)


def test_files_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b'\xef\xbb\xbfto,amount,reference\r\nbob , 5.00,"a, b"\r\n')
    assert [row[1:] for row in read_rows(path)] == [("bob", "5.00", "a, b")]
    path.write_text('[{"to": "bob", "amount": 5}, {"to": "bob", "amount": 0.10}]')
    assert [row.amount for row in read_rows(path)] == ["5", "0.10"]
    path.write_bytes(b"\xff")
    with pytest.raises(UsageFault, match="is not UTF-8"):
        read_rows(path)
    with pytest.raises(UsageFault, match="cannot be read"):
        read_rows(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("to,amount\nbob,1.234\n", "line 2: 1.234 has 3 decimals"),
        ("to,amount\nnobody,1\n", "nobody"),
        (f"to,amount,reference\nbob,1,{'x' * 33}\n", "has 33 bytes, 32 fit"),
    ],
)
def test_a_payment_that_is_wrong_stops_the_proposal(
    hand: Hand, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "run"
    path.write_text(text)
    found = hand.signs("batch", "propose", str(path), "--approver", "bob")
    assert found.code == 2 and words in found.err and "Nothing was sent" in found.err


# -- invoices


def test_an_invoice_from_its_making_to_its_redeeming(hand: Hand, node: FakeNode) -> None:
    said = hand.done("invoice", "create", "25", "--purpose", "order 7", "--expires", "2h", by="bob")
    assert "25.00 CLAW can be paid until" in said
    invoice = shown_id(said)
    shown = hand.cli("invoice", "show", invoice).out
    assert "open" in shown and "order 7" in shown and "anybody" in shown
    paid = hand.signs("invoice", "pay", invoice)
    assert paid.code == 0 and f"25.00 CLAW was paid for {invoice}" in paid.out
    assert "25.00 CLAW to" in paid.err and "for order 7" in paid.err
    assert "paid" in hand.cli("invoice", "list", "alice").out
    (one,) = hand.json("invoice", "list", "bob")["invoices"]
    assert (one["state"], one["paidBy"]) == ("paid", account_text(node.chain.alice.account))
    again = hand.signs("invoice", "pay", invoice)
    assert again.code == 4 and "was paid at" in again.err
    request, genesis = b"\x09" * 32, node.chain.genesis.hash
    signed = hand.key_only("invoice", "redeem", invoice, "--request", f"0x{request.hex()}")
    claim = Claim(request=request, signature=bytes.fromhex(signed.strip()[2:]))
    key = node.chain.alice.public_key
    assert redeems(genesis, bytes.fromhex(invoice[2:]), None, key, claim)
    offline = hand.key_only(
        "invoice", "redeem", invoice, "--request", f"0x{request.hex()}",
        "--genesis-hash", f"0x{genesis.hex()}", "--json",
    )  # fmt: skip
    assert json.loads(offline)["signature"] == signed.strip()


def test_an_invoice_for_one_payer_is_cancelled(hand: Hand) -> None:
    said = hand.done("invoice", "create", "5", "--bill-to", "alice", by="bob")
    invoice = shown_id(said)
    assert "nobody can pay it" in hand.done("invoice", "cancel", invoice, by="bob")
    refused = hand.signs("invoice", "pay", invoice)
    assert refused.code == 4 and "was cancelled" in refused.err


def test_a_node_that_shows_another_invoice_is_not_believed(hand: Hand, node: FakeNode) -> None:
    invoice = shown_id(hand.done("invoice", "create", "5", by="bob"))
    real = node.overrides["payment_getInvoice"]
    for change in ({"payee": EVE}, {"amount": "1"}, {"salt": None}, {"asset": "EUR"}):
        node.overrides["payment_getInvoice"] = partial(shown_as, real, change)
        refused = hand.signs("invoice", "pay", invoice)
        assert refused.code == 4 and "another invoice" in refused.err


def test_a_purpose_fits(hand: Hand) -> None:
    found = hand.signs("invoice", "create", "5", "--purpose", "x" * 65, by="bob")
    assert found.code == 2 and "at most 64" in found.err


# -- channels


def opened(hand: Hand, *more: str) -> str:
    return shown_id(hand.done("channel", "open", "bob", "100", "--reference", "api", *more))


def test_a_channel_from_its_opening_to_its_end(hand: Hand, tmp_path: Path) -> None:
    channel = opened(hand, "--challenge", "2h", "--challenge-blocks", "5")
    shown = hand.cli("channel", "show", channel).out
    assert "100.00 CLAW" in shown and "7200 s and 5 blocks" in shown and "api" in shown
    terms = tmp_path / "channel.json"
    terms.write_text(json.dumps(hand.json("channel", "show", channel)))
    made = hand.key_only(
        "channel", "voucher", channel, "0.10", "--step", "0.10", "--count", "1000",
        "--terms", str(terms), "--rpc", "http://127.0.0.1:1",
    )  # fmt: skip
    lines = made.splitlines()
    assert len(lines) == 1_000 and json.loads(lines[-1])["amount"] == "10000"
    vouchers = tmp_path / "vouchers.jsonl"
    vouchers.write_text(made)
    offline = hand.cli("channel", "check", str(vouchers), "--terms", str(terms))
    assert (offline.code, offline.out.split()[0]) == (0, "1,000")
    online = hand.cli("channel", "check", str(vouchers))
    assert online.code == 0 and "100.00 CLAW now" in online.out
    assert "more can be paid" in hand.done("channel", "topup", channel, "1.50")
    closing = hand.done("channel", "close", channel)
    assert "it ends after" in closing
    said = hand.done("channel", "claim", str(vouchers), by="bob")
    assert "100.00 CLAW was paid; 1.50 CLAW is left in the channel." in said
    spent = hand.cli("channel", "check", str(vouchers))
    assert spent.code == 1 and "as much was paid already" in spent.out
    assert "payee, from" in hand.cli("channel", "list", "bob").out
    early = hand.signs("channel", "finalise", channel)
    assert early.code == 4 and "Not before" in early.err
    assert "1.50 CLAW went back" in hand.done("channel", "close", channel, by="bob")
    assert hand.json("channel", "list", "alice")["channels"] == []


def test_one_voucher_from_standard_input(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = opened(hand)
    made = hand.key_only("channel", "voucher", channel, "7.25")
    stdin = SimpleNamespace(buffer=io.BytesIO(made.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    (voucher,) = read_vouchers(Path("-"))
    assert voucher.amount == 725


def test_vouchers_as_one_document_are_read_too(hand: Hand, tmp_path: Path) -> None:
    channel = opened(hand)
    made = hand.key_only(
        "channel", "voucher", channel, "1", "--step", "1", "--count", "3", "--json"
    )
    path = tmp_path / "v.json"
    path.write_text(made)
    assert [one.amount for one in read_vouchers(path)] == [100, 200, 300]
    assert hand.json("channel", "check", str(path))["good"]


def test_only_the_key_of_the_channel_signs_for_it(hand: Hand) -> None:
    channel = opened(hand)
    found = hand.cli(
        "channel", "voucher", channel, "1", "--from", "bob", "--passphrase-file", hand.file
    )
    assert found.code == 2 and "does not sign vouchers of this channel" in found.err


def test_vouchers_of_two_channels_are_not_one(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text("".join([hand.key_only("channel", "voucher", opened(hand), "1") for _ in "ab"]))
    found = hand.cli("channel", "check", str(path))
    assert found.code == 2 and "more than one channel" in found.err


def test_a_voucher_by_a_key_of_one_s_own_is_worth_nothing(
    hand: Hand, node: FakeNode, tmp_path: Path
) -> None:
    """It verifies by the key that it names itself, which is not the channel's."""
    channel = opened(hand)
    terms = Terms(
        node.chain.genesis.hash, bytes.fromhex(channel[2:]), "CLAW", node.chain.bob.account
    )
    path, said = tmp_path / "v.json", tmp_path / "terms.json"
    path.write_text(make(node.chain.bob, terms, 5).as_text())
    said.write_text(json.dumps(hand.json("channel", "show", channel)))
    assert hand.cli("channel", "check", str(path)).code == 1
    assert hand.cli("channel", "check", str(path), "--terms", str(said)).code == 1
    refused = hand.signs("channel", "claim", str(path), by="bob")
    assert refused.code == 4 and "no voucher of the channel" in refused.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no voucher"),
        ("{}", "voucher 1"),
        ("nonsense\n", "voucher 1: voucher: is not JSON"),
        ('{"vouchers": [5]}', "voucher 1"),
    ],
)
def test_a_file_without_vouchers_says_so(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "v"
    path.write_text(text)
    with pytest.raises(UsageFault, match=words):
        read_vouchers(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageFault, match="not plain text"):
        read_vouchers(path)
    with pytest.raises(UsageFault, match="cannot be read"):
        read_vouchers(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "{}", "[", '{"channelId": "0x12"}'])
def test_terms_that_are_none_are_refused(hand: Hand, tmp_path: Path, text: str) -> None:
    path = tmp_path / "t"
    path.write_text(text)
    asked = "0x" + "11" * 32
    found = hand.cli("channel", "voucher", asked, "1", "--terms", str(path), "--from", "alice")
    assert found.code == 2 and "channel show" in found.err
    absent = hand.cli(
        "channel", "voucher", asked, "1", "--terms", str(path) + "x", "--from", "alice"
    )
    assert absent.code == 2 and "cannot be read" in absent.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["1", "--step", "1"],
        ["1", "--count", "5"],
        ["0"],
    ],
)
def test_vouchers_that_make_no_sense_are_not_signed(hand: Hand, arguments: list[str]) -> None:
    channel = opened(hand)
    found = hand.cli("channel", "voucher", channel, *arguments, "--from", "alice")
    assert found.code == 2
