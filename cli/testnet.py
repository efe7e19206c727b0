"""`testnet stop|status|init|reset`, and what a network looks like to a program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from clawpurse.cli import prompts
from clawpurse.cli.consensus import OWN_STATES, best_of, opening
from clawpurse.cli.network import (
    AUTHORITIES_DEFAULT,
    BASE_PORT_DEFAULT,
    LocalNetwork,
    create_network,
    open_network,
)
from clawpurse.cli.output import OK, counted
from clawpurse.cli.processes import NodeState, ask, probe_all, stop_all
from clawpurse.cli.session import Session, now_ms, shown
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.durable import locked, make_private_directory


def folder_of(session: Session, given: Path | None) -> Path:
    """Return the network's folder: the one given, else `<client's folder>/testnet`."""
    return (session.home / "testnet" if given is None else given).expanduser()


def document(network: LocalNetwork, states: Sequence[NodeState]) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "home": str(network.folder.absolute()),
        "chainId": network.chain_id,
        "genesisHash": f"0x{network.genesis_hash.hex()}",
        "genesis": str(network.genesis_file.absolute()),
        "faucet": account_text(network.faucet),
        "nodes": [state.as_json() for state in states],
    }


def status(session: Session, given: Path | None) -> None:
    """Show every node."""
    network = open_network(folder_of(session, given))
    states = trio.run(probe_all, network.homes)
    explained = trio.run(_explanations, states)
    explanation = best_of(list(explained.values()))
    if session.json_mode:
        session.out.emit({**document(network, states), "explanation": explanation})
        return
    ready = sum(state.state == "ready" for state in states)
    heights = [state.height for state in states if state.height is not None]
    tip = f", block {max(heights)}" if heights else ""
    out = session.out
    if explanation is not None:
        out.line(opening(out, explanation))
    out.line(f"{network.chain_id}: {ready} of {counted(network.authorities, 'node')} ready{tip}.")
    out.line()
    out.table(
        ("node", "state", "block>", "pid>", "JSON-RPC", "metrics", "home"),
        [
            (
                state.config.name,
                state.state,
                "–" if state.height is None else str(state.height),
                "–" if state.pid is None else str(state.pid),
                state.rpc,
                f"http://{state.config.metrics_listen}/metrics",
                shown(state.home.root),
            )
            for state in states
        ],
    )
    for state in states:
        said = explained.get(state.config.name)
        if said is not None and said is not explanation and said["state"] in OWN_STATES:
            out.note(f"{state.config.name}: {said['sentence']}")
        elif state.problems:
            out.note(f"{state.config.name}: {'; '.join(state.problems)}")
    if ready < network.authorities:
        out.note(f"Next: clawpurse testnet start{_home_option(session, network)}")


async def _explanations(states: Sequence[NodeState]) -> dict[str, Any]:
    """Ask every node that runs what it waits for; the answers are in the order of the nodes."""
    found: dict[str, Any] = {}

    async def one(state: NodeState) -> None:
        found[state.config.name] = await ask(state.rpc, "consensus_explain")

    async with trio.open_nursery() as nursery:
        for state in states:
            if state.pid is not None:
                nursery.start_soon(one, state)
    names = [state.config.name for state in states if found.get(state.config.name) is not None]
    return {name: found[name] for name in names}


def stop(session: Session, given: Path | None) -> None:
    """Stop every node."""
    stop_network(session, open_network(folder_of(session, given)))


def stop_network(session: Session, network: LocalNetwork) -> None:
    """Stop a network's nodes and say how many ran."""
    count = trio.run(stop_all, network.homes)
    if session.json_mode:
        session.out.emit({"home": str(network.folder.absolute()), "stopped": count})
        return
    what = f"stopped {counted(count, 'node')}" if count else "no node was running"
    again = f"clawpurse testnet start{_home_option(session, network)}"
    session.out.line(f"{session.out.mark(OK)} {what} of {network.chain_id}. Continue: {again}")


def init(
    session: Session, given: Path | None, authorities: int | None, base_port: int | None
) -> None:
    """Make a network's folder without starting it."""
    folder = folder_of(session, given)
    make_private_directory(folder.parent)
    network = create_network(
        folder, authorities or AUTHORITIES_DEFAULT, base_port or BASE_PORT_DEFAULT, now_ms()
    )
    if session.json_mode:
        session.out.emit(document(network, trio.run(probe_all, network.homes)))
        return
    session.out.tick(f"genesis {network.chain_id}")
    session.out.note(f"Next: clawpurse testnet start{_home_option(session, network)}")


def reset(session: Session, given: Path | None, *, yes: bool, understood: str | None) -> None:
    """Delete a network once its chain id was typed. Refused while a node of it runs."""
    folder = folder_of(session, given)
    with locked(
        folder.with_name(f".{folder.name}.lock"),
        f"Another clawpurse works on the network in {folder}.",
    ):
        network = open_network(folder)
        running = [home.root.name for home in network.running()]
        if running:
            raise OperatorError(
                f"{', '.join(running)} still run.",
                "Nothing was deleted.",
                f"clawpurse testnet stop{_home_option(session, network)}",
            )
        size_mb = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        warning = (
            f"Deletes {shown(folder)}: the chain {network.chain_id} ({size_mb:,.1f} MB), "
            f"the keys of {counted(network.authorities, 'authority')}, the logs.",
            "Keys of people, contacts and receipts stay. This cannot be undone.",
        )
        prompts.confirm_by_name(
            session.out, warning, network.chain_id, yes=yes, understood=understood
        )
        # The file that makes it a network goes first: half of one is never taken for one.
        (folder / "network.json").unlink()
        shutil.rmtree(folder)
    if session.json_mode:
        session.out.emit({"deleted": str(folder.absolute()), "chainId": network.chain_id})
        return
    session.out.tick(f"deleted {network.chain_id}")
    session.out.note("Next: clawpurse testnet start")


def _home_option(session: Session, network: LocalNetwork) -> str:
    default = network.folder == folder_of(session, None)
    return "" if default else f" --home {shown(network.folder)}"
