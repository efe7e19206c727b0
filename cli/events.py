"""What `events` does: follow a topic at the network's nodes, one line an event."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from clawpurse.cli.output import counted
from clawpurse.cli.rpc import parameter
from clawpurse.cli.session import Session
from clawpurse.wallet.watching import Watch, watch

# Data of an event in one line beside its cursor and kind; `--json` has everything.
_FIELDS_MAX: Final = 6


def follow(
    session: Session, topic: str, filters: Sequence[str], start: str | None, count: int | None
) -> None:
    """Print events until `count`, Ctrl-C or SIGTERM; then name the cursor to go on from.

    Raises `RpcError` for an unknown topic or a filter with a mistake.
    """
    matching = dict(parameter(session, text) for text in filters)
    clients = [session.connect(url) for url in session.network().rpc_urls]
    followed = watch(clients, topic, matching or None, start)
    trio.run(_follow, session, topic, followed, count)
    if followed.cursor is None or followed.cursor == start:
        return
    session.out.note(f"Next: clawpurse events --topic {topic} --from {followed.cursor}")


async def _follow(session: Session, topic: str, followed: Watch, count: int | None) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        async with followed:
            shown = 0
            async for event in followed:
                if event.gap:
                    session.out.warn("events may be missing here: there was no connection")
                if session.json_mode:
                    session.out.emit(
                        {
                            "cursor": event.cursor,
                            "topic": topic,
                            "final": event.final,
                            "data": event.data,
                        }
                    )
                else:
                    session.out.line(_line(event.cursor, event.data))
                shown += 1
                if shown == count:
                    break
        nursery.cancel_scope.cancel()


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _line(cursor: str | None, data: Mapping[str, Any]) -> str:
    """Return an event for people: where, what kind, and its first plain fields."""
    receipt = data.get("receipt")
    if isinstance(receipt, Mapping):
        names = ", ".join(str(one["name"]) for one in data.get("actions", ()))
        words = [str(data.get("txId")), str(receipt.get("code")), names]
    elif "kind" in data:
        words = [str(data["kind"]), *_plain(data.get("data", {})), *data.get("accounts", ())]
    elif "transactionCount" in data:
        words = [str(data.get("time")), f"{counted(data['transactionCount'], 'transaction')}"]
    else:
        words = _plain(data)
    return "  ".join([cursor or "-", *words])


def _plain(fields: Mapping[str, Any]) -> list[str]:
    plain = [
        f"{name}={value}"
        for name, value in fields.items()
        if isinstance(value, str | int) and value != ""
    ]
    return plain[:_FIELDS_MAX]
