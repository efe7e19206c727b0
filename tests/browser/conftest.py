"""A browser that looks at the pages of a real network of four processes.

Chromium is the system's own, driven through Playwright; nothing is downloaded. What the browser
says on its console, refuses by the content security policy, or asks of another origin is kept by
`Watched`, so that every test of a page can also hold the page to its rules.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.browser.pictures import shoot as shoot
from tests.e2e.conftest import Net
from tests.e2e.conftest import net as net
from tests.need import need

# A page that has not done in this time what a test waits for is broken, on a busy machine too.
WAIT_MS: Final = 20_000
SWITCHES: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP: Final = (1280, 900)
PHONE: Final = (360, 740)


class Watched:
    """A page of the dashboard, and everything that it did which it must not do."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        # What a test provokes by itself, by a part of the text.
        self.provoked: list[str] = []
        page.on("request", self._asked)
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def go(self, route: str = "/") -> Page:
        """Open a route of the dashboard and wait until its page is there."""
        self.page.goto(f"{self.origin}/#{route}", wait_until="load")
        self.page.wait_for_selector("main")
        return self.page

    def blameless(self) -> None:
        """Fail if the page asked another origin, broke its policy, or erred on its console."""
        said = [one for one in self.complaints if not any(part in one for part in self.provoked)]
        assert said == []
        assert self.foreign == []

    def _asked(self, request: Request) -> None:
        self.requests.append(request)
        if not request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.foreign.append(request.url)

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")


Open = Callable[..., Watched]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests, each of which has a profile of its own."""
    path = need("chromium", "to look at the pages as people do")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path,
            args=list(SWITCHES),
            # Proxies and language of whoever runs the tests are not the page's.
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            timeout=3 * WAIT_MS,
        )
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def profiles(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes profiles with nothing in them; all are closed at the end."""
    made: list[BrowserContext] = []

    def make(size: tuple[int, int] = DESKTOP, theme: str = "light") -> BrowserContext:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(WAIT_MS)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture
def opened(net: Net, profiles: Callable[..., BrowserContext]) -> Iterator[Open]:
    """Opens the dashboard of the first node; at the end every page must have been blameless."""
    pages: list[Watched] = []

    def make(
        size: tuple[int, int] = DESKTOP, theme: str = "light", origin: str | None = None
    ) -> Watched:
        watched = Watched(profiles(size, theme).new_page(), origin or net.rpc.rstrip("/"))
        pages.append(watched)
        return watched

    yield make
    for watched in pages:
        # What is being answered falsely at this moment is no fault of the page.
        watched.page.unroute_all(behavior="ignoreErrors")
        watched.blameless()
