"""A wallet service without sockets: its methods over a real home and a small chain's node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from clawpurse.modules.kit.web.apikeys import ApiKeys
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Pending
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.guardrail_files import guardrails_in
from clawpurse.wallet.home import ClientHome, Network
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.service import service_directory, service_methods
from clawpurse.wallet.service_desk import Desk, Flights, ServiceNode
from clawpurse.wallet.service_tokens import ServiceTokens, scopes_of
from clawpurse.wallet.signing_requests import SigningRequests
from clawpurse.wallet.unlocked import UnlockedKeys
from tests.cli.fakenode import FakeNode
from tests.node.rpc.published import undescribed, validators
from tests.wallet.smallchain import START_MS

PASSPHRASE = "correct horse battery"
CHEAP = KdfCost(1, 8 * 2**20)
DAY_MS = 86_400_000


class Clock:
    """A wall clock in ms that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time_ms = START_MS

    def __call__(self) -> int:
        return self.time_ms


class House:
    """One home with the keys alice and bob, served. Made by `open_house`."""

    def __init__(self, root: Path, node: FakeNode, clock: Clock) -> None:
        self.node, self.clock = node, clock
        self.home = ClientHome(root)
        self.home.prepare()
        self.keystore = self.home.keystore(clock, CHEAP)
        for name, key in (("alice", node.chain.alice), ("bob", node.chain.bob)):
            if not self.keystore.has(name):
                self.keystore.import_seed(name, PASSPHRASE, key.reveal_seed())
        self.outbox = Outbox(root / "outbox", now_ms=clock)
        self.unlocked = UnlockedKeys(self.keystore, clock_ms=clock)
        self.client = ServiceNode(Network("small", ("http://small",)), open_client=node.open)
        self.desk = Desk(
            self.home,
            self.keystore,
            self.unlocked,
            self.client,
            self.outbox,
            guardrails_in(root, clock),
            ServiceTokens(service_directory(self.home), now_ms=clock),
            build_registry(),
            SigningRequests(service_directory(self.home), clock),
            now_ms=clock,
            version="test",
        )
        self.flights = Flights()
        self.methods = service_methods(self.desk, self.flights)
        self.log = RefusalLog()
        self.dispatcher = Dispatcher(self.methods, log=self.log)
        self.me = self.caller("wallet_*")

    def caller(self, *scopes: str, keys: tuple[str, ...] = (), name: str = "me") -> Context:
        """Return who calls with a new token of these scopes, for these keys only."""
        secret, _ = self.desk.tokens.create(name, scopes_of(scopes), keys, 300 * DAY_MS)
        grant = ApiKeys(self.desk.tokens, self.clock).recognise(secret)
        assert grant is not None
        return Context(f"token:{grant.ident}", "local", grant, closed=True)

    async def raw(self, method: str, params: Any, caller: Context | None = None) -> dict[str, Any]:
        """Call, and return the whole answer."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: Any = self.dispatcher.answer(json.dumps(message).encode(), caller or self.me)
        if isinstance(answer, Pending):
            answer = await answer.run()
        assert answer is not None
        found: dict[str, Any] = json.loads(bytes(answer))
        return found

    async def call(self, method: str, caller: Context | None = None, **params: Any) -> Any:
        """Call, and return the result; an error answer is raised as `RpcError`.

        What is answered is held against what is published of it.
        """
        answer = await self.raw(method, params, caller)
        if "error" in answer:
            raise RpcError.from_object(answer["error"])
        found = next((one for one in self.methods if one.name == method), None)
        if found is not None:
            validator = validators([found])[method]
            unsaid = list(undescribed(validator.schema, validator.schema, answer["result"]))
            assert validator.is_valid(answer["result"]) and not unsaid, (method, unsaid)
        return answer["result"]

    async def unlock(self, name: str = "alice") -> None:
        """Open a key."""
        await self.call("wallet_unlock", name=name, passphrase=PASSPHRASE)

    def close(self) -> None:
        """Forget the keys, close the journal."""
        self.unlocked.close()
        self.desk.requests.close()
        self.outbox.close()


@asynccontextmanager
async def open_house(
    root: Path, node: FakeNode | None = None, clock: Clock | None = None
) -> AsyncIterator[House]:
    """Serve a home; leaving ends everything under way as a stop does."""
    house = House(root, node or FakeNode(), clock or Clock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.flights.run)
        try:
            yield house
        finally:
            nursery.cancel_scope.cancel()
            house.close()
