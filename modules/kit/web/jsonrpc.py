"""JSON-RPC 2.0: definitions of methods, and the dispatcher that answers messages with them.

One `Method` is the one source of a method: its model validates the parameters, its handler
answers, and OpenRPC document and reference are made from it (`openrpc.py`). The dispatcher
knows no transport: text in, text out. A message is answered at once when its handler is a
plain function; otherwise `answer` returns a `Pending` to be run.

Numbers in the text below are sections of the JSON-RPC 2.0 specification.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json, to_json

from clawpurse.ledger.errors import Code, Refused
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RATE_LIMITED,
    TIMEOUT,
    UNAUTHENTICATED,
    RpcError,
    as_rpc_error,
)
from clawpurse.modules.kit.web.guard import Budgets, RefusalLog
from clawpurse.modules.kit.web.limits import Limits, seconds

BATCH_SLICE_CALLS: Final = 32
BATCH_SLICE_BYTES: Final = 256 * 1024
"""Calls, and bytes of answers, between two turns of the loop: about 1 ms of cheap ones."""

WAITING_CALL_BYTES: Final = 16 * 1024
"""What a waiting call costs while it waits: a task with its stack and parameters."""

SMALL_REPLY_BYTES: Final = 512
"""Answers that are given even in a full batch: replacing them by an error saves nothing."""

HOLD_FROM_BYTES: Final = 16 * 1024
"""Smaller answers are not worth counting while a batch runs."""

ID_BYTES_MAX: Final = 1024
"""An id comes back with every answer; nobody needs more than a UUID or a counter."""

NAME_SHOWN_MAX: Final = 64
"""How much of an unknown method's name an answer repeats and a search compares."""

PROBLEMS_MAX: Final = 64
"""Wrong values of one call that are still worth describing."""

_ABSENT: Final = object()
_NO_METHOD: Final = b'"code":%d' % METHOD_NOT_FOUND


class Params(BaseModel):
    """Base of parameter models: strict types, camelCase on the wire, unknown names refused.

    Positional parameters are accepted in the order of the fields.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        # Tells validation apart from serving: an answer never quotes the input.
        hide_input_in_errors=True,
    )


class NoParams(Params):
    """For methods without parameters."""


class RawJson:
    """A result that is JSON already, such as a cached document."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls: `client` (budget key), `peer` (for logs), `roles` of its token, whether it
    was `authenticated`, and the `connection` that events can be pushed to (WebSocket only).
    """

    client: str = "local"
    peer: str = "local"
    roles: frozenset[str] = frozenset()
    authenticated: bool = False
    connection: Any = None

    def with_connection(self, connection: Any) -> Context:
        """The same caller on a connection that can be pushed to."""
        return replace(self, connection=connection)


Handler = Callable[[Any, Context], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `handler(params, context)` returns a JSON value, or is async and returns one.

    A plain function must be quick (well under 1 ms): it runs on the loop without a deadline.
    `result` is a type, or a JSON schema as a mapping. `errors` are codes beside the general
    ones. `cost` is in budget units. `role`: the token needs it; empty means anyone.
    `waits`: the call waits for an event, so later ones of its batch or WebSocket overtake it.
    `takes_transaction`: `Malformed` is about the transaction (-32010), not the parameters.
    """

    name: str
    summary: str
    handler: Handler
    params: type[BaseModel] = NoParams
    result: Any = Any
    result_name: str = "result"
    errors: tuple[int, ...] = ()
    cost: int = 1
    role: str = ""
    deadline_ms: int = 30_000
    waits: bool = False
    takes_transaction: bool = False
    description: str = ""
    result_description: str = ""


class _Entry:
    """A method, compiled for the hot path."""

    __slots__ = (
        "call",
        "cost",
        "deadline_s",
        "fields",
        "is_async",
        "malformed_code",
        "name",
        "role",
        "validate",
        "waits",
    )

    def __init__(self, method: Method) -> None:
        self.name = method.name
        self.call = method.handler
        self.is_async = inspect.iscoroutinefunction(method.handler)
        self.validate = method.params.__pydantic_validator__.validate_python
        self.fields = tuple(
            field.alias or name for name, field in method.params.model_fields.items()
        )
        self.cost = method.cost
        self.role = method.role
        self.deadline_s = seconds(method.deadline_ms)
        self.waits = method.waits
        self.malformed_code = (
            Code.MALFORMED.rpc_code if method.takes_transaction else INVALID_PARAMS
        )


