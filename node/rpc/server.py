"""The node's two HTTP ports: JSON-RPC with health and status page, and metrics."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Final

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.app import App
from clawpurse.modules.kit.web.guard import LOCAL_HOSTS, Access, Budgets, RefusalLog, Token
from clawpurse.modules.kit.web.jsonrpc import Dispatcher, Method, encode_json
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Request, Response
from clawpurse.modules.kit.web.openrpc import discover_method, openrpc_document
from clawpurse.modules.kit.web.subscriptions import Subscriptions
from clawpurse.node.metrics import CONTENT_TYPE, Metrics
from clawpurse.node.rpc.account_methods import AccountMethods
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
from clawpurse.node.rpc.mempool_methods import MempoolMethods
from clawpurse.node.rpc.node_methods import NodeMethods
from clawpurse.node.rpc.object_methods import ObjectMethods
from clawpurse.node.rpc.payment_methods import PaymentMethods
from clawpurse.node.rpc.risk_methods import RiskMethods
from clawpurse.node.rpc.role_methods import RoleMethods
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.session_methods import SessionMethods
from clawpurse.node.rpc.signer_methods import SignerMethods
from clawpurse.node.rpc.streams import topics
from clawpurse.node.rpc.transaction_methods import TransactionMethods
from clawpurse.node.rpc.values import refusal_words

HTML: Final = "text/html; charset=utf-8"
CONTENT_POLICY: Final = (
    "Content-Security-Policy",
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
)
# A burst of one second's budget twice over: a wallet that opens a page full of panels.
BUDGET_BURST_SECONDS: Final = 2


def node_methods(services: Services) -> list[Method]:
    """Return the definitions of every method of a node but `rpc_discover`."""
    transactions = TransactionMethods(services)
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
        *Subscriptions(topics(services)).methods(),
    ]


def build_dispatcher(
    services: Services,
    refusals: RefusalLog,
    limits: Limits,
    metrics: Metrics,
    on_fault: Callable[[BaseException], None] | None = None,
) -> Dispatcher:
    """Return the dispatcher with every method of this node, and discovery."""
    methods = node_methods(services)
    methods.append(discover_method(methods, title=TITLE, version=services.version))
    rate = services.config.rpc_cost_per_second
    return Dispatcher(
        methods,
        log=refusals,
        limits=limits,
        budgets=Budgets(rate, rate * BUDGET_BURST_SECONDS),
        observer=metrics.observe_call,
        on_fault=on_fault,
        wording=lambda error: refusal_words(error, services.chain.registry, services.decimals_of),
    )


def build_rpc_app(
    services: Services,
    token: str,
    refusals: RefusalLog,
    limits: Limits,
    metrics: Metrics,
    on_fault: Callable[[BaseException], None] | None = None,
) -> App:
    """Return the application of the JSON-RPC port; `on_fault` hears of errors that are ours."""
    config = services.config
    dispatcher = build_dispatcher(services, refusals, limits, metrics, on_fault)
    document = encode_json(
        openrpc_document(dispatcher.methods.values(), title=TITLE, version=services.version)
    )
    pages = Pages(services)
    return App(
        log=refusals,
        dispatcher=dispatcher,
        routes={
            ("GET", "/"): pages.status,
            ("GET", "/healthz"): pages.alive,
            ("GET", "/readyz"): pages.ready,
            ("GET", "/openrpc.json"): lambda _request: Response(200, document),
            ("GET", "/status.css"): pages.style,
        },
        access=Access(
            hosts=LOCAL_HOSTS | frozenset(config.allowed_hosts),
            origins=frozenset(origin.lower() for origin in config.allowed_origins),
            tokens=(Token(token),),
        ),
        limits=limits,
    )


def build_metrics_app(
    services: Services, metrics: Metrics, refusals: RefusalLog, limits: Limits
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

    def exposition(_request: Request) -> Response:
        metrics.tell_refusals(refusals.counts)
        return Response(200, metrics.exposition(), CONTENT_TYPE)

    return App(log=refusals, routes={("GET", "/metrics"): exposition}, limits=limits)


class Pages:
    """What a browser or a probe gets: health, and a status page until there is a dashboard."""

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

    def style(self, _request: Request) -> Response:
        """GET /status.css."""
        return Response(200, STYLE.encode(), "text/css; charset=utf-8")

    def status(self, _request: Request) -> Response:
        """GET /: one page that says how things are."""
        services = self._services
        problems = services.health()
        tip = services.chain.tip
        age_s = max(0, services.clock.now_ms() - tip.time_ms) / 1000
        sentence = (
            "This node is ready. Payments sent here become final."
            if not problems
            else "Not ready: " + "; ".join(problems) + "."
        )
        rows = [
            ("Network", services.chain.genesis.chain_id),
            ("Genesis", "0x" + services.chain.genesis.hash.hex()),
            ("Block", f"{tip.height}, final, {time_text(tip.time_ms)} ({age_s:,.1f} s ago)"),
            ("State root", "0x" + services.chain.state.state_root.hex()),
            ("Authorities", str(len(services.chain.authorities))),
            ("Peers", str(services.network.count)),
            ("Pending", str(services.pool.status().transactions)),
            ("Behind", str(services.sync.progress.behind)),
            ("Node", f"{services.config.name}, {services.network.node_id}"),
            ("Version", services.version),
        ]
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        mark = "✓" if not problems else "!"
        page = PAGE.format(
            title=html.escape(services.chain.genesis.chain_id),
            sentence=html.escape(f"{mark} {sentence}"),
            rows=cells,
            call=html.escape("clawpurse rpc chain_getStatus"),
        )
        return Response(200, page.encode(), HTML, (CONTENT_POLICY,))


TITLE: Final = "ClawPurse node"
PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<title>{title}</title><link rel="stylesheet" href="/status.css">'
    "<h1>ClawPurse {title}</h1><p>{sentence}</p><table>{rows}</table>"
    "<p>The same by JSON-RPC: <code>{call}</code></p></html>"
)
STYLE: Final = (
    ":root{color-scheme:light dark;--bg:#f6f7f9;--text:#16202b;--muted:#55616e}"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1419;--text:#e6ebf0;--muted:#a3afbb}}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "background:var(--bg);color:var(--text)}"
    "th{text-align:left;font-weight:400;color:var(--muted);padding-right:1rem;"
    "vertical-align:top}td{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}"
)
