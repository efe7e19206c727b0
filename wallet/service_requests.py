"""Methods of the wallet service about signing requests: list, read, approve, reject.

Whoever may approve reads what is asked in words, with its effects and what the guardrails say now.
An approval is judged again: limits that were reached in the meantime refuse it. What was signed is
approved, whatever happens to the process in between; a rejected request is never signed.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import ClawPurseError, Code, Refused
from clawpurse.modules.kit.web.errors import NOT_FOUND, WRONG_PASSPHRASE
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.describe import assets_named
from clawpurse.wallet.guardrails import GuardrailRefused
from clawpurse.wallet.intent import Intent, Outlook
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.offline import accounts_in
from clawpurse.wallet.outbox_rows import Row
from clawpurse.wallet.service_asking import Asking
from clawpurse.wallet.service_desk import Desk, Flights, offered
from clawpurse.wallet.service_errors import told, unknown
from clawpurse.wallet.service_keys import FAULTS, HASH_COST, NODE_COST, SIGNING_ERRORS
from clawpurse.wallet.service_payments import (
    DEADLINE_MS,
    LEDGER_CODES,
    QUOTE_COST,
    PaymentMethods,
    Wanted,
    refuse,
)
from clawpurse.wallet.service_request_values import (
    ApproveParams,
    DecidedShape,
    EffectShape,
    LineShape,
    ListRequestsParams,
    RejectParams,
    RequestDetailShape,
    RequestParams,
    RequestShape,
    RequestsShape,
    SaysShape,
    SignedShape,
    request_fields,
)
from clawpurse.wallet.service_signing import SignMethods
from clawpurse.wallet.service_values import Pay, PaymentShape, plain
from clawpurse.wallet.signing import ROLES, Part, part_of
from clawpurse.wallet.signing_requests import SigningRequest, State

LOG: Final = logging.getLogger("clawpurse.wallet")
# All that the store keeps: a caller who sees few keys gets a full page of them.
_LOOK_MAX: Final = 4_096


class RequestMethods:
    """Methods about what waits for a person."""

    def __init__(
        self,
        desk: Desk,
        flights: Flights,
        asking: Asking,
        payments: PaymentMethods,
        signing: SignMethods,
    ) -> None:
        self._desk = desk
        self._flights = flights
        self._asking = asking
        self._payments = payments
        self._signing = signing

    def methods(self) -> list[Method]:
        """Return their definitions."""
        return [
            offered(
                "wallet_listRequests",
                "What waits for a person, or did, of the keys that the token may touch",
                self.list_,
                ListRequestsParams,
                RequestsShape,
                errors=FAULTS,
                cost=NODE_COST,
            ),
            offered(
                "wallet_getRequest",
                "One request as who decides reads it: words, effects, guardrails, the outlook now",
                self.get,
                RequestParams,
                RequestDetailShape,
                errors=(NOT_FOUND, *FAULTS),
                cost=QUOTE_COST,
                deadline_ms=DEADLINE_MS,
            ),
            offered(
                "wallet_approve",
                "Say yes: what a request asks is judged again, signed, and sent",
                self.approve,
                ApproveParams,
                DecidedShape,
                errors=(WRONG_PASSPHRASE, *SIGNING_ERRORS, *LEDGER_CODES),
                cost=HASH_COST,
                waits=True,
                deadline_ms=DEADLINE_MS,
                description="Approving again is the same payment. A token with this scope may also "
                "say `confirmed` in `wallet_send`, `wallet_batch` and `wallet_sign`.",
            ),
            offered(
                "wallet_reject",
                "Say no: whoever asked is told, and is not asked about it again",
                self.reject,
                RejectParams,
                RequestShape,
                errors=(NOT_FOUND, Code.DUPLICATE.rpc_code, *FAULTS),
            ),
        ]

    async def list_(self, params: ListRequestsParams, context: Context) -> dict[str, Any]:
        """wallet_listRequests."""
        names = self._desk.keys_of(context)
        everything = await in_thread(lambda: self._desk.requests.list(limit=_LOOK_MAX))
        wanted = None if params.states is None else {State(one) for one in params.states}
        found: list[RequestShape] = []
        for one in everything:
            if names is not None and one.key_name not in names:
                continue
            request = await self._asking.refreshed(one)
            if wanted is None or request.state in wanted:
                found.append(self._shape(request))
            if len(found) == params.limit:
                break
        return plain(RequestsShape(requests=found))

    async def get(self, params: RequestParams, context: Context) -> dict[str, Any]:
        """wallet_getRequest."""
        request, info = await self._found(params.id, context)
        part, intents = self._contents(request, info)
        assets = [one.asset for one in intents]
        accounts = [one.recipient for one in intents] + [request.account]
        if part is not None:
            assets += assets_named(part.body.actions, self._desk.registry)
            accounts += accounts_in(part.body, self._desk.registry)
        decimals = await self._asking.decimals(assets)
        labels = await self._asking.labels(accounts)
        lines: list[LineShape]
        if part is not None:
            lines = self._asking.body_lines(part, decimals, labels)
        else:
            once = request.idempotency_key
            lines = self._asking.payment_lines(intents, once, decimals, labels)
        # What an escrow or a schedule does to balances is said in its words: it is not now.
        moved = intents if part is None or not part.others else ()
        effects: list[EffectShape] = self._asking.effects(moved, decimals, labels)
        outlook, rule, problem, says = None, None, None, []
        try:
            says = await self._says(part, intents, info)
            if request.is_open:
                outlook, rule, problem = await self._outlook(request, part, info)
        except (ClawPurseError, ExceptionGroup) as error:
            problem = _reason(error)
        return plain(
            RequestDetailShape(
                **request_fields(request, self._asking.url_of(request)),
                lines=lines,
                effects=effects,
                guardrails=says,
                outlook=outlook,
                rule=rule,
                problem=problem,
                unlocked=info.name in self._desk.unlocked.left_ms(),
                payment=await self._payment(request),
            )
        )

    async def approve(self, params: ApproveParams, context: Context) -> dict[str, Any]:
        """wallet_approve."""
        request, info = await self._found(params.id, context)
        signed: SignedShape | None = None
        if request.state is not State.APPROVED:
            if not request.is_open:
                raise Refused(Code.DUPLICATE, f"The request is {request.state.value} already.")
            try:
                signed = await self._carry_out(request, info, params)
            except ClawPurseError:
                # Two may say yes at once: then it is done, whatever the slower one was refused by.
                if (await self._now(request)).state is not State.APPROVED:
                    raise
            request = await self._noted(request, signed)
            _note(request, context)
        payment = None if signed is None else signed.payment
        if signed is None:
            payment = await self._payment(request, params.wait_ms)
        return plain(DecidedShape(request=self._shape(request), payment=payment, signed=signed))

    async def _carry_out(
        self, request: SigningRequest, info: KeyInfo, params: ApproveParams
    ) -> SignedShape | None:
        """Judge again, sign, and send; return the signature that is handed back, if one is."""
        signer = await self._desk.signer(info, params.passphrase)
        part, _ = self._contents(request, info)
        if part is None:
            quote = await self._payments.quoted(self._wanted(request, info), info)
            refuse(quote)
            await self._still_open(request)
            await self._payments.fly(quote, signer, request.idempotency_key, params.wait_ms)
            return None
        await self._signing.check_network(part)
        verdict = await self._desk.signings.verdict(part)
        if not verdict.allowed:
            raise GuardrailRefused(verdict.refusals)
        await self._still_open(request)
        done = await self._signing.fly(part, signer, request.submit, params.wait_ms)
        return None if request.submit and done.payment is not None else done

    async def reject(self, params: RejectParams, context: Context) -> dict[str, Any]:
        """wallet_reject."""
        request, _ = await self._found(params.id, context)
        if (request.account, request.idempotency_key) in self._flights:
            raise Refused(Code.DUPLICATE, "It is being signed: a no comes too late.")
        settled: SigningRequest = await in_thread(
            lambda: self._desk.requests.settle(request.id, State.REJECTED, note=params.reason)
        )
        _note(settled, context)
        return plain(self._shape(settled))

    # -- inside

    async def _found(self, request_id: bytes, context: Context) -> tuple[SigningRequest, KeyInfo]:
        """Return a request that the caller may see, and its key. Raises `NotFound`."""
        found: SigningRequest | None = await in_thread(self._desk.requests.get, request_id)
        allowed = self._desk.keys_of(context)
        if found is None or (allowed is not None and found.key_name not in allowed):
            raise unknown("the request")
        info = await self._desk.key(context, found.key_name)
        return await self._asking.refreshed(found), info

    async def _now(self, request: SigningRequest) -> SigningRequest:
        """Return a request as it stands by now. Raises `NotFound`."""
        found: SigningRequest | None = await in_thread(self._desk.requests.get, request.id)
        if found is None:
            raise unknown("the request")
        return await self._asking.refreshed(found)

    async def _still_open(self, request: SigningRequest) -> None:
        """Raise `Refused` for what was decided while its price was asked for."""
        if not (await self._now(request)).is_open:
            raise Refused(Code.DUPLICATE, "The request is not open any more.")

    async def _noted(self, request: SigningRequest, signed: SignedShape | None) -> SigningRequest:
        """Return the request after its approval, noted where anything was signed."""
        if signed is not None and signed.payment is None:
            # It has no row in the outbox of its own: what was signed spends nothing of the key's.
            tx_id = bytes.fromhex(signed.tx_id[2:])
            found: SigningRequest = await in_thread(
                lambda: self._desk.requests.settle(request.id, State.APPROVED, tx_id=tx_id)
            )
            return found
        return await self._now(request)

    def _contents(
        self, request: SigningRequest, info: KeyInfo
    ) -> tuple[Part | None, tuple[Intent, ...]]:
        """Return the body that a request is about, if it is, and its payments."""
        if request.body is None:
            return None, request.intents
        role = ROLES[request.role]
        owner = None if request.account == info.account else request.account
        part = part_of(
            request.body, self._desk.registry, info.account, info.public_key, role, owner
        )
        return part, part.intents

    def _wanted(self, request: SigningRequest, info: KeyInfo) -> Wanted:
        payments = tuple(
            Pay.model_construct(to=account_text(one.recipient), amount=one.amount, asset=one.asset)
            for one in request.intents
        )
        owner = None if request.account == info.account else account_text(request.account)
        fee = sum(one.fee for one in request.intents)
        return Wanted(request.key_name, payments, request.intents[0].memo, fee, owner)

    async def _says(
        self, part: Part | None, intents: tuple[Intent, ...], info: KeyInfo
    ) -> list[SaysShape]:
        genesis = (await self._desk.node.terms()).genesis_hash
        lines = await self._asking.guardrails(genesis, info.public_key, intents)
        found = [SaysShape(says=one.says.value, text=one.text) for one in lines]
        questions = () if part is None else part.questions
        return [*found, *(SaysShape(says="asks", text=one) for one in questions)]

    async def _outlook(
        self, request: SigningRequest, part: Part | None, info: KeyInfo
    ) -> tuple[str | None, str | None, str | None]:
        """Return what the ledger would do now, by which rule, and why not."""
        if part is None:
            quote = await self._payments.quoted(self._wanted(request, info), info)
            return quote.outlook.value, quote.rule, quote.reason
        await self._signing.check_network(part)
        own = part.account == info.account
        outcome = await self._desk.node.simulate(
            part.body_bytes,
            signer=None if own else info.public_key,
            sponsored=part.body.payer is not None,
        )
        if outcome.code != "ok":
            return Outlook.REFUSED.value, outcome.rule, outcome.reason or outcome.code
        holders = [one["rule"] for one in outcome.trace if one.get("verdict") == "hold"]
        held = Outlook.HELD if holders else Outlook.PAID
        return held.value, str(holders[0]) if holders else None, None

    async def _payment(self, request: SigningRequest, wait_ms: int = 0) -> PaymentShape | None:
        """Return what became of it, after waiting so long for its end."""
        if request.tx_id is None:
            return None
        row: Row | None = await in_thread(self._desk.outbox.find, request.tx_id)
        if row is not None and wait_ms:
            row = await self._payments.ended(row, wait_ms)
        return None if row is None else await self._payments.shape(row)

    def _shape(self, request: SigningRequest) -> RequestShape:
        return RequestShape(**request_fields(request, self._asking.url_of(request)))


def _note(request: SigningRequest, context: Context) -> None:
    """Write into the log who decided what: names and ids, nothing secret."""
    by = "" if context.grant is None else context.grant.ident
    LOG.info(
        "a request was decided",
        extra={"request": f"0x{request.id.hex()}", "state": request.state.value, "by": by},
    )


def _reason(error: Exception) -> str:
    said = told(error)
    return str(getattr(said, "reason", "") or said)