class _Call:
    """A validated call whose handler is async."""

    __slots__ = ("entry", "ident", "params")

    def __init__(self, entry: _Entry, params: Any, ident: Any) -> None:
        self.entry = entry
        self.params = params
        self.ident = ident


Hold = Callable[[int], bool]
"""Told a number of bytes that are held; False when that is too much."""


class Pending:
    """An answer that takes time. `await run()` gives it (None: nothing to send); run it once.

    `waits`: it waits for an event, so the caller should not keep other work behind it.
    """

    __slots__ = ("_run", "refusal", "waits")

    def __init__(
        self,
        run: Callable[[Hold], Awaitable[bytes | None]],
        refusal: Callable[[RpcError], bytes | None],
        *,
        waits: bool,
    ) -> None:
        self._run = run
        self.refusal = refusal
        self.waits = waits

    async def run(self, hold: Hold = lambda _size: True) -> bytes | None:
        """Run the call or calls. Deadlines are the methods'. Cancellation abandons them.

        `hold` is told how many bytes the answers take so far; when it returns False the
        remaining calls of a batch are answered with limitExceeded.
        """
        return await self._run(hold)


class _Batch:
    """A batch while it runs: what was answered, what waits, and how much that takes."""

    __slots__ = (
        "_hold",
        "_size_max",
        "full",
        "items",
        "next_index",
        "replies",
        "size",
        "suggest",
        "waiting",
    )

    def __init__(self, items: list[Any], size_max: int, hold: Hold) -> None:
        self.items = items
        self.replies: list[bytes | None] = [None] * len(items)
        self.waiting: list[tuple[int, _Call]] = []
        self.next_index = 0
        self.suggest = True
        self.full = False
        self.size = 0
        self._size_max = size_max
        self._hold = hold

    def keep(self, index: int, reply: bytes | None) -> None:
        """Note an answer, or, when there is no room for it, that it is too large."""
        if reply is not None:
            fits = self.grow(len(reply))
            self.replies[index] = reply if fits else _too_large(self.items[index])

    def grow(self, size: int) -> bool:
        """Count bytes; `full`, and False, once they are too many, here or for the server."""
        grown = self.size + size
        if grown > HOLD_FROM_BYTES and not self.full:
            self.full = grown > self._size_max or not self._hold(grown)
        if not self.full:
            self.size = grown
        return not self.full or size <= SMALL_REPLY_BYTES


Observer = Callable[[str, float, int], None]
"""Told (method, seconds, code or 0) of each call, for metrics; names are registered ones."""


