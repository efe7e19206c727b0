"""A running service: who may do what by the ledger, what it sends once, how it is configured."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import ClawPurseError, Code, OperatorError, PeerError
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Access, Entity, Line, Whole, entity
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service import sending
from clawpurse.modules.kit.service.declaration import Sent, Service, Settings, on, rpc
from clawpurse.modules.kit.service.host import Place, RunningHost, open_host
from clawpurse.modules.kit.service.publishing import RecordFilter, ServiceMetrics
from clawpurse.modules.kit.service.trail import NOTED_PER_MINUTE_MAX, newest_call
from clawpurse.modules.kit.web.errors import (
    CONFLICT,
    FORBIDDEN,
    INVALID_PARAMS,
    UNAUTHENTICATED,
    RpcError,
    Unreachable,
    as_rpc_error,
)
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.modules.kit.web.scopes import ALL_SCOPES
from tests.modules.kit.service.fakeledger import FakeAccount, FakeLedger

NOW_MS = 1_800_000_000_000
CLERK, OWNER = (account_text(bytes([number]) * 32) for number in (1, 2))


@entity("order", prefix="O")
class Order(Entity):
    """Order"""

    amount: Whole
    outcome: Line | None = None

    flow: ClassVar[Flow] = Flow(
        "paid",
        Move(
            "refund",
            "paid -> refunded",
            role="shop.clerk",
            chain=lambda order: [RawAction("assets.transfer", [order["amount"]])],
        ),
        Move("note", "refunded -> noted", sets=("outcome",)),
    )
    access: ClassVar[Access] = Access(read="shop.clerk shop.owner", create="shop.clerk")


class ShopSettings(Settings):
    """What can be set."""

    account: Line = ""
    limit: int = Field(default=10, ge=1, le=100)
    port: int = Field(default=1, ge=1, json_schema_extra={"live": False})


class Shop(Service):
    """Orders, and refunds on the ledger."""

    name = "shop"
    entities = (Order,)
    settings = ShopSettings
    permissions = ("assets.transfer",)

    def __init__(self) -> None:
        self.account = ""
        self.told: list[Sent] = []

    def configured(self, settings: Settings) -> None:
        assert isinstance(settings, ShopSettings)
        self.account = settings.account

    def settled(self, work: Work, sent: Sent) -> None:
        self.told.append(sent)

    @on("assets.")
    def paid(self, work: Work, event: Any) -> None:
        work.create(Order.kind, {"amount": event.data["amount"]})

    @rpc("countOrders", "How many there are", role="shop.owner", result=int)
    def count_orders(self, work: Work, _params: Any) -> int:
        return len(work.page(Order.kind))


def caller(name: str) -> Context:
    return Context(f"token:{name}", "test", Grant(f"t-{name[-4:]}", name, ALL_SCOPES))


async def call(host: RunningHost, who: str | None, method: str, **params: Any) -> Any:
    """Call a method as somebody; errors come as their code."""
    found = next(one for one in host.methods() if one.name == f"shop_{method}")
    context = Context() if who is None else caller(who)
    try:
        return await found.handler(found.params(**params), context)
    except Exception as error:
        told = as_rpc_error(error)
        if told is None:
            raise
        return told.code


@asynccontextmanager
async def running(
    folder: Path,
    ledger: FakeLedger,
    account: FakeAccount | None = None,
    now_ms: Callable[[], int] = lambda: 1_800_000_000_000,
) -> AsyncIterator[RunningHost]:
    host = await open_host(Shop(), Place(folder), ledger, now_ms, account=account)
    try:
        yield host
    finally:
        await host.close()


@asynccontextmanager
async def working(host: RunningHost) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(host.run)
        yield
        nursery.cancel_scope.cancel()


async def until(check: Any) -> None:
    with trio.fail_after(20):
        while not check():
            await trio.sleep(0.005)


async def test_the_ledger_alone_says_who_may(tmp_path: Path) -> None:
    """Otherwise whoever keeps the service keeps the rights, and no auditor can tell them."""
    ledger = FakeLedger()
    ledger.roles = {CLERK: ["shop.clerk"], OWNER: ["shop.owner"]}
    async with running(tmp_path, ledger) as host, working(host):
        assert await call(host, None, "listOrders") == UNAUTHENTICATED
        assert await call(host, "just a name", "listOrders") == FORBIDDEN
        made = await call(host, CLERK, "createOrder", amount=5)
        assert made["id"] == "O-1" and made["moves"] == ["refund"]
        assert await call(host, OWNER, "createOrder", amount=5) == FORBIDDEN
        assert (await call(host, OWNER, "getOrder", id="O-1"))["moves"] == []
        assert await call(host, CLERK, "countOrders") == FORBIDDEN
        assert await call(host, OWNER, "countOrders") == 1
        described = await call(host, CLERK, "describe")
        assert described["you"] == {"subject": CLERK, "roles": ["shop.clerk"]}
        # A revoked role ends with the block that says so, not with the token.
        ledger.roles[CLERK] = []
        ledger.happen("roles.revoked")
        await until(lambda: not host.roles._known)
        assert await call(host, CLERK, "createOrder", amount=5) == FORBIDDEN
        asked = ledger.role_calls
        await call(host, CLERK, "listOrders")
        assert ledger.role_calls == asked
        ledger.away = True
        host.roles.changed()
        with pytest.raises(Unreachable):
            await host.actor_of(caller(OWNER))


async def send(host: RunningHost, count: int) -> None:
    def refunded(work: Work) -> None:
        for amount in range(count):
            work.move(Order.kind, work.create(Order.kind, {"amount": amount}).number, "refund")

    await host.write(CHAIN, refunded)


def outbox(host: RunningHost) -> list[Any]:
    table = host.records.tables.outbox
    return host.database.read_now(
        lambda db: list(db.execute(table.select().order_by(table.c.number)).all())
    )


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_lost_on_the_way_the_ledger_does_it_once(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a refund is paid twice, or a customer never gets it."""
    monkeypatch.setattr(sending, "PAUSE_S_MIN", 0.0)
    draw = random.Random(seed)
    ledger = FakeLedger(draw, faults=0.25)
    ledger.loses = 0.2
    account = FakeAccount()
    told: list[Sent] = []
    ledger.faults, faults = 0.0, ledger.faults
    async with running(tmp_path, ledger) as host:
        await send(host, 8)
    for _ in range(400):
        ledger.faults = 0.0
        async with running(tmp_path, ledger, account) as host:
            ledger.faults = faults
            # A process that lives for a few steps, and then is gone.
            with trio.CancelScope() as scope:
                for _ in range(draw.randrange(1, 12)):
                    try:
                        if not await host.sender.step():
                            break
                    except (Unreachable, RpcError, PeerError):
                        continue
                    if draw.random() < 0.2:
                        scope.cancel()
            told += host.manifest.service.told  # type: ignore[attr-defined]
            left = [row for row in outbox(host) if row.status in ("waiting", "signed")]
            if not left:
                break
    assert left == []
    assert len(ledger.executed) == len(set(ledger.executed)) == 8
    assert [one.number for one in told] == sorted({row.number for row in outbox(host)})
    assert all(one.done and one.height for one in told)


