"""Errors of the web layer and the table of JSON-RPC error codes.

ClawPurseError
├── RpcError          an answer of JSON-RPC kind "error": code, reason, class, retryable, hint
├── OperatorError
│   └── Unreachable   no answer from the other side; `sent` says whether it may have acted
└── PeerError
    └── BadAnswer     an answer came, but it is not HTTP, not JSON-RPC, or not to our question

The table is the one source of names, classes and hints; `data` of every error object has
`reason`, `class`, `retryable` and `hint`. Classes: `malformed` (mend the request), `failed`
(well-formed, but refused), `local` (this node cannot; another may), `retry` (not now).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from clawpurse.ledger.errors import (
    BadSignature,
    CallerError,
    ClawPurseError,
    Code,
    Malformed,
    NotFound,
    OperatorError,
    PeerError,
    Pruned,
    Refused,
)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_FOUND = -32001
PRUNED = -32002
SYNCING = -32003
LIMIT_EXCEEDED = -32004
RATE_LIMITED = -32005
UNAUTHENTICATED = -32006
FORBIDDEN = -32007
TIMEOUT = -32008
METHOD_DISABLED = -32009
BAD_CONFIGURATION = -32024
KEY_LOCKED = -32025
WRONG_PASSPHRASE = -32026
GUARDRAIL_REFUSED = -32027
CONFIRMATION_REQUIRED = -32028
WALLET_REFUSED = -32029
NODE_UNREACHABLE = -32030
STORAGE_FAULT = -32031
CONFLICT = -32032


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the code table: what a code means to programs and people."""

    code: int
    message: str
    error_class: str
    retryable: bool
    hint: str


_ROWS = (
    # The five of the JSON-RPC 2.0 specification, with its own words as message.
    (PARSE_ERROR, "Parse error", "malformed", False, "send one JSON value in UTF-8"),
    (
        INVALID_REQUEST,
        "Invalid Request",
        "malformed",
        False,
        'send {"jsonrpc": "2.0", "id": 1, "method": "…", "params": {…}}',
    ),
    (METHOD_NOT_FOUND, "Method not found", "malformed", False, "rpc_discover lists all methods"),
    (INVALID_PARAMS, "Invalid params", "malformed", False, "rpc_discover describes the parameters"),
    (
        INTERNAL_ERROR,
        "Internal error",
        "local",
        False,
        "give the incident id to the operator of this node",
    ),
    # Ours.
    (NOT_FOUND, "notFound", "failed", False, "check the id, and that this is the right network"),
    (PRUNED, "pruned", "local", False, "ask a node that keeps more history"),
    (SYNCING, "syncing", "retry", True, "wait until the node has caught up, or ask another"),
    (LIMIT_EXCEEDED, "limitExceeded", "failed", False, "ask for less at once"),
    (RATE_LIMITED, "rateLimited", "retry", True, "wait for retryAfterMs, then try again"),
    (UNAUTHENTICATED, "unauthenticated", "failed", False, "send Authorization: Bearer <token>"),
    (FORBIDDEN, "forbidden", "failed", False, "use a token whose scopes reach the method"),
    (TIMEOUT, "timeout", "retry", True, "ask what became of it before you send it again"),
    (METHOD_DISABLED, "methodDisabled", "local", False, "ask a node that offers the method"),
    # Transactions: the numbers and names are those of receipts.
    (Code.MALFORMED, "", "malformed", False, "build the transaction anew"),
    (Code.BAD_SIGNATURE, "", "malformed", False, "sign the transaction anew"),
    (Code.SEQUENCE_LOW, "", "failed", False, "take the next sequence and sign again"),
    (Code.SEQUENCE_GAP, "", "retry", True, "send the earlier transactions of the lane first"),
    (Code.EXPIRED, "", "failed", False, "sign again with a later expiry"),
    (Code.INSUFFICIENT_FUNDS, "", "failed", False, "lower the amount or fund the account"),
    (Code.DUPLICATE, "", "failed", False, "ask what became of the first one"),
    (Code.POOL_FULL, "", "retry", True, "try again shortly, or raise the fee"),
    (Code.FROZEN, "", "failed", False, "ask the issuer or the compliance officer"),
    (Code.NOT_AUTHORISED, "", "failed", False, "use a key that has the role"),
    (Code.POLICY_REJECTED, "", "failed", False, "tx_simulate shows the rule that refuses it"),
    (Code.APPROVAL_REQUIRED, "", "failed", False, "collect the missing approvals"),
    (Code.WRONG_CHAIN, "", "malformed", False, "use the genesis hash of this network"),
    (Code.QUOTA_EXCEEDED, "", "retry", True, "wait for the next quota window"),
    # Added later; numbers are never given twice.
    (
        BAD_CONFIGURATION,
        "badConfiguration",
        "local",
        False,
        "mend the node's configuration: clawpurse config validate",
    ),
    # Of the wallet service.
    (KEY_LOCKED, "keyLocked", "failed", False, "unlock the key: wallet_unlock"),
    (
        WRONG_PASSPHRASE,
        "wrongPassphrase",
        "failed",
        False,
        "type it again, not before retryAfterMs",
    ),
    (
        GUARDRAIL_REFUSED,
        "guardrailRefused",
        "failed",
        False,
        "ask for less, or wait until resetsAt where it is given",
    ),
    (
        CONFIRMATION_REQUIRED,
        "confirmationRequired",
        "failed",
        False,
        "have a person approve the request at url, then ask with the same idempotencyKey",
    ),
    (WALLET_REFUSED, "walletRefused", "failed", False, "the reason says what to mend"),
    (NODE_UNREACHABLE, "nodeUnreachable", "retry", True, "call again when a node answers"),
    (STORAGE_FAULT, "storageFault", "local", False, "look after the disk of the wallet's home"),
    # Of services' records.
    (CONFLICT, "conflict", "failed", False, "look at the record as it is now, then decide anew"),
)


