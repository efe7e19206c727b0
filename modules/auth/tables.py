"""The tables of sign-in. Secrets are here only sealed, or as hashes of what nobody can guess.

Names of people are sealed by a key of theirs and found by a keyed mark, so that the file alone
tells neither who is registered nor who tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

ACCOUNT_CHARS_MAX: Final = 64
IDENT_CHARS_MAX: Final = 64
WORD_CHARS_MAX: Final = 40
MARK_BYTES: Final = 32


@dataclass(frozen=True)
class AuthTables:
    """Every table of the service, beside those of the kit."""

    users: sa.Table
    invitations: sa.Table
    totps: sa.Table
    passkeys: sa.Table
    codes: sa.Table
    attempts: sa.Table
    throttles: sa.Table
    sessions: sa.Table
    refreshes: sa.Table
    signing_keys: sa.Table
    api_keys: sa.Table
    secrets: sa.Table


def auth_tables(metadata: sa.MetaData) -> AuthTables:
    """Describe the tables within a service's metadata."""
    return AuthTables(
        _users(metadata),
        _invitations(metadata),
        _totps(metadata),
        _passkeys(metadata),
        _codes(metadata),
        _attempts(metadata),
        _throttles(metadata),
        _sessions(metadata),
        _refreshes(metadata),
        _signing_keys(metadata),
        _api_keys(metadata),
        _secrets(metadata),
    )


def _number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _users(metadata: sa.MetaData) -> sa.Table:
    """Persons and programs. `epoch` grows when every token given before is to end."""
    return sa.Table(
        "auth_users",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(WORD_CHARS_MAX), nullable=False),
        sa.Column("state", sa.String(WORD_CHARS_MAX), nullable=False),
        _number("version"),
        sa.Column("name_mark", sa.LargeBinary(MARK_BYTES), unique=True),
        sa.Column("name", sa.LargeBinary),
        sa.Column("account", sa.String(ACCOUNT_CHARS_MAX), unique=True),
        sa.Column("password", sa.LargeBinary),
        # Whether the password is long enough to be the only factor.
        sa.Column("password_alone", sa.Boolean, nullable=False),
        _number("created_ms"),
        _number("changed_ms"),
        _number("epoch"),
        _number("epoch_ms"),
        sa.Index("ix_auth_users_epoch_ms", "epoch_ms"),
    )


def _invitations(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "auth_invitations",
        metadata,
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), primary_key=True),
        _number("user"),
        _number("created_ms"),
        _number("expires_ms"),
        sa.Index("ix_auth_invitations_user", "user"),
        sa.Index("ix_auth_invitations_expires_ms", "expires_ms"),
    )


def _totps(metadata: sa.MetaData) -> sa.Table:
    """Secrets of authenticator apps. `last_step` only grows: a code counts once."""
    return sa.Table(
        "auth_totps",
        metadata,
        sa.Column("user", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        _number("last_step"),
        _number("created_ms"),
        _number("confirmed_ms", null=True),
    )


def _passkeys(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "auth_passkeys",
        metadata,
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), primary_key=True),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        _number("user"),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        _number("sign_count"),
        sa.Column("backed_up", sa.Boolean, nullable=False),
        sa.Column("label", sa.LargeBinary, nullable=False),
        _number("created_ms"),
        _number("used_ms", null=True),
        sa.Index("ix_auth_passkeys_user", "user"),
    )


def _codes(metadata: sa.MetaData) -> sa.Table:
    """Recovery codes that were not used."""
    return sa.Table(
        "auth_codes",
        metadata,
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), primary_key=True),
        _number("user"),
        sa.Index("ix_auth_codes_user", "user"),
    )


def _attempts(metadata: sa.MetaData) -> sa.Table:
    """What was begun and needs an answer: a second factor, a passkey, a signature."""
    return sa.Table(
        "auth_attempts",
        metadata,
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), primary_key=True),
        sa.Column("purpose", sa.String(WORD_CHARS_MAX), nullable=False),
        _number("user", null=True),
        sa.Column("nonce", sa.LargeBinary(MARK_BYTES), nullable=False),
        sa.Column("subject", sa.String(ACCOUNT_CHARS_MAX), nullable=False),
        _number("created_ms"),
        _number("expires_ms"),
        _number("failures"),
        sa.Index("ix_auth_attempts_expires_ms", "expires_ms"),
    )


def _throttles(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "auth_throttles",
        metadata,
        sa.Column("mark", sa.LargeBinary(MARK_BYTES), primary_key=True),
        _number("failures"),
        _number("until_ms"),
        _number("seen_ms"),
        sa.Index("ix_auth_throttles_seen_ms", "seen_ms"),
    )


def _sessions(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "auth_sessions",
        metadata,
        sa.Column("ident", sa.String(IDENT_CHARS_MAX), primary_key=True),
        _number("user"),
        _number("created_ms"),
        _number("seen_ms"),
        _number("ends_ms"),
        _number("proven_ms"),
        sa.Column("level", sa.String(WORD_CHARS_MAX), nullable=False),
        sa.Column("methods", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        _number("tokens"),
        sa.Column("label", sa.LargeBinary),
        _number("ended_ms", null=True),
        sa.Column("reason", sa.String(WORD_CHARS_MAX)),
        sa.Index("ix_auth_sessions_user", "user", "ended_ms"),
        sa.Index("ix_auth_sessions_ended_ms", "ended_ms"),
        sa.Index("ix_auth_sessions_ends_ms", "ends_ms"),
    )


def _refreshes(metadata: sa.MetaData) -> sa.Table:
    """Refresh tokens, used ones too: whoever shows one again has a copy."""
    return sa.Table(
        "auth_refreshes",
        metadata,
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), primary_key=True),
        sa.Column("session", sa.String(IDENT_CHARS_MAX), nullable=False),
        _number("created_ms"),
        _number("used_ms", null=True),
        sa.Index("ix_auth_refreshes_session", "session"),
    )


def _signing_keys(metadata: sa.MetaData) -> sa.Table:
    """Keys of tokens. A key whose seed is gone signs no more; it is published until `gone_ms`."""
    return sa.Table(
        "auth_signing_keys",
        metadata,
        sa.Column("kid", sa.String(IDENT_CHARS_MAX), primary_key=True),
        sa.Column("public_key", sa.LargeBinary(MARK_BYTES), nullable=False),
        sa.Column("seed", sa.LargeBinary),
        _number("created_ms"),
        _number("signs_ms"),
        _number("gone_ms", null=True),
    )


def _api_keys(metadata: sa.MetaData) -> sa.Table:
    """API keys. `roles`: those on the ledger that its scopes rest on."""
    return sa.Table(
        "auth_api_keys",
        metadata,
        sa.Column("prefix", sa.String(WORD_CHARS_MAX), primary_key=True),
        _number("user"),
        sa.Column("digest", sa.LargeBinary(MARK_BYTES), nullable=False),
        sa.Column("label", sa.LargeBinary, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        _number("created_ms"),
        _number("expires_ms"),
        _number("tokens"),
        _number("revoked_ms", null=True),
        sa.Index("ix_auth_api_keys_user", "user"),
    )


def _secrets(metadata: sa.MetaData) -> sa.Table:
    """The service's own secrets, sealed: the key of marks."""
    return sa.Table(
        "auth_secrets",
        metadata,
        sa.Column("name", sa.String(WORD_CHARS_MAX), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
