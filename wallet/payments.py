"""Payments of one home on one network: quoted, paid once, gone on with, replaced, cancelled.

What can be refused is refused before anything is signed. `pay` reserves in the outbox, where the
guardrails judge, and only then signs; what a killed process left is finished by `resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import Body, Role, Transaction, decode_body, decode_transaction
from clawpurse.modules.assets.actions import TRANSFER
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.approvals import payments_subject
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    ChainTerms,
    Signing,
    Slot,
    build_body,
    new_idempotency_key,
    replacement_of,
    sign_body_for,
    transfer_action,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.delivery import AlreadyUsed, Delivery, Payment, in_thread
from clawpurse.wallet.guardrail_files import Guardrails, Override, subject_hash
from clawpurse.wallet.guardrails import Journal, Mode, Policy, Verdict, judge, spent_of
from clawpurse.wallet.intent import Intent, Outlook, Payer, Quote
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.outbox import LanesTaken, Outbox
from clawpurse.wallet.outbox_rows import Claim, Row, Status
from clawpurse.wallet.outflows import outflows
from clawpurse.wallet.receipts import ReceiptStore

# While every lane is taken, a sender looks again so soon: a payment is final in about a second.
_PAUSE_S: Final = 0.1
# Payments of one transaction; the ledger takes more actions, a person reads no more.
BATCH_MAX: Final = 100


class NotEnough(Refused):
    """The account has too little. Attributes: `asset`, `have` and `need` in minor units.

    `guardrails` is what they say of it all the same: a limit is told even when money is short.
    """

    guardrails: Verdict | None = None

    def __init__(self, asset: str, decimals: int, have: int, need: int) -> None:
        has = amount_text(have, decimals, asset)
        super().__init__(
            Code.INSUFFICIENT_FUNDS,
            f"It has {has}, needs {amount_text(need, decimals, asset)}.",
            rule="kernel.balance",
        )
        self.asset, self.decimals, self.have, self.need = asset, decimals, have, need


class TooLate(Refused):
    """It is final, or its end is known otherwise: nothing replaces or cancels it any more.

    Attributes: `payment`, what became of it.
    """

    def __init__(self, payment: Payment) -> None:
        ends = {"paid": "is paid", "held": "is held", "failed": "failed"}
        where = "" if payment.height is None else f" in block {payment.height}"
        what = ends.get(payment.status, f"is {payment.status}")
        super().__init__(
            Code.SEQUENCE_LOW, f"Too late: it {what}{where}, which nothing takes back."
        )
        self.payment = payment


class Payments:
    """See the module. `now_ms` is the wall clock, ms UTC; without `guardrails` nothing is capped.

    Raises what `NodeClient` and `Outbox` raise. Safe for many tasks.
    """

    def __init__(
        self,
        node: NodeClient,
        outbox: Outbox,
        receipts: ReceiptStore,
        registry: Registry,
        *,
        now_ms: Callable[[], int],
        guardrails: Guardrails | None = None,
    ) -> None:
        self._node = node
        self._outbox = outbox
        self._registry = registry
        self._now_ms = now_ms
        self._guardrails = guardrails
        self.delivery = Delivery(node, outbox, receipts, registry, now_ms=now_ms)

    # -- before

    async def fee_min(self) -> int:
        """Return the least fee, minor units of the native asset."""
        answer = await self._node.call("chain_getParameters")
        return int(answer["parameters"]["fee_min"])

    async def quote(
        self, payer: Payer, intents: Sequence[Intent], *, terms: ChainTerms | None = None
    ) -> Quote:
        """Work out what a payment (several: one transaction, all or nothing) would be now.

        Raises `NotEnough`, `Refused` (wrong chain, fee too low, the ledger cannot judge it),
        `NotFound` (asset). A refusal by the rules of the ledger is in the quote.
        """
        wanted = tuple(intents)
        if not 1 <= len(wanted) <= BATCH_MAX:
            raise Malformed("payments", f"are {len(wanted)}, at least 1 and at most {BATCH_MAX}")
        terms = terms or await self._node.terms()
        fee = sum(one.fee for one in wanted)
        assets = sorted({NATIVE_ASSET, *(one.asset for one in wanted)})
        decimals = {asset: (await self._node.asset(asset)).decimals for asset in assets}
        verdict = await self._verdict(payer, wanted, terms, decimals)
        try:
            left = await self._left(payer, wanted, decimals)
        except NotEnough as short:
            short.guardrails = verdict
            raise
        strangers = set()
        for account in sorted({one.recipient for one in wanted}):
            if await self._node.account(account) is None:
                strangers.add(account)
        outlook, rule, code, reason, rules = await self._outlook(payer, wanted, terms)
        return Quote(
            payer,
            wanted,
            terms,
            fee,
            decimals,
            left,
            frozenset(strangers),
            outlook,
            verdict,
            rule,
            code,
            reason,
            rules,
        )

    async def _left(
        self, payer: Payer, intents: tuple[Intent, ...], decimals: dict[str, int]
    ) -> dict[str, int]:
        """Return what the account has left of each asset. Raises `NotEnough`."""
        balances = {one.asset: one.amount for one in await self._node.balances(payer.account)}
        needs = dict.fromkeys(decimals, 0)
        for one in intents:
            needs[one.asset] += one.amount
            needs[NATIVE_ASSET] += one.fee if payer.sponsor is None else 0
        # What is paid first: that is what a person asked about.
        for asset in sorted(needs, key=lambda name: name == NATIVE_ASSET):
            if balances.get(asset, 0) < needs[asset]:
                raise NotEnough(asset, decimals[asset], balances.get(asset, 0), needs[asset])
        return {asset: balances.get(asset, 0) - need for asset, need in needs.items()}

    async def _outlook(
        self, payer: Payer, intents: tuple[Intent, ...], terms: ChainTerms
    ) -> tuple[Outlook, str | None, Code, str | None, int]:
        """Ask the ledger's rules before anybody is asked."""
        claim = self._claim(payer, intents, terms, b"\0")
        lane = await in_thread(self._preview_lane, claim)
        following = await self._node.next_sequence(payer.account, lane)
        slot = Slot(lane, following.sequence)
        body = self._body(payer, intents, terms, slot, new_idempotency_key())
        outcome = await self._node.simulate(
            body.pack(), signer=payer.session_key, sponsored=payer.sponsor is not None
        )
        if outcome.code != "ok":
            code = next((one for one in Code if one.label == outcome.code), Code.POLICY_REJECTED)
            reason = outcome.reason or f"It would be refused ({outcome.code})."
            return Outlook.REFUSED, outcome.rule, code, reason, len(outcome.trace)
        holders = [one["rule"] for one in outcome.trace if one.get("verdict") == "hold"]
        if holders:
            return Outlook.HELD, str(holders[0]), Code.OK, None, len(outcome.trace)
        return Outlook.PAID, None, Code.OK, None, len(outcome.trace)

    def _preview_lane(self, claim: Claim) -> int:
        try:
            return self._outbox.free_lane(claim)
        except LanesTaken:
            return (claim.lanes or (0,))[0]

    async def _verdict(
        self,
        payer: Payer,
        intents: tuple[Intent, ...],
        terms: ChainTerms,
        decimals: dict[str, int],
    ) -> Verdict:
        policy = await self.policy_of(payer.public_key, decimals)
        if policy is None:
            return Verdict(True)
        genesis, key = terms.genesis_hash, payer.public_key
        return await in_thread(self._outbox.judged, genesis, key, self._judge(policy, intents))

    async def policy_of(self, public_key: bytes, decimals: Mapping[str, int]) -> Policy | None:
        """Return the guardrails of a key for this network. Raises `StorageFault`."""
        if self._guardrails is None:
            return None
        policy: Policy = (await in_thread(self._guardrails.show, public_key)).policy
        for asset, count in decimals.items():
            policy = policy.at_decimals(asset, count)
        return policy

    async def judging(
        self, public_key: bytes, intents: tuple[Intent, ...]
    ) -> Callable[[Journal], Verdict] | None:
        """Return what holds payments against the guardrails of a key, None without guardrails."""
        assets = sorted({NATIVE_ASSET, *(one.asset for one in intents)})
        decimals = {asset: (await self._node.asset(asset)).decimals for asset in assets}
        policy = await self.policy_of(public_key, decimals)
        return None if policy is None else self._judge(policy, intents)

    async def verdict(
        self, public_key: bytes, intents: tuple[Intent, ...], genesis_hash: bytes
    ) -> Verdict:
        """Return what the guardrails of a key say of payments now; nothing is reserved."""
        judge = await self.judging(public_key, intents) if intents else None
        if judge is None:
            return Verdict(True)
        found: Verdict = await in_thread(self._outbox.judged, genesis_hash, public_key, judge)
        return found

    def _judge(
        self, policy: Policy, intents: tuple[Intent, ...], override: Override | None = None
    ) -> Callable[[Journal], Verdict]:
        def verdict(journal: Journal) -> Verdict:
            now_ms = self._now_ms()
            found = judge(policy, intents, spent_of(journal, intents, now_ms), now_ms)
            lifted = override is not None and policy.mode is Mode.ENFORCE
            return Verdict(True, found.refusals, found.needs_confirmation) if lifted else found

        return verdict

    # -- paying

    async def pay(
        self,
        quote: Quote,
        signer: SigningKey,
        *,
        timeout_ms: int,
        idempotency_key: bytes | None = None,
        override: Override | None = None,
    ) -> Payment:
        """Pay it, once, and wait at most `timeout_ms` for its end; `pending` is an end, too.

        Who calls has confirmed what `quote.guardrails.needs_confirmation` says. Raises
        `GuardrailRefused`, `Refused` (nothing was paid), `RpcError` (nothing was paid),
        `AlreadyUsed`. A row that a killed process left under the key is gone on with.
        """
        payer = quote.payer
        key = idempotency_key or new_idempotency_key()
        subject = payments_subject(list(quote.intents), dict(quote.decimals))
        if override is not None and override.covers != subject_hash(subject):
            raise Refused(Code.NOT_AUTHORISED, "The override is for another payment.")
        text = "" if override is None else override.text
        claim = self._claim(payer, quote.intents, quote.terms, key, override=text)
        policy = await self.policy_of(payer.public_key, dict(quote.decimals))
        row = await self.reserve(
            claim,
            None if policy is None else self._judge(policy, quote.intents, override),
            timeout_ms,
        )

        def sign(slot: Slot) -> Transaction:
            body = self._body(payer, quote.intents, quote.terms, slot, key)
            return sign_body_for(body, [Signing(Role.SENDER, payer.account, signer)])

        if row.attempts:
            # Somebody signed under this key before: his bytes, or none.
            return await self._known(row, timeout_ms)
        return await self.delivery.deliver(row, sign, timeout_ms)

    async def reserve(
        self, claim: Claim, judged: Callable[[Journal], Verdict] | None, timeout_ms: int
    ) -> Row:
        """Reserve a lane, waiting at most `timeout_ms` for one to be free."""
        deadline = trio.current_time() + timeout_ms / 1000
        while True:
            try:
                row: Row = await in_thread(self._outbox.reserve, claim, judged)
                return row
            except LanesTaken:
                if trio.current_time() >= deadline:
                    raise
            await trio.sleep(_PAUSE_S)

    async def submit_signed(self, transaction: Transaction, timeout_ms: int) -> Payment:
        """Submit what was signed elsewhere, once, and wait at most `timeout_ms` for its end.

        It goes by the outbox as what is signed here: recorded before a node gets it, gone on with
        after a kill. What it pays counts towards the day of the key that signed as sender; limits
        were for that key's own wallet to judge. The caller checked that it is for this network.
        Raises `Refused` (nothing was sent) for one that ended before, `RpcError`, `Unreachable`.
        """
        known: Row | None = await in_thread(self._outbox.find, transaction.tx_id)
        if known is not None and known.is_settled and known.status is not Status.REFUSED:
            what = f"It was sent from here before, and is {known.status.label}."
            raise Refused(Code.DUPLICATE, what, rule="outbox")
        if known is None or known.is_settled or known.status is Status.HANDED_OUT:
            row = await self.reserve(self.claim_of(transaction), None, timeout_ms)
            if row.attempts and row.newest.tx_id != transaction.tx_id:
                # Something else stands under its idempotency key, of which one can happen.
                raise AlreadyUsed(row.newest.tx_id)
            return await self.delivery.send(row, transaction, timeout_ms)
        if known.newest.tx_id != transaction.tx_id:
            raise AlreadyUsed(known.newest.tx_id)
        row_left: Row | None = await in_thread(self._outbox.adopt, known.number)
        if row_left is None:  # Another process has it in hand.
            return await self.delivery.conclude(known, timeout_ms)
        payment = await self.delivery.go_on(row_left, timeout_ms)
        assert payment is not None
        return payment

    def claim_of(self, transaction: Transaction) -> Claim:
        """Return what signed bytes ask of the outbox: their own lane, their payments."""
        body = transaction.body
        signers = [one.public_key for one in transaction.witness if one.role == Role.SENDER]
        others = [action.name for action in body.actions if action.name != TRANSFER.name]
        return Claim(
            body.genesis_hash,
            body.sender,
            signers[0] if signers else body.sender,
            body.idempotency_key or transaction.tx_id,
            body.fee,
            outflows(body, self._registry, {}),
            (body.lane,),
            body.payer or b"",
            ", ".join(others),
        )

    async def _known(self, row: Row, timeout_ms: int) -> Payment:
        """Tell what became of the payment that stands under a key already."""
        if row.is_settled:
            raise AlreadyUsed(row.newest.tx_id)
        payment = await self.delivery.go_on(row, timeout_ms)
        assert payment is not None
        return payment

    def _claim(
        self,
        payer: Payer,
        intents: tuple[Intent, ...],
        terms: ChainTerms,
        key: bytes,
        *,
        override: str = "",
    ) -> Claim:
        return Claim(
            terms.genesis_hash,
            payer.account,
            payer.public_key,
            key,
            sum(one.fee for one in intents),
            intents,
            payer.lanes,
            payer.sponsor or b"",
            "",
            override,
        )

    def _body(
        self,
        payer: Payer,
        intents: tuple[Intent, ...],
        terms: ChainTerms,
        slot: Slot,
        key: bytes,
    ) -> Body:
        return build_body(
            terms,
            self._registry,
            payer.account,
            slot,
            [transfer_action(one.asset, one.recipient, one.amount) for one in intents],
            valid_until_ms=self._now_ms() + VALID_FOR_MS_DEFAULT,
            fee=sum(one.fee for one in intents),
            payer=payer.sponsor,
            memo=intents[0].memo,
            idempotency_key=key,
        )

    # -- afterwards

    async def resume(
        self, timeout_ms: int, *, terms: ChainTerms | None = None, but: bytes | None = None
    ) -> list[Payment]:
        """Finish what killed processes of this home left on this network, with the same bytes.

        What stands under the idempotency key `but` is left to who pays with it again. Waits at
        most `timeout_ms` for each; what is pending then stays for the next time.
        """
        if not self._outbox.exists:
            return []
        genesis_hash = (terms or await self._node.terms()).genesis_hash
        done = []
        for left in await in_thread(self._outbox.left, genesis_hash):
            if left.key == but:
                continue
            row = await in_thread(self._outbox.adopt, left.number)
            if row is None:
                continue
            payment = await self.delivery.go_on(row, timeout_ms)
            if payment is not None:
                done.append(payment)
        return done

    async def replace(
        self, tx_id: bytes, signer: SigningKey, *, fee: int, timeout_ms: int
    ) -> Payment:
        """Offer the same payment at another fee (minor units, not less), with time anew.

        Raises `TooLate`, `NotFound` via `Refused` when this home did not sign it, `Malformed`.
        """
        row, body = await self._unsettled(tx_id)
        valid_until_ms = self._now_ms() + VALID_FOR_MS_DEFAULT
        again = replacement_of(body, fee=fee, valid_until_ms=valid_until_ms)
        return await self._supersede(row, again, signer, timeout_ms, cancels=False)

    async def cancel(
        self, tx_id: bytes, signer: SigningKey, *, fee: int | None, timeout_ms: int
    ) -> Payment:
        """Take a payment's place by one that pays nobody, for a fee (by default the same one).

        Status `cancelled` says that it can never happen any more; any other, what happened
        instead. Raises as `replace`.
        """
        row, body = await self._unsettled(tx_id)
        valid_until_ms = self._now_ms() + VALID_FOR_MS_DEFAULT
        again = replacement_of(
            body, fee=body.fee if fee is None else fee, valid_until_ms=valid_until_ms
        )
        to_self = transfer_action(NATIVE_ASSET, body.sender, 1)
        blank = decode_body(again._replace(actions=(to_self,), memo=b"").pack())
        return await self._supersede(row, blank, signer, timeout_ms, cancels=True)

    async def _unsettled(self, tx_id: bytes) -> tuple[Row, Body]:
        row: Row | None = await in_thread(self._outbox.find, tx_id)
        if row is None:
            raise Refused(Code.NOT_FOUND, f"0x{tx_id.hex()} was not signed by this wallet.")
        if row.is_settled:
            raise TooLate(Payment(row.number, tx_id, row.status.label))
        ended = await self.delivery.ended(row)
        if ended is not None:
            raise TooLate(ended)
        transaction = decode_transaction(row.newest.raw)
        if any(entry.role != Role.SENDER for entry in transaction.witness):
            raise Refused(Code.APPROVAL_REQUIRED, "Others signed it, too; they must sign anew.")
        return row, transaction.body

    async def _supersede(
        self, row: Row, body: Body, signer: SigningKey, timeout_ms: int, *, cancels: bool
    ) -> Payment:
        transaction = sign_body_for(body, [Signing(Role.SENDER, body.sender, signer)])
        row = await self.delivery.record(row, transaction, cancels=cancels)
        try:
            await self._node.submit(transaction.raw)
        except RpcError as err:
            ended = await self.delivery.ended(row)
            if ended is not None:
                raise TooLate(ended) from err
            raise
        return await self.delivery.conclude(row, timeout_ms)
