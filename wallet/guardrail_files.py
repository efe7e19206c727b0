"""Where guardrails are kept: one policy a key, signed by that key, and what lifts it.

    guardrails/HEX.json  the policy        HEX.log, HEX.head  overrides and changes (guardrail_log)
    guardrails/HEX.code  a sealed secret of codes, and wrong ones in a row (second_factor)

HEX is the public key: a policy follows its key, whatever that is called, and one that is imported
again. The policy is signed by the key, so that nobody edits it quietly who cannot sign, and its
hash stands in the signed head of the log, so that an older one cannot be put back. A key that
never had any has `DEFAULT_POLICY`; a file that is damaged, or gone although the log knows it,
refuses every payment. Calls block for disk: asynchronous callers use a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Code, Malformed, Refused, StorageFault
from clawpurse.wallet import second_factor
from clawpurse.wallet.approvals import ID_BYTES, VALID_MS, Approval
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrail_json import (
    TEXT_BYTES_MAX,
    canonical,
    members,
    octets,
    parsed,
    policy_from,
    policy_json,
)
from clawpurse.wallet.guardrail_log import GuardrailLog, Head, Line
from clawpurse.wallet.guardrails import DEFAULT_POLICY, Policy, Refusal
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]
FORMAT: Final = "clawpurse-guardrails"
VERSION: Final = 1
# A million codes, three good at a time: after five wrong ones each next try waits, longer and
# longer, up to an hour (RFC 4226 §7.3 asks for throttling).
FREE_TRIES: Final = 5
FIRST_WAIT_MS: Final = 30_000
WAIT_MS_MAX: Final = 3_600_000
_CODE_BYTES_MAX: Final = 4_096
_TAG: Final = b"clawpurse/guardp".ljust(16, b"\0")
_POLICY: Final = ("format", "version", "key", "revision", "changedMs", "policy", "signature")
_CODE: Final = ("version", "nonce", "sealed", "failures", "lastFailureMs")


class Kept(NamedTuple):
    """A policy with what is known of it. `revision` 0 is the default of a key that has none."""

    policy: Policy
    revision: int
    changed_ms: int
    digest: bytes


class Factor(NamedTuple):
    """What vouches for lifting or loosening a limit, one of the three.

    `code` is typed from the app; `approval` a co-signer's file; `words_key` the public key that
    typed words of this key gave: who has the words has everything.
    """

    code: str | None = None
    approval: Approval | None = None
    words_key: bytes | None = None


class Override(NamedTuple):
    """That a limit was lifted once: the number of its line in the log, and for what (a hash)."""

    number: int
    covers: bytes

    @property
    def text(self) -> str:
        """How the outbox refers to it."""
        return f"{self.number}:{self.covers.hex()}"


def subject_hash(subject: Json) -> bytes:
    """Return what an override or an approval is bound to: the hash of its subject."""
    return crypto.message_hash_of(_TAG + canonical(subject))


def guardrails_in(root: Path, now_ms: Callable[[], int]) -> Guardrails:
    """Return the guardrails of the client's home folder; `now_ms` is the wall clock, ms UTC."""
    return Guardrails(root / "guardrails", now_ms=now_ms)


