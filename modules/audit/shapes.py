"""What the methods of the audit log take and return, for checks and OpenRPC."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from clawpurse.modules.audit.bundles import EXPORT_MAX
from clawpurse.modules.audit.entries import BATCH_MAX, NUMBER_MAX, TEXT_BYTES_MAX
from clawpurse.modules.audit.search import LIMIT_MAX
from clawpurse.modules.audit.tables import (
    DAY_CHARS,
    OBJECT_CHARS_MAX,
    RESULT_CHARS_MAX,
    SOURCE_CHARS_MAX,
    WHAT_CHARS_MAX,
    WHO_CHARS_MAX,
)
from clawpurse.modules.audit.tree import SIZE_MAX
from clawpurse.modules.kit.records.shapes import Shape
from clawpurse.modules.kit.web.jsonrpc import Params

LIST_DEFAULT: Final = 50
CURSOR_CHARS_MAX: Final = 40
REDACTED_MAX: Final = 500
TIME_MS_MAX: Final = 2**62

Hash = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Place = Annotated[int, Field(ge=0, lt=SIZE_MAX, description="Of an entry, from 0")]
Size = Annotated[int, Field(ge=0, le=SIZE_MAX, description="How many entries")]
Source = Annotated[
    str, Field(min_length=1, max_length=SOURCE_CHARS_MAX, description="Who tells: a service")
]


class Entry(Params):
    """An entry as its source hashed it."""

    number: int = Field(ge=1, le=NUMBER_MAX, description="The source's own, without gaps")
    text: str = Field(max_length=TEXT_BYTES_MAX, description="Canonical JSON")


class AppendParams(Params):
    """Parameters of audit_append."""

    source: Source
    entries: list[Entry] = Field(min_length=1, max_length=BATCH_MAX)


class Appended(Shape):
    """How far a source is kept; telling the same again adds nothing."""

    source: str
    number: int
    size: int
    added: int


class Where(Params):
    """What entries are looked for by; what is left out does not matter."""

    who: str | None = Field(None, max_length=WHO_CHARS_MAX)
    what: str | None = Field(None, max_length=WHAT_CHARS_MAX)
    result: str | None = Field(None, max_length=RESULT_CHARS_MAX)
    origin: str | None = Field(None, max_length=WHO_CHARS_MAX)
    object: str | None = Field(None, max_length=OBJECT_CHARS_MAX)
    source: str | None = Field(None, max_length=SOURCE_CHARS_MAX)

    def columns(self) -> dict[str, str]:
        """Return what was given, by column."""
        found = {name: getattr(self, name) for name in Where.model_fields}
        return {name: value for name, value in found.items() if value is not None}


class SearchParams(Where):
    """Parameters of audit_search."""

    from_ms: int | None = Field(None, ge=0, le=TIME_MS_MAX, description="Not before (UTC ms)")
    to_ms: int | None = Field(None, ge=0, le=TIME_MS_MAX, description="Before (UTC ms)")
    limit: int = Field(LIST_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(None, max_length=CURSOR_CHARS_MAX, description="nextCursor")


class FoundEntry(Shape):
    """An entry; `text` is null where it was kept long enough and dropped."""

    place: int
    source: str
    number: int
    time: Time
    kept: Time
    who: str
    what: str
    result: str
    origin: str
    object: str
    leaf: Hash
    text: str | None


class SearchPage(Shape):
    """Entries, the newest first. Go on as long as there is a nextCursor, also after none."""

    entries: list[FoundEntry]
    next_cursor: str | None


class ProveParams(Params):
    """Parameters of audit_prove: a place, or what a source told under a number."""

    place: Place | None = None
    source: Source | None = None
    number: int | None = Field(None, ge=1, le=NUMBER_MAX)
    size: Size | None = Field(None, description="Of a checkpoint; else the first that covers it")


class Proof(Shape):
    """That an entry stands at a place, and a bundle that proves it from the genesis hash."""

    place: int
    leaf: Hash
    size: int
    root: Hash
    path: list[Hash]
    checkpoint: str
    bundle: dict[str, Any]


class ConsistencyParams(Params):
    """Parameters of audit_consistency."""

    first: Size
    second: Size


class Consistency(Shape):
    """That the first entries are the beginning of the second (RFC 9162 §2.1.4)."""

    first: int
    first_root: Hash
    second: int
    second_root: Hash
    path: list[Hash]


class ExportParams(Where):
    """Parameters of audit_export: a range; texts of what is not looked for are left out."""

    first: Place
    count: int = Field(EXPORT_MAX, ge=1, le=EXPORT_MAX)
    size: Size | None = Field(None, description="Of a checkpoint; else the newest")
    redact: list[int] = Field(
        default_factory=list, max_length=REDACTED_MAX, description="Places without text"
    )


class CheckpointsParams(Params):
    """Parameters of audit_listCheckpoints."""

    limit: int = Field(LIST_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(None, max_length=CURSOR_CHARS_MAX, description="nextCursor")


class SignedCheckpoint(Shape):
    """A checkpoint as it was signed."""

    size: int
    root: Hash
    note: str
    height: int
    time: Time
    anchored: bool


class CheckpointPage(Shape):
    """Checkpoints, the largest first."""

    checkpoints: list[SignedCheckpoint]
    next_cursor: str | None


class ReviewParams(Params):
    """Parameters of audit_getReview."""

    day: str | None = Field(None, max_length=DAY_CHARS, description="2027-03-31 (UTC), or newest")


class SourceStatus(Shape):
    """How far a source is kept; `forked`: where it first told another past."""

    source: str
    number: int
    writer: str
    kept: Time
    forked: int | None


class Status(Shape):
    """Where the log stands."""

    log: Hash | None
    origin: str | None
    size: int
    root: Hash
    checkpoint: int | None
    anchored: int
    anchored_height: int | None
    trouble: dict[str, Any] | None
    waiting: dict[str, Any] | None
    dropped_before: int
    reviewed: str | None
    sources: list[SourceStatus]
