"""A PostgreSQL server of a test's own: a fresh cluster in a folder, reached by a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.need import lacking

START_TIMEOUT_S = 60
WHY = "PostgreSQL is not installed; needed to hold both databases to the same answers"
REMEDY = "sudo apt install postgresql"
# The server refuses to run as root; Debian's package brings this user.
SERVER_USER = "postgres"


def binaries() -> Path:
    """Return the folder of the newest server's programs; skips, or fails in CI, without one."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4])
    )
    if not found:
        lacking(WHY, REMEDY)
    return found[-1].parent


def reachable() -> Path:
    """Return a folder for temporary files that the server's user comes to; some /tmp are closed."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"))
    for place in places:
        if all(one.stat().st_mode & 0o001 for one in (place, *place.parents)):
            break
    else:
        lacking("No temporary folder is open to PostgreSQL's user", "chmod 1777 /var/tmp")
    return place


@contextmanager
def server() -> Iterator[str]:
    """Run a server; yields the URL of its database. Everything is gone at the end."""
    programs = binaries()
    user = SERVER_USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="claw-pg-", dir=reachable()))
    try:
        if os.geteuid() == 0:
            try:
                account = pwd.getpwnam(SERVER_USER)
            except KeyError:
                lacking(WHY, REMEDY)
            os.chown(folder, account.pw_uid, account.pw_gid)
        run(user, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "claw")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
        control = (programs / "pg_ctl", "-D", folder / "data", "-w", "-t", START_TIMEOUT_S)
        run(user, *control, "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://claw@/postgres?host={folder}"
        finally:
            run(user, *control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(user: str, *words: object) -> None:
    """Run a program as a user; its output is shown when it fails."""
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_user, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=2 * START_TIMEOUT_S,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")