def _kinds() -> dict[int, ErrorKind]:
    kinds = {}
    for number, message, error_class, retryable, hint in _ROWS:
        code = number.rpc_code if isinstance(number, Code) else int(number)
        label = number.label if isinstance(number, Code) else message
        kinds[code] = ErrorKind(code, label, error_class, retryable, hint)
    return kinds


ERROR_KINDS = MappingProxyType(_kinds())
"""Every published code → its row, in the order of the documentation."""

_UNLISTED = ErrorKind(0, "error", "failed", False, "")


class RpcError(ClawPurseError):
    """A JSON-RPC error object, raised by handlers and by the client alike.

    Attributes: `code`; `message` (the code's published name); `reason` (one sentence of
    facts); `error_class`; `retryable`; `hint` (what to do next); `facts` (further members of
    `data`, JSON values). What is left out comes from the code table.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        *,
        message: str | None = None,
        error_class: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        kind = ERROR_KINDS.get(code, _UNLISTED)
        self.code = code
        self.message = kind.message if message is None else message
        self.reason = reason
        self.error_class = kind.error_class if error_class is None else error_class
        self.retryable = kind.retryable if retryable is None else retryable
        self.hint = kind.hint if hint is None else hint
        self.facts = facts or {}
        super().__init__(f"{self.message}: {reason}" if reason else self.message)

    def as_object(self) -> dict[str, Any]:
        """The `error` member of an answer."""
        data = {
            "reason": self.reason,
            "class": self.error_class,
            "retryable": self.retryable,
            "hint": self.hint,
        }
        # Facts never hide the four members that are always there.
        data.update((name, fact) for name, fact in self.facts.items() if name not in data)
        return {"code": self.code, "message": self.message, "data": data}

    @classmethod
    def from_object(cls, error: object) -> RpcError:
        """Read an error object that any server sent; missing members get the table's values."""
        if not isinstance(error, dict) or type(error.get("code")) is not int:
            raise BadAnswer("the error object has no integer code")
        data = error.get("data")
        facts = dict(data) if isinstance(data, dict) else {}
        if data is not None and not isinstance(data, dict):
            facts["data"] = data
        message = error.get("message")
        reason = facts.pop("reason", None)
        error_class = facts.pop("class", None)
        retryable = facts.pop("retryable", None)
        hint = facts.pop("hint", None)
        return cls(
            error["code"],
            reason if isinstance(reason, str) else "",
            message=message if isinstance(message, str) else None,
            error_class=error_class if isinstance(error_class, str) else None,
            retryable=retryable if isinstance(retryable, bool) else None,
            hint=hint if isinstance(hint, str) else None,
            facts=facts,
        )


def rate_limited(wait_s: float) -> RpcError:
    """The error that tells a client when its budget allows the next call."""
    wait_ms = math.ceil(wait_s * 1000)
    reason = f"the budget of this client is spent for {wait_ms} ms"
    return RpcError(RATE_LIMITED, reason, facts={"retryAfterMs": wait_ms})


class Unreachable(OperatorError):
    """No answer from the other side in time.

    Attributes: `url`, `problem`, and `sent`: True when the request had left, so that it may
    have been carried out; ask before sending it again.
    """

    def __init__(self, url: str, problem: str, *, sent: bool) -> None:
        super().__init__(f"{url} does not answer:", problem)
        self.url = url
        self.problem = problem
        self.sent = sent


class BadAnswer(PeerError):
    """The other side answered with something that is not the protocol. Attributes: `problem`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def as_rpc_error(
    error: BaseException,
    *,
    malformed_code: int = INVALID_PARAMS,
    wording: Callable[[Refused], str] | None = None,
) -> RpcError | None:
    """The answer for an error that is the caller's, or None for a fault of ours.

    `malformed_code` is what `Malformed` means to the method: its parameters (-32602), or,
    for methods that take a transaction, that transaction (-32010). `wording` says a refusal
    better than it does itself, as who knows the decimals of assets can.
    """
    match error:
        case RpcError():
            return error
        case BaseExceptionGroup() if len(error.exceptions) == 1:
            # A handler with a nursery of its own: the group is only wrapping.
            first = error.exceptions[0]
            return as_rpc_error(first, malformed_code=malformed_code, wording=wording)
        case Malformed():
            field = {"field": error.field}
            return RpcError(malformed_code, f"{error.field}: {error.problem}", facts=field)
        case BadSignature():
            return RpcError(error.code.rpc_code, error.problem)
        case Refused():
            facts = {"rule": error.rule, "facts": [_plain(fact) for fact in error.wire_facts]}
            reason = error.reason if wording is None else wording(error)
            return RpcError(error.code.rpc_code, reason, facts=facts)
        case Pruned():
            return RpcError(PRUNED, str(error), facts={"floor": error.floor})
        case NotFound():
            return RpcError(NOT_FOUND, str(error))
        case CallerError():
            return RpcError(INVALID_PARAMS, str(error))
    return None


def _plain(fact: object) -> object:
    """A fact of a receipt as JSON: bytes in hexadecimal, everything else as it is or as text."""
    if isinstance(fact, bytes):
        return "0x" + fact.hex()
    return fact if isinstance(fact, str | int) or fact is None else str(fact)
