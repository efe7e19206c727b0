"""The lifecycle of a record: states, the moves between them, and why a move is refused.

A flow is data. What is allowed is decided here, from the record and the caller's roles alone; who
performs it, stores it and tells others is somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from clawpurse.ledger.transactions import RawAction

NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""States, moves and fields: they become columns, methods, metrics and events."""

NAME_MAX: Final = 40
"""With a module's and a record's name still below what PostgreSQL takes (63 bytes)."""

MOVES_MAX: Final = 64
APPROVALS_MAX: Final = 9
"""More people than that never agree in time; a committee is a multisignature account."""


class Why(StrEnum):
    """Why a move is refused."""

    UNKNOWN = "unknown"
    STATE = "state"
    ROLE = "role"
    LATE = "late"
    MISSING = "missing"
    UNASKED = "unasked"
    GUARD = "guard"


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """A move that is refused: `why`, one sentence for people, and the fields it is about."""

    why: Why
    sentence: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a record stands: its state, since when (UTC ms), and its values."""

    state: str
    since_ms: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Move:
    """One move. `path`: "new open -> open", or "* -> closed" from every state that is not an end.

    `role`: who may ask for it; several separated by spaces mean any of them; empty: everybody who
    reaches the method. `needs`: fields that must be filled when it is done. `sets`: fields that
    whoever asks may give with it, and no others. `approvals`: how many others, with
    `approver_role` (else `role`), agree before it is done; whoever asked never counts. `within_ms`:
    how long after the record came into its state it is possible. `guard(values)`: a sentence that
    says why not, or None. `chain(values)`: the actions that its doing sends to the ledger.
    """

    name: str
    path: str
    role: str = ""
    needs: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    approvals: int = 0
    approver_role: str = ""
    within_ms: int | None = None
    guard: Callable[[Mapping[str, Any]], str | None] | None = None
    chain: Callable[[Mapping[str, Any]], Sequence[RawAction]] | None = None
    says: str = ""
    sources: tuple[str, ...] = field(init=False, default=())
    target: str = field(init=False, default="")

    def __post_init__(self) -> None:
        checked_name("move", self.name)
        sources, arrow, target = self.path.partition("->")
        names, targets = sources.split(), target.split()
        if not arrow or not names or len(targets) != 1:
            raise ValueError(f'{self.name}: "{self.path}" does not read "from … -> to"')
        for name in (*names, *targets):
            if name != "*":
                checked_name("state", name)
        if targets == ["*"] or ("*" in names and len(names) > 1) or len(set(names)) < len(names):
            raise ValueError(f'{self.name}: "{self.path}" is ambiguous')
        if not 0 <= self.approvals <= APPROVALS_MAX:
            raise ValueError(f"{self.name}: approvals are 0 to {APPROVALS_MAX}")
        if self.approvals and not (self.role and self.approving):
            raise ValueError(f"{self.name}: what others approve needs roles that say who")
        if self.within_ms is not None and self.within_ms <= 0:
            raise ValueError(f"{self.name}: within is a time above 0")
        object.__setattr__(self, "sources", tuple(names))
        object.__setattr__(self, "target", targets[0])

    @property
    def roles(self) -> frozenset[str]:
        """Any of these may ask; empty: everybody."""
        return frozenset(self.role.split())

    @property
    def approving(self) -> frozenset[str]:
        """Any of these may approve."""
        return frozenset((self.approver_role or self.role).split())


class Flow:
    """States and moves. Raises `ValueError` when they do not make a lifecycle.

    Every state must be reachable from `initial`, and every name must be one. States that no move
    leaves are ends.
    """

    def __init__(self, initial: str, *moves: Move) -> None:
        checked_name("state", initial)
        if len(moves) > MOVES_MAX:
            raise ValueError(f"{len(moves)} moves are more than {MOVES_MAX}")
        self.initial: Final = initial
        named = [name for move in moves for name in (*move.sources, move.target) if name != "*"]
        self.states: Final = tuple(dict.fromkeys((initial, *named)))
        left = {name for move in moves for name in move.sources if name != "*"}
        targets = {move.target for move in moves if move.sources == ("*",)}
        #: States that nothing leaves.
        self.ends: Final = frozenset(
            state
            for state in self.states
            if state not in left and (state in targets or not targets)
        )
        self._sources = {
            move.name: tuple(s for s in self.states if s not in self.ends and s != move.target)
            if move.sources == ("*",)
            else move.sources
            for move in moves
        }
        self.moves: Final = MappingProxyType({move.name: move for move in moves})
        if len(self.moves) < len(moves):
            raise ValueError("two moves have one name")
        lost = set(self.states) - self._reachable()
        if lost:
            raise ValueError(f"no move leads to {', '.join(sorted(lost))}")

    def sources(self, move: str) -> tuple[str, ...]:
        """From which states `move` is possible, in the order of the flow."""
        return self._sources[move]

    def leaving(self, state: str) -> list[Move]:
        """The moves out of `state`, in the order of the flow."""
        return [one for name, one in self.moves.items() if state in self._sources[name]]

    def refusal(
        self,
        move: str,
        at: Standing,
        *,
        roles: Collection[str],
        now_ms: int,
        given: Mapping[str, Any] | None = None,
    ) -> NotAllowed | None:
        """Why the caller may not make `move` now, or None. `given`: values that come with it.

        The order of reasons is fixed and tells nobody without the role what a record holds.
        """
        found = self.moves.get(move)
        if found is None:
            known = ", ".join(self.moves) or "none"
            return NotAllowed(Why.UNKNOWN, f"There is no move {move!r}; there are: {known}.")
        if found.roles and not found.roles & set(roles):
            return NotAllowed(Why.ROLE, f"{move} needs the role {_any_of(found.roles)}.")
        if at.state not in self._sources[move]:
            possible = ", ".join(one.name for one in self.leaving(at.state)) or "nothing"
            return NotAllowed(
                Why.STATE, f"{move} is not possible in state {at.state}; possible: {possible}."
            )
        if found.within_ms is not None and now_ms - at.since_ms > found.within_ms:
            return NotAllowed(
                Why.LATE, f"{move} was possible for {_span(found.within_ms)} after {at.state}."
            )
        values = dict(given or {})
        unasked = tuple(name for name in values if name not in found.sets)
        if unasked:
            return NotAllowed(Why.UNASKED, f"{move} does not set {', '.join(unasked)}.", unasked)
        after = {**at.values, **values}
        missing = tuple(name for name in found.needs if _is_empty(after.get(name)))
        if missing:
            return NotAllowed(Why.MISSING, f"{move} needs {', '.join(missing)}.", missing)
        said = found.guard(MappingProxyType(after)) if found.guard else None
        return NotAllowed(Why.GUARD, said) if said else None

    def _reachable(self) -> set[str]:
        reached, waiting = {self.initial}, [self.initial]
        while waiting:
            for move in self.leaving(waiting.pop()):
                if move.target not in reached:
                    reached.add(move.target)
                    waiting.append(move.target)
        return reached


def approvals_missing(move: Move, asked_by: str, approved_by: Iterable[str]) -> int:
    """How many more people must approve. Subjects count, not keys; whoever asked does not."""
    return max(move.approvals - len(set(approved_by) - {asked_by}), 0)


def checked_name(what: str, name: str) -> str:
    """Return `name`. Raises `ValueError` unless it is lower case words joined by underscores."""
    if not NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise ValueError(f"{name!r} is no name of a {what}: small_words of at most {NAME_MAX}")
    return name


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", (), [])


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))


def _span(ms: int) -> str:
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if ms >= size:
            number = ms // size
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{ms} ms"
