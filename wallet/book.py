"""`Wallet`: one key of one home as a program uses it. Ten lines: docs/wallet-library.md.

Everything that the command line does to pay stands behind it: guardrails, outbox, lanes, proofs,
receipts. Opening a key costs a quarter of a second of work by design (Argon2id) and blocks; the
rest is asynchronous (trio) and safe for many tasks of one process, and for many processes.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Refused
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET, asset_name
from clawpurse.ledger.transactions import LANE_COUNT, RawAction, Role, Transaction
from clawpurse.modules.accounts.sessions import GRANT
from clawpurse.modules.assets.actions import TRANSFER
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import parse_amount
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    Signing,
    Slot,
    build_body,
    new_idempotency_key,
    sign_body_for,
)
from clawpurse.wallet.client import Balance, NodeClient
from clawpurse.wallet.delivery import Payment
from clawpurse.wallet.guardrail_files import guardrails_in
from clawpurse.wallet.guardrails import GuardrailRefused
from clawpurse.wallet.home import ClientHome, Network, check_rpc_url
from clawpurse.wallet.intent import Intent, Outlook, Payer
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.outbox_rows import Claim
from clawpurse.wallet.payments import Payments
from clawpurse.wallet.receipts import ReceiptStore
from clawpurse.wallet.watching import watch

RPC_DEFAULT: Final = "http://127.0.0.1:9641"
TIMEOUT_S_DEFAULT: Final = 30


def wall_clock_ms() -> int:
    """Return the machine's wall clock, ms UTC."""
    return time.time_ns() // 1_000_000


