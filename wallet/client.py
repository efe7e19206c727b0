"""The wallet's end of JSON-RPC: a network's nodes as one, with typed answers.

Nodes are asked in the order of the network's URLs; one that does not answer is passed over for
the next. Sending a signed transaction twice is harmless (it takes effect once), so that is
repeated too; nothing is ever signed twice here. What a node says is checked where it can be:
the genesis hash against the one that is pinned, a receipt against its proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed, NotFound, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.modules.kit.web.client import RpcClient, Subscription
from clawpurse.modules.kit.web.errors import NOT_FOUND, SYNCING, BadAnswer, RpcError, Unreachable
from clawpurse.wallet.builder import ChainTerms
from clawpurse.wallet.home import Network
from clawpurse.wallet.proofs import check_payment_proof
from clawpurse.wallet.receipts import payment_document

TIMEOUT_MS_DEFAULT: Final = 15_000
# A node holds `tx_wait` at most this long; longer waits are several calls.
WAIT_SLICE_MS: Final = 20_000
# Added to what a node was asked to wait, for the way there and back.
_GRACE_MS: Final = 5_000
# Between two questions when a node answers "pending" at once instead of waiting.
_PAUSE_MS: Final = 250
_U64_DIGITS_MAX: Final = 20

ClientFactory = Callable[[str], RpcClient]


class ChainStatus(NamedTuple):
    """Where a node and its chain stand. Times in ms UTC; `behind` in blocks."""

    chain_id: str
    genesis_hash: bytes
    height: int
    block_id: bytes
    time_ms: int
    syncing: bool
    behind: int
    peers: int
    authorities: int
    version: str


class Balance(NamedTuple):
    """What an account has of an asset, in minor units. `held` is stopped by a rule."""

    asset: str
    amount: int
    held: int
    decimals: int


class NextSequence(NamedTuple):
    """The next sequence to use in a lane, waiting transactions counted, and the next final one."""

    sequence: int
    final_sequence: int
    is_open: bool


class AssetInfo(NamedTuple):
    """An asset. `supply` in minor units."""

    asset: str
    decimals: int
    title: str
    supply: int


@dataclass(frozen=True)
class Fate:
    """What became of a transaction.

    `status` is accepted, pending, final, expired, replaced or unknown; the rest is None where it
    does not apply. `receipt` is as the node tells it, unproven. `duplicate`: it was known before.
    """

    tx_id: bytes
    status: str
    height: int | None = None
    index: int | None = None
    receipt: Mapping[str, Any] | None = None
    replaced_by: bytes | None = None
    duplicate: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the answer will not change any more."""
        return self.status in ("final", "expired", "replaced")


class Simulation(NamedTuple):
    """The receipt that a transaction would get now. Amounts in minor units of the native asset."""

    code: str
    reason: str | None
    rule: str | None
    fee: int
    fee_min: int
    cost: int
    trace: tuple[Any, ...]


class Page(NamedTuple):
    """One page of a list, as the node tells it, and the cursor of the next, if there is one."""

    entries: list[Mapping[str, Any]]
    next_cursor: str | None


