"""What people see when something dies: an authority, the node itself, the line to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import Watched
from tests.browser.paying import paid_on, send
from tests.browser.pictures import LOOKS, Shoot
from tests.e2e.conftest import PASSPHRASE, Net, free_base_port, runner

pytestmark = [pytest.mark.full, pytest.mark.real]

NOTICED_SECONDS_MAX = 5.0
DIMMED_MS_MAX = 15_000
RECOVERED_MS_MAX = 30_000
WHOLE_HOME_PX = 1_240


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """A network of its own, of which a test kills parts."""
    root = tmp_path_factory.mktemp("mortal")
    folder = root / "testnet"
    run = runner(root / "client")
    (root / "passphrase").write_text(PASSPHRASE + "\n")
    base = free_base_port(5)
    started = run(
        *("testnet", "start", "--authorities", 4, "--home", folder),
        *("--base-port", base, "--detach", "--json"),
    )
    try:
        yield Net(run, started.json(), folder, root / "client", str(root / "passphrase"))
    finally:
        run("stop", "--home", folder)


def test_a_killed_authority_shows_within_five_seconds(
    mortal: Net, profiles: Callable[..., BrowserContext], shoot: Shoot
) -> None:
    """Sentence, grid and alert agree; payments go on, the page says so, and the start is undone."""
    watched = Watched(profiles().new_page(), mortal.rpc.rstrip("/"))
    page = watched.go()
    paid_on(mortal, "anna", "bert")
    expect(page.locator(".sentence .headline")).to_contain_text("All is well")
    victim = next(one for one in mortal.facts["nodes"] if one["name"] == "authority-4")
    os.kill(victim["pid"], signal.SIGKILL)
    killed_at = time.monotonic()

    def left_ms() -> float:
        return max(1.0, 1000 * (NOTICED_SECONDS_MAX - (time.monotonic() - killed_at)))

    expect(page.locator(".sentence .headline")).to_contain_text(
        "authority-4 silent", timeout=left_ms()
    )
    alerts = page.locator("section.panel", has=page.get_by_role("heading", name="Alerts"))
    expect(alerts).to_contain_text("AuthoritySilent", timeout=left_ms())
    grid = page.locator("section.panel", has=page.get_by_role("heading", name="Signing"))
    expect(grid).to_contain_text("silent", timeout=left_ms())
    for size, theme, suffix in LOOKS:
        other = Watched(profiles(size, theme).new_page(), watched.origin)
        other.go().wait_for_selector("section.alerts [data-row]")
        other.page.wait_for_selector("main [aria-busy=true]", state="detached")
        expect(other.page.locator(".sentence .headline")).to_contain_text("authority-4 silent")
        # Sentence, grid and alert on one picture: that they agree is what it shows.
        other.page.set_viewport_size({"width": size[0], "height": WHOLE_HOME_PX})
        shoot(other.page, f"home-silent{suffix}")
        other.blameless()
    alerts.get_by_role("link", name="Runbook").click()
    expect(page.locator("main")).to_contain_text("Its machine is lost")
    expect(page.locator("main .badge.is-warning", has_text="fires")).to_be_visible()
    assert send(mortal, "anna", "bert", "1")["status"] == "final"
    watched.blameless()


def test_a_page_without_its_node_dims_says_since_when_and_recovers_alone(
    mortal: Net, profiles: Callable[..., BrowserContext]
) -> None:
    """Old numbers that look new are how people pay twice."""
    watched = Watched(profiles().new_page(), mortal.rpc.rstrip("/"))
    watched.provoked = ["ERR_CONNECTION_REFUSED", "WebSocket connection", "Failed to load resource"]
    page = watched.go()
    expect(page.locator(".sentence .headline")).to_contain_text("block")
    node = next(one for one in mortal.facts["nodes"] if one["name"] == "authority-1")
    os.kill(node["pid"], signal.SIGKILL)
    expect(page.locator(".sentence.is-stale .headline")).to_contain_text(
        "o news for", timeout=DIMMED_MS_MAX
    )
    page.wait_for_selector("section.panel.is-stale", timeout=DIMMED_MS_MAX)
    dimmed = page.evaluate(
        "getComputedStyle(document.querySelector('section.panel.is-stale')).opacity !== '1' "
        "|| getComputedStyle(document.querySelector('section.panel.is-stale > *:last-child'))"
        ".opacity !== '1'"
    )
    assert dimmed
    mortal.run("testnet", "start", "--home", mortal.home, "--detach", "--json").json()
    expect(page.locator(".sentence:not(.is-stale) .headline")).to_contain_text(
        "block", timeout=RECOVERED_MS_MAX
    )
    page.wait_for_selector("section.panel.is-stale", state="detached", timeout=RECOVERED_MS_MAX)
    watched.blameless()
