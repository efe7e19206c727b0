"""node_getTimeline and consensus_getSigning: the near past, for people who look at a page."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc import consensus_shapes
from clawpurse.node.rpc.overview_methods import OverviewMethods
from clawpurse.node.rpc.services import Services
from clawpurse.node.timeline import STEP_MS, TARGET_MS

Json = dict[str, Any]
BLOCKS_MAX: Final = 200
# Certificates read between two turns of the loop: about a millisecond.
READ_SLICE: Final = 16


class SigningParams(Params):
    """Parameters of consensus_getSigning."""

    blocks: Annotated[int, Field(ge=1, le=BLOCKS_MAX)] = Field(
        100, description="Of how many blocks up to the newest"
    )


class TimelineMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "node_getTimeline",
                "Payments and how soon they were final, the last quarter of an hour in steps",
                self.timeline,
                cost=5,
                result=consensus_shapes.Timeline,
                result_description=(
                    "stepMs targetMs p50Ms|null p95Ms|null points[{time final failed blocks p50Ms "
                    "p95Ms}]; null where nothing is known. Spans are from this node's acceptance "
                    "to final"
                ),
            ),
            Method(
                "consensus_getSigning",
                "Who proposed the newest blocks and whose votes their certificates hold",
                self.signing,
                SigningParams,
                cost=50,
                result=consensus_shapes.SigningRecord,
                result_description=(
                    "authorities[{authority name delayMs|null}], the delay how long after the "
                    "first vote of a step its own usually comes to this node, null where none "
                    "came; blocks[{height round marks}] oldest first; "
                    "marks: a letter for each authority, p proposed, s in the certificate, o not "
                    "in it (certificates leave late votes out), - no authority then"
                ),
            ),
            *OverviewMethods(self._services).methods(),
        ]

    def timeline(self, _params: NoParams, _context: Context) -> Json:
        """node_getTimeline."""
        timeline = self._services.timeline
        p50_ms, p95_ms = timeline.percentiles()
        return {
            "stepMs": STEP_MS,
            "targetMs": TARGET_MS,
            "p50Ms": p50_ms,
            "p95Ms": p95_ms,
            "points": [
                {
                    "time": time_text(point.time_ms),
                    "final": point.final,
                    "failed": point.failed,
                    "blocks": point.blocks,
                    "p50Ms": point.p50_ms,
                    "p95Ms": point.p95_ms,
                }
                for point in timeline.points()
            ],
        }

    async def signing(self, params: SigningParams, _context: Context) -> Json:
        """consensus_getSigning."""
        chain = self._services.chain
        tip, present = chain.height, list(chain.authorities)
        blocks = []
        for height in range(max(1, tip - params.blocks + 1), tip + 1):
            packed = chain.blocks.certificate(height)
            if packed is None:
                continue
            certificate = Certificate.unpack(packed)
            deciders = chain.authorities_at(height)
            signed = deciders.signers(certificate.signers) or ()
            proposer = self._services.header(height).proposer
            marks = "".join(
                "-" if key not in deciders else "p" if key == proposer else "so"[key not in signed]
                for key in present
            )
            blocks.append({"height": height, "round": certificate.round, "marks": marks})
            if len(blocks) % READ_SLICE == 0:
                await next_turn()
        return {
            "authorities": [
                {
                    "authority": authority_text(key),
                    "name": self._services.explainer.configured_name(key),
                    "delayMs": self._services.explainer.delay_ms(key),
                }
                for key in present
            ],
            "blocks": blocks,
        }
