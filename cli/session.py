"""One run of the command: its options, the client's home, and how to speak.

Options come from flags, else `CLAWPURSE_…`, else the client's `config.toml`, else defaults.
Nothing is opened before a command asks for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clawpurse.cli.naming import Naming
from clawpurse.cli.output import Output

if TYPE_CHECKING:
    import ssl

    from clawpurse.ledger.errors import OperatorError
    from clawpurse.modules.kit.web.client import RpcClient
    from clawpurse.wallet.client import ClientFactory, NodeClient
    from clawpurse.wallet.home import ClientConfig, ClientHome, Network
    from clawpurse.wallet.keystore import Keystore

HOME_DEFAULT: Final = "~/.clawpurse"
RPC_DEFAULT: Final = "http://127.0.0.1:9641"
UNDER_MAKE: Final = "CLAWPURSE_UNDER_MAKE"
# Options that `config.toml` may set. Not there: confirmations, which a file must not give for
# ever, and folders, which would decide where that file is.
CONFIGURABLE: Final = (
    "asset",
    "authorities",
    "base_port",
    "ca",
    "debug",
    "from",
    "json",
    "language",
    "limit",
    "memo",
    "no_color",
    "passphrase_file",
    "rpc",
    "timeout",
    "token_file",
    "words",
)


class Session:
    """What every command gets as `ctx.obj`.

    `open_client` replaces the way to a node, `clock` the wall clock (ms UTC).
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        open_client: ClientFactory | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.environment = os.environ if environment is None else environment
        self.json_mode = False
        self.debug = False
        self.colour = True
        self.home = Path(self.environment.get("CLAWPURSE_HOME") or HOME_DEFAULT)
        self.rpc: str | None = None
        self.network_name: str | None = None
        # A file of CAs to trust instead of the system's, and one with a token for the node.
        self.ca: Path | None = None
        self.token_file: Path | None = None
        self._open_client = open_client
        self.now_ms = clock or now_ms
        # Commands that mend a broken config.toml must run while it is broken.
        self.ignore_config = False

    @cached_property
    def out(self) -> Output:
        """The voice of this run; ask for it when all options are known."""
        made = Output(json_mode=self.json_mode, colour=self.colour, environment=self.environment)
        made.naming = Naming(self._names)
        return made

    def _names(self) -> Mapping[str, str]:
        """Return how accounts are called; a damaged file is told and costs the names alone."""
        from clawpurse.ledger.errors import CallerError, OperatorError
        from clawpurse.wallet.labels import labels_in

        try:
            return labels_in(self.client_home.contacts(), self.keystore)
        except (CallerError, OperatorError) as err:
            self.out.warn(f"No names are shown: {err}")
            return {}

    @property
    def under_make(self) -> bool:
        """Whether `make run` started this: it has printed the heading, and hints name it."""
        return bool(self.environment.get(UNDER_MAKE))

    @property
    def client_home(self) -> ClientHome:
        """The client's folder: keys, contacts, receipts, networks."""
        from clawpurse.wallet.home import ClientHome

        return ClientHome(self.home)

    @property
    def keystore(self) -> Keystore:
        """The keys in it."""
        return self.client_home.keystore(self.now_ms, on_renewed=self._tell_renewed)

    def _tell_renewed(self, name: str, problem: OperatorError | None) -> None:
        """Say, once for each file, that guessing its passphrase costs more from now on."""
        if problem is None:
            self.out.note(
                f"The file of {name} was sealed anew: a guess costs more now. Copies made before "
                "are as they were."
            )
        else:
            self.out.warn(f"The file of {name} is older than today's sealing: {problem}")

    @cached_property
    def config(self) -> ClientConfig:
        """`config.toml`. Raises `Malformed` naming the line."""
        return self.client_home.config(CONFIGURABLE)

    def option_default(self, name: str) -> Any:
        """Return what `config.toml` sets for an option, or None."""
        name = name.rstrip("_")
        if name not in CONFIGURABLE or self.ignore_config:
            return None
        if "config" not in self.__dict__ and not (self.home.expanduser() / "config.toml").exists():
            return None
        return self.config.options.get(name)

    def node(self, timeout_ms: int | None = None, token: str | None = None) -> NodeClient:
        """Return the nodes of the network that is meant, as a client to use with `async with`."""
        from clawpurse.modules.kit.web.client import RpcClient
        from clawpurse.wallet.client import TIMEOUT_MS_DEFAULT, NodeClient

        limit_ms = timeout_ms or TIMEOUT_MS_DEFAULT
        token, trust = token or self._token(), self.trust()

        def connect(url: str) -> RpcClient:
            return RpcClient(url, token=token, timeout_ms=limit_ms, ssl_context=trust)

        opened = self._open_client or connect
        return NodeClient(self.network(), timeout_ms=limit_ms, open_client=opened)

    def connect(self, url: str, token: str | None = None) -> RpcClient:
        """Return the way to the node at `url`, whichever network is chosen."""
        from clawpurse.modules.kit.web.client import RpcClient

        if self._open_client is not None:
            return self._open_client(url)
        return RpcClient(url, token=token or self._token(), ssl_context=self.trust())

    def _token(self) -> str | None:
        from clawpurse.cli.token_files import token_in

        return None if self.token_file is None else token_in(self.token_file)

    def trust(self) -> ssl.SSLContext | None:
        """Return what TLS trusts: the CAs of `--ca` and no other, or None for the system's."""
        if self.ca is None:
            return None
        import ssl

        from clawpurse.cli.failures import UsageFault

        try:
            return ssl.create_default_context(cafile=self.ca.expanduser())
        except (OSError, ssl.SSLError) as error:
            why = error.strerror if isinstance(error, FileNotFoundError) else "it is no PEM file"
            raise UsageFault(
                f"{self.ca} cannot be used as --ca: {why}.",
                "",
                "ask the node's operator for the certificate of its CA",
            ) from None

    def network(self) -> Network:
        """Return the network to talk to: `--rpc`, `--network`, the chosen one, or this machine's.

        Raises `OperatorError` when no network has the name given.
        """
        from clawpurse.cli.failures import UsageFault
        from clawpurse.wallet.home import Network, check_rpc_url

        if self.rpc is not None:
            return Network("rpc", (check_rpc_url(self.rpc),))
        if self.network_name is not None:
            known = self.config.networks
            if self.network_name not in known:
                have = ", ".join(known) or "none"
                raise UsageFault(
                    f"No network is named {self.network_name}; known: {have}.",
                    "",
                    "clawpurse config show",
                )
            return known[self.network_name]
        return self.config.chosen or Network("local", (RPC_DEFAULT,))


def now_ms() -> int:
    """Return the machine's wall clock in ms UTC."""
    return time.time_ns() // 1_000_000


def shown(path: Path) -> str:
    """Return a path as people write it: `~/…` below their home. It can be pasted back."""
    absolute = path.expanduser().absolute()
    home = Path.home()
    return f"~/{absolute.relative_to(home)}" if absolute.is_relative_to(home) else str(absolute)
