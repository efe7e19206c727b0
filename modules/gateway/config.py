"""The gateway's configuration: one file, checked whole, frozen; and what changed between two.

    listen = "127.0.0.1:4020"

    [upstreams.weather]
    targets = ["http://127.0.0.1:9000"]

    [[routes]]
    name = "forecast"
    path = "/forecast/*"
    methods = ["GET"]
    upstream = "weather"
    prices = [{ asset = "CLAW", amount = 1 }]

Prices are in minor units: integers, as everywhere on the ledger.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.params import ASSET_CHARS_MAX
from clawpurse.modules.gateway.paths import canonical
from clawpurse.modules.kit.web.head import HttpRefusal
from clawpurse.modules.kit.web.http_client import Origin

PORT: Final = 4020
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
ROUTES_MAX: Final = 2_000
UPSTREAMS_MAX: Final = 500
AMOUNT_MAX: Final = (1 << 63) - 1
_NAME: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_METHOD: Final = r"^[A-Z]{1,16}$"
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9.\-\[\]:]{1,253}")
_ASSET: Final = rf"^[A-Z0-9.]{{1,{ASSET_CHARS_MAX}}}$"


def is_target(value: str) -> bool:
    """Tell whether a text is an origin that requests can go to."""
    try:
        origin = Origin(value)
    except Malformed:
        return False
    bare = origin.path == "/" and not value.endswith("/")
    return bare and value.startswith(("http://", "https://"))


def _target(value: str) -> str:
    if not is_target(value):
        raise ValueError(f"{value} is no origin: http://host:port, without a path")
    return value


def _pattern(value: str) -> str:
    """A path in its one spelling, `*` for a segment, `**` at the end for the rest."""
    words = value[1:].split("/")
    if "**" in words[:-1]:
        raise ValueError("** stands at the end of a path")
    for word in words:
        if "*" in word and word not in ("*", "**"):
            raise ValueError(f"{word!r}: * stands for a whole segment")
    try:
        if canonical(value) != value:
            raise ValueError(f"the path is written {canonical(value)}")
    except HttpRefusal as error:
        raise ValueError(error.problem) from None
    return value


Target = Annotated[str, AfterValidator(_target)]
PathPattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, Field(pattern=_NAME)]


class Part(BaseModel):
    """Base: frozen, strict, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Health(Part):
    """How targets are asked whether they are well. Without it only failures tell."""

    path: str = "/health"
    every_ms: int = Field(default=5_000, ge=100, le=600_000)
    timeout_ms: int = Field(default=2_000, ge=10, le=60_000)
    unwell_after: int = Field(default=3, ge=1, le=100)
    well_after: int = Field(default=2, ge=1, le=100)


class Breaker(Part):
    """After so many failures in a row a target rests; then one request tries it."""

    failures: int = Field(default=5, ge=1, le=1_000)
    rest_ms: int = Field(default=10_000, ge=100, le=600_000)


class Retries(Part):
    """Safe requests that no target answered are tried elsewhere, while retries are few."""

    attempts: int = Field(default=2, ge=1, le=5)
    """In all, the first one too."""

    budget_percent: int = Field(default=20, ge=0, le=100)
    """Retries per hundred requests: a target that fails under load gets no more load."""


class UpstreamConfig(Part):
    """Where requests go: targets that are all the same, or a service that registers its own."""

    targets: tuple[Target, ...] = Field(default=(), max_length=64)
    service: Name | None = None
    tags: tuple[Name, ...] = Field(default=(), max_length=16)
    """Only addresses of the service that have all of these."""

    ca: str = ""
    """A PEM file of the CAs that https targets are checked against; else the system's."""

    connect_ms: int = Field(default=2_000, ge=10, le=60_000)
    response_ms: int = Field(default=30_000, ge=10, le=3_600_000)
    """From the request's end to the answer's head."""

    silence_ms: int = Field(default=60_000, ge=10, le=3_600_000)
    """Between two pieces of an answer, or of a WebSocket."""

    connections_max: int = Field(default=256, ge=1, le=10_000)
    """To one target, those in use and those kept."""

    health: Health | None = None
    breaker: Breaker = Breaker()
    retries: Retries = Retries()

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if bool(self.targets) == (self.service is not None):
            raise ValueError("an upstream has targets, or is a service")
        return self


