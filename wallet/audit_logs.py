"""Checks a bundle of the audit log offline: from the genesis hash to the text of an entry.

    genesis hash → authorities → header → the ledger's record of the log: size and root (anchor)
    anchor → consistency proof → the head, a signed checkpoint → inclusion proofs → leaves → texts

The key that signed the head stands in an entry that is anchored itself. What does not hold is
named by what was done to the log, so that nobody has to guess:

    row         an entry is not what was logged: a row of the database was changed
    truncated   the log is shorter than the ledger knows it
    forked      the log has another past than the ledger knows, or two were signed
    anchor      the ledger's record is not what its authorities signed: the anchor was rewritten
    signature   the checkpoint is not signed by the key that the log names
    genesis     another network than the one that is trusted
    bundle      the file itself: members, order, lengths
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import ClawPurseError, Malformed
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.rfc6962 import (
    HASH_BYTES,
    PROOF_HASHES_MAX,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from clawpurse.modules.anchor.records import TREE as ANCHOR
from clawpurse.modules.anchor.records import Log, log_id, log_key
from clawpurse.modules.audit.bundles import KEYS_MAX, LOG_BUNDLE_FORMAT, LOG_BUNDLE_VERSION
from clawpurse.modules.audit.checkpoints import KEY_NAMED
from clawpurse.modules.audit.entries import OWN, TEXT_BYTES_MAX, Told, read_entry
from clawpurse.modules.audit.notes import (
    NOTE_CHARS_MAX,
    Checkpoint,
    NoteKey,
    open_note,
    origin_of,
    parse_checkpoint,
    parse_key,
)
from clawpurse.modules.audit.tree import SIZE_MAX
from clawpurse.wallet.proof_steps import bounded_list, exact_members, octets, step
from clawpurse.wallet.state_proofs import STATE, ProvenState, check_state_proof

ENTRIES_MAX: Final = 50_000
"""Some sixty megabytes of proofs; longer stories are several bundles."""

ANCHORS_MAX: Final = 64
CHECKPOINTS_MAX: Final = 64
_BUNDLE: Final = ("format", "version", "first", "entries", "keys", "checkpoints", "anchors")
_ENTRY: Final = ("text", "leaf", "path")


class LogFault(Malformed):
    """What is wrong with a log, by the name of what was done to it. Attributes: `finding`."""

    def __init__(self, finding: str, problem: str) -> None:
        super().__init__(finding, problem)
        self.finding = finding


class ProvenAnchor(NamedTuple):
    """That the ledger had the log with this size and root after a block.

    `since_height`, `since_ms`: the block that anchored it. `set_back`: officers let the log go on
    from behind it later, so the log need not begin with it.
    """

    height: int
    time_ms: int
    log: Log
    signers: int
    authorities: int
    set_back: bool

    @property
    def since_height(self) -> int:
        """The block that anchored this size."""
        return self.log.height

    @property
    def since_ms(self) -> int:
        """The time of that block."""
        return self.log.time_ms


class ProvenEntry(NamedTuple):
    """An entry of the log. `told` is None where its text was redacted, or dropped."""

    place: int
    leaf: bytes
    told: Told | None


@dataclass(frozen=True)
class LogStory:
    """Everything that a bundle of a log proves."""

    genesis: Genesis
    identity: bytes
    head: Checkpoint
    keys: tuple[NoteKey, ...]
    entries: tuple[ProvenEntry, ...]
    anchors: tuple[ProvenAnchor, ...]

    @property
    def newest(self) -> ProvenAnchor:
        """The newest anchor."""
        return self.anchors[-1]

    def anchored_by(self, place: int) -> ProvenAnchor | None:
        """Return the first anchor here that covers a place, None for an entry that came later."""
        covering = (one for one in self.anchors if place < one.log.size and not one.set_back)
        return next(covering, None)


def is_log_bundle(document: object) -> bool:
    """Tell whether this is a bundle of a log, by what it says of itself."""
    return isinstance(document, dict) and document.get("format") == LOG_BUNDLE_FORMAT


def check_log_bundle(document: object, genesis_hash: bytes) -> LogStory:
    """Check a bundle against a trusted genesis hash and return what it proves.

    Raises `LogFault`, whose `finding` is one of those above.
    """
    with _finding("bundle"):
        given = exact_members(document, "bundle", _BUNDLE)
        if given["format"] != LOG_BUNDLE_FORMAT:
            raise Malformed("format", f"is not {LOG_BUNDLE_FORMAT}")
        codec.version(given["version"], "version", (LOG_BUNDLE_VERSION,))
        first = codec.integer(given["first"], "first", 0, SIZE_MAX)
        entries = bounded_list(given["entries"], "entries", ENTRIES_MAX)
        keys = bounded_list(given["keys"], "keys", KEYS_MAX)
        points = [
            _point(one)
            for one in bounded_list(given["checkpoints"], "checkpoints", CHECKPOINTS_MAX)
        ]
        records = [_record(one) for one in bounded_list(given["anchors"], "anchors", ANCHORS_MAX)]
        if not points or not entries:
            raise Malformed("bundle", "has no entries or no checkpoint")
    identity, genesis, anchors = _anchors(records, genesis_hash)
    origin, head = origin_of(genesis.hash, identity), points[-1].checkpoint
    for one in points:
        if one.checkpoint.origin != origin:
            raise LogFault("forked", "a checkpoint is of another log than the one that is anchored")
    _check_growth(records, anchors, points, head)
    named = [_key(one, head, anchors[-1].log.size) for one in keys]
    _check_signatures(points, named, origin)
    proven = [_entry(item, place, head) for place, item in enumerate(entries, first)]
    return LogStory(
        genesis,
        identity,
        head,
        tuple(key for _, key in named),
        tuple(proven),
        tuple(anchors),
    )


# -- form


class _Point(NamedTuple):
    note: str
    checkpoint: Checkpoint
    path: list[bytes]


class _Record(NamedTuple):
    proof: object
    path: list[bytes]


def _point(item: object) -> _Point:
    parts = exact_members(item, "checkpoints[]", ("note", "path"))
    note = parts["note"]
    if type(note) is not str or len(note) > NOTE_CHARS_MAX:
        raise Malformed("note", f"is no text of at most {NOTE_CHARS_MAX} characters")
    checkpoint = parse_checkpoint(note.rpartition("\n\n")[0] + "\n")
    return _Point(note, checkpoint, _hashes(parts["path"]))


def _record(item: object) -> _Record:
    parts = exact_members(item, "anchors[]", ("proof", "path"))
    return _Record(parts["proof"], _hashes(parts["path"]))


def _hashes(value: object) -> list[bytes]:
    listed = bounded_list(value, "path", PROOF_HASHES_MAX)
    found = [octets(item, "path", HASH_BYTES) for item in listed]
    if any(len(one) != HASH_BYTES for one in found):
        raise Malformed("path", "holds something else than hashes")
    return found


# -- what the ledger says


def _anchors(
    records: list[_Record], genesis_hash: bytes
) -> tuple[bytes, Genesis, list[ProvenAnchor]]:
    """Return which log it is, of which network, and its anchors by height."""
    if not records:
        raise LogFault("anchor", "there is none: nothing here is vouched for by the ledger")
    found: list[ProvenAnchor] = []
    identity, genesis = b"", None
    states = [_state(one.proof, genesis_hash) for one in records]
    last_breaks = max(log.breaks for _, log in states)
    for state, log in states:
        block = state.last
        if identity not in (b"", log_id(log.owner, log.name)):
            raise LogFault("anchor", "two different logs are anchored here")
        if found and block.header.height <= found[-1].height:
            raise LogFault("bundle", "anchors are not in the order of their blocks")
        identity, genesis = log_id(log.owner, log.name), state.genesis
        found.append(
            ProvenAnchor(
                block.header.height,
                block.header.time_ms,
                log,
                block.signers,
                block.authorities,
                log.breaks < last_breaks,
            )
        )
    assert genesis is not None
    return identity, genesis, found


def _state(proof: object, genesis_hash: bytes) -> tuple[ProvenState, Log]:
    """Return a state that authorities signed, and the log's record in it."""
    try:
        state = check_state_proof(proof, genesis_hash)
    except Malformed as err:
        name = "genesis" if err.field == "genesis" else "anchor"
        raise LogFault(name, f"{err.field}: {err.problem}") from err
    place, value = next(iter(state.last.values.items()))
    if state.kind != STATE or place.module != ANCHOR or value is None:
        raise LogFault("anchor", "what is proven is not the record of a log")
    try:
        log = Log.unpack(value)
        key = log_key(log_id(log.owner, log.name))
    except (ClawPurseError, TypeError, ValueError, IndexError) as err:
        raise LogFault("anchor", "what is proven is no record of a log") from err
    if place.key != key:
        raise LogFault("anchor", "what is proven is not the record of a log")
    return state, log


