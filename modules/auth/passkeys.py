"""Passkeys: WebAuthn (W3C Level 3), bound to the service's domain and its pages.

The authenticator must verify its user (a finger, a face, a code), so one passkey is two factors.
Attestation is not asked for: which make it is decides nothing here. A sign counter that does not
grow means a copy, and is refused; passkeys that never count say zero for ever.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import webauthn
from sqlalchemy.engine import Row
from webauthn.helpers import (
    base64url_to_bytes,
    options_to_json,
    parse_attestation_object,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.auth.attempts import LIFE_MS, Attempt
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.codes import digest_of
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.records.model import Conflict

OF_USER_MAX: Final = 20
ANSWER_CHARS_MAX: Final = 16 * 1024
LABEL_CHARS_MAX: Final = 64
_FORMATS: Final = (AttestationFormat.NONE, AttestationFormat.PACKED)
Json = dict[str, Any]


class Passkey(NamedTuple):
    """A passkey of a user, as lists show it."""

    ident: str
    label: str
    created_ms: int
    used_ms: int | None
    backed_up: bool


def creation_options(book: Book, user: User, name: str, attempt: Attempt) -> Json:
    """Return what `navigator.credentials.create` takes, binary values in base64url."""
    options = webauthn.generate_registration_options(
        rp_id=book.settings.rp_id,
        rp_name=book.settings.service_name,
        user_name=name,
        user_id=user.id.encode(),
        challenge=attempt.nonce,
        timeout=LIFE_MS,
        attestation=AttestationConveyancePreference.NONE,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(book, user.number),
    )
    made: Json = json.loads(options_to_json(options))
    return made


def request_options(book: Book, attempt: Attempt) -> Json:
    """Return what `navigator.credentials.get` takes; without a user, any passkey may answer."""
    allowed = [] if attempt.user is None else _descriptors(book, attempt.user)
    options = webauthn.generate_authentication_options(
        rp_id=book.settings.rp_id,
        challenge=attempt.nonce,
        timeout=LIFE_MS,
        allow_credentials=allowed,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    made: Json = json.loads(options_to_json(options))
    return made


def add(book: Book, user: User, attempt: Attempt, answer: Json, label: str) -> Passkey:
    """Keep a new passkey. Raises `Malformed` when the answer does not prove one; `Conflict`."""
    checked = _bounded(answer)
    try:
        parsed = parse_registration_credential_json(checked)
        attested = parse_attestation_object(parsed.response.attestation_object)
        if attested.fmt not in _FORMATS:
            raise Malformed("credential", "is attested in a way that was not asked for")
        found = webauthn.verify_registration_response(
            credential=parsed,
            expected_challenge=attempt.nonce,
            expected_rp_id=book.settings.rp_id,
            expected_origin=list(book.settings.origins),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise Malformed("credential", f"proves no passkey ({type(error).__name__})") from None
    table, digest = book.t.passkeys, _digest(found.credential_id)
    mine = [row.digest for row in _rows(book, user.number)]
    taken = book.db.execute(sa.select(table.c.user).where(table.c.digest == digest)).first()
    if taken is not None or len(mine) >= OF_USER_MAX:
        raise Conflict("That passkey is registered already, or there are too many.")
    book.db.execute(
        table.insert(),
        {
            "digest": digest,
            "credential": found.credential_id,
            "user": user.number,
            "public_key": found.credential_public_key,
            "sign_count": found.sign_count,
            "backed_up": found.credential_backed_up,
            "label": book.seal(user.number, "passkey", label.encode()),
            "created_ms": book.now_ms,
        },
    )
    book.note(user.number, "passkeyAdded", {"passkey": _ident(digest)})
    return next(one for one in listed(book, user.number) if one.ident == _ident(digest))


def answered(book: Book, attempt: Attempt, answer: Json) -> int | None:
    """Return whose passkey answered an attempt; None when none did that may."""
    text = answer.get("id")
    if not isinstance(text, str) or len(text) > ANSWER_CHARS_MAX:
        return None
    table = book.t.passkeys
    try:
        digest = _digest(base64url_to_bytes(text))
    except ValueError:
        return None
    row = book.db.execute(table.select().where(table.c.digest == digest)).one_or_none()
    if row is None or attempt.user not in (None, row.user):
        return None
    try:
        found = webauthn.verify_authentication_response(
            credential=_bounded(answer),
            expected_challenge=attempt.nonce,
            expected_rp_id=book.settings.rp_id,
            expected_origin=list(book.settings.origins),
            credential_public_key=row.public_key,
            credential_current_sign_count=row.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, Malformed, ValueError, KeyError, TypeError) as error:
        book.note(row.user, "passkeyRefused", {"passkey": _ident(digest), "why": _why(error)})
        return None
    said = {"sign_count": found.new_sign_count, "used_ms": book.now_ms}
    book.db.execute(table.update().where(table.c.digest == digest).values(said))
    return int(row.user)


def listed(book: Book, user: int) -> list[Passkey]:
    """Return a user's passkeys, oldest first."""
    return [
        Passkey(
            _ident(row.digest),
            book.open(user, "passkey", row.label).decode(),
            row.created_ms,
            row.used_ms,
            row.backed_up,
        )
        for row in _rows(book, user)
    ]


def remove(book: Book, user: int, ident: str) -> bool:
    """Forget a passkey; False if the user has none of that id."""
    table = book.t.passkeys
    for row in _rows(book, user):
        if _ident(row.digest) == ident:
            book.db.execute(table.delete().where(table.c.digest == row.digest))
            book.note(user, "passkeyRemoved", {"passkey": ident})
            return True
    return False


def _rows(book: Book, user: int) -> list[Row[Any]]:
    table = book.t.passkeys
    asked = table.select().where(table.c.user == user).order_by(table.c.created_ms, table.c.digest)
    return list(book.db.execute(asked))


def _descriptors(book: Book, user: int) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=row.credential) for row in _rows(book, user)]


def _bounded(answer: Json) -> Json:
    if len(json.dumps(answer)) > ANSWER_CHARS_MAX:
        raise Malformed("credential", "is too large")
    return answer


def _why(error: Exception) -> str:
    """What went wrong, by its kind alone: texts of the library quote what was sent."""
    said = str(error).casefold()
    for word in ("sign count", "origin", "challenge", "rp id", "verification", "signature"):
        if word in said:
            return word
    return type(error).__name__


def _digest(credential: bytes) -> bytes:
    return digest_of("passkey " + credential.hex())


def _ident(digest: bytes) -> str:
    return "pk-" + digest[:8].hex()
