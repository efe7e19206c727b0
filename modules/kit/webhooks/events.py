"""What a webhook's body says: CloudEvents 1.0 in structured JSON, thin.

`source` names the place where the event stands, so that its proof can be fetched; `data` holds
ids and no more. The id is worked out from `source` alone, so that every attempt, every replay
and every node of a network gives one event one id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
DATA_CONTENT_TYPE: Final = "application/json"
SPEC_VERSION: Final = "1.0"
ID_PREFIX: Final = "msg_"
_ID_HEX_CHARS: Final = 32
BODY_BYTES_MAX: Final = 20_000
"""The specification asks senders to stay below this; a thin body has about 700."""


class Message(NamedTuple):
    """One event as it is sent: its id, its type, its place in the log, and the signed bytes."""

    ident: str
    kind: str
    cursor: str
    body: bytes


def event_id(source: str) -> str:
    """Return the id of the event at a source: also the `webhook-id`, without a full stop."""
    return ID_PREFIX + hashlib.sha256(source.encode("utf-8")).hexdigest()[:_ID_HEX_CHARS]


def event_body(
    *,
    source: str,
    ident: str,
    kind: str,
    time: str,
    subject: str | None,
    data: Mapping[str, Any],
) -> bytes:
    """Return a CloudEvent as bytes; the same arguments give the same bytes.

    `time` is RFC 3339, of the occurrence. `subject` is left out where there is none.
    """
    event: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "id": ident,
        "source": source,
        "type": kind,
        "time": time,
    }
    if subject is not None:
        event["subject"] = subject
    event["datacontenttype"] = DATA_CONTENT_TYPE
    event["data"] = dict(data)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
