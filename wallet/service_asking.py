"""How the wallet service puts before a person what a program may not decide.

Whatever guardrails want confirmed becomes a signing request, once for each idempotency key; who
asked is told its id and where the page for it is, and asks again with the same key afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import ClawPurseError
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import Role
from clawpurse.modules.kit.web.errors import (
    CONFIRMATION_REQUIRED,
    WALLET_REFUSED,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.describe import Line, describe_body, memo_words, words_for
from clawpurse.wallet.guardrail_lines import GuardrailLine, guardrail_lines
from clawpurse.wallet.guardrails import Journal, Verdict, spent_of
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.outbox_rows import Row
from clawpurse.wallet.service_desk import Desk
from clawpurse.wallet.service_payments import Proposed
from clawpurse.wallet.service_request_values import EffectShape, LineShape
from clawpurse.wallet.signing import NAMES, Part
from clawpurse.wallet.signing_requests import ASKED_MAX, Asked, SigningRequest, State

# Where the page shows one request.
PAGE_OF_REQUEST: Final = "{url}/#request=0x{id}"
_NO_LABELS: Final[Mapping[bytes, str]] = {}


class Proposal(NamedTuple):
    """A body that somebody shall decide about. `asked` are the sentences why."""

    key: str
    part: Part
    asked: tuple[str, ...]
    reason: str
    submit: bool


class Asking:
    """Keeps requests and tells who asked where they wait. See `service_payments.Approvals`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def url_of(self, request: SigningRequest) -> str | None:
        """Return where the page of a request is, None while no page is served."""
        if self._desk.page_url is None:
            return None
        return PAGE_OF_REQUEST.format(url=self._desk.page_url, id=request.id.hex())

    async def propose(self, proposed: Proposed) -> RpcError:
        """Keep payments for a person; return the error that tells where they wait."""
        quote = proposed.quote
        return await self._keep(
            Asked(
                proposed.origin,
                proposed.key,
                quote.payer.account,
                proposed.idempotency_key,
                quote.intents,
                None,
                proposed.asked[:ASKED_MAX],
                proposed.reason,
            )
        )

    async def propose_body(self, proposal: Proposal, context: Context) -> RpcError:
        """Keep a body for a person; return the error that tells where it waits."""
        part = proposal.part
        return await self._keep(
            Asked(
                "" if context.grant is None else context.grant.name,
                proposal.key,
                part.account,
                part.once,
                (),
                part.body_bytes,
                proposal.asked[:ASKED_MAX],
                proposal.reason,
                proposal.submit,
                part.body.valid_until_ms,
                NAMES[part.role],
            )
        )

    async def _keep(self, asked: Asked) -> RpcError:
        request: SigningRequest = await in_thread(self._desk.requests.add, asked)
        facts = {"requestId": f"0x{request.id.hex()}", "state": request.state.value}
        if request.state is State.REJECTED:
            said = f" “{request.note}”" if request.note else ""
            return RpcError(
                WALLET_REFUSED,
                f"A person said no.{said}",
                hint="ask with another idempotencyKey, when something has changed",
                facts={**facts, "note": request.note},
            )
        url = self.url_of(request)
        return RpcError(
            CONFIRMATION_REQUIRED,
            asked.asked[0],
            facts={
                **facts,
                "url": url,
                "reasons": list(asked.asked),
                "expiresMs": request.expires_ms,
                "expiresAt": time_text(request.expires_ms),
            },
        )

    async def refreshed(self, request: SigningRequest) -> SigningRequest:
        """Return a request as it stands: what was signed under its key is approved.

        So a kill between signing and noting it leaves nothing that could be asked twice.
        """
        if request.state not in (State.OPEN, State.EXPIRED):
            return request
        if request.role == NAMES[Role.APPROVER]:
            # What an approver signs spends nothing, so nothing of it stands in the outbox.
            return request
        signed = await in_thread(self._signed, request)
        if signed is None:
            return request
        found: SigningRequest = await in_thread(
            lambda: self._desk.requests.settle(
                request.id, State.APPROVED, tx_id=signed.newest.tx_id
            )
        )
        return found

    def _signed(self, request: SigningRequest) -> Row | None:
        """Return what the key of a request signed under its idempotency key since it was asked."""
        store = self._desk.keystore
        if not store.has(request.key_name):
            return None
        key = store.show(request.key_name).key
        for row in reversed(self._desk.outbox.under(request.account, request.idempotency_key)):
            is_it = row.signer == key and row.attempts and not row.is_void
            if is_it and row.created_ms >= request.created_ms:
                return row
        return None

    # -- in words

    async def decimals(self, assets: Sequence[str]) -> dict[str, int]:
        """Return the decimals of assets as far as a node tells them."""
        found: dict[str, int] = {}
        for asset in sorted({NATIVE_ASSET, *assets}):
            try:
                found[asset] = (await self._desk.node.asset(asset)).decimals
            except ClawPurseError:
                # Then it is shown in minor units, and said so; the caller tells the problem.
                continue
        return found

    async def labels(self, accounts: Sequence[bytes]) -> dict[bytes, str]:
        """Return the names that this home has for accounts."""

        def read() -> dict[bytes, str]:
            desk = self._desk
            named = {one: desk.home.label_of(one, desk.keystore).label for one in {*accounts}}
            return {account: label for account, label in named.items() if label is not None}

        found: dict[bytes, str] = await in_thread(read)
        return found

    def body_lines(
        self,
        part: Part,
        decimals: Mapping[str, int],
        labels: Mapping[bytes, str] = _NO_LABELS,
    ) -> list[LineShape]:
        """Return every field of a body in words."""
        words = words_for(decimals, labels.get)
        return shown(describe_body(part.body, self._desk.registry, words))

    def payment_lines(
        self,
        intents: Sequence[Intent],
        once: bytes,
        decimals: Mapping[str, int],
        labels: Mapping[bytes, str],
    ) -> list[LineShape]:
        """Return every field of payments in words."""
        words = words_for(decimals, labels.get)
        lines = [Line("From", words.account(intents[0].account))]
        for number, one in enumerate(intents, 1):
            label = "Pay" if len(intents) == 1 else f"Pay {number} of {len(intents)}"
            sum_ = words.amount(one.asset, one.amount)
            lines.append(Line(label, f"{sum_} to {words.account(one.recipient)}"))
        lines.append(Line("Fee", words.amount(NATIVE_ASSET, sum(one.fee for one in intents))))
        lines.append(Line("Memo", memo_words(intents[0].memo.encode())))
        lines.append(Line("Idempotency", f"0x{once.hex()}"))
        return shown(lines)

    def effects(
        self,
        intents: Sequence[Intent],
        decimals: Mapping[str, int],
        labels: Mapping[bytes, str],
    ) -> list[EffectShape]:
        """Return what payments change: the sender's part first, its fee in it."""
        changes: dict[tuple[bytes, str], int] = {}
        for one in intents:
            for place, change in (
                ((one.account, one.asset), -one.amount),
                ((one.account, NATIVE_ASSET), -one.fee),
                ((one.recipient, one.asset), one.amount),
            ):
                changes[place] = changes.get(place, 0) + change
        words = words_for(decimals)
        return [
            EffectShape(
                account=account_text(account),
                label=labels.get(account),
                asset=asset,
                change=str(change),
                text=f"{'−' if change < 0 else '+'} {words.amount(asset, abs(change))}",
            )
            for (account, asset), change in changes.items()
            if change
        ]

    async def guardrails(
        self, genesis_hash: bytes, public_key: bytes, intents: Sequence[Intent]
    ) -> list[GuardrailLine]:
        """Return what the guardrails of a key say of payments now, line by line."""
        decimals = await self.decimals([one.asset for one in intents])
        policy = await self._desk.payments.policy_of(public_key, decimals)
        if policy is None or not intents:
            return []
        found: list[GuardrailLine] = []

        def look(journal: Journal) -> Verdict:
            now_ms = self._desk.now_ms()
            found.extend(
                guardrail_lines(policy, intents, spent_of(journal, intents, now_ms), now_ms)
            )
            return Verdict(True)

        await in_thread(self._desk.outbox.judged, genesis_hash, public_key, look)
        return found


def shown(lines: Sequence[Line]) -> list[LineShape]:
    """Return lines in words as results have them."""
    return [LineShape(label=one.label, text=one.text, warning=one.warning) for one in lines]
