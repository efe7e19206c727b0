"""The worst of accounts, assets, roles and governance."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from clawpurse.ledger.kernel.entitlements import SIGNERS_MAX
from clawpurse.modules.governance.changes import KIND_NAMES, Change, Kind
from tests.ledger.malice_costs import (
    CASES,
    COUNCIL,
    CROWD,
    HASH,
    LONG,
    NEW,
    REASON,
    Job,
    Town,
    case,
    create_fields,
    issued,
    job,
    simple,
    with_accounts,
)
from tests.ledger.malice_world import ADMIN, DAY_MS, HOUR_MS, ISSUER
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key, transfer

# -- accounts and assets

simple("assets.transfer", ALICE, lambda town, n: ["CLAW", BOB, 1])
CASES["assets.transfer, new account"] = lambda count: (
    Town(),
    [job(ALICE, "assets.transfer", "EUR", NEW[n], 1) for n in range(count)],
)
simple("accounts.open", ALICE, lambda town, n: [NEW[n]])
simple("accounts.setDepositAuth", ALICE, lambda town, n: [(n + 1) % 2])
CASES["accounts.preauthorise"] = lambda count: (
    with_accounts(count),
    [job(ALICE, "accounts.preauthorise", NEW[n]) for n in range(count)],
)
simple(
    "accounts.createMultisig",
    ALICE,
    lambda town, n: [
        32_000,
        [[key.account, 1_000] for key in CROWD[:SIGNERS_MAX]],
        sha256(b"%d" % n).digest(),
    ],
)


@case("accounts.changeKey")
def _change_key(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    keys = [Key(f"next-{n}") for n in range(count)]
    by = list(CROWD[:count])
    return town, [
        job(one, "accounts.changeKey", key.public, approvers=[(key, one.account)])
        for one, key in zip(by, keys, strict=True)
    ]


@case("accounts.setSigners")
def _set_signers(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    jobs = []
    for n in range(count):
        members = [one for one in CROWD if one is not CROWD[40 + n % 24]][:SIGNERS_MAX]
        wire = [[one.account, one.public, 1] for one in members]
        jobs.append(
            job(
                CROWD[40 + n % 24],
                "accounts.setSigners",
                1,
                wire,
                approvers=[(one, one.account) for one in members],
            )
        )
    return town, jobs[:24]


def proposal_fields(town: Town, account: bytes, number: int, actions: int = 16) -> list[Any]:
    inner = [["assets.transfer", ["CLAW", NEW[0].account, 1]] for _ in range(actions)]
    return [account, town.time_ms + DAY_MS, inner, b"m" * 250 + b"%03d" % number]


@case("accounts.propose")
def _propose(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    account = town.company()
    big = [["compliance.addToList", ["l", [bytes([n]) * 32 for n in range(100)], LONG]]] * 16
    return town, [
        job(CROWD[n % 32], "accounts.propose", account, town.time_ms + DAY_MS, big, b"%d" % n)
        for n in range(count)
    ]


def _proposals(count: int, actions: int, threshold: int) -> tuple[Town, list[bytes]]:
    town = Town()
    account = town.company(threshold=threshold)
    made = town.prepared(
        [
            job(CROWD[n % 32], "accounts.propose", *proposal_fields(town, account, n, actions))
            for n in range(count)
        ],
        "accounts.proposed",
    )
    return town, made


@case("accounts.approve")
def _approve(count: int) -> tuple[Town, list[Job]]:
    town, made = _proposals(count, 16, 32)
    for key in CROWD[1:31]:
        jobs = [
            job(key, "accounts.approve", one)
            for n, one in enumerate(made)
            if CROWD[n % 32] is not key
        ]
        town.prepared(jobs)
    return town, [
        job(CROWD[31] if n % 32 != 31 else CROWD[0], "accounts.approve", one)
        for n, one in enumerate(made)
    ]


@case("accounts.reject")
def _reject(count: int) -> tuple[Town, list[Job]]:
    town, made = _proposals(count, 16, 32)
    return town, [job(CROWD[(n + 1) % 32], "accounts.reject", one) for n, one in enumerate(made)]


@case("accounts.withdrawProposal")
def _withdraw(count: int) -> tuple[Town, list[Job]]:
    town, made = _proposals(count, 16, 32)
    return town, [
        job(CROWD[n % 32], "accounts.withdrawProposal", one) for n, one in enumerate(made)
    ]


@case("accounts.execute")
def _execute(count: int) -> tuple[Town, list[Job]]:
    town, made = _proposals(count, 16, 32)
    for key in CROWD[:32]:
        town.prepared(
            [
                job(key, "accounts.approve", one)
                for n, one in enumerate(made)
                if CROWD[n % 32] is not key
            ]
        )
    return town, [
        job(CROWD[n % 32], "accounts.execute", one, 16 * 100 + 100) for n, one in enumerate(made)
    ]


def _grant_job(town: Town, owner: Key, n: int) -> Job:
    key = Key(f"session-{n}")
    names = sorted(name for name, one in town.registry.actions.items() if one.session)[:32]
    caps = [["CLAW", 10**9, 10**9], ["EUR", 10**9, 10**9]]
    caps += [[f"A{one}", 1, 1] for one in range(14)]
    fields = [
        key.public,
        "l" * 32,
        town.time_ms + 300 * DAY_MS,
        [n % 63 + 1],
        names,
        caps,
        [*sorted(one.account for one in NEW[:62]), BOB.account, CAROL.account],
        b"m" * 64,
        1,
    ]
    return job(owner, "accounts.grantSession", *fields, approvers=[(key, owner.account)])


@case("accounts.grantSession")
def _grant(count: int) -> tuple[Town, list[Job]]:
    town = issued(14)
    return town, [_grant_job(town, CROWD[n // 32], n) for n in range(count)]


@case("assets.transfer, 16 in one, by a session key")
def _by_session(count: int) -> tuple[Town, list[Job]]:
    town = issued(14)
    grant = _grant_job(town, ALICE, 0)
    town.prepared([grant])
    key = Key("session-0")
    return town, [Job(ALICE, (transfer(CAROL, 1),) * 16, session=key) for _ in range(count)]


@case("assets.transfer, of a session key, sponsored")
def _sponsored(count: int) -> tuple[Town, list[Job]]:
    town = issued(14)
    town.prepared([_grant_job(town, ALICE, 0)])
    key = Key("session-0")
    jobs = [Job(ALICE, (transfer(CAROL, 1),), session=key, payer=BOB) for _ in range(count)]
    return town, jobs


@case("accounts.revokeSession")
def _revoke(count: int) -> tuple[Town, list[Job]]:
    town = issued(14)
    granted = [_grant_job(town, CROWD[n // 32], n) for n in range(count)]
    town.prepared(granted)
    return town, [
        job(one.by, "accounts.revokeSession", one.actions[0].fields[0]) for one in granted
    ]


@case("accounts.resignSession")
def _resign(count: int) -> tuple[Town, list[Job]]:
    town = issued(14)
    granted = [_grant_job(town, CROWD[n // 32], n) for n in range(count)]
    town.prepared(granted)
    return town, [
        job(
            one.by,
            "accounts.resignSession",
            one.by.account,
            one.actions[0].fields[0],
            approvers=one.approvers,
        )
        for one in granted
    ]


def _sponsor_fields(town: Town, n: int) -> list[Any]:
    names = sorted(town.registry.actions)[:32]
    return [NEW[n], 100, 1_000, 10**9, names, town.time_ms + DAY_MS]


@case("accounts.sponsor")
def _sponsor(count: int) -> tuple[Town, list[Job]]:
    town = with_accounts(count)
    return town, [job(ALICE, "accounts.sponsor", *_sponsor_fields(town, n)) for n in range(count)]


@case("accounts.endSponsorship")
def _end_sponsor(count: int) -> tuple[Town, list[Job]]:
    town = with_accounts(count)
    town.prepared([job(ALICE, "accounts.sponsor", *_sponsor_fields(town, n)) for n in range(count)])
    return town, [job(ALICE, "accounts.endSponsorship", NEW[n]) for n in range(count)]


@case("accounts.withdrawPreauthorisation")
def _unname(count: int) -> tuple[Town, list[Job]]:
    town = with_accounts(count)
    town.prepared([job(ALICE, "accounts.preauthorise", NEW[n]) for n in range(count)])
    return town, [job(ALICE, "accounts.withdrawPreauthorisation", NEW[n]) for n in range(count)]


CASES["assets.create"] = lambda count: (
    Town(),
    [job(ISSUER, "assets.create", *create_fields(n)) for n in range(count)],
)


def assets_case(
    verb: str,
    fields: Callable[[Town, int], list[Any]],
    *,
    flags: int = 14,
    before: Callable[[Town, int], list[Job]] | None = None,
) -> None:
    def made(count: int) -> tuple[Town, list[Job]]:
        town = issued(flags=flags)
        if before is not None:
            town.prepared(before(town, count))
        jobs = [job(ISSUER, f"assets.{verb}", "A0", *fields(town, n)) for n in range(count)]
        return town, jobs

    CASES[f"assets.{verb}"] = made


def _minted(town: Town, count: int) -> list[Job]:
    return [job(ISSUER, "assets.mint", "A0", NEW[n], 100) for n in range(count)]


def _frozen(town: Town, count: int) -> list[Job]:
    return [
        *_minted(town, count),
        *[job(ISSUER, "assets.freeze", "A0", NEW[n], 2, REASON) for n in range(count)],
    ]


assets_case("mint", lambda town, n: [NEW[n], 5])
assets_case(
    "burn",
    lambda town, n: [1],
    before=lambda town, n: [job(ISSUER, "assets.mint", "A0", ISSUER, 999)],
)
assets_case("setMetadata", lambda town, n: [f"{n:03d}" + "m" * 250, HASH])
assets_case("setCap", lambda town, n: [10**17 - n])
assets_case("setFlags", lambda town, n: [14 if n % 2 else 12], flags=14)
assets_case("freeze", lambda town, n: [NEW[n], 2, REASON], before=_minted)
assets_case("unfreeze", lambda town, n: [NEW[n], REASON], before=_frozen)
assets_case(
    "authorise",
    lambda town, n: [NEW[n], 2],
    flags=15,
    before=lambda town, count: [job(ALICE, "accounts.open", NEW[n]) for n in range(count)],
)
assets_case(
    "appoint",
    lambda town, n: ["mint", NEW[n]],
    before=lambda town, count: [job(ALICE, "accounts.open", NEW[n]) for n in range(count)],
)
assets_case(
    "dismiss",
    lambda town, n: ["mint", NEW[n]],
    before=lambda town, count: [
        *[job(ALICE, "accounts.open", NEW[n]) for n in range(count)],
        *[job(ISSUER, "assets.appoint", "A0", "mint", NEW[n]) for n in range(count)],
    ],
)
assets_case(
    "attestReserve",
    lambda town, n: [10**9, town.time_ms - 1_000 + n, HASH, town.time_ms + DAY_MS],
    flags=46,
)


@case("assets.freezeAll and unfreezeAll")
def _freeze_all(count: int) -> tuple[Town, list[Job]]:
    town = issued()
    verbs = ("assets.freezeAll", "assets.unfreezeAll")
    return town, [job(ISSUER, verbs[n % 2], "A0", REASON) for n in range(count)]


# -- roles and governance


@case("roles.grant")
def _grant_role(count: int) -> tuple[Town, list[Job]]:
    town = with_accounts(count)
    return town, [job(ADMIN, "roles.grant", f"{n:032d}", NEW[n]) for n in range(count)]


@case("roles.revoke")
def _revoke_role(count: int) -> tuple[Town, list[Job]]:
    town = with_accounts(count)
    for role in ("first", "second"):
        town.prepared([job(ADMIN, "roles.grant", role, NEW[n]) for n in range(count)])
    return town, [job(ADMIN, "roles.revoke", "first", NEW[n], LONG) for n in range(count)]


@case("roles.setPermission")
def _permission(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    free = [n for n in sorted(town.registry.actions) if not n.startswith(("roles.", "governance."))]
    town.prepared(
        [
            job(ADMIN, "roles.setPermission", n, "r" * 32)
            for n in free[:-1]
            if not n.startswith(("accounts.changeKey", "compliance."))
        ]
    )
    return town, [
        job(ADMIN, "roles.setPermission", "payments.pay", f"{n:032d}") for n in range(count)
    ]


def _voting(count: int, votes: int) -> tuple[Town, list[bytes]]:
    """Open proposals with so many votes each, of a hundred authorities."""
    town = Town(authorities=tuple(key.public for key in COUNCIL))
    town.prepared([job(ALICE, "accounts.open", NEW[0])])
    ends = [town.time_ms + HOUR_MS + n for n in range(count)]
    change = Change(Kind.GRANT, ("r" * 32, NEW[0].account))
    for place in range(votes):
        # Everybody opens some: nobody may open many.
        town.prepared(
            [ballot(COUNCIL[(place + n) % votes], change, end) for n, end in enumerate(ends)]
        )
    return town, [change.id(end) for end in ends]


def ballot(seat: Key, change: Change, end: int) -> Job:
    name = f"governance.{KIND_NAMES[Kind(change.kind)]}"
    fields = [seat.public, end, *change.arguments]
    return job(ALICE, name, *fields, approvers=[(seat, seat.public)])


@case("governance.grantRole, opening")
def _open_vote(count: int) -> tuple[Town, list[Job]]:
    town, _ = _voting(0, 0)
    change = Change(Kind.GRANT, ("r" * 32, NEW[0].account))
    return town, [
        ballot(COUNCIL[n % 100], change, town.time_ms + HOUR_MS + n) for n in range(count)
    ]


@case("governance.vote")
def _vote(count: int) -> tuple[Town, list[Job]]:
    town, ids = _voting(count // 3, 60)
    return town, [
        job(ALICE, "governance.vote", seat.public, one, approvers=[(seat, seat.public)])
        for seat in COUNCIL[60:63]
        for one in ids
    ]


@case("governance.withdraw")
def _unvote(count: int) -> tuple[Town, list[Job]]:
    town, ids = _voting(count // 3, 60)
    return town, [
        job(ALICE, "governance.withdraw", seat.public, one, approvers=[(seat, seat.public)])
        for seat in COUNCIL[:3]
        for one in ids
    ]
