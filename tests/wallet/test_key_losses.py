"""Nothing that breaks loses a key: kill -9 at every step, flipped bits, full disks, races."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawpurse.ledger.errors import Malformed, StorageFault, WrongPassphrase
from clawpurse.wallet import keyfile
from clawpurse.wallet.keyfile import KdfCost, KeyRecord
from clawpurse.wallet.keystore import Keystore
from tests.wallet.crashing import NEW, OLD, STORIES, WORDS, opens

CRASHING = Path(__file__).parent / "crashing.py"
DEADLINE_S = 300
# Done in every run; the others, a few seconds each, in full ones.
ALWAYS = ("import", "passphrase", "ageing", "label")
# Fewer steps than this, and the counting misses what it should count.
STEPS_MIN = 8


def crashed(story: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CRASHING), str(folder), story],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.real
@pytest.mark.parametrize(
    "story",
    [
        pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.full)
        for name in sorted(STORIES)
    ],
)
def test_kill_9_before_every_step_on_the_disk_loses_nothing(story: str, tmp_path: Path) -> None:
    done = crashed(story, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= STEPS_MIN


@pytest.mark.real
def test_the_crashes_notice_a_file_that_is_written_in_place(tmp_path: Path) -> None:
    """A check that never fails checks nothing."""
    done = crashed("in-place", tmp_path)
    assert done.returncode != 0
    assert "lost by a kill before step" in done.stderr


def test_every_bit_of_a_key_file_is_noticed_when_it_flips(keys: Keystore) -> None:
    """Each of some 7,000 flips is called damage, or changes nothing that counts; none opens."""
    record = keyfile.decode(keys.import_words("alice", OLD, WORDS).file.read_bytes())
    good = keyfile.encode(record)
    for place in range(len(good)):
        for bit in range(8):
            flipped = bytearray(good)
            flipped[place] ^= 1 << bit
            try:
                assert keyfile.decode(bytes(flipped)) == record
            except Malformed:
                continue


def test_every_byte_of_what_is_sealed_is_bound_though_the_checksum_is_mended(
    keys: Keystore,
) -> None:
    record = keyfile.decode(keys.import_words("alice", OLD, WORDS).file.read_bytes())
    for field in ("salt", "nonce", "sealed", "public_key", "account"):
        octets = getattr(record, field)
        for place in range(len(octets)):
            changed = bytearray(octets)
            changed[place] ^= 0x01
            forged = KeyRecord(**{**record.__dict__, field: bytes(changed)})
            assert keyfile.decode(keyfile.encode(forged)) == forged
            assert keyfile.unseal(forged, OLD) is None


def test_a_corrupted_keystore_never_looks_like_a_wrong_passphrase(keys: Keystore) -> None:
    """No wait is counted for damage, the file is left as it is, and the words bring it back."""
    info = keys.import_words("alice", OLD, WORDS)
    good = info.file.read_bytes()
    for place in range(0, len(good), 41):
        broken = good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :]
        info.file.write_bytes(broken)
        try:
            keys.unlock("alice", OLD)
        except StorageFault as err:
            assert err.next_command == "clawpurse keys import alice"
            assert info.file.read_bytes() == broken
    assert not (keys.directory / ".alice.guesses").exists()
    info.file.write_bytes(good[: len(good) // 2])
    assert keys.import_words("alice", NEW, WORDS).account == info.account
    assert opens(keys, "alice", NEW)
    assert (keys.directory / "alice.damaged-1").read_bytes() == good[: len(good) // 2]


@contextmanager
def small_disk(at: Path, options: str) -> Iterator[Path]:
    """A real file system with almost no room. Skips where mounting is not allowed."""
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(at)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs root here; full disks are injected in test_keystore.py")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True, timeout=60)


def fill(folder: Path) -> Path:
    """Take every byte that is left; return the file to remove for room."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return ballast


