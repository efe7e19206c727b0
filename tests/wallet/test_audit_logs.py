"""Bundles of the audit log: what was done to a log is found, and called by its name.

If these failed, somebody could change what a service did, cut it off, give it another past or
rewrite its anchor, and an auditor would sign that all is well.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.rfc6962 import leaf_hash
from clawpurse.modules.audit.anchoring import Anchored, Standing, compare, notarise
from clawpurse.modules.audit.bundles import Wanted, export, prove
from clawpurse.modules.audit.checkpoints import checkpoint, make_key
from clawpurse.modules.audit.retention import drop_old
from clawpurse.modules.audit.search import search
from clawpurse.modules.audit.tree import Tree
from clawpurse.wallet.audit_logs import LogFault, check_log_bundle, is_log_bundle
from tests.modules.audit.auditworld import DAY_MS, Log, call_text
from tests.wallet.logworld import ALL, FIRST, SECOND, SOURCE, Told, recorded


@pytest.fixture
def told() -> Told:
    """A network's and a log's own words."""
    return recorded()


@pytest.fixture
def opened(told: Told, tmp_path: Path) -> Iterator[Callable[[str], Log]]:
    """Open a copy of a recorded database."""
    logs: list[Log] = []

    def copy(name: str) -> Log:
        (tmp_path / name).write_bytes(told.databases[name])
        logs.append(Log(tmp_path / name))
        return logs[-1]

    yield copy
    for one in logs:
        one.database.close()


def exported(log: Log, wanted: Wanted | None = None) -> Any:
    """What audit_export answers, as it comes over a wire."""
    asked = wanted or Wanted(0, ALL)
    return json.loads(json.dumps(log.look(lambda db: export(db, log.tables, asked))))


def fresh(told: Told, bundle: Any) -> Any:
    """With the newest proof of the ledger's record, as `audit export` adds it."""
    if bundle["anchors"] and bundle["anchors"][-1]["proof"] == told.newest_proof:
        return bundle
    way = bundle["anchors"][-1]["path"] if bundle["anchors"] else []
    bundle["anchors"].append({"proof": told.newest_proof, "path": way})
    return bundle


def finding(told: Told, bundle: Any) -> str:
    with pytest.raises(LogFault) as caught:
        check_log_bundle(bundle, told.genesis_hash)
    assert caught.value.problem
    return caught.value.finding


# -- what holds


def test_a_whole_log_is_proven_from_the_genesis_hash_alone(told: Told) -> None:
    """An auditor has the file and 32 bytes, nothing else."""
    assert is_log_bundle(told.bundle)
    story = check_log_bundle(json.loads(json.dumps(told.bundle)), told.genesis_hash)
    assert [one.place for one in story.entries] == list(range(ALL))
    assert story.head.size == ALL
    assert [one.log.size for one in story.anchors] == [SECOND]
    texts = [one.told.text for one in story.entries if one.told and one.told.source == "auth"]
    assert texts == [call_text(SOURCE, n) for n in range(1, ALL)]
    assert story.anchored_by(SECOND - 1) == story.newest
    assert story.anchored_by(SECOND) is None
    assert story.newest.authorities == 4
    assert len(story.keys) == 1