async def test_what_the_ledger_refuses_is_told_and_what_waits_is_shown(tmp_path: Path) -> None:
    """Otherwise a refund that failed looks paid, or one that only waits for money is given up."""
    ledger, account = FakeLedger(), FakeAccount()
    async with running(tmp_path, ledger, account) as host:
        shop = host.manifest.service
        assert isinstance(shop, Shop)
        await send(host, 3)
        ledger.refusing = Code.INSUFFICIENT_FUNDS.rpc_code
        with pytest.raises(RpcError):
            await host.sender.step()
        assert shop.told == []
        ledger.refusing = Code.FROZEN.rpc_code
        assert await host.sender.step()
        assert [(one.code, one.done, one.tx_id) for one in shop.told] == [("frozen", False, None)]
        ledger.refusing = None
        ledger.failing = True
        assert await host.sender.step()
        ledger.failing = False
        assert await host.sender.step()
        assert not await host.sender.step()
        codes = [(one.code, one.reason) for one in shop.told[1:]]
        assert codes == [("insufficientFunds", "too little"), ("ok", "")]
        rows = outbox(host)
        assert [row.status for row in rows] == ["failed", "failed", "done"]
        assert [(row.kind, row.record) for row in rows] == [
            ("order", 1),
            ("order", 2),
            ("order", 3),
        ]


async def test_nothing_leaves_that_was_not_declared(tmp_path: Path) -> None:
    """Otherwise a module that was taken over spends what its account has."""
    ledger, account = FakeLedger(), FakeAccount()
    async with running(tmp_path, ledger, account) as host:
        await host.write(CHAIN, lambda work: work.submit([RawAction("roles.grant", ["admin"])]))
        with pytest.raises(PeerError, match="does not declare"):
            await host.sender.step()
        assert not await host.sender.step()
        assert account.signed == 0 and ledger.executed == []
    async with running(tmp_path, ledger) as host:
        await send(host, 1)
        with pytest.raises(PeerError, match="no account"):
            await host.sender.step()


