"""The worst of payments, and of clawing them back."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from tests.ledger.malice_costs import (
    CASES,
    CROWD,
    HASH,
    NEW,
    REASON,
    REFERENCE,
    SECRET,
    Job,
    Town,
    case,
    issued,
    job,
)
from tests.ledger.malice_world import DAY_MS, HOUR_MS, ISSUER, ascending
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key
from tests.modules.officers_world import when

# -- payments


FAILING = "payments.executeBatch, failing at its last leg"


@case("payments.pay, kept, 8 approvers")
def _pay(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    by = sorted(CROWD[:8], key=lambda key: key.account)
    pairs = [[one.account, one.public] for one in by]
    return town, [
        job(
            ALICE, "payments.pay", "EUR", NEW[n], 5, REFERENCE, HASH, 366, pairs,
            approvers=[(one, one.account) for one in by],
        )
        for n in range(count)
    ]  # fmt: skip


@case("payments.pay, kept")
def _pay_alone(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    return town, [
        job(ALICE, "payments.pay", "EUR", NEW[n], 5, REFERENCE, HASH, 366, []) for n in range(count)
    ]


@case("payments.pay, not kept")
def _pay_bare(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    return town, [
        job(ALICE, "payments.pay", "EUR", NEW[n], 5, b"", None, 0, []) for n in range(count)
    ]


@case("payments.refund")
def _refund(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    pay = [
        job(ALICE, "payments.pay", "EUR", BOB, 50, REFERENCE, HASH, 366, [])
        for _ in range(count // 3)
    ]
    ids = town.prepared(pay, "payments.payment", 4)
    for _ in range(13):
        town.prepared([job(BOB, "payments.refund", one, 1, REFERENCE) for one in ids])
    return town, [job(BOB, "payments.refund", one, 1, REFERENCE) for one in ids * 3]


def escrow_job(town: Town, by: Key, to: Key, asset: str = "EUR") -> Job:
    condition = sha256(SECRET).digest()
    return job(
        by, "payments.createEscrow", asset, to, 100, None, town.time_ms + DAY_MS, condition, CAROL,
        REFERENCE, HASH,
    )  # fmt: skip


def hold_job(town: Town, by: Key, to: Key, asset: str = "EUR", releasers: int = 8) -> Job:
    named = ascending(*CROWD[:releasers])
    return job(
        by, "payments.placeHold", asset, to, 100, REASON, town.time_ms + DAY_MS, 1, 1, named,
        releasers, REFERENCE, HASH,
    )  # fmt: skip


def schedule_job(town: Town, by: Key, to: Key, at_ms: int = DAY_MS) -> Job:
    return job(by, "payments.schedule", "EUR", to, 5, town.time_ms + at_ms, REFERENCE, HASH)


def channel_job(town: Town, by: Key, to: Key, amount: int = 1_000) -> Job:
    return job(
        by, "payments.openChannel", "EUR", to, amount, HOUR_MS, 1, town.time_ms + DAY_MS, None,
        REFERENCE, HASH,
    )  # fmt: skip


def opened_case(name: str, make: Callable[[Town, Key, Key], Job]) -> None:
    def made(count: int) -> tuple[Town, list[Job]]:
        town = Town()
        return town, [make(town, ALICE, NEW[n]) for n in range(count)]

    CASES[name] = made


def ended_case(
    name: str,
    make: Callable[[Town, Key, Key], Job],
    event: tuple[str, int],
    end: Callable[[Town, bytes], Job],
) -> None:
    """Objects, each of them ended by the measured transaction."""

    def made(count: int) -> tuple[Town, list[Job]]:
        town = Town()
        ids = town.prepared([make(town, ALICE, BOB) for _ in range(count)], *event)
        return town, [end(town, one) for one in ids]

    CASES[name] = made


opened_case("payments.createEscrow", escrow_job)
opened_case("payments.placeHold, 8 releasers", hold_job)
opened_case("payments.placeHold", lambda town, by, to: hold_job(town, by, to, releasers=0))
opened_case("payments.schedule", schedule_job)
opened_case("payments.openChannel", channel_job)
_ESCROW = ("payments.escrowCreated", 2)
_PLACED = ("payments.holdPlaced", 2)
ended_case(
    "payments.finishEscrow",
    escrow_job,
    _ESCROW,
    lambda town, one: job(BOB, "payments.finishEscrow", one, SECRET),
)
ended_case(
    "payments.cancelEscrow",
    escrow_job,
    _ESCROW,
    lambda town, one: job(BOB, "payments.cancelEscrow", one),
)
ended_case(
    "payments.decideEscrow",
    escrow_job,
    _ESCROW,
    lambda town, one: job(CAROL, "payments.decideEscrow", one, 1, REASON),
)
ended_case(
    "payments.captureHold, part",
    hold_job,
    _PLACED,
    lambda town, one: job(BOB, "payments.captureHold", one, 1, 0),
)
ended_case(
    "payments.captureHold, all",
    hold_job,
    _PLACED,
    lambda town, one: job(BOB, "payments.captureHold", one, 50, 1),
)
ended_case(
    "payments.cancelScheduled",
    schedule_job,
    ("payments.scheduled", 2),
    lambda town, one: job(ALICE, "payments.cancelScheduled", one),
)


@case("payments.voteHold, deciding")
def _vote_hold(count: int) -> tuple[Town, list[Job]]:
    town = Town()
    ids = town.prepared([hold_job(town, ALICE, BOB) for _ in range(count)], *_PLACED)
    for key in CROWD[:7]:
        town.prepared([job(key, "payments.voteHold", one, 1, REASON) for one in ids])
    return town, [job(CROWD[7], "payments.voteHold", one, 1, REASON) for one in ids]


@case("payments.voteHold, of a rule, 16th officer")
def _vote_rule(count: int) -> tuple[Town, list[Job]]:
    town = Town(officers=40)
    rule = [["r", "hold", None, 16, None, DAY_MS, 1, [when("amount-at-least", number=2)]]]
    town.policy(*rule)
    ids = town.prepared(
        [
            job(ALICE, "payments.pay", "EUR", BOB, 50, REFERENCE, HASH, 366, [])
            for _ in range(count)
        ],
        "kernel.held",
        2,
    )
    for key in CROWD[:15]:
        town.prepared([job(key, "payments.voteHold", one, 0, REASON) for one in ids])
    return town, [job(CROWD[15], "payments.voteHold", one, 0, REASON) for one in ids]


@case("payments.voteHold, of a rule, 31 votes the other way")
def _vote_split(count: int) -> tuple[Town, list[Job]]:
    town = Town(officers=40)
    rule = [["r", "hold", None, 16, None, DAY_MS, 1, [when("amount-at-least", number=2)]]]
    town.policy(*rule)
    ids = town.prepared(
        [
            job(ALICE, "payments.pay", "EUR", BOB, 50, REFERENCE, HASH, 366, [])
            for _ in range(count)
        ],
        "kernel.held",
        2,
    )
    for place, key in enumerate(CROWD[:30]):
        town.prepared([job(key, "payments.voteHold", one, place % 2, REASON) for one in ids])
    return town, [job(CROWD[30], "payments.voteHold", one, 0, REASON) for one in ids]


def batch_job(town: Town, by: Key, legs: int, approvers: int, fresh: int = 0) -> Job:
    rows = [[NEW[(fresh + n) % len(NEW)].account, 1, b"r" * 32] for n in range(legs)]
    named = ascending(*CROWD[:approvers])
    fields = ["EUR", rows, approvers, named, town.time_ms + DAY_MS, REFERENCE, HASH]
    return job(by, "payments.proposeBatch", *fields)


CASES["payments.proposeBatch, 200 legs"] = lambda count: (
    town := Town(),
    [batch_job(town, CROWD[16 + n // 16], 200, 16) for n in range(count)],
)
CASES["payments.proposeBatch, 1 leg"] = lambda count: (
    town := Town(),
    [batch_job(town, CROWD[16 + n // 16], 1, 16) for n in range(count)],
)


def batches(count: int, legs: int, approvers: int, approved: int) -> tuple[Town, list[bytes]]:
    town = Town()
    ids = town.prepared(
        [batch_job(town, CROWD[16 + n // 16], legs, approvers, n * legs) for n in range(count)],
        "payments.batchProposed",
        2,
    )
    for key in CROWD[:approved]:
        town.prepared([job(key, "payments.approveBatch", one, None) for one in ids])
    return town, ids


@case("payments.approveBatch")
def _approve_batch(count: int) -> tuple[Town, list[Job]]:
    town, ids = batches(count, 200, 16, 15)
    return town, [job(CROWD[15], "payments.approveBatch", one, None) for one in ids]


@case("payments.rejectBatch")
def _reject_batch(count: int) -> tuple[Town, list[Job]]:
    town, ids = batches(count, 200, 16, 15)
    return town, [job(CROWD[15], "payments.rejectBatch", one, REASON) for one in ids]


@case("payments.withdrawBatch")
def _withdraw_batch(count: int) -> tuple[Town, list[Job]]:
    town, ids = batches(count, 200, 16, 15)
    return town, [
        job(CROWD[16 + n // 16], "payments.withdrawBatch", one) for n, one in enumerate(ids)
    ]


@case("payments.executeBatch, 200 legs")
def _execute_batch(count: int) -> tuple[Town, list[Job]]:
    town, ids = batches(count, 200, 1, 1)
    return town, [
        job(CROWD[16 + n // 16], "payments.executeBatch", one, 200) for n, one in enumerate(ids)
    ]


@case("payments.executeBatch, 1 leg")
def _execute_small(count: int) -> tuple[Town, list[Job]]:
    town, ids = batches(count, 1, 16, 16)
    return town, [
        job(CROWD[16 + n // 16], "payments.executeBatch", one, 1) for n, one in enumerate(ids)
    ]


def invoice_job(town: Town, n: int) -> Job:
    return job(
        BOB, "payments.createInvoice", "EUR", 5, ALICE, HASH, b"p" * 60 + b"%04d" % n,
        town.time_ms + HOUR_MS, 92,
    )  # fmt: skip


def invoiced(count: int) -> tuple[Town, list[bytes]]:
    town = Town()
    ids = town.prepared([invoice_job(town, n) for n in range(count)], "payments.invoiceCreated", 2)
    return town, ids


CASES["payments.createInvoice"] = lambda count: (
    town := Town(),
    [invoice_job(town, n) for n in range(count)],
)


@case("payments.payInvoice")
def _pay_invoice(count: int) -> tuple[Town, list[Job]]:
    town, ids = invoiced(count)
    return town, [job(ALICE, "payments.payInvoice", one, 5, HASH) for one in ids]


@case("payments.cancelInvoice")
def _cancel_invoice(count: int) -> tuple[Town, list[Job]]:
    town, ids = invoiced(count)
    return town, [job(BOB, "payments.cancelInvoice", one) for one in ids]


def channelled(count: int) -> tuple[Town, list[bytes]]:
    town = Town()
    ids = town.prepared(
        [channel_job(town, ALICE, BOB) for _ in range(count)], "payments.channelOpened", 2
    )
    return town, ids


def claim_fields(town: Town, channel: bytes, amount: int) -> list[Any]:
    promise = Terms(town.genesis.hash, channel, "EUR", BOB.account)
    return [channel, amount, crypto.sign(ALICE.seed, voucher_bytes(promise, amount))]


@case("payments.topUpChannel")
def _top_up(count: int) -> tuple[Town, list[Job]]:
    town, ids = channelled(count)
    return town, [job(ALICE, "payments.topUpChannel", one, 1) for one in ids]


@case("payments.claimChannel, part")
def _claim(count: int) -> tuple[Town, list[Job]]:
    town, ids = channelled(count)
    return town, [job(BOB, "payments.claimChannel", *claim_fields(town, one, 10)) for one in ids]


@case("payments.claimChannel, all")
def _claim_all(count: int) -> tuple[Town, list[Job]]:
    town, ids = channelled(count)
    town.prepared([job(ALICE, "payments.closeChannel", one) for one in ids])
    return town, [job(BOB, "payments.claimChannel", *claim_fields(town, one, 1_000)) for one in ids]


@case("payments.closeChannel, payer")
def _close(count: int) -> tuple[Town, list[Job]]:
    town, ids = channelled(count)
    return town, [job(ALICE, "payments.closeChannel", one) for one in ids]


@case("payments.closeChannel, payee")
def _close_payee(count: int) -> tuple[Town, list[Job]]:
    town, ids = channelled(count)
    return town, [job(BOB, "payments.closeChannel", one) for one in ids]


@case("assets.clawback, of an escrow")
def _claw(count: int) -> tuple[Town, list[Job]]:
    town = issued()
    town.prepared([job(ISSUER, "assets.mint", "A0", ALICE, 10**6)])
    ids = town.prepared(
        [hold_job(town, ALICE, BOB, "A0", 8) for _ in range(count)], "payments.holdPlaced", 2
    )
    return town, [
        job(ISSUER, "assets.clawback", "A0", ALICE, 100, NEW[n], REASON, one)
        for n, one in enumerate(ids)
    ]


@case(FAILING)
def _failing(count: int) -> tuple[Town, list[Job]]:
    """Two hundred payments, of which the last is more than there is."""
    town = Town()
    rows = [[NEW[n].account, 1, b"r" * 32] for n in range(199)]
    fields = ["EUR", [*rows, [NEW[199].account, 10**6, b""]], 1, [CROWD[0].account]]
    jobs = [
        job(
            CROWD[16 + n // 16],
            "payments.proposeBatch",
            *fields,
            town.time_ms + DAY_MS,
            REFERENCE,
            None,
        )
        for n in range(count)
    ]
    ids = town.prepared(jobs, "payments.batchProposed", 2)
    town.prepared([job(CROWD[0], "payments.approveBatch", one, None) for one in ids])
    return town, [
        job(CROWD[16 + n // 16], "payments.executeBatch", one, 200) for n, one in enumerate(ids)
    ]
