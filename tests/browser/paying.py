"""Payments of every fate, made by the commands that people type, for the pages to show."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.e2e.conftest import Net


class Paid(NamedTuple):
    """Two accounts of a network, and a final payment between them."""

    payer: str
    payee: str
    tx_id: str
    height: int


def paid_on(net: Net, payer: str, payee: str) -> Paid:
    """Make two keys with money, pay once, and return what came of it."""
    accounts = [net.fund(name)["account"] for name in (payer, payee)]
    sent = send(net, payer, payee, "12.5")
    return Paid(accounts[0], accounts[1], sent["txId"], sent["height"])


def send(net: Net, payer: str, payee: str, amount: str) -> Any:
    """Pay, and return what the command said of it."""
    return net.run(
        "wallet",
        "send",
        payee,
        amount,
        "--asset",
        "CLAW",
        "--from",
        payer,
        "--memo",
        "lunch",
        "--yes",
        "--passphrase-file",
        net.passphrase_file,
        "--json",
    ).json()
