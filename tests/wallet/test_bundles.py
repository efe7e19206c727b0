"""An auditor with the genesis hash alone: a true bundle tells its story, a bent one is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.bundle_claims import asset_reader, claims_of, sent_by
from clawpurse.wallet.bundle_story import Telling
from clawpurse.wallet.bundles import Story, check_bundle
from tests.node.rpc.nodeworld import REGISTRY
from tests.wallet.bundleworld import ALICE, BOB, CAROL, recorded

NAMES = ("alice", "both", "late", "asset", "heights", "ids")
Path = tuple[str | int, ...]


def bundle(name: str) -> Any:
    return copy.deepcopy(recorded().bundles[name])


def check(document: Any, genesis_hash: bytes | None = None) -> Story:
    return check_bundle(document, genesis_hash or recorded().genesis_hash, asset_reader(REGISTRY))


def refusal(document: Any) -> Malformed:
    with pytest.raises(Malformed) as caught:
        check(document)
    return caught.value


def told(name: str) -> tuple[Telling, list[str], list[str]]:
    story = check(bundle(name))
    claims = claims_of(story, REGISTRY, account_text)
    return Telling(story, REGISTRY), list(claims.proven), list(claims.unproven)


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a document where a plain value stands."""
    match value:
        case dict():
            for name, item in value.items():
                yield from leaves(item, (*path, name))
        case list():
            for place, item in enumerate(value):
                yield from leaves(item, (*path, place))
        case _:
            yield path


def at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def put(document: Any, path: Path, value: Any) -> Any:
    bent = copy.deepcopy(document)
    at(bent, path[:-1])[path[-1]] = value
    return bent


def flipped(old: Any) -> list[Any]:
    match old:
        case bool():
            return [not old]
        case int():
            return [old + 1, old - 1]
        case None:
            return ["0x00"]
        case "left" | "right":
            return ["left" if old == "right" else "right"]
        case _:
            last = "0" if old[-1] != "0" else "1"
            middle = len(old) // 2
            other = "0" if old[middle] != "0" else "1"
            return [old[:-1] + last, old[:middle] + other + old[middle + 1 :], "", None]


# -- true ones


@pytest.mark.parametrize("name", NAMES)
def test_a_true_bundle_holds_and_each_header_stands_once(name: str) -> None:
    document = bundle(name)
    story = check(document)
    headers = [block["header"] for block in document["blocks"]]
    assert len(set(headers)) == len(headers) == len(story.blocks)
    assert all(block.signers == block.authorities == 1 for block in story.blocks)


def test_the_story_of_an_account_is_told_in_sentences_with_what_was_refused() -> None:
    telling, proven, unproven = told("alice")
    rows = telling.rows()
    assert [row.height for row in rows[:5]] == [1, 2, 3, 4, 5]
    assert rows[0].what.startswith("Pay 10.00 CLAW to claw1")
    assert r"Memo “Invoice 7\x1b[2J”." in rows[0].what
    assert rows[2].result.startswith("refused (insufficientFunds): claw1")
    assert rows[1].who == account_text(BOB.account)
    due = rows[-1]
    assert due.who == "(due)"
    assert "0.009 EUR" in due.what
    assert account_text(ALICE.account) in due.what
    assert proven[0].startswith(f"All that {account_text(ALICE.account)} sent up to block ")
    assert "is here (7)" in proven[0]
    assert unproven[0].startswith("That everything is here that others did to these accounts")
    said = [telling.state_words(one) for one in check(bundle("alice")).state]
    assert any("had 499.988 EUR, 0.000 EUR held." in line for line in said)


def test_an_account_that_sent_nothing_is_shown_to_have_sent_nothing() -> None:
    _, proven, _ = told("both")
    assert any(line.startswith(f"{account_text(CAROL.account)} sent nothing") for line in proven)


def test_what_is_missing_is_said_and_named() -> None:
    """Whoever cuts off the beginning cannot hide that there was one."""
    _, proven, unproven = told("late")
    assert not proven
    assert "1 of its transactions are NOT here (sequence 0 of lane 0)" in unproven[0]


@pytest.mark.parametrize("name", ["alice", "both"])
def test_a_transaction_that_its_sender_cannot_hide(name: str) -> None:
    """Each transaction of the account taken out is missed by its sequence."""
    document = bundle(name)
    account = ALICE.account if name == "alice" else BOB.account
    assert sent_by(check(document), account).complete
    for block in range(len(document["blocks"])):
        for place in range(len(document["blocks"][block]["transactions"])):
            cut = copy.deepcopy(document)
            gone = cut["blocks"][block]["transactions"].pop(place)
            before, after = sent_by(check(document), account), sent_by(check(cut), account)
            mine = gone["signed"].find(account.hex()) == document_sender_place(gone["signed"])
            assert after.complete != mine
            assert after.missing_count == before.missing_count + mine


def document_sender_place(signed: str) -> int:
    """Where the sender's id stands in a signed form: behind the genesis hash."""
    return signed.find(recorded().genesis_hash.hex()) + 64 + 4


def test_without_a_proven_record_the_end_is_open() -> None:
    document = bundle("alice")
    for block in document["blocks"]:
        block["state"] = []
    story = check(document)
    sent = sent_by(story, ALICE.account)
    assert (sent.complete, sent.up_to, sent.missing_count) == (False, None, 0)
    assert "nothing here proves its record" in claims_of(story, REGISTRY, account_text).unproven[0]


