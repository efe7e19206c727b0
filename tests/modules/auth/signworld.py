"""Sign-in on a real host and database, a ledger that a test writes, and a passkey in software."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft7Validator

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.passwords import Cost
from clawpurse.modules.auth.service import Auth
from clawpurse.modules.auth.totp import totp
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.service.declaration import ChainEvent
from clawpurse.modules.kit.service.host import Place, RunningHost, open_host
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError, Unreachable
from clawpurse.modules.kit.web.grants import Grant, NotAuthentic
from clawpurse.modules.kit.web.guard import ADMIN, Access, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, Pending
from clawpurse.modules.kit.web.openrpc import openrpc_document
from clawpurse.modules.kit.web.scopes import ALL_SCOPES

CHEAP = Cost(memory_kib=8, passes=1)
ORIGIN = "http://localhost:9641"
PASSWORD = "seven quiet lanterns drift"
Schemas = dict[str, Draft7Validator]
GENESIS = b"\x07" * 32


class StubLedger:
    """Answers as a node does, from tables that a test writes."""

    def __init__(self) -> None:
        self.roles: dict[str, set[str]] = {}
        self.keys: dict[str, bytes | None] = {}
        self.away = False
        self.asked: list[str] = []

    async def call(self, method: str, params: Any = None, /) -> Any:
        self.asked.append(method)
        if self.away:
            raise Unreachable("http://node", "nobody", sent=False)
        if method == "chain_getStatus":
            return {"chainId": "net-1", "genesisHash": f"0x{GENESIS.hex()}"}
        if method == "events_get":
            await trio.sleep_forever()
        if method == "role_list" and "account" in params:
            return {"roles": sorted(self.roles.get(params["account"], ())), "nextCursor": None}
        if method == "role_list":
            return {"roles": [], "permissions": [{"action": "assets.mint", "role": "minter"}]}
        if params["account"] not in self.keys:
            raise RpcError(NOT_FOUND, "no such account")
        key = self.keys[params["account"]]
        return {"key": None if key is None else f"0x{key.hex()}", "threshold": None if key else 2}


def published(methods: Sequence[Method]) -> Schemas:
    """What each method says that it returns."""
    document = openrpc_document(methods, title="t", version="1")
    shared = {"components": document["components"]}
    return {
        one["name"]: Draft7Validator({**one["result"]["schema"], **shared})
        for one in document["methods"]
    }


class World:
    """The service as callers reach it; `call` raises nothing, errors come as their object."""

    def __init__(
        self,
        host: RunningHost,
        auth: Auth,
        ledger: StubLedger,
        clock: list[int],
        schemas: Schemas | None = None,
    ) -> None:
        self.host = host
        self.auth = auth
        self.ledger = ledger
        self.clock = clock
        self.looked_ms = clock[0]
        methods = auth.methods(host)
        self.dispatcher = Dispatcher(methods, log=RefusalLog())
        self.schemas = schemas or published(methods)

    @property
    def now_ms(self) -> int:
        return self.clock[0]

    def later(self, ms: int) -> None:
        self.clock[0] += ms

    def grant(self, token: str) -> Grant:
        """What a server makes of a bearer token. Raises `NotAuthentic`."""
        if token == ADMIN:
            return Grant(ADMIN, ADMIN, ALL_SCOPES)
        access = Access(authenticators=self.auth.authenticators(self.host))
        found = access.grant_of(token, None)
        assert found is not None
        return found

    async def call(
        self, verb: str, token: str = "", /, client: str = "local", **params: Any
    ) -> Any:
        """Call `auth_<verb>`; the answer must fit what is published.

        What stands is looked at before, as the service does each second.
        """
        if self.now_ms > self.looked_ms:
            await self.auth.desk(self.host).look()
            self.looked_ms = self.now_ms
        message = {"jsonrpc": "2.0", "id": 1, "method": f"auth_{verb}", "params": params}
        try:
            grant = self.grant(token) if token else None
        except NotAuthentic as error:
            return {"code": 401, "data": {"reason": error.problem, "slug": error.slug}}
        context = Context(client, client, grant)
        reply: Any = self.dispatcher.answer(json.dumps(message).encode(), context)
        if isinstance(reply, Pending):
            reply = await reply.run()
        answer = json.loads(bytes(reply))
        if "error" in answer:
            return answer["error"]
        schema = self.schemas[f"auth_{verb}"]
        problems = [error.message for error in schema.iter_errors(answer["result"])]
        assert problems == [], (verb, problems)
        return answer["result"]

    async def register(self, name: str, password: str = PASSWORD) -> Any:
        """Invite a person, as the operator, and register; signed in."""
        invited = await self.call("invite", ADMIN, name=name)
        return await self.call("register", invitation=invited["invitation"], password=password)

    async def person(self, name: str, *roles: str) -> tuple[str, Wallet]:
        """A signed-in person with an account that holds roles; its token, and its wallet."""
        token = (await self.register(name))["accessToken"]
        wallet = Wallet(secrets.token_bytes(32))
        self.ledger.roles[wallet.account] = set(roles)
        await self.call("bindAccount", token, **await wallet.signed(self))
        return (await self.call("login", name=name, password=PASSWORD))["accessToken"], wallet

    async def add_app(self, token: str) -> bytes:
        """Set an authenticator app up; its secret. The clock goes to the next step."""
        secret = base64.b32decode((await self.call("addTotp", token))["secret"])
        done = await self.call("confirmTotp", token, code=self.code(secret))
        assert done["factors"] == ["totp"], done
        self.later(30_000)
        return secret

    def code(self, secret: bytes) -> str:
        return totp(secret, self.now_ms)

    async def add_passkey(self, token: str) -> SoftKey:
        """Set a passkey up."""
        begun = await self.call("addPasskey", token)
        key = SoftKey()
        answer = key.create(begun["options"])
        await self.call("confirmPasskey", token, attempt=begun["attempt"], credential=answer)
        return key

    async def revoke(self, account: str, role: str) -> None:
        """The ledger takes a role: its event is taken in as the host does."""
        self.ledger.roles[account].discard(role)
        event = ChainEvent(
            "9.0", 9, 0, "now", "roles.revoked", (account, account), {"role": role}, None
        )
        handler = self.host.manifest.handlers("roles.revoked")[0]
        await self.host.write(CHAIN, lambda work: handler(work, event))
        self.host.roles.changed()
        await self.auth.desk(self.host).look()

    async def within(self, run: Any) -> Any:
        """Run a function of a book."""
        return await self.auth.desk(self.host).write(run)

    def history(self) -> list[str]:
        """What was noted, oldest first."""
        table = self.host.manifest.tables.history
        rows = self.host.database.read_now(
            lambda db: db.execute(table.select().order_by(table.c.number)).all()
        )
        return [row.move for row in rows]


async def open_world(place: Place, cost: Cost = CHEAP, schemas: Schemas | None = None) -> World:
    """Start the service on an empty database."""
    ledger, clock = StubLedger(), [1_800_000_000_000]
    auth = Auth(cost)
    host = await open_host(auth, place, ledger, lambda: clock[0])
    await auth.prepare(host)
    return World(host, auth, ledger, clock, schemas)


class Wallet:
    """A key of a ledger account."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.public_key = public_key_of(seed)
        self.account = account_text(self.public_key)

    async def signed(self, world: World, account: str = "") -> dict[str, str]:
        """Ask for a challenge, and sign it."""
        asked = await world.call("challenge", account=account or self.account)
        return {
            "attempt": asked["attempt"],
            "publicKey": f"0x{self.public_key.hex()}",
            "signature": "0x" + sign(self.seed, bytes.fromhex(asked["message"][2:])).hex(),
        }


