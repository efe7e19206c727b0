"""A transaction has one meaning and one form; whoever sends another form is told which field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import BadSignature, Malformed, Refused
from clawpurse.ledger.transactions import (
    ACTIONS_MAX,
    LANE_COUNT,
    SEQUENCE_MAX,
    TX_BYTES_MAX,
    TX_VERSION,
    WITNESS_MAX,
    Body,
    RawAction,
    Role,
    WitnessEntry,
    decode_body,
    decode_transaction,
    encode_transaction,
    sign_entry,
    signing_hash,
)
from clawpurse.ledger.transition import COST_BASE, COST_SIGNATURE, prepare
from tests.ledger.sandbox import ALICE, BOB, CAROL, Key, Sandbox, change_key, sign, transfer

CHAIN = Sandbox()
digests = st.binary(min_size=32, max_size=32)
u64 = st.integers(0, 2**64 - 1)
plain = st.none() | st.booleans() | u64 | st.binary(max_size=40) | st.text(max_size=20)
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=48)
actions = st.builds(RawAction, names, st.lists(plain | st.lists(plain, max_size=3), max_size=5))
bodies = st.builds(
    Body,
    names.map(lambda name: name[:32]),
    digests,
    digests,
    st.integers(0, 63),
    st.integers(0, SEQUENCE_MAX),
    st.integers(0, 9),
    u64,
    st.none() | st.integers(1, 2**64 - 1),
    u64,
    st.none() | digests,
    st.lists(actions, min_size=1, max_size=4).map(tuple),
    st.binary(max_size=256),
    st.none() | st.binary(min_size=1, max_size=64),
)


@given(bodies)
def test_a_body_comes_back_as_it_was(body: Body) -> None:
    assert decode_body(body.pack()) == body
    assert body.fee_account == (body.payer or body.sender)


@given(
    bodies,
    st.lists(
        st.builds(
            WitnessEntry, st.integers(0, 2), digests, digests, st.binary(min_size=64, max_size=64)
        ),
        max_size=5,
        unique_by=lambda entry: entry[:3],
    ),
)
def test_a_transaction_comes_back_whatever_order_its_signatures_came_in(
    body: Body, entries: list[WitnessEntry]
) -> None:
    raw = encode_transaction(body.pack(), entries)
    found = decode_transaction(raw)
    assert found.body == body and found.raw == raw and found.body_bytes == body.pack()
    assert list(found.witness) == sorted(entries)
    assert found.tx_id == crypto.tx_id_of(body.pack()) and found.wtx_id == crypto.wtx_id_of(raw)
    assert encode_transaction(body.pack(), entries[::-1]) == raw
    for entry, (key, message, signature) in zip(found.witness, found.signatures, strict=True):
        assert (key, signature) == (entry.public_key, entry.signature)
        assert message == signing_hash(body.genesis_hash, entry.role, entry.account, body.pack())


def wire_of(body: Body) -> list[Any]:
    return codec.unpack_own(body.pack())


VALID = wire_of(CHAIN.body(ALICE, memo=b"hello", idempotency_key=b"k1"))
FIELDS = [
    "version", "chainId", "genesisHash", "sender", "lane", "sequence", "attempt", "validUntil",
    "heightMax", "fee", "payer", "actions", "memo", "idempotencyKey",
]  # fmt: skip
TAKEN: list[tuple[str, Any]] = [
    ("chainId", "x"), ("chainId", "~" * 32), ("lane", 0), ("lane", LANE_COUNT - 1),
    ("sequence", 0), ("sequence", SEQUENCE_MAX), ("attempt", 0), ("attempt", 9),
    ("validUntil", 0), ("validUntil", 2**64 - 1), ("heightMax", None), ("heightMax", 1),
    ("heightMax", 2**64 - 1), ("fee", 0), ("fee", 2**64 - 1), ("payer", None),
    ("payer", bytes(32)), ("memo", b""), ("memo", b"\xff" * 256), ("idempotencyKey", None),
    ("idempotencyKey", b"k"), ("idempotencyKey", b"k" * 64), ("actions", [["x" * 48, []]]),
    ("actions", [["x", []]] * ACTIONS_MAX), ("actions", [["x", [None, True, -1, "é", [[b""]]]]]),
]  # fmt: skip
REFUSED: list[tuple[str, Any]] = [
    ("version", 0), ("version", 2), ("version", True), ("version", None),
    ("chainId", ""), ("chainId", "x" * 33), ("chainId", b"x"), ("chainId", "é"),
    ("genesisHash", bytes(31)), ("genesisHash", bytes(33)), ("genesisHash", None),
    ("sender", bytes(31)), ("sender", None), ("sender", "x" * 32),
    ("lane", -1), ("lane", LANE_COUNT), ("lane", False), ("lane", None),
    ("sequence", -1), ("sequence", 2**64 - 1), ("sequence", None),
    ("attempt", -1), ("attempt", 10), ("attempt", True),
    ("validUntil", -1), ("validUntil", None), ("heightMax", 0), ("heightMax", True),
    ("fee", -1), ("fee", None), ("fee", b"1"), ("payer", b""), ("payer", bytes(33)),
    ("actions", []), ("actions", None), ("actions", [["x", []]] * (ACTIONS_MAX + 1)),
    ("actions", [[]]), ("actions", [["x"]]), ("actions", [["x", [], 1]]), ("actions", [["x", 1]]),
    ("actions", [["", []]]), ("actions", [["x" * 49, []]]), ("actions", [[b"x", []]]),
    ("actions", [["x", [1.5]]]), ("actions", [["x", [{}]]]),
    ("actions", [["x", [[[[[[[[[1]]]]]]]]]]]),
    ("memo", None), ("memo", "text"), ("memo", b"x" * 257),
    ("idempotencyKey", b""), ("idempotencyKey", b"k" * 65), ("idempotencyKey", "k"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), TAKEN)
def test_a_field_is_taken_up_to_its_limit(field: str, value: Any) -> None:
    wire = [value if name == field else item for name, item in zip(FIELDS, VALID, strict=True)]
    assert decode_body(codec.pack(wire)).pack() == codec.pack(wire)


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_a_field_beyond_its_limit_is_refused_by_name(field: str, value: Any) -> None:
    wire = [value if name == field else item for name, item in zip(FIELDS, VALID, strict=True)]
    with pytest.raises(Malformed) as caught:
        decode_body(codec.pack(wire))
    assert caught.value.field.startswith(f"body.{field}")


@pytest.mark.parametrize("wire", [VALID[:-1], [*VALID, None], [], VALID[::-1]])
def test_a_body_has_fourteen_fields(wire: list[Any]) -> None:
    with pytest.raises(Malformed):
        decode_body(codec.pack(wire))


def test_a_batch_of_two_hundred_legs_fits_and_one_of_three_hundred_does_not() -> None:
    legs = [["CLAW", bytes(32), 2**64 - 1]]
    fits = [["a.batch", [legs * 200]]]
    wire = [fits if name == "actions" else item for name, item in zip(FIELDS, VALID, strict=True)]
    assert len(decode_body(codec.pack(wire)).actions[0].fields[0]) == 200  # type: ignore[arg-type]
    fits[0][1] = [legs * 300]
    with pytest.raises(Malformed):
        decode_body(codec.pack(wire))


# -- the signed form

BODY = CHAIN.body(ALICE)
ENTRY = sign(ALICE.seed, BODY, Role.SENDER, ALICE.account)


def signed(*entries: Any, body: bytes | None = None) -> bytes:
    """The signed form with entries as given, in the order given."""
    return codec.pack([body or BODY.pack(), [list(entry) for entry in entries]])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, 3), (0, -1), (0, True), (0, None), (1, bytes(31)), (1, None), (2, bytes(33)),
        (2, None), (3, bytes(63)), (3, bytes(65)), (3, None),
    ],
)  # fmt: skip
def test_a_witness_entry_has_exact_fields(field: int, value: Any) -> None:
    entry = [value if place == field else item for place, item in enumerate(ENTRY)]
    with pytest.raises(Malformed, match=r"tx\.witness\[\]"):
        decode_transaction(signed(entry))


@pytest.mark.parametrize(
    "raw",
    [
        codec.pack([BODY.pack()]),
        codec.pack([BODY.pack(), [], 1]),
        codec.pack([BODY.pack(), None]),
        codec.pack([None, []]),
        codec.pack([list(BODY), []]),
        codec.pack([BODY.pack(), [list(ENTRY)[:3]]]),
        codec.pack([BODY.pack() + b"\x00", [list(ENTRY)]]),
        codec.pack([b"", []]),
        signed(ENTRY) + b"\x00",
        b"\xdc\x00\x02" + signed(ENTRY)[1:],
    ],
)
def test_other_shapes_of_the_signed_form_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decode_transaction(raw)


def test_witness_entries_stand_strictly_ascending() -> None:
    """Otherwise one signed payment would have many wire forms, each with its own id."""
    low, high = ENTRY._replace(public_key=bytes(32)), ENTRY._replace(public_key=b"\xff" * 32)
    for wrong in ([high, low], [low, low], [low, low._replace(signature=b"\xff" * 64)]):
        with pytest.raises(BadSignature, match="ascending"):
            decode_transaction(signed(*wrong))
    order = [
        low._replace(role=0, account=b"\xff" * 32),
        low._replace(role=1, account=bytes(32), public_key=b"\xff" * 32),
        low._replace(role=1, account=b"\x01" + bytes(31)),
        low._replace(role=2),
    ]
    assert decode_transaction(signed(*order)).witness == tuple(order)


def test_the_witness_is_bounded_and_so_is_the_whole() -> None:
    many = [ENTRY._replace(role=2, public_key=n.to_bytes(32, "big")) for n in range(WITNESS_MAX)]
    assert len(decode_transaction(signed(*many)).witness) == WITNESS_MAX
    one_more = ENTRY._replace(role=2, public_key=b"\xff" * 32)
    with pytest.raises(Malformed, match=r"tx\.witness"):
        decode_transaction(signed(*many, one_more))
    padding = [RawAction("x", [b"y" * (TX_BYTES_MAX // 2)])] * 2
    with pytest.raises(Malformed, match=f"at most {TX_BYTES_MAX} are allowed"):
        decode_transaction(signed(ENTRY, body=BODY._replace(actions=tuple(padding)).pack()))


@given(st.binary(max_size=400))
def test_hostile_bytes_are_malformed(raw: bytes) -> None:
    for read in (decode_transaction, decode_body):
        with pytest.raises((Malformed, BadSignature)):
            read(raw)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_leaves_the_same_ids(place: int, change: int) -> None:
    raw = bytearray(CHAIN.tx(ALICE, memo=b"m", idempotency_key=b"k"))
    original = decode_transaction(bytes(raw))
    raw[place % len(raw)] ^= change
    try:
        found = decode_transaction(bytes(raw))
    except (Malformed, BadSignature):
        return
    assert found.wtx_id != original.wtx_id
    assert (found.tx_id == original.tx_id) == (found.body_bytes == original.body_bytes)


def test_another_witness_changes_the_wtxid_only() -> None:
    """So that who spoils a signature in transit condemns neither the payment nor a block."""
    good = decode_transaction(signed(ENTRY))
    bad = decode_transaction(signed(ENTRY._replace(signature=bytes(64))))
    assert good.tx_id == bad.tx_id and good.wtx_id != bad.wtx_id


# -- who has to sign


def entries_for(body: Body, *who: tuple[Key, Role, bytes]) -> bytes:
    return encode_transaction(body.pack(), [sign(k.seed, body, r, a) for k, r, a in who])


PAID = CHAIN.body(ALICE, payer=CAROL.account)
REKEY = CHAIN.body(ALICE, change_key(BOB))
SENDER, PAYER, APPROVER = Role.SENDER, Role.PAYER, Role.APPROVER
ALICE_SIGNS = (ALICE, SENDER, ALICE.account)
CAROL_PAYS = (CAROL, PAYER, CAROL.account)
BOB_APPROVES = (BOB, APPROVER, ALICE.account)
COMPLETE = [
    (BODY, [ALICE_SIGNS]),
    (PAID, [ALICE_SIGNS, CAROL_PAYS]),
    (REKEY, [ALICE_SIGNS, BOB_APPROVES]),
]
INCOMPLETE: list[tuple[str, Body, list[tuple[Key, Role, bytes]], str]] = [
    ("nobody", BODY, [], "the sender's signature is missing"),
    ("only the payer", PAID, [CAROL_PAYS], "the sender's signature is missing"),
    ("only the approver", REKEY, [BOB_APPROVES], "the sender's signature is missing"),
    ("payer not named", BODY, [ALICE_SIGNS, CAROL_PAYS], "no part in it"),
    ("payer signs as sender", PAID, [ALICE_SIGNS, (CAROL, SENDER, CAROL.account)], "no part in it"),
    ("sender signs for another", BODY, [(ALICE, SENDER, BOB.account)], "no part in it"),
    ("payer signs for the sender", PAID, [ALICE_SIGNS, (CAROL, PAYER, ALICE.account)], "no part"),
    ("approver missing", REKEY, [ALICE_SIGNS], "exactly those that it needs"),
    ("approver not needed", BODY, [ALICE_SIGNS, BOB_APPROVES], "exactly those that it needs"),
    ("a second approver", REKEY, [ALICE_SIGNS, BOB_APPROVES, (CAROL, APPROVER, ALICE.account)],
     "exactly those that it needs"),
    ("another key approves", REKEY, [ALICE_SIGNS, (CAROL, APPROVER, ALICE.account)],
     "exactly those that it needs"),
    ("approves for itself", REKEY, [ALICE_SIGNS, (BOB, APPROVER, BOB.account)],
     "exactly those that it needs"),
    ("sponsor is no approver", CHAIN.body(ALICE, change_key(CAROL), payer=CAROL.account),
     [ALICE_SIGNS, CAROL_PAYS], "exactly those that it needs"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "who"), COMPLETE)
def test_the_signatures_that_it_needs_are_enough(body: Body, who: Any) -> None:
    prepared = prepare(entries_for(body, *who), CHAIN.registry)
    assert len(prepared.transaction.witness) == len(who)
    for key, message, signature in prepared.transaction.signatures:
        assert crypto.verify(key, message, signature)


@pytest.mark.parametrize(
    ("body", "who", "why"), [case[1:] for case in INCOMPLETE], ids=[case[0] for case in INCOMPLETE]
)
def test_too_few_and_superfluous_signatures_are_refused(body: Body, who: Any, why: str) -> None:
    with pytest.raises(BadSignature, match=why):
        prepare(entries_for(body, *who), CHAIN.registry)


def test_a_payer_who_is_the_sender_is_refused_so_that_one_payment_has_one_form() -> None:
    body = CHAIN.body(ALICE, payer=ALICE.account)
    who = ALICE_SIGNS, (ALICE, PAYER, ALICE.account)
    with pytest.raises(Malformed, match=r"body\.payer"):
        prepare(entries_for(body, *who), CHAIN.registry)


def test_a_signature_serves_one_role_account_network_and_body_only() -> None:
    """Who sponsors a fee must not find that he approved a payment, here or on another chain."""
    body = BODY.pack()
    right = signing_hash(BODY.genesis_hash, Role.SENDER, ALICE.account, body)
    others = {
        signing_hash(BODY.genesis_hash, Role.PAYER, ALICE.account, body),
        signing_hash(BODY.genesis_hash, Role.APPROVER, ALICE.account, body),
        signing_hash(BODY.genesis_hash, Role.SENDER, BOB.account, body),
        signing_hash(bytes(32), Role.SENDER, ALICE.account, body),
        signing_hash(BODY.genesis_hash, Role.SENDER, ALICE.account, BODY._replace(fee=9).pack()),
    }
    assert len(others | {right}) == 6
    entry = sign_entry(ALICE.seed, BODY.genesis_hash, Role.SENDER, ALICE.account, body)
    assert crypto.verify(ALICE.public, right, entry.signature)
    for other in sorted(others):
        assert not crypto.verify(ALICE.public, other, entry.signature)


# -- actions and their cost


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (RawAction("assets.transfer", []), "assets.transfer"),
        (RawAction("assets.transfer", ["CLAW", bytes(32), 1, 1]), "assets.transfer"),
        (RawAction("assets.transfer", [b"CLAW", bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["claw", bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["", bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["A" * 17, bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["1CLAW", bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["CL-AW", bytes(32), 1]), "assets.transfer.asset"),
        (RawAction("assets.transfer", ["CLAW", bytes(31), 1]), "assets.transfer.recipient"),
        (RawAction("assets.transfer", ["CLAW", None, 1]), "assets.transfer.recipient"),
        (RawAction("assets.transfer", ["CLAW", bytes(32), 0]), "assets.transfer.amount"),
        (RawAction("assets.transfer", ["CLAW", bytes(32), -1]), "assets.transfer.amount"),
        (RawAction("assets.transfer", ["CLAW", bytes(32), "1"]), "assets.transfer.amount"),
        (RawAction("assets.transfer", ["CLAW", bytes(32), True]), "assets.transfer.amount"),
        (RawAction("accounts.open", []), "accounts.open"),
        (RawAction("accounts.open", [bytes(33)]), "accounts.open.account"),
        (RawAction("accounts.open", [None]), "accounts.open.account"),
        (RawAction("accounts.changeKey", [bytes(32), 1]), "accounts.changeKey"),
        (RawAction("accounts.changeKey", ["x" * 32]), "accounts.changeKey.newKey"),
    ],
)
def test_each_field_of_an_action_is_exactly_typed(action: RawAction, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        prepare(CHAIN.tx(ALICE, action), CHAIN.registry)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "name", ["assets.melt", "assets", "kernel.transfer", "Assets.transfer", "{0:text}"]
)
def test_an_action_that_this_chain_lacks_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refused) as caught:
        prepare(CHAIN.tx(ALICE, RawAction(name, [])), CHAIN.registry)
    assert caught.value.rule == "kernel.action" and name in caught.value.reason


def test_cost_counts_signatures_bytes_and_actions_before_anything_runs() -> None:
    raw = CHAIN.tx(ALICE)
    one = prepare(raw, CHAIN.registry)
    transfer_cost = CHAIN.registry.actions["assets.transfer"].cost
    assert one.cost == COST_BASE + COST_SIGNATURE + transfer_cost + len(raw) // 16
    raw = CHAIN.tx(ALICE, transfer(BOB, 1), transfer(BOB, 2), payer=CAROL, memo=b"x" * 256)
    two = prepare(raw, CHAIN.registry)
    assert two.cost == COST_BASE + 2 * COST_SIGNATURE + 2 * transfer_cost + len(raw) // 16


def test_the_version_in_the_body_is_the_one_that_this_software_writes() -> None:
    assert VALID[0] == TX_VERSION == 1 and len(VALID) == len(FIELDS)
