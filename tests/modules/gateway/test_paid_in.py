"""The existing gateway's prepaid accounts, without what made them a way to steal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.modules.gateway import invoices, paid_in, prepaid
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.access import AccessGuard, Accounts
from clawpurse.modules.gateway.front import State
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.limits import LocalLimits
from clawpurse.modules.gateway.own_paths import OwnPaths
from clawpurse.modules.gateway.selling import Selling
from clawpurse.modules.kit.service.callers import LedgerRoles
from tests.modules.gateway.gateworld import Origin, body_of, status_of
from tests.modules.gateway.payworld import GENESIS, PAYEE_TEXT, PRICE, START_MS, Shop, shop_of
from tests.modules.gateway.test_access import ACCOUNT, NOW_MS, Node, Tokens
from tests.modules.gateway.test_own_paths import Owner

MINE = {"X_API_Key": "cpk_all"}
FAILED = b"HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\nno"


@asynccontextmanager
async def shop_with_accounts(folder: Path, origin: Origin | None = None) -> AsyncIterator[Shop]:
    """A shop whose route knows who calls; `cpk_all` is ACCOUNT's key."""
    async with shop_of(folder, origin, access=("apiKey", "signature")) as shop:
        ledger = Ledger(shop.ledger, PAYEE_TEXT, "net-1", GENESIS)
        node = Node()
        access = AccessGuard(
            [Tokens()],
            Accounts(node, lambda: NOW_MS),
            LedgerRoles(node, lambda: 0),
            lambda: NOW_MS,
            LocalLimits(lambda: 100.0),
        )
        secret = await shop.store.write(tables.secret)
        state = shop.gate.front.state
        now = trio.current_time()
        own = OwnPaths(
            Owner(shop), ledger, shop.store, lambda: shop.clock[0], lambda: now, None, access
        )
        clock = shop.clock
        selling = Selling(state.config, access, shop.store, ledger, secret, "one", lambda: clock[0])
        shop.gate.front.state = State(
            state.config, state.router, state.upstreams, selling, own.handlers()
        )
        yield shop


async def post(shop: Shop, path: str, value: Any = None, **fields: str) -> tuple[int, Any]:
    body = b"" if value is None else json.dumps(value).encode()
    lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in fields.items())
    head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{lines}"
    answer = await shop.gate.say(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return status_of(answer), json.loads(body_of(answer))


async def balance(shop: Shop, **fields: str) -> tuple[int, Any]:
    lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in fields.items())
    answer = await shop.gate.get(f"/prepaid/balance/{ACCOUNT}", lines)
    return status_of(answer), json.loads(body_of(answer))


async def test_who_paid_in_is_served_until_it_is_used_up(tmp_path: Path) -> None:
    """What the existing gateway's clients do today."""
    async with shop_with_accounts(tmp_path) as shop:
        tx_id = shop.ledger.pay("", amount=2 * PRICE + 1, payer=ACCOUNT)
        status, said = await post(shop, "/prepaid/deposit", {"txHash": tx_id, "clientId": ACCOUNT})
        assert (status, said["balance"], said["currency"]) == (200, str(2 * PRICE + 1), "CLAW")
        for _ in range(2):
            assert (await shop.ask(X_Client_Id=ACCOUNT, **MINE))[0] == 200
        refused = await shop.ask(X_Client_Id=ACCOUNT, **MINE)
        assert (refused[0], refused[1]["error"]["code"]) == (402, "insufficientBalance")
        assert await balance(shop, **MINE) == (
            200,
            {"clientId": ACCOUNT, "balance": "1", "currency": "CLAW"},
        )
        # It is not claimed over a channel: it was paid already.
        assert await shop.claims() == []


async def test_one_payment_counts_once_and_for_who_made_it(tmp_path: Path) -> None:
    """The same transaction was credited again and again, to whoever asked."""
    async with shop_with_accounts(tmp_path) as shop:
        tx_id = shop.ledger.pay("", amount=50, payer=ACCOUNT)
        for client in ("claw1thief", "anybody"):
            asked = {"txHash": tx_id, "clientId": client}
            assert (await post(shop, "/prepaid/deposit", asked))[0] == 403
        assert (await post(shop, "/prepaid/deposit", {"txHash": tx_id}))[0] == 200
        status, said = await post(shop, "/prepaid/deposit", {"txHash": tx_id})
        assert (status, said["error"]["code"]) == (409, "alreadyCredited")
        assert (await balance(shop, **MINE))[1]["balance"] == "50"


