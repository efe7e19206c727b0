"""What a service says of itself: for pages and command lines that are made from declarations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.records.persons import privacy_role
from clawpurse.modules.kit.records.shapes import Shape, moved_fields
from clawpurse.modules.kit.service.declaration import Manifest
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams

Json = dict[str, Any]
COST: Final = 5


class DescriptionShape(Shape):
    """A service: its kinds of records with fields, moves, clocks and methods, and who you are.

    `privacy`: the role that may erase persons.
    """

    service: str
    title: str
    version: str
    roles: list[str]
    privacy: str
    kinds: list[Json]
    you: Json


def describe_method(manifest: Manifest, actor_of: Callable[[Context], Awaitable[Actor]]) -> Method:
    """Return `<service>_describe`."""
    kinds = [kind_json(manifest.name, kind) for kind in manifest.kinds.values()]

    async def describe(_params: NoParams, context: Context) -> Json:
        actor = await actor_of(context)
        return {
            "service": manifest.name,
            "title": manifest.title,
            "version": manifest.version,
            "roles": list(manifest.roles),
            "privacy": privacy_role(manifest.name),
            "kinds": kinds,
            "you": {"subject": actor.subject, "roles": sorted(actor.roles)},
        }

    return Method(
        f"{manifest.name}_describe",
        "What this service keeps: records, fields, moves, clocks; and your roles",
        describe,
        NoParams,
        DescriptionShape,
        cost=COST,
    )


def kind_json(service: str, kind: Kind) -> Json:
    """Return a kind of record as it was declared, with the names of its methods."""
    flow, moved = kind.flow, moved_fields(kind)
    return {
        "name": kind.name,
        "noun": kind.noun,
        "nouns": kind.nouns,
        "title": kind.title,
        "prefix": kind.prefix,
        "fields": [_field_json(spec, spec.name in moved) for spec in kind.fields.values()],
        "states": list(flow.states),
        "initial": flow.initial,
        "ends": sorted(flow.ends),
        "moves": [
            {
                "name": move.name,
                "from": list(flow.sources(move.name)),
                "to": move.target,
                "says": move.says,
                "roles": sorted(move.roles),
                "needs": [kind.fields[name].wire_name for name in move.needs],
                "sets": [kind.fields[name].wire_name for name in move.sets],
                "approvals": move.approvals,
                "approvers": sorted(move.approving) if move.approvals else [],
                "sends": move.chain is not None,
            }
            for move in flow.moves.values()
        ],
        "clocks": [
            {
                "name": clock.name,
                "stops": sorted(clock.stops),
                "starts": sorted(clock.starts),
                "pauses": sorted(clock.pauses),
                "calendar": clock.calendar,
            }
            for clock in kind.clocks
        ],
        "access": {
            "read": kind.access.read.split(),
            "create": kind.access.create.split(),
            "update": kind.access.update.split(),
        },
        "methods": _methods(service, kind),
    }


def _methods(service: str, kind: Kind) -> Json:
    named = {
        verb: f"{service}_{verb}{kind.noun}"
        for verb in ("create", "get", "update", "move", "history", "prove", "erase")
    }
    named |= {"list": f"{service}_list{kind.nouns}", "export": f"{service}_export{kind.nouns}"}
    if any(move.approvals for move in kind.flow.moves.values()):
        named |= {
            "approve": f"{service}_approve{kind.noun}",
            "proposal": f"{service}_get{kind.noun}Proposal",
            "proposals": f"{service}_list{kind.noun}Proposals",
        }
    return named


def _field_json(spec: FieldSpec, moved: bool) -> Json:
    return {
        "name": spec.wire_name,
        "holds": spec.holds.value,
        "required": spec.required,
        "nullable": spec.nullable,
        "ref": None if spec.ref is None else spec.ref.kind,
        "personal": None if spec.personal is None else spec.personal.category,
        "choices": list(spec.choices),
        "charsMax": spec.chars_max,
        "searched": spec.indexed,
        "moved": moved,
        "says": spec.description,
    }