class Dispatcher:
    """Answers JSON-RPC messages with a set of methods.

    `observer` is told of every call. `on_fault` is told of every error that is ours (after
    it was logged), so that the host can decide to stop. Both must be quick and not raise.
    `wording` is `as_rpc_error`'s.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        *,
        log: RefusalLog,
        limits: Limits | None = None,
        budgets: Budgets | None = None,
        observer: Observer | None = None,
        on_fault: Callable[[BaseException], None] | None = None,
        wording: Callable[[Refused], str] | None = None,
    ) -> None:
        self._wording = wording
        self._limits = limits or Limits()
        self._log = log
        self.budgets = budgets
        self._observer = observer
        self._on_fault = on_fault
        # Fair, so that a large batch cannot keep small ones from their turn.
        self._turn = trio.StrictFIFOLock()
        self.methods: Mapping[str, Method] = _by_name(methods)
        self._entries = {name: _Entry(method) for name, method in self.methods.items()}

    def answer(self, message: bytes | str, context: Context) -> bytes | Pending | None:
        """Answer one message: a request, a notification, or a batch (§4, §6).

        Returns the answer's bytes, None when there is nothing to answer (notifications), or a
        Pending. Never raises: errors of the caller and of handlers are answers.
        """
        if len(message) > self._limits.json_values_max and self._is_dense(message):
            reason = f"a message has at most {self._limits.json_values_max} values"
            return encode_error(None, RpcError(LIMIT_EXCEEDED, reason))
        try:
            value = from_json(message, allow_inf_nan=False)
        except ValueError as error:
            if self.budgets is not None:
                self.budgets.charge(context.client, 1)
            return encode_error(None, RpcError(PARSE_ERROR, f"not JSON: {error}"))
        if type(value) is list:
            return self._begin_batch(value, context)
        reply = self._begin(value, context)
        if not isinstance(reply, _Call):
            return reply
        call = reply
        return Pending(
            lambda _hold: self._finish(call, context),
            lambda error: self._refused(call.ident, error),
            waits=call.entry.waits,
        )

    def _is_dense(self, message: bytes | str) -> bool:
        """Whether a message may hold too many values; counts marks, also those in strings."""
        if isinstance(message, str):
            marks = message.count(",") + message.count("[") + message.count("{")
        else:
            marks = message.count(b",") + message.count(b"[") + message.count(b"{")
        return marks > self._limits.json_values_max

    def _begin(
        self, message: Any, context: Context, *, suggest: bool = True
    ) -> bytes | _Call | None:
        """Check one request object and, if its handler is a plain function, run it."""
        if type(message) is not dict:
            return encode_error(None, RpcError(INVALID_REQUEST, "a request is a JSON object"))
        ident = message.get("id", _ABSENT)
        if ident is not _ABSENT and not _id_is_good(ident):
            reason = "id is a string, a number or null"
            return encode_error(None, RpcError(INVALID_REQUEST, reason))
        name = message.get("method")
        params = message.get("params", _ABSENT)
        if (
            type(name) is not str
            or message.get("jsonrpc") != "2.0"
            or (type(params) is not dict and type(params) is not list and params is not _ABSENT)
        ):
            # Without an id this is no notification either, so it is answered (§4.1, §5).
            return encode_error(_or_null(ident), RpcError(INVALID_REQUEST, _what_is_wrong(message)))
        entry = self._entries.get(name)
        if self.budgets is not None:
            wait_s = self.budgets.charge(context.client, entry.cost if entry else 1)
            if wait_s:
                return self._refused(ident, rate_limited(wait_s))
        if entry is None:
            return self._refused(ident, self._unknown(name, suggest=suggest))
        if entry.role and entry.role not in context.roles:
            return self._refused(ident, _forbidden(entry, context))
        try:
            value = entry.validate(_named(entry, params))
        except ValidationError as error:
            return self._refused(ident, _invalid_params(entry, error))
        except RpcError as error:
            return self._refused(ident, error)
        if entry.is_async:
            return _Call(entry, value, ident)
        started = trio.current_time() if self._observer is not None else 0.0
        try:
            result = entry.call(value, context)
        except Exception as error:
            return self._failed(entry, ident, error, context, started)
        return self._succeeded(entry, ident, result, context, started)

    async def _finish(self, call: _Call, context: Context) -> bytes | None:
        """Run an async handler within its method's deadline."""
        entry = call.entry
        started = trio.current_time()
        with trio.move_on_after(entry.deadline_s):
            try:
                result = await entry.call(call.params, context)
            except Exception as error:
                return self._failed(entry, call.ident, error, context, started)
            return self._succeeded(entry, call.ident, result, context, started)
        late = RpcError(TIMEOUT, f"{entry.name} took longer than {entry.deadline_s:g} s")
        return self._failed(entry, call.ident, late, context, started)

    def _begin_batch(self, items: list[Any], context: Context) -> bytes | Pending:
        if not items:
            return encode_error(None, RpcError(INVALID_REQUEST, "a batch has at least one call"))
        if len(items) > self._limits.batch_calls_max:
            reason = f"a batch has at most {self._limits.batch_calls_max} calls"
            return encode_error(None, RpcError(LIMIT_EXCEEDED, reason))
        return Pending(
            lambda hold: self._run_batch(items, context, hold),
            lambda error: encode_error(None, error),
            waits=False,
        )

    async def _run_batch(self, items: list[Any], context: Context, hold: Hold) -> bytes | None:
        """Run a batch in its order; calls that wait for events run beside each other at its end.

        Answers stand in the order of their calls. Of all batches one slice runs at a time,
        then the loop has its turn: slices of many batches side by side would add up.
        """
        batch = _Batch(items, self._limits.response_bytes_max, hold)
        while batch.next_index < len(items):
            async with self._turn:
                started = self._run_slice(batch, context)
            if started is not None:
                index, call = started
                batch.keep(index, await self._finish(call, context))
        if batch.waiting:
            async with trio.open_nursery() as nursery:
                for index, call in batch.waiting:
                    nursery.start_soon(self._fill, batch, index, call, context)
        answers = [reply for reply in batch.replies if reply is not None]
        return b"[" + b",".join(answers) + b"]" if answers else None

    def _run_slice(self, batch: _Batch, context: Context) -> tuple[int, _Call] | None:
        """Run calls until the slice is used up, or up to one whose handler is async."""
        size_end = batch.size + BATCH_SLICE_BYTES
        index_end = min(batch.next_index + BATCH_SLICE_CALLS, len(batch.items))
        while batch.next_index < index_end and batch.size < size_end:
            index, item = batch.next_index, batch.items[batch.next_index]
            batch.next_index += 1
            if batch.full:
                batch.replies[index] = _too_large(item)
                continue
            reply = self._begin(item, context, suggest=batch.suggest)
            if isinstance(reply, _Call):
                if not reply.entry.waits:
                    return index, reply
                batch.waiting.append((index, reply))
                batch.grow(WAITING_CALL_BYTES)
                continue
            if batch.suggest and reply is not None and _NO_METHOD in reply:
                # Looking for a near name takes a millisecond: once a batch is enough.
                batch.suggest = False
            batch.keep(index, reply)
        return None

    async def _fill(self, batch: _Batch, index: int, call: _Call, context: Context) -> None:
        batch.keep(index, await self._finish(call, context))

    def _succeeded(
        self, entry: _Entry, ident: Any, result: Any, context: Context, started: float
    ) -> bytes | None:
        if ident is _ABSENT:
            reply: bytes | None = None
        else:
            try:
                reply = encode_result(ident, result)
            except Exception as error:  # a result that is not JSON is our fault, whatever it is
                return self._failed(entry, ident, error, context, started)
        if self._observer is not None:
            self._observer(entry.name, trio.current_time() - started, 0)
        return reply

    def _failed(
        self, entry: _Entry, ident: Any, error: Exception, context: Context, started: float
    ) -> bytes | None:
        """Answer an exception: the caller's errors by their code, ours by an incident id."""
        answer = as_rpc_error(error, malformed_code=entry.malformed_code, wording=self._wording)
        if answer is None:
            incident = self._log.incident(error, entry.name, context.peer)
            reason = f"this node failed; incident {incident}"
            answer = RpcError(INTERNAL_ERROR, reason, facts={"incident": incident})
            if self._on_fault is not None:
                self._on_fault(error)
        if self._observer is not None:
            self._observer(entry.name, trio.current_time() - started, answer.code)
        return self._refused(ident, answer)

    @staticmethod
    def _refused(ident: Any, error: RpcError) -> bytes | None:
        """The error answer to a request; nothing for a notification (§4.1)."""
        return None if ident is _ABSENT else encode_error(ident, error)

    def _unknown(self, name: str, *, suggest: bool) -> RpcError:
        shown = name[:NAME_SHOWN_MAX]
        near = difflib.get_close_matches(shown, self._entries, n=1) if suggest else []
        hint = f"did you mean {near[0]}?" if near else None
        facts = {"suggestion": near[0]} if near else None
        return RpcError(METHOD_NOT_FOUND, f"there is no method {shown}", hint=hint, facts=facts)


