"""Transactions as files, for machines without a network and for signers who sit apart.

    {"format": "clawpurse-transaction", "version": 1,
     "body": "0x…", "txId": "0x…",
     "signatures": [{"role", "account", "publicKey", "signature"}…],
     "claims": {"decimals": {"CLAW": 2}, "labels": {"claw1…": "bob"},
                "signers": [{"account", "key", "weight"}…], "threshold": 2},
     "checksum": "0x…"}

The body is all that is signed, and it names network, genesis hash and every field. Claims are what
the machine that built the file says beside it; no signature covers them, so whoever shows them says
that they are claims. The checksum finds damage, not malice: signatures are for that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, Refused
from clawpurse.ledger.module_api import Field, FieldType, Registry
from clawpurse.ledger.params import asset_name
from clawpurse.ledger.transactions import (
    TX_BYTES_MAX,
    WITNESS_MAX,
    Body,
    RawAction,
    Role,
    WitnessEntry,
    decode_body,
    encode_transaction,
    signing_hash,
)
from clawpurse.wallet.names import check_name

FORMAT: Final = "clawpurse-transaction"
VERSION: Final = 1
# A body in hexadecimal, as many signatures as may be, and a label for each account in it.
FILE_BYTES_MAX: Final = 6 * TX_BYTES_MAX
_MEMBERS: Final = {"format", "version", "body", "txId", "signatures", "claims", "checksum"}
_SIGNATURE: Final = {"role", "account", "publicKey", "signature"}
_CLAIMS: Final = {"decimals", "labels", "signers", "threshold"}
_SIGNER: Final = {"account", "key", "weight"}
_CLAIMS_MAX: Final = 512
_DECIMALS_MAX: Final = 18
_ROLES: Final = {"sender": Role.SENDER, "payer": Role.PAYER, "approver": Role.APPROVER}
_ROLE_NAMES: Final = {role: name for name, role in _ROLES.items()}
Json = dict[str, Any]


@dataclass(frozen=True)
class Signer:
    """Who, it is claimed, may sign for the sender: the account, its key, its weight."""

    account: bytes
    key: bytes
    weight: int


@dataclass(frozen=True)
class Claims:
    """What the building machine says and nobody signs. `threshold` 0: nothing is claimed."""

    decimals: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[bytes, str] = field(default_factory=dict)
    signers: tuple[Signer, ...] = ()
    threshold: int = 0


@dataclass(frozen=True)
class OfflineFile:
    """A transaction on its way between machines. Signatures ascend, none stands twice."""

    body_bytes: bytes
    signatures: tuple[WitnessEntry, ...] = ()
    claims: Claims = Claims()

    @property
    def body(self) -> Body:
        """What shall happen."""
        return decode_body(self.body_bytes)

    @property
    def tx_id(self) -> bytes:
        """The id, to compare on two machines."""
        return crypto.tx_id_of(self.body_bytes)

    @property
    def signed_form(self) -> bytes:
        """The bytes that a node takes, with the signatures that are there."""
        return encode_transaction(self.body_bytes, list(self.signatures))

    def with_signature(self, entry: WitnessEntry) -> OfflineFile:
        """Add a signature. Raises `Malformed` as `check_signature`, and for one that is there."""
        check_signature(self.body_bytes, entry)
        if any(one[:3] == entry[:3] for one in self.signatures):
            raise Malformed("signature", "of that key is in the file already")
        return replace(self, signatures=tuple(sorted([*self.signatures, entry])))

    def weight_signed(self) -> int | None:
        """Return the weight of claimed signers who signed as sender, None if none are claimed."""
        if not self.claims.threshold:
            return None
        signed = {one.public_key for one in self.signatures if one.role == Role.SENDER}
        return sum(one.weight for one in self.claims.signers if one.key in signed)


def check_signature(body_bytes: bytes, entry: WitnessEntry) -> None:
    """Refuse a signature that is not for this body. Raises `Malformed` (field `signature`)."""
    body, role = decode_body(body_bytes), Role(entry.role)
    part = {Role.SENDER: body.sender, Role.PAYER: body.payer}.get(role, entry.account)
    whose = f"as {_ROLE_NAMES[role]} for {account_text(entry.account)}"
    if part != entry.account:
        raise Malformed("signature", f"{whose} is foreign: that account has no such part in it")
    message = signing_hash(body.genesis_hash, role, entry.account, body_bytes)
    if not crypto.verify(entry.public_key, message, entry.signature):
        raise Malformed("signature", f"{whose} is not valid: it is foreign, or damaged")


def to_text(file: OfflineFile) -> str:
    """Return a file as its JSON text."""
    claims = file.claims
    document: Json = {
        "format": FORMAT,
        "version": VERSION,
        "body": _hex(file.body_bytes),
        "txId": _hex(file.tx_id),
        "signatures": [
            {
                "role": _ROLE_NAMES[Role(one.role)],
                "account": account_text(one.account),
                "publicKey": _hex(one.public_key),
                "signature": _hex(one.signature),
            }
            for one in file.signatures
        ],
        "claims": {
            "decimals": dict(sorted(claims.decimals.items())),
            "labels": {account_text(who): name for who, name in sorted(claims.labels.items())},
            "signers": [
                {"account": account_text(one.account), "key": _hex(one.key), "weight": one.weight}
                for one in claims.signers
            ],
            "threshold": claims.threshold,
        },
    }
    return json.dumps({**document, "checksum": _checksum(document)}, indent=1) + "\n"


def from_text(data: bytes) -> OfflineFile:
    """Read a file strictly. Raises `Malformed` naming the member that is wrong, and only that."""
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("file", f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(data.decode("ascii"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as err:
        raise Malformed("file", "is not JSON in ASCII") from err
    found = _object(document, "file", _MEMBERS)
    if found["format"] != FORMAT or type(found["version"]) is not int:
        raise Malformed("file", f"is not of the format {FORMAT}")
    if found["version"] != VERSION:
        raise Malformed("version", f"is not {VERSION}, which alone this software reads")
    rest = {name: value for name, value in found.items() if name != "checksum"}
    if found["checksum"] != _checksum(rest):
        raise Malformed("checksum", "does not fit: the file was damaged or edited")
    body_bytes = _octets(found["body"], "body", TX_BYTES_MAX)
    decode_body(body_bytes)
    if found["txId"] != _hex(crypto.tx_id_of(body_bytes)):
        raise Malformed("txId", "is not the body's")
    file = OfflineFile(body_bytes, claims=_claims(found["claims"]))
    for item in _list(found["signatures"], "signatures", WITNESS_MAX):
        file = file.with_signature(_signature(item))
    return file


def combine(files: Sequence[tuple[str, OfflineFile]]) -> tuple[OfflineFile, list[str]]:
    """Return the first of (name, file) with the signatures of all, and remarks.

    A signature that several files carry is kept once and remarked on. Raises `Malformed` (field:
    the file's name) for another body, saying what differs, and for two signatures of one key.
    """
    (_, merged), *others = files
    remarks: list[str] = []
    for name, file in others:
        if file.body_bytes != merged.body_bytes:
            raise Malformed(name, f"is another transaction: {_difference(merged.body, file.body)}")
        for entry in file.signatures:
            same = next((one for one in merged.signatures if one[:3] == entry[:3]), None)
            if same is None:
                merged = merged.with_signature(entry)
            elif same != entry:
                raise Malformed(name, "has another signature of a key that signed already")
            else:
                remarks.append(
                    f"{name} brings the signature of 0x{entry.public_key.hex()} again; kept once."
                )
    return merged, remarks


def refuse_unreadable(actions: Iterable[RawAction], registry: Registry) -> None:
    """Refuse what cannot be said in words, also within actions. Raises `Malformed`."""
    for action in actions:
        try:
            kind, values = registry.read_action(action)
        except (Malformed, Refused) as err:
            problem = "is not understood by this software; what cannot be read is not signed"
            raise Malformed(f"the action {action.name!r}", problem) from err
        for spec, value in zip(kind.fields, values, strict=True):
            if spec.type is FieldType.ACTIONS:
                refuse_unreadable(value, registry)


def accounts_in(body: Body, registry: Registry) -> set[bytes]:
    """Return every account that a body names, its sender and payer too."""
    found = {body.sender} if body.payer is None else {body.sender, body.payer}
    _collect_actions(body.actions, registry, found)
    return found


def _collect_actions(actions: Iterable[RawAction], registry: Registry, into: set[bytes]) -> None:
    for action in actions:
        kind, values = registry.read_action(action)
        for spec, value in zip(kind.fields, values, strict=True):
            _collect(spec, value, registry, into)


def _collect(spec: Field, value: Any, registry: Registry, into: set[bytes]) -> None:
    if value is None:
        return
    if spec.type is FieldType.ACCOUNT:
        into.add(value)
    elif spec.type is FieldType.ACTIONS:
        _collect_actions(value, registry, into)
    elif spec.type is FieldType.LIST:
        for item in value:
            parts = (item,) if len(spec.items) == 1 else item
            for part, one in zip(spec.items, parts, strict=True):
                _collect(part, one, registry, into)


_FIELD_WORDS: Final = {
    "chain_id": "the network",
    "genesis_hash": "the genesis hash",
    "valid_until_ms": "the time until which it is valid",
    "height_max": "the height bound",
    "idempotency_key": "the idempotency key",
}


def _difference(one: Body, other: Body) -> str:
    names = [name for name in Body._fields if getattr(one, name) != getattr(other, name)]
    said = ", ".join(_FIELD_WORDS.get(name, f"the {name}") for name in names)
    return f"{said} differ{'s' if len(names) == 1 else ''}"


# -- parsing


def _claims(value: object) -> Claims:
    found = _object(value, "claims", _CLAIMS)
    decimals, labels = found["decimals"], found["labels"]
    for name, given in (("decimals", decimals), ("labels", labels)):
        if type(given) is not dict or len(given) > _CLAIMS_MAX:
            raise Malformed(f"claims.{name}", f"is not an object of at most {_CLAIMS_MAX}")
    return Claims(
        {
            asset_name(asset, "claims.decimals"): codec.integer(
                number, "claims.decimals", 0, _DECIMALS_MAX
            )
            for asset, number in decimals.items()
        },
        {account_from_text(who): _label(name) for who, name in labels.items()},
        tuple(_signer(item) for item in _list(found["signers"], "claims.signers", WITNESS_MAX)),
        codec.integer(found["threshold"], "claims.threshold", 0, 2**32),
    )


def _label(value: object) -> str:
    if type(value) is not str:
        raise Malformed("claims.labels", "has a name that is not text")
    return check_name(value, "claims.labels")


def _signer(value: object) -> Signer:
    found = _object(value, "claims.signers", _SIGNER)
    return Signer(
        _account(found["account"], "claims.signers"),
        _octets(found["key"], "claims.signers.key", 32, 32),
        codec.integer(found["weight"], "claims.signers.weight", 0, 2**32),
    )


def _signature(value: object) -> WitnessEntry:
    found = _object(value, "signatures", _SIGNATURE)
    role = _ROLES.get(found["role"]) if type(found["role"]) is str else None
    if role is None:
        raise Malformed("signatures.role", f"is none of {', '.join(_ROLES)}")
    return WitnessEntry(
        role,
        _account(found["account"], "signatures.account"),
        _octets(found["publicKey"], "signatures.publicKey", 32, 32),
        _octets(found["signature"], "signatures.signature", 64, 64),
    )


def _once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _object(value: object, where: str, members: set[str]) -> Json:
    if type(value) is not dict or set(value) != members:
        raise Malformed(where, f"is not an object of {', '.join(sorted(members))}")
    return value


def _list(value: object, where: str, most: int) -> list[Any]:
    if type(value) is not list or len(value) > most:
        raise Malformed(where, f"is not a list of at most {most}")
    return value


def _account(value: object, where: str) -> bytes:
    if type(value) is not str:
        raise Malformed(where, "is not text")
    return account_from_text(value)


def _octets(value: object, where: str, most: int, least: int = 1) -> bytes:
    if type(value) is str and value.startswith("0x") and value == value.lower():
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = b""
        if least <= len(data) <= most and _hex(data) == value:
            return data
    raise Malformed(where, "is not 0x and the right number of hexadecimal digits")


def _checksum(document: Json) -> str:
    packed = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return _hex(hashlib.sha256(packed.encode()).digest())


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"
