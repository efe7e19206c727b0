"""Persons' data under persons' keys: what opens, what does not, and who has the master key."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, OperatorError, StorageFault
from clawpurse.modules.kit.privacy import master
from clawpurse.modules.kit.privacy.sealing import (
    KEYS_KEPT_MAX,
    KeyRing,
    MasterKey,
    Sealed,
    SubjectCipher,
    commit,
    new_key,
    opens,
)

PLACE = ("desk", "ticket", "T-1", "subject")


@given(st.binary(max_size=200))
def test_a_value_opens_where_it_was_sealed_and_nowhere_else(value: bytes) -> None:
    """Otherwise somebody with the database moves one person's answer under another's name."""
    cipher = SubjectCipher(b"k" * 32)
    sealed = cipher.seal(value, PLACE)
    assert cipher.open(sealed, PLACE) == value
    assert value not in sealed or len(value) < 4
    for place in (("desk", "ticket", "T-2", "subject"), ("desk", "ticketT", "-1", "subject")):
        with pytest.raises(StorageFault):
            cipher.open(sealed, place)
    with pytest.raises(StorageFault):
        SubjectCipher(b"l" * 32).open(sealed, PLACE)


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_changed_byte_opens(at: int, flip: int) -> None:
    """Otherwise a value can be edited in the database without the key."""
    cipher = SubjectCipher(b"k" * 32)
    sealed = bytearray(cipher.seal(b"x" * 40, PLACE))
    sealed[at % len(sealed)] ^= flip
    for damaged in (bytes(sealed), bytes(sealed[: at % len(sealed)])):
        with pytest.raises(StorageFault):
            cipher.open(damaged, PLACE)


def test_a_commitment_tells_nothing_and_holds() -> None:
    """Otherwise a name can be guessed from the chain, or another be shown in its place."""
    key = new_key()
    made = commit(key, "customer/C-1", "desk/customer/name", b"Ada")
    assert opens(made, key, "customer/C-1", "desk/customer/name", b"Ada")
    assert not opens(made, new_key(), "customer/C-1", "desk/customer/name", b"Ada")
    assert not opens(made, key, "customer/C-2", "desk/customer/name", b"Ada")
    assert not opens(made, key, "customer/C-1", "desk/customer/mail", b"Ada")
    assert not opens(made, key, "customer/C-1", "desk/customer/name", b"Eve")
    # The parts have lengths: what one ends with never begins the next.
    assert commit(key, "ab", "c", b"") != commit(key, "a", "bc", b"")
    with pytest.raises(Bug):
        commit(b"short", "a", "b", b"")


def test_keys_are_wrapped_by_one_master_and_forgotten_when_they_are_many() -> None:
    """Otherwise every person's key stays in memory, or another installation's opens ours."""
    ring = KeyRing(MasterKey(b"m" * 32))
    wrapped = {f"customer/C-{number}": ring.made(f"customer/C-{number}")[0] for number in range(3)}
    sealed = ring.cipher("customer/C-1", wrapped["customer/C-1"]).seal(b"x", PLACE)
    for number in range(KEYS_KEPT_MAX + 10):
        ring.made(f"other/O-{number}")
    assert ring.cipher("customer/C-1", wrapped["customer/C-1"]).open(sealed, PLACE) == b"x"
    with pytest.raises(StorageFault):
        KeyRing(MasterKey(b"n" * 32)).cipher("customer/C-1", wrapped["customer/C-1"])
    with pytest.raises(StorageFault):
        ring.cipher("customer/C-2", wrapped["customer/C-1"])
    with pytest.raises(Sealed):
        ring.cipher("customer/C-1", None)
    assert "m" * 8 not in repr(ring) + repr(MasterKey(b"m" * 32))


def test_a_key_that_was_let_go_of_is_not_brought_back_by_an_old_snapshot() -> None:
    """Otherwise a reader that began before an erasure leaves the key in memory until a restart."""
    ring = KeyRing(MasterKey(b"m" * 32))
    wrapped, cipher = ring.made("customer/C-1")
    assert ring.holds("customer/C-1")
    sealed = cipher.seal(b"x", PLACE)
    ring.forget("customer/C-1")
    assert ring.cipher("customer/C-1", wrapped).open(sealed, PLACE) == b"x"
    assert not ring.holds("customer/C-1")
    for number in range(KEYS_KEPT_MAX):
        ring.forget(f"other/O-{number}")
    ring.made("customer/C-2")
    assert ring.holds("customer/C-2")


def test_a_key_file_is_its_owner_s_alone_and_never_written_over(tmp_path: Path) -> None:
    """Otherwise another user reads what opens everything, or a second key loses all data."""
    path = tmp_path / "keys" / "master"
    master.create_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = master.from_file(path)
    assert first.unwrap("a", first.wrap("a", b"k" * 32)) == b"k" * 32
    with pytest.raises(OperatorError):
        master.create_file(path)
    os.chmod(path, 0o640)
    with pytest.raises(OperatorError, match="read by others"):
        master.from_file(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(OperatorError):
        master.from_file(link)
    with pytest.raises(OperatorError, match="no master key"):
        master.from_file(tmp_path / "nothing")
    (tmp_path / "short").write_text("abc")
    os.chmod(tmp_path / "short", 0o600)
    with pytest.raises(OperatorError) as told:
        master.from_file(tmp_path / "short")
    assert "abc" not in str(told.value).replace(str(tmp_path), "")


def test_a_command_may_give_the_key_and_its_output_goes_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a secrets service cannot be used, or its answer stands in a log."""
    good = master.from_command(f"{sys.executable} -c \"print('0f' * 32)\"")
    assert good.wrap("a", b"k" * 32)
    for bad in (
        f"{sys.executable} -c \"print('secret-canary')\"",
        f"{sys.executable} -c \"import sys; print('secret-canary'); sys.exit(3)\"",
        f"{sys.executable} -c \"import sys; sys.stderr.write('secret-canary'); sys.exit(3)\"",
        str(tmp_path / "nothing"),
        "",
        "'",
    ):
        with pytest.raises(OperatorError) as told:
            master.from_command(bad)
        assert "canary" not in str(told.value)
    assert "canary" not in "".join(capfd.readouterr())


def test_a_passphrase_is_stretched_and_short_ones_refused() -> None:
    """Otherwise whoever copies the database tries a dictionary in an afternoon."""
    salt = b"s" * master.SALT_BYTES
    first = master.from_passphrase("correct horse battery", salt)
    wrapped = first.wrap("a", b"k" * 32)
    assert master.from_passphrase("correct horse battery", salt).unwrap("a", wrapped)
    with pytest.raises(StorageFault):
        master.from_passphrase("correct horse batterz", salt).unwrap("a", wrapped)
    with pytest.raises(OperatorError):
        master.from_passphrase("short", salt)
