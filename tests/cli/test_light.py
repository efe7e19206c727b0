"""`light verify`: one honest sentence, an exit code for each outcome, and evidence that is kept."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawpurse.cli.main import run
from clawpurse.cli.session import Session
from tests.cli.conftest import Done
from tests.ledger.lightworld import DAY_MS, START_MS, LightWorld
from tests.wallet.lightnodes import FakeRpc, FakeSource, lie_about

P, W, V = "http://primary:9641", "http://witness:9641", "http://other:9641"
Light = Callable[..., Done]


@pytest.fixture(scope="module")
def world() -> LightWorld:
    return LightWorld({1: range(4), 20: range(1, 5), 30: range(3, 7)}, 40)


@pytest.fixture
def sources(world: LightWorld) -> dict[str, FakeSource]:
    """The nodes, by URL; a test changes what they serve."""
    return {url: FakeSource(world, url) for url in (P, W, V)}


@pytest.fixture
def light(
    world: LightWorld,
    sources: dict[str, FakeSource],
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Light:
    """`light("--height", "3")`: runs `light verify` with the genesis hash as trust, unless told."""

    def open_client(url: str) -> Any:
        return FakeRpc(sources[url])

    def call(*arguments: str, trust: bool = True, nodes: bool = True, now_ms: int = 0) -> Done:
        capsys.readouterr()
        words = ["light", "verify", *arguments]
        if trust:
            words += ["--genesis-hash", f"0x{world.genesis.hash.hex()}"]
        if nodes:
            words += ["--primary", P, "--witness", W, "--witness", V]
        monkeypatch.setenv("CLAWPURSE_HOME", str(home))
        session = Session(open_client=open_client, clock=lambda: now_ms or world.now_ms)
        code = run(words, session)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


def test_the_newest_block_is_verified_in_one_sentence(light: Light, world: LightWorld) -> None:
    done = light()
    assert done.code == 0, done
    first = done.out.splitlines()[0]
    assert first.startswith(f"✓ Block 40, 0x{world.blocks[40].block_id.hex()}, is verified: ")
    assert first.endswith(" steps from genesis, 2 of 2 witnesses agree.")
    assert "3 of 4 authorities" in done.out
    again = light()
    assert "0 steps from block 40, 2 of 2 witnesses agree." in again.out


def test_programs_get_one_object(light: Light, world: LightWorld, home: Path) -> None:
    done = light("--height", "25", "--json")
    answer = json.loads(done.out)
    assert done.code == 0
    assert answer["verified"] is True
    assert (answer["height"], answer["status"]) == (25, "verified")
    assert answer["hash"] == f"0x{world.blocks[25].block_id.hex()}"
    assert answer["root"] == {"height": 0, "hash": f"0x{world.genesis.hash.hex()}"}
    assert [one["standing"] for one in answer["witnesses"]] == ["agrees", "agrees"]
    kept = home / "light" / f"0x{world.genesis.hash.hex()}.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_checkpoint_is_enough_without_the_genesis_hash(light: Light, world: LightWorld) -> None:
    checkpoint = ("--trusted-height", "8", "--trusted-hash", f"0x{world.blocks[8].block_id.hex()}")
    done = light(*checkpoint, trust=False)
    assert done.code == 0
    assert "from block 8" in done.out
    wrong = light("--trusted-height", "8", "--trusted-hash", "0x" + "11" * 32, trust=False)
    assert wrong.code == 4
    assert "Block 8 of http://primary:9641 is not the trusted 0x1111" in wrong.out
    old = light(*checkpoint, trust=False, now_ms=START_MS + 15 * DAY_MS)
    assert old.code == 4
    assert "too old" in old.out


def test_a_fork_is_told_shown_and_kept(
    light: Light, world: LightWorld, sources: dict[str, FakeSource], home: Path
) -> None:
    """Exit 4 and a file: whoever is shown two truths must be able to show them on."""
    sources[V] = FakeSource(world.fork(33, 40), V)
    done = light()
    assert done.code == 4
    assert done.out.splitlines()[0] == (
        "✗ Fork at block 33: two blocks are decided, 3 authorities signed both. "
        "Neither is followed."
    )
    assert done.out.count("signed both  clawval1") == 3
    assert "--trusted-height" in done.err
    (path,) = (home / "light").glob("fork-*.json")
    assert path.name in done.out
    document = json.loads(path.read_text())
    assert document["height"] == 33
    assert len(document["doubleSigns"]) == 3
    halted = light()
    assert halted.code == 4
    assert "Two histories were seen" in halted.out
    answer = json.loads(light("--json").out)
    assert (answer["verified"], answer["status"]) == (False, "halted")


def test_programs_get_the_evidence_itself(
    light: Light, world: LightWorld, sources: dict[str, FakeSource]
) -> None:
    sources[W] = FakeSource(world.fork(33, 40), W)
    done = light("--json")
    answer = json.loads(done.out)
    assert done.code == 4
    assert (answer["status"], answer["height"]) == ("fork", 33)
    assert json.loads(Path(answer["evidenceFile"]).read_text()) == answer["evidence"]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda s, w: s.update({P: FakeSource(w, P, down=True)}), 3, "does not answer"),
        (
            lambda s, w: [s.update({u: FakeSource(w, u, down=True)}) for u in (W, V)],
            3,
            "No witness confirms block 40",
        ),
        (lambda s, w: s.update({P: FakeSource(w, P, height=0)}), 5, "has not got a block yet"),
        (
            lambda s, w: s.update({P: FakeSource(w, P, lies={40: lie_about(w, 40)})}),
            4,
            "shows what does not hold",
        ),
        (
            lambda s, w: [
                s.update({u: FakeSource(w, u, lies={40: lie_about(w, 40)})}) for u in (W, V)
            ],
            4,
            "No witness confirms block 40",
        ),
        (
            lambda s, w: s.update({P: FakeSource(LightWorld(height=3, fee_min=1), P)}),
            4,
            "another network",
        ),
    ],
)  # fmt: skip
def test_each_way_to_fail_has_its_exit_code(
    light: Light,
    world: LightWorld,
    sources: dict[str, FakeSource],
    change: Callable[[dict[str, FakeSource], LightWorld], Any],
    code: int,
    says: str,
) -> None:
    change(sources, world)
    done = light()
    assert done.code == code, done
    assert done.out.startswith("✗ Not verified. ")
    assert says in done.out
    assert done.err.endswith("\n") or code == 5
    answer = json.loads(light("--json").out)
    assert answer["verified"] is False
    assert answer["reason"]


def test_a_witness_that_lies_is_named_while_another_agrees(
    light: Light, world: LightWorld, sources: dict[str, FakeSource]
) -> None:
    sources[W] = FakeSource(world, W, lies={40: lie_about(world, 40)})
    done = light()
    assert done.code == 0
    assert "1 of 2 witnesses agree." in done.out
    assert f"! {W} is faulty. It has another block 40." in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--trusted-height", "3"), "belong together"),
        (("--trusted-hash", "0x" + "00" * 32), "belong together"),
        (("--trusted-height", "3", "--trusted-hash", "0x12"), "64 hex digits"),
        (("--genesis", "/nowhere.json"), "is not there"),
    ],
)
def test_a_wrong_command_is_told_what_it_lacks(
    light: Light, arguments: tuple[str, ...], says: str
) -> None:
    done = light(*arguments, trust=False)
    assert done.code == 2
    assert says in done.err


def test_trust_and_a_witness_are_asked_for(light: Light) -> None:
    """A client that trusted whatever it is shown first would verify nothing."""
    done = light(trust=False)
    assert done.code == 2
    assert "Nothing is trusted yet" in done.err
    alone = light("--primary", P, nodes=False)
    assert alone.code == 2
    assert "A witness is required" in alone.err
    twice = light("--primary", P, "--witness", P, nodes=False)
    assert twice.code == 2
    assert "agree with itself" in twice.err
    below = light("--height", "3", "--trusted-height", "5", "--trusted-hash", "0x" + "00" * 32)
    assert below.code == 2
    assert "below 5" in below.err


def test_a_chosen_network_needs_no_options(light: Light, world: LightWorld, home: Path) -> None:
    """After `testnet start` the client knows nodes and genesis hash; typing them adds nothing."""
    home.mkdir(parents=True)
    (home / "config.toml").write_text(
        f'network = "main"\n[networks.main]\nrpc = ["{P}", "{W}", "{V}"]\n'
        f'genesis_hash = "0x{world.genesis.hash.hex()}"\n'
    )
    done = light(trust=False, nodes=False)
    assert done.code == 0, done
    assert "2 of 2 witnesses agree." in done.out
    chosen = light("--primary", W, trust=False, nodes=False)
    assert chosen.code == 0


def test_a_genesis_file_replaces_a_genesis_that_no_node_can_send(
    light: Light, world: LightWorld, tmp_path: Path
) -> None:
    path = tmp_path / "genesis.json"
    path.write_text(world.genesis.to_json())
    assert light("--genesis", str(path), trust=False).code == 0
    assert light("--genesis", str(path)).code == 0
    path.write_text(LightWorld(fee_min=1).genesis.to_json())
    other = light("--genesis", str(path))
    assert other.code == 2
    assert "not the one named" in other.err
