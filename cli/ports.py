"""Who holds a TCP port on this machine, from /proc alone: for an error that names the culprit."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Final, NamedTuple

from clawpurse.ledger.errors import OperatorError

# Linux, include/net/tcp_states.h: TCP_LISTEN.
_LISTEN: Final = "0A"
# Where to look for free ports when some are taken.
_OTHER_PORTS: Final = range(9_700, 20_000, 100)
# Ports of one node: peer-to-peer, JSON-RPC, metrics, seven for modules.
PORTS_PER_NODE: Final = 10
_PORTS_USED: Final = 3
# A machine with more processes than this is looked through only so far.
PROCESSES_MAX: Final = 20_000


class Holder(NamedTuple):
    """A process that listens. `pid` is None when it belongs to somebody else."""

    pid: int | None
    name: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return "another user's process"
        return f"process {self.pid} ({self.name})" if self.name else f"process {self.pid}"


def is_free(host: str, port: int) -> bool:
    """Tell whether a listener could open `host:port` now.

    Raises `OperatorError` when it could not for another reason than somebody else's listener.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger from an earlier run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may share an address until one of them listens.
            probe.listen(1)
        except OSError as err:
            if err.errno == errno.EADDRINUSE:
                return False
            why = err.strerror or type(err).__name__
            raise OperatorError(
                f"Port {port} on {host} cannot be opened: {why}.", "", "choose other ports"
            ) from err
    return True


def free_base_port(nodes: int, skip: int = 0) -> int:
    """Return a base port above which all nodes of a test network have room now.

    `skip` leaves out so many candidates at first (they come last): whoever stops and starts
    nodes again shares no ports with another one who does.
    """
    count = len(_OTHER_PORTS)
    for place in range(count):
        base = _OTHER_PORTS[(skip + place) % count]
        firsts = range(base, base + PORTS_PER_NODE * nodes, PORTS_PER_NODE)
        if all(is_free("127.0.0.1", first + i) for first in firsts for i in range(_PORTS_USED)):
            return base
    return _OTHER_PORTS[0]


def holder_of(port: int) -> Holder:
    """Return who listens on a port, as far as this user may know."""
    inodes = {
        inode
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for inode in _listening_inodes(Path(table), port)
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in sorted(Path("/proc").glob("[0-9]*"))[:PROCESSES_MAX]:
        if not wanted.isdisjoint(_open_files(process)):
            return Holder(int(process.name), process_name(int(process.name)))
    return Holder(None, None)


def _open_files(process: Path) -> list[str]:
    """Return what a process's descriptors lead to, as far as we may see."""
    found = []
    try:
        for link in (process / "fd").iterdir():
            try:
                found.append(os.readlink(link))
            except FileNotFoundError:
                # Closed in this moment.
                continue
    except OSError:
        # The process is gone, or another user's: what we may not see cannot be named.
        return []
    return found


def process_name(pid: int) -> str | None:
    """Return the name of a running process, or None."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip() or None
    except OSError:
        return None


def _listening_inodes(table: Path, port: int) -> list[str]:
    """Return the inodes of listening sockets on `port` (format: proc(5), /proc/net/tcp)."""
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except OSError:
        # No IPv6 on this machine.
        return []
    found = []
    for line in lines:
        fields = line.split()
        if (
            len(fields) > 9
            and fields[3] == _LISTEN
            and int(fields[1].rpartition(":")[2], 16) == port
        ):
            found.append(fields[9])
    return found
