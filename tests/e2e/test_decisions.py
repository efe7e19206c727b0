"""Real processes, typed commands: authorities vote others in and out while payments go on.

4 → 5 → 4 and one replacement; a removed authority's vote is refused; roles; an amendment that
this software does not know stops it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSPHRASE, Net, environment_for, free_base_port, runner

DEADLINE_S = 90.0


@pytest.fixture
def council(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Four authorities for one test alone: who decides changes here, or stops for good."""
    root = tmp_path_factory.mktemp("council")
    client, folder = root / "client", root / "testnet"
    run = runner(client)
    (root / "passphrase").write_text(PASSPHRASE + "\n")
    base = free_base_port(5)
    command = ["testnet", "start", "--authorities", 4, "--home", folder, "--base-port", base]
    started = run(*command, "--detach", "--json")
    try:
        yield Net(run, started.json(), folder, client, str(root / "passphrase"))
    finally:
        run("stop", "--home", folder)


@contextlib.contextmanager
def joined(net: Net, home: Path) -> Iterator[str]:
    """A node that joined by the guide's commands and runs; gives its clawval1…."""
    peers = [part for node in net.facts["nodes"] for part in ("--peer", node["p2p"])]
    hash_ = net.facts["genesisHash"]
    net.run("join", net.facts["genesis"], "--hash", hash_, *peers, "--home", home, "--json").json()
    key = str(net.run("authority", "init-key", "--home", home, "--json").json()["authority"])
    again = net.run("authority", "init-key", "--home", home)
    assert again.code == 2 and key in again.err
    base = free_base_port(1)
    started = net.run("start", "--home", home, "--base-port", base, "--detach", "--json")
    assert started.code == 0, started.err
    try:
        yield key
    finally:
        net.run("stop", "--home", home)


@contextlib.contextmanager
def payments(net: Net) -> Iterator[Callable[[], int]]:
    """Payments without end from a client of its own; gives how many were final."""
    code = (
        "import sys,json,subprocess\n"
        "while True:\n"
        "    done = subprocess.run([sys.executable,'-m','clawpurse.cli',*sys.argv[1:]],"
        "capture_output=True,text=True)\n"
        "    print(done.returncode, flush=True)\n"
    )
    pay = ["wallet", "send", net.facts["faucet"], "0.01", "--from", "payer", "--yes", "--json"]
    pay += ["--passphrase-file", net.passphrase_file]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *pay],
        env=environment_for(net.client),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    codes: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=codes.extend, args=(map(str.strip, process.stdout),))
    reader.start()
    try:
        yield lambda: codes.count("0")
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        process.stdout.close()
        assert set(codes) <= {"0"}, codes


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def homes(net: Net, *numbers: int) -> list[str]:
    return [
        part
        for number in numbers
        for part in ("--authority-home", str(net.home / f"authority-{number}"))
    ]


def members(net: Net) -> set[str]:
    answer = net.run("authority", "show", "--json").json()
    return {one["authority"] for one in answer["authorities"]}


def key_of(net: Net, number: int) -> str:
    info = net.run("rpc", "node_getInfo", "--rpc", net.facts["nodes"][number - 1]["rpc"]).json()
    return str(info["authority"])


def understood(net: Net) -> list[str]:
    return ["--yes", "--i-understand", net.facts["chainId"], "--json"]


