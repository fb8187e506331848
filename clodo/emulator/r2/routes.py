"""``/r2/buckets``: creating, listing, reading and deleting buckets."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clodo.emulator.clock import now
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError, envelope, object_body

INVALID_NAME = 10005
NO_SUCH_BUCKET = 10006
BUCKET_EXISTS = 10004

#: 3 to 63 characters, https://developers.cloudflare.com/r2/buckets/create-buckets/
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")


class Buckets:
    """The buckets of every account."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exists(self, account_id: str, name: str) -> bool:
        """Say whether the account has this bucket."""
        return self.get(account_id, name) is not None

    def get(self, account_id: str, name: str) -> Row | None:
        """Return a bucket."""
        return self._database.row("SELECT * FROM buckets WHERE account_id = ? AND name = ?", (account_id, name))

    def of_account(self, account_id: str) -> list[Row]:
        """Return the account's buckets by name."""
        return self._database.rows("SELECT * FROM buckets WHERE account_id = ? ORDER BY name", (account_id,))

    def create(self, account_id: str, name: str, *, location: str, storage_class: str, jurisdiction: str) -> Row:
        """
        Make a bucket.

        Raises:
            ApiError: The name can't be one, or is taken.
        """
        if not _NAME.match(name):
            raise ApiError(400, INVALID_NAME, "The specified bucket name is not valid.")
        if self.exists(account_id, name):
            raise ApiError(409, BUCKET_EXISTS, "The bucket you tried to create already exists, and you own it.")
        row = {
            "account_id": account_id,
            "name": name,
            "created_on": now(),
            "location": location,
            "storage_class": storage_class,
            "jurisdiction": jurisdiction,
        }
        self._database.insert("buckets", row)
        return row

    def delete(self, account_id: str, name: str) -> bool:
        """Remove a bucket; False if there was none."""
        return self._database.run("DELETE FROM buckets WHERE account_id = ? AND name = ?", (account_id, name)) > 0


def routes(buckets: Buckets) -> list[Route]:
    """Return the routes, relative to ``/client/v4/accounts/{account_id}``."""

    async def list_buckets(request: Request) -> Response:
        wanted = request.query_params.get("name_contains", "")
        found = [_bucket(row) for row in buckets.of_account(request.path_params["account_id"]) if wanted in row["name"]]
        return envelope({"buckets": found})

    async def create_bucket(request: Request) -> Response:
        body = await object_body(request)
        row = buckets.create(
            request.path_params["account_id"],
            str(body.get("name") or ""),
            location=str(body.get("locationHint") or "weur").lower(),
            storage_class=str(body.get("storageClass") or "Standard"),
            jurisdiction=request.headers.get("cf-r2-jurisdiction") or "default",
        )
        return envelope(_bucket(row))

    async def get_bucket(request: Request) -> Response:
        row = buckets.get(request.path_params["account_id"], request.path_params["bucket"])
        if row is None:
            raise ApiError(404, NO_SUCH_BUCKET, "The specified bucket does not exist.")
        return envelope(_bucket(row))

    async def delete_bucket(request: Request) -> Response:
        if not buckets.delete(request.path_params["account_id"], request.path_params["bucket"]):
            raise ApiError(404, NO_SUCH_BUCKET, "The specified bucket does not exist.")
        return envelope({})

    return [
        Route("/r2/buckets", list_buckets, methods=["GET"]),
        Route("/r2/buckets", create_bucket, methods=["POST"]),
        Route("/r2/buckets/{bucket}", get_bucket, methods=["GET"]),
        Route("/r2/buckets/{bucket}", delete_bucket, methods=["DELETE"]),
    ]


def _bucket(row: Row) -> dict[str, Any]:
    return {
        "name": row["name"],
        "creation_date": row["created_on"],
        "location": row["location"],
        "storage_class": row["storage_class"],
        "jurisdiction": row["jurisdiction"],
    }
