"""account_getObjects: all that an account has to do with, of every module, in one list.

A module that keeps lists answers a query `objects(reader, account, after, limit)`: (kind, id)
pairs in an order of its own that never changes, from after one of them. The kernel's are what is
held of, or for, the account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.records import hold_index_key
from clawpurse.ledger.module_api import KERNEL, Registry
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Limit, hex_of

QUERY: Final = "objects"
HOLD: Final = "hold"
# Kinds whose id is an account.
OF_ACCOUNTS: Final = ("multisig", "preauthorisation", "sponsor", "sponsorship")
# module.kind.id, of which the first two are short names.
CURSOR_CHARS_MAX: Final = 256
Json = dict[str, Any]


class Place(NamedTuple):
    """An object within its module."""

    kind: str
    id: bytes


Lister = Callable[[bytes, Place | None, int], Sequence[tuple[str, bytes]]]


class ObjectsParams(Params):
    """Parameters of account_getObjects."""

    account: Account = Field(description="The account, claw1…")
    module: str | None = Field(None, max_length=32, description="Of this module only")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(
        None, max_length=CURSOR_CHARS_MAX, description="nextCursor of the page before"
    )


class ObjectMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "account_getObjects",
                "All that an account has to do with: holds, proposals, session keys, escrows, …",
                self.objects,
                ObjectsParams,
                cost=10,
                result=shapes.AccountObjects,
                result_description=(
                    "account objects[{module kind id account (where the id is one's)}] "
                    "nextCursor|null"
                ),
            ),
        ]

    def objects(self, params: ObjectsParams, _context: Context) -> Json:
        """account_getObjects."""
        state = self._services.chain.reader
        listers = _listers(state, self._services.chain.registry)
        if params.module is not None:
            if params.module not in listers:
                raise Malformed("module", f"is none of {', '.join(listers)}")
            listers = {params.module: listers[params.module]}
        module, after = _place_of(params.cursor, listers)
        found: list[tuple[str, Place]] = []
        for name in list(listers)[list(listers).index(module) :]:
            wanted = params.limit + 1 - len(found)
            try:
                rows = listers[name](params.account, after, wanted)
            except KeyError:
                raise Malformed("cursor", "is not one that this API gave") from None
            found += [(name, Place(*row)) for row in rows]
            after = None
            if len(found) > params.limit:
                break
        page = found[: params.limit]
        more = len(found) > params.limit
        return {
            "account": account_text(params.account),
            "objects": [_object_json(name, place) for name, place in page],
            "nextCursor": _cursor_of(*page[-1]) if more else None,
        }


def _listers(state: StateReader, registry: Registry) -> dict[str, Lister]:
    """Return what lists objects, by module in consensus order; the kernel first."""

    def of_module(name: str) -> Lister:
        return lambda account, after, limit: registry.query(
            state, f"{name}.{QUERY}", account, after, limit
        )

    def of_kernel(account: bytes, after: Place | None, limit: int) -> list[tuple[str, bytes]]:
        if after is not None and after.kind != HOLD:
            raise KeyError(after.kind)
        prefix = hold_index_key(account, b"")
        start = b"" if after is None else hold_index_key(account, after.id)
        rows = state.ordered(KERNEL, prefix, limit, after=start)
        return [(HOLD, key[len(prefix) :]) for key, _ in rows]

    named = [module.name for module in registry.modules if QUERY in module.queries]
    return {KERNEL: of_kernel, **{name: of_module(name) for name in named}}


def _object_json(module: str, place: Place) -> Json:
    shown: Json = {"module": module, "kind": place.kind, "id": hex_of(place.id)}
    if place.kind in OF_ACCOUNTS:
        shown["account"] = account_text(place.id)
    return shown


def _cursor_of(module: str, place: Place) -> str:
    return f"{module}.{place.kind}.{place.id.hex()}"


def _place_of(cursor: str | None, listers: dict[str, Lister]) -> tuple[str, Place | None]:
    """Return the module and the place in it at which a page begins. Raises `Malformed`."""
    if cursor is None:
        return next(iter(listers)), None
    module, _, rest = cursor.partition(".")
    kind, _, hexed = rest.partition(".")
    try:
        place = Place(kind, bytes.fromhex(hexed))
    except ValueError:
        raise Malformed("cursor", "is not one that this API gave") from None
    if module not in listers or len(place.id) != 32:
        raise Malformed("cursor", "is not one that this API gave")
    return module, place
