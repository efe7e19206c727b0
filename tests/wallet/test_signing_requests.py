"""What waits for a person: kept once, bounded in number and age, decided once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Code, Malformed, NotFound, Refused, StorageFault
from clawpurse.wallet import signing_requests as module
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.signing_requests import (
    KEPT_MS,
    OPEN_MAX,
    OPEN_MS,
    OPEN_OF_ONE_MAX,
    Asked,
    SigningRequests,
    State,
)

ALICE, BOB = b"\xa1" * 32, b"\xb0" * 32
PAY = Intent(ALICE, BOB, "CLAW", 1250, "lunch", 1)


class Clock:
    """Moves when a test moves it."""

    def __init__(self) -> None:
        self.time_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.time_ms


def wish(number: int, origin: str = "agent") -> Asked:
    """Return a payment under a key made of a number."""
    once = number.to_bytes(4, "big")
    return Asked(origin, "alice", ALICE, once, (PAY,), asked=("Above 100.00.",), reason="food")


def test_a_request_is_kept_whole_and_private(tmp_path: Path) -> None:
    """A person would approve something else than was asked, or a neighbour read it."""
    clock = Clock()
    with SigningRequests(tmp_path / "service", clock) as store:
        made = store.add(wish(1))
        body = store.add(
            Asked("https://node", "alice", ALICE, b"b", body=b"\x91\x01", submit=False)
        )
        assert {oct(one.stat().st_mode & 0o777) for one in store.file.parent.iterdir()} == {"0o600"}
    with SigningRequests(tmp_path / "service", clock) as store:
        assert store.get(made.id) == made
        assert (made.intents, made.body, made.state) == ((PAY,), None, State.OPEN)
        assert (made.asked, made.reason, made.note) == (("Above 100.00.",), "food", "")
        assert made.expires_ms == made.created_ms + OPEN_MS
        assert store.list() == (body, made)
        assert (body.body, body.submit, body.intents) == (b"\x91\x01", False, ())
        assert store.get(b"?" * 16) is None


def test_asking_again_is_the_same_request(tmp_path: Path) -> None:
    """An agent that retries would fill the page; after a no it would ask until somebody slips."""
    with SigningRequests(tmp_path, Clock()) as store:
        made = store.add(wish(1))
        cheaper = replace(wish(1), intents=(replace(PAY, fee=9),))
        assert store.add(cheaper) == made
        with pytest.raises(Refused) as other:
            store.add(replace(wish(1), intents=(replace(PAY, amount=7),)))
        assert other.value.code is Code.DUPLICATE
        no = store.settle(made.id, State.REJECTED, note="not now")
        assert store.add(wish(1)) == no == store.settle(made.id, State.REJECTED)
        assert (no.note, no.is_open) == ("not now", False)
        with pytest.raises(Refused):
            store.settle(made.id, State.APPROVED, tx_id=b"\x01" * 32)


def test_time_decides_when_nobody_does(tmp_path: Path) -> None:
    """What was wanted last week would be approved today."""
    clock = Clock()
    with SigningRequests(tmp_path, clock) as store:
        made = store.add(wish(1))
        soon = store.add(replace(wish(2), expires_ms=clock.time_ms + 1_000))
        clock.time_ms += 1_000
        ended = store.get(soon.id)
        assert ended is not None and ended.state is State.EXPIRED
        assert store.list([State.OPEN]) == (made,)
        with pytest.raises(Refused, match="expired"):
            store.settle(soon.id, State.REJECTED)
        # Signed in its last moment: told as what it is.
        assert store.settle(soon.id, State.APPROVED, tx_id=b"\x01" * 32).state is State.APPROVED
        clock.time_ms += OPEN_MS
        assert store.add(wish(1)).id != made.id
        clock.time_ms += KEPT_MS + OPEN_MS
        store.add(wish(3))
        assert len(store.list()) == 1 + 1
        with pytest.raises(NotFound):
            store.settle(made.id, State.REJECTED)


def test_no_program_fills_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent's flood would hide what another one asks, or fill the disk."""
    monkeypatch.setattr(module, "KEPT_MAX", 4)
    with SigningRequests(tmp_path, Clock()) as store:
        for number in range(OPEN_OF_ONE_MAX):
            store.add(wish(number))
        with pytest.raises(Refused) as full:
            store.add(wish(1_000))
        assert full.value.code is Code.POOL_FULL
        first = store.add(wish(1_000, "other"))
        for number in range(OPEN_OF_ONE_MAX):
            store.settle(store.add(wish(number)).id, State.REJECTED)
        store.settle(first.id, State.REJECTED)
        assert len(store.list(limit=1_000)) <= 5
        for number in range(OPEN_MAX):
            store.add(wish(number, f"agent {number // 32}"))
        with pytest.raises(Refused):
            store.add(wish(9_999, "last"))


@given(
    memo=st.text(max_size=60),
    amount=st.integers(1, 2**64 - 1),
    reason=st.text(max_size=30),
)
def test_whatever_is_kept_comes_back(memo: str, amount: int, reason: str) -> None:
    """A memo in another script would come back as another memo."""
    asked = replace(wish(1), intents=(replace(PAY, memo=memo, amount=amount),), reason=reason)
    try:
        module._check(asked)
    except Malformed:
        return
    line = (b"i", 1, 2, "o", "alice", ALICE, b"k", "open", None, None, module._document(asked))
    found = module._request(line, 0)
    assert (found.intents, found.reason) == (asked.intents, asked.reason)


def test_what_is_too_large_or_damaged_is_refused(tmp_path: Path) -> None:
    """Something unreadable would be approved by who cannot see what it is."""
    for wrong in (
        {"origin": "x" * 200},
        {"reason": "\x1b[2J"},
        {"intents": ()},
        {"body": b"x"},
        {"idempotency_key": b""},
        {"key_name": "../x"},
        {"intents": (PAY,) * 101},
    ):
        with pytest.raises(Malformed):
            SigningRequests(tmp_path, Clock()).add(replace(wish(1), **wrong))
    with SigningRequests(tmp_path, Clock()) as store:
        store.add(wish(1))
    with sqlite3.connect(tmp_path / "requests.db") as db:
        db.execute("UPDATE requests SET document = x'7b7d'")
    db.close()
    with SigningRequests(tmp_path, Clock()) as store, pytest.raises(StorageFault):
        store.list()
    (tmp_path / "requests.db").write_bytes(b"no database at all, but long enough to be read" * 9)
    for name in ("requests.db-wal", "requests.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with SigningRequests(tmp_path, Clock()) as store, pytest.raises(StorageFault):
        store.add(wish(2))