@pytest.mark.real
def test_a_full_disk_refuses_and_keeps_everything(
    tmp_path: Path, clock: Callable[[], int], cheap: KdfCost
) -> None:
    """On a real file system without a byte left, and once there is room, all goes on."""
    with small_disk(tmp_path / "disk", "size=256k") as disk:
        keys = Keystore(disk / "keys", now_ms=clock, cost=cheap)
        info = keys.import_words("alice", OLD, WORDS)
        keys.set_label("alice", "rent")
        before = info.file.read_bytes()
        ballast = fill(disk)
        attempts: dict[str, Callable[[], object]] = {
            "add": lambda: keys.add("bob", OLD),
            "passphrase": lambda: keys.change_passphrase("alice", OLD, NEW),
            "import": lambda: keys.import_words("alice", NEW, WORDS),
            "derive": lambda: keys.derive("savings", "alice", OLD),
            "rename": lambda: keys.rename("alice", "anna", OLD),
            "label": lambda: keys.set_label("alice", "food"),
            "watch": lambda: keys.watch("treasury", bytes(32)),
            "count": lambda: keys.unlock("alice", "wrong wrong wrong"),
        }
        for name, attempt in attempts.items():
            with pytest.raises(StorageFault, match="No space left on device"):
                attempt()
            assert info.file.read_bytes() == before, name
        told: list[object] = []
        dearer = Keystore(
            keys.directory,
            now_ms=clock,
            cost=KdfCost(1, 9 * 2**20),
            on_renewed=lambda _, problem: told.append(problem),
        )
        assert dearer.unlock("alice", OLD).account == info.account
        assert isinstance(told[0], StorageFault)
        assert keys.names() == ["alice"] and keys.show("alice").label == "rent"
        assert not [one for one in os.listdir(keys.directory) if "unfinished" in one]
        ballast.unlink()
        assert keys.change_passphrase("alice", OLD, NEW).account == info.account
        assert opens(keys, "alice", NEW)


@pytest.mark.real
def test_a_disk_without_inodes_refuses_and_keeps_everything(
    tmp_path: Path, clock: Callable[[], int], cheap: KdfCost
) -> None:
    with small_disk(tmp_path / "disk", "size=1m,nr_inodes=8") as disk:
        keys = Keystore(disk / "keys", now_ms=clock, cost=cheap)
        info = keys.import_words("alice", OLD, WORDS)
        before = info.file.read_bytes()
        for number in range(20):
            try:
                (disk / f"ballast{number}").touch()
            except OSError:
                break
        for attempt in (
            lambda: keys.add("bob", OLD),
            lambda: keys.change_passphrase("alice", OLD, NEW),
        ):
            with pytest.raises(StorageFault, match="No space left on device"):
                attempt()
        assert info.file.read_bytes() == before
        assert keys.unlock("alice", OLD).account == info.account


RACER = """
import sys
from pathlib import Path
from clawpurse.ledger.errors import ClawPurseError
from clawpurse.wallet.keyfile import KdfCost, KeyRecord
from clawpurse.wallet.keystore import Keystore
keys = Keystore(Path(sys.argv[1]), now_ms=lambda: 10**12, cost=KdfCost(1, 8 * 2**20))
word = sys.argv[2]
passphrase = "correct horse battery"
print("ready", flush=True)
sys.stdin.readline()
"""


def race(keys: Keystore, code: str, words: list[str]) -> list[str]:
    """Run a process for each word, all let go at once; return what they said."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER + code, str(keys.directory), word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for word in words
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    said = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        out, err = racer.communicate(timeout=DEADLINE_S)
        assert racer.returncode == 0, err
        said.append(out.strip())
    return said


@pytest.mark.real
def test_processes_that_derive_at_once_take_different_accounts(
    keys: Keystore, passphrase: str
) -> None:
    """Two windows that make "the next account" must not make one account under two names."""
    keys.add("alice", passphrase)
    paths = race(
        keys, "print(keys.derive(word, 'alice', passphrase).path)", [f"k{n}" for n in range(4)]
    )
    assert sorted(paths) == [f"m/44'/7333'/0'/0'/{index}'" for index in range(1, 5)]


@pytest.mark.real
def test_a_process_that_reseals_and_one_that_unlocks_do_not_disturb_each_other(
    keys: Keystore, passphrase: str
) -> None:
    info, _ = keys.add("alice", passphrase)
    code = """
for number in range(15):
    if word == "reseal":
        keys.change_passphrase("alice", passphrase, passphrase)
    elif word == "label":
        keys.set_label("alice", f"label {number}")
    else:
        assert keys.unlock("alice", passphrase).account == keys.show("alice").account
print("done")
"""
    assert race(keys, code, ["reseal", "unlock", "label", "unlock"]) == ["done"] * 4
    assert keys.unlock("alice", passphrase).account == info.account
    assert keys.show("alice").label == "label 14"
    assert not [one for one in os.listdir(keys.directory) if "unfinished" in one]


@pytest.mark.real
def test_guesses_of_many_processes_count_as_one_after_the_other(
    keys: Keystore, passphrase: str
) -> None:
    """The wait doubles by tries, not by programs: eight at once are one try and seven refusals."""
    keys.add("alice", passphrase)
    code = """
try:
    keys.unlock("alice", "wrong wrong " + word)
except ClawPurseError as err:
    print("tried" if err.tried else "refused")
"""
    said = race(keys, code, [f"word {n}" for n in range(8)])
    assert sorted(said) == ["refused"] * 7 + ["tried"]
    assert json.loads((keys.directory / ".alice.guesses").read_text())["failures"] == 1
    with pytest.raises(WrongPassphrase):
        Keystore(keys.directory, now_ms=lambda: 10**12).unlock("alice", passphrase)
