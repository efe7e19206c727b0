"""Signing for consensus with a guard that outlives crashes: one answer per position (R24).

The watermark (the last position signed, its bytes, its signature) is on disk before a signature
leaves this file. It lies in a preallocated file of two slots, written in turn; a torn write
damages at most the slot that was being written, whose signature had not left yet, and the
other still holds the position before.

A watermark may also stand where nothing was signed, to keep a key silent up to there (R26):
at the last position of a height, which is then sealed; or before a height's first position,
which says that this state does not know all that its key signed.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple, Protocol

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.signbytes import ROUND_MAX, Kind, Position, parse
from clawpurse.ledger.errors import Bug, ClawPurseError, Malformed, NotFound, OperatorError
from clawpurse.node.files import Files
from clawpurse.node.workers import Lane

SLOT_BYTES: Final = 512
STATE_VERSION: Final = 1


Order = tuple[int, int, int]


class DoubleSignRefused(ClawPurseError):
    """The guard refused to sign. Attributes: `asked` and `watermark` as (height, round, kind)."""

    def __init__(self, asked: Order, watermark: Order) -> None:
        super().__init__(f"position {asked} is not above the watermark {watermark}")
        self.asked = asked
        self.watermark = watermark


class SignerAway(ClawPurseError):
    """The signer cannot be asked now. Nothing is lost: the same bytes may be asked for later."""


class Watermark(NamedTuple):
    """What was signed last: `order` is (height, round, kind), all zero before the first.

    `sign_bytes` is empty where nothing was signed at this position: the key was silenced.
    """

    counter: int
    order: Order
    sign_bytes: bytes
    signature: bytes

    @property
    def has_gap(self) -> bool:
        """Whether the key may have signed more than this state knows."""
        return self.order > (0, 0, 0) and self.order[2] == 0

    def is_silent_at(self, height: int) -> bool:
        """Tell whether nothing at all will be signed at a height."""
        return self.order >= sealed(height) or (self.has_gap and self.order[0] > height)

    def forgets(self, order: Order, sign_bytes: bytes) -> bool:
        """Tell whether these bytes, signed by the key, are not accounted for here."""
        if order == self.order:
            return self.sign_bytes not in (b"", sign_bytes)
        return order > self.order


NOTHING_SIGNED: Final = Watermark(0, (0, 0, 0), b"", b"")


def sealed(height: int) -> Order:
    """Return the last position of a height: above it the key signs from the next height on."""
    return height, ROUND_MAX, int(Kind.PRECOMMIT)


def gap_at(height: int) -> Order:
    """Return the position that says: signed up to `height`, or beyond, by what is not known."""
    return height + 1, 0, 0


class Signer(Protocol):
    """Signs consensus messages for one authority key."""

    @property
    def public_key(self) -> bytes:
        """The authority's public key."""

    @property
    def watermark(self) -> Watermark:
        """What was signed last."""

    @property
    def away(self) -> str:
        """Why the signer cannot be asked now; empty when it can."""

    @property
    def refusal_count(self) -> int:
        """How many requests the guard refused since start."""

    async def sign(self, sign_bytes: bytes) -> bytes:
        """Return the signature over canonical sign bytes, watermark on disk first.

        The same bytes at the same position get the stored signature again. Raises
        `DoubleSignRefused`, `SignerAway`, `Malformed` (not sign bytes of this network) or
        `StorageFault`.
        """

    async def raise_to(self, order: Order) -> None:
        """Never sign at or below a position from now on, durably; one that is lower is no news.

        Raises `SignerAway` or `StorageFault`.
        """


class Guard:
    """The watermark of one key on one network, in its file: what may be signed, what was.

    Blocking. Whoever signs asks `admit` first and calls `store` before a signature leaves.
    """

    def __init__(
        self, genesis_hash: bytes, public_key: bytes, files: Files, name: str | None = None
    ) -> None:
        """Open the watermark. Raises `OperatorError` when it is not there or cannot be read.

        `name` is the file's, if it is not that of a key in this folder (`asked_guard`).
        """
        self.public_key: Final = public_key
        self._genesis_hash = genesis_hash
        self._files = files
        self._name = name or state_name(genesis_hash, public_key)
        self._is_durable = True
        self.refusal_count = 0
        try:
            data = files.read(self._name)
        except NotFound:
            raise OperatorError(
                f"The signing state of authority 0x{public_key.hex()[:16]}… is missing.",
                "Without it this node could sign twice for one position.",
                "restore it, or start once with --signer-floor HEIGHT above all you ever signed",
            ) from None
        self.watermark = _newest(data)

    def admit(self, sign_bytes: bytes) -> Position | None:
        """Return the position that the watermark rises to, None for the very bytes it holds.

        Raises `DoubleSignRefused` or `Malformed`.
        """
        position = parse(sign_bytes)
        if position.domain.genesis_hash != self._genesis_hash:
            raise Malformed("signBytes.genesisHash", "is another network's")
        last = self.watermark
        if position.order == last.order and sign_bytes == last.sign_bytes:
            return None
        if position.order <= last.order:
            self.refusal_count += 1
            raise DoubleSignRefused(position.order, last.order)
        return position

    def store(self, order: Order, sign_bytes: bytes, signature: bytes) -> None:
        """Raise the watermark, durably. Raises `StorageFault`, the guard then raised all the same.

        The guard moves first: if the write fails half-way, other bytes stay refused.
        """
        self.watermark = Watermark(self.watermark.counter + 1, order, sign_bytes, signature)
        self._is_durable = False
        self.settle()

    def settle(self) -> None:
        """Write again what a failed write left undone, before what it guards may leave."""
        if not self._is_durable:
            _write(self._files, self._name, self.watermark)
            self._is_durable = True

    def raise_to(self, order: Order) -> None:
        """See `Signer.raise_to`."""
        if order > self.watermark.order:
            self.store(order, b"", b"")
        else:
            self.settle()


