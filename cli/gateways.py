"""What `gateway serve|check|status|routes|invoices|revenue|reload` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clawpurse.cli import module_serving
from clawpurse.cli.module_serving import Wish
from clawpurse.cli.output import OK
from clawpurse.cli.records import call
from clawpurse.cli.session import Session
from clawpurse.modules.gateway.config import GatewayConfig, RouteConfig, read_config
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.service import Gateway

NAME = "gateway"
Json = dict[str, Any]


def serve(session: Session, config: Path, wish: Wish) -> None:
    """Run the gateway. Raises `OperatorError` for a file that is none, and as `hosting.serve`."""
    file = config.expanduser().absolute()
    found = read_config(file)
    session.out.note(f"clients call {found.listen}; {len(found.routes)} routes from {config}")
    module_serving.serve(session, wish, Gateway(file))


def check(session: Session, config: Path) -> None:
    """Check a file, and list its routes in the order in which they are tried."""
    found = read_config(config.expanduser())
    routes = Router(found.routes).routes
    if session.json_mode:
        session.out.emit({"file": str(config), "routes": [_route(one) for one in routes]})
        return
    session.out.line(f"{session.out.mark(OK)} {config}: {len(routes)} routes, {_listens(found)}")
    rows = [
        (
            one.name,
            ",".join(one.methods) or "any",
            f"{','.join(one.hosts)}{one.path}",
            one.upstream,
            _prices([price.model_dump() for price in one.prices]),
        )
        for one in routes
    ]
    session.out.table(("route", "methods", "path", "upstream", "price"), rows)


def status(session: Session) -> None:
    """Show how it is."""
    found = call(session, NAME, "gateway_getStatus", {})
    if session.json_mode:
        session.out.emit(found)
        return
    out = session.out
    out.line(f"listens on {found['listen']}, pays to {found['payee'] or 'nobody'}")
    out.line(f"{found['connections']} connections, {found['answers']} answers since the start")
    if found["problem"]:
        out.warn(f"the configuration was not taken over: {found['problem']}")
    rows = [
        (
            upstream["name"],
            target["url"],
            "rests" if target["resting"] else "well" if target["well"] else "unwell",
            str(target["inUse"]),
            target["problem"],
        )
        for upstream in found["upstreams"]
        for target in upstream["targets"]
    ]
    out.table(("upstream", "target", "state", "in use>", "problem"), rows)


def routes(session: Session) -> None:
    """List its routes."""
    found = call(session, NAME, "gateway_listRoutes", {})
    if session.json_mode:
        session.out.emit(found)
        return
    rows = [
        (
            one["name"],
            ",".join(one["methods"]) or "any",
            f"{','.join(one['hosts'])}{one['path']}",
            one["upstream"],
            _prices(one["prices"]),
            str(one["answers"]),
        )
        for one in found["routes"]
    ]
    session.out.table(("route", "methods", "path", "upstream", "price", "answers>"), rows)


def invoices(session: Session, state: str | None, limit: int) -> None:
    """List payments of invoices."""
    params: Json = {"limit": limit} if state is None else {"limit": limit, "state": state}
    found = call(session, NAME, "gateway_listInvoices", params)
    if session.json_mode:
        session.out.emit(found)
        return
    rows = [
        (one["time"], one["state"], one["amount"], one["asset"], one["route"], one["txId"])
        for one in found["payments"]
    ]
    session.out.table(("time", "state", "amount>", "asset", "route", "transaction"), rows)


def revenue(session: Session) -> None:
    """Show what was earned."""
    found = call(session, NAME, "gateway_getRevenue", {})
    if session.json_mode:
        session.out.emit(found)
        return
    rows = [
        (one["route"], one["client"], one["way"], str(one["requests"]), one["amount"], one["asset"])
        for one in found["rows"]
    ]
    session.out.table(("route", "client", "way", "requests>", "amount>", "asset"), rows)
    for one in found["totals"]:
        session.out.line(f"in all {one['amount']} {one['asset']} (minor units)")


def reload(session: Session) -> None:
    """Take the configuration over now."""
    found = call(session, NAME, "gateway_reload", {})
    if session.json_mode:
        session.out.emit(found)
        return
    for line in found["changes"]:
        session.out.line(line)
    session.out.note("taken over" if found["changes"] else "nothing changed")


def _route(route: RouteConfig) -> Json:
    return {
        "name": route.name,
        "hosts": list(route.hosts),
        "path": route.path,
        "methods": list(route.methods),
        "upstream": route.upstream,
        "prices": [{"asset": one.asset, "amount": str(one.amount)} for one in route.prices],
    }


def _prices(prices: list[Json]) -> str:
    return " or ".join(f"{one['amount']} {one['asset']}" for one in prices) or "free"


def _listens(config: GatewayConfig) -> str:
    return f"listens on {config.listen}, {'pays to ' + config.payee if config.payee else 'free'}"
