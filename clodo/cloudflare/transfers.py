"""Files at signed URLs: another host, no token, no budget."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import httpx

from clodo.cloudflare.answers import refuse_file
from clodo.cloudflare.sending import CHUNK_BYTES, Sending
from clodo.errors import NoSpaceLeft


def download(sending: Sending, url: str, target: Path) -> int:
    """
    Write what is at a signed URL into *target*, which is either whole or not there.

    Returns:
        Its size in bytes.

    Raises:
        ApiRefused: The URL expired.
        CloudflareUnavailable: It could not be read to its end.
        NoSpaceLeft: The disk is full.
    """
    part = target.with_name(target.name + ".part")

    def fetch(client: httpx.Client) -> int:
        with client.stream("GET", url, auth=None) as response:
            if not response.is_success:
                refuse_file(response)
            with part.open("wb") as file:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                return file.tell()

    try:
        size = sending.transfer("GET", url, fetch)
        part.replace(target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceLeft(f"No space left for {target.name}") from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return size


def upload(sending: Sending, url: str, source: Path) -> str:
    """
    Put a file at a signed URL.

    Returns:
        The ``etag`` that its host answers, empty if it answers none.

    Raises:
        ApiRefused: The URL expired.
        CloudflareUnavailable: It could not be sent to its end.
    """

    def send(client: httpx.Client) -> str:
        with source.open("rb") as file:
            headers = {"Content-Length": str(source.stat().st_size)}
            response = client.request("PUT", url, content=file, headers=headers, auth=None)
        if not response.is_success:
            refuse_file(response)
        return str(response.headers.get("etag", ""))

    return sending.transfer("PUT", url, send)