def asked_guard(genesis_hash: bytes, public_key: bytes, files: Files) -> Guard:
    """Return a node's own guard of a key that a remote signer holds; begun where there is none.

    It says what this node asked for, which is another thing than what the key signed.
    """
    name = f"{genesis_hash.hex()[:16]}-{public_key.hex()}.asked"
    if name not in files.names():
        files.create(name, _slot(NOTHING_SIGNED) + bytes(SLOT_BYTES)).close()
    return Guard(genesis_hash, public_key, files, name)


class FileSigner:
    """A signer that holds its key in memory and its watermark in a file of its own."""

    def __init__(self, seed: bytes, genesis_hash: bytes, files: Files, lane: Lane) -> None:
        """Open the watermark of (network, key). Raises `OperatorError` when it is not there."""
        self._seed = seed
        self._lane = lane
        public_key = crypto.public_key_of(seed)
        require_here(files, genesis_hash, public_key)
        self._guard = Guard(genesis_hash, public_key, files)

    @property
    def public_key(self) -> bytes:
        """The authority's public key."""
        return self._guard.public_key

    @property
    def watermark(self) -> Watermark:
        """What was signed last."""
        return self._guard.watermark

    @property
    def away(self) -> str:
        """Never: the key is in this process."""
        return ""

    @property
    def refusal_count(self) -> int:
        """How many requests the guard refused since start."""
        return self._guard.refusal_count

    async def sign(self, sign_bytes: bytes) -> bytes:
        """Sign, with the watermark on disk before the signature is returned."""
        return await self._lane.run(lambda: self._sign(sign_bytes))

    async def raise_to(self, order: Order) -> None:
        """Silence the key up to a position, durably."""
        await self._lane.run(lambda: self._guard.raise_to(order))

    def _sign(self, sign_bytes: bytes) -> bytes:
        guard = self._guard
        position = guard.admit(sign_bytes)
        if position is None:
            guard.settle()
            return guard.watermark.signature
        signature = crypto.sign(self._seed, sign_bytes)
        guard.store(position.order, sign_bytes, signature)
        return signature


def state_name(genesis_hash: bytes, public_key: bytes) -> str:
    """Return the file name of a key's signing state on a network."""
    return f"{genesis_hash.hex()[:16]}-{public_key.hex()}.sign"


class MoveRecord(NamedTuple):
    """Where a key went or came from last: `number` rises with each move, over all machines.

    `is_out`: it was moved out, to the node `destination`, and never signs here any more unless
    it is moved in again.
    """

    number: int
    is_out: bool
    destination: bytes

    def pack(self) -> bytes:
        """Return the bytes of the record's file."""
        return codec.pack([STATE_VERSION, self.number, self.is_out, self.destination])


def move_name(genesis_hash: bytes, public_key: bytes) -> str:
    """Return the file name of the record of a key's moves."""
    return f"{genesis_hash.hex()[:16]}-{public_key.hex()}.move"


def read_move(files: Files, genesis_hash: bytes, public_key: bytes) -> MoveRecord | None:
    """Return the record of a key's last move, None when it never moved.

    Raises `OperatorError` when it cannot be read: then nobody knows whether the key is here.
    """
    name = move_name(genesis_hash, public_key)
    if name not in files.names():
        return None
    try:
        wire = codec.unpack(files.read(name), size_max=SLOT_BYTES, field="move")
        version, number, is_out, destination = codec.array(wire, "move", 4)
        codec.version(version, "move.version", (STATE_VERSION,))
        if type(is_out) is not bool:
            raise Malformed("move.isOut", "is not a boolean")
        destination = codec.digest(destination, "move.destination")
        return MoveRecord(codec.integer(number, "move.number", 1), is_out, destination)
    except Malformed as err:
        raise OperatorError(
            f"{files.where(name)} is damaged ({err}).",
            "It says whether the authority's key was moved away from here.",
            "restore signer/ of this folder as it was last",
        ) from None


