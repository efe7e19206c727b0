"""The bench of actions: an action that nobody measures is one whose cost nobody knows."""

from __future__ import annotations

import argparse
import json

import pytest

from clawpurse.benches import actions
from clawpurse.benches.action_examples import EXAMPLES
from clawpurse.benches.action_world import ALICE, BOB, World, act
from clawpurse.modules.registry import build_registry


@pytest.mark.full
def test_each_action_has_an_example_that_succeeds() -> None:
    actions.check_examples()
    for name, example in EXAMPLES.items():
        world = World(0)
        job = example(world)
        assert job.actions[0].name == name
        figures = world.measure(job, 1)
        assert figures.cost > build_registry().actions[name].cost and figures.keys > 0
        # Measuring keeps nothing: the same transaction can still be carried out.
        world.do(job)


def test_each_action_has_an_example() -> None:
    actions.check_examples()


def test_an_action_without_an_example_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: example for name, example in EXAMPLES.items() if name != "risk.report"}
    monkeypatch.setattr(actions, "EXAMPLES", kept)
    with pytest.raises(RuntimeError, match=r"risk\.report"):
        actions.check_examples()
    monkeypatch.setattr(actions, "EXAMPLES", {**EXAMPLES, "risk.guess": EXAMPLES["risk.report"]})
    with pytest.raises(RuntimeError, match=r"risk\.guess"):
        actions.check_examples()


def test_an_example_that_is_refused_is_no_figure() -> None:
    world = World(0)
    with pytest.raises(RuntimeError, match=r"kernel\.balance"):
        world.measure(act(ALICE, "assets.transfer", "EUR", BOB, 10**15), 1)


@pytest.mark.parametrize("count", actions.RULE_COUNTS)
def test_as_many_rules_judge_a_payment_as_the_report_says(count: int) -> None:
    world = actions.policed(0, count)
    versions = world.registry.query(world.state, "compliance.policies") if count else []
    assert len(versions) == min(count, 1)
    assert len(actions.rules_of(count)) == max(count, 3)
    world.do(act(ALICE, "assets.transfer", "EUR", BOB, 5))


def test_the_last_line_is_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(small=True, repeat=1, accounts=0, only="risk.")
    actions.measure(options)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["bench"], report["met"]) == ("actions", None)
    assert set(report["figures"]["actions"]) == {"risk.setOracles", "risk.report", "risk.withdraw"}
    assert set(report["figures"]["payment_us_by_rules"]) == {"0", "10", "100"}
