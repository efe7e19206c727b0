"""A test network's folder: genesis, one node's folder an authority, and what binds them.

    genesis.json  network.json        the network, and what `testnet` must know of it
    authority-1/ … authority-N/       node folders (node/home.py)

All keys of a test network lie on one disk: it is for trying things out.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.ports import PORTS_PER_NODE
from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.agreement.authorities import AUTHORITIES_MAX
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset, GenesisRole
from clawpurse.ledger.names import ADMIN_ROLE
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.modules.faucet.keys import faucet_account, faucet_seed
from clawpurse.modules.registry import build_registry
from clawpurse.node.config import config_text
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import create_sign_state
from clawpurse.wallet.durable import make_private_directory, replace_private

NETWORK_FILE: Final = "network.json"
NETWORK_VERSION: Final = 1
BASE_PORT_DEFAULT: Final = 9640
PORT_MAX: Final = 65_535
AUTHORITIES_DEFAULT: Final = 4
# A money without an issuer to try second assets with; EURX is a name for issuers to take.
EURO: Final = "TEUR"
# One hundredth of a CLAW a payment: small, and not nothing, so that what people try here shows
# what a fee does.
FEE_MIN: Final = 1
FAUCET_CLAW: Final = 1_000_000_00
FAUCET_TEUR: Final = 1_000_000_00
# Each authority's own account pays for its votes: ten thousand of them.
AUTHORITY_CLAW: Final = 100_00
ASSETS: Final = (
    GenesisAsset(NATIVE_ASSET, 2, "The test network's own money"),
    GenesisAsset(EURO, 2, "A test euro"),
)


class Ports(NamedTuple):
    """The three ports of a node."""

    p2p: int
    rpc: int
    metrics: int

    @classmethod
    def of(cls, base_port: int, index: int = 0) -> Ports:
        """Return the ports of node `index`, from 0."""
        first = base_port + PORTS_PER_NODE * index
        return cls(first, first + 1, first + 2)


def check_base_port(base_port: int, nodes: int) -> int:
    """Return `base_port` if all nodes have room above it, else raise `OperatorError`."""
    last = base_port + PORTS_PER_NODE * nodes - 1
    if base_port < 1 or last > PORT_MAX:
        raise OperatorError(
            f"{nodes} nodes from port {base_port} would end at port {last}, above {PORT_MAX}.",
            "",
            f"--base-port {BASE_PORT_DEFAULT}",
        )
    return base_port


@dataclass(frozen=True)
class LocalNetwork:
    """A test network in a folder."""

    folder: Path
    chain_id: str
    genesis_hash: bytes
    authorities: int
    base_port: int
    faucet: bytes

    @property
    def genesis_file(self) -> Path:
        """The genesis, for whoever joins."""
        return self.folder / "genesis.json"

    @property
    def lock_file(self) -> Path:
        """Held while somebody starts, moves or deletes the network."""
        return self.folder.with_name(f".{self.folder.name}.lock")

    @property
    def names(self) -> list[str]:
        """`authority-1` and so on."""
        return [f"authority-{number}" for number in range(1, self.authorities + 1)]

    @property
    def homes(self) -> list[NodeHome]:
        """The nodes' folders, in order."""
        return [NodeHome(self.folder / name) for name in self.names]

    def running(self) -> list[NodeHome]:
        """The nodes that run now."""
        return [home for home in self.homes if home.lock_holder() is not None]


def is_network(folder: Path) -> bool:
    """Tell whether a folder holds a test network."""
    return (folder / NETWORK_FILE).exists()


