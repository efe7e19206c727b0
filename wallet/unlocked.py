"""Keys that stay open for a while: unlocked once, signing until their time is over, then forgotten.

For a process that lives on, such as the wallet service: a person types a passphrase, the key
signs for some minutes, and whoever takes the machine later finds nothing. Time runs on while the
machine sleeps, and a changed wall clock does not change it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import KeyLocked, Malformed, OperatorError
from clawpurse.ledger.transactions import Role, WitnessEntry, sign_entry
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo, Keystore
from clawpurse.wallet.locked_memory import LockedMemory

TIMEOUT_MS_DEFAULT: Final = 15 * 60_000
TIMEOUT_MS_MIN: Final = 1_000
# A key that is to sign for longer is one for a session key with limits of its own.
TIMEOUT_MS_MAX: Final = 24 * 3_600_000
# How late a key may be forgotten that nobody asks for; whoever asks is refused on time.
_LATE_S_MAX: Final = 1.0
_NS_PER_MS: Final = 1_000_000

_T = TypeVar("_T")


def elapsed_ms() -> int:
    """Return ms since the machine started, sleep included where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // _NS_PER_MS


@dataclass
class _Held:
    """One unlocked key: where its seed lies and until when."""

    key: HeldKey
    slot: int
    until_ms: int


class HeldKey(SigningKey):
    """A signing key whose secret is with `UnlockedKeys` and goes when its time is over.

    Every signature after that raises `KeyLocked`; unlocking again makes another one.
    """

    __slots__ = ("_owner", "name")

    def __init__(self, owner: UnlockedKeys, info: KeyInfo) -> None:
        self._owner = owner
        self.name = info.name
        self.account = info.account
        self.public_key = info.public_key

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`. Raises `KeyLocked`."""
        return self._owner.use(self, lambda seed: crypto.sign(seed, message))

    def sign_body(
        self, role: Role, genesis_hash: bytes, body_bytes: bytes, account: bytes | None = None
    ) -> WitnessEntry:
        """Sign a transaction's body, for its account or for another one. Raises `KeyLocked`."""
        whose = self.account if account is None else account
        return self._owner.use(
            self, lambda seed: sign_entry(seed, genesis_hash, role, whose, body_bytes)
        )

    def reveal_seed(self) -> NoReturn:
        """A held key signs and is never given out: raises `OperatorError`."""
        raise OperatorError(
            f"{self.name} is held to sign.", "Its secret stays here.", "clawpurse keys export"
        )


class UnlockedKeys:
    """The keys that are open now. Safe to use from several threads; `close` it, or use `with`.

    `clock_ms` counts ms and never goes back. `unlock` blocks for one Argon2id run: asynchronous
    callers use a worker thread. Keep `forget_on_time` running, so that keys go when nobody asks.
    """

    def __init__(
        self,
        keystore: Keystore,
        *,
        timeout_ms: int = TIMEOUT_MS_DEFAULT,
        clock_ms: Callable[[], int] = elapsed_ms,
    ) -> None:
        self._keystore = keystore
        self._timeout_ms = _checked(timeout_ms)
        self._clock_ms = clock_ms
        self._memory = LockedMemory()
        self._held: dict[str, _Held] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> UnlockedKeys:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def in_locked_memory(self) -> bool:
        """Whether the system keeps the secrets out of swap and core dumps."""
        return self._memory.is_locked

    def unlock(self, name: str, passphrase: str, timeout_ms: int | None = None) -> HeldKey:
        """Open a key for `timeout_ms` from now on; one that is open gets that time.

        The passphrase is asked for either way. Raises as `Keystore.unlock` does, and `Malformed`
        for a time that is not allowed.
        """
        wanted_ms = _checked(self._timeout_ms if timeout_ms is None else timeout_ms)
        info = self._keystore.show(name)
        signer = self._keystore.unlock(name, passphrase).signer
        with self._guard:
            self._forget_overdue()
            held = self._held.get(name)
            if held is not None and held.key.public_key == signer.public_key:
                held.until_ms = self._clock_ms() + wanted_ms
                return held.key
            self._forget(name)
            key = HeldKey(self, info._replace(account=signer.account, key=signer.public_key))
            slot = self._memory.store(signer.reveal_seed())
            self._held[name] = _Held(key, slot, self._clock_ms() + wanted_ms)
            return key

    def key(self, name: str) -> HeldKey:
        """Return an open key. Raises `KeyLocked`."""
        with self._guard:
            self._forget_overdue()
            held = self._held.get(name)
            if held is None:
                raise KeyLocked(name)
            return held.key

    def left_ms(self) -> dict[str, int]:
        """Return which keys are open, and for how long yet."""
        with self._guard:
            self._forget_overdue()
            now_ms = self._clock_ms()
            return {name: held.until_ms - now_ms for name, held in sorted(self._held.items())}

    def lock(self, name: str) -> bool:
        """Forget a key now; tell whether it was open."""
        with self._guard:
            return self._forget(name)

    def lock_all(self) -> list[str]:
        """Forget every key now; return which were open."""
        with self._guard:
            names = sorted(self._held)
            for name in names:
                self._forget(name)
            return names

    def close(self) -> None:
        """Forget every key and give the memory back. Nothing can be unlocked afterwards."""
        self.lock_all()
        with self._guard:
            self._memory.close()

    async def forget_on_time(self) -> NoReturn:
        """Forget each key at most a second after its time, until cancelled."""
        while True:
            await trio.sleep(_LATE_S_MAX)
            with self._guard:
                self._forget_overdue()

    def use(self, key: HeldKey, work: Callable[[bytes], _T]) -> _T:
        """Call `work` with the seed of `key`, which `work` must not keep. Raises `KeyLocked`."""
        with self._guard:
            self._forget_overdue()
            held = self._held.get(key.name)
            if held is None or held.key is not key:
                raise KeyLocked(key.name)
            return work(self._memory.read(held.slot))

    def _forget_overdue(self) -> None:
        now_ms = self._clock_ms()
        for name in [name for name, held in self._held.items() if held.until_ms <= now_ms]:
            self._forget(name)

    def _forget(self, name: str) -> bool:
        held = self._held.pop(name, None)
        if held is None:
            return False
        self._memory.wipe(held.slot)
        return True


def _checked(timeout_ms: int) -> int:
    if not TIMEOUT_MS_MIN <= timeout_ms <= TIMEOUT_MS_MAX:
        raise Malformed(
            "timeoutMs", f"is {timeout_ms}; {TIMEOUT_MS_MIN}…{TIMEOUT_MS_MAX} are allowed"
        )
    return timeout_ms
