"""Writes tests/vectors/protocol.json: the golden vectors of docs/protocol.md.

Run `python -m tests.vectors.generate` in the root to write the file anew, with `--print` to see
it only. Everything in it follows from fixed seeds; `tests/test_vectors.py` checks that running
it again gives the same file, under any hash seed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = Path(__file__).resolve().parent / "protocol.json"

if "clawpurse" not in sys.modules:
    # As tests/conftest.py does: `clawpurse` is this checkout, whatever else is installed.
    _spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
    _spec.submodule_search_locations = [str(ROOT)]
    sys.modules["clawpurse"] = importlib.util.module_from_spec(_spec)

from clawpurse.ledger import crypto  # noqa: E402
from clawpurse.ledger.address import account_text, authority_text  # noqa: E402
from clawpurse.ledger.agreement.certificates import (  # noqa: E402
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.envelope import pack_message  # noqa: E402
from clawpurse.ledger.agreement.evidence import DoubleSign  # noqa: E402
from clawpurse.ledger.agreement.messages import Proposal  # noqa: E402
from clawpurse.ledger.agreement.signbytes import Kind  # noqa: E402
from clawpurse.ledger.blocks import Header  # noqa: E402
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, module_account  # noqa: E402
from clawpurse.ledger.redeeming import redemption_bytes  # noqa: E402
from clawpurse.ledger.transactions import Transaction, decode_transaction  # noqa: E402
from clawpurse.ledger.transition import prepare  # noqa: E402
from clawpurse.ledger.vouchers import Terms, voucher_bytes  # noqa: E402
from clawpurse.modules.governance.actions import OPENINGS  # noqa: E402
from clawpurse.modules.governance.changes import Change, change_words  # noqa: E402
from clawpurse.modules.governance.changes import Kind as ChangeKind  # noqa: E402
from clawpurse.modules.payments.batches import Contents, Leg  # noqa: E402
from clawpurse.modules.payments.invoices import Terms as InvoiceTerms  # noqa: E402
from clawpurse.p2p.book import PeerRecord  # noqa: E402
from clawpurse.p2p.handshake import Handshake, Identity  # noqa: E402
from clawpurse.p2p.records import RecordCipher, frame_message  # noqa: E402
from clawpurse.wallet.keys import account_path, derive  # noqa: E402
from clawpurse.wallet.mnemonic import seed_of  # noqa: E402
from clawpurse.wallet.proofs import build_payment_proof  # noqa: E402
from clawpurse.wallet.state_proofs import (  # noqa: E402
    ACCOUNT,
    BALANCES,
    STATE,
    STATEMENT,
    ProvableBlock,
    ProvableValue,
    StateKey,
    build_state_proof,
    keys_of_account,
    keys_of_balances,
)
from tests.vectors.history import AUTHORITY_SEEDS, PHRASE, START_MS, Block, History  # noqa: E402


def text(data: bytes) -> str:
    """Bytes as the file has them: `0x` and hex."""
    return "0x" + data.hex()


def plain(value: Any) -> Any:
    """A wire value as JSON: bytes as hex, sequences as lists."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def hash_vectors() -> list[dict[str, str]]:
    """BLAKE2b-256 of `abc` under every tag in use."""
    tags = [value for name, value in vars(crypto).items() if name.startswith("PERSON_")]
    return [
        {
            "person": tag.decode("ascii"),
            "input": text(b"abc"),
            "hash": text(crypto.hasher(tag)(b"abc")),
        }
        for tag in tags
    ]


def key_vectors() -> dict[str, Any]:
    """From words to accounts."""
    seed = seed_of(PHRASE.split())
    accounts = []
    for index in range(3):
        private = derive(seed, account_path(index)).key
        public = crypto.public_key_of(private)
        accounts.append(
            {
                "path": account_path(index),
                "privateSeed": text(private),
                "publicKey": text(public),
                "account": account_text(public),
            }
        )
    protected = derive(seed_of(PHRASE.split(), "TREZOR"), account_path(0)).key
    return {
        "words": PHRASE,
        "bip39Seed": text(seed),
        "accounts": accounts,
        "withPassphrase": {"passphrase": "TREZOR", "privateSeed": text(protected)},
        "feeAccount": {"id": text(FEE_ACCOUNT), "account": account_text(FEE_ACCOUNT)},
        "moduleAccounts": [
            {
                "module": name,
                "id": text(module_account(name)),
                "account": account_text(module_account(name)),
            }
            for name in ("accounts", "assets", "roles", "governance")
        ],
    }


