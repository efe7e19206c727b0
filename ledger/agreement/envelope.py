"""One frame for everything that consensus sends: [tag, bytes]. Tags are part of the protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.certificates import (
    ROUND_CERTIFICATE_BYTES_MAX,
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.errors import Malformed

AnyCertificate = Certificate | PolkaCertificate | RoundCertificate
Message = Vote | Proposal | AnyCertificate

#: The largest message: a way into a round, signed by all of the largest set.
MESSAGE_BYTES_MAX: Final = ROUND_CERTIFICATE_BYTES_MAX + 16

_TAGS: Final[dict[type, int]] = {
    Vote: 1,
    Proposal: 2,
    Certificate: 3,
    PolkaCertificate: 4,
    RoundCertificate: 5,
}
_READERS: Final[dict[int, Callable[[bytes], Message]]] = {
    1: Vote.unpack,
    2: Proposal.unpack,
    3: Certificate.unpack,
    4: PolkaCertificate.unpack,
    5: RoundCertificate.unpack,
}


def pack_message(message: Message) -> bytes:
    """Return the canonical bytes of any consensus message."""
    return codec.pack([_TAGS[type(message)], message.pack()])


def unpack_message(data: bytes) -> Message:
    """Read what `pack_message` wrote. Raises `Malformed` naming the field."""
    wire = codec.unpack_typed(data, size_max=MESSAGE_BYTES_MAX, field="message")
    tag, body = codec.array(wire, "message", 2)
    number = codec.integer(tag, "message.tag")
    reader = _READERS.get(number)
    if reader is None:
        raise Malformed("message.tag", f"is {number}, which names no message")
    return reader(codec.binary(body, "message.body", MESSAGE_BYTES_MAX))
