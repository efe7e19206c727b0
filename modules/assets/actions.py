"""Actions of the module `assets`: fields, limits, and what each does in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.genesis import ASSET_TITLE_CHARS_MAX
from clawpurse.ledger.module_api import ActionType, Field, FieldType, Words, read_field
from clawpurse.ledger.params import DECIMALS_MAX, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.modules.assets.records import (
    DEEP,
    DUTIES,
    FLAGS_ALL,
    FREEZE_NAMES,
    FROZEN,
    FULL,
    METADATA_CHARS_MAX,
    flag_names,
)

_Fields = Mapping[str, Any]

ASSET_FIELD: Final = Field("asset", FieldType.ASSET, "which asset")
_AMOUNT: Final = Field("amount", FieldType.AMOUNT, "minor units, at least 1", low=1)
_HOLDER: Final = Field("account", FieldType.ACCOUNT, "the holder")
_FLAGS: Final = Field(
    "flags",
    FieldType.INTEGER,
    "sum of 1 authorisation required, 2 freezable, 4 clawback, 8 transferable, 16 immutable, "
    "32 reserve",
    high=FLAGS_ALL,
)
_CAP: Final = Field(
    "cap", FieldType.AMOUNT, "the most that may exist, minor units; nil: no bound", optional=True
)
_TEXT: Final = Field(
    "metadata", FieldType.TEXT, "such as an address; public, may be empty", METADATA_CHARS_MAX
)
_TEXT_HASH: Final = Field(
    "metadataHash", FieldType.HASH, "hash of a document; nil: none", optional=True
)
_REASON: Final = Field(
    "reason", FieldType.NAME, "why: a code of 1–32 of a–z, 0–9, dot, hyphen; nil: not said",
    optional=True,
)  # fmt: skip
_WHY: Final = _REASON._replace(
    meaning="why: a code of 1–32 of a–z, 0–9, dot, hyphen", optional=False
)
_DUTY: Final = Field("duty", FieldType.NAME, f"one of {', '.join(DUTIES)}")
_AGENT: Final = Field("account", FieldType.ACCOUNT, "who acts for the issuer")


# -- what each does in words


def _transfer_words(fields: _Fields, words: Words) -> str:
    amount = words.amount(fields["asset"], fields["amount"])
    return f"Pay {amount} to {words.account(fields['recipient'])}."


def _flags_words(flags: int) -> str:
    return ", ".join(flag_names(flags)) or "none"


def _document_words(fields: _Fields) -> str:
    shown = f' Metadata "{fields["metadata"]}".' if fields["metadata"] else ""
    digest = fields["metadataHash"]
    return shown if digest is None else f"{shown} Document 0x{digest.hex()}."


def _create_words(fields: _Fields, _words: Words) -> str:
    name, cap, decimals = fields["asset"], fields["cap"], fields["decimals"]
    most = "without a cap"
    if cap is not None:
        # Nobody knows this asset's decimals yet but who reads them here.
        whole, rest = divmod(cap, 10**decimals)
        point = f".{rest:0{decimals}d}" if decimals else ""
        most = f"of which at most {whole:,}{point} may exist"
    return (
        f'Create the asset {name} ("{fields["title"]}") with {decimals} decimals, '
        f"{most}. Flags: {_flags_words(fields['flags'])}.{_document_words(fields)}"
    )


def _mint_words(fields: _Fields, words: Words) -> str:
    amount = words.amount(fields["asset"], fields["amount"])
    return f"Create {amount} for {words.account(fields['recipient'])}."


def _burn_words(fields: _Fields, words: Words) -> str:
    return f"Destroy {words.amount(fields['asset'], fields['amount'])} that the issuer has."


def _metadata_words(fields: _Fields, _words: Words) -> str:
    said = _document_words(fields).strip() or "Nothing is said of it any more."
    return f"Replace what is said of {fields['asset']}. {said}"


def _set_flags_words(fields: _Fields, _words: Words) -> str:
    return f"From now on the flags of {fields['asset']} are: {_flags_words(fields['flags'])}."


def _cap_words(fields: _Fields, words: Words) -> str:
    if fields["cap"] is None:
        return f"From now on any amount of {fields['asset']} may exist."
    return f"From now on at most {words.amount(fields['asset'], fields['cap'])} may exist."


def _why_words(fields: _Fields) -> str:
    return "" if fields["reason"] is None else f" Reason: {fields['reason']}."


def _freeze_words(fields: _Fields, words: Words) -> str:
    holder, asset = words.account(fields["account"]), fields["asset"]
    if fields["level"] == DEEP:
        return f"Freeze {holder}: it neither sends nor receives {asset}.{_why_words(fields)}"
    return f"Freeze {holder}: it sends {asset} to nobody but its issuer.{_why_words(fields)}"


def _unfreeze_words(fields: _Fields, words: Words) -> str:
    holder = words.account(fields["account"])
    return f"End the freeze of {holder} in {fields['asset']}.{_why_words(fields)}"


def _freeze_all_words(fields: _Fields, _words: Words) -> str:
    asset = fields["asset"]
    return f"Freeze all {asset}: it moves only to and from its issuer.{_why_words(fields)}"


def _unfreeze_all_words(fields: _Fields, _words: Words) -> str:
    return f"End the freeze of all {fields['asset']}.{_why_words(fields)}"


def _authorise_words(fields: _Fields, words: Words) -> str:
    holder, asset = words.account(fields["account"]), fields["asset"]
    if fields["level"] == FULL:
        return f"Let {holder} have, send and receive {asset}."
    if fields["level"]:
        return f"Let {holder} keep {asset} and return it to its issuer, and no more."
    return f"Let {holder} neither send nor receive {asset}."


def _clawback_words(fields: _Fields, words: Words) -> str:
    amount, holder = words.amount(fields["asset"], fields["amount"]), fields["account"]
    apart = "" if fields["holdId"] is None else f", out of the hold 0x{fields['holdId'].hex()}"
    return (
        f"Take {amount} from {words.account(holder)}{apart}, against its will, and give it to "
        f"{words.account(fields['target'])}. Reason: {fields['reason']}."
    )


def _appoint_words(fields: _Fields, words: Words) -> str:
    agent = words.account(fields["account"])
    return f"Let {agent} act for the issuer of {fields['asset']}: {fields['duty']}."


def _dismiss_words(fields: _Fields, words: Words) -> str:
    agent = words.account(fields["account"])
    return f"No longer let {agent} act for the issuer of {fields['asset']}: {fields['duty']}."


def _attest_words(fields: _Fields, words: Words) -> str:
    amount = words.amount(fields["asset"], fields["amount"])
    return (
        f"Attest that the reserve of {fields['asset']} is worth {amount} as of "
        f"{time_text(fields['asOf'])}, valid until {time_text(fields['validUntil'])}. "
        f"Document 0x{fields['documentHash'].hex()}."
    )


# -- what is read in another way than field by field


def _read_transfer(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    """Read the commonest action without the general field loop: a third of its time."""
    if len(wire) != 3:
        raise Malformed(where, f"has {len(wire)} fields, 3 are required")
    return (
        asset_name(wire[0], "assets.transfer.asset"),
        codec.digest(wire[1], "assets.transfer.recipient"),
        codec.integer(wire[2], "assets.transfer.amount", 1),
    )


_DUTY_FIELDS: Final = (ASSET_FIELD, _DUTY, _AGENT)


def _read_duty(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    if len(wire) != len(_DUTY_FIELDS):
        raise Malformed(where, f"has {len(wire)} fields, {len(_DUTY_FIELDS)} are required")
    pairs = zip(_DUTY_FIELDS, wire, strict=True)
    values = tuple([read_field(field, one, where) for field, one in pairs])
    if values[1] not in DUTIES:
        raise Malformed(f"{where}.duty", f"is not one of {', '.join(DUTIES)}")
    return values


def _action(
    name: str,
    cost: int,
    words: Callable[[_Fields, Words], str],
    *fields: Field,
    parse: Callable[[Sequence[Wire], str], tuple[Any, ...]] | None = None,
    session: bool = False,
) -> ActionType:
    return ActionType(f"assets.{name}", fields, cost, words, parse=parse, session=session)


_TRANSFER_FIELDS: Final = (
    Field("asset", FieldType.ASSET, "what to pay with"),
    Field("recipient", FieldType.ACCOUNT, "whom to pay; opened if it is new"),
    Field("amount", FieldType.AMOUNT, "minor units, at least 1"),
)
TRANSFER: Final = _action(
    "transfer", 100, _transfer_words, *_TRANSFER_FIELDS, parse=_read_transfer, session=True
)
CREATE: Final = _action(
    "create",
    400,
    _create_words,
    ASSET_FIELD._replace(meaning="its name: 1–16 of A–Z, 0–9 and dot, a letter first"),
    Field("decimals", FieldType.INTEGER, "digits after the point, 0–18", high=DECIMALS_MAX),
    Field("title", FieldType.TEXT, "what people call it", ASSET_TITLE_CHARS_MAX, size_min=1),
    _FLAGS,
    _CAP,
    _TEXT,
    _TEXT_HASH,
)
MINT: Final = _action(
    "mint",
    250,
    _mint_words,
    ASSET_FIELD,
    Field("recipient", FieldType.ACCOUNT, "who gets it; opened if it is new"),
    _AMOUNT,
)
BURN: Final = _action("burn", 150, _burn_words, ASSET_FIELD, _AMOUNT)
SET_METADATA: Final = _action(
    "setMetadata", 100, _metadata_words, ASSET_FIELD, _TEXT, _TEXT_HASH
)  # fmt: skip
SET_FLAGS: Final = _action("setFlags", 100, _set_flags_words, ASSET_FIELD, _FLAGS)
SET_CAP: Final = _action("setCap", 100, _cap_words, ASSET_FIELD, _CAP)
_LEVEL: Final = Field(
    "level",
    FieldType.INTEGER,
    f"{FROZEN}: {FREEZE_NAMES[FROZEN]}, may not send; {DEEP}: {FREEZE_NAMES[DEEP]}, nor receive",
    low=FROZEN,
    high=DEEP,
)
FREEZE: Final = _action("freeze", 200, _freeze_words, ASSET_FIELD, _HOLDER, _LEVEL, _REASON)
UNFREEZE: Final = _action("unfreeze", 200, _unfreeze_words, ASSET_FIELD, _HOLDER, _REASON)
FREEZE_ALL: Final = _action("freezeAll", 100, _freeze_all_words, ASSET_FIELD, _REASON)
UNFREEZE_ALL: Final = _action("unfreezeAll", 100, _unfreeze_all_words, ASSET_FIELD, _REASON)
AUTHORISE: Final = _action(
    "authorise",
    150,
    _authorise_words,
    ASSET_FIELD,
    _HOLDER,
    Field("level", FieldType.INTEGER, "0: none; 1: limited; 2: full", high=FULL),
)
CLAWBACK: Final = _action(
    "clawback",
    # Out of a hold, it ends whatever the hold was for, with up to ten rows of lists.
    500,
    _clawback_words,
    ASSET_FIELD,
    _HOLDER,
    _AMOUNT,
    Field("target", FieldType.ACCOUNT, "who gets it; opened if it is new"),
    _WHY,
    Field(
        "holdId",
        FieldType.HASH,
        "out of what the holder has set apart; nil: out of its balance",
        optional=True,
    ),
)
APPOINT: Final = _action("appoint", 450, _appoint_words, *_DUTY_FIELDS, parse=_read_duty)
DISMISS: Final = _action("dismiss", 450, _dismiss_words, *_DUTY_FIELDS, parse=_read_duty)
ATTEST_RESERVE: Final = _action(
    "attestReserve",
    100,
    _attest_words,
    ASSET_FIELD,
    Field("amount", FieldType.AMOUNT, "what the reserve is worth, in minor units of the asset"),
    Field("asOf", FieldType.TIME, "when it was so, ms UTC"),
    Field("documentHash", FieldType.HASH, "hash of the report"),
    Field("validUntil", FieldType.TIME, "until when it may be believed, ms UTC"),
)
ACTIONS: Final = (
    TRANSFER,
    CREATE,
    MINT,
    BURN,
    SET_METADATA,
    SET_FLAGS,
    SET_CAP,
    FREEZE,
    UNFREEZE,
    FREEZE_ALL,
    UNFREEZE_ALL,
    AUTHORISE,
    CLAWBACK,
    APPOINT,
    DISMISS,
    ATTEST_RESERVE,
)
