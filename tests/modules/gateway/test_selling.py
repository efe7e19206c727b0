"""Selling requests: each is paid once, by whom it was asked of, and what failed costs nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.errors import Code
from clawpurse.modules.gateway import invoices, prepaid
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.kit.web.errors import RpcError
from tests.modules.gateway.gateworld import OK, Origin, answering
from tests.modules.gateway.payworld import (
    GENESIS,
    PAYEE_TEXT,
    PRICE,
    START_MS,
    Payer,
    shop_of,
)

FAILED = b"HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nno"
MINUTE_MS = 60_000


def headers_of(answer: bytes) -> dict[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def decoded(answer: bytes, name: str) -> Any:
    return json.loads(base64.b64decode(headers_of(answer)[name]))


# -- invoices


async def test_who_pays_an_invoice_is_served_once(tmp_path: Path) -> None:
    """What ClawPurse is known for: 402, pay, 200; and not 200 for ever."""
    async with shop_of(tmp_path) as shop:
        status, asked, _ = await shop.ask()
        assert (status, asked["error"]["code"]) == (402, "paymentRequired")
        invoice = asked["invoice"]
        assert (invoice["amount"], invoice["currency"], invoice["address"]) == (
            "7",
            "CLAW",
            PAYEE_TEXT,
        )
        tx_id = shop.ledger.pay(invoice["memo"])
        proof = f"{invoice['id']} {tx_id}"
        assert (await shop.ask(Payment_Proof=proof))[0] == 200
        again = await shop.ask(Payment_Proof=proof)
        assert (again[0], again[1]["error"]["code"]) == (402, "invoiceUsed")
        [row] = shop.row(tables.payments)
        assert (row.state, row.route, row.amount) == ("kept", "x", PRICE)


async def test_an_invoice_is_good_for_what_it_was_asked_for_alone(tmp_path: Path) -> None:
    """A cheap request's invoice would else pay for a dear one, of anybody."""
    async with shop_of(tmp_path) as shop:
        invoice = (await shop.ask("/x/a?q=1"))[1]["invoice"]
        tx_id = shop.ledger.pay(invoice["memo"])
        proof = f"{invoice['id']} {tx_id}"
        for path, method in (
            ("/x/b", "GET"),
            ("/x/a", "GET"),
            ("/x/a?q=2", "GET"),
            ("/x/a?q=1", "POST"),
        ):
            status, said, _ = await shop.ask(path, method, Payment_Proof=proof)
            assert (status, said["error"]["code"]) == (402, "invalidInvoice"), path
        assert (await shop.ask("/x/a?q=1", Payment_Proof=proof))[0] == 200


async def test_knowing_what_stands_on_the_ledger_buys_nothing(tmp_path: Path) -> None:
    """Everybody reads memos, and the ids of transactions."""
    async with shop_of(tmp_path) as shop:
        invoice = (await shop.ask())[1]["invoice"]
        tx_id = shop.ledger.pay(invoice["memo"])
        mine = (await shop.ask())[1]["invoice"]
        for proof in (
            f"{mine['id']} {tx_id}",
            f"{invoice['memo']} {tx_id}",
            tx_id,
            f"inv_{'A' * 54} {tx_id}",
        ):
            status, _, _ = await shop.ask(Payment_Proof=proof)
            assert status in (400, 402), proof
        # Nobody took it away from who paid.
        assert (await shop.ask(Payment_Proof=f"{invoice['id']} {tx_id}"))[0] == 200


async def test_late_wrong_and_double_payments_are_not_lost(tmp_path: Path) -> None:
    """Money that bought nothing goes back; nobody has to ask for it."""
    async with shop_of(tmp_path) as shop:
        asked = [(await shop.ask())[1]["invoice"] for _ in range(4)]
        late = shop.ledger.pay(asked[0]["memo"], at_ms=asked[0]["expiresMs"] + 1)
        little = shop.ledger.pay(asked[1]["memo"], amount=PRICE - 1)
        other = shop.ledger.pay(asked[2]["memo"], asset="EURT")
        good = shop.ledger.pay(asked[3]["memo"])
        double = shop.ledger.pay(asked[3]["memo"], payer="claw1bob")
        for invoice, tx_id, code in (
            (asked[0], late, "invoiceExpired"),
            (asked[1], little, "wrongAmount"),
            (asked[2], other, "wrongAmount"),
        ):
            status, said, _ = await shop.ask(Payment_Proof=f"{invoice['id']} {tx_id}")
            assert (status, said["error"]["code"]) == (402, code)
        assert (await shop.ask(Payment_Proof=f"{asked[3]['id']} {good}"))[0] == 200
        ledger = Ledger(shop.ledger, PAYEE_TEXT, "net-1", GENESIS)
        await shop.store.write(lambda db: tables.remembered(db, "events", "0.0"))
        await ledger.step(shop.store, 0)
        due = await shop.store.write(lambda db: invoices.due_refunds(db, START_MS + 10**9, 100))
        assert {one.tx_id for one in due} == {late, little, other, double}
        # Marked as being refunded, they buy nothing any more, and are told again until they are.
        again = await shop.store.write(lambda db: invoices.due_refunds(db, START_MS + 10**9, 100))
        assert again == due
        await shop.store.write(lambda db: invoices.refunded(db, double, 0))
        left = await shop.store.write(lambda db: invoices.due_refunds(db, START_MS + 10**9, 100))
        assert {one.tx_id for one in left} == {late, little, other}


