"""What happens when in `testnet chaos`: drawn from a seed, before anything starts.

The plan depends on nothing but seed, length and number of nodes, so that a failure can be tried
again. It keeps itself possible: nobody is killed who is down already, and mostly so few nodes are
taken at once that payments should go on; now and then more, so that they must wait and heal.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final, NamedTuple

# The network is left alone before the first fault and after the last one has ended.
QUIET_BEFORE_S: Final = 1.5
QUIET_AFTER_S: Final = 1.0
GAP_MIN_S: Final = 0.5
GAP_MAX_S: Final = 3.0
# A day of chaos; a plan is a list in memory.
FAULTS_MAX: Final = 50_000
# How often a fault may take more nodes than the network bears: about one in six does.
BEYOND_CHANCE: Final = 0.05
# Cards in hand that are not possible now; a new deal waits until there are no more.
HAND_MAX: Final = 4


class Kind(StrEnum):
    """A class of fault."""

    KILL = "kill"
    KILL_ALL = "killAll"
    PAUSE = "pause"
    DROP = "drop"
    CUT = "cut"
    ONE_WAY = "oneWay"
    DELAY = "delay"
    FULL_DISK = "fullDisk"


class Fault(NamedTuple):
    """One fault: when it begins and how long it lasts, whom it hits.

    `nodes` are places from 0. For `CUT` and `ONE_WAY` they are the two ends, the sender first.
    `amount` is the delay in ms (`DELAY`) or what is left of the disk in MB (`FULL_DISK`).
    """

    at_s: float
    lasts_s: float
    kind: Kind
    nodes: tuple[int, ...]
    amount: int = 0

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s

    def text(self, names: list[str]) -> str:
        """Return it in words."""
        who = ", ".join(names[node] for node in self.nodes)
        lasts = f"for {self.lasts_s:.1f} s"
        match self.kind:
            case Kind.KILL:
                return f"kill -9 {who}, down {lasts}"
            case Kind.KILL_ALL:
                return f"kill -9 all, down {lasts}"
            case Kind.PAUSE:
                return f"pause {who} {lasts}"
            case Kind.DROP:
                return f"drop the connections of {who}"
            case Kind.CUT:
                return f"cut {who} {lasts}"
            case Kind.ONE_WAY:
                return f"cut {names[self.nodes[0]]} → {names[self.nodes[1]]} {lasts}"
            case Kind.DELAY:
                return f"delay {who} by {self.amount} ms {lasts}"
            case Kind.FULL_DISK:
                return f"fill the disk of {who} to {self.amount} MB free {lasts}"


# Whoever is hit by one of these answers nobody meanwhile.
_TAKES_ONE_DOWN: Final = frozenset((Kind.KILL, Kind.PAUSE, Kind.FULL_DISK))
_LASTS_S: Final = {
    Kind.KILL: (0.2, 6.0),
    Kind.KILL_ALL: (0.1, 2.0),
    Kind.PAUSE: (0.3, 8.0),
    Kind.DROP: (0.0, 0.0),
    Kind.CUT: (1.0, 10.0),
    Kind.ONE_WAY: (1.0, 10.0),
    Kind.DELAY: (2.0, 10.0),
    # A node looks at its disk every ten seconds when nothing fails before.
    Kind.FULL_DISK: (12.0, 16.0),
}
# The delay in ms, and what is left of the disk in MB.
_AMOUNTS: Final = {Kind.DELAY: (20, 100, 300, 800), Kind.FULL_DISK: (0, 8)}


def plan(seed: int, seconds: float, nodes: int, disk_node: int) -> list[Fault]:
    """Return the faults of a run in the order of their beginnings.

    `disk_node` is the one with the small disk. Classes are dealt like cards: one that is not
    possible now stays in hand for the next time, so that none is left out for long.
    """
    chance = random.Random(seed)  # noqa: S311 - a plan must repeat, not be secret
    faults: list[Fault] = []
    down_until_s = [0.0] * nodes
    hand: list[Kind] = []
    now_s = QUIET_BEFORE_S
    while len(faults) < FAULTS_MAX:
        now_s = round(now_s + chance.uniform(GAP_MIN_S, GAP_MAX_S), 2)
        left_s = seconds - QUIET_AFTER_S - now_s
        if left_s <= 0:
            return faults
        if len(hand) <= HAND_MAX:
            hand = chance.sample(list(Kind), len(Kind)) + hand
        free = [node for node in range(nodes) if down_until_s[node] <= now_s]
        may_take = _may_take(nodes, nodes - len(free), beyond=chance.random() < BEYOND_CHANCE)
        for place in reversed(range(len(hand))):
            kind = hand[place]
            low_s, high_s = _LASTS_S[kind]
            if low_s > left_s or (kind in _TAKES_ONE_DOWN and not may_take):
                continue
            hit = _victims(chance, kind, nodes, free, disk_node)
            if hit is None:
                continue
            del hand[place]
            lasts_s = round(chance.uniform(low_s, min(high_s, left_s)), 2)
            amount = chance.choice(_AMOUNTS.get(kind, (0,)))
            fault = Fault(now_s, lasts_s, kind, hit, amount)
            faults.append(fault)
            if kind in _TAKES_ONE_DOWN or kind is Kind.KILL_ALL:
                for node in hit:
                    down_until_s[node] = fault.ends_s
            break
    return faults


def _may_take(nodes: int, down: int, *, beyond: bool) -> bool:
    """Tell whether one more may be taken down: within f, or now and then beyond it."""
    return down < (nodes - 1) // 3 or beyond


def _victims(
    chance: random.Random, kind: Kind, nodes: int, free: list[int], disk_node: int
) -> tuple[int, ...] | None:
    """Return whom a fault hits; None when it would hit somebody who is down."""
    match kind:
        case Kind.KILL_ALL:
            return tuple(range(nodes)) if len(free) == nodes else None
        case Kind.FULL_DISK:
            return (disk_node,) if disk_node in free else None
        case Kind.CUT | Kind.ONE_WAY:
            return tuple(chance.sample(range(nodes), 2)) if nodes > 1 else None
        case Kind.KILL | Kind.PAUSE:
            return (chance.choice(free),) if free else None
        case _:
            return (chance.randrange(nodes),)
