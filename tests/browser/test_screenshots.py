"""Every state of the pages as a picture, for people to look at: docs/images/ by `make screenshots`.

Where the pictures go, and what is tested without that, is in pictures.py; the picture of an
authority that died is taken in test_outage.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Open, Watched
from tests.browser.fates import fates_on
from tests.browser.paying import paid_on
from tests.browser.pictures import LOOKS, SIZE, Shoot
from tests.e2e.conftest import Net

pytestmark = [pytest.mark.full, pytest.mark.real]

# Nobody ever sent it.
UNSEEN = "0x" + "5e" * 32
PAGES = (
    *("blocks", "payments", "assets", "authorities", "network", "mempool"),
    *("compliance", "alerts", "node"),
)
UNREACHABLE = ("ERR_", "WebSocket", "Failed to load")

Change = Callable[[dict[str, Any], Any], Any]


def always(answer: Any) -> Change:
    """A change that answers this, whatever the node said."""
    return lambda _answer, _result: answer


def refusal(code: int, message: str, **data: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "data": {"reason": message, **data}}}


def answered(page: Page, origin: str, method: str, change: Change) -> None:
    """Answer one method as `change(answer, result)` says; all others by the node."""

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        asked = json.loads(route.request.post_data or "[]")
        calls = asked if isinstance(asked, list) else [asked]
        if not any(one["method"] == method for one in calls):
            route.fallback()
            return
        response = route.fetch()
        body = response.json()
        answers = body if isinstance(body, list) else [body]
        methods = {one["id"]: one["method"] for one in calls}
        for at, one in enumerate(answers):
            if methods.get(one["id"]) == method:
                kept = {"jsonrpc": "2.0", "id": one["id"]}
                answers[at] = kept | change(one, one.get("result"))
        route.fulfill(response=response, json=answers if isinstance(body, list) else answers[0])

    page.route(f"{origin}/", handle)


def settled(watched: Watched, route: str) -> Page:
    page = watched.go(route)
    page.wait_for_selector("footer.call")
    page.wait_for_selector("main [aria-busy=true]", state="detached")
    page.wait_for_selector(".sentence .headline.muted", state="detached")
    return page


def test_every_page_as_a_picture(net: Net, opened: Open, shoot: Shoot) -> None:
    """What people will see, seen by us first; some in dark and on a phone as well."""
    paid = paid_on(net, "shown-payer", "shown-payee")
    routes = {name: f"/{name}" for name in PAGES}
    routes |= {"home": "/", "asset": "/asset/CLAW", "block": f"/block/{paid.height}"}
    routes |= {"tx-final": f"/tx/{paid.tx_id}", "account": f"/account/{paid.payer}"}
    routes["runbook"] = "/runbook/AuthoritySilent"
    watched = opened(size=SIZE)
    for name, route in routes.items():
        shoot(settled(watched, route), name)
    for size, theme, suffix in LOOKS[1:]:
        other = opened(size=size, theme=theme)
        for name in ("home", "payments", "tx-final", "authorities", "runbook"):
            shoot(settled(other, routes[name]), f"{name}{suffix}")


def test_every_fate_as_a_picture(net: Net, opened: Open, shoot: Shoot) -> None:
    """What became of transactions that did not simply pay; each of them happened."""
    fates = fates_on(net.rpc)
    ids = {name: getattr(fates, name) for name in ("failed", "pending", "expired", "replaced")}
    ids["unknown"] = UNSEEN
    for size, theme, suffix in LOOKS:
        watched = opened(size=size, theme=theme)
        for name, tx_id in ids.items():
            page = watched.go(f"/tx/{tx_id}")
            page.wait_for_selector(f".headline .badge.is-{name}")
            page.wait_for_selector("footer.call")
            page.wait_for_selector("main [aria-busy=true]", state="detached")
            shoot(page, f"tx-{name}{suffix}")


def test_every_verdict_of_a_proof_as_a_picture(net: Net, opened: Open, shoot: Shoot) -> None:
    """Proven, proven by what is pinned, and tampered with on its way."""
    tx_id = paid_on(net, "proof-payer", "proof-payee").tx_id

    def tampered(answer: Any, result: Any) -> Any:
        proof = result["proof"]
        last = "0" if proof["header"][-1] != "0" else "1"
        return {"result": {**result, "proof": {**proof, "header": proof["header"][:-1] + last}}}

    for size, theme, suffix in LOOKS:
        watched = opened(size=size, theme=theme)
        judged(watched, tx_id, shoot, f"proof-proven{suffix}")
        watched.page.get_by_role("button", name="Pin this genesis").click()
        expect(watched.page.locator("main")).to_contain_text("that you pinned")
        shoot(watched.page, f"proof-pinned{suffix}")
        liar = opened(size=size, theme=theme)
        answered(liar.page, liar.origin, "tx_getReceipt", tampered)
        judged(liar, tx_id, shoot, f"proof-tampered{suffix}")


def judged(watched: Watched, tx_id: str, shoot: Shoot, name: str) -> None:
    page = settled(watched, f"/tx/{tx_id}")
    page.click("[data-verify]")
    page.wait_for_selector("[data-step=certificate]")
    page.eval_on_selector("[data-verify]", "(one) => one.closest('section').scrollIntoView()")
    shoot(page, name)


def test_every_state_of_a_panel_as_a_picture(net: Net, opened: Open, shoot: Shoot) -> None:
    """Loading, empty, error, forbidden and stale: what a page says when it has nothing to say."""
    hint = {"hint": "ask again in a moment", "class": "local", "retryable": True}
    needs = {"scope": "mempool_*", "class": "failed", "retryable": False, "hint": ""}
    error = refusal(-32603, "Internal error", **hint)
    forbidden = refusal(-32007, "forbidden", **needs)
    silent = []
    for size, theme, suffix in LOOKS:
        watched = opened(size=size, theme=theme)
        watched.provoked = list(UNREACHABLE)
        socket = f"{watched.origin.replace('http', 'ws')}/ws"
        watched.page.route_web_socket(socket, lambda _socket: None)
        watched.go("/")
        silent.append((watched.page, suffix))
        for name, answer in (("error", error), ("forbidden", forbidden)):
            watched = opened(size=size, theme=theme)
            answered(watched.page, watched.origin, "mempool_getStatus", always(answer))
            page = watched.go("/mempool")
            page.wait_for_selector("main .state")
            shoot(page, f"state-{name}{suffix}")
        watched = opened(size=size, theme=theme)
        shoot(settled(watched, "/approvals"), f"state-empty{suffix}")
        page = watched.page
        # The page itself is there already; calls from now on are never answered.
        page.route(f"{watched.origin}/", lambda _route: None)
        watched.go("/blocks")
        page.wait_for_selector(".skeleton span")
        shoot(page, f"state-loading{suffix}")
    for page, suffix in silent:
        page.wait_for_selector(".sentence.is-stale", timeout=30_000)
        shoot(page, f"state-stale{suffix}")