@pytest.mark.real
@pytest.mark.full
def test_authorities_vote_another_in_and_see_what_they_do(council: Net, tmp_path: Path) -> None:
    """The small one of every run: join, make a key, be voted in, sign, be voted out."""
    net = council
    with joined(net, tmp_path / "fifth") as fifth:
        propose = ["authority", "propose", "add", fifth]
        unsure = net.run(*propose, *homes(net, 1))
        assert unsure.code == 2 and "add --yes" in unsure.err
        assert f"vote to make {fifth} an authority" in unsure.err
        first = net.run(*propose, *homes(net, 1), "--yes", "--json").json()["proposal"]
        assert (first["status"], first["counted"], first["quorum"]) == ("open", 1, 3)
        listed = net.run("authority", "proposals")
        assert first["proposal"][:14] in listed.out and "1 of 3 votes" in listed.out
        # By contents, to the same proposal; taken back; and by the beginning of its id.
        second = net.run(*propose, *homes(net, 1, 2), "--yes", "--json").json()["proposal"]
        assert (second["proposal"], second["counted"]) == (first["proposal"], 2)
        gone = net.run(
            "authority", "withdraw", first["proposal"], *homes(net, 2), "--yes", "--json"
        )
        assert gone.json()["proposal"]["counted"] == 1
        # Four are named; two are enough and the fourth one's vote would come too late.
        last = net.run(
            "authority", "vote", first["proposal"][:14], *homes(net, 1, 2, 3, 4), "--yes"
        )
        assert last.code == 0 and "passed, in force from block" in last.out, last.err
        until(lambda: fifth in members(net), "the fifth is an authority")
        until(
            lambda: (
                any(
                    one["authority"] == fifth and one["inNewestCertificate"]
                    for one in net.run("authority", "show", "--json").json()["authorities"]
                )
                or net.fund(f"key-{time.monotonic_ns()}")
            ),
            "the fifth signs",
        )
        remove = ["authority", "propose", "remove", fifth, *homes(net, 1, 2, 3, 4)]
        careless = net.run(*remove, "--yes")
        assert careless.code == 2 and "--i-understand" in careless.err
        done = net.run(*remove, *understood(net)).json()
        assert done["proposal"]["status"] == "passed"
        until(lambda: fifth not in members(net), "the fifth is out")
        net.fund("sponsor")
        refused = net.run(
            "authority", "propose", "add", fifth, "--authority-home", tmp_path / "fifth",
            "--from", "sponsor", "--passphrase-file", net.passphrase_file, "--yes", "--json",
        )  # fmt: skip
        assert refused.code == 4
        error = json.loads(refused.out)["error"]
        assert error["reason"].startswith(f"The key {fifth} is no authority at height")


@pytest.mark.real
def test_roles_are_given_checked_and_taken_by_typed_commands(council: Net) -> None:
    net = council
    bob = net.fund("bob")["account"]
    admin = ["--authority-home", str(net.home / "authority-1")]
    granted = net.run("role", "grant", "cashier", "bob", *admin, "--yes", "--json").json()
    assert net.run("role", "check", "bob", "cashier").code == 0
    assert net.run("role", "list", "cashier").out.strip() == bob
    assert net.run("role", "list", "--of", "bob").out.strip() == "cashier"
    before = granted["height"] - 1
    assert net.run("role", "check", "bob", "cashier", "--at", before).code == 1
    permit = ["role", "permit", "accounts.open", "cashier", *admin]
    assert net.run(*permit, "--yes").code == 2
    net.run(*permit, *understood(net)).json()
    assert "accounts.open asks for the role cashier" in net.run("role", "list").out
    lifted = net.run("role", "permit", "accounts.open", "--everybody", *admin, "--yes", "--json")
    assert lifted.code == 0, lifted.err
    taken = net.run("role", "revoke", "cashier", "bob", "--reason", "left", *admin, "--yes")
    assert taken.code == 0 and "no longer holds the role cashier" in taken.out, taken.err
    history = net.run("role", "history", "bob", "cashier").out
    assert [line.split("\t")[1] for line in history.splitlines()] == ["given", "taken"]
    nobody = net.run("role", "grant", "x", "bob", "--from", "bob", "--yes",
                     "--passphrase-file", net.passphrase_file)  # fmt: skip
    assert nobody.code == 4 and "lacks the role admin" in nobody.err
    promoted = net.run("authority", "propose", "grant", "admin", "bob", *homes(net, 1, 2, 3),
                       *understood(net)).json()  # fmt: skip
    assert promoted["proposal"]["status"] == "passed"
    assert net.run("role", "list", "admin").out.count("claw1") == 2


