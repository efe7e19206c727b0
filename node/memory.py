"""When garbage is collected: the process's own affair, so the daemon runs it, not the node.

Cycles are rare here. Under load a young collection now and then bounds memory; a full one waits
for an idle moment, because automatic ones made pauses of 40 ms in the middle of consensus.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, NoReturn

import trio

#: How long nothing must have happened before a full collection.
IDLE_S: Final = 1.0
# Container objects made since the last collection: a young collection of these takes a few ms.
YOUNG_MAX: Final = 300_000


async def collect_when_idle(activity: Callable[[], object]) -> NoReturn:
    """Take over garbage collection until cancelled; `activity` changes while there is work.

    For the whole process: what lives when it begins is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while True:
            before = activity()
            await trio.sleep(IDLE_S)
            made = gc.get_count()[0]
            if activity() == before and made > YOUNG_MAX // 100:
                gc.collect()
            elif made > YOUNG_MAX:
                gc.collect(0)
    finally:
        gc.enable()
        gc.unfreeze()
