"""What a node answers of an account and its balances, worked out from records of the state.

The node makes its answers here and whoever verifies one makes it again from the proof, by the
same code: so an edited answer is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import (
    ACCOUNT_DEPOSIT_AUTH,
    Account,
    Balance,
    account_key,
    balance_key,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.modules.assets.records import Asset
from clawpurse.wallet.proof_steps import hexed

Json = dict[str, Any]
_NOTHING: Final = {"amount": "0", "held": "0"}


def account_document(state: StateReader, account: bytes, height: int) -> Json | None:
    """Return what an account is after block `height`; None if there is none.

    The network's terms for it (`quota.max`, `quota.windowMs`) are not among what is returned.
    """
    data = state.get(KERNEL, account_key(account))
    if data is None:
        return None
    record = Account.unpack(data)
    return {
        "account": account_text(account),
        "key": None if record.key is None else hexed(record.key),
        "multisig": record.policy is not None,
        "depositAuth": bool(record.flags & ACCOUNT_DEPOSIT_AUTH),
        "lanes": [
            {"lane": lane, "nextSequence": record.sequence(lane)}
            for lane in range(len(record.lanes) // 8)
            if record.sequence(lane)
        ],
        "quota": {"window": record.quota_window, "used": record.quota_used},
        "idempotencyKeys": record.idempotency_count,
        "scheduled": record.due_count,
        "height": height,
    }


def balance_rows(state: StateReader, account: bytes, assets: Sequence[Asset]) -> list[Json]:
    """Return what an account has of these assets: the native one, and each of which it has some."""
    rows = []
    for asset in assets:
        balance = _balance(state, account, asset.name)
        if balance.amount or balance.held or asset.name == NATIVE_ASSET:
            rows.append(
                {
                    "asset": asset.name,
                    "amount": str(balance.amount),
                    "held": str(balance.held),
                    "decimals": asset.decimals,
                }
            )
    return rows


def _balance(state: StateReader, account: bytes, asset: str) -> Balance:
    native = asset == NATIVE_ASSET
    data = state.get(KERNEL, account_key(account) if native else balance_key(account, asset))
    if data is None:
        return Balance(0, 0, 0)
    if not native:
        return Balance.unpack(data)
    record = Account.unpack(data)
    return Balance(record.balance, record.held, 0)


def genesis_rows(genesis: Genesis, account: bytes) -> list[Json]:
    """Return what an account has before the first block."""
    given = dict.fromkeys((NATIVE_ASSET,), 0)
    for entry in genesis.accounts:
        if entry.account == account:
            given.update(entry.balances)
    decimals = genesis.decimals
    return [
        {"asset": name, "amount": str(amount), "held": "0", "decimals": decimals[name]}
        for name, amount in given.items()
    ]


def balances_document(account: bytes, rows: Sequence[Json], height: int) -> Json:
    """Return balances as `account_getBalances` answers them."""
    return {"account": account_text(account), "balances": list(rows), "height": height}


def statement_document(
    account: bytes, heights: tuple[int, int], opening: Sequence[Json], closing: Sequence[Json]
) -> Json:
    """Return a statement over blocks, first and last included, without its entries."""
    before = {row["asset"]: row for row in opening}
    after = {row["asset"]: row for row in closing}
    return {
        "account": account_text(account),
        "fromHeight": heights[0],
        "toHeight": heights[1],
        "balances": [
            _line(name, before.get(name), after.get(name)) for name in sorted({*before, *after})
        ],
    }


def _line(asset: str, opening: Json | None, closing: Json | None) -> Json:
    known = closing or opening
    assert known is not None
    before, after = opening or _NOTHING, closing or _NOTHING
    return {
        "asset": asset,
        "decimals": known["decimals"],
        "opening": before["amount"],
        "openingHeld": before["held"],
        "closing": after["amount"],
        "closingHeld": after["held"],
    }


def header_json(header: Header) -> dict[str, Any]:
    """Return a header."""
    return {
        "version": header.version,
        "chainId": header.chain_id,
        "genesisHash": hexed(header.genesis_hash),
        "recoveryEpoch": header.recovery_epoch,
        "height": header.height,
        "hash": hexed(header.block_id),
        "time": time_text(header.time_ms),
        "timeMs": header.time_ms,
        "firstRound": header.first_round,
        "proposer": authority_text(header.proposer),
        "parentHash": hexed(header.parent_id),
        "parentCertificateHash": hexed(header.parent_certificate_hash),
        "transactionsRoot": hexed(header.transactions_root),
        "receiptsRoot": hexed(header.receipts_root),
        "eventsRoot": hexed(header.events_root),
        "evidenceRoot": hexed(header.evidence_root),
        "stateRoot": hexed(header.state_root),
        "authoritiesHash": hexed(header.authorities_hash),
        "nextAuthoritiesHash": hexed(header.next_authorities_hash),
        "paramsHash": hexed(header.params_hash),
        "costUsed": header.cost_used,
        "raw": hexed(header.pack()),
    }


def certificate_json(packed: bytes) -> dict[str, Any]:
    """Return a certificate: who decided a block, as a bitmap of the sorted set."""
    certificate = Certificate.unpack(packed)
    return {
        "height": certificate.height,
        "round": certificate.round,
        "blockId": hexed(certificate.decided_id),
        "signers": hexed(certificate.signers),
        "signatures": [hexed(item) for item in certificate.signatures],
        "raw": hexed(packed),
    }
