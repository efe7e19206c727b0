"""Logs: one line an event, whatever strangers put into it, and no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from clawpurse.node.app import Keys
from clawpurse.node.files import MemoryFiles
from clawpurse.node.logs import FACT_CHARS_MAX, start_logging, stop_logging
from clawpurse.node.signer import FileSigner, create_sign_state
from clawpurse.node.workers import InlineLane
from clawpurse.p2p.handshake import Identity, Secured
from tests.node.lab import Lab, run_lab

LOG = logging.getLogger("clawpurse.test")


@pytest.fixture
def lines() -> Iterator[Any]:
    """Log in a form and read what came: `lines(form)` starts, its result's getvalue() reads."""
    handlers = []

    def start(log_format: str, level: str = "info") -> io.StringIO:
        stream = io.StringIO()
        handlers.append(start_logging("node-1", level, log_format, stream))
        return stream

    yield start
    for handler in handlers:
        stop_logging(handler)
    logging.getLogger("clawpurse").setLevel(logging.NOTSET)
    logging.getLogger("clawpurse").propagate = True


def test_a_line_is_an_object_with_its_facts(lines: Any) -> None:
    stream = lines("json")
    LOG.info("block final", extra={"height": 7, "block": b"\xab" * 4, "ok": True, "none": None})
    line = json.loads(stream.getvalue())
    assert line["message"] == "block final" and line["node"] == "node-1"
    assert (line["height"], line["block"], line["ok"], line["none"]) == (7, "ab" * 4, True, None)
    assert line["level"] == "info" and line["logger"] == "test"


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "nasty",
    [
        "line\nbreak",
        "\r\n",
        "\x1b[2J\x1b[31mred",
        "nul\0",
        "\u2028",
        "\ud800",
        "\u202eevil",
        "\x85",
    ],
)
def test_strangers_cannot_write_lines_or_move_the_cursor(nasty: str, form: str, lines: Any) -> None:
    """A peer's text that begins a new line could claim anything in the operator's log."""
    stream = lines(form)
    LOG.warning("peer refused", extra={"reason": nasty})
    text = stream.getvalue()
    assert text.endswith("\n") and len(text.splitlines()) == 1
    assert text[:-1].isprintable()


def test_one_fact_never_floods_the_log(lines: Any) -> None:
    stream = lines("json")
    LOG.warning("peer refused", extra={"reason": "x" * 1_000_000})
    assert len(json.loads(stream.getvalue())["reason"]) == FACT_CHARS_MAX + 1


def test_levels_and_tracebacks(lines: Any) -> None:
    stream = lines("text", "warning")
    LOG.info("quiet")
    try:
        raise ValueError("boom")
    except ValueError as err:
        LOG.error("loud", exc_info=err)
    text = stream.getvalue()
    assert "quiet" not in text and "loud" in text and "ValueError: boom" in text


def test_a_stopped_log_is_silent(lines: Any) -> None:
    stream = io.StringIO()
    stop_logging(start_logging("x", "info", "json", stream))
    LOG.info("nobody hears")
    assert stream.getvalue() == ""


def test_a_network_s_whole_life_logs_no_secret(lines: Any) -> None:
    """Keys, seeds and tokens: not in any line, at the finest level, over a restart."""
    stream = lines("json", "debug")
    secrets: list[bytes] = []

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        disk = await lab.crash(nodes[1])
        back = await lab.start("authority-2", disk)
        await lab.reach(1, back)
        secrets.extend(lab.seeds)
        secrets.extend(node.node.peers.identity.node_seed for node in nodes)
        secrets.extend(node.node.peers.identity.static_secret for node in nodes)

    run_lab(scenario)
    text = stream.getvalue()
    assert "block final" in text and len(text.splitlines()) > 20
    for secret in secrets:
        assert secret.hex() not in text and repr(secret)[2:-1] not in text


def test_holders_of_secrets_do_not_show_them() -> None:
    """What a careless log line or a traceback would print of them."""
    seed, files = b"\x5a" * 32, MemoryFiles()
    identity = Identity("acme", b"\1" * 32, seed, seed)
    create_sign_state(files, b"\1" * 32, identity.node_id)
    signer = FileSigner(seed, b"\1" * 32, files, InlineLane())
    token = "a-secret-admin-token"
    for holder in (
        identity,
        Secured(b"\1" * 32, "a", seed, seed),
        signer,
        Keys(seed, {signer.public_key: signer}, token),
    ):
        shown = repr(holder) + str(holder)
        assert seed.hex() not in shown and "ZZZZ" not in shown and token not in shown
