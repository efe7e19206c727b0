"""A node's configuration: one validated, frozen object, read once.

Defaults < `config.toml` in the node's home < environment `CLAWPURSE_…` < flags. Unknown names
are refused with the nearest known one; a node that would listen beyond loopback without
authentication is refused here, before anything is opened.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clawpurse.ledger.address import authority_from_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.modules.kit.web.scopes import Scopes, read_scopes
from clawpurse.modules.kit.webhooks.addresses import Allowed
from clawpurse.p2p.address import PeerAddress, parse_host_port, parse_node_id

ENVIRONMENT_PREFIX: Final = "CLAWPURSE_"
P2P_PORT: Final = 9640
RPC_PORT: Final = 9641
METRICS_PORT: Final = 9642
SIGNER_PORT: Final = 9639
CONFIG_NAME: Final = "config.toml"
# A name stands in a sentence with others.
NAME_CHARS_MAX: Final = 32
# A day of seconds, and more calls in it than a client can make.
METHOD_LIMIT_MAX: Final = 1_000_000
# https, or http on this machine; nothing behind the host, or no service at all.
ORIGIN_PATTERN: Final = (
    r"^(https://[A-Za-z0-9.\-\[\]:]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?)?$"
)
# (setting, what it is nothing without)
_NEEDS: Final = (
    ("rpc_tls_certificate", "rpc_tls_key"),
    ("rpc_tls_key", "rpc_tls_certificate"),
    ("rpc_token_issuer_keys", "rpc_token_issuer"),
    ("rpc_client_certificates", "rpc_client_ca"),
    ("rpc_client_ca", "rpc_tls_certificate"),
)


class NodeConfig(BaseModel):
    """Every setting of a node. Addresses are `host:port`; sizes carry their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field("node", pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")
    p2p_listen: str = f"127.0.0.1:{P2P_PORT}"
    p2p_advertise: tuple[str, ...] = ()
    rpc_listen: str = f"127.0.0.1:{RPC_PORT}"
    metrics_listen: str = f"127.0.0.1:{METRICS_PORT}"
    peers: tuple[str, ...] = ()
    private_peers: tuple[str, ...] = ()
    authority: bool = False
    # A remote signer (R25): where it listens, its node id, and the authorities whose keys it has.
    signer_address: str = ""
    signer_key: str = ""
    signer_authorities: tuple[str, ...] = ()
    # Of a folder that is a remote signer: where it listens, and the id of the node it signs for.
    signer_listen: str = f"127.0.0.1:{SIGNER_PORT}"
    signer_client: str = ""
    # What people here call the authorities: `Berlin=clawval1…`. Shown, and trusted in nothing.
    authority_names: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    # Receivers of webhooks beyond https to the open internet: networks and host names.
    webhook_allow: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    min_free_disk_mb: int = Field(512, ge=16)
    mempool_transactions_max: int = Field(50_000, ge=100, le=5_000_000)
    mempool_bytes_max: int = Field(64_000_000, ge=1_000_000)
    mempool_per_sender_max: int = Field(5_000, ge=1)
    tree_cache_mb: int = Field(256, ge=8)
    value_cache_mb: int = Field(64, ge=1)
    rpc_connections_max: int = Field(2_048, ge=1)
    rpc_cost_per_second: int = Field(100_000, ge=100)
    # The same for callers beyond this machine, each token or address by itself.
    rpc_cost_per_second_remote: int = Field(5_000, ge=100)
    # `METHOD=CALLS/SECONDS` for each client, beside its budget.
    rpc_method_limits: tuple[str, ...] = ()
    rpc_connections_per_client_max: int = Field(1_536, ge=1)
    rpc_body_bytes_max: int = Field(1_048_576, ge=16_384, le=16_777_216)
    rpc_response_bytes_max: int = Field(8_388_608, ge=65_536, le=67_108_864)
    rpc_batch_calls_max: int = Field(100, ge=1, le=1_000)
    rpc_subscriptions_max: int = Field(32, ge=1, le=1_024)
    # TLS of JSON-RPC, and of metrics where they are open: PEM files, relative to the home.
    rpc_tls_certificate: str = ""
    rpc_tls_key: str = ""
    # Says that a proxy in front of these ports does TLS; then every call needs a token, too.
    rpc_tls_by_proxy: bool = False
    # Every call needs a token, on this machine too.
    rpc_closed: bool = False
    # Clients show a certificate of these CAs; rules: `sha256:…|cn:…|dns:…|* SCOPE …`.
    rpc_client_ca: str = ""
    rpc_client_ca_optional: bool = False
    rpc_client_certificates: tuple[str, ...] = ()
    # A second issuer of tokens: its `iss`, and its JWKS (https:// or a file).
    rpc_token_issuer: str = ""
    rpc_token_issuer_keys: str = ""
    # Where people sign in for the dashboard: a sign-in service's address. Its tokens are taken.
    rpc_sign_in: str = Field("", pattern=ORIGIN_PATTERN)
    # Services in this process, each on a port of its own: names of installed modules.
    modules: tuple[str, ...] = ()
    # Where they keep records, if not in their folders: postgresql://… without a password.
    modules_database: str = ""
    modules_master_key_command: str = ""
    # Opens the keys of their accounts; relative to the home.
    modules_passphrase_file: str = ""
    # An audit log (http://…) that gets their histories and calls, and a token of it.
    modules_audit: str = ""
    modules_audit_token_file: str = ""

    @field_validator("signer_address")
    @classmethod
    def _signer_address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @field_validator("signer_key", "signer_client")
    @classmethod
    def _node_id(cls, value: str) -> str:
        if value:
            _each((value,), parse_node_id)
        return value

    @field_validator("signer_authorities")
    @classmethod
    def _authorities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, authority_from_text)

    @field_validator("p2p_listen", "rpc_listen", "metrics_listen", "signer_listen")
    @classmethod
    def _address(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("peers")
    @classmethod
    def _peers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, PeerAddress.parse)

    @field_validator("private_peers")
    @classmethod
    def _ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, parse_node_id)

    @field_validator("authority_names")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, split_authority_name)

    @field_validator("webhook_allow")
    @classmethod
    def _receivers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, lambda entry: Allowed((entry,)))

    @field_validator("p2p_advertise")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, parse_host_port)

    @field_validator("rpc_method_limits")
    @classmethod
    def _method_limits(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, split_method_limit)

    @field_validator("rpc_client_certificates")
    @classmethod
    def _certificate_rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(value, split_certificate_rule)

    @field_validator("rpc_token_issuer_keys")
    @classmethod
    def _issuer_keys(cls, value: str) -> str:
        if "://" in value and not value.startswith("https://"):
            raise ValueError(f"{value!r} is neither https:// nor a file")
        return value

    @property
    def rpc_is_closed(self) -> bool:
        """Whether every JSON-RPC call needs a token."""
        return self.rpc_closed or self.rpc_tls_by_proxy or not is_loopback(self.rpc_address[0])

    @property
    def rpc_scheme(self) -> str:
        """The scheme of URLs, as the JSON-RPC port speaks."""
        return "https" if self.rpc_tls_certificate else "http"

    @property
    def metrics_scheme(self) -> str:
        """The same; metrics on loopback stay plain for the scraper beside the node."""
        return self.rpc_scheme if self.metrics_are_closed else "http"

    @property
    def metrics_are_closed(self) -> bool:
        """Whether reading metrics needs a token."""
        return not is_loopback(self.metrics_address[0])

    @property
    def names(self) -> dict[bytes, str]:
        """What people call which authority, by public key."""
        return dict(split_authority_name(text) for text in self.authority_names)

    @property
    def signer_keys(self) -> tuple[bytes, ...]:
        """The authority keys that a remote signer holds for this node."""
        return tuple(authority_from_text(text) for text in self.signer_authorities)

    @property
    def p2p_address(self) -> tuple[str, int]:
        """(host, port) of the peer-to-peer listener."""
        return split_address(self.p2p_listen)

    @property
    def rpc_address(self) -> tuple[str, int]:
        """(host, port) of the JSON-RPC listener."""
        return split_address(self.rpc_listen)

    @property
    def metrics_address(self) -> tuple[str, int]:
        """(host, port) of the metrics listener."""
        return split_address(self.metrics_listen)

    def require_whole(self) -> None:
        """Refuse settings of which a part is missing. No part of the schema, since settings are
        changed one at a time: a node that starts has them all.
        """
        for first, second in (*_NEEDS, *self._issuer_needs):
            if getattr(self, first) and not getattr(self, second):
                raise OperatorError(
                    f"{first} is set, {second} is not.", "", f"clawpurse config set {second} …"
                )

    @property
    def _issuer_needs(self) -> tuple[tuple[str, str], ...]:
        """An issuer's keys are named, or are those of where people sign in."""
        return () if self.rpc_sign_in else (("rpc_token_issuer", "rpc_token_issuer_keys"),)

    def require_safe_listeners(self) -> None:
        """Refuse JSON-RPC or metrics beyond loopback in the clear; tokens are `callers`'s part."""
        if self.rpc_tls_certificate or self.rpc_tls_by_proxy:
            return
        for name in ("rpc_listen", "metrics_listen"):
            if not is_loopback(split_address(getattr(self, name))[0]):
                raise OperatorError(
                    f"{name} = {getattr(self, name)} is open beyond this machine without TLS.",
                    "Tokens and payments could be read on their way.",
                    "clawpurse config set rpc_tls_certificate FILE (and rpc_tls_key), or "
                    "rpc_tls_by_proxy true; then clawpurse token create",
                )


