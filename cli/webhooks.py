"""What `webhook create|list|show|test|deliveries|replay|rotate|enable|disable|delete` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import Pending, UsageFault
from clawpurse.cli.output import FAILED, LIVE, OK, WARNING, counted
from clawpurse.cli.rpc import parameter
from clawpurse.cli.session import Session, shown
from clawpurse.cli.token_files import token_in
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.durable import create_private

Json = dict[str, Any]
# A test waits for the receiver, which has 20 s.
_TIMEOUT_MS: Final = 40_000
_HOUR_MS: Final = 3_600_000
_MARKS: Final[Mapping[str, str]] = {
    "delivered": OK,
    "dead": FAILED,
    "failed": FAILED,
    "pending": LIVE,
}


def create(session: Session, url: str, options: Mapping[str, Any]) -> None:
    """Make a webhook and show its key."""
    _require_free(options["key_file"])
    wanted = {
        "url": url,
        "topic": options["topic"],
        "filter": dict(parameter(session, text) for text in options["filters"]),
        "types": list(options["types"]),
        "description": options["description"],
        "concurrency": options["concurrency"],
        "scheme": options["scheme"],
        "fromCursor": options["from_cursor"],
    }
    made = _call(session, options["token_file"], "webhook_create", wanted)
    _show_key(session, made, options["key_file"])
    if not session.json_mode:
        session.out.note(f"Next: clawpurse webhook test {made['id']}")


def rotate(session: Session, ident: str, options: Mapping[str, Any]) -> None:
    """Make a new key and show it."""
    _require_free(options["key_file"])
    overlap_ms = options["overlap_hours"] * _HOUR_MS
    wanted = {"id": ident, "overlapMs": overlap_ms, "scheme": options["scheme"]}
    made = _call(session, options["token_file"], "webhook_rotate", wanted)
    _show_key(session, made, options["key_file"])
    if not session.json_mode:
        hours = counted(options["overlap_hours"], "hour")
        session.out.note(f"The former key signs too, for {hours} more.")


def listed(session: Session, token_file: Path) -> None:
    """List webhooks."""
    answer = _call(session, token_file, "webhook_list", {})
    if session.json_mode:
        session.out.emit(answer)
        return
    if not answer["webhooks"]:
        session.out.line("No webhooks.")
        session.out.note("Next: clawpurse webhook create https://…")
        return
    session.out.table(
        ("", "id", "topic", "pending>", "url"),
        [
            (
                session.out.mark(OK if one["enabled"] else WARNING),
                one["id"],
                one["topic"],
                str(one["pending"]),
                _plain(one["url"]),
            )
            for one in answer["webhooks"]
        ],
    )


def show(session: Session, ident: str, token_file: Path) -> None:
    """Show one webhook."""
    _show(session, _call(session, token_file, "webhook_get", {"id": ident}))


def enable(session: Session, ident: str, from_cursor: str | None, token_file: Path) -> None:
    """Switch on."""
    wanted = {"id": ident, "fromCursor": from_cursor}
    _show(session, _call(session, token_file, "webhook_enable", wanted))


def disable(session: Session, ident: str, token_file: Path) -> None:
    """Switch off."""
    _show(session, _call(session, token_file, "webhook_disable", {"id": ident}))


def test(session: Session, ident: str, token_file: Path) -> None:
    """Post a ping. Raises `OperatorError` when it was not taken: the exit code tells scripts."""
    found = _call(session, token_file, "webhook_test", {"id": ident})
    if session.json_mode:
        session.out.emit(found)
    if found["state"] != "delivered":
        if session.json_mode:
            raise SystemExit(1)
        raise OperatorError(
            f"The receiver did not take it: {_plain(found['problem'])}.",
            "",
            "mend the receiver, then the same again",
        )
    session.out.line(f"{session.out.mark(OK)} Taken: {found['messageId']}, {found['status']}.")


def deliveries(
    session: Session,
    ident: str,
    delivery: int | None,
    state: str | None,
    limit: int,
    token_file: Path,
) -> None:
    """Show deliveries, or one."""
    if delivery is not None:
        _one(session, ident, delivery, token_file)
        return
    wanted = {"id": ident, "state": state, "limit": limit}
    answer = _call(session, token_file, "webhook_listDeliveries", wanted)
    if session.json_mode:
        session.out.emit(answer)
        return
    if not answer["deliveries"]:
        session.out.line("Nothing was sent yet." if state is None else f"Nothing is {state}.")
        return
    session.out.table(
        ("", "id>", "state", "tries>", "event", "cursor", "what came"),
        [
            (
                session.out.mark(_MARKS[one["state"]]),
                str(one["id"]),
                "paused" if one["paused"] else one["state"],
                str(one["attempts"]),
                _plain(one["type"]),
                one["cursor"],
                _plain(one["problem"] or (str(one["status"] or ""))),
            )
            for one in answer["deliveries"]
        ],
    )


def _one(session: Session, ident: str, delivery: int, token_file: Path) -> None:
    wanted = {"id": ident, "deliveryId": delivery}
    found = _call(session, token_file, "webhook_getDelivery", wanted)
    if session.json_mode:
        session.out.emit(found)
        return
    session.out.fields(
        [
            ("event", f"{_plain(found['type'])} at {found['cursor']}"),
            ("webhook-id", found["messageId"]),
            ("state", "paused" if found["paused"] else found["state"]),
            ("next attempt", found["dueAt"] or "none"),
            ("body", _plain(found["body"])),
        ]
    )
    for one in found["tries"]:
        came = _plain(one["problem"]) if one["problem"] else str(one["status"])
        session.out.line(f"  {one['number']:>3}  {one['at']}  {one['tookMs']:>6} ms  {came}")


def replay(session: Session, ident: str, options: Mapping[str, Any]) -> None:
    """Send again."""
    wanted = {
        "id": ident,
        "deliveryId": options["delivery"],
        "fromCursor": options["from_cursor"],
        "deadLetters": options["dead_letters"] or None,
    }
    if sum(bool(wanted[name]) for name in ("deliveryId", "fromCursor", "deadLetters")) != 1:
        raise UsageFault(
            "Say what: --delivery, --from-cursor or --dead-letters.",
            "",
            f"clawpurse webhook replay {ident} --dead-letters",
        )
    answer = _call(session, options["token_file"], "webhook_replay", wanted)
    if session.json_mode:
        session.out.emit(answer)
    elif "cursor" in answer:
        session.out.line(f"Everything after {answer['cursor']} is sent again.")
    else:
        session.out.line(f"{answer['replayed']} are sent again.")


def delete(
    session: Session, ident: str, token_file: Path, *, yes: bool, understood: str | None
) -> None:
    """Forget a webhook, after its id was typed."""
    found = _call(session, token_file, "webhook_get", {"id": ident})
    waiting = found["deliveries"].get("pending", 0)
    warning = (
        f"Deletes {ident}, which posts {found['topic']} to {_plain(found['url'])}",
        f"  with its keys and the list of its deliveries; {waiting} wait and are not sent",
    )
    prompts.confirm_by_name(
        session.out,
        warning,
        ident,
        yes=yes,
        understood=understood,
        nothing="Nothing was deleted.",
    )
    answer = _call(session, token_file, "webhook_delete", {"id": ident})
    if session.json_mode:
        session.out.emit(answer)
    else:
        session.out.tick(f"{ident} is deleted")


def _call(session: Session, token_file: Path, method: str, params: Json) -> Json:
    """Call a method with the operator's token; parameters that are None are left out."""
    token = token_in(token_file)
    given = {name: value for name, value in params.items() if value is not None}

    async def run() -> Json:
        async with session.node(_TIMEOUT_MS, token) as node:
            answer: Json = await node.call(method, given)
            return answer

    return trio.run(run)


