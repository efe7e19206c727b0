"""Parameters and results of the wallet service: how its values look in JSON-RPC.

As on a node: amounts are strings of minor units, accounts `claw1…`, bytes `0x…`, times RFC 3339.
Passphrases and words are values that show in no message, log or `repr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema
from pydantic.alias_generators import to_camel

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import IDEMPOTENCY_KEY_BYTES_MAX, TX_BYTES_MAX
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.wallet.builder import memo_bytes
from clawpurse.wallet.names import check_name
from clawpurse.wallet.outbox_rows import Row, Status
from clawpurse.wallet.passphrase import BYTES_MAX

HASH_BYTES: Final = 32
TEXT_CHARS_MAX: Final = 128
# A call waits at most so long for finality; the payment goes on, and is asked for by its key.
WAIT_MS_MAX: Final = 30_000
WAIT_MS_DEFAULT: Final = 10_000
PAYMENTS_MAX: Final = 100
PAGE_MAX: Final = 500
PAGE_DEFAULT: Final = 50


def _refusing(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a parser's `Malformed` be what pydantic reports."""

    def parsed(value: Any) -> Any:
        try:
            return parse(value)
        except Malformed as err:
            raise ValueError(err.problem) from None

    return parsed


def _text(value: Any, field: str) -> str:
    if type(value) is not str:
        raise Malformed(field, "is not a string")
    return value


def read_octets(size_min: int, size_max: int) -> Callable[[Any], bytes]:
    """Return what reads so many bytes from `0x` and hexadecimal digits."""

    def read(value: Any) -> bytes:
        text = _text(value, "bytes")
        if len(text) > 2 + 2 * size_max:
            raise Malformed("bytes", f"are more than {size_max}")
        try:
            found = bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            found = b""
        if f"0x{found.hex()}" != text:
            raise Malformed("bytes", "are not 0x and pairs of lower-case hexadecimal digits")
        if not size_min <= len(found) <= size_max:
            raise Malformed("bytes", f"are {len(found)}, {size_min}…{size_max} are allowed")
        return found

    return _refusing(read)


def _amount(low: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        text = _text(value, "amount")
        digits = len(text) <= 20 and text.isascii() and text.isdigit()
        if not digits or text != str(int(text)) or not low <= int(text) <= U64_MAX:
            raise Malformed("amount", f"is not a string of minor units, {low}…2^64-1")
        return int(text)

    return _refusing(read)


def _memo(value: Any) -> str:
    memo = _text(value, "memo")
    try:
        memo_bytes(memo)
    except UnicodeEncodeError:
        raise Malformed("memo", "is not valid Unicode") from None
    return memo


def hex_schema(size_min: int, size_max: int) -> WithJsonSchema:
    """Return the schema of what `read_octets` reads."""
    one_size = f"[0-9a-f]{{{2 * size_max}}}"
    digits = one_size if size_min == size_max else f"([0-9a-f]{{2}}){{{size_min},{size_max}}}"
    return WithJsonSchema({"type": "string", "pattern": f"^0x{digits}$"})


Hash = Annotated[bytes, BeforeValidator(read_octets(32, 32)), hex_schema(32, 32)]
IdempotencyKey = Annotated[
    bytes,
    BeforeValidator(read_octets(1, IDEMPOTENCY_KEY_BYTES_MAX)),
    hex_schema(1, IDEMPOTENCY_KEY_BYTES_MAX),
    Field(description="Under it this is done once, however often it is called. Choose it first."),
]
BodyBytes = Annotated[
    bytes,
    BeforeValidator(read_octets(1, TX_BYTES_MAX)),
    WithJsonSchema(
        {"type": "string", "pattern": "^0x([0-9a-f]{2})+$", "maxLength": 2 * TX_BYTES_MAX + 2}
    ),
]
Amount = Annotated[
    int,
    BeforeValidator(_amount(1)),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,19}$"}),
]
Fee = Annotated[
    int,
    BeforeValidator(_amount(0)),
    WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"}),
]
Asset = Annotated[
    str,
    BeforeValidator(_refusing(lambda value: asset_name(_text(value, "asset"), "asset"))),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z][A-Z0-9.]{0,15}$"}),
]
KeyName = Annotated[
    str,
    BeforeValidator(_refusing(lambda value: check_name(codec.ascii_text(value, "key", 64)))),
    WithJsonSchema({"type": "string", "maxLength": 64}),
    Field(description="The name of a key of this home"),
]
Whom = Annotated[
    str,
    Field(min_length=1, max_length=TEXT_CHARS_MAX, description="claw1…, a contact or a key's name"),
]
Memo = Annotated[
    str,
    BeforeValidator(_refusing(_memo)),
    WithJsonSchema({"type": "string", "maxLength": 256}),
    Field(description="Public, and for ever"),
]
Secret = Annotated[SecretStr, Field(max_length=BYTES_MAX)]
WaitMs = Annotated[
    int, Field(ge=0, le=WAIT_MS_MAX, description="How long to wait for finality, ms")
]


