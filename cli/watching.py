"""The status line of a running test network: how far, how fresh, who signs, what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from clawpurse.cli.network import LocalNetwork
from clawpurse.cli.output import LIVE, WARNING, Output
from clawpurse.cli.processes import ask, last_words, node_config, rpc_url
from clawpurse.cli.session import now_ms

# How often a person sees the line move, and how often a log file gets one.
TERMINAL_PERIOD_S: Final = 1.0
PIPE_PERIOD_S: Final = 10.0


@dataclass(frozen=True)
class Reading:
    """One look at all nodes. `time_ms` is the newest block's; None where nobody answers."""

    height: int
    time_ms: int
    signing: int
    authorities: int
    pending: int
    answering: int

    def text(self, now: int) -> str:
        """Return the line, without its mark."""
        age_s = max(0, now - self.time_ms) / 1000
        fresh = f"{age_s:.1f} s" if age_s < 60 else f"{age_s / 60:.0f} min"
        return (
            f"block {self.height}, final {fresh} ago, {self.signing}/{self.authorities} signing, "
            f"{self.pending} pending"
        )


async def look(urls: Sequence[str]) -> Reading | None:
    """Ask every node; None when none answers."""
    answers: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {}

    async def one(url: str) -> None:
        answers[url] = await ask(url, "chain_getStatus"), await ask(url, "consensus_getState")

    async with trio.open_nursery() as nursery:
        for url in urls:
            nursery.start_soon(one, url)
    known = {url: (status, state) for url, (status, state) in answers.items() if status}
    if not known:
        return None
    best = max(known, key=lambda url: int((known[url][0] or {})["height"]))
    newest = known[best][0] or {}
    pool = await ask(best, "mempool_getStatus")
    return Reading(
        int(newest["height"]),
        int(newest["timeMs"]),
        sum(bool(state and state.get("signing")) for _, state in known.values()),
        int(newest["authorities"]),
        0 if pool is None else int(pool["transactions"]),
        len(known),
    )


async def watch(out: Output, network: LocalNetwork, at: Callable[[int], None]) -> None:
    """Follow the chain until cancelled; `at` is told each height.

    A node that ends is reported once, with its last words; the others go on.
    """
    urls = {home.root.name: rpc_url(node_config(home)) for home in network.homes}
    gone: set[str] = set()
    next_line_s = 0.0
    while True:
        reading = await look(list(urls.values()))
        for home in network.homes:
            if home.root.name not in gone and home.lock_holder() is None:
                gone.add(home.root.name)
                out.end_line()
                out.warn(f"{home.root.name} ended: {last_words(home) or 'it said nothing'}")
            elif home.root.name in gone and home.lock_holder() is not None:
                gone.discard(home.root.name)
        if reading is not None:
            at(reading.height)
        if out.live:
            out.replace_line(_line(out, reading))
        elif time.monotonic() >= next_line_s:
            next_line_s = time.monotonic() + PIPE_PERIOD_S
            out.line(_line(out, reading))
        await trio.sleep(TERMINAL_PERIOD_S)


def _line(out: Output, reading: Reading | None) -> str:
    if reading is None:
        return f"{out.mark(WARNING)} no node answers  (^C stops, chain kept)"
    mark = LIVE if reading.signing == reading.authorities else WARNING
    return f"{out.mark(mark)} {reading.text(now_ms())}  (^C stops, chain kept)"
