"""What the declared cost of an action buys: cases of the worst input that we know of each type.

A case prepares a network and returns jobs: transactions that are measured in blocks of one kind,
each beside a block of plain transfers, which is the unit. The cases are in `malice_cases_*`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.entitlements import SIGNERS_MAX
from clawpurse.ledger.transactions import RawAction
from tests.ledger.malice_world import (
    DAY_MS,
    ISSUER,
    OPENING,
    Measure,
    Realm,
    measured,
    raw,
)
from tests.ledger.sandbox import ALICE, BOB, Key, transfer
from tests.modules.officers_world import propose

ROUNDS: Final = 3
CROWD: Final = tuple(Key(f"crowd-{number}") for number in range(64))
NEW: Final = tuple(Key(f"newcomer-{number}") for number in range(600))
ORACLES: Final = CROWD[:16]
COUNCIL: Final = tuple(sorted((Key(f"seat-{n}") for n in range(100)), key=lambda key: key.public))
HASH: Final = bytes(range(32))
REFERENCE: Final = b"r" * 64
SECRET: Final = b"s" * 256
REASON: Final = "x" * 32
LONG: Final = "why " * 32


class Job(NamedTuple):
    """One transaction to be: who sends which actions, and who approves."""

    by: Key
    actions: tuple[RawAction, ...]
    approvers: tuple[tuple[Key, bytes], ...] = ()
    # A session key, which signs in its lane.
    session: Key | None = None
    payer: Key | None = None


def job(by: Key, name: str, *fields: Any, approvers: Sequence[tuple[Key, bytes]] = ()) -> Job:
    return Job(by, (raw(name, *fields),), tuple(approvers))


class Town(Realm):
    """Everybody is there already, with the largest numbers of people that anything asks."""

    # In the real trees, or in a dictionary whose records can be compared.
    in_trees = True

    def __init__(
        self,
        officers: int = 3,
        *,
        keep_ms: int = DAY_MS,
        block_cost_max: int = 500_000,
        **settings: Any,
    ) -> None:
        opening = {**OPENING, **{one: {"CLAW": 10**6, "EUR": 10**6} for one in CROWD}}
        more = [GenesisRole("compliance", one.account) for one in CROWD[: max(0, officers - 3)]]
        params = {"fee_min": 1, "quota_cost_max": 10**12, "due_per_creator_max": 10**6}
        params |= {"idempotency_keep_ms": keep_ms, "block_cost_max": block_cost_max}
        super().__init__(
            stored=self.in_trees, opening=opening, more_roles=more, params=params, **settings
        )

    def transactions(self, jobs: Sequence[Job]) -> list[bytes]:
        """Sign jobs that follow each other."""
        given: dict[Key, int] = {}
        made = []
        for by, actions, approvers, session, payer in jobs:
            lane = 1 if session else 0
            sequence = given.get(by, self.sequence(by, lane))
            given[by] = sequence + 1
            made.append(
                self.tx(
                    by,
                    *actions,
                    sequence=sequence,
                    lane=lane,
                    signer=session,
                    payer=payer,
                    memo=b"m" * 64 if session else b"",
                    approvers=sorted(approvers, key=lambda one: (one[1], one[0].public)),
                )
            )
        return made

    def prepared(self, jobs: Sequence[Job], kind: str = "", place: int = 0) -> list[bytes]:
        """Let jobs succeed; returns a value of each event of a kind."""
        found: list[bytes] = []
        for begin in range(0, len(jobs), 100):
            result = self.done(*self.transactions(jobs[begin : begin + 100]))
            found += [e.data[place] for e in result.events if e.kind == kind]  # type: ignore[misc]
        return found

    def policy(self, *rules: list[Any], name: str = "limits", asset: str | None = "EUR") -> None:
        """A policy in force; two officers approve it, one more is nobody."""
        from tests.ledger.malice_world import OFFICERS, first

        result = self.pay(OFFICERS[0], propose(*rules, policy=name, asset=asset))
        assert result.receipts[0].code == 0, result.receipts[0]
        made = first(result, "compliance.policyProposed").data[0]
        self.do(OFFICERS[1], "compliance.approvePolicy", made)
        self.block(after_ms=20_000)

    def company(
        self, size: int = SIGNERS_MAX, threshold: int | None = None, salt: bytes = HASH
    ) -> bytes:
        """An account of many signers, with money."""
        members = [[key.account, 1] for key in CROWD[:size]]
        create = job(
            ALICE,
            "accounts.createMultisig",
            size if threshold is None else threshold,
            members,
            salt,
        )
        account = self.done(*self.transactions([create])).events[0].accounts[0]
        self.done(*self.transactions([job(ALICE, "assets.transfer", "CLAW", account, 100_000)]))
        return account


Case = Callable[[int], tuple[Town, list[Job]]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def keep(made: Case) -> Case:
        CASES[name] = made
        return made

    return keep


def simple(name: str, by: Key, fields: Callable[[Town, int], list[Any]]) -> None:
    """An action that needs nothing before it; `fields` of the number of the transaction."""

    def made(count: int) -> tuple[Town, list[Job]]:
        town = Town()
        return town, [job(by, name, *fields(town, number)) for number in range(count)]

    CASES[name] = made


def with_accounts(count: int) -> Town:
    town = Town()
    town.prepared([job(ALICE, "accounts.open", NEW[n]) for n in range(count)])
    return town


def asset_name(n: int = 0) -> str:
    return f"A{n}"


def create_fields(n: int, flags: int = 14) -> list[Any]:
    return [asset_name(n), 2, "t" * 64, flags, 10**18, "m" * 256, HASH]


def issued(count: int = 1, flags: int = 14) -> Town:
    """Assets of one issuer, of whom the crowd has some."""
    town = Town()
    town.prepared([job(ISSUER, "assets.create", *create_fields(n, flags)) for n in range(count)])
    return town


class Compared(NamedTuple):
    """How long a case takes per unit of cost: `ratio` as often as a transfer, and in µs."""

    ratio: float
    worst: Measure
    transfers: Measure

    @property
    def full_block_ms(self) -> float:
        """What a block of nothing else takes, without verifying signatures."""
        cost = self.worst.cost + 60 * self.worst.signatures
        count = len(self.worst.result.receipts)
        blocks = min(500_000 / cost, 2_000 / count)
        return blocks * self.worst.cpu_s * 1_000


def compared(name: str, count: int = 20, *, fails: bool = False) -> Compared:
    """Measure a case beside transfers, round by round; the round in which it came off best."""
    town, jobs = CASES[name](count * ROUNDS)
    made = town.transactions(jobs)
    each = len(made) // ROUNDS
    plain = Town()
    transfers = plain.transactions([Job(ALICE, (transfer(BOB, 1),))] * (2 * count * ROUNDS))
    found = []
    for n in range(ROUNDS):
        unit = measured(plain, transfers[2 * n * count : 2 * (n + 1) * count])
        worst = measured(town, made[n * each : (n + 1) * each])
        for receipt in worst.result.receipts:
            assert (receipt.code != 0) == fails, (name, receipt.rule, receipt.facts)
        found.append(Compared(worst.us_per_unit / unit.us_per_unit, worst, unit))
    return min(found, key=lambda one: one.ratio)
