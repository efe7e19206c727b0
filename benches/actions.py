"""What each action costs, and what a payment costs under a policy of 0, 10 and 100 rules.

    python -m benches.actions [--small] [--repeat N --accounts N] [--only NAME]

Each action has an example in `action_examples.py`; an action without one ends the bench. It is
carried out again and again on the same state, keeping nothing, and the fastest counts: all CPU
from the transaction's bytes to the state root of a block with it alone, less that of an empty
block. Left out are signatures, disk and network, which `throughput` has.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from clawpurse.benches.action_examples import BLOCKED, EXAMPLES, policy_job, rule_of
from clawpurse.benches.action_world import ALICE, BOB, OFFICERS, Figures, World, act
from clawpurse.benches.report import print_report
from clawpurse.modules.registry import build_registry

BAR: Final = (
    "no example of an action takes more µs than its cost; ≤ 120 µs for a policy of 100 rules"
)
POLICY_US_MAX: Final = 120
REPEAT, SMALL_REPEAT = 200, 20
ACCOUNTS, SMALL_ACCOUNTS = 10_000, 200
RULE_COUNTS: Final = (0, 10, 100)


def check_examples() -> None:
    """Raise `RuntimeError` unless each action has an example, and each example an action."""
    actions = build_registry().actions
    missing = sorted(name for name in actions if name not in EXAMPLES)
    foreign = sorted(name for name in EXAMPLES if name not in actions)
    if missing or foreign:
        raise RuntimeError(f"actions without an example: {missing}; of no action: {foreign}")


def measured_actions(repeat: int, accounts: int, only: str = "") -> dict[str, Figures]:
    """Return the figures of each action whose name begins with `only`."""
    found: dict[str, Figures] = {}
    for name, example in EXAMPLES.items():
        if not name.startswith(only):
            continue
        world = World(accounts)
        figures = world.measure(example(world), repeat)
        found[name] = figures
        print(
            f"{name:36} {figures.us:7.1f} µs  cost {figures.cost:5}  {figures.keys:3} keys  "
            f"{figures.written_bytes:6} bytes written  {figures.state_bytes:+6} of state",
            flush=True,
        )
    return found


def rules_of(count: int) -> list[list[Any]]:
    """Return rules none of which applies: a list, an attestation, a sum, and amounts."""
    rules = [
        rule_of("blocked", "listed", "target", BLOCKED, 0, 0),
        rule_of("exposed", "attested", "source", "pep", 1, 0),
        rule_of("day", "sum-at-least", "source", None, 10**12, 86_400_000),
    ]
    rules += [
        rule_of(f"amount-{number}", "amount-at-least", None, None, 10**9 + number, 0)
        for number in range(count - len(rules))
    ]
    return rules


def policed(accounts: int, count: int) -> World:
    """Return a world in which payments in EUR are judged by so many rules."""
    world = World(accounts)
    for officer in OFFICERS[:2]:
        world.do(act(officer, "compliance.setList", BLOCKED, "Whom nobody pays", 1))
    if count:
        job = policy_job(OFFICERS[0], rules_of(count))
        made = world.made(job, "compliance.policyProposed")
        world.do(act(OFFICERS[1], "compliance.approvePolicy", made))
        world.wait(20_000)
    return world


def measured_policies(repeat: int, accounts: int) -> dict[str, float]:
    """Return µs of a payment by how many rules judge it."""
    found: dict[str, float] = {}
    for count in RULE_COUNTS:
        world = policed(accounts, count)
        figures = world.measure(act(ALICE, "assets.transfer", "EUR", BOB, 5), repeat)
        found[str(count)] = figures.us
        print(f"a payment under {count:3} rules {figures.us:7.1f} µs", flush=True)
    return found


def measure(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    check_examples()
    actions = measured_actions(options.repeat, options.accounts, options.only)
    payment_us = measured_policies(options.repeat, options.accounts)
    by_cost = {name: round(one.us / one.cost, 3) for name, one in actions.items()}
    worst = max(by_cost, key=lambda name: by_cost[name])
    policy_us = round(payment_us["100"] - payment_us["0"], 1)
    figures = {
        "ratio": by_cost[worst],
        "worst": worst,
        "actions": {name: one._asdict() for name, one in actions.items()},
        "payment_us_by_rules": payment_us,
        "policy_of_100_rules_us": policy_us,
    }
    met = by_cost[worst] <= 1 and policy_us <= POLICY_US_MAX
    asked = not options.only and (options.repeat, options.accounts) == (REPEAT, ACCOUNTS)
    print_report("actions", vars(options), figures, BAR, met if asked else None)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="a few seconds in all")
    parser.add_argument("--repeat", type=int, help="how often each is carried out")
    parser.add_argument("--accounts", type=int, help="accounts that are there beside the people")
    parser.add_argument("--only", default="", help="only actions whose names begin so")
    options = parser.parse_args()
    options.repeat = options.repeat or (SMALL_REPEAT if options.small else REPEAT)
    if options.accounts is None:
        options.accounts = SMALL_ACCOUNTS if options.small else ACCOUNTS
    measure(options)


if __name__ == "__main__":
    main()
