"""Signing a transaction body that was built elsewhere: read in words, judged, signed, counted.

What it pays is held against the guardrails of the key that signs; what is more than payments is
for a person to judge. Signed bytes are written down first: sent from here and taken to their end,
or, where whoever asked wants them back, counted as spent until they are final or can never be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import (
    Body,
    Role,
    Transaction,
    WitnessEntry,
    decode_body,
    decode_transaction,
    encode_transaction,
)
from clawpurse.modules.assets.actions import TRANSFER
from clawpurse.wallet.delivery import AlreadyUsed, Payment, in_thread
from clawpurse.wallet.guardrails import GuardrailRefused, Verdict
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.offline import refuse_unreadable
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Claim, Row, Status
from clawpurse.wallet.outflows import outflows
from clawpurse.wallet.payments import Payments

# What is handed out is looked after until its end, and takes part of a day's limit: so many for one
# key, for so long. A week is enough for people who sign one after the other.
HANDED_OUT_MAX: Final = 256
HANDED_OUT_MS_MAX: Final = 7 * DAY_MS
ROLES: Final = {"sender": Role.SENDER, "payer": Role.PAYER, "approver": Role.APPROVER}
NAMES: Final = {role: name for name, role in ROLES.items()}


class Part(NamedTuple):
    """What a body is to the key that is asked to sign it.

    `account` is for whom it signs, in `role`. `intents` are the payments of it that the key's
    guardrails judge; `others` names the actions that they cannot judge.
    """

    body: Body
    body_bytes: bytes
    role: Role
    account: bytes
    public_key: bytes
    intents: tuple[Intent, ...]
    others: tuple[str, ...]

    @property
    def tx_id(self) -> bytes:
        """The id of the transaction, which its signatures do not change."""
        return crypto.tx_id_of(self.body_bytes)

    @property
    def once(self) -> bytes:
        """Under what it happens once: its idempotency key, else its id."""
        return self.body.idempotency_key or self.tx_id

    @property
    def questions(self) -> tuple[str, ...]:
        """Why a person must judge it, a sentence each; none for what is payments alone."""
        found = [f"It does {name}, which limits say nothing of." for name in self.others]
        if self.role is Role.PAYER:
            found.append("It pays the fee of somebody else's transaction.")
        elif self.role is Role.APPROVER:
            found.append("It approves somebody else's transaction.")
        return tuple(found)


class Signed(NamedTuple):
    """A signature, `transaction` with it alone, and what became of it (None: it spends nothing)."""

    entry: WitnessEntry
    transaction: Transaction
    payment: Payment | None


def part_of(
    data: bytes,
    registry: Registry,
    own_account: bytes,
    public_key: bytes,
    role: Role | None = None,
    owner: bytes | None = None,
) -> Part:
    """Read the body `data` as what a key is asked to sign.

    Without `role` it is the only one that the account of the key can have in it; `owner` is whose
    account a key signs for that is not its own. Raises `Malformed` for what cannot be read in
    words, or in which the key has no part.
    """
    body = decode_body(data)
    refuse_unreadable(body.actions, registry)
    account = own_account if owner is None else owner
    if role is None:
        if account == body.sender:
            role = Role.SENDER
        elif account == body.payer:
            role = Role.PAYER
        else:
            raise Malformed("role", "is not plain from the body: name it, and whose account it is")
    parties = {Role.SENDER: body.sender, Role.PAYER: body.payer}
    if parties.get(role, account) != account:
        raise Malformed("role", "is not that of this account in the body")
    intents, others = _contents(body, registry) if role is Role.SENDER else ((), ())
    return Part(body, data, role, account, public_key, intents, others)


def _contents(body: Body, registry: Registry) -> tuple[tuple[Intent, ...], tuple[str, ...]]:
    """Return what a sender pays, in whatever way, and what it does that is no plain payment."""
    others = tuple(action.name for action in body.actions if action.name != TRANSFER.name)
    return outflows(body, registry, {}), others


class Signings:
    """Signs bodies for keys of one home. `now_ms` is the wall clock, ms UTC.

    Raises what `NodeClient` and `Outbox` raise. Safe for many tasks.
    """

    def __init__(self, payments: Payments, outbox: Outbox, *, now_ms: Callable[[], int]) -> None:
        self._payments = payments
        self._outbox = outbox
        self._now_ms = now_ms

    async def verdict(self, part: Part) -> Verdict:
        """Return what the key's guardrails say now. Raises `Refused` (expired)."""
        if self._now_ms() >= part.body.valid_until_ms:
            until = time_text(part.body.valid_until_ms)
            raise Refused(Code.EXPIRED, f"It was valid until {until}, by the clock here.")
        genesis = part.body.genesis_hash
        found = await self._payments.verdict(part.public_key, part.intents, genesis)
        asked = (*found.needs_confirmation, *part.questions)
        return Verdict(found.allowed, found.refusals, asked)

    async def sign(
        self, part: Part, signer: SigningKey, *, submit: bool, timeout_ms: int
    ) -> Signed:
        """Sign, and send it (`submit`, waiting at most `timeout_ms`) or hand it out.

        Who calls has asked `verdict`, and a person what that asks; limits are judged here once
        more, in the step that counts it. Bytes that were signed before are signed again, judged
        no more. Raises `GuardrailRefused`, `Refused` (nothing was signed), `RpcError` (no node
        took it), `AlreadyUsed`.
        """
        if part.role is Role.APPROVER:
            # It spends nothing of this account: there is nothing to count.
            return Signed(*signature(part, signer), None)
        known: Row | None = await in_thread(self._outbox.find, part.tx_id)
        if known is not None and known.signer != part.public_key and not known.is_void:
            # Another key of this home signed it before: that is where it counts, and is sent.
            return await self._beside(part, known, signer, submit)
        if not submit:
            await self._check_handed_out(part)
        judge = await self._payments.judging(part.public_key, part.intents)
        row = await self._payments.reserve(
            _claim(part), judge if part.intents else None, timeout_ms
        )
        # Signed again for a row that has bytes, it gives the same ones: Ed25519 has no dice.
        entry, transaction = signature(part, signer)
        if row.attempts and row.newest.tx_id != transaction.tx_id:
            raise AlreadyUsed(row.newest.tx_id)
        return Signed(entry, transaction, await self._deliver(row, transaction, submit, timeout_ms))

    async def _beside(self, part: Part, known: Row, signer: SigningKey, submit: bool) -> Signed:
        """Sign what another key of this home signed, within this key's own limits."""
        if submit:
            raise Refused(
                Code.DUPLICATE,
                "Another key of this home signed it: take both signatures, and send them together.",
            )
        verdict = await self.verdict(part)
        if not verdict.allowed:
            raise GuardrailRefused(verdict.refusals)
        if known.status is not Status.HANDED_OUT:
            raise AlreadyUsed(known.newest.tx_id)
        return Signed(*signature(part, signer), None)

    async def _check_handed_out(self, part: Part) -> None:
        """Raise `Refused` for what would have to be looked after too long, or beside too many."""
        if part.body.valid_until_ms > self._now_ms() + HANDED_OUT_MS_MAX:
            until = time_text(part.body.valid_until_ms)
            raise Refused(
                Code.POLICY_REJECTED,
                f"It is valid until {until}; what is not sent from here may be for a week.",
            )
        left: list[Row] = await in_thread(self._outbox.left, part.body.genesis_hash)
        mine = [
            row for row in left if row.status is Status.HANDED_OUT and row.signer == part.public_key
        ]
        known = any(row.attempts and row.newest.tx_id == part.tx_id for row in mine)
        if len(mine) >= HANDED_OUT_MAX and not known:
            raise Refused(
                Code.POOL_FULL, f"{len(mine)} signatures of this key are with others already."
            )

    async def _deliver(
        self, row: Row, transaction: Transaction, submit: bool, timeout_ms: int
    ) -> Payment:
        delivery = self._payments.delivery
        if row.is_settled:
            return Payment(row.number, transaction.tx_id, row.status.label)
        if not submit:
            if not row.attempts:
                # First the mark: a kill in between must not leave bytes that would be sent.
                await in_thread(self._outbox.hand_out, row.number)
                row = await delivery.record(row, transaction)
            await in_thread(self._outbox.leave, row.number)
            return Payment(row.number, transaction.tx_id, "pending")
        if row.attempts and row.status is not Status.HANDED_OUT:
            known = await delivery.go_on(row, timeout_ms)
            assert known is not None
            return known
        return await delivery.send(row, transaction, timeout_ms)


def signature(part: Part, signer: SigningKey) -> tuple[WitnessEntry, Transaction]:
    """Return a key's signature, and the transaction with it alone. Nothing is judged or kept."""
    genesis = part.body.genesis_hash
    entry = signer.sign_body(part.role, genesis, part.body_bytes, part.account)
    return entry, decode_transaction(encode_transaction(part.body_bytes, [entry]))


def _claim(part: Part) -> Claim:
    body = part.body
    what = ", ".join(part.others)
    if part.role is Role.PAYER:
        what = "the fee of another account"
    return Claim(
        body.genesis_hash,
        part.account,
        part.public_key,
        part.once,
        body.fee if part.role is Role.PAYER or body.payer is None else 0,
        part.intents,
        (body.lane,),
        b"" if part.role is Role.PAYER else body.payer or b"",
        what,
    )
