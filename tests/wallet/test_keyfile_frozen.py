"""A key file of today opens for ever, and its key derivation is the published one.

The bytes under `vectors/` were written by version 1 of the format, one file for each kind of
key. A later version of the format adds files of its own here; none is ever taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2d, Argon2i, Argon2id

from clawpurse.ledger.address import account_text
from clawpurse.wallet import keyfile
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost, KeyRecord, Secret
from clawpurse.wallet.keys import account_path
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.passphrase import passphrase_bytes

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
PASSPHRASE = "frozen in a test vector"


class Frozen(NamedTuple):
    """What a frozen file holds: its secret, where on the tree, and for which account."""

    file: str
    name: str
    secret: Secret
    path: str | None
    account: bytes | None = None

    def record(self) -> KeyRecord:
        signer = keyfile.signing_key_of(self.secret, self.path, self.account)
        blank = KeyRecord(
            self.name,
            signer.account,
            signer.public_key,
            self.path,
            KDF_DEFAULT,
            bytes(range(16)),
            bytes(range(24)),
        )
        return keyfile.seal(blank, self.secret, PASSPHRASE)


FROZEN = [
    Frozen(
        "keyfile_v1.json", "frozen", Secret("english", bytes(range(1, 33))), account_path(0)
    ),
    Frozen(
        "keyfile_v1_japanese.json",
        "frozen-japanese",
        Secret("japanese", bytes(range(100, 120))),
        account_path(7),
    ),
    Frozen(
        "keyfile_v1_seed.json",
        "frozen-seed",
        Secret(None, bytes(range(200, 232))),
        None,
        bytes(range(32)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda one: one.name)
def test_a_file_of_today_opens_for_ever(
    frozen: Frozen, tmp_path: Path, clock: Callable[[], int], cheap: KdfCost
) -> None:
    """These bytes were written by version 1; every later version must read them."""
    data = (VECTORS / frozen.file).read_bytes()
    record = keyfile.decode(data)
    assert record.cost == KdfCost(3, 128 * 2**20)
    assert keyfile.encode(record) == data
    keys = Keystore(tmp_path / "keys", now_ms=clock, cost=cheap)
    keys.directory.mkdir(mode=0o700)
    (keys.directory / f"{frozen.name}.json").write_bytes(data)
    opened = keys.unlock(frozen.name, PASSPHRASE)
    assert opened.secret == frozen.secret and opened.path == frozen.path
    assert account_text(opened.account) == json.loads(data)["account"]
    if frozen.account is not None:
        assert opened.account == frozen.account


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda one: one.name)
def test_what_is_written_today_is_what_was_frozen(frozen: Frozen) -> None:
    """Fails when the format changes without a new version number."""
    assert keyfile.encode(frozen.record()) == (VECTORS / frozen.file).read_bytes()


@pytest.mark.parametrize(
    ("variant", "section", "tag"),
    [
        (Argon2d, "5.1", "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb"),
        (Argon2i, "5.2", "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"),
        (Argon2id, "5.3", "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"),
    ],
)
def test_the_oracle_passes_the_vectors_of_rfc_9106(
    variant: type[Argon2d | Argon2i | Argon2id], section: str, tag: str
) -> None:
    """What libsodium's interface cannot be asked: four lanes, a secret, associated data.

    So an independent implementation (OpenSSL's) is held to the RFC's own vectors here, and
    ours to it below, where both can be asked the same.
    """
    oracle = variant(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        ad=b"\x04" * 12,
        secret=b"\x03" * 8,
    )
    assert oracle.derive(b"\x01" * 32).hex() == tag, section


@pytest.mark.parametrize(
    "cost", [KdfCost(1, 8 * 2**20), KdfCost(2, 9 * 2**20 + 5 * 1024), KDF_DEFAULT]
)
@pytest.mark.parametrize("passphrase", ["some passphrase", "pässwörter 合言葉 ﬁve", "x" * 1024])
def test_our_argon2id_agrees_with_the_oracle(cost: KdfCost, passphrase: str) -> None:
    """A thief's cost of a guess is the one that the RFC promises, not an accident of ours."""
    salt = b"\x07" * 15 + b"\xff"
    record = KeyRecord("x", bytes(32), bytes(32), None, cost, salt, bytes(24))
    oracle = Argon2id(
        salt=salt,
        length=32,
        iterations=cost.passes,
        lanes=1,
        memory_cost=cost.memory_bytes // 1024,
    )
    expected = oracle.derive(passphrase_bytes(passphrase))
    assert keyfile._stretch(passphrase, record) == expected