async def test_a_deposit_that_bought_something_is_no_deposit(tmp_path: Path) -> None:
    """Nor the other way round: money counts once, wherever it is shown."""
    async with shop_with_accounts(tmp_path) as shop:
        invoice = (await shop.ask(**MINE))[1]["invoice"]
        tx_id = shop.ledger.pay(invoice["memo"], payer=ACCOUNT)
        proof = f"{invoice['id']} {tx_id}"
        assert (await shop.ask(Payment_Proof=proof, **MINE))[0] == 200
        assert (await post(shop, "/prepaid/deposit", {"txHash": tx_id}))[0] == 409
        other = (await shop.ask(**MINE))[1]["invoice"]
        tx_id = shop.ledger.pay(other["memo"], payer=ACCOUNT)
        assert (await post(shop, "/prepaid/deposit", {"txHash": tx_id}))[0] == 200
        status, _, _ = await shop.ask(Payment_Proof=f"{other['id']} {tx_id}", **MINE)
        assert status == 402
        due = await shop.store.write(lambda db: invoices.due_refunds(db, START_MS * 2, 10))
        assert due == []


async def test_a_name_in_a_header_spends_nobody_s_money(tmp_path: Path) -> None:
    """X-Client-Id was believed."""
    async with shop_with_accounts(tmp_path) as shop:
        tx_id = shop.ledger.pay("", amount=50, payer="claw1rich")
        assert (await post(shop, "/prepaid/deposit", {"txHash": tx_id}))[0] == 200
        for fields in ({}, {"X_API_Key": "cpk_bad"}, MINE):
            status, _, _ = await shop.ask(X_Client_Id="claw1rich", **fields)
            assert status == 401
        assert (await balance(shop))[0] == 401
        assert (await post(shop, "/prepaid/withdraw"))[0] == 401
        await shop.store.write(lambda _db: None)
        found = await shop.store.read(lambda db: paid_in.credit_of(db, "claw1rich"))
        assert found == ("CLAW", 50)


async def test_a_failure_is_given_back_and_a_restart_too(tmp_path: Path) -> None:
    """As with every other way of paying."""
    origin = Origin()
    async with shop_with_accounts(tmp_path, origin) as shop:
        tx_id = shop.ledger.pay("", amount=PRICE, payer=ACCOUNT)
        await post(shop, "/prepaid/deposit", {"txHash": tx_id})
        origin.answer = FAILED
        assert (await shop.ask(X_Client_Id=ACCOUNT, **MINE))[0] == 500
        assert (await balance(shop, **MINE))[1]["balance"] == str(PRICE)
        crash = (ACCOUNT, PRICE, "lost", "x", "one", START_MS)
        assert (await shop.store.write(lambda db: paid_in.spend(db, *crash))).problem == ""
        assert (await balance(shop, **MINE))[1]["balance"] == "0"
        assert await shop.store.write(lambda db: prepaid.release_unserved(db, "one")) == 1
        assert (await balance(shop, **MINE))[1]["balance"] == str(PRICE)


async def test_what_is_left_goes_back_when_its_owner_asks(tmp_path: Path) -> None:
    """Money that is paid in is not given away."""
    async with shop_with_accounts(tmp_path) as shop:
        tx_id = shop.ledger.pay("", amount=50, payer=ACCOUNT)
        await post(shop, "/prepaid/deposit", {"txHash": tx_id})
        assert (await shop.ask(X_Client_Id=ACCOUNT, **MINE))[0] == 200
        await shop.store.write(lambda _db: None)
        status, said = await post(shop, "/prepaid/withdraw", **MINE)
        assert (status, said["amount"]) == (200, str(50 - PRICE))
        assert (await post(shop, "/prepaid/withdraw", **MINE))[0] == 409
        [due] = await shop.store.write(lambda db: invoices.due_refunds(db, 0, 10))
        assert (due.payer, due.amount) == (ACCOUNT, 50 - PRICE)
        assert (await balance(shop, **MINE))[1]["balance"] == "0"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"txHash": "abc"}, 400),
        ({"txHash": 7}, 400),
        ([], 400),
        ({"txHash": "0x" + "ab" * 32}, 409),
    ],
)
async def test_nonsense_is_no_deposit(tmp_path: Path, body: Any, status: int) -> None:
    """Whatever is posted."""
    async with shop_with_accounts(tmp_path) as shop:
        assert (await post(shop, "/prepaid/deposit", body))[0] == status
