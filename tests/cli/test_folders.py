"""Folders of nodes and networks: made whole or not at all, joined by hash, never run over."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from clawpurse.cli import network as networks
from clawpurse.cli.network import (
    BASE_PORT_DEFAULT,
    Ports,
    create_network,
    is_network,
    move_ports,
    open_network,
)
from clawpurse.cli.ports import Holder, holder_of, is_free
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import Genesis
from clawpurse.modules.faucet.keys import faucet_account, faucet_seed
from clawpurse.node.config import load_config
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import state_name
from clawpurse.p2p.address import PeerAddress
from tests.cli.conftest import Cli

NOW_MS = 1_800_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "testnet"


def test_a_network_is_what_the_interface_says(folder: Path) -> None:
    """Programs compute ports and read genesis; nodes must find each other and may sign at once."""
    made = create_network(folder, 4, 9700, NOW_MS)
    genesis = Genesis.from_json(made.genesis_file.read_bytes())
    assert genesis.hash == made.genesis_hash
    assert genesis.test_network
    assert genesis.decimals == {"CLAW": 2, "TEUR": 2}
    # The faucet's account, and one for each authority, so that votes need no wallet.
    owners = {entry.account for entry in genesis.accounts}
    assert owners == {faucet_account(genesis), *genesis.authorities}
    first = public_key_of(made.homes[0].read_seed(made.homes[0].authority_key))
    assert genesis.roles == (("admin", first),)
    balances = {entry.account: dict(entry.balances)["CLAW"] for entry in genesis.accounts}
    assert balances[faucet_account(genesis)] == 1_000_000_00
    assert {balances[key] for key in genesis.authorities} == {100_00}
    prefix, _, suffix = genesis.chain_id.rpartition("-")
    assert (prefix, len(suffix)) == ("acme-test", 4)
    for index, home in enumerate(made.homes):
        config = load_config(home.root, {})
        assert config.name == f"authority-{index + 1}"
        assert config.authority
        ports = Ports.of(9700, index)
        assert (config.p2p_address[1], config.rpc_address[1], config.metrics_address[1]) == ports
        assert len({PeerAddress.parse(peer).node_id for peer in config.peers}) == 3
        key = public_key_of(home.read_seed(home.authority_key))
        assert key in genesis.authorities
        assert state_name(genesis.hash, key) in DiskFiles(home.signer).names()
        assert home.read_genesis().hash == genesis.hash
        for secret in (home.node_key, home.authority_key, home.admin_token):
            assert secret.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert open_network(folder) == made
    assert made.running() == []


def test_two_networks_never_share_a_name_or_a_faucet(tmp_path: Path) -> None:
    """Money of one test network must be void on every other."""
    one = create_network(tmp_path / "a", 1, 9700, NOW_MS)
    two = create_network(tmp_path / "b", 1, 9700, NOW_MS)
    assert one.genesis_hash != two.genesis_hash
    assert faucet_seed("a", 1) != faucet_seed("b", 1) != faucet_seed("b", 2)


def test_no_faucet_on_a_network_that_matters(folder: Path) -> None:
    """Anybody can derive the faucet's key."""
    genesis = networks.test_genesis("acme-main", NOW_MS, [b"\x01" * 32])
    real = Genesis(**{**vars(genesis), "test_network": False})
    with pytest.raises(OperatorError, match="acme-main is no test network; it has no faucet"):
        faucet_account(real)


def test_a_crash_while_making_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a network would be taken for a whole one at the next start."""

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(networks, "_write_configs", fails)
    with pytest.raises(OSError, match="No space left"):
        create_network(folder, 2, 9700, NOW_MS)
    assert list(folder.parent.iterdir()) == []


def test_somebody_elses_folder_is_not_touched(folder: Path) -> None:
    """`--home ~` is a slip that must cost nothing."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OperatorError, match="is not empty and holds no test network"):
        create_network(folder, 1, 9700, NOW_MS)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("authorities", "base"), [(0, 9700), (33, 9700), (4, 65_500), (4, 0)])
def test_impossible_networks_are_refused(folder: Path, authorities: int, base: int) -> None:
    """Ports above 65535 would fail node by node, later, and less clearly."""
    with pytest.raises(OperatorError):
        create_network(folder, authorities, base, NOW_MS)
    assert not folder.exists()