class NodeClient:
    """A network's nodes. Use as `async with`; safe for many tasks.

    Every method raises `RpcError` (the node's refusal), `Unreachable` (no node answers; `sent`
    says whether one may have acted), `BadAnswer` (what came is not what it should be).
    Cancellation may leave a request carried out.
    """

    def __init__(
        self,
        network: Network,
        *,
        timeout_ms: int = TIMEOUT_MS_DEFAULT,
        open_client: ClientFactory | None = None,
    ) -> None:
        self.network = network
        self._timeout_ms = timeout_ms
        make = open_client or (lambda url: RpcClient(url, timeout_ms=timeout_ms))
        self._clients = [make(url) for url in network.rpc_urls]
        self._first = 0

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
        """Close idle connections."""
        for client in self._clients:
            await client.aclose()

    @property
    def url(self) -> str:
        """The URL of the node that is asked first now: the last one that answered."""
        return self._clients[self._first].url

    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_ms: int | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Call a method, at the next node if one does not answer or is syncing; return its result.

        With `repeatable` False a call that may have been carried out is not repeated elsewhere.
        """
        problem: Unreachable | None = None
        syncing: RpcError | None = None
        count = len(self._clients)
        for offset in range(count):
            place = (self._first + offset) % count
            try:
                result = await self._clients[place].call(
                    method, params, timeout_ms=timeout_ms, retry=repeatable
                )
            except Unreachable as err:
                if err.sent and not repeatable:
                    raise
                problem = _worse(problem, err)
                continue
            except RpcError as err:
                if err.code != SYNCING:
                    raise
                syncing = err  # It did nothing; another may have caught up.
                continue
            self._first = place
            return result
        if problem is not None and (problem.sent or syncing is None):
            raise problem
        assert syncing is not None
        raise syncing

    def subscribe(
        self,
        topic: str,
        matching: dict[str, Any] | None = None,
        from_cursor: str | None = None,
    ) -> Subscription:
        """Subscribe to a topic at the node that is asked first now."""
        return self._clients[self._first].subscribe(topic, matching, from_cursor)

    async def status(self) -> ChainStatus:
        """Return where the node stands, whatever chain it runs."""
        answer = _object(await self.call("chain_getStatus"), "chain_getStatus")
        return ChainStatus(
            _text(answer, "chainId"),
            _digest(answer, "genesisHash"),
            _integer(answer, "height"),
            _digest(answer, "hash"),
            _integer(answer, "timeMs"),
            _flag(answer, "syncing"),
            _integer(answer, "behind"),
            _integer(answer, "peers"),
            _integer(answer, "authorities"),
            _text(answer, "version"),
        )

    async def terms(self) -> ChainTerms:
        """Return the terms to sign for, checked against the network's pinned genesis hash.

        Raises `Refused` (wrongChain) when the node runs another chain than the network says.
        """
        status = await self.status()
        network = self.network
        pinned = network.genesis_hash
        differs = pinned is not None and pinned != status.genesis_hash
        if differs or network.chain_id not in (None, status.chain_id):
            ours = network.chain_id or f"genesis 0x{(pinned or b'').hex()[:12]}…"
            theirs = status.chain_id
            if network.chain_id == status.chain_id:
                theirs = f"another {status.chain_id} (genesis 0x{status.genesis_hash.hex()[:12]}…)"
            raise Refused(
                Code.WRONG_CHAIN, f"Signed for {ours}, node runs {theirs}.", rule="wallet.network"
            )
        return ChainTerms(status.chain_id, status.genesis_hash)

    async def balances(self, account: bytes) -> list[Balance]:
        """Return what an account has; zero of the native asset for one that is not open."""
        answer = await self._ask("account_getBalances", {"account": account_text(account)})
        return [
            Balance(
                _text(item, "asset"),
                _amount(item, "amount"),
                _amount(item, "held"),
                _integer(item, "decimals"),
            )
            for item in _objects(answer, "balances")
        ]

    async def next_sequence(self, account: bytes, lane: int = 0) -> NextSequence:
        """Return the next sequence to use in a lane."""
        params = {"account": account_text(account), "lane": lane}
        answer = await self._ask("account_getSequence", params)
        return NextSequence(
            _integer(answer, "sequence"), _integer(answer, "finalSequence"), _flag(answer, "open")
        )

    async def account(self, account: bytes) -> Mapping[str, Any] | None:
        """Return an account's record as the node tells it, None when it is not open."""
        try:
            return await self._ask("account_get", {"account": account_text(account)})
        except RpcError as err:
            if err.code == NOT_FOUND:
                return None
            raise

    async def history(self, account: bytes, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Return final transactions that touched an account, the newest first."""
        params: dict[str, Any] = {"account": account_text(account), "limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        answer = await self._ask("account_getTransactions", params)
        return Page(_objects(answer, "transactions"), _optional_text(answer, "nextCursor"))

    async def asset(self, asset: str) -> AssetInfo:
        """Return an asset. Raises `NotFound` when there is none of that name."""
        try:
            return _asset(await self._ask("asset_get", {"asset": asset}))
        except RpcError as err:
            if err.code == NOT_FOUND:
                raise NotFound(f"the asset {asset}") from err
            raise

    async def simulate(
        self, data: bytes, *, signer: bytes | None = None, sponsored: bool = False
    ) -> Simulation:
        """Return the receipt that signed bytes, or the bytes of an unsigned body, would get.

        A body is judged as if the session key `signer` signed it for its sender, and, if it is
        `sponsored`, its payer did not sign.
        """
        params: dict[str, Any] = {"tx": _hex(data)}
        if signer is not None:
            params["signer"] = _hex(signer)
        if sponsored:
            params["sponsored"] = True
        answer = await self._ask("tx_simulate", params)
        return Simulation(
            _text(answer, "code"),
            _optional_text(answer, "reason"),
            _optional_text(answer, "rule"),
            _amount(answer, "fee"),
            _amount(answer, "feeMin"),
            _integer(answer, "cost"),
            tuple(answer.get("trace") or ()),
        )

    async def submit(self, raw: bytes, *, wait: str = "accepted") -> Fate:
        """Submit a signed transaction; `wait` is none, accepted or final (30 s at most).

        Safe to repeat with the same bytes. `Unreachable` with `sent` True means: it may have
        been accepted; ask by its id, do not sign another.
        """
        timeout_ms = self._timeout_ms + (30_000 if wait == "final" else 0)
        answer = _object(
            await self.call("tx_submit", {"tx": _hex(raw), "wait": wait}, timeout_ms=timeout_ms),
            "tx_submit",
        )
        return _fate(answer)

    async def wait(self, tx_id: bytes, timeout_ms: int) -> Fate:
        """Wait until a transaction is final, expired or replaced, at most `timeout_ms`.

        Returns status pending or unknown when the time is over. Nodes that do not answer are
        asked again until then; raises `Unreachable` only if none answered at all.
        """
        return await self._wait({"txId": _hex(tx_id)}, tx_id, timeout_ms)

    async def wait_by_key(self, sender: bytes, idempotency_key: bytes, timeout_ms: int) -> Fate:
        """Wait as `wait` does for whatever was sent under an idempotency key.

        Status unknown with an empty `tx_id` when nothing was.
        """
        params = {"sender": account_text(sender), "idempotencyKey": _hex(idempotency_key)}
        return await self._wait(params, b"", timeout_ms)

    async def receipt(self, tx_id: bytes) -> Mapping[str, Any]:
        """Return a final transaction's receipt as the node tells it, unproven."""
        return await self._ask("tx_getReceipt", {"txId": _hex(tx_id)})

    async def proven_payment(
        self, tx_id: bytes, genesis_hash: bytes, registry: Registry
    ) -> dict[str, Any]:
        """Return the document of a final payment (`receipts.payment_document`), its proof checked.

        Raises `BadAnswer` when the proof does not hold or proves another transaction: then the
        node is not to be believed about anything else either.
        """
        answer = await self._ask("tx_getReceipt", {"txId": _hex(tx_id), "prove": True})
        proof = answer.get("proof")
        try:
            proven = check_payment_proof(proof, genesis_hash)
        except Malformed as err:
            raise BadAnswer(f"the proof of the receipt does not hold ({err})") from err
        if proven.receipt.tx_id != tx_id:
            raise BadAnswer("the receipt and proof are of another transaction")
        return payment_document(_object(proof, "proof"), proven, registry)

    async def faucet(self, account: bytes) -> Mapping[str, Any]:
        """Ask a test network's faucet for money; returns its answer (`txId` and more)."""
        params = {"account": account_text(account)}
        answer = await self.call("faucet_request", params, repeatable=False)
        return _object(answer, "faucet_request")

    async def _ask(self, method: str, params: dict[str, Any]) -> Mapping[str, Any]:
        return _object(await self.call(method, params), method)

    async def _wait(self, params: dict[str, Any], tx_id: bytes, timeout_ms: int) -> Fate:
        fate: Fate | None = None
        problem: Unreachable | None = None
        deadline = trio.current_time() + timeout_ms / 1000
        while True:
            left_ms = max(0, int((deadline - trio.current_time()) * 1000))
            slice_ms = min(left_ms, WAIT_SLICE_MS)
            try:
                answer = await self.call(
                    "tx_wait", {**params, "timeoutMs": slice_ms}, timeout_ms=slice_ms + _GRACE_MS
                )
                fate = _fate(_object(answer, "tx_wait"), tx_id)
            except Unreachable as err:
                problem = err
            if fate is not None and fate.is_settled:
                return fate
            if trio.current_time() >= deadline:
                break
            await trio.sleep(min(_PAUSE_MS, left_ms) / 1000)
        if fate is None:
            assert problem is not None
            raise problem
        return fate


def _worse(before: Unreachable | None, now: Unreachable) -> Unreachable:
    """Keep the error of the first node, but never lose that one of them may have acted."""
    if before is None or (now.sent and not before.sent):
        return now
    return before


def _fate(answer: Mapping[str, Any], asked: bytes = b"") -> Fate:
    replaced_by = answer.get("replacedBy")
    receipt = answer.get("receipt")
    return Fate(
        asked if answer.get("txId") is None else _digest(answer, "txId"),
        _text(answer, "status"),
        _integer(answer, "height") if answer.get("height") is not None else None,
        _integer(answer, "index") if answer.get("index") is not None else None,
        None if receipt is None else _object(receipt, "receipt"),
        None if replaced_by is None else _digest(answer, "replacedBy"),
        answer.get("duplicate") is True,
    )


def _asset(answer: Mapping[str, Any]) -> AssetInfo:
    return AssetInfo(
        _text(answer, "asset"),
        _integer(answer, "decimals"),
        _text(answer, "title"),
        _amount(answer, "supply"),
    )


def _object(value: object, name: str) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise BadAnswer(f"{name} is not an object")
    return value


def _objects(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = answer.get(name)
    if type(value) is not list:
        raise BadAnswer(f"{name} is not a list")
    return [_object(item, name) for item in value]


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if type(value) is not str:
        raise BadAnswer(f"{name} is not a string")
    return value


def _optional_text(answer: Mapping[str, Any], name: str) -> str | None:
    return None if answer.get(name) is None else _text(answer, name)


def _integer(answer: Mapping[str, Any], name: str) -> int:
    value = answer.get(name)
    if type(value) is not int or value < 0:
        raise BadAnswer(f"{name} is not a number from 0")
    return value


def _flag(answer: Mapping[str, Any], name: str) -> bool:
    value = answer.get(name)
    if type(value) is not bool:
        raise BadAnswer(f"{name} is not true or false")
    return value


def _amount(answer: Mapping[str, Any], name: str) -> int:
    value = _text(answer, name)
    if not (value.isascii() and value.isdigit()) or len(value) > _U64_DIGITS_MAX:
        raise BadAnswer(f"{name} is not a string of digits")
    return int(value)


def _digest(answer: Mapping[str, Any], name: str) -> bytes:
    value = _text(answer, name)
    try:
        octets = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        octets = b""
    if len(octets) != 32 or value != _hex(octets):
        raise BadAnswer(f"{name} is not 0x and 64 hex digits")
    return octets


def _hex(octets: bytes) -> str:
    return "0x" + octets.hex()
