"""chain_*: where the chain stands, its blocks, parameters and genesis, and proofs of its state."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, model_validator

from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.errors import LIMIT_EXCEEDED, NOT_FOUND, PRUNED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.web.replies import RawJson, encode_json
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc import ledger_shapes, shapes
from clawpurse.node.rpc.past import AtHeight
from clawpurse.node.rpc.proving import state_bundle
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    Hash,
    Height,
    HexBytes,
    authorities_json,
    double_sign_json,
    hex_of,
    transaction_json,
)
from clawpurse.wallet.state_documents import certificate_json, header_json
from clawpurse.wallet.state_proofs import STATE, ProvableBlock, ProvableValue

PATH_BYTES_MAX: Final = 256
# As JSON and as hexadecimal it is five times as long, and an answer has 8 MiB. Made once.
GENESIS_SHOWN_MAX: Final = 1_000_000
# Transactions turned into JSON between two turns of the loop: about a millisecond.
SHOWN_SLICE: Final = 16
Json = dict[str, Any]


class BlockParams(Params):
    """Parameters of chain_getBlock: exactly one of height and hash."""

    height: Height | None = Field(None, description="The block's height, from 1")
    hash: Hash | None = Field(None, description="The block's id")
    transactions: str = Field("ids", pattern="^(ids|full)$", description="ids or full")

    @model_validator(mode="after")
    def _one(self) -> BlockParams:
        if (self.height is None) == (self.hash is None):
            raise ValueError("name the block by height or by hash")
        return self


class LightBlockParams(Params):
    """Parameters of chain_getLightBlock."""

    height: Height | None = Field(None, description="The block's height; the newest if left out")


class ProofParams(Params):
    """Parameters of chain_getProof: a kernel key, or a module's tree and path."""

    key: HexBytes | None = Field(None, description="A raw key of the tree `kernel`")
    module: str | None = Field(None, max_length=32, description="The tree, such as `assets`")
    path: HexBytes | None = Field(None, description="A raw key of that tree")
    at_height: AtHeight = None
    prove: bool = Field(
        False, description="Add a bundle that verifies offline, from the genesis hash alone"
    )

    @model_validator(mode="after")
    def _one(self) -> ProofParams:
        if (self.key is None) == (self.path is None):
            raise ValueError("name key, or module and path")
        if self.path is not None and self.module is None:
            raise ValueError("a path needs its module")
        return self


class ChainMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._genesis: RawJson | None = None

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "chain_getStatus",
                "Where this node and its chain stand",
                self.status,
                result=shapes.ChainStatus,
                result_description=(
                    "chainId genesisHash height hash time timeMs stateRoot syncing behind "
                    "peers authorities version testNetwork"
                ),
            ),
            Method(
                "chain_getBlock",
                "A final block by height or hash",
                self.block,
                BlockParams,
                errors=(NOT_FOUND, PRUNED),
                cost=5,
                result=shapes.Block,
                result_description=(
                    "header{…}, transactions (ids or objects), evidence[{…}], certificate{height "
                    "round blockId signers signatures raw}, receiptsRoot"
                ),
            ),
            Method(
                "chain_getLightBlock",
                "What a light client judges a block by; kept for every height",
                self.light_block,
                LightBlockParams,
                errors=(NOT_FOUND,),
                cost=2,
                result=shapes.LightBlock,
                result_description=(
                    "header{…}, certificate{…}, authorities{hash authorities raw} that decide it, "
                    "nextAuthorities{…} of the next height"
                ),
            ),
            Method(
                "chain_getProof",
                "A state value with the proof that it is (or is not) there",
                self.proof,
                ProofParams,
                errors=(NOT_FOUND, PRUNED),
                cost=20,
                result=shapes.StateProof,
                result_description=(
                    "module key value|null proof header certificate: enough for an offline "
                    "verifier who knows the authorities; with prove also bundle, for any other"
                ),
            ),
            Method(
                "chain_getParameters",
                "The consensus parameters in force",
                self.parameters,
                result=ledger_shapes.Parameters,
                result_description="parameters{…} hash raw",
            ),
            Method(
                "chain_getGenesis",
                "The genesis, as JSON and as bytes",
                self.genesis,
                errors=(LIMIT_EXCEEDED,),
                cost=5,
                result=shapes.GenesisBytes,
                result_description="genesisHash json raw",
            ),
        ]

    def status(self, _params: NoParams, _context: Context) -> Json:
        """chain_getStatus."""
        services, tip = self._services, self._services.chain.tip
        progress = services.sync.progress
        return {
            "chainId": services.chain.genesis.chain_id,
            "genesisHash": hex_of(services.chain.genesis.hash),
            "height": tip.height,
            "hash": hex_of(tip.block_id),
            "time": time_text(tip.time_ms),
            "timeMs": tip.time_ms,
            "stateRoot": hex_of(services.chain.state.state_root),
            "syncing": services.sync.syncing,
            "behind": progress.behind,
            "peers": services.network.count,
            "authorities": len(services.chain.authorities),
            "version": services.version,
            "testNetwork": services.chain.genesis.test_network,
        }

    async def block(self, params: BlockParams, _context: Context) -> Json:
        """chain_getBlock."""
        chain = self._services.chain
        height = params.height
        if params.hash is not None:
            height = chain.blocks.height_of(params.hash)
            if height is None:
                raise NotFound(f"block {hex_of(params.hash)}")
        assert height is not None
        view = chain.view(height)
        if params.transactions == "ids":
            # A receipt begins with its transaction's id.
            shown: list[Any] = [hex_of(item[3:35]) for item in view.receipts]
        else:
            shown = []
            for number, raw in enumerate(view.block.transactions, 1):
                shown.append(transaction_json(decode_transaction(raw), chain.registry))
                if number % SHOWN_SLICE == 0:
                    await next_turn()
        return {
            "header": header_json(view.block.header),
            "transactions": shown,
            "evidence": [
                double_sign_json(DoubleSign.unpack(packed)) for packed in view.block.evidence
            ],
            "certificate": certificate_json(view.certificate),
            "receiptsRoot": hex_of(view.block.header.receipts_root),
        }

    def light_block(self, params: LightBlockParams, _context: Context) -> Json:
        """chain_getLightBlock."""
        chain = self._services.chain
        height = chain.height if params.height is None else params.height
        header, certificate = self._services.header(height), chain.blocks.certificate(height)
        if certificate is None:
            raise NotFound(f"the certificate of block {height}")
        return {
            "header": header_json(header),
            "certificate": certificate_json(certificate),
            "authorities": authorities_json(chain.authorities_at(height)),
            "nextAuthorities": authorities_json(chain.authorities_at(height + 1)),
        }

    async def proof(self, params: ProofParams, _context: Context) -> Json:
        """chain_getProof."""
        chain = self._services.chain
        tree = params.module or KERNEL
        key = params.key if params.key is not None else params.path
        assert key is not None
        if not 1 <= len(key) <= PATH_BYTES_MAX:
            raise Malformed("path", f"is {len(key)} bytes, 1…{PATH_BYTES_MAX} are allowed")
        if tree not in {name for name, _ in chain.registry.trees}:
            raise NotFound(f"module {tree}")
        height = chain.height if params.at_height is None else params.at_height
        if height == 0:
            raise RpcError(NOT_FOUND, "genesis has no header; proofs begin at block 1")
        if height == chain.height:
            value, proof = chain.state.get(tree, key), chain.state.prove(tree, key)
            return await self._proven(height, tree, key, value, proof, prove=params.prove)
        view = chain.state.at_height(height, proofs=True)
        try:
            for _ in view.steps():
                await next_turn()
            value, proof = view.get(tree, key), view.prove(tree, key)
        finally:
            view.close()
        return await self._proven(height, tree, key, value, proof, prove=params.prove)

    async def _proven(
        self,
        height: int,
        tree: str,
        key: bytes,
        value: bytes | None,
        proof: bytes,
        *,
        prove: bool,
    ) -> Json:
        certificate = self._services.chain.blocks.certificate(height)
        if certificate is None:
            raise NotFound(f"block {height}")
        header = self._services.header(height)
        shown = {
            "module": tree,
            "key": hex_of(key),
            "value": None if value is None else hex_of(value),
            "proof": hex_of(proof),
            "header": header_json(header),
            "certificate": certificate_json(certificate),
        }
        if prove:
            values = [ProvableValue(tree, key, value, proof)]
            block = ProvableBlock(header.pack(), certificate, values)
            shown["bundle"] = await state_bundle(self._services, STATE, height, [block])
        return shown

    def parameters(self, _params: NoParams, _context: Context) -> Json:
        """chain_getParameters."""
        params = self._services.chain.params
        values = {name: getattr(params, name) for name in params.__dataclass_fields__}
        return {"parameters": values, "hash": hex_of(params.hash), "raw": hex_of(params.pack())}

    def genesis(self, _params: NoParams, _context: Context) -> RawJson:
        """chain_getGenesis."""
        if self._genesis is None:
            genesis = self._services.chain.genesis
            if len(genesis.packed) > GENESIS_SHOWN_MAX:
                raise RpcError(
                    LIMIT_EXCEEDED,
                    f"the genesis is {len(genesis.packed)} bytes, too many for an answer",
                    hint="take the file from whoever gave you its hash, then clawpurse join",
                )
            answer = {
                "genesisHash": hex_of(genesis.hash),
                "json": genesis.to_json(),
                "raw": hex_of(genesis.packed),
            }
            self._genesis = RawJson(encode_json(answer))
        return self._genesis
