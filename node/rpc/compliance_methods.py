"""compliance_*: what policies say of a payment before it is made and after, and what they are."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Code, Malformed, NotFound
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.module_api import Movement
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import Body, RawAction
from clawpurse.modules.assets.records import FREEZE_NAMES
from clawpurse.modules.compliance import queries
from clawpurse.modules.compliance.language import rule_id
from clawpurse.modules.compliance.queries import Circumstances, Report
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import compliance_shapes
from clawpurse.node.rpc.explaining_payments import explain
from clawpurse.node.rpc.policies import (
    ballot_json,
    proposal_json,
    report_json,
    version_json,
)
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.transaction_methods import REFUSALS, TransactionMethods
from clawpurse.node.rpc.trial import (
    Outcome,
    as_if_signed,
    begin_trial,
    conclude,
    next_block,
    state_when_due,
)
from clawpurse.node.rpc.values import (
    VERDICTS,
    Account,
    Asset,
    Hash,
    Limit,
    code_label,
    hex_of,
    reason_of,
    trace_json,
)

Json = dict[str, Any]
# How long the body of a trial is valid: it is never sent.
_VALID_MS: Final = 60_000
APPROVERS_MAX: Final = 8


def _amount(value: Any) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        raise ValueError("is not a string of digits")
    amount = int(value) if len(value) <= 20 else 0
    if not 1 <= amount <= U64_MAX:
        raise ValueError(f"is outside 1…{U64_MAX}")
    return amount


def _name(value: Any) -> str:
    try:
        return plain_name(value, "name")
    except Malformed as err:
        raise ValueError(err.problem) from None


Amount = Annotated[
    int,
    BeforeValidator(_amount),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,20}$"}),
]
Name = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9.-]{1,32}$"}),
]
_CURSOR: Final = Field(None, max_length=80, description="nextCursor of the page before")


class CheckParams(Params):
    """Parameters of compliance_check."""

    source: Account = Field(alias="from", description="Who would pay")
    to: Account = Field(description="Who would be paid")
    asset: Asset = Field(description="With what")
    amount: Amount = Field(description="Minor units")
    travel_hash: Hash | None = Field(
        None, description="Hash of what the payer's institution told the payee's"
    )
    approvers: list[Account] = Field(
        [], max_length=APPROVERS_MAX, description="Who would sign beside the payer"
    )


class ExplainParams(Params):
    """Parameters of compliance_explain."""

    tx_id: Hash = Field(description="A final transaction")


class RulesParams(Params):
    """Parameters of compliance_getRules."""

    asset: Asset | None = Field(None, description="Policies that govern this asset only")
    policy: Name | None = Field(None, description="This policy only")
    version: int | None = Field(
        None, ge=1, le=2**32 - 1, description="This version of `policy`; else the one in force"
    )


class ProposalsParams(Params):
    """Parameters of compliance_listProposals."""

    limit: Limit = Field(20, description="At most so many")
    cursor: int | None = Field(None, ge=1, le=U64_MAX, description="nextCursor of the page before")


class ProposalParams(Params):
    """Parameters of compliance_getProposal."""

    proposal: Hash | None = Field(None, description="Its id")
    number: int | None = Field(None, ge=1, le=U64_MAX, description="Or its number")


class ListParams(Params):
    """Parameters of compliance_getList."""

    name: Name | None = Field(None, description="Its entries; left out: all lists")
    version: int | None = Field(
        None, ge=1, le=2**32 - 1, description="What this version of it changed"
    )
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = _CURSOR


class FreezesParams(Params):
    """Parameters of compliance_listFreezes."""

    asset: Asset = Field(description="Whose holders")
    limit: Limit = Field(50, description="At most so many")
    cursor: Account | None = Field(None, description="nextCursor of the page before")


class ComplianceMethods:
    """See the module."""

    def __init__(self, services: Services, transactions: TransactionMethods) -> None:
        self._services = services
        self._transactions = transactions

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [*self._judging(), *self._reading()]

    def _judging(self) -> list[Method]:
        return [
            Method(
                "compliance_check",
                "What the ledger would say of a payment now: each rule, its version, its verdict",
                self.check,
                CheckParams,
                errors=REFUSALS,
                cost=100,
                description=(
                    "The verdict is that of the execution which blocks go through, on the newest "
                    "state, as if all had signed. Rules after the one that decides are shown too, "
                    "with reached false."
                ),
                result=compliance_shapes.Checked,
                result_description=(
                    "verdict: allow|hold|deny, code reason rule words trace[{rule version "
                    "verdict}] hold{rule needed officers expires atExpiry}|null policies[{policy "
                    "version asset meaning verdict rule words rules[{rule verdict applies reached "
                    "decides words conditions[{condition words holds}]}]}] height time"
                ),
            ),
            Method(
                "compliance_explain",
                "Why a final transaction went as it did: trace, text of the rules, decisions",
                self.explain,
                ExplainParams,
                errors=(NOT_FOUND,),
                cost=100,
                result=compliance_shapes.Explained,
                result_description=(
                    "txId height time code reason sentences[] trace[{rule version verdict words "
                    "policy}] holds[{holdId status votes[] by height time}]"
                ),
            ),
        ]

    def _reading(self) -> list[Method]:
        return [
            Method(
                "compliance_getRules",
                "Policies with their rules in words: those in force, or any version ever approved",
                self.rules,
                RulesParams,
                errors=(NOT_FOUND,),
                cost=50,
                result=compliance_shapes.Rules,
                result_description=(
                    "policies[{policy version asset|null meaning state: active|waiting|ended|"
                    "never, proposal approvedBy[] activeFrom activeHeight endedHeight "
                    "rules[{rule verdict conditions[] words}]}] quorum{needed delayMs}|null"
                ),
            ),
            Method(
                "compliance_listProposals",
                "What officers have to decide: proposed policies, and what some have agreed on",
                self.proposals,
                ProposalsParams,
                cost=50,
                result=compliance_shapes.PolicyProposals,
                result_description=(
                    "proposals[{proposal number policy asset meaning status approvedBy[] "
                    "rejectedBy[] ends rules[]}] ballots[{digest action fields supportedBy[] "
                    "ends}] nextCursor|null"
                ),
            ),
            Method(
                "compliance_getProposal",
                "A proposed policy, whatever became of it",
                self.proposal,
                ProposalParams,
                errors=(NOT_FOUND,),
                cost=20,
                result=compliance_shapes.PolicyProposal,
                result_description="as one of compliance_listProposals",
            ),
            Method(
                "compliance_getList",
                "Lists that policies look into, the entries of one, or what a version changed",
                self.lists,
                ListParams,
                errors=(NOT_FOUND,),
                cost=10,
                result=compliance_shapes.Lists,
                result_description=(
                    "lists[{name title officers version entries}] | name title officers version "
                    "count entries[{entry account since}] | change{added entries[] by height time "
                    "reason}; nextCursor|null"
                ),
            ),
            Method(
                "compliance_listFreezes",
                "Frozen holders of an asset: how, since when, by whom, why",
                self.freezes,
                FreezesParams,
                errors=(NOT_FOUND,),
                cost=10,
                result=compliance_shapes.Freezes,
                result_description=(
                    "asset allFrozen freezes[{account level height by reason|null}] nextCursor|null"
                ),
            ),
        ]

    # -- judging

    def check(self, params: CheckParams, _context: Context) -> Json:
        """compliance_check."""
        services, chain = self._services, self._services.chain
        env = next_block(services)
        prepared = as_if_signed(chain.reader, chain.registry, self._body(params, env.time_ms))
        purpose, _, _ = prepared.actions[0][0].name.partition(".")
        movement = Movement(
            params.asset, params.source, params.to, params.amount, purpose, params.travel_hash
        )
        # The rules first, on the state that the trial will meet; then the trial itself.
        before = state_when_due(services, env)
        circumstances = Circumstances(env.time_ms, params.source, self._approvals(before, params))
        sight = queries.sight_at(before, circumstances, self._score(before, env.time_ms))
        reports = queries.report(before, movement, sight)
        outcome = conclude(begin_trial(services, env), prepared)
        verdict, rule = _verdict(outcome)
        hold = None if rule is None else _hold_json(reports, rule, env.time_ms)
        policies = [report_json(services, before, one) for one in reports]
        receipt = outcome.receipt
        reason = reason_of(receipt, chain.registry, services.decimals_of)
        return {
            "verdict": verdict,
            "code": code_label(receipt.code),
            "reason": reason,
            "rule": receipt.rule or None,
            "words": _check_words(verdict, reason, policies),
            "trace": trace_json(receipt),
            "hold": hold,
            "policies": policies,
            "height": env.height,
            "time": time_text(env.time_ms),
        }

    def _body(self, params: CheckParams, time_ms: int) -> Body:
        """Return the body of the payment: a plain one unless it needs more than that carries."""
        chain = self._services.chain
        plain = params.travel_hash is None and not params.approvers
        action = RawAction("assets.transfer", [params.asset, params.to, params.amount])
        if not plain:
            books = Books(Overlay(chain.reader))
            pairs = []
            for account in sorted(set(params.approvers)):
                record = books.account(account)
                key = None if record is None else record.key
                pairs.append([account, account if key is None else key])
            values: list[Any] = [
                params.asset,
                params.to,
                params.amount,
                b"",
                params.travel_hash,
                0,
                pairs,
            ]
            action = RawAction("payments.pay", values)
        sender = chain.account(params.source)
        return Body(
            chain.genesis.chain_id,
            chain.genesis.hash,
            params.source,
            0,
            0 if sender is None else sender.sequence(0),
            0,
            time_ms + min(_VALID_MS, chain.params.valid_for_max_ms),
            None,
            chain.params.fee_min,
            None,
            (action,),
        )

    def _approvals(self, state: StateReader, params: CheckParams) -> tuple[bytes, ...]:
        """Return whose approval would count: accounts with a key that are not the sender."""
        books = Books(Overlay(state))
        found = []
        for account in sorted(set(params.approvers)):
            record = books.account(account)
            if record is not None and record.key is not None and account != params.source:
                found.append(account)
        return tuple(found)

    def _score(self, state: StateReader, time_ms: int) -> Any:
        registry = self._services.chain.registry
        if not registry.answers("risk.score"):
            return lambda _account: None
        return lambda account: registry.query(state, "risk.score", account, time_ms)

    async def explain(self, params: ExplainParams, _context: Context) -> Json:
        """compliance_explain."""
        fate = self._transactions.status_of(params.tx_id)
        if fate["status"] != "final":
            raise RpcError(
                NOT_FOUND,
                f"there is nothing to explain yet: the transaction is {fate['status']}",
                hint=f"clawpurse tx wait {hex_of(params.tx_id)}",
                facts=fate,
            )
        return await explain(self._services, params.tx_id, (fate["height"], fate["index"]))

    # -- reading

    @property
    def _state(self) -> StateReader:
        return self._services.chain.reader

    def rules(self, params: RulesParams, _context: Context) -> Json:
        """compliance_getRules."""
        state = self._state
        if params.version is not None and params.policy is None:
            raise Malformed("version", "needs a policy")
        shown = []
        for head in queries.list_policies(state):
            if params.policy is not None and head.name != params.policy:
                continue
            if params.asset is not None and head.asset not in ("", params.asset):
                continue
            version = params.version or head.active or (params.policy and head.newest) or 0
            found = version_json(self._services, state, head, version)
            # A policy that ended is shown to who names it.
            if found is not None and (found["rules"] or params.policy is not None):
                shown.append(found)
        if params.policy is not None and not shown:
            what = "" if params.version is None else f", version {params.version}"
            raise NotFound(f"policy {params.policy}{what}")
        wanted = queries.get_quorum(state)
        return {
            "policies": shown,
            "quorum": None
            if wanted is None
            else {"needed": wanted.needed, "delayMs": wanted.delay_ms},
        }

    def proposals(self, params: ProposalsParams, _context: Context) -> Json:
        """compliance_listProposals."""
        state = self._state
        found = queries.list_proposals(state, params.limit + 1, params.cursor)
        page = found[: params.limit]
        ballots = queries.list_ballots(state, params.limit) if params.cursor is None else []
        return {
            "proposals": [proposal_json(self._services, state, *one) for one in page],
            "ballots": [ballot_json(*one) for one in ballots],
            "nextCursor": page[-1][1].number if len(found) > params.limit else None,
        }

    def proposal(self, params: ProposalParams, _context: Context) -> Json:
        """compliance_getProposal."""
        state, policy_id = self._state, params.proposal
        if (policy_id is None) == (params.number is None):
            raise Malformed("number", "or an id is needed, one of them")
        if params.number is not None:
            policy_id = queries.find_proposal(state, params.number)
        found = None if policy_id is None else queries.get_proposal(state, policy_id)
        if found is None or policy_id is None:
            raise NotFound("that proposed policy")
        return proposal_json(self._services, state, policy_id, found)

    def lists(self, params: ListParams, _context: Context) -> Json:
        """compliance_getList."""
        state, limit = self._state, params.limit
        if params.name is None:
            after = None if params.cursor is None else plain_name(params.cursor, "cursor")
            rows = queries.list_lists(state, limit + 1, after)
            shown = [{"name": name, **one._asdict()} for name, one in rows[:limit]]
            following = rows[limit - 1][0] if len(rows) > limit else None
            return {"lists": shown, "nextCursor": following}
        found = queries.get_list(state, params.name)
        if found is None:
            raise NotFound(f"list {params.name}")
        head = {"name": params.name, **found._asdict()}
        if params.version is not None:
            return {**head, "change": self._change(params.name, params.version)}
        last = None if params.cursor is None else _entry(params.cursor)
        entries = queries.list_entries(state, params.name, limit + 1, last)
        return {
            **head,
            "count": found.entries,
            "entries": [
                {"entry": hex_of(entry), "account": account_text(entry), "since": since}
                for entry, since in entries[:limit]
            ],
            "nextCursor": hex_of(entries[limit - 1][0]) if len(entries) > limit else None,
        }

    def _change(self, name: str, version: int) -> Json:
        change = queries.get_change(self._state, name, version)
        if change is None:
            raise NotFound(f"version {version} of the list {name}")
        return {
            "added": bool(change.added),
            "entries": [hex_of(entry) for entry in change.entries],
            "by": account_text(change.by),
            "height": change.height,
            "time": time_text(change.time_ms),
            "reason": change.reason or None,
        }

    def freezes(self, params: FreezesParams, _context: Context) -> Json:
        """compliance_listFreezes."""
        registry, state, limit = self._services.chain.registry, self._state, params.limit
        asset = registry.query(state, "assets.get", params.asset)
        if asset is None:
            raise NotFound(f"asset {params.asset}")
        after = params.cursor or b""
        rows = registry.query(state, "assets.freezes", params.asset, limit + 1, after)
        return {
            "asset": params.asset,
            "allFrozen": bool(asset.frozen),
            "freezes": [
                {
                    "account": account_text(account),
                    "level": FREEZE_NAMES[freeze.level],
                    "height": freeze.height,
                    "by": account_text(freeze.by),
                    "reason": freeze.reason,
                }
                for account, freeze in rows[:limit]
            ],
            "nextCursor": account_text(rows[limit - 1][0]) if len(rows) > limit else None,
        }


def _entry(cursor: str) -> bytes:
    try:
        found = bytes.fromhex(cursor.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise Malformed("cursor", "is not one that this API gave")
    return found


def _verdict(outcome: Outcome) -> tuple[str, str | None]:
    """Return what became of the trial, and the rule under which it would be held."""
    if outcome.receipt.code != Code.OK:
        return VERDICTS[2], None
    for event in outcome.events:
        if event.kind == "kernel.held":
            return VERDICTS[1], str(event.data[3])
    return VERDICTS[0], None


def _hold_json(reports: list[Report], held_by: str, time_ms: int) -> Json:
    """Return who would decide on the hold, until when; of another module's rule, which it is."""
    for policy, rules, outcome, _ in reports:
        if outcome.rule is None or rule_id(policy.name, rules[outcome.rule][0]) != held_by:
            continue
        _, _, _, needed, officers, expires_ms, release, _ = rules[outcome.rule]
        return {
            "rule": held_by,
            "needed": needed,
            "officers": officers,
            "expires": time_text(time_ms + expires_ms),
            "atExpiry": "release" if release else "return",
        }
    return {"rule": held_by}


def _check_words(verdict: str, reason: str | None, policies: list[Json]) -> str:
    if verdict == VERDICTS[2]:
        return f"It would be refused. {reason or ''}".strip()
    count = sum(len(one["rules"]) for one in policies)
    if verdict == VERDICTS[1]:
        return "It would be held until officers decide."
    if not policies:
        return "It would be paid: no policy governs it."
    return f"It would be paid: {count} rules were asked, none stops it."
