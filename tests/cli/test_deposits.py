"""`deposits …`: who may pay an account, said and seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import ACCOUNT_DEPOSIT_AUTH, Account, account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.cli.signernode import teach

pytestmark = pytest.mark.usefixtures("wallet")


def act(cli: Cli, passphrase_file: str, *arguments: str, by: str = "bob") -> Done:
    more = ["--from", by, "--passphrase-file", passphrase_file, "--yes"]
    return cli("deposits", *arguments, *more)


def know_flags(node: FakeNode) -> None:
    """Let the node tell of an account whether it is closed."""

    def answer(params: dict[str, Any]) -> Any:
        data = node.chain.state.get((KERNEL, account_key(account_from_text(params["account"]))))
        if data is None:
            return RpcError(NOT_FOUND, "the account is not known here")
        flags = Account.unpack(data).flags
        return {"account": params["account"], "depositAuth": bool(flags & ACCOUNT_DEPOSIT_AUTH)}

    node.overrides["account_get"] = answer


def test_who_is_named_pays_and_others_do_not(
    cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    teach(node)
    know_flags(node)
    assert "is paid by everybody." in cli("deposits", "list", "bob").out
    done = act(cli, passphrase_file, "named-only")
    assert done.code == 0 and "only accounts that you named" in done.out, done.err
    pay = ("wallet", "send", "bob", "1", "--from", "alice", "--yes",
           "--passphrase-file", passphrase_file)  # fmt: skip
    refused = cli(*pay)
    assert refused.code == 4 and "takes payments only from accounts that it named" in refused.err
    done = act(cli, passphrase_file, "allow", "alice")
    assert done.code == 0 and "alice may pay you." in done.out
    assert cli(*pay).code == 0
    shown = cli("deposits", "list", "bob")
    assert "is paid by accounts that it named." in shown.out and "  alice claw1" in shown.out
    document = json.loads(cli("deposits", "list", "bob", "--json").out)
    alice = account_text(node.chain.alice.account)
    assert (document["namedOnly"], document["payers"]) == (True, [alice])
    assert act(cli, passphrase_file, "disallow", "alice").code == 0
    again = act(cli, passphrase_file, "disallow", "alice")
    assert again.code == 4 and "is not among those" in again.err
    assert act(cli, passphrase_file, "everybody").code == 0
    assert cli(*pay).code == 0


def test_an_account_that_is_none_is_said_so(cli: Cli, node: FakeNode) -> None:
    teach(node)
    know_flags(node)
    done = cli("deposits", "list", account_text(b"\x05" * 32))
    assert done.code == 4 and "is not an account yet" in done.err
    node.refuse("account_get", Code.QUOTA_EXCEEDED, "too much")
    assert cli("deposits", "list", "bob").code == 4
