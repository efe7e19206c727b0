"""The client's home folder: where keys, contacts, receipts and networks are, and who is who.

keys/NAME.json      encrypted keys, 0600                     (wallet/keystore.py)
contacts.json       labels for other people's accounts       (wallet/contacts.py)
receipts/0x….json   receipts with their proofs               (wallet/receipts.py)
light/0x….json      blocks that were verified, by network    (wallet/light_store.py)
config.toml         the chosen network, RPC URLs, options    (here, on wallet/settings.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from clawpurse.ledger.address import ACCOUNT_PREFIX, account_from_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.contacts import Contacts
from clawpurse.wallet.durable import make_private_directory
from clawpurse.wallet.keyfile import KDF_DEFAULT, KdfCost
from clawpurse.wallet.keystore import Keystore, OnRenewed
from clawpurse.wallet.names import check_name
from clawpurse.wallet.settings import Settings, Value, read_settings, write_setting

HOME_DEFAULT: Final = "~/.clawpurse"
RPC_URLS_MAX: Final = 64
_NETWORK_KEYS: Final = ("chain_id", "genesis_hash", "rpc")


@dataclass(frozen=True)
class Network:
    """A network that this client knows.

    `rpc_urls` are tried in order. `genesis_hash` (32 bytes) pins the chain: whoever answers for
    another one is not believed. None where the person only gave a URL.
    """

    name: str
    rpc_urls: tuple[str, ...]
    chain_id: str | None = None
    genesis_hash: bytes | None = None


@dataclass(frozen=True)
class ClientConfig:
    """What `config.toml` says: the chosen network, all networks, and defaults of options."""

    network: str | None = None
    networks: Mapping[str, Network] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def chosen(self) -> Network | None:
        """The network that is used unless an option says otherwise."""
        return None if self.network is None else self.networks[self.network]


class Named(NamedTuple):
    """An account as a person meant it: `label` is the key's or contact's name, or None."""

    account: bytes
    label: str | None
    is_own_key: bool


class ClientHome:
    """The client's home folder. Nothing is created before something is saved."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()
        self.keys_directory = self.root / "keys"
        self.contacts_file = self.root / "contacts.json"
        self.receipts_directory = self.root / "receipts"
        self.light_directory = self.root / "light"
        self.config_file = self.root / "config.toml"

    def prepare(self) -> None:
        """Make the folder, mode 0700. Raises `StorageFault`."""
        make_private_directory(self.root)

    def keystore(
        self,
        now_ms: Callable[[], int],
        cost: KdfCost = KDF_DEFAULT,
        *,
        on_renewed: OnRenewed | None = None,
    ) -> Keystore:
        """Return the keys of this home; `now_ms` is the wall clock in ms UTC.

        `on_renewed` hears of files that were sealed anew because they had aged.
        """
        return Keystore(self.keys_directory, now_ms=now_ms, cost=cost, on_renewed=on_renewed)

    def contacts(self) -> Contacts:
        """Return the contacts of this home."""
        return Contacts(self.contacts_file)

    def resolve(self, text: str, keystore: Keystore) -> Named:
        """Return whom `text` means: a key name, a contact, or `claw1…`, in that order.

        An address gets the label of the key or contact that has it. Raises `Malformed` when it
        is a mistyped address, `OperatorError` when nobody has that name.
        """
        contacts = self.contacts()
        if text.lower().startswith(f"{ACCOUNT_PREFIX}1"):
            return self._label(account_from_text(text), keystore, contacts)
        check_name(text, "account")
        if keystore.has(text):
            info = keystore.show(text)
            return Named(info.account, text, not info.watch_only)
        contact = contacts.by_name(text)
        if contact is None:
            raise OperatorError(
                f"No key or contact is named {text}.", "", "clawpurse wallet contacts"
            )
        return Named(contact.account, contact.name, False)

    def label_of(self, account: bytes, keystore: Keystore) -> Named:
        """Return the account with the name of the own key or contact that has it."""
        return self._label(account, keystore, self.contacts())

    def _label(self, account: bytes, keystore: Keystore, contacts: Contacts) -> Named:
        for name in keystore.names():
            # A damaged key file must not stop a payment to somebody else: it is reported when
            # that key itself is asked for.
            try:
                info = keystore.show(name)
            except OperatorError:
                continue
            if info.account == account:
                return Named(account, name, not info.watch_only)
        contact = contacts.by_account(account)
        return Named(account, None if contact is None else contact.name, False)

    def config(self, option_names: Iterable[str] = ()) -> ClientConfig:
        """Read `config.toml`. Raises `Malformed` naming file and line.

        `option_names` are the options of the caller's commands; other keys are refused.
        """
        settings = read_settings(self.config_file)
        known = ("network", "networks", *option_names)
        top = settings.check_keys((), known)
        networks = {}
        for name in settings.check_keys(("networks",), top.get("networks", {})):
            networks[name] = _network(settings, name)
        chosen = top.get("network")
        if chosen is not None and chosen not in networks:
            have = ", ".join(networks) or "none"
            raise settings.problem(
                ("network",), f"network {chosen!r} is not described; have {have}"
            )
        options: dict[str, Value] = {}
        for name in option_names:
            if name in top:
                options[name] = _option(settings, name, top[name])
        return ClientConfig(chosen, networks, options)

    def add_network(self, network: Network, *, choose: bool) -> None:
        """Save a network's description; make it the chosen one if asked. Durable."""
        path = ("networks", network.name)
        write_setting(self.config_file, (*path, "rpc"), list(network.rpc_urls))
        if network.chain_id is not None:
            write_setting(self.config_file, (*path, "chain_id"), network.chain_id)
        if network.genesis_hash is not None:
            hash_text = f"0x{network.genesis_hash.hex()}"
            write_setting(self.config_file, (*path, "genesis_hash"), hash_text)
        if choose:
            write_setting(self.config_file, ("network",), network.name)

    def set_option(self, name: str, value: Value) -> None:
        """Save the default of an option. Durable."""
        write_setting(self.config_file, (name,), value)


