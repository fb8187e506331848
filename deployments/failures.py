"""What Prefect's client raises, renamed: the one table. Importing it costs nothing that Prefect didn't cost already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.exceptions import PrefectHTTPStatusError

from clodo.errors import Failed, NotAuthorised, ServerUnavailable


@contextmanager
def named_as_ours() -> Iterator[None]:
    """Rename what Prefect's client raises: the one table."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise NotAuthorised(
                "The Prefect server wants another auth string.", hint="Set PREFECT_API_AUTH_STRING."
            ) from error
        if status in (408, 429) or status >= 500:
            raise ServerUnavailable(f"The Prefect server answered {status}.", hint="Run it again.") from error
        raise Failed(
            f"The Prefect server refused {error.request.method} {error.request.url.path}: {status}."
        ) from error
    except httpx.TransportError as error:
        raise ServerUnavailable(f"The Prefect server can't be reached ({type(error).__name__}).") from error
