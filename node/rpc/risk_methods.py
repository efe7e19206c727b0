"""risk_*: the score of an account, who reports it, and why it is what it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.risk import chain as risk
from clawpurse.modules.risk.records import SCORE_MAX, Report, Standing, Weight
from clawpurse.node.rpc import compliance_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, hex_of

Json = dict[str, Any]


class ScoreParams(Params):
    """Parameters of risk_getScore."""

    account: Account = Field(description="Whose risk it is")


class NoParams(Params):
    """Parameters of risk_getOracles: none."""


class RiskMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "risk_getScore",
                "The score of risk of an account now, report by report, and when it ends",
                self.score,
                ScoreParams,
                cost=3,
                result=compliance_shapes.RiskScore,
                result_description=(
                    "account score|null counted needed oracles expires|null sentence height time "
                    "reports[{oracle score model features expires height time counts why}]"
                ),
            ),
            Method(
                "risk_getOracles",
                "Whose reports of risk count, and how many make a score",
                self.oracles,
                NoParams,
                result=compliance_shapes.RiskOracles,
                result_description="set needed oracles[{account sinceSet}]",
            ),
        ]

    def score(self, params: ScoreParams, _context: Context) -> Json:
        """risk_getScore. Judged at the newest block's time, the ledger's only clock."""
        chain = self._services.chain
        time_ms = chain.tip.time_ms
        standing = risk.find_standing(chain.reader, params.account, time_ms)
        oracles = len(risk.find_oracles(chain.reader).members)
        return {
            "account": account_text(params.account),
            "score": standing.score,
            "counted": standing.counted,
            "needed": standing.needed,
            "oracles": oracles,
            "expires": None if standing.expires_ms is None else time_text(standing.expires_ms),
            "sentence": score_sentence(standing, oracles),
            "reports": [_report_json(report, weight) for report, weight in standing.reports],
            "height": chain.height,
            "time": time_text(time_ms),
        }

    def oracles(self, _params: NoParams, _context: Context) -> Json:
        """risk_getOracles."""
        oracles = risk.find_oracles(self._services.chain.reader)
        return {
            "set": oracles.number,
            "needed": oracles.needed,
            "oracles": [
                {"account": account_text(account), "sinceSet": since}
                for account, since in oracles.members
            ],
        }


def score_sentence(standing: Standing, oracles: int) -> str:
    """Return in plain words which score there is, or why there is none."""
    if not oracles:
        return "No score: this network has no oracles of risk."
    if standing.score is None:
        return (
            f"No score: {standing.needed} of {oracles} oracles must report; the reports of "
            f"{standing.counted} count now."
        )
    until = "" if standing.expires_ms is None else time_text(standing.expires_ms)
    return (
        f"A risk of {standing.score} of {SCORE_MAX}: the lower median of what {standing.counted} of"
        f" {oracles} oracles report ({standing.needed} are needed). The first report that counts"
        f" ends at {until}."
    )


def _report_json(report: Report, weight: Weight) -> Json:
    return {
        "oracle": account_text(report.oracle),
        "score": report.score,
        "model": hex_of(report.model),
        "features": report.features,
        "expires": time_text(report.expires_ms),
        "height": report.height,
        "time": time_text(report.time_ms),
        "counts": weight is Weight.COUNTS,
        "why": weight.label,
    }
