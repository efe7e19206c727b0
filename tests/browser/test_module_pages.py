"""A service's pages in a real browser: made from its declarations, used by two people."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, Open, Watched
from tests.e2e.conftest import Net, environment_for

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
MODULE = "tests.browser.counter:Counter"
ANSWER_S_MAX = 30


class Counter(NamedTuple):
    """The service, and the tokens of a clerk and of a lead."""

    url: str
    clerk: str
    lead: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask as the clerk does, beside the browser."""
        answer = httpx.post(
            f"{self.url}/",
            headers={"Authorization": f"Bearer {self.clerk}"},
            json={"jsonrpc": "2.0", "id": 1, "method": f"counter_{method}", "params": params},
            timeout=ANSWER_S_MAX,
        ).json()
        assert "result" in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def ticket(self, title: str, **more: Any) -> str:
        """Make one; its id."""
        return str(self.call("createTicket", title=title, **more)["id"])


@pytest.fixture(scope="module")
def counter(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """The service beside the first node; `deskclerk` asks, `desklead` approves."""
    folder = tmp_path_factory.mktemp("counter") / "home"
    folder.mkdir(mode=0o700)
    environment = environment_for(net.client)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
    tokens = []
    home = ("--authority-home", net.home / "authority-1", "--yes")
    people = (("deskclerk", ("clerk",)), ("desklead", ("lead", "privacy")))
    for who, roles in people:
        net.fund(who)
        for role in roles:
            granted = net.run("role", "grant", f"counter.{role}", who, *home)
            assert granted.code == 0, granted.err
        named = ("--account", who, "--data", folder, "--out", folder / who)
        made = net.run("module", "token", "create", MODULE, *named)
        assert made.code == 0, made.err
        tokens.append((folder / who).read_text().strip())
    words = ("--node", net.rpc, "--data", str(folder), "--listen", "127.0.0.1:0", "--json")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", "module", "serve", MODULE, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        told = json.loads(line or "{}")
        assert "url" in told, (told, (folder / "log").read_text())
        yield Counter(told["url"], *tokens)
    finally:
        process.terminate()
        process.wait(ANSWER_S_MAX)
        process.stdout.close()


@pytest.fixture
def page_of(counter: Counter, opened: Open) -> Callable[..., Page]:
    """Opens a page of the service, signed in."""

    def make(place: str, token: str = "", size: tuple[int, int] = DESKTOP) -> Page:
        watched: Watched = opened(size, origin=counter.url)
        # What a service refuses is answered by errors of HTTP, which a browser complains of.
        watched.provoked += ["401", "403", "409"]
        watched.page.goto(f"{counter.url}/#{place}")
        watched.page.get_by_label("Token").fill(token or counter.clerk)
        watched.page.get_by_role("button", name="Sign in").click()
        return watched.page

    return make


def test_a_record_is_made_found_and_moved_with_a_moment_to_take_it_back(
    counter: Counter, page_of: Callable[..., Page]
) -> None:
    """Otherwise whoever works at the counter needs a programmer for each step."""
    page = page_of("/ticket/new")
    page.get_by_label("Title").fill("Broken lamp")
    page.get_by_label("Priority").select_option("high")
    page.get_by_label("Pieces").fill("many")
    page.get_by_role("button", name="Make this ticket").click()
    expect(page.get_by_text("Pieces: a whole number is wanted")).to_be_visible()
    page.get_by_label("Pieces").fill("3")
    page.get_by_role("button", name="Make this ticket").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ticket T-")
    ident = page.get_by_role("heading", level=1).inner_text().removeprefix("Ticket ")
    made = counter.call("getTicket", id=ident)
    assert made["values"] == {
        "title": "Broken lamp", "priority": "high", "pieces": 3, "contact": None, "outcome": None,
    }  # fmt: skip
    expect(page.get_by_text("First reply:")).to_be_visible()
    # A move without anything to type waits five seconds; what is taken back was never done.
    page.get_by_role("button", name="Take").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("in a moment")).to_have_count(0)
    assert counter.call("getTicket", id=ident)["version"] == made["version"]
    page.get_by_role("button", name="Take").click()
    expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_visible()
    expect(page.get_by_text("Take → open")).to_be_visible()
    # What needs a word asks for it, and what is for others says whose it is.
    expect(page.get_by_role("button", name="Scrap")).to_be_disabled()
    expect(page.get_by_text("counter.boss")).to_be_visible()
    page.get_by_role("button", name="Resolve", exact=True).click()
    page.get_by_label("Outcome").fill("mended")
    page.get_by_role("button", name=f"Resolve {ident}").click()
    expect(page.get_by_text("Resolve → resolved")).to_be_visible()
    assert counter.call("getTicket", id=ident)["values"]["outcome"] == "mended"


