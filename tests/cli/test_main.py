"""The frame: help that is quick, suggestions, options from four places, errors as one line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clawpurse.cli.failures import Exit, Pending, Rejected, UsageFault, failure_of
from clawpurse.cli.framework import Command, Entry
from clawpurse.cli.main import SECTIONS, build_root
from clawpurse.cli.session import CONFIGURABLE
from clawpurse.ledger.errors import (
    BadSignature,
    Code,
    Malformed,
    NotFound,
    OperatorError,
    Refused,
    WrongPassphrase,
)
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

# Help should come in a moment; generous here, because tests share two cores.
HELP_SECONDS_MAX = 2.0


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command there is, with its whole name."""
    root = build_root()
    context = click.Context(root)
    waiting = [(name, root.get_command(context, name)) for name in root.list_commands(context)]
    while waiting:
        name, command = waiting.pop()
        assert command is not None, name
        yield name, command
        if isinstance(command, click.Group):
            waiting += [(f"{name} {sub}", inner) for sub, inner in command.commands.items()]


ALL = dict(commands())


def test_the_promised_commands_are_there() -> None:
    """Scripts, pages and hints call these names."""
    wanted = """
        init join start stop status doctor version completion faucet rpc methods
        testnet start|testnet stop|testnet status|testnet reset|testnet init
        config show|config get|config set|config validate
        genesis create|genesis add-account|genesis add-authority|genesis verify
        keys add|keys list|keys show|keys import|keys export|keys rename|keys delete|keys backup
        wallet send|wallet balance|wallet history|wallet receive|wallet contacts
        address balance send receive history validators
        tx wait|tx verify|tx decode|tx simulate|tx submit
        db check|authority show|consensus state|consensus explain|consensus evidence
    """
    for line in wanted.strip().splitlines():
        names = line.split("|") if "|" in line else line.split()
        for name in names:
            last = name.strip()
            assert any(known == last or known.endswith(f" {last}") for known in ALL), last


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_explains_itself(name: str, cli: Cli) -> None:
    """Help opens with examples that begin like the command, and says what it is for."""
    done = cli(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "Examples:"
    assert any("clawpurse " in line for line in lines[1:3])
    command = ALL[name]
    assert command.help or isinstance(command, click.Group)
    own = {parameter.name for parameter in command.params}
    assert {"json", "debug", "no_color"} <= own


@pytest.mark.parametrize("name", sorted(n for n, c in ALL.items() if isinstance(c, Command)))
def test_every_option_can_come_from_the_environment(name: str) -> None:
    """Containers are configured by variables; confirmations are not to be standing there."""
    for parameter in ALL[name].params:
        if not isinstance(parameter, click.Option):
            continue
        never = parameter.name in (
            "yes", "i_understand", "allow_new_recipient", "override", "secret", "unchecked"
        )  # fmt: skip
        if never:
            assert not parameter.envvar
        else:
            assert str(parameter.envvar).startswith("CLAWPURSE_"), parameter.name


def test_configurable_options_exist() -> None:
    """A setting that no command reads would be a promise that nobody keeps."""
    names = {
        str(parameter.name).rstrip("_") for command in ALL.values() for parameter in command.params
    }
    assert set(CONFIGURABLE) <= names


def test_summaries_are_listed_for_what_exists() -> None:
    """The root's help imports nothing, so its table must be true by itself."""
    listed = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
    assert all(isinstance(entry, Entry) and entry.summary for entry in listed.values())
    assert set(listed) == {name for name in ALL if " " not in name}


@pytest.mark.real
def test_help_is_there_in_a_moment() -> None:
    """Who looks a command up should not wait for the network code to load."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "clawpurse.cli", "--help"], check=True, capture_output=True
        )
        took.append(time.monotonic() - began)
    assert min(took) < HELP_SECONDS_MAX
    command = [sys.executable, "-X", "importtime", "-m", "clawpurse.cli", "--help"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    for heavy in ("trio", "pydantic", "nacl", "httpx", "clawpurse.ledger"):
        assert f" {heavy}\n" not in loaded, heavy


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["wallte"],
            "No command 'wallte' in clawpurse; nearest: wallet. → clawpurse wallet --help",
        ),
        (
            ["wallet", "sned"],
            "No command 'sned' in clawpurse wallet; nearest: send. → clawpurse wallet send --help",
        ),
        (["xyzzy"], "No command 'xyzzy' in clawpurse. → clawpurse --help"),
        (["status", "--jsn"], "No option --jsn; nearest: --json. → clawpurse status --help"),
        (["keys", "show"], "Missing argument 'NAME'. → clawpurse keys show --help"),
        (
            ["keys", "add", "a", "--words", "13"],
            "Invalid value for '--words': '13' is not one of '12', '15', '18', '21', '24'. "
            "→ clawpurse keys add --help",
        ),
    ],
)
def test_a_slip_is_answered_with_the_nearest(cli: Cli, arguments: list[str], line: str) -> None:
    """One line, exit 2, and never the nearest command run by guess."""
    done = cli(*arguments)
    assert (done.code, done.out, done.err) == (2, "", line + "\n")


def test_errors_are_one_object_for_programs(cli: Cli) -> None:
    """A program must not parse sentences."""
    done = cli("wallte", "--json")
    assert (done.code, done.err) == (2, "")
    error = json.loads(done.out)["error"]
    assert list(error) == ["code", "name", "reason", "class", "retryable", "hint", "next"]
    assert (error["name"], error["next"]) == ("usage", "clawpurse wallet --help")


def test_a_traceback_only_on_request(cli: Cli, node: FakeNode) -> None:
    """People get a line, developers the trace."""
    node.overrides["chain_getStatus"] = lambda _params: ZeroDivisionError("surprise")
    done = cli("status")
    assert done.code == 1
    assert done.err == (
        "This is a fault of clawpurse itself: ZeroDivisionError: surprise. "
        "→ run it again with --debug\n"
    )
    assert "Traceback" in cli("status", "--debug").err
    assert "Traceback" in cli("status", env={"CLAWPURSE_DEBUG": "1"}).err


@pytest.mark.parametrize(
    ("error", "code", "number", "name"),
    [
        (UsageFault("a."), Exit.USAGE, 2, "usage"),
        (Malformed("amount", "is odd"), Exit.USAGE, -32602, "malformed"),
        (Rejected("a.", code=Code.FROZEN), Exit.REJECTED, -32018, "frozen"),
        (Refused(Code.WRONG_CHAIN, "other"), Exit.REJECTED, -32022, "wrongChain"),
        (BadSignature("bad"), Exit.REJECTED, -32011, "badSignature"),
        (NotFound("it"), Exit.FAILED, -32001, "notFound"),
        (Pending("a."), Exit.PENDING, 5, "pending"),
        (WrongPassphrase("alice", 4000), Exit.FAILED, 1, "wrongPassphrase"),
        (OperatorError("a."), Exit.FAILED, 1, "failed"),
        (Unreachable("http://h:1", "refused", sent=False), Exit.UNREACHABLE, 3, "unreachable"),
        (BadAnswer("no JSON"), Exit.FAILED, 1, "badAnswer"),
        (RpcError(-32016, "known"), Exit.REJECTED, -32016, "duplicate"),
        (RpcError(-32601, "no method"), Exit.USAGE, -32601, "methodNotFound"),
        (RpcError(-32602, "no height"), Exit.USAGE, -32602, "invalidParams"),
        (RpcError(-32002, "below"), Exit.FAILED, -32002, "pruned"),
        (RpcError(-32603, "incident 7"), Exit.FAILED, -32603, "internalError"),
        (KeyboardInterrupt(), Exit.FAILED, 1, "stopped"),
        (FileNotFoundError(2, "No such file", "x"), Exit.FAILED, 1, "failed"),
        (ValueError("ours"), Exit.FAILED, 1, "bug"),
        (ExceptionGroup("g", [OperatorError("in a group.")]), Exit.FAILED, 1, "failed"),
    ],
)
def test_each_error_has_its_exit_code(
    error: BaseException, code: Exit, number: int, name: str
) -> None:
    """Shell scripts branch on these numbers."""
    failure = failure_of(error)
    told = failure.as_json()["error"]
    assert (failure.exit_code, told["code"], told["name"]) == (code, number, name)
    assert failure.line.count("\n") == 0


def test_flag_beats_environment_beats_file(cli: Cli, home: Path, node: FakeNode) -> None:
    """Defaults < file < environment < flag, as everywhere."""
    home.mkdir()
    (home / "config.toml").write_text('asset = "EUR"\nrpc = "http://file:1"\n')
    asked: list[str] = []
    real = node.open

    def opened(url: str) -> object:
        asked.append(url)
        return real(url)

    node.open = opened  # type: ignore[method-assign]
    cli("status")
    cli("status", env={"CLAWPURSE_RPC": "http://environment:1"})
    cli("status", "--rpc", "http://flag:1", env={"CLAWPURSE_RPC": "http://environment:1"})
    assert asked == ["http://file:1", "http://environment:1", "http://flag:1"]


def test_a_mistake_in_the_file_names_line_and_nearest(cli: Cli, home: Path) -> None:
    """Whoever mistypes a setting must not search for it."""
    home.mkdir()
    (home / "config.toml").write_text('# mine\nasest = "EUR"\n')
    done = cli("status")
    assert (done.code, done.err) == (2, "config.toml:2 unknown asest; nearest: asset.\n")
    assert cli("config", "validate").code == 2
    # Commands that look for what is wrong run all the same.
    assert cli("doctor").code == 1


def test_home_may_stand_anywhere(cli: Cli, tmp_path: Path) -> None:
    """`--home` before or after the command means the client's folder."""
    for arguments in (
        ["--home", str(tmp_path / "x"), "keys", "list", "--json"],
        ["keys", "--home", str(tmp_path / "x"), "list", "--json"],
        ["keys", "list", "--json", "--home", str(tmp_path / "x")],
        ["--json", "keys", "list"],
    ):
        assert json.loads(cli(*arguments).out) == {"keys": []}


def test_the_version_is_the_installed_one(cli: Cli) -> None:
    """What people report must be what they run."""
    assert cli("version").out.startswith("clawpurse ")
    assert json.loads(cli("version", "--json").out)["version"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(cli: Cli, shell: str) -> None:
    """It is evaluated by a shell at each start: a script, and nothing beside it."""
    done = cli("completion", shell)
    assert "_CLAWPURSE_COMPLETE" in done.out
    assert done.err == ""
