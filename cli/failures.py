"""From errors to what a person reads, a program parses and a shell tests.

ClawPurseError
└── OperatorError
    ├── UsageFault     exit 2: the command was given wrongly
    ├── Rejected       exit 4: a transaction that was refused; nothing happened
    └── Pending        exit 5: not known yet; ask again, do not send again

One line: what, what happened to the money, and the command that comes next. In JSON:
`{"error": {code, name, reason, class, retryable, hint, next}}`, with `refusals` (which limit, when
it is whole again) where this wallet's guardrails or a session key refuse; `code` is the JSON-RPC
number where there is one (negative), else the exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import click

from clawpurse.ledger.errors import (
    BadSignature,
    CallerError,
    Code,
    Malformed,
    NotFound,
    OperatorError,
    PeerError,
    Refused,
    WrongPassphrase,
)
from clawpurse.modules.kit.web.errors import CONFLICT, RpcError, Unreachable


class Exit(IntEnum):
    """Exit codes: part of the interface, never renumbered."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REJECTED = 4
    PENDING = 5


# The JSON-RPC codes of transactions: what is refused there is refused on the ledger.
_TRANSACTION_CODES: Final = range(-32023, -32009)
_NO_SUCH_METHOD: Final = -32601
_INVALID_PARAMS: Final = -32602
_DEBUG_NEXT: Final = "run it again with --debug"


class UsageFault(OperatorError):
    """The command was given wrongly, or needs an option that only a person can choose."""


