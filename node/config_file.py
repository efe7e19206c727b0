"""A running node's way to its own configuration file: read it anew, and write its peers there.

The file stays the one place that says what a node does after its next start; whoever changes the
peers of a running node changes it, comments and all other lines kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import CONFIG_NAME, ENVIRONMENT_PREFIX, NodeConfig, load_config
from clawpurse.wallet.settings import write_setting


class ConfigFile:
    """The `config.toml` of one node, with the environment and the flags that it was started with.

    `check` refuses (`OperatorError`) what only shows beyond the file, such as a certificate that
    cannot be read. Calls block on the disk.
    """

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        flags: Mapping[str, Any] | None = None,
        check: Callable[[NodeConfig], None] = lambda _config: None,
    ) -> None:
        self._home: Final = home
        self._environment: Final = dict(environment)
        self._flags: Final = dict(flags or {})
        self._check = check

    def read(self) -> NodeConfig:
        """Return what a start would go by now. Raises `OperatorError` as a start would."""
        config = load_config(self._home, self._environment, self._flags)
        config.require_whole()
        config.require_safe_listeners()
        self._check(config)
        return config

    def write_peers(self, peers: tuple[str, ...]) -> None:
        """Set `peers` in the file, durably. Raises `OperatorError`, `Malformed`, `StorageFault`."""
        variable = f"{ENVIRONMENT_PREFIX}PEERS"
        if variable in self._environment:
            raise OperatorError(
                f"The peers of this node come from {variable}.",
                "What its file says of them does not count.",
                f"start it without {variable}",
            )
        write_setting(self._home / CONFIG_NAME, ("peers",), list(peers))
