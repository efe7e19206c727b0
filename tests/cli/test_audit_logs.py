"""`audit verify` of a bundle of the audit log: no node, one hash, what was done by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawpurse.modules.audit import answers, shapes
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode
from tests.modules.audit.auditworld import Log
from tests.wallet.logworld import ALL, SECOND, Told, recorded


@pytest.fixture
def told(node: FakeNode) -> Told:
    """What was recorded, and no node to ask."""
    node.down = True
    return recorded()


def verify(cli: Cli, told: Told, folder: Path, bundle: Any, *more: str) -> Any:
    folder.mkdir(exist_ok=True)
    file = folder / "log.json"
    file.write_text(json.dumps(bundle))
    return cli(
        "audit", "verify", str(file), "--genesis-hash", f"0x{told.genesis_hash.hex()}", *more
    )


def test_a_log_is_told_entry_by_entry_with_what_is_proven(
    cli: Cli, told: Told, tmp_path: Path
) -> None:
    """An auditor reads who did what, when, and since when nobody could change it."""
    done = verify(cli, told, tmp_path, told.bundle)
    assert done.code == 0, done.err
    rows = [line.split("\t") for line in done.out.splitlines() if "\t" in line]
    assert len(rows) == ALL
    assert rows[0][2:6] == ["claw1alice", "auth.unlock", "user/1", "done"]
    assert (rows[0][6], rows[-1][6]) != ("-", "-")
    assert rows[-1][6] == "-"
    assert "✓ Valid for rpc-test." in done.out
    assert f"✓ Proven: These are all entries from 0 to {ALL - 1} of the log audit" in done.out
    assert f"the last {ALL - SECOND} entries cannot be rewritten" in done.out


def test_programs_get_one_object_of_a_log(cli: Cli, told: Told, tmp_path: Path) -> None:
    bundle = {**told.bundle, "entries": [dict(one) for one in told.bundle["entries"]]}
    bundle["entries"][3]["text"] = None
    done = verify(cli, told, tmp_path, bundle, "--json")
    said = json.loads(done.out)
    assert done.code == 0
    assert (said["valid"], said["kind"], said["size"], said["redacted"]) == (True, "log", ALL, 1)
    assert said["unanchored"] == ALL - SECOND
    assert said["entries"][3]["text"] is None
    assert said["anchors"][0]["authorities"] == 4


@pytest.mark.parametrize(
    ("deed", "finding", "words"),
    [
        ("row", "row", "A row of the log's database was changed: entry 3 was changed"),
        ("anchor", "anchor", "The anchor was rewritten"),
        ("network", "genesis", "This is another network"),
        ("form", "bundle", "The file is no bundle"),
    ],
)
def test_what_was_done_to_a_log_is_named_and_exits_with_4(
    cli: Cli, told: Told, tmp_path: Path, deed: str, finding: str, words: str
) -> None:
    """The four of them by the ledger's word are in tests/wallet; here they reach a person."""
    bundle = json.loads(json.dumps(told.bundle))
    if deed == "row":
        bundle["entries"][3]["text"] = bundle["entries"][3]["text"].replace("alice", "carol")
    elif deed == "anchor":
        value = bundle["anchors"][0]["proof"]["blocks"][0]["values"][0]
        value["value"] = value["value"][:-2] + "07"
    elif deed == "form":
        del bundle["keys"]
    else:
        told = told._replace(genesis_hash=b"\x07" * 32)
    done = verify(cli, told, tmp_path, bundle)
    assert (done.code, done.out.count("\n")) == (4, 1)
    assert f"Not valid. {words}" in done.out
    said = json.loads(verify(cli, told, tmp_path, bundle, "--json").out)
    assert (said["valid"], said["finding"]) == (False, finding)


