"""A program that pays: several tasks on one account, or one that kills itself at a chosen step.

sender.py many HOME RPC PREFIX TASKS COUNT      one line for each payment that is done
sender.py die HOME RPC STEP KEY                 kill -9 itself at STEP of the one payment
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import trio

from clawpurse.wallet import Wallet
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.receipts import ReceiptStore

PASSPHRASE = "correct horse battery"
AMOUNT = "0.01"
# After which call of whom the process dies; `-` before it: instead of it.
STEPS: dict[str, tuple[type, str]] = {
    "reserve": (Outbox, "reserve"),
    "-record": (Outbox, "record"),
    "record": (Outbox, "record"),
    "submit": (NodeClient, "submit"),
    "submitted": (Outbox, "submitted"),
    "wait": (NodeClient, "wait"),
    "save": (ReceiptStore, "save"),
    "settle": (Outbox, "settle"),
}


def die() -> None:
    """As if the power went."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    """Make the process die at a step."""
    owner, name = STEPS[step]
    real: Callable[..., Any] = getattr(owner, name)

    def at_once(self: Any, *values: Any, **named: Any) -> Any:
        if not step.startswith("-"):
            real(self, *values, **named)
        die()

    async def later(self: Any, *values: Any, **named: Any) -> Any:
        await real(self, *values, **named)
        die()

    setattr(owner, name, later if owner is NodeClient else at_once)


async def many(home: str, rpc: str, prefix: str, tasks: int, count: int) -> None:
    """Pay `count` times in each task, each payment under a key of its own."""
    async with Wallet.open(home, "payer", PASSPHRASE, rpc=rpc) as wallet:
        await wallet.resume()

        async def one(task: int) -> None:
            for number in range(count):
                key = f"{prefix}-{task}-{number}".encode()
                try:
                    payment = await wallet.pay("payee", AMOUNT, idempotency_key=key, timeout_s=120)
                except Exception as error:
                    if type(error).__name__ != "AlreadyUsed":
                        raise
                    print("known", flush=True)
                    continue
                print(payment.status, flush=True)

        async with trio.open_nursery() as nursery:
            for task in range(tasks):
                nursery.start_soon(one, task)


async def once(home: str, rpc: str, key: str) -> None:
    """Pay once."""
    async with Wallet.open(home, "payer", PASSPHRASE, rpc=rpc) as wallet:
        await wallet.pay("payee", AMOUNT, idempotency_key=key.encode())


if __name__ == "__main__":
    mode, home, rpc, *rest = sys.argv[1:]
    if mode == "many":
        trio.run(many, home, rpc, rest[0], int(rest[1]), int(rest[2]))
    else:
        arm(rest[0])
        trio.run(once, home, rpc, rest[1])
