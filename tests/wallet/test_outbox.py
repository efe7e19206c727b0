"""The outbox: what was signed is never forgotten, never doubled, and counts for the day."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clawpurse.ledger.errors import Refused, StorageFault
from clawpurse.ledger.params import DAY_MS
from clawpurse.wallet.guardrails import (
    AssetRule,
    GuardrailRefused,
    Journal,
    Policy,
    Verdict,
    judge,
    spent_of,
)
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.outbox import KEPT_MS, LanesTaken, Outbox
from clawpurse.wallet.outbox_rows import LANES, Claim, Status

ALICE, BOB, CAROL = (bytes([n]) * 32 for n in (1, 2, 3))
GENESIS = bytes([9]) * 32
NOW_MS = 20_000 * DAY_MS + 5_000
POLICY = Policy(assets=(AssetRule("CLAW", 2, 50_00, 100_00),))


def claim(key: int, amount: int = 10_00, **changed: object) -> Claim:
    intent = Intent(ALICE, BOB, "CLAW", amount, "", 1)
    whole = {
        "genesis_hash": GENESIS,
        "account": ALICE,
        "signer": ALICE,
        "key": key.to_bytes(16, "big"),
        "fee": 1,
        "intents": (intent,),
    }
    return Claim(**{**whole, **changed})  # type: ignore[arg-type]


def judging(wanted: Claim, now_ms: int = NOW_MS) -> Callable[[Journal], Verdict]:
    return lambda journal: judge(
        POLICY, wanted.intents, spent_of(journal, wanted.intents, now_ms), now_ms
    )


def opened(directory: Path, now_ms: int = NOW_MS) -> Outbox:
    return Outbox(directory / "outbox", now_ms=lambda: now_ms)


def signed(outbox: Outbox, number: int, mark: int = 0) -> None:
    outbox.record(number, b"raw%d" % number, bytes([number, mark]) * 16, 5, 1)


def test_it_is_private_and_survives(tmp_path: Path) -> None:
    """Who pays whom is nobody else's business, and a restart must know it."""
    with opened(tmp_path) as outbox:
        assert not outbox.exists
        row = outbox.reserve(claim(1))
        signed(outbox, row.number)
        outbox.submitted(row.number)
        outbox.settle(row.number, Status.PAID)
        for file in (tmp_path / "outbox").iterdir():
            assert file.stat().st_mode & 0o077 == 0, file
    with opened(tmp_path) as outbox:
        (again,) = outbox.rows()
        assert (again.status, again.settled_ms, again.day) == (Status.PAID, NOW_MS, 20_000)
        assert (again.payments, again.newest.raw) == (((BOB, "CLAW", 1000),), b"raw1")
        assert outbox.find(again.newest.tx_id) == again
        assert outbox.left() == []


def test_parallel_payments_take_lanes_of_their_own(tmp_path: Path) -> None:
    """Two senders in one lane would leave a gap when the first one dies."""
    with opened(tmp_path) as outbox:
        lanes = [outbox.reserve(claim(n)).lane for n in range(LANES)]
        assert lanes == list(range(LANES))
        with pytest.raises(LanesTaken):
            outbox.reserve(claim(99))
        row = outbox.rows(1)[0]
        signed(outbox, row.number)
        outbox.settle(row.number, Status.PAID)
        assert outbox.free_lane(claim(99)) == outbox.reserve(claim(99)).lane == row.lane
        assert outbox.reserve(claim(100, account=CAROL)).lane == 0


def test_who_insists_on_a_lane_waits_behind_what_a_node_has(tmp_path: Path) -> None:
    """A session key has few lanes: a payment behind a pending one is right, behind a hole not."""
    with opened(tmp_path) as outbox:
        first = outbox.reserve(claim(1, lanes=(7,)))
        with pytest.raises(LanesTaken):
            outbox.reserve(claim(2, lanes=(7,)))
        signed(outbox, first.number)
        outbox.submitted(first.number)
        second = outbox.reserve(claim(2, lanes=(7,)))
        assert (second.lane, outbox.following(second)) == (7, 6)
        assert outbox.following(first) == 0


def test_one_key_is_one_payment(tmp_path: Path) -> None:
    """A script that runs twice with its key must find the first payment, not make another."""
    with opened(tmp_path) as outbox:
        row = outbox.reserve(claim(1))
        assert outbox.reserve(claim(1)).number == row.number
        with pytest.raises(Refused, match="another payment"):
            outbox.reserve(claim(1, amount=11_00))
        signed(outbox, row.number)
        outbox.settle(row.number, Status.EXPIRED)
        assert outbox.reserve(claim(1)).number != row.number


