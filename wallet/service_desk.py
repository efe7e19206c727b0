"""What every method of the wallet service stands on: one home, its open keys, its payments.

The desk knows who asks (a token, and which keys it may touch), keeps what blocks off the loop,
and lets a payment go on when whoever asked for it has gone: it is found by its idempotency key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import trio
from pydantic import BaseModel, SecretStr

from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.module_api import Registry
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_DISABLED,
    METHOD_NOT_FOUND,
    NODE_UNREACHABLE,
    PARSE_ERROR,
    PRUNED,
    RATE_LIMITED,
    UNAUTHENTICATED,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Handler, Method, NoParams
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.guardrail_files import Guardrails
from clawpurse.wallet.home import ClientHome, Named
from clawpurse.wallet.keyfile import UnlockedKey
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo, Keystore
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.payments import Payments
from clawpurse.wallet.receipts import ReceiptStore
from clawpurse.wallet.service_errors import told, unknown
from clawpurse.wallet.service_tokens import ServiceTokens
from clawpurse.wallet.signing import Signings
from clawpurse.wallet.signing_requests import SigningRequests
from clawpurse.wallet.unlocked import UnlockedKeys

T = TypeVar("T")
# Every method of the service needs a token with its scope.
ROLE: Final = "wallet"
# Argon2id takes a quarter of a second and much memory: one at a time, and a short queue.
HASHES_AT_ONCE: Final = 1
HASHES_WAITING_MAX: Final = 8
# Payments under way at once. Each is a task that waits; a person has few, 32 agents have 32.
FLIGHTS_MAX: Final = 256
# From the start of a payment until its bytes are written down: a few calls of a node, at most 10 s.
KNOWN_PAUSE_MS: Final = 50
KNOWN_TRIES_MAX: Final = 200
# What a node says of this service's calls, not of what somebody wanted.
_OF_THE_NODE: Final = frozenset(
    (
        PARSE_ERROR,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        INTERNAL_ERROR,
        UNAUTHENTICATED,
        FORBIDDEN,
        METHOD_DISABLED,
        PRUNED,
    )
)
_BUSY_MS: Final = 1_000


class ServiceNode(NodeClient):
    """The nodes as the service asks them: what is between it and them is told as just that.

    A token that a node refuses, or a method that it lacks, is no fault of whoever called us.
    """

    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_ms: int | None = None,
        repeatable: bool = True,
    ) -> Any:
        """See `NodeClient.call`."""
        try:
            return await super().call(method, params, timeout_ms=timeout_ms, repeatable=repeatable)
        except RpcError as err:
            if err.code not in _OF_THE_NODE:
                raise
            raise RpcError(
                NODE_UNREACHABLE,
                f"The node does not answer {method}: {err.reason}",
                facts={"nodeCode": err.code},
            ) from err


class Desk:
    """The parts of one home, and the rules for who may touch what. Made by `service.serve`."""

    def __init__(
        self,
        home: ClientHome,
        keystore: Keystore,
        unlocked: UnlockedKeys,
        node: NodeClient,
        outbox: Outbox,
        guardrails: Guardrails,
        tokens: ServiceTokens,
        registry: Registry,
        requests: SigningRequests,
        *,
        now_ms: Callable[[], int],
        version: str,
    ) -> None:
        self.home = home
        self.keystore = keystore
        self.unlocked = unlocked
        self.node = node
        self.outbox = outbox
        self.guardrails = guardrails
        self.tokens = tokens
        self.registry = registry
        self.requests = requests
        self.now_ms = now_ms
        self.version = version
        self.receipts = ReceiptStore(home.receipts_directory)
        self.payments = Payments(
            node, outbox, self.receipts, registry, now_ms=now_ms, guardrails=guardrails
        )
        #: What the last attempt to go on with unfinished payments met; empty when it met nothing.
        self.problem = ""
        #: Where this service shows pages, None while it does not.
        self.page_url: str | None = None
        self.signings = Signings(self.payments, outbox, now_ms=now_ms)
        self._hashing = trio.CapacityLimiter(HASHES_AT_ONCE)
        self._hashes_waiting = 0

    # -- who asks

    def keys_of(self, context: Context) -> tuple[str, ...] | None:
        """Return the keys that the caller's token may touch, None for all.

        Raises `RpcError` for a token that ended since it was looked at.
        """
        grant = context.grant
        if grant is None:
            raise RpcError(UNAUTHENTICATED, "this service answers nobody without a token")
        if not grant.ident.startswith("cpk_"):
            # A session of this service's own page, opened by the home's owner.
            return None
        token = self.tokens.find(grant.ident)
        if token is None:
            raise RpcError(UNAUTHENTICATED, f"the token {grant.ident} has expired or was revoked")
        return token.keys or None

    def check(self, context: Context, name: str) -> str:
        """Return `name` if the caller may touch that key, else raise `RpcError` (forbidden)."""
        allowed = self.keys_of(context)
        if allowed is not None and name not in allowed:
            ident = "" if context.grant is None else context.grant.ident
            raise RpcError(
                FORBIDDEN,
                f"the token {ident} does not reach the key {name}",
                hint="use a token made with --account for it",
                facts={"keys": list(allowed)},
            )
        return name

    async def key(self, context: Context, name: str) -> KeyInfo:
        """Return what is known of a key that the caller may touch. Raises `NotFound` via `told`."""
        self.check(context, name)
        found: KeyInfo | None = await in_thread(self._shown, name)
        if found is None:
            raise unknown(f"the key {name}")
        return found

    def _shown(self, name: str) -> KeyInfo | None:
        return self.keystore.show(name) if self.keystore.has(name) else None

    async def names(self, context: Context) -> list[str]:
        """Return the names of the keys that the caller may see."""
        allowed = self.keys_of(context)
        names: list[str] = await in_thread(self.keystore.names)
        return [one for one in names if allowed is None or one in allowed]

    async def whom(self, text: str) -> Named:
        """Return whom a name or address means. Raises `Malformed`, `NotFound`."""
        try:
            found: Named = await in_thread(self.home.resolve, text, self.keystore)
            return found
        except OperatorError as err:
            if type(err) is not OperatorError:
                raise
            raise unknown("an account of that name") from err

    async def signer(
        self, info: KeyInfo, passphrase: SecretStr | None, *, own: bool = False
    ) -> SigningKey:
        """Return what signs for a key: the open one, or one that `passphrase` opens for this once.

        `own`: the key itself is needed, not only what signs by it. Raises `KeyLocked`,
        `WrongPassphrase`.
        """
        if passphrase is None:
            if own:
                raise Malformed("passphrase", "is needed: this takes more than an open key")
            return self.unlocked.key(info.name)
        typed = passphrase.get_secret_value()
        opened: UnlockedKey = await self.hashing(self.keystore.unlock, info.name, typed)
        return opened.signer

    # -- what blocks

    async def hashing(self, work: Callable[..., T], *values: Any) -> T:
        """Do what hashes a passphrase, in its turn. Raises `RpcError` when too many wait."""
        if self._hashes_waiting >= HASHES_WAITING_MAX:
            raise RpcError(
                RATE_LIMITED,
                "too many passphrases are being tried",
                facts={"retryAfterMs": _BUSY_MS},
            )
        self._hashes_waiting += 1
        try:
            async with self._hashing:
                return await in_thread(work, *values)
        finally:
            self._hashes_waiting -= 1


class _Flight:
    """A piece of work that goes on whoever waits for it, and how it ended."""

    __slots__ = ("ended", "error", "value")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.value: Any = None
        self.error: Exception | None = None


_Begin = tuple[tuple[bytes, bytes], _Flight, Callable[[], Awaitable[Any]]]


class Flights:
    """Payments under way, by what they are: who asks for the same one waits for the same one."""

    def __init__(self) -> None:
        self._flights: dict[tuple[bytes, bytes], _Flight] = {}
        self._begin, self._begun = trio.open_memory_channel[_Begin](FLIGHTS_MAX)

    async def run(self) -> None:
        """Do the work that is joined, until cancelled; cancelled work is gone on with later."""
        async with trio.open_nursery() as nursery:
            async for key, flight, work in self._begun:
                nursery.start_soon(self._fly, key, flight, work)

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: tuple[bytes, bytes]) -> bool:
        return key in self._flights

    async def join(
        self, key: tuple[bytes, bytes], work: Callable[[], Awaitable[T]], wait_ms: int
    ) -> T | None:
        """Do `work` under `key`, once at a time; return how it ended, None when time is over.

        What `work` raises is raised to everybody who waits. Cancelling a waiter leaves the work.
        Raises `RpcError` when too much is under way.
        """
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX:
                raise RpcError(
                    RATE_LIMITED,
                    f"{FLIGHTS_MAX} payments are under way",
                    facts={"retryAfterMs": _BUSY_MS},
                )
            flight = self._flights[key] = _Flight()
            # Room for as many as may be under way: this never fails.
            self._begin.send_nowait((key, flight, work))
        with trio.move_on_after(wait_ms / 1000):
            await flight.ended.wait()
        if not flight.ended.is_set():
            return None
        if flight.error is not None:
            raise flight.error
        value: T = flight.value
        return value

    async def until_known(
        self,
        key: tuple[bytes, bytes],
        work: Callable[[], Awaitable[Any]],
        wait_ms: int,
        find: Callable[[], Awaitable[T | None]],
    ) -> T | None:
        """Join as `join`, and at least until `find` finds what was written down of it.

        A caller who waits for nothing is told what to ask for; None when that takes too long.
        """
        await self.join(key, work, wait_ms)
        found = await find()
        for _ in range(KNOWN_TRIES_MAX):
            if found is not None or key not in self:
                break
            await self.join(key, work, KNOWN_PAUSE_MS)
            found = await find()
        return found

    async def _fly(
        self, key: tuple[bytes, bytes], flight: _Flight, work: Callable[[], Awaitable[Any]]
    ) -> None:
        try:
            flight.value = await work()
        except Exception as error:
            # Told to who waits; whoever asks later finds the row, or that there is none.
            flight.error = error
        finally:
            del self._flights[key]
            flight.ended.set()


def offered(
    name: str,
    summary: str,
    handler: Callable[[Any, Context], Awaitable[Any]],
    params: type[BaseModel] = NoParams,
    result: Any = Any,
    **more: Any,
) -> Method:
    """Return a method of the service: its errors can be told, and it always needs a token."""
    return Method(name, summary, _wrapped(handler), params, result, role=ROLE, **more)


def _wrapped(handler: Callable[[Any, Context], Awaitable[Any]]) -> Handler:
    """Return a handler whose errors are what a caller can be told."""

    async def answer(params: Any, context: Context) -> Any:
        try:
            return await handler(params, context)
        except Exception as error:
            said = told(error)
            if said is error:
                raise
            raise said from error

    return answer


def one_of(**given: object) -> str:
    """Return the name of the one value that is given. Raises `Malformed` for none and several."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise Malformed("params", f"take exactly one of {', '.join(given)}")
    return names[0]