def _check_growth(
    records: list[_Record], anchors: list[ProvenAnchor], points: list[_Point], head: Checkpoint
) -> None:
    """Check that every anchor and every checkpoint is the beginning of the head."""
    sizes = [one.checkpoint.size for one in points]
    if sizes != sorted(set(sizes)) or head.size < 1:
        raise LogFault("bundle", "checkpoints are not in the order of their sizes")
    newest = anchors[-1]
    if newest.log.size > head.size:
        raise LogFault(
            "truncated",
            f"the log ends at {head.size} entries; {newest.log.size} are anchored in block "
            f"{newest.since_height}",
        )
    for record, anchor in zip(records, anchors, strict=True):
        size, root = anchor.log.size, anchor.log.root
        if not anchor.set_back and not verify_consistency(
            size, root, head.size, head.root, record.path
        ):
            raise LogFault(
                "forked",
                f"the log of {head.size} entries does not begin with the {size} that are anchored "
                f"in block {anchor.since_height}",
            )
    for one in points:
        size, root = one.checkpoint.size, one.checkpoint.root
        if not verify_consistency(size, root, head.size, head.root, one.path):
            raise LogFault(
                "forked",
                f"the checkpoint of {head.size} entries does not begin with that of {size}",
            )


# -- what the log says


def _key(item: object, head: Checkpoint, anchored: int) -> tuple[int, NoteKey]:
    """Return the key that an anchored entry names, and where that stands."""
    with _finding("bundle"):
        parts = exact_members(item, "keys[]", ("place", *_ENTRY))
        place = codec.integer(parts["place"], "keys[].place", 0, SIZE_MAX)
    entry = _entry({name: parts[name] for name in _ENTRY}, place, head)
    with _finding("signature"):
        if entry.told is None or (entry.told.source, entry.told.what) != (OWN, KEY_NAMED):
            raise Malformed("keys", f"entry {place} names no key")
        if place >= anchored:
            raise Malformed(
                "keys", f"entry {place} is not anchored, so nothing vouches for its key"
            )
        return place, parse_key(entry.told.object)


