"""Kinds of records: what a service declares with a class, compiled once and checked whole.

    @entity("ticket", prefix="T")
    class Ticket(Entity):
        customer: Annotated[str, Ref("customer")]
        subject: Annotated[Line, Personal("contact", of="customer")]
        flow = Flow("new", Move("assign", "new -> open", role="support.agent"))

From the `Kind` that comes out, tables, methods, pages, metrics and command lines are made. The
class stays a model that validates values, so one declaration is the one source of them all.
"""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, TypeVar

from annotated_types import Interval, MaxLen
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from clawpurse.modules.kit.entities.clocks import CLOCKS_MAX, Clock
from clawpurse.modules.kit.entities.flows import Flow, checked_name

FIELDS_MAX: Final = 64
LINE_CHARS_MAX: Final = 200
PROSE_CHARS_MAX: Final = 20_000
PREFIX_CHARS_MAX: Final = 4
INTEGER_MAX: Final = 2**63 - 1
"""What a column of either database holds."""

Line = Annotated[str, StringConstraints(max_length=LINE_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text, without control characters."""

Prose = Annotated[str, StringConstraints(max_length=PROSE_CHARS_MAX, pattern=r"^[^\x00]*$")]
"""Text of several lines. PostgreSQL takes no zero character, so nobody does."""

Whole = Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)]
"""A whole number, as large as a column holds."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A field that names a record of another kind: `kind`, or `module.kind`."""

    kind: str


@dataclass(frozen=True, slots=True)
class Personal:
    """A field about a person: sealed with the person's own key, its commitment kept.

    `category` groups what is shown, exported and consented to together (contact, health, pay).
    `of`: the field that names the person, a `Ref`; empty: the record itself is the person.
    `consent`: nothing is written there unless the person agreed to the category.
    """

    category: str
    of: str = ""
    consent: bool = False


class Storage(StrEnum):
    """How a value is kept."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    LIST = "list"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field. `holds` is what is inside of a sealed one, else its storage.

    `chars_max` is set for text, `choices` for enumerations.
    """

    name: str
    storage: Storage
    holds: Storage
    required: bool
    nullable: bool
    ref: Ref | None = None
    personal: Personal | None = None
    choices: tuple[str, ...] = ()
    chars_max: int | None = None
    indexed: bool = False
    description: str = ""

    @property
    def wire_name(self) -> str:
        """The name in JSON."""
        return to_camel(self.name)


@dataclass(frozen=True, slots=True)
class Retain:
    """How long a record is kept after it came to an end; `then` is what happens to it."""

    after_ms: int
    then: typing.Literal["erase", "archive"] = "erase"


@dataclass(frozen=True, slots=True)
class Access:
    """Which roles may read, create and update; several separated by spaces mean any of them.

    Empty: everybody who reaches the method. `personal`: by category, who sees what is about
    persons; a category that is not named is seen by whoever may read. Moves name their own roles.
    """

    read: str = ""
    create: str = ""
    update: str = ""
    personal: Mapping[str, str] = field(default_factory=dict)


class Entity(BaseModel):
    """Base of declared records: strict types, camelCase on the wire, unknown names refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    flow: ClassVar[Flow]
    clocks: ClassVar[Sequence[Clock]] = ()
    retain: ClassVar[Retain | None] = None
    access: ClassVar[Access] = Access()
    kind: ClassVar[Kind]


@dataclass(frozen=True)
class Kind:
    """A compiled declaration. `fields` are in order of declaration."""

    name: str
    prefix: str
    model: type[Entity]
    fields: Mapping[str, FieldSpec]
    flow: Flow
    clocks: tuple[Clock, ...]
    retain: Retain | None
    access: Access
    title: str
    plural: str

    @property
    def noun(self) -> str:
        """What methods call one: KeyResult."""
        return _joined(self.name)

    @property
    def nouns(self) -> str:
        """What methods call several: KeyResults."""
        return _joined(self.plural)

    def hidden_from(self, may: Callable[[str], bool]) -> frozenset[str]:
        """The fields whose values are not for whoever has only the roles that `may` tells."""
        return frozenset(
            name
            for name, spec in self.fields.items()
            if spec.personal is not None
            and not may(self.access.personal.get(spec.personal.category, ""))
        )

    def subject_of(self, name: str) -> str:
        """The field that names the person whom field `name` is about; empty: the record."""
        personal = self.fields[name].personal
        return personal.of if personal is not None else ""

    def parse(self, values: Mapping[str, Any]) -> Entity:
        """Validate values as they come in JSON, by wire name or by field name.

        Raises `pydantic.ValidationError`, which quotes no input.
        """
        return self.model.model_validate_json(to_json(dict(values)))

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that it speaks of: what an installation has to give to somebody."""
        named = [
            role for move in self.flow.moves.values() for role in (*move.roles, *move.approving)
        ]
        access = self.access
        for roles in (access.read, access.create, access.update, *access.personal.values()):
            named += roles.split()
        return tuple(sorted(set(named)))


E = TypeVar("E", bound=type[Entity])

RESERVED: Final = frozenset(
    (
        *("id", "number", "version", "state", "created_ms", "changed_ms", "since_ms"),
        *("archived_ms", "kind", "flow", "clocks", "retain", "access"),
        *("archived", "erased_ms", "cursor", "limit", "prove", "idempotency_key"),
    )
)
"""Names that every record has anyway, or that methods use beside its fields."""


def entity(
    name: str, *, prefix: str, indexed: Sequence[str] = (), plural: str = ""
) -> Callable[[E], E]:
    """Compile a class of `Entity` into `cls.kind`. `prefix` begins its ids: T-14.

    `plural` names several of them where an s, or ies for y, is not enough.

    Raises `ValueError` for a declaration that does not hold together: names that are none,
    text without a limit, personal data that names nobody, flows or clocks that speak of what is
    not there.
    """
    checked_name("record", name)
    several = checked_name("record", plural or _plural(name))
    if not (prefix.isascii() and prefix.isalpha() and prefix.isupper()):
        raise ValueError(f"{prefix!r} is no prefix: capital letters")
    if len(prefix) > PREFIX_CHARS_MAX:
        raise ValueError(f"{prefix} is longer than {PREFIX_CHARS_MAX} letters")

    def compiled(cls: E) -> E:
        fields = {
            one: _spec(name, one, info, one in indexed)
            for one, info in typing.cast(type[Entity], cls).model_fields.items()
        }
        _check(name, cls, fields, indexed)
        title = (cls.__doc__ or name).strip().splitlines()[0].rstrip(".")
        cls.kind = Kind(
            name,
            prefix,
            cls,
            MappingProxyType(fields),
            cls.flow,
            tuple(cls.clocks),
            cls.retain,
            cls.access,
            title,
            several,
        )
        return cls

    return compiled


def _plural(name: str) -> str:
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")


def _joined(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _check(
    name: str, cls: type[Entity], fields: Mapping[str, FieldSpec], indexed: Sequence[str]
) -> None:
    if not isinstance(getattr(cls, "flow", None), Flow):
        raise ValueError(f"{name}: it has no flow")
    if not 0 < len(fields) <= FIELDS_MAX:
        raise ValueError(f"{name}: fields are 1 to {FIELDS_MAX}")
    for one in fields:
        checked_name("field", one)
        if one in RESERVED:
            raise ValueError(f"{name}.{one}: every record has that name already")
    for one in indexed:
        if one not in fields or fields[one].storage is Storage.SEALED:
            raise ValueError(f"{name}.{one}: only open fields can be looked up by")
    for spec in fields.values():
        of = spec.personal.of if spec.personal else ""
        named = fields.get(of)
        if of and (named is None or named.ref is None or named.personal or named.nullable):
            raise ValueError(f"{name}.{spec.name}: {of} does not name a person")
        asks = spec.personal is not None and spec.personal.consent and not of
        if asks and not spec.nullable:
            # Nobody agrees to anything before there is somebody.
            raise ValueError(f"{name}.{spec.name}: what needs consent comes later, or never")
    for move in cls.flow.moves.values():
        unknown = {*move.needs, *move.sets} - set(fields)
        if unknown:
            raise ValueError(f"{name}.{move.name}: no fields {', '.join(sorted(unknown))}")
    categories = {spec.personal.category for spec in fields.values() if spec.personal}
    if set(cls.access.personal) - categories:
        raise ValueError(f"{name}: access speaks of categories that no field has")
    clocks = list(cls.clocks)
    if len(clocks) > CLOCKS_MAX or len({clock.name for clock in clocks}) < len(clocks):
        raise ValueError(f"{name}: at most {CLOCKS_MAX} clocks, each with a name of its own")
    for clock in clocks:
        clock.check(cls.flow)
    if cls.retain is not None and (cls.retain.after_ms <= 0 or not cls.flow.ends):
        raise ValueError(f"{name}: what is kept for a time needs an end that begins it")


def _spec(kind: str, name: str, info: Any, indexed: bool) -> FieldSpec:
    found, nullable, inner = _plain(info.annotation)
    # Limits inside of `… | None` are still wrapped in the `Field(…)` that brought them.
    metadata = [
        one
        for part in (*inner, *info.metadata)
        for one in (part.metadata if isinstance(part, FieldInfo) else [part])
    ]
    ref = next((one for one in metadata if isinstance(one, Ref)), None)
    personal = next((one for one in metadata if isinstance(one, Personal)), None)
    if personal is not None:
        checked_name("category", personal.category)
    if ref is not None and found is not str:
        raise ValueError(f"{kind}.{name}: the id of another record is text")
    choices: tuple[str, ...] = ()
    if isinstance(found, type) and issubclass(found, Enum):
        if not issubclass(found, StrEnum):
            raise ValueError(f"{kind}.{name}: choices are a StrEnum")
        choices = tuple(found)
    storage = _storage(found)
    if storage is None:
        raise ValueError(f"{kind}.{name}: {found} is no type of a field")
    chars_max = _chars_max(metadata)
    if storage is Storage.TEXT and not choices and ref is None and chars_max is None:
        raise ValueError(f"{kind}.{name}: text needs a limit (Line, Prose, max_length)")
    if storage is Storage.INTEGER and not _is_bounded(metadata):
        raise ValueError(f"{kind}.{name}: a number needs limits (Whole, ge and le)")
    return FieldSpec(
        name,
        storage if personal is None else Storage.SEALED,
        storage,
        info.is_required(),
        nullable,
        ref,
        personal,
        choices,
        chars_max,
        indexed or ref is not None,
        info.description or "",
    )


def _plain(annotation: Any) -> tuple[Any, bool, list[Any]]:
    """Return a type bare of `| None` and of what is annotated, and both of these."""
    if typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
        found, nullable, more = _plain(inner)
        return found, nullable, [*more, *metadata]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(annotation) if one is not type(None)]
        if len(rest) == 1:
            found, _, metadata = _plain(rest[0])
            return found, True, metadata
    return annotation, False, []


def _storage(found: Any) -> Storage | None:
    if found is bool:
        return Storage.BOOLEAN
    if found is int:
        return Storage.INTEGER
    if found is datetime.date:
        return Storage.DATE
    if found is str or (isinstance(found, type) and issubclass(found, StrEnum)):
        return Storage.TEXT
    if typing.get_origin(found) is tuple:
        return Storage.LIST
    return None


def _chars_max(metadata: Sequence[Any]) -> int | None:
    for one in metadata:
        if isinstance(one, MaxLen):
            return one.max_length
        if isinstance(one, StringConstraints) and one.max_length is not None:
            return one.max_length
    return None


def _is_bounded(metadata: Sequence[Any]) -> bool:
    low = high = False
    for one in metadata:
        if isinstance(one, Interval):
            low, high = low or one.ge is not None, high or one.le is not None
        low = low or getattr(one, "ge", None) is not None or getattr(one, "gt", None) is not None
        high = high or getattr(one, "le", None) is not None or getattr(one, "lt", None) is not None
    return low and high
