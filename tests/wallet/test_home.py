"""The client finds whom and which network a person means, or says what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.home import ClientHome, Named, Network
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore

BOB = b"\x0b" * 32


@pytest.fixture
def home(tmp_path: Path) -> ClientHome:
    return ClientHome(tmp_path / "claw")


@pytest.fixture
def keystore(home: ClientHome, clock: Callable[[], int], cheap: KdfCost) -> Keystore:
    return home.keystore(clock, cheap)


def test_an_account_is_a_key_a_contact_or_an_address(
    home: ClientHome, keystore: Keystore, passphrase: str
) -> None:
    alice, _ = keystore.add("alice", passphrase)
    home.contacts().add("bob", BOB)
    assert home.resolve("alice", keystore) == Named(alice.account, "alice", True)
    assert home.resolve("bob", keystore) == Named(BOB, "bob", False)
    assert home.resolve(account_text(BOB), keystore) == Named(BOB, "bob", False)
    assert home.resolve(account_text(BOB).upper(), keystore) == Named(BOB, "bob", False)
    assert home.label_of(alice.account, keystore) == Named(alice.account, "alice", True)
    assert home.resolve(account_text(bytes(32)), keystore) == Named(bytes(32), None, False)


def test_a_mistyped_address_is_never_looked_up_as_a_name(
    home: ClientHome, keystore: Keystore
) -> None:
    with pytest.raises(Malformed, match=r"account: is mistyped \(checksum\)"):
        home.resolve(account_text(BOB)[:-1] + "q", keystore)
    with pytest.raises(OperatorError, match="No key or contact is named carol"):
        home.resolve("carol", keystore)


def test_a_damaged_key_does_not_stop_a_payment_to_somebody_else(
    home: ClientHome, keystore: Keystore, passphrase: str
) -> None:
    info, _ = keystore.add("alice", passphrase)
    info.file.write_text("{")
    home.contacts().add("bob", BOB)
    assert home.resolve(account_text(BOB), keystore).label == "bob"
    with pytest.raises(OperatorError, match="damaged"):
        home.resolve("alice", keystore)


def test_networks_are_kept_and_one_is_chosen(home: ClientHome) -> None:
    assert home.config().chosen is None
    first = Network("testnet", ("http://127.0.0.1:9641", "http://127.0.0.1:9651"))
    second = Network("acme", ("https://rpc.acme.example",), "acme-main", b"\x07" * 32)
    home.add_network(first, choose=True)
    home.add_network(second, choose=False)
    home.set_option("asset", "EUR")
    config = home.config(["asset", "from"])
    assert config.chosen == first and config.networks == {"testnet": first, "acme": second}
    assert config.options == {"asset": "EUR"}
    home.add_network(second, choose=True)
    assert home.config(["asset"]).chosen == second


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('netwrk = "a"\n', "config.toml:1: unknown netwrk; nearest: network"),
        ('network = "b"\n', "config.toml:1: network 'b' is not described; have none"),
        ("networks = 5\n", "config.toml:1: networks is not a table"),
        ('[networks.a]\nrcp = "x"\n', "config.toml:2: unknown rcp; nearest: rpc"),
        ("[networks.a]\nchain_id = 5\n", "config.toml:1: rpc is not a URL"),
        ('[networks.a]\nrpc = "127.0.0.1:9641"\n', "config.toml:2: rpc .* is not an http"),
        ('[networks.a]\nrpc = "http://u:p@h"\n', "config.toml:2: rpc has a password"),
        ('[networks.a]\nrpc = "http://h:99999"\n', "config.toml:2: rpc .* is not a URL"),
        ('[networks.a]\nrpc = ["http://h", 5]\n', "config.toml:2: rpc holds something"),
        ('[networks.a]\nrpc = "http://h"\nchain_id = 5\n', "config.toml:3: chain_id"),
        ('[networks.a]\nrpc = "http://h"\ngenesis_hash = "0x12"\n', "config.toml:3: genesis_hash"),
        ("asset = 1.5\n", "config.toml:1: asset is not a text"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(
    home: ClientHome, text: str, problem: str
) -> None:
    home.prepare()
    home.config_file.write_text(text)
    with pytest.raises(Malformed, match=problem):
        home.config(["asset"])


def test_nothing_is_created_by_looking(home: ClientHome, keystore: Keystore) -> None:
    assert home.config().networks == {}
    assert home.contacts().all() == []
    assert keystore.names() == []
    assert not home.root.exists()
