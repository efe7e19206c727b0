"""Parameters and results of the wallet service about requests, signing and guardrails."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import KEY_BYTES
from clawpurse.ledger.params import DECIMALS_MAX
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.wallet.approvals import FILE_BYTES_MAX
from clawpurse.wallet.guardrails import (
    ASSETS_MAX,
    COSIGNERS_MAX,
    LABEL_CHARS_MAX,
    MEMO_BYTES_MAX,
    NOTES_CHARS_MAX,
    RECIPIENTS_MAX,
)
from clawpurse.wallet.service_values import (
    PAGE_DEFAULT,
    PAGE_MAX,
    WAIT_MS_DEFAULT,
    Amount,
    Asset,
    BodyBytes,
    KeyName,
    PaidShape,
    PaymentShape,
    Secret,
    Shape,
    WaitMs,
    Whom,
    hex_schema,
    hexed,
    read_octets,
)
from clawpurse.wallet.signing_requests import ID_BYTES, TEXT_CHARS_MAX, SigningRequest

# As many as a person reads at once.
PROPOSED_ACTIONS_MAX: Final = 16

RequestId = Annotated[
    bytes, BeforeValidator(read_octets(ID_BYTES, ID_BYTES)), hex_schema(ID_BYTES, ID_BYTES)
]
PublicKey = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": f"^0x[0-9a-f]{{{2 * KEY_BYTES}}}$"})
]
Passphrase = Annotated[
    SecretStr | None,
    Field(max_length=1_024, description="Where the key is locked: opens it for this once"),
]


# -- signing what was built elsewhere


class SignParams(Params):
    """wallet_sign."""

    key: KeyName
    body: BodyBytes = Field(description="The packed body of a transaction")
    role: Literal["sender", "payer", "approver"] | None = Field(
        None, description="Needed where the body alone does not tell"
    )
    account: Whom | None = Field(
        None, description="For whom it signs, where that is not the key's own account"
    )
    submit: bool = Field(
        True, description="Send it to the network; false hands the signature out, counted as spent"
    )
    confirmed: bool = Field(
        False, description="A person said yes to what is asked; needs the scope wallet_approve"
    )
    reason: str = Field("", max_length=TEXT_CHARS_MAX, description="What for, for who approves")
    wait_ms: WaitMs = WAIT_MS_DEFAULT


class ActionValue(Params):
    """One action, as `tx_decode` shows it: accounts as claw1…, bytes as 0x…, amounts as strings."""

    name: str = Field(max_length=64, description="Such as accounts.approve")
    fields: dict[str, Any] = Field(description="Its fields by name")


class ProposeParams(Params):
    """wallet_propose."""

    key: KeyName
    actions: list[ActionValue] = Field(
        min_length=1, max_length=PROPOSED_ACTIONS_MAX, description="What the transaction shall do"
    )
    reason: str = Field("", max_length=TEXT_CHARS_MAX, description="What for, for who decides")


class ProposedShape(Shape):
    """Where a person decides: the request's id, and its page, null where there is none."""

    request_id: str
    url: str | None


class LineShape(Shape):
    """One line of a transaction in words."""

    label: str
    text: str
    warning: bool


class SignedShape(Shape):
    """A signature. `transaction` are the bytes with this signature alone: all that a node needs
    where nobody else has to sign. `payment` is null for a signature that spends nothing.
    """

    tx_id: str
    role: str
    account: str
    public_key: str
    signature: str
    transaction: str
    lines: list[LineShape]
    payment: PaymentShape | None


# -- requests


class ListRequestsParams(Params):
    """wallet_listRequests."""

    states: list[Literal["open", "approved", "rejected", "expired"]] | None = Field(
        None, max_length=4, description="Default all"
    )
    limit: int = Field(PAGE_DEFAULT, ge=1, le=PAGE_MAX)


class RequestParams(Params):
    """wallet_getRequest."""

    id: RequestId


class ApproveParams(Params):
    """wallet_approve."""

    id: RequestId
    passphrase: Passphrase = None
    wait_ms: WaitMs = WAIT_MS_DEFAULT


class RejectParams(Params):
    """wallet_reject."""

    id: RequestId
    reason: str = Field("", max_length=TEXT_CHARS_MAX, description="Told to who asked")


class RequestShape(Shape):
    """What waits for a person, or did. It has `payments`, or a `body` that was built elsewhere.

    `asked` says why a person decides, `reason` what whoever asks (`origin`) says it is for, `note`
    why it was rejected. `txId` is what an approval became.
    """

    id: str
    state: str
    origin: str
    key: str
    account: str
    idempotency_key: str
    payments: list[PaidShape]
    memo: str
    fee: str | None
    body: str | None
    submit: bool
    role: str
    asked: list[str]
    reason: str
    note: str
    tx_id: str | None
    url: str | None
    created_at: str
    expires_at: str
    expires_ms: int
    settled_at: str | None


