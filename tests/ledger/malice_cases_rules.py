"""The worst of compliance, risk and anchor, and of payments under the heaviest policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from clawpurse.ledger.transactions import RawAction
from tests.ledger.malice_costs import (
    CASES,
    CROWD,
    HASH,
    LONG,
    NEW,
    ORACLES,
    REASON,
    Job,
    Town,
    case,
    job,
    simple,
    with_accounts,
)
from tests.ledger.malice_world import ADMIN, DAY_MS, ascending, raw
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key, transfer
from tests.modules.officers_world import deny, propose, when

# -- compliance, risk, anchor


@case("compliance.setIssuer")
def _set_issuer(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    return town, [
        job(
            ADMIN,
            "compliance.setIssuer",
            CROWD[0],
            [f"{n}".rjust(32, "t"), *[f"{one:032d}" for one in range(31)]],
        )
        for n in range(count)
    ]


def attested(accounts: Sequence[Key], issuers: int, *, accept: bool = True) -> Town:
    """Each account with attestations of one topic by so many issuers of 32 topics each."""
    town = with_accounts(0)
    topics = ["kyc", *[f"{one:032d}" for one in range(31)]]
    town.prepared(
        [job(ADMIN, "compliance.setIssuer", CROWD[n], topics[::-1]) for n in range(issuers)]
    )
    town.prepared([job(ALICE, "accounts.open", one) for one in accounts if one in NEW])
    for one in accounts:
        subject = sha256(one.account).digest()
        town.prepared(
            [
                job(
                    CROWD[n],
                    "compliance.attest",
                    one,
                    subject,
                    "kyc",
                    1,
                    town.time_ms + DAY_MS,
                    HASH,
                )
                for n in range(issuers)
            ]
        )
        if accept:
            town.prepared([job(one, "compliance.accept", CROWD[n], "kyc") for n in range(issuers)])
    return town


@case("compliance.attest")
def _attest(count: int) -> tuple[Town, list[Job]]:
    town = attested([BOB], 32)
    subject = sha256(BOB.account).digest()
    return town, [
        job(
            CROWD[n % 32],
            "compliance.attest",
            BOB,
            subject,
            "kyc",
            n % 255,
            town.time_ms + DAY_MS,
            HASH,
        )
        for n in range(count)
    ]


@case("compliance.accept")
def _accept(count: int) -> tuple[Town, list[Job]]:
    town = attested([BOB, CAROL, ALICE][: -(-count // 32)], 32, accept=False)
    return town, [
        job([BOB, CAROL, ALICE][n // 32], "compliance.accept", CROWD[n % 32], "kyc")
        for n in range(count)
    ]


@case("compliance.revokeAttestation")
def _revoke_attestation(count: int) -> tuple[Town, list[Job]]:
    town = attested([BOB, CAROL, ALICE][: -(-count // 32)], 32)
    return town, [
        job(
            CROWD[n % 32],
            "compliance.revokeAttestation",
            [BOB, CAROL, ALICE][n // 32],
            "kyc",
            None,
            REASON,
        )
        for n in range(count)
    ]


def ballots(town: Town, count: int, voters: int, action: Callable[[int], RawAction]) -> list[Job]:
    """Ballots that so many officers joined, and the next officer's word on each."""
    for key in CROWD[:voters]:
        town.prepared([Job(key, (action(n),)) for n in range(count)])
    return [Job(CROWD[voters], (action(n),)) for n in range(count)]


def crowded(needed: int | None = None) -> Town:
    """A town of 64 officers; so many must agree, or (None) as many as by default."""
    town = Town(officers=64)
    if needed is not None:
        town.prepared([job(CROWD[0], "compliance.setQuorum", needed, 10_000)])
        town.prepared([job(CROWD[1], "compliance.setQuorum", needed, 10_000)])
    return town


def _subject_action(n: int) -> RawAction:
    return raw("compliance.setSubject", NEW[n], HASH, LONG)


