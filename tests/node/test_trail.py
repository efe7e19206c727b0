"""A node's privileged calls: written down before they are answered, told once, in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.audit.entries import read_entry
from clawpurse.modules.kit.web.errors import FORBIDDEN, LIMIT_EXCEEDED, RpcError, Unreachable
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.guard import ADMIN, OPERATOR
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.node import trail as trails
from clawpurse.node.trail import NodeTrail, open_trail
from clawpurse.node.workers import InlineLane

NODE_ID = bytes(range(32))
SOURCE = "node-0001020304050607/calls"
ANNA = Context("token:anna", "10.0.0.7", Grant("anna", "anna's laptop", read_scopes(["admin_*"])))


class Log:
    """An audit log that keeps what fits, and is away when told so."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.away = False

    async def __aenter__(self) -> Log:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def call(self, method: str, params: Any = None) -> Any:
        assert method == "audit_append" and params["source"] == SOURCE
        await trio.lowlevel.checkpoint()
        if self.away:
            raise Unreachable("http://log", "nobody is there", sent=False)
        for entry in params["entries"]:
            # The log itself says whether this is an entry that it takes.
            read_entry(SOURCE, entry["number"], entry["text"])
            if entry["number"] > len(self.kept):
                assert entry["number"] == len(self.kept) + 1
                self.kept.append(entry["text"])
            assert self.kept[entry["number"] - 1] == entry["text"]
        return {"number": len(self.kept)}


def opened(folder: Path) -> NodeTrail:
    return open_trail(folder, NODE_ID, InlineLane(), lambda: 1_000)


def method(name: str, role: str, handler: Callable[..., Any]) -> Method:
    return Method(name, "For a test", handler, role=role)


async def made(trail: NodeTrail, name: str, role: str = ADMIN, context: Context = ANNA) -> Any:
    answer = trail.watched(method(name, role, lambda _params, _context: 7)).handler(None, context)
    return answer if isinstance(answer, int) else await answer


async def test_a_call_is_on_the_disk_before_it_is_answered_and_told_once(tmp_path: Path) -> None:
    """Otherwise a machine that loses its power forgets what was done to it, or says it twice."""
    trail, log = opened(tmp_path), Log()
    assert await made(trail, "admin_addPeer") == 7
    again = opened(tmp_path)  # As after kill -9: nothing was closed.
    assert await again.step(log)
    assert not await again.step(log)
    assert await made(again, "admin_reloadConfig", context=replace(ANNA, grant=None)) == 7
    assert await again.step(log)
    told = [read_entry(SOURCE, at + 1, text) for at, text in enumerate(log.kept)]
    assert [(one.what, one.result, one.who, one.origin) for one in told] == [
        ("admin_addPeer", "done", "anna's laptop", "anna@token:anna"),
        ("admin_reloadConfig", "done", "nobody", "@token:anna"),
    ]


async def test_a_log_that_lost_the_answer_is_told_the_same_again(tmp_path: Path) -> None:
    """Otherwise a connection that breaks makes two entries of one call, or none."""
    trail, log = opened(tmp_path), Log()
    await made(trail, "admin_addPeer")
    copy = sqlite3.connect(tmp_path / trails.FILE)
    rows = copy.execute("SELECT number, text FROM calls").fetchall()
    await trail.step(log)
    copy.executemany("INSERT INTO calls VALUES (?, ?)", rows)
    copy.commit()
    copy.close()
    await made(trail, "admin_removePeer")
    await trail.step(log)
    assert len(log.kept) == 2


async def test_what_failed_and_what_was_refused_is_written_down_and_reading_is_not(
    tmp_path: Path,
) -> None:
    """Otherwise whoever tries doors leaves no trace."""
    trail, log = opened(tmp_path), Log()

    def refuse(_params: Any, _context: Context) -> Any:
        raise RpcError(FORBIDDEN, "not you")

    async def fail(_params: Any, _context: Context) -> Any:
        raise PeerError("no")

    for handler in (refuse, fail):
        with pytest.raises((RpcError, PeerError)):
            await trail.watched(method("webhook_create", OPERATOR, handler)).handler(None, ANNA)
    for name, role in (("webhook_list", OPERATOR), ("chain_getStatus", ""), ("get", "caller")):
        assert await made(trail, name, role) == 7
    while await trail.step(log):
        pass
    results = [read_entry(SOURCE, at + 1, text).result for at, text in enumerate(log.kept)]
    assert results == ["refused", "failed"]


async def test_a_log_that_is_away_is_an_alarm_and_nothing_is_lost(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Otherwise nobody notices that the trail ends."""
    trail, log = opened(tmp_path), Log()
    log.away = True
    await made(trail, "admin_addPeer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trail.run, lambda: log)
        await trio.sleep(5)
        (alarm,) = trail.conditions()
        assert "nobody is there" in alarm.summary
        log.away = False
        await trio.sleep(60)
        assert len(log.kept) == 1 and list(trail.conditions()) == []
        await made(trail, "admin_addPeer")
        await trio.sleep(1)
        assert len(log.kept) == 2
        nursery.cancel_scope.cancel()


async def test_what_nobody_could_write_down_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the disk fills, or calls go on without a trace."""
    monkeypatch.setattr(trails, "WAITING_MAX", 1)
    trail = opened(tmp_path)
    await made(trail, "admin_addPeer")
    with pytest.raises(RpcError) as refused:
        await made(trail, "admin_addPeer")
    assert refused.value.code == LIMIT_EXCEEDED