class Shape(BaseModel):
    """Base of results: camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def plain(shape: BaseModel) -> dict[str, Any]:
    """Return a result as the JSON that is sent."""
    return shape.model_dump(mode="json", by_alias=True)


# -- keys


class KeyShape(Shape):
    """A key or watch-only account. `unlockedForMs` is null while it is locked."""

    name: str
    account: str
    public_key: str | None
    watch_only: bool
    label: str
    unlocked_for_ms: int | None


class KeysShape(Shape):
    """The keys that the token may see."""

    keys: list[KeyShape]


class MadeShape(KeyShape):
    """A new key. `words` only where they were asked for."""

    words: list[str] | None


class LockedShape(Shape):
    """Which keys were open and are not any more."""

    locked: list[str]


class StatusShape(Shape):
    """How the service stands. Of the network what a node says, null while none answers."""

    version: str
    url: str
    reachable: bool
    chain_id: str | None
    genesis_hash: str | None
    height: int | None
    keys: int
    unlocked: dict[str, int]
    secrets_in_locked_memory: bool
    payments_under_way: int
    problem: str | None


class CreateParams(Params):
    """wallet_create."""

    name: KeyName
    passphrase: Secret
    words: Literal[12, 15, 18, 21, 24] = 24
    language: str = Field("english", max_length=TEXT_CHARS_MAX)
    reveal_words: bool = Field(False, description="Answer the words: they are the money")


class ImportParams(Params):
    """wallet_import: one of `words`, `seed`, `keyFile`."""

    name: KeyName
    passphrase: Secret = Field(description="Of the key from now on; of keyFile, its own")
    words: Secret | None = None
    index: int = Field(0, ge=0, le=2**31 - 1, description="Which account of the words")
    seed: Secret | None = Field(None, description="32 bytes as hex, base64 or PEM")
    key_file: Secret | None = Field(
        None, max_length=16_384, description="The text of an exported key file"
    )


class UnlockParams(Params):
    """wallet_unlock."""

    name: KeyName
    passphrase: Secret
    timeout_ms: int | None = Field(None, ge=1_000, le=86_400_000, description="Default 15 min")


class LockParams(Params):
    """wallet_lock."""

    name: KeyName | None = Field(None, description="Without it: every key that the token may touch")


class WatchParams(Params):
    """wallet_watch."""

    name: KeyName
    account: Whom


# -- payments


class Pay(Params):
    """One payment of a batch."""

    to: Whom
    amount: Amount = Field(description="Minor units")
    asset: Asset = NATIVE_ASSET


class QuoteParams(Params):
    """wallet_quote."""

    key: KeyName
    payments: list[Pay] = Field(min_length=1, max_length=PAYMENTS_MAX)
    memo: Memo = ""
    fee: Fee | None = Field(None, description="Minor units of CLAW; default the least")
    owner: Whom | None = Field(None, description="Whose money, when the key is a session key of it")


class Leave(Params):
    """What the caller allows beforehand."""

    allow_new_recipient: bool = Field(False, description="Also who never received anything")
    confirmed: bool = Field(
        False, description="A person said yes to what is asked; needs the scope wallet_approve"
    )
    reason: str = Field("", max_length=200, description="What for; shown to who approves")
    wait_ms: WaitMs = WAIT_MS_DEFAULT


class SendParams(Leave):
    """wallet_send."""

    key: KeyName
    to: Whom
    amount: Amount = Field(description="Minor units")
    idempotency_key: IdempotencyKey
    asset: Asset = NATIVE_ASSET
    memo: Memo = ""
    fee: Fee | None = Field(None, description="Minor units of CLAW; default the least")
    owner: Whom | None = Field(None, description="Whose money, when the key is a session key of it")


class BatchParams(Leave):
    """wallet_batch."""

    key: KeyName
    payments: list[Pay] = Field(min_length=1, max_length=PAYMENTS_MAX)
    idempotency_key: IdempotencyKey
    memo: Memo = ""
    fee: Fee | None = Field(None, description="Minor units of CLAW; default the least")
    owner: Whom | None = Field(None, description="Whose money, when the key is a session key of it")


class PaymentParams(Params):
    """wallet_getPayment."""

    tx_id: Hash | None = None
    key: KeyName | None = Field(None, description="With idempotencyKey, in place of txId")
    idempotency_key: IdempotencyKey | None = None


class ListParams(Params):
    """wallet_listPayments."""

    key: KeyName | None = None
    limit: int = Field(PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    cursor: str | None = Field(None, max_length=20, pattern="^[0-9]{1,18}$")


class ReceiptParams(Params):
    """wallet_getReceipt."""

    tx_id: Hash


class PaidShape(Shape):
    """One payment of a transaction, minor units."""

    to: str
    asset: str
    amount: str


class PaymentShape(Shape):
    """A transaction of this home. `status`: pending, signed (handed out, not sent from here),
    final, held, failed, expired, replaced, cancelled or refused; only the first two can still
    change. `reason` says why nothing was paid.
    """

    tx_id: str | None
    status: str
    key: str | None
    account: str
    idempotency_key: str
    payments: list[PaidShape]
    memo: str
    fee: str
    lane: int
    height: int | None
    reason: str | None
    hold_id: str | None
    created_at: str
    settled_at: str | None


class PaymentsShape(Shape):
    """A page, the newest first."""

    payments: list[PaymentShape]
    next_cursor: str | None


class QuoteShape(Shape):
    """What a payment would be now. `outlook`: paid, held or refused by the ledger; `allowed` and
    `refusals` are this wallet's guardrails, `confirm` what a person would be asked.
    """

    account: str
    payments: list[PaidShape]
    fee: str
    decimals: dict[str, int]
    left: dict[str, str]
    strangers: list[str]
    outlook: str
    rule: str | None
    reason: str | None
    allowed: bool
    refusals: list[dict[str, Any]]
    confirm: list[str]


_WORDS: Final = {
    Status.RESERVED: "pending",
    Status.SIGNED: "pending",
    Status.SUBMITTED: "pending",
    Status.HANDED_OUT: "signed",
}


def hexed(octets: bytes) -> str:
    """Return `0x` hexadecimal."""
    return f"0x{octets.hex()}"


def status_word(status: Status | str) -> str:
    """Return how a payment's state is called here: what is paid is `final`."""
    word = _WORDS.get(status, status.label) if isinstance(status, Status) else status
    return "final" if word == "paid" else word


def payment_shape(row: Row, key: str | None) -> PaymentShape:
    """Return a row of the outbox; what only its receipt says is filled in by the caller."""
    return PaymentShape(
        tx_id=hexed(row.newest.tx_id) if row.attempts else None,
        status=status_word(row.status),
        key=key,
        account=account_text(row.account),
        idempotency_key=hexed(row.key),
        payments=[
            PaidShape(to=account_text(to), asset=asset, amount=str(amount))
            for to, asset, amount in row.payments
        ],
        memo=row.memo,
        fee=str(row.fee),
        lane=row.lane,
        height=None,
        reason=None,
        hold_id=None,
        created_at=time_text(row.created_ms),
        settled_at=None if row.settled_ms is None else time_text(row.settled_ms),
    )
