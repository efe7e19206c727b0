"""What the methods of sign-in take and return. Parameters that are secrets are never repeated."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.auth.codes import SECRET_CHARS_MAX
from clawpurse.modules.auth.factors import Proof
from clawpurse.modules.kit.records.shapes import LIST_DEFAULT, Limit, Shape, Time
from clawpurse.modules.kit.service.signin import Secret, Site
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.modules.kit.web.scopes import SCOPES_MAX

PASSWORD_CHARS_MAX: Final = 1_024
NAME_CHARS_MAX: Final = 256
LABEL_CHARS_MAX: Final = 64
Json = dict[str, Any]

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, description="Who signs in")]
Password = Annotated[str, Field(min_length=1, max_length=PASSWORD_CHARS_MAX)]
Code = Annotated[str, Field(min_length=1, max_length=SECRET_CHARS_MAX)]
UserId = Annotated[str, Field(max_length=24, description="A user's id, such as U-3")]
Label = Annotated[
    str, Field(max_length=LABEL_CHARS_MAX, description="What lists call it; sealed like a name")
]
Wanted = Annotated[
    list[Annotated[str, Field(max_length=128)]] | None,
    Field(max_length=SCOPES_MAX, description="The most that tokens shall reach; all if left out"),
]
Credential = Annotated[
    Json, WithJsonSchema({"type": "object", "description": "PublicKeyCredential.toJSON()"})
]
Hex = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x([0-9a-f]{2})*$"})]
Account = Annotated[str, Field(max_length=90, description="A ledger account, claw1…")]
Reason = Annotated[
    str, Field(min_length=3, max_length=200, description="Why; kept for ever, so nothing personal")
]


def hex_bytes(text: str, size: int, field: str) -> bytes:
    """Return the bytes of 0x…. Raises `Malformed`."""
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != size or text != f"0x{data.hex()}":
        raise Malformed(field, f"is not 0x and {size} bytes in hexadecimal")
    return data


class SessionParams(Params):
    """What a sign-in may ask of its session."""

    scopes: Wanted = None
    label: Label = ""


class RegisterParams(SessionParams):
    """Parameters of auth_register."""

    invitation: Secret
    password: Password


class LoginParams(SessionParams):
    """Parameters of auth_login."""

    name: Name
    password: Password


class ProofParams(Params):
    """A second factor: one of the three, a passkey for the attempt that asked for it."""

    totp: Code | None = None
    recovery_code: Code | None = None
    passkey: Credential | None = None

    @property
    def proof(self) -> Proof:
        """As `factors` takes it."""
        return Proof(self.totp, self.recovery_code, self.passkey)


class FinishParams(SessionParams, ProofParams):
    """Parameters of auth_finishLogin."""

    attempt: Secret


class PasskeyLoginParams(SessionParams):
    """Parameters of auth_loginPasskey."""

    attempt: Secret
    credential: Credential


class ChallengeParams(Params):
    """Parameters of auth_challenge."""

    account: Account


class KeyProof(Params):
    """A challenge, signed."""

    attempt: Secret
    public_key: Hex
    signature: Hex


class KeyLoginParams(SessionParams, KeyProof):
    """Parameters of auth_loginKey."""


class SiteParams(Params):
    """Parameters of auth_authorizeSite."""

    site: Site
    challenge: Annotated[
        str,
        Field(
            min_length=43,
            max_length=43,
            description="BASE64URL(SHA-256(verifier)), RFC 7636 §4.2",
        ),
    ]


class StepUpParams(ProofParams):
    """Parameters of auth_stepUp: nothing to begin, or a proof."""

    attempt: Secret | None = None
    password: Password | None = None


class CodeParams(Params):
    """Parameters of auth_confirmTotp."""

    code: Code


class AddedPasskeyParams(Params):
    """Parameters of auth_confirmPasskey."""

    attempt: Secret
    credential: Credential
    label: Label = "passkey"


class IdentParams(Params):
    """Names something of the caller's."""

    id: Annotated[str, Field(max_length=64)]


class PasswordParams(Params):
    """Parameters of auth_changePassword."""

    current: Password
    password: Password


class ApiKeyParams(Params):
    """Parameters of auth_createApiKey."""

    label: Annotated[Label, Field(min_length=1)]
    scopes: Annotated[list[str], Field(min_length=1, max_length=SCOPES_MAX)]
    days: Annotated[int, Field(ge=1, le=366, description="After so many it ends")] = 90
    user: UserId | None = Field(None, description="A service account; yourself if left out")


