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
from clawpurse.modules.gateway import invoices, x402
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.calls import Call, Reply, problem, too_many
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.front import OwnHandler
from clawpurse.modules.gateway.ledger_words import Ledger, Refusal, Transfer
from clawpurse.modules.gateway.registry import Registry
from clawpurse.modules.gateway.selling import pays
from clawpurse.modules.gateway.store import Store, insert_new
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.modules.kit.web.guard import Budgets

PER_S: Final = 20
BURST: Final = 40
"""Questions of one client: more than anybody's wallet asks."""

STATES: Final = {
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
    ) -> None:
        self._registry = registry
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
