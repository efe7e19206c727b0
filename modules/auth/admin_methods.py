"""Administration: invitations, locks, service accounts, API keys, the matrix of roles.

Who may is said by a role on the ledger, and proven anew; or is the operator of the machine.
"""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.rules import time_text
from clawpurse.modules.auth import attempts, factors, programs, sessions, signing, throttle, users
from clawpurse.modules.auth.book import Book, user_id
from clawpurse.modules.auth.desk import Desk
from clawpurse.modules.auth.programs import ApiKey
from clawpurse.modules.auth.rights import Rights, check_wanted, role_matrix
from clawpurse.modules.auth.sessions import Ended
from clawpurse.modules.auth.shapes import (
    ApiKeyParams,
    ApiKeysShape,
    CloseParams,
    IdentParams,
    Invitation,
    InviteParams,
    Json,
    ListParams,
    Matrix,
    NewApiKey,
    OfUserParams,
    RotateParams,
    ServiceParams,
    UserParams,
    UserShape,
    UsersShape,
)
from clawpurse.modules.auth.signing_in import SignIn
from clawpurse.modules.auth.users import Sort, State, User
from clawpurse.modules.kit.records.answers import refusals
from clawpurse.modules.kit.service.signin import Done
from clawpurse.modules.kit.web.apikeys import START
from clawpurse.modules.kit.web.errors import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    UNAUTHENTICATED,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams
from clawpurse.modules.kit.web.scopes import Scopes

ROLE: Final = "administrator"
OWN: Final = "user"
DAY_MS: Final = 86_400_000
ALWAYS: Final = ("auth_me", "auth_exchangeApiKey")
"""What every API key reaches, so that it can be turned into a token that nodes take."""

_REFUSALS: Final = (UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT)


_Row = tuple[str, str, Any, Any, Any, str]


