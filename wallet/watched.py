"""What lies beside key files and is no secret: accounts that are only looked at, and labels.

`treasury.watch` names an account whose key is elsewhere; `.alice.label` is what its owner calls
the account. Both are small JSON files, 0600, checked when read: an address carries a checksum of
its own. Like the contacts they are as trustworthy as this machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.wallet.durable import (
    create_private,
    read_private,
    remove_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.names import check_name

FORMAT: Final = "clawpurse-watch"
BYTES_MAX: Final = 1_024
LABEL_CHARS_MAX: Final = 120
_VERSION: Final = 1


class SideFiles:
    """The watch-only files and labels of a directory of keys.

    Callers hold the lock of a name while they change what lies under it. All raise `StorageFault`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def watch_file(self, name: str) -> Path:
        """Return where the watch-only account of that name lies, if there is one."""
        return self._directory / f"{name}.watch"

    def watched(self, name: str) -> bytes | None:
        """Return the account that is watched under `name`, None if there is none."""
        file = self.watch_file(name)
        try:
            return decode_watched(read_private(file, BYTES_MAX), name)
        except FileNotFoundError:
            return None
        except Malformed as err:
            raise StorageFault(
                f"The file {file} is damaged ({err.field} {err.problem}).",
                "Nothing was changed.",
                f"rm {file}",
            ) from err

    def watch(self, name: str, account: bytes) -> None:
        """Save a watch-only account. Raises `FileExistsError` too."""
        file = self.watch_file(name)
        remove_unfinished(file)
        create_private(file, encode_watched(name, account))

    def label(self, name: str) -> str:
        """Return the label of `name`, "" if it has none."""
        file = self._label_file(name)
        try:
            return decode_label(read_private(file, BYTES_MAX))
        except FileNotFoundError:
            return ""
        except Malformed as err:
            raise StorageFault(
                f"The label {file} is damaged ({err.field} {err.problem}).", "", f"rm {file}"
            ) from err

    def set_label(self, name: str, label: str) -> None:
        """Save the label of `name`; none with ""."""
        file = self._label_file(name)
        data = encode_label(label)
        remove_unfinished(file)
        if label:
            replace_private(file, data)
        else:
            remove_private(file)

    def remove(self, name: str) -> None:
        """Remove what lies beside the key `name`."""
        remove_private(self.watch_file(name))
        remove_private(self._label_file(name))

    def _label_file(self, name: str) -> Path:
        return self._directory / f".{name}.label"


def check_label(label: str) -> str:
    """Return `label` if it may be printed beside amounts, else raise `Malformed`.

    No control or direction characters, which would let it pose as something else.
    """
    if len(label) > LABEL_CHARS_MAX:
        raise Malformed("label", f"is {len(label)} characters, {LABEL_CHARS_MAX} are allowed")
    if not label.isprintable():
        raise Malformed("label", "has characters that cannot be printed")
    return label


def encode_watched(name: str, account: bytes) -> bytes:
    """Return the bytes of a watch-only file."""
    document = {
        "format": FORMAT,
        "version": _VERSION,
        "name": name,
        "account": account_text(account),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decode_watched(data: bytes, name: str) -> bytes:
    """Return the account of a watch-only file that must be for `name`. Raises `Malformed`."""
    document = _document(data, "watch-only file", {"format", "version", "name", "account"})
    if document["format"] != FORMAT:
        raise Malformed("format", f"is not {FORMAT}")
    codec.version(document["version"], "version", (_VERSION,))
    if check_name(codec.ascii_text(document["name"], "name", 64)) != name:
        raise Malformed("name", f"is {document['name']!r}")
    return account_from_text(codec.ascii_text(document["account"], "account", 90))


def encode_label(label: str) -> bytes:
    """Return the bytes of a label's file."""
    document = {"version": _VERSION, "label": check_label(label)}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def decode_label(data: bytes) -> str:
    """Return the label of its file. Raises `Malformed`."""
    document = _document(data, "label file", {"version", "label"})
    codec.version(document["version"], "version", (_VERSION,))
    label = document["label"]
    if type(label) is not str:
        raise Malformed("label", "is not a string")
    return check_label(label)


def _document(data: bytes, field: str, members: set[str]) -> dict[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed(field, "is not JSON") from None
    if type(document) is not dict or document.keys() != members:
        raise Malformed(field, f"is not an object with {', '.join(sorted(members))}")
    return document