class OfUserParams(Params):
    """Names a user; administrators name others."""

    user: UserId | None = None


class UserParams(Params):
    """Names a user, and says why."""

    user: UserId
    reason: Reason


class CloseParams(UserParams):
    """Parameters of auth_closeUser."""

    erase: bool = Field(False, description="Also destroy what is known of the person, for ever")


class InviteParams(Params):
    """Parameters of auth_invite."""

    name: Name


class ServiceParams(Params):
    """Parameters of auth_createServiceAccount; `key` proves the account that it acts for."""

    name: Name
    key: KeyProof | None = None


class ListParams(Params):
    """Parameters of lists of users."""

    limit: Limit = LIST_DEFAULT
    cursor: Annotated[str | None, Field(max_length=24)] = None


class RotateParams(Params):
    """Parameters of auth_rotateKeys."""

    reason: Reason


class CodeShape(Shape):
    """A code, shown this once."""

    code: str
    expires: Time


class SecondFactor(Shape):
    """More is needed: one of `factors`, by auth_finishLogin, for this attempt."""

    status: Literal["secondFactor"]
    attempt: str
    expires: Time
    factors: list[str]
    passkey: Json | None


class Begun(Shape):
    """Options for the browser, and the attempt that its answer is for."""

    attempt: str
    expires: Time
    options: Json


class ChallengeShape(Shape):
    """What a wallet signs: `message` is the hexadecimal form of the bytes for `text`."""

    attempt: str
    text: str
    message: Hex
    expires: Time


class AccessToken(Shape):
    """A token without a session of its own."""

    access_token: str
    expires: Time
    level: str
    scopes: list[str]


class Me(Shape):
    """Who calls. `roles` are those on the ledger, at the newest height."""

    user: str
    name: str | None
    kind: str
    state: str
    account: str | None
    roles: list[str]
    session: str | None
    level: str
    proven: Time | None
    factors: list[str]
    recovery_codes: int
    has_password: bool


class TotpShape(Shape):
    """The secret of an authenticator app, this once: as text, and as the URI of its QR code."""

    secret: str
    uri: str


class FactorsShape(Shape):
    """The second factors that there are now."""

    factors: list[str]


class PasskeyShape(Shape):
    """A passkey."""

    id: str
    label: str
    created: Time
    used: Time | None
    backed_up: bool


class PasskeysShape(Shape):
    """A user's passkeys."""

    passkeys: list[PasskeyShape]


class CodesShape(Shape):
    """Recovery codes, this once."""

    codes: list[str]


class SessionShape(Shape):
    """A session."""

    id: str
    label: str
    created: Time
    seen: Time
    ends: Time
    level: str
    methods: list[str]
    ended: Time | None
    reason: str | None
    current: bool


class SessionsShape(Shape):
    """A user's sessions, the newest first."""

    sessions: list[SessionShape]


class ApiKeyShape(Shape):
    """An API key, without its secret."""

    id: str
    user: str
    label: str
    scopes: list[str]
    roles: list[str]
    created: Time
    expires: Time
    revoked: Time | None


class NewApiKey(Shape):
    """An API key, this once with its secret."""

    key: str
    record: ApiKeyShape


class ApiKeysShape(Shape):
    """A user's API keys."""

    keys: list[ApiKeyShape]


class UserShape(Shape):
    """A user, as administrators see it."""

    id: str
    name: str | None
    kind: str
    state: str
    account: str | None
    created: Time
    changed: Time
    factors: list[str]


class UsersShape(Shape):
    """A page of users."""

    users: list[UserShape]
    next_cursor: str | None


class Invitation(Shape):
    """An invitation, this once; whoever has it registers as that user."""

    user: str
    invitation: str
    expires: Time


class MatrixRow(Shape):
    """A role: scopes that it adds to tokens, actions on the ledger that ask for it."""

    role: str
    scopes: list[str]
    actions: list[str]
    admin: bool


class Matrix(Shape):
    """Who may do what, by role; the row without a name is everybody."""

    rows: list[MatrixRow]


class KeysShape(Shape):
    """The JWKS (RFC 7517)."""

    keys: list[Json]
