"""Selling requests: what is asked for, what is shown, and what of it is used up.

Three ways of paying lead to the same two moments: something is taken for good before the upstream
is asked, and either earned when it answered or given back. What failed is not charged, unless the
route says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from pydantic_core import to_json

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.modules.gateway import invoices, paid_in, prepaid, x402
from clawpurse.modules.gateway.calls import Call, Entry, Fields, Guard, Reply, problem
from clawpurse.modules.gateway.config import GatewayConfig, Price
from clawpurse.modules.gateway.invoices import Invoice, Paid, Purpose
from clawpurse.modules.gateway.ledger_words import TX_ID, Ledger, Refusal
from clawpurse.modules.gateway.prepaid import Channel, Shown
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.kit.web.errors import RpcError, Unreachable

VOUCHER: Final = b"payment-voucher"
REQUEST: Final = b"payment-request-id"
PROOF: Final = b"payment-proof"
OLD_PROOF: Final = b"x-payment-proof"
"""The existing gateway's; the id of an invoice alone."""

OLD_CLIENT: Final = b"x-client-id"
"""The same: who pays of what was paid in. Here the account that the request proves to be."""

HIDDEN: Final = frozenset((VOUCHER, REQUEST, PROOF, OLD_PROOF, OLD_CLIENT, x402.SIGNATURE))
"""What pays a request is not the upstream's business, and worth money."""

REQUEST_CHARS_MAX: Final = 64
CHANNEL_KEPT_MS: Final = 30_000
"""How long the ledger's word of a channel is believed without asking again."""

CLOSES_MS_MIN: Final = 10 * 60_000
"""A channel that ends sooner takes no more vouchers: they must still be claimed."""

FAILED_FROM: Final = 500


class Taken(Protocol):
    """Something that pays one request and was set apart for it."""

    async def earn(self) -> None:
        """It was served."""

    async def release(self) -> None:
        """It was not."""


class PaidEntry(Entry):
    """A request that is paid."""

    __slots__ = ("_failed", "_settled", "_taken", "_whatever")

    def __init__(self, taken: Taken, *, charge_failures: bool) -> None:
        super().__init__()
        self.hidden = HIDDEN
        self._taken = taken
        self._whatever = charge_failures
        self._failed = False
        self._settled = False

    async def served(self, status: int | None) -> Reply | None:
        """See `Entry`: a failure is given back before the client hears of it."""
        self._failed = status is None or status >= FAILED_FROM
        if self._failed:
            await self._settle(earned=self._whatever)
            if not self._whatever:
                self.back.append((b"Payment-Charged", b"0"))
        return None

    async def ended(self, *, whole: bool) -> None:
        """See `Entry`: what was delivered is earned."""
        await self._settle(earned=whole or self._whatever)

    async def _settle(self, *, earned: bool) -> None:
        if not self._settled:
            self._settled = True
            await (self._taken.earn() if earned else self._taken.release())