def open_network(folder: Path) -> LocalNetwork:
    """Read a network's folder. Raises `OperatorError`."""
    file = folder / NETWORK_FILE
    try:
        document: Any = json.loads(file.read_bytes())
        if document["version"] != NETWORK_VERSION:
            raise OperatorError(f"{file} is of another version of clawpurse.", "", "")
        return LocalNetwork(
            folder,
            str(document["chainId"]),
            bytes.fromhex(document["genesisHash"].removeprefix("0x")),
            int(document["authorities"]),
            int(document["basePort"]),
            bytes.fromhex(document["faucet"].removeprefix("0x")),
        )
    except FileNotFoundError:
        raise OperatorError(
            f"There is no test network in {folder}.", "", "clawpurse testnet start"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise OperatorError(f"{file} is damaged ({err}).", "", "clawpurse testnet reset") from None


def create_network(folder: Path, authorities: int, base_port: int, now_ms: int) -> LocalNetwork:
    """Make a network in one step: afterwards the folder has all of it or nothing.

    Raises `OperatorError` when the folder holds something else, `StorageFault` when the disk
    does not do it.
    """
    if not 1 <= authorities <= min(AUTHORITIES_MAX, 32):
        raise OperatorError(f"{authorities} authorities are too many or too few: 1…32.", "", "")
    check_base_port(base_port, authorities)
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(
            f"{folder} is not empty and holds no test network.", "", "choose another --home"
        )
    unfinished = folder.with_name(f".{folder.name}.unfinished-{secrets.token_hex(4)}")
    make_private_directory(unfinished)
    try:
        _fill(unfinished, authorities, base_port, now_ms)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return open_network(folder)


def _fill(folder: Path, authorities: int, base_port: int, now_ms: int) -> None:
    homes = [NodeHome(folder / f"authority-{number}") for number in range(1, authorities + 1)]
    keys = []
    for home in homes:
        home.make()
        home.create_key(home.node_key)
        keys.append(home.create_key(home.authority_key))
        home.read_or_create_token()
    genesis = test_genesis(f"acme-test-{secrets.token_hex(2)}", now_ms, keys)
    text = genesis.to_json().encode()
    replace_private(folder / "genesis.json", text)
    for home, key in zip(homes, keys, strict=True):
        replace_private(home.genesis, text)
        create_sign_state(DiskFiles(home.signer), genesis.hash, key)
    _write_configs(homes, base_port)
    faucet = faucet_account(genesis)
    document = {
        "version": NETWORK_VERSION,
        "chainId": genesis.chain_id,
        "genesisHash": f"0x{genesis.hash.hex()}",
        "authorities": authorities,
        "basePort": base_port,
        "faucet": f"0x{faucet.hex()}",
        "faucetAccount": account_text(faucet),
    }
    replace_private(folder / NETWORK_FILE, json.dumps(document, indent=2).encode() + b"\n")


def test_genesis(chain_id: str, time_ms: int, authorities: list[bytes]) -> Genesis:
    """Return the genesis of a test network: two assets, nearly everything with the faucet.

    Each authority has an account of its own, which its key signs for, so that votes need no
    wallet; the first one's is the administrator.
    """
    faucet = public_key_of(faucet_seed(chain_id, time_ms))
    balances = ((NATIVE_ASSET, FAUCET_CLAW), (EURO, FAUCET_TEUR))
    return Genesis(
        chain_id=chain_id,
        time_ms=time_ms,
        authorities=tuple(sorted(authorities)),
        params=Params(fee_min=FEE_MIN),
        assets=ASSETS,
        accounts=tuple(
            sorted(
                [
                    GenesisAccount(faucet, balances),
                    *(
                        GenesisAccount(key, ((NATIVE_ASSET, AUTHORITY_CLAW),))
                        for key in authorities
                    ),
                ]
            )
        ),
        roles=(GenesisRole(ADMIN_ROLE, authorities[0]),),
        modules=tuple((module.name, module.version) for module in build_registry().modules),
        test_network=True,
    )


def _write_configs(homes: list[NodeHome], base_port: int) -> None:
    """Write each node's config.toml: its ports, and all others as peers."""
    ids = [public_key_of(home.read_seed(home.node_key)).hex() for home in homes]
    ports = [Ports.of(base_port, index) for index in range(len(homes))]
    addresses = [
        f"{node_id}@127.0.0.1:{port.p2p}" for node_id, port in zip(ids, ports, strict=True)
    ]
    names = tuple(
        f"{home.root.name}={authority_text(public_key_of(home.read_seed(home.authority_key)))}"
        for home in homes
    )
    for index, home in enumerate(homes):
        values = {
            "name": home.root.name,
            "p2p_listen": f"127.0.0.1:{ports[index].p2p}",
            "rpc_listen": f"127.0.0.1:{ports[index].rpc}",
            "metrics_listen": f"127.0.0.1:{ports[index].metrics}",
            "peers": tuple(addresses[:index] + addresses[index + 1 :]),
            "authority": True,
            "authority_names": names,
        }
        replace_private(home.config, config_text(values).encode())


def move_ports(network: LocalNetwork, base_port: int) -> LocalNetwork:
    """Give all nodes other ports. Raises `OperatorError` while one of them runs."""
    check_base_port(base_port, network.authorities)
    if network.running():
        raise OperatorError(
            f"{network.chain_id} runs on ports from {network.base_port}.",
            "Ports move while it stands.",
            f"clawpurse testnet stop --home {network.folder}",
        )
    _write_configs(network.homes, base_port)
    file = network.folder / NETWORK_FILE
    document = json.loads(file.read_bytes())
    document["basePort"] = base_port
    replace_private(file, json.dumps(document, indent=2).encode() + b"\n")
    return open_network(network.folder)
