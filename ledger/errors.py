"""The one tree of errors. Facts are attributes; the branch says whose fault it is.

ClawPurseError
├── CallerError                  the caller's fault: input that we refuse; nothing changed
│   ├── Malformed                bytes or values that break a format; names the field
│   ├── BadSignature             a signature that does not verify, or a superfluous witness
│   ├── Refused                  a well-formed transaction that may not be included now
│   └── NotFound / Pruned        asked for something we do not have, or no longer have
├── PeerError                    a peer's fault: it sent what no honest node sends
│   ├── InvalidBlock             a block that breaks a rule of the protocol
│   ├── InvalidCertificate       a certificate, vote or proposal that does not verify
│   ├── WrongNetwork             it serves another chain, genesis or protocol version
│   └── ProtocolViolation        broken framing, handshake or message order
├── OperatorError                the operator's to mend: carries what, why, next command
│   ├── WrongPassphrase          the passphrase does not open the key, or comes too early
│   ├── WatchOnly                an account that is only looked at: its key is elsewhere
│   ├── KeyLocked                a key that was not unlocked, or whose time is over
│   └── StorageFault             a disk that lies, is full, or lost what it acknowledged
└── Bug                          ours: an invariant that does not hold

What a person sees of any of them is one line: what, why, and the command that comes next.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    """Outcome of a transaction. A receipt stores the number; JSON-RPC reports −32000 − number.

    Numbers are part of the protocol: never renumber, only add.
    """

    OK = 0
    NOT_FOUND = 1
    LIMIT_EXCEEDED = 4
    MALFORMED = 10
    BAD_SIGNATURE = 11
    SEQUENCE_LOW = 12
    SEQUENCE_GAP = 13
    EXPIRED = 14
    INSUFFICIENT_FUNDS = 15
    DUPLICATE = 16
    POOL_FULL = 17
    FROZEN = 18
    NOT_AUTHORISED = 19
    POLICY_REJECTED = 20
    APPROVAL_REQUIRED = 21
    WRONG_CHAIN = 22
    QUOTA_EXCEEDED = 23

    @property
    def label(self) -> str:
        """The name that users see, in camelCase (`insufficientFunds`)."""
        head, *rest = self.name.lower().split("_")
        return head + "".join(word.capitalize() for word in rest)

    @property
    def rpc_code(self) -> int:
        """The JSON-RPC error code with the same meaning."""
        return -32000 - int(self)


class ClawPurseError(Exception):
    """Base of everything that this project raises on purpose."""


class CallerError(ClawPurseError):
    """The caller's fault. The input was refused and nothing changed."""


class Malformed(CallerError):
    """Bytes or values that break a format.

    Attributes: `field` (dotted name of the offending field), `problem` (what is wrong with it).
    """

    code = Code.MALFORMED

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class BadSignature(CallerError):
    """A signature that does not verify, is missing, superfluous, or out of order."""

    code = Code.BAD_SIGNATURE

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Refused(CallerError):
    """A well-formed request that the ledger refuses, with the code that a receipt would carry.

    Attributes: `code`, `reason` (one sentence of facts), `rule` (what refused it, such as
    `kernel.balance`), `wire_facts` (the integers, ids and names that a receipt carries).
    """

    def __init__(
        self, code: Code, reason: str, *, rule: str = "", wire_facts: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(f"{code.label}: {reason}")
        self.code = code
        self.reason = reason
        self.rule = rule
        self.wire_facts = wire_facts


class NotFound(CallerError):
    """Nothing of that name is known here. Attributes: `what`."""

    code = Code.NOT_FOUND

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not known here")
        self.what = what


class Pruned(CallerError):
    """It existed, but is below what this node keeps. Attributes: `what`, `floor` (height)."""

    def __init__(self, what: str, floor: int) -> None:
        super().__init__(f"{what} is below height {floor}, the oldest kept here")
        self.what = what
        self.floor = floor


class PeerError(ClawPurseError):
    """A peer sent what no honest, current node sends."""


class InvalidBlock(PeerError):
    """A block that breaks a rule. Attributes: `rule` (its short name), `problem`."""

    def __init__(self, rule: str, problem: str) -> None:
        super().__init__(f"{rule}: {problem}")
        self.rule = rule
        self.problem = problem


class InvalidCertificate(PeerError):
    """A certificate, vote or proposal that does not verify against its authority set."""


class WrongNetwork(PeerError):
    """A peer of another network; nobody's malice, so it is told, dropped, and not banned.

    Attributes: `what` differs (`chain id`, `genesis hash`, `protocol version`), `ours`, `theirs`.
    """

    def __init__(self, what: str, ours: str, theirs: str) -> None:
        super().__init__(f"{what} is {theirs} there and {ours} here")
        self.what = what
        self.ours = ours
        self.theirs = theirs


class ProtocolViolation(PeerError):
    """Broken framing, handshake or message order. Attributes: `problem`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class OperatorError(ClawPurseError):
    """Something only the operator can mend.

    Attributes: `what` happened, `why`, and `next_command`, all for one printed line
    `what why → next_command`.
    """

    def __init__(self, what: str, why: str = "", next_command: str = "") -> None:
        line = what if not why else f"{what} {why}"
        super().__init__(line if not next_command else f"{line} → {next_command}")
        self.what = what
        self.why = why
        self.next_command = next_command


class WrongPassphrase(OperatorError):
    """A passphrase that does not open a key, or a try before its time after wrong ones.

    Attributes: `key` (its name), `wait_ms` until the next try counts, `tried` (False when the
    passphrase was not looked at because of earlier failures).
    """

    def __init__(self, key: str, wait_ms: int, *, tried: bool = True) -> None:
        wait_s = -(-wait_ms // 1000)
        what = f"Wrong passphrase for {key}." if tried else f"{key} waits after a wrong passphrase."
        why = f"Next try in {wait_s} s." if wait_ms else ""
        # Who lost the passphrase but has the words gets the key back under a new one.
        super().__init__(what, why, f"clawpurse keys import {key}")
        self.key = key
        self.wait_ms = wait_ms
        self.tried = tried


class WatchOnly(OperatorError):
    """An account that this wallet only looks at; nothing signs for it here.

    Attributes: `key` (its name).
    """

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} is watch-only:",
            "its key is not in this wallet.",
            f"clawpurse keys import {key}",
        )
        self.key = key


class KeyLocked(OperatorError):
    """A key that must be unlocked before it signs: never unlocked, locked again, or out of time.

    Attributes: `key` (its name).
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is locked.", "Nothing was signed.", "unlock it again")
        self.key = key


class StorageFault(OperatorError):
    """A disk that failed, is full, or does not hold what it acknowledged."""


class Bug(ClawPurseError):
    """An invariant of ours does not hold; going on could lose or invent money."""