def transaction_vector(history: History, name: str, transaction: Transaction) -> dict[str, Any]:
    """One transaction with everything that is computed from it."""
    body = transaction.body
    wire = {spec: plain(value) for spec, value in zip(body._fields, body, strict=True)}
    return {
        "name": name,
        "body": wire,
        "bodyBytes": text(transaction.body_bytes),
        "txId": text(transaction.tx_id),
        "witness": [
            {
                "role": entry.role,
                "account": text(entry.account),
                "publicKey": text(entry.public_key),
                "signed": text(message),
                "signature": text(entry.signature),
            }
            for entry, (_, message, _) in zip(
                transaction.witness, transaction.signatures, strict=True
            )
        ],
        "signedBytes": text(transaction.raw),
        "wtxId": text(transaction.wtx_id),
        "cost": prepare(transaction.raw, history.registry).cost,
    }


def header_vector(header: Header) -> dict[str, Any]:
    """A header's fields in order, its bytes and its id."""
    values = {spec.name: plain(getattr(header, spec.name)) for spec in fields(header)}
    return {"fields": values, "bytes": text(header.pack()), "blockId": text(header.block_id)}


def path_vectors(leaves: list[bytes]) -> list[list[str]]:
    """The RFC 6962 path of each leaf."""
    return [[text(node) for node in crypto.list_path(leaves, at)] for at in range(len(leaves))]


def block_vector(block: Block) -> dict[str, Any]:
    """A block with its lists, and the certificate that decided it."""
    receipts = [receipt.pack() for receipt in block.result.receipts]
    events = [event.pack() for event in block.result.events]
    wtx_ids = [decode_transaction(raw).wtx_id for raw in block.block.transactions]
    return {
        "header": header_vector(block.block.header),
        "bytes": text(block.block.pack()),
        "transactions": [text(raw) for raw in block.block.transactions],
        "evidence": [text(packed) for packed in block.block.evidence],
        "transactionsRootLeaves": [text(leaf) for leaf in wtx_ids],
        "receipts": [
            {"fields": plain(receipt), "bytes": text(data)}
            for receipt, data in zip(block.result.receipts, receipts, strict=True)
        ],
        "receiptPaths": path_vectors(receipts),
        "events": [
            {"fields": plain(event), "bytes": text(data)}
            for event, data in zip(block.result.events, events, strict=True)
        ],
        "eventPaths": path_vectors(events),
        "certificate": certificate_vector(block.certificate),
    }


def certificate_vector(certificate: Certificate) -> dict[str, Any]:
    """A certificate's fields, bytes and hash."""
    return {
        "height": certificate.height,
        "round": certificate.round,
        "blockId": text(certificate.decided_id),
        "signers": text(certificate.signers),
        "signatures": [text(signature) for signature in certificate.signatures],
        "bytes": text(certificate.pack()),
        "hash": text(certificate.hash),
    }


