"""A key moves from machine to machine and signs on one of them only, whatever crashes between.

If this failed, the move of an authority would be how it signs twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.cli.network import test_genesis as make_genesis
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.signbytes import Kind, vote_bytes
from clawpurse.ledger.errors import Malformed, OperatorError, WrongPassphrase
from clawpurse.ledger.genesis import Genesis
from clawpurse.node import moving
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.moving import load_bundle, move_in, move_out, read_bundle
from clawpurse.node.signer import FileSigner, create_sign_state, set_floor
from clawpurse.node.workers import InlineLane
from clawpurse.wallet import durable
from clawpurse.wallet.keyfile import KdfCost

SEED = b"\x05" * 32
KEY = crypto.public_key_of(SEED)
GENESIS: Genesis = make_genesis("acme", 1_800_000_000_000, [KEY])
DOMAIN = Domain("acme", GENESIS.hash, 0)
WORDS = "correct horse battery"
#: The cheapest that the format allows: the strength of the seal is tested where it is made.
CHEAP = KdfCost(1, 8 * 2**20)


class Killed(BaseException):
    """kill -9: nothing after it runs."""


def vote(height: int) -> bytes:
    return vote_bytes(DOMAIN, Kind.PREVOTE, height, 0, b"\xaa" * 32)


def make_home(path: Path, *, authority: bool = False) -> NodeHome:
    home = NodeHome(path)
    home.make()
    home.create_key(home.node_key)
    durable.create_private(home.genesis, GENESIS.to_json().encode())
    if authority:
        home.create_key(home.authority_key, SEED)
        create_sign_state(DiskFiles(home.signer), GENESIS.hash, KEY)
    return home


def node_id(home: NodeHome) -> bytes:
    return crypto.public_key_of(home.read_seed(home.node_key))


def signer_of(home: NodeHome) -> FileSigner:
    """What `start` opens: the key of a folder under its guard."""
    seed = home.read_seed(home.authority_key)
    return FileSigner(seed, GENESIS.hash, DiskFiles(home.signer), InlineLane())


def sign(home: NodeHome, height: int) -> bytes:
    return trio.run(signer_of(home).sign, vote(height))


def signs(home: NodeHome) -> bool:
    try:
        signer_of(home)
    except OperatorError:
        return False
    return True


@pytest.fixture
def homes(tmp_path: Path) -> tuple[NodeHome, NodeHome]:
    """One folder with the key, one without."""
    return make_home(tmp_path / "a", authority=True), make_home(tmp_path / "b")


def out(home: NodeHome, to: NodeHome, target: Path) -> None:
    move_out(home, node_id(to), WORDS, target, CHEAP)


def into(home: NodeHome, target: Path) -> None:
    move_in(home, load_bundle(target), WORDS)


def test_the_key_and_what_it_signed_arrive_and_leave_nothing_behind(
    homes: tuple[NodeHome, NodeHome], tmp_path: Path
) -> None:
    a, b = homes
    sign(a, 7)
    bundle = tmp_path / "key.bundle"
    out(a, b, bundle)
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert SEED.hex() not in bundle.read_text()
    assert not a.authority_key.exists() and not signs(a)
    into(b, bundle)
    assert signer_of(b).watermark.order == (7, 0, int(Kind.PREVOTE))
    assert sign(b, 7) and sign(b, 8)
    assert b.authority_key.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_was_moved_out_of_never_signs_again(
    homes: tuple[NodeHome, NodeHome], tmp_path: Path
) -> None:
    """Not with the key file put back from a backup, not with --signer-floor."""
    a, b = homes
    sign(a, 7)
    out(a, b, tmp_path / "key.bundle")
    a.create_key(a.authority_key, SEED)
    for attempt in (
        lambda: signer_of(a),
        lambda: set_floor(DiskFiles(a.signer), GENESIS.hash, KEY, 1_000),
    ):
        with pytest.raises(OperatorError, match="was moved out of this folder"):
            attempt()


def test_there_and_back_and_there_again(homes: tuple[NodeHome, NodeHome], tmp_path: Path) -> None:
    """And each bundle works once: an old one would bring a second life of the key."""
    a, b = homes
    bundles = [tmp_path / f"{number}.bundle" for number in range(4)]
    for number, (source, target) in enumerate(((a, b), (b, a), (a, b), (b, a))):
        sign(source, 10 * number + 1)
        out(source, target, bundles[number])
        for old in bundles[:number]:
            for home in (a, b):
                with pytest.raises(OperatorError):
                    into(home, old)
        into(target, bundles[number])
        sign(target, 10 * number + 2)
        assert not signs(source)
        with pytest.raises(OperatorError, match=r"used before|moved on since"):
            into(target, bundles[number])


def test_only_the_node_it_was_made_for_takes_it(
    homes: tuple[NodeHome, NodeHome], tmp_path: Path
) -> None:
    """A bundle that any machine takes would be taken by two."""
    a, b = homes
    bundle = tmp_path / "key.bundle"
    out(a, b, bundle)
    third = make_home(tmp_path / "c")
    with pytest.raises(OperatorError, match="was made for node"):
        into(third, bundle)
    # Nor is there a second bundle, for another node, while the first may be in use.
    a.create_key(a.authority_key, SEED)
    with pytest.raises(OperatorError, match="moved out for another node already"):
        out(a, third, tmp_path / "other.bundle")
    with pytest.raises(OperatorError, match="this node is of"):
        foreign = make_home(tmp_path / "d")
        foreign.genesis.unlink()
        other = make_genesis("other", 1_800_000_000_000, [KEY])
        durable.create_private(foreign.genesis, other.to_json().encode())
        into(foreign, bundle)


def test_a_key_of_its_own_is_never_replaced(
    homes: tuple[NodeHome, NodeHome], tmp_path: Path
) -> None:
    a, b = homes
    out(a, b, tmp_path / "key.bundle")
    b.create_key(b.authority_key)
    before = b.authority_key.read_bytes()
    with pytest.raises(OperatorError, match="authority key of its own"):
        into(b, tmp_path / "key.bundle")
    assert b.authority_key.read_bytes() == before


def test_a_changed_bundle_or_a_wrong_passphrase_moves_nothing(
    homes: tuple[NodeHome, NodeHome], tmp_path: Path
) -> None:
    """A lower watermark written into it by hand would be a double signing."""
    a, b = homes
    sign(a, 700)
    bundle = tmp_path / "key.bundle"
    out(a, b, bundle)
    text = bundle.read_text()
    for wrong in (
        text.replace('"height": 700', '"height": 7'),
        text.replace('"move": 1', '"move": 9'),
    ):
        assert wrong != text
        with pytest.raises(Malformed, match="was changed after"):
            read_bundle(wrong.encode())
    for rubbish in (b"", b"{}", b"[]", b"\xff", text[:-40].encode(), b"5", b'{"watermark": 3}'):
        with pytest.raises(Malformed):
            read_bundle(rubbish)
    with pytest.raises(WrongPassphrase):
        move_in(b, load_bundle(bundle), "wrong horse battery")
    assert not b.authority_key.exists()


def counted(monkeypatch: pytest.MonkeyPatch, at: int, *, after: bool) -> Callable[[], int]:
    """Kill at the `at`th durable step of wallet files and signing state; returns a counter."""
    count = [0]

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == at and not after:
                raise Killed
            result = real(*arguments, **named)
            if count[0] == at:
                raise Killed
            return result

        monkeypatch.setattr(owner, name, step)

    for name in ("create_private", "replace_private", "remove_private"):
        wrap(moving, name)
    wrap(DiskFiles, "create")
    wrap(DiskFiles, "write_slot")
    wrap(NodeHome, "create_key")
    return lambda: count[0]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("at", range(1, 9))
def test_killed_at_any_step_the_key_signs_on_one_machine_at_most(
    at: int, fresh: bool, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And typing the same command again finishes the move."""
    a, b = make_home(tmp_path / "a", authority=True), make_home(tmp_path / "b")
    if not fresh:
        # The key was on the other machine before: there are traces of it.
        out(a, b, tmp_path / "0.bundle")
        into(b, tmp_path / "0.bundle")
        sign(b, 3)
        a, b = b, a
    sign(a, 7)
    bundle = tmp_path / "key.bundle"
    steps = counted(monkeypatch, at, after=after)
    killed = False
    acts: list[Callable[[], object]] = [lambda: out(a, b, bundle), lambda: into(b, bundle)]
    for act in acts:
        try:
            act()
        except Killed:
            killed = True
            assert not (signs(a) and signs(b))
            if steps() == at and a.authority_key.exists() and signs(a):
                sign(a, 8)
            try:
                act()
            except OperatorError as err:
                assert "has left this folder already" in str(err)
        assert not (signs(a) and signs(b))
    monkeypatch.undo()
    assert killed or steps() < at
    assert not signs(a) and signs(b)
    assert signer_of(b).watermark.order[0] in (7, 8)
    assert sign(b, 9)
    assert os.listdir(tmp_path)