def test_a_day_is_counted_by_what_may_still_leave(tmp_path: Path) -> None:
    """Pending counts, or a program would slip under its limit by being fast; dead does not."""
    with opened(tmp_path) as outbox:
        for key in (1, 2, 3):
            wanted = claim(key, 33_00)
            outbox.reserve(wanted, judging(wanted))
        wanted = claim(4, 1_00)
        with pytest.raises(GuardrailRefused) as refused:
            outbox.reserve(wanted, judging(wanted))
        assert refused.value.refusals[0].data()["spent"] == "9903"
        assert len(outbox.rows()) == 3
        number = outbox.rows()[0].number
        signed(outbox, number)
        outbox.settle(number, Status.FAILED)
        assert outbox.reserve(wanted, judging(wanted)).status is Status.RESERVED
        spent = outbox.judged(
            GENESIS, ALICE, lambda journal: _kept(journal.spent(ALICE, "CLAW", 20_000 * DAY_MS))
        )
        assert spent.needs_confirmation == (str(66_00 + 1_00 + 4),)  # A failure cost its fee.
        assert outbox.judged(GENESIS, BOB, judging(wanted)).allowed
    with opened(tmp_path, NOW_MS + DAY_MS) as outbox:
        wanted = claim(5, 49_99)
        outbox.reserve(wanted, judging(wanted, NOW_MS + DAY_MS))


def _kept(value: int) -> Verdict:
    return Verdict(True, (), (str(value),))


def test_what_nobody_holds_is_left(tmp_path: Path) -> None:
    """After a kill the next command must find what is unfinished, and only that."""
    dead, alive = opened(tmp_path), opened(tmp_path)
    numbers = [dead.reserve(claim(key)).number for key in (1, 2)]
    signed(dead, numbers[0])
    assert alive.left() == []
    assert alive.adopt(numbers[0]) is None
    # What the kernel does when a process is killed.
    os.close(dead._holders._descriptor)
    assert [row.number for row in alive.left(GENESIS)] == numbers
    assert alive.left(bytes(32)) == []
    assert alive.free_lane(claim(9)) == 1  # Nothing was signed for the second.
    adopted = alive.adopt(numbers[0])
    assert adopted is not None and adopted.newest.raw == b"raw1"
    alive.release(numbers[1])
    assert [row.number for row in alive.rows()] == numbers[:1]
    other = opened(tmp_path)
    assert other.left() == []
    alive.leave(numbers[0])
    assert [row.number for row in other.left()] == numbers[:1]
    alive.close()
    other.close()


def race(directory: Path, first: int) -> int:
    """Pay as often as allowed, in a process of its own."""
    done = 0
    with opened(directory) as outbox:
        for key in range(first, first + 10):
            wanted = claim(key, 9_00)
            try:
                row = outbox.reserve(wanted, judging(wanted))
            except GuardrailRefused:
                continue
            done += 1
            outbox.record(row.number, b"raw", key.to_bytes(32, "big"), 5, 1)
            outbox.settle(row.number, Status.PAID)
    return done


@pytest.mark.real
def test_two_processes_cannot_both_slip_under_a_daily_limit(tmp_path: Path) -> None:
    """Four programs that pay at the same moment must share one limit, to the last cent."""
    children = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(1000 * n)], stdout=subprocess.PIPE
        )
        for n in range(1, 5)
    ]
    total = sum(int(child.communicate(timeout=60)[0]) for child in children)
    assert total == 11  # 11 × 9.01 is the most that fits into 100.


def test_old_rows_go_and_unsettled_ones_never(tmp_path: Path) -> None:
    """The file must not grow for ever, nor lose what may still happen."""
    with opened(tmp_path) as outbox:
        numbers = [outbox.reserve(claim(key)).number for key in (1, 2)]
        signed(outbox, numbers[0])
        outbox.settle(numbers[0], Status.PAID)
    with opened(tmp_path, NOW_MS + KEPT_MS + 1) as outbox:
        made = outbox.reserve(claim(3)).number
        assert [row.number for row in outbox.rows()] == [numbers[1], made]


@pytest.mark.parametrize("how", ["garbage", "newer"])
def test_a_damaged_outbox_stops_payments(tmp_path: Path, how: str) -> None:
    """Without its memory a wallet could pay twice and forget limits: it says so instead."""
    directory = tmp_path / "outbox"
    directory.mkdir()
    file = directory / "outbox.db"
    if how == "garbage":
        file.write_bytes(b"no database" * 1000)
    else:
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    with opened(tmp_path) as outbox, pytest.raises(StorageFault, match="outbox"):
        outbox.reserve(claim(1))


if __name__ == "__main__":
    sys.stdout.write(str(race(Path(sys.argv[1]), int(sys.argv[2]))))
