"""session_*, sponsorship_*: which keys may act within limits, who pays whose fees, what is left.

"Today" is the day (UTC) of the next block: what a transaction that is sent now is judged by.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.kernel.entitlements import (
    Cap,
    Entitlements,
    Session,
    Sponsorship,
    day_end_ms,
    day_of,
)
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.modules.accounts.sessions import accounts_of_key, lanes_of
from clawpurse.modules.accounts.sponsorship import sponsors_of
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import payment_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Hash, Limit, hex_of, memo_text, octets

# An account or key, in hexadecimal, after which a page goes on.
CURSOR_CHARS_MAX: Final = 66
ID_BYTES: Final = 32
Json = dict[str, Any]


def _cursor(value: Any) -> bytes:
    data = octets(value)
    if len(data) != ID_BYTES:
        raise ValueError("is not one that this API gave")
    return data


Cursor = Annotated[
    bytes | None,
    BeforeValidator(lambda value: None if value is None else _cursor(value)),
    WithJsonSchema({"type": ["string", "null"], "maxLength": CURSOR_CHARS_MAX}),
]


class SessionParams(Params):
    """Parameters of session_get."""

    account: Account = Field(description="Whose session it is")
    key: Hash = Field(description="The session key, 0x…")


class SessionListParams(Params):
    """Parameters of session_list."""

    account: Account | None = Field(None, description="List the session keys of this account")
    key: Hash | None = Field(None, description="List the accounts that this key may act for")
    limit: Limit = Field(50, description="At most so many")
    cursor: Cursor = Field(None, description="nextCursor of the page before")


class SponsorshipListParams(Params):
    """Parameters of sponsorship_list."""

    sponsor: Account | None = Field(None, description="List whose fees this account pays")
    account: Account | None = Field(None, description="List who pays this account's fees")
    limit: Limit = Field(50, description="At most so many")
    cursor: Cursor = Field(None, description="nextCursor of the page before")


class SessionMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        shape = (
            "account key label expires lanes[] actions[] caps[{asset decimals perTransaction "
            "perDay spentToday leftToday}] recipients[] memo memoText|null memoRequired dayEnds"
        )
        return [
            Method(
                "session_get",
                "What a session key may do for an account, took today, and has left",
                self.get,
                SessionParams,
                errors=(NOT_FOUND,),
                cost=2,
                result=payment_shapes.Session,
                result_description=shape,
            ),
            Method(
                "session_list",
                "The session keys of an account, or the sessions of a key",
                self.sessions,
                SessionListParams,
                cost=20,
                result=payment_shapes.Sessions,
                result_description=f"sessions[{{{shape}}}] nextCursor|null",
            ),
            Method(
                "sponsorship_list",
                "Whose fees an account pays unasked, or who pays its fees, and what is left",
                self.sponsorships,
                SponsorshipListParams,
                cost=20,
                result=payment_shapes.Sponsorships,
                result_description=(
                    "sponsorships[{sponsor account expires asset decimals perTransaction perDay "
                    "spentToday leftToday left actions[]|null dayEnds}] nextCursor|null"
                ),
            ),
        ]

    @property
    def _entitlements(self) -> Entitlements:
        return Entitlements(Overlay(self._services.chain.reader))

    def get(self, params: SessionParams, _context: Context) -> Json:
        """session_get."""
        session = self._entitlements.session(params.account, params.key)
        if session is None:
            raise NotFound(f"session key {hex_of(params.key)} of {account_text(params.account)}")
        return self._session(params.account, params.key, session)

    def sessions(self, params: SessionListParams, _context: Context) -> Json:
        """session_list."""
        if (params.account is None) == (params.key is None):
            raise Malformed("account", "or key is asked for, and not both")
        if params.account is not None:
            return self._page_of_account(params.account, params.limit, params.cursor or b"")
        assert params.key is not None
        entitlements, reader = self._entitlements, self._services.chain.reader
        accounts = accounts_of_key(reader, params.key, params.limit + 1, params.cursor or b"")
        shown = []
        for account in accounts[: params.limit]:
            session = entitlements.session(account, params.key)
            if session is not None:
                shown.append(self._session(account, params.key, session))
        return {"sessions": shown, "nextCursor": _next(accounts, params.limit)}

    def _page_of_account(self, account: bytes, limit: int, after: bytes) -> Json:
        rows = sorted(row for row in self._entitlements.sessions(account) if row[0] > after)
        return {
            "sessions": [self._session(account, *row) for row in rows[:limit]],
            "nextCursor": _next([key for key, _ in rows], limit),
        }

    def of_account(self, account: bytes) -> list[Json]:
        """Return all sessions of an account, which has 32 at most."""
        return [self._session(account, *row) for row in self._entitlements.sessions(account)]

    def sponsorships(self, params: SponsorshipListParams, _context: Context) -> Json:
        """sponsorship_list."""
        if (params.sponsor is None) == (params.account is None):
            raise Malformed("sponsor", "or account is asked for, and not both")
        entitlements, after = self._entitlements, params.cursor or b""
        if params.sponsor is not None:
            rows = entitlements.sponsorships(params.sponsor, params.limit + 1, after)
            shown = [
                self._sponsorship(params.sponsor, account, terms)
                for account, terms in rows[: params.limit]
            ]
            ids = [account for account, _ in rows]
            return {"sponsorships": shown, "nextCursor": _next(ids, params.limit)}
        assert params.account is not None
        reader = self._services.chain.reader
        sponsors = sponsors_of(reader, params.account, params.limit + 1, after)
        shown = []
        for sponsor in sponsors[: params.limit]:
            terms = entitlements.sponsorship(sponsor, params.account)
            if terms is not None:
                shown.append(self._sponsorship(sponsor, params.account, terms))
        return {"sponsorships": shown, "nextCursor": _next(sponsors, params.limit)}

    # -- JSON

    def _next_ms(self) -> int:
        """Return by which time the next block would judge."""
        services = self._services
        return max(services.clock.now_ms(), services.chain.tip.time_ms + 1)

    def _session(self, account: bytes, key: bytes, session: Session) -> Json:
        now_ms = self._next_ms()
        spent = self._entitlements.spent(account, key)
        today = dict(spent.amounts) if spent is not None and spent.day == day_of(now_ms) else {}
        return {
            "account": account_text(account),
            "key": hex_of(key),
            "label": session.label,
            "expires": time_text(session.expires_ms),
            "lanes": lanes_of(session.lanes),
            "actions": list(session.actions),
            "caps": [self._cap(cap, today.get(cap.asset, 0)) for cap in session.caps],
            "recipients": [account_text(one) for one in session.recipients],
            "memo": hex_of(session.memo),
            "memoText": memo_text(session.memo),
            "memoRequired": bool(session.memo_required),
            "dayEnds": time_text(day_end_ms(now_ms)),
        }

    def _cap(self, cap: Cap, spent: int) -> Json:
        return {
            "asset": cap.asset,
            "decimals": self._services.decimals_of(cap.asset),
            "perTransaction": str(cap.per_transaction),
            "perDay": str(cap.per_day),
            "spentToday": str(spent),
            "leftToday": str(max(0, cap.per_day - spent)),
        }

    def _sponsorship(self, sponsor: bytes, account: bytes, terms: Sponsorship) -> Json:
        now_ms = self._next_ms()
        spent = terms.spent_on(day_of(now_ms))
        return {
            "sponsor": account_text(sponsor),
            "account": account_text(account),
            "expires": time_text(terms.expires_ms),
            "asset": NATIVE_ASSET,
            "decimals": self._services.decimals_of(NATIVE_ASSET),
            "perTransaction": str(terms.per_transaction),
            "perDay": str(terms.per_day),
            "spentToday": str(spent),
            "leftToday": str(min(terms.per_day - spent, terms.total)),
            "left": str(terms.total),
            "actions": list(terms.actions) or None,
            "dayEnds": time_text(day_end_ms(now_ms)),
        }


def _next(ids: list[bytes], limit: int) -> str | None:
    """Return the cursor of the page after this one, None when there is no more."""
    return hex_of(ids[limit - 1]) if len(ids) > limit else None
