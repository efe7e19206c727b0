"""Actions beside payments: look, say what they do, ask, sign, submit, wait, prove.

As with a payment, what can be refused is refused before anything is signed. Whoever sends pays
the fee: a key of this home, or an authority's own account; approvers sign beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import Pending, Rejected, UsageFault
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session
from clawpurse.cli.standing import Standing, standing_of
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, NotFound, OperatorError, Refused
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import Body, RawAction, Role, Transaction
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
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
from clawpurse.wallet.describe import action_words, assets_named, words_for
from clawpurse.wallet.keys import SigningKey

NOTHING: Final = "Nothing was sent."
# Another wallet of the same account may take a sequence in between; then the next one is asked.
TRIES_MAX: Final = 3


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
    answer = await node.call("chain_getParameters")
    fee = int(answer["parameters"]["fee_min"])
    body = await work.body(chain, sender, fee)
    await work.simulate(body, sender.standing)
    decimals = (await node.asset(NATIVE_ASSET)).decimals
    shown = {NATIVE_ASSET: decimals, **await work.decimals()}
    _show(session, deed, sender, amount_text(fee, decimals, NATIVE_ASSET), shown)
    _confirm(session, deed, terms, chain.chain_id)
    key = sender.key
    if key is None:
        question = f"  Passphrase for {sender.name}: "
        passphrase = prompts.passphrase(session.out, terms.passphrase_file, question)
        key = session.keystore.unlock(sender.name, passphrase).signer
    async with waiting(session.out, "waiting for finality"):
        transaction = await work.submit(chain, sender._replace(key=key), fee)
        return await work.settled(transaction, chain, terms.timeout_s)


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
        return build_body(
            chain,
            self._registry,
            sender.account,
            Slot(lane, following.sequence),
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

    async def submit(self, chain: ChainTerms, sender: _Sender, fee: int) -> Transaction:
        """Sign and submit; the same wish under the next sequence if another took it."""
        assert sender.key is not None
        signings = [Signing(Role.SENDER, sender.account, sender.key)]
        signings += [Signing(Role.APPROVER, key.account, key) for key in self._deed.approvers]
        for attempt in range(1, TRIES_MAX + 1):
            transaction = sign_body_for(await self.body(chain, sender, fee), signings)
            try:
                await self._node.submit(transaction.raw)
            except RpcError as err:
                if err.code == Code.SEQUENCE_LOW.rpc_code and attempt < TRIES_MAX:
                    continue
                known = next((one for one in Code if one.rpc_code == err.code), None)
                if known is None:
                    raise  # Nobody judged it: this node cannot now.
                reason = err.reason[:1].upper() + err.reason[1:].rstrip(".") + "."
                raise Rejected(reason, NOTHING, err.hint, code=known) from err
            except Unreachable as err:
                if not err.sent:
                    raise
            return transaction
        raise AssertionError("the last try returns or raises")

    async def settled(
        self, transaction: Transaction, chain: ChainTerms, timeout_s: int
    ) -> dict[str, Any]:
        """Wait for finality and return the document. Raises `Rejected` or `Pending`."""
        tx_id = f"0x{transaction.tx_id.hex()}"
        pending = Pending(
            f"Pending after {timeout_s} s; may still be final.",
            "Do not repeat it.",
            f"clawpurse tx wait {tx_id}",
        )
        try:
            fate = await self._node.wait(transaction.tx_id, timeout_s * 1000)
        except (Unreachable, KeyboardInterrupt) as err:
            raise pending from err
        if fate.status in ("expired", "replaced"):
            raise Rejected(
                f"It is {fate.status}; it will never happen.",
                "",
                f"clawpurse tx wait {tx_id}",
                code=Code.EXPIRED,
            )
        if fate.status != "final":
            raise pending
        document = await self._node.proven_payment(fate.tx_id, chain.genesis_hash, self._registry)
        receipt = document["receipt"]
        if receipt["code"] != "ok":
            code = next((one for one in Code if one.label == receipt["code"]), Code.POLICY_REJECTED)
            raise Rejected(
                f"Refused in block {document['height']}: {receipt['reason']}",
                "Only the fee was paid.",
                f"clawpurse tx wait {tx_id}",
                code=code,
            )
        return document


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
