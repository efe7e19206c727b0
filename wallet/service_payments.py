"""Methods of the wallet service about payments: quote, send, batch, find again, receipts.

A payment is done under the idempotency key that its caller chose before calling. The same call
again is the same payment: it waits for the one under way, or tells how it ended. When the caller
goes away the payment goes on; when the service dies, its next start goes on with the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed, OperatorError, Refused, WatchOnly
from clawpurse.modules.kit.web.errors import (
    CONFIRMATION_REQUIRED,
    NOT_FOUND,
    SYNCING,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.wallet.delivery import Payment, in_thread
from clawpurse.wallet.guardrails import GuardrailRefused
from clawpurse.wallet.intent import Intent, Outlook, Payer, Quote
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.outbox_rows import Row, Status
from clawpurse.wallet.payments import NotEnough
from clawpurse.wallet.service_desk import Desk, Flights, offered, one_of
from clawpurse.wallet.service_errors import refusal_data, unknown
from clawpurse.wallet.service_keys import FAULTS, NODE_COST, SIGNING_ERRORS
from clawpurse.wallet.service_values import (
    BatchParams,
    Leave,
    ListParams,
    PaidShape,
    Pay,
    PaymentParams,
    PaymentShape,
    PaymentsShape,
    QuoteParams,
    QuoteShape,
    ReceiptParams,
    SendParams,
    hexed,
    payment_shape,
    plain,
)

# A quote asks a node half a dozen times; a payment more.
QUOTE_COST: Final = 10
SEND_COST: Final = 15
DEADLINE_MS: Final = 60_000
# How long a payment is waited for by the service itself; then it is left to the next look.
FLIGHT_MS: Final = 120_000
# A fee above this many times the least one is a slip more often than a wish.
FEE_TIMES_MAX: Final = 100
_AGAIN: Final = (
    "Call again with the same `idempotencyKey` after any failure of the line: it is paid "
    "once. Status `pending` may still become final; `wallet_getPayment` tells."
)
# Whatever a node may say of a transaction.
LEDGER_CODES: Final = (
    SYNCING,
    *(code.rpc_code for code in Code if code >= Code.MALFORMED),
)


class Wanted(NamedTuple):
    """A transaction of payments as it is asked for. `fee` None is the least one."""

    key: str
    payments: tuple[Pay, ...]
    memo: str
    fee: int | None
    owner: str | None


class Proposed(NamedTuple):
    """What a person is asked to approve. `asked` are the sentences why."""

    key: str
    quote: Quote
    idempotency_key: bytes
    asked: tuple[str, ...]
    reason: str
    origin: str


class Approvals(Protocol):
    """Whoever keeps what waits for a person."""

    async def propose(self, proposed: Proposed) -> RpcError:
        """Keep it, once for each idempotency key; return the error that tells where it waits."""


class PaymentMethods:
    """Methods about payments of the home's keys."""

    def __init__(self, desk: Desk, flights: Flights, approvals: Approvals) -> None:
        self._desk = desk
        self._flights = flights
        self._approvals = approvals

    def methods(self) -> list[Method]:
        """Return their definitions."""
        errors = (*SIGNING_ERRORS, *LEDGER_CODES)
        paying = (*errors, CONFIRMATION_REQUIRED)
        return [
            offered(
                "wallet_quote",
                "What a payment, or several in one transaction, would be now",
                self.quote,
                QuoteParams,
                QuoteShape,
                errors=errors,
                cost=QUOTE_COST,
                deadline_ms=DEADLINE_MS,
            ),
            offered(
                "wallet_send",
                "Pay, once, and wait for the end",
                self.send,
                SendParams,
                PaymentShape,
                errors=paying,
                cost=SEND_COST,
                waits=True,
                deadline_ms=DEADLINE_MS,
                description=_AGAIN,
            ),
            offered(
                "wallet_batch",
                "Pay several in one transaction, all or none",
                self.batch,
                BatchParams,
                PaymentShape,
                errors=paying,
                cost=SEND_COST,
                waits=True,
                deadline_ms=DEADLINE_MS,
                description=_AGAIN,
            ),
            offered(
                "wallet_getPayment",
                "What became of a payment, by its transaction or its idempotency key",
                self.get,
                PaymentParams,
                PaymentShape,
                errors=(NOT_FOUND, *FAULTS),
                cost=NODE_COST,
            ),
            offered(
                "wallet_listPayments",
                "Payments of this home that the token may see, the newest first",
                self.list_,
                ListParams,
                PaymentsShape,
                errors=(NOT_FOUND, *FAULTS),
                cost=NODE_COST,
            ),
            offered(
                "wallet_getReceipt",
                "The receipt of a final payment, with the proof that anybody can verify offline",
                self.receipt,
                ReceiptParams,
                {"type": "object", "description": "What `clawpurse tx verify` reads"},
                result_name="document",
                errors=(NOT_FOUND, *FAULTS),
                cost=NODE_COST,
            ),
        ]

    # -- paying

    async def quote(self, params: QuoteParams, context: Context) -> dict[str, Any]:
        """wallet_quote."""
        wanted = Wanted(params.key, tuple(params.payments), params.memo, params.fee, params.owner)
        info = await self._payer_key(context, wanted.key)
        quote = await self.quoted(wanted, info)
        verdict = quote.guardrails
        return plain(
            QuoteShape(
                account=account_text(quote.payer.account),
                payments=[
                    PaidShape(
                        to=account_text(one.recipient), asset=one.asset, amount=str(one.amount)
                    )
                    for one in quote.intents
                ],
                fee=str(quote.fee),
                decimals=dict(quote.decimals),
                left={asset: str(amount) for asset, amount in quote.left.items()},
                strangers=[account_text(one) for one in sorted(quote.strangers)],
                outlook=quote.outlook.value,
                rule=quote.rule,
                reason=quote.reason,
                allowed=verdict.allowed,
                refusals=[refusal_data(one) for one in verdict.refusals],
                confirm=list(verdict.needs_confirmation),
            )
        )

    async def send(self, params: SendParams, context: Context) -> dict[str, Any]:
        """wallet_send."""
        one = Pay.model_construct(to=params.to, amount=params.amount, asset=params.asset)
        wanted = Wanted(params.key, (one,), params.memo, params.fee, params.owner)
        return await self._pay(wanted, params.idempotency_key, params, context)

    async def batch(self, params: BatchParams, context: Context) -> dict[str, Any]:
        """wallet_batch."""
        wanted = Wanted(params.key, tuple(params.payments), params.memo, params.fee, params.owner)
        return await self._pay(wanted, params.idempotency_key, params, context)

    async def _pay(
        self, wanted: Wanted, key: bytes, leave: Leave, context: Context
    ) -> dict[str, Any]:
        info = await self._payer_key(context, wanted.key)
        account = await self._account(wanted, info)
        row = await self.standing(account, key)
        if row is not None:
            intents = await self._intents(wanted, account, row.fee)
            return await self.again(row, intents, leave.wait_ms)
        quote = await self.quoted(wanted, info)
        refuse(quote)
        asked = quote.guardrails.needs_confirmation
        if not leave.allow_new_recipient:
            asked += tuple(
                f"{account_text(one)} never received anything on this network."
                for one in sorted(quote.strangers)
            )
        may_confirm = leave.confirmed and context.allows("wallet_approve")
        if asked and not may_confirm:
            origin = "" if context.grant is None else context.grant.name
            raise await self._approvals.propose(
                Proposed(wanted.key, quote, key, asked, leave.reason, origin)
            )
        signer = self._desk.unlocked.key(wanted.key)
        return await self.fly(quote, signer, key, leave.wait_ms)

    async def fly(
        self, quote: Quote, signer: SigningKey, key: bytes, wait_ms: int
    ) -> dict[str, Any]:
        """Pay a quote under an idempotency key, and wait for its end. Raises as `Payments.pay`."""

        async def work() -> Payment:
            return await self._desk.payments.pay(
                quote, signer, timeout_ms=FLIGHT_MS, idempotency_key=key
            )

        account = quote.payer.account
        row = await self._flights.until_known(
            (account, key), work, wait_ms, lambda: self.standing(account, key)
        )
        if row is None:
            # It is being reserved yet, or waits for a lane: nothing is signed.
            raise RpcError(
                Code.POOL_FULL.rpc_code, "Every lane of this account has a payment on its way."
            )
        self._same(row, quote.intents)
        return plain(await self.shape(row))

    async def again(self, row: Row, intents: Sequence[Intent], wait_ms: int) -> dict[str, Any]:
        """Tell how the payment under a key ended, or wait for it, or go on with it."""
        self._same(row, intents)
        return plain(await self.shape(await self.ended(row, wait_ms)))

    async def ended(self, row: Row, wait_ms: int) -> Row:
        """Wait for the end of what was signed, or go on with it; return it as it stands then."""
        if row.is_settled or row.status is Status.HANDED_OUT:
            return row

        async def work() -> Payment | None:
            mine: Row | None = await in_thread(self._desk.outbox.adopt, row.number)
            if mine is None:
                # Somebody has it in hand, as the start of this service what was left.
                return await self._desk.payments.delivery.conclude(row, FLIGHT_MS)
            return await self._desk.payments.delivery.go_on(mine, FLIGHT_MS)

        await self._flights.join((row.account, row.key), work, wait_ms)
        found: Row | None = await in_thread(self._desk.outbox.find, row.newest.tx_id)
        return found or row

    def _same(self, row: Row, intents: Sequence[Intent]) -> None:
        """Raise `Refused` when a key stands for another payment than the one that is asked for."""
        wanted = tuple((one.recipient, one.asset, one.amount) for one in intents)
        if (row.payments, row.memo) != (wanted, intents[0].memo):
            raise Refused(Code.DUPLICATE, "This idempotency key stands for another payment.")

    async def quoted(self, wanted: Wanted, info: KeyInfo) -> Quote:
        """Work out what is wanted as it would be now. Raises as `Payments.quote`.

        And `GuardrailRefused`, when money is short as well.
        """
        payments = self._desk.payments
        least = await payments.fee_min()
        fee = least if wanted.fee is None else wanted.fee
        if not least <= fee <= FEE_TIMES_MAX * max(least, 1):
            raise Refused(
                Code.POLICY_REJECTED,
                f"The fee is {fee} minor units; {least}…{FEE_TIMES_MAX * max(least, 1)} are taken.",
            )
        account = await self._account(wanted, info)
        intents = await self._intents(wanted, account, fee)
        try:
            return await payments.quote(await self._payer(account, info), intents)
        except NotEnough as short:
            # A limit is told first: it stands also when money has come, and tells no balance.
            if short.guardrails is not None and not short.guardrails.allowed:
                raise GuardrailRefused(short.guardrails.refusals) from short
            raise

    async def _payer_key(self, context: Context, name: str) -> KeyInfo:
        info = await self._desk.key(context, name)
        if info.watch_only:
            raise WatchOnly(name)
        return info

    async def _account(self, wanted: Wanted, info: KeyInfo) -> bytes:
        """Return whose money it is."""
        if wanted.owner is None:
            return info.account
        return (await self._desk.whom(wanted.owner)).account

    async def _payer(self, account: bytes, info: KeyInfo) -> Payer:
        if account == info.account:
            return Payer(account, info.public_key)
        params = {"account": account_text(account), "key": hexed(info.public_key)}
        found = await self._desk.node.call("session_get", params)
        return Payer(account, info.public_key, tuple(found["lanes"]), info.public_key)

    async def _intents(self, wanted: Wanted, account: bytes, fee: int) -> list[Intent]:
        intents = []
        for place, one in enumerate(wanted.payments):
            whom = await self._desk.whom(one.to)
            mine = fee if place == 0 else 0
            intents.append(Intent(account, whom.account, one.asset, one.amount, wanted.memo, mine))
        return intents

    # -- afterwards

    async def get(self, params: PaymentParams, context: Context) -> dict[str, Any]:
        """wallet_getPayment."""
        if params.tx_id is not None and params.key is None and params.idempotency_key is None:
            row: Row | None = await in_thread(self._desk.outbox.find, params.tx_id)
        elif params.key is not None and params.idempotency_key is not None:
            one_of(txId=params.tx_id, key=params.key)
            info = await self._desk.key(context, params.key)
            row = await self._by_signer(info, params.idempotency_key)
        else:
            raise Malformed("params", "are txId, or key and idempotencyKey")
        if row is None or not await self._may_see(row, context):
            raise unknown("the payment")
        return plain(await self.shape(row))

    async def list_(self, params: ListParams, context: Context) -> dict[str, Any]:
        """wallet_listPayments."""
        names = await self._desk.names(context)
        signers: list[bytes] | None = None
        if params.key is not None:
            signers = [(await self._payer_key(context, params.key)).public_key]
        elif self._desk.keys_of(context) is not None:
            known = [await self._desk.key(context, one) for one in names]
            signers = [one.key for one in known if one.key is not None]
        before = None if params.cursor is None else int(params.cursor)
        rows: list[Row] = await in_thread(self._desk.outbox.page, params.limit + 1, before, signers)
        shown = rows[: params.limit]
        more = str(shown[-1].number) if len(rows) > params.limit else None
        labels = await self._signers()
        return plain(
            PaymentsShape(
                payments=[await self.shape(row, labels) for row in shown], next_cursor=more
            )
        )

    async def receipt(self, params: ReceiptParams, context: Context) -> dict[str, Any]:
        """wallet_getReceipt."""
        row: Row | None = await in_thread(self._desk.outbox.find, params.tx_id)
        sees = self._desk.keys_of(context) is None
        if row is not None:
            sees = await self._may_see(row, context)
        document = await self._document(params.tx_id) if sees else None
        if document is None:
            raise unknown("the receipt")
        return document

    async def standing(self, account: bytes, key: bytes) -> Row | None:
        """Return the payment under an idempotency key that was not without effect, if any."""
        rows: list[Row] = await in_thread(self._desk.outbox.under, account, key)
        alive = [row for row in rows if row.attempts and not row.is_void]
        return alive[-1] if alive else None

    async def _by_signer(self, info: KeyInfo, key: bytes) -> Row | None:
        """Return the newest row that a key of this home signed under an idempotency key."""

        def find() -> Row | None:
            rows = self._desk.outbox.under(info.account, key)
            if info.key is not None and not rows:
                # A session key pays for other accounts.
                every = self._desk.outbox.page(_LOOK_BACK, None, [info.key])
                rows = [row for row in reversed(every) if row.key == key]
            return rows[-1] if rows else None

        found: Row | None = await in_thread(find)
        return found

    async def _may_see(self, row: Row, context: Context) -> bool:
        allowed = self._desk.keys_of(context)
        return allowed is None or (await self._signers()).get(row.signer) in allowed

    async def _signers(self) -> dict[bytes, str]:
        """Return the names of the home's keys by their public keys."""

        def read() -> dict[bytes, str]:
            store = self._desk.keystore
            known = [store.show(name) for name in store.signing_names()]
            return {one.key: one.name for one in known if one.key is not None}

        found: dict[bytes, str] = await in_thread(read)
        return found

    async def shape(self, row: Row, labels: dict[bytes, str] | None = None) -> PaymentShape:
        """Return a payment as it is told, with what its receipt says."""
        names = await self._signers() if labels is None else labels
        made = payment_shape(row, names.get(row.signer))
        if not row.is_settled or not row.attempts:
            return made
        for attempt in reversed(row.attempts):
            document = await self._document(attempt.tx_id)
            if document is not None:
                receipt = document["receipt"]
                made.tx_id = document["txId"]
                made.height = document["height"]
                made.fee = document["fee"]
                made.reason = receipt["reason"]
                events = receipt["events"] or ()
                made.hold_id = next(
                    (one["data"]["holdId"] for one in events if one["kind"] == "kernel.held"), None
                )
                break
        return made

    async def _document(self, tx_id: bytes) -> dict[str, Any] | None:
        def read() -> dict[str, Any] | None:
            try:
                return self._desk.receipts.load(hexed(tx_id))
            except OperatorError as err:
                if type(err) is OperatorError:
                    return None
                raise

        found: dict[str, Any] | None = await in_thread(read)
        return found


# Rows of one session key that are searched for an idempotency key.
_LOOK_BACK: Final = 1_000


def refuse(quote: Quote) -> None:
    """Raise what a quote says against paying: `GuardrailRefused`, `Refused`."""
    if not quote.guardrails.allowed:
        raise GuardrailRefused(quote.guardrails.refusals)
    if quote.outlook is Outlook.REFUSED:
        raise Refused(
            quote.code, quote.reason or "The ledger would refuse it.", rule=quote.rule or ""
        )
