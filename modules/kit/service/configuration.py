"""The configuration of a service: changed by method, validated whole, with its history.

Every version is kept with who made it and why; what is in force is the newest one. A change is
an entry of the service's history, so subscribers and auditors see its differences. Going back is
a change to what an older version said. Values are no place for secrets: those are files.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

import sqlalchemy as sa
from pydantic import Field, ValidationError
from pydantic_core import to_json
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed, NotFound, OperatorError
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.entities.kinds import INTEGER_MAX
from clawpurse.modules.kit.records.answers import refusals
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import Actor, Conflict
from clawpurse.modules.kit.records.shapes import LIST_DEFAULT, Limit, Shape, Time
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import Settings
from clawpurse.modules.kit.store.tables import Tables
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params

Json = dict[str, Any]
KIND: Final = "kit_configuration"
WRITE_COST: Final = 20
CONTENT_CHARS_MAX: Final = 65_536
REASON_CHARS_MAX: Final = 500
VERSIONS_MAX: Final = 10_000
"""Some thirty a day for a year; whoever needs more keeps data in its configuration."""

Version = Annotated[int, Field(ge=0, le=INTEGER_MAX, description="Of the configuration")]
Why = Annotated[
    str, Field(min_length=3, max_length=REASON_CHARS_MAX, description="Why; kept for ever")
]


class SetParams(Params):
    """Parameters of setConfiguration."""

    changes: Annotated[Json, Field(description="New values by name; null for the default")]
    reason: Why
    version: Annotated[
        int | None,
        Field(ge=0, le=INTEGER_MAX, description="The one you looked at; another is a conflict"),
    ] = None
    dry_run: Annotated[bool, Field(description="Only say what would change")] = False


class RollbackParams(Params):
    """Parameters of rollbackConfiguration."""

    version: Version
    reason: Why


class VersionsParams(Params):
    """Parameters of listConfigurations."""

    limit: Limit = LIST_DEFAULT
    cursor: Annotated[str | None, Field(max_length=20)] = None


class ConfigurationShape(Shape):
    """What is in force; version 0 is what the program says. `json_schema` describes the values."""

    version: int
    settings: Json
    json_schema: Json


class DifferenceShape(Shape):
    """One value that changed. `live`: it is in force at once, else after the next start."""

    name: str
    before: Any
    after: Any
    live: bool


class ChangedShape(Shape):
    """A change: the version that it made, none of a dry run and where nothing changed."""

    version: int | None
    differences: list[DifferenceShape]


class VersionShape(Shape):
    """One version: who made it, when and why, and all its values."""

    version: int
    time: Time
    by: str
    reason: str
    settings: Json


class VersionsPage(Shape):
    """Versions, the newest first."""

    versions: list[VersionShape]
    next_cursor: str | None


def newest(connection: Connection, tables: Tables, model: type[Settings]) -> tuple[int, Settings]:
    """Return the version in force and its values; version 0 with defaults before the first change.

    Raises `OperatorError` when this program does not take what an older one stored.
    """
    table = tables.configuration
    row = connection.execute(table.select().order_by(table.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        return 0, model()
    try:
        return row.version, model.model_validate_json(row.content)
    except ValidationError as error:
        first = _first(error)
        raise OperatorError(
            f"Version {row.version} of the configuration is not for this program: {first}.",
            "Nothing was started.",
            "install the program that it was made with, or mend it with a migration step",
        ) from None


class Configuration:
    """The configuration of one running service.

    `within` takes it over in the transaction that writes it, `changed` when that is committed.
    """

    def __init__(
        self,
        records: Transactions,
        model: type[Settings],
        version: int,
        settings: Settings,
        within: Callable[[Work, Settings], None],
        changed: Callable[[Settings], None],
    ) -> None:
        self._records = records
        self._model = model
        self._admin = f"{records.service}.admin"
        self._within = within
        self._changed = changed
        self.version = version
        self.settings = settings

    def methods(self, actor_of: Callable[[Context], Awaitable[Actor]]) -> list[Method]:
        """Return the definitions. Whoever changes it has the role `<service>.admin`."""
        service = self._records.service
        needed = f"Needs the role {self._admin} on the ledger."

        async def get(_params: NoParams, context: Context) -> Json:
            await actor_of(context)
            return {
                "version": self.version,
                "settings": self.settings.model_dump(mode="json", by_alias=True),
                "jsonSchema": self._model.model_json_schema(by_alias=True),
            }

        async def change(params: SetParams, context: Context) -> Json:
            return await self._change(await actor_of(context), partial(_merged, params), params)

        async def rollback(params: RollbackParams, context: Context) -> Json:
            same = SetParams(changes={}, reason=params.reason)
            wanted = partial(self._stored, params.version)
            return await self._change(await actor_of(context), wanted, same)

        async def versions(params: VersionsParams, context: Context) -> Json:
            actor = await actor_of(context)
            with refusals():
                return await self._records.read(lambda work: self._page(work, params), actor)

        return [
            Method(
                f"{service}_getConfiguration",
                "The configuration in force, and what describes it",
                get,
                NoParams,
                ConfigurationShape,
            ),
            Method(
                f"{service}_setConfiguration",
                "Change settings, all at once or none",
                change,
                SetParams,
                ChangedShape,
                errors=(CONFLICT, FORBIDDEN),
                cost=WRITE_COST,
                description=needed,
            ),
            Method(
                f"{service}_rollbackConfiguration",
                "Go back to what an older version said, as a new version",
                rollback,
                RollbackParams,
                ChangedShape,
                errors=(CONFLICT, FORBIDDEN, NOT_FOUND),
                cost=WRITE_COST,
                description=needed,
            ),
            Method(
                f"{service}_listConfigurations",
                "Every version, the newest first: who changed it, when and why",
                versions,
                VersionsParams,
                VersionsPage,
                errors=(FORBIDDEN,),
                cost=WRITE_COST,
                description=needed,
            ),
        ]

    async def _change(
        self,
        actor: Actor,
        wanted: Callable[[Work, Settings], Json],
        params: SetParams,
    ) -> Json:
        def run(work: Work) -> tuple[Json, tuple[int, Settings] | None]:
            work.require(self._admin, "Changing the configuration")
            version, now = newest(work.connection, work.tables, self._model)
            if params.version is not None and params.version != version:
                raise Conflict(f"the configuration was changed meanwhile: version {version}")
            after = self._checked(wanted(work, now))
            found = differences(now, after)
            if params.dry_run or not found:
                return {"version": None, "differences": found}, None
            if version >= VERSIONS_MAX:
                raise Conflict(f"there are {version} versions; no more are kept")
            self._write(work, version + 1, after, found, params.reason)
            return {"version": version + 1, "differences": found}, (version + 1, after)

        with refusals():
            answer, made = await self._records.write(actor, run)
        if made is not None and made[0] > self.version:
            self.version, self.settings = made
            self._changed(self.settings)
        return answer

    def _checked(self, values: Json) -> Settings:
        text = to_json(values)
        if len(text) > CONTENT_CHARS_MAX:
            raise Malformed("changes", f"make it larger than {CONTENT_CHARS_MAX} bytes")
        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            raise Malformed("changes", _first(error)) from None

    def _write(
        self, work: Work, version: int, after: Settings, found: list[Json], reason: str
    ) -> None:
        work.connection.execute(
            work.tables.configuration.insert(),
            {
                "version": version,
                "at_ms": work.now_ms,
                "actor": work.actor.subject,
                "content": after.model_dump_json(by_alias=True),
                "reason": reason,
            },
        )
        entry = {
            "kind": KIND,
            "record": 1,
            "version": version,
            "at_ms": work.now_ms,
            "actor": work.actor.subject,
            "origin": work.actor.origin,
            "move": "changed",
            "state": "in_force",
        }
        self._within(work, after)
        said = {one["name"]: {"before": one["before"], "after": one["after"]} for one in found}
        work.history.append(entry, said, None)

    def _stored(self, version: int, work: Work, _now: Settings) -> Json:
        if version == 0:
            return {}
        table = work.tables.configuration
        text = work.connection.execute(
            sa.select(table.c.content).where(table.c.version == version)
        ).scalar_one_or_none()
        if text is None:
            raise NotFound(f"version {version} of the configuration")
        found: Json = json.loads(text)
        return found

    def _page(self, work: Work, params: VersionsParams) -> Json:
        work.require(self._admin, "Reading older configurations")
        table = work.tables.configuration
        chosen = table.select().order_by(table.c.version.desc()).limit(params.limit + 1)
        if params.cursor is not None:
            if not (params.cursor.isascii() and params.cursor.isdigit()):
                raise Malformed("cursor", "is none of this list")
            chosen = chosen.where(table.c.version < int(params.cursor))
        rows = work.connection.execute(chosen).all()
        shown = rows[: params.limit]
        return {
            "versions": [
                {
                    "version": row.version,
                    "time": time_text(row.at_ms),
                    "by": row.actor,
                    "reason": row.reason,
                    "settings": json.loads(row.content),
                }
                for row in shown
            ],
            "nextCursor": str(shown[-1].version) if len(rows) > params.limit else None,
        }


def differences(before: Settings, after: Settings) -> list[Json]:
    """Return what differs, in order of declaration."""
    old = before.model_dump(mode="json", by_alias=True)
    new = after.model_dump(mode="json", by_alias=True)
    found: list[Json] = []
    for name, info in type(after).model_fields.items():
        key = info.alias or name
        if canonical(old[key]) == canonical(new[key]):
            continue
        extra = info.json_schema_extra
        live = not (isinstance(extra, dict) and extra.get("live") is False)
        found.append({"name": key, "before": old[key], "after": new[key], "live": live})
    return found


def _merged(params: SetParams, _work: Work, now: Settings) -> Json:
    values = now.model_dump(mode="json", by_alias=True)
    for name, value in params.changes.items():
        if name not in values:
            raise Malformed(f"changes.{name}", "is no setting")
        if value is None:
            del values[name]
        else:
            values[name] = value
    return values


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "it"
    return f"{where}: {first['msg']}"