def check_rpc_url(url: str) -> str:
    """Return `url` if it is an http(s) URL with a host, else raise `Malformed`."""
    try:
        parts = urlsplit(url)
        port_is_sane = parts.port is None or parts.port > 0
    except ValueError:
        raise Malformed("rpc", f"{url!r} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_sane:
        raise Malformed("rpc", f"{url!r} is not an http:// or https:// URL with a host")
    if parts.username or parts.password:
        raise Malformed("rpc", "has a password in it; it would end in logs")
    return url


def _network(settings: Settings, name: str) -> Network:
    path = ("networks", name)
    values = settings.check_keys(path, _NETWORK_KEYS)
    urls: Any = values.get("rpc")
    if type(urls) is str:
        urls = [urls]
    if type(urls) is not list or not urls or len(urls) > RPC_URLS_MAX:
        raise settings.problem((*path, "rpc"), "rpc is not a URL or a list of URLs")
    try:
        checked = tuple(check_rpc_url(url) for url in urls if type(url) is str)
    except Malformed as err:
        raise settings.problem((*path, "rpc"), f"{err.field} {err.problem}") from None
    if len(checked) != len(urls):
        raise settings.problem((*path, "rpc"), "rpc holds something that is not a string")
    chain_id, hash_text = values.get("chain_id"), values.get("genesis_hash")
    if chain_id is not None and type(chain_id) is not str:
        raise settings.problem((*path, "chain_id"), "chain_id is not a string")
    genesis_hash = None
    if hash_text is not None:
        genesis_hash = _hash(hash_text)
        if genesis_hash is None:
            raise settings.problem(
                (*path, "genesis_hash"), "genesis_hash is not 0x and 64 hex digits"
            )
    return Network(name, checked, chain_id, genesis_hash)


def _hash(text: object) -> bytes | None:
    if type(text) is not str or not text.startswith("0x") or len(text) != 66:
        return None
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        return None


def _option(settings: Settings, name: str, value: object) -> Value:
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, list) and all(type(item) is str for item in value):
        return value
    raise settings.problem((name,), f"{name} is not a text, number, yes/no or list of texts")
