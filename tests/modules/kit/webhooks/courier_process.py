"""A courier as a process of its own, to be killed: `python -m … FOLDER EVENTS`."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

# Makes `clawpurse` mean this checkout, as for every test.
import tests.conftest  # noqa: F401  isort: skip
import trio

from clawpurse.modules.kit.webhooks.addresses import Allowed
from clawpurse.modules.kit.webhooks.courier import Courier, LoopTimer
from clawpurse.modules.kit.webhooks.database import open_database
from clawpurse.modules.kit.webhooks.deliveries import Deliveries
from clawpurse.modules.kit.webhooks.endpoints import Endpoints
from clawpurse.modules.kit.webhooks.posting import Poster
from clawpurse.modules.kit.webhooks.tables import SCHEMA, VERSION
from tests.modules.kit.webhooks.hookworld import MemoryLog, ThreadLane


async def main(folder: Path, events: int) -> None:
    database = open_database(folder / "webhooks.db", ThreadLane(), SCHEMA, VERSION)
    courier = Courier(
        Endpoints(database),
        Deliveries(database),
        MemoryLog(events),
        Poster(Allowed(["127.0.0.1/32"]), software="1"),
        LoopTimer(lambda: time.time_ns() // 1_000_000),
        random.random,
    )
    await courier.run()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