class Guardrails:
    """The guardrails of one home. Safe to use from several threads and processes at once.

    `now_ms` is the wall clock in ms UTC; `random_bytes` gives n unguessable bytes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.directory = directory
        self._now_ms = now_ms
        self._random_bytes = random_bytes

    def show(self, public_key: bytes) -> Kept:
        """Return the policy of a key. Raises `StorageFault`, after which nothing may be paid."""
        head = self._log(public_key).head()
        file = self._file(public_key, "json")
        try:
            kept = self._read(public_key, read_private(file, TEXT_BYTES_MAX))
        except FileNotFoundError:
            if head.revision:
                raise _fault(file, "it is gone, although there were guardrails") from None
            return Kept(DEFAULT_POLICY, 0, 0, bytes(crypto.HASH_BYTES))
        except Malformed as err:
            raise _fault(file, f"{err.field} {err.problem}") from err
        # A crash between the policy and its line leaves a policy one ahead: the key signed it.
        is_next = kept.revision == head.revision + 1
        if not is_next and (kept.revision, kept.digest) != (head.revision, head.policy):
            raise _fault(file, f"revision {kept.revision} is not the newest, {head.revision}")
        return kept

    def has(self, public_key: bytes) -> bool:
        """Tell whether a key has guardrails of its own, not the default ones."""
        return self.show(public_key).revision > 0

    def save(
        self,
        signer: SigningKey,
        policy: Policy,
        factor: Factor | None = None,
        *,
        fresh: bool = False,
    ) -> tuple[Kept, tuple[str, ...]]:
        """Keep a policy; return it and what it weakens.

        A weaker one than what stands needs a `factor`, the default one's successor too, unless
        the key was made just now (`fresh`). Raises `Refused` without a good factor; nothing
        changed then.
        """
        key = signer.public_key
        with self._locked(key):
            before = self.show(key)
            weaker = weakened(before.policy, policy)
            if fresh and not before.revision:
                weaker = ()
            document = policy_json(policy)
            subject = {
                "from": f"0x{before.digest.hex()}",
                "policy": document,
                "weaker": list(weaker),
            }
            by: Json = {"factor": "key"}
            head = self._log(key).head()
            if weaker:
                by, head = self._judge(signer, factor, subject, head)
            kept = Kept(policy, before.revision + 1, self._now_ms(), b"")
            data, digest = self._encode(signer, kept)
            remove_unfinished(self._file(key, "json"))
            replace_private(self._file(key, "json"), data)
            self._note(signer, "change", by, subject, (), head, kept.revision, digest)
            return kept._replace(digest=digest), weaker

    def override(
        self, signer: SigningKey, factor: Factor, subject: Json, refusals: tuple[Refusal, ...]
    ) -> Override:
        """Lift limits once for what `subject` says; logged before anything is signed.

        Raises `Refused` when the factor is no good, `StorageFault` when it cannot be logged.
        """
        with self._locked(signer.public_key):
            self.show(signer.public_key)
            head = self._log(signer.public_key).head()
            by, head = self._judge(signer, factor, subject, head)
            head = self._note(signer, "override", by, subject, refusals, head)
            return Override(head.size, subject_hash(subject))

    def enrol(self, signer: SigningKey, factor: Factor | None = None) -> bytes:
        """Make a secret of codes and return it; who has one already vouches by a factor.

        It counts once `confirm` saw a code of it. Raises `Refused`, `StorageFault`.
        """
        with self._locked(signer.public_key):
            head = self._log(signer.public_key).head()
            if head.code:
                by, head = self._judge(signer, factor, {"codes": "renewed"}, head)
                self._note(signer, "codes renewed", by, {}, (), head)
            secret = self._random_bytes(second_factor.SECRET_BYTES)
            nonce = self._random_bytes(second_factor.NONCE_BYTES)
            self._put_code(signer.public_key, nonce, second_factor.seal(secret, signer, nonce))
            return secret

    def confirm(self, signer: SigningKey, code: str) -> None:
        """Take codes into use, once the app shows the right one. Raises `Refused`."""
        with self._locked(signer.public_key):
            log = self._log(signer.public_key)
            head = log.head()
            step = self._judge_code(signer, code, head)
            self._note(
                signer, "codes", {"factor": "key"}, {}, (), head._replace(step=step, code=True)
            )

    def forget_codes(self, signer: SigningKey, factor: Factor) -> None:
        """End codes: only co-signers and words lift limits afterwards. Raises `Refused`."""
        with self._locked(signer.public_key):
            head = self._log(signer.public_key).head()
            by, head = self._judge(signer, factor, {"codes": "ended"}, head)
            self._note(signer, "codes ended", by, {}, (), head._replace(code=False))
            remove_private(self._file(signer.public_key, "code"))

    def asks_for_codes(self, public_key: bytes) -> bool:
        """Tell whether codes are enrolled for a key."""
        return self._log(public_key).head().code

    def request(self, public_key: bytes, what: str, subject: Json) -> Approval:
        """Return a request for a co-signer, good for three days."""
        expires_ms = self._now_ms() + VALID_MS
        return Approval(public_key, self._random_bytes(ID_BYTES), expires_ms, what, subject)

    def log(self, public_key: bytes) -> Iterator[Line]:
        """Give the lines of the log, checked. Raises `StorageFault` where it was tampered with."""
        return self._log(public_key).lines()

    def _judge(
        self, signer: SigningKey, factor: Factor | None, subject: Json, head: Head
    ) -> tuple[Json, Head]:
        """Return who vouches for `subject` and the head after it. Raises `Refused`."""
        key = signer.public_key
        if factor is None or factor == Factor():
            raise _refused("A second factor or a co-signer is needed.")
        if factor.words_key is not None:
            if factor.words_key != key:
                raise _refused("Those are not the words of this key.")
            return {"factor": "words"}, head
        if factor.approval is not None:
            return self._judge_approval(key, factor.approval, subject), head
        if not head.code:
            raise _refused("No codes are enrolled for this key.")
        step = self._judge_code(signer, factor.code or "", head)
        head = head._replace(step=step)
        # A code is used up by being right, also if what it was for fails afterwards.
        self._log(key).put_head(signer, head)
        return {"factor": "code", "step": step}, head

    def _judge_approval(self, key: bytes, approval: Approval, subject: Json) -> Json:
        if approval.key != key:
            raise _refused("The approval is about another key.")
        if canonical(approval.subject) != canonical(subject):
            raise _refused("The approval is for something else.")
        if self._now_ms() >= approval.expires_ms:
            raise _refused("The approval is too old.")
        policy = self.show(key).policy
        who = next((one for one in policy.cosigners if one.public_key == approval.cosigner), None)
        if who is None or approval.cosigner == key or not approval.valid:
            raise _refused("The approval is not signed by a co-signer of these guardrails.")
        used = f"0x{approval.approval_id.hex()}"
        if any(line.by.get("approval") == used for line in self.log(key)):
            raise _refused("The approval was used already.")
        cosigner = f"0x{approval.cosigner.hex()}"
        return {"factor": "cosigner", "label": who.label, "key": cosigner, "approval": used}

    def _judge_code(self, signer: SigningKey, code: str, head: Head) -> int:
        """Return the time step of a good code, or count a wrong one and raise `Refused`."""
        key = signer.public_key
        file = self._file(key, "code")
        try:
            top = members(parsed(read_private(file, _CODE_BYTES_MAX), "code"), "code", _CODE)
            failures = codec.integer(top["failures"], "failures")
            last_ms = codec.integer(top["lastFailureMs"], "lastFailureMs")
            nonce = octets(top["nonce"], "nonce", second_factor.NONCE_BYTES)
            sealed = octets(top["sealed"], "sealed", second_factor.SECRET_BYTES + 16)
            secret = second_factor.unseal(sealed, signer, nonce)
        except FileNotFoundError:
            raise _fault(file, "it is gone, although codes were enrolled") from None
        except Malformed as err:
            raise _fault(file, f"{err.field} {err.problem}") from err
        now_ms = self._now_ms()
        wait_ms = _wait_ms(failures)
        if wait_ms and now_ms < last_ms:
            # The clock was set back: the wait starts anew rather than lasting for years.
            self._put_code(key, nonce, sealed, failures, now_ms)
            last_ms = now_ms
        if now_ms < last_ms + wait_ms:
            seconds = -(-(last_ms + wait_ms - now_ms) // 1000)
            raise _refused(f"Too many wrong codes; the next try is in {seconds} s.")
        step = second_factor.matching_step(secret, code, now_ms, head.step)
        if step is None:
            self._put_code(key, nonce, sealed, failures + 1, now_ms)
            raise _refused("That code is wrong, too old, or was used already.")
        if failures:
            self._put_code(key, nonce, sealed)
        return step

    def _put_code(
        self, key: bytes, nonce: bytes, sealed: bytes, failures: int = 0, last_ms: int = 0
    ) -> None:
        values = (1, f"0x{nonce.hex()}", f"0x{sealed.hex()}", failures, last_ms)
        document = dict(zip(_CODE, values, strict=True))
        replace_private(self._file(key, "code"), canonical(document) + b"\n")

    def _note(
        self,
        signer: SigningKey,
        what: str,
        by: Json,
        subject: Json,
        refusals: tuple[Refusal, ...],
        head: Head,
        revision: int | None = None,
        digest: bytes = b"",
    ) -> Head:
        """Write a line of the log and the head that it leaves."""
        log = self._log(signer.public_key)
        told = [one.data() for one in refusals]
        written = log.append(signer, self._now_ms(), what, by, subject, told)
        head = head._replace(size=written.size, hash=written.hash)
        if revision is not None:
            head = head._replace(revision=revision, policy=digest)
        log.put_head(signer, head)
        return head

    def _encode(self, signer: SigningKey, kept: Kept) -> tuple[bytes, bytes]:
        values = (
            FORMAT,
            VERSION,
            f"0x{signer.public_key.hex()}",
            kept.revision,
            kept.changed_ms,
            policy_json(kept.policy),
        )
        document = dict(zip(_POLICY, values, strict=False))
        digest = crypto.message_hash_of(_TAG + canonical(document))
        document["signature"] = f"0x{signer.sign(_TAG + digest).hex()}"
        data = canonical(document) + b"\n"
        if self._read(signer.public_key, data).policy != kept.policy:
            raise StorageFault("The guardrails would not read back.", "Nothing was saved.")
        return data, digest

    def _read(self, public_key: bytes, data: bytes) -> Kept:
        top = members(parsed(data, "guardrails"), "guardrails", _POLICY)
        if top["format"] != FORMAT or top["key"] != f"0x{public_key.hex()}":
            raise Malformed("guardrails", "are of another kind, or another key's")
        codec.version(top["version"], "version", (VERSION,))
        signature = octets(top.pop("signature"), "signature", crypto.SIGNATURE_BYTES)
        digest = crypto.message_hash_of(_TAG + canonical(top))
        if not crypto.verify(public_key, _TAG + digest, signature):
            raise Malformed("signature", "does not fit: the file was damaged or edited")
        revision = codec.integer(top["revision"], "revision", 1)
        changed_ms = codec.integer(top["changedMs"], "changedMs")
        return Kept(policy_from(top["policy"]), revision, changed_ms, digest)

    @contextmanager
    def _locked(self, public_key: bytes) -> Iterator[None]:
        make_private_directory(self.directory)
        with locked(self._file(public_key, "lock"), "These guardrails are in use elsewhere."):
            yield

    def _log(self, public_key: bytes) -> GuardrailLog:
        file, head = self._file(public_key, "log"), self._file(public_key, "head")
        return GuardrailLog(file, head, public_key)

    def _file(self, public_key: bytes, ending: str) -> Path:
        return self.directory / f"{public_key.hex()}.{ending}"


def _wait_ms(failures: int) -> int:
    if failures < FREE_TRIES:
        return 0
    return min(FIRST_WAIT_MS << min(failures - FREE_TRIES, 20), WAIT_MS_MAX)


def _refused(reason: str) -> Refused:
    return Refused(Code.NOT_AUTHORISED, f"{reason} Nothing was changed or sent.")


def _fault(file: Path, problem: str) -> StorageFault:
    return StorageFault(
        f"The guardrails in {file} cannot be trusted: {problem}.",
        "Nothing was sent.",
        "restore the folder from a backup, or move it away",
    )
