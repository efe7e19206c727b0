"""Whom a word on the command line means: a key, a contact, or `claw1…`; and which key is meant
when none is named.
"""

from __future__ import annotations

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session
from clawpurse.ledger.address import ACCOUNT_PREFIX
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.home import Named
from clawpurse.wallet.labels import labels_in

# Enough of a mistyped address to recognise it, too little to copy it.
_SHORT_CHARS = 8


def account_named(session: Session, text: str, money: str = "") -> Named:
    """Return whom `text` means. `money` says what became of the payment, for the error.

    Raises `UsageFault` for a mistyped address and for a name that nobody has.
    """
    try:
        return session.client_home.resolve(text, session.keystore)
    except Malformed as err:
        what = f"{err.field} {err.problem}"
        if text.lower().startswith(f"{ACCOUNT_PREFIX}1"):
            short = text if len(text) <= _SHORT_CHARS else f"{text[:_SHORT_CHARS]}…"
            what = f"{short} {err.problem}"
        raise UsageFault(f"{what}.", money, "clawpurse wallet contacts") from err
    except OperatorError as err:
        if err.next_command != "clawpurse wallet contacts":
            raise
        raise UsageFault(err.what, money, err.next_command) from err


def own_or_named(session: Session, text: str | None, command: str) -> Named:
    """Return whom `text` means, or without it the only key of this home.

    Raises `UsageFault` when there is no key, or more than one to choose from.
    """
    return account_named(session, own_key(session, command) if text is None else text)


def own_key(session: Session, command: str) -> str:
    """Return the name of the only key, else of the only account that is looked at.

    `command` is what to type with a name, for the error.
    """
    names = session.keystore.signing_names() or session.keystore.names()
    if not names:
        raise UsageFault("There is no key yet.", "", "clawpurse keys add alice")
    if len(names) > 1:
        some = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        raise UsageFault(f"Which account? There are {some}.", "", f"{command}{names[0]}")
    return names[0]


def titled(named: Named, account: str) -> str:
    """Return a label with the whole account, or the account alone."""
    return account if named.label is None else f"{named.label} {account}"


def labels_of(session: Session) -> dict[str, str]:
    """Return the names of all accounts that this home knows by address, read once for a table."""
    return labels_in(session.client_home.contacts(), session.keystore)
