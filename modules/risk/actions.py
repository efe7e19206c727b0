"""Actions of the module `risk`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
from clawpurse.ledger.rules import time_text
from clawpurse.modules.risk.records import ORACLES_MAX, SCORE_MAX


def _set_words(fields: Mapping[str, Any], words: Words) -> str:
    members = fields["members"]
    if not members:
        return "Let nobody report risk any more: no account has a score from now on."
    names = ", ".join(words.account(account) for account in members)
    return (
        f"From now on scores of risk come from {names}; {fields['needed']} of {len(members)} must "
        "report. Reports of everybody else stop counting."
    )


def _report_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Report a risk of {fields['score']} of {SCORE_MAX} for {words.account(fields['account'])},"
        f" until {time_text(fields['expires'])}, found by model 0x{fields['model'].hex()} with "
        f"features of version {fields['features']}."
    )


def _withdraw_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Withdraw what you reported of the risk of {words.account(fields['account'])}."


def _set_cost(values: Sequence[Any]) -> int:
    return 15 * len(values[0])


SET_ORACLES: Final = ActionType(
    name="risk.setOracles",
    fields=(
        Field(
            "members",
            FieldType.LIST,
            "the oracles, ascending; empty: nobody, and no account has a score",
            ORACLES_MAX,
            items=(Field("account", FieldType.ACCOUNT, "an oracle's account"),),
        ),
        Field(
            "needed",
            FieldType.INTEGER,
            "how many of them make a score; 0 if there is none",
            high=ORACLES_MAX,
        ),
    ),
    # One record, and two reads for each member.
    cost=150,
    words=_set_words,
    cost_of=_set_cost,
)
REPORT: Final = ActionType(
    name="risk.report",
    fields=(
        Field("account", FieldType.ACCOUNT, "whose risk it is"),
        Field("score", FieldType.INTEGER, "0, no risk seen, to 1,000", high=SCORE_MAX),
        Field("model", FieldType.HASH, "hash of the model that found it"),
        Field(
            "features",
            FieldType.INTEGER,
            "version of what the model looks at",
            high=codec.U32_MAX,
        ),
        Field("expires", FieldType.TIME, "until when it counts, at most 30 days ahead"),
    ),
    # The set and the account's reports (at most 16) are read, the reports written.
    cost=250,
    words=_report_words,
    session=True,
)
WITHDRAW: Final = ActionType(
    name="risk.withdraw",
    fields=(Field("account", FieldType.ACCOUNT, "of whose risk something was reported"),),
    cost=200,
    words=_withdraw_words,
    session=True,
)
ACTIONS: Final = (SET_ORACLES, REPORT, WITHDRAW)
