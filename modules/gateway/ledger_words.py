"""What the gateway asks a node: payments that came in, channels, transactions of others.

The follower reads the payee's events in order and writes payments down with its cursor, in one
transaction: what was paid under a memo of ours is known once, whoever shows it or nobody.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

import trio
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Code, PeerError
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.invoices import MEMO_START, Paid, note_payment
from clawpurse.modules.gateway.prepaid import Channel
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError, Unreachable

EVENTS_MAX: Final = 200
WAIT_MS: Final = 20_000
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
CURSOR: Final = "events"
TX_ID: Final = re.compile(r"0x[0-9a-f]{64}")
_CAIP2: Final = re.compile(r"[-_a-zA-Z0-9]{1,32}")
_RAW: Final = re.compile(r"0x(?:[0-9a-f]{2}){1,65536}")


class Refusal(NamedTuple):
    """Why somebody's transaction pays nothing: a word of x402, and a sentence."""

    word: str
    text: str


class Standing(NamedTuple):
    """How far a channel was claimed, and whether its payer closes it."""

    claimed: int
    closing: bool


class Transfer(NamedTuple):
    """What a signed transaction does, if it does nothing but pay one account."""

    tx_id: str
    sender: str
    asset: str
    recipient: str
    amount: int
    memo: str


