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
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import trio
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from clawpurse.ledger.errors import Code, Refused
from clawpurse.modules.kit.web.envelope import id_is_good, what_is_wrong
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    TIMEOUT,
    UNAUTHENTICATED,
    RpcError,
    as_rpc_error,
    rate_limited,
)
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.guard import Budgets, RefusalLog
from clawpurse.modules.kit.web.limits import Limits, seconds
from clawpurse.modules.kit.web.pieces import Reply, is_long
from clawpurse.modules.kit.web.replies import (
    encode_at_length,
    encode_error,
    encode_result,
    together,
)
from clawpurse.modules.kit.web.turns import own_turn

BATCH_SLICE_CALLS: Final = 32
BATCH_SLICE_BYTES: Final = 64 * 1024
BATCH_SLICE_COST: Final = 32
"""Calls, bytes of answers and budget units between two turns of the loop: 1 ms of cheap calls,
or one dear one or few. Not a time, so that simulated nodes take the same turns in every run."""

DEAR_COST: Final = 5
"""From here on a call runs in a turn of its own. The loop runs whatever is ready before it
looks up again, so the pages of thirty clients would else add up to one long silence."""

WAITING_CALL_BYTES: Final = 16 * 1024
"""What a waiting call costs while it waits: a task with its stack and parameters."""

SMALL_REPLY_BYTES: Final = 512
"""Answers that are given even in a full batch: replacing them by an error saves nothing."""

HOLD_FROM_BYTES: Final = 16 * 1024
"""Smaller answers are not worth counting while a batch runs."""

NAME_SHOWN_MAX: Final = 64
"""How much of an unknown method's name an answer repeats and a search compares."""

PROBLEMS_MAX: Final = 64
"""Wrong values of one call that are still worth describing."""

CALLER: Final = "caller"
"""The role of methods that anybody with a token may call, where strangers may call others."""

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


@dataclass(frozen=True, slots=True)
class Context:
    """Who calls: `client` (budget key), `peer` (for logs), the `grant` of its token or
    certificate, and the `connection` that events can be pushed to (WebSocket only).

    `closed`: this server answers nobody without a grant, whatever the method's role. `denied`:
    every call is answered with this error, since who calls could not be told.
    """

    client: str = "local"
    peer: str = "local"
    grant: Grant | None = None
    closed: bool = False
    denied: RpcError | None = None
    connection: Any = None

    @property
    def authenticated(self) -> bool:
        """Whether the caller proved who it is, and that still holds."""
        return self.grant is not None and self.grant.alive()

    def allows(self, method: str) -> bool:
        """Whether the caller's token reaches `method` now; False without a token."""
        grant = self.grant
        return grant is not None and grant.scopes.allows(method) and grant.alive()

    def with_connection(self, connection: Any) -> Context:
        """The same caller on a connection that can be pushed to."""
        return replace(self, connection=connection)


Handler = Callable[[Any, Context], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `handler(params, context)` returns a JSON value, or is async and returns one.

    A plain function must be quick (well under 1 ms): it runs on the loop without a deadline.
    `result` is a type, or a JSON schema as a mapping. `errors` are codes beside the general
    ones. `cost` is in budget units, `prove_cost` is more of it where the parameter `prove` is
    true; then the async `prover`, if there is one, answers. `role`: with one, only a token whose
    scopes allow this method may call it; without, anyone on this machine may. Beyond it every
    call needs such a token.
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
    prove_cost: int = 0
    prover: Handler | None = None
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
        "prove_cost",
        "prover",
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
        self.prove_cost = method.prove_cost
        self.prover = method.prover
        self.role = method.role
        self.deadline_s = seconds(method.deadline_ms)
        self.waits = method.waits
        self.malformed_code = (
            Code.MALFORMED.rpc_code if method.takes_transaction else INVALID_PARAMS
        )


class _Call:
    """A validated call and its handler, which is async."""

    __slots__ = ("entry", "handler", "ident", "params")

    def __init__(self, entry: _Entry, handler: Handler, params: Any, ident: Any) -> None:
        self.entry = entry
        self.handler = handler
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
        run: Callable[[Hold], Awaitable[Reply | None]],
        refusal: Callable[[RpcError], bytes | None],
        *,
        waits: bool,
    ) -> None:
        self._run = run
        self.refusal = refusal
        self.waits = waits

    async def run(self, hold: Hold = lambda _size: True) -> Reply | None:
        """Run the call or calls. Deadlines are the methods'. Cancellation abandons them.

        `hold` is told how many bytes the answers take so far; when it returns False the
        remaining calls of a batch are answered with limitExceeded.
        """
        return await self._run(hold)