def test_lists_are_filtered_by_address_exported_and_moved_together(
    counter: Counter, page_of: Callable[..., Page], tmp_path: Path
) -> None:
    """Otherwise ten equal things are ten times the work, and an address cannot be passed on."""
    idents = [counter.ticket("List me") for _ in range(3)]
    counter.ticket("=not a formula")
    page = page_of("/ticket?title=List+me&state=new")
    expect(page.locator("tr[data-row]")).to_have_count(3)
    for ident in idents[:2]:
        page.get_by_label(f"choose {ident}").check()
    page.get_by_role("button", name="Take all 2").click()
    expect(page.get_by_text("Take: 2 of 2 done.")).to_be_visible()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    page.get_by_role("link", name="Open", exact=True).click()
    expect(page.locator("tr[data-row]")).to_have_count(2)
    page.get_by_label("Title").fill("=not a formula")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    page.get_by_role("button", name="Save this view…").click()
    page.get_by_label("Name of this view").fill("Odd ones")
    page.get_by_role("button", name="Keep it").click()
    page.goto(page.url.partition("#")[0] + "#/ticket")
    page.get_by_role("link", name="Odd ones").click()
    expect(page.locator("tr[data-row]")).to_have_count(1)
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "tickets.csv")
    with open(tmp_path / "tickets.csv", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [(row["state"], row["title"]) for row in rows] == [("new", "'=not a formula")]


def test_a_refund_is_asked_by_one_and_approved_by_another(
    counter: Counter, page_of: Callable[..., Page]
) -> None:
    """Otherwise one person alone pays out, or nobody finds what waits for him."""
    ident = counter.ticket("Refund me")
    asking = page_of(f"/ticket/{ident}")
    asking.get_by_role("button", name="Ask to refund", exact=True).click()
    expect(asking.get_by_text("1 of counter.lead must approve")).to_be_visible()
    asking.get_by_role("button", name=f"Ask to refund {ident}").click()
    expect(asking.get_by_text("is looking at it, too")).to_have_count(0)
    own = asking.get_by_role("button", name=f"Approve: Refund {ident}")
    expect(own).to_be_disabled()
    expect(asking.get_by_text("You asked for it: somebody else must decide.")).to_be_visible()
    deciding = page_of("/ticket/waiting", counter.lead)
    deciding.get_by_role("link", name=f"Refund {ident}").click()
    expect(deciding.get_by_text("is looking at it, too")).to_be_visible()
    deciding.get_by_role("button", name=f"Approve: Refund {ident}").click()
    expect(deciding.get_by_text("→ refunded")).to_be_visible()
    assert counter.call("getTicket", id=ident)["state"] == "refunded"


def test_whoever_comes_second_sees_both_versions(
    counter: Counter, page_of: Callable[..., Page]
) -> None:
    """Otherwise the later one overwrites what he never saw."""
    ident = counter.ticket("Two hands")
    page = page_of(f"/ticket/{ident}")
    page.get_by_role("button", name="Change values…").click()
    page.get_by_label("Title").fill("Mine")
    counter.call("updateTicket", id=ident, title="Theirs")
    # The page looks again by itself: what was typed stays, and names the version it was typed at.
    expect(page.get_by_role("main")).to_contain_text("Theirs")
    expect(page.get_by_label("Title")).to_have_value("Mine")
    page.get_by_role("button", name=f"Change {ident}").click()
    clash = page.get_by_role("alert").filter(has_text="Somebody changed it first")
    expect(clash).to_be_visible()
    expect(clash.get_by_role("row", name="Title")).to_contain_text("Mine")
    expect(clash.get_by_role("row", name="Title")).to_contain_text("Theirs")
    clash.get_by_role("button", name="Do mine on version").click()
    expect(page.get_by_text("Mine").first).to_be_visible()
    assert counter.call("getTicket", id=ident)["values"]["title"] == "Mine"


def test_a_person_is_erased_from_the_page_and_the_proof_stays(
    counter: Counter, page_of: Callable[..., Page], tmp_path: Path
) -> None:
    """Otherwise somebody's right to be forgotten waits for a programmer, or costs the evidence."""
    ident = counter.ticket("Forget me", contact="Canary Street 7")
    clerk = page_of(f"/ticket/{ident}")
    expect(clerk.get_by_text("Canary Street 7")).to_be_visible()
    expect(clerk.get_by_role("button", name="Erase…")).to_have_count(0)
    page = page_of(f"/ticket/{ident}", counter.lead)
    page.get_by_role("button", name="Erase…").click()
    page.get_by_label("Why; kept for ever").fill("asked for by letter")
    page.get_by_label(f"Type {ident}").fill("T-0")
    page.get_by_role("button", name="Erase for ever").click()
    expect(page.get_by_text(f"Type {ident} to say that you mean it.")).to_be_visible()
    page.get_by_label(f"Type {ident}").fill(ident)
    page.get_by_role("button", name="Erase for ever").click()
    expect(page.get_by_text("Canary Street 7")).to_have_count(0)
    expect(page.get_by_text("erased", exact=True)).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Proof").first.click()
    saved.value.save_as(tmp_path / "proof.json")
    assert "Canary" not in (tmp_path / "proof.json").read_text()


def test_strangers_and_phones(counter: Counter, opened: Open, page_of: Callable[..., Page]) -> None:
    """Nothing is shown without a token; with one, a narrow screen loses nothing."""
    stranger = opened(DESKTOP, origin=counter.url)
    stranger.provoked += ["401"]
    stranger.page.goto(f"{counter.url}/")
    expect(stranger.page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(stranger.page.get_by_text("Ticket")).to_have_count(0)
    ident = counter.ticket("A rather long title that has to be wrapped on a narrow screen")
    for place in ("/ticket", f"/ticket/{ident}", "/ticket/new", "/ticket/waiting"):
        page = page_of(place, size=PHONE)
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Sign in")
        page.wait_for_function("document.querySelector('.muted') !== null")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE[0], (place, wide)
