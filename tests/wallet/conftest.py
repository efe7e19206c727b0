"""Shared pieces of the wallet's tests: cheap hashing, a clock one can set, a home to use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.light_store import TrustedBlocks
from tests.ledger.lightworld import LightWorld

PASSPHRASE = "correct horse battery"


class SettableClock:
    """A wall clock in ms that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def cheap() -> KdfCost:
    """The least work that a key file may ask for: 7 ms instead of 250."""
    return KdfCost(1, 8 * 2**20)


@pytest.fixture
def passphrase() -> str:
    return PASSPHRASE


@pytest.fixture
def keys(tmp_path: Path, clock: SettableClock, cheap: KdfCost) -> Keystore:
    return Keystore(tmp_path / "home" / "keys", now_ms=clock, cost=cheap)


@pytest.fixture
def fixed_bytes() -> Callable[[int], bytes]:
    """Randomness without chance, for files whose bytes are frozen."""
    return lambda count: bytes(range(1, count + 1))


@pytest.fixture(scope="session")
def world() -> LightWorld:
    """Sixty blocks; the authorities change step by step until nobody of the first ones is left."""
    return LightWorld({1: range(4), 20: range(1, 5), 30: range(2, 6), 40: range(4, 8)}, 60)


@pytest.fixture
def store(tmp_path: Path) -> TrustedBlocks:
    """Where a light client keeps what it verified."""
    return TrustedBlocks(tmp_path / "light")
