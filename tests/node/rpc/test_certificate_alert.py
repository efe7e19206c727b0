"""A certificate that ends is told of while there is time to look at why it was not renewed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from trio.testing import MockClock

from clawpurse.modules.kit.web.grants import FixedTokens, Token
from clawpurse.modules.kit.web.tls import TlsFiles
from clawpurse.node.callers import CERTIFICATE_DAYS_MIN, DAY_MS, Callers, tls_conditions
from tests.certificates import make_ca
from tests.node.rpc.nodeworld import START_MS, TOKEN, NodeWorld, Running, until


async def alerts(node: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await node.call("node_getAlerts"))["alerts"]
    return found


async def test_a_certificate_that_ends_soon_fires_until_a_new_one_is_loaded(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld], tmp_path: Path
) -> None:
    """Nobody reads the end of a certificate by himself: clients would be the first to know."""
    ca, world = make_ca(tmp_path), make_world()
    certificate, key = ca.serve(tmp_path, ends_ms=START_MS + 10 * DAY_MS)
    tls = TlsFiles(certificate, key)
    world.callers = Callers((FixedTokens((Token(TOKEN),)),), None, tls)
    node = await world.node()
    await until(node.node.watch.alerts_json)
    (alert,) = await alerts(node)
    assert alert["name"] == "CertificateExpiring"
    assert (alert["severity"], alert["subject"]) == ("warning", "node.pem")
    assert alert["facts"] == {"file": str(certificate), "expires": "2027-01-25T08:00:00.000Z"}
    assert alert["summary"] == "The certificate node.pem ends on 2027-01-25T08:00:00.000Z."
    assert alert["runbook"] == "docs/runbooks/CertificateExpiring.md"
    (tmp_path / "new").mkdir()
    for path in ca.serve(tmp_path / "new", ends_ms=START_MS + 90 * DAY_MS):
        shutil.copy(path, tmp_path / f".{path.name}")
        os.replace(tmp_path / f".{path.name}", tmp_path / path.name)
    await until(lambda: not node.node.watch.alerts_json())


def test_the_alert_begins_two_weeks_before_and_says_when_it_is_too_late(tmp_path: Path) -> None:
    """A certificate that renews itself in time never bothers anybody."""
    tls = TlsFiles(*make_ca(tmp_path).serve(tmp_path, ends_ms=START_MS))
    for left_ms, said in (
        (CERTIFICATE_DAYS_MIN * DAY_MS + 1, None),
        (CERTIFICATE_DAYS_MIN * DAY_MS, "ends on 2027-01-15T08:00:00.000Z."),
        (1, "ends on 2027-01-15T08:00:00.000Z."),
        (0, "ended on 2027-01-15T08:00:00.000Z: nobody trusts this node."),
    ):
        now_ms = partial(int, START_MS - left_ms)
        found = [one.summary for one in tls_conditions(tls, now_ms)()]
        wanted = [] if said is None else [f"The certificate node.pem {said}"]
        assert found == wanted, left_ms
