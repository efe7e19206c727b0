"""Transactions of every fate on a real network: nothing of what the pages say of them is made up.

Each is signed here as a wallet would, and sent to the node as anybody could: one that fails by a
rule when its turn comes, one that waits behind a gap in its sequence, one whose time ran out
behind such a gap, and one that another took the place of.
"""

from __future__ import annotations

import os
import time
from typing import Any, Final, NamedTuple

import httpx

from clawpurse.ledger.address import account_text
from clawpurse.ledger.transactions import Role
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms, Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey

ANSWER_SECONDS_MAX: Final = 20
SETTLED_SECONDS_MAX: Final = 30
PATIENT_MS: Final = 600_000
# Long enough to be sent on a busy machine, short enough to wait for.
BRIEF_MS: Final = 3_000
FEE: Final = 5
HIGHER_FEE: Final = 50
# More than half of what the faucet gives: it can be paid once, not twice.
MOST: Final = 60_000
NOT_FOUND: Final = -32001
MANY_LANE: Final = 9


class Fates(NamedTuple):
    """One transaction of each fate, by id; `by` is what took the replaced one's place."""

    payer: str
    failed: str
    pending: str
    expired: str
    replaced: str
    by: str


class Payer:
    """An account with money of the faucet, whose payments are signed here."""

    def __init__(self, rpc: str) -> None:
        self._rpc = rpc
        self._key = SigningKey(os.urandom(32))
        self.account = account_text(self._key.account)
        answer = ask(rpc, "faucet_request", {"account": self.account})
        wait(rpc, answer["txId"])
        status = ask(rpc, "chain_getStatus")
        self._terms = ChainTerms(status["chainId"], bytes.fromhex(status["genesisHash"][2:]))
        self._payee = SigningKey(os.urandom(32)).account
        self._sequence = 0

    def send(self, slot: Slot, amount: int, *, fee: int = FEE, valid_ms: int = PATIENT_MS) -> str:
        """Pay an amount in minor units; return the id once it was accepted."""
        raw = self._sign(slot, amount, fee, valid_ms)
        return str(ask(self._rpc, "tx_submit", {"tx": raw})["txId"])

    def signed(self, amount: int) -> str:
        """The next payment of the lane for many, as hex, to be sent later and in order."""
        self._sequence += 1
        return self._sign(Slot(MANY_LANE, self._sequence - 1), amount, FEE, PATIENT_MS)

    def submit_all(self, signed: list[str]) -> int:
        """Send payments in one request; how many were accepted."""
        calls = [
            {"jsonrpc": "2.0", "id": at, "method": "tx_submit", "params": {"tx": raw}}
            for at, raw in enumerate(signed)
        ]
        answer = httpx.post(self._rpc, json=calls, timeout=ANSWER_SECONDS_MAX, trust_env=False)
        return sum("result" in one for one in answer.json())

    def _sign(self, slot: Slot, amount: int, fee: int, valid_ms: int) -> str:
        body = build_body(
            self._terms,
            build_registry(),
            self._key.account,
            slot,
            [transfer_action("CLAW", self._payee, amount)],
            valid_until_ms=time.time_ns() // 1_000_000 + valid_ms,
            fee=fee,
        )
        return f"0x{sign_body(body, [(Role.SENDER, self._key)]).raw.hex()}"


def fates_on(rpc: str) -> Fates:
    """Send what ends in each way, and return the ids once each has its fate."""
    payer = Payer(rpc)
    # The second is accepted for the money that is there, and finds it gone when its turn comes.
    failed = payer.send(Slot(0, 1), MOST)
    wait(rpc, payer.send(Slot(0, 0), MOST))
    expired = payer.send(Slot(1, 1), 100, valid_ms=BRIEF_MS)
    replaced = payer.send(Slot(2, 1), 100)
    by = payer.send(Slot(2, 1, 1), 100, fee=HIGHER_FEE)
    payer.send(Slot(2, 0), 100)
    wait(rpc, by)
    pending = payer.send(Slot(3, 1), 1_250)
    _until(rpc, failed, "final")
    _until(rpc, replaced, "replaced")
    # A block after its time makes it certain, and an idle network makes none soon.
    time_out = time.monotonic() + BRIEF_MS / 1_000
    sequence = 0
    while status_of(rpc, expired) != "expired":
        assert time.monotonic() < time_out + SETTLED_SECONDS_MAX
        wait(rpc, payer.send(Slot(4, sequence), 100))
        sequence += 1
    return Fates(payer.account, failed, pending, expired, replaced, by)


def ask(rpc: str, method: str, params: Any = None) -> Any:
    """Call a method of the node; its result, or a failed test."""
    answer = _answer(rpc, method, params)
    assert "result" in answer, (method, answer)
    return answer["result"]


def status_of(rpc: str, tx_id: str) -> str:
    """What the node says now became of a transaction."""
    answer = _answer(rpc, "tx_get", {"txId": tx_id})
    if "result" in answer:
        return str(answer["result"]["status"])
    assert answer["error"]["code"] == NOT_FOUND, answer
    return str(answer["error"]["data"]["status"])


def wait(rpc: str, tx_id: str) -> None:
    """Wait until a transaction is final, whatever came of it."""
    done = ask(rpc, "tx_wait", {"txId": tx_id, "timeoutMs": ANSWER_SECONDS_MAX * 900})
    assert done["status"] == "final", done


def _until(rpc: str, tx_id: str, status: str) -> None:
    deadline = time.monotonic() + SETTLED_SECONDS_MAX
    while (found := status_of(rpc, tx_id)) != status:
        assert time.monotonic() < deadline, (tx_id, found)
        ask(rpc, "tx_wait", {"txId": tx_id, "timeoutMs": 500})


def _answer(rpc: str, method: str, params: Any) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return httpx.post(rpc, json=call, timeout=ANSWER_SECONDS_MAX, trust_env=False).json()
