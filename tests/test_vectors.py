"""docs/protocol.md is enough: its tables are the code's, its vectors are the code's, and a client
that was written from it alone makes payments and checks blocks.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.envelope import unpack_message
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.blocks import Event, Header, Receipt
from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.params import Params
from clawpurse.ledger.statetree.state_proof import verify_state_proof
from clawpurse.ledger.transition import prepare
from clawpurse.modules.kit.web.errors import ERROR_KINDS
from clawpurse.modules.registry import build_registry
from clawpurse.node.messages import (
    ConsensusKind,
    EvidenceKind,
    ProposalKind,
    SyncKind,
    TransactionKind,
)
from clawpurse.p2p.channels import Channel
from clawpurse.wallet.verdicts import verify_document
from tests.ledger.sandbox import ALICE, BOB, Sandbox
from tests.vectors import generate, stranger
from tests.vectors.stranger import octets

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs/protocol.md").read_text("utf-8")
REFERENCE = (ROOT / "docs/reference/ledger.md").read_text("utf-8")
VECTORS: dict[str, Any] = json.loads(generate.FILE.read_text("utf-8"))
REGISTRY = build_registry()


# -- the vectors are what the code makes


def test_the_vectors_are_what_the_code_makes_now() -> None:
    """When this fails the protocol has changed: that is a decision, not a detail."""
    assert generate.rendered() == generate.FILE.read_text("utf-8"), (
        "→ python -m tests.vectors.generate, if the change is meant"
    )


@pytest.mark.parametrize("hash_seed", ["0", "42", "random"])
def test_the_vectors_are_the_same_under_every_hash_seed(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.vectors.generate", "--print"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == generate.FILE.read_text("utf-8")


# -- the tables of the document are the code's


def rows(heading: str, number: int = 0) -> list[list[str]]:
    """The cells of the `number`th table below a heading, without its head."""
    section = DOCUMENT.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section + "\n", flags=re.MULTILINE)
    lines = tables[number].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def bare(cell: str) -> str:
    return cell.strip("` ")


def test_hash_tags_are_those_of_the_code() -> None:
    tags = [value for name, value in vars(crypto).items() if name.startswith("PERSON_")]
    assert [bare(row[0]).encode() for row in rows("### Hashes")] == tags


def test_parameters_are_those_of_the_code_in_wire_order() -> None:
    table = [(int(row[0]), bare(row[1]), int(row[2])) for row in rows("### Parameters")]
    expected = [
        (number, spec.name, getattr(Params(), spec.name))
        for number, spec in enumerate(fields(Params), 1)
    ]
    assert table == expected and all(row[3] for row in rows("### Parameters"))


def test_the_fields_of_a_body_are_those_of_the_code() -> None:
    names = [row[1] for row in rows("### Body")]
    body = VECTORS["transactions"][0]["body"]
    snake = [re.sub("([A-Z])", lambda match: "_" + match[1].lower(), name) for name in names[1:]]
    known = {"valid_until": "valid_until_ms"}
    assert [known.get(name, name) for name in snake] == list(body)
    assert [int(row[0]) for row in rows("### Body")] == list(range(1, 15))


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("### Header", [spec.name for spec in fields(Header)]),
        ("### Receipt", list(Receipt._fields)),
        ("### Event", list(Event._fields)),
    ],
)
def test_the_fields_of_a_block_s_parts_are_those_of_the_code(
    heading: str, names: list[str]
) -> None:
    assert [bare(row[1]) for row in rows(heading)] == names
    assert [int(row[0]) for row in rows(heading)] == list(range(1, len(names) + 1))


def test_codes_are_those_of_the_code() -> None:
    assert [(int(r[0]), bare(r[1])) for r in rows("### Codes")] == [(int(c), c.label) for c in Code]


def test_errors_of_json_rpc_are_those_of_the_code() -> None:
    table = [(int(r[0]), bare(r[1]), r[2], r[3] == "yes") for r in rows("### Errors")]
    assert table == [
        (code, kind.message, kind.error_class, kind.retryable) for code, kind in ERROR_KINDS.items()
    ]


def test_trees_are_those_of_the_code() -> None:
    table = [(bare(row[1]), int(row[2])) for row in rows("## 8. State")]
    assert table == list(REGISTRY.trees)


def test_every_key_in_state_has_a_row() -> None:
    listed = {(bare(row[0]), row[1][1:2]) for row in rows("## 8. State", 1)}
    used = {
        (record["tree"], octets(record["key"])[:1].decode())
        for record in VECTORS["state"]["records"]
    }
    assert used <= listed
    assert {("kernel", kind) for kind in "abuidefhjkmnpqrstx"} <= listed


def test_channels_and_kinds_are_those_of_the_code() -> None:
    table = [(int(r[0]), r[1], int(r[2]), r[3]) for r in rows("## 11. Peers")]
    kinds: dict[Channel, Any] = {
        Channel.CONSENSUS: ConsensusKind,
        Channel.PROPOSALS: ProposalKind,
        Channel.EVIDENCE: EvidenceKind,
        Channel.TRANSACTIONS: TransactionKind,
        Channel.SYNC: SyncKind,
    }
    for channel, names in kinds.items():
        expected = [
            (int(channel), channel.name.lower(), int(kind), kind.name.lower().replace("_", " "))
            for kind in names
        ]
        assert [row for row in table if row[0] == channel] == expected


# -- a stranger's client


def test_the_stranger_knows_nothing_of_ours() -> None:
    tree = ast.parse(Path(str(stranger.__file__)).read_text("utf-8"))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if "clawpurse" in name or "tests" in name]


def test_a_stranger_derives_the_same_keys_and_addresses() -> None:
    keys = VECTORS["keys"]
    seed = stranger.bip39_seed(keys["words"])
    assert seed == octets(keys["bip39Seed"])
    for account in keys["accounts"]:
        private = stranger.slip10(seed, account["path"])
        assert private == octets(account["privateSeed"])
        public = stranger.public_key(private)
        assert public == octets(account["publicKey"])
        assert stranger.bech32m("claw", public) == account["account"]
    guarded = stranger.bip39_seed(keys["words"], keys["withPassphrase"]["passphrase"])
    found = stranger.slip10(guarded, keys["accounts"][0]["path"])
    assert found == octets(keys["withPassphrase"]["privateSeed"])
    assert stranger.fee_account() == octets(keys["feeAccount"]["id"])
    for module in keys["moduleAccounts"]:
        assert stranger.module_account(module["module"]) == octets(module["id"])
        assert stranger.bech32m("claw", octets(module["id"])) == module["account"]


def test_a_stranger_hashes_alike() -> None:
    for vector in VECTORS["hashes"]:
        assert stranger.blake(vector["person"], octets(vector["input"])) == octets(vector["hash"])


def test_a_stranger_founds_the_same_network() -> None:
    genesis, authorities = VECTORS["genesis"], VECTORS["agreement"]["authorities"]
    id_of = {a["account"]: octets(a["publicKey"]) for a in VECTORS["keys"]["accounts"]}
    id_of |= dict(zip(authorities["texts"], map(octets, authorities["keys"]), strict=True))
    for text, key in id_of.items():
        assert stranger.bech32m(text.partition("1")[0], key) == text
    packed = stranger.genesis_bytes(genesis["json"], id_of)
    assert packed == octets(genesis["bytes"])
    assert stranger.blake("claw.genesis", packed) == octets(genesis["hash"])
    parameters = VECTORS["parameters"]
    packed = stranger.pack([1, *parameters["values"].values()])
    assert packed == octets(parameters["bytes"])
    assert stranger.blake("claw.params", packed) == octets(parameters["hash"])
    assert Genesis.from_json(json.dumps(genesis["json"])).hash == octets(genesis["hash"])


def test_a_stranger_names_the_same_proposals() -> None:
    for vote in VECTORS["votes"]:
        assert stranger.proposal_id(hexed(vote["contents"]), vote["expires"]) == octets(vote["id"])
    assert [vote["contents"][0] for vote in VECTORS["votes"]] == list(range(1, 9))


def hexed(value: Any) -> Any:
    """Vector fields as wire values."""
    if isinstance(value, str) and value.startswith("0x"):
        return octets(value)
    if isinstance(value, list):
        return [hexed(item) for item in value]
    return value


def test_a_stranger_makes_vouchers_and_ids_of_what_is_promised() -> None:
    promises = VECTORS["promises"]
    genesis, key = octets(promises["genesisHash"]), octets(promises["publicKey"])
    voucher = promises["voucher"]
    made = stranger.voucher_bytes(
        genesis,
        octets(voucher["channel"]),
        voucher["asset"],
        octets(voucher["payee"]),
        voucher["amount"],
    )
    assert made == octets(voucher["bytes"]) and len(made) == 136
    assert stranger.signature_holds(key, made, octets(voucher["signature"]))
    redemption = promises["redemption"]
    shown = octets(redemption["invoice"]), octets(redemption["request"])
    made = stranger.redemption_bytes(genesis, *shown)
    assert made == octets(redemption["bytes"]) and len(made) == 112
    assert stranger.signature_holds(key, made, octets(redemption["signature"]))

    def wire(value: Any) -> Any:
        if isinstance(value, list):
            return [wire(item) for item in value]
        return octets(value) if isinstance(value, str) and value.startswith("0x") else value

    for invoice in promises["invoices"]:
        packed = stranger.pack(wire(invoice["terms"]))
        assert stranger.blake("claw.invoice", packed) == octets(invoice["id"])
    packed = stranger.pack(wire(promises["batch"]["contents"]))
    assert stranger.blake("claw.batch", packed) == octets(promises["batch"]["id"])


@pytest.mark.parametrize("number", range(len(VECTORS["transactions"])))
def test_a_stranger_builds_the_same_transactions(number: int) -> None:
    vector = VECTORS["transactions"][number]
    body = stranger.body_bytes({name: hexed(value) for name, value in vector["body"].items()})
    assert body == octets(vector["bodyBytes"])
    assert stranger.blake("claw.txid", body) == octets(vector["txId"])
    entries, network = [], octets(VECTORS["genesis"]["hash"])
    for entry in vector["witness"]:
        account, key = octets(entry["account"]), octets(entry["publicKey"])
        signed = stranger.signing_hash(network, entry["role"], account, body)
        assert signed == octets(entry["signed"])
        assert stranger.signature_holds(key, signed, octets(entry["signature"]))
        entries.append([entry["role"], account, key, octets(entry["signature"])])
    raw = stranger.signed_form(body, entries[::-1])
    assert raw == octets(vector["signedBytes"])
    assert stranger.blake("claw.wtxid", raw) == octets(vector["wtxId"])
    cost = 40 + 60 * len(entries) + len(raw) // 16
    costs = {name: int(one) for name, one in re.findall(r"### `(.*)`\n\nCost (\d+)", REFERENCE)}
    assert vector["cost"] == cost + sum(costs[name] for name, _ in vector["body"]["actions"])


def test_a_stranger_s_payment_is_taken_and_paid() -> None:
    chain = Sandbox()
    body = stranger.transfer_body(
        chain.genesis.chain_id, chain.genesis.hash, ALICE.account, BOB.account, "EUR", 1_250,
        sequence=0, valid_until_ms=chain.time_ms + 60_000, fee=0, memo=b"from afar",
    )  # fmt: skip
    raw = stranger.sign_as_sender(ALICE.seed, chain.genesis.hash, ALICE.account, body)
    assert prepare(raw, chain.registry).transaction.tx_id == stranger.blake("claw.txid", body)
    assert chain.block(raw).receipts[0].code == 0
    assert chain.balance(BOB, "EUR") == 1_250


def header_wire(block: dict[str, Any]) -> list[Any]:
    return [hexed(value) for value in block["header"]["fields"].values()]


def authority_keys() -> list[bytes]:
    return [octets(key) for key in VECTORS["agreement"]["authorities"]["keys"]]


@pytest.mark.parametrize("number", range(len(VECTORS["blocks"])))
def test_a_stranger_checks_blocks_with_all_they_commit_to(number: int) -> None:
    block = VECTORS["blocks"][number]
    header = header_wire(block)
    assert stranger.pack(header) == octets(block["header"]["bytes"])
    assert stranger.block_id(header) == octets(block["header"]["blockId"])
    if number:
        parent = VECTORS["blocks"][number - 1]
        assert header[8] == octets(parent["header"]["blockId"])
        certificate = octets(parent["certificate"]["bytes"])
        assert header[9] == stranger.blake("claw.cert", certificate)
    else:
        assert header[8] == octets(VECTORS["genesis"]["hash"]) and header[9] == bytes(32)
        certificate = None
    raws = [octets(raw) for raw in block["transactions"]]
    evidence = [octets(item) for item in block["evidence"]]
    packed = [1, octets(block["header"]["bytes"]), certificate, evidence, raws]
    assert stranger.pack(packed) == octets(block["bytes"])
    assert stranger.list_root([stranger.blake("claw.wtxid", raw) for raw in raws]) == header[10]
    for name, place in (("receipts", 11), ("events", 12)):
        leaves = [stranger.pack(hexed(item["fields"])) for item in block[name]]
        assert leaves == [octets(item["bytes"]) for item in block[name]]
        assert stranger.list_root(leaves) == header[place]
        for at, path in enumerate(block[f"{name[:-1]}Paths"]):
            nodes = [octets(node) for node in path]
            assert stranger.root_of_path(leaves[at], at, len(leaves), nodes) == header[place]
    assert header[13] == stranger.list_root(evidence)
    keys = authority_keys()
    assert header[15] == stranger.blake("claw.authset", stranger.pack(keys)) == header[16]
    assert header[7] == keys[(header[4] - 1 + header[6]) % len(keys)]
    assert header[17] == octets(VECTORS["parameters"]["hash"])
    assert stranger.certificate_holds(octets(block["certificate"]["bytes"]), header, keys)


def test_a_stranger_refuses_what_is_no_certificate() -> None:
    block = VECTORS["blocks"][0]
    header, keys = header_wire(block), authority_keys()
    good = msgpack.unpackb(octets(block["certificate"]["bytes"]))
    other = header_wire(VECTORS["blocks"][1])
    wrong: list[tuple[list[Any], list[Any]]] = [(good, other)]
    for place, value in (
        (0, 2), (1, 1), (2, bytes(32)), (3, b"\x03"), (3, b"\x1b"), (3, good[3] + b"\x00"),
        (4, good[4][:2]), (4, good[4][::-1]), (4, [*good[4], bytes(64)]),
    ):  # fmt: skip
        changed = copy.deepcopy(good)
        changed[place] = value
        wrong.append((changed, header))
    for certificate, of in wrong:
        assert not stranger.certificate_holds(stranger.pack(certificate), of, keys)
    assert not stranger.certificate_holds(stranger.pack(good), header, keys[:3])


def test_a_stranger_signs_and_reads_what_authorities_sign() -> None:
    agreement, network = VECTORS["agreement"], octets(VECTORS["genesis"]["hash"])
    chain_id = VECTORS["genesis"]["json"]["chainId"]
    block = octets(VECTORS["blocks"][0]["header"]["blockId"])
    signed = agreement["signBytes"]
    domain = (chain_id, network, 0)
    prevote = stranger.vote_sign_bytes(*domain, 2, 1, 0, block)
    nil = stranger.vote_sign_bytes(*domain, 3, 1, 0, None)
    assert prevote == octets(signed["prevote"]) and nil == octets(signed["precommitNil"])
    assert stranger.proposal_sign_bytes(*domain, 1, 0, -1, block) == octets(signed["proposal"])
    assert stranger.proposal_sign_bytes(*domain, 1, 5, 2, block) == octets(signed["reproposal"])
    authorities = agreement["authorities"]
    keys = authority_keys()
    assert stranger.pack(keys) == octets(authorities["bytes"])
    assert authorities["quorum"] == 3 and authorities["honest"] == 2
    for turn in authorities["proposers"]:
        assert octets(turn["key"]) == keys[(turn["height"] - 1 + turn["round"]) % 4]
    for number, (name, message) in enumerate(agreement["messages"].items()):
        tag, data = msgpack.unpackb(octets(message["enveloped"]))
        assert data == octets(message["bytes"])
        assert tag == (1, 1, 2, 3, 4, 5)[number], name
        assert unpack_message(octets(message["enveloped"])).pack() == data
    kind, height, round_, voted, key, signature = msgpack.unpackb(
        octets(agreement["messages"]["prevote"]["bytes"])
    )
    assert (kind, height, round_, voted) == (2, 1, 0, block)
    assert stranger.signature_holds(key, prevote, signature)
    kind, height, round_, key, first, second = msgpack.unpackb(octets(agreement["evidence"]))
    assert (kind, height, round_, first[:2], second[:2]) == (2, 1, 0, [-1, None], [-1, block])
    nil_vote = stranger.vote_sign_bytes(*domain, 2, 1, 0, None)
    assert stranger.signature_holds(key, nil_vote, first[2])
    assert stranger.signature_holds(key, prevote, second[2])


def test_a_stranger_verifies_the_evidence_of_a_block_and_finds_it_in_state() -> None:
    network, chain_id = octets(VECTORS["genesis"]["hash"]), VECTORS["genesis"]["json"]["chainId"]
    (block,) = [block for block in VECTORS["blocks"] if block["evidence"]]
    packed = [octets(item) for item in block["evidence"]]
    assert msgpack.unpackb(octets(block["bytes"]))[3] == packed
    assert stranger.list_root(packed) == octets(block["header"]["fields"]["evidence_root"])
    slots = [stranger.evidence_slot(item) for item in packed]
    assert slots == sorted(set(slots))
    assert [msgpack.unpackb(item)[0] for item in packed] == [2, 1]
    keys, domain = authority_keys(), (chain_id, network, 0)
    records = {
        octets(record["key"]): msgpack.unpackb(octets(record["value"]))
        for record in VECTORS["state"]["records"]
        if record["tree"] == "governance"
    }
    assert records[b"E"] == [1, len(packed)]
    for number, item in enumerate(packed):
        assert stranger.evidence_convicts(*domain, item, keys)
        assert not stranger.evidence_convicts(chain_id, network, 1, item, keys)
        wire = msgpack.unpackb(item)
        others = [key for key in keys if key != wire[3]]
        assert not stranger.evidence_convicts(*domain, item, others)
        unsigned = [wire[5][0], wire[5][1], bytes(64)]
        for bent in ([*wire[:5], unsigned], [*wire[:4], wire[5], wire[4]]):
            assert not stranger.evidence_convicts(*domain, stranger.pack(bent), keys)
        assert records[b"E" + slots[number]] == [1, number]
        version, height, draft, proof = records[b"e" + number.to_bytes(8, "big")]
        assert (version, height, proof) == (1, block["header"]["fields"]["height"], item)
        assert b"p" + draft in records
        read = DoubleSign.unpack(item)
        assert read.slot == slots[number]
        read.verify(Domain(chain_id, network), AuthoritySet(keys), crypto.verify)


def test_a_stranger_computes_the_state_root_from_the_records() -> None:
    state = VECTORS["state"]
    trees: dict[str, dict[bytes, bytes]] = {module["name"]: {} for module in state["modules"]}
    for record in state["records"]:
        trees[record["tree"]][octets(record["key"])] = octets(record["value"])
    modules = []
    for module in state["modules"]:
        root = stranger.tree_root(trees[module["name"]])
        assert root == octets(module["root"])
        modules.append((module["name"], module["version"], root))
    assert stranger.state_root(modules) == octets(state["stateRoot"])
    last = VECTORS["blocks"][-1]["header"]["fields"]
    assert (state["height"], state["stateRoot"]) == (last["height"], last["state_root"])


def test_a_stranger_checks_state_proofs_of_every_kind() -> None:
    state, kinds = VECTORS["state"], set()
    root = octets(state["stateRoot"])
    for vector in state["proofs"]:
        tree, key, proof = vector["tree"], octets(vector["key"]), octets(vector["proof"])
        value = None if vector["value"] is None else octets(vector["value"])
        tree_proof = msgpack.unpackb(proof)[5]
        kinds.add((tree_proof[1], tree_proof[2] > 0))
        for check in (stranger.state_proof_holds, verify_state_proof):
            assert check(root, tree, key, value, proof)
            assert not check(root, tree, key, b"other" if value is None else None, proof)
            assert not check(root, tree, key + b"x", value, proof) or value is None
            assert not check(bytes(32), tree, key, value, proof)
            assert not check(root, "assets" if tree != "assets" else "kernel", key, value, proof)
    assert kinds == {(0, True), (1, True), (1, False), (2, True)}


def test_a_stranger_checks_a_payment_from_the_genesis_hash_alone() -> None:
    payment = VECTORS["payment"]
    genesis_hash, proof = octets(payment["genesisHash"]), payment["proof"]
    receipt = stranger.check_payment(proof, genesis_hash)
    assert receipt is not None and receipt[0] == octets(VECTORS["transactions"][0]["txId"])
    assert receipt[1] == 0
    assert stranger.check_payment(proof, bytes(32)) is None
    for member in ("genesis", "header", "certificate", "body"):
        last = "01" if proof[member].endswith("00") else "00"
        forged = {**proof, member: proof[member][:-2] + last}
        assert stranger.check_payment(forged, genesis_hash) is None
    forged = {**proof, "index": 1}
    assert stranger.check_payment(forged, genesis_hash) is None


def test_a_stranger_checks_every_proof_of_state_from_the_genesis_hash_alone() -> None:
    """By the document and these vectors alone, and as our own verifier does."""
    vectors, registry = VECTORS["stateBundles"], build_registry()
    genesis_hash, last = octets(vectors["genesisHash"]), len(VECTORS["blocks"])
    for name, bundle in vectors["proofs"].items():
        verdict = verify_document(bundle, genesis_hash, registry)
        assert verdict.valid and verdict.height == last, (name, verdict.reason)
        assert verdict.kind == bundle["kind"]
        proven = stranger.check_state(bundle, genesis_hash)
        assert proven is not None and proven[-1][0] == last, name
        assert stranger.check_state(bundle, bytes(32)) is None
    ((_, values),) = stranger.check_state(vectors["proofs"]["no such account"], genesis_hash) or []
    assert list(values.values()) == [None]
    ends = stranger.check_state(vectors["proofs"]["a statement"], genesis_hash)
    assert ends is not None and [height for height, _ in ends] == [1, last]


def test_refused_proofs_of_state_are_refused_at_the_step_that_is_named() -> None:
    vectors, registry = VECTORS["stateBundles"], build_registry()
    genesis_hash = octets(vectors["genesisHash"])
    steps = {"proof", "genesis", "authorityChanges", "header", "certificate", "values"}
    assert {case["step"] for case in vectors["refused"]} == steps
    for case in vectors["refused"]:
        forged = json.loads(json.dumps(vectors["proofs"][case["of"]]))
        inner = forged
        for name in case["at"][:-1]:
            inner = inner[name]
        inner[case["at"][-1]] = case["becomes"]
        verdict = verify_document(forged, genesis_hash, registry)
        assert (verdict.valid, verdict.step) == (False, case["step"]), (case, verdict.reason)
        assert stranger.check_state(forged, genesis_hash) is None, case


def test_the_state_s_records_are_as_the_document_says() -> None:
    """Account record, supply, network: by field number, from bytes."""
    records = {
        (record["tree"], octets(record["key"])): msgpack.unpackb(octets(record["value"]))
        for record in VECTORS["state"]["records"]
    }
    alice, bob = (octets(VECTORS["keys"]["accounts"][n]["publicKey"]) for n in (0, 1))
    account = records["kernel", b"a" + alice]
    spent = 12_500_000 + 6 * 1_000 + 2 * 50_000
    assert account[:4] == [1, alice, 1_000_000_000 - spent, 0]
    assert account[4] == (5).to_bytes(8, "big")
    assert records["kernel", b"a" + bob][1] != bob, "its key was changed"
    assert records["kernel", b"a" + bob][4] == bytes(40) + (2).to_bytes(8, "big")
    assert records["kernel", b"a" + stranger.fee_account()][1] is None
    assert records["kernel", b"uEUR"] == [1, 250_000]
    chain_id = VECTORS["genesis"]["json"]["chainId"]
    assert records["kernel", b"n"] == [1, chain_id, octets(VECTORS["genesis"]["hash"])]
    hashed = stranger.blake("claw.idemkey", bytes(range(16)))
    tx_id = octets(VECTORS["transactions"][0]["txId"])
    assert records["kernel", b"i" + alice + hashed] == [1, tx_id, 1, 0]
    time_ms = VECTORS["blocks"][0]["header"]["fields"]["time_ms"] + 86_400_000
    assert records["kernel", b"e" + time_ms.to_bytes(8, "big") + alice + hashed] == [1]
    assert records["assets", b"aEUR"] == [2, "EUR", 2, "Euro", None, 0, None, 0, 0]
    assert records["assets", b"c"] == [2, 2]
    carol = octets(VECTORS["keys"]["accounts"][2]["publicKey"])
    assert records["kernel", b"r" + carol + b"cashier"] == [1, 3, alice]
    assert records["kernel", b"q"] == [1, [["accounts.open", "cashier"]]]
    assert records["roles", b"h" + carol + b"cashier" + bytes(5)] == [1, 3, 1, alice, ""]
    assert records["roles", b"s" + carol + b"cashier"] == [1, 1, 0, 0]
    assert records["roles", b"mcashier" + bytes(5)] == [1, carol]
    vote = next(one for one in VECTORS["votes"] if one["action"] == "governance.setParameters")
    voter, proposal = stranger.public_key(octets(VECTORS["authoritySeeds"][0])), octets(vote["id"])
    found = records["governance", b"p" + proposal]
    assert found[:4] == [1, hexed(vote["contents"]), vote["expires"], voter]
    assert found[6:9] == [0, 0, [voter]]
    assert records["governance", b"o" + bytes(4)] == [1, proposal]


def test_a_stranger_reads_what_peers_send() -> None:
    peers, network = VECTORS["peers"], octets(VECTORS["genesis"]["hash"])
    frame = peers["frame"]
    (data,) = [octets(text) for text in frame["frames"]]
    assert data[:2] == bytes([frame["channel"], 1 | 2])
    size, rest = int.from_bytes(data[2:4], "big"), data[4:]
    length, kind, payload = int.from_bytes(rest[:4], "big"), rest[4], rest[5:]
    assert size == len(rest) and length == 1 + len(payload)
    assert (kind, payload) == (frame["kind"], octets(frame["payload"]))
    record, cipher = octets(frame["record"]), ChaCha20Poly1305(octets(peers["sendKey"]))
    assert int.from_bytes(record[:2], "big") == len(record) - 2
    assert cipher.decrypt(bytes(12), record[2:], None) == data
    preface = b"clawp2p\x00\x00\x01"
    for message in map(octets, peers["messages"][:2]):
        assert message[:10] == preface
        assert int.from_bytes(message[10:12], "big") == len(message) - 12
    version, key, places, issued, expires, signature = msgpack.unpackb(octets(peers["peerRecord"]))
    assert key == stranger.public_key(octets(peers["secrets"]["initiatorNode"]))
    signed = b"clawpurse/p2p/record/1" + network + stranger.pack([key, places, issued, expires])
    assert version == 1 and stranger.signature_holds(key, signed, signature)