def _check_signatures(points: list[_Point], named: list[tuple[int, NoteKey]], origin: str) -> None:
    """Check that each checkpoint is signed by the last key that is named before it."""
    for note, checkpoint, _ in points:
        before = [key for place, key in sorted(named) if place < checkpoint.size]
        if not before or before[-1].name != origin:
            raise LogFault(
                "signature", f"no key is named for the checkpoint of {checkpoint.size} entries"
            )
        with _finding("signature"):
            if parse_checkpoint(open_note(note, before[-1])) != checkpoint:
                raise Malformed("note", "is read in two ways")


def _entry(item: object, place: int, head: Checkpoint) -> ProvenEntry:
    """Return an entry that is in the log."""
    with _finding("bundle"):
        parts = exact_members(item, "entries[]", _ENTRY)
        leaf, path = octets(parts["leaf"], "leaf", HASH_BYTES), _hashes(parts["path"])
        text = parts["text"]
        if text is not None and (type(text) is not str or len(text) > TEXT_BYTES_MAX):
            raise Malformed("text", "is no text of an entry")
    if text is not None:
        with _finding("row"):
            try:
                data = text.encode()
            except UnicodeEncodeError:
                raise Malformed(f"entry {place}", "is no text") from None
            if leaf_hash(data) != leaf:
                raise Malformed(
                    f"entry {place}", "was changed: its text is not the one that was logged"
                )
    if not verify_inclusion(leaf, place, head.size, path, head.root):
        raise LogFault(
            "row", f"entry {place}: it, or one beside it, was changed after it was logged"
        )
    return ProvenEntry(place, leaf, None if text is None else _told(text, place))


def _told(text: str, place: int) -> Told:
    """Read a text that is proven. What the service would not have kept is told as such."""
    source, number = _speaker(text)
    with _finding("row"), step(f"entry {place}"):
        return read_entry(source, number, text)


def _speaker(text: str) -> tuple[str, int]:
    """Return the source and the number that a text names; it is judged by `read_entry`."""
    try:
        value: Any = json.loads(text)
        return str(value["service"]), int(value["number"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return "", 0


@contextmanager
def _finding(name: str) -> Iterator[None]:
    """Say what was done to the log, whatever inner step failed."""
    try:
        yield
    except LogFault:
        raise
    except Malformed as err:
        raise LogFault(name, f"{err.field} {err.problem}") from err
