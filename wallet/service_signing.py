"""`wallet_sign`: a body that was built elsewhere is said in words, judged, signed.

What is payments alone and within the guardrails is signed at once; whatever else a body does is
for a person, because no limit of this wallet can judge it. The same call again is the same
signature: a body happens once, under its idempotency key or its id.
"""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Code, Refused, WatchOnly
from clawpurse.ledger.transactions import Role
from clawpurse.modules.kit.web.errors import CONFIRMATION_REQUIRED
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.wallet.action_files import action_from_json
from clawpurse.wallet.builder import Slot, build_body, new_idempotency_key
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.describe import assets_named
from clawpurse.wallet.guardrails import GuardrailRefused
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.offline import accounts_in
from clawpurse.wallet.outbox_rows import Row
from clawpurse.wallet.service_asking import Asking, Proposal
from clawpurse.wallet.service_desk import Desk, Flights, offered
from clawpurse.wallet.service_keys import SIGNING_ERRORS
from clawpurse.wallet.service_payments import (
    DEADLINE_MS,
    FLIGHT_MS,
    LEDGER_CODES,
    SEND_COST,
    PaymentMethods,
)
from clawpurse.wallet.service_request_values import (
    ProposedShape,
    ProposeParams,
    SignedShape,
    SignParams,
)
from clawpurse.wallet.service_values import PaymentShape, hexed, plain
from clawpurse.wallet.signing import NAMES, ROLES, Part, Signed, part_of, signature

# Somebody who hands over looks at it next; what waits longer is handed over anew.
PROPOSED_MS: Final = 3_600_000
HANDED_OVER: Final = "A page hands it over, for you to decide."


