"""Structured logs: one line an event, as JSON for machines or text for people.

Modules log with `logging.getLogger("clawpurse.…")` and facts in `extra`; only here are they
given a form. Secrets never reach a log because nothing that holds one is ever a fact.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, TextIO

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text

_STANDARD: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", (), None)).keys() | {"message", "asctime", "taskName"}
)
# One fact may be a peer's text; no line of ours grows beyond what terminals and collectors take.
FACT_CHARS_MAX: Final = 512
LEVELS: Final = ("debug", "info", "warning", "error")
ALL: Final = "all"
# The parts of a node that log under a name of their own: `clawpurse.<name>`.
LOGGERS: Final = (
    "alerts",
    "blocks",
    "bodies",
    "chain",
    "consensus",
    "intake",
    "journal",
    "modules",
    "node",
    "p2p",
    "signer",
    "signing",
    "sync",
    "verifier",
    "wal",
    "web",
    "webhooks",
)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given in `extra`."""
    return {name: _short(value) for name, value in vars(record).items() if name not in _STANDARD}


def _short(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= FACT_CHARS_MAX else text[:FACT_CHARS_MAX] + "…"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": time_text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "node": self._node,
            "logger": record.name.removeprefix("clawpurse."),
            "message": record.getMessage(),
            **facts_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = " ".join(f"{name}={value}" for name, value in facts_of(record).items())
        text = (
            f"{time_text(int(record.created * 1000))} {record.levelname.lower():7} "
            f"{record.name.removeprefix('clawpurse.')}: {record.getMessage()} {facts}"
        ).rstrip()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def start_logging(
    node: str, level: str, log_format: str, stream: TextIO | None = None
) -> logging.Handler:
    """Send the process's `clawpurse.*` logs to `stream` (stderr); returns the handler."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node) if log_format == "json" else TextFormatter())
    logger = logging.getLogger("clawpurse")
    logger.setLevel(level.upper())
    logger.addHandler(handler)
    logger.propagate = False
    return handler


def stop_logging(handler: logging.Handler) -> None:
    """Take a handler away again."""
    logging.getLogger("clawpurse").removeHandler(handler)
    handler.flush()


def set_log_level(level: str, logger: str = ALL) -> None:
    """Log at `level` (one of `LEVELS`) from now on: of one logger, or of all alike.

    A logger keeps a level of its own until all are set. Raises `Malformed`.
    """
    if level not in LEVELS:
        raise Malformed("level", f"is none of {', '.join(LEVELS)}")
    if logger != ALL and logger not in LOGGERS:
        raise Malformed("logger", f"is none of {', '.join((ALL, *LOGGERS))}")
    if logger != ALL:
        logging.getLogger(f"clawpurse.{logger}").setLevel(level.upper())
        return
    logging.getLogger("clawpurse").setLevel(level.upper())
    for name in LOGGERS:
        logging.getLogger(f"clawpurse.{name}").setLevel(logging.NOTSET)


def log_levels() -> dict[str, str]:
    """Return the level of all, and of each logger that has one of its own."""
    found = {ALL: logging.getLogger("clawpurse").getEffectiveLevel()}
    for name in LOGGERS:
        own = logging.getLogger(f"clawpurse.{name}").level
        if own != logging.NOTSET:
            found[name] = own
    return {name: logging.getLevelName(level).lower() for name, level in found.items()}
