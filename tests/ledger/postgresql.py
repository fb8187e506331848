"""A private PostgreSQL server for the tests: in a temporary folder, on a Unix socket, gone with the tests."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PDEATHSIG = 1
INSTALL = "Install PostgreSQL (Debian: `apt-get install postgresql`; macOS: `brew install postgresql`)."


def find_program(name: str) -> str:
    """Find a program of PostgreSQL on the path, or where Debian puts it."""
    found = shutil.which(name)
    if found:
        # Whoever runs it may not be let into the folder of the link.
        return str(Path(found).resolve())
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    if not debian:
        raise RuntimeError(f"{name} is not installed: the ledger's tests run on SQLite and PostgreSQL. {INSTALL}")
    return str(debian[-1])


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run a server that trusts everybody on its socket; gives the URL of its first database."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    # PostgreSQL refuses to run as root.
    user = _unprivileged_user() if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    # pytest's own temporary folders can't be entered by another user.
    folder = Path(tempfile.mkdtemp(prefix="clodo-pg-", dir=_open_folder()))
    try:
        os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "clodo", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **identity,
        )
        options = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "listen_addresses=",
            f"unix_socket_directories={folder}",
            "max_connections=100",
        ]
        server = subprocess.Popen(
            [postgres, "-D", data, *(word for option in options for word in ("-c", option))],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            preexec_fn=_die_with_parent,
            **identity,
        )
        try:
            _wait_until_ready(server)
            yield f"postgresql://clodo@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is worth writing down
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _open_folder() -> str:
    """Return a folder for temporary files that another user may enter."""
    wanted = Path(tempfile.gettempdir()).resolve()
    is_open = all(folder.stat().st_mode & 0o001 for folder in (wanted, *wanted.parents))
    return str(wanted) if is_open else "/tmp"


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGQUIT)


def _wait_until_ready(server: "subprocess.Popen[str]") -> None:
    said = []
    for line in server.stderr:
        said.append(line)
        if "ready to accept connections" in line:
            # Somebody has to go on reading, or the server stops at a full pipe.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return
    raise RuntimeError("PostgreSQL did not start:\n" + "".join(said))
