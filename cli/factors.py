"""What lifts a limit, at the command line: a code, a co-signer's file, or the words of the key.

Secrets come from files or are typed unseen, never from arguments. `enrol` shows the secret of
codes as a QR code once; `request` and `approve` are the two ends of a co-signer's file.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.wallet import approvals, mnemonic, second_factor
from clawpurse.wallet.approvals import Approval
from clawpurse.wallet.durable import create_private, read_private
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrail_files import Factor, Guardrails, Kept, guardrails_in
from clawpurse.wallet.guardrail_json import policy_json
from clawpurse.wallet.guardrails import Paying, Policy
from clawpurse.wallet.keyfile import Secret, signing_key_of
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.passphrase import read_passphrase_file

Json = dict[str, Any]
_NOTHING: Final = "Nothing was changed."


class Given(NamedTuple):
    """Where a command finds what lifts a limit; `request` is where to write one instead."""

    passphrase_file: Path | None = None
    code_file: Path | None = None
    approval: Path | None = None
    words_file: Path | None = None
    request: Path | None = None


class Whose(NamedTuple):
    """A key of this home that signs, and so has guardrails."""

    name: str
    account: bytes
    public_key: bytes
    path: str | None


def whose(session: Session, name: str) -> Whose:
    """Return the key of that name. Raises `UsageFault` for an account that is only watched."""
    info = session.keystore.show(name)
    if info.public_key is None:
        raise UsageFault(f"{name} is only watched: it pays nothing.", _NOTHING, "")
    return Whose(name, info.account, info.public_key, info.path)


def guardrails_of(session: Session) -> Guardrails:
    """Return the guardrails of this home."""
    return guardrails_in(session.client_home.root, session.now_ms)


def unlock(session: Session, name: str, given: Given) -> SigningKey:
    """Open the key whose guardrails it is about."""
    passphrase = prompts.passphrase(
        session.out, given.passphrase_file, f"  Passphrase for {name}: "
    )
    return session.keystore.unlock(name, passphrase).signer


def factor_of(session: Session, store: Guardrails, info: Whose, given: Given) -> Factor:
    """Return what vouches for it: from a file, else asked for at the terminal.

    Raises `Rejected` where neither is possible, naming what would do.
    """
    if given.approval is not None:
        return Factor(approval=read_approval(given.approval))
    if given.code_file is not None:
        return Factor(code=read_passphrase_file(given.code_file))
    if given.words_file is not None:
        return Factor(words_key=_key_of_words(info, read_passphrase_file(given.words_file)))
    codes = store.asks_for_codes(info.public_key)
    if prompts.at_terminal():
        if codes:
            return Factor(code=prompts.hidden_line(session.out, "  Code from your app: "))
        if info.path is not None:
            words = prompts.secret_words(
                session.out, f"The words of {info.name}, separated by blanks: ", "--words-file FILE"
            )
            return Factor(words_key=_key_of_words(info, words))
    how = "--code-file FILE" if codes else f"clawpurse wallet guardrails enrol {info.name}"
    raise needed(how)


def needed(how: str) -> Rejected:
    """Return the refusal for want of a second factor; `how` is the next step."""
    return Rejected(
        "This loosens a limit: a second factor or a co-signer is needed.",
        _NOTHING,
        how,
        code=Code.APPROVAL_REQUIRED,
    )


def _key_of_words(info: Whose, text: str) -> bytes:
    """Return the public key that words give at the path of this key. Raises `UsageFault`."""
    if info.path is None:
        raise UsageFault(f"{info.name} was imported without words.", _NOTHING, "")
    try:
        words, language = mnemonic.read_words(text)
        secret = Secret(language, mnemonic.entropy_of(words, language))
    except Malformed as err:
        raise UsageFault(f"The {err.field} {err.problem}.", _NOTHING, "") from err
    return signing_key_of(secret, info.path, info.account).public_key


def read_approval(file: Path) -> Approval:
    """Read a request or an approval. Raises `UsageFault`."""
    try:
        return approvals.decode(read_private(file, approvals.FILE_BYTES_MAX))
    except FileNotFoundError:
        raise UsageFault(f"{file} is not there.", _NOTHING, "check FILE") from None
    except Malformed as err:
        raise UsageFault(f"{file}: {err.field} {err.problem}.", _NOTHING, "") from err


def write_change_request(
    session: Session, store: Guardrails, info: Whose, before: Kept, policy: Policy, file: Path
) -> None:
    """Write what a co-signer is asked to agree to: this change of guardrails."""
    weaker = weakened(before.policy, policy)
    subject = approvals.change_subject(before.digest, policy_json(policy), weaker)
    _write_request(session, store.request(info.public_key, approvals.CHANGE, subject), file)


def write_payment_request(
    session: Session,
    store: Guardrails,
    info: Whose,
    payments: list[Paying],
    decimals: dict[str, int],
    file: Path,
) -> None:
    """Write what a co-signer is asked to agree to: these payments, once."""
    subject = approvals.payments_subject(payments, decimals)
    _write_request(session, store.request(info.public_key, approvals.PAYMENT, subject), file)


def _write_request(session: Session, request: Approval, file: Path) -> None:
    _create(file, request.encode())
    document = {"request": str(file), "expires": time_text(request.expires_ms)}
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.tick(f"request for a co-signer in {shown(file)}, until {document['expires']}")
    session.out.note(f"Next, by the co-signer: clawpurse wallet guardrails approve {shown(file)}")


def approve(
    session: Session, file: Path, name: str, out: Path, passphrase_file: Path | None, *, yes: bool
) -> None:
    """Let a co-signer read a request, agree, and write the approval."""
    request = read_approval(file)
    info = whose(session, name)
    try:
        lines = approvals.subject_words(request)
    except (Malformed, TypeError) as err:
        raise UsageFault(f"{file} cannot be read: {err}.", "Nothing was signed.", "") from err
    if request.expires_ms <= session.now_ms():
        raise UsageFault("The request is too old.", "Nothing was signed.", "ask for a new one")
    key = f"0x{request.key.hex()}"
    session.out.note(f"  For the key {key}, once, until {time_text(request.expires_ms)}:")
    for line in lines or ["  nothing would be loosened"]:
        session.out.note(f"  {line if line.isprintable() else ascii(line)}")
    if not yes and not prompts.confirm(session.out, "  Agree?", "--yes"):
        raise UsageFault("Nothing was signed.", "", "")
    given = Given(passphrase_file)
    signed = request.signed_by(unlock(session, name, given))
    _create(out, signed.encode())
    if session.json_mode:
        session.out.emit({"approval": str(out), "cosigner": f"0x{info.public_key.hex()}"})
        return
    session.out.tick(f"{name} agreed, in {shown(out)}")
    session.out.note("Next, by who asked: the same command with --approval FILE")


def enrol(session: Session, name: str, given: Given, secret_file: Path | None) -> None:
    """Take codes into use: show the secret once, then ask for its first code.

    Without a terminal in two steps: `--secret-file` writes it, `--code-file` confirms it.
    """
    store, info = guardrails_of(session), whose(session, name)
    signer = unlock(session, name, given)
    if given.code_file is None or secret_file is not None:
        factor = None
        if store.asks_for_codes(info.public_key):
            factor = factor_of(session, store, info, given)
        secret = store.enrol(signer, factor)
        _hand_over(session, second_factor.enrolment_uri(secret, name), secret_file)
        if secret_file is not None:
            _told(session, name, confirmed=False)
            return
        code = prompts.hidden_line(session.out, "  The code that it shows now: ")
    else:
        code = read_passphrase_file(given.code_file)
    store.confirm(signer, code)
    _told(session, name, confirmed=True)


def _hand_over(session: Session, uri: str, secret_file: Path | None) -> None:
    """Show the secret to an app's camera, or write it into a file."""
    if secret_file is not None:
        _create(secret_file, uri.encode() + b"\n")
        return
    if not prompts.at_terminal():
        raise UsageFault("No terminal to show the code at.", _NOTHING, "add --secret-file FILE")
    import segno

    picture = io.StringIO()
    segno.make(uri, micro=False).terminal(picture, compact=True)
    session.out.ask(f"Scan this with your authenticator app. Shown once.\n{picture.getvalue()}")
    session.out.ask(f"  or type {uri}\n")


