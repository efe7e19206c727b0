"""Methods of the wallet service about guardrails: what a key may pay, read and changed.

Tightening needs an open key. Loosening needs what it needs at the command line, too: a code, a
co-signer's approval or the words of the key, so that no program with a token raises its own limit.
"""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import (
    ClawPurseError,
    Code,
    Malformed,
    OperatorError,
    Refused,
    WatchOnly,
)
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import WRONG_PASSPHRASE, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.wallet import approvals, mnemonic
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrail_files import Factor, Kept
from clawpurse.wallet.guardrail_json import policy_from, policy_json
from clawpurse.wallet.guardrail_lines import SpentToday, spent_today
from clawpurse.wallet.guardrails import Journal, Policy, Verdict
from clawpurse.wallet.keyfile import Secret, signing_key_of
from clawpurse.wallet.keystore import KeyInfo
from clawpurse.wallet.service_desk import Desk, offered, one_of
from clawpurse.wallet.service_keys import HASH_COST, NODE_COST, SIGNING_ERRORS
from clawpurse.wallet.service_request_values import (
    GuardrailsShape,
    KeyParams,
    PolicyValue,
    SetGuardrailsParams,
    SpentShape,
)
from clawpurse.wallet.service_values import hexed, plain

_NEEDED: Final = "code, approval or words: what loosens a limit needs one of them"


class GuardrailMethods:
    """Methods about the guardrails of the home's keys."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def methods(self) -> list[Method]:
        """Return their definitions."""
        errors = (*SIGNING_ERRORS, Code.NOT_AUTHORISED.rpc_code, Code.APPROVAL_REQUIRED.rpc_code)
        return [
            offered(
                "wallet_getGuardrails",
                "What a key may pay, what of it was spent today, and when that starts anew",
                self.get,
                KeyParams,
                GuardrailsShape,
                errors=SIGNING_ERRORS,
                cost=NODE_COST,
            ),
            offered(
                "wallet_setGuardrails",
                "Change what a key may pay; loosening needs a second factor",
                self.set_,
                SetGuardrailsParams,
                GuardrailsShape,
                errors=(WRONG_PASSPHRASE, Code.DUPLICATE.rpc_code, *errors),
                cost=HASH_COST,
                description="The whole policy as `wallet_getGuardrails` answers it. Without a "
                "second factor a policy that loosens anything is refused (approvalRequired), and "
                "`weaker` of the error's data says what it loosens.",
            ),
        ]

    async def get(self, params: KeyParams, context: Context) -> dict[str, Any]:
        """wallet_getGuardrails."""
        info = await self._key(context, params.key)
        kept: Kept = await in_thread(self._desk.guardrails.show, info.public_key)
        return plain(await self._shape(info, kept, ()))

    async def set_(self, params: SetGuardrailsParams, context: Context) -> dict[str, Any]:
        """wallet_setGuardrails."""
        desk = self._desk
        info = await self._key(context, params.key)
        policy = await self._policy(params.policy)
        before: Kept = await in_thread(desk.guardrails.show, info.public_key)
        if params.revision is not None and params.revision != before.revision:
            raise Refused(
                Code.DUPLICATE, f"The guardrails are at revision {before.revision} already."
            )
        weaker = weakened(before.policy, policy)
        factor = await self._factor(params, info) if weaker else None
        if weaker and factor is None:
            raise RpcError(
                Code.APPROVAL_REQUIRED.rpc_code,
                "This loosens a limit: a second factor or a co-signer is needed.",
                hint=_NEEDED,
                facts={"weaker": list(weaker)},
            )
        own = factor is not None and factor.code is not None
        signer = await desk.signer(info, params.passphrase, own=own)
        kept, loosened = await in_thread(desk.guardrails.save, signer, policy, factor)
        return plain(await self._shape(info, kept, loosened))

    async def _key(self, context: Context, name: str) -> KeyInfo:
        info = await self._desk.key(context, name)
        if info.watch_only:
            raise WatchOnly(name)
        return info

    async def _policy(self, value: PolicyValue) -> Policy:
        """Return the policy that was sent; recipients may be named. Raises `Malformed`."""
        document = value.model_dump(mode="json", by_alias=True)
        for one in document["recipients"]:
            one["account"] = account_text((await self._desk.whom(one["account"])).account)
        for rule in _rules(document):
            for name in ("perTransaction", "perDay", "confirmAbove"):
                rule[name] = None if rule[name] is None else str(rule[name])
        return policy_from(document)

    async def _factor(self, params: SetGuardrailsParams, info: KeyInfo) -> Factor | None:
        given = {"code": params.code, "approval": params.approval, "words": params.words}
        if all(one is None for one in given.values()):
            return None
        kind = one_of(**given)
        if kind == "code":
            assert params.code is not None
            return Factor(code=params.code.get_secret_value())
        if kind == "approval":
            assert params.approval is not None
            return Factor(approval=approvals.decode(params.approval.encode()))
        assert params.words is not None
        return Factor(words_key=await in_thread(_key_of, info, params.words.get_secret_value()))

    async def _shape(self, info: KeyInfo, kept: Kept, loosened: tuple[str, ...]) -> GuardrailsShape:
        codes = await in_thread(self._desk.guardrails.asks_for_codes, info.public_key)
        return GuardrailsShape(
            key=info.name,
            public_key=hexed(info.public_key),
            revision=kept.revision,
            changed_at=time_text(kept.changed_ms) if kept.revision else None,
            codes=codes,
            policy=policy_json(kept.policy),
            today=await self._today(info, kept.policy),
            weakened=list(loosened),
        )

    async def _today(self, info: KeyInfo, policy: Policy) -> list[SpentShape]:
        """Return what was spent of the listed assets; nothing while no node names the network."""
        try:
            genesis = (await self._desk.node.terms()).genesis_hash
            decimals = {
                one.asset: (await self._desk.node.asset(one.asset)).decimals
                for one in policy.assets
            }
        except ClawPurseError:
            # The policy is worth an answer without a network; wallet_getStatus tells of that.
            return []
        for asset, count in decimals.items():
            policy = policy.at_decimals(asset, count)
        found: list[SpentToday] = []

        def look(journal: Journal) -> Verdict:
            found.extend(spent_today(policy, info.account, journal, self._desk.now_ms()))
            return Verdict(True)

        await in_thread(self._desk.outbox.judged, genesis, info.public_key, look)
        return [
            SpentShape(
                asset=one.asset,
                spent=str(one.spent),
                per_day=None if one.per_day is None else str(one.per_day),
                left=None if one.left is None else str(one.left),
                resets_ms=one.resets_ms,
            )
            for one in found
        ]


def _rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        *document["assets"],
        *(rule for one in document["recipients"] for rule in one["limits"]),
    ]


def _key_of(info: KeyInfo, text: str) -> bytes:
    """Return the public key that words give at the path of this key. Raises `Malformed`."""
    if info.path is None:
        raise OperatorError(f"{info.name} was imported without words.", "Nothing was changed.", "")
    try:
        words, language = mnemonic.read_words(text)
        secret = Secret(language, mnemonic.entropy_of(words, language))
    except Malformed as err:
        # Which word is wrong is for whoever typed them, not for a log.
        raise Malformed("words", "are no words of a key") from err
    return signing_key_of(secret, info.path, info.account).public_key
