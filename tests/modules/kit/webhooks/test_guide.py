"""The receiver in the guide, run as it stands there: whoever copies it must get their events."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from clawpurse.modules.kit.webhooks.tables import DELIVERED
from tests.modules.kit.webhooks.hookworld import hook_world, message

ROOT = Path(__file__).resolve().parents[4]
GUIDE = ROOT / "docs" / "how-to" / "webhooks.md"
# A database in one line, and the port that the system gave.
AROUND = """
import sys
sys.stderr = open("errors", "w")
def remember(ident, event):
    open("seen", "a").write(ident + "\\n")
{code}
"""


def start(script: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", str(script)]
    return subprocess.Popen(command, cwd=script.parent, stdout=subprocess.PIPE)


@pytest.mark.real
async def test_the_receiver_of_the_guide_takes_genuine_events_only(tmp_path: Path) -> None:
    """It takes what we sign, and answers a forgery without a 2xx."""
    [code] = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    ready = 'server = HTTPServer(("127.0.0.1", 0), Hook)\nprint(server.server_port, flush=True)\n'
    last = 'HTTPServer(("127.0.0.1", 8080), Hook).serve_forever()'
    assert last in code
    code = code.replace(last, ready + "server.serve_forever()")
    script = tmp_path / "receiver.py"
    script.write_text(AROUND.format(code=code))
    process = start(script)
    with process:
        try:
            assert process.stdout is not None
            port = int(await trio.to_thread.run_sync(process.stdout.readline))
            async with hook_world(tmp_path) as world:
                url = f"http://127.0.0.1:{port}/"
                await world.hook(url)
                (tmp_path / "hook.key").write_text(world.keys["wh_1"] + "\n")
                world.log.grow(3)
                await world.until_state(DELIVERED, 3)
                seen = (tmp_path / "seen").read_text().split()
                assert seen == [message(n).ident for n in range(1, 4)]
                (tmp_path / "hook.key").write_text("whsec_" + "A" * 43 + "=\n")
                world.log.grow()
                row = None
                with trio.fail_after(10):
                    while row is None or row.attempts == 0:
                        rows = await world.rows()
                        row = rows[3] if len(rows) == 4 else None
                        await trio.sleep(0.01)
                assert row.state == "pending"
                assert row.problem is not None
                assert len((tmp_path / "seen").read_text().split()) == 3
        finally:
            process.kill()
