"""`clawpurse peer` at a node that stands, and what every command that calls a node takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clawpurse.cli.main import build_root
from clawpurse.cli.network import create_network
from tests.cli.conftest import Cli
from tests.wallet.smallchain import START_MS

IDENT = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node that does not run, with one comment of its operator."""
    network = create_network(tmp_path / "net", 1, 9_640, START_MS)
    root = network.homes[0].root
    file = root / "config.toml"
    file.write_text(f"# ask Milan first\n{file.read_text()}")
    return root


def test_a_standing_node_s_peers_are_those_of_its_file(cli: Cli, folder: Path) -> None:
    """What is prepared before the first start is there at the first start."""
    at = ("--home", str(folder))
    empty = cli("peer", "list", *at)
    assert (empty.code, "No peers." in empty.out) == (0, True)
    added = cli("peer", "add", f"{IDENT}@Milan.example:9640", *at)
    assert added.out == f"✓ {IDENT}@milan.example:9640 is a peer, not connected yet\n"
    text = (folder / "config.toml").read_text()
    assert text.startswith("# ask Milan first\n")
    assert f'peers = ["{IDENT}@milan.example:9640"]' in text
    again = cli("peer", "add", f"{IDENT}@milan.example:9640", *at, "--json")
    assert json.loads(again.out)["added"] is False
    moved = cli("peer", "add", f"{IDENT}@rome.example:9640", *at, "--json")
    assert json.loads(moved.out)["added"] is True
    listed = json.loads(cli("peer", "list", *at, "--json").out)
    assert listed == {"configured": [f"{IDENT}@rome.example:9640"], "connected": [], "bans": []}
    shown = cli("peer", "list", *at).out
    assert "not connected" in shown
    assert cli("peer", "remove", IDENT, *at).out == f"✓ {IDENT} is no peer any more\n"
    assert json.loads(cli("peer", "list", *at, "--json").out)["configured"] == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "milan.example:9640"), "has no @"),
        (("add", f"{IDENT}@milan.example"), "has no port"),
        (("remove", IDENT), "is configured"),
        (("remove", "milan"), "64 lower-case hex digits"),
        (("ban", IDENT), "Only a running node bans"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    cli: Cli, folder: Path, words: tuple[str, str], why: str
) -> None:
    """A typing error must not end in a file that stops the next start."""
    before = (folder / "config.toml").read_bytes()
    done = cli("peer", *words, "--home", str(folder))
    assert (done.code, why in done.err) == (2, True), done.err
    assert (folder / "config.toml").read_bytes() == before


def test_the_environment_s_peers_are_not_changed_in_the_file(cli: Cli, folder: Path) -> None:
    """A change that does not count would be believed to count."""
    peer = f"{IDENT}@h:1"
    words = ("peer", "add", peer, "--home", str(folder))
    done = cli(*words, env={"CLAWPURSE_PEERS": ""})
    assert (done.code, "come from CLAWPURSE_PEERS" in done.err) == (1, True)


def test_a_standing_node_reads_its_file_when_it_starts(cli: Cli, folder: Path) -> None:
    """`config reload` of a node that stands says what to do instead."""
    done = cli("config", "reload", "--home", str(folder))
    assert (done.code, "clawpurse start --home" in done.err) == (2, True)


def _commands(
    command: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from _commands(inner, (*words, name))


def test_every_command_that_calls_a_node_can_trust_a_ca_and_show_a_token() -> None:
    """One that could not would be of no use beyond the own machine."""
    calling = 0
    for words, command in _commands(build_root()):
        options = {option for one in command.params for option in one.opts}
        if "--rpc" in options:
            calling += 1
            assert {"--ca", "--token-file", "--network"} <= options, words
    assert calling > 50
