"""A node without sockets: what the command line asks is answered from a `SmallChain`.

It judges transactions by the real ledger and proves them by real certificates, so a command that
lies about a payment fails here too.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Code, NotFound, Refused
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import Account, account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.errors import (
    METHOD_NOT_FOUND,
    NOT_FOUND,
    RpcError,
    Unreachable,
)
from clawpurse.node.rpc.session_methods import (
    SessionListParams,
    SessionMethods,
    SessionParams,
    SponsorshipListParams,
)
from tests.wallet.smallchain import START_MS, Made, SmallChain

ASSETS = {"CLAW": 2, "EUR": 3}


class _Reader:
    def __init__(self, chain: SmallChain) -> None:
        self._chain = chain

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self._chain.state.get((tree, key))

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        state = self._chain.state
        found = [(k, v) for (t, k), v in state.items() if t == tree and k.startswith(prefix)]
        return sorted(row for row in found if row[0] > after)[:limit]


class FakeNode:
    """Answers method by method; `calls` records, `overrides` replaces an answer or raises."""

    def __init__(self) -> None:
        self.chain = SmallChain(fee_min=1)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.overrides: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.final: dict[str, Made] = {}
        self.down = False

    def open(self, url: str) -> Any:
        """Stand in for `RpcClient`."""
        return _Client(self, url)

    def answer(self, method: str, params: dict[str, Any]) -> Any:
        self.calls.append((method, params))
        given = self.overrides.get(method) or getattr(self, method, None)
        if given is None:
            raise RpcError(METHOD_NOT_FOUND, f"there is no method {method}")
        result = given(params)
        if isinstance(result, BaseException):
            raise result
        return result

    # -- methods

    def chain_getStatus(self, _params: dict[str, Any]) -> Any:
        genesis = self.chain.genesis
        return {
            "chainId": genesis.chain_id,
            "genesisHash": f"0x{genesis.hash.hex()}",
            "height": self.chain.height,
            "hash": "0x" + "08" * 32,
            "timeMs": genesis.time_ms,
            "stateRoot": "0x" + "09" * 32,
            "syncing": False,
            "behind": 0,
            "peers": 3,
            "authorities": 4,
            "version": "0.1.0",
            "testNetwork": True,
        }

    def consensus_getState(self, _params: dict[str, Any]) -> Any:
        return {"height": self.chain.height + 1, "round": 0, "signing": True}

    def consensus_explain(self, _params: dict[str, Any]) -> Any:
        return {
            "state": "idle",
            "ok": True,
            "sentence": "Ready. No block yet: the first payment makes one.",
            "also": [],
            "command": None,
            "hint": None,
        }

    def mempool_getStatus(self, _params: dict[str, Any]) -> Any:
        return {"transactions": 2, "gaps": 1}

    def node_getInfo(self, _params: dict[str, Any]) -> Any:
        return {"name": "authority-1", "isAuthority": True, "signing": True}

    def chain_getParameters(self, _params: dict[str, Any]) -> Any:
        return {"parameters": {"fee_min": self.chain.genesis.params.fee_min}}

    def asset_get(self, params: dict[str, Any]) -> Any:
        asset = params["asset"]
        if asset not in ASSETS:
            return RpcError(NOT_FOUND, f"asset {asset} is not known here")
        return {"asset": asset, "decimals": ASSETS[asset], "title": asset, "supply": "1"}

    def account_getBalances(self, params: dict[str, Any]) -> Any:
        books = Books(Overlay(_Reader(self.chain)))
        account = account_from_text(params["account"])
        balances = []
        for asset, decimals in ASSETS.items():
            entry = books.balance(asset, account)
            if entry.amount or asset == "CLAW":
                balances.append(
                    {
                        "asset": asset,
                        "amount": str(entry.amount),
                        "held": str(entry.held),
                        "decimals": decimals,
                    }
                )
        return {"account": params["account"], "balances": balances}

    def _record(self, params: dict[str, Any]) -> Account | None:
        data = self.chain.state.get((KERNEL, account_key(account_from_text(params["account"]))))
        return None if data is None else Account.unpack(data)

    def account_get(self, params: dict[str, Any]) -> Any:
        if self._record(params) is None:
            return RpcError(NOT_FOUND, "the account is not known here")
        return {"account": params["account"]}

    def account_getSequence(self, params: dict[str, Any]) -> Any:
        record = self._record(params)
        sequence = 0 if record is None else record.sequence(params.get("lane", 0))
        return {"sequence": sequence, "finalSequence": sequence, "open": record is not None}

    @property
    def _sessions(self) -> SessionMethods:
        """The node's own answers, over this chain's state."""
        now_ms = START_MS + 1000 * (self.chain.height + 1)
        services = SimpleNamespace(
            chain=SimpleNamespace(
                reader=_Reader(self.chain), tip=SimpleNamespace(time_ms=now_ms - 1)
            ),
            clock=SimpleNamespace(now_ms=lambda: now_ms),
            decimals_of=ASSETS.get,
        )
        return SessionMethods(services)  # type: ignore[arg-type]

    def session_get(self, params: dict[str, Any]) -> Any:
        try:
            return self._sessions.get(SessionParams.model_validate(params), None)  # type: ignore[arg-type]
        except NotFound as err:
            return RpcError(NOT_FOUND, str(err))

    def session_list(self, params: dict[str, Any]) -> Any:
        asked = SessionListParams.model_validate(params)
        return self._sessions.sessions(asked, None)  # type: ignore[arg-type]

    def sponsorship_list(self, params: dict[str, Any]) -> Any:
        asked = SponsorshipListParams.model_validate(params)
        return self._sessions.sponsorships(asked, None)  # type: ignore[arg-type]

    def tx_simulate(self, _params: dict[str, Any]) -> Any:
        return {
            "code": "ok",
            "reason": None,
            "rule": None,
            "fee": "1",
            "feeMin": "1",
            "cost": 200,
            "trace": [],
        }

    def tx_submit(self, params: dict[str, Any]) -> Any:
        raw = bytes.fromhex(params["tx"][2:])
        tx_id = f"0x{decode_transaction(raw).tx_id.hex()}"
        try:
            self.final[tx_id] = self.chain.block(raw)
        except Refused as err:
            return RpcError(err.code.rpc_code, err.reason)
        return {"txId": tx_id, "status": "accepted", "duplicate": False}

    def tx_wait(self, params: dict[str, Any]) -> Any:
        tx_id = params.get("txId")
        if tx_id not in self.final:
            return {"txId": tx_id, "status": "unknown"}
        height = self.final[tx_id].header.height
        return {"txId": tx_id, "status": "final", "height": height, "index": 0}

    def tx_getReceipt(self, params: dict[str, Any]) -> Any:
        return {"proof": self.final[params["txId"]].proof()}

    def faucet_request(self, params: dict[str, Any]) -> Any:
        tx_id = "0x" + "fa" * 32
        self.overrides["tx_wait"] = lambda _: {
            "txId": tx_id,
            "status": "final",
            "height": 51,
            "index": 0,
        }
        assert account_text(account_from_text(params["account"])) == params["account"]
        return {"txId": tx_id, "asset": "CLAW", "amount": "100000"}

    def rpc_discover(self, _params: dict[str, Any]) -> Any:
        return {"methods": [{"name": "chain_getBlock", "params": []}, {"name": "chain_getStatus"}]}

    def refuse(self, method: str, code: Code, reason: str) -> None:
        """Have a method refuse from now on."""
        self.overrides[method] = lambda _params: RpcError(code.rpc_code, reason)


class _Client:
    """What `NodeClient` uses of `RpcClient`."""

    def __init__(self, node: FakeNode, url: str) -> None:
        self._node = node
        self.url = url

    async def call(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_ms: int | None = None,
        retry: bool = True,
    ) -> Any:
        del timeout_ms, retry
        if self._node.down:
            raise Unreachable(self.url, "Connection refused", sent=False)
        return self._node.answer(method, params or {})

    async def aclose(self) -> None:
        """Nothing is open."""


def shown_as(honest: Callable[[Any], Any], change: dict[str, Any], params: Any) -> Any:
    """Answer as the honest node does, but for some members of it."""
    return {**honest(params), **change}