def _each(values: tuple[str, ...], read: Callable[[str], object]) -> tuple[str, ...]:
    """Return the values if each can be read. Raises ValueError naming the first that cannot."""
    for value in values:
        try:
            read(value)
        except Malformed as err:
            raise ValueError(f"{value!r}: {err}") from None
    return values


def split_authority_name(text: str) -> tuple[bytes, str]:
    """Split `NAME=clawval1…` into key and name. Raises `Malformed`."""
    name, separator, authority = text.rpartition("=")
    if not separator or not 0 < len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
        raise Malformed(
            "authority_names", f"is not NAME=clawval1… with 1…{NAME_CHARS_MAX} characters of name"
        )
    return authority_from_text(authority.strip()), name.strip()


def split_method_limit(text: str) -> tuple[str, int, int]:
    """Split `METHOD=CALLS/SECONDS`. Raises `Malformed`."""
    name, _, amount = text.partition("=")
    calls, _, period_s = amount.partition("/")
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in (calls, period_s)]
    if not name or not all(0 < number <= METHOD_LIMIT_MAX for number in numbers):
        raise Malformed("rpc_method_limits", "is not METHOD=CALLS/SECONDS")
    return name, numbers[0], numbers[1]


def split_certificate_rule(text: str) -> tuple[str, Scopes]:
    """Split `WHO SCOPE …`, WHO being `sha256:…`, `cn:…`, `dns:…` or `*`. Raises `Malformed`."""
    who, *scopes = text.split()[:65] or [""]
    kind, _, rest = who.partition(":")
    if who != "*" and (
        kind not in ("sha256", "cn", "dns") or not rest or (kind == "sha256" and len(rest) != 64)
    ):
        raise Malformed("rpc_client_certificates", "begins with sha256:…, cn:…, dns:… or *")
    return who if kind != "sha256" else who.lower(), read_scopes(scopes)


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port` (or `[v6]:port`). Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not 0 <= int(port) <= 65_535:
        raise ValueError(f"port {port} is outside 0…65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(place: str) -> bool:
    """Whether a host, or HOST:PORT, is on this machine and nowhere else."""
    for host in (place, place.rpartition(":")[0].strip("[]")):
        if host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host).is_loopback
    return False


def load_config(
    home: Path, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> NodeConfig:
    """Return the configuration of the node in `home`. Raises `OperatorError`, one line."""
    path = home / CONFIG_NAME
    values = read_toml(path)
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name[len(ENVIRONMENT_PREFIX) :].lower()
            if key in NodeConfig.model_fields:
                values[key] = parse_value(key, text)
    values.update({key: value for key, value in (flags or {}).items() if value is not None})
    return validate(values, path)


def read_toml(path: Path) -> dict[str, Any]:
    """Return a configuration file's values, unvalidated; {} when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as err:
        raise OperatorError(f"{path} cannot be read: {err}.", "", "clawpurse doctor") from err
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise OperatorError(
            f"{path} is not TOML: {err}.", "", "clawpurse config validate"
        ) from None


def validate(values: Mapping[str, Any], path: Path) -> NodeConfig:
    """Check values against the schema. Raises `OperatorError` naming the first problem."""
    for name in values:
        if name not in NodeConfig.model_fields:
            nearest = difflib.get_close_matches(name, NodeConfig.model_fields, n=1, cutoff=0.0)
            where = _line_of(path, name)
            raise OperatorError(
                f"{where} unknown {name}; nearest: {nearest[0]}.", "", "clawpurse config validate"
            )
    lists = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return NodeConfig.model_validate(lists)
    except ValidationError as err:
        first = err.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        problem = first["msg"].removeprefix("Value error, ")
        raise OperatorError(
            f"{_line_of(path, name)} {name}: {problem}.", "", "clawpurse config validate"
        ) from None


def _line_of(path: Path, name: str) -> str:
    """Return `file:line` where a name is set, or the file's name."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return path.name
    for number, line in enumerate(lines, 1):
        if line.split("=")[0].strip() == name:
            return f"{path.name}:{number}"
    return path.name


def parse_value(name: str, text: str) -> Any:
    """Read a setting from text (environment, `config set`) by its declared type."""
    kind = NodeConfig.model_fields[name].annotation
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise OperatorError(f"{name} is true or false, not {text!r}.", "", "")
        return text.lower() in ("true", "1")
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise OperatorError(f"{name} is a whole number, not {text!r}.", "", "") from None
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def config_text(values: Mapping[str, Any]) -> str:
    """Return the TOML of validated values, in the schema's order."""
    lines = ["# ClawPurse node. Checked by: clawpurse config validate\n"]
    for name in NodeConfig.model_fields:
        if name in values:
            value = values[name]
            plain = list(value) if isinstance(value, tuple) else value
            # JSON's strings, numbers, booleans and flat lists are TOML's.
            lines.append(f"{name} = {json.dumps(plain, ensure_ascii=False)}\n")
    return "".join(lines)
