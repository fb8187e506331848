"""The environment wrangler runs in: nothing of ours, nothing of the user's, nothing it could phone home with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from clodo.wrangler.toolchain import Toolchain

# Measured: a third less CPU per call, together with the compile cache; most of a call is start-up and its garbage. With
# this much room for young objects few live long enough to be copied, so that a call takes less memory too.
NODE_FLAGS = ("--no-warnings", "--min-semi-space-size=128", "--max-semi-space-size=128")


def wrangler_environment(
    toolchain: Toolchain, *, folder: Path, base_url: str, token: str, account_id: str, now: Callable[[], float]
) -> dict[str, str]:
    """
    Return every variable that wrangler sees.

    Args:
        folder: The call's own; becomes home, configuration and temporary folder, and takes the ND-JSON output.

        base_url: The gateway's, for this call.

        token: The gateway's one-time token.

        now: Seconds since 1970.
    """
    home, temporary = folder / "home", folder / "tmp"
    home.mkdir(parents=True)
    (temporary / "update-check").mkdir(parents=True)
    # wrangler would ask a registry whether it is up to date; it believes this file for an hour.
    latest = {"latest": toolchain.versions["wrangler"], "lastUpdate": int(now() * 1000)}
    (temporary / "update-check" / "wrangler-latest.json").write_text(json.dumps(latest))
    return {
        "CI": "true",
        "CLOUDFLARE_ACCOUNT_ID": account_id,
        "CLOUDFLARE_API_BASE_URL": base_url,
        "CLOUDFLARE_API_TOKEN": token,
        "DO_NOT_TRACK": "1",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NODE_COMPILE_CACHE": str(compile_cache(toolchain)),
        "NO_COLOR": "1",
        "PATH": os.defpath,
        "TMPDIR": str(temporary),
        "TZ": "UTC",
        "WRANGLER_HIDE_BANNER": "true",
        "WRANGLER_OUTPUT_FILE_PATH": str(output_file(folder)),
        "WRANGLER_SEND_ERROR_REPORTS": "false",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_WRITE_LOGS": "false",
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
    }


def output_file(folder: Path) -> Path:
    """Return where wrangler writes its ND-JSON."""
    return folder / "output.ndjson"


def compile_cache(toolchain: Toolchain) -> Path:
    """Return where Node keeps compiled code from one call to the next."""
    return toolchain.cache_dir / "compiled" / toolchain.fingerprint
