"""What the gateway answers itself: health, invoices, and settling for other shops (x402)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.errors import Code
from clawpurse.modules.gateway.front import State
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.own_paths import BURST, OwnPaths
from clawpurse.modules.kit.web.errors import RpcError
from tests.modules.gateway.gateworld import body_of, status_of
from tests.modules.gateway.payworld import GENESIS, PAYEE_TEXT, PRICE, Shop, shop_of

NETWORK = "claw:net-1"


class Owner:
    def __init__(self, shop: Shop) -> None:
        self.config = shop.gate.front.state.config


@asynccontextmanager
async def shop_with_paths(folder: Path) -> AsyncIterator[Shop]:
    async with shop_of(folder) as shop:
        ledger = Ledger(shop.ledger, PAYEE_TEXT, "net-1", GENESIS)
        now = trio.current_time()
        own = OwnPaths(Owner(shop), ledger, shop.store, lambda: shop.clock[0], lambda: now)
        state = shop.gate.front.state
        shop.gate.front.state = State(
            state.config, state.router, state.upstreams, state.guard, own.handlers()
        )
        yield shop


async def post(shop: Shop, path: str, value: Any) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nContent-Length: {len(body)}"
    answer = await shop.gate.say(f"{head}\r\n\r\n".encode() + body)
    assert status_of(answer) == 200, answer
    return json.loads(body_of(answer))


def asked(raw: str, memo: str = "order-1", **changes: Any) -> dict[str, Any]:
    wanted = {
        "scheme": "exact",
        "network": NETWORK,
        "amount": str(PRICE),
        "asset": "CLAW",
        "payTo": "claw1other",
        "maxTimeoutSeconds": 60,
        "extra": {"memo": memo},
        **changes,
    }
    payload = {"x402Version": 2, "accepted": wanted, "payload": {"transaction": raw}}
    return {"x402Version": 2, "paymentPayload": payload, "paymentRequirements": wanted}


async def test_it_says_what_it_settles(tmp_path: Path) -> None:
    """Clients of others look there first."""
    async with shop_with_paths(tmp_path) as shop:
        found = json.loads(body_of(await shop.gate.get("/supported")))
        assert found["kinds"] == [{"x402Version": 2, "scheme": "exact", "network": NETWORK}]
        assert found["extensions"] == [] and found["signers"] == {}
        assert status_of(await shop.gate.get("/health")) == 200


async def test_a_payment_of_somebody_else_is_settled_once(tmp_path: Path) -> None:
    """A second shop that shows the same payment would hand out goods for nothing."""
    async with shop_with_paths(tmp_path) as shop:
        raw = shop.ledger.show("order-1", to="claw1other")
        done = await post(shop, "/settle", asked(raw))
        assert done["success"] is True
        assert (done["network"], done["payer"]) == (NETWORK, "claw1alice")
        assert done["transaction"].startswith("0x")
        again = await post(shop, "/settle", asked(raw))
        assert (again["success"], again["errorReason"]) == (False, "duplicate_settlement")


@pytest.mark.parametrize(
    ("changes", "payment", "word"),
    [
        ({"scheme": "upto"}, {}, "unsupported_scheme"),
        ({"network": "eip155:1"}, {}, "invalid_network"),
        ({"extra": {}}, {}, "invalid_payment_requirements"),
        ({"amount": "8"}, {}, "invalid_payload"),
        ({"payTo": "claw1me"}, {}, "invalid_payload"),
        ({}, {"memo": "order-2"}, "invalid_payload"),
    ],
)
async def test_what_pays_something_else_is_not_settled(
    tmp_path: Path, changes: dict[str, Any], payment: dict[str, Any], word: str
) -> None:
    """The shop relies on the answer."""
    async with shop_with_paths(tmp_path) as shop:
        raw = shop.ledger.show(payment.get("memo", "order-1"), to="claw1other")
        for path, name in (("/settle", "errorReason"), ("/verify", "invalidReason")):
            found = await post(shop, path, asked(raw, **changes))
            assert found[name] == word, path
        assert "tx_submit" not in shop.ledger.asked


async def test_what_was_accepted_is_what_is_asked_for(tmp_path: Path) -> None:
    """The payer must have agreed to these terms and no others."""
    async with shop_with_paths(tmp_path) as shop:
        question = asked(shop.ledger.show("order-1", to="claw1other"))
        question["paymentPayload"]["accepted"] = {
            **question["paymentRequirements"],
            "amount": "1",
        }
        found = await post(shop, "/verify", question)
        assert found == {"isValid": False, "invalidReason": "invalid_payment_requirements"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 3000, b'{"paymentPayload": {"x402Version": 1}}'],
)
async def test_nonsense_gets_an_answer_of_the_protocol(tmp_path: Path, body: bytes) -> None:
    """Whatever is sent."""
    async with shop_with_paths(tmp_path) as shop:
        found = await post(shop, "/verify", body)
        assert found["isValid"] is False and found["invalidReason"]


async def test_what_the_ledger_refuses_is_told_in_the_protocol_s_words(tmp_path: Path) -> None:
    """Clients act on these words."""
    async with shop_with_paths(tmp_path) as shop:
        raw = shop.ledger.show("order-1", to="claw1other")
        shop.ledger.refuses = RpcError(Code.INSUFFICIENT_FUNDS.rpc_code, "too little")
        found = await post(shop, "/settle", asked(raw))
        assert (found["success"], found["errorReason"]) == (False, "insufficient_funds")


async def test_an_invoice_tells_who_has_its_id_how_it_stands(tmp_path: Path) -> None:
    """Somebody who paid looks there before writing to support."""
    async with shop_with_paths(tmp_path) as shop:
        invoice = (await shop.ask())[1]["invoice"]
        path = f"/invoices/{invoice['id']}"

        async def state() -> Any:
            return json.loads(body_of(await shop.gate.get(path)))["status"]

        assert await state() == "open"
        tx_id = shop.ledger.pay(invoice["memo"])
        assert (await shop.ask(Payment_Proof=f"{invoice['id']} {tx_id}"))[0] == 200
        assert await state() == "consumed"
        other = (await shop.ask())[1]["invoice"]
        shop.clock[0] = other["expiresMs"] + 1
        path = f"/invoices/{other['id']}"
        assert await state() == "expired"
        assert status_of(await shop.gate.get("/invoices/INV-1")) == 404


async def test_questions_are_counted(tmp_path: Path) -> None:
    """Each costs the node something; strangers must not cost it everything."""
    async with shop_with_paths(tmp_path) as shop:
        answers = [status_of(await shop.gate.get("/supported")) for _ in range(BURST + 5)]
    assert answers[0] == 200 and answers[-1] == 429
