"""`wallet send`: look, ask, sign, submit, wait, prove, keep the receipt.

Everything that can be refused is refused before anything is signed, and says so: "Nothing was
sent". After that the only answers are final, failed on the ledger, or pending with the command
that asks again; an idempotency key makes a repetition harmless.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import Exit, Pending, Rejected, UsageFault
from clawpurse.cli.output import OK, WARNING
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session, shown
from clawpurse.cli.standing import Standing, standing_of
from clawpurse.cli.who import account_named, own_key, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed, NotFound, OperatorError, Refused
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.transactions import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    Body,
    Role,
    Transaction,
)
from clawpurse.modules.kit.web.errors import SYNCING, RpcError, Unreachable
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import amount_text, nearby_amounts, number_text, parse_amount
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    ChainTerms,
    Signing,
    Slot,
    build_body,
    new_idempotency_key,
    sign_body_for,
    transfer_action,
)
from clawpurse.wallet.client import Fate, NodeClient
from clawpurse.wallet.describe import printable
from clawpurse.wallet.home import Named
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.receipts import ReceiptStore

NOTHING: Final = "Nothing was sent."
# A fee above this many times the least one is a slip of the keyboard more often than a wish.
FEE_TIMES_MAX: Final = 100
# Another wallet of the same account may take a sequence in between; then the next one is asked.
TRIES_MAX: Final = 3
_TAKEN: Final = (Code.SEQUENCE_LOW.rpc_code,)


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


class Quote(NamedTuple):
    """A payment that could be made now: everything that a person is shown, in minor units."""

    terms: ChainTerms
    standing: Standing
    recipient: Named
    is_new: bool
    asset: str
    decimals: int
    amount: int
    fee: int
    fee_decimals: int
    left: int


def send(
    session: Session,
    wish: Wish,
    *,
    timeout_s: int,
    passphrase_file: Path | None,
    yes: bool,
    allow_new: bool,
    override: bool,
) -> int:
    """Make a payment and print its receipt; returns the exit code: done, or pending when held.

    Raises `UsageFault`, `Rejected`, `WrongPassphrase`, `Unreachable` before anything was sent;
    `Rejected` or `Pending` afterwards.
    """
    recipient = account_named(session, wish.to, NOTHING)
    name = wish.sender or own_key(session, f"clawpurse wallet send {wish.to} {wish.amount} --from ")
    payer = session.keystore.show(name)
    key = _idempotency_key(wish.idempotency_key)

    async def run() -> tuple[dict[str, Any], float]:
        async with session.node() as node:
            work = _Payment(session, node, wish, key)
            quote = await work.quote(payer, recipient, override=override)
            holder = await work.simulate(quote)
            warn_new = quote.is_new and not allow_new
            if yes:
                # Nothing is asked, so nothing is shown before all that can fail has not.
                signer = _unlock(session, payer.name, passphrase_file)
                _show(session, wish, quote, warn_new=warn_new, holder=holder)
            else:
                _show(session, wish, quote, warn_new=warn_new, holder=holder)
                if not prompts.confirm(session.out, "  Send?", "--yes"):
                    raise OperatorError(NOTHING)
                signer = _unlock(session, payer.name, passphrase_file)
            began = time.monotonic()
            document = await work.perform(quote, signer, timeout_s)
            return document, time.monotonic() - began

    document, took_s = trio.run(run)
    return _tell(session, wish.owner or payer.name, document, took_s)


class _Payment:
    """The steps that talk to the node."""

    def __init__(self, session: Session, node: NodeClient, wish: Wish, key: bytes) -> None:
        self._session = session
        self._node = node
        self._wish = wish
        self._key = key
        self._registry = build_registry()

    async def quote(self, payer: KeyInfo, recipient: Named, *, override: bool) -> Quote:
        """Work out what the payment would be. Raises `Rejected` or `UsageFault`."""
        terms = await self._terms()
        wish = self._wish
        standing = await standing_of(
            self._session, self._node, payer, wish.owner, wish.sponsor, wish.lane
        )
        asset, decimals = await self._asset()
        amount = _parse(self._wish.amount, decimals, asset)
        balances = {one.asset: one for one in await self._node.balances(standing.account)}
        native = balances.get(NATIVE_ASSET)
        fee_decimals = (
            native.decimals
            if native is not None
            else (await self._node.asset(NATIVE_ASSET)).decimals
        )
        fee = await self._fee(fee_decimals, override=override)
        have = balances[asset].amount if asset in balances else 0
        own_fee = fee if standing.sponsor is None else 0
        need = amount + (own_fee if asset == NATIVE_ASSET else 0)
        await self._require(standing, asset, decimals, have, need)
        if asset != NATIVE_ASSET and own_fee:
            await self._require(
                standing, NATIVE_ASSET, fee_decimals, native.amount if native else 0, own_fee
            )
        known = await self._node.account(recipient.account)
        return Quote(
            terms,
            standing,
            recipient,
            known is None,
            asset,
            decimals,
            amount,
            fee,
            fee_decimals,
            have - need,
        )

    async def _terms(self) -> ChainTerms:
        try:
            return await self._node.terms()
        except Refused as err:
            raise Rejected(err.reason, NOTHING, "add --rpc URL", code=err.code) from err

    async def _asset(self) -> tuple[str, int]:
        try:
            name = asset_name(self._wish.asset, "asset")
            return name, (await self._node.asset(name)).decimals
        except (Malformed, NotFound) as err:
            raise UsageFault(
                f"There is no asset {self._wish.asset} here.", NOTHING, "clawpurse rpc asset_list"
            ) from err

    async def _fee(self, decimals: int, *, override: bool) -> int:
        answer = await self._node.call("chain_getParameters")
        least = int(answer["parameters"]["fee_min"])
        if self._wish.fee is None:
            return least
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

    async def _require(
        self, standing: Standing, asset: str, decimals: int, have: int, need: int
    ) -> None:
        """Refuse when the payer has less than is needed."""
        if have >= need:
            return
        status = await self._node.call("chain_getStatus")
        faucet = asset == NATIVE_ASSET and bool(status.get("testNetwork"))
        command = "clawpurse faucet" if faucet else "clawpurse wallet receive"
        raise Rejected(
            f"{standing.title} has {amount_text(have, decimals, asset)}, "
            f"needs {number_text(need, decimals)}.",
            NOTHING,
            f"{command} {standing.title}",
            code=Code.INSUFFICIENT_FUNDS,
        )

    async def _body(self, quote: Quote) -> Body:
        standing = quote.standing
        sequence = await self._node.next_sequence(standing.account, standing.lane)
        return build_body(
            quote.terms,
            self._registry,
            standing.account,
            Slot(standing.lane, sequence.sequence),
            [transfer_action(quote.asset, quote.recipient.account, quote.amount)],
            valid_until_ms=self._session.now_ms() + VALID_FOR_MS_DEFAULT,
            fee=quote.fee,
            payer=standing.sponsor,
            memo=self._wish.memo,
            idempotency_key=self._key,
        )

    async def simulate(self, quote: Quote) -> str | None:
        """Ask the ledger's rules before a person is asked. Raises `Rejected`.

        Returns the rule that would hold the payment, None if it would be paid at once.
        """
        standing = quote.standing
        try:
            outcome = await self._node.simulate(
                (await self._body(quote)).pack(),
                signer=standing.session_key,
                sponsored=standing.sponsor is not None,
            )
        except RpcError as err:
            refused = _refused(err)
            if not standing.limited or err.code != refused.code.rpc_code:
                raise
            raise Rejected(refused.what, NOTHING, standing.look, code=refused.code) from err
        if outcome.code != "ok":
            reason = outcome.reason or f"It would be refused ({outcome.code})."
            code = next((one for one in Code if one.label == outcome.code), Code.POLICY_REJECTED)
            raise Rejected(reason, NOTHING, quote.standing.look, code=code)
        holders = [one["rule"] for one in outcome.trace if one.get("verdict") == "hold"]
        return str(holders[0]) if holders else None

    async def perform(self, quote: Quote, signer: SigningKey, timeout_s: int) -> dict[str, Any]:
        """Sign, submit, wait; return the document of the final payment with its proof."""
        async with waiting(self._session.out, "waiting for finality"):
            transaction = await self._submit(quote, signer)
            fate = await self._settled(transaction, timeout_s)
            return await self._document(quote, fate)

    async def _submit(self, quote: Quote, signer: SigningKey) -> Transaction:
        for attempt in range(1, TRIES_MAX + 1):
            body = await self._body(quote)
            signing = Signing(Role.SENDER, quote.standing.account, signer)
            transaction = sign_body_for(body, [signing])
            try:
                await self._node.submit(transaction.raw)
            except RpcError as err:
                if err.code in _TAKEN and attempt < TRIES_MAX:
                    continue
                if err.code == Code.DUPLICATE.rpc_code:
                    raise await self._duplicate(quote, err) from err
                if err.code == SYNCING:
                    raise  # Nobody judged the payment: this node cannot now.
                raise _refused(err) from err
            except Unreachable as err:
                if not err.sent:
                    raise
            return transaction
        raise AssertionError("the last try returns or raises")

    async def _duplicate(self, quote: Quote, err: RpcError) -> OperatorError:
        """Tell what the first payment under this idempotency key became."""
        first = await self._node.wait_by_key(quote.standing.account, self._key, 0)
        if not first.tx_id:
            return _refused(err)
        return Rejected(
            f"This idempotency key has paid already, as 0x{first.tx_id.hex()}.",
            "Nothing more was sent.",
            f"clawpurse tx wait 0x{first.tx_id.hex()}",
            code=Code.DUPLICATE,
        )

    async def _settled(self, transaction: Transaction, timeout_s: int) -> Fate:
        tx_id = f"0x{transaction.tx_id.hex()}"
        pending = Pending(
            f"Pending after {timeout_s} s; may still be final.",
            "Do not resend.",
            f"clawpurse tx wait {tx_id}",
        )
        try:
            fate = await self._node.wait(transaction.tx_id, timeout_s * 1000)
        except (Unreachable, KeyboardInterrupt) as err:
            raise pending from err
        if fate.status in ("expired", "replaced"):
            raise Rejected(
                f"The payment is {fate.status}; it will never happen.",
                "",
                f"clawpurse tx wait {tx_id}",
                code=Code.EXPIRED,
            )
        if fate.status != "final":
            raise pending
        return fate

    async def _document(self, quote: Quote, fate: Fate) -> dict[str, Any]:
        document = await self._node.proven_payment(
            fate.tx_id, quote.terms.genesis_hash, self._registry
        )
        receipt = document["receipt"]
        if receipt["code"] != "ok":
            code = next((one for one in Code if one.label == receipt["code"]), Code.POLICY_REJECTED)
            raise Rejected(
                f"Refused in block {document['height']}: {receipt['reason']}",
                "Only the fee was paid.",
                f"clawpurse tx wait {document['txId']}",
                code=code,
            )
        return document


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


def _refused(err: RpcError) -> Rejected:
    code = next((one for one in Code if one.rpc_code == err.code), Code.POLICY_REJECTED)
    reason = err.reason[:1].upper() + err.reason[1:]
    if not reason.endswith("."):
        reason += "."
    return Rejected(reason, NOTHING, err.hint, code=code)


def _unlock(session: Session, name: str, passphrase_file: Path | None) -> SigningKey:
    passphrase = prompts.passphrase(session.out, passphrase_file, f"  Passphrase for {name}: ")
    return session.keystore.unlock(name, passphrase).signer


def _show(
    session: Session, wish: Wish, quote: Quote, *, warn_new: bool, holder: str | None
) -> None:
    """Show what will happen, before the question."""
    out = session.out
    to = titled(quote.recipient, account_text(quote.recipient.account))
    if warn_new:
        to += f"   {WARNING} first payment to this account"
    amount = amount_text(quote.amount, quote.decimals, quote.asset)
    fee = number_text(quote.fee, quote.fee_decimals)
    standing = quote.standing
    if quote.asset != NATIVE_ASSET or standing.sponsor is not None:
        fee += f" {NATIVE_ASSET}"
    if standing.sponsor is not None:
        fee += f" paid by {standing.sponsor_title}"
    left = number_text(quote.left, quote.decimals)
    if standing.session_key is not None:
        who = f"{standing.title} {account_text(standing.account)}"
        out.note(f"  From        {who}, by session key, lane {standing.lane}")
    out.note(f"  To          {to}")
    out.note(f"  Amount      {amount}, fee {fee}, left {left}")
    if wish.memo:
        out.note(f"  Memo        {wish.memo}")
    if holder is not None:
        out.note(f"  Verdict     {WARNING} held by {holder} until somebody decides")


def _tell(session: Session, payer: str, document: dict[str, Any], took_s: float) -> int:
    """Save the receipt and say that it is paid, also when the receipt could not be saved.

    What a rule holds is final, and not paid: it says so, and ends as what is pending does.
    """
    place, events = None, document["receipt"].get("events") or ()
    held = next((one["data"] for one in events if one["kind"] == "kernel.held"), None)
    ended = Exit.DONE if held is None else Exit.PENDING
    try:
        place = ReceiptStore(session.client_home.receipts_directory).save(document)
    except OperatorError as err:
        what = "Paid" if held is None else "Held"
        session.out.warn(f"{what}, but the receipt is not saved: {err}")
    if session.json_mode:
        session.out.emit(document)
        return ended
    out = session.out
    final = f"Final in block {document['height']} after {took_s:.1f} s"
    if held is None:
        out.line(f"{out.mark(OK)} Paid. {final}. Proof checked.")
    else:
        rule = printable(str(held["rule"]))
        out.line(f"{WARNING} Held, not paid yet, by {rule}. {final}. Proof checked.")
        out.line(f"  Hold     {held['holdId']}")
    out.line(f"  Tx       {out.style(document['txId'], 'bold')}")
    if place is not None:
        out.line(f"  Receipt  {shown(place)}")
    if held is None:
        out.note(f"Next: clawpurse wallet history {payer}")
    else:
        out.note(f"Next: clawpurse hold show {held['holdId']}")
    return ended