class Selling:
    """A guard that asks for payment where a route has a price, behind another one that knows who
    calls. `secret` seals invoices; `name` is this gateway's among those of one database.
    """

    def __init__(
        self,
        config: GatewayConfig,
        inner: Guard,
        store: Store,
        ledger: Ledger,
        secret: bytes,
        name: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._inner = inner
        self._store = store
        self._ledger = ledger
        self._secret = secret
        self._name = name
        self._now_ms = now_ms
        self._payee = account_from_text(config.payee) if config.payee else b""
        self._known: dict[str, tuple[Channel, int]] = {}

    async def admit(self, call: Call) -> Entry | Reply:
        """See `Guard`."""
        entry = await self._inner.admit(call)
        if isinstance(entry, Reply):
            return entry
        prices = call.route.price_of(call.head.method)
        if not prices:
            entry.hidden |= HIDDEN
            return entry
        try:
            paid = await self._paid(call, prices)
        except (RpcError, Unreachable, PeerError):
            return problem(
                503,
                "ledgerUnreachable",
                "the payment cannot be checked at the moment; nothing was taken",
                [(b"Retry-After", b"2")],
                retryable=True,
            )
        if isinstance(paid, PaidEntry):
            paid.onwards += entry.onwards
            paid.hidden |= entry.hidden
            paid.back = entry.back + paid.back
        return paid

    def purpose(self, call: Call, prices: Sequence[Price]) -> Purpose:
        """Return what an invoice for a call is for."""
        client = str(call.facts.get("account", ""))
        return Purpose(
            self._config.payee,
            call.route.name,
            call.head.method,
            call.target,
            client,
            invoices.prices_of(prices),
        )

    async def _paid(self, call: Call, prices: Sequence[Price]) -> PaidEntry | Reply:
        headers = call.head.headers
        if x402.SIGNATURE in headers:
            return await self._by_x402(call, prices, headers[x402.SIGNATURE])
        if VOUCHER in headers:
            return await self._by_voucher(call, prices, headers[VOUCHER])
        shown = headers.get(PROOF)
        if shown is None and self._config.compatibility:
            shown = headers.get(OLD_PROOF)
        if shown is not None:
            return await self._by_invoice(call, prices, shown.decode("latin-1").split())
        if self._config.compatibility and OLD_CLIENT in headers:
            return await self._by_credit(call, prices, headers[OLD_CLIENT].decode("latin-1"))
        return self.asked(call, prices)

    # -- what was paid in

    async def _by_credit(
        self, call: Call, prices: Sequence[Price], client: str
    ) -> PaidEntry | Reply:
        """`X-Client-Id`: of the money that this account paid in."""
        if not client or client != call.facts.get("account"):
            text = "X-Client-Id is an account, and the request has to prove that it is that one"
            return problem(401, "clientUnproven", text)
        known = await self._store.read(lambda db: paid_in.credit_of(db, client))
        price = None if known is None else _price_in(prices, known.asset)
        if known is None or price is None:
            return self.asked(call, prices, "insufficientBalance", "nothing of that was paid in")
        given = call.head.headers.get(REQUEST, b"").decode("latin-1")
        request = given or f"{call.ident.decode()[:40]}.{secrets.token_hex(8)}"
        if len(request) > REQUEST_CHARS_MAX or not request.isprintable():
            return problem(400, "invalidRequestId", f"has at most {REQUEST_CHARS_MAX} characters")
        now_ms = self._now_ms()
        found = await self._store.write(
            lambda db: paid_in.spend(
                db, client, price, request, call.route.name, self._name, now_ms
            )
        )
        if found.problem == "replayed":
            return problem(409, "replayed", "this request was paid for already")
        if found.problem:
            return self.asked(call, prices, "insufficientBalance", "too little is left")
        taken = _Promised(self._store, Shown(client, 0, ""), request, price)
        return self._entry(call, taken, price, known.asset)

    # -- invoices

    async def _by_invoice(
        self, call: Call, prices: Sequence[Price], words: list[str]
    ) -> PaidEntry | Reply:
        """`Payment-Proof: ID [TX-ID]`: a payment that the payer sent."""
        purpose = self.purpose(call, prices)
        if not 1 <= len(words) <= 2 or (len(words) == 2 and not TX_ID.fullmatch(words[1])):
            return problem(400, "invalidInvoice", "the proof is an invoice's id and a payment's")
        invoice = invoices.opened(self._secret, purpose, words[0])
        if invoice is None:
            return self.asked(
                call,
                prices,
                "invalidInvoice",
                "this invoice is for something else, or none of ours",
            )
        if len(words) == 2:
            await self._note(words[1])
        found = await self._redeem(call, invoice, purpose)
        if isinstance(found, Paid):
            return self._entry(call, _Bought(self._store, found), found.amount, found.asset)
        if found == "unpaid" and self._now_ms() <= invoice.expires_ms:
            return self.asked(
                call,
                prices,
                "awaitingConfirmation",
                "no payment of this invoice is final yet; show it again in a moment",
                invoice,
            )
        code, text = _PROBLEMS[found]
        return self.asked(call, prices, code, text)

    async def _note(self, tx_id: str) -> None:
        """Look at a payment that somebody names; the follower may not have seen it yet."""
        found = await self._ledger.payments_of(tx_id)
        ours = [one for one in found or () if one.memo.startswith(invoices.MEMO_START)]
        if ours:
            await self._store.write(
                lambda db: [invoices.note_payment(db, one) for one in ours] and None
            )

    async def _redeem(self, call: Call, invoice: Invoice, purpose: Purpose) -> Paid | str:
        now_ms = self._now_ms()
        request = call.ident.decode()
        found = await self._store.write(
            lambda db: invoices.redeem(
                db, invoice, purpose, request=request, gateway=self._name, now_ms=now_ms
            )
        )
        return found.paid or found.problem

    # -- x402

    async def _by_x402(
        self, call: Call, prices: Sequence[Price], header: bytes
    ) -> PaidEntry | Reply:
        """`PAYMENT-SIGNATURE`: a signed payment that the gateway has the ledger take."""
        network = self._ledger.network
        try:
            payload = x402.decode(header)
        except Malformed as error:
            return problem(400, "invalidPayload", str(error))
        accepted = payload["accepted"]
        extra = accepted.get("extra")
        ident = extra.get("invoice") if isinstance(extra, dict) else None
        purpose = self.purpose(call, prices)
        invoice = invoices.opened(self._secret, purpose, ident) if isinstance(ident, str) else None
        if invoice is None or self._now_ms() > invoice.expires_ms:
            return self._unsettled(call, prices, "invalid_payment_requirements", network)
        offers = self._offers(prices, invoice)
        wrong = [x402.mismatch(accepted, offer) for offer in offers]
        if "" not in wrong:
            return self._unsettled(call, prices, wrong[0], network)
        offer = offers[wrong.index("")]
        raw = payload["payload"].get("transaction")
        transfer = await self._ledger.transfer(raw)
        if isinstance(transfer, Refusal):
            return self._unsettled(call, prices, transfer.word, network, transfer.text)
        if not pays(transfer, offer):
            text = "the transaction pays something else than was asked"
            return self._unsettled(call, prices, "invalid_payload", network, text)
        final = await self._ledger.settle(str(raw))
        if isinstance(final, Refusal):
            return self._unsettled(call, prices, final.word, network, final.text)
        paid = self._ledger.paid_by(final)
        await self._store.write(
            lambda db: [invoices.note_payment(db, one) for one in paid] and None
        )
        found = await self._redeem(call, invoice, purpose)
        if not isinstance(found, Paid):
            return self._unsettled(call, prices, "invalid_transaction_state", network, found)
        entry = self._entry(call, _Bought(self._store, found), found.amount, found.asset)
        told = x402.settled(
            success=True, network=network, transaction=found.tx_id, payer=found.payer
        )
        entry.back.append((x402.RESPONSE, x402.encode(told)))
        return entry

    def _unsettled(
        self, call: Call, prices: Sequence[Price], word: str, network: str, text: str = ""
    ) -> Reply:
        told = x402.settled(success=False, network=network, reason=word)
        reply = self.asked(call, prices, word, text or "the payment was not accepted")
        reply.fields.append((x402.RESPONSE, x402.encode(told)))
        return reply

    # -- vouchers

    async def _by_voucher(
        self, call: Call, prices: Sequence[Price], header: bytes
    ) -> PaidEntry | Reply:
        """`Payment-Voucher: CHANNEL.AMOUNT.SIGNATURE`: one more promise over a channel."""
        try:
            shown = prepaid.read_voucher(header.decode("latin-1"))
        except Malformed as error:
            return problem(400, "invalidVoucher", str(error))
        request = call.head.headers.get(REQUEST, b"").decode("latin-1") or str(shown.amount)
        if len(request) > REQUEST_CHARS_MAX or not request.isprintable():
            return problem(400, "invalidRequestId", f"has at most {REQUEST_CHARS_MAX} characters")
        now_ms = self._now_ms()
        channel = await self._channel(shown.channel, now_ms)
        price = None if channel is None else _price_in(prices, channel.asset)
        if channel is None or price is None or channel.closes_ms - now_ms < CLOSES_MS_MIN:
            text = "the channel is not open, not to this payee, of another asset, or ends too soon"
            return self.asked(call, prices, "unknownChannel", text)
        if not prepaid.is_signed(shown, self._ledger.genesis_hash, channel, self._payee):
            return problem(400, "invalidVoucher", "the channel's key did not sign this voucher")
        found = await self._store.write(
            lambda db: prepaid.reserve(
                db, shown, price, request, call.route.name, self._name, now_ms
            )
        )
        if found.problem:
            return self._not_reserved(call, prices, shown, found)
        call.client = channel.payer
        taken = _Promised(self._store, shown, request, price)
        return self._entry(call, taken, price, channel.asset)

    async def _channel(self, ident: str, now_ms: int) -> Channel | None:
        """Return a channel as the ledger has it; asked again after a while, it may be closing."""
        known = self._known.get(ident)
        if known is not None and now_ms - known[1] < CHANNEL_KEPT_MS:
            return known[0]
        channel = await self._ledger.channel(ident)
        if channel is None:
            self._known.pop(ident, None)
            return None
        await self._store.write(lambda db: prepaid.know(db, channel, now_ms))
        if len(self._known) >= CHANNELS_MAX:
            del self._known[next(iter(self._known))]
        self._known[ident] = (channel, now_ms)
        return channel

    def _not_reserved(
        self, call: Call, prices: Sequence[Price], shown: Shown, found: prepaid.Reserved
    ) -> Reply:
        text = {
            "replayed": "this request was paid for already; another one has another id",
            "tooLittle": f"the next voucher of this channel promises {found.needed} in all",
            "overdrawn": "the channel does not hold so much",
            "closing": "the channel takes no more vouchers",
        }[found.problem]
        needed = str(found.needed)
        if found.problem == "replayed":
            return problem(409, "replayed", text, channel=shown.channel, needed=needed)
        facts = {"channel": shown.channel, "needed": needed}
        return self.asked(call, prices, found.problem, text, facts=facts)

    # -- asking

    def _entry(self, call: Call, taken: Taken, amount: int, asset: str) -> PaidEntry:
        entry = PaidEntry(taken, charge_failures=call.route.charge_failures)
        call.facts["paid"] = f"{amount} {asset}"
        return entry

    def _offers(self, prices: Sequence[Price], invoice: Invoice) -> list[dict[str, Any]]:
        left_s = max(1, (invoice.expires_ms - self._now_ms()) // 1000)
        extra = {
            "invoice": invoice.ident,
            "memo": invoice.memo,
            "genesisHash": f"0x{self._ledger.genesis_hash.hex()}",
        }
        return [
            x402.requirement(
                self._ledger.network, one.asset, one.amount, self._config.payee, left_s, extra
            )
            for one in prices
        ]

    def asked(
        self,
        call: Call,
        prices: Sequence[Price],
        code: str = "paymentRequired",
        text: str = "this request costs something",
        invoice: Invoice | None = None,
        facts: dict[str, str] | None = None,
    ) -> Reply:
        """Return 402 with every way to pay; the same invoice again, or a new one."""
        if invoice is None:
            until = self._now_ms() + 1000 * self._config.invoice_ttl_s
            invoice = invoices.issue(self._secret, self.purpose(call, prices), until)
        offers = self._offers(prices, invoice)
        base = self._config.public_url.rstrip("/") or call.url.removesuffix(call.target)
        wanted = x402.required(base + call.target, call.route.name, offers, text)
        body = {
            "error": {"code": code, "reason": text, **(facts or {})},
            "invoice": invoice_json(invoice, self._config.payee, base, prices, self._ledger),
            "channel": {
                "payee": self._config.payee,
                "prices": [{"asset": one.asset, "amount": str(one.amount)} for one in prices],
                "header": "Payment-Voucher: CHANNEL.AMOUNT.SIGNATURE",
            },
            "x402": wanted,
        }
        fields: Fields = [
            (x402.REQUIRED, x402.encode(wanted)),
            (b"Cache-Control", b"no-store"),
        ]
        return Reply(402, to_json(body), fields=fields, slug=code)


CHANNELS_MAX: Final = 10_000
"""Channels whose terms are kept in memory, some 600 bytes each."""

_PROBLEMS: Final = {
    "unpaid": ("invoiceExpired", "the invoice was not paid in time"),
    "used": ("invoiceUsed", "this invoice bought its request already"),
    "late": ("invoiceExpired", "it was paid too late; the payment goes back"),
    "wrongAmount": ("wrongAmount", "another amount was paid; the payment goes back"),
}


class _Bought:
    """A payment that is used up for a request."""

    def __init__(self, store: Store, paid: Paid) -> None:
        self._store = store
        self._paid = paid

    async def earn(self) -> None:
        """See `Taken`."""
        await self._store.write(lambda db: invoices.keep(db, self._paid))

    async def release(self) -> None:
        """See `Taken`."""
        await self._store.write(lambda db: invoices.give_back(db, self._paid))


class _Promised:
    """A part of what a channel's payer promised."""

    def __init__(self, store: Store, shown: Shown, request: str, price: int) -> None:
        self._store = store
        self._place = (shown.channel, request, price)

    async def earn(self) -> None:
        """See `Taken`. Nobody waits for the disk: what a crash loses is given to the payer, as all
        that was only reserved.
        """
        self._store.soon(lambda db: prepaid.serve(db, *self._place))

    async def release(self) -> None:
        """See `Taken`."""
        await self._store.write(lambda db: prepaid.release(db, *self._place))


def pays(transfer: Any, offer: dict[str, Any]) -> bool:
    """Tell whether a transfer is exactly what was asked for."""
    wanted = (offer["asset"], offer["payTo"], offer["amount"], offer["extra"].get("memo"))
    return (transfer.asset, transfer.recipient, str(transfer.amount), transfer.memo) == wanted


def invoice_json(
    invoice: Invoice, payee: str, base: str, prices: Sequence[Price], ledger: Ledger
) -> dict[str, Any]:
    """Return an invoice as people and programs read it; the names are the existing gateway's."""
    first = prices[0]
    return {
        "id": invoice.ident,
        "amount": str(first.amount),
        "currency": first.asset,
        "prices": [{"asset": one.asset, "amount": str(one.amount)} for one in prices],
        "address": payee,
        "memo": invoice.memo,
        "chainId": ledger.chain_id,
        "genesisHash": f"0x{ledger.genesis_hash.hex()}",
        "expiresMs": invoice.expires_ms,
        "verifyUrl": f"{base}/invoices/{invoice.ident}",
        "header": "Payment-Proof: ID TX-ID",
    }


def _price_in(prices: Sequence[Price], asset: str) -> int | None:
    return next((one.amount for one in prices if one.asset == asset), None)