class RequestsShape(Shape):
    """Requests, the newest first."""

    requests: list[RequestShape]


class EffectShape(Shape):
    """What it would change: minor units with their sign, and the same in words."""

    account: str
    label: str | None
    asset: str
    change: str
    text: str


class SaysShape(Shape):
    """What one guardrail says of it: passes, asks or refuses."""

    says: str
    text: str


class RequestDetailShape(RequestShape):
    """A request as who decides reads it: every field in words, its effects, the guardrails now.

    `outlook` is what the ledger would do now: paid, held or refused; null, with a `problem`, where
    no node tells. `unlocked`: the key is open, no passphrase is needed. `payment` is what became
    of it.
    """

    lines: list[LineShape]
    effects: list[EffectShape]
    guardrails: list[SaysShape]
    outlook: str | None
    rule: str | None
    problem: str | None
    unlocked: bool
    payment: PaymentShape | None


class DecidedShape(Shape):
    """What an approval became. `signed` where a body was handed back instead of being sent."""

    request: RequestShape
    payment: PaymentShape | None
    signed: SignedShape | None


def request_fields(one: SigningRequest, url: str | None) -> dict[str, Any]:
    """Return the members of a request's shape."""
    return {
        "id": hexed(one.id),
        "state": one.state.value,
        "origin": one.origin,
        "key": one.key_name,
        "account": account_text(one.account),
        "idempotency_key": hexed(one.idempotency_key),
        "payments": [
            PaidShape(to=account_text(each.recipient), asset=each.asset, amount=str(each.amount))
            for each in one.intents
        ],
        "memo": one.intents[0].memo if one.intents else "",
        "fee": str(sum(each.fee for each in one.intents)) if one.intents else None,
        "body": None if one.body is None else hexed(one.body),
        "submit": one.submit,
        "role": one.role,
        "asked": list(one.asked),
        "reason": one.reason,
        "note": one.note,
        "tx_id": None if one.tx_id is None else hexed(one.tx_id),
        "url": url,
        "created_at": time_text(one.created_ms),
        "expires_at": time_text(one.expires_ms),
        "expires_ms": one.expires_ms,
        "settled_at": None if one.settled_ms is None else time_text(one.settled_ms),
    }


# -- guardrails


class KeyParams(Params):
    """wallet_getGuardrails."""

    key: KeyName


class RuleValue(Params):
    """Limits of one asset, minor units at `decimals`; null is no limit."""

    asset: Asset
    decimals: int = Field(ge=0, le=DECIMALS_MAX)
    per_transaction: Amount | None = None
    per_day: Amount | None = None
    confirm_above: Amount | None = None


class RecipientValue(Params):
    """Somebody on the allowlist. `limits` narrow the policy's."""

    account: Whom
    label: str = Field("", max_length=LABEL_CHARS_MAX)
    limits: list[RuleValue] = Field(default=[], max_length=ASSETS_MAX)
    memo_required: bool = False
    notes: str = Field("", max_length=NOTES_CHARS_MAX)


class CosignerValue(Params):
    """Whose word lifts a limit once."""

    label: str = Field(max_length=LABEL_CHARS_MAX)
    public_key: PublicKey


class PolicyValue(Params):
    """What one key may pay."""

    mode: Literal["enforce", "allow"]
    assets: list[RuleValue] = Field(max_length=ASSETS_MAX)
    recipients: list[RecipientValue] = Field(max_length=RECIPIENTS_MAX)
    unknown: Literal["refuse", "confirm", "allow"]
    other_assets: Literal["refuse", "confirm", "allow"]
    memo_required: bool
    memo_prefix: str = Field(max_length=MEMO_BYTES_MAX)
    cosigners: list[CosignerValue] = Field(max_length=COSIGNERS_MAX)


class SetGuardrailsParams(Params):
    """wallet_setGuardrails. A policy that loosens anything needs one of code, approval, words."""

    key: KeyName
    policy: PolicyValue
    revision: int | None = Field(
        None, ge=0, description="Refused where the guardrails were changed since this revision"
    )
    passphrase: Secret | None = Field(None, description="Needed where the key is locked, or a code")
    code: Secret | None = Field(None, description="From an authenticator app")
    approval: str | None = Field(
        None, max_length=FILE_BYTES_MAX, description="The text of a co-signer's approval"
    )
    words: Secret | None = Field(None, description="The words of the key")


class SpentShape(Shape):
    """What of an asset was spent today (UTC). `perDay` is null without a limit, minor units."""

    asset: str
    spent: str
    per_day: str | None
    left: str | None
    resets_ms: int


class GuardrailsShape(Shape):
    """Guardrails of a key. `policy` as wallet_setGuardrails takes it; `codes`: an app is enrolled.

    `weakened`: what a change loosened.
    """

    key: str
    public_key: str
    revision: int
    changed_at: str | None
    codes: bool
    policy: dict[str, Any]
    today: list[SpentShape]
    weakened: list[str]