def encode_result(ident: Any, result: Any) -> bytes:
    """A success answer. Raises when `result` is not a JSON value."""
    if type(result) is RawJson:
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (to_json(ident), result.data)
    return to_json({"jsonrpc": "2.0", "id": ident, "result": result}, inf_nan_mode="null")


def encode_error(ident: Any, error: RpcError) -> bytes:
    """An error answer; `ident` is None when it could not be read (§5)."""
    try:
        return to_json({"jsonrpc": "2.0", "id": ident, "error": error.as_object()})
    except Exception:
        # Facts that are not JSON must not cost the caller its answer.
        bare = RpcError(error.code, error.message)
        return to_json({"jsonrpc": "2.0", "id": ident, "error": bare.as_object()})


def encode_json(value: Any) -> bytes:
    """Compact JSON of a value. Raises ValueError when it is not one."""
    return to_json(value, inf_nan_mode="null")


def rate_limited(wait_s: float) -> RpcError:
    """The error that tells a client when its budget allows the next call."""
    wait_ms = math.ceil(wait_s * 1000)
    reason = f"the budget of this client is spent for {wait_ms} ms"
    return RpcError(RATE_LIMITED, reason, facts={"retryAfterMs": wait_ms})


def _by_name(methods: Iterable[Method]) -> dict[str, Method]:
    table: dict[str, Method] = {}
    for method in methods:
        if method.name in table:
            raise ValueError(f"the method {method.name} is defined twice")
        if method.name.startswith("rpc.") or not method.name:
            # §4.1 keeps that prefix for extensions of the protocol.
            raise ValueError(f"{method.name!r} cannot be a method name")
        if method.cost < 0 or method.deadline_ms <= 0:
            raise ValueError(f"{method.name}: cost and deadline must be positive")
        table[method.name] = method
    return table