class Price(Part):
    """What one request costs, in minor units of an asset."""

    asset: str = Field(default="CLAW", pattern=_ASSET)
    amount: int = Field(ge=1, le=AMOUNT_MAX)


class Cors(Part):
    """Which pages of other origins may call, and what they may read."""

    origins: tuple[str, ...] = Field(min_length=1, max_length=64)
    """`https://page.example`, or `*` alone: then without credentials."""

    headers: tuple[str, ...] = ("content-type", "authorization")
    exposed: tuple[str, ...] = ("payment-required", "payment-response", "x-request-id")
    credentials: bool = False
    max_age_s: int = Field(default=600, ge=0, le=86_400)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if "*" in self.origins and (self.credentials or len(self.origins) > 1):
            raise ValueError("* stands alone, and never with credentials")
        return self


class Rate(Part):
    """A token bucket: `requests` at once, filled within `per_s` seconds."""

    requests: int = Field(ge=1, le=10_000_000)
    per_s: int = Field(default=60, ge=1, le=86_400)


Way = Literal["jwt", "apiKey", "certificate", "signature"]


class RouteConfig(Part):
    """See the module. Without `access` anybody may use it; of `roles` one is enough."""

    name: Name
    path: PathPattern
    upstream: Name
    hosts: tuple[str, ...] = Field(default=(), max_length=64)
    methods: tuple[Annotated[str, Field(pattern=_METHOD)], ...] = Field(default=(), max_length=16)
    headers: Mapping[str, str] = Field(default_factory=dict, max_length=16)
    strip_prefix: str = ""
    access: tuple[Way, ...] = ()
    roles: tuple[str, ...] = Field(default=(), max_length=16)
    rate: Rate | None = None
    quota_per_day: int | None = Field(default=None, ge=1)
    prices: tuple[Price, ...] = Field(default=(), max_length=16)
    method_prices: Mapping[str, tuple[Price, ...]] = Field(default_factory=dict)
    """Other prices of single methods; an empty list: free."""

    charge_failures: bool = False
    """Whether answers of 500 and above, and none at all, are paid for."""

    body_bytes_max: int = Field(default=16 * 1024 * 1024, ge=0, le=1 << 40)
    body_ms: int = Field(default=120_000, ge=100, le=86_400_000)
    websocket: bool = False
    cors: Cors | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host: a name in small letters, or *.name")
        for name in self.headers:
            if name != name.lower() or not name.isascii():
                raise ValueError(f"the header {name!r} is written in small letters")
        if self.strip_prefix and not self.path.startswith(self.strip_prefix + "/"):
            raise ValueError("strip_prefix is no beginning of the path")
        if self.roles and not self.access:
            raise ValueError("roles need access: of whom would they be?")
        if self.websocket and self.methods and "GET" not in self.methods:
            raise ValueError("a WebSocket begins with GET")
        return self

    def price_of(self, method: str) -> tuple[Price, ...]:
        """Return what a request of this method costs, in each asset that is taken; empty: free."""
        return self.method_prices.get(method, self.prices)


