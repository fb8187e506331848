"""Tokens with named rights, and clients that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.fixtures.embedded_cloud import CloudAccount

TokenMaker = Callable[..., httpx.Client]


@pytest.fixture
def admin(account: CloudAccount) -> Iterator[httpx.Client]:
    """The cloud's own endpoints."""
    headers = {"Authorization": f"Bearer {account.cloud.admin_token}"}
    with httpx.Client(base_url=account.cloud.edge_url + "/__clodo", headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def client_with(account: CloudAccount, admin: httpx.Client) -> Iterator[TokenMaker]:
    """Makes a client of the API whose token has the named permissions in the account, and no others."""
    made: list[httpx.Client] = []

    def make(*permissions: str, **more: Any) -> httpx.Client:
        body = {"account_ids": [account.account_id], "name": "narrow", "permissions": list(permissions), **more}
        answer = admin.post("/tokens", json=body)
        assert answer.is_success, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['result']['token']}"}
        made.append(httpx.Client(base_url=account.cloud.url, headers=headers, trust_env=False))
        return made[-1]

    yield make
    for client in made:
        client.close()


def code(answer: httpx.Response) -> tuple[int, int | None]:
    """Return the status, and the first error's number if there is one."""
    errors = answer.json()["errors"]
    return answer.status_code, errors[0]["code"] if errors else None