def _require_free(key_file: Path | None) -> None:
    if key_file is not None and key_file.exists():
        raise UsageFault(f"{key_file} is there already.", "Nothing was done.", "another --key-file")


def _show_key(session: Session, made: Json, key_file: Path | None) -> None:
    """Tell the key, once: into a file, or to whoever looks on."""
    if key_file is not None:
        try:
            create_private(key_file, made["key"].encode("ascii") + b"\n")
        except OSError as error:
            raise Pending(
                f"The key of {made['id']} was made and could not be written: {error}.",
                "Nobody has it.",
                f"clawpurse webhook rotate {made['id']}",
            ) from error
        kept = {name: value for name, value in made.items() if name != "key"}
        made = {**kept, "keyFile": str(key_file.absolute())}
    if session.json_mode:
        session.out.emit(made)
        return
    session.out.line(f"{made['id']} posts {made['topic']} to {_plain(made['url'])}")
    if key_file is not None:
        session.out.line(f"  Its receiver verifies with the key in {shown(key_file)}.")
    elif made["key"].startswith("whpk_"):
        session.out.line(f"  Its receiver verifies with {made['key']} (public).")
    else:
        session.out.line(f"  Its receiver verifies with {made['key']}")
        session.out.warn("It is shown this once: who has it can forge events.")


def _show(session: Session, found: Json) -> None:
    if session.json_mode:
        session.out.emit(found)
        return
    state = "on" if found["enabled"] else f"off: {_plain(found['why'])}"
    rows = [
        ("state", state),
        ("url", _plain(found["url"])),
        ("topic", f"{found['topic']} {found['filter'] or ''}".strip()),
        ("types", ", ".join(found["types"]) or "all"),
        ("order", "strict" if found["concurrency"] == 1 else f"{found['concurrency']} at once"),
        ("cursor", found["cursor"]),
        ("last taken", found["lastSuccessAt"] or "never"),
        ("last failed", found["lastFailureAt"] or "never"),
        ("waiting", str(found["pending"])),
    ]
    rows += [(f"key {number}", _key(one)) for number, one in enumerate(found["keys"], 1)]
    session.out.fields(rows)


def _key(key: Json) -> str:
    until = f", until {key['expiresAt']}" if key["expiresAt"] else ""
    return f"{key['scheme']} since {key['createdAt']}{until} {key['publicKey'] or ''}".strip()


def _plain(text: str | None) -> str:
    """A text of somebody else, fit for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text or "")
