"""Two gateways of one payee on one PostgreSQL: what one of them took, the other cannot take."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.store import Store
from tests.modules.gateway.payworld import PRICE, Payer, Shop, StubLedger, shop_of

pytestmark = pytest.mark.real
REQUESTS = 40


async def test_an_invoice_buys_once_whichever_gateway_it_is_shown_to(
    tmp_path: Path, kit_postgres: str
) -> None:
    """Two doors to one shop must not sell one thing twice."""
    ledger = StubLedger()
    async with (
        shop_of(tmp_path, ledger=ledger, name="one", url=kit_postgres) as one,
        shop_of(tmp_path, ledger=ledger, name="two", url=kit_postgres) as two,
    ):
        found: list[int] = []
        invoice = (await one.ask())[1]["invoice"]
        proof = f"{invoice['id']} {ledger.pay(invoice['memo'])}"

        async def show(shop: Shop) -> None:
            found.append((await shop.ask(Payment_Proof=proof))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(show, one)
                nursery.start_soon(show, two)
        assert sorted(found) == [200] + [402] * 9


async def test_a_channel_is_spent_once_over_both(tmp_path: Path, kit_postgres: str) -> None:
    """Vouchers go to whichever gateway answers."""
    ledger = StubLedger()
    async with (
        shop_of(tmp_path, ledger=ledger, name="one", url=kit_postgres) as one,
        shop_of(tmp_path, ledger=ledger, name="two", url=kit_postgres) as two,
    ):
        payer = Payer(ledger)
        found: list[int] = []
        shown = payer.voucher(REQUESTS // 2 * PRICE)

        async def ask(shop: Shop, number: int) -> None:
            fields = {"Payment_Voucher": shown, "Payment_Request_Id": f"r{number}"}
            found.append((await shop.ask(**fields))[0])

        async with trio.open_nursery() as nursery:
            for number in range(REQUESTS):
                nursery.start_soon(ask, (one, two)[number % 2], number)
        assert (found.count(200), found.count(402)) == (REQUESTS // 2, REQUESTS // 2)
        await two.rows(tables.channels)
        [row] = await one.rows(tables.channels)
        assert row.spent == row.served == REQUESTS // 2 * PRICE
        [claim] = await two.claims()
        assert claim.amount == REQUESTS // 2 * PRICE


async def test_both_seal_and_open_the_same_invoices(tmp_path: Path, kit_postgres: str) -> None:
    """A client's next request may reach the other one."""
    ledger = StubLedger()
    ledger.height = 1_000
    async with (
        shop_of(tmp_path, ledger=ledger, name="one", url=kit_postgres) as one,
        shop_of(tmp_path, ledger=ledger, name="two", url=kit_postgres) as two,
    ):
        invoice = (await one.ask())[1]["invoice"]
        tx_id = ledger.pay(invoice["memo"])
        assert (await two.ask(Payment_Proof=f"{invoice['id']} {tx_id}"))[0] == 200


def test_two_of_one_name_are_refused(kit_postgres: str) -> None:
    """The second would give back what the first is serving."""
    one, two, three = (Store(kit_postgres) for _ in range(3))
    try:
        one.hold("shop")
        two.hold("other")
        with pytest.raises(OperatorError, match="runs already"):
            three.hold("shop")
    finally:
        one.close()
        two.close()
        three.close()
