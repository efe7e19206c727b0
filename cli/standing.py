"""In whose name a command signs, and who pays: one's own account, or another's by a session key.

With `--for ACCOUNT` the key of `--from` signs as that account's session key, in a lane of its
own; with `--payer ACCOUNT` a sponsor pays the fee, whose signature is not needed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.keystore import KeyInfo

_NOTHING: Final = "Nothing was sent."


class Standing(NamedTuple):
    """For which account a key signs, in which lane, and who pays the fee if not that account.

    `session_key` is None when the account's own key signs; `lanes` are those that it may use, None
    for any.
    """

    account: bytes
    title: str
    lane: int
    session_key: bytes | None = None
    sponsor: bytes | None = None
    sponsor_title: str = ""
    lanes: tuple[int, ...] | None = None

    @property
    def fee_title(self) -> str:
        """Who pays the fee, for people."""
        return self.sponsor_title or self.title

    @property
    def limited(self) -> bool:
        """Whether somebody's limits apply: a session key's, or a sponsor's."""
        return self.session_key is not None or self.sponsor is not None

    @property
    def look(self) -> str:
        """The command that shows what is left of whatever may have refused."""
        if self.session_key is not None:
            return f"clawpurse session show {self.title} 0x{self.session_key.hex()}"
        if self.sponsor is not None:
            return f"clawpurse sponsor list --of {self.title}"
        return f"clawpurse wallet balance {self.title}"


async def standing_of(
    session: Session,
    node: NodeClient,
    key: KeyInfo,
    owner: str | None,
    sponsor: str | None,
    lane: int | None,
) -> Standing:
    """Return in whose name `key` signs. Raises `Rejected` when it is no session key of `owner`,
    `UsageFault` for a lane that is not that key's.
    """
    payer, payer_title = None, ""
    if sponsor is not None:
        named = account_named(session, sponsor, _NOTHING)
        payer, payer_title = named.account, named.label or account_text(named.account)
    if owner is None:
        own = Standing(key.account, key.name, lane or 0)
    else:
        whom = account_named(session, owner, _NOTHING)
        lanes = await _lanes(node, key, whom.account, owner)
        if lane is not None and lane not in lanes:
            shown = ", ".join(str(one) for one in lanes)
            raise UsageFault(
                f"{key.name} may use lane {shown} of {owner}.", _NOTHING, f"--lane {lanes[0]}"
            )
        title = whom.label or account_text(whom.account)
        chosen = lanes[0] if lane is None else lane
        own = Standing(whom.account, title, chosen, key.public_key, lanes=tuple(lanes))
    if payer == own.account:
        raise UsageFault(f"{own.title} pays its own fee anyway.", _NOTHING, "leave out --payer")
    return own._replace(sponsor=payer, sponsor_title=payer_title)


async def _lanes(node: NodeClient, key: KeyInfo, account: bytes, owner: str) -> list[int]:
    params = {"account": account_text(account), "key": f"0x{key.public_key.hex()}"}
    try:
        lanes: list[int] = (await node.call("session_get", params))["lanes"]
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
        raise Rejected(
            f"{key.name} is no session key of {owner}.",
            _NOTHING,
            f"clawpurse session list {owner}",
            code=Code.NOT_AUTHORISED,
        ) from err
    return lanes