def _id_is_good(ident: Any) -> bool:
    """A string, a number or null (§4.1), of bearable size."""
    kind = type(ident)
    if kind is int:
        return bool(ident.bit_length() <= 8 * ID_BYTES_MAX)
    if kind is str:
        return len(ident) <= ID_BYTES_MAX
    return ident is None or (kind is float and math.isfinite(ident))


def _or_null(ident: Any) -> Any:
    return None if ident is _ABSENT else ident


def _what_is_wrong(message: dict[str, Any]) -> str:
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if type(message.get("method")) is not str:
        return "method must be a string"
    return "params must be an object or an array"


def _named(entry: _Entry, params: Any) -> dict[str, Any]:
    """Parameters by name, whichever way they came (§4.2)."""
    if type(params) is dict:
        if len(params) > len(entry.fields):
            # Told here: the validator would describe each of a hundred thousand.
            unknown = next(name for name in params if name not in entry.fields)
            problem = {"field": unknown[:NAME_SHOWN_MAX], "problem": "unknown parameter"}
            raise RpcError(
                INVALID_PARAMS,
                f"{problem['field']}: unknown parameter",
                hint=_signature(entry),
                facts={"problems": [problem]},
            )
        return params
    if params is _ABSENT:
        return {}
    if len(params) > len(entry.fields):
        reason = f"{entry.name} takes at most {len(entry.fields)} parameters"
        raise RpcError(INVALID_PARAMS, reason, hint=_signature(entry))
    return dict(zip(entry.fields, params, strict=False))


def _signature(entry: _Entry) -> str:
    return f"{entry.name} takes: {', '.join(entry.fields) or 'no parameters'}"


def _forbidden(entry: _Entry, context: Context) -> RpcError:
    if not context.authenticated:
        return RpcError(UNAUTHENTICATED, f"{entry.name} needs a token")
    return RpcError(FORBIDDEN, f"{entry.name} needs the role {entry.role}")


def _invalid_params(entry: _Entry, error: ValidationError) -> RpcError:
    """Say which parameter is wrong and why, without repeating its value."""
    if error.error_count() > PROBLEMS_MAX:
        # Describing each of ten thousand would take a second.
        reason = f"{error.error_count()} values of the parameters are wrong"
        return RpcError(INVALID_PARAMS, reason, hint=_signature(entry), facts={"problems": []})
    problems = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:8]:
        place = ".".join(str(part)[:NAME_SHOWN_MAX] for part in detail["loc"]) or "params"
        problem = detail["msg"]
        if detail["type"] == "extra_forbidden":
            problem = "unknown parameter"
        elif detail["type"] == "missing":
            problem = "is missing"
        problems.append({"field": place, "problem": problem})
    reason = "; ".join(f"{p['field']}: {p['problem']}" for p in problems[:3])
    return RpcError(INVALID_PARAMS, reason, hint=_signature(entry), facts={"problems": problems})


def _too_large(item: Any) -> bytes | None:
    """The answer to a call of a batch whose earlier answers filled the limit."""
    ident = item.get("id", _ABSENT) if type(item) is dict else None
    if ident is _ABSENT:
        return None
    error = RpcError(LIMIT_EXCEEDED, "the answers of this batch are too large", hint="split it")
    return encode_error(ident if _id_is_good(ident) else None, error)
