"""Actions of the module `compliance`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words
from clawpurse.ledger.rules import time_text
from clawpurse.modules.compliance.attestations import TOPICS_MAX
from clawpurse.modules.compliance.language import (
    CONDITIONS_MAX,
    HOLD_MS_MAX,
    LEVEL_MAX,
    OFFICERS_MAX,
    RULES_MAX,
    WINDOW_MS_MAX,
)
from clawpurse.modules.compliance.lists import CHANGED_MAX, REASON_CHARS_MAX, TITLE_CHARS_MAX
from clawpurse.modules.compliance.officers import DELAY_MS_MAX
from clawpurse.modules.compliance.words import for_ms

# A sentence that says what a policy is for; longer texts belong into documents, anchored.
MEANING_CHARS_MAX: Final = 256


def _topics(topics: Sequence[str]) -> str:
    return ", ".join(topics)


def _because(reason: str) -> str:
    return f" Reason: {reason}." if reason else ""


def _set_issuer_words(fields: Mapping[str, Any], words: Words) -> str:
    issuer = words.account(fields["issuer"])
    return f"Let {issuer} attest {_topics(fields['topics'])}, and nothing else."


def _remove_issuer_words(fields: Mapping[str, Any], words: Words) -> str:
    issuer = words.account(fields["issuer"])
    return f"Let nothing count any more that {issuer} attests.{_because(fields['reason'])}"


def _attest_words(fields: Mapping[str, Any], words: Words) -> str:
    return (
        f"Attest {words.account(fields['account'])} {fields['topic']} at level {fields['level']}, "
        f"until {time_text(fields['expires'])}."
    )


def _accept_words(fields: Mapping[str, Any], words: Words) -> str:
    return f"Accept what {words.account(fields['issuer'])} attests of you: {fields['topic']}."


def _revoke_words(fields: Mapping[str, Any], words: Words) -> str:
    by = "" if fields["issuer"] is None else f" by {words.account(fields['issuer'])}"
    account = words.account(fields["account"])
    return f"Revoke the attestation {fields['topic']} of {account}{by}: {fields['reason']}."


def _set_subject_words(fields: Mapping[str, Any], words: Words) -> str:
    account = words.account(fields["account"])
    why = _because(fields["reason"])
    if fields["subject"] is None:
        return f"Agree that nobody is known to stand behind {account}.{why}"
    return f"Agree that 0x{fields['subject'].hex()} stands behind {account}.{why}"


def _set_quorum_words(fields: Mapping[str, Any], _words: Words) -> str:
    return (
        f"Agree that {fields['needed']} officers decide on policies, "
        f"which wait at least {for_ms(fields['delayMs'])}."
    )


def _propose_words(fields: Mapping[str, Any], _words: Words) -> str:
    scope = "all assets" if fields["asset"] is None else fields["asset"]
    count = len(fields["rules"])
    if not count:
        return f"Propose that the policy {fields['policy']} for {scope} ends."
    return (
        f"Propose {count} rules as the policy {fields['policy']} for {scope}, in force "
        f"{for_ms(fields['delayMs'])} after approval: {fields['meaning']}"
    )


def _approve_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Approve the proposed policy 0x{fields['proposal'].hex()}."


def _reject_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Reject the proposed policy 0x{fields['proposal'].hex()}.{_because(fields['reason'])}"


def _set_list_words(fields: Mapping[str, Any], _words: Words) -> str:
    return (
        f"Agree on the list {fields['list']} ({fields['title']}), "
        f"of which {fields['officers']} officers change the entries."
    )


def _add_words(fields: Mapping[str, Any], words: Words) -> str:
    who = ", ".join([words.account(entry) for entry in fields["entries"]])
    return f"Put {who} on the list {fields['list']}.{_because(fields['reason'])}"


def _remove_words(fields: Mapping[str, Any], words: Words) -> str:
    who = ", ".join([words.account(entry) for entry in fields["entries"]])
    return f"Take {who} off the list {fields['list']}.{_because(fields['reason'])}"


_REASON: Final = Field("reason", FieldType.TEXT, "why; public for ever", REASON_CHARS_MAX)
_CODE: Final = Field("reason", FieldType.NAME, "why: a code of 1–32 of a–z, 0–9, dot, hyphen")
_ISSUER: Final = Field("issuer", FieldType.ACCOUNT, "who attests")
_ACCOUNT: Final = Field("account", FieldType.ACCOUNT, "of whom it is said")
_TOPIC: Final = Field("topic", FieldType.NAME, "what about")
_LIST: Final = Field("list", FieldType.NAME, "name of the list")
_PROPOSAL: Final = Field("proposal", FieldType.HASH, "id of the proposal: binds its every word")
_ENTRIES: Final = Field(
    "entries",
    FieldType.LIST,
    "accounts or subjects",
    CHANGED_MAX,
    size_min=1,
    items=(Field("entry", FieldType.HASH, "32 bytes"),),
)
_CONDITION: Final = (
    Field("condition", FieldType.NAME, "its kind"),
    Field("side", FieldType.NAME, "of whom it speaks", optional=True),
    Field("name", FieldType.NAME, "a topic, list, role or purpose", optional=True),
    Field("number", FieldType.INTEGER, "a level, amount, count, score; 0 if it takes none"),
    Field("windowMs", FieldType.INTEGER, "of a sum or count; 0 otherwise", high=WINDOW_MS_MAX),
)
_RULE: Final = (
    Field("rule", FieldType.NAME, "its name in this policy"),
    Field("verdict", FieldType.NAME, "allow, hold or deny"),
    Field("code", FieldType.NAME, "of a denial: why", optional=True),
    Field("needed", FieldType.INTEGER, "of a hold: how many decide", high=OFFICERS_MAX),
    Field("officers", FieldType.NAME, "of a hold: their role; nil: compliance", optional=True),
    Field("expiresMs", FieldType.INTEGER, "of a hold: until it ends", high=HOLD_MS_MAX),
    Field("release", FieldType.INTEGER, "of a hold: 1 pays at its end, 0 returns", high=1),
    Field(
        "conditions",
        FieldType.LIST,
        "all must hold; none: the rule always applies",
        CONDITIONS_MAX,
        items=_CONDITION,
    ),
)

SET_ISSUER: Final = ActionType(
    name="compliance.setIssuer",
    fields=(
        _ISSUER,
        Field(
            "topics",
            FieldType.LIST,
            "what it may attest",
            TOPICS_MAX,
            size_min=1,
            items=(Field("topic", FieldType.NAME, "a topic"),),
        ),
    ),
    cost=300,
    words=_set_issuer_words,
)
REMOVE_ISSUER: Final = ActionType(
    name="compliance.removeIssuer",
    fields=(_ISSUER, _REASON),
    cost=250,
    words=_remove_issuer_words,
)
ATTEST: Final = ActionType(
    name="compliance.attest",
    fields=(
        _ACCOUNT,
        Field("subject", FieldType.HASH, "commitment to who stands behind it"),
        _TOPIC,
        Field("level", FieldType.INTEGER, "how far it was looked into", high=LEVEL_MAX),
        Field("expires", FieldType.TIME, "until when it counts, ms"),
        Field("commitment", FieldType.HASH, "to what was looked at"),
    ),
    cost=350,
    words=_attest_words,
)
ACCEPT: Final = ActionType(
    name="compliance.accept", fields=(_ISSUER, _TOPIC), cost=350, words=_accept_words
)
REVOKE: Final = ActionType(
    name="compliance.revokeAttestation",
    fields=(
        _ACCOUNT,
        _TOPIC,
        Field("issuer", FieldType.ACCOUNT, "whose it is; nil: the sender's", optional=True),
        _CODE,
    ),
    cost=250,
    words=_revoke_words,
)
SET_SUBJECT: Final = ActionType(
    name="compliance.setSubject",
    fields=(
        _ACCOUNT,
        Field("subject", FieldType.HASH, "commitment; nil: nobody says", optional=True),
        _REASON,
    ),
    # Counts up to 64 officers, twice.
    cost=700,
    words=_set_subject_words,
)
SET_QUORUM: Final = ActionType(
    name="compliance.setQuorum",
    fields=(
        Field("needed", FieldType.INTEGER, "how many agree", low=1, high=OFFICERS_MAX),
        Field("delayMs", FieldType.INTEGER, "how long policies wait", high=DELAY_MS_MAX),
    ),
    # Counts up to 64 officers, three times.
    cost=900,
    words=_set_quorum_words,
)
PROPOSE: Final = ActionType(
    name="compliance.proposePolicy",
    fields=(
        Field("policy", FieldType.NAME, "its name, at most 20 characters, no dot"),
        Field("asset", FieldType.ASSET, "which payments; nil: all assets", optional=True),
        Field("meaning", FieldType.TEXT, "what it is for", MEANING_CHARS_MAX, size_min=1),
        Field("delayMs", FieldType.INTEGER, "from approval to force", high=DELAY_MS_MAX),
        Field(
            "rules",
            FieldType.LIST,
            "asked in order; none: the policy ends",
            RULES_MAX,
            items=_RULE,
        ),
    ),
    cost=1_300,
    words=_propose_words,
    # Each rule is read, judged, kept and read again when it comes into force.
    cost_of=lambda values: sum([10 + 10 * len(rule[7]) for rule in values[4]]),
)
APPROVE: Final = ActionType(
    name="compliance.approvePolicy", fields=(_PROPOSAL,), cost=1_200, words=_approve_words
)
REJECT: Final = ActionType(
    name="compliance.rejectPolicy", fields=(_PROPOSAL, _REASON), cost=800, words=_reject_words
)
SET_LIST: Final = ActionType(
    name="compliance.setList",
    fields=(
        _LIST,
        Field("title", FieldType.TEXT, "what it is for", TITLE_CHARS_MAX, size_min=1),
        Field(
            "officers",
            FieldType.INTEGER,
            "how many agree on each change of its entries",
            low=1,
            high=OFFICERS_MAX,
        ),
    ),
    # Counts up to 64 officers, four times.
    cost=1_100,
    words=_set_list_words,
)
ADD_TO_LIST: Final = ActionType(
    name="compliance.addToList",
    fields=(_LIST, _ENTRIES, _REASON),
    cost=500,
    words=_add_words,
    cost_of=lambda values: 30 * len(values[1]),
)
REMOVE_FROM_LIST: Final = ActionType(
    name="compliance.removeFromList",
    fields=(_LIST, _ENTRIES, _REASON),
    cost=500,
    words=_remove_words,
    cost_of=lambda values: 30 * len(values[1]),
)
ACTIONS: Final = (
    SET_ISSUER,
    REMOVE_ISSUER,
    ATTEST,
    ACCEPT,
    REVOKE,
    SET_SUBJECT,
    SET_QUORUM,
    PROPOSE,
    APPROVE,
    REJECT,
    SET_LIST,
    ADD_TO_LIST,
    REMOVE_FROM_LIST,
)
