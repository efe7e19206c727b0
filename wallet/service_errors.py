"""What an error of the wallet is to whoever called its service.

Machine-readable first: a refusal by guardrails names the limit, what it allows, what was asked and
spent, and when it is whole again. Nothing here ever quotes what the caller sent.
"""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.errors import (
    KeyLocked,
    NotFound,
    OperatorError,
    PeerError,
    StorageFault,
    WatchOnly,
    WrongPassphrase,
)
from clawpurse.modules.kit.web.errors import (
    GUARDRAIL_REFUSED,
    KEY_LOCKED,
    NODE_UNREACHABLE,
    STORAGE_FAULT,
    WALLET_REFUSED,
    WRONG_PASSPHRASE,
    RpcError,
    Unreachable,
    as_rpc_error,
)
from clawpurse.wallet.delivery import AlreadyUsed
from clawpurse.wallet.guardrails import GuardrailRefused, Refusal
from clawpurse.wallet.payments import NotEnough, TooLate


def refusal_data(refusal: Refusal) -> dict[str, Any]:
    """Return one refusal as an error's data has it: also the moment as a number."""
    return {**refusal.data(), "resetsMs": refusal.resets_ms, "sentence": refusal.sentence}


def told(error: Exception) -> Exception:
    """Return what a caller is told of `error`; a fault of ours comes back as it is."""
    match error:
        case ExceptionGroup() if len(error.exceptions) == 1:
            return told(error.exceptions[0])
        case NotEnough():
            facts = {"asset": error.asset, "have": str(error.have), "need": str(error.need)}
            return RpcError(error.code.rpc_code, error.reason, facts=facts)
        case AlreadyUsed():
            facts = {"txId": f"0x{error.tx_id.hex()}"}
            return RpcError(error.code.rpc_code, error.reason, facts=facts)
        case TooLate():
            payment = {"txId": f"0x{error.payment.tx_id.hex()}", "status": error.payment.status}
            return RpcError(error.code.rpc_code, error.reason, facts=payment)
        case Unreachable():
            sent = {"mayHaveActed": error.sent}
            return RpcError(NODE_UNREACHABLE, "No node of the network answers.", facts=sent)
        case OperatorError():
            return _of_operator(error)
        case PeerError():
            return RpcError(NODE_UNREACHABLE, f"The node's answer cannot be used: {error}")
    return as_rpc_error(error) or error


def _of_operator(error: OperatorError) -> RpcError:
    reason = error.what if not error.why else f"{error.what} {error.why}"
    hint = error.next_command or None
    match error:
        case GuardrailRefused():
            all_of_them = [refusal_data(one) for one in error.refusals]
            # The first one's members stand at the top too: most programs look no further.
            facts: dict[str, Any] = {**all_of_them[0], "refusals": all_of_them}
            return RpcError(GUARDRAIL_REFUSED, reason, hint=hint, facts=facts)
        case KeyLocked():
            return RpcError(KEY_LOCKED, reason, facts={"key": error.key})
        case WrongPassphrase():
            facts = {"key": error.key, "retryAfterMs": error.wait_ms, "tried": error.tried}
            return RpcError(WRONG_PASSPHRASE, reason, facts=facts)
        case WatchOnly():
            return RpcError(WALLET_REFUSED, reason, hint=hint, facts={"key": error.key})
        case StorageFault():
            return RpcError(STORAGE_FAULT, reason, hint=hint)
    return RpcError(WALLET_REFUSED, reason, hint=hint)


def unknown(what: str) -> NotFound:
    """Return the error for what is not here, or not for this caller: both read the same."""
    return NotFound(what)
