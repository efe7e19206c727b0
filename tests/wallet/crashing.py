"""A process that dies by kill -9 before each step on the disk, once for every step there is.

Run as `python crashing.py FOLDER STORY`; prints how many steps the story takes. Each time a forked
child does the story in a fresh copy of a prepared home and kills itself before step k; the parent
then looks at what is left, as the next start of the wallet would.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger.errors import OperatorError, StorageFault, WrongPassphrase
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.mnemonic import words_of
from clawpurse.wallet.strength import strength_of

OLD, NEW = "correct horse battery", "another passphrase 2"
WORDS: Final = " ".join(words_of(bytes(range(1, 33))))
OTHER: Final = bytes(range(32))
CHEAP, DEARER = KdfCost(1, 8 * 2**20), KdfCost(1, 9 * 2**20)
# Every way in which the wallet changes a disk; a step is the moment before one of them.
STEPS: Final = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir", "close")
STEPS_MAX: Final = 500


def keystore(folder: Path, cost: KdfCost = CHEAP) -> Keystore:
    return Keystore(folder, now_ms=lambda: 10**12, cost=cost)


class Story(NamedTuple):
    """What stands before, what is done, and what must be true whenever that is cut off."""

    before: Callable[[Keystore], object]
    deed: Callable[[Path], object]
    holds: Callable[[Keystore], bool]


def opens(keys: Keystore, name: str, *passphrases: str) -> bool:
    """Whether the key of the words opens with one of the passphrases. No wait stands between."""
    for passphrase in passphrases:
        (keys.directory / f".{name}.guesses").unlink(missing_ok=True)
        try:
            found = keys.unlock(name, passphrase).reveal_words()
        except WrongPassphrase:
            continue
        return found == WORDS.split()
    return False


def alice(keys: Keystore) -> object:
    return keys.import_words("alice", OLD, WORDS)


def watched(keys: Keystore) -> object:
    info = alice(keys)
    keys.delete("alice")
    return keys.watch("alice", info.account)  # type: ignore[attr-defined]


def damaged(keys: Keystore) -> object:
    alice(keys)
    return (keys.directory / "alice.json").write_bytes(b"precious")


def precious_somewhere(keys: Keystore) -> bool:
    """Damaged bytes may be the only copy of something: they are put aside, never thrown away."""
    files = [entry.read_bytes() for entry in keys.directory.iterdir() if entry.is_file()]
    return b"precious" in files


STORIES: Final[dict[str, Story]] = {
    "import": Story(
        lambda keys: None,
        lambda at: keystore(at).import_words("alice", OLD, WORDS),
        lambda keys: not keys.has("alice") or opens(keys, "alice", OLD),
    ),
    "passphrase": Story(
        alice,
        lambda at: keystore(at).change_passphrase("alice", OLD, NEW),
        lambda keys: opens(keys, "alice", OLD, NEW),
    ),
    "lost-passphrase": Story(
        alice,
        lambda at: keystore(at).import_words("alice", NEW, WORDS),
        lambda keys: opens(keys, "alice", OLD, NEW),
    ),
    "ageing": Story(
        alice,
        lambda at: keystore(at, DEARER).unlock("alice", OLD),
        lambda keys: opens(keys, "alice", OLD),
    ),
    "rename": Story(
        alice,
        lambda at: keystore(at).rename("alice", "anna", OLD),
        lambda keys: any(
            opens(keys, name, OLD) for name in ("alice", "anna") if keys.has(name)
        ),
    ),
    "derive": Story(
        alice,
        lambda at: keystore(at).derive("savings", "alice", OLD),
        lambda keys: opens(keys, "alice", OLD)
        and (not keys.has("savings") or opens(keys, "savings", OLD)),
    ),
    "watched-becomes-key": Story(
        watched,
        lambda at: keystore(at).import_words("alice", OLD, WORDS),
        lambda keys: keys.show("alice").watch_only or opens(keys, "alice", OLD),
    ),
    "damaged": Story(
        damaged,
        lambda at: keystore(at).import_words("alice", OLD, WORDS),
        precious_somewhere,
    ),
    "watch": Story(
        lambda keys: None,
        lambda at: keystore(at).watch("treasury", OTHER),
        lambda keys: not keys.has("treasury") or keys.show("treasury").account == OTHER,
    ),
    "label": Story(
        lambda keys: (alice(keys), keys.set_label("alice", "rent")),
        lambda at: keystore(at).set_label("alice", "food"),
        lambda keys: keys.show("alice").label in ("rent", "food") and opens(keys, "alice", OLD),
    ),
    "wrong": Story(
        alice,
        lambda at: wrongly(keystore(at)),
        lambda keys: opens(keys, "alice", OLD),
    ),
}  # fmt: skip


def in_place(folder: Path) -> None:
    """How a passphrase must not be changed: the file is emptied before it is written."""
    other = keystore(folder / "other")
    data = other.import_words("alice", NEW, WORDS).file.read_bytes()
    descriptor = os.open(folder / "alice.json", os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, data)
    os.close(descriptor)


# Wrong on purpose: the one who checks must notice.
BROKEN: Final[dict[str, Story]] = {
    "in-place": Story(alice, in_place, lambda keys: opens(keys, "alice", OLD, NEW)),
}


def wrongly(keys: Keystore) -> None:
    try:
        keys.unlock("alice", "wrong wrong wrong")
    except WrongPassphrase:
        return


def dying_before(step: int, deed: Callable[[], object]) -> None:
    """Do the deed in this process, and kill it before the given step on the disk."""
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    deed()


def _holds(story: Story, keys: Keystore) -> bool:
    try:
        return story.holds(keys)
    except StorageFault as err:
        print(err, file=sys.stderr)
        return False


def main(root: Path, name: str) -> None:
    story = (STORIES | BROKEN)[name]
    # Its lists are read once, here, and not by every child.
    strength_of(OLD)
    before = root / "before"
    story.before(keystore(before))
    for step in range(1, STEPS_MAX):
        folder = root / str(step)
        if before.exists():
            shutil.copytree(before, folder)
        child = os.fork()
        if child == 0:
            dying_before(step, partial(story.deed, folder))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.waitstatus_to_exitcode(status) == 0, f"step {step}: {status}"
        keys = keystore(folder)
        assert not folder.exists() or _holds(story, keys), f"lost by a kill before step {step}"
        try:
            # Whoever was cut off repeats the command; it must never be in its own way.
            story.deed(folder)
        except WrongPassphrase:
            assert name == "passphrase", f"step {step}"
        except OperatorError as err:
            # Done already: another key, or this name, is there by the first try.
            assert "is named" in str(err) or "already" in str(err), f"step {step}: {err}"
        assert _holds(story, keys), f"lost by repeating after a kill before step {step}"
        half = [one.name for one in folder.iterdir() if "unfinished" in one.name]
        # What is written again is tidied up; of others a sealed file may wait for that.
        assert not half or name not in ("import", "lost-passphrase"), half
        shutil.rmtree(folder)
        if not killed:
            print(step - 1)
            return
    raise AssertionError(f"{name} takes more than {STEPS_MAX} steps")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
