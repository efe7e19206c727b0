"""An open key signs until its time is over, not a moment longer, and leaves nothing in memory."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import warnings

import pytest
import trio
from trio.testing import MockClock

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import KeyLocked, Malformed, OperatorError, WatchOnly, WrongPassphrase
from clawpurse.ledger.transactions import Role, signing_hash
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.locked_memory import SLOTS_MAX, LockedMemory
from clawpurse.wallet.unlocked import (
    TIMEOUT_MS_DEFAULT,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    UnlockedKeys,
    elapsed_ms,
)


class Elapsed:
    """A clock in ms that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time_ms = 5_000

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture
def elapsed() -> Elapsed:
    return Elapsed()


def test_an_open_key_signs_until_its_time_is_over(
    keys: Keystore, passphrase: str, elapsed: Elapsed
) -> None:
    info, _ = keys.add("alice", passphrase)
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        with pytest.raises(KeyLocked, match=r"alice is locked\. Nothing was signed\."):
            held.key("alice")
        key = held.unlock("alice", passphrase)
        assert key.public_key == info.public_key and key.account == info.account
        assert crypto.verify(info.public_key, b"x", key.sign(b"x"))
        entry = key.sign_body(Role.SENDER, bytes(32), b"body", account=b"\x05" * 32)
        message = signing_hash(bytes(32), Role.SENDER, b"\x05" * 32, b"body")
        assert crypto.verify(info.public_key, message, entry.signature)
        assert held.left_ms() == {"alice": TIMEOUT_MS_DEFAULT}
        elapsed.time_ms += TIMEOUT_MS_DEFAULT - 1
        assert held.key("alice") is key and held.left_ms() == {"alice": 1}
        elapsed.time_ms += 1
        for late in (lambda: key.sign(b"x"), lambda: held.key("alice")):
            with pytest.raises(KeyLocked):
                late()
        assert held.left_ms() == {}


def test_unlocking_again_sets_the_time_anew(
    keys: Keystore, passphrase: str, elapsed: Elapsed
) -> None:
    keys.add("alice", passphrase)
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        key = held.unlock("alice", passphrase, timeout_ms=10_000)
        elapsed.time_ms += 9_000
        assert held.unlock("alice", passphrase, timeout_ms=20_000) is key
        elapsed.time_ms += 15_000
        assert key.sign(b"x")
        held.unlock("alice", passphrase, timeout_ms=1_000)
        elapsed.time_ms += 1_000
        with pytest.raises(KeyLocked):
            key.sign(b"x")


def test_a_key_that_was_locked_does_not_come_back_by_unlocking_another(
    keys: Keystore, passphrase: str, elapsed: Elapsed
) -> None:
    """Who still holds the object of an hour ago must not sign with tonight's passphrase."""
    keys.add("alice", passphrase)
    keys.add("bob", passphrase)
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        old = held.unlock("alice", passphrase)
        assert held.lock("alice") and not held.lock("alice")
        new = held.unlock("alice", passphrase)
        assert new is not old and new.sign(b"x")
        with pytest.raises(KeyLocked):
            old.sign(b"x")
        held.unlock("bob", passphrase)
        assert held.lock_all() == ["alice", "bob"] and held.left_ms() == {}
    with pytest.raises(KeyLocked):
        new.sign(b"x")


def test_wrong_passphrases_and_watched_accounts_open_nothing(
    keys: Keystore, passphrase: str, elapsed: Elapsed
) -> None:
    """An open key is no way around its passphrase."""
    keys.add("alice", passphrase)
    keys.watch("treasury", bytes(range(32)))
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        held.unlock("alice", passphrase, timeout_ms=10_000)
        with pytest.raises(WrongPassphrase):
            held.unlock("alice", "wrong wrong wrong", timeout_ms=TIMEOUT_MS_MAX)
        assert held.left_ms() == {"alice": 10_000}
        with pytest.raises(WatchOnly):
            held.unlock("treasury", passphrase)
        for wrong in (0, TIMEOUT_MS_MIN - 1, TIMEOUT_MS_MAX + 1):
            with pytest.raises(Malformed, match="timeoutMs"):
                held.unlock("alice", passphrase, timeout_ms=wrong)