def agreement_vectors(history: History) -> dict[str, Any]:
    """Authority set, sign bytes, messages and evidence, over the first block."""
    header, domain = history.blocks[0].block.header, history.domain
    authorities = history.authorities
    votes = {
        kind: {
            key: history.vote(number, kind, header.height, 0, header.block_id)
            for number, key in history.voters()
        }
        for kind in (Kind.PREVOTE, Kind.PRECOMMIT)
    }
    nil = [history.vote(number, Kind.PRECOMMIT, 1, 0, None) for number, _ in history.voters()]
    proposer = authorities.proposer(1, 0)
    proposal = Proposal(0, -1, header, proposer)
    proposal = proposal._replace(signature=history.sign(proposer, proposal.sign_bytes(domain)))
    first = votes[Kind.PREVOTE][authorities.keys[0]]
    other = history.vote(0, Kind.PREVOTE, 1, 0, None)
    messages: dict[str, Any] = {
        "prevote": first,
        "precommitNil": nil[0],
        "proposal": proposal,
        "certificate": Certificate.of(authorities, votes[Kind.PRECOMMIT]),
        "polka": PolkaCertificate.of(authorities, votes[Kind.PREVOTE]),
        "roundEntry": RoundCertificate(1, 1, tuple(nil)),
    }
    return {
        "authorities": {
            "keys": [text(key) for key in authorities.keys],
            "texts": [authority_text(key) for key in authorities.keys],
            "bytes": text(authorities.pack()),
            "hash": text(authorities.hash),
            "quorum": authorities.quorum_size,
            "honest": authorities.honest_size,
            "proposers": [
                {"height": h, "round": r, "key": text(authorities.proposer(h, r))}
                for h in (1, 2, 7)
                for r in (0, 1, 4)
            ],
        },
        "signBytes": {
            "prevote": text(first.sign_bytes(domain)),
            "precommitNil": text(nil[0].sign_bytes(domain)),
            "proposal": text(proposal.sign_bytes(domain)),
            "reproposal": text(proposal._replace(round=5, valid_round=2).sign_bytes(domain)),
        },
        "messages": {
            name: {"bytes": text(message.pack()), "enveloped": text(pack_message(message))}
            for name, message in messages.items()
        },
        "evidence": text(DoubleSign.of(first, other).pack()),
    }  # fmt: skip


def state_vectors(history: History) -> dict[str, Any]:
    """Records of the newest state, its roots, and proofs of every kind."""
    state = history.state
    records = [
        {"tree": tree, "key": text(key), "value": text(value)}
        for (tree, key), value in sorted(history.records.items())
    ]
    absent = [("kernel", b"a" + bytes([number]) * 32) for number in range(12)]
    asked = [(tree, key) for tree, key in sorted(history.records)] + absent + [("accounts", b"x")]
    return {
        "height": len(history.blocks),
        "stateRoot": text(state.state_root),
        "modules": [
            {"name": name, "version": version, "root": text(state.roots[name])}
            for name, version in state.modules
        ],
        "records": records,
        "proofs": [
            {
                "tree": tree,
                "key": text(key),
                "value": plain(history.records.get((tree, key))),
                "proof": text(state.prove(tree, key)),
            }
            for tree, key in asked
        ],
    }


def proof_vectors(history: History) -> dict[str, Any]:
    """A payment proof, and the genesis hash that it is checked against."""
    block = history.blocks[0]
    proof = build_payment_proof(
        genesis=history.genesis.packed,
        changes=[],
        header=block.block.header.pack(),
        certificate=block.certificate.pack(),
        receipts=[receipt.pack() for receipt in block.result.receipts],
        events=[event.pack() for event in block.result.events],
        index=0,
        transaction=block.block.transactions[0],
    )
    return {"genesisHash": text(history.genesis.hash), "proof": proof}