@pytest.mark.real
@pytest.mark.full
def test_four_to_five_to_four_and_a_replacement_under_load(council: Net, tmp_path: Path) -> None:
    net = council
    net.fund("payer")
    net.fund("witness")
    with (
        payments(net) as paid,
        joined(net, tmp_path / "fifth") as fifth,
        joined(net, tmp_path / "sixth") as sixth,
    ):
        before = members(net)
        second, third = key_of(net, 2), key_of(net, 3)

        def decide(*change: str, voters: list[str]) -> None:
            done = net.run("authority", "propose", *change, *voters, *understood(net)).json()
            assert done["proposal"]["status"] == "passed", done

        decide("add", fifth, voters=homes(net, 1, 2, 3))
        until(lambda: members(net) == before | {fifth}, "five decide")
        seen = paid()
        until(lambda: paid() > seen + 2, "payments go on with five")
        fifth_home = ["--authority-home", str(tmp_path / "fifth")]
        decide("remove", second, voters=[*homes(net, 1, 3, 4), *fifth_home])
        until(lambda: members(net) == (before | {fifth}) - {second}, "four decide")
        seen = paid()
        until(lambda: paid() > seen + 2, "payments go on with four")
        refused = net.run(
            "authority", "propose", "add", second, *homes(net, 2), "--from", "witness",
            "--passphrase-file", net.passphrase_file, "--yes", "--json",
        )  # fmt: skip
        assert refused.code == 4
        assert "is no authority at height" in json.loads(refused.out)["error"]["reason"]
        decide("replace", third, sixth, voters=[*homes(net, 1, 4), *fifth_home])
        wanted = (before | {fifth, sixth}) - {second, third}
        until(lambda: members(net) == wanted, "the sixth is in the third's place")
        seen = paid()
        until(lambda: paid() > seen + 2, "payments go on with the sixth")
        pace = ["authority", "propose", "params", "interval_ms=300", *homes(net, 1, 4)]
        done = net.run(*pace, *fifth_home, *understood(net)).json()
        assert done["proposal"]["status"] == "passed"
        params = net.run("rpc", "chain_getParameters").json()["parameters"]
        assert params["interval_ms"] == 300
        # A payment's proof carries the changes: it is checked from the genesis hash alone.
        document = tmp_path / "payment.json"
        sent = net.run("wallet", "send", net.facts["faucet"], "1", "--from", "witness", "--yes",
                       "--passphrase-file", net.passphrase_file, "--json")  # fmt: skip
        document.write_text(sent.out)
        genesis_hash = net.facts["genesisHash"]
        assert net.run("tx", "verify", document, "--genesis-hash", genesis_hash).code == 0
        # And a light client follows from genesis across all of them.
        light = net.run("light", "verify", "--json").json()
        assert light["verified"] is True
        assert light["height"] > 1


@pytest.mark.real
@pytest.mark.full
def test_an_amendment_that_nobody_knows_stops_the_nodes_in_time(
    tmp_path: Path,
) -> None:
    """A network of one: it stops before the block, and says what to install."""
    root = tmp_path
    run = runner(root / "client")
    folder = root / "testnet"
    base = free_base_port(1)
    start = ["testnet", "start", "--authorities", 1, "--home", folder, "--base-port", base]
    facts = run(*start, "--detach", "--json").json()
    net = Net(run, facts, folder, root / "client", str(root / "passphrase"))
    (root / "passphrase").write_text(PASSPHRASE + "\n")
    try:
        net.fund("alice")
        height = run("status", "--json").json()["height"] + 20
        done = run("upgrade", "propose", "next-one", "--height", height, *homes(net, 1),
                   *understood(net)).json()  # fmt: skip
        assert done["proposal"]["status"] == "passed"
        status = run("upgrade", "status")
        assert "DOES NOT KNOW IT" in status.out and "next-one" in status.err
        pay = ["wallet", "send", facts["faucet"], "0.01", "--from", "alice", "--yes"]
        pay += ["--passphrase-file", net.passphrase_file, "--json"]
        last = 0
        for _ in range(40):
            paid = run(*pay)
            if paid.code != 0:
                break
            last = paid.json()["height"]
        assert last <= height - 1 and paid.code != 0
        log = (folder / "authority-1" / "node.log").read_text()
        assert "next-one" in log and f"stopped before block {height}" in log
        again = run(*start, "--detach", "--json")
        assert again.code != 0
    finally:
        run("stop", "--home", folder)
