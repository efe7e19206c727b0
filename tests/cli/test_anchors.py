"""`anchor …` and `risk …`: what people type, what they are told, and which files stay."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.rfc6962 import leaf_hash, root_of
from clawpurse.modules.anchor.records import log_id
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.node.rpc.anchor_methods import AnchorMethods
from clawpurse.node.rpc.risk_methods import RiskMethods
from clawpurse.wallet.anchoring import AnchorReceipt, Digest, commitment_of, digest_of, read_log
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import REGISTRY, START_MS, SmallChain, _State

ROLES = (("admin", "alice"), ("compliance", "bob"))
MODEL = "0x" + "4d" * 32


@pytest.fixture
def node() -> FakeNode:
    """A node whose ledger has an administrator and an officer, answering by its real methods."""
    made = FakeNode()
    made.chain = SmallChain(fee_min=1, roles=ROLES)
    chain = SimpleNamespace(registry=REGISTRY, height=0, tip=SimpleNamespace(time_ms=START_MS))
    services: Any = SimpleNamespace(chain=chain)
    for method in (*AnchorMethods(services).methods(), *RiskMethods(services).methods()):

        def answer(params: dict[str, Any], method: Any = method) -> Any:
            chain.reader = _State(made.chain.state)
            chain.height = made.chain.height
            chain.tip.time_ms = START_MS + 1_000 * made.chain.height
            try:
                return method.handler(method.params.model_validate(params), None)
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))

        made.overrides[method.name] = answer
    return made


class Shell:
    """Types commands as Alice (or `by`), with a passphrase."""

    def __init__(self, cli: Cli, passphrase_file: str) -> None:
        self._cli = cli
        self._passphrase_file = passphrase_file

    def act(self, *arguments: str | Path, by: str = "alice", code: int = 0) -> Done:
        more = ("--from", by, "--passphrase-file", self._passphrase_file, "--yes")
        return self.see(*arguments, *more, code=code)

    def see(self, *arguments: str | Path, code: int = 0) -> Done:
        done = self._cli(*[str(one) for one in arguments])
        assert done.code == code, done.err + done.out
        return done


@pytest.fixture
def shell(cli: Cli, wallet: Any, passphrase_file: str) -> Shell:
    return Shell(cli, passphrase_file)


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    path = tmp_path / "lease.txt"
    path.write_bytes(b"The flat is let until the end of next year.\n")
    return path


# -- documents


def test_a_document_is_anchored_and_shown_to_be_the_one(shell: Shell, lease: Path) -> None:
    done = shell.act("anchor", "document", lease, "--kind", "lease")
    receipt_file = lease.with_name("lease.txt.anchor.json")
    assert "is anchored." in done.out and str(receipt_file) in done.out + done.err
    assert stat.S_IMODE(receipt_file.stat().st_mode) == 0o600
    receipt = AnchorReceipt.unpack(receipt_file.read_bytes())
    assert (receipt.kind, receipt.height, receipt.size) == ("lease", 1, lease.stat().st_size)
    said = shell.see("anchor", "verify", lease, receipt_file).out
    assert "anchored" in said and "in block 1" in said
    told = json.loads(shell.see("anchor", "verify", lease, receipt_file, "--json").out)
    assert (told["valid"], told["first"]["account"]) == (True, account_text(receipt.account))
    lease.write_bytes(b"The flat is let for ever.\n")
    assert "is not the document" in shell.see("anchor", "verify", lease, receipt_file, code=4).out


def test_a_receipt_that_was_changed_or_is_of_nothing_proves_nothing(
    shell: Shell, lease: Path, node: FakeNode, tmp_path: Path
) -> None:
    shell.act("anchor", "document", lease)
    receipt_file = lease.with_name("lease.txt.anchor.json")
    receipt = AnchorReceipt.unpack(receipt_file.read_bytes())
    other = tmp_path / "other.json"
    for changed in (
        receipt._replace(account=node.chain.bob.account),
        receipt._replace(kind="will"),
        receipt._replace(key=bytes(32)),
    ):
        other.write_bytes(changed.pack())
        assert shell.see("anchor", "verify", lease, other, code=4).out
    fresh = bytes(range(32))
    terms = receipt.genesis_hash, receipt.account, "document", digest_of(lease)
    unsent = receipt._replace(key=fresh, commitment=commitment_of(fresh, *terms))
    other.write_bytes(unsent.pack())
    said = shell.see("anchor", "verify", lease, other, code=4).out
    assert "nothing of it is on the ledger" in said
    foreign = commitment_of(fresh, bytes(32), *terms[1:])
    other.write_bytes(unsent._replace(genesis_hash=bytes(32), commitment=foreign).pack())
    assert "of another" in shell.see("anchor", "verify", lease, other, code=2).err


def test_nothing_is_overwritten_and_nothing_stays_of_what_was_refused(
    shell: Shell, lease: Path, node: FakeNode
) -> None:
    receipt_file = lease.with_name("lease.txt.anchor.json")
    shell.act("anchor", "document", lease, "--kind", "No Kind", code=2)
    assert not receipt_file.exists()
    receipt_file.write_text("mine")
    assert "already" in shell.act("anchor", "document", lease, code=2).err
    assert receipt_file.read_text() == "mine"
    receipt_file.unlink()
    shell.act("anchor", "document", lease.with_name("none"), code=2)
    shell.act("anchor", "document", code=2)
    shell.act("anchor", "document", lease, "--commitment", MODEL, code=2)

    def refuse(_params: dict[str, Any]) -> Any:
        return {"code": "policyRejected", "reason": "Not today.", "fee": "1"}

    simulate = node.tx_simulate
    node.overrides["tx_simulate"] = lambda params: {**simulate(params), **refuse(params)}
    shell.act("anchor", "document", lease, code=4)
    assert not receipt_file.exists()


def test_a_ready_commitment_is_anchored_once(shell: Shell) -> None:
    assert "is anchored" in shell.act("anchor", "document", "--commitment", MODEL).out
    assert "already" in shell.act("anchor", "document", "--commitment", MODEL, code=4).err
    shell.act("anchor", "document", "--commitment", "0x12", code=2)


def test_a_commitment_binds_everything_that_it_says() -> None:
    terms: dict[str, Any] = {
        "key": bytes(32), "genesis_hash": bytes(32), "account": bytes(32), "kind": "a",
        "digest": Digest(bytes(32), 5),
    }  # fmt: skip
    changes: list[dict[str, Any]] = [
        {"key": bytes([1]) * 32}, {"genesis_hash": bytes([1]) * 32},
        {"account": bytes([1]) * 32}, {"kind": "b"}, {"digest": Digest(bytes([1]) * 32, 5)},
        {"digest": Digest(bytes(32), 6)},
    ]  # fmt: skip
    made = [commitment_of(**{**terms, **change}) for change in ({}, *changes)]
    assert len(set(made)) == len(made) and {len(one) for one in made} == {32}
    for size in (0, 31, 33, 64):
        with pytest.raises(Malformed):
            commitment_of(**{**terms, "key": bytes(size)})


@pytest.mark.parametrize(
    "change",
    [
        {"format": "clawpurse.anchor/2"}, {"key": "0x12"}, {"key": None}, {"account": 7},
        {"account": "claw1"}, {"kind": "A"}, {"bytes": -1}, {"txId": 5}, {"height": "1"},
        {"more": 1}, {"commitment": "00" * 33}, {"chainId": ""},
    ],
)  # fmt: skip
def test_what_is_no_receipt(change: dict[str, Any]) -> None:
    receipt = AnchorReceipt("acme", bytes(32), bytes(32), "a", bytes(32), 1, bytes(32))
    assert AnchorReceipt.unpack(receipt.pack()) == receipt
    with pytest.raises(Malformed):
        AnchorReceipt.unpack(json.dumps({**json.loads(receipt.pack()), **change}).encode())
    for wrong in (b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(Malformed):
            AnchorReceipt.unpack(wrong)


# -- logs


def test_a_log_s_file_is_anchored_as_it_grows_and_refused_when_it_was_rewritten(
    shell: Shell, tmp_path: Path, node: FakeNode
) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(b"one\ntwo\nthree\nunfinis")
    done = shell.act("anchor", "log", "create", "audit", "--writer", "alice", "--json")
    identity = log_id(node.chain.alice.account, "audit")
    assert json.loads(done.out)["log"] == f"0x{identity.hex()}"
    assert "3 entries" in shell.act("anchor", "log", "append", "audit", file).out
    with file.open("ab") as more:
        more.write(b"hed\nfive\n")
    said = shell.see("anchor", "log", "verify", "alice/audit", file).out
    assert "first 3 entries" in said and "2 are newer" in said
    shell.act("anchor", "log", "append", "audit", file)
    entries = [b"one", b"two", b"three", b"unfinished", b"five"]
    shown = json.loads(shell.see("anchor", "log", "show", "alice/audit", "--json").out)
    assert (shown["size"], shown["root"]) == (
        5,
        f"0x{root_of([leaf_hash(one) for one in entries]).hex()}",
    )
    file.write_bytes(b"one\nTWO\nthree\nunfinished\nfive\nsix\n")
    assert "was rewritten" in shell.act("anchor", "log", "append", "audit", file, code=4).err
    assert "was rewritten" in shell.see("anchor", "log", "verify", "alice/audit", file, code=4).out
    file.write_bytes(b"one\n")
    assert "are missing" in shell.see("anchor", "log", "verify", "alice/audit", file, code=4).out
    assert "The first 5 entries" in shell.see("anchor", "log", "show", f"0x{identity.hex()}").out
    assert "audit" in shell.see("anchor", "log", "list", "--of", "alice").out
    assert json.loads(shell.see("anchor", "log", "list", "--of", "bob", "--json").out) == {
        "logs": [],
        "nextCursor": None,
    }


def test_a_restored_log_goes_on_when_officers_approve(
    shell: Shell, tmp_path: Path, node: FakeNode
) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(b"one\ntwo\nthree\n")
    shell.act("anchor", "log", "create", "audit", "--writer-role", "admin")
    shell.act("anchor", "log", "append", "audit", file)
    file.write_bytes(b"one\n")
    more = ("--size", "1", "--file", file, "--reason", "restored from backup")
    assert "it is proposed" in shell.act("anchor", "log", "break", "audit", *more).out
    assert "restored from backup" in shell.see("anchor", "log", "show", "alice/audit").out
    chain_id = node.chain.genesis.chain_id
    shell.act(
        "anchor", "log", "approve", "alice/audit", "alice", "--i-understand", chain_id, by="bob"
    )
    shown = json.loads(shell.see("anchor", "log", "show", "alice/audit", "--json").out)
    assert (shown["size"], shown["proposals"][0]["approvals"]) == (
        3,
        [account_text(node.chain.bob.account)],
    )
    assert "1 of 2 approved" in shell.see("anchor", "log", "show", "alice/audit").out
    shell.act("anchor", "log", "approve", "alice/audit", "bob", by="bob", code=2)
    shell.act("anchor", "log", "break", "audit", "--size", "2", "--file", file,
              "--reason", "x", code=2)  # fmt: skip
    shell.act("anchor", "log", "break", "audit", "--size", "2", "--reason", "x", code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "audit"), ("create", "audit", "--writer", "alice", "--writer-role", "x"),
        ("create", "No", "--writer", "alice"), ("create", "a", "--writer-role", "No"),
        ("create", "a", "--writer", "alice", "--breakers", "1"), ("append", "0x12", "f"),
        ("append", "a/B", "f"), ("append", "nobody/b", "f"), ("append", "audit", "no-such-file"),
        ("writer", "audit"),
    ],
)  # fmt: skip
def test_what_was_mistyped_is_said_before_a_node_is_asked(
    shell: Shell, node: FakeNode, arguments: tuple[str, ...]
) -> None:
    done = shell.act("anchor", "log", *arguments, code=2)
    assert len(done.err.splitlines()) <= 3 and not node.final


def test_another_writer_is_named(shell: Shell, node: FakeNode) -> None:
    shell.act("anchor", "log", "create", "audit", "--writer", "alice")
    shell.act("anchor", "log", "writer", "audit", "--writer", "bob")
    shown = json.loads(shell.see("anchor", "log", "show", "alice/audit", "--json").out)
    assert shown["writer"] == account_text(node.chain.bob.account)
    shell.see("anchor", "log", "show", "bob/audit", code=1)


def test_entries_are_lines_and_an_unfinished_one_is_none(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for data, entries, unfinished in (
        (b"", [], False), (b"\n", [b""], False), (b"a\r\n", [b"a\r"], False),
        (b"a\n\nb", [b"a", b""], True), (b"a", [], True),
    ):  # fmt: skip
        file.write_bytes(data)
        assert read_log(file) == ([leaf_hash(one) for one in entries], unfinished)


# -- risk


def test_oracles_are_named_report_and_are_told(shell: Shell, node: FakeNode) -> None:
    assert "no oracles" in shell.see("risk", "score", "bob").out
    shell.act("risk", "set-oracles", "alice", "--needed", "1")
    known = json.loads(shell.see("risk", "oracles", "--json").out)
    assert [one["account"] for one in known["oracles"]] == [account_text(node.chain.alice.account)]
    assert "1 of 1 make a score" in shell.see("risk", "oracles").err
    report = ("risk", "report", "bob", "--score", "640", "--model", MODEL, "--features", "3")
    assert "your report of bob counts until" in shell.act(*report).out
    told = shell.see("risk", "score", "bob").out
    assert "A risk of 640 of 1000" in told and "counts" in told
    assert json.loads(shell.see("risk", "score", "bob", "--json").out)["score"] == 640
    shell.act(*report, by="bob", code=4)
    shell.act(*report, "--until", "31d", code=4)
    shell.act("risk", "withdraw", "bob")
    assert "No score" in shell.see("risk", "score", "bob").out
    refused = shell.act("risk", "set-oracles", "--needed", "0", code=2)
    assert refused.err
    chain_id = node.chain.genesis.chain_id
    shell.act("risk", "set-oracles", "--needed", "0", "--i-understand", chain_id)
    assert "no oracles" in shell.see("risk", "score", "bob").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "bob", "--score", "1001", "--model", MODEL, "--features", "3"),
        ("report", "bob", "--score", "1", "--model", "0x12", "--features", "3"),
        ("report", "bob", "--score", "1", "--model", MODEL, "--features", "3", "--until", "soon"),
        ("report", "nobody", "--score", "1", "--model", MODEL, "--features", "3"),
        ("set-oracles", "nobody", "--needed", "1"),
        ("set-oracles", "alice", "--needed", "17"),
    ],
)
def test_a_mistyped_report_is_refused_here(
    shell: Shell, node: FakeNode, arguments: tuple[str, ...]
) -> None:
    shell.act("risk", *arguments, code=2)
    assert not node.final
