"""What the commands of a module do: find where it runs, call it, and show what it said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.rpc import parameter
from clawpurse.cli.session import Session
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.node.hosting import ANNOUNCED
from clawpurse.wallet.durable import read_private
from clawpurse.wallet.home import check_rpc_url

Json = dict[str, Any]
TEXT_BYTES_MAX: Final = 1 << 20
ANNOUNCED_BYTES_MAX: Final = 4_096
COLUMNS_MAX: Final = 4
CELL_CHARS_MAX: Final = 32
FIELD: Final = "field_"
_WHEN: Final = {True: "now", False: "restart"}


def call(session: Session, service: str, method: str, params: Mapping[str, Any]) -> Any:
    """Call a method of a module: at `--rpc`, else where it runs on this machine."""
    url = _url(session, service)

    async def run() -> Any:
        async with session.connect(url) as client:
            return await client.call(method, dict(params))

    return trio.run(run)


def _url(session: Session, service: str) -> str:
    if session.rpc is not None:
        return check_rpc_url(session.rpc)
    place = session.client_home.root / "modules" / service / ANNOUNCED
    try:
        return str(json.loads(read_private(place, ANNOUNCED_BYTES_MAX))["url"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise UsageFault(
            f"No module {service} of this home runs.",
            "",
            f"clawpurse module serve {service}, or add --rpc URL",
        ) from None


def present(**values: Any) -> Json:
    """Return what was given."""
    return {name: value for name, value in values.items() if value is not None}


def values(kind: Kind, given: Mapping[str, Any]) -> Json:
    """Return the fields that were given, by wire name; `@FILE` is read."""
    found: Json = {}
    for key, value in given.items():
        if value is None or value == ():
            continue
        spec = kind.fields[key.removeprefix(FIELD)]
        if isinstance(value, tuple):
            found[spec.wire_name] = list(value)
        elif isinstance(value, str) and value.startswith("@") and not spec.choices:
            found[spec.wire_name] = _text_of(Path(value[1:]).expanduser())
        else:
            found[spec.wire_name] = value
    return found


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(TEXT_BYTES_MAX + 1)
        return data.decode("utf-8").rstrip("\n")
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror}.", "", "name a file after the @") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{file} is no UTF-8 text.", "", "name a text file") from None


def show(
    session: Session, service: str, kind: Kind, method: str, params: Mapping[str, Any]
) -> None:
    """Call, and show the record that comes back, or the proposal that waits for others."""
    answer = call(session, service, method, params)
    if session.json_mode:
        session.out.emit(answer)
        return
    if "proposal" in answer:
        missing = answer["missing"]
        session.out.line(
            f"{session.out.mark(OK)} {answer['move']} of {answer['record']} is {answer['status']}, "
            f"proposal {answer['proposal']}: {missing} more must approve"
        )
        if answer["status"] == "open":
            words = kind.name.replace("_", "-")
            session.out.note(f"Next: clawpurse {service} {words} approve {answer['proposal']}")
        return
    hidden = {*answer["hidden"], *answer["erased"]}
    session.out.fields(
        (
            (kind.title, answer["id"]),
            ("State", f"{answer['state']} since {answer['since']}"),
            ("Version", str(answer["version"])),
            *(
                (name, _word_for(name, answer) if name in hidden else _cell(value))
                for name, value in answer["values"].items()
            ),
            ("Moves", ", ".join(answer["moves"]) or "none for you now"),
        )
    )


def _word_for(name: str, record: Json) -> str:
    return "erased" if name in record["erased"] else "not for you: it needs a role"


def show_list(session: Session, service: str, kind: Kind, params: Mapping[str, Any]) -> None:
    """Show a page of records as a table."""
    answer = call(session, service, f"{service}_list{kind.nouns}", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    if not answer["records"]:
        words = kind.name.replace("_", "-")
        session.out.line(f"None. clawpurse {service} {words} create --help")
        return
    names = [spec.wire_name for spec in kind.fields.values()][:COLUMNS_MAX]
    rows = [
        (one["id"], one["state"], *(_cell(one["values"][name]) for name in names), one["changed"])
        for one in answer["records"]
    ]
    session.out.table(("id", "state", *names, "changed"), rows)
    if answer["nextCursor"] is not None:
        session.out.note(f"More: --cursor {answer['nextCursor']}")


def show_history(session: Session, service: str, method: str, params: Mapping[str, Any]) -> None:
    """Show entries as a table."""
    answer = call(session, service, method, params)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["time"], one["actor"], one["move"], one["state"], ", ".join(one["changes"]))
        for one in answer["entries"]
    ]
    session.out.table(("time", "who", "move", "state", "changed"), rows)
    if answer["nextCursor"] is not None:
        session.out.note(f"More: --cursor {answer['nextCursor']}")


def show_proposals(session: Session, service: str, method: str, params: Mapping[str, Any]) -> None:
    """Show what waits for others."""
    answer = call(session, service, method, params)
    if session.json_mode:
        session.out.emit(answer)
        return
    if not answer["proposals"]:
        session.out.line("Nothing waits.")
        return
    rows = [
        (
            str(one["proposal"]),
            one["record"],
            one["move"],
            one["askedBy"],
            str(one["missing"]),
            one["expires"],
        )
        for one in answer["proposals"]
    ]
    session.out.table(("proposal", "record", "move", "asked by", "missing", "until"), rows)


def show_json(session: Session, service: str, method: str, params: Mapping[str, Any]) -> None:
    """Show an answer as it is."""
    answer = call(session, service, method, params)
    if session.json_mode:
        session.out.emit(answer if isinstance(answer, dict) else {"result": answer})
        return
    session.out.line(json.dumps(answer, indent=2, ensure_ascii=False))


def show_call(session: Session, service: str, method: str, parameters: Sequence[str]) -> None:
    """Call a method of the module's own with K=V parameters."""
    show_json(session, service, method, dict(parameter(session, text) for text in parameters))


def configure(
    session: Session, service: str, changes: Sequence[str], reason: str, dry_run: bool
) -> None:
    """Change settings, and show what that changed."""
    given = dict(parameter(session, text) for text in changes)
    params = {"changes": given, "reason": reason, "dryRun": dry_run}
    answer = call(session, service, f"{service}_setConfiguration", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    if not answer["differences"]:
        session.out.line("Nothing changes.")
        return
    rows = [
        (
            one["name"],
            _cell(one["before"]),
            _cell(one["after"]),
            "now" if one["live"] else "restart",
        )
        for one in answer["differences"]
    ]
    session.out.table(("setting", "before", "after", "in force"), rows)
    if answer["version"] is not None:
        session.out.line(f"{session.out.mark(OK)} version {answer['version']}")


def erase(
    session: Session, service: str, method: str, params: Mapping[str, Any], *, yes: bool
) -> None:
    """Erase, after a question: nothing brings it back."""
    from clawpurse.cli import prompts

    what = "the person of" if params["person"] else "what is personal in"
    question = f"Erase {what} {params['id']} for ever?"
    if not yes and not prompts.confirm(session.out, question, "--yes"):
        raise UsageFault("Nothing was erased.", "", "answer y, or --yes")
    answer = call(session, service, method, params)
    if session.json_mode:
        session.out.emit(answer)
        return
    session.out.line(
        f"{session.out.mark(OK)} erased: {answer['records']} records, "
        f"{answer['commitments']} commitments stay as proofs"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = " ".join(str(value).split()) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"