class GatewayConfig(Part):
    """See the module."""

    listen: str = f"127.0.0.1:{PORT}"
    public_url: str = ""
    """How clients call it, where that is another name than what it listens on."""

    tls_certificate: str = ""
    tls_key: str = ""
    client_ca: str = ""
    payee: str = ""
    """The account that is paid (claw1…); needed for prices."""

    database: str = ""
    """Payments, postgresql://… for several gateways; else a file in the gateway's folder."""

    redis: str = ""
    """Rates, quotas and nonces shared by several gateways: redis://…, rediss://…"""

    when_redis_is_gone: Literal["local", "refuse"] = "local"
    """Meanwhile each gateway counts by itself, or what is limited is refused."""

    name: Name = "gateway"
    """Its own among gateways that share a database."""

    tls_by_proxy: bool = False
    """Says that a proxy in front of it does TLS: then it may listen beyond this machine without."""

    claim_every_s: int = Field(default=60, ge=1, le=86_400)
    """How often what vouchers earned is claimed on the ledger."""

    refund_after_s: int = Field(default=900, ge=1, le=7 * 86_400)
    """What bought nothing goes back so long after its invoice could have ended."""

    invoice_ttl_s: int = Field(default=300, ge=10, le=86_400)
    head_ms: int = Field(default=10_000, ge=100, le=60_000)
    idle_ms: int = Field(default=60_000, ge=100, le=3_600_000)
    drain_ms: int = Field(default=10_000, ge=0, le=600_000)
    connections_max: int = Field(default=4_096, ge=1, le=100_000)
    connections_per_client_max: int = Field(default=1_024, ge=1)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose x-forwarded-for is believed."""

    compatibility: bool = False
    """The headers and routes of the existing ClawPurse gateway as well."""

    upstreams: Mapping[Name, UpstreamConfig] = Field(default_factory=dict)
    routes: tuple[RouteConfig, ...] = Field(default=(), max_length=ROUTES_MAX)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [route.name for route in self.routes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two routes are called {name}")
        if len(self.upstreams) > UPSTREAMS_MAX:
            raise ValueError(f"there are more than {UPSTREAMS_MAX} upstreams")
        for route in self.routes:
            if route.upstream not in self.upstreams:
                raise ValueError(f"the route {route.name} leads to {route.upstream}: no upstream")
            if not self.payee and (route.prices or any(route.method_prices.values())):
                raise ValueError(f"the route {route.name} has a price, and nobody is paid: payee")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")
        if self.client_ca and not self.tls_certificate:
            raise ValueError("client_ca needs tls_certificate: certificates are shown within TLS")
        if not (self.tls_certificate or self.tls_by_proxy or is_near(self.address[0])):
            raise ValueError(
                f"listen = {self.listen} is open beyond this machine without TLS: tls_certificate"
                " and tls_key, or tls_by_proxy = true where a proxy does it"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on. Raises ValueError."""
        host, colon, port = self.listen.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65_535 or not host.strip("[]"):
            raise ValueError(f"listen = {self.listen!r} is no HOST:PORT")
        return host.strip("[]"), int(port)


def is_near(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_config(path: Path) -> GatewayConfig:
    """Read and check a file. Raises `OperatorError` naming what is wrong with which setting."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise _wrong(path, f"it has more than {FILE_BYTES_MAX} bytes")
        return parse_config(data.decode(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(getattr(error, "strerror", None) or error)) from None


def parse_config(text: str, name: str = "gateway.toml") -> GatewayConfig:
    """As `read_config`, from text."""
    try:
        return GatewayConfig.model_validate(_tuples(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(Path(name), str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise _wrong(Path(name), f"{where}: {said}" if where else said) from None


def changes(old: GatewayConfig, new: GatewayConfig) -> Iterator[str]:
    """Yield one line for each setting, upstream and route that is not as it was."""
    for name in GatewayConfig.model_fields:
        if name not in ("routes", "upstreams") and getattr(old, name) != getattr(new, name):
            yield f"{name}: {getattr(old, name)!r} → {getattr(new, name)!r}"
    pairs: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("upstream", old.upstreams, new.upstreams),
        ("route", _by_name(old), _by_name(new)),
    )
    for kind, before, after in pairs:
        yield from (f"- {kind} {name}" for name in before if name not in after)
        yield from (f"+ {kind} {name}" for name in after if name not in before)
        yield from (
            f"~ {kind} {name}" for name in after if name in before and before[name] != after[name]
        )


FIXED: Final = (
    *("listen", "tls_certificate", "tls_key", "tls_by_proxy", "client_ca"),
    *("database", "redis", "when_redis_is_gone", "payee", "name"),
    *("connections_max", "connections_per_client_max"),
)
"""What a running gateway cannot change: it says so, and goes on as it is."""


def _by_name(config: GatewayConfig) -> Mapping[str, RouteConfig]:
    return {route.name: route for route in config.routes}


def _tuples(value: Any) -> Any:
    """TOML's lists as the tuples that a frozen configuration keeps."""
    if isinstance(value, list):
        return tuple(_tuples(one) for one in value)
    return {name: _tuples(one) for name, one in value.items()} if isinstance(value, dict) else value


def _wrong(path: Path, problem: str) -> OperatorError:
    return OperatorError(
        f"{path.name}: {problem}.", "", f"clawpurse gateway check --config {path.name}"
    )
