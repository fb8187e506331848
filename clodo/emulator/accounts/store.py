"""Who there is: users, accounts, tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clodo.emulator.accounts.caller import Caller
from clodo.emulator.accounts.tokens import Tokens, new_token, policies_for
from clodo.emulator.clock import new_id, now
from clodo.emulator.config import AccountKeys
from clodo.emulator.database import Database, Row
from clodo.emulator.envelope import ApiError
from clodo.emulator.zones.store import Zones
from clodo.errors import BadUsage

ACCOUNT_ID = re.compile(r"^[0-9a-f]{32}$")

#: A workers.dev subdomain is one DNS label; the numbers are the real API's for the two ways it can be unfit.
SUBDOMAIN = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
SUBDOMAIN_INVALID = 10031
SUBDOMAIN_TAKEN = 10032

#: What these tables became after the first release of the schema.
STEPS = ("ALTER TABLE accounts ADD COLUMN settings TEXT", "ALTER TABLE users ADD COLUMN profile TEXT")


class Accounts:
    """Accounts and tokens in the database."""

    def __init__(self, database: Database, zones: Zones) -> None:
        self._database = database
        self._zones = zones
        self.tokens = Tokens(database, zones)
        database.upgrade("accounts", STEPS)

    def first(
        self, account_id: str | None, token: str | None, subdomain: str | None, zones: Sequence[str]
    ) -> AccountKeys:
        """
        Return the first account, made when there is none yet.

        Raises:
            BadUsage: The id is not 32 hex digits, or the subdomain is taken or no DNS label.
        """
        if account_id is not None and not ACCOUNT_ID.match(account_id):
            raise BadUsage(f"account id {account_id!r}: 32 hex digits are needed")
        kept = self._database.row("SELECT value FROM settings WHERE name = 'first_account'")
        kept_keys: dict[str, str] = json.loads(kept["value"]) if kept else {}
        chosen = account_id or kept_keys.get("account_id") or new_id()
        if subdomain is not None:
            try:
                self._raise_if_unfit(subdomain, chosen)
            except ApiError as error:
                raise BadUsage(f"workers.dev subdomain {subdomain!r}: {error.message}") from error
        chosen_token = token or (kept_keys.get("token") if kept_keys.get("account_id") == chosen else None)
        with self._database.transaction():
            if self.account(chosen) is None:
                self._make_account(chosen, "Embedded account", subdomain)
            elif subdomain is not None:
                self.set_subdomain(chosen, subdomain)
            final_token = chosen_token or new_token()
            self._keep_token(final_token, "first token", chosen)
            for name in zones:
                self._zones.ensure(chosen, name)
            self._database.insert(
                "settings",
                {"name": "first_account", "value": {"account_id": chosen, "token": final_token}},
                replace=True,
            )
        return self.keys(chosen, final_token)

    def first_token(self) -> str | None:
        """Return the value that the first account's token has now; None once it was deleted."""
        kept = self._database.value("SELECT value FROM settings WHERE name = 'first_account'")
        token: str | None = json.loads(kept)["token"] if kept else None
        return token

    def create(
        self, *, name: str = "Account", subdomain: str | None = None, zone: str | None = None, scope: str = "user"
    ) -> AccountKeys:
        """Make an account with a user, a token and a zone of its own."""
        account_id, token = new_id(), new_token()
        with self._database.transaction():
            self._make_account(account_id, name, subdomain)
            self._keep_token(token, "made with the account", account_id, owner=scope)
            self._zones.ensure(account_id, zone or f"{account_id[:12]}.example")
        return self.keys(account_id, token)

    def add_token(
        self,
        account_ids: Sequence[str],
        *,
        name: str,
        owner: str = "user",
        expires_on: str | None = None,
        permissions: Sequence[str] | None = None,
        zone_ids: Sequence[str] = (),
        value: str | None = None,
    ) -> tuple[str, str]:
        """
        Make a further token of the first account's user; return its id and the token itself.

        Args:
            permissions: Names of permission groups (``D1 Write``); None for everything.

            zone_ids: What permissions about zones are limited to; all zones of the accounts when empty.

        Raises:
            ApiError: There is no such account or permission group.
        """
        for account_id in account_ids:
            if self.account(account_id) is None:
                raise ApiError(404, 7003, f"no account {account_id}")
        user_id = self.user_of(account_ids[0])
        try:
            policies = None if permissions is None else policies_for(permissions, user_id, account_ids, zone_ids)
        except ValueError as error:
            raise ApiError(400, 400, str(error)) from error
        return self.tokens.create(
            user_id, account_ids, name, owner=owner, value=value, policies=policies, expires_on=expires_on
        )

    def user_of(self, account_id: str) -> str:
        """Return the id of the user whose account this is."""
        user_id: str = self._database.value("SELECT user_id FROM accounts WHERE id = ?", (account_id,))
        return user_id

    def user(self, user_id: str) -> Row:
        """Return the user's row."""
        row = self._database.row("SELECT * FROM users WHERE id = ?", (user_id,))
        assert row is not None, "whoever calls exists"
        return row

    def set_profile(self, user_id: str, profile: Mapping[str, Any]) -> None:
        """Keep what a user says about themselves."""
        self._database.run("UPDATE users SET profile = ? WHERE id = ?", (json.dumps(dict(profile)), user_id))

    def change(self, account_id: str, name: str, settings: Mapping[str, Any]) -> None:
        """Give an account another name and other settings."""
        self._database.run(
            "UPDATE accounts SET name = ?, settings = ? WHERE id = ?", (name, json.dumps(dict(settings)), account_id)
        )

    def keys(self, account_id: str, token: str) -> AccountKeys:
        """Return what a client needs to use the account with *token*."""
        account = self.account(account_id)
        assert account is not None
        zones = self._zones.of_accounts([account_id])
        return AccountKeys(
            account_id=account_id,
            token=token,
            subdomain=account["subdomain"],
            zone=zones[0]["name"] if zones else None,
            zone_id=zones[0]["id"] if zones else None,
        )

    def account(self, account_id: str) -> Row | None:
        """Return the account's row."""
        return self._database.row("SELECT * FROM accounts WHERE id = ?", (account_id,))

    def accounts(self, account_ids: Sequence[str]) -> list[Row]:
        """Return the rows of those accounts, by name."""
        marks = ", ".join("?" for _ in account_ids)
        return self._database.rows(f"SELECT * FROM accounts WHERE id IN ({marks}) ORDER BY name, id", account_ids)  # noqa: S608

    def token_by_id(self, token_id: str) -> tuple[Caller, str] | None:
        """
        Return whose the token with this id is, and the SHA-256 of its value in hex; None if there is no such token.

        R2's keys are made of the two: the id is the access key id, the digest the secret access key.

        Source:
            https://developers.cloudflare.com/r2/api/tokens/#get-s3-api-credentials-from-an-api-token
        """
        return self.tokens.by_id(token_id)

    def subdomain(self, account_id: str) -> str | None:
        """Return the account's workers.dev subdomain."""
        value: str | None = self._database.value("SELECT subdomain FROM accounts WHERE id = ?", (account_id,))
        return value

    def subdomains(self) -> dict[str, str]:
        """Return every workers.dev subdomain with the account that has it."""
        rows = self._database.rows("SELECT id, subdomain FROM accounts WHERE subdomain IS NOT NULL")
        return {row["subdomain"]: row["id"] for row in rows}

    def set_subdomain(self, account_id: str, subdomain: str | None) -> None:
        """
        Take a workers.dev subdomain.

        Raises:
            ApiError: Somebody else has it, or it can't be a DNS label.
        """
        if subdomain is not None:
            self._raise_if_unfit(subdomain, account_id)
        self._database.run("UPDATE accounts SET subdomain = ? WHERE id = ?", (subdomain, account_id))

    def _raise_if_unfit(self, subdomain: str, account_id: str) -> None:
        if not SUBDOMAIN.match(subdomain):
            raise ApiError(400, SUBDOMAIN_INVALID, "Subdomain is invalid: it must be a single DNS label.")
        owner = self._database.value("SELECT id FROM accounts WHERE subdomain = ?", (subdomain,))
        if owner not in (None, account_id):
            raise ApiError(409, SUBDOMAIN_INVALID, "Subdomain is unavailable, please try a different one.")

    def _make_account(self, account_id: str, name: str, subdomain: str | None) -> None:
        user_id, moment = new_id(), now()
        chosen = subdomain or f"w-{account_id[:10]}"
        self._raise_if_unfit(chosen, account_id)
        self._database.insert(
            "users", {"id": user_id, "email": f"operator-{account_id[:8]}@example.com", "created_on": moment}
        )
        self._database.insert(
            "accounts",
            {"id": account_id, "name": name, "subdomain": chosen, "created_on": moment, "user_id": user_id},
        )

    def _keep_token(self, token: str, name: str, account_id: str, *, owner: str = "user") -> None:
        self.tokens.create(self.user_of(account_id), [account_id], name, owner=owner, value=token)
