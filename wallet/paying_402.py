"""Paying HTTP 402 from a wallet: an httpx transport that pays what a gateway asks, and asks again.

    async with Wallet.open(home, "alice", passphrase) as wallet:
        transport = PayingTransport(wallet, most={"CLAW": 100})
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.get("https://api.example/forecast/berlin")

One request pays one invoice, once: the payment's idempotency key follows from the invoice's id, so
that a payment that is tried again is the same payment. The wallet's guardrails judge every one;
`most` is what a single request may cost, in minor units, and an asset that is not in it is not
paid with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import httpx

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import Code, Malformed, PeerError, Refused
from clawpurse.wallet.amounts import amount_text, number_text
from clawpurse.wallet.book import Wallet
from clawpurse.wallet.delivery import Payment

PAYMENT_REQUIRED: Final = 402
ANSWER_BYTES_MAX: Final = 256 * 1024
"""A 402 with its invoice has some 3 KB."""

MEMO_CHARS_MAX: Final = 128
ID_CHARS_MAX: Final = 256
PAID: Final = "paid"
KEY_BYTES: Final = 16


class Offer(NamedTuple):
    """What a gateway asks for one request; `amount` in minor units."""

    invoice: str
    payee: str
    asset: str
    amount: int
    memo: str
    expires_ms: int
    shown: str
    """The amount as people read it."""


class Unpaid(Refused):
    """A payment was asked for and not made; `offer` is what was asked."""

    def __init__(self, reason: str, offer: Offer | None = None) -> None:
        super().__init__(Code.POLICY_REJECTED, reason, rule="wallet.402")
        self.offer = offer


class PayingTransport(httpx.AsyncBaseTransport):
    """See the module. `approve(offer)` is asked before each payment, where it is given; `inner`
    carries the requests. Of what was paid last `payment` and `offer` tell.

    A request raises `Unpaid` (too dear, an asset that is not paid with, not approved, another
    network), `GuardrailRefused`, `NotEnough`, `Refused`: nothing was paid; `PeerError` when the
    payment is not final yet: the same request may be made again, and pays nothing more.
    """

    def __init__(
        self,
        wallet: Wallet,
        *,
        most: Mapping[str, int],
        approve: Callable[[Offer], Awaitable[bool]] | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._wallet = wallet
        self._most = dict(most)
        self._approve = approve
        self._inner = inner or httpx.AsyncHTTPTransport()
        self.payment: Payment | None = None
        self.offer: Offer | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; where it costs something, pay and send it again, once."""
        body = await request.aread()
        answer = await self._inner.handle_async_request(request)
        if answer.status_code != PAYMENT_REQUIRED:
            return answer
        asked = await _object_of(answer)
        offer = await self._offer(asked)
        if offer is None:
            return httpx.Response(answer.status_code, headers=answer.headers, json=asked)
        payment = await self._pay(offer)
        again = httpx.Request(
            request.method,
            request.url,
            headers=[
                *((k, v) for k, v in request.headers.raw if k.lower() != b"payment-proof"),
                (b"Payment-Proof", f"{offer.invoice} 0x{payment.tx_id.hex()}".encode()),
            ],
            content=body or None,
            extensions=request.extensions,
        )
        self.offer, self.payment = offer, payment
        return await self._inner.handle_async_request(again)

    async def aclose(self) -> None:
        """Close what carries the requests; the wallet stays its owner's."""
        await self._inner.aclose()

    async def _offer(self, asked: Any) -> Offer | None:
        """Return what is asked for in an asset that may be paid with; None for no invoice of ours.

        Raises `Unpaid`.
        """
        invoice = asked.get("invoice") if isinstance(asked, dict) else None
        if not isinstance(invoice, dict) or "genesisHash" not in invoice:
            return None
        try:
            prices = {str(one["asset"]): int(one["amount"]) for one in invoice["prices"]}
            found = (str(invoice["id"]), str(invoice["address"]), str(invoice["memo"]))
            expires_ms = int(invoice["expiresMs"])
            account_from_text(found[1])
        except (KeyError, TypeError, ValueError, Malformed):
            raise Unpaid("The gateway's invoice is none.") from None
        ident, payee, memo = found
        if not ident.isascii() or len(ident) > ID_CHARS_MAX or len(memo) > MEMO_CHARS_MAX:
            raise Unpaid("The gateway's invoice is none.")
        terms = await self._wallet.node.terms()
        if invoice["genesisHash"] != f"0x{terms.genesis_hash.hex()}":
            raise Unpaid(f"The gateway is paid on another network: {invoice.get('chainId')}.")
        asset = next((name for name in self._most if name in prices), None)
        if asset is None:
            raise Unpaid(f"The gateway takes {', '.join(prices)}; none of that may be paid with.")
        decimals = (await self._wallet.node.asset(asset)).decimals
        amount = prices[asset]
        shown = amount_text(amount, decimals, asset)
        offer = Offer(ident, payee, asset, amount, memo, expires_ms, shown)
        if not 0 < amount <= self._most[asset]:
            most = amount_text(self._most[asset], decimals, asset)
            raise Unpaid(f"The request costs {shown}, more than {most}.", offer)
        return offer

    async def _pay(self, offer: Offer) -> Payment:
        if self._approve is not None and not await self._approve(offer):
            raise Unpaid("It was not approved.", offer)
        decimals = (await self._wallet.node.asset(offer.asset)).decimals
        payment = await self._wallet.pay(
            offer.payee,
            number_text(offer.amount, decimals, marks=False),
            offer.asset,
            memo=offer.memo,
            idempotency_key=payment_key(offer.invoice),
            confirmed=self._approve is not None,
        )
        if payment.status != PAID:
            raise PeerError(
                f"the payment is {payment.status}{f': {payment.reason}' if payment.reason else ''}"
            )
        return payment


def payment_key(invoice: str) -> bytes:
    """Return the idempotency key by which an invoice is paid."""
    return hashlib.sha256(b"clawpurse/402" + invoice.encode()).digest()[:KEY_BYTES]


async def _object_of(answer: httpx.Response) -> Any:
    """Read an answer's JSON. Raises `Unpaid` for what is too long; None for what is no JSON."""
    data = b""
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > ANSWER_BYTES_MAX:
            await answer.aclose()
            raise Unpaid("The gateway's answer is too long.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