async def test_what_the_upstream_failed_to_deliver_is_not_charged(tmp_path: Path) -> None:
    """Customers pay for answers."""
    origin = Origin()
    async with shop_of(tmp_path, origin) as shop:
        invoice = (await shop.ask())[1]["invoice"]
        proof = f"{invoice['id']} {shop.ledger.pay(invoice['memo'])}"
        origin.answer = FAILED
        status, _, answer = await shop.ask(Payment_Proof=proof)
        assert status == 500 and headers_of(answer)["payment-charged"] == "0"
        origin.answer = OK
        assert (await shop.ask(Payment_Proof=proof))[0] == 200


async def test_a_route_may_charge_failures(tmp_path: Path) -> None:
    """Where asking is what costs, as the configuration says."""
    origin = Origin(answering(FAILED))
    async with shop_of(tmp_path, origin, charge_failures=True) as shop:
        invoice = (await shop.ask())[1]["invoice"]
        proof = f"{invoice['id']} {shop.ledger.pay(invoice['memo'])}"
        assert (await shop.ask(Payment_Proof=proof))[0] == 500
        assert (await shop.ask(Payment_Proof=proof))[1]["error"]["code"] == "invoiceUsed"


async def test_a_proof_without_a_transaction_is_found_once_it_is_final(tmp_path: Path) -> None:
    """The existing gateway's clients show the id alone."""
    async with shop_of(tmp_path) as shop:
        ledger = Ledger(shop.ledger, PAYEE_TEXT, "net-1", GENESIS)
        await ledger.step(shop.store, 0)
        invoice = (await shop.ask())[1]["invoice"]
        status, said, _ = await shop.ask(X_Payment_Proof=invoice["id"])
        assert (status, said["error"]["code"]) == (402, "awaitingConfirmation")
        assert said["invoice"]["id"] == invoice["id"]
        # Many payments come between: it is found by its memo, not by looking through them.
        for number in range(60):
            shop.ledger.pay(f"cpg-{number:032x}")
        shop.ledger.pay(invoice["memo"])
        await ledger.step(shop.store, 0)
        assert (await shop.ask(X_Payment_Proof=invoice["id"]))[0] == 200


async def test_asking_writes_nothing(tmp_path: Path) -> None:
    """Strangers would else fill the disk for nothing."""
    async with shop_of(tmp_path) as shop:
        for _ in range(30):
            assert (await shop.ask())[0] == 402
        assert shop.row(tables.payments) == [] and shop.row(tables.uses) == []


async def test_without_the_ledger_nothing_is_taken_and_nothing_given(tmp_path: Path) -> None:
    """An outage must neither sell for nothing nor take money for nothing."""
    origin = Origin()
    async with shop_of(tmp_path, origin) as shop:
        invoice = (await shop.ask())[1]["invoice"]
        tx_id = shop.ledger.pay(invoice["memo"])
        shop.ledger.away = True
        proof = f"{invoice['id']} {tx_id}"
        assert (await shop.ask(Payment_Proof=proof))[0] == 503
        assert origin.heard == []
        shop.ledger.away = False
        assert (await shop.ask(Payment_Proof=proof))[0] == 200


# -- vouchers


async def test_vouchers_pay_one_request_each_and_never_more_than_was_signed(tmp_path: Path) -> None:
    """A gateway that could take more would have to be trusted."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        for number in range(1, 6):
            assert (await shop.ask(Payment_Voucher=payer.voucher(number * PRICE)))[0] == 200
        again = await shop.ask(Payment_Voucher=payer.voucher(5 * PRICE))
        assert (again[0], again[1]["error"]["needed"]) == (402, str(6 * PRICE))
        old = await shop.ask(Payment_Voucher=payer.voucher(PRICE))
        assert old[0] == 402
        [row] = await shop.rows(tables.channels)
        assert (row.spent, row.served, row.promised) == (5 * PRICE,) * 3
        [claim] = await shop.claims()
        assert (claim.amount, claim.channel) == (5 * PRICE, payer.channel)


async def test_who_is_answered_twice_pays_once(tmp_path: Path) -> None:
    """A client that repeats itself after a lost answer must not pay for it again."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        first = payer.voucher(PRICE)
        assert (await shop.ask(Payment_Voucher=first, Payment_Request_Id="a"))[0] == 200
        more = payer.voucher(2 * PRICE)
        again = await shop.ask(Payment_Voucher=more, Payment_Request_Id="a")
        assert (again[0], again[1]["error"]["code"]) == (409, "replayed")
        [row] = await shop.rows(tables.channels)
        assert row.spent == row.served == PRICE
        assert (await shop.ask(Payment_Voucher=more, Payment_Request_Id="b"))[0] == 200