class SoftKey:
    """An authenticator after WebAuthn Level 3 §6: one discoverable ES256 credential."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ident = secrets.token_bytes(32)
        self.count = 1
        self.origin = ORIGIN
        self.rp_id = "localhost"
        self.flags = 0x05  # user present, user verified

    def create(self, options: Any) -> dict[str, Any]:
        """What `navigator.credentials.create` gives."""
        numbers = self.key.public_key().public_numbers()
        cose = {
            1: 2,
            3: -7,
            -1: 1,
            -2: numbers.x.to_bytes(32, "big"),
            -3: numbers.y.to_bytes(32, "big"),
        }
        held = bytes(16) + len(self.ident).to_bytes(2, "big") + self.ident + cbor2.dumps(cose)
        auth_data = self._auth_data(self.flags | 0x40) + held
        attested = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": auth_data})
        client = self._client_data("webauthn.create", options["challenge"])
        return self._answer(clientDataJSON=client, attestationObject=attested)

    def get(self, options: Any) -> dict[str, Any]:
        """What `navigator.credentials.get` gives."""
        self.count += 1
        auth_data = self._auth_data(self.flags)
        client = self._client_data("webauthn.get", options["challenge"])
        signed = auth_data + hashlib.sha256(client).digest()
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return self._answer(clientDataJSON=client, authenticatorData=auth_data, signature=signature)

    def _auth_data(self, flags: int) -> bytes:
        domain = hashlib.sha256(self.rp_id.encode()).digest()
        return domain + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        data = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(data).encode()

    def _answer(self, **response: bytes) -> dict[str, Any]:
        return {
            "id": text_of(self.ident),
            "rawId": text_of(self.ident),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {name: text_of(data) for name, data in response.items()},
        }


def text_of(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def place_in(folder: Path, database: str = "") -> Place:
    """Where a service of a test keeps its own."""
    return Place(folder / "auth", database)


__all__ = ["ADMIN", "Book", "SoftKey", "Wallet", "World", "open_world", "place_in"]