def test_a_held_key_is_not_given_out(keys: Keystore, passphrase: str, elapsed: Elapsed) -> None:
    keys.add("alice", passphrase)
    seed = keys.unlock("alice", passphrase).signer.reveal_seed()
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        key = held.unlock("alice", passphrase)
        with pytest.raises(OperatorError, match="Its secret stays here"):
            key.reveal_seed()
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="never pickled"):
                leak(key)
        assert seed.hex() not in repr(key) + str(key) + repr(held)


async def test_keys_go_on_time_though_nobody_asks(
    keys: Keystore, passphrase: str, elapsed: Elapsed, autojump_clock: MockClock
) -> None:
    """An unattended machine holds no secret a second after the time."""
    keys.add("alice", passphrase)
    with UnlockedKeys(keys, clock_ms=elapsed) as held:
        held.unlock("alice", passphrase, timeout_ms=10_000)
        slot = held._held["alice"].slot
        async with trio.open_nursery() as nursery:
            nursery.start_soon(held.forget_on_time)
            elapsed.time_ms += 9_999
            await trio.sleep(5)
            assert held._memory.read(slot) != bytes(32)
            elapsed.time_ms += 1
            await trio.sleep(2)
            assert held._memory.read(slot) == bytes(32)
            nursery.cancel_scope.cancel()


def test_threads_that_sign_and_lock_at_once_get_a_signature_or_a_refusal(
    keys: Keystore, passphrase: str
) -> None:
    info, _ = keys.add("alice", passphrase)
    outcomes: list[bool] = []
    with UnlockedKeys(keys) as held:
        key = held.unlock("alice", passphrase)

        def sign() -> None:
            for _ in range(50):
                try:
                    outcomes.append(crypto.verify(info.public_key, b"x", key.sign(b"x")))
                except KeyLocked:
                    return

        threads = [threading.Thread(target=sign) for _ in range(4)]
        for thread in threads:
            thread.start()
        held.lock("alice")
        for thread in threads:
            thread.join(60)
    assert all(outcomes)


def test_memory_for_secrets_is_wiped_and_empty_in_a_forked_child() -> None:
    memory = LockedMemory()
    slot = memory.store(b"\x07" * 32)
    assert memory.read(slot) == b"\x07" * 32
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child only reads and writes; threads of other tests do not concern it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(writer, memory.read(slot))
        os._exit(0)
    os.waitpid(child, 0)
    if memory.is_locked:
        assert os.read(reader, 64) == bytes(32)
    os.close(reader)
    os.close(writer)
    memory.wipe(slot)
    assert memory.read(slot) == bytes(32)
    with pytest.raises(ValueError, match="32 bytes"):
        memory.store(b"x")
    memory.close()
    memory.close()


def test_more_keys_than_there_is_memory_for_are_refused() -> None:
    memory = LockedMemory()
    slots = [memory.store(bytes([number % 256]) * 32) for number in range(SLOTS_MAX)]
    assert len(set(slots)) == SLOTS_MAX
    with pytest.raises(OperatorError, match="keys are unlocked"):
        memory.store(bytes(32))
    memory.wipe(slots[0])
    assert memory.store(b"\x01" * 32) == slots[0]
    memory.close()


@pytest.mark.real
def test_a_secret_lies_in_pages_that_are_not_swapped() -> None:
    """The kernel's own account of this process says so."""
    memory = LockedMemory()
    if not memory.is_locked:
        pytest.skip("this system lets nobody lock memory (ulimit -l)")
    with open("/proc/self/smaps", encoding="ascii") as file:
        flags = [line.split()[1:] for line in file if line.startswith("VmFlags:")]
    # lo: locked, dd: not in core dumps, wf: wiped on fork.
    assert any({"lo", "dd", "wf"} <= set(one) for one in flags)
    memory.close()


def test_time_does_not_go_back() -> None:
    first = elapsed_ms()
    assert 0 <= first <= elapsed_ms()