async def test_a_configuration_is_changed_checked_kept_and_taken_back(tmp_path: Path) -> None:
    """Otherwise a typing mistake stops a service, and nobody knows who made it."""
    ledger = FakeLedger()
    ledger.roles = {OWNER: ["shop.admin"]}
    async with running(tmp_path, ledger) as host:
        shop = host.manifest.service
        assert isinstance(shop, Shop)

        async def put(who: str = OWNER, **given: Any) -> Any:
            return await call(host, who, "setConfiguration", **{"reason": "because", **given})

        assert (await call(host, CLERK, "getConfiguration"))["version"] == 0
        assert await put(CLERK, changes={"limit": 20}) == FORBIDDEN
        for bad in ({"limit": 0}, {"limit": "20"}, {"nothing": 1}, {"account": "x" * 300}):
            assert await put(changes=bad) == INVALID_PARAMS
        dry = await put(changes={"limit": 20, "port": 5}, dryRun=True)
        assert dry == {
            "version": None,
            "differences": [
                {"name": "limit", "before": 10, "after": 20, "live": True},
                {"name": "port", "before": 1, "after": 5, "live": False},
            ],
        }
        assert (await put(changes={"limit": 20}))["version"] == 1
        assert (await put(changes={"account": CLERK}, version=1))["version"] == 2
        assert await put(changes={"limit": 30}, version=1) == CONFLICT
        assert (await put(changes={"limit": 20}))["version"] is None
        assert shop.account == CLERK
        back = await call(host, OWNER, "rollbackConfiguration", version=1, reason="it was wrong")
        assert back["version"] == 3 and shop.account == ""
        assert await call(host, OWNER, "rollbackConfiguration", version=9, reason="none") < 0
        page = await call(host, OWNER, "listConfigurations", limit=2)
        assert [(one["version"], one["by"]) for one in page["versions"]] == [(3, OWNER), (2, OWNER)]
        entries = await host.read(lambda work: work.history.since(0))
        assert [one.move for one in entries] == ["changed"] * 3
        assert entries[0].changes == {"limit": {"before": 10, "after": 20}}
    async with running(tmp_path, ledger) as host:
        assert host.configuration.version == 3
        assert host.settings == ShopSettings(limit=20)


async def test_whatever_is_committed_is_heard_once_and_in_order(tmp_path: Path) -> None:
    """Otherwise a program that follows a service misses a refund."""
    ledger = FakeLedger()
    async with running(tmp_path, ledger) as host, working(host):
        for amount in range(5):
            ledger.happen("assets.transferred", amount=amount)
        await until(lambda: host.log.head() == "5")
        found = await host.log.read("2", RecordFilter(kind="order", record="O-4"), 10)
        assert ([one.cursor for one in found.events], found.reached) == (["4"], "5")
        with trio.move_on_after(0.05) as waited:
            await host.log.wait_beyond("5")
        assert waited.cancelled_caught
        assert host.log.moves["order", "created"] == 5
        ledger.away = True
        await until(lambda: host.problem)
        ledger.away = False
        ledger.happen("assets.transferred", amount=9)
        await until(lambda: host.log.head() == "6" and not host.problem)


async def test_a_place_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Otherwise a service goes on with somebody else's records, or without the key to its own."""
    ledger = FakeLedger()
    async with running(tmp_path, ledger):
        with pytest.raises(OperatorError, match="in use"):
            await open_host(Shop(), Place(tmp_path), ledger, lambda: 0)
    (tmp_path / "master.key").rename(tmp_path / "lost.key")
    with pytest.raises(OperatorError, match="is gone"):
        await open_host(Shop(), Place(tmp_path), ledger, lambda: 0)
    (tmp_path / "lost.key").rename(tmp_path / "master.key")
    ledger.happen("other.thing")
    async with running(tmp_path, ledger) as host, working(host):
        await until(
            lambda: host.database.read_now(
                lambda db: db.execute(host.records.tables.cursor.select()).one_or_none()
            )
        )
    ledger.away = True
    async with running(tmp_path, ledger) as host:
        assert host.network.genesis_hash == b"g" * 32


class FakeLog:
    """An audit log that is a list: contiguous by source, the same again is nothing new."""

    def __init__(self) -> None:
        self.kept: dict[str, list[str]] = {}
        self.away = False

    async def call(self, method: str, params: Any = None) -> Any:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise Unreachable("http://log", "it went away", sent=False)
        if method == "audit_prove":
            return {"place": params["number"]}
        assert method == "audit_append"
        kept = self.kept.setdefault(params["source"], [])
        for entry in params["entries"]:
            assert entry["number"] <= len(kept) + 1
            if entry["number"] > len(kept):
                kept.append(entry["text"])
            assert kept[entry["number"] - 1] == entry["text"]
        return {"source": params["source"], "number": len(kept)}


