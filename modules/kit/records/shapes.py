"""What methods of records take and return, made from the declarations for OpenRPC and checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema, create_model
from pydantic.alias_generators import to_camel

from clawpurse.modules.kit.entities.kinds import INTEGER_MAX, Kind
from clawpurse.modules.kit.store.tables import KEY_CHARS_MAX
from clawpurse.modules.kit.web.jsonrpc import Params

Json = dict[str, Any]
LIST_DEFAULT: Final = 50
LIST_MAX: Final = 500
CURSOR_CHARS_MAX: Final = 32

Id = Annotated[str, Field(max_length=CURSOR_CHARS_MAX, description="Its id, such as T-14")]
Key = Annotated[
    str | None,
    Field(
        max_length=KEY_CHARS_MAX,
        min_length=8,
        description="Of your making; the same key again is the same request",
    ),
]
Version = Annotated[
    int | None, Field(ge=1, description="The version that you looked at; another is a conflict")
]
Limit = Annotated[int, Field(ge=1, le=LIST_MAX, description="At most so many")]
Cursor = Annotated[
    str | None,
    Field(max_length=CURSOR_CHARS_MAX, description="nextCursor of the page before"),
]
Archived = Annotated[bool, Field(description="Also those that were kept long enough")]
Viewing = Annotated[bool, Field(description="A person looks at it: others who do are told")]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Shape(BaseModel):
    """Base of results: camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")


class ClockShape(Shape):
    """A promise: waiting, running, paused, met or breached; spans are of counted time."""

    name: str
    standing: str
    target_ms: int
    left_ms: int
    due: Time | None


def record_shape(kind: Kind) -> type[BaseModel]:
    """Return what OpenRPC says of a record of this kind."""
    schema = _schema(kind)
    values = {
        spec.wire_name: (Annotated[Any, WithJsonSchema(_or_null(schema[spec.wire_name]))], ...)
        for spec in kind.fields.values()
    }
    said: dict[str, Any] = {
        "id": (str, ...),
        "version": (int, ...),
        "state": (state_of(kind), ...),
        "created": (Time, ...),
        "changed": (Time, ...),
        "since": (Time, ...),
        "values": (_model(f"{kind.noun}Values", values), ...),
        "erased": (list[str], ...),
        "hidden": (list[str], ...),
        "moves": (list[str], ...),
        "refused": (dict[str, str], ...),
        "clocks": (list[ClockShape], ...),
        "viewers": (list[str], ...),
        "archived": (Time | None, ...),
    }
    shape: type[BaseModel] = create_model(f"{kind.noun}Record", __base__=Shape, **said)
    shape.__doc__ = (
        f"{kind.title}: `moves` are those that you may ask for now, `refused` says why not the "
        "others; `hidden` needs a role; `viewers` are others who look at it now, told by get alone."
    )
    return shape


class ProposalParams(Params):
    """Parameters of the methods about one proposal."""

    proposal: int = Field(ge=1, le=INTEGER_MAX, description="Its number")


class ProposalsParams(Params):
    """Parameters of lists of proposals."""

    limit: Limit = LIST_DEFAULT
    cursor: Annotated[
        str | None,
        Field(max_length=CURSOR_CHARS_MAX, description="nextCursor of the page before"),
    ] = None


class ApproveParams(ProposalParams):
    """Parameters of approve."""

    approve: bool = Field(description="Whether you approve")
    reason: str = Field("", max_length=500, description="Why; kept for ever, so nothing personal")
    idempotency_key: Key = None


class ProposalShape(Shape):
    """A move that waits for others; `missing` is how many more must approve."""

    proposal: int
    record: str
    move: str
    asked_by: str
    asked: Time
    expires: Time
    status: str
    approved_by: list[str]
    missing: int
    values: dict[str, Any]


class ProposalPage(Shape):
    """Moves that wait for others, oldest first."""

    proposals: list[ProposalShape]
    next_cursor: str | None


class EntryShape(Shape):
    """An entry of a history. What is personal stands as a commitment."""

    number: int
    version: int
    time: Time
    actor: str
    origin: str
    move: str
    state: str
    changes: dict[str, Any]
    leaf: str
    chain: str


class HistoryShape(Shape):
    """A page of a history."""

    entries: list[EntryShape]
    next_cursor: str | None


def page_shape(kind: Kind) -> type[BaseModel]:
    """Return what OpenRPC says of a page of such records."""
    many: Any = list[record_shape(kind)]  # type: ignore[misc]
    return _model(f"{kind.noun}Page", {"records": (many, ...), "next_cursor": (str | None, ...)})


def moved_shape(kind: Kind) -> Any:
    """Return what OpenRPC says of a move's answer: the record, or what waits for others."""
    return record_shape(kind) | ProposalShape


def _model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    return create_model(name, __base__=Shape, **fields)


def params_of(
    kind: Kind,
    verb: str,
    names: list[str],
    *,
    optional: bool = False,
    first: Mapping[str, Any] | None = None,
    **more: Any,
) -> type[BaseModel]:
    """Return a parameter model: `first`, then these fields of the kind, then `more`."""
    schema = _schema(kind)
    fields: dict[str, Any] = dict(first or {})
    for name in names:
        spec = kind.fields[name]
        described = Annotated[Any, WithJsonSchema(schema[spec.wire_name])]
        fields[name] = (described, ... if spec.required and not optional else None)
    return create_model(f"{kind.noun}{verb}Params", __base__=Params, **{**fields, **more})


def _schema(kind: Kind) -> Json:
    """Return the JSON schema of each field by wire name, without references."""
    whole = TypeAdapter(kind.model).json_schema(by_alias=True)
    shared = whole.get("$defs", {})

    def plain(found: Any) -> Any:
        if isinstance(found, dict):
            if "$ref" in found:
                return plain(shared[found["$ref"].rpartition("/")[2]])
            # A title is a text; a field that is called so is described by an object.
            return {
                key: plain(value)
                for key, value in found.items()
                if key != "title" or isinstance(value, dict)
            }
        return [plain(one) for one in found] if isinstance(found, list) else found

    properties: Json = plain(whole["properties"])
    return properties


def _or_null(schema: Json) -> Json:
    """Whatever is about a person may be gone."""
    bare = {key: value for key, value in schema.items() if key != "default"}
    return {"anyOf": [bare, {"type": "null"}]}


def state_of(kind: Kind) -> Any:
    """Return the type of a state."""
    return Annotated[str | None, WithJsonSchema({"type": "string", "enum": list(kind.flow.states)})]


def moved_fields(kind: Kind) -> set[str]:
    """Return the fields that only moves set."""
    return {name for move in kind.flow.moves.values() for name in move.sets}
