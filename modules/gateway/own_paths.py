"""What the gateway answers itself on its public port: health, invoices, and x402 for others.

These paths are the gateway's: no route can be reached at them. Whoever asks has a budget, since
each question may cost one of the node's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from pydantic_core import to_json

from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.modules.gateway import invoices, paid_in, x402
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.access import AccessGuard
from clawpurse.modules.gateway.calls import Call, Reply, problem, too_many
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.front import OwnHandler
from clawpurse.modules.gateway.ledger_words import TX_ID, Ledger, Refusal, Transfer
from clawpurse.modules.gateway.registry import Registry
from clawpurse.modules.gateway.selling import pays
from clawpurse.modules.gateway.store import Store, insert_new
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.modules.kit.web.guard import Budgets

PER_S: Final = 20
BURST: Final = 40
"""Questions of one client: more than anybody's wallet asks."""

STATES: Final = {
    paid_in.DEPOSITED: "consumed",
    invoices.OPEN: "paid",
    invoices.USED: "consumed",
    invoices.KEPT: "consumed",
    invoices.REFUNDING: "refunded",
    invoices.REFUNDED: "refunded",
}


class Owner(Protocol):
    """The gateway that answers."""

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""


class OwnPaths:
    """See the module."""

    def __init__(
        self,
        owner: Owner,
        ledger: Ledger,
        store: Store,
        now_ms: Callable[[], int],
        clock_s: Callable[[], float],
        registry: Registry | None = None,
        access: AccessGuard | None = None,
    ) -> None:
        self._registry = registry
        self._access = access
        self._owner = owner
        self._ledger = ledger
        self._store = store
        self._now_ms = now_ms
        self._budgets = Budgets(PER_S, BURST, now=clock_s)

    def handlers(self) -> Mapping[tuple[str, str], OwnHandler]:
        """Return the handlers by (method, path)."""
        asked: dict[tuple[str, str], OwnHandler] = {}
        if self._registry is not None:
            asked["POST", "/services"] = self._register
        if self._owner.config.payee:
            asked |= {
                ("GET", "/invoices/"): self._invoice,
                ("GET", "/supported"): self._supported,
                ("POST", "/verify"): self._verify,
                ("POST", "/settle"): self._settle,
            }
        if self._owner.config.compatibility and self._owner.config.payee and self._access:
            asked |= {
                ("POST", "/prepaid/deposit"): self._deposit,
                ("GET", "/prepaid/balance/"): self._balance,
                ("POST", "/prepaid/withdraw"): self._withdraw,
            }
        return {
            ("GET", "/health"): self._health,
            **{place: self._budgeted(handler) for place, handler in asked.items()},
        }

    def _budgeted(self, handler: OwnHandler) -> OwnHandler:
        async def within(call: Call, body: bytes) -> Reply:
            wait_s = self._budgets.charge(call.client, 1)
            if wait_s:
                return too_many(wait_s)
            try:
                return await handler(call, body)
            except (RpcError, Unreachable, PeerError):
                wait = [(b"Retry-After", b"2")]
                return problem(503, "ledgerUnreachable", "the ledger cannot be asked now", wait)

        return within

    async def _health(self, _call: Call, _body: bytes) -> Reply:
        return _json({"status": "ok", "service": "clawpurse-gateway"})

    async def _invoice(self, call: Call, _body: bytes) -> Reply:
        """GET /invoices/ID: what became of it. Whoever has the id asked for it, or was told."""
        ident = call.path.removeprefix("/invoices/")
        expires_ms = invoices.expiry_of(ident)
        if expires_ms is None:
            return problem(404, "invalidInvoice", "this is no invoice's id")
        memo = invoices.memo_of(ident)
        asked = tables.payments.select().where(tables.payments.c.memo == memo)
        rows = await self._store.read(
            lambda db: db.execute(asked.order_by(tables.payments.c.at_ms)).all()
        )
        state = "expired" if self._now_ms() > expires_ms else "open"
        if rows:
            best = next(
                (row for row in rows if row.state in (invoices.USED, invoices.KEPT)), rows[0]
            )
            state = STATES[best.state]
        return _json(
            {
                "id": ident,
                "memo": memo,
                "status": state,
                "expiresMs": expires_ms,
                "payments": [
                    {
                        "txId": row.tx_id,
                        "asset": row.asset,
                        "amount": str(row.amount),
                        "status": STATES[row.state],
                    }
                    for row in rows
                ],
            }
        )

    async def _register(self, _call: Call, body: bytes) -> Reply:
        """POST /services: a service says where it is, signed."""
        assert self._registry is not None
        try:
            refused = await self._registry.register(body)
        except Malformed as error:
            return problem(400, "invalidRegistration", str(error))
        if refused:
            return problem(403, "notRegistered", refused)
        return _json({"registered": True})

    # -- the existing gateway's

    async def _deposit(self, _call: Call, body: bytes) -> Reply:
        """POST /prepaid/deposit {txHash}: counts for who paid, whoever says so, once."""
        try:
            asked = json.loads(body)
            tx_id, client = asked["txHash"], asked.get("clientId")
            if not isinstance(tx_id, str) or not TX_ID.fullmatch(tx_id):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return problem(400, "invalidDeposit", "a deposit is {txHash: 0x…}")
        found = await self._ledger.payments_of(tx_id)
        if found is None:
            return problem(409, "awaitingConfirmation", "this payment is not final yet")
        if not found:
            return problem(400, "invalidDeposit", "this transaction pays nothing to this gateway")
        if client is not None and client != found[0].payer:
            text = f"a deposit counts for the account that paid it: {found[0].payer}"
            return problem(403, "notYours", text)
        now_ms = self._now_ms()
        said = await self._store.write(
            lambda db: [paid_in.deposit(db, one, now_ms) for one in found]
        )
        if said[0]:
            return problem(409, "alreadyCredited", said[0])
        return await self._credit(found[0].payer)

    async def _balance(self, call: Call, _body: bytes) -> Reply:
        """GET /prepaid/balance/ACCOUNT: for that account."""
        wanted = call.path.removeprefix("/prepaid/balance/")
        account = await self._proven(call)
        if isinstance(account, Reply):
            return account
        if account != wanted:
            return problem(403, "notYours", "this is for the account itself")
        return await self._credit(account)

    async def _withdraw(self, call: Call, _body: bytes) -> Reply:
        """POST /prepaid/withdraw: all that is left goes back to the account that asks."""
        account = await self._proven(call)
        if isinstance(account, Reply):
            return account
        now_ms = self._now_ms()
        found = await self._store.write(lambda db: paid_in.withdraw(db, account, now_ms))
        if found is None:
            return problem(409, "nothingLeft", "nothing is left here")
        return _json({"clientId": account, "asset": found.asset, "amount": str(found.left)})

    async def _credit(self, account: str) -> Reply:
        found = await self._store.read(lambda db: paid_in.credit_of(db, account))
        asset, left = ("", 0) if found is None else found
        return _json({"clientId": account, "balance": str(left), "currency": asset})

    async def _proven(self, call: Call) -> str | Reply:
        assert self._access is not None
        return await self._access.account_of(call)

    # -- a facilitator for others (x402 §7)

    async def _supported(self, _call: Call, _body: bytes) -> Reply:
        kind = {
            "x402Version": x402.VERSION,
            "scheme": x402.SCHEME,
            "network": self._ledger.network,
        }
        return _json({"kinds": [kind], "extensions": [], "signers": {}})

    async def _verify(self, _call: Call, body: bytes) -> Reply:
        found = await self._judged(body)
        if isinstance(found, Refusal):
            return _json({"isValid": False, "invalidReason": found.word})
        raw, transfer = found
        refused = await self._ledger.trial(raw)
        if refused is not None:
            told = {"isValid": False, "invalidReason": refused.word, "payer": transfer.sender}
            return _json(told)
        return _json({"isValid": True, "payer": transfer.sender})

    async def _settle(self, _call: Call, body: bytes) -> Reply:
        network = self._ledger.network
        found = await self._judged(body)
        if isinstance(found, Refusal):
            return _json(x402.settled(success=False, network=network, reason=found.word))
        raw, transfer = found
        payer, tx_id = transfer.sender, transfer.tx_id
        final = await self._ledger.settle(raw)
        if isinstance(final, Refusal):
            told = x402.settled(success=False, network=network, payer=payer, reason=final.word)
            return _json(told)
        row = {"tx_id": tx_id, "at_ms": self._now_ms()}
        if not await self._store.write(lambda db: insert_new(db, tables.settled, row)):
            # Who asked before was told yes: the same payment pays for nothing else.
            word = "duplicate_settlement"
            return _json(x402.settled(success=False, network=network, payer=payer, reason=word))
        return _json(x402.settled(success=True, network=network, transaction=tx_id, payer=payer))

    async def _judged(self, body: bytes) -> tuple[str, Transfer] | Refusal:
        """Read what a resource server asks about: a payment, and what it is meant to pay."""
        try:
            asked = json.loads(body)
            wanted = asked["paymentRequirements"]
            payload = x402.payload_of(asked["paymentPayload"])
            if not isinstance(wanted, dict) or not isinstance(wanted.get("extra", {}), dict):
                raise Malformed("paymentRequirements", "is no object")
        except Malformed as error:
            version = error.field.endswith("x402Version")
            return Refusal("invalid_x402_version" if version else "invalid_payload", str(error))
        except (ValueError, KeyError, TypeError, RecursionError):
            return Refusal("invalid_payload", "the question is not x402's")
        if wanted.get("scheme") != x402.SCHEME:
            return Refusal("unsupported_scheme", "only exact is settled here")
        if wanted.get("network") != self._ledger.network:
            return Refusal("invalid_network", "another network is settled here")
        wanted = {**wanted, "extra": wanted.get("extra") or {}}
        if not isinstance(wanted["extra"].get("memo"), str) or not wanted["extra"]["memo"]:
            # Without one the payment of anything else would pay for this.
            return Refusal(
                "invalid_payment_requirements", "extra.memo binds a payment to a request"
            )
        word = x402.mismatch(payload["accepted"], wanted)
        if word:
            return Refusal(word, "something else was accepted")
        raw = payload["payload"].get("transaction")
        transfer = await self._ledger.transfer(raw)
        if isinstance(transfer, Refusal):
            return transfer
        if not pays(transfer, wanted):
            return Refusal("invalid_payload", "the transaction pays something else")
        return str(raw), transfer


def _json(value: Mapping[str, Any]) -> Reply:
    return Reply(200, to_json(value), fields=[(b"Cache-Control", b"no-store")])
