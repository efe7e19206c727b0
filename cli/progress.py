"""What a terminal shows while something is waited for: nothing at first, then a line in place."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from clawpurse.cli.output import Output

# What takes less than this needs no "please wait".
PROGRESS_AFTER_S: Final = 0.3


@asynccontextmanager
async def waiting(out: Output, what: str) -> AsyncIterator[None]:
    """Show on a terminal what is being waited for, once it takes longer than a moment."""
    if not out.live or out.json_mode:
        yield
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show, out, what)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
            out.end_line()


async def _show(out: Output, what: str) -> None:
    began = time.monotonic()
    await trio.sleep(PROGRESS_AFTER_S)
    while True:
        took = math.floor(time.monotonic() - began)
        out.replace_line(out.style(f"  {what} … {took} s", "dim"))
        await trio.sleep(1)
