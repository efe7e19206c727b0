"""A gateway that sells, before a ledger that says what a test put there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.ledger.errors import Code
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from clawpurse.modules.gateway import prepaid
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.calls import OpenGuard
from clawpurse.modules.gateway.front import State
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.selling import Selling
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from tests.modules.gateway.gateworld import Gate, Origin, body_of, gate_of, status_of

GENESIS = bytes(range(32))
PAYEE = public_key_of(b"p" * 32)
PAYEE_TEXT = account_text(PAYEE)
START_MS = 1_800_000_000_000
PRICE = 7


def hexed(data: bytes) -> str:
    return f"0x{data.hex()}"


class StubLedger:
    """What a node says of transactions and channels."""

    def __init__(self) -> None:
        self.final: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.channels: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.refuses: RpcError | None = None
        self.away = False
        self.asked: list[str] = []
        self.height = 10

    def pay(
        self,
        memo: str,
        amount: int = PRICE,
        at_ms: int = START_MS,
        payer: str = "claw1alice",
        **more: Any,
    ) -> str:
        """A payment that is final; its id."""
        self.height += 1
        tx_id = hexed(self.height.to_bytes(32, "big"))
        self.final[tx_id] = self.transaction(tx_id, memo, amount, at_ms, payer, **more)
        self.events.append((f"{self.height}.0", tx_id))
        return tx_id

    def transaction(
        self,
        tx_id: str,
        memo: str,
        amount: int,
        at_ms: int,
        payer: str,
        *,
        asset: str = "CLAW",
        to: str = PAYEE_TEXT,
        code: str = "ok",
    ) -> dict[str, Any]:
        moved = {
            "kind": "assets.transferred",
            "accounts": [payer, to],
            "data": {"asset": asset, "amount": str(amount)},
        }
        return {
            "txId": tx_id,
            "status": "final",
            "sender": payer,
            "memoText": memo,
            "signed": True,
            "genesisHash": hexed(GENESIS),
            "actions": [
                {
                    "name": "assets.transfer",
                    "fields": {"asset": asset, "recipient": to, "amount": str(amount)},
                }
            ],
            "receipt": {
                "code": code,
                "reason": None,
                "time": time_text(at_ms),
                "events": [moved] if code == "ok" else [],
            },
        }

    def show(self, memo: str, amount: int = PRICE, payer: str = "claw1alice", **more: Any) -> str:
        """Signed bytes that nobody submitted."""
        raw = hexed(b"tx" + len(self.shown).to_bytes(4, "big"))
        tx_id = hexed((9_000 + len(self.shown)).to_bytes(32, "big"))
        self.shown[raw] = self.transaction(tx_id, memo, amount, START_MS, payer, **more)
        return raw

    async def call(self, method: str, params: Any = None, /) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(method)
        if self.away:
            raise RpcError(NOT_FOUND - 100, "away")
        if method == "chain_getStatus":
            return {"height": self.height}
        if method == "tx_get":
            if params["txId"] not in self.final:
                raise RpcError(NOT_FOUND, "no such transaction")
            return self.final[params["txId"]]
        if method == "payment_getChannel":
            if params["channel"] not in self.channels:
                raise RpcError(NOT_FOUND, "no such channel")
            return self.channels[params["channel"]]
        if method == "tx_decode":
            if params["tx"] not in self.shown:
                raise RpcError(Code.MALFORMED.rpc_code, "no transaction")
            return self.shown[params["tx"]]
        if method == "tx_simulate":
            return {"code": "ok", "reason": None}
        if method == "tx_submit":
            if self.refuses is not None:
                raise self.refuses
            found = self.shown[params["tx"]]
            if found["txId"] not in self.final:
                self.final[found["txId"]] = found
                self.height += 1
                self.events.append((f"{self.height}.0", found["txId"]))
            return {"status": "final", "txId": found["txId"], "receipt": found["receipt"]}
        assert method == "events_get", method
        after = params["fromCursor"]
        place = [float(cursor) for cursor, _ in self.events]
        new = [one for one, at in zip(self.events, place, strict=True) if at > float(after)]
        return {
            "events": [{"cursor": cursor, "data": {"txId": tx_id}} for cursor, tx_id in new],
            "nextCursor": new[-1][0] if new else after,
        }


class Payer:
    """Somebody with a channel."""

    def __init__(self, ledger: StubLedger, capacity: int = 1_000, number: int = 1) -> None:
        self.seed = number.to_bytes(32, "big")
        self.channel = hexed(b"c" * 31 + bytes([number]))
        self.account = account_text(public_key_of(self.seed))
        ledger.channels[self.channel] = {
            "channelId": self.channel,
            "payee": PAYEE_TEXT,
            "payer": self.account,
            "asset": "CLAW",
            "voucherKey": hexed(public_key_of(self.seed)),
            "left": str(capacity),
            "paid": "0",
            "closing": None,
            "expires": "2028-01-01T00:00:00.000Z",
        }

    def voucher(self, amount: int, **wrong: Any) -> str:
        terms = Terms(GENESIS, bytes.fromhex(self.channel[2:]), "CLAW", PAYEE)
        signature = sign(self.seed, voucher_bytes(terms._replace(**wrong), amount))
        return f"{self.channel}.{amount}.{hexed(signature)}"


class Shop:
    """A gateway that sells `/x`, and what it is paid by."""

    def __init__(self, gate: Gate, ledger: StubLedger, store: Store, clock: list[int]) -> None:
        self.gate = gate
        self.ledger = ledger
        self.store = store
        self.clock = clock
        self.selling: Selling | None = None

    async def ask(
        self, path: str = "/x", method: str = "GET", **fields: str
    ) -> tuple[int, Any, bytes]:
        """Status, the JSON of a 402 (else the body), and the whole answer."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        if method == "POST":
            lines += "Content-Length: 0\r\n"
        answer = await self.gate.get(path, lines, method)
        status, body = status_of(answer), body_of(answer)
        return status, json.loads(body) if body[:1] == b"{" else body, answer

    async def claims(self) -> list[prepaid.Claim]:
        """What would be claimed, once what nobody waits for is written."""
        await self.store.write(lambda _db: None)
        return await self.store.read(lambda db: prepaid.claims(db, 10))

    async def rows(self, table: Any) -> list[Any]:
        """As `row`, once what nobody waits for is written."""
        await self.store.write(lambda _db: None)
        return self.row(table)

    def row(self, table: Any) -> list[Any]:
        return list(self.store.database.read_now(lambda db: db.execute(table.select()).all()))


@asynccontextmanager
async def shop_of(
    folder: Path,
    origin: Origin | None = None,
    ledger: StubLedger | None = None,
    name: str = "one",
    url: str = "",
    **route: Any,
) -> AsyncIterator[Shop]:
    """Open a shop. `route` are further settings of its one route."""
    ledger, clock = ledger or StubLedger(), [START_MS]
    store = Store(url or folder / "payments.db")
    prices = ({"asset": "CLAW", "amount": PRICE},)
    routes = ({"name": "x", "path": "/x/**", "upstream": "x", "prices": prices, **route},)
    settings: dict[str, Any] = {"routes": routes, "payee": PAYEE_TEXT, "compatibility": True}
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        secret = await store.write(tables.secret)
        async with gate_of({"x": origin or Origin()}, **settings) as gate:
            config = gate.front.state.config
            words = Ledger(ledger, PAYEE_TEXT, "net-1", GENESIS)
            selling = Selling(config, OpenGuard(), store, words, secret, name, lambda: clock[0])
            state = gate.front.state
            gate.front.state = State(state.config, state.router, state.upstreams, selling)
            shop = Shop(gate, ledger, store, clock)
            shop.selling = selling
            yield shop
        nursery.cancel_scope.cancel()
    store.close()