def state_bundle_vectors(history: History) -> dict[str, Any]:
    """Proofs of state of every kind, and changes of them that must be refused."""
    last, alice, bob = len(history.blocks), history.alice.account, history.bob.account

    def block(height: int, keys: Sequence[StateKey]) -> ProvableBlock:
        made = history.blocks[height - 1]
        view = history.state.at_height(height, proofs=True)
        for _ in view.steps():
            pass
        values = [ProvableValue(*key, view.get(*key), view.prove(*key)) for key in keys]
        view.close()
        return ProvableBlock(made.block.header.pack(), made.certificate.pack(), values)

    def bundle(kind: str, keys: Sequence[StateKey], *heights: int) -> dict[str, Any]:
        blocks = [block(height, keys) for height in heights]
        genesis = history.genesis.packed
        return build_state_proof(kind, genesis=genesis, changes=[], blocks=blocks)

    both = keys_of_balances(alice, ("CLAW", "EUR"))
    absent = (StateKey("kernel", b"a" + bytes([1]) * 32),)
    proofs = {
        "a record of a module": bundle(STATE, both[:1], last),
        "no such account": bundle(STATE, absent, last),
        "an account": bundle(ACCOUNT, keys_of_account(alice), last),
        "balances": bundle(BALANCES, both, last),
        "balances, one of them none": bundle(BALANCES, keys_of_balances(bob, ("CLAW", "X")), last),
        "a statement": bundle(STATEMENT, both, 1, last),
        "a statement from the first block": bundle(STATEMENT, both, last),
    }
    one = ["blocks", 0, "values", 0]
    refused: list[dict[str, Any]] = [
        {"of": of, "at": at, "becomes": becomes, "step": step}
        for of, at, becomes, step in (
            ("an account", ["version"], 2, "proof"),
            ("an account", ["kind"], "account ", "proof"),
            ("an account", ["kind"], "balances", "values"),
            ("a record of a module", ["kind"], "account", "values"),
            ("a statement", ["kind"], "balances", "proof"),
            ("a statement", ["blocks"], [], "proof"),
            ("an account", ["genesis"], text(history.genesis.packed[:-1]), "genesis"),
            ("an account", ["authorityChanges"], [{}], "authorityChanges"),
            ("an account", ["blocks", 0, "header"], "0x90", "header"),
            ("an account", ["blocks", 0, "certificate"], "0x90", "certificate"),
            ("an account", [*one, "value"], None, "values"),
            ("an account", [*one, "module"], "assets", "values"),
            ("an account", [*one, "key"], text(b"a" + bob), "values"),
            ("no such account", [*one, "value"], "0x00", "values"),
            ("balances", ["blocks", 0, "values", 3, "proof"], "0x", "values"),
        )
    ]
    return {"genesisHash": text(history.genesis.hash), "proofs": proofs, "refused": refused}


def vote_vectors(history: History) -> list[dict[str, Any]]:
    """A proposal of every kind: its contents, what it says, its id, the action of its vote."""
    key, other = history.authorities.keys[0], crypto.public_key_of(bytes([0x31]) * 32)
    arguments: dict[ChangeKind, tuple[Any, ...]] = {
        ChangeKind.ADD: (other,),
        ChangeKind.REMOVE: (key,),
        ChangeKind.REPLACE: (key, other),
        ChangeKind.PARAMETERS: ("fee_min=2000,interval_ms=500",),
        ChangeKind.GRANT: ("admin", history.bob.account),
        ChangeKind.REVOKE: ("admin", history.alice.account),
        ChangeKind.AMEND: ("example", 1_000),
        ChangeKind.CANCEL: ("example",),
    }
    return [
        {
            "action": OPENINGS[kind].name,
            "contents": plain(Change(kind, values).to_wire()),
            "expires": START_MS + 600_000,
            "says": change_words(Change(kind, values)),
            "id": text(Change(kind, values).id(START_MS + 600_000)),
        }
        for kind, values in arguments.items()
    ]


def promise_vectors(history: History) -> dict[str, Any]:
    """A voucher, a redemption, and the ids of an invoice and a batch."""
    payer, payee = bytes([0x41]) * 32, history.bob.account
    key, genesis_hash = crypto.public_key_of(payer), history.genesis.hash
    terms = Terms(genesis_hash, crypto.due_hash_of(b"channel"), "EURX", payee)
    voucher = voucher_bytes(terms, 125_000)
    salt, ends_ms = crypto.due_hash_of(b"salt"), START_MS + 3_600_000
    invoice = InvoiceTerms(salt, payee, "EURX", 2_500, key, salt, b"order 7", ends_ms)
    open_invoice = invoice._replace(payer=None, preimage_hash=None)
    request = crypto.message_hash_of(b"request")
    redemption = redemption_bytes(genesis_hash, open_invoice.id, request)
    legs = (Leg(payee, 1_250, b"may"), Leg(key, 7, b""))
    batch = Contents(salt, key, "EURX", legs, 1, (payee,), ends_ms, b"payroll", None)
    return {
        "seed": text(payer),
        "publicKey": text(key),
        "genesisHash": text(genesis_hash),
        "voucher": {
            "channel": text(terms.channel_id),
            "asset": terms.asset,
            "payee": text(payee),
            "amount": 125_000,
            "bytes": text(voucher),
            "signature": text(crypto.sign(payer, voucher)),
        },
        "invoices": [{"terms": plain(one), "id": text(one.id)} for one in (invoice, open_invoice)],
        "redemption": {
            "invoice": text(open_invoice.id),
            "request": text(request),
            "bytes": text(redemption),
            "signature": text(crypto.sign(payer, redemption)),
        },
        "batch": {"contents": plain(batch), "id": text(batch.id)},
    }