class TurnedAway(bytes):
    """An error answer to a call that was not begun. Attributes: `error`."""

    error: RpcError

    def __new__(cls, data: bytes, error: RpcError) -> TurnedAway:
        """The answer's bytes, with the error that they say."""
        made = super().__new__(cls, data)
        made.error = error
        return made


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
        self.replies: list[Reply | None] = [None] * len(items)
        self.waiting: list[tuple[int, _Call]] = []
        self.next_index = 0
        self.suggest = True
        self.full = False
        self.size = 0
        self._size_max = size_max
        self._hold = hold

    def keep(self, index: int, reply: Reply | None) -> None:
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
        if self._is_dear(value):
            return Pending(
                lambda _hold: self._run_dear(value, context),
                lambda error: self._refused(value.get("id", _ABSENT), error),
                waits=False,
            )
        call = self._begin(value, context)
        if not isinstance(call, _Call):
            return call
        return Pending(
            lambda _hold: self._finish(call, context),
            lambda error: self._refused(call.ident, error),
            waits=call.entry.waits,
        )

    def _is_dear(self, message: Any) -> bool:
        """Whether a message is one call whose handler keeps the loop for long."""
        entry = self._entry_of(message)
        return entry is not None and not entry.is_async and entry.cost >= DEAR_COST

    def _entry_of(self, message: Any) -> _Entry | None:
        name = message.get("method") if type(message) is dict else None
        return self._entries.get(name) if type(name) is str else None

    async def _run_dear(self, message: Any, context: Context) -> Reply | None:
        """Run a dear call when it is its turn; slices of batches stand in the same queue."""
        async with own_turn():
            reply = self._begin(message, context)
        return await self._finish(reply, context) if isinstance(reply, _Call) else reply

    def _is_dense(self, message: bytes | str) -> bool:
        """Whether a message may hold too many values; counts marks, also those in strings."""
        data = message.encode("utf-8", "replace") if isinstance(message, str) else message
        marks = data.count(b",") + data.count(b"[") + data.count(b"{")
        return marks > self._limits.json_values_max

    def _begin(
        self, message: Any, context: Context, *, suggest: bool = True
    ) -> bytes | _Call | None:
        """Check one request object and, if its handler is a plain function, run it."""
        if type(message) is not dict:
            return encode_error(None, RpcError(INVALID_REQUEST, "a request is a JSON object"))
        ident = message.get("id", _ABSENT)
        if ident is not _ABSENT and not id_is_good(ident):
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
            return encode_error(_or_null(ident), RpcError(INVALID_REQUEST, what_is_wrong(message)))
        entry = self._entries.get(name)
        if self.budgets is not None:
            client = context.client
            wait_s = self.budgets.charge(client, entry.cost if entry else 1)
            if entry is not None and not wait_s:
                wait_s = self.budgets.charge_method(client, entry.name)
            if wait_s:
                return self._turn_away(ident, rate_limited(wait_s))
        if context.denied is not None:
            return self._turn_away(ident, context.denied)
        if entry is None:
            return self._refused(ident, self._unknown(name, suggest=suggest))
        if (entry.role or context.grant is not None or context.closed) and not _may(entry, context):
            return self._turn_away(ident, _forbidden(entry, context))
        try:
            value = entry.validate(_named(entry, params))
        except ValidationError as error:
            return self._refused(ident, _invalid_params(entry, error))
        except RpcError as error:
            return self._refused(ident, error)
        if entry.prove_cost and self.budgets is not None and value.prove:
            # Its own cost let it in; what is left now pays for this, or whoever asks waits.
            wait_s = self.budgets.charge(context.client, entry.prove_cost)
            if wait_s:
                return self._turn_away(ident, rate_limited(wait_s))
        if entry.is_async:
            return _Call(entry, entry.call, value, ident)
        if entry.prover is not None and value.prove:
            return _Call(entry, entry.prover, value, ident)
        started = trio.current_time() if self._observer is not None else 0.0
        try:
            result = entry.call(value, context)
        except Exception as error:
            return self._failed(entry, ident, error, context, started)
        return self._succeeded(entry, ident, result, context, started)

    async def _finish(self, call: _Call, context: Context) -> Reply | None:
        """Run an async handler within its method's deadline."""
        entry = call.entry
        started = trio.current_time()
        with trio.move_on_after(entry.deadline_s):
            try:
                result = await call.handler(call.params, context)
            except Exception as error:
                return self._failed(entry, call.ident, error, context, started)
            if call.ident is not _ABSENT and is_long(result):
                return await self._succeeded_at_length(call, result, context, started)
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

    async def _run_batch(self, items: list[Any], context: Context, hold: Hold) -> Reply | None:
        """Run a batch in its order; calls that wait for events run beside each other at its end.

        Answers stand in the order of their calls. Of all batches one slice runs at a time,
        then the loop has its turn: slices of many batches side by side would add up.
        """
        batch = _Batch(items, self._limits.response_bytes_max, hold)
        while batch.next_index < len(items):
            async with own_turn():
                started = self._run_slice(batch, context)
            if started is not None:
                index, call = started
                batch.keep(index, await self._finish(call, context))
        if batch.waiting:
            async with trio.open_nursery() as nursery:
                for index, call in batch.waiting:
                    nursery.start_soon(self._fill, batch, index, call, context)
        return together(batch.replies)

    def _run_slice(self, batch: _Batch, context: Context) -> tuple[int, _Call] | None:
        """Run calls until the slice is used up, or up to one whose handler is async."""
        size_end, cost = batch.size + BATCH_SLICE_BYTES, 0
        index_end = min(batch.next_index + BATCH_SLICE_CALLS, len(batch.items))
        while batch.next_index < index_end and batch.size < size_end and cost < BATCH_SLICE_COST:
            index, item = batch.next_index, batch.items[batch.next_index]
            batch.next_index += 1
            if batch.full:
                batch.replies[index] = _too_large(item)
                continue
            entry = self._entry_of(item)
            cost += 1 if entry is None else entry.cost
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
                reply = encode_result(ident, result, self._limits.response_bytes_max)
            except Exception as error:  # a result that is not JSON is our fault, whatever it is
                return self._failed(entry, ident, error, context, started)
        if self._observer is not None:
            self._observer(entry.name, trio.current_time() - started, 0)
        return reply

    async def _succeeded_at_length(
        self, call: _Call, result: Any, context: Context, started: float
    ) -> Reply | None:
        """As `_succeeded`, for a result whose encoding takes turns."""
        entry, ident = call.entry, call.ident
        try:
            reply = await encode_at_length(ident, result, self._limits.response_bytes_max)
        except Exception as error:  # as in `_succeeded`
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
    def _turn_away(ident: Any, error: RpcError) -> bytes | None:
        """As `_refused`, for who may not call, or not now; HTTP has words for these too."""
        return None if ident is _ABSENT else TurnedAway(encode_error(ident, error), error)

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


