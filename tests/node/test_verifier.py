"""If these failed, a node would believe a forged payment, or stop when its helper dies."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger import crypto
from clawpurse.node import verifier as verifier_module
from clawpurse.node import verifier_child
from clawpurse.node.verifier import ChildVerifier, InlineVerifier, Triple, Verifier

WAIT_S = 20.0
SEEDS = [bytes([number]) * 32 for number in range(1, 6)]


def triple(number: int, good: bool) -> Triple:
    seed = SEEDS[number % len(SEEDS)]
    message = number.to_bytes(32, "big")
    signature = crypto.sign(seed, message)
    if not good:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    return crypto.public_key_of(seed), message, signature


def mixture(count: int) -> tuple[list[Triple], list[bool]]:
    """Some triples, every third of them forged, and what is true of each."""
    truths = [number % 3 != 0 for number in range(count)]
    return [triple(number, truth) for number, truth in enumerate(truths)], truths


ODD: list[Triple] = [
    (b"", b"", b""),
    (b"k" * 31, b"m", b"s" * 64),
    (b"k" * 32, b"m", b"s" * 65),
    (bytes(32), b"", bytes(64)),
    (b"\xff" * 32, b"m" * 5000, b"\xff" * 64),
]


async def judge_all(verifier: Verifier) -> None:
    triples, truths = mixture(200)
    assert await verifier.verify(triples) == truths
    assert await verifier.verify([]) == []
    assert await verifier.verify([ODD[0], triples[1], *ODD, triples[2]]) == [
        False, True, False, False, False, False, False, True,
    ]  # fmt: skip


async def test_inline_verdicts_are_true() -> None:
    """A forged payment would be believed in simulation and in fallback."""
    await judge_all(InlineVerifier())


async def test_without_its_task_the_child_verifier_still_judges() -> None:
    """A payment that arrives before the child is up would wait for ever."""
    await judge_all(ChildVerifier())


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32), st.binary(min_size=64))
def test_the_child_judges_as_the_ledger_does(message: bytes, key: bytes, sig: bytes) -> None:
    """Two nodes would judge one signature differently, and fork."""
    sig = sig[:64]
    assert verifier_child.verify(key, message, sig) == crypto.verify(key, message, sig)


def test_the_child_refuses_published_edge_cases() -> None:
    """The child would accept what other nodes refuse (R2)."""
    for message, key, sig in crypto._EDGE_CASES:
        triple = (bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(sig))
        assert verifier_child.verify(*triple) is False
    good, truths = mixture(2)
    assert [verifier_child.verify(*one) for one in good] == truths


@pytest.mark.parametrize("cut", [0, 1, 50, 99, 100, 101])
def test_a_request_that_lies_about_its_length_is_noticed(cut: int) -> None:
    """Verdicts would belong to other signatures than those that were asked about."""
    key, message, sig = triple(1, True)
    body = verifier_child.ITEM.pack(key, sig, len(message)) + message
    assert verifier_child.judge(1, body) == b"\x01"
    with pytest.raises(ValueError, match=r"longer|shorter"):
        verifier_child.judge(1, body[:cut] if cut < 101 else body + b"x")


def test_slices_of_the_inline_twin_let_others_run() -> None:
    """Votes would wait for a whole block's signatures when the child is gone."""

    async def main() -> int:
        turns = 0
        finished = False

        async def other() -> None:
            nonlocal turns
            while not finished:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            triples, truths = mixture(240)
            assert await InlineVerifier().verify(triples) == truths
            finished = True
        return turns

    assert trio.run(main, clock=MockClock()) >= 10


async def eventually(condition: Callable[[], bool], pause_s: float = 0.005) -> None:
    """Wait until something is so; fail when it has not become so for long."""
    with trio.fail_after(WAIT_S):
        for _ in itertools.count():
            if condition():
                return
            await trio.sleep(pause_s)


