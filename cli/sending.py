"""`wallet send`: look, ask, sign, submit, wait, prove, keep the receipt.

The terminal around `wallet/payments.py`. Everything that can be refused is refused before anything
is signed, and says so: "Nothing was sent". After that the only answers are final, failed on the
ledger, or pending with the command that asks again; an idempotency key makes a repetition harmless.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli import factors, prompts
from clawpurse.cli.failures import Exit, Rejected, UsageFault
from clawpurse.cli.outgoing import (
    NOTHING,
    accept_refused,
    finished,
    outbox_of,
    payments_in,
    refused,
    resume_left,
    tell_payment,
)
from clawpurse.cli.output import OK, WARNING, counted
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session
from clawpurse.cli.standing import Standing, standing_of
from clawpurse.cli.who import account_named, own_key, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed, NotFound, OperatorError, Refused
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.transactions import IDEMPOTENCY_KEY_BYTES_MAX
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.amounts import amount_text, nearby_amounts, number_text, parse_amount
from clawpurse.wallet.approvals import payments_subject
from clawpurse.wallet.builder import ChainTerms, new_idempotency_key
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.delivery import Payment, in_thread
from clawpurse.wallet.guardrail_files import Override
from clawpurse.wallet.guardrail_lines import SpentToday, spent_today
from clawpurse.wallet.guardrails import GuardrailRefused, Journal, Verdict
from clawpurse.wallet.home import Named
from clawpurse.wallet.intent import Intent, Outlook, Payer, Quote
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.payments import NotEnough
from clawpurse.wallet.session_refusals import session_refusals

# A fee above this many times the least one is a slip of the keyboard more often than a wish.
FEE_TIMES_MAX: Final = 100


class Wish(NamedTuple):
    """What was typed."""

    to: str
    amount: str
    asset: str
    sender: str | None
    memo: str
    fee: str | None
    lane: int | None
    idempotency_key: str | None
    owner: str | None = None
    sponsor: str | None = None


class Leave(NamedTuple):
    """What was allowed beforehand: not to be asked, strangers, an unusual fee or a lifted limit."""

    yes: bool
    allow_new: bool
    override: bool
    given: factors.Given


def send(session: Session, wish: Wish, leave: Leave, *, timeout_s: int) -> int:
    """Make a payment and print its receipt; returns the exit code: done, or pending when held.

    Raises `UsageFault`, `Rejected`, `GuardrailRefused`, `WrongPassphrase`, `Unreachable` before
    anything was sent; `Rejected` or `Pending` afterwards.
    """
    recipient = account_named(session, wish.to, NOTHING)
    name = wish.sender or own_key(session, f"clawpurse wallet send {wish.to} {wish.amount} --from ")
    payer = session.keystore.show(name)
    key = _idempotency_key(wish.idempotency_key)

    async def run() -> int:
        async with session.node() as node:
            work = _Sending(session, node, wish)
            done = await work.run(payer, recipient, key, leave, timeout_s)
            if done is None:
                return Exit.DONE
            return tell_payment(session, wish.owner or payer.name, *done)

    return trio.run(run)


class _Sending:
    """The steps of one payment."""

    def __init__(self, session: Session, node: NodeClient, wish: Wish) -> None:
        self._session = session
        self._node = node
        self._wish = wish
        self._payments = payments_in(session, node)

    async def run(
        self, payer: KeyInfo, recipient: Named, key: bytes, leave: Leave, timeout_s: int
    ) -> tuple[Payment, float] | None:
        """Quote, ask, sign and send; return what became of it and how long that took.

        None when only a request for a co-signer was to be written.
        """
        session, wish = self._session, self._wish
        terms = await self._terms()
        await resume_left(session, self._payments, terms, key)
        standing = await standing_of(
            session, self._node, payer, wish.owner, wish.sponsor, wish.lane
        )
        quote = await self._quote(payer, standing, recipient, terms, leave)
        if leave.given.request is not None:
            self._request(payer, quote, leave.given.request)
            return None
        limits = await self._limits_words(quote)
        lifted = leave.override and not quote.guardrails.allowed
        if not quote.guardrails.allowed and not lifted:
            raise GuardrailRefused(quote.guardrails.refusals)
        if leave.yes:
            # Nothing is asked, so nothing is shown before all that can fail has not.
            signer = self._unlock(payer.name, leave)
            self._show(standing, recipient, quote, leave, limits)
        else:
            self._show(standing, recipient, quote, leave, limits)
            if not prompts.confirm(session.out, "  Send?", "--yes"):
                raise OperatorError(NOTHING)
            signer = self._unlock(payer.name, leave)
        override = self._lift(payer, quote, signer, leave) if lifted else None
        began = time.monotonic()
        timeout_ms = timeout_s * 1000
        with accept_refused():
            async with waiting(session.out, "waiting for finality"):
                payment = await self._payments.pay(
                    quote, signer, timeout_ms=timeout_ms, idempotency_key=key, override=override
                )
        return finished(payment, timeout_s), time.monotonic() - began

    async def _terms(self) -> ChainTerms:
        try:
            return await self._node.terms()
        except Refused as err:
            raise Rejected(err.reason, NOTHING, "add --rpc URL", code=err.code) from err

    async def _quote(
        self,
        payer: KeyInfo,
        standing: Standing,
        recipient: Named,
        terms: ChainTerms,
        leave: Leave,
    ) -> Quote:
        """Work out what the payment would be. Raises `Rejected` or `UsageFault`."""
        asset, decimals = await self._asset()
        amount = _parse(self._wish.amount, decimals, asset)
        fee = await self._fee(override=leave.override)
        lanes = standing.lanes if self._wish.lane is None else (self._wish.lane,)
        whose = Payer(
            standing.account, payer.public_key, lanes, standing.session_key, standing.sponsor
        )
        intent = Intent(standing.account, recipient.account, asset, amount, self._wish.memo, fee)
        try:
            quote = await self._payments.quote(whose, [intent], terms=terms)
        except NotEnough as err:
            raise await self._poor(standing, err) from err
        except RpcError as err:
            told = refused(err)
            if not standing.limited or err.code != told.code.rpc_code:
                raise
            limits = await self._limits(standing, intent)
            raise Rejected(
                told.what, NOTHING, standing.look, code=told.code, refusals=limits
            ) from err
        if quote.outlook is Outlook.REFUSED:
            limits = await self._limits(standing, intent)
            reason = quote.reason or ""
            raise Rejected(reason, NOTHING, standing.look, code=quote.code, refusals=limits)
        return quote

    async def _limits(self, standing: Standing, intent: Intent) -> tuple[dict[str, Any], ...]:
        """Return what the payment exceeds of the session key that would sign it, for programs."""
        if standing.session_key is None:
            return ()
        key = f"0x{standing.session_key.hex()}"
        params = {"account": account_text(standing.account), "key": key}
        found = await self._node.call("session_get", params)
        wanted = intent if standing.sponsor is None else replace(intent, fee=0)
        return tuple(one.data() for one in session_refusals(found, [wanted], standing.look))

    async def _asset(self) -> tuple[str, int]:
        try:
            name = asset_name(self._wish.asset, "asset")
            return name, (await self._node.asset(name)).decimals
        except (Malformed, NotFound) as err:
            raise UsageFault(
                f"There is no asset {self._wish.asset} here.", NOTHING, "clawpurse rpc asset_list"
            ) from err

    async def _fee(self, *, override: bool) -> int:
        least = await self._payments.fee_min()
        if self._wish.fee is None:
            return least
        decimals = (await self._node.asset(NATIVE_ASSET)).decimals
        fee = _parse(self._wish.fee, decimals, NATIVE_ASSET, low=0)
        if fee < least:
            raise Rejected(
                f"The least fee is {amount_text(least, decimals, NATIVE_ASSET)}.",
                NOTHING,
                f"--fee {number_text(least, decimals, marks=False)}",
                code=Code.POLICY_REJECTED,
            )
        if fee > FEE_TIMES_MAX * max(least, 1) and not override:
            raise UsageFault(
                f"A fee of {amount_text(fee, decimals, NATIVE_ASSET)} is unusual; "
                f"{amount_text(least, decimals, NATIVE_ASSET)} is enough.",
                NOTHING,
                "leave out --fee, or add --override",
            )
        return fee

    async def _poor(self, standing: Standing, err: NotEnough) -> Rejected:
        """Say who has too little, and where more comes from."""
        status = await self._node.call("chain_getStatus")
        faucet = err.asset == NATIVE_ASSET and bool(status.get("testNetwork"))
        command = "clawpurse faucet" if faucet else "clawpurse wallet receive"
        return Rejected(
            f"{standing.title} has {amount_text(err.have, err.decimals, err.asset)}, "
            f"needs {number_text(err.need, err.decimals)}.",
            NOTHING,
            f"{command} {standing.title}",
            code=Code.INSUFFICIENT_FUNDS,
        )

    def _unlock(self, name: str, leave: Leave) -> SigningKey:
        out = self._session.out
        question = f"  Passphrase for {name}: "
        passphrase = prompts.passphrase(out, leave.given.passphrase_file, question)
        return self._session.keystore.unlock(name, passphrase).signer

    def _request(self, payer: KeyInfo, quote: Quote, file: Path) -> None:
        """Write what a co-signer is asked."""
        store, whose = (
            factors.guardrails_of(self._session),
            factors.whose(self._session, payer.name),
        )
        decimals = dict(quote.decimals)
        factors.write_payment_request(
            self._session, store, whose, list(quote.intents), decimals, file
        )

    def _lift(self, payer: KeyInfo, quote: Quote, signer: SigningKey, leave: Leave) -> Override:
        """Have a second factor or a co-signer lift the limits, once; it is logged."""
        store, whose = (
            factors.guardrails_of(self._session),
            factors.whose(self._session, payer.name),
        )
        factor = factors.factor_of(self._session, store, whose, leave.given)
        subject = payments_subject(list(quote.intents), dict(quote.decimals))
        return store.override(signer, factor, subject, quote.guardrails.refusals)

    async def _limits_words(self, quote: Quote) -> str:
        """Return what of the day's limit is spent with this payment; empty where there is none."""
        key, (intent,) = quote.payer.public_key, quote.intents
        policy = await self._payments.policy_of(key, dict(quote.decimals))
        if policy is None or not quote.guardrails.allowed or quote.guardrails.refusals:
            return ""
        today: list[SpentToday] = []

        def look(journal: Journal) -> Verdict:
            today.extend(spent_today(policy, intent.account, journal, self._session.now_ms()))
            return Verdict(True)

        with outbox_of(self._session) as outbox:
            await in_thread(outbox.judged, quote.terms.genesis_hash, key, look)
        for one in today:
            if one.asset == intent.asset and one.per_day is not None:
                fee = quote.fee if one.asset == NATIVE_ASSET and not quote.payer.sponsor else 0
                spent = number_text(one.spent + intent.amount + fee, one.decimals)
                return f"{spent} of {number_text(one.per_day, one.decimals)} today"
        return ""

    def _show(
        self, standing: Standing, recipient: Named, quote: Quote, leave: Leave, limits: str
    ) -> None:
        """Show what will happen, before the question."""
        out, (intent,) = self._session.out, quote.intents
        to = titled(recipient, account_text(recipient.account))
        if quote.strangers and not leave.allow_new:
            to += f"   {WARNING} first payment to this account"
        amount = amount_text(intent.amount, quote.decimals[intent.asset], intent.asset)
        fee = number_text(quote.fee, quote.decimals[NATIVE_ASSET])
        if intent.asset != NATIVE_ASSET or standing.sponsor is not None:
            fee += f" {NATIVE_ASSET}"
        if standing.sponsor is not None:
            fee += f" paid by {standing.sponsor_title}"
        left = number_text(quote.left[intent.asset], quote.decimals[intent.asset])
        if standing.session_key is not None:
            who = f"{standing.title} {account_text(standing.account)}"
            out.note(f"  From        {who}, by session key, lane {standing.lane}")
        out.note(f"  To          {to}")
        out.note(f"  Amount      {amount}, fee {fee}, left {left}")
        if intent.memo:
            out.note(f"  Memo        {intent.memo}")
        if limits:
            out.note(f"  Limits      {OK} {limits}")
        verdict = quote.guardrails
        told = [] if verdict.allowed else [one.sentence for one in verdict.refusals]
        for sentence in (*told, *verdict.needs_confirmation):
            out.note(f"  Guardrails  {WARNING} {sentence}")
        if quote.outlook is Outlook.HELD:
            out.note(f"  Compliance  {WARNING} held by {quote.rule} until somebody decides")
        elif quote.rules:
            out.note(f"  Compliance  {OK} allowed, {counted(quote.rules, 'rule')}")


def _parse(text: str, decimals: int, asset: str, *, low: int = 1) -> int:
    try:
        return parse_amount(text, decimals, asset, low=low)
    except Malformed as err:
        near = nearby_amounts(text, decimals)
        remedy = f"use {' or '.join(near)}" if near else "clawpurse wallet send --help"
        raise UsageFault(f"{err.problem}.", NOTHING, remedy) from err


def _idempotency_key(text: str | None) -> bytes:
    if text is None:
        return new_idempotency_key()
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_BYTES_MAX:
        raise UsageFault(
            f"The idempotency key is not 1…{IDEMPOTENCY_KEY_BYTES_MAX} bytes in hex.", NOTHING, ""
        )
    return key
