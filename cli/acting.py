"""Actions beside payments: look, say what they do, ask, sign, submit, wait, prove.

As with a payment, what can be refused is refused before anything is signed. Whoever sends pays
the fee: a key of this home, or an authority's own account; approvers sign beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import Pending, Rejected, UsageFault
from clawpurse.cli.outgoing import accept_refused, finished, payments_in, resume_left
from clawpurse.cli.output import WARNING
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session
from clawpurse.cli.standing import Standing, standing_of
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, NotFound, OperatorError, Refused
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import Body, RawAction, Role, Transaction
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.node.home import NodeHome
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    ChainTerms,
    Signing,
    Slot,
    build_body,
    new_idempotency_key,
    sign_body_for,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.delivery import Payment
from clawpurse.wallet.describe import action_words, assets_named, words_for
from clawpurse.wallet.guardrails import GuardrailRefused, Journal, Verdict
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.lookups import outflows_of
from clawpurse.wallet.outbox_rows import Claim

NOTHING: Final = "Nothing was sent."


class Terms(NamedTuple):
    """How a command was told to act: who sends, for whom (`owner`) if not for itself, who pays the
    fee (`sponsor`) if not the sender, and what was confirmed beforehand.
    """

    sender: str | None
    passphrase_file: Path | None
    yes: bool
    understood: str | None
    timeout_s: int
    owner: str | None = None
    sponsor: str | None = None


class Deed(NamedTuple):
    """What shall be done, who must approve it, and what is dangerous about it (or empty)."""

    actions: tuple[RawAction, ...]
    approvers: tuple[SigningKey, ...] = ()
    danger: str = ""


class _Sender(NamedTuple):
    """Who sends: the key's name for people, in whose name it signs, the key if it needs no
    passphrase.
    """

    name: str
    standing: Standing
    key: SigningKey | None

    @property
    def account(self) -> bytes:
        """Whose transaction it is."""
        return self.standing.account


class _Limits(NamedTuple):
    """What a transaction pays, as the guardrails of the key that sends it judge it.

    `judge` is None where no key of this home sends, or nothing is paid; `told` is what they want
    a person to read.
    """

    intents: tuple[Intent, ...] = ()
    judge: Callable[[Journal], Verdict] | None = None
    told: tuple[str, ...] = ()


def authority_key(home: Path, members: Sequence[bytes]) -> SigningKey:
    """Return the authority key in a node's folder; of two, the one that is a member.

    Raises `UsageFault` when the folder has none.
    """
    node = NodeHome(home.expanduser())
    found = [SigningKey(node.read_seed(path)) for path in node.authority_keys]
    if not found:
        raise UsageFault(
            f"There is no authority key in {home}.",
            NOTHING,
            "--authority-home DIR, the folder with authority.key",
        )
    return next((key for key in found if key.public_key in members), found[0])


async def perform(
    session: Session, node: NodeClient, deed: Deed, terms: Terms, own: SigningKey | None = None
) -> dict[str, Any]:
    """Do it and return the document of its final transaction, its proof checked.

    `own` is a key whose account sends it without being an approver. Raises `UsageFault` and
    `Rejected` before anything was sent, `Rejected` and `Pending` after.
    """
    work = _Acting(session, node, deed)
    sender = await work.sender(terms, own)
    chain = await work.chain()
    await resume_left(session, payments_in(session, node), chain)
    answer = await node.call("chain_getParameters")
    fee = int(answer["parameters"]["fee_min"])
    body = await work.body(chain, sender, fee)
    await work.simulate(body, sender.standing)
    decimals = (await node.asset(NATIVE_ASSET)).decimals
    shown = {NATIVE_ASSET: decimals, **await work.decimals()}
    limits = await work.limits(body, sender)
    _show(session, deed, sender, amount_text(fee, decimals, NATIVE_ASSET), shown)
    for sentence in limits.told:
        session.out.note(f"  {WARNING} {sentence}")
    _confirm(session, deed, terms, chain.chain_id)
    key = sender.key
    if key is None:
        question = f"  Passphrase for {sender.name}: "
        passphrase = prompts.passphrase(session.out, terms.passphrase_file, question)
        key = session.keystore.unlock(sender.name, passphrase).signer
    async with waiting(session.out, "waiting for finality"):
        return await work.perform(chain, sender._replace(key=key), fee, terms.timeout_s, limits)


class _Acting:
    """The steps that talk to the node."""

    def __init__(self, session: Session, node: NodeClient, deed: Deed) -> None:
        self._session = session
        self._node = node
        self._deed = deed
        self._registry = build_registry()
        self._idempotency_key = new_idempotency_key()

    async def sender(self, terms: Terms, own: SigningKey | None) -> _Sender:
        """Return who sends: whoever is named, else an authority's account, else one's only key."""
        if terms.sender is None:
            for key in (own,) if own is not None else self._deed.approvers:
                if await self._node.account(key.public_key) is not None:
                    title = "the authority's own account"
                    return _Sender(title, Standing(key.public_key, title, 0), key)
            if own is not None:
                raise Rejected(
                    "That authority has no account of its own here.",
                    NOTHING,
                    "add --from NAME",
                    code=Code.NOT_FOUND,
                )
        name = terms.sender or own_key(self._session, "add --from ")
        account_named(self._session, name, NOTHING)  # Says what is wrong with a name that is none.
        info = self._session.keystore.show(name)
        standing = await standing_of(
            self._session, self._node, info, terms.owner, terms.sponsor, None
        )
        if await self._node.account(standing.account) is None:
            where = account_text(standing.account)
            raise Rejected(
                f"{standing.title} has no account on this network yet.",
                NOTHING,
                f"clawpurse faucet {standing.title}, or pay something to {where}",
                code=Code.NOT_FOUND,
            )
        return _Sender(name, standing, None)

    async def chain(self) -> ChainTerms:
        """Return which network it is for."""
        try:
            return await self._node.terms()
        except Refused as err:
            raise Rejected(err.reason, NOTHING, "add --rpc URL", code=err.code) from err

    async def body(self, chain: ChainTerms, sender: _Sender, fee: int) -> Body:
        """Return the unsigned body with the sender's next sequence."""
        lane = sender.standing.lane
        following = await self._node.next_sequence(sender.account, lane)
        return self._body_at(chain, sender, fee, Slot(lane, following.sequence))

    def _body_at(self, chain: ChainTerms, sender: _Sender, fee: int, slot: Slot) -> Body:
        return build_body(
            chain,
            self._registry,
            sender.account,
            slot,
            list(self._deed.actions),
            valid_until_ms=self._session.now_ms() + VALID_FOR_MS_DEFAULT,
            fee=fee,
            payer=sender.standing.sponsor,
            idempotency_key=self._idempotency_key,
        )

    async def decimals(self) -> dict[str, int]:
        """Return the decimals of the assets that the actions name, for sentences."""
        found: dict[str, int] = {}
        for asset in assets_named(self._deed.actions, self._registry):
            try:
                found[asset] = (await self._node.asset(asset)).decimals
            except NotFound:
                continue  # The deed itself creates it.
        return found

    async def simulate(self, body: Body, standing: Standing) -> None:
        """Ask the ledger's rules before a person is asked. Raises `Rejected`."""
        try:
            outcome = await self._node.simulate(
                body.pack(), signer=standing.session_key, sponsored=standing.sponsor is not None
            )
        except RpcError as err:
            known = next((one for one in Code if one.rpc_code == err.code), None)
            if known is None or not standing.limited:
                raise
            reason = err.reason[:1].upper() + err.reason[1:].rstrip(".") + "."
            raise Rejected(reason, NOTHING, standing.look, code=known) from err
        if outcome.code != "ok":
            code = next((one for one in Code if one.label == outcome.code), Code.POLICY_REJECTED)
            raise Rejected(outcome.reason or f"Refused ({outcome.code}).", NOTHING, code=code)

    async def limits(self, body: Body, sender: _Sender) -> _Limits:
        """Hold what it pays against the guardrails of the key. Raises `GuardrailRefused`.

        They bind every way of paying: an escrow, a batch or a channel is money out as well.
        """
        if sender.key is not None:
            return _Limits()  # An authority's own key, which this wallet does not keep.
        intents = await outflows_of(self._node, body, self._registry)
        public_key = self._session.keystore.show(sender.name).public_key
        payments = payments_in(self._session, self._node)
        verdict = await payments.verdict(public_key, intents, body.genesis_hash)
        if not verdict.allowed:
            raise GuardrailRefused(verdict.refusals)
        told = (*(one.sentence for one in verdict.refusals), *verdict.needs_confirmation)
        judge = await payments.judging(public_key, intents) if intents else None
        return _Limits(intents, judge, told)

    async def perform(
        self, chain: ChainTerms, sender: _Sender, fee: int, timeout_s: int, limits: _Limits
    ) -> dict[str, Any]:
        """Sign, submit and wait, by way of the outbox. Raises `Rejected` or `Pending`."""
        assert sender.key is not None
        standing = sender.standing
        signings = [Signing(Role.SENDER, sender.account, sender.key)]
        signings += [Signing(Role.APPROVER, key.account, key) for key in self._deed.approvers]
        timeout_ms = timeout_s * 1000
        claim = Claim(
            chain.genesis_hash,
            sender.account,
            sender.key.public_key,
            self._idempotency_key,
            fee,
            limits.intents,
            lanes=standing.lanes,
            sponsor=standing.sponsor or b"",
            what=", ".join(action.name for action in self._deed.actions),
        )

        def sign(slot: Slot) -> Transaction:
            return sign_body_for(self._body_at(chain, sender, fee, slot), signings)

        payments = payments_in(self._session, self._node)
        with accept_refused():
            row = await payments.reserve(claim, limits.judge, timeout_ms)
            payment = await payments.delivery.deliver(row, sign, timeout_ms)
        return _done(payment, timeout_s)


