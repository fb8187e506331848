"""What a running embedded cloud says about itself in its data folder, and the lock that it holds there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clodo.errors import LockHeld

#: How to reach the cloud; mode 0600, since its keys are in it.
STATE_FILE = "emulator.json"

_LOCK_FILE = "lock"


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """
    Keep every other embedded cloud off the data folder.

    Raises:
        LockHeld: One runs there.
    """
    with (data / _LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise LockHeld(
                f"{data}: the embedded cloud of process {owner} uses this data folder",
                hint="Stop that one, or choose another folder with --data.",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_state(data: Path, state: dict[str, Any]) -> None:
    """Leave *state* where `read_state` finds it."""
    draft = data / f"{STATE_FILE}.new"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(state, file, indent=2)
    draft.replace(data / STATE_FILE)


def forget_state(data: Path) -> None:
    """Remove what `write_state` left."""
    (data / STATE_FILE).unlink(missing_ok=True)


def read_state(data: Path) -> dict[str, Any] | None:
    """
    Return what the cloud that runs on *data* says about itself; None if none runs there.

    Shape:
        ``{url, edge_url, pid, account_id, token, subdomain, zone, zone_id, r2_url, r2_access_key_id, admin_token,
        started_on}``
    """
    try:
        state: dict[str, Any] = json.loads((data / STATE_FILE).read_text())
        with (data / _LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return state
    except (FileNotFoundError, ValueError):
        return None
    # Nobody holds the lock: that cloud was killed, and its file outlived it.
    return None