async def test_a_failed_request_leaves_its_voucher_for_the_next(tmp_path: Path) -> None:
    """And what is claimed is what was served, whatever more was promised."""
    origin = Origin()
    async with shop_of(tmp_path, origin) as shop:
        payer = Payer(shop.ledger)
        assert (await shop.ask(Payment_Voucher=payer.voucher(PRICE)))[0] == 200
        origin.answer = FAILED
        assert (await shop.ask(Payment_Voucher=payer.voucher(2 * PRICE)))[0] == 500
        [claim] = await shop.claims()
        assert claim.amount == PRICE
        origin.answer = OK
        # The same voucher for the same request, under the same id: it was not used up.
        assert (await shop.ask(Payment_Voucher=payer.voucher(2 * PRICE)))[0] == 200
        [claim] = await shop.claims()
        assert claim.amount == 2 * PRICE


@pytest.mark.parametrize(
    "wrong",
    [
        {"asset": "EURT"},
        {"payee": b"x" * 32},
        {"genesis_hash": b"x" * 32},
        {"channel_id": b"x" * 32},
    ],
)
async def test_a_voucher_for_something_else_is_refused(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    """It could not be claimed."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        status, said, _ = await shop.ask(Payment_Voucher=payer.voucher(PRICE, **wrong))
        assert (status, said["error"]["code"]) == (400, "invalidVoucher")
        assert shop.row(tables.uses) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payee": "claw1other"}, "unknownChannel"),
        ({"closing": {"finalTime": "x"}}, "unknownChannel"),
        ({"asset": "EURT"}, "unknownChannel"),
        ({"expires": "2027-01-15T08:05:00.000Z"}, "unknownChannel"),
        ({"left": "6"}, "overdrawn"),
    ],
)
async def test_a_channel_that_pays_nothing_is_refused(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    """A promise without money behind it."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        shop.ledger.channels[payer.channel].update(changes)
        status, said, _ = await shop.ask(Payment_Voucher=payer.voucher(PRICE))
        assert (status, said["error"]["code"]) == (402, code)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0x.1.0x",
        "{c}.0.{s}",
        "{c}.-1.{s}",
        "{c}.01.{s}",
        "{c}.1e3.{s}",
        "{c}.9223372036854775808.{s}",
        "{c}.1.{s}00",
        "{c}.１.{s}",
    ],
)
async def test_nonsense_is_no_voucher(tmp_path: Path, text: str) -> None:
    """Whatever comes in a header."""
    async with shop_of(tmp_path) as shop:
        channel, signature = "0x" + "11" * 32, "0x" + "22" * 64
        shown = text.format(c=channel, s=signature)
        status, _, _ = await shop.ask(Payment_Voucher=shown)
        assert status == 400