def test_ports_move_and_the_chain_stays(folder: Path) -> None:
    """The remedy for a taken port must not cost the chain."""
    made = create_network(folder, 2, 9700, NOW_MS)
    moved = move_ports(made, 9900)
    assert moved.genesis_hash == made.genesis_hash
    assert open_network(folder).base_port == 9900
    config = load_config(made.homes[1].root, {})
    assert config.rpc_listen == "127.0.0.1:9911"
    assert config.peers[0].endswith("@127.0.0.1:9900")
    with made.homes[0].lock.open("w"):
        lock = made.homes[0].take_lock()
        with pytest.raises(OperatorError, match="runs on ports from 9900"):
            move_ports(moved, 9700)
        os.close(lock)


def test_a_damaged_network_file_says_so(folder: Path) -> None:
    """Not a traceback."""
    create_network(folder, 1, 9700, NOW_MS)
    (folder / "network.json").write_text("{")
    with pytest.raises(OperatorError, match="is damaged"):
        open_network(folder)
    assert is_network(folder)


@pytest.mark.real
def test_the_holder_of_a_port_is_named() -> None:
    """ "Port taken" without a name sends people through man pages."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        holder = holder_of(port)
        assert holder.pid == os.getpid()
        assert str(holder) == f"process {os.getpid()} ({holder.name})"
    assert is_free("127.0.0.1", port)
    assert holder_of(port) == Holder(None, None)


def test_init_makes_a_node_and_keeps_what_is_there(cli: Cli, tmp_path: Path) -> None:
    """Run twice, it must not make new keys: the node would be another one."""
    home = tmp_path / "Milan Node"
    first = json.loads(cli("init", "--home", str(home), "--authority", "--json").out)
    assert first["authority"].startswith("clawval1")
    assert first["p2p"] == f"{first['nodeId']}@127.0.0.1:{BASE_PORT_DEFAULT}"
    assert first["name"] == "node"
    again = json.loads(cli("init", "--home", str(home), "--authority", "--json").out)
    assert again == first
    shown = cli("init", "--home", str(home))
    assert first["authority"] in shown.out
    assert "Next: clawpurse genesis create" in shown.err


def consortium(cli: Cli, tmp_path: Path) -> tuple[Path, str, str]:
    """A node of an authority, a genesis with it, and the genesis hash."""
    home, genesis = tmp_path / "berlin", str(tmp_path / "genesis.json")
    made = json.loads(cli("init", "--home", str(home), "--authority", "--json").out)
    created = cli("genesis", "create", genesis, "--chain-id", "acme-main", "--authority",
                  made["authority"], "--asset", "EURX:2:Euro", "--parameter", "fee_min=1",
                  "--json")  # fmt: skip
    assert created.code == 0, created.out
    account = json.loads(
        cli("genesis", "add-account", genesis, made_account(), "1000.50", "--json").out
    )
    return home, genesis, account["genesisHash"]


def made_account() -> str:
    from clawpurse.ledger.address import account_text

    return account_text(b"\x31" * 32)


def test_a_consortium_is_founded_by_commands(cli: Cli, tmp_path: Path) -> None:
    """init, genesis create, add, verify, join: and the authority may sign, once and only here."""
    home, genesis, genesis_hash = consortium(cli, tmp_path)
    other = json.loads(cli("init", "--home", str(tmp_path / "milan"), "--authority", "--json").out)
    added = json.loads(cli("genesis", "add-authority", genesis, other["authority"], "--json").out)
    assert len(added["authorities"]) == 2
    genesis_hash = added["genesisHash"]
    assert cli("genesis", "verify", genesis, "--hash", genesis_hash).code == 0
    assert cli("genesis", "verify", genesis, "--hash", "0x" + "00" * 32).code == 1
    joined = cli("join", genesis, "--hash", genesis_hash, "--peer", other["p2p"],
                 "--home", str(home), "--json")  # fmt: skip
    document = json.loads(joined.out)
    assert (document["authority"], document["chainId"]) == (True, "acme-main")
    node = NodeHome(home)
    key = public_key_of(node.read_seed(node.authority_key))
    assert state_name(node.read_genesis().hash, key) in DiskFiles(node.signer).names()
    assert load_config(home, {}).peers == (other["p2p"],)
    # Again, with another peer: both are known, nothing else changes.
    third = f"{'ab' * 32}@milan.example:9640"
    more = cli("join", genesis, "--hash", genesis_hash, "--peer", third, "--home", str(home))
    assert more.code == 0
    assert load_config(home, {}).peers == (other["p2p"], third)


def test_a_copied_authority_key_does_not_sign_by_itself(cli: Cli, tmp_path: Path) -> None:
    """A key that signed elsewhere must not start with an empty memory: it could sign twice."""
    home, genesis, genesis_hash = consortium(cli, tmp_path)
    copy = tmp_path / "copy"
    cli("init", "--home", str(copy))
    (copy / "authority.key").write_bytes((home / "authority.key").read_bytes())
    (copy / "authority.key").chmod(0o600)
    done = cli("join", genesis, "--hash", genesis_hash, "--home", str(copy), "--json")
    assert json.loads(done.out)["authority"] is True
    assert DiskFiles(NodeHome(copy).signer).names() == []
    found = cli("doctor", "--home", str(copy))
    assert found.code == 1
    assert "the signing state is missing" in found.out


def test_joining_needs_the_right_hash_and_a_peer(cli: Cli, tmp_path: Path) -> None:
    """The hash is what is trusted; a folder of another network stays what it is."""
    home, genesis, genesis_hash = consortium(cli, tmp_path)
    wrong = cli("join", genesis, "--hash", "0x" + "11" * 32, "--home", str(tmp_path / "x"))
    assert wrong.code == 1
    assert "It is another network, or was changed." in wrong.err
    bad_peer = cli("join", genesis, "--hash", genesis_hash, "--peer", "somewhere",
                   "--home", str(tmp_path / "x"))  # fmt: skip
    assert bad_peer.code == 2
    assert not (tmp_path / "x").exists()
    assert cli("join", genesis, "--hash", genesis_hash, "--home", str(home)).code == 0
    second = tmp_path / "second.json"
    cli("genesis", "create", str(second), "--chain-id", "other", "--authority",
        json.loads(cli("init", "--home", str(home), "--json").out)["authority"])  # fmt: skip
    other_hash = json.loads(cli("genesis", "verify", str(second), "--json").out)["genesisHash"]
    foreign = cli("join", str(second), "--hash", other_hash, "--home", str(home))
    assert foreign.code == 1
    assert "is a node of acme-main already. It was not touched." in foreign.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chain-id", "x"], "A network needs authorities."),
        (["--chain-id", "X Y", "--authority", "A"], "genesis.chainId"),
        (["--chain-id", "x", "--authority", "clawval1qqqq"], "authority is mistyped"),
        (["--chain-id", "x", "--authority", "A", "--asset", "E"], "is not NAME:DECIMALS:TITLE"),
        (["--chain-id", "x", "--authority", "A", "--parameter", "fee_mim=1"], "fee_mim"),
        (["--chain-id", "x", "--authority", "A", "--parameter", "fee_min"], "is not NAME=NUMBER"),
    ],
)
def test_a_genesis_that_cannot_run_is_not_written(
    cli: Cli, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """A founding file is signed by everybody; it must be right when it is made."""
    made = json.loads(cli("init", "--home", str(tmp_path / "n"), "--authority", "--json").out)
    given = [made["authority"] if text == "A" else text for text in arguments]
    done = cli("genesis", "create", str(tmp_path / "g.json"), *given)
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "g.json").exists()


def test_a_founding_file_is_never_overwritten(cli: Cli, tmp_path: Path) -> None:
    """Others may have its hash already."""
    _, genesis, _ = consortium(cli, tmp_path)
    before = Path(genesis).read_bytes()
    made = json.loads(cli("init", "--home", str(tmp_path / "n"), "--authority", "--json").out)
    done = cli("genesis", "create", genesis, "--chain-id", "y", "--authority", made["authority"])
    assert done.code == 2
    assert Path(genesis).read_bytes() == before


def test_stop_without_a_node_says_so(cli: Cli, tmp_path: Path) -> None:
    """Stopping what does not run is no error; stopping nothing at all is."""
    home, genesis, genesis_hash = consortium(cli, tmp_path)
    cli("join", genesis, "--hash", genesis_hash, "--home", str(home))
    done = cli("stop", "--home", str(home), "--json")
    assert json.loads(done.out)["stopped"] == 0
    nothing = cli("stop", "--home", str(tmp_path / "nothing"))
    assert nothing.code == 1
    assert nothing.err.startswith("There is no node in ")


def test_the_network_named_testnet_is_listed_when_it_stands(cli: Cli, home: Path) -> None:
    """`testnet status` without a network names the command that makes one."""
    done = cli("testnet", "status")
    assert (done.code, done.err) == (
        1,
        f"There is no test network in {home}/testnet. → clawpurse testnet start\n",
    )
    made = cli("testnet", "init", "--authorities", "2", "--base-port", "9700", "--json")
    document = json.loads(made.out)
    assert [node["state"] for node in document["nodes"]] == ["stopped", "stopped"]
    assert all(node["pid"] is None and node["height"] is None for node in document["nodes"])
    shown = cli("testnet", "status")
    assert shown.out.startswith(f"{document['chainId']}: 0 of 2 nodes ready.\n")
    assert shown.err == "Next: clawpurse testnet start\n"
    assert cli("start", "--home", str(home / "testnet")).code == 2
