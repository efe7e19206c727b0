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
# How often what outlived earlier collections is gone through as well: a cycle among old objects
# may wait so long, for a process keeps few of them and drops fewer.
WHOLE_S: Final = 3_600.0
# Container objects made since the last collection: a young collection of these takes a few ms.
YOUNG_MAX: Final = 300_000


async def collect_when_idle(activity: Callable[[], object]) -> NoReturn:
    """Take over garbage collection until cancelled; `activity` changes while there is work.

    For the whole process: what lives when it begins is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    whole_at_s = trio.current_time() + WHOLE_S
    try:
        while True:
            before = activity()
            await trio.sleep(IDLE_S)
            made = gc.get_count()[0]
            is_due = trio.current_time() >= whole_at_s
            if activity() == before and (is_due or made > YOUNG_MAX // 100):
                if is_due:
                    whole_at_s = trio.current_time() + WHOLE_S
                    gc.unfreeze()
                gc.collect()
                gc.freeze()
            elif made > YOUNG_MAX:
                gc.collect(0)
    finally:
        gc.enable()
        gc.unfreeze()
