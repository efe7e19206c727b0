"""What a node says of an account is believed for the genesis hash alone, and no forgery is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.kernel.records import account_key, balance_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.state import StateStore
from clawpurse.modules.assets.records import get_asset
from clawpurse.wallet.state_documents import (
    account_document,
    balance_rows,
    balances_document,
    certificate_json,
    genesis_rows,
    header_json,
    statement_document,
)
from clawpurse.wallet.state_proofs import (
    KINDS,
    ProvableBlock,
    ProvableValue,
    StateKey,
    build_state_proof,
    check_state_proof,
    keys_of_account,
    keys_of_balances,
)
from clawpurse.wallet.verdicts import Verdict, verify_document
from tests.wallet.smallchain import REGISTRY, Made, SmallChain, _State
from tests.wallet.test_proofs import pay

NOBODY = b"\x13" * 32
ASSETS = ("CLAW", "EUR")
Json = dict[str, Any]


class Proving:
    """A small chain of two blocks, and what an honest node would answer of it."""

    def __init__(self) -> None:
        self.chain = SmallChain()
        self.account = self.chain.alice.account
        self.made: list[Made] = []
        self.records: list[dict[tuple[str, bytes], bytes]] = []
        for raw in (pay(self.chain, 0), pay(self.chain, 1, 250, "EUR")):
            self.made.append(self.chain.block(raw))
            self.records.append(dict(self.chain.state))

    def state(self, height: int) -> _State:
        return _State(self.records[height - 1])

    def block(
        self,
        height: int,
        keys: tuple[StateKey, ...],
        replaced: dict[StateKey, bytes] | None = None,
    ) -> ProvableBlock:
        """A block certified over its real state; `replaced` are records that it has instead."""
        records = dict(self.records[height - 1])
        for place, value in (replaced or {}).items():
            records[place] = value
        store, batch = MemoryStore(), Batch()
        tree = StateStore.open(store, REGISTRY.trees, None)
        update = tree.apply(dict(records)).finish()
        tree.write(update, height, batch)
        store.write(batch, sync=True)
        tree.install(update, height)
        header = replace(self.made[height - 1].header, state_root=tree.state_root)
        values = [
            ProvableValue(module, key, records.get((module, key)), tree.prove(module, key))
            for module, key in keys
        ]
        return ProvableBlock(header.pack(), self.certify(header), values)

    def certify(self, header: Header) -> bytes:
        return self.chain.certify(header, len(self.chain.seeds) - 1).pack()

    def bundle(self, kind: str, *blocks: ProvableBlock) -> Json:
        genesis = self.chain.genesis.packed
        return build_state_proof(kind, genesis=genesis, changes=self.chain.changes, blocks=blocks)

    def rows(self, height: int) -> list[Json]:
        state = self.state(height)
        assets = [asset for name in ASSETS if (asset := get_asset(state, name))]
        return balance_rows(state, self.account, assets)

    def answer(self, kind: str) -> Json:
        """An answer with `prove`, as a node gives it."""
        keys = keys_of_balances(self.account, ASSETS)
        if kind == "state":
            block = self.block(2, (StateKey(KERNEL, account_key(NOBODY)),))
            bundle = self.bundle(kind, block)
            header = self.header(bundle)
            shown = bundle["blocks"][0]
            raw = bytes.fromhex(shown["certificate"][2:])
            about = {"header": header_json(header), "certificate": certificate_json(raw)}
            return {**shown["values"][0], **about, "bundle": bundle}
        if kind == "account":
            shown = account_document(self.state(2), self.account, 2)
            assert shown is not None
            shown["quota"] |= {"max": 5, "windowMs": 1000}
            proof = self.bundle(kind, self.block(2, keys_of_account(self.account)))
        elif kind == "balances":
            shown = balances_document(self.account, self.rows(2), 2)
            proof = self.bundle(kind, self.block(2, keys))
        else:
            shown = statement_document(self.account, (2, 2), self.rows(1), self.rows(2))
            shown |= {"entries": [], "nextCursor": None}
            proof = self.bundle(kind, self.block(1, keys), self.block(2, keys))
        return {**shown, "proof": proof}

    def header(self, bundle: Json) -> Any:
        return check_state_proof(bundle, self.chain.genesis.hash).last.header

    def judge(self, document: object) -> Verdict:
        return verify_document(document, self.chain.genesis.hash, REGISTRY)


@pytest.fixture(scope="module")
def proving() -> Proving:
    return Proving()


def bundle_of(answer: Json) -> Json:
    found = answer.get("bundle", answer["proof"])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_proven_whole_and_alone(proving: Proving, kind: str) -> None:
    answer = proving.answer(kind)
    for document in (answer, bundle_of(answer), json.loads(json.dumps(answer))):
        verdict = proving.judge(document)
        assert verdict.valid, verdict.reason
        assert (verdict.kind, verdict.height, verdict.step) == (kind, 2, "")
        assert "3 of 4 authorities signed" in verdict.reason and verdict.proved


def test_what_is_proven_is_said_in_words(proving: Proving) -> None:
    said = {kind: "\n".join(proving.judge(proving.answer(kind)).proved) for kind in KINDS}
    assert "After block 2 there was no account claw1" in said["state"]
    assert "lane 0: 2" in said["account"]
    # 100,000.00 and 500.000 at the start, less 12.50 and two fees of 0.01, and 0.250.
    assert "987.48 CLAW" in said["balances"] and "499.750 EUR" in said["balances"]
    assert "Before block 2: 987.49 CLAW; after block 2: 987.48 CLAW." in said["statement"]
    assert "The entries are not proven here" in said["statement"]


def test_a_statement_from_the_first_block_opens_with_the_genesis(proving: Proving) -> None:
    """Nobody certified the state before block 1, and the genesis hash says what it was."""
    keys = keys_of_balances(proving.account, ASSETS)
    opening = genesis_rows(proving.chain.genesis, proving.account)
    proof = proving.bundle("statement", proving.block(2, keys))
    shown = statement_document(proving.account, (1, 2), opening, proving.rows(2))
    assert [row["opening"] for row in shown["balances"]] == ["100000", "500000"]
    assert proving.judge({**shown, "proof": proof}).valid
    shown["balances"][0]["opening"] = "100001"
    assert proving.judge({**shown, "proof": proof}).step == "document"


def test_a_new_set_of_authorities_is_followed_between_the_ends_of_a_statement() -> None:
    proving = Proving()
    chain, keys = proving.chain, keys_of_balances(proving.account, ASSETS)
    first = proving.block(2, keys)
    chain.change_authorities([bytes([number]) * 32 for number in range(2, 7)])
    proving.made += [proving.made[-1], chain.block()]
    proving.records += [proving.records[-1], dict(chain.state)]
    proof = proving.bundle("statement", first, proving.block(4, keys))
    verdict = proving.judge(proof)
    assert verdict.valid and "4 of 5 authorities" in verdict.reason, verdict.reason
    for changes, step in (([], "header"), ([*proof["authorityChanges"]] * 2, "authorityChanges")):
        assert proving.judge({**proof, "authorityChanges": changes}).step == step
    alone = proving.bundle("balances", first)
    assert proving.judge(alone).step == "authorityChanges", "changes after it prove nothing"


def test_answers_without_a_bundle_prove_nothing(proving: Proving) -> None:
    answer = proving.answer("state")
    del answer["bundle"]
    verdict = proving.judge(answer)
    assert not verdict.valid and "ask with prove" in verdict.reason


def test_a_proof_of_one_thing_is_no_proof_of_another(proving: Proving) -> None:
    """The right value of another key, another account, another height, another kind."""
    record = StateKey(KERNEL, account_key(proving.account))
    keys = keys_of_balances(proving.account, ASSETS)
    other = keys_of_balances(proving.chain.bob.account, ASSETS)
    cases = {
        "two values": ("state", (record, keys[0])),
        "no value": ("state", ()),
        "no account": ("account", keys_of_account(NOBODY)),
        "of an asset": ("account", keys[:1]),
        "two accounts": ("account", (record, *keys_of_account(proving.chain.bob.account))),
        "half a pair": ("balances", keys[:3]),
        "no native balance": ("balances", keys[2:]),
        "of two people": ("balances", (*keys[:2], *other[2:])),
        "in another order": ("balances", keys[::-1]),
        "nothing": ("balances", ()),
        "a key of nothing": ("balances", (StateKey("assets", b"a\xff"), record)),
    }
    for name, (kind, wanted) in cases.items():
        verdict = proving.judge(proving.bundle(kind, proving.block(2, wanted)))
        assert (verdict.valid, verdict.step) == (False, "values"), name
    ends = proving.block(2, keys), proving.block(1, keys)
    assert proving.judge(proving.bundle("statement", *ends)).step == "header"
    ends = proving.block(1, keys), proving.block(2, keys[:2])
    assert proving.judge(proving.bundle("statement", *ends)).step == "values"
    assert proving.judge(proving.bundle("balances", *ends)).step == "proof"
    assert proving.judge(proving.bundle("other", ends[0])).step == "proof"
    assert proving.judge(proving.bundle("state")).step == "proof"


def test_an_asset_that_an_account_has_nothing_of_is_proven_to_be_none(proving: Proving) -> None:
    """Absence is proven, and an answer that shows a balance there is refused."""
    account = proving.chain.bob.account
    missing = {StateKey(KERNEL, balance_key(account, "EUR")): b""}
    keys = keys_of_balances(account, ASSETS)
    empty = {**proving.records[1]}
    del empty[next(iter(missing))]
    proving.records.append(empty)
    proving.made.append(proving.made[-1])
    try:
        bundle = proving.bundle("balances", proving.block(3, keys))
        assert bundle["blocks"][0]["values"][3]["value"] is None
        verdict = proving.judge(bundle)
        assert verdict.valid and not any("EUR" in line for line in verdict.proved)
        shown = balances_document(account, proving.rows(2), 2)
        assert proving.judge({**shown, "proof": bundle}).step == "document"
    finally:
        del proving.records[-1], proving.made[-1]


def test_records_of_later_software_are_not_misread(proving: Proving) -> None:
    key = keys_of_account(proving.account)[0]
    wire = codec.unpack(proving.records[1][key], size_max=1_000)
    assert isinstance(wire, list)
    for later in (codec.pack([2, *wire[1:]]), codec.pack([*wire, 0]), codec.pack([1])):
        bundle = proving.bundle("account", proving.block(2, (key,), {key: later}))
        verdict = proving.judge(bundle)
        assert verdict.step == "values" and "does not know" in verdict.reason


@pytest.mark.parametrize("kind", KINDS)
def test_another_network_s_proof_is_refused(proving: Proving, kind: str) -> None:
    other = SmallChain(fee_min=1).genesis
    answer = proving.answer(kind)
    assert verify_document(answer, other.hash, REGISTRY).step == "genesis"
    forged = {**bundle_of(answer), "genesis": "0x" + other.packed.hex()}
    assert verify_document(forged, other.hash, REGISTRY).step == "header"


def test_a_proof_of_absence_tells_of_a_neighbour_only_what_is_true(proving: Proving) -> None:
    """An empty place is empty for many keys; each verdict names the key that it is about."""
    answer, keys = proving.answer("state"), set()
    held = [key[1:] for (tree, key) in proving.records[1] if tree == KERNEL and key[:1] == b"a"]
    for number in range(256):
        account = bytes([number]) * 32
        bundle = put(answer["bundle"], ("blocks", 0, "values", 0, "key"), "0x61" + account.hex())
        verdict = proving.judge(bundle)
        if verdict.valid:
            assert account_text(account) in verdict.proved[0]
            keys.add(account)
            assert account not in held
    for account in held:
        path = ("blocks", 0, "values", 0, "key")
        assert not proving.judge(put(answer["bundle"], path, "0x61" + account.hex())).valid
    assert NOBODY in keys


# -- hostile input


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, the value itself included."""
    yield path
    if isinstance(value, dict | list):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in list(named):
            yield from places(inner, (*path, name))


