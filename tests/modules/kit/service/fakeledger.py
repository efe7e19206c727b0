"""A ledger that is a dictionary: takes each idempotency key once, forgets nothing, fails on order.

What it answers is shaped as a node's JSON-RPC is. `faults` are drawn before and after each call:
a call may be lost on its way, or its answer may be, as over a real network.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

import trio

from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.service.sending import Signed
from clawpurse.modules.kit.web.errors import RpcError, Unreachable

GENESIS = b"g" * 32
ADDRESS = "claw1shop"


class FakeLedger:
    """`roles` by account; `executed` are keys in order; `refusing` is a code for submissions."""

    def __init__(self, draw: random.Random | None = None, faults: float = 0.0) -> None:
        self.draw = draw or random.Random(1)
        self.faults = faults
        self.roles: dict[str, list[str]] = {}
        self.role_calls = 0
        self.events: list[dict[str, Any]] = []
        self.executed: list[bytes] = []
        self.final: dict[str, dict[str, Any]] = {}
        self.expired: set[str] = set()
        self.refusing: int | None = None
        self.failing = False
        self.loses = 0.0
        self.away = False
        self.height = 1

    async def call(self, method: str, params: Any = None) -> Any:
        await trio.lowlevel.checkpoint()
        if self.away or self.draw.random() < self.faults:
            raise Unreachable("http://node", "it went away", sent=False)
        answer = await getattr(self, method)(**params)
        if self.draw.random() < self.faults:
            raise Unreachable("http://node", "it went away", sent=True)
        return answer

    async def chain_getStatus(self) -> dict[str, Any]:
        return {"chainId": "fake", "genesisHash": "0x" + GENESIS.hex()}

    async def chain_getParameters(self) -> dict[str, Any]:
        return {"parameters": {"fee_min": 1}}

    async def role_list(
        self, account: str, limit: int, cursor: str | None = None
    ) -> dict[str, Any]:
        self.role_calls += 1
        assert cursor is None and limit >= len(self.roles.get(account, []))
        return {"account": account, "roles": self.roles.get(account, []), "nextCursor": None}

    async def account_getSequence(self, account: str, lane: int) -> dict[str, Any]:
        return {"account": account, "lane": lane, "sequence": len(self.executed)}

    async def tx_submit(self, tx: str, wait: str) -> dict[str, Any]:
        body = json.loads(bytes.fromhex(tx[2:]))
        tx_id = id_of(bytes.fromhex(tx[2:]))
        if self.refusing is not None:
            raise RpcError(self.refusing, "no")
        if tx_id in self.final or bytes.fromhex(body["key"]) in self.executed:
            raise RpcError(Code.DUPLICATE.rpc_code, "done already")
        if tx_id in self.expired:
            raise RpcError(Code.EXPIRED.rpc_code, "too late")
        if body["sequence"] != len(self.executed):
            raise RpcError(Code.SEQUENCE_LOW.rpc_code, "taken")
        if self.draw.random() < self.loses:
            self.expired.add(tx_id)
            return {"txId": tx_id, "status": "accepted"}
        self.height += 1
        self.executed.append(bytes.fromhex(body["key"]))
        code = "insufficientFunds" if self.failing else "ok"
        self.final[tx_id] = {
            "txId": tx_id,
            "status": "final",
            "height": self.height,
            "receipt": {"code": code, "reason": "" if code == "ok" else "too little"},
            "key": body["key"],
        }
        return {"txId": tx_id, "status": "accepted"}

    async def tx_wait(
        self,
        timeoutMs: int,
        txId: str | None = None,
        sender: str | None = None,
        idempotencyKey: str | None = None,
    ) -> dict[str, Any]:
        if txId is not None:
            if txId in self.expired:
                return {"txId": txId, "status": "expired"}
            return self.final.get(txId, {"txId": txId, "status": "unknown"})
        for one in self.final.values():
            if idempotencyKey == "0x" + one["key"]:
                return one
        return {"txId": None, "status": "unknown"}

    async def events_get(
        self, topic: str, fromCursor: str, limit: int, waitMs: int
    ) -> dict[str, Any]:
        start = 0 if fromCursor == "beginning" else int(fromCursor.split(".")[0])
        with trio.move_on_after(waitMs / 1000):
            while len(self.events) <= start:
                await trio.sleep(0.005)
                if self.away:
                    raise Unreachable("http://node", "it went away", sent=True)
        found = self.events[start : start + limit]
        return {"events": found, "nextCursor": f"{start + len(found)}.0" if found else fromCursor}

    def happen(self, kind: str, **data: Any) -> None:
        """Let an event become final."""
        number = len(self.events) + 1
        shown = {
            "height": number,
            "index": 0,
            "time": "2026-11-23T10:00:00Z",
            "kind": kind,
            "accounts": ["claw1someone"],
            "data": data,
            "txId": None,
        }
        self.events.append({"cursor": f"{number}.0", "data": shown})


class FakeAccount:
    """Signs by writing down what it was asked for; each signature differs, as real ones do."""

    address = ADDRESS
    lane = 0

    def __init__(self) -> None:
        self.signed = 0

    def sign(self, actions: Sequence[RawAction], sequence: int, fee: int, key: bytes) -> Signed:
        self.signed += 1
        body = {"sequence": sequence, "key": key.hex(), "try": self.signed}
        raw = json.dumps({**body, "names": [one.name for one in actions]}).encode()
        return Signed(raw, bytes.fromhex(id_of(raw)[2:]), 0)


def id_of(raw: bytes) -> str:
    return "0x" + hashlib.sha256(raw).hexdigest()
