"""
Who calls: read from headers that workerd itself puts on each request of a process.

It takes off whatever the Worker wrote there; a secret that only processes of this runtime were told comes with it.
"""

from __future__ import annotations

import hmac
import json
from functools import lru_cache
from typing import Any

from clodo.emulator.runtime.configuration import CALLER_HEADER, SECRET_HEADER

SECRET = SECRET_HEADER.encode()
CALLER = CALLER_HEADER.encode()


def is_ours(secret: bytes, shown: bytes | None) -> bool:
    """Tell whether a request that shows this secret comes from a process of the runtime whose *secret* it is."""
    return hmac.compare_digest(shown or b"", secret)


@lru_cache(maxsize=4096)
def read_caller(value: bytes | None) -> dict[str, Any]:
    """Return the identity in a caller header: ``{account, script, version, index, kind, id?, callee?}``."""
    caller: dict[str, Any] = json.loads(value or b"{}")
    return caller