def put(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy of a JSON value with something else at one place."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = new
    return changed


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


# What is not of the state, and is documented as not proven.
UNPROVEN = {("quota", "max"), ("quota", "windowMs"), ("entries",), ("nextCursor",)}
ODD: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "0x", "0x00", "claw1", [], [[]], {}, {"a": 1}]


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_of_an_answer_can_be_another(proving: Proving, kind: str) -> None:
    """Every member, at every depth, replaced by every odd value: a reason, never a traceback."""
    answer = proving.answer(kind)
    for path in places(answer):
        if path in UNPROVEN:
            continue
        for odd in ODD:
            if at(answer, path) == odd and type(at(answer, path)) is type(odd):
                continue
            verdict = proving.judge(put(answer, path, odd))
            assert not verdict.valid, (path, odd)
            assert verdict.reason and verdict.step and verdict.proved == ()


@pytest.mark.parametrize("kind", KINDS)
def test_no_member_of_an_answer_can_be_left_out(proving: Proving, kind: str) -> None:
    answer = proving.answer(kind)
    for path in places(answer):
        if not path or path in UNPROVEN or path == ("proof",) or path == ("bundle",):
            continue
        changed = copy.deepcopy(answer)
        del at(changed, path[:-1])[path[-1]]
        verdict = proving.judge(changed)
        assert not verdict.valid and verdict.step, path


