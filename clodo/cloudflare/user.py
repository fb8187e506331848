"""Whose token this is, and whether it is any good."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from clodo.cloudflare.model import Model
from clodo.errors import NotAuthorised

if TYPE_CHECKING:
    from clodo.cloudflare.api import Api


class TokenStatus(Model):
    """What Cloudflare says of a token: *status* is active, disabled or expired."""

    id: str
    status: str
    expires_on: datetime | None = None
    not_before: datetime | None = None


class Person(Model):
    """The user behind a user token."""

    id: str
    email: str | None = None


class User:
    """Read who we are."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self) -> Person:
        """
        Return the user of the token.

        Raises:
            PermissionMissing: The token lacks User Details: Read, which is usual for scoped tokens.
        """
        return self._api.get("/user", Person.model_validate)

    def verify_user_token(self) -> TokenStatus:
        """
        Return the status of a token that belongs to a user.

        Raises:
            NotAuthorised: It is unknown, or belongs to an account.

        Source: https://developers.cloudflare.com/api/resources/user/subresources/tokens/methods/verify/
        """
        return self._api.get("/user/tokens/verify", TokenStatus.model_validate)

    def verify_account_token(self) -> TokenStatus:
        """
        Return the status of a token that belongs to the client's account.

        Raises:
            NotAuthorised: It is unknown, or belongs to a user.

        Source: https://developers.cloudflare.com/api/resources/accounts/subresources/tokens/methods/verify/
        """
        path = f"/accounts/{self._api.account_id}/tokens/verify"
        return self._api.get(path, TokenStatus.model_validate)

    def verify_token(self) -> TokenStatus:
        """
        Return the status of the token, whoever owns it, if it is active.

        Raises:
            NotAuthorised: It is unknown, disabled or expired.
        """
        try:
            found = self.verify_user_token()
        except NotAuthorised:
            # Cloudflare answers 401, code 1000, for a token of an account: that one is verified elsewhere.
            found = self.verify_account_token()
        if found.status != "active":
            since = f" since {found.expires_on:%Y-%m-%dT%H:%M:%SZ}" if found.expires_on else ""
            raise NotAuthorised(
                f"The API token {found.id} is {found.status}{since}",
                hint="Create a new token in the dashboard and save it in the CloudflareAccount block.",
            )
        return found

    def roll_token(self, token_id: str) -> str:
        """
        Give a token, of the same owner as the client's, a new value and return it; the old one is good no more.

        It may be lost if the answer doesn't come: it is never sent again.

        Raises:
            PermissionMissing: The token may not edit tokens.

            NotAuthorised: It belongs to nobody whom this client speaks for.

        Source: https://developers.cloudflare.com/api/resources/user/subresources/tokens/subresources/value/
        """
        try:
            self.verify_user_token()
            owner = "/user"
        except NotAuthorised:
            owner = f"/accounts/{self._api.account_id}"
        return self._api.put(f"{owner}/tokens/{token_id}/value", str, json={})