def _by_name(methods: Iterable[Method]) -> dict[str, Method]:
    table: dict[str, Method] = {}
    for method in methods:
        if method.name in table:
            raise ValueError(f"the method {method.name} is defined twice")
        if method.name.startswith("rpc.") or not method.name:
            # §4.1 keeps that prefix for extensions of the protocol.
            raise ValueError(f"{method.name!r} cannot be a method name")
        if min(method.cost, method.prove_cost) < 0 or method.deadline_ms <= 0:
            raise ValueError(f"{method.name}: cost and deadline must be positive")
        if inspect.iscoroutinefunction(method.prover) is not (method.prover is not None):
            raise ValueError(f"{method.name}: a prover is async")
        table[method.name] = method
    return table


def _or_null(ident: Any) -> Any:
    return None if ident is _ABSENT else ident


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


def _may(entry: _Entry, context: Context) -> bool:
    """Whether this caller may call; see `Method.role`.

    A token narrows nothing that is open to anyone, but one that died says so at once.
    """
    grant = context.grant
    if grant is not None and not grant.alive():
        return False
    return (not entry.role and not context.closed) or context.allows(entry.name)


def _forbidden(entry: _Entry, context: Context) -> RpcError:
    """Say what is missing: a token (-32006), or one that reaches this method (-32007)."""
    if context.grant is None:
        return RpcError(UNAUTHENTICATED, f"{entry.name} needs a token")
    if not context.authenticated:
        reason = f"the token {context.grant.ident} has expired or was revoked"
        return RpcError(UNAUTHENTICATED, reason, hint="get a new token, and reconnect with it")
    facts = {"method": entry.name, "scopes": context.grant.scopes.text}
    if entry.role and entry.role != CALLER:
        facts["role"] = entry.role
    return RpcError(
        FORBIDDEN,
        f"the token {context.grant.ident} does not reach {entry.name}",
        hint=f"use a token with the scope {entry.name}",
        facts=facts,
    )


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
    return encode_error(ident if id_is_good(ident) else None, error)