@case("compliance.setSubject, first of 64 officers")
def _subject(count: int) -> tuple[Town, list[Job]]:
    town = crowded()
    town.prepared([job(ALICE, "accounts.open", NEW[n]) for n in range(count)])
    return town, ballots(town, count, 0, _subject_action)


@case("compliance.setSubject, 15th officer")
def _subject_late(count: int) -> tuple[Town, list[Job]]:
    town = crowded(16)
    town.prepared([job(ALICE, "accounts.open", NEW[n]) for n in range(count)])
    return town, ballots(town, count, 14, _subject_action)


@case("compliance.setList, first of 64 officers")
def _set_list(count: int) -> tuple[Town, list[Job]]:
    town = crowded()
    return town, ballots(
        town, count, 0, lambda n: raw("compliance.setList", f"l{n}", "t" * 128, 16)
    )


@case("compliance.setQuorum, 15th officer")
def _quorum(count: int) -> tuple[Town, list[Job]]:
    town = crowded(16)
    return town, ballots(town, count, 14, lambda n: raw("compliance.setQuorum", 15, 20_000 + n))


def _entries(n: int, size: int) -> list[bytes]:
    return sorted(sha256(b"%d %d" % (n, one)).digest() for one in range(size))


def listed_case(verb: str, size: int) -> None:
    def made(count: int) -> tuple[Town, list[Job]]:
        town = crowded()
        set_list = raw("compliance.setList", "l", "t", 1)
        town.prepared([Job(CROWD[0], (set_list,)), Job(CROWD[1], (set_list,))])
        rows = [_entries(n, size) for n in range(count)]
        jobs = [job(CROWD[0], f"compliance.{verb}", "l", row, LONG) for row in rows]
        if verb == "removeFromList":
            town.prepared([job(CROWD[0], "compliance.addToList", "l", row, LONG) for row in rows])
        return town, jobs

    CASES[f"compliance.{verb}, {size}"] = made


for _size in (1, 100):
    listed_case("addToList", _size)
    listed_case("removeFromList", _size)


@case("compliance.addToList, 100 entries, first of 16")
def _ballot_large(count: int) -> tuple[Town, list[Job]]:
    town = crowded()
    set_list = raw("compliance.setList", "l", "t", 16)
    town.prepared([Job(CROWD[0], (set_list,)), Job(CROWD[1], (set_list,))])
    return town, ballots(
        town, count, 0, lambda n: raw("compliance.addToList", "l", _entries(n, 100), LONG)
    )


def _rules(n: int, rules: int, conditions: int) -> list[Any]:
    kinds = [when("amount-at-least", number=10**9 + one) for one in range(conditions)]
    return [deny(f"r{one}.{n}", *kinds, code=REASON) for one in range(rules)]


def policy_action(n: int, rules: int = 16, conditions: int = 8) -> RawAction:
    return propose(*_rules(n, rules, conditions), policy="p", meaning="m" * 256)