def _done(payment: Payment, timeout_s: int) -> dict[str, Any]:
    """Return the document of what is final. Raises `Rejected` or `Pending`."""
    tx_id = f"0x{payment.tx_id.hex()}"
    if payment.status == "pending":
        raise Pending(
            f"Pending after {timeout_s} s; may still be final.",
            "Do not repeat it.",
            f"clawpurse tx wait {tx_id}",
        )
    if payment.status in ("expired", "replaced"):
        raise Rejected(
            f"It is {payment.status}; it will never happen.",
            "",
            f"clawpurse tx wait {tx_id}",
            code=Code.EXPIRED,
        )
    assert payment.document is not None
    return dict(finished(payment, timeout_s).document or {})


def _show(
    session: Session, deed: Deed, sender: _Sender, fee: str, decimals: Mapping[str, int]
) -> None:
    """Say what will happen, before the question."""
    registry, words = build_registry(), words_for(decimals)
    for action in deed.actions:
        session.out.note(f"  {action_words(action, registry, words)}")
    standing = sender.standing
    if standing.session_key is not None:
        session.out.note(f"  For {standing.title}, by the session key {sender.name}.")
    session.out.note(f"  Fee {fee}, paid by {standing.fee_title}.")


def _confirm(session: Session, deed: Deed, terms: Terms, chain_id: str) -> None:
    """Ask; what is dangerous needs the network's name typed (or both options)."""
    if deed.danger:
        prompts.confirm_by_name(
            session.out,
            [f"! {deed.danger}"],
            chain_id,
            yes=terms.yes,
            understood=terms.understood,
            nothing=NOTHING,
        )
    elif not terms.yes and not prompts.confirm(session.out, "  Go on?", "--yes"):
        raise OperatorError(NOTHING)


def run_with_node(session: Session, work: Any) -> Any:
    """Run `work(node)` in a loop of its own."""

    async def run() -> Any:
        async with session.node() as node:
            return await work(node)

    return trio.run(run)
