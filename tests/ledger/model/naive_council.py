"""What the clerk writes down of roles, permissions and votes of authorities.

Written from docs/protocol.md (§5, roles, votes, amendments) and the pages of both modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clawpurse.ledger.crypto import due_hash_of
from tests.ledger.model.naive import DAY_MS, Reasons
from tests.ledger.model.naive_watch import Watch
from tests.ledger.model.world import SEATS
from tests.ledger.sandbox import Key
from tests.modules.council import AUTHORITIES

MINUTE_MS = 60_000
Place = tuple[tuple[Any, ...], int]


@dataclass
class Paper:
    """A proposal of the authorities: a change, by when, and who is for it."""

    what: tuple[Any, ...]
    opener: Key
    status: str = "open"
    votes: set[Key] = field(default_factory=set)


class Council(Watch):
    """Roles and governance."""

    def __init__(self) -> None:
        super().__init__()
        #: From which height on who decides.
        self.seats: list[tuple[int, frozenset[Key]]] = [(0, frozenset(AUTHORITIES[:SEATS]))]
        self.papers: dict[Place, Paper] = {}
        self.queue: list[tuple[int, bytes, Place]] = []
        self.interval_ms = 200
        #: Changes that nodes must know, and from which height on.
        self.amendments: dict[str, int] = {}

    # -- roles

    def grant(self, who: Key, role: str, whom: Key) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        return found | self.given(role, whom, "roles.held", found)

    def given(self, role: str, whom: Key, held: str, before: Reasons) -> Reasons:
        found = Reasons()
        if whom in self.roles[role]:
            found.add(held)
        if whom not in self.people:
            found.add("kernel.sender")
        if role.split(".")[0].upper() in self.assets:
            found.add("assets.dutyRole")
        if not found and not before:
            self.roles[role].add(whom)
        return found

    def revoke(self, who: Key, role: str, whom: Key) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        if whom not in self.roles[role]:
            found.add("roles.notHeld")
        if role == "admin" and self.roles["admin"] == {whom}:
            found.add("roles.lastAdmin")
        if not found:
            self.roles[role].discard(whom)
        return found

    def permit(self, who: Key, action: str, role: str | None) -> Reasons:
        found = Reasons() if who in self.roles["admin"] else {"kernel.role"}
        if action.startswith(("roles.", "governance.")):
            found.add("roles.neverLocked")
        if not found and role is None:
            self.permissions.pop(action, None)
        elif not found and role is not None:
            self.permissions[action] = role
        return found

    # -- votes

    def members(self, height: int) -> frozenset[Key]:
        return [members for since, members in self.seats if since <= height][-1]

    def begin(self, after_ms: int) -> None:
        super().begin(after_ms)
        due = sorted((one for one in self.queue if one[0] <= self.now_ms), key=lambda one: one[:2])
        self.queue = [one for one in self.queue if one[0] > self.now_ms]
        for when_ms, due_id, place in due:
            paper = self.papers[place]
            if paper.status == "waiting":
                self.perform(place, when_ms, due_id, 1)
            elif paper.status == "open" and place[1] == when_ms:
                paper.status = "expired"

    def problem(self, what: tuple[Any, ...]) -> Reasons:
        """Why a change cannot be made to what holds from the next height on."""
        kind, *args = what
        members, found = self.members(self.height + 1), Reasons()
        if kind in ("removeAuthority", "replaceAuthority"):
            if args[0] not in members:
                found.add("governance.noAuthority")
            elif kind == "removeAuthority" and len(members) == 1:
                found.add("governance.lastAuthority")
        if kind in ("addAuthority", "replaceAuthority") and args[-1] in members:
            found.add("governance.isAuthority")
        if kind in ("grantRole", "revokeRole"):
            role, whom = args
            if whom not in self.people:
                found.add("kernel.sender")
            if (whom in self.roles[role]) == (kind == "grantRole"):
                held = kind == "grantRole"
                found.add("governance.roleHeld" if held else "governance.roleNotHeld")
        if kind == "setParameters" and args[0] == self.interval_ms:
            found.add("governance.sameParameters")
        if kind == "amend":
            if args[0] in self.amendments:
                found.add("governance.amendmentKnown")
            if args[1] < self.height + 10:
                found.add("governance.amendmentSoon")
        if kind == "cancelAmendment":
            if args[0] not in self.amendments:
                found.add("governance.noAmendment")
            elif self.amendments[args[0]] <= self.height:
                found.add("governance.amendmentActive")
        return found

    def perform(self, place: Place, passed_ms: int, seed: bytes, number: int) -> None:
        """Carry out what passed, or let it wait for the next block, or fail."""
        paper = self.papers[place]
        kind, *args = paper.what
        decides = kind.endswith("Authority")
        if decides and self.seats[-1][0] >= self.height + 2:
            paper.status = "waiting"
            next_id = due_hash_of(seed + number.to_bytes(4, "big"))
            self.queue.append((passed_ms, next_id, place))
            return
        if self.problem(paper.what):
            paper.status = "failed"
            return
        paper.status = "passed"
        if decides:
            members = set(self.members(self.height + 1))
            if kind != "addAuthority":
                members.discard(args[0])
            if kind != "removeAuthority":
                members.add(args[-1])
            self.seats.append((self.height + 2, frozenset(members)))
        elif kind == "setParameters":
            self.interval_ms = args[0]
        elif kind == "amend":
            self.amendments[args[0]] = args[1]
        elif kind == "cancelAmendment":
            del self.amendments[args[0]]
        elif kind == "grantRole":
            self.roles[args[0]].add(args[1])
        else:
            self.roles[args[0]].discard(args[1])

    def check_vote(self, verb: str, voter: Key, place: Place) -> Reasons:
        """Reasons against a vote by contents (`propose`), by id (`vote`), or taking one back."""
        members = self.members(self.height)
        found = Reasons() if voter in members else {"governance.notMember"}
        paper = self.papers.get(place)
        if paper is None:
            if verb != "propose":
                return found | {"governance.unknown"}
            if not self.now_ms + MINUTE_MS <= place[1] <= self.now_ms + 30 * DAY_MS:
                found.add("governance.span")
            mine = [key for key, one in self.papers.items() if one.opener is voter]
            if sum(key[1] > self.now_ms for key in mine) >= 16:
                found.add("governance.openFull")
            return found | self.problem(place[0])
        if paper.status != "open":
            return found | {"governance.over"}
        votes = paper.votes & members
        if verb == "withdraw":
            return found | (set() if voter in votes else {"governance.notVoted"})
        if voter in votes and 3 * len(votes) <= 2 * len(members):
            found.add("governance.voted")
        return found

    def voted(self, verb: str, voter: Key, place: Place, tx_id: bytes) -> None:
        """A vote that the ledger took."""
        members, made = self.members(self.height), 1
        if place not in self.papers:
            self.papers[place] = Paper(place[0], voter)
            due_id = due_hash_of(tx_id + made.to_bytes(4, "big"))
            self.queue.append((place[1], due_id, place))
            made += 1
        paper = self.papers[place]
        paper.votes &= members
        if verb == "withdraw":
            paper.votes.discard(voter)
            return
        paper.votes.add(voter)
        if 3 * len(paper.votes) > 2 * len(members):
            self.perform(place, self.now_ms, tx_id, made)