class Ledger:
    """A node, asked for one payee. Every method raises as `Node.call` does, and `PeerError`."""

    def __init__(self, node: Node, payee: str, chain_id: str, genesis_hash: bytes) -> None:
        self._node = node
        self.payee: Final = payee
        self.chain_id: Final = chain_id
        self.genesis_hash: Final = genesis_hash

    @property
    def network(self) -> str:
        """The network's name after CAIP-2."""
        fits = _CAIP2.fullmatch(self.chain_id)
        return f"claw:{self.chain_id if fits else self.genesis_hash.hex()[:32]}"

    async def payments_of(self, tx_id: str) -> list[Paid] | None:
        """Return what a transaction paid the payee; None as long as it is not final."""
        if not TX_ID.fullmatch(tx_id):
            return []
        try:
            found = await self._node.call("tx_get", {"txId": tx_id})
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        if found.get("status") != "final":
            return None
        return self.paid_by(found)

    def paid_by(self, found: Any) -> list[Paid]:
        """Return the payments to the payee in a final transaction, as tx_get shows it."""
        try:
            receipt = found["receipt"]
            if receipt["code"] != "ok":
                return []
            at_ms = _ms(receipt["time"])
            memo = str(found["memoText"] or "")
            return [
                Paid(
                    found["txId"],
                    place,
                    event["accounts"][0],
                    event["data"]["asset"],
                    int(event["data"]["amount"]),
                    memo[: tables.WORD_CHARS_MAX],
                    at_ms,
                )
                for place, event in enumerate(receipt["events"])
                if event["kind"] == "assets.transferred" and event["accounts"][1] == self.payee
            ]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise PeerError(f"the node's transaction is none: {error!r}") from None

    async def channel(self, ident: str) -> Channel | None:
        """Return an open channel that pays the payee; None for any other."""
        try:
            found = await self._node.call("payment_getChannel", {"channel": ident})
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        try:
            paid, left = int(found["paid"]), int(found["left"])
            if found["payee"] != self.payee or found["closing"] is not None:
                return None
            return Channel(
                found["channelId"],
                found["payer"],
                found["asset"],
                found["voucherKey"],
                paid + left,
                paid,
                _ms(found["expires"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"the node's channel is none: {error!r}") from None

    async def standing(self, ident: str) -> Standing | None:
        """Return how far a channel was claimed; None when it is over."""
        try:
            found = await self._node.call("payment_getChannel", {"channel": ident})
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return Standing(int(found["paid"]), found["closing"] is not None)

    async def is_final(self, sender: str, key: bytes) -> bool:
        """Tell whether what a sender sent under an idempotency key is final and done."""
        asked = {"sender": sender, "idempotencyKey": f"0x{key.hex()}", "timeoutMs": 0}
        found = await self._node.call("tx_wait", asked)
        return bool(found["status"] == "final" and found["receipt"]["code"] == "ok")

    async def transfer(self, raw: object) -> Transfer | Refusal:
        """Read a signed transaction that somebody shows instead of submitting it."""
        if not isinstance(raw, str) or not _RAW.fullmatch(raw):
            return Refusal("invalid_payload", "payload.transaction is no transaction in 0x…")
        try:
            found = await self._node.call("tx_decode", {"tx": raw})
        except RpcError as error:
            if error.code == Code.WRONG_CHAIN.rpc_code:
                return Refusal("invalid_network", "the transaction is of another network")
            if error.code in (Code.MALFORMED.rpc_code, Code.BAD_SIGNATURE.rpc_code):
                return Refusal("invalid_payload", error.reason)
            raise
        if not found.get("signed"):
            return Refusal("invalid_payload", "the transaction is not signed")
        if found.get("genesisHash") != f"0x{self.genesis_hash.hex()}":
            return Refusal("invalid_network", "the transaction is of another network")
        actions = found["actions"]
        if len(actions) != 1 or actions[0]["name"] != "assets.transfer":
            return Refusal("invalid_payload", "the transaction does more than one transfer")
        fields = actions[0]["fields"]
        return Transfer(
            found["txId"],
            found["sender"],
            fields["asset"],
            fields["recipient"],
            int(fields["amount"]),
            str(found["memoText"] or ""),
        )

    async def trial(self, raw: str) -> Refusal | None:
        """Return why a transaction would fail now; None when it would be done."""
        try:
            found = await self._node.call("tx_simulate", {"tx": raw})
        except RpcError as error:
            return _refusal(error)
        if found["code"] == "ok":
            return None
        return Refusal(_word(found["code"]), found["reason"] or found["code"])

    async def settle(self, raw: str) -> Any | Refusal:
        """Submit a transaction; return it as tx_get shows it when it is final and done.

        Raises `Unreachable` when nobody knows what became of it: it may be final yet.
        """
        try:
            sent = await self._node.call("tx_submit", {"tx": raw, "wait": "final"})
        except RpcError as error:
            return _refusal(error)
        if sent["status"] != "final":
            raise Unreachable("the node", "the payment is not final yet", sent=True)
        if sent["receipt"]["code"] != "ok":
            code = sent["receipt"]["code"]
            return Refusal(_word(code), sent["receipt"]["reason"] or code)
        return await self._node.call("tx_get", {"txId": sent["txId"]})

    async def follow(self, store: Store) -> None:
        """Write payments down as they become final, until cancelled."""
        wait_s = PAUSE_S_MIN
        while True:
            try:
                await self.step(store, WAIT_MS)
                wait_s = PAUSE_S_MIN
            except (RpcError, Unreachable, PeerError):
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, PAUSE_S_MAX)

    async def step(self, store: Store, wait_ms: int) -> int:
        """Take the next events over; return how many payments they were."""
        cursor = await store.read(lambda db: tables.found(db, CURSOR))
        if cursor is None:
            # Nobody paid this gateway before it was there.
            status = await self._node.call("chain_getStatus", {})
            await store.write(
                lambda db: tables.remembered(db, CURSOR, f"{status['height']}.4294967295")
            )
            return 0
        page = await self._node.call(
            "events_get",
            {
                "topic": "account",
                "fromCursor": cursor,
                "limit": EVENTS_MAX,
                "waitMs": wait_ms,
                "filter": {"account": self.payee, "kind": "assets.transferred", "direction": "in"},
            },
        )
        ids = dict.fromkeys(event["data"]["txId"] for event in page["events"])
        paid: list[Paid] = []
        for tx_id in ids:
            if tx_id is not None:
                paid += await self.payments_of(tx_id) or []
        ours = [one for one in paid if one.memo.startswith(MEMO_START)]

        def run(db: Connection) -> int:
            tables.remember(db, CURSOR, page["nextCursor"])
            return sum(note_payment(db, one) for one in ours)

        return await store.write(run)


def _refusal(error: RpcError) -> Refusal:
    short = error.code == Code.INSUFFICIENT_FUNDS.rpc_code
    return Refusal("insufficient_funds" if short else "invalid_transaction_state", error.reason)


def _word(code: str) -> str:
    return "insufficient_funds" if code == "insufficientFunds" else "invalid_transaction_state"


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
