"""Accounts that the token can see."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import TYPE_CHECKING

from clodo.cloudflare.calls import fill
from clodo.cloudflare.model import Model
from clodo.cloudflare.refusals import Missing
from clodo.errors import NotFound

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class Account(Model):
    """An account; *id* is 32 hex digits."""

    id: str
    name: str
    type: str | None = None
    created_on: datetime | None = None


class Accounts:
    """Read accounts."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def list(self) -> builtins.list[Account]:
        """
        List the accounts that the token can see.

        Source: https://developers.cloudflare.com/api/resources/accounts/methods/list/
        """
        return list(self._api.pages("/accounts", Account.model_validate, per_page=50))

    def get(self, account_id: str | None = None) -> Account:
        """
        Return one account, the client's own by default.

        Raises:
            NotFound: There is no such account, or the token doesn't see it.

        Source: https://developers.cloudflare.com/api/resources/accounts/methods/get/
        """
        chosen = account_id or self._api.account_id
        missing = Missing(NotFound, f"The token sees no account {chosen}")
        return self._api.get(fill("/accounts/{}", chosen), Account.model_validate, missing=missing)