def test_part_of_a_log_shows_when_it_was_there_first(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """The first anchor dates an entry, the newest one shows that nothing happened to it since."""
    bundle = exported(opened("log.db"), Wanted(3, 10))
    story = check_log_bundle(bundle, told.genesis_hash)
    assert [one.log.size for one in story.anchors] == [FIRST, SECOND]
    assert story.anchored_by(12) == story.anchors[0]
    assert story.anchors[0].height == told.heights[0]
    assert story.anchors[0].since_height <= story.anchors[0].height


def test_one_entry_is_proven_alone(told: Told, opened: Callable[[str], Log]) -> None:
    log = opened("log.db")
    for place in (0, 7, FIRST - 1, FIRST, ALL - 1):
        bundle = log.look(lambda db, place=place: prove(db, log.tables, place, None))  # type: ignore[misc]
        story = check_log_bundle(bundle, told.genesis_hash)
        assert [one.place for one in story.entries] == [place]


def test_redacted_entries_stay_proven_and_say_nothing(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """What is nobody's business is left out without leaving a doubt that it was there."""
    bundle = exported(opened("log.db"), Wanted(5, 20, None, {"object": "user/7"}, frozenset()))
    assert "user/8" not in json.dumps(bundle["entries"])
    story = check_log_bundle(bundle, told.genesis_hash)
    assert [one.place for one in story.entries if one.told] == [6]
    assert len(story.entries) == 20
    bundle = exported(opened("early.db"), Wanted(5, 10, redact=frozenset({6, 9})))
    story = check_log_bundle(bundle, told.genesis_hash)
    assert [one.place for one in story.entries if one.told is None] == [6, 9]


def test_texts_that_were_dropped_leave_every_proof_valid(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """Retention must not cost what remains its proof; a source still cannot tell it otherwise."""
    log = opened("log.db")
    log.now_ms += 500 * DAY_MS
    log.tell(SOURCE, ALL, 1)
    while log.do(lambda db: drop_old(db, log.tables, 400, log.now_ms)):
        pass
    story = check_log_bundle(exported(log), told.genesis_hash)
    gone = [one.place for one in story.entries if one.told is None]
    # The entry that names the key stays, and so does what is not anchored yet.
    assert gone == [place for place in range(SECOND) if place != FIRST - 1]
    found, _ = log.look(lambda db: search(db, log.tables, {"who": "claw1alice"}))
    assert {one.place for one in found}.isdisjoint(gone)
    assert log.tell(SOURCE, 1, 5).added == 0
    found, _ = log.look(lambda db: search(db, log.tables, {"what": "audit.dropped"}))
    assert len(found) == 1
    assert json.loads(found[0].text or "")["facts"] == {"first": 0, "keepDays": 400, "stop": SECOND}


# -- what was done to a log


@pytest.mark.parametrize("column", ["text", "leaf", "both"])
def test_a_row_that_was_changed_in_the_database_is_named(
    told: Told, opened: Callable[[str], Log], column: str
) -> None:
    """Whoever has the database's password can change a row; nobody can change what it was."""
    log = opened("log.db")
    text = call_text(SOURCE, 8, actor="claw1mallory")
    values: dict[str, Any] = {"text": text, "leaf": leaf_hash(text.encode())}
    values = values if column == "both" else {column: values[column]}
    table = log.tables.entries
    log.do(lambda db: db.execute(table.update().where(table.c.place == 7).values(values)))
    with pytest.raises(LogFault, match="entry 7") as caught:
        check_log_bundle(exported(log, Wanted(7, 3)), told.genesis_hash)
    assert caught.value.finding == "row"
    # An export that does not show the row is not touched by it, unless it needs its hash.
    check_log_bundle(exported(log, Wanted(20, 5)), told.genesis_hash)


def test_a_row_that_was_changed_with_all_hashes_above_it_is_named(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """Working the tree out anew does not help: the root was signed and anchored."""
    log = opened("fork.db")
    bundle = exported(opened("log.db"))
    bundle["entries"] = exported(log)["entries"]
    assert finding(told, bundle) == "row"


def test_a_log_that_was_cut_off_is_named(told: Told, opened: Callable[[str], Log]) -> None:
    """Dropping the last entries is the easiest way to lose what one did last."""
    log = opened("early.db")
    bundle = fresh(told, exported(log, Wanted(0, FIRST)))
    with pytest.raises(LogFault, match=f"ends at {FIRST} entries; {SECOND} are anchored") as caught:
        check_log_bundle(bundle, told.genesis_hash)
    assert caught.value.finding == "truncated"


def test_a_log_that_was_given_another_past_is_named(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """Whoever has the service's key can sign another log; the ledger has the first one."""
    with pytest.raises(LogFault, match=f"does not begin with the {SECOND}") as caught:
        check_log_bundle(fresh(told, exported(opened("fork.db"))), told.genesis_hash)
    assert caught.value.finding == "forked"


def test_two_checkpoints_of_different_logs_are_named(
    told: Told, opened: Callable[[str], Log]
) -> None:
    bundle, other = exported(opened("log.db")), exported(opened("fork.db"))
    # A signed note of the fork, smaller than the head, cannot be its beginning.
    note = other["checkpoints"][0]["note"].replace(f"\n{ALL + 1}\n", f"\n{ALL - 1}\n", 1)
    bundle["checkpoints"].insert(0, {"note": note, "path": bundle["anchors"][0]["path"]})
    assert finding(told, bundle) in ("forked", "bundle")


@pytest.mark.parametrize("member", ["value", "proof", "header", "certificate", "key"])
def test_an_anchor_that_was_rewritten_is_named(told: Told, member: str) -> None:
    """An anchor is what the authorities signed, not what stands in somebody's file."""
    bundle = json.loads(json.dumps(told.bundle))
    block = bundle["anchors"][0]["proof"]["blocks"][0]
    place = block if member in block else block["values"][0]
    text = place[member]
    at = len(text) // 2
    place[member] = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
    assert finding(told, bundle) == "anchor"


def test_an_anchor_rewritten_to_fit_a_fork_is_named(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """The record that would make the fork true is not in the state that was signed."""
    log = opened("fork.db")
    bundle = exported(log)
    values = bundle["anchors"][0]["proof"]["blocks"][0]["values"][0]
    before = bytes.fromhex(values["value"][2:])
    forked_root = log.look(lambda db: Tree(db, log.tables).root(SECOND))
    anchored_root = opened("log.db").look(lambda db: Tree(db, log.tables).root(SECOND))
    assert anchored_root in before
    values["value"] = "0x" + before.replace(anchored_root, forked_root).hex()
    assert finding(told, bundle) == "anchor"


def test_consensus_refuses_the_anchor_of_a_rewritten_log(told: Told) -> None:
    """All four authorities refused it: with the best proof that the fork can make of itself."""
    assert told.refused["code"] == "policyRejected"
    assert told.refused["rule"] == "anchor.inconsistent"


def test_the_service_itself_sees_what_was_done_to_it_and_sends_nothing(
    told: Told, opened: Callable[[str], Log]
) -> None:
    """An operator is told by the log itself that its database was changed, not by an auditor."""
    whole = opened("log.db")
    root = whole.look(lambda db: Tree(db, whole.tables).root(SECOND))
    anchored = Anchored(50, SECOND, root, 0, "{}")
    for name, expected in (("early.db", Standing.TRUNCATED), ("fork.db", Standing.FORKED)):
        log = opened(name)
        assert log.look(lambda db, log=log: compare(db, log.tables, anchored)) is expected  # type: ignore[misc]
        for _ in range(2):
            _, action = log.do(
                lambda db, log=log: notarise(  # type: ignore[misc]
                    db, log.tables, log.ring, told.terms, 51, anchored, log.now_ms
                )
            )
            assert action is None
        found, _ = log.look(
            lambda db, log=log, what=expected.value: search(  # type: ignore[misc]
                db, log.tables, {"what": f"audit.{what}"}
            )
        )
        assert len(found) == 1, "told once"


# -- what else is wrong with a file


def test_another_network_is_named(told: Told) -> None:
    with pytest.raises(LogFault) as caught:
        check_log_bundle(told.bundle, b"\x01" * 32)
    assert caught.value.finding == "genesis"


def test_a_checkpoint_of_another_key_is_named(told: Told, opened: Callable[[str], Log]) -> None:
    """A key that is not named in what is anchored signs nothing."""
    bundle = json.loads(json.dumps(told.bundle))
    bundle["keys"] = []
    assert finding(told, bundle) == "signature"
    bundle = json.loads(json.dumps(told.bundle))
    note = bundle["checkpoints"][-1]["note"]
    bundle["checkpoints"][-1]["note"] = note[:-8] + ("A" if note[-8] != "A" else "B") + note[-7:]
    assert finding(told, bundle) in ("signature", "bundle")
    log = opened("log.db")
    log.do(lambda db: db.execute(log.tables.keys.delete()))
    log.do(lambda db: make_key(db, log.tables, log.ring, told.terms.origin, log.now_ms))
    log.do(lambda db: checkpoint(db, log.tables, log.ring, told.terms.origin, 60, log.now_ms))
    with pytest.raises(LogFault, match="not anchored") as caught:
        check_log_bundle(exported(log), told.genesis_hash)
    assert caught.value.finding == "signature"


def test_entries_without_an_anchor_are_vouched_for_by_nobody(told: Told) -> None:
    bundle = json.loads(json.dumps(told.bundle))
    bundle["anchors"] = []
    assert finding(told, bundle) == "anchor"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member and item of a document."""
    found = [path]
    if isinstance(value, dict):
        found += [one for key in value for one in places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [one for n, item in enumerate(value) for one in places(item, (*path, n))]
    return found


def bent(document: Any, path: tuple[Any, ...], chance: random.Random) -> None:
    """Change, drop or replace something."""
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    old = owner[path[-1]]
    if isinstance(old, str) and old and chance.random() < 0.6:
        at = chance.randrange(len(old))
        owner[path[-1]] = old[:at] + chance.choice('0f"\ud800 \x00é') + old[at + 1 :]
    elif chance.random() < 0.3:
        del owner[path[-1]]
    else:
        strange: list[Any] = [
            None,
            True,
            -1,
            2**70,
            1.5,
            "",
            "0x",
            [],
            {},
            [[]],
            "\n\n",
            ["0x00"] * 70,
        ]
        owner[path[-1]] = chance.choice(strange)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.full) for n in range(2, 60))]
)
def test_whatever_is_done_to_a_file_is_a_finding_and_never_a_crash(told: Told, seed: int) -> None:
    """Auditors open files that their makers wish to be misread."""
    chance = random.Random(seed)
    text = json.dumps({**told.bundle, "entries": told.bundle["entries"][:4]})
    spots = places(json.loads(text))[1:]
    for _ in range(60):
        document = json.loads(text)
        spot = chance.choice(spots)
        bent(document, spot, chance)
        # A story may end earlier: what is left is still all of it up to there.
        shorter = {**json.loads(text), "entries": json.loads(text)["entries"][:3]}
        if document in (json.loads(text), shorter):
            continue
        # A redacted text is the one change that a bundle may come with.
        if spot[0] == "entries" and spot[-1] == "text":
            entry = document["entries"][spot[1]]
            if "text" in entry and entry["text"] is None:
                check_log_bundle(document, told.genesis_hash)
                continue
        with pytest.raises(LogFault):
            check_log_bundle(document, told.genesis_hash)
    for document in (None, [], {}, "x", 7, {"format": "clawpurse-audit-log"}):
        with pytest.raises(LogFault):
            check_log_bundle(document, told.genesis_hash)
