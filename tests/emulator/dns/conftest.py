"""A zone to put records into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.fixtures.embedded_cloud import CloudAccount


@dataclass(frozen=True)
class Zone:
    """The account's zone, with short ways to its records."""

    account: CloudAccount

    @property
    def root(self) -> str:
        """Path of the zone's records."""
        return f"/zones/{self.account.zone_id}/dns_records"

    @property
    def name(self) -> str:
        """Name of the zone."""
        return self.account.zone

    def send(self, method: str, path: str = "", **request: Any) -> httpx.Response:
        """Call the API below the zone's records."""
        return self.account.api.request(method, self.root + path, **request)

    def put(self, kind: str, name: str = "www", content: str | None = None, **more: Any) -> dict[str, Any]:
        """Create a record, which must be taken, and return it."""
        body = {"type": kind, "name": name, **({} if content is None else {"content": content}), **more}
        answer = self.send("POST", json=body)
        assert answer.status_code == 200, f"{body}: {answer.text}"
        record: dict[str, Any] = answer.json()["result"]
        return record

    def refusal(self, method: str = "POST", path: str = "", **request: Any) -> tuple[int, int]:
        """Send what must be refused and return status and number."""
        answer = self.send(method, path, **request)
        assert answer.json()["success"] is False, answer.text
        return answer.status_code, answer.json()["errors"][0]["code"]

    def names(self, **query: Any) -> list[str]:
        """Return the names of the records that a query asks for, without the zone's."""
        listed = self.send("GET", params={key.replace("__", "."): value for key, value in query.items()})
        assert listed.status_code == 200, listed.text
        return [record["name"].removesuffix(self.name).removesuffix(".") for record in listed.json()["result"]]


@pytest.fixture
def zone(account: CloudAccount) -> Zone:
    """A zone without records, in a fresh account."""
    return Zone(account)
