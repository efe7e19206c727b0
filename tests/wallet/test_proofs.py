"""A stranger with the genesis hash alone can trust a valid proof, and catches every forged one."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import Role, decode_transaction
from clawpurse.wallet.builder import Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.proof_steps import leaf_in_list, place_fits
from clawpurse.wallet.proofs import HashedList, check_payment_proof
from clawpurse.wallet.receipts import payment_document, verify_payment
from tests.wallet.smallchain import REGISTRY, START_MS, Made, SmallChain


def pay(chain: SmallChain, sequence: int, amount: int = 1250, asset: str = "CLAW") -> bytes:
    body = build_body(
        chain.terms,
        REGISTRY,
        chain.alice.account,
        Slot(0, sequence),
        [transfer_action(asset, chain.bob.account, amount)],
        valid_until_ms=START_MS + 600_000,
        fee=1,
        memo="Invoice 7",
    )
    return sign_body(body, [(Role.SENDER, chain.alice)]).raw


@pytest.fixture
def chain() -> SmallChain:
    return SmallChain()


@pytest.fixture
def made(chain: SmallChain) -> Made:
    return chain.block(*[pay(chain, number, 1000 + number) for number in range(5)])


def test_every_payment_of_a_block_is_proven(chain: SmallChain, made: Made) -> None:
    for index in range(5):
        proven = check_payment_proof(made.proof(index), chain.genesis.hash)
        assert proven.receipt.pack() == made.receipts[index] and proven.index == index
        assert proven.body == decode_transaction(made.raws[index]).body
        assert [event.kind for event in proven.events] == ["assets.transferred"]
        assert (proven.signers, proven.authorities) == (3, 4)
        assert proven.header == made.header


def test_the_verdict_says_who_got_what(chain: SmallChain, made: Made) -> None:
    verdict = verify_payment(made.proof(3), chain.genesis.hash, REGISTRY)
    assert verdict.valid and verdict.height == 1 and verdict.step == ""
    assert verdict.reason.startswith("Pay 10.03 CLAW to claw1")
    assert verdict.reason.endswith("Final in block 1, 3 of 4 authorities signed.")


def test_a_proof_survives_json(chain: SmallChain, made: Made) -> None:
    document = json.loads(json.dumps(made.proof(2)))
    assert verify_payment(document, chain.genesis.hash, REGISTRY).valid


def test_a_payment_that_failed_is_proven_to_have_failed(chain: SmallChain) -> None:
    """Exit code 0 for a failed payment would hand over goods for nothing."""
    made = chain.block(pay(chain, 0, amount=99_999_99))
    verdict = verify_payment(made.proof(), chain.genesis.hash, REGISTRY)
    assert not verdict.valid and verdict.step == "outcome" and verdict.height == 1
    assert "failed: " in verdict.reason and "CLAW" in verdict.reason


def test_a_proof_follows_changes_of_the_authorities(chain: SmallChain) -> None:
    chain.change_authorities([bytes([number]) * 32 for number in (2, 3, 4, 5)])
    chain.change_authorities([bytes([number]) * 32 for number in (3, 4, 5, 6, 7)])
    made = chain.block(pay(chain, 0))
    certificate = chain.certify(made.header, 4).pack()
    good = made.proof(certificate=certificate)
    proven = check_payment_proof(good, chain.genesis.hash)
    assert (proven.header.height, proven.signers, proven.authorities) == (3, 4, 5)
    for changes, problem in (
        (chain.changes[:1], "header: block 3 was decided by another set"),
        (chain.changes[1:], "authorityChanges: header block 2 was decided by another set"),
        (chain.changes[::-1], "authorityChanges"),
        ([*chain.changes, chain.changes[1]], "authorityChanges: are not in ascending order"),
        (
            [chain.changes[0]._replace(next_authorities=chain.changes[1].next_authorities)],
            "authorityChanges: block 1 names another set",
        ),
        (
            [chain.changes[0], chain.changes[1]._replace(certificate=chain.changes[0].certificate)],
            "authorityChanges: certificate is not for block 2",
        ),
    ):
        with pytest.raises(Malformed, match=problem):
            check_payment_proof(
                made.proof(certificate=certificate, changes=changes), chain.genesis.hash
            )


def test_a_proof_of_another_network_is_refused(chain: SmallChain, made: Made) -> None:
    other = SmallChain(fee_min=1)
    assert verify_payment(made.proof(), other.genesis.hash, REGISTRY).step == "genesis"
    swapped = made.proof(genesis=other.genesis.packed)
    assert verify_payment(swapped, chain.genesis.hash, REGISTRY).step == "genesis"
    assert verify_payment(swapped, other.genesis.hash, REGISTRY).step == "header"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_a_quorum_decide_nothing(chain: SmallChain, made: Made, count: int) -> None:
    certificate = replace(
        chain.certify(made.header, 3),
        signers=chain.certify(made.header, max(count, 1)).signers if count else b"\x00",
        signatures=chain.certify(made.header, count).signatures if count else (),
    )
    verdict = verify_payment(
        made.proof(certificate=certificate.pack()), chain.genesis.hash, REGISTRY
    )
    assert verdict.step == "certificate" and "no quorum" in verdict.reason


def test_a_certificate_of_another_block_decides_nothing(chain: SmallChain, made: Made) -> None:
    other = replace(made.header, time_ms=made.header.time_ms + 1)
    stolen = chain.certify(other).pack()
    assert (
        verify_payment(made.proof(certificate=stolen), chain.genesis.hash, REGISTRY).step
        == "certificate"
    )
    forged = made.proof(header=other.pack())
    assert verify_payment(forged, chain.genesis.hash, REGISTRY).step == "certificate"


def test_a_receipt_that_is_not_in_the_block_is_refused(chain: SmallChain, made: Made) -> None:
    elsewhere = chain.block(pay(chain, 5, 77))
    forged = {**made.proof(0), "receipt": elsewhere.proof(0)["receipt"]}
    assert verify_payment(forged, chain.genesis.hash, REGISTRY).step == "receipt"


def test_the_transaction_of_another_payment_is_refused(chain: SmallChain, made: Made) -> None:
    forged = made.proof(0, transaction=made.raws[1])
    assert verify_payment(forged, chain.genesis.hash, REGISTRY).step == "body"


def test_events_of_another_payment_are_refused(chain: SmallChain, made: Made) -> None:
    first, second = made.proof(0), made.proof(1)
    for events, step in (
        ([], "events"),
        ([*first["events"], *second["events"]], "events"),
        (second["events"], "events"),
    ):
        forged = {**first, "events": events}
        assert verify_payment(forged, chain.genesis.hash, REGISTRY).step == step


def test_a_held_payment_is_not_shown_as_paid_by_events_of_its_neighbour(
    chain: SmallChain, made: Made
) -> None:
    """Receipt of one, events and index of another: a held payment would look like a paid one."""
    for mine in range(5):
        for other in range(5):
            theirs = made.proof(other)
            forged = {**made.proof(mine), "events": theirs["events"], "index": theirs["index"]}
            verdict = verify_payment(forged, chain.genesis.hash, REGISTRY)
            assert verdict.valid == (mine == other), (mine, other, verdict)


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65])
def test_a_path_fits_its_place_and_never_a_later_one(size: int) -> None:
    """Receipts then pin other events to earlier transactions, events pin them to later ones."""
    leaves = [b"%d" % number for number in range(size)]
    root, hashed = crypto.list_root(leaves), HashedList.of(leaves)
    for index in range(size):
        _, sides = leaf_in_list(hashed.leaf(index), "x", 10, root)
        fitting = [place for place in range(size) if place_fits(place, sides)]
        assert fitting[-1] == index
        assert fitting == [index] or size & (size - 1)


def test_one_event_does_not_stand_for_two(chain: SmallChain) -> None:
    """Two transfers of one amount in one transaction are two events, at two places."""
    actions = [transfer_action("CLAW", chain.bob.account, 5)] * 2
    body = build_body(
        chain.terms,
        REGISTRY,
        chain.alice.account,
        Slot(0, 0),
        actions,
        valid_until_ms=START_MS + 600_000,
        fee=0,
    )
    made = chain.block(sign_body(body, [(Role.SENDER, chain.alice)]).raw)
    proof = made.proof()
    assert len(check_payment_proof(proof, chain.genesis.hash).events) == 2
    for events in (proof["events"][::-1], proof["events"][:1] * 2):
        forged = {**proof, "events": events}
        assert verify_payment(forged, chain.genesis.hash, REGISTRY).step == "events"


@settings(max_examples=60)
@given(st.integers(1, 70), st.data())
def test_paths_lead_to_the_root_from_every_place(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root = crypto.list_root(leaves)
    leaf, sides = leaf_in_list(HashedList.of(leaves).leaf(index), "x", 10, root)
    assert leaf == leaves[index]
    before = index - 1
    if before >= 0:
        _, other = leaf_in_list(HashedList.of(leaves).leaf(before), "x", 10, root)
        assert other[::-1] < sides[::-1]


STEPS = {
    "genesis": "genesis",
    "header": "header certificate",
    "certificate": "certificate",
    "body": "body",
    "receipt.leaf": "receipt",
    "receipt.path": "receipt",
    "receipt.path.0": "receipt",
    "receipt.path.0.0": "receipt",
    "receipt.path.0.1": "receipt",
    "index": "index",
    "events": "events",
    "events.0.leaf": "events",
    "events.0.path.1": "events",
    "events.0.path.1.0": "events",
    "version": "proof",
}


def change(document: Any, path: str, value: Any) -> None:
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for parent in parents:
        document = document[parent]
    document[last] = value(document[last]) if callable(value) else value


def wrong(old: Any) -> Any:
    match old:
        case "left" | "right":
            return "left" if old == "right" else "right"
        case str():
            return old[:-1] + ("0" if old[-1] != "0" else "1")
        case int():
            return old + 1
    return old[1:]


@pytest.mark.parametrize(("path", "step"), STEPS.items())
def test_each_changed_part_is_found_at_its_own_step(
    chain: SmallChain, made: Made, path: str, step: str
) -> None:
    values: tuple[Any, ...] = (wrong, None, "0x", "0xzz", -1, [], {}, True)
    for value in values:
        proof = copy.deepcopy(made.proof(2))
        change(proof, path, value)
        verdict = verify_payment(proof, chain.genesis.hash, REGISTRY)
        assert not verdict.valid and verdict.step in step.split(), (value, verdict)


@pytest.mark.parametrize("name", ["version", "genesis", "authorityChanges", "receipt", "events"])
def test_a_missing_part_is_named(chain: SmallChain, made: Made, name: str) -> None:
    proof = made.proof()
    del proof[name]
    verdict = verify_payment(proof, chain.genesis.hash, REGISTRY)
    assert verdict.step == "proof" and name in verdict.reason


@pytest.mark.parametrize("document", [None, 5, "x", [], {}, {"proof": None}, {"proof": []}])
def test_anything_else_is_no_proof(chain: SmallChain, document: object) -> None:
    verdict = verify_payment(document, chain.genesis.hash, REGISTRY)
    assert not verdict.valid and verdict.step == "proof"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_single_changed_character_makes_a_valid_proof_of_something_else(
    chain: SmallChain, made: Made, data: st.DataObject
) -> None:
    text = json.dumps(made.proof(1))
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from('0123456789abcdef"{}[],:x '))
    changed = text[:place] + char + text[place + 1 :]
    try:
        proof = json.loads(changed)
    except ValueError:
        return
    if proof == made.proof(1):
        return
    try:
        proven = check_payment_proof(proof, chain.genesis.hash)
    except Malformed:
        return
    # Members that the format does not know may be there; what is proven is the same.
    assert proven == check_payment_proof(made.proof(1), chain.genesis.hash)


def document(chain: SmallChain, made: Made, index: int = 1) -> dict[str, Any]:
    proof = made.proof(index)
    proven = check_payment_proof(proof, chain.genesis.hash)
    return json.loads(json.dumps(payment_document(proof, proven, REGISTRY)))  # type: ignore[no-any-return]


def test_the_document_of_a_payment_says_what_its_proof_proves(
    chain: SmallChain, made: Made
) -> None:
    written = document(chain, made)
    assert {name: written[name] for name in ("status", "height", "index", "fee")} == {
        "status": "final",
        "height": 1,
        "index": 1,
        "fee": "1",
    }
    receipt = written["receipt"]
    assert receipt["code"] == "ok" and receipt["time"] == "2027-01-15T08:00:01.000Z"
    assert receipt["events"][0]["data"] == {"asset": "CLAW", "amount": "1001"}
    verdict = verify_payment(written, chain.genesis.hash, REGISTRY)
    assert verdict.valid and verdict.tx_id is not None
    assert written["txId"] == "0x" + verdict.tx_id.hex()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("txId", "0x" + "00" * 32),
        ("status", "pending"),
        ("height", 2),
        ("height", True),
        ("height", "1"),
        ("index", 0),
        ("fee", "0"),
        ("receipt.txId", "0x00"),
        ("receipt.code", "insufficientFunds"),
        ("receipt.height", 7),
        ("receipt.time", "2020-01-01T00:00:00.000Z"),
        ("receipt.fee", "2"),
        ("receipt.events.0.data.amount", "1000000"),
        ("receipt.events.0.accounts.1", "claw1x"),
        ("receipt.events", []),
        ("receipt", None),
    ],
)
def test_an_edited_document_contradicts_its_proof(
    chain: SmallChain, made: Made, path: str, value: object
) -> None:
    """The proof alone would still hold; people read what stands before it."""
    written = document(chain, made)
    change(written, path, value)
    verdict = verify_payment(written, chain.genesis.hash, REGISTRY)
    assert not verdict.valid and verdict.step == "document" and path.split(".")[0] in verdict.reason


def test_members_of_a_later_version_do_not_spoil_a_document(chain: SmallChain, made: Made) -> None:
    written = document(chain, made)
    written["later"] = written["receipt"]["later"] = {"x": 1}
    written["receipt"]["reason"] = "other words"
    assert verify_payment(written, chain.genesis.hash, REGISTRY).valid


def test_a_list_hashed_once_gives_the_paths_of_the_ledger() -> None:
    """A node that proves many receipts of a block must not give paths that lead elsewhere."""
    for size in range(1, 40):
        leaves = [bytes([number]) * 5 for number in range(size)]
        hashed = HashedList.of(leaves)
        for index, leaf in enumerate(leaves):
            entry = hashed.leaf(index)
            path = [bytes.fromhex(sibling.removeprefix("0x")) for _, sibling in entry["path"]]
            assert path == crypto.list_path(leaves, index)
            assert entry["leaf"] == "0x" + leaf.hex()
