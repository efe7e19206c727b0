"""Metrics: what operators watch is there, counts once, and belongs to one node."""

from __future__ import annotations

import pytest
import trio

from clawpurse.ledger.errors import Code
from clawpurse.node.clock import LoopClock
from clawpurse.node.metrics import LAG_PERIOD_S, Metrics


def lines(metrics: Metrics) -> dict[str, float]:
    """Samples by name and labels."""
    text = metrics.exposition().decode("ascii")
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


class Receipt:
    def __init__(self, code: Code) -> None:
        self.code = code


def test_calls_blocks_and_transactions_are_counted() -> None:
    metrics = Metrics()
    metrics.observe_call("tx_get", 0.002, 0)
    metrics.observe_call("tx_get", 0.002, -32001)
    metrics.observe_block([Receipt(Code.OK), Receipt(Code.FROZEN), Receipt(Code.OK)])  # type: ignore[list-item]
    found = lines(metrics)
    assert found['clawpurse_rpc_call_seconds_count{method="tx_get"}'] == 2
    assert found['clawpurse_rpc_errors_total{code="-32001",method="tx_get"}'] == 1
    assert found["clawpurse_blocks_committed_total"] == 1
    assert found['clawpurse_transactions_final_total{outcome="succeeded"}'] == 2
    assert found['clawpurse_transactions_final_total{outcome="failed"}'] == 1


def test_how_long_calls_took_stands_in_buckets_that_add_up() -> None:
    """Who draws percentiles gets the counts up to each bound, as Prometheus defines them."""
    metrics = Metrics()
    for took_s in (0.0001, 0.0005, 0.0007, 0.3, 60.0):
        metrics.observe_call("tx_get", took_s, 0)
    found = lines(metrics)
    name = 'clawpurse_rpc_call_seconds_bucket{le="%s",method="tx_get"}'
    counts = [found[name % bound] for bound in ("0.0005", "0.001", "0.1", "0.5", "30.0", "+Inf")]
    assert counts == [2, 3, 3, 4, 4, 5]
    assert found['clawpurse_rpc_call_seconds_count{method="tx_get"}'] == 5
    assert found['clawpurse_rpc_call_seconds_sum{method="tx_get"}'] == pytest.approx(60.3013)


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.observe_block([])
    assert lines(one)["clawpurse_blocks_committed_total"] == 1
    assert lines(other)["clawpurse_blocks_committed_total"] == 0


def test_gauges_are_read_when_they_are_scraped() -> None:
    metrics, value = Metrics(), [1.0]
    metrics.gauge("clawpurse_test", "A test", lambda: value[0])
    assert lines(metrics)["clawpurse_test"] == 1
    value[0] = 5
    assert lines(metrics)["clawpurse_test"] == 5


def test_refusals_told_twice_count_once() -> None:
    metrics = Metrics()
    metrics.tell_refusals({"slow": 3})
    metrics.tell_refusals({"slow": 5, "oversize": 1})
    found = lines(metrics)
    assert found['clawpurse_refusals_total{reason="slow"}'] == 5
    assert found['clawpurse_refusals_total{reason="oversize"}'] == 1


async def test_the_loop_s_lag_is_measured_and_its_worst_shown_once(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """Users feel the worst moment, not the average."""
    metrics = Metrics()

    class Late(LoopClock):
        lag_ns = 0

        def monotonic_ns(self) -> int:
            self.lag_ns += 10_000_000
            return super().monotonic_ns() + self.lag_ns

    nursery.start_soon(metrics.watch_loop, Late(0))
    await trio.sleep(20 * LAG_PERIOD_S)
    found = lines(metrics)
    assert found["clawpurse_loop_lag_seconds_count"] >= 15
    assert found["clawpurse_loop_lag_max_seconds"] == pytest.approx(0.01, abs=0.005)
    assert metrics.lag_worst_s == 0.0
    nursery.cancel_scope.cancel()