def peer_vectors(history: History) -> dict[str, Any]:
    """A handshake with fixed keys, the first record, a message's frames, a peer record."""
    seeds = [bytes([number]) * 32 for number in range(0x21, 0x27)]

    def identity(node: bytes, static: bytes) -> Identity:
        return Identity(history.genesis.chain_id, history.genesis.hash, node, static, "vector")

    ours = Handshake(identity(seeds[0], seeds[1]), initiator=True, ephemeral_secret=seeds[2])
    theirs = Handshake(identity(seeds[3], seeds[4]), initiator=False, ephemeral_secret=seeds[5])
    first = ours.start()
    theirs.feed(first)
    second = theirs.advance()
    ours.feed(second)
    third = ours.advance()
    theirs.feed(third)
    theirs.advance()
    assert ours.secured is not None
    frames = frame_message(4, 3, bytes(range(40)))
    names = "initiatorNode initiatorStatic initiatorEphemeral".split()
    names += "responderNode responderStatic responderEphemeral".split()
    record = PeerRecord(crypto.public_key_of(seeds[0]), (("node.example", 9640),), 1_000, 2_000)
    signed = record.signed(seeds[0], history.genesis.hash)
    return {
        "secrets": {name: text(seed) for name, seed in zip(names, seeds, strict=True)},
        "agent": "vector",
        "messages": [text(message) for message in (first, second, third)],
        "sendKey": text(ours.secured.send_key),
        "receiveKey": text(ours.secured.receive_key),
        "session": text(ours.secured.session),
        "frame": {
            "channel": 4,
            "kind": 3,
            "payload": text(bytes(range(40))),
            "frames": [text(frame) for frame in frames],
            "record": text(RecordCipher(ours.secured.send_key).seal(b"".join(frames))),
        },
        "peerRecord": text(signed.pack()),
    }


def document() -> dict[str, Any]:
    """Everything, as the file has it."""
    history = History()
    return {
        "about": "Golden vectors of docs/protocol.md, written by tests/vectors/generate.py.",
        "hashes": hash_vectors(),
        "keys": key_vectors(),
        "authoritySeeds": [text(seed) for seed in AUTHORITY_SEEDS],
        "parameters": {
            "values": {
                f.name: getattr(history.genesis.params, f.name)
                for f in fields(history.genesis.params)
            },
            "bytes": text(history.genesis.params.pack()),
            "hash": text(history.genesis.params.hash),
        },
        "genesis": {
            "json": json.loads(history.genesis.to_json()),
            "bytes": text(history.genesis.packed),
            "hash": text(history.genesis.hash),
        },
        "transactions": [
            transaction_vector(history, name, transaction)
            for name, transaction in history.transactions.items()
        ],
        "votes": vote_vectors(history),
        "agreement": agreement_vectors(history),
        "blocks": [block_vector(block) for block in history.blocks],
        "state": state_vectors(history),
        "payment": proof_vectors(history),
        "stateBundles": state_bundle_vectors(history),
        "peers": peer_vectors(history),
        "promises": promise_vectors(history),
    }


def rendered() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(rendered(), end="")
    else:
        FILE.write_text(rendered(), "utf-8")
