"""The node's two HTTP ports: JSON-RPC with health and dashboard, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from clawpurse.ledger.address import authority_text
from clawpurse.modules.kit.service.signin import OPEN, SignInWay, closed_but, sign_in_routes
from clawpurse.modules.kit.web.app import App
from clawpurse.modules.kit.web.guard import (
    LOCAL_HOSTS,
    LOOPBACK_CLIENTS,
    Access,
    Budgets,
    RefusalLog,
)
from clawpurse.modules.kit.web.jsonrpc import Dispatcher, Method
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Request, Response
from clawpurse.modules.kit.web.openrpc import discovery
from clawpurse.modules.kit.web.polling import LongPoll
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.subscriptions import Subscriptions
from clawpurse.node.callers import Callers
from clawpurse.node.config import NodeConfig, split_method_limit
from clawpurse.node.dashboard import dashboard
from clawpurse.node.metrics import CONTENT_TYPE, Metrics
from clawpurse.node.rpc.account_methods import AccountMethods
from clawpurse.node.rpc.admin_methods import AdminMethods
from clawpurse.node.rpc.anchor_methods import AnchorMethods
from clawpurse.node.rpc.asset_methods import AssetMethods
from clawpurse.node.rpc.audit_methods import AuditMethods
from clawpurse.node.rpc.chain_methods import ChainMethods
from clawpurse.node.rpc.compliance_methods import ComplianceMethods
from clawpurse.node.rpc.consensus_methods import ConsensusMethods
from clawpurse.node.rpc.contract_methods import ContractMethods
from clawpurse.node.rpc.credential_methods import CredentialMethods
from clawpurse.node.rpc.draft_methods import DraftMethods
from clawpurse.node.rpc.evidence_methods import EvidenceMethods
from clawpurse.node.rpc.explain_methods import ExplainMethods
from clawpurse.node.rpc.governance_methods import GovernanceMethods
from clawpurse.node.rpc.local_topics import local_topics
from clawpurse.node.rpc.mempool_methods import MempoolMethods
from clawpurse.node.rpc.node_methods import NodeMethods
from clawpurse.node.rpc.object_methods import ObjectMethods
from clawpurse.node.rpc.payment_methods import PaymentMethods
from clawpurse.node.rpc.risk_methods import RiskMethods
from clawpurse.node.rpc.role_methods import RoleMethods
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.session_methods import SessionMethods
from clawpurse.node.rpc.signer_methods import SignerMethods
from clawpurse.node.rpc.streams import DEFAULT_TOPIC, log_topics
from clawpurse.node.rpc.timeline_methods import TimelineMethods
from clawpurse.node.rpc.transaction_methods import TransactionMethods
from clawpurse.node.rpc.values import refusal_words
from clawpurse.node.rpc.webhook_methods import WebhookMethods
from clawpurse.node.webhooks import Webhooks

# A burst of one second's budget twice over: a wallet that opens a page full of panels.
BUDGET_BURST_SECONDS: Final = 2
# Whose budget is this machine's own: its addresses, and its operator's token from anywhere.
OWN_CLIENTS: Final = LOOPBACK_CLIENTS | {"token:admin"}
METRICS_SCOPE: Final = "metrics_read"


def node_methods(services: Services) -> list[Method]:
    """Return the definitions of every method of a node but `rpc_discover`."""
    transactions = TransactionMethods(services)
    topics = [*log_topics(services), *local_topics(services.feeds)]
    return [
        *ChainMethods(services).methods(),
        *transactions.methods(),
        *DraftMethods(services, transactions).methods(),
        *AccountMethods(services).methods(),
        *SignerMethods(services).methods(),
        *ObjectMethods(services).methods(),
        *AssetMethods(services).methods(),
        *RoleMethods(services).methods(),
        *SessionMethods(services).methods(),
        *PaymentMethods(services).methods(),
        *ContractMethods(services).methods(),
        *ComplianceMethods(services, transactions).methods(),
        *CredentialMethods(services).methods(),
        *RiskMethods(services).methods(),
        *AnchorMethods(services).methods(),
        *GovernanceMethods(services).methods(),
        *MempoolMethods(services).methods(),
        *ConsensusMethods(services).methods(),
        *ExplainMethods(services).methods(),
        *EvidenceMethods(services).methods(),
        *AuditMethods(services).methods(),
        *NodeMethods(services).methods(),
        *AdminMethods(services).methods(),
        *TimelineMethods(services).methods(),
        *WebhookMethods(services.webhooks).methods(),
        *Subscriptions(topics).methods(),
        *LongPoll(topics, DEFAULT_TOPIC).methods(),
    ]


def build_dispatcher(
    methods: Iterable[Method],
    services: Services,
    refusals: RefusalLog,
    limits: Limits,
    metrics: Metrics,
    on_fault: Callable[[BaseException], None] | None = None,
) -> Dispatcher:
    """Return the dispatcher with these methods of this node."""
    config = services.config
    rate = config.rpc_cost_per_second
    others = config.rpc_cost_per_second_remote if config.rpc_is_closed else rate
    return Dispatcher(
        methods,
        log=refusals,
        limits=limits,
        budgets=Budgets(
            others,
            others * BUDGET_BURST_SECONDS,
            preferred=(rate, rate * BUDGET_BURST_SECONDS, OWN_CLIENTS),
            methods={
                name: (calls, calls / period_s)
                for name, calls, period_s in map(split_method_limit, config.rpc_method_limits)
            },
        ),
        observer=metrics.observe_call,
        on_fault=on_fault,
        wording=lambda error: refusal_words(error, services.chain.registry, services.decimals_of),
    )


def build_rpc_app(
    services: Services,
    callers: Callers,
    refusals: RefusalLog,
    limits: Limits,
    metrics: Metrics,
    on_fault: Callable[[BaseException], None] | None = None,
) -> App:
    """Return the application of the JSON-RPC port; `on_fault` hears of errors that are ours."""
    config = services.config
    methods = node_methods(services)
    if services.trail is not None:
        methods = [services.trail.watched(method) for method in methods]
    sign_in = SignInWay(config.rpc_sign_in) if config.rpc_sign_in else None
    if sign_in is not None:
        methods += sign_in.methods()
    discover, document = discovery(methods, title=TITLE, version=services.version)
    methods.append(discover)
    if sign_in is not None and config.rpc_is_closed:
        # Whoever signs in has no token yet.
        methods = [closed_but(method, OPEN) for method in methods]
    dispatcher = build_dispatcher(methods, services, refusals, limits, metrics, on_fault)
    pages = Pages(services)
    return App(
        log=refusals,
        dispatcher=dispatcher,
        routes={
            **dashboard().routes(),
            **sign_in_routes(sign_in),
            ("GET", "/healthz"): pages.alive,
            ("GET", "/readyz"): pages.ready,
            ("GET", "/openrpc.json"): lambda _request: Response(200, document),
        },
        access=rpc_access(config, callers),
        limits=limits,
    )


def rpc_access(config: NodeConfig, callers: Callers) -> Access:
    """Return who may come in at the JSON-RPC port."""
    return Access(
        hosts=LOCAL_HOSTS | frozenset(config.allowed_hosts),
        origins=frozenset(origin.lower() for origin in config.allowed_origins),
        authenticators=callers.authenticators,
        certificates=callers.certificates,
        closed=config.rpc_is_closed,
        strangers=bool(config.rpc_sign_in),
        certificate_needed=bool(config.rpc_client_ca) and not config.rpc_client_ca_optional,
    )


def metrics_access(config: NodeConfig, callers: Callers) -> Access:
    """The same at the metrics port."""
    return Access(
        hosts=LOCAL_HOSTS | frozenset(config.allowed_hosts),
        authenticators=callers.authenticators,
        certificates=callers.certificates,
        closed=config.metrics_are_closed,
    )


def build_metrics_app(
    services: Services,
    callers: Callers,
    metrics: Metrics,
    refusals: RefusalLog,
    limits: Limits,
) -> App:
    """Return the application of the metrics port."""
    pool, sync = services.pool, services.sync
    engine, explainer = services.engine, services.explainer
    for name, meaning, read in (
        ("height", "Height of the newest final block", lambda: services.chain.height),
        ("peers", "Connected peers", lambda: services.network.count),
        ("behind_blocks", "Blocks missing here", lambda: sync.progress.behind),
        ("mempool_transactions", "Transactions pooled", lambda: len(pool)),
        ("mempool_bytes", "Bytes of pooled transactions", lambda: pool.status().bytes),
        (
            "evidence_pending",
            "Double signings that wait for a block",
            lambda: len(services.evidence.pending),
        ),
        ("intake_waiting", "Waiting to be checked", lambda: services.intake.waiting_count),
        ("ready", "1 when this node can be relied on", lambda: not services.health()),
        ("signing", "1 when this node signs for its authority", explainer.signs),
        ("consensus_round", "Round of the height in progress", lambda: engine.machine.round),
        ("evidence_seen", "Double signing seen since start", lambda: engine.evidence_count),
    ):
        metrics.gauge(f"clawpurse_{name}", meaning, read)
    metrics.gauges(
        "clawpurse_authority_silent_seconds",
        "How long an authority has been missing, 0 while it signs; absent while unknown",
        "authority",
        lambda: {authority_text(k): s for k, s in explainer.silent_seconds().items()},
    )
    metrics.gauges(
        "clawpurse_clock_skew_seconds",
        "This node's clock minus the other authorities', absent while unknown",
        None,
        explainer.skew_seconds,
    )
    metrics.table(
        "clawpurse_alert",
        "How many alerts of this name fire",
        ("name", "severity"),
        services.watch.samples,
    )

    if services.webhooks is not None:
        _webhook_gauges(services.webhooks, metrics)

    def exposition(_request: Request) -> Response:
        metrics.tell_refusals(refusals.counts)
        return Response(200, metrics.exposition(), CONTENT_TYPE)

    config = services.config
    return App(
        log=refusals,
        routes={("GET", "/metrics"): exposition},
        access=metrics_access(config, callers),
        guarded={"/metrics": METRICS_SCOPE},
        limits=limits,
    )


def _webhook_gauges(webhooks: Webhooks, metrics: Metrics) -> None:
    """Add what is watched of webhooks; no label names one."""
    metrics.gauge("clawpurse_webhooks_pending", "Deliveries that wait", lambda: webhooks.pending)
    metrics.gauge("clawpurse_webhooks_off", "Webhooks switched off", lambda: webhooks.resting)
    metrics.gauges(
        "clawpurse_webhooks_since_start",
        "Attempts, dead letters and webhooks switched off since the start",
        "outcome",
        lambda: webhooks.courier.counts,
    )


class Pages:
    """What a probe gets: whether this node lives, and whether it can be relied on."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def alive(self, _request: Request) -> Response:
        """GET /healthz: the loop answers."""
        return Response(200, b'{"alive":true}')

    def ready(self, _request: Request) -> Response:
        """GET /readyz: 200 when this node can be relied on, else 503 with the reasons."""
        problems = self._services.health()
        body = encode_json({"ready": not problems, "problems": problems})
        return Response(503 if problems else 200, body)


TITLE: Final = "ClawPurse node"
