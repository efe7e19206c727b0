"""What the pages say of a proof is what nodes would say: golden vectors, odd and tampered ones.

A page that shows ✓ for a proof that does not hold is worse than one that checks nothing. The
checks themselves are in proof.test.mjs and run under Node, on the files as the node serves them;
cases that need the ledger to be made, or to say what is right, are made here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nacl.bindings
import pytest

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import Role
from clawpurse.wallet.builder import Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.proof_steps import place_fits
from clawpurse.wallet.proofs import check_payment_proof
from clawpurse.wallet.receipts import payment_document
from tests.need import need
from tests.wallet.smallchain import REGISTRY, START_MS, SmallChain

ROOT = Path(__file__).resolve().parent.parent.parent.parent
# By the names under which `/assets/` serves them.
STATICS = {"kit": ROOT / "modules/kit/pages/static", "node": ROOT / "node/dashboard/static"}
SECONDS_MAX = 120
GOLDEN = json.loads((ROOT / "tests/vectors/protocol.json").read_text("utf-8"))

# The order of the group, and encodings of all eight points of small order but the neutral one's
# odd ones (RFC 8032 §5.1; "Taming the many EdDSAs", table 1).
ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
)


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def pay(chain: SmallChain, sequence: int, amount: int) -> bytes:
    body = build_body(
        chain.terms,
        REGISTRY,
        chain.alice.account,
        Slot(0, sequence),
        [transfer_action("CLAW", chain.bob.account, amount)],
        valid_until_ms=START_MS + 600_000,
        fee=1,
    )
    return sign_body(body, [(Role.SENDER, chain.alice)]).raw


def document() -> Any:
    """What the golden payment's proof proves, as nodes say it."""
    payment = GOLDEN["payment"]
    genesis_hash = bytes.fromhex(payment["genesisHash"][2:])
    proven = check_payment_proof(payment["proof"], genesis_hash)
    return payment_document(payment["proof"], proven, REGISTRY)


def changed() -> dict[str, Any]:
    """A payment that a third set of authorities decided."""
    chain = SmallChain()
    chain.change_authorities([bytes([number]) * 32 for number in (2, 3, 4, 5)])
    chain.change_authorities([bytes([number]) * 32 for number in (3, 4, 5, 6, 7)])
    made = chain.block(pay(chain, 0, 5))
    proof = made.proof(certificate=chain.certify(made.header, 4).pack())
    check_payment_proof(proof, chain.genesis.hash)
    return {"proof": proof, "genesisHash": hexed(chain.genesis.hash)}


def balance() -> dict[str, Any]:
    """The balance of an account of the golden chain, as chain_getProof answers."""
    block = GOLDEN["blocks"][-1]
    for entry in GOLDEN["state"]["proofs"]:
        if entry["tree"] == "kernel" and entry["key"][2:4] == "61" and entry["value"]:
            record = codec.unpack(bytes.fromhex(entry["value"][2:]), size_max=65_536)
            return {
                "account": "0x" + entry["key"][4:],
                "asset": "CLAW",
                "amount": str(record[2]),
                "held": str(record[3]),
                "genesis": GOLDEN["genesis"]["bytes"],
                "genesisHash": GOLDEN["genesis"]["hash"],
                "answer": {
                    **entry,
                    "module": entry["tree"],
                    "header": {"raw": block["header"]["bytes"]},
                    "certificate": {"raw": block["certificate"]["bytes"]},
                },
            }
    raise AssertionError("no account is proven in the vectors")


def signatures() -> list[dict[str, Any]]:
    """Signatures, plain and odd ones, with the verdict of the library that authorities use."""
    seed = b"\x07" * 32
    key, message = crypto.public_key_of(seed), b"a message"
    good = crypto.sign(seed, message)
    scalar = int.from_bytes(good[32:], "little") + ORDER
    cases = [(key, message, good), (key, b"another", good), (key[:31], message, good)]
    cases += [(key, message, good[:32] + scalar.to_bytes(32, "little"))]
    cases += [
        (key, message, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) for at in range(64)
    ]
    odd = [bytes.fromhex(text) for text in SMALL] + [b"\xee" + b"\xff" * 30 + b"\x7f"]
    cases += [(one, message, other + bytes(32)) for one in odd for other in odd]
    for torsion in odd[:8]:
        cases.extend(_mixed(seed, torsion))
    return [
        {
            "key": hexed(one),
            "message": hexed(text),
            "signature": hexed(signature),
            "holds": crypto.verify(one, text, signature),
        }
        for one, text, signature in cases
    ]