def test_no_byte_of_an_answer_can_be_another(proving: Proving) -> None:
    """Each byte of every hexadecimal text of an answer changed, one at a time."""
    answer = proving.answer("state")
    for path in places(answer):
        text = at(answer, path)
        if not isinstance(text, str) or not text.startswith("0x"):
            continue
        for number in range(2, len(text), 2):
            flipped = f"{int(text[number : number + 2], 16) ^ 1:02x}"
            changed = put(answer, path, text[:number] + flipped + text[number + 2 :])
            verdict = proving.judge(changed)
            assert not verdict.valid and verdict.step, (path, number)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_bytes_of_every_kind_changed_at_random_are_found(
    proving: Proving, data: st.DataObject
) -> None:
    answer = proving.answer(data.draw(st.sampled_from(KINDS)))
    texts = [path for path in places(answer) if str(at(answer, path)).startswith("0x")]
    path = data.draw(st.sampled_from(texts))
    octets = bytearray.fromhex(at(answer, path)[2:])
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    assert not proving.judge(put(answer, path, "0x" + octets.hex())).valid


@settings(max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["proof", "bundle", "kind", "version", "blocks", "genesis", "authorityChanges"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_brought_gets_a_reason(document: object) -> None:
    verdict = verify_document(document, bytes(32), REGISTRY)
    assert not verdict.valid and verdict.reason
