"""gateway_*: how whoever runs the gateway looks after it, by roles of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Protocol

import sqlalchemy as sa
from pydantic import Field

from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.rules import time_text
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.front import Front
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.gateway.upstreams import Upstream
from clawpurse.modules.kit.records.shapes import Shape
from clawpurse.modules.kit.service.declaration import Host
from clawpurse.modules.kit.web.errors import FORBIDDEN, INVALID_PARAMS, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params

LIST_MAX: Final = 500
LIST_DEFAULT: Final = 50
Limit = Annotated[int, Field(ge=1, le=LIST_MAX, description="At most so many")]
Json = dict[str, Any]


class Looked(Protocol):
    """The gateway that is looked after."""

    problem: str

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def front(self) -> Front | None: ...

    @property
    def store(self) -> Store | None: ...

    @property
    def upstreams(self) -> Mapping[str, Upstream]: ...

    def reload(self) -> list[str]: ...


class ListParams(Params):
    """Parameters of lists."""

    limit: Limit = LIST_DEFAULT
    cursor: Annotated[str | None, Field(max_length=32, pattern="^[0-9]+$")] = None


class InvoiceParams(ListParams):
    """Parameters of gateway_listInvoices."""

    state: Annotated[
        str | None, Field(pattern="^(open|used|kept|deposited|refunding|refunded)$")
    ] = None


class RevenueParams(Params):
    """Parameters of gateway_getRevenue: from a time on, before another one, UTC ms."""

    from_ms: Annotated[int, Field(ge=0)] = 0
    before_ms: Annotated[int | None, Field(ge=0)] = None


class TargetShape(Shape):
    """A target of an upstream, as it is now."""

    url: str
    well: bool
    resting: bool
    in_use: int
    problem: str


class UpstreamShape(Shape):
    """An upstream and its targets."""

    name: str
    targets: list[TargetShape]


class PriceShape(Shape):
    """A price in minor units."""

    asset: str
    amount: str


class RouteShape(Shape):
    """A route, in the order in which it is tried."""

    name: str
    hosts: list[str]
    path: str
    methods: list[str]
    upstream: str
    access: list[str]
    roles: list[str]
    prices: list[PriceShape]
    answers: int


class RoutesShape(Shape):
    """All routes."""

    routes: list[RouteShape]


class StatusShape(Shape):
    """How the gateway is. `problem`: what is wrong with its file, if anything is."""

    listen: str
    port: int
    payee: str | None
    compatibility: bool
    connections: int
    answers: int
    refusals: dict[str, int]
    problem: str | None
    upstreams: list[UpstreamShape]


class PaymentShape(Shape):
    """A payment of an invoice. `state`: open (bought nothing yet), used (being served), kept
    (earned), deposited (paid in), refunding, refunded.
    """

    tx_id: str
    payer: str
    asset: str
    amount: str
    memo: str
    time: str
    state: str
    route: str
    client: str
    request: str


class PaymentsShape(Shape):
    """A page of payments, the newest first."""

    payments: list[PaymentShape]
    next_cursor: str | None


class ChannelShape(Shape):
    """A channel. `served` was earned, `claimed` of it paid out by the ledger."""

    channel: str
    payer: str
    asset: str
    capacity: str
    promised: str
    spent: str
    served: str
    claimed: str
    open: bool


class ChannelsShape(Shape):
    """A page of channels."""

    channels: list[ChannelShape]
    next_cursor: str | None


class RevenueRow(Shape):
    """What a route earned of a client in an asset, and by how many requests."""

    route: str
    client: str
    asset: str
    amount: str
    requests: int
    way: str


class RevenueShape(Shape):
    """What was earned, by route, client and asset."""

    rows: list[RevenueRow]
    totals: list[PriceShape]


class ChangesShape(Shape):
    """What a reload changed."""

    changes: list[str]


class Management:
    """See the module. `roles`: who may change something, and who may look."""

    def __init__(self, gateway: Looked, host: Host, roles: Sequence[str]) -> None:
        self._gateway = gateway
        self._host = host
        self._admin, self._reader = roles

    def methods(self) -> list[Method]:
        """Return the definitions."""
        rows: tuple[tuple[str, str, Callable[..., Any], type[Params], Any, str, int], ...] = (
            ("getStatus", "How it is", self.status, NoParams, StatusShape, self._reader, 2),
            ("listRoutes", "Its routes", self.routes, NoParams, RoutesShape, self._reader, 5),
            (
                "listInvoices",
                "Payments of invoices, the newest first",
                self.invoices,
                InvoiceParams,
                PaymentsShape,
                self._reader,
                10,
            ),
            (
                "listChannels",
                "Channels that pay by vouchers",
                self.channels,
                ListParams,
                ChannelsShape,
                self._reader,
                10,
            ),
            (
                "getRevenue",
                "What was earned, by route and client",
                self.revenue,
                RevenueParams,
                RevenueShape,
                self._reader,
                100,
            ),
            ("reload", "Take the file over", self.reload, NoParams, ChangesShape, self._admin, 10),
        )
        return [
            Method(
                f"gateway_{name}",
                says,
                self._checked(handler, role),
                params,
                result,
                role=role,
                errors=(FORBIDDEN,),
                cost=cost,
            )
            for name, says, handler, params, result, role, cost in rows
        ]

    def _checked(self, handler: Callable[..., Any], role: str) -> Callable[..., Any]:
        needed = {role, self._admin}

        async def checked(params: Any, context: Context) -> Any:
            actor = await self._host.actor_of(context)
            if not needed & actor.roles:
                raise RpcError(
                    FORBIDDEN,
                    f"this needs the role {role} on the ledger",
                    hint=f"clawpurse role grant {role} ACCOUNT",
                    facts={"roles": sorted(needed)},
                )
            return await handler(params)

        return checked

    async def status(self, _params: object) -> Json:
        """gateway_getStatus."""
        gateway, front = self._gateway, self._gateway.front
        return {
            "listen": gateway.config.listen,
            "port": 0 if front is None else front.port,
            "payee": gateway.config.payee or None,
            "compatibility": gateway.config.compatibility,
            "connections": 0 if front is None else front.counts.open,
            "answers": 0 if front is None else front.counts.answers.total(),
            "refusals": {} if front is None else dict(front.counts.refusals),
            "problem": gateway.problem or None,
            "upstreams": [
                {
                    "name": name,
                    "targets": [
                        {
                            "url": target.url,
                            "well": target.well,
                            "resting": target.is_open,
                            "inUse": target.in_use,
                            "problem": target.problem,
                        }
                        for target in upstream.targets
                    ],
                }
                for name, upstream in gateway.upstreams.items()
            ],
        }

    async def routes(self, _params: object) -> Json:
        """gateway_listRoutes."""
        front = self._gateway.front
        if front is None:
            return {"routes": []}
        answers = front.counts.answers
        return {
            "routes": [
                {
                    "name": route.name,
                    "hosts": list(route.hosts),
                    "path": route.path,
                    "methods": list(route.methods),
                    "upstream": route.upstream,
                    "access": list(route.access),
                    "roles": list(route.roles),
                    "prices": [
                        {"asset": one.asset, "amount": str(one.amount)} for one in route.prices
                    ],
                    "answers": sum(
                        count for (name, _), count in answers.items() if name == route.name
                    ),
                }
                for route in front.state.router.routes
            ]
        }

    async def invoices(self, params: InvoiceParams) -> Json:
        """gateway_listInvoices."""
        table, start = tables.payments, int(params.cursor or 0)
        asked = table.select().order_by(table.c.at_ms.desc(), table.c.tx_id, table.c.place)
        if params.state is not None:
            asked = asked.where(table.c.state == params.state)
        rows, cursor = await self._page(asked, start, params.limit)
        found = [
            {
                "txId": row.tx_id,
                "payer": row.payer,
                "asset": row.asset,
                "amount": str(row.amount),
                "memo": row.memo,
                "time": time_text(row.at_ms),
                "state": row.state,
                "route": row.route,
                "client": row.client,
                "request": row.request,
            }
            for row in rows
        ]
        return {"payments": found, "nextCursor": cursor}

    async def channels(self, params: ListParams) -> Json:
        """gateway_listChannels."""
        table, start = tables.channels, int(params.cursor or 0)
        rows, cursor = await self._page(
            table.select().order_by(table.c.channel), start, params.limit
        )
        amounts = ("capacity", "promised", "spent", "served", "claimed")
        found = [
            {
                "channel": row.channel,
                "payer": row.payer,
                "asset": row.asset,
                "open": bool(row.open),
                **{name: str(getattr(row, name)) for name in amounts},
            }
            for row in rows
        ]
        return {"channels": found, "nextCursor": cursor}

    async def revenue(self, params: RevenueParams) -> Json:
        """gateway_getRevenue."""
        before_ms = params.before_ms if params.before_ms is not None else 1 << 62
        if before_ms <= params.from_ms:
            raise RpcError(INVALID_PARAMS, "beforeMs is not after fromMs")

        def run(db: sa.engine.Connection) -> list[Json]:
            return [
                *_by_invoice(db, params.from_ms, before_ms),
                *_by_voucher(db, params.from_ms, before_ms),
            ]

        rows = await self._store.read(run)
        totals: dict[str, int] = {}
        for row in rows:
            totals[row["asset"]] = totals.get(row["asset"], 0) + int(row["amount"])
        return {
            "rows": rows,
            "totals": [
                {"asset": asset, "amount": str(amount)} for asset, amount in sorted(totals.items())
            ],
        }

    async def reload(self, _params: object) -> Json:
        """gateway_reload."""
        try:
            return {"changes": self._gateway.reload()}
        except OperatorError as error:
            raise RpcError(INVALID_PARAMS, error.what, hint=error.next_command) from None

    @property
    def _store(self) -> Store:
        store = self._gateway.store
        assert store is not None, "methods are called while the service runs"
        return store

    async def _page(
        self, asked: sa.Select[Any], start: int, limit: int
    ) -> tuple[Sequence[Any], str | None]:
        """Return a page, and where the next one begins."""
        rows = await self._store.read(
            lambda db: list(db.execute(asked.offset(start).limit(limit + 1)).all())
        )
        more = len(rows) > limit
        return rows[:limit], str(start + limit) if more else None


def _by_invoice(db: sa.engine.Connection, from_ms: int, before_ms: int) -> list[Json]:
    table = tables.payments
    amount, count = sa.func.sum(table.c.amount), sa.func.count()
    asked = (
        sa.select(table.c.route, table.c.client, table.c.asset, amount, count)
        .where((table.c.state == "kept") & (table.c.used_ms >= from_ms))
        .where(table.c.used_ms < before_ms)
        .group_by(table.c.route, table.c.client, table.c.asset)
        .order_by(table.c.route, table.c.client, table.c.asset)
    )
    return [_revenue_row(row, "invoice") for row in db.execute(asked)]


def _by_voucher(db: sa.engine.Connection, from_ms: int, before_ms: int) -> list[Json]:
    uses, channels = tables.uses, tables.channels
    amount, count = sa.func.sum(uses.c.price), sa.func.count()
    asked = (
        sa.select(uses.c.route, channels.c.payer, channels.c.asset, amount, count)
        .join(channels, channels.c.channel == uses.c.channel)
        .where((uses.c.state == "served") & (uses.c.at_ms >= from_ms) & (uses.c.at_ms < before_ms))
        .group_by(uses.c.route, channels.c.payer, channels.c.asset)
        .order_by(uses.c.route, channels.c.payer, channels.c.asset)
    )
    return [_revenue_row(row, "voucher") for row in db.execute(asked)]


def _revenue_row(row: Sequence[Any], way: str) -> Json:
    route, client, asset, amount, requests = row
    return {
        "route": route,
        "client": client,
        "asset": asset,
        "amount": str(int(amount)),
        "requests": requests,
        "way": way,
    }