class SignMethods:
    """The method, and what an approval of a body does."""

    def __init__(
        self, desk: Desk, flights: Flights, asking: Asking, payments: PaymentMethods
    ) -> None:
        self._desk = desk
        self._flights = flights
        self._asking = asking
        self._payments = payments

    def methods(self) -> list[Method]:
        """Return their definitions."""
        return [
            offered(
                "wallet_sign",
                "Sign a transaction body that was built elsewhere, and send it",
                self.sign,
                SignParams,
                SignedShape,
                errors=(*SIGNING_ERRORS, *LEDGER_CODES, CONFIRMATION_REQUIRED),
                cost=SEND_COST,
                waits=True,
                deadline_ms=DEADLINE_MS,
                description="Payments are held against the guardrails of the key; whatever else a "
                "body does becomes a request for a person. Nothing is signed that cannot be said "
                "in words. With `submit` false the signature is for the caller to use: it counts "
                "as spent until it is final or can never be.",
            ),
            offered(
                "wallet_propose",
                "Ask a person to do something with a key, whatever it is",
                self.propose,
                ProposeParams,
                ProposedShape,
                errors=(*SIGNING_ERRORS, *LEDGER_CODES),
                cost=SEND_COST,
                description="For pages that hold no keys, such as a node's approvals: the service "
                "makes the transaction, and keeps it as a request. Nothing is signed before "
                "somebody approves it, within the hour.",
            ),
        ]

    async def propose(self, params: ProposeParams, context: Context) -> dict[str, Any]:
        """wallet_propose."""
        info = await self.signing_key(context, params.key)
        registry, node = self._desk.registry, self._desk.node
        actions = [
            action_from_json(one.model_dump(), registry, account_from_text)
            for one in params.actions
        ]
        following = await node.next_sequence(info.account, 0)
        body = build_body(
            await node.terms(),
            registry,
            info.account,
            Slot(0, following.sequence),
            actions,
            valid_until_ms=self._desk.now_ms() + PROPOSED_MS,
            fee=await self._desk.payments.fee_min(),
            idempotency_key=new_idempotency_key(),
        )
        part = part_of(body.pack(), registry, info.account, info.public_key)
        verdict = await self._desk.signings.verdict(part)
        asked = (*verdict.needs_confirmation, HANDED_OVER)
        proposal = Proposal(params.key, part, asked, params.reason, True)
        told = await self._asking.propose_body(proposal, context)
        facts = told.facts
        return plain(ProposedShape(request_id=str(facts["requestId"]), url=facts.get("url")))

    async def sign(self, params: SignParams, context: Context) -> dict[str, Any]:
        """wallet_sign."""
        info = await self.signing_key(context, params.key)
        owner = None
        if params.account is not None:
            owner = (await self._desk.whom(params.account)).account
        role = None if params.role is None else ROLES[params.role]
        part = part_of(params.body, self._desk.registry, info.account, info.public_key, role, owner)
        if not await self._was_allowed(part, params.key):
            await self.check_network(part)
            verdict = await self._desk.signings.verdict(part)
            if not verdict.allowed:
                raise GuardrailRefused(verdict.refusals)
            asked = verdict.needs_confirmation
            may_confirm = params.confirmed and context.allows("wallet_approve")
            if asked and not may_confirm:
                proposal = Proposal(params.key, part, asked, params.reason, params.submit)
                raise await self._asking.propose_body(proposal, context)
        signer = await self._desk.signer(info, None)
        return plain(await self.fly(part, signer, params.submit, params.wait_ms))

    async def fly(self, part: Part, signer: SigningKey, submit: bool, wait_ms: int) -> SignedShape:
        """Sign, wait for the end, and tell it. Raises as `Signings.sign`."""
        place = (part.account, part.once)

        async def work() -> Signed:
            return await self._desk.signings.sign(part, signer, submit=submit, timeout_ms=FLIGHT_MS)

        if part.role is Role.APPROVER:
            await work()
            return await self.shape(part, signer, None)

        async def find() -> Row | None:
            found: Row | None = await in_thread(self._desk.outbox.find, part.tx_id)
            return found

        row = await self._flights.until_known(place, work, wait_ms, find)
        if row is None:
            raise Refused(Code.POOL_FULL, "The lane that the body names has a payment on its way.")
        mine = row.signer == part.public_key
        return await self.shape(part, signer, await self._payments.shape(row) if mine else None)

    async def shape(
        self, part: Part, signer: SigningKey, payment: PaymentShape | None
    ) -> SignedShape:
        """Return a signature with what it signs in words."""
        assets = assets_named(part.body.actions, self._desk.registry)
        decimals = await self._asking.decimals(assets)
        labels = await self._asking.labels(list(accounts_in(part.body, self._desk.registry)))
        entry, transaction = signature(part, signer)
        return SignedShape(
            tx_id=hexed(part.tx_id),
            role=NAMES[part.role],
            account=account_text(part.account),
            public_key=hexed(part.public_key),
            signature=hexed(entry.signature),
            transaction=hexed(transaction.raw),
            lines=self._asking.body_lines(part, decimals, labels),
            payment=payment,
        )

    async def signing_key(self, context: Context, name: str) -> KeyInfo:
        """Return a key that can sign and that the caller may touch. Raises `WatchOnly`."""
        info = await self._desk.key(context, name)
        if info.watch_only:
            raise WatchOnly(name)
        return info

    async def check_network(self, part: Part) -> None:
        """Raise `Refused` for a body of another network than this home's."""
        terms = await self._desk.node.terms()
        if part.body.genesis_hash != terms.genesis_hash:
            raise Refused(
                Code.WRONG_CHAIN,
                f"It is for {part.body.chain_id}, genesis 0x{part.body.genesis_hash.hex()[:12]}….",
            )

    async def _was_allowed(self, part: Part, name: str) -> bool:
        """Tell whether this key signed these bytes before, or a person said yes to that."""
        row: Row | None = await in_thread(self._desk.outbox.find, part.tx_id)
        mine = row is not None and row.signer == part.public_key and not row.is_void
        if mine and row is not None and row.attempts and part.role is not Role.APPROVER:
            return True
        return await in_thread(
            self._desk.requests.has_approved,
            *(name, part.account, part.once, part.body_bytes, NAMES[part.role]),
        )