async def test_many_at_once_over_one_channel_stay_within_what_was_signed(tmp_path: Path) -> None:
    """Races are where gateways overdraw."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        found: list[int] = []
        async with trio.open_nursery() as nursery:

            async def one(number: int) -> None:
                shown = payer.voucher(10 * PRICE)
                status, _, _ = await shop.ask(
                    Payment_Voucher=shown, Payment_Request_Id=f"r{number}"
                )
                found.append(status)

            for number in range(25):
                nursery.start_soon(one, number)
        assert (found.count(200), found.count(402)) == (10, 15)
        [row] = await shop.rows(tables.channels)
        assert row.served == row.spent == 10 * PRICE


async def test_a_restart_gives_back_what_was_only_reserved(tmp_path: Path) -> None:
    """Nobody pays for an answer that a crash swallowed."""
    async with shop_of(tmp_path) as shop:
        payer = Payer(shop.ledger)
        assert (await shop.ask(Payment_Voucher=payer.voucher(PRICE)))[0] == 200
        shown = prepaid.read_voucher(payer.voucher(3 * PRICE))

        def crash(db: Any) -> Any:
            return prepaid.reserve(db, shown, PRICE, "lost", "x", "one", START_MS)

        assert (await shop.store.write(crash)).problem == ""
        assert await shop.store.write(lambda db: prepaid.release_unserved(db, "another")) == 0
        assert await shop.store.write(lambda db: prepaid.release_unserved(db, "one")) == 1
        [row] = await shop.rows(tables.channels)
        assert row.spent == row.served == PRICE


# -- x402


def signed(asked: Any, raw: str, **changes: Any) -> str:
    accepted = {**asked["x402"]["accepts"][0], **changes}
    payload = {"x402Version": 2, "accepted": accepted, "payload": {"transaction": raw}}
    return base64.b64encode(json.dumps(payload).encode()).decode()


async def test_a_signed_payment_is_settled_by_the_gateway(tmp_path: Path) -> None:
    """What agents speak: one retry with a signature, and nothing to submit."""
    async with shop_of(tmp_path) as shop:
        _, asked, answer = await shop.ask()
        wanted = decoded(answer, "payment-required")
        assert wanted == asked["x402"]
        [offer] = wanted["accepts"]
        assert (wanted["x402Version"], offer["scheme"], offer["network"]) == (
            2,
            "exact",
            "claw:net-1",
        )
        assert (offer["amount"], offer["asset"], offer["payTo"]) == ("7", "CLAW", PAYEE_TEXT)
        raw = shop.ledger.show(offer["extra"]["memo"])
        header = signed(asked, raw)
        status, _, answer = await shop.ask(PAYMENT_SIGNATURE=header)
        assert status == 200
        told = decoded(answer, "payment-response")
        assert (told["success"], told["network"], told["payer"]) == (
            True,
            "claw:net-1",
            "claw1alice",
        )
        status, _, answer = await shop.ask(PAYMENT_SIGNATURE=header)
        assert status == 402 and decoded(answer, "payment-response")["success"] is False


@pytest.mark.parametrize(
    ("changes", "payment", "word"),
    [
        ({"scheme": "upto"}, {}, "unsupported_scheme"),
        ({"network": "claw:other"}, {}, "invalid_network"),
        ({"amount": "1"}, {}, "invalid_payment_requirements"),
        ({"payTo": "claw1me"}, {}, "invalid_payment_requirements"),
        ({}, {"amount": PRICE - 1}, "invalid_payload"),
        ({}, {"amount": PRICE + 1}, "invalid_payload"),
        ({}, {"to": "claw1me"}, "invalid_payload"),
        ({}, {"asset": "EURT"}, "invalid_payload"),
        ({}, {"memo": "cpg-other"}, "invalid_payload"),
    ],
)
async def test_a_signed_payment_of_something_else_is_never_submitted(
    tmp_path: Path, changes: dict[str, Any], payment: dict[str, Any], word: str
) -> None:
    """The gateway would take money for nothing."""
    async with shop_of(tmp_path) as shop:
        asked = (await shop.ask())[1]
        memo = payment.pop("memo", asked["invoice"]["memo"])
        raw = shop.ledger.show(memo, **payment)
        status, _, answer = await shop.ask(PAYMENT_SIGNATURE=signed(asked, raw, **changes))
        assert status == 402
        assert decoded(answer, "payment-response")["errorReason"] == word
        assert "tx_submit" not in shop.ledger.asked


async def test_what_the_ledger_refuses_is_told(tmp_path: Path) -> None:
    """The client must learn that it has too little, not that something is wrong."""
    async with shop_of(tmp_path) as shop:
        asked = (await shop.ask())[1]
        raw = shop.ledger.show(asked["invoice"]["memo"])
        shop.ledger.refuses = RpcError(Code.INSUFFICIENT_FUNDS.rpc_code, "too little")
        status, _, answer = await shop.ask(PAYMENT_SIGNATURE=signed(asked, raw))
        assert status == 402
        assert decoded(answer, "payment-response")["errorReason"] == "insufficient_funds"


@pytest.mark.parametrize("header", ["", "!!!", "e30=", base64.b64encode(b"[" * 5000).decode()])
async def test_a_header_that_is_no_payment_is_refused(tmp_path: Path, header: str) -> None:
    """Whatever it holds."""
    async with shop_of(tmp_path) as shop:
        assert (await shop.ask(PAYMENT_SIGNATURE=header))[0] == 400


async def test_the_upstream_never_sees_what_pays(tmp_path: Path) -> None:
    """A voucher or a signed payment in somebody's log is money."""
    origin = Origin()
    async with shop_of(tmp_path, origin) as shop:
        payer = Payer(shop.ledger)
        assert (await shop.ask(Payment_Voucher=payer.voucher(PRICE)))[0] == 200
        assert b"payment" not in origin.heard[0].lower()


async def test_free_methods_of_a_dear_route_are_free(tmp_path: Path) -> None:
    """Prices are by route and method."""
    async with shop_of(tmp_path, method_prices={"HEAD": (), "POST": ({"amount": 100},)}) as shop:
        assert (await shop.ask(method="HEAD"))[0] == 200
        assert (await shop.ask(method="POST"))[1]["invoice"]["amount"] == "100"
        assert (await shop.ask())[1]["invoice"]["amount"] == str(PRICE)
