"""Schedules drawn from seeds, and the runs that show a seed when something is wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from clawpurse.ledger.agreement.signbytes import Kind
from tests.simulation.cluster import CRASH_POINTS, TIMEOUTS, Cluster, Outage, Plan, Split

#: How much of a round is lost, by kind: nothing; half of everything; proposals that reach some,
#: so that prevotes differ and a faulty vote makes the polka; precommits that reach nobody.
SIEVES: tuple[dict[Kind, tuple[int, ...]], ...] = (
    {},
    dict.fromkeys(Kind, (0, 40, 100)),
    {Kind.PROPOSAL: (0, 0, 100)},
    {Kind.PROPOSAL: (0, 100), Kind.PREVOTE: (0, 0, 30)},
    {Kind.PREVOTE: (0, 30), Kind.PRECOMMIT: (0, 100)},
)


#: What a faulty authority is, as often as it stands here.
ROLES = ("liars", "liars", "lockers", "lockers", "twins", "forgetful", "mute")


def plan_of(seed: int, count: int) -> Plan:
    """Draw a schedule for `count` authorities: at most f of them faulty, everything else rough."""
    chance = random.Random(f"plan {seed} {count}")
    faults_max = (count - 1) // 3
    faulty = chance.sample(range(count), chance.randint(0, faults_max))
    roles: dict[str, list[int]] = {name: [] for name in dict.fromkeys(ROLES)}
    for number in faulty:
        roles[chance.choice(ROLES)].append(number)
    rough = chance.random() < 0.8
    calm_ms = chance.choice((1_500, 3_000, 5_000, 8_000) if rough else (0, 600))
    honest = [n for n in range(count) if n not in faulty]
    timeouts = replace(
        TIMEOUTS,
        interval_ms=chance.choice((0, 200, 400)),
        heartbeat_ms=chance.choice((0, 0, 800)),
    )
    plan = Plan(
        seed=seed,
        count=count,
        liars=tuple(roles["liars"]),
        lockers=tuple(roles["lockers"]),
        twins=tuple(roles["twins"]),
        mute=tuple(roles["mute"]),
        forgetful=tuple(roles["forgetful"]),
        followers=chance.choice((0, 0, 0, 1)),
        target=chance.choice((2, 3, 4)),
        calm_ms=calm_ms,
        lost=chance.choice((0, 0, 5, 15, 40)) if rough else 0,
        sieve=chance.choice(SIEVES) if rough else {},
        repeated=chance.choice((0, 10, 30)),
        rough_delay_ms=chance.choice((30, 200, 500)),
        splits=tuple(_splits(chance, count, calm_ms)) if rough else (),
        outages=(
            *_outages(chance, honest, calm_ms),
            *(_outage(chance, node, calm_ms) for node in roles["forgetful"]),
        ),
        skews_ms=tuple(chance.randint(-100, 100) for _ in range(count)),
        timeouts=timeouts,
    )
    if plan.lockers and rough and chance.random() < 0.6:
        # A storm of locks: rounds pass quickly and prevotes differ, so a lock is hidden in each.
        sieve: dict[Kind, tuple[int, ...]] = {Kind.PROPOSAL: chance.choice(((0, 0, 100), (0, 100)))}
        plan = replace(plan, sieve=sieve, lost=0, rough_delay_ms=60, calm_ms=8_000, outages=())
    return plan


def _splits(chance: random.Random, count: int, calm_ms: int) -> Iterable[Split]:
    for _ in range(chance.choice((0, 1, 1, 2))):
        start = chance.randint(0, calm_ms)
        size = chance.randint(1, max(1, count // 2))
        side = frozenset(chance.sample(range(count), min(size, count)))
        yield Split(start, start + chance.choice((200, 700, 2_000)), side)


def _outages(chance: random.Random, correct: list[int], calm_ms: int) -> Iterable[Outage]:
    """Single crashes, and now and then all at one point: after precommits, before commits."""
    if not calm_ms:
        return
    if chance.random() < 0.1:
        point = chance.choice(CRASH_POINTS)
        start = chance.randint(0, calm_ms)
        for node in correct:
            yield Outage(start, node, point, 0, chance.choice((10, 300, 900)))
        return
    for node in chance.sample(correct, chance.choice((0, 0, 1, 1, min(2, len(correct))))):
        yield _outage(chance, node, calm_ms)


def _outage(chance: random.Random, node: int, calm_ms: int) -> Outage:
    return Outage(
        chance.randint(0, calm_ms),
        node,
        chance.choice(CRASH_POINTS),
        chance.choice((0, 0, 1, 2, 5, 9)),
        chance.choice((10, 300, 900)),
    )


class Coverage:
    """What a number of schedules reached, together."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self.crash_points: Counter[str] = Counter()
        self.evidence = 0
        self.decisions = 0


def run(seed: int, count: int, coverage: Coverage | None = None) -> Cluster:
    """Run one schedule to its end. Raises with the seed in the message when a property fails."""
    plan = plan_of(seed, count)
    cluster = Cluster(plan, None if coverage is None else coverage.lines)
    try:
        cluster.run()
    except Exception as error:
        error.add_note(f"repeat with tests.simulation.schedules.run(seed={seed}, count={count})")
        raise
    if coverage is not None:
        coverage.crash_points.update(cluster.crash_points)
        coverage.evidence += sum(cluster.evidence.values())
        coverage.decisions += cluster.observer.decisions
    return cluster