async def test_histories_and_privileged_calls_come_into_the_audit_log(tmp_path: Path) -> None:
    """Otherwise nobody can tell who tried what they may not, or took data out."""
    ledger, log = FakeLedger(), FakeLog()
    ledger.roles = {CLERK: ["shop.clerk"], OWNER: ["shop.owner", "shop.admin"]}
    place = Place(tmp_path)
    host = await open_host(Shop(), place, ledger, lambda: NOW_MS, audit=log)
    log.away = True
    async with working(host):
        await call(host, CLERK, "createOrder", amount=5)
        assert await call(host, CLERK, "countOrders") == FORBIDDEN
        assert await call(host, OWNER, "countOrders") == 1
        assert await call(host, OWNER, "createOrder", amount=5) == FORBIDDEN
        await call(host, OWNER, "setConfiguration", changes={"limit": 11}, reason="because")
        await until(lambda: "audit log" in host.problem)
        log.away = False
        await until(lambda: len(log.kept.get("shop/calls", ())) == 4)
        await until(lambda: len(log.kept.get("shop", ())) == 2 and not host.problem)
    await host.close()
    calls = [json.loads(text) for text in log.kept["shop/calls"]]
    assert [(one["actor"], one["what"], one["result"]) for one in calls] == [
        (CLERK, "shop_countOrders", "refused"),
        (OWNER, "shop_countOrders", "done"),
        (OWNER, "shop_createOrder", "refused"),
        (OWNER, "shop_setConfiguration", "done"),
    ]
    assert [one["number"] for one in calls] == [1, 2, 3, 4]
    again = await open_host(Shop(), place, ledger, lambda: NOW_MS, audit=log)
    entries = await again.read(lambda work: work.history.since(0))
    leaves = [hashlib.sha256(b"\0" + text.encode()).digest() for text in log.kept["shop"]]
    assert [one.leaf for one in entries] == leaves
    assert again.shipper is not None
    assert not await again.shipper.step()
    proof = await call(again, CLERK, "proveOrder", id="O-1")
    assert proof["audit"] == {"pending": False, "proof": {"place": 1}}
    log.away = True
    assert (await call(again, CLERK, "proveOrder", id="O-1"))["audit"]["pending"] is True
    await again.close()


async def test_a_master_key_from_a_passphrase_opens_again(tmp_path: Path) -> None:
    """Otherwise a service that was started twice cannot read its own persons."""
    ledger = FakeLedger()
    wrapped: list[bytes] = []
    for passphrase in ("correct horse battery", "correct horse battery", "another passphrase"):
        place = Place(tmp_path, master_passphrase=passphrase)
        host = await open_host(Shop(), place, ledger, lambda: NOW_MS)
        if not wrapped:
            wrapped.append(host.keys.made("order/O-1")[0])
        if passphrase.startswith("correct"):
            host.keys.cipher("order/O-1", wrapped[0])
        else:
            with pytest.raises(ClawPurseError):
                host.keys.cipher("order/O-1", wrapped[0])
        await host.close()


async def test_somebody_who_tries_for_ever_fills_no_disk(tmp_path: Path) -> None:
    """Otherwise a program with a wrong role writes the database full."""
    ledger = FakeLedger()
    async with running(tmp_path, ledger) as host:
        for _ in range(NOTED_PER_MINUTE_MAX + 5):
            assert await call(host, CLERK, "countOrders") == FORBIDDEN
        assert await host.read(newest_call) == NOTED_PER_MINUTE_MAX


async def test_how_long_records_lay_before_a_move_is_measured(tmp_path: Path) -> None:
    """Otherwise nobody sees that work piles up before a step until people complain."""
    ledger, times = FakeLedger(), [1_800_000_000_000]
    ledger.roles = {CLERK: ["shop.clerk"]}
    opened = running(tmp_path, ledger, FakeAccount(), lambda: times[0])
    async with opened as host, working(host):
        made = await call(host, CLERK, "createOrder", amount=5)
        times[0] += 30_000
        await call(host, CLERK, "moveOrder", id=made["id"], move="refund")
        await until(lambda: host.log.moves["order", "refund"])
        spans = host.log.times["order", "refund"]
        assert spans.sum_s == 30.0
        assert dict(spans.buckets) == {
            limit: float(limit == "+Inf" or float(limit) >= 60) for limit, _ in spans.buckets
        }
        seen = [(host.name, host.log, host.counts, host.problem)]
        registry = CollectorRegistry()
        registry.register(ServiceMetrics(lambda: seen))
        text = generate_latest(registry).decode()
        labels = 'kind="order",le="60.0",module="shop",move="refund"'
        assert f"clawpurse_module_move_seconds_bucket{{{labels}}} 1.0" in text
