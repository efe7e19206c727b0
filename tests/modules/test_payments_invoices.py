"""Invoices: paid once, exactly, in time; a stolen id buys nothing.

If these failed, a shop would be paid twice or not at all, or a thief would get what others paid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.redeeming import (
    PREIMAGE_BYTES_MAX,
    REDEMPTION_BYTES,
    Claim,
    redeems,
    redemption_bytes,
)
from clawpurse.ledger.transition import prepare
from clawpurse.modules.payments import invoices
from clawpurse.modules.payments.invoices import State, invoice_key
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, START_MS, Key
from tests.modules.payments_world import (
    HELD_THEN_PAID,
    HELD_THEN_RETURNED,
    HOUR_MS,
    World,
    act,
    named,
    told,
)

SECRET = b"open sesame"
LOCK = hashlib.sha256(SECRET).digest()
TRAVEL = b"t" * 32
EXPIRES = START_MS + HOUR_MS
KEPT_UNTIL = EXPIRES + 2 * DAY_MS


def terms(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "asset": "CLAW",
        "amount": 300,
        "payer": None,
        "lock": None,
        "purpose": b"order 7",
        "expires": EXPIRES,
        "keep": 2,
    }
    assert fields.keys() >= changes.keys()
    return list({**fields, **changes}.values())


def created(world: World, **changes: Any) -> bytes:
    result = world.do(BOB, "createInvoice", *terms(**changes))
    return bytes(named(told(result, "payments.invoiceCreated"))["invoiceId"])


def state_of(world: World, invoice_id: bytes) -> str:
    return State(world.query("payments.invoice", invoice_id).state).label


def nothing_left(world: World) -> None:
    assert world.tree() == {} and world.queue() == 0


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_paid_once(world: World) -> None:
    invoice_id = created(world)
    assert state_of(world, invoice_id) == "open"
    result = world.do(ALICE, "payInvoice", invoice_id, 300, TRAVEL)
    assert named(told(result, "payments.invoicePaid")) == {
        "asset": "CLAW",
        "amount": 300,
        "invoiceId": invoice_id,
        "purpose": b"order 7",
    }
    assert world.balance(BOB) == 10_300
    invoice = world.query("payments.invoice", invoice_id)
    assert (invoice.state, invoice.paid_by) == (State.PAID, ALICE.account)
    assert invoice.ended_ms == world.time_ms
    for key in (ALICE, CAROL):
        receipt = world.refused(key, "payInvoice", invoice_id, 300, None)
        assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.invoicePaid")
    for key in (ALICE, BOB):
        assert world.query("payments.objects", key.account, None, 9) == [("invoice", invoice_id)]


def test_its_id_is_its_terms_so_nobody_pays_for_something_else(world: World) -> None:
    invoice_id = created(world, payer=ALICE, lock=LOCK)
    found = world.query("payments.invoice", invoice_id).terms
    assert found.id == invoice_id
    for change in (
        {"payee": CAROL.account},
        {"amount": 301},
        {"asset": "EUR"},
        {"payer": None},
        {"preimage_hash": None},
        {"purpose": b"order 8"},
        {"expires_ms": EXPIRES + 1},
    ):
        assert found._replace(**change).id != invoice_id
    assert created(world, payer=ALICE, lock=LOCK) != invoice_id, "the same again is another one"


@pytest.mark.parametrize("amount", [1, 299, 301])
def test_another_amount_pays_nothing(world: World, amount: int) -> None:
    receipt = world.refused(ALICE, "payInvoice", created(world), amount, None)
    assert (receipt.code, receipt.rule) == (Code.MALFORMED, "payments.invoiceAmount")
    assert receipt.facts[1:] == (300, amount, "CLAW")


def test_only_its_payer_pays_what_is_bound_to_one(world: World) -> None:
    invoice_id = created(world, payer=ALICE)
    receipt = world.refused(CAROL, "payInvoice", invoice_id, 300, None)
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "payments.party")
    assert world.refused(BOB, "payInvoice", invoice_id, 300, None).rule == "payments.party"
    assert world.query("payments.objects", ALICE.account, None, 9) == [("invoice", invoice_id)]
    world.do(ALICE, "payInvoice", invoice_id, 300, None)
    assert state_of(world, invoice_id) == "paid"


def test_late_is_late_and_takes_nothing(world: World) -> None:
    invoice_id = created(world)
    result = world.wait_until(EXPIRES)
    assert named(told(result, "payments.invoiceEnded"))["outcome"] == "expired"
    assert state_of(world, invoice_id) == "expired"
    receipt = world.refused(ALICE, "payInvoice", invoice_id, 300, None)
    assert (receipt.code, receipt.rule) == (Code.EXPIRED, "payments.late")
    assert world.balance(ALICE) == 1_000_000


def test_late_is_late_even_when_the_queue_is_too() -> None:
    world = World(params={"due_per_block_max": 1})
    ids = [created(world) for _ in range(2)]
    execution = world.execution(EXPIRES - world.time_ms)
    books = execution._books
    (left,) = [
        one
        for one in ids
        if invoices.Invoice.unpack(books.get("payments", invoice_key(one)) or b"").state
        == State.OPEN
    ]
    pay = act("payInvoice", left, 300, None)
    raw = world.tx(ALICE, pay, valid_until_ms=EXPIRES + HOUR_MS)
    execution.apply(prepare(raw, world.registry))
    (receipt,) = execution.finish().receipts
    assert (receipt.code, receipt.rule) == (Code.EXPIRED, "payments.late")


@pytest.mark.parametrize("keep", [0, 2])
@pytest.mark.parametrize("fate", ["paid", "expired", "cancelled"])
def test_it_is_kept_as_long_as_was_said_and_then_forgotten(
    world: World, fate: str, keep: int
) -> None:
    invoice_id = created(world, keep=keep)
    if fate == "paid":
        world.do(ALICE, "payInvoice", invoice_id, 300, None)
    elif fate == "cancelled":
        world.do(BOB, "cancelInvoice", invoice_id)
    world.wait_until(EXPIRES)
    if keep:
        assert state_of(world, invoice_id) == fate
        world.wait_until(KEPT_UNTIL - 1)
        assert state_of(world, invoice_id) == fate
        world.wait_until(KEPT_UNTIL)
    nothing_left(world)
    assert world.refused(ALICE, "payInvoice", invoice_id, 300, None).code == Code.NOT_FOUND


def test_its_payee_cancels_it(world: World) -> None:
    invoice_id = created(world, payer=ALICE)
    for key in (ALICE, CAROL):
        assert world.refused(key, "cancelInvoice", invoice_id).rule == "payments.party"
    world.do(BOB, "cancelInvoice", invoice_id)
    assert state_of(world, invoice_id) == "cancelled"
    receipt = world.refused(ALICE, "payInvoice", invoice_id, 300, None)
    assert (receipt.code, receipt.rule) == (Code.EXPIRED, "payments.invoiceCancelled")
    assert world.refused(BOB, "cancelInvoice", invoice_id).rule == "payments.invoiceCancelled"


def test_what_is_paid_or_unknown_cannot_be_cancelled(world: World) -> None:
    invoice_id = created(world)
    world.do(ALICE, "payInvoice", invoice_id, 300, None)
    assert world.refused(BOB, "cancelInvoice", invoice_id).rule == "payments.invoicePaid"
    for name, rest in (("cancelInvoice", ()), ("payInvoice", (1, None))):
        assert world.refused(BOB, name, b"?" * 32, *rest).rule == "payments.missing"


@pytest.mark.parametrize(
    ("changes", "rule", "code"),
    [
        ({"asset": "GBP"}, "kernel.asset", Code.NOT_FOUND),
        ({"expires": START_MS}, "payments.span", Code.MALFORMED),
        ({"expires": START_MS + 367 * DAY_MS}, "payments.span", Code.MALFORMED),
        ({"payer": BOB}, "payments.self", Code.MALFORMED),
        ({"payer": Key("nobody")}, "kernel.sender", Code.NOT_FOUND),
    ],
)
def test_an_invoice_that_nobody_could_pay_is_refused(
    world: World, changes: dict[str, Any], rule: str, code: Code
) -> None:
    receipt = world.refused(BOB, "createInvoice", *terms(**changes))
    assert (receipt.rule, receipt.code) == (rule, code)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (terms(amount=0), "amount"),
        (terms(payer=b"x"), "payer"),
        (terms(lock=b"x"), "preimageHash"),
        (terms(purpose=b"x" * 65), "purpose"),
        (terms(purpose="x"), "purpose"),
        (terms(keep=93), "keepDays"),
        (terms(expires=-1), "expires"),
        (terms()[:-1], "createInvoice"),
    ],
)
def test_what_no_invoice_can_be_is_malformed(values: Sequence[Any], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        invoices.CREATE.read(values)
    assert field in caught.value.field


def test_the_payer_lacks_the_money(world: World) -> None:
    invoice_id = created(world, amount=20_000)
    assert world.refused(CAROL, "payInvoice", invoice_id, 20_000, None).rule == "kernel.balance"
    assert state_of(world, invoice_id) == "open"


# -- while a rule holds the payment


def held(world: World, amount: int, **changes: Any) -> tuple[bytes, bytes]:
    invoice_id = created(world, amount=amount, **changes)
    result = world.do(ALICE, "payInvoice", invoice_id, amount, None)
    data = named(told(result, "payments.invoiceHeld"))
    assert data["invoiceId"] == invoice_id
    return invoice_id, data["holdId"]


def test_a_held_payment_counts_when_it_is_released(world: World) -> None:
    invoice_id, hold_id = held(world, HELD_THEN_PAID)
    assert state_of(world, invoice_id) == "held"
    for key, name, rest in (
        (CAROL, "payInvoice", (HELD_THEN_PAID, None)),
        (BOB, "cancelInvoice", ()),
    ):
        receipt = world.refused(key, name, invoice_id, *rest)
        assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "payments.invoiceHeld")
    for officer in (DAVE, ERIN):
        result = world.do(officer, "voteHold", hold_id, 1, "checked")
    assert told(result, "payments.invoicePaid")
    assert state_of(world, invoice_id) == "paid" and world.balance(BOB) == 10_500
    world.wait_until(KEPT_UNTIL)
    world.wait_until(KEPT_UNTIL + 1_000)
    nothing_left(world)


def test_a_held_payment_that_returns_opens_the_invoice_again(world: World) -> None:
    invoice_id, hold_id = held(world, HELD_THEN_RETURNED)
    for officer in (DAVE, ERIN):
        result = world.do(officer, "voteHold", hold_id, 0, "unclear")
    assert told(result, "payments.invoiceOpened")
    assert state_of(world, invoice_id) == "open"
    assert world.query("payments.objects", ALICE.account, None, 9) == []
    assert world.query("payments.invoice", invoice_id).paid_by is None
    world.do(BOB, "cancelInvoice", invoice_id)


@pytest.mark.parametrize(
    ("amount", "fate"), [(HELD_THEN_PAID, "paid"), (HELD_THEN_RETURNED, "expired")]
)
def test_its_time_comes_while_its_payment_is_held(world: World, amount: int, fate: str) -> None:
    invoice_id, _ = held(world, amount)
    world.wait_until(EXPIRES)
    assert state_of(world, invoice_id) == "held"
    world.wait_until(START_MS + 2 * DAY_MS)  # The rule's hold ends by itself after a day.
    assert state_of(world, invoice_id) == fate
    world.wait_until(KEPT_UNTIL)
    nothing_left(world)


def test_it_was_to_be_forgotten_before_its_payment_was_decided_on(world: World) -> None:
    held(world, HELD_THEN_PAID, keep=0)
    world.wait_until(EXPIRES)
    world.wait_until(START_MS + 2 * DAY_MS)
    world.wait_until(START_MS + 2 * DAY_MS + 1)
    nothing_left(world)


@pytest.mark.parametrize("parts", [(500,), (200, 300)])
def test_a_payment_that_is_clawed_back_never_was(world: World, parts: tuple[int, ...]) -> None:
    invoice_id, hold_id = held(world, HELD_THEN_PAID)
    for part in parts:
        world.seize(ALICE, part, hold_id)
    assert state_of(world, invoice_id) == "open"


def test_what_a_clawback_left_of_a_payment_does_not_pay_it(world: World) -> None:
    invoice_id, hold_id = held(world, HELD_THEN_PAID)
    world.seize(ALICE, 1, hold_id)
    for officer in (DAVE, ERIN):
        world.do(officer, "voteHold", hold_id, 1, "checked")
    assert state_of(world, invoice_id) == "open"


# -- who may have what it bought


def test_a_stolen_id_buys_nothing(world: World) -> None:
    """A thief knows all that is public: the id, that it is paid, by whom, and what for."""
    genesis, request = world.genesis.hash, b"q" * 32
    invoice_id = created(world)
    world.do(ALICE, "payInvoice", invoice_id, 300, None)
    message = redemption_bytes(genesis, invoice_id, request)
    assert len(message) == REDEMPTION_BYTES
    good = Claim(request=request, signature=crypto.sign(ALICE.seed, message))
    assert redeems(genesis, invoice_id, None, ALICE.public, good)
    stolen = crypto.sign(CAROL.seed, message)
    for claim in (
        Claim(),
        Claim(preimage=SECRET),
        Claim(request=request, signature=stolen),
        good._replace(request=b"p" * 32),
        Claim(request=request, signature=crypto.sign(ALICE.seed, b"")),
    ):
        assert not redeems(genesis, invoice_id, None, ALICE.public, claim)
    assert not redeems(b"g" * 32, invoice_id, None, ALICE.public, good), "another network"
    assert not redeems(genesis, b"i" * 32, None, ALICE.public, good), "another invoice"
    assert not redeems(genesis, invoice_id, None, None, good), "no key signs for it alone"


def test_only_the_secret_redeems_what_names_one() -> None:
    genesis, invoice_id = b"g" * 32, b"i" * 32
    assert redeems(genesis, invoice_id, LOCK, None, Claim(preimage=SECRET))
    signature = crypto.sign(ALICE.seed, redemption_bytes(genesis, invoice_id, b"q" * 32))
    payer = Claim(request=b"q" * 32, signature=signature)
    for claim in (payer, Claim(), Claim(preimage=b""), Claim(preimage=SECRET + b"!")):
        assert not redeems(genesis, invoice_id, LOCK, ALICE.public, claim)
    long = b"s" * (PREIMAGE_BYTES_MAX + 1)
    lock = hashlib.sha256(long).digest()
    assert not redeems(genesis, invoice_id, lock, None, Claim(preimage=long))


def test_sentences_say_how_much_for_what() -> None:
    words = Words(lambda account: account[:2].hex(), lambda asset, amount: f"{amount} {asset}")
    for values, part in (
        (terms(), 'Ask for 300 CLAW before 2027-01-15T09:00:00.000Z. Purpose "order 7"'),
        (terms(payer=ALICE.account, purpose=b"\xff"), "Purpose 0xff"),
    ):
        assert part in invoices.CREATE.words(
            invoices.CREATE.named(invoices.CREATE.read(values)), words
        )
    cases: Any = (
        (invoices.PAY, [b"i" * 32, 300, None]),
        (invoices.CANCEL, [b"i" * 32]),
    )
    for action, values in cases:
        assert "69" * 32 in action.words(action.named(action.read(values)), words)