class Wallet:
    """See the module. Made by `create` or `open`; use as `async with`, or call `aclose`.

    Methods raise what `Payments` raises, and `Unreachable` when no node answers.
    """

    def __init__(
        self,
        home: ClientHome,
        signer: SigningKey,
        network: Network,
        owner: bytes | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.home = home
        self.account = signer.account if owner is None else owner
        self.node = NodeClient(network)
        self._signer = signer
        self._session_key = None if owner is None else signer.public_key
        self._now_ms = now_ms
        self._registry = build_registry()
        self.outbox = Outbox(home.root / "outbox", now_ms=now_ms)
        self.payments = Payments(
            self.node,
            self.outbox,
            ReceiptStore(home.receipts_directory),
            self._registry,
            now_ms=now_ms,
            guardrails=guardrails_in(home.root, now_ms),
        )

    @classmethod
    def create(
        cls, home: str | Path, name: str, passphrase: str, *, rpc: str = RPC_DEFAULT
    ) -> tuple[Self, str]:
        """Make a key with guardrails of its own; return the wallet and its 24 words.

        The words are the money: keep them on paper. Raises `Malformed` for a weak passphrase,
        `OperatorError` when the name is taken.
        """
        place = ClientHome(Path(home))
        place.prepare()
        _, words = place.keystore(wall_clock_ms).add(name, passphrase)
        return cls.open(home, name, passphrase, rpc=rpc), " ".join(words)

    @classmethod
    def open(
        cls,
        home: str | Path,
        name: str,
        passphrase: str,
        *,
        rpc: str = RPC_DEFAULT,
        owner: str | None = None,
    ) -> Self:
        """Open a key of a home. With `owner` it signs as that account's session key.

        Raises `WrongPassphrase`, and `OperatorError` when there is no such key or owner.
        """
        place = ClientHome(Path(home))
        keystore = place.keystore(wall_clock_ms)
        signer = keystore.unlock(name, passphrase).signer
        network = Network("rpc", (check_rpc_url(rpc),))
        whom = None if owner is None else place.resolve(owner, keystore).account
        return cls(place, signer, network, whom)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections and the outbox; what is unfinished can be resumed by anybody."""
        await self.node.aclose()
        self.outbox.close()

    @property
    def address(self) -> str:
        """The account as people pass it on: `claw1…`."""
        return account_text(self.account)

    async def balances(self) -> list[Balance]:
        """Return what the account has, minor units."""
        return await self.node.balances(self.account)

    async def pay(
        self,
        to: str,
        amount: str,
        asset: str = NATIVE_ASSET,
        *,
        memo: str = "",
        idempotency_key: bytes | None = None,
        confirmed: bool = False,
        timeout_s: int = TIMEOUT_S_DEFAULT,
    ) -> Payment:
        """Pay `amount` (as a person writes it, `12.5`) to a contact, key or address, once.

        With an `idempotency_key` of its own a program may call again after any crash. `confirmed`
        says yes to what the guardrails want to be asked about. Raises `GuardrailRefused`,
        `NotEnough`, `Refused`, `AlreadyUsed`: nothing was paid then. Status `pending`: it may
        still be; `resume`, or pay again with the same key.
        """
        name = asset_name(asset, "asset")
        decimals = (await self.node.asset(name)).decimals
        recipient = self._account(to)
        fee = await self.payments.fee_min()
        minor = parse_amount(amount, decimals, name)
        intent = Intent(self.account, recipient, name, minor, memo, fee)
        quote = await self.payments.quote(await self._payer(), [intent])
        if not quote.guardrails.allowed:
            raise GuardrailRefused(quote.guardrails.refusals)
        if quote.guardrails.needs_confirmation and not confirmed:
            raise Refused(Code.APPROVAL_REQUIRED, quote.guardrails.needs_confirmation[0])
        if quote.outlook is Outlook.REFUSED:
            raise Refused(quote.code, quote.reason or "The ledger would refuse it.")
        return await self.payments.pay(
            quote, self._signer, timeout_ms=timeout_s * 1000, idempotency_key=idempotency_key
        )

    async def resume(self, timeout_s: int = TIMEOUT_S_DEFAULT) -> list[Payment]:
        """Finish what a killed process of this home left unfinished, with the same bytes."""
        return await self.payments.resume(timeout_s * 1000)

    async def watch(self, from_cursor: str | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """Give what becomes final about this account, each event once, until you stop.

        Each has `cursor`; with it a restart goes on where it was (`beginning` is one, too).
        """
        matching = {"account": self.address}
        async with watch(self.node.network.rpc_urls, "account", matching, from_cursor) as events:
            async for event in events:
                yield {"cursor": event.cursor, "final": event.final, **event.data}

    async def create_session(
        self,
        name: str,
        passphrase: str,
        *,
        caps: Mapping[str, tuple[str, str]],
        recipients: Sequence[str] = (),
        days: int = 30,
        timeout_s: int = TIMEOUT_S_DEFAULT,
    ) -> Payment:
        """Let another key of this home pay for this account, within limits that nodes enforce.

        `caps` are by asset what it may pay at once and a day (UTC, fees included), as people
        write amounts; `recipients` are all that it may pay (none: anybody), for `days`.
        """
        keystore = self.home.keystore(self._now_ms)
        key = keystore.unlock(name, passphrase).signer
        limits: list[Wire] = []
        for asset, pair in caps.items():
            decimals = (await self.node.asset(asset)).decimals
            limits.append([asset, *(parse_amount(text, decimals, asset) for text in pair)])
        to: list[Wire] = [*sorted(self._account(one) for one in recipients)]
        expires_ms = self._now_ms() + days * DAY_MS
        lanes: list[Wire] = [await self._free_lane()]
        actions: list[Wire] = [TRANSFER.name]
        grant = RawAction(
            GRANT.name, [key.public_key, name, expires_ms, lanes, actions, limits, to, b"", 0]
        )
        approver = SigningKey(key.reveal_seed(), self.account)
        return await self._act(grant, approver, timeout_s)

    async def _act(self, action: RawAction, approver: SigningKey, timeout_s: int) -> Payment:
        """Do one action that another key approves, by way of the outbox."""
        terms, fee = await self.node.terms(), await self.payments.fee_min()
        key = new_idempotency_key()

        def sign(slot: Slot) -> Transaction:
            body = build_body(
                terms,
                self._registry,
                self.account,
                slot,
                [action],
                valid_until_ms=self._now_ms() + VALID_FOR_MS_DEFAULT,
                fee=fee,
                idempotency_key=key,
            )
            sender = Signing(Role.SENDER, self.account, self._signer)
            return sign_body_for(body, [sender, Signing(Role.APPROVER, self.account, approver)])

        signer = self._signer.public_key
        claim = Claim(terms.genesis_hash, self.account, signer, key, fee, what=action.name)
        row = await self.payments.reserve(claim, None, timeout_s * 1000)
        return await self.payments.delivery.deliver(row, sign, timeout_s * 1000)

    async def _payer(self) -> Payer:
        key = self._signer.public_key
        if self._session_key is None:
            return Payer(self.account, key)
        params = {"account": self.address, "key": f"0x{key.hex()}"}
        found = await self.node.call("session_get", params)
        return Payer(self.account, key, tuple(found["lanes"]), key)

    async def _free_lane(self) -> int:
        """Return the last lane of no session key: the first ones are for this account's own."""
        answer = await self.node.call("session_list", {"account": self.address})
        taken = {lane for one in answer["sessions"] for lane in one["lanes"]}
        free = [lane for lane in reversed(range(1, LANE_COUNT)) if lane not in taken]
        if not free:
            raise Refused(Code.LIMIT_EXCEEDED, "All lanes belong to session keys.")
        return free[0]

    def _account(self, text: str) -> bytes:
        keystore = self.home.keystore(self._now_ms)
        return self.home.resolve(text, keystore).account