def _law(needed: int, proposals: int, rules: int = 16) -> tuple[Town, list[bytes]]:
    town = crowded(needed)
    ids = town.prepared(
        [Job(CROWD[8 + n // 8], (policy_action(n, rules),)) for n in range(proposals)],
        "compliance.policyProposed",
    )
    return town, ids


@case("compliance.proposePolicy, largest")
def _propose_policy(count: int) -> tuple[Town, list[Job]]:
    town = crowded(16)
    return town, [Job(CROWD[n // 8], (policy_action(n),)) for n in range(count)]


@case("compliance.proposePolicy, one rule")
def _propose_small(count: int) -> tuple[Town, list[Job]]:
    town = crowded()
    return town, [Job(CROWD[n // 8], (policy_action(n, 1, 1),)) for n in range(count)]


@case("compliance.approvePolicy, 15th")
def _approve_policy(count: int) -> tuple[Town, list[Job]]:
    town, ids = _law(16, count)
    for key in CROWD[40:53]:
        town.prepared([job(key, "compliance.approvePolicy", one) for one in ids])
    return town, [job(CROWD[53], "compliance.approvePolicy", one) for one in ids]


@case("compliance.rejectPolicy, 16th")
def _reject_policy(count: int) -> tuple[Town, list[Job]]:
    town, ids = _law(16, count)
    for key in CROWD[40:55]:
        town.prepared([job(key, "compliance.rejectPolicy", one, LONG) for one in ids])
    return town, [job(CROWD[55], "compliance.rejectPolicy", one, LONG) for one in ids]


def oracled() -> Town:
    town = Town()
    members = ascending(*ORACLES)
    town.prepared([job(ADMIN, "risk.setOracles", members, 16)])
    return town


@case("risk.setOracles, 16")
def _oracles(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    members = ascending(*ORACLES)
    return town, [job(ADMIN, "risk.setOracles", members, 15 + n % 2) for n in range(count)]


def _report(town: Town, oracle: Key, account: Key, score: int = 500) -> Job:
    return job(oracle, "risk.report", account, score, HASH, 2**32 - 1, town.time_ms + DAY_MS)


def reported(accounts: Sequence[Key]) -> Town:
    town = oracled()
    for n, oracle in enumerate(ORACLES):
        town.prepared([_report(town, oracle, one, n) for one in accounts])
    return town


@case("risk.report, 16th")
def _risk_report(count: int) -> tuple[Town, list[Job]]:
    town = reported([BOB])
    return town, [_report(town, ORACLES[n % 16], BOB, n) for n in range(count)]


@case("risk.withdraw, of 16")
def _risk_withdraw(count: int) -> tuple[Town, list[Job]]:
    town = reported(CROWD[20 : 20 + -(-count // 10)])
    return town, [job(ORACLES[n % 10], "risk.withdraw", CROWD[20 + n // 10]) for n in range(count)]


simple("anchor.document", ALICE, lambda town, n: [sha256(b"%d" % n).digest(), REASON])
CASES["anchor.openLog"] = lambda count: (
    Town(),
    [job(CROWD[n // 32], "anchor.openLog", f"{n:032d}", None, "r" * 32, 16) for n in range(count)],
)
LEAVES: Final = [leaf_hash(b"%d" % n) for n in range(4_000)]


def _logged(size: int) -> tuple[Town, bytes]:
    town = Town(officers=64)
    (identity,) = town.prepared(
        [job(ALICE, "anchor.openLog", "l", ALICE, None, 16)], "anchor.logOpened"
    )
    town.prepared([job(ALICE, "anchor.log", identity, size, root_of(LEAVES[:size]), [])])
    return town, identity


@case("anchor.log, grown")
def _anchor(count: int) -> tuple[Town, list[Job]]:
    town, identity = _logged(2_047)
    sizes = [2_047 + 17 * (n + 1) for n in range(count)]
    jobs, before = [], 2_047
    for size in sizes:
        proof = consistency_proof(LEAVES[:size], before)
        jobs.append(job(ALICE, "anchor.log", identity, size, root_of(LEAVES[:size]), proof))
        before = size
    return town, jobs


@case("anchor.setWriter")
def _set_writer(count: int) -> tuple[Town, list[Job]]:
    town, identity = _logged(9)
    return town, [job(ALICE, "anchor.setWriter", identity, None, f"{n:032d}") for n in range(count)]


@case("anchor.break")
def _break(count: int) -> tuple[Town, list[Job]]:
    town, identity = _logged(9)
    return town, [
        job(CROWD[n % 60], "anchor.break", identity, 5, HASH, "x" * 200, town.time_ms + DAY_MS)
        for n in range(count)
    ]


@case("anchor.approveBreak, 15th")
def _approve_break(count: int) -> tuple[Town, list[Job]]:
    town, identity = _logged(9)
    proposers = [*CROWD[:count]]
    made = [
        job(key, "anchor.break", identity, 5, HASH, "x" * 200, town.time_ms + DAY_MS)
        for key in proposers
    ]
    numbers = town.prepared(made, "anchor.breakProposed", 1)
    rows = list(zip(proposers, numbers, strict=True))
    for place in range(1, 15):
        town.prepared(
            [
                job(CROWD[(n + place) % 61], "anchor.approveBreak", identity, key, number, 5, HASH)
                for n, (key, number) in enumerate(rows)
            ]
        )
    return town, [
        job(CROWD[(n + 15) % 61], "anchor.approveBreak", identity, key, number, 5, HASH)
        for n, (key, number) in enumerate(rows)
    ]


# -- under the heaviest policies


def _many(kind: str) -> Callable[[int], tuple[Town, list[Job]]]:
    def made(count: int) -> tuple[Town, list[Job]]:
        town = HEAVY[kind]() if kind else Town()
        return town, [Job(ALICE, (transfer(BOB, 1, "EUR"),) * 16) for _ in range(count)]

    return made


def _heavy(kind: str) -> Callable[[int], tuple[Town, list[Job]]]:
    def made(count: int) -> tuple[Town, list[Job]]:
        town = HEAVY[kind]()
        return town, [Job(ALICE, (transfer(BOB, 1, "EUR"),)) for _ in range(count)]

    return made


def _conditions_policy() -> Town:
    town = Town()
    town.policy(*_rules(0, 36, 7))
    return town


def _counting_policy() -> Town:
    town = Town()
    for policy in range(2):
        rules = [
            deny(
                f"r{n}", when("sum-at-least", "source", number=10**9, window_ms=8_000 + n + policy)
            )
            for n in range(7 if policy else 2)
        ]
        town.policy(*rules, name=f"p{policy}", asset="EUR")
    return town


def _attesting_policy() -> Town:
    town = attested([ALICE, BOB], 32)
    topics = [f"{one:032d}" for one in range(6)]
    rules = [deny(f"r{n}", when("attested", "either", topic)) for n, topic in enumerate(topics)]
    town.policy(*rules)
    return town


def _risk_policy() -> Town:
    town = reported([ALICE, BOB])
    sides = ("source", "target", "either", "both")
    rules = [
        deny(f"r{n}", when("risk-at-least", side, number=10**5)) for n, side in enumerate(sides)
    ]
    town.policy(*rules)
    return town


def _listing_policy() -> Town:
    town = Town()
    from tests.ledger.malice_world import OFFICERS

    for n in range(8):
        for officer in OFFICERS[:2]:
            town.do(officer, "compliance.setList", f"l{n}", "t", 1)
    rules = [deny(f"r{n}", when("listed", "either", f"l{n}")) for n in range(8)]
    town.policy(*rules)
    return town


HEAVY: Final[dict[str, Callable[[], Town]]] = {
    "252 conditions": _conditions_policy,
    "9 counters": _counting_policy,
    "12 attestations": _attesting_policy,
    "risk of 16 oracles": _risk_policy,
    "16 lists": _listing_policy,
}
for _kind in HEAVY:
    CASES[f"assets.transfer under {_kind}"] = _heavy(_kind)
    CASES[f"assets.transfer, 16 in one, under {_kind}"] = _many(_kind)
CASES["assets.transfer, 16 in one"] = _many("")


@case("payments.pay, 16 in one, 56 approvers, 2 roles asked")
def _approved_by_many(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    amount = when("amount-at-least", number=10**9)
    town.policy(
        *[
            deny(f"r{n}", when("approvals-below", name=f"role{n}", number=1), amount)
            for n in range(2)
        ]
    )
    jobs = []
    groups = [sorted(CROWD[8 * n : 8 * n + 8], key=lambda key: key.account) for n in range(7)]
    for _ in range(count):
        actions = []
        for n in range(16):
            pairs = [[one.account, one.public] for one in groups[n % 7]]
            actions.append(raw("payments.pay", "EUR", BOB, 1, b"", None, 0, pairs))
        approvers = [(one, one.account) for group in groups for one in group]
        jobs.append(Job(ALICE, tuple(actions), tuple(approvers)))
    return town, jobs