def _told(session: Session, name: str, *, confirmed: bool) -> None:
    if session.json_mode:
        session.out.emit({"name": name, "codes": confirmed})
        return
    if confirmed:
        session.out.tick(f"codes lift the limits of {name} from now on")
    else:
        session.out.tick("the secret is written; it counts after its first code")
        session.out.note(f"Next: clawpurse wallet guardrails enrol {name} --code-file FILE")


def end_codes(session: Session, name: str, given: Given) -> None:
    """End codes, with one of them, a co-signer or the words."""
    store, info = guardrails_of(session), whose(session, name)
    signer = unlock(session, name, given)
    store.forget_codes(signer, factor_of(session, store, info, given))
    _told(session, name, confirmed=False) if session.json_mode else session.out.tick("codes ended")


def show_log(session: Session, name: str) -> None:
    """Show every override and change, checked. Raises `StorageFault` where it was tampered with."""
    info, store = whose(session, name), guardrails_of(session)
    lines = []
    for line in store.log(info.public_key):
        lines.append(line)
        if not session.json_mode:
            session.out.line(f"{line.number}  {time_text(line.at_ms)}  {_line_words(line)}")
    if session.json_mode:
        session.out.emit({"name": name, "whole": True, "lines": [one.data() for one in lines]})
        return
    count = len(lines)
    session.out.note(f"{counted(count, 'line')}, none changed, none missing.")


def _line_words(line: Any) -> str:
    by = line.by.get("label") or line.by.get("factor", "")
    parts = [f"{line.what} by {by}"]
    if "payments" in line.subject:
        shape = Approval(b"", b"", 0, approvals.PAYMENT, line.subject)
        parts += approvals.subject_words(shape)
    parts += [str(one) for one in line.subject.get("weaker", ())]
    parts += [f"over {one['limit']}" for one in line.refusals]
    return "; ".join(parts)


def _create(file: Path, data: bytes) -> None:
    try:
        create_private(file, data)
    except FileExistsError:
        raise UsageFault(f"{file} exists already.", _NOTHING, "choose another file") from None