def _mixed(seed: bytes, torsion: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Signatures in which R, or R and the key, have a part of small order.

    An equation with the cofactor forgives that part, one without it does not always: this is where
    verifiers part.
    """
    private = int.from_bytes(crypto.hasher(b"scalar")(seed), "little") % ORDER
    key = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(private.to_bytes(32, "little"))
    made = []
    for number in range(1, 5):
        nonce = number.to_bytes(32, "little")
        commitment = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        for own in {key, _added(key, torsion)}:
            for point in {commitment, _added(commitment, torsion)}:
                message = b"mixed %d" % number
                digest = nacl.bindings.crypto_hash_sha512(point + own + message)
                challenge = int.from_bytes(digest, "little") % ORDER
                scalar = (number + challenge * private) % ORDER
                made.append((own, message, point + scalar.to_bytes(32, "little")))
    return made


def _added(point: bytes, torsion: bytes) -> bytes:
    try:
        return bytes(nacl.bindings.crypto_core_ed25519_add(point, torsion))
    except RuntimeError:
        return point


def encodings() -> list[dict[str, Any]]:
    """Bytes that are canonical and bytes that are not, with the ledger's verdict."""
    numbers = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
    numbers += [-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)]
    plain = [codec.pack([number]) for number in numbers]
    for length in (0, 1, 31, 32, 255, 256, 65535, 65536):
        plain += [codec.pack([b"x" * length]), codec.pack(["x" * length])]
    plain += [codec.pack([0] * length) for length in (15, 16, 4096, 4097)]
    nested: Any = []
    for _ in range(10):
        plain.append(codec.pack(nested))
        nested = [nested]
    wide = ["91cc00", "91cd00ff", "91ce0000ffff", "91cf00000000ffffffff", "91d07f", "91d1ff80"]
    wide += ["91d2ffff8000", "91d3ffffffff80000000", "91c50001aa", "91c60000000161", "91d90161"]
    wide += ["91da000161", "91db0000000161", "dc000101", "dd0000000101", "9101ff", "91", "", "01"]
    wide += ["80", "9180", "91ca00000000", "91cb0000000000000000", "91c70001", "91d400aa", "91c1"]
    wide += ["91a1ff", "91a2c0af", "91c0", "91c2", "91c3", "91a3efbbbf", "9fff", "ddffffffff"]
    cases = plain + [bytes.fromhex(text) for text in wide]
    # The same numbers in every run, so that a failure can be looked at twice.
    chance = random.Random(7)
    for _ in range(1500):
        packed = bytearray(chance.choice([one for one in plain if len(one) < 400]))
        for _ in range(chance.randrange(1, 3)):
            packed[chance.randrange(len(packed))] = chance.randrange(256)
        cases.append(bytes(packed))
    return [{"bytes": hexed(data), "accepted": _accepted(data)} for data in cases]


def _accepted(data: bytes) -> bool:
    try:
        codec.unpack(data, size_max=70_000)
    except Malformed:
        return False
    return True


def turns() -> list[dict[str, Any]]:
    paths = ["".join(one) for size in range(5) for one in _binary(size)]
    return [
        {"index": index, "turns": sides, "fits": place_fits(index, sides)}
        for index in range(20)
        for sides in paths
    ]


def _binary(size: int) -> list[str]:
    return [f"{number:b}".zfill(size) if size else "" for number in range(2**size)]


def as_served(folder: Path) -> Path:
    """Both folders of static files beside each other, as the node serves them."""
    for name, static in STATICS.items():
        shutil.copytree(static, folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


# Between two bytes that are changed: each change costs the signatures of a certificate.
@pytest.mark.parametrize("spread", [23, pytest.param(1, marks=pytest.mark.full)])
def test_the_verifier_of_the_pages(tmp_path: Path, spread: int) -> None:
    node = need("node", "to run the pages' verifier")
    cases = {
        "document": document(),
        "changed": changed(),
        "balance": balance(),
        "signatures": signatures(),
        "msgpack": encodings(),
        "places": turns(),
    }
    assert {case["holds"] for case in cases["signatures"]} == {True, False}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(
        [node, "--test", str(Path(__file__).with_name("proof.test.mjs"))],
        env={
            "PATH": os.environ["PATH"],
            "CLAWPURSE_PAGES": str(as_served(tmp_path / "pages")),
            "CLAWPURSE_VECTORS": str(ROOT / "tests/vectors"),
            "CLAWPURSE_SPREAD": str(spread),
            "CLAWPURSE_CASES": str(tmp_path / "cases.json"),
        },
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