def require_here(files: Files, genesis_hash: bytes, public_key: bytes) -> None:
    """Raise `OperatorError` for a key that was moved away from this folder."""
    record = read_move(files, genesis_hash, public_key)
    if record is not None and record.is_out:
        raise OperatorError(
            f"The key of authority 0x{public_key.hex()[:16]}… was moved out of this folder.",
            f"It belongs to node {record.destination.hex()} now.",
            "clawpurse authority move-in BUNDLE, with a bundle that was made for this node",
        )


def read_watermark(files: Files, genesis_hash: bytes, public_key: bytes) -> Watermark | None:
    """Return a key's watermark as it is on disk, None when there is none.

    Raises `OperatorError` when it cannot be read.
    """
    name = state_name(genesis_hash, public_key)
    return _newest(files.read(name)) if name in files.names() else None


def install_watermark(
    files: Files, genesis_hash: bytes, public_key: bytes, moved: Watermark
) -> None:
    """Make a key's state say what it says where the key came from; never lower it. Durable."""
    name = state_name(genesis_hash, public_key)
    last = _readable(files.read(name)) if name in files.names() else None
    if last is None:
        first = moved._replace(counter=0)
        files.create(name, _slot(first) + bytes(SLOT_BYTES)).close()
    elif last.order < moved.order:
        _write(files, name, moved._replace(counter=last.counter + 1))


def create_sign_state(
    files: Files, genesis_hash: bytes, public_key: bytes, floor_height: int = 0
) -> None:
    """Make the signing state of a key that never signed, or only below `floor_height`.

    Raises `OperatorError` if there is one already: a watermark is never reset.
    """
    name = state_name(genesis_hash, public_key)
    if name in files.names():
        raise OperatorError("There is a signing state for this key already.", "", "")
    first = Watermark(0, (floor_height, 0, 0), b"", b"")
    files.create(name, _slot(first) + bytes(SLOT_BYTES)).close()


def set_floor(files: Files, genesis_hash: bytes, public_key: bytes, height: int) -> None:
    """Make sure that a key signs nothing below `height`, on its operator's word.

    For a state that is lost, damaged or older than what was signed. A state that can be read is
    only ever raised. What was signed stays unknown, so the state has a gap (R26): the node waits
    for the height after next before it signs.
    """
    require_here(files, genesis_hash, public_key)
    name = state_name(genesis_hash, public_key)
    last = _readable(files.read(name)) if name in files.names() else None
    order = (height, 0, 0)
    if last is None:
        first = Watermark(0, order, b"", b"")
        files.create(name, _slot(first) + bytes(SLOT_BYTES)).close()
    elif last.order < order:
        _write(files, name, Watermark(last.counter + 1, order, b"", b""))


def _write(files: Files, name: str, watermark: Watermark) -> None:
    files.write_slot(name, SLOT_BYTES * (watermark.counter % 2), _slot(watermark))


def _slot(watermark: Watermark) -> bytes:
    body = codec.pack(
        [
            STATE_VERSION,
            watermark.counter,
            list(watermark.order),
            watermark.sign_bytes,
            watermark.signature,
        ]
    )
    if len(body) > SLOT_BYTES - 8:
        raise Bug("a watermark outgrew its slot")
    head = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big")
    return (head + body).ljust(SLOT_BYTES, b"\0")


def _readable(data: bytes) -> Watermark | None:
    """Return the newer of the slots that can be read."""
    found = [_read_slot(data[place : place + SLOT_BYTES]) for place in (0, SLOT_BYTES)]
    readable = [watermark for watermark in found if watermark is not None]
    return max(readable) if readable else None


def _newest(data: bytes) -> Watermark:
    found = _readable(data)
    if found is None:
        raise OperatorError(
            "Both slots of the signing state are damaged.",
            "This node no longer knows what it signed.",
            "start once with --signer-floor HEIGHT above all you ever signed",
        )
    return found


def _read_slot(data: bytes) -> Watermark | None:
    length = int.from_bytes(data[:4], "big")
    body = data[8 : 8 + length]
    if not 0 < length <= SLOT_BYTES - 8 or zlib.crc32(body) != int.from_bytes(data[4:8], "big"):
        return None
    wire = codec.unpack(body, size_max=SLOT_BYTES, field="watermark")
    codec.version(wire[0], "watermark.version", (STATE_VERSION,))
    height, round_, kind = codec.array(wire[2], "watermark.order", 3)
    return Watermark(
        codec.integer(wire[1], "watermark.counter"),
        (
            codec.integer(height, "watermark.height"),
            codec.integer(round_, "watermark.round"),
            codec.integer(kind, "watermark.kind"),
        ),
        codec.binary(wire[3], "watermark.signBytes", 256),
        codec.binary(wire[4], "watermark.signature", 64),
    )