class Service:
    """Answers as an audit service in the node does, from a recorded database."""

    def __init__(self, node: FakeNode, told: Told, file: Path, name: str) -> None:
        file.write_bytes(told.databases[name])
        self.log = Log(file)
        node.down = False
        node.overrides["chain_getStatus"] = lambda _: told.status
        node.overrides["chain_getParameters"] = lambda _: told.parameters
        node.overrides["chain_getProof"] = lambda _: {"bundle": told.newest_proof}
        node.overrides["audit_getStatus"] = lambda _: {"log": f"0x{told.terms.log.hex()}"}
        for method, params, answer in (
            ("audit_export", shapes.ExportParams, answers.bundle),
            ("audit_consistency", shapes.ConsistencyParams, answers.consistency),
            ("audit_search", shapes.SearchParams, answers.search_page),
        ):
            node.overrides[method] = self._answering(params, answer)

    def _answering(self, model: Any, answer: Any) -> Any:
        def run(params: dict[str, Any]) -> Any:
            asked = model.model_validate(params)
            return self.log.look(lambda db: answer(db, self.log.tables, asked))

        return run


@pytest.fixture
def service(node: FakeNode, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Start a service on one of the recorded databases."""
    made: list[Service] = []

    def start(name: str) -> Service:
        made.append(Service(node, recorded(), tmp_path / name, name))
        return made[-1]

    yield start
    for one in made:
        one.log.database.close()


def test_entries_are_exported_in_pages_with_the_ledger_s_newest_word(
    cli: Cli,
    node: FakeNode,
    service: Callable[[str], Service],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service cannot leave out what the ledger knows: the ledger is asked for itself."""
    service("log.db")
    told = recorded()
    monkeypatch.setattr("clawpurse.cli.audit_gathering.EXPORT_MAX", 16)
    file = tmp_path / "log.json"
    words = ("audit", "export", "--entries", "2:500", "--out", str(file), "--redact", "30")
    done = cli(*words)
    assert done.code == 0, done.err
    assert done.out.startswith(f"✓ {ALL - 2} entries, ")
    assert sum(method == "audit_export" for method, _ in node.calls) == 3
    bundle = json.loads(file.read_text())
    assert bundle["anchors"][-1]["proof"] == told.newest_proof
    assert file.stat().st_mode & 0o777 == 0o600
    node.down = True
    done = verify(cli, told, tmp_path / "x", bundle)
    assert done.code == 0
    assert sum("\tredacted\t" in line for line in done.out.splitlines()) == 1


def test_a_log_that_was_cut_off_is_told_at_once_and_kept_as_evidence(
    cli: Cli, service: Callable[[str], Service], tmp_path: Path
) -> None:
    """A service that was restored from a backup says what it has; the ledger says what it had."""
    service("early.db")
    file = tmp_path / "log.json"
    done = cli("audit", "export", "--entries", "0:9", "--out", str(file))
    assert done.code == 4
    assert "The log was cut off" in done.out
    assert file.exists()
    service("fork.db")
    done = cli("audit", "export", "--entries", "0:9", "--out", str(tmp_path / "b.json"))
    assert done.code == 4
    assert "The log was given another past" in done.out


def test_what_is_looked_for_is_shown_and_the_rest_redacted(
    cli: Cli, service: Callable[[str], Service], tmp_path: Path
) -> None:
    service("log.db")
    file = tmp_path / "log.json"
    done = cli(
        "audit", "export", "--entries", "0:20", "--object", "user/7", "--out", str(file), "--json"
    )
    assert (done.code, json.loads(done.out)["entries"]) == (0, 21)
    texts = [one["text"] for one in json.loads(file.read_text())["entries"]]
    assert [text is None for text in texts].count(False) == 1
    done = cli("audit", "search", "--what", "auth.unlock", "--limit", "3")
    rows = [line.split("\t") for line in done.out.splitlines() if "\t" in line]
    assert [row[4] for row in rows] == [f"user/{n}" for n in (39, 38, 37)]
    assert json.loads(cli("audit", "search", "--who", "nobody", "--json").out) == {"entries": []}
    assert "Nothing was found" in cli("audit", "search", "--who", "nobody").out


@pytest.mark.parametrize(
    "words",
    [
        ("--entries", "5"),
        ("--entries", "9:5"),
        ("--entries", "0:60000"),
        ("--entries", "0:5", "--asset", "EUR"),
        ("--asset", "EUR", "--who", "claw1x"),
    ],
)
def test_what_does_not_go_together_is_refused(
    cli: Cli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = cli("audit", "export", *words, "--out", str(tmp_path / "x.json"))
    assert done.code == 2
    assert not (tmp_path / "x.json").exists()