class Rejected(OperatorError):
    """The ledger refused, or would refuse. Attributes: `code` names the reason; `refusals` are the
    limits of a session key that it is about, for programs.
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        next_command: str = "",
        *,
        code: Code,
        refusals: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        super().__init__(what, why, next_command)
        self.code = code
        self.refusals = refusals


class Pending(OperatorError):
    """The outcome is not known yet; sending again could pay twice."""


@dataclass(frozen=True)
class Failure:
    """An error as it leaves the process."""

    exit_code: Exit
    reason: str
    next_step: str = ""
    code: int = 0
    name: str = "failed"
    error_class: str = "failed"
    retryable: bool = False
    hint: str = ""
    refusals: tuple[Mapping[str, Any], ...] = ()

    @property
    def line(self) -> str:
        """The one line for people."""
        return f"{self.reason} → {self.next_step}" if self.next_step else self.reason

    def as_json(self) -> dict[str, Any]:
        """The one object for programs."""
        limits = {"refusals": [dict(one) for one in self.refusals]} if self.refusals else {}
        return {
            "error": {
                "code": self.code or int(self.exit_code),
                "name": self.name,
                "reason": self.reason,
                "class": self.error_class,
                "retryable": self.retryable,
                "hint": self.hint or self.next_step,
                "next": self.next_step,
                **limits,
            }
        }


def failure_of(error: BaseException) -> Failure:
    """Return how `error` is told. Anything that is not ours to expect is told as a bug."""
    error = innermost(error)
    match error:
        case click.ClickException():
            return _of_click(error)
        case click.Abort() | KeyboardInterrupt():
            return Failure(Exit.FAILED, "Stopped.", name="stopped")
        case OperatorError():
            return _of_operator(error)
        case CallerError():
            return _of_caller(error)
        case PeerError():
            reason = f"The node's answer cannot be used: {error}"
            return Failure(Exit.FAILED, sentence(reason), "clawpurse doctor", name="badAnswer")
        case RpcError():
            return _of_rpc(error)
        case OSError():
            why = error.strerror or type(error).__name__
            place = f"{error.filename}: " if error.filename else ""
            return Failure(Exit.FAILED, sentence(f"{place}{why}"), _DEBUG_NEXT)
    reason = f"This is a fault of clawpurse itself: {type(error).__name__}: {error}"
    first_line = reason.splitlines()[0]
    return Failure(Exit.FAILED, sentence(first_line), _DEBUG_NEXT, name="bug", error_class="local")


def innermost(error: BaseException) -> BaseException:
    """Return the error that an exception group is about: the first that is not a cancellation."""
    while isinstance(error, BaseExceptionGroup):
        told = [one for one in error.exceptions if not isinstance(one, KeyboardInterrupt)]
        error = (told or list(error.exceptions))[0]
    return error


def sentence(text: str) -> str:
    """Return `text` as a sentence: a capital at its start (names stay), a full stop at its end."""
    text = " ".join(text.split())
    if text and text[-1] not in ".!?…":
        text += "."
    return text


def _of_click(error: click.ClickException) -> Failure:
    context = getattr(error, "ctx", None)
    path = "clawpurse" if context is None else context.command_path
    next_step = f"{path} --help"
    name = getattr(error, "command_name", None)
    possibilities = getattr(error, "possibilities", None) or []
    if name is not None:
        nearest = f"; nearest: {possibilities[0]}" if possibilities else ""
        what = f"No command {name!r} in {path}{nearest}."
        if possibilities:
            next_step = f"{path} {possibilities[0]} --help"
        return Failure(Exit.USAGE, what, next_step, name="usage", error_class="malformed")
    if isinstance(error, click.NoSuchOption):
        nearest = f"; nearest: {possibilities[0]}" if possibilities else ""
        what = f"No option {error.option_name}{nearest}."
        return Failure(Exit.USAGE, what, next_step, name="usage", error_class="malformed")
    what = sentence(error.format_message())
    return Failure(Exit.USAGE, what, next_step, name="usage", error_class="malformed")


def _of_operator(error: OperatorError) -> Failure:
    reason = error.what if not error.why else f"{error.what} {error.why}"
    next_step = error.next_command
    # Here, so that commands which pay nothing do not load what judges payments.
    from clawpurse.wallet.guardrails import GuardrailRefused

    match error:
        case GuardrailRefused():
            return Failure(
                Exit.REJECTED,
                reason,
                next_step,
                name="guardrail",
                error_class="guardrail",
                refusals=tuple(one.data() for one in error.refusals),
            )
        case UsageFault():
            return Failure(Exit.USAGE, reason, next_step, name="usage", error_class="malformed")
        case Rejected():
            number, name = error.code.rpc_code, error.code.label
            limits = error.refusals
            return Failure(Exit.REJECTED, reason, next_step, number, name, refusals=limits)
        case Pending():
            return Failure(
                Exit.PENDING, reason, next_step, name="pending", error_class="retry", retryable=True
            )
        case WrongPassphrase():
            return Failure(Exit.FAILED, reason, next_step, name="wrongPassphrase", retryable=True)
        case Unreachable():
            return _of_unreachable(error)
    return Failure(Exit.FAILED, reason, next_step, error_class="local")


# What OpenSSL says of a certificate that no CA here vouches for.
_UNTRUSTED: Final = "certificate verify failed"


def _of_unreachable(error: Unreachable) -> Failure:
    place = error.url.partition("://")[2].rstrip("/")
    if _UNTRUSTED in error.problem:
        return Failure(
            Exit.UNREACHABLE,
            f"The certificate of {place} is not trusted: {error.problem.rpartition(': ')[2]}.",
            "add --ca FILE with its CA, if it is one of your own",
            name="untrusted",
            error_class="failed",
        )
    return Failure(
        Exit.UNREACHABLE,
        f"No node answers at {place}.",
        "make run, or add --rpc URL",
        name="unreachable",
        error_class="retry",
        retryable=True,
    )


def _of_caller(error: CallerError) -> Failure:
    match error:
        case Malformed():
            return Failure(
                Exit.USAGE,
                sentence(f"{error.field} {error.problem}"),
                code=_INVALID_PARAMS,
                name="malformed",
                error_class="malformed",
            )
        case Refused():
            code = error.code
            return Failure(Exit.REJECTED, sentence(error.reason), "", code.rpc_code, code.label)
        case BadSignature():
            code = error.code
            return Failure(Exit.REJECTED, sentence(error.problem), "", code.rpc_code, code.label)
        case NotFound():
            code = Code.NOT_FOUND
            return Failure(Exit.FAILED, sentence(str(error)), "", code.rpc_code, code.label)
    return Failure(Exit.FAILED, sentence(str(error)))


def _of_rpc(error: RpcError) -> Failure:
    code = error.code
    exit_code = Exit.FAILED
    if code in _TRANSACTION_CODES or code == CONFLICT:
        exit_code = Exit.REJECTED
    elif code in (_NO_SUCH_METHOD, _INVALID_PARAMS):
        exit_code = Exit.USAGE
    name = error.message if code <= -32000 and code > -32600 else _standard_name(error.message)
    return Failure(
        exit_code,
        sentence(error.reason or error.message),
        error.hint,
        code,
        name,
        error.error_class,
        error.retryable,
        error.hint,
    )


def _standard_name(message: str) -> str:
    """`Method not found` → `methodNotFound`: the five codes of JSON-RPC have words as names."""
    head, *rest = message.split() or ["error"]
    return head.lower() + "".join(word.capitalize() for word in rest)
