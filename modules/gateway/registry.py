"""Services that say where they are, signed by accounts that hold a role on the ledger.

    ClawPurse service, version 1
    genesis: 0x<64 hexadecimal digits>
    service: weather
    url: http://10.0.0.5:9000
    tags: eu v2
    number: 1800000000000
    until: 1800000030000

Signed (Ed25519) are 48 bytes: the 16 ASCII bytes `clawpurse/servic`, then H("claw.message", text).
`number` grows with each registration of an address (the time in ms will do), so that none is
played back; `until` is at most ten minutes away: who does not renew is gone, who says `until` of
now goes. All gateways of a database know the same services.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy.engine import Connection

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.gateway.access import Accounts
from clawpurse.modules.gateway.config import is_target
from clawpurse.modules.gateway.store import Store, insert_new, services
from clawpurse.modules.kit.service.callers import LedgerRoles

ROLE: Final = "gateway.service"
TAG: Final = b"clawpurse/servic"
HEADING: Final = "ClawPurse service, version 1"
LIFE_MS_MAX: Final = 10 * 60_000
SERVICES_MAX: Final = 10_000
TEXT_CHARS_MAX: Final = 2_048
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LINES: Final = ("genesis", "service", "url", "tags", "number", "until")


class Registration(NamedTuple):
    """What a service says of itself."""

    genesis_hash: bytes
    service: str
    url: str
    tags: tuple[str, ...]
    number: int
    until_ms: int

    @property
    def text(self) -> str:
        """The text, line by line; every line is always there, in this order."""
        values = (
            f"0x{self.genesis_hash.hex()}",
            self.service,
            self.url,
            " ".join(self.tags),
            str(self.number),
            str(self.until_ms),
        )
        lines = [f"{name}: {value}" for name, value in zip(_LINES, values, strict=True)]
        return "\n".join((HEADING, *lines))

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return message_of(self.text)


def message_of(text: str) -> bytes:
    """Return the bytes that are signed for a registration's text."""
    return TAG + crypto.message_hash_of(text.encode())


def read_registration(text: str) -> Registration:
    """Read a text in its one form. Raises `Malformed`."""
    heading, *lines = text.split("\n")
    if heading != HEADING or len(lines) != len(_LINES) or len(text) > TEXT_CHARS_MAX:
        raise Malformed("registration", "is not the text of a registration")
    values = []
    for name, line in zip(_LINES, lines, strict=True):
        if not line.startswith(f"{name}: "):
            raise Malformed("registration", f"has no line {name}")
        values.append(line.removeprefix(f"{name}: "))
    genesis, service, url, tags, number, until = values
    words = tuple(tags.split(" ")) if tags else ()
    if not _NAME.fullmatch(service) or not all(_NAME.fullmatch(word) for word in words):
        raise Malformed("registration", "names are small letters, digits, dot, dash, underscore")
    if len(words) > 16 or not is_target(url):
        raise Malformed("registration.url", "is no origin: http://host:port, without a path")
    for count in (number, until):
        if not (count.isascii() and count.isdigit()) or len(count) > 15:
            raise Malformed("registration", "number and until are milliseconds")
    try:
        made = Registration(
            bytes.fromhex(genesis[2:]), service, url, words, int(number), int(until)
        )
    except ValueError:
        raise Malformed("registration.genesis", "is no hash") from None
    if made.text != text:
        raise Malformed("registration", "is not in its one form")
    return made


class Asked(BaseModel):
    """What `POST /services` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(max_length=TEXT_CHARS_MAX)
    account: str = Field(max_length=90)
    signature: str = Field(pattern=r"^0x[0-9a-f]{128}$")

    @model_validator(mode="after")
    def _account(self) -> Asked:
        try:
            account_from_text(self.account)
        except Malformed as error:
            raise ValueError(str(error)) from None
        return self


class Registry:
    """Takes registrations, and tells who is there."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        roles: LedgerRoles,
        genesis_hash: bytes,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._roles = roles
        self._genesis_hash = genesis_hash
        self._now_ms = now_ms

    async def register(self, body: bytes) -> str:
        """Take a registration; return why not, or nothing.

        Raises `Malformed`, and as `Accounts.key_of` and `LedgerRoles.of` do.
        """
        try:
            asked = Asked.model_validate_json(body)
        except ValidationError as error:
            raise Malformed("registration", error.errors()[0]["msg"]) from None
        found = read_registration(asked.text)
        now_ms = self._now_ms()
        if found.genesis_hash != self._genesis_hash:
            return "it is for another network"
        if found.until_ms > now_ms + LIFE_MS_MAX:
            return f"until is more than {LIFE_MS_MAX // 60_000} minutes away"
        key = await self._accounts.key_of(asked.account)
        signature = bytes.fromhex(asked.signature[2:])
        if key is None or not crypto.verify(key, found.message, signature):
            return "the account's key did not sign it"
        if ROLE not in await self._roles.of(asked.account):
            return f"the account does not hold the role {ROLE}"
        return await self._store.write(lambda db: _put(db, found, asked.account, now_ms))

    async def present(self) -> Mapping[str, Sequence[tuple[str, frozenset[str]]]]:
        """Return the addresses of each service with their tags, of accounts that hold the role now.

        Raises as `LedgerRoles.of`.
        """
        now_ms = self._now_ms()
        asked = services.select().where(services.c.until_ms > now_ms)
        rows = await self._store.read(
            lambda db: list(db.execute(asked.order_by(services.c.service, services.c.url)))
        )
        found: dict[str, list[tuple[str, frozenset[str]]]] = {}
        for row in rows:
            if ROLE in await self._roles.of(row.account):
                tags = frozenset(row.tags.split())
                found.setdefault(row.service, []).append((row.url, tags))
        return found


def _put(db: Connection, found: Registration, account: str, now_ms: int) -> str:
    db.execute(services.delete().where(services.c.until_ms < now_ms - LIFE_MS_MAX))
    row: dict[str, Any] = {
        "service": found.service,
        "url": found.url,
        "tags": " ".join(found.tags),
        "account": account,
        "number": found.number,
        "until_ms": found.until_ms,
    }
    count = db.execute(sa.select(sa.func.count()).select_from(services)).scalar_one()
    if count < SERVICES_MAX and insert_new(db, services, row):
        return ""
    mine = (services.c.service == found.service) & (services.c.url == found.url)
    # An address belongs to the account that registered it, as long as it does.
    owned = (services.c.account == account) | (services.c.until_ms <= now_ms)
    newer = services.c.number < found.number
    done = db.execute(services.update().where(mine & owned & newer).values(row)).rowcount
    return "" if done else "it was registered by a newer number, or by another account"
