"""`clawpurse webhook`: what an operator sees, and what must never be on a screen."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from clawpurse.modules.kit.webhooks.signing import Scheme, Secret
from clawpurse.modules.kit.webhooks.tables import Attempt, Delivery, Endpoint
from clawpurse.node.rpc.webhook_methods import _attempt_json, delivery_json, endpoint_json
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

IDENT = "wh_" + "ab" * 10
SECRET = Secret(Scheme.HMAC, b"k" * 32, 1_900_000_000_000)
HOOK = Endpoint(
    id=IDENT,
    url="https://shop.example/hook",
    description="",
    topic="transactions",
    filter={},
    types=(),
    concurrency=1,
    created_ms=1_900_000_000_000,
    enabled=False,
    reason="gone",
    why="the receiver answered 410 Gone",
    disabled_ms=1_900_000_000_000,
    cursor="12.0",
    epoch=0,
    rest_until_ms=0,
    last_success_ms=None,
    last_failure_ms=None,
    secrets=(SECRET,),
)
SENT = Delivery(
    id=7,
    endpoint=IDENT,
    message="msg_1",
    kind="org.clawpurse.transaction.succeeded",
    cursor="12.0",
    body=b'{"a":1}',
    state="dead",
    test=False,
    round=10,
    attempts=10,
    replays=0,
    created_ms=1_900_000_000_000,
    round_ms=None,
    due_ms=0,
    ended_ms=1_900_000_000_000,
    status=500,
    problem="answered 500",
)


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "admin.token"
    path.write_text("0123456789abcdef-admin\n")
    return str(path)


def answers(node: FakeNode, method: str, answer: Any) -> list[dict[str, Any]]:
    """Let a method answer so; returns what it was asked."""
    asked: list[dict[str, Any]] = []

    def given(params: dict[str, Any]) -> Any:
        asked.append(params)
        return answer

    node.overrides[method] = given
    return asked


def shown_hook(**more: Any) -> dict[str, Any]:
    return {**endpoint_json(HOOK), "pending": 3, **more}


def test_create_shows_the_key_once_or_writes_it_0600(
    cli: Cli, node: FakeNode, token: str, tmp_path: Path
) -> None:
    """The key is for one receiver: a file that only its owner reads, or a screen, never both."""
    asked = answers(node, "webhook_create", shown_hook(key=SECRET.receiver_text))
    command = ("webhook", "create", HOOK.url, "--type", "payments.*", "--token-file", token)
    done = cli(*command, "--topic", "events")
    assert done.code == 0, done.err
    assert SECRET.receiver_text in done.out
    assert asked[0]["types"] == ["payments.*"]
    assert asked[0]["topic"] == "events"
    assert "fromCursor" not in asked[0]
    path = tmp_path / "hook.key"
    done = cli(*command, "--key-file", str(path), "--json")
    assert done.code == 0, done.err
    assert SECRET.receiver_text not in done.out + done.err
    assert json.loads(done.out)["keyFile"] == str(path)
    assert path.read_text() == SECRET.receiver_text + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = len(asked)
    assert cli(*command, "--key-file", str(path)).code == 2
    assert len(asked) == before, "no key is made that cannot be kept"


def test_list_and_show_say_what_is_wrong_in_words(cli: Cli, node: FakeNode, token: str) -> None:
    """Why nothing comes is read, not looked up."""
    answers(node, "webhook_list", {"webhooks": [shown_hook()], "topics": []})
    done = cli("webhook", "list", "--token-file", token)
    assert IDENT in done.out
    assert "!" in done.out
    answers(node, "webhook_get", shown_hook(deliveries={"pending": 3}))
    done = cli("webhook", "show", IDENT, "--token-file", token)
    assert "off: the receiver answered 410 Gone" in done.out
    assert SECRET.receiver_text not in done.out


def test_deliveries_and_one_with_its_attempts(cli: Cli, node: FakeNode, token: str) -> None:
    """A dead letter shows what came of each attempt."""
    one = delivery_json(SENT, HOOK)
    asked = answers(node, "webhook_listDeliveries", {"deliveries": [one], "nextCursor": None})
    done = cli("webhook", "deliveries", IDENT, "--state", "dead", "--token-file", token)
    assert "answered 500" in done.out
    assert asked == [{"id": IDENT, "state": "dead", "limit": 50}]
    tries = [_attempt_json(Attempt(1, 1_900_000_000_000, 12, 500, "answered 500\x1b[2J"))]
    answers(node, "webhook_getDelivery", {**one, "body": '{"a":1}', "tries": tries})
    done = cli("webhook", "deliveries", IDENT, "7", "--token-file", token)
    assert "msg_1" in done.out
    assert "\x1b" not in done.out


def test_a_test_that_fails_fails_the_command(cli: Cli, node: FakeNode, token: str) -> None:
    """A script that sets up a receiver must notice."""
    answers(node, "webhook_test", {**delivery_json(SENT, HOOK), "state": "failed"})
    done = cli("webhook", "test", IDENT, "--token-file", token)
    assert (done.code, "answered 500" in done.err) == (1, True)
    answers(node, "webhook_test", {**delivery_json(SENT, HOOK), "state": "delivered"})
    assert cli("webhook", "test", IDENT, "--token-file", token).code == 0


def test_replay_rotate_enable_disable_and_delete(cli: Cli, node: FakeNode, token: str) -> None:
    """Each asks the node for exactly what was typed; deleting needs the id typed again."""
    replayed = answers(node, "webhook_replay", {"replayed": 2})
    done = cli("webhook", "replay", IDENT, "--dead-letters", "--token-file", token)
    assert "2 are sent again" in done.out
    assert replayed == [{"id": IDENT, "deadLetters": True}]
    assert cli("webhook", "replay", IDENT, "--token-file", token).code == 2
    rotated = answers(node, "webhook_rotate", shown_hook(key=SECRET.receiver_text))
    cli("webhook", "rotate", IDENT, "--overlap-hours", "2", "--token-file", token)
    assert rotated == [{"id": IDENT, "overlapMs": 7_200_000}]
    enabled = answers(node, "webhook_enable", shown_hook())
    cli("webhook", "enable", IDENT, "--from-cursor", "9.0", "--token-file", token)
    assert enabled == [{"id": IDENT, "fromCursor": "9.0"}]
    answers(node, "webhook_disable", shown_hook())
    assert cli("webhook", "disable", IDENT, "--token-file", token).code == 0
    answers(node, "webhook_get", shown_hook(deliveries={"pending": 3}))
    deleted = answers(node, "webhook_delete", {"deleted": IDENT})
    done = cli("webhook", "delete", IDENT, "--yes", "--token-file", token)
    assert done.code == 2
    assert deleted == []
    sure = ("--yes", "--i-understand", IDENT)
    assert cli("webhook", "delete", IDENT, *sure, "--token-file", token).code == 0
    assert deleted == [{"id": IDENT}]