async def until_child(verifier: ChildVerifier, other_than: int | None = None) -> int:
    await eventually(lambda: verifier.pid not in (None, other_than))
    assert verifier.pid is not None
    return verifier.pid


@pytest.mark.real
async def test_the_child_judges_and_ends_with_its_owner() -> None:
    """Forged payments would pass, or each restart would leave a process behind."""
    verifier = ChildVerifier()
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        pid = await until_child(verifier)
        await judge_all(verifier)
        async with trio.open_nursery() as callers:
            for _ in range(8):
                callers.start_soon(judge_all, verifier)
        assert (verifier.deaths, verifier.redone) == (0, 0)
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.real
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_child_lost_in_its_work_costs_no_verdict(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payments would hang or be judged wrongly when the child crashes or hangs."""
    monkeypatch.setattr(verifier_module, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(verifier_module, "CHILD_EXIT_TIMEOUT_S", 0.2)
    verifier = ChildVerifier()
    triples, truths = mixture(3_000)
    verdicts: list[list[bool]] = []

    async def ask() -> None:
        verdicts.append(await verifier.verify(triples))

    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        first = await until_child(verifier)
        with trio.fail_after(WAIT_S):
            async with trio.open_nursery() as callers:
                callers.start_soon(ask)
                callers.start_soon(ask)
                await eventually(lambda: bool(verifier._sent), pause_s=0)
                os.kill(first, how)
        assert verdicts == [truths, truths]
        assert verifier.deaths == 1
        assert verifier.redone > 0
        second = await until_child(verifier, first)
        redone = verifier.redone
        await judge_all(verifier)
        assert verifier.redone == redone
        assert second != first
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_cancelled_caller_does_not_confuse_the_next() -> None:
    """One impatient wallet would turn everybody's verdicts into each other's."""
    verifier = ChildVerifier()
    triples, truths = mixture(400)
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        for pause_s in (0.0, 0.001, 0.01):
            with trio.move_on_after(pause_s):
                await verifier.verify(triples)
            assert await verifier.verify(triples[:50]) == truths[:50]
        assert verifier.deaths == 0
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_a_child_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine short of processes for a moment would stop the node, or slow it for ever."""
    real, tries = verifier_module._start_child, []

    async def failing(theirs: object) -> trio.Process:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no more processes")
        return await real(theirs)  # type: ignore[arg-type]

    monkeypatch.setattr(verifier_module, "_start_child", failing)
    verifier = ChildVerifier()
    async with trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        await judge_all(verifier)
        await until_child(verifier)
        assert verifier.deaths == 2
        nursery.cancel_scope.cancel()


@pytest.mark.real
def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Every crash of a node would leave a process behind, holding memory for ever."""
    script = tmp_path / "parent.py"
    root = Path(__file__).resolve().parents[2]
    script.write_text(
        "import importlib.machinery, importlib.util, sys, os, signal, trio\n"
        "spec = importlib.machinery.ModuleSpec('clawpurse', None, is_package=True)\n"
        f"spec.submodule_search_locations = [{str(root)!r}]\n"
        "sys.modules['clawpurse'] = importlib.util.module_from_spec(spec)\n"
        "from clawpurse.node.verifier import ChildVerifier\n"
        "async def main():\n"
        "    verifier = ChildVerifier()\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(verifier.run)\n"
        "        print(verifier.pid, flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        parent.kill()
        parent.wait()
    trio.run(eventually, lambda: _state(pid) == "Z")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_the_child_imports_nothing_of_the_node() -> None:
    """The child would cost as much memory as the node itself."""
    probe = (
        "import runpy, sys; sys.argv = ['x']\n"
        f"runpy.run_path({str(Path(verifier_child.__file__))!r}, run_name='child')\n"
        "assert not [n for n in sys.modules if n.startswith(('clawpurse', 'trio'))]\n"
    )
    subprocess.run([sys.executable, "-P", "-c", probe], check=True, timeout=60)
