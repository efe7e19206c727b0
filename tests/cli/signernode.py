"""A node without sockets that answers about signers by the methods that real nodes have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from clawpurse.ledger.errors import NotFound
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.node.rpc.object_methods import ObjectMethods
from clawpurse.node.rpc.signer_methods import SignerMethods
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import REGISTRY, START_MS, _State


def teach(node: FakeNode) -> None:
    """Let the node answer about signers, by the methods that real nodes have."""
    services: Any = SimpleNamespace(
        chain=SimpleNamespace(reader=_State(node.chain.state), registry=REGISTRY),
        clock=SimpleNamespace(now_ms=lambda: START_MS),
    )
    for method in (*SignerMethods(services).methods(), *ObjectMethods(services).methods()):

        def answer(params: dict[str, Any], method: Any = method) -> Any:
            try:
                return method.handler(method.params.model_validate(params), None)
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))

        node.overrides[method.name] = answer
