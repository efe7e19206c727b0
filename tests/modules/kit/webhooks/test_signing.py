"""Signatures that the reference library takes, and nothing else: what a receiver relies on."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime

import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.modules.kit.webhooks.signing import (
    Scheme,
    Secret,
    new_secret,
    signed_headers,
    verify,
)

NOW_MS = 1_900_000_000_000
BODY = '{"type":"a","data":{"€":1}}'.encode()


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def hmac_secret(number: int = 1, expires_ms: int | None = None) -> Secret:
    return Secret(Scheme.HMAC, bytes([number]) * 32, NOW_MS, expires_ms)


def test_the_reference_library_takes_what_we_sign() -> None:
    """A receiver that uses the published library must need nothing of ours."""
    secret = new_secret(Scheme.HMAC, now_ms(), os.urandom)
    headers = signed_headers([secret], "msg_1", now_ms(), BODY)
    assert Webhook(secret.receiver_text).verify(BODY, headers) == {"type": "a", "data": {"€": 1}}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret.receiver_text).verify(BODY + b" ", headers)


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(10**9, 3 * 10**9))
def test_our_v1_is_the_reference_librarys(text: str, timestamp_s: int) -> None:
    """Whatever the body and the time, both make the same bytes."""
    secret = hmac_secret()
    headers = signed_headers([secret], "msg_1", timestamp_s * 1000 + 999, text.encode())
    when = datetime.fromtimestamp(timestamp_s, UTC)
    assert headers["webhook-signature"] == Webhook(secret.receiver_text).sign("msg_1", when, text)
    assert headers["webhook-timestamp"] == str(timestamp_s)


def test_v1a_is_plain_ed25519_over_the_same_content() -> None:
    """The reference library has no v1a, so the check is the bare primitive on what is specified."""
    secret = new_secret(Scheme.ED25519, NOW_MS, os.urandom)
    headers = signed_headers([secret], "msg_2", NOW_MS, BODY)
    mark, _, text = headers["webhook-signature"].partition(",")
    assert mark == "v1a"
    assert secret.receiver_text.startswith("whpk_")
    public = base64.b64decode(secret.receiver_text.removeprefix("whpk_"))
    content = b"msg_2.%d.%b" % (NOW_MS // 1000, BODY)
    opened = nacl.bindings.crypto_sign_open(base64.b64decode(text) + content, public)
    assert opened == content


def test_no_representation_shows_a_key() -> None:
    """A secret in a log or a traceback is a secret no more."""
    secret = hmac_secret()
    assert "key" not in repr(secret)
    assert secret.receiver_text not in repr(secret)


def test_both_keys_sign_while_they_overlap() -> None:
    """A receiver changes keys when it likes, without losing an event."""
    old, new = hmac_secret(1, NOW_MS + 1), hmac_secret(2)
    headers = signed_headers([old, new], "msg_1", NOW_MS, BODY)
    for secret in (old, new):
        assert verify([secret.receiver_text], headers, BODY, NOW_MS) == ("msg_1", NOW_MS // 1000)
    later = signed_headers([old, new], "msg_1", NOW_MS + 1, BODY)
    with pytest.raises(BadSignature):
        verify([old.receiver_text], later, BODY, NOW_MS)


def test_a_change_of_scheme_overlaps_too() -> None:
    """A receiver moves from a shared secret to a public key while both count."""
    old = hmac_secret(1, NOW_MS + 1)
    new = Secret(Scheme.ED25519, bytes([2]) * 32, NOW_MS)
    headers = signed_headers([old, new], "msg_1", NOW_MS, BODY)
    marks = [part.partition(",")[0] for part in headers["webhook-signature"].split(" ")]
    assert marks == ["v1", "v1a"]
    for secret in (old, new):
        verify([secret.receiver_text], headers, BODY, NOW_MS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_2"),
        ("webhook-id", ""),
        ("webhook-id", "msg.1"),
        ("webhook-timestamp", "1899999999"),
        ("webhook-timestamp", "soon"),
        ("webhook-timestamp", "-1"),
        ("webhook-timestamp", str(NOW_MS // 1000 + 301)),
        ("webhook-timestamp", "9" * 40),
        ("webhook-signature", ""),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,?"),
        ("webhook-signature", "v1,é"),
    ],
)
def test_whatever_is_changed_is_refused(name: str, value: str) -> None:
    """A forged or replayed post must not move money."""
    secret = hmac_secret()
    headers = signed_headers([secret], "msg_1", NOW_MS, BODY) | {name: value}
    with pytest.raises(BadSignature):
        verify([secret.receiver_text], headers, BODY, NOW_MS)


def test_a_signature_of_one_scheme_does_not_count_as_the_other() -> None:
    """The mark is judged with the signature, not taken from it."""
    secret = hmac_secret()
    headers = signed_headers([secret], "msg_1", NOW_MS, BODY)
    headers["webhook-signature"] = "v1a" + headers["webhook-signature"].removeprefix("v1")
    with pytest.raises(BadSignature):
        verify([secret.receiver_text], headers, BODY, NOW_MS)


@pytest.mark.parametrize("key", ["", "secret", "whsec_", "whsec_?", "whsk_AAAA"])
def test_a_key_that_is_none_is_said_to_be(key: str) -> None:
    """A receiver with a mistyped key must not believe that every post is forged."""
    headers = signed_headers([hmac_secret()], "msg_1", NOW_MS, BODY)
    with pytest.raises(Malformed):
        verify([key], headers, BODY, NOW_MS)


@pytest.mark.parametrize("ident", ["", "a.b", "é", "a\n"])
def test_an_id_that_could_shift_the_parts_is_never_signed(ident: str) -> None:
    """`a.1` at time 2 and `a` at time 1.2 would be the same bytes."""
    with pytest.raises(Malformed):
        signed_headers([hmac_secret()], ident, NOW_MS, BODY)
