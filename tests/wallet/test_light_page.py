"""The program on the light client's page does what the page says."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio.testing

from clawpurse.wallet.light import follow_chain
from tests.ledger.lightworld import LightWorld
from tests.wallet.lightnodes import FakeRpc, FakeSource, P, W, lie_about

PAGE = Path(__file__).resolve().parents[2] / "docs" / "light-client.md"


async def test_the_page_s_program_runs(
    autojump_clock: trio.testing.MockClock,
    world: LightWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who pastes it gets a state root, or the reason why not; never a wrong one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, str(PAGE), "exec"), names)
    sources = {url: FakeSource(world, url) for url in (P, W)}
    # The page's clock and sockets are the reader's; here they are the test's.
    names["time"] = SimpleNamespace(time_ns=lambda: world.now_ms * 1_000_000)
    names["follow_chain"] = partial(
        follow_chain, open_client=lambda url: cast(Any, FakeRpc(sources[url]))
    )
    newest_state_root = names["newest_state_root"]
    genesis_hash = world.genesis.hash
    found = await newest_state_root([P, W], genesis_hash)
    assert found == world.blocks[60].header.state_root
    assert (tmp_path / ".clawpurse" / "light" / f"0x{genesis_hash.hex()}.json").exists()
    sources[W] = FakeSource(world, W, lies={60: lie_about(world, 60)})
    with pytest.raises(RuntimeError, match="No witness confirms block 60"):
        await newest_state_root([P, W], genesis_hash)
    sources[W] = FakeSource(world.fork(50, 60), W)
    with pytest.raises(RuntimeError, match="Two histories from block 50 on: "):
        await newest_state_root([P, W], genesis_hash)