class Administration:
    """See the module."""

    def __init__(self, desk: Desk, sign_in: SignIn) -> None:
        self._desk = desk
        self._sign_in = sign_in

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                f"auth_{name}", says, handler, params, result, errors=_REFUSALS, cost=10, role=role
            )
            for name, says, handler, params, result, role in (*self._of_users(), *self._of_keys())
        ]

    def _of_users(self) -> list[_Row]:
        return [
            ("invite", "Invite somebody to register", self.invite, InviteParams, Invitation, ROLE),
            (
                "renewPassword",
                "Let a user choose a new password; the old one and every session end",
                self.renew,
                UserParams,
                Invitation,
                ROLE,
            ),
            (
                "listUsers",
                "Every user, in order of number",
                self.list,
                ListParams,
                UsersShape,
                ROLE,
            ),
            ("lockUser", "Let a user do nothing any more", self.lock, UserParams, UserShape, ROLE),
            (
                "unlockUser",
                "Let a user in again, and forget failed tries",
                self.unlock,
                UserParams,
                UserShape,
                ROLE,
            ),
            (
                "closeUser",
                "End a user for ever, and erase the person if asked to",
                self.close,
                CloseParams,
                UserShape,
                ROLE,
            ),
            (
                "createServiceAccount",
                "A user that is a program: no password, API keys alone",
                self.create_service,
                ServiceParams,
                UserShape,
                ROLE,
            ),
        ]

    def _of_keys(self) -> list[_Row]:
        return [
            (
                "createApiKey",
                "A key for a program: shown once, within what its owner reaches",
                self.create_key,
                ApiKeyParams,
                NewApiKey,
                OWN,
            ),
            ("listApiKeys", "A user's API keys", self.list_keys, OfUserParams, ApiKeysShape, OWN),
            ("revokeApiKey", "End an API key", self.revoke_key, IdentParams, Done, OWN),
            (
                "getRoleMatrix",
                "Which role reaches what: scopes here, actions on the ledger",
                self.matrix,
                NoParams,
                Matrix,
                OWN,
            ),
            (
                "rotateKeys",
                "Replace the signing keys at once: every token ends, sessions go on",
                self.rotate,
                RotateParams,
                Done,
                ROLE,
            ),
        ]

    async def invite(self, params: InviteParams, context: Context) -> Json:
        """auth_invite."""
        caller = await self._desk.administrator(context)

        def run(book: Book) -> Json:
            secret, user = users.invite(book, params.name)
            return _invitation(book, user, secret)

        with refusals():
            return await self._desk.write(run, caller)

    async def renew(self, params: UserParams, context: Context) -> Json:
        """auth_renewPassword."""
        caller = await self._desk.administrator(context)
        number = users.parse_user(params.user)

        def run(book: Book) -> Json:
            user = users.get(book, number)
            secret = users.renew(book, user)
            sessions.end_all(book, number, Ended.RENEWED)
            users.end_tokens(book, number)
            return _invitation(book, user, secret)

        with refusals():
            return await self._desk.write(run, caller)

    async def list(self, params: ListParams, context: Context) -> Json:
        """auth_listUsers."""
        await self._desk.administrator(context, danger=False)
        after = users.parse_user(params.cursor) if params.cursor is not None else 0

        def run(book: Book) -> Json:
            found = users.page(book, after, params.limit + 1)
            shown = found[: params.limit]
            return {
                "users": [_user_json(book, one) for one in shown],
                "nextCursor": shown[-1].id if len(found) > params.limit else None,
            }

        return await self._desk.read(run)

    async def lock(self, params: UserParams, context: Context) -> Json:
        """auth_lockUser."""

        def run(book: Book, user: User) -> None:
            users.move(book, user, State.LOCKED, "locked", params.reason)
            _end_everything(book, user, Ended.LOCKED)

        return await self._change(params.user, context, run)

    async def unlock(self, params: UserParams, context: Context) -> Json:
        """auth_unlockUser. Also for who is not locked, and tried too often."""

        def run(book: Book, user: User) -> None:
            if user.state is State.LOCKED:
                users.move(book, user, State.ACTIVE, "unlocked", params.reason)
            else:
                book.note(user.number, "triesForgotten", {"reason": params.reason})
            throttle.forgive(book, book.mark("factor", user.id))
            name = users.name_of(book, user.number)
            if name is not None:
                throttle.forgive(book, book.mark("tries", users.plain_name(name)))

        return await self._change(params.user, context, run)

    async def close(self, params: CloseParams, context: Context) -> Json:
        """auth_closeUser."""

        def run(book: Book, user: User) -> None:
            if user.state is not State.CLOSED:
                users.move(book, user, State.CLOSED, "closed", params.reason)
            _end_everything(book, user, Ended.ENDED)
            for key in programs.keys_of(book, user.number):
                programs.revoke_key(book, key, "owner closed")
            if params.erase:
                users.forget(book, user)

        return await self._change(params.user, context, run)

    async def create_service(self, params: ServiceParams, context: Context) -> Json:
        """auth_createServiceAccount."""
        caller = await self._desk.administrator(context)
        account = None
        if params.key is not None:
            account = await self._sign_in.proven_account(params.key)

        def run(book: Book) -> Json:
            made = users.create(book, params.name, Sort.SERVICE, State.ACTIVE)
            book.note(made.number, "created")
            if account is not None:
                users.bind(book, made, account)
            return _user_json(book, users.get(book, made.number))

        with refusals():
            return await self._desk.write(run, caller)

    async def create_key(self, params: ApiKeyParams, context: Context) -> Json:
        """auth_createApiKey."""
        owner: User | None
        if params.user is None:
            owner, _, caller = await self._desk.fresh(context)
        else:
            caller = await self._desk.administrator(context)
            number = users.parse_user(params.user)
            owner = await self._desk.read(lambda book: users.get(book, number))
            if owner.kind is not Sort.SERVICE:
                raise RpcError(FORBIDDEN, "keys of persons are made by themselves")
        roles = await self._desk.roles(owner)
        found = check_wanted(self._desk.settings, roles, params.scopes)
        rights = Rights(Scopes(found.scopes.patterns | set(ALWAYS)), found.roles)
        user = owner

        def run(book: Book) -> Json:
            life_ms = params.days * DAY_MS
            key, record = programs.create_key(book, user, params.label, rights, life_ms)
            return {"key": key, "record": _key_json(record)}

        with refusals():
            return await self._desk.write(run, caller)

    async def list_keys(self, params: OfUserParams, context: Context) -> Json:
        """auth_listApiKeys."""
        if params.user is None:
            user, _, _ = await self._desk.person(context)
            number = user.number
        else:
            await self._desk.administrator(context, danger=False)
            number = users.parse_user(params.user)
        found = await self._desk.read(lambda book: programs.keys_of(book, number))
        return {"keys": [_key_json(one) for one in found]}

    async def revoke_key(self, params: IdentParams, context: Context) -> Json:
        """auth_revokeApiKey. One's own, or as an administrator anybody's."""
        caller = await self._desk.caller(context)
        prefix = params.id.removeprefix(START)
        key = await self._desk.read(lambda book: programs.find_key(book, prefix))
        mine = key is not None and caller.user is not None and key.user == caller.user.number
        if not mine:
            await self._desk.administrator(context)
        if key is None:
            return {"changed": False}
        found = key
        ended = await self._desk.write(
            lambda book: programs.revoke_key(book, found, "by hand"), caller
        )
        return {"changed": ended}

    async def matrix(self, _params: object, context: Context) -> Json:
        """auth_getRoleMatrix."""
        await self._desk.caller(context)
        permissions = await self._desk.ledger.permissions()
        return {"rows": role_matrix(self._desk.settings, permissions)}

    async def rotate(self, params: RotateParams, context: Context) -> Json:
        """auth_rotateKeys."""
        caller = await self._desk.administrator(context)

        def run(book: Book) -> None:
            signing.replace_keys(book)
            if caller.user is not None:
                book.note(caller.user.number, "keysReplaced", {"reason": params.reason})

        await self._desk.write(run, caller)
        return {"changed": True}

    async def _change(self, user: str, context: Context, run: Any) -> Json:
        caller = await self._desk.administrator(context)
        number = users.parse_user(user)

        def within(book: Book) -> Json:
            run(book, users.get(book, number))
            return _user_json(book, users.get(book, number))

        with refusals():
            return await self._desk.write(within, caller)


def _end_everything(book: Book, user: User, reason: Ended) -> None:
    sessions.end_all(book, user.number, reason)
    users.end_tokens(book, user.number)
    attempts.end_of_user(book, user.number)


def _invitation(book: Book, user: User, secret: str) -> Json:
    until_ms = book.now_ms + book.settings.invitation_ms
    return {"user": user.id, "invitation": secret, "expires": time_text(until_ms)}


def _user_json(book: Book, user: User) -> Json:
    return {
        "id": user.id,
        "name": users.name_of(book, user.number),
        "kind": user.kind.value,
        "state": user.state.value,
        "account": user.account,
        "created": time_text(user.created_ms),
        "changed": time_text(user.changed_ms),
        "factors": list(factors.of_user(book, user.number)),
    }


def _key_json(key: ApiKey) -> Json:
    return {
        "id": START + key.prefix,
        "user": user_id(key.user),
        "label": key.label,
        "scopes": key.scopes.split(),
        "roles": list(key.roles),
        "created": time_text(key.created_ms),
        "expires": time_text(key.expires_ms),
        "revoked": None if key.revoked_ms is None else time_text(key.revoked_ms),
    }