def test_a_range_of_whole_blocks_leaves_nothing_out() -> None:
    document = bundle("heights")
    last = recorded().height
    _, proven, _ = told("heights")
    assert proven == [
        f"Blocks 2 to {last} are here whole: no transaction, receipt, event or evidence of them "
        "was left out."
    ]
    for block in range(len(document["blocks"])):
        cut = copy.deepcopy(document)
        del cut["blocks"][block]
        assert "heights" in str(refusal(cut))
        for name in ("transactions", "due"):
            for place in range(len(document["blocks"][block][name])):
                cut = copy.deepcopy(document)
                del cut["blocks"][block][name][place]
                assert refusal(cut).field.startswith("block ")


def test_mints_and_burns_are_held_against_the_supply() -> None:
    telling, proven, _ = told("asset")
    assert proven[0].startswith("The mints and burns of EUR here make its supply after block ")
    assert telling.decimals["EUR"] == 3


# -- bent ones


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_value_is_found(name: str) -> None:
    """A bundle says nothing that is not checked: no value can be another one."""
    document = bundle(name)
    for path in leaves(document):
        if path[-1] == "key" and at(document, path[:-1])["value"] is None:
            continue  # One proof of absence shows truly that all keys in that gap are absent.
        for value in flipped(at(document, path)):
            bent = put(document, path, value)
            if bent != document:
                with pytest.raises(Malformed):
                    check(bent)
                    raise AssertionError(f"{path} may be {value!r}")


@pytest.mark.parametrize("name", NAMES)
def test_every_missing_added_or_repeated_part_is_found(name: str) -> None:
    document = bundle(name)
    parts = {path[:size] for path in leaves(document) for size in range(len(path))}
    for path in sorted(parts, key=str):
        whole = at(document, path)
        if type(whole) is dict and path != ("scope",):
            for member in whole:
                bent = copy.deepcopy(document)
                del at(bent, path)[member]
                refusal(bent)
            bent = copy.deepcopy(document)
            at(bent, path)["note"] = "trust me"
            refusal(bent)
        if type(whole) is list and whole and path[-1] != "state":
            bent = copy.deepcopy(document)
            at(bent, path).append(whole[-1])
            refusal(bent)


@settings(max_examples=300)
@given(st.data())
def test_no_changed_character_makes_another_story(data: st.DataObject) -> None:
    document = bundle(data.draw(st.sampled_from(NAMES)))
    text = json.dumps(document)
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from('0123456789abcdef"{}[],:xtrue- '))
    try:
        bent = json.loads(text[:place] + char + text[place + 1 :])
    except ValueError:
        return
    if said(bent) != said(document):
        refusal(bent)


def said(document: Any) -> Any:
    """A bundle without the keys that it shows to have no value.

    A proof that a place is empty holds for all keys that would stand there: with another of them
    the bundle says something else, and that is true as well.
    """
    left = copy.deepcopy(document)
    blocks = left.get("blocks") if isinstance(left, dict) else None
    for block in blocks if isinstance(blocks, list) else ():
        for item in block.get("state", ()) if isinstance(block, dict) else ():
            if isinstance(item, dict) and item.get("value", 0) is None:
                item.pop("key", None)
    return left


@settings(max_examples=150)
@given(st.data())
def test_no_two_values_swapped_make_another_story(data: st.DataObject) -> None:
    """Parts of one transaction under another, blocks in another order: all are found."""
    document = bundle(data.draw(st.sampled_from(NAMES)))
    places = sorted({p[:n] for p in leaves(document) for n in range(2, len(p) + 1)}, key=str)
    first, second = (data.draw(st.sampled_from(places)) for _ in range(2))
    inside = first[: len(second)] == second or second[: len(first)] == first
    if inside or at(document, first) == at(document, second):
        return
    bent = put(document, first, copy.deepcopy(at(document, second)))
    bent = put(bent, second, copy.deepcopy(at(document, first)))
    if bent != document and first[:-1] + second[:-1] != ("scope", "scope"):
        refusal(bent)


def test_events_of_a_neighbour_are_found() -> None:
    """A held payment with the events of a paid one would look paid."""
    document = bundle("both")
    block = next(one for one in document["blocks"] if len(one["transactions"]) == 5)
    for mine in range(5):
        for other in range(5):
            if mine != other:
                bent = copy.deepcopy(document)
                place = document["blocks"].index(block)
                theirs = block["transactions"][other]["events"]
                bent["blocks"][place]["transactions"][mine]["events"] = theirs
                assert "events" in str(refusal(bent))


@pytest.mark.parametrize(
    "document",
    [None, 5, "x", [], {}, {"format": "clawpurse-audit"}, {"format": 1, "version": 1}],
)
def test_anything_else_is_no_bundle(document: Any) -> None:
    assert refusal(document).field == "bundle"


def test_another_network_is_refused_at_once() -> None:
    with pytest.raises(Malformed) as caught:
        check(bundle("alice"), b"\1" * 32)
    assert caught.value.field == "genesis"


@pytest.mark.parametrize(
    ("scope", "problem"),
    [
        ({"accounts": []}, "ascending"),
        ({"accounts": [5]}, "not texts"),
        ({"accounts": [account_text(CAROL.account)]}, "take no part"),
        ({"asset": "CLAW"}, "not what"),
        ({"asset": 5}, "asset"),
        ({"heights": [1]}, "first, last"),
        ({"heights": [5, 2]}, "first, last"),
        ({"heights": [0, 2]}, "heights"),
        ({"heights": [1, 2]}, "not exactly"),
        ({"heights": [1, 2**64 - 1]}, "not exactly"),
        ({"transactions": []}, "ascending"),
        ({"transactions": ["0x" + "00" * 32]}, "not exactly"),
        ({"everything": True}, "is not one of"),
        ({}, "is not one of"),
        (None, "is not one of"),
    ],
)
def test_a_bundle_about_something_else_than_it_says_is_refused(scope: Any, problem: str) -> None:
    err = refusal({**bundle("alice"), "scope": scope})
    assert err.field == "scope"
    assert problem in err.problem
