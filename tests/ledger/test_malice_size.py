"""The largest of everything is either taken whole or refused whole, and the next is too large.

If these failed, a sender could stop a node with one transaction, or keep half of a payroll.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Malformed, Refused
from clawpurse.ledger.transactions import (
    LANE_COUNT,
    TX_BYTES_MAX,
    WITNESS_MAX,
    Role,
    decode_transaction,
    encode_transaction,
)
from clawpurse.ledger.transition import prepare
from tests.ledger.malice_world import (
    DAY_MS,
    HOUR_MS,
    ISSUER,
    OFFICERS,
    OPENING,
    Realm,
    ascending,
    first,
    raw,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, sign, transfer
from tests.modules.officers_world import deny, propose, when

CROWD = tuple(Key(f"one of many {number}") for number in range(64))
REFUSALS = (Malformed, BadSignature, Refused)


@pytest.fixture
def realm() -> Realm:
    return Realm(opening={**OPENING, **{one: {"CLAW": 1_000} for one in CROWD}})


# -- transactions


def test_a_transaction_above_64_kib_is_not_read(realm: Realm) -> None:
    entries = [n.to_bytes(32, "big") for n in range(100)]
    action = raw("compliance.addToList", "names", entries, "x" * 128)
    large = realm.tx(ALICE, *([action] * 16))
    assert len(large) < TX_BYTES_MAX
    realm.refused(large, "kernel.role")
    with pytest.raises(Malformed):
        prepare(large + b"\x00", realm.registry)
    for size in (TX_BYTES_MAX, TX_BYTES_MAX + 1, 10 * TX_BYTES_MAX):
        with pytest.raises(Malformed):
            decode_transaction(bytes(size))
        with pytest.raises(Malformed):
            decode_transaction(large + bytes(size - len(large)))


@pytest.mark.parametrize("depth", [8, 100, 10_000, 60_000])
def test_nesting_ends_where_no_record_is_so_deep(realm: Realm, depth: int) -> None:
    for opening in (b"\x91", b"\xdc\x00\x01", b"\x81\xa1a"):
        data = (opening * depth)[: TX_BYTES_MAX - 1] + b"\xc0"
        with pytest.raises(Malformed):
            decode_transaction(data)


@pytest.mark.parametrize(
    "data", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
)
def test_lengths_that_lie_take_no_memory(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_transaction(data)
    with pytest.raises(Malformed):
        decode_transaction(b"\x92" + data)


def test_sixteen_actions_are_all_or_nothing(realm: Realm) -> None:
    fine = [transfer(BOB, 5) for _ in range(15)]
    realm.refused(realm.tx(ALICE, *fine, transfer(BOB, 1, "NONE")), "kernel.asset")
    realm.done(realm.tx(ALICE, *fine, transfer(BOB, 5)))
    with pytest.raises(Malformed):
        prepare(realm.tx(ALICE, *fine, *fine), realm.registry)


def test_sixty_four_signatures_are_the_most(realm: Realm) -> None:
    members = [[one.account, 1] for one in CROWD[:32]]
    made = realm.do(ALICE, "accounts.createMultisig", 32, members, b"s" * 32)
    account: bytes = first(made, "accounts.opened").accounts[0]
    realm.do(ALICE, "assets.transfer", "CLAW", account, 1_000)
    firm = Key("firm")
    firm.account = account
    groups = [sorted(CROWD[32 + 8 * n : 40 + 8 * n], key=lambda one: one.account) for n in range(4)]
    actions = [
        raw(
            "payments.pay",
            "CLAW",
            BOB,
            1,
            b"",
            None,
            0,
            [[one.account, one.public] for one in group],
        )
        for group in groups
    ]
    body = realm.body(firm, *actions)
    data = body.pack()

    def entries(senders: Any, approvers: Any) -> list[Any]:
        made = [sign(one.seed, body, Role.SENDER, account, data) for one in senders]
        made.sort(key=lambda entry: entry.public_key)
        approving = [sign(one.seed, body, Role.APPROVER, one.account, data) for one in approvers]
        return made + sorted(approving, key=lambda entry: (entry.account, entry.public_key))

    few = encode_transaction(data, entries(CROWD[:31], CROWD[32:]))
    realm.barred(few, "kernel.threshold")
    most = entries(CROWD[:32], CROWD[32:])
    assert len(most) == WITNESS_MAX
    with pytest.raises(REFUSALS):
        prepare(encode_transaction(data, [*most, most[-1]]), realm.registry)
    result = realm.done(encode_transaction(data, most))
    assert result.cost_used > 64 * 60


def test_a_batch_that_fails_at_its_last_payment_paid_nobody(realm: Realm) -> None:
    """Two hundred payments, of which the last is to somebody frozen."""
    realm.do(ISSUER, "assets.create", "EURX", 2, "Euro", 14, None, "", None)
    realm.do(ISSUER, "assets.mint", "EURX", ALICE, 10_000)
    realm.do(ISSUER, "assets.mint", "EURX", CAROL, 1)
    realm.do(ISSUER, "assets.freeze", "EURX", CAROL, 2, None)
    new: list[Any] = [[Key(f"employee {n}").account, 10, b"pay"] for n in range(199)]
    legs = [*new, [CAROL.account, 10, b"pay"]]
    fields = ["EURX", legs, 2, ascending(BOB, DAVE), realm.time_ms + DAY_MS, b"", None]
    made = realm.do(ALICE, "payments.proposeBatch", *fields)
    batch = first(made, "payments.batchProposed").data[2]
    for one in (BOB, DAVE):
        realm.do(one, "payments.approveBatch", batch, None)
    run = raw("payments.executeBatch", batch, 200)
    realm.refused(realm.tx(ALICE, run), "assets.deepFrozen")
    realm.refused(realm.tx(BOB, run), "assets.deepFrozen")
    realm.refused(realm.tx(ALICE, raw("payments.executeBatch", batch, 199)), "payments.batchLegs")
    realm.do(ISSUER, "assets.clawback", "EURX", ALICE, 8_001, ISSUER, "error", None)
    realm.do(ISSUER, "assets.unfreeze", "EURX", CAROL, None)
    realm.refused(realm.tx(ALICE, run), "kernel.balance")
    realm.do(ISSUER, "assets.mint", "EURX", ALICE, 1)
    realm.done(realm.tx(ALICE, run))
    assert realm.balance(ALICE, "EURX") == 0
    assert realm.balance(new[198][0], "EURX") == 10


def test_two_hundred_and_one_payments_are_no_batch(realm: Realm) -> None:
    legs = [[Key("x").account, 1, b""]] * 201
    fields = ["EUR", legs, 1, ascending(BOB), realm.time_ms + DAY_MS, b"", None]
    with pytest.raises(Malformed):
        prepare(realm.tx(ALICE, raw("payments.proposeBatch", *fields)), realm.registry)


def test_the_largest_policy_is_bounded_by_what_judging_costs(realm: Realm) -> None:
    conditions = [when("amount-at-least", number=10**6 + n) for n in range(8)]
    rules = [deny(f"r{n}", *conditions) for n in range(25)]
    made = realm.tx(OFFICERS[0], propose(*rules))
    assert realm.block(made).receipts[0].code == 0
    rules = [deny(f"r{n}", *conditions) for n in range(80)]
    realm.refused(realm.tx(OFFICERS[0], propose(*rules)), "compliance.policyCost")
    with pytest.raises(Malformed):
        prepare(
            realm.tx(OFFICERS[0], propose(*[deny(f"r{n}") for n in range(101)])), realm.registry
        )


# -- lanes


def test_all_lanes_of_one_sender_share_one_quota() -> None:
    """A flood on every lane uses up its sender's quota, and nobody else's."""
    quota = 64 * 300
    realm = Realm(params={"fee_min": 1, "quota_cost_max": quota})
    execution = realm.execution()
    taken, rules = 0, set()
    for sequence in range(2):
        for lane in range(LANE_COUNT):
            flood = realm.tx(ALICE, transfer(BOB, 1), lane=lane, sequence=sequence)
            prepared = prepare(flood, realm.registry)
            try:
                execution.apply(prepared)
                taken += prepared.cost
            except Refused as err:
                rules.add(err.rule)
    assert rules <= {"kernel.quota", "kernel.sequenceGap"} and "kernel.quota" in rules
    assert taken <= quota
    execution.apply(prepare(realm.tx(BOB, transfer(CAROL, 1)), realm.registry))
    body = realm.body(ERIN, transfer(BOB, 1))._replace(lane=LANE_COUNT)
    with pytest.raises(Malformed):
        prepare(
            encode_transaction(body.pack(), [sign(ERIN.seed, body, Role.SENDER, ERIN.account)]),
            realm.registry,
        )


def test_session_keys_leave_their_owner_half_of_the_quota() -> None:
    agent = Key("agent")
    quota = 20_000
    small = Realm(params={"fee_min": 1, "quota_cost_max": quota})
    fields = [
        agent.public, "", small.time_ms + DAY_MS, [1, 2], ["assets.transfer"],
        [["CLAW", 10**6, 10**6]], [], b"", 0,
    ]  # fmt: skip
    grant = raw("accounts.grantSession", *fields)
    small.done(small.tx(ALICE, grant, approvers=[(agent, ALICE.account)]))
    execution, refused = small.execution(), ""
    for sequence in range(60):
        one = small.tx(ALICE, transfer(BOB, 1), signer=agent, lane=1, sequence=sequence)
        try:
            execution.apply(prepare(one, small.registry))
        except Refused as err:
            refused = err.rule
            break
    assert refused == "kernel.quota"
    revoke = small.tx(ALICE, raw("accounts.revokeSession", agent.public))
    assert execution.apply(prepare(revoke, small.registry)).code == 0


def test_the_wire_has_one_form(realm: Realm) -> None:
    """Whoever writes the same transaction in another way has written none."""
    data = realm.tx(ALICE, transfer(BOB, 5))
    for changed in (data + b"\xc0", data[:-1], b"\xdc\x00" + bytes([data[0] & 15]) + data[1:]):
        with pytest.raises(Malformed):
            prepare(changed, realm.registry)


def test_hours_do_not_matter(realm: Realm) -> None:
    """A transaction that is valid for too long is not taken."""
    long = realm.tx(ALICE, transfer(BOB, 1), valid_until_ms=realm.time_ms + 25 * HOUR_MS)
    realm.barred(long, "kernel.validity")
