"""A process of the counting service, for tests that kill it: `python -m … FILE URL`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import trio

from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.service.declaration import compiled
from clawpurse.modules.kit.service.intake import Intake
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.web.client import RpcClient
from tests.modules.kit.service import stubnode

GENESIS = b"g" * 32


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def main(file: Path, url: str) -> None:
    """Take in events until killed."""
    database = Database(file, "counting")
    manifest = compiled(stubnode.Counting())
    database.write_now(lambda db: migrate(db, manifest.tables, manifest.steps, now_ms()))
    keys = KeyRing(MasterKey(b"m" * 32))
    async with RpcClient(url) as client:
        records = Transactions(
            manifest.name, manifest.tables, manifest.kinds, database, keys, now_ms
        )
        intake = Intake(manifest, records, client, GENESIS)
        while True:
            await intake.step(50)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
