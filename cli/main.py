"""The entry point: the table of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import click

from clawpurse.cli.framework import Entry, LazyGroup
from clawpurse.cli.session import Session

COMMAND_NAME: Final = "clawpurse"
MODULES: Final = "clawpurse.modules"
"""The entry points of installed modules; reading them imports none."""
EXAMPLES: Final = (
    "clawpurse testnet start",
    "clawpurse wallet send bob 12.5 --asset CLAW --from alice",
)
SECTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "A network to try": {
        "testnet": Entry("cmd_testnet", "testnet", "a network of your own: real processes here"),
        "faucet": Entry("cmd_faucet", "faucet", "money of a test network, for an account"),
    },
    "Money": {
        "wallet": Entry("cmd_wallet", "wallet", "send, balance, history, receive, contacts"),
        "send": Entry("cmd_wallet", "send", "pay somebody (wallet send)"),
        "balance": Entry("cmd_looking", "balance", "what an account has (wallet balance)"),
        "history": Entry("cmd_looking", "history", "what an account did (wallet history)"),
        "receive": Entry("cmd_looking", "receive", "your address, also as a picture"),
        "address": Entry("cmd_looking", "address", "the address of a key"),
        "pay": Entry("cmd_pay", "pay", "pay with particulars: reference, approvers, refunds"),
        "refund": Entry("cmd_pay", "refund", "give back of a payment that you got"),
        "escrow": Entry("cmd_escrow", "escrow", "money until a time, a secret or an arbiter"),
        "batch": Entry("cmd_batch", "batch", "many payments, all or none, when enough approve"),
        "invoice": Entry("cmd_invoice", "invoice", "ask for money, paid once and in time"),
        "channel": Entry("cmd_channel", "channel", "pay by vouchers, without a transaction each"),
        "hold": Entry("cmd_hold", "hold", "money that waits for officers, or for its payee"),
        "schedule": Entry("cmd_schedule", "schedule", "payments at a time to come"),
        "asset": Entry("cmd_asset", "asset", "issue assets and control them"),
        "receipts": Entry("cmd_receipts", "receipts", "saved payments: list, show, verify offline"),
        "tx": Entry("cmd_tx", "tx", "transactions: wait, verify, decode, submit"),
    },
    "Compliance": {
        "compliance": Entry("cmd_compliance", "compliance", "policies: check, explain, decide"),
        "credential": Entry("cmd_credential", "credential", "what is attested of whom"),
        "risk": Entry("cmd_risk", "risk", "scores of risk that several oracles agree on"),
    },
    "Audit": {
        "audit": Entry("cmd_audit", "audit", "export what happened with proofs, and check it"),
        "anchor": Entry("cmd_anchor", "anchor", "documents that were there, logs that only grow"),
    },
    "Keys": {
        "keys": Entry("cmd_keys", "keys", "add, list, show, import, export, backup, …"),
        "session": Entry("cmd_session", "session_group", "keys with limits, for agents"),
        "sponsor": Entry("cmd_sponsor", "sponsor", "pay other accounts' fees up to limits"),
        "multisig": Entry("cmd_multisig", "multisig", "accounts for which several people sign"),
        "deposits": Entry("cmd_deposits", "deposits", "who may pay your account"),
    },
    "Nodes": {
        "init": Entry("cmd_node", "init", "prepare the folder of a node"),
        "join": Entry("cmd_node", "join", "prepare a node for a network that exists"),
        "start": Entry("cmd_node", "start", "run a node"),
        "stop": Entry("cmd_node", "stop", "stop a node or a test network"),
        "status": Entry("cmd_status", "status", "how the network is, in one screen"),
        "doctor": Entry("cmd_doctor", "doctor", "look for what is wrong, and say what mends it"),
        "genesis": Entry("cmd_genesis", "genesis", "found a network: create, add, verify"),
        "authority": Entry("cmd_authority", "authority", "who decides blocks, and with which keys"),
        "role": Entry("cmd_role", "role", "who may do what, and who could"),
        "upgrade": Entry("cmd_upgrade", "upgrade", "changes of the rules, by vote"),
        "consensus": Entry("cmd_consensus", "consensus", "how deciding goes"),
        "validators": Entry("cmd_status", "validators", "who decides blocks (authority show)"),
        "peer": Entry("cmd_peer", "peer", "whom a node stays connected to"),
        "auth": Entry("cmd_auth", "auth", "sign in to a service by the key of an account"),
        "token": Entry("cmd_token", "token", "who may call a node: tokens and API keys"),
        "db": Entry("cmd_db", "db", "check what is on disk"),
        "webhook": Entry("cmd_webhook", "webhook", "post final events to your server, signed"),
        "gateway": Entry("cmd_gateway", "gateway", "sell any API: serve, routes, revenue, pay"),
        "module": Entry("cmd_module", "module", "services beside the chain: list, show, serve"),
    },
    "Tools": {
        "config": Entry("cmd_config", "config", "show, get, set and validate settings"),
        "light": Entry("cmd_light", "light", "verify the chain without running a node"),
        "rpc": Entry("cmd_rpc", "rpc", "call a JSON-RPC method"),
        "events": Entry("cmd_events", "events", "follow what becomes final, one line an event"),
        "methods": Entry("cmd_rpc", "methods", "all JSON-RPC methods of a node"),
        "version": Entry("cmd_version", "version", "the version of this software"),
        "completion": Entry("cmd_version", "completion", "completion for your shell"),
    },
}


def build_root() -> LazyGroup:
    """Return the root command."""
    return LazyGroup(
        COMMAND_NAME,
        sections=SECTIONS,
        others=_module,
        examples=EXAMPLES,
        help="A payment network that a consortium runs itself.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _module(name: str) -> click.Command | None:
    """Return the commands of an installed module: they are made from what it declares."""
    # Imported for names that no table has: it takes as long as the rest of the start.
    from importlib.metadata import entry_points

    if not any(one.name == name for one in entry_points(group=MODULES)):
        return None
    from clawpurse.cli.cmd_records import module_group
    from clawpurse.modules.kit.service.declaration import compiled
    from clawpurse.node.hosting import load_service

    return module_group(compiled(load_service(name)))


def run(arguments: Sequence[str], session: Session) -> int:
    """Run one command line and return its exit code; errors are printed, not raised."""
    try:
        code = build_root().main(
            list(arguments), prog_name=COMMAND_NAME, standalone_mode=False, obj=session
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as asked:
        print(asked.format_message())
        return 0
    except BrokenPipeError:
        # Whoever read us has enough (`| head`); Python must not complain at its end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        return _tell(error, arguments, session)
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:], Session()))


def _tell(error: BaseException, arguments: Sequence[str], session: Session) -> int:
    """Print an error as one line (or object) and return its exit code."""
    if isinstance(error, SystemExit):
        raise error
    # Imported now: a command that succeeds, or prints its help, needs none of it.
    from clawpurse.cli.failures import failure_of

    failure = failure_of(error)
    if session.debug or "--debug" in arguments:
        traceback.print_exception(error)
    if session.json_mode or "--json" in arguments:
        session.json_mode = True
        session.out.emit(failure.as_json())
    else:
        print(failure.line, file=sys.stderr)
    return int(failure.exit_code)
