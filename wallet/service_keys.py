"""Methods of the wallet service about keys: make, import, watch, list, unlock, lock, status."""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.modules.kit.web.errors import (
    GUARDRAIL_REFUSED,
    KEY_LOCKED,
    NODE_UNREACHABLE,
    NOT_FOUND,
    STORAGE_FAULT,
    WALLET_REFUSED,
    WRONG_PASSPHRASE,
    RpcError,
    Unreachable,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.imports import read_seed
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.service_desk import Desk, Flights, offered, one_of
from clawpurse.wallet.service_values import (
    CreateParams,
    ImportParams,
    KeyShape,
    KeysShape,
    LockedShape,
    LockParams,
    MadeShape,
    StatusShape,
    UnlockParams,
    WatchParams,
    hexed,
    plain,
)

# An Argon2id run is a quarter of a second of one core: dear, so that nobody buys many.
HASH_COST: Final = 50
NODE_COST: Final = 5
# Above: what a node's methods give, beside these of the wallet.
FAULTS: Final = (WALLET_REFUSED, STORAGE_FAULT)
_STATUS_TIMEOUT_MS: Final = 3_000


class KeyMethods:
    """Methods about the keys of the home."""

    def __init__(self, desk: Desk, flights: Flights) -> None:
        self._desk = desk
        self._flights = flights

    def methods(self) -> list[Method]:
        """Return their definitions."""
        return [
            offered(
                "wallet_create",
                "Make a key of its own words",
                self.create,
                CreateParams,
                MadeShape,
                errors=FAULTS,
                cost=HASH_COST,
                description="It gets the default guardrails. Its words are answered once, where "
                "`revealWords` asks for them; `clawpurse keys backup` shows them to a person.",
            ),
            offered(
                "wallet_import",
                "Save a key from its words, its seed or an exported key file",
                self.import_,
                ImportParams,
                KeyShape,
                errors=(WRONG_PASSPHRASE, *FAULTS),
                cost=HASH_COST,
            ),
            offered(
                "wallet_watch",
                "Save an account to look at, without a key",
                self.watch,
                WatchParams,
                KeyShape,
                errors=(NOT_FOUND, *FAULTS),
            ),
            offered(
                "wallet_list",
                "The keys and watch-only accounts that the token may touch",
                self.list_,
                result=KeysShape,
                errors=FAULTS,
                cost=NODE_COST,
            ),
            offered(
                "wallet_unlock",
                "Open a key for a while, so that payments can be signed",
                self.unlock,
                UnlockParams,
                KeyShape,
                errors=(NOT_FOUND, WRONG_PASSPHRASE, *FAULTS),
                cost=HASH_COST,
                description="After wrong passphrases the next try waits (`retryAfterMs`), longer "
                "each time. The key locks itself when its time is over.",
            ),
            offered(
                "wallet_lock",
                "Forget an open key, or all of them",
                self.lock,
                LockParams,
                LockedShape,
                errors=FAULTS,
            ),
            offered(
                "wallet_getStatus",
                "How the service stands, and whether a node answers it",
                self.status,
                result=StatusShape,
                errors=FAULTS,
                cost=NODE_COST,
            ),
        ]

    async def create(self, params: CreateParams, context: Context) -> dict[str, Any]:
        """wallet_create."""
        desk = self._desk
        desk.check(context, params.name)

        def make() -> tuple[KeyInfo, list[str]]:
            return desk.keystore.add(
                params.name,
                params.passphrase.get_secret_value(),
                word_count=params.words,
                language=params.language,
            )

        info, words = await desk.hashing(make)
        shown = self._shape(info).model_dump()
        return plain(MadeShape(**shown, words=words if params.reveal_words else None))

    async def import_(self, params: ImportParams, context: Context) -> dict[str, Any]:
        """wallet_import."""
        desk, name = self._desk, params.name
        desk.check(context, name)
        kind = one_of(words=params.words, seed=params.seed, keyFile=params.key_file)
        if params.index and kind != "words":
            raise Malformed("index", "belongs to words")
        passphrase = params.passphrase.get_secret_value()

        def save() -> KeyInfo:
            if params.words is not None:
                words = params.words.get_secret_value()
                return desk.keystore.import_words(name, passphrase, words, index=params.index)
            if params.seed is not None:
                seed = read_seed(_ascii(params.seed.get_secret_value()))
                return desk.keystore.import_seed(name, passphrase, seed)
            assert params.key_file is not None
            data = _ascii(params.key_file.get_secret_value())
            return desk.keystore.import_file(name, passphrase, data)

        return plain(self._shape(await desk.hashing(save)))

    async def watch(self, params: WatchParams, context: Context) -> dict[str, Any]:
        """wallet_watch."""
        self._desk.check(context, params.name)
        named = await self._desk.whom(params.account)
        info = await in_thread(self._desk.keystore.watch, params.name, named.account)
        return plain(self._shape(info))

    async def list_(self, _params: Any, context: Context) -> dict[str, Any]:
        """wallet_list."""
        found = [await self._desk.key(context, one) for one in await self._desk.names(context)]
        return plain(KeysShape(keys=[self._shape(one) for one in found]))

    async def unlock(self, params: UnlockParams, context: Context) -> dict[str, Any]:
        """wallet_unlock."""
        desk = self._desk
        info = await desk.key(context, params.name)
        passphrase = params.passphrase.get_secret_value()
        await desk.hashing(desk.unlocked.unlock, params.name, passphrase, params.timeout_ms)
        return plain(self._shape(info))

    async def lock(self, params: LockParams, context: Context) -> dict[str, Any]:
        """wallet_lock."""
        desk = self._desk
        wanted = list(desk.unlocked.left_ms())
        if params.name is not None:
            wanted = [desk.check(context, params.name)]
        allowed = desk.keys_of(context)
        mine = [one for one in wanted if allowed is None or one in allowed]
        return plain(LockedShape(locked=[one for one in mine if desk.unlocked.lock(one)]))

    async def status(self, _params: Any, context: Context) -> dict[str, Any]:
        """wallet_getStatus."""
        desk = self._desk
        names = await desk.names(context)
        answer: dict[str, Any] = {}
        try:
            answer = await desk.node.call("chain_getStatus", timeout_ms=_STATUS_TIMEOUT_MS)
        except (Unreachable, RpcError, PeerError):
            # That is the status: no node answers.
            answer = {}
        left = desk.unlocked.left_ms()
        shape = StatusShape(
            version=desk.version,
            url=desk.node.url,
            reachable=bool(answer),
            chain_id=answer.get("chainId"),
            genesis_hash=answer.get("genesisHash"),
            height=answer.get("height"),
            keys=len(names),
            unlocked={name: ms for name, ms in left.items() if name in names},
            secrets_in_locked_memory=desk.unlocked.in_locked_memory,
            payments_under_way=len(self._flights),
            problem=desk.problem or None,
        )
        return plain(shape)

    def _shape(self, info: KeyInfo) -> KeyShape:
        return KeyShape(
            name=info.name,
            account=account_text(info.account),
            public_key=None if info.key is None else hexed(info.key),
            watch_only=info.watch_only,
            label=info.label,
            unlocked_for_ms=self._desk.unlocked.left_ms().get(info.name),
        )


def _ascii(text: str) -> bytes:
    try:
        return text.strip().encode("ascii")
    except UnicodeEncodeError:
        raise Malformed("key", "is not ASCII text") from None


SIGNING_ERRORS: Final = (
    KEY_LOCKED,
    GUARDRAIL_REFUSED,
    NODE_UNREACHABLE,
    NOT_FOUND,
    *FAULTS,
)
